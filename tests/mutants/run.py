"""Applies each seeded fault to a copy of the tree and asks the tests: `make mutants`.

Resumable: what is decided for a mutant's text and tests is kept in out/mutants.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, Mutant

REPORT: Final = ROOT / "out" / "mutants.json"
SECONDS_MAX: Final = 300
TARGET: Final = 0.95
SOURCES: Final = ("clients/python/src", "hub/src", "adapters/src")
COPIED: Final = (*SOURCES, "tests", "proto", "pyproject.toml")
SLOW: Final = "not a_day_without"


def main() -> int:
    """0 when the share that was killed reaches the target."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--only", help="mutants whose name contains this")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--again", action="store_true", help="forget what was decided before")
    told = parser.parse_args()
    known = json.loads(REPORT.read_text()) if REPORT.exists() and not told.again else {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crossdock-mutants-") as directory:
        for mutant in MUTANTS:
            wanted = not told.only or told.only in mutant.name
            if not wanted or known.get(mutant.name, {}).get("text") == _text(mutant):
                continue
            if time.monotonic() - started > told.seconds:
                break
            known[mutant.name] = decide(mutant, Path(directory) / "tree")
            REPORT.parent.mkdir(exist_ok=True)
            REPORT.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
            print(f"{known[mutant.name]['verdict']:<9} {mutant.name}", flush=True)
    return _summary(known)


def _text(mutant: Mutant) -> list[str]:
    return [mutant.file, mutant.old, mutant.new, *mutant.tests]


def _summary(known: dict[str, Any]) -> int:
    decided = [known[mutant.name] for mutant in MUTANTS if mutant.name in known]
    killed = sum(each["verdict"] == "killed" for each in decided)
    print(f"{killed} of {len(decided)} killed, {len(MUTANTS) - len(decided)} not decided yet")
    for mutant in MUTANTS:
        if known.get(mutant.name, {}).get("verdict") == "survived":
            print(f"survived: {mutant.name} ({mutant.file})")
    return 0 if len(decided) == len(MUTANTS) and killed >= TARGET * len(decided) else 1


def decide(mutant: Mutant, tree: Path) -> dict[str, Any]:
    """Run the tests of a mutant one after the other until one notices."""
    started = time.monotonic()
    shutil.rmtree(tree, ignore_errors=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tree / name, ignore=ignored)
        else:
            shutil.copy(source, tree / name)
    mutant.apply(tree)
    verdict, by = "survived", ""
    for test in mutant.tests:
        if not _passes(test, tree):
            verdict, by = "killed", test
            break
    seconds = round(time.monotonic() - started, 1)
    return {"verdict": verdict, "by": by, "seconds": seconds, "text": _text(mutant)}


def _passes(test: str, tree: Path) -> bool:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(tree / source) for source in SOURCES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPYCACHEPREFIX": str(tree / "no-bytecode"),
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-k", SLOW, test]
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            capture_output=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        # A program that never ends is noticed by whoever waits for the tests.
        return False
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{test} did not run:\n{done.stdout.decode()[-2000:]}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
