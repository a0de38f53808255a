"""Processes of the yard that the runner starts, kills, stops in their tracks and starts again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fixtures_hub import BYTECODE
from fixtures_nats import DIES_WITH_PARENT

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 90.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02


class Process:
    """One program, `python -m module arguments`; it writes a ready file once it serves.

    Start it on the main thread: it dies with the thread that made it.
    """

    def __init__(
        self, name: str, log: Path, ready: Path, *arguments: str, **environment: str
    ) -> None:
        self.name = name
        self.ready = ready
        self.deaths = 0
        self._log = log
        self._arguments = arguments
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start it and return at once."""
        self.ready.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["python3", "-I", "-S", "-c", DIES_WITH_PARENT, sys.executable, *self._arguments],
                cwd=ROOT,
                env=_environment(self._environment),
                stdout=log,
                stderr=log,
            )

    async def serving(self) -> Mapping[str, Any]:
        """What it wrote into its ready file, once it has."""
        deadline = time.monotonic() + START_SECONDS
        while not self.ready.exists():
            assert self.alive, f"{self.name} ended: {self.log_tail()}"
            assert time.monotonic() < deadline, f"{self.name} does not serve: {self.log_tail()}"
            await asyncio.sleep(POLL_SECONDS)
        told: Mapping[str, Any] = json.loads(self.ready.read_text())
        return told

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send exactly this process a signal, if it is there."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not end; a stopped one goes on first."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSDOCK_", "OTEL_"))}
    if clean.pop("PYTHONDONTWRITEBYTECODE", ""):
        clean.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE))
    return clean | dict(more)
