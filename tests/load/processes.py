"""Processes of the bench that end with it: floors and callers, each a module of this folder."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fixtures_nats import DIES_WITH_PARENT

ROOT: Final = Path(__file__).resolve().parents[2]
STOP_SECONDS: Final = 10.0


def spawn(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a module of this folder; what it prints is read from its standard output."""
    program = (sys.executable, "-m", f"tests.load.{module}", *arguments)
    return subprocess.Popen(
        ["python3", "-I", "-S", "-c", DIES_WITH_PARENT, *program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def serving(module: str, *arguments: str) -> Iterator[str]:
    """A server of this folder while the block runs: the one line that it prints, its address."""
    process = spawn(module, *arguments)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, f"{module} ended before it served"
        yield address
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def told_by(module: str, *arguments: str, timeout_seconds: float = 120.0) -> Any:
    """Run a module of this folder to its end: the JSON document that it prints."""
    process = spawn(module, *arguments)
    said, _ = process.communicate(timeout=timeout_seconds)
    assert process.returncode == 0, f"{module} failed"
    return json.loads(said)
