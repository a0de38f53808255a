"""Turns this process into another program of ours, so that no parent stays behind."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

from crossdock.cli.problems import CommandError


def become(package: str, arguments: Sequence[str]) -> None:
    """Run `python -m` with a package or a module of one, in place of this process.

    CommandError: it is not installed.
    """
    name = package.partition(".")[0]
    if importlib.util.find_spec(name) is None:
        name = name.replace("_", "-")
        raise CommandError(f"{name} is not installed here", next_step=f"pip install {name}")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", package, *arguments])
