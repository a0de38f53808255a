"""Turns this process into another program of ours, so that no parent stays behind."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

from crossdock.cli.problems import CommandError


def become(package: str, arguments: Sequence[str]) -> None:
    """Run `python -m package` in place of this process. CommandError: it is not installed."""
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        raise CommandError(f"{name} is not installed here", next_step=f"pip install {name}")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", package, *arguments])
