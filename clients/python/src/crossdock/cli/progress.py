"""One line that moves: rewritten on a terminal, now and then a new line elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Final

PIPED_SECONDS: Final = 5.0
REDRAW_SECONDS: Final = 0.2
BAR_WIDTH: Final = 24
_CLEAR: Final = "\r\x1b[2K"


def bar(share: float) -> str:
    """How much of all is done, drawn: "[######..................]  25%". share: 0 to 1."""
    share = min(1.0, max(0.0, share))
    return f"[{('#' * int(share * BAR_WIDTH)).ljust(BAR_WIDTH, '.')}] {share:4.0%}"


class ProgressLine:
    """`show` as often as you like; `end` before anything else is printed."""

    def __init__(
        self, quiet: bool = False, *, beside_result: bool = False, piped: bool = False
    ) -> None:
        """quiet: never shown. beside_result: on standard error, and on a terminal only, because
        standard output is for the result; with piped also where that is no terminal, for what may
        take long."""
        self._stream = sys.stderr if beside_result else sys.stdout
        self._terminal = self._stream.isatty()
        self._quiet = quiet or (beside_result and not piped and not self._terminal)
        self._shown_at = -1000.0
        self._text = ""
        self._open = False

    def show(self, text: str) -> None:
        """Replace the line; a pipe gets it only when it changed and some time has passed."""
        now = time.monotonic()
        pause = REDRAW_SECONDS if self._terminal else PIPED_SECONDS
        if self._quiet or text == self._text or now - self._shown_at < pause:
            return
        self._text, self._shown_at = text, now
        if self._terminal:
            width = shutil.get_terminal_size().columns
            self._stream.write(_CLEAR + text[: max(1, width - 1)])
            self._open = True
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._open:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._open = False
