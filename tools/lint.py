"""Runs every check of style, types and contract, side by side, and prints only what is wrong.

Two at a time on two cores; a failing check never hides another.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
WORKERS = 2
SOURCES = ("clients/python/src", "hub/src", "adapters/src")
CHECKS: dict[str, list[str]] = {
    "types": ["mypy", *SOURCES, "tools", "tests"],
    "contract": ["python", "tools/contracts.py", "lint"],
    "stubs current": ["python", "tools/contracts.py", "check"],
    "style": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
}


def main() -> None:
    """Run all checks; exit non-zero when one fails."""
    with ThreadPoolExecutor(WORKERS) as workers:
        results = list(workers.map(check, CHECKS))
    if not all(results):
        raise SystemExit(1)


def check(name: str) -> bool:
    """Run one check and print its verdict, with its output when it fails."""
    program, *arguments = CHECKS[name]
    started = time.monotonic()
    done = subprocess.run(
        [str(BIN / program), *arguments],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.monotonic() - started
    verdict = "ok" if done.returncode == 0 else "FAILED"
    print(f"{name:14} {verdict:6} {seconds:5.1f} s", flush=True)
    if done.returncode:
        print(done.stdout, flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    main()
