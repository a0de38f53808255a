"""One line that moves: rewritten on a terminal, now and then a new line elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Final

PIPED_SECONDS: Final = 5.0
REDRAW_SECONDS: Final = 0.2
_CLEAR: Final = "\r\x1b[2K"


class ProgressLine:
    """`show` as often as you like; `end` before anything else is printed."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stdout.isatty()
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
            sys.stdout.write(_CLEAR + text[: max(1, width - 1)])
            self._open = True
        else:
            sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._open:
            sys.stdout.write(_CLEAR)
            sys.stdout.flush()
            self._open = False
