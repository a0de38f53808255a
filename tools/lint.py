"""Runs every check of style, types and contract, side by side, and prints only what is wrong.

Two at a time on two cores; a failing check never hides another. The skeletons of `crossdock adapter
new` are checked for types as they are written for their readers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from crossdock_adapters.sdk.scaffold.creating import create, kinds

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
WORKERS = 2
SOURCES = ("clients/python/src", "hub/src", "adapters/src")
CHECKS: dict[str, list[str]] = {
    "types": ["mypy", *SOURCES, "tools", "tests"],
    "contract": ["python", "tools/contracts.py", "judge"],
    "stubs current": ["python", "tools/contracts.py", "check"],
    "style": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
}


def main() -> None:
    """Run all checks; exit non-zero when one fails."""
    with TemporaryDirectory(prefix="crossdock-lint-") as folder:
        skeletons = [create(f"skeleton-{kind}", kind, Path(folder) / kind) for kind in kinds()]
        CHECKS["types"] += [str(path) for made in skeletons for path in made if is_module(path)]
        places = {str(Path(folder) / kind / "src") for kind in kinds()}
        with ThreadPoolExecutor(WORKERS) as workers:
            results = list(workers.map(lambda name: check(name, places), CHECKS))
    if not all(results):
        raise SystemExit(1)


def is_module(path: Path) -> bool:
    """Whether a written file is of the skeleton's package: two tests of one name are not checked
    beside each other."""
    return path.suffix == ".py" and path.parent.name != "tests"


def check(name: str, places: set[str]) -> bool:
    """Run one check and print its verdict, with its output when it fails.

    places: where the types of the skeletons' packages are found.
    """
    program, *arguments = CHECKS[name]
    started = time.monotonic()
    done = subprocess.run(
        [str(BIN / program), *arguments],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": os.pathsep.join(sorted(places))},
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
