"""Runs the fault tests over real processes: `make faults`, `make faults-full`.

`--only G1` runs one test, `--seed 1004` one piece of it again with the same orders, the same
misfortune and the same schedule of kills, `--pieces 3` at most so many more. Two pieces run at a
time, `--jobs` of them; those that compare times run alone. What has been run is kept under
out/faults/, so that a long run goes on where it stopped; `--again` starts over, which `--seed`
limits to its piece.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# What starts hubs and buses for the tests starts them here; it lies beside this folder.
sys.path.insert(0, str(ROOT / "tests"))

from tests.faults.progress import RESULT, Progress  # noqa: E402
from tests.faults.report import (  # noqa: E402
    HEADING,
    Line,
    line,
    table,
    took,
    words_not_kept,
    write_report,
)
from tests.faults.side_by_side import Job, run_jobs  # noqa: E402
from tests.faults.trials.catalogue import TRIALS  # noqa: E402
from tests.faults.trials.trial import Piece, Result, Run, Size, Trial  # noqa: E402

OUT: Final = ROOT / "out"
FIRST_SEED: Final = 1_001
BASELINE_SEED: Final = 1
JOBS: Final = 2
# How it ends: every promise kept, one broken (or less done than asked), or seconds missed in full.
KEPT: Final = 0
BROKEN: Final = 1
MISSED: Final = 3


def main() -> int:
    """KEPT, BROKEN, or MISSED where only a bound of a test that ran whole was missed."""
    told = _arguments()
    mode = "full" if told.full else "quick"
    chosen = [TRIALS[name] for name in told.only or TRIALS]
    progress = Progress(told.out / "faults" / mode)
    if told.here:
        return _run_here(chosen[0], told, progress)
    if told.table:
        print(table(chosen, progress))
        print(words_not_kept(chosen, progress), file=sys.stderr)
        return 0
    print(HEADING, flush=True)
    started = time.monotonic()
    rows: dict[str, Line] = {}

    def ended(trial: Trial) -> None:
        rows[trial.id] = line(trial, _size(trial, told), progress)
        print(rows[trial.id].text, flush=True)

    # One piece is run again beside the others, which stay as they are.
    if told.again and told.seed is None:
        for trial in chosen:
            progress.forget(trial.id)
    jobs = [job for trial in chosen for job in _jobs(trial, progress, told)]
    asyncio.run(run_jobs(jobs, told.jobs, _options(told), progress, ended))
    for trial in chosen:
        if trial.id not in rows:
            ended(trial)
    seconds = time.monotonic() - started
    print(f"{len(jobs)} pieces in {took(mode, seconds)}", flush=True)
    write_report(told.out / "faults-report.json", mode, TRIALS.values(), progress, seconds)
    return _status(rows.values())


def _status(rows: Iterable[Line]) -> int:
    """How the command ends. Reduced counts say too little about seconds to miss any."""
    rows = list(rows)
    if not all(row.passed for row in rows):
        return BROKEN
    return MISSED if any(row.missed for row in rows) else KEPT


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the counts of the table")
    parser.add_argument("--only", action="append", choices=TRIALS, help="repeatable")
    parser.add_argument("--seed", type=int, help="run this one piece again")
    parser.add_argument("--pieces", type=int, help="at most so many new pieces of each test")
    parser.add_argument("--jobs", type=int, default=JOBS, help="pieces at a time")
    parser.add_argument("--again", action="store_true", help="forget what has been run")
    parser.add_argument("--no-baseline", action="store_true", help="without the naive adapters")
    parser.add_argument("--table", action="store_true", help="run nothing; print what was run")
    parser.add_argument("--keep", action="store_true", help="keep the processes' files and logs")
    parser.add_argument("--out", type=Path, default=OUT, help="where all of it is kept")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _options(told: argparse.Namespace) -> list[str]:
    """What each piece's process is told too."""
    flags = [name for name in ("--full", "--keep") if getattr(told, name[2:])]
    return [*flags, "--out", str(told.out.resolve())]


def _size(trial: Trial, told: argparse.Namespace) -> Size:
    return trial.full if told.full else trial.quick


def _jobs(trial: Trial, progress: Progress, told: argparse.Namespace) -> list[Job]:
    """What is left to be run of a test; its baseline last."""
    if told.seed is not None:
        return [Job(trial, told.seed)]
    pieces = range(FIRST_SEED, FIRST_SEED + _size(trial, told).pieces)
    chosen = [seed for seed in pieces if not progress.has(trial.id, seed)][: told.pieces]
    if trial.baseline is not None and not told.no_baseline:
        naive = range(BASELINE_SEED, BASELINE_SEED + trial.baseline_size.pieces)
        chosen += [seed for seed in naive if not progress.has(trial.id, seed)]
    return [Job(trial, seed) for seed in chosen]


def _run_here(trial: Trial, told: argparse.Namespace, progress: Progress) -> int:
    """One piece in this process."""
    size, run = _size(trial, told), trial.run
    if told.seed < FIRST_SEED:
        assert trial.baseline is not None
        size = trial.baseline_size if told.full else trial.quick_baseline_size
        run = trial.baseline
    directory = progress.directory(trial.id, told.seed)
    result, seconds = _one(Piece(trial.id, told.seed, replace(size, pieces=1), directory), run)
    progress.put(trial.id, told.seed, result, seconds, trial.words)
    for sentence in (*result.violations, *result.broken):
        print(f"  {trial.id} seed {told.seed}: {sentence}", flush=True)
    if result.passed and not told.keep:
        _tidy(directory)
    return 0


def _one(piece: Piece, run: Run) -> tuple[Result, float]:
    """One piece on an empty directory. What stops it is a broken criterion, not the end of all."""
    shutil.rmtree(piece.directory, ignore_errors=True)
    piece.directory.mkdir(parents=True)
    started = time.monotonic()
    try:
        result = asyncio.run(run(piece))
    except (Exception, AssertionError) as error:
        traceback.print_exc()
        result = Result({}, broken=[f"the run ended early: {type(error).__name__}: {error}"])
    return result, time.monotonic() - started


def _tidy(directory: Path) -> None:
    """Keep the history and the result of a good piece; hub, bus and logs go."""
    for path in directory.iterdir():
        if path.name not in ("history.jsonl", RESULT):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    sys.exit(main())
