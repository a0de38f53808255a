"""A command on a real pseudo-terminal, and what a person sees there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from typing import Self

from fixtures_hub import RunningHub
from fixtures_nats import eventually

SCREEN = struct.pack("HHHH", 24, 120, 0, 0)
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SECONDS = 90.0


class Terminal:
    """A command whose input, output and errors are one pseudo-terminal of 120 columns."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        self.raw = ""
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, SCREEN)
        os.set_blocking(self._own, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "crossdock.cli", *arguments],
            env={**environment, "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._own)

    def read(self) -> str:
        """Everything written so far, without the codes that move and colour."""
        try:
            while part := os.read(self._own, 65_536):
                self.raw += part.decode(errors="replace")
        except OSError:
            # Nothing more for now, or its other end is closed.
            pass
        return CODES.sub("", self.raw)

    async def shows(self, text: str) -> None:
        await eventually(lambda: text in self.read(), f"the terminal shows {text!r}", SECONDS)

    async def ends(self) -> int:
        def ended() -> bool:
            self.read()
            return self.process.poll() is not None

        await eventually(ended, "the command ends", SECONDS)
        self.read()
        return self.process.returncode


def at_hub(hub: RunningHub) -> dict[str, str]:
    """The environment of an operator's commands at a hub."""
    return hub.environment() | {
        "CROSSDOCK_ADDRESS": hub.address,
        "CROSSDOCK_TOKEN_FILE": str(hub.token_file("operator")),
    }
