"""Applies each seeded fault to a copy of the tree and asks the tests: `make mutants`.

First the tests have to pass on a copy without a fault, beside as much other work: a test that fails
anyway notices nothing, and its mutants stay undecided. Resumable: what is decided for a mutant, the
file that it breaks and its tests is kept in out/mutants.json, until one of them changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import Queue
from typing import Any, Final, TypeVar

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, Mutant

REPORT: Final = ROOT / "out" / "mutants.json"
SECONDS_MAX: Final = 300
JOBS: Final = 2
TARGET: Final = 0.95
SOURCES: Final = ("clients/python/src", "hub/src", "adapters/src")
# Also what tests read: the manual, for one.
COPIED: Final = (*SOURCES, "tests", "proto", "docs", "pyproject.toml")
BYTECODE: Final = "bytecode"
SLOW: Final = "not a_day_without"
Thing = TypeVar("Thing")
Told = TypeVar("Told")


def main() -> int:
    """0 when the share that was killed reaches the target."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--only", help="mutants whose name contains this")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin nothing after so long")
    parser.add_argument("--again", action="store_true", help="forget what was decided before")
    parser.add_argument("--jobs", type=int, default=JOBS, help="at a time")
    told = parser.parse_args()
    known = json.loads(REPORT.read_text()) if REPORT.exists() and not told.again else {}
    # As the copies that are asked have it; who saves a file meanwhile asks again.
    texts = {mutant.name: text_of(mutant) for mutant in MUTANTS}
    known = {name: one for name, one in known.items() if one["text"] == texts.get(name)}
    wanted = [
        mutant
        for mutant in MUTANTS
        if (not told.only or told.only in mutant.name) and mutant.name not in known
    ]
    until = time.monotonic() + told.seconds
    with tempfile.TemporaryDirectory(prefix="crossdock-mutants-") as directory:
        trees = Trees(Path(directory), told.jobs)
        failing = {
            test for test, passed in trees.each(_tests_of(wanted), _passes, until) if not passed
        }
        for test in sorted(failing):
            print(f"fails on the code as it is, so it notices nothing: {test}", flush=True)
        asked = [mutant for mutant in wanted if not failing & set(mutant.tests)]
        for mutant, verdict in trees.each(asked, decide, until):
            known[mutant.name] = verdict | {"text": texts[mutant.name]}
            REPORT.parent.mkdir(exist_ok=True)
            REPORT.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
            print(f"{verdict['verdict']:<9} {mutant.name}", flush=True)
    return _summary(known)


class Trees:
    """Copies of the code, one for each job, so that several are broken at a time."""

    def __init__(self, directory: Path, jobs: int) -> None:
        self._free: Queue[Path] = Queue()
        for number in range(jobs):
            tree = directory / f"tree-{number}"
            _copy(tree)
            self._free.put(tree)
        self._jobs = jobs

    def each(
        self, things: Sequence[Thing], ask: Callable[[Thing, Path], Told], until: float
    ) -> Iterator[tuple[Thing, Told]]:
        """What `ask` says of each thing in a tree of its own, as it is said. until: monotonic s."""
        threads = ThreadPoolExecutor(self._jobs)
        try:
            asked = {threads.submit(self._one, thing, ask, until): thing for thing in things}
            for done in as_completed(asked):
                if (told := done.result()) is not None:
                    yield asked[done], told
        finally:
            threads.shutdown(cancel_futures=True)

    def _one(self, thing: Thing, ask: Callable[[Thing, Path], Told], until: float) -> Told | None:
        if time.monotonic() > until:
            return None
        tree = self._free.get()
        try:
            return ask(thing, tree)
        finally:
            self._free.put(tree)


def _tests_of(mutants: Sequence[Mutant]) -> list[str]:
    return sorted({test for mutant in mutants for test in mutant.tests})


def text_of(mutant: Mutant) -> list[str]:
    """What a verdict is about: also the file as it is, and what its tests say today."""
    said = (ROOT / mutant.file).read_bytes()
    for path in sorted({ROOT / test.split("::")[0] for test in mutant.tests}):
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        said += b"".join(file.read_bytes() for file in files)
    return [mutant.old, mutant.new, *mutant.tests, hashlib.sha256(said).hexdigest()]


def _summary(known: dict[str, Any]) -> int:
    decided = [known[mutant.name] for mutant in MUTANTS if mutant.name in known]
    killed = sum(each["verdict"] == "killed" for each in decided)
    print(f"{killed} of {len(decided)} killed, {len(MUTANTS) - len(decided)} not decided yet")
    for mutant in MUTANTS:
        if known.get(mutant.name, {}).get("verdict") == "survived":
            print(f"survived: {mutant.name} ({mutant.file})")
    return 0 if len(decided) == len(MUTANTS) and killed >= TARGET * len(decided) else 1


def decide(mutant: Mutant, tree: Path) -> dict[str, Any]:
    """Run the tests of a mutant one after the other until one notices; mend the tree."""
    started = time.monotonic()
    file = tree / mutant.file
    whole = file.read_bytes()
    verdict, by = "survived", ""
    try:
        mutant.apply(tree)
        _forget_bytecode(tree, file)
        for test in mutant.tests:
            if not _passes(test, tree):
                verdict, by = "killed", test
                break
    finally:
        file.write_bytes(whole)
        _forget_bytecode(tree, file)
    seconds = round(time.monotonic() - started, 1)
    return {"verdict": verdict, "by": by, "seconds": seconds}


def _forget_bytecode(tree: Path, file: Path) -> None:
    """A fault that leaves the size and comes within the same second would not be compiled anew."""
    beside = tree / BYTECODE / file.parent.relative_to(file.anchor)
    for each in beside.glob(f"{file.stem}.*.pyc"):
        each.unlink()


def _copy(tree: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tree / name, ignore=ignored)
        else:
            shutil.copy(source, tree / name)


def _passes(test: str, tree: Path) -> bool:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(tree / source) for source in SOURCES),
        "PYTHONPYCACHEPREFIX": str(tree / BYTECODE),
    }
    # Without it every run compiles all that it imports, which takes longer than most tests.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
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
