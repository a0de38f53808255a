"""Child processes: started, waited for, started again when they die, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from crossdock.cli.problems import CommandError
from crossdock.ending import end_tasks

FIRST_RESTART_PAUSE_SECONDS: Final = 0.5
MAXIMUM_RESTART_PAUSE_SECONDS: Final = 10.0
STEADY_SECONDS: Final = 30.0
READY_POLL_SECONDS: Final = 0.05
READY_AGAIN_SECONDS: Final = 30.0
KILL_WAIT_SECONDS: Final = 2.0
MAXIMUM_LOG_BYTES: Final = 10 << 20
SHOWN_LOG_LINES: Final = 8
SHOWN_LOG_BYTES: Final = 4_000

# The child asks the kernel for SIGTERM when its parent dies, then becomes the program. A fresh
# interpreter does it, because code between fork and exec must not run in a process with gRPC's
# threads. The parent may die before the request: hence the look at the parent's id.
_TRAMPOLINE: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

Say = Callable[[str], None]
Ready = Callable[[Mapping[str, Any]], bool]


def _always(_: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `ready_file` is written by the program; `ready` judges its JSON content."""

    name: str
    arguments: tuple[str, ...]
    log_file: Path
    ready_file: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready: Ready = _always
    stop_seconds: float = 12.0


class Child:
    """One supervised process. `start`, `wait_ready`, `supervise`, `stop`; on one event loop.

    Start it on the main thread: the kernel ends a child together with the thread that made it.
    """

    def __init__(self, program: Program, say: Say) -> None:
        self.program = program
        self.restarts = 0
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int:
        """Its process id; 0 while there is none."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and alive else 0

    async def start(self) -> None:
        """Start the process. Its session is its own, so that Ctrl-C reaches only the parent."""
        program = self.program
        program.ready_file.unlink(missing_ok=True)
        _turn_over(program.log_file)
        descriptor = os.open(program.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(os.getpid()),
                sys.executable, *program.arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=descriptor, stderr=descriptor,
                env=dict(program.environment), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(descriptor)

    async def wait_ready(self, timeout_seconds: float) -> dict[str, Any]:
        """What the process wrote once it served. CommandError: it ended, or took too long."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            document = self.document()
            if document is not None and self.program.ready(document):
                return document
            if self._process is None or self._process.returncode is not None:
                raise self._failed("ended before it served")
            await asyncio.sleep(READY_POLL_SECONDS)
        raise self._failed(f"does not serve after {timeout_seconds:g} s")

    def document(self) -> dict[str, Any] | None:
        """The content of the ready file; None while there is none."""
        try:
            found = json.loads(self.program.ready_file.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def supervise(self) -> None:
        """From now on, start it again whenever it dies, and say so."""
        self._supervisor = asyncio.create_task(self._keep(), name=f"keep {self.program.name}")

    async def stop(self) -> None:
        """SIGTERM, time to finish, then SIGKILL."""
        self._stopping = True
        if self._supervisor is not None:
            await end_tasks([self._supervisor])
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.program.stop_seconds):
                await process.wait()
        except TimeoutError:
            self._say(f"{self.program.name} did not end in time and was killed")
            self.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_WAIT_SECONDS):
                    await process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _keep(self) -> None:
        pause = FIRST_RESTART_PAUSE_SECONDS
        while not self._stopping:
            assert self._process is not None
            since = time.monotonic()
            status = await self._process.wait()
            if time.monotonic() - since >= STEADY_SECONDS:
                pause = FIRST_RESTART_PAUSE_SECONDS
            self._say(f"{self.program.name}: {ended(status)}; starting again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAXIMUM_RESTART_PAUSE_SECONDS)
            await self.start()
            self.restarts += 1
            try:
                await self.wait_ready(READY_AGAIN_SECONDS)
                self._say(f"{self.program.name}: serving again")
            except CommandError as error:
                self._say(error.what)

    def _failed(self, how: str) -> CommandError:
        return CommandError(
            f"{self.program.name} {how}",
            last_lines(self.program.log_file) or "it wrote nothing",
            f"read {self.program.log_file}",
        )


def ended(status: int) -> str:
    """How a process ended, in words."""
    if status < 0:
        try:
            return f"ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"ended by signal {-status}"
    return f"ended with status {status}"


def last_lines(path: Path) -> str:
    """The end of a log file, indented for a message."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - SHOWN_LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n        ".join(text.strip().splitlines()[-SHOWN_LOG_LINES:])


def _turn_over(path: Path) -> None:
    """Keep one older log, so that a file never grows without end over many starts."""
    if path.exists() and path.stat().st_size > MAXIMUM_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
