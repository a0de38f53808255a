"""Runs the fault tests over real processes: `make faults`, `make faults-full`.

`--only G1` runs one test, `--seed 1004` one piece of it again with the same orders, the same
misfortune and the same schedule of kills, `--pieces 3` at most so many more. What has been run is
kept under out/faults/, so that a long run goes on where it stopped; `--again` starts over.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# What starts hubs and buses for the tests starts them here; it lies beside this folder.
sys.path.insert(0, str(ROOT / "tests"))

from tests.faults.progress import RESULT, Progress  # noqa: E402
from tests.faults.report import HEADING, line, table, write_report  # noqa: E402
from tests.faults.trials.catalogue import TRIALS  # noqa: E402
from tests.faults.trials.trial import Piece, Result, Run, Size, Trial  # noqa: E402

OUT: Final = ROOT / "out" / "faults"
FIRST_SEED: Final = 1_001
BASELINE_SEED: Final = 1


def main() -> int:
    """0 when everything that ran kept its promise and was enough."""
    told = _arguments()
    mode = "full" if told.full else "quick"
    chosen = [TRIALS[name] for name in told.only or TRIALS]
    progress = Progress(OUT / mode)
    if told.table:
        print(table(chosen, progress))
        return 0
    print(HEADING, flush=True)
    rows = []
    for trial in chosen:
        if told.again:
            progress.forget(trial.id)
        size = trial.full if told.full else trial.quick
        if told.seed is not None:
            seeds = [told.seed]
        else:
            seeds = [FIRST_SEED + number for number in range(size.pieces)]
        _run_pieces(trial, replace(size, pieces=1), seeds, progress, told)
        if trial.baseline is not None and told.seed is None and not told.no_baseline:
            _run_baseline(trial, progress)
        rows.append(line(trial, size, progress))
        print(rows[-1].text, flush=True)
    write_report(ROOT / "out" / "faults-report.json", mode, TRIALS.values(), progress)
    return 0 if all(row.passed for row in rows) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the counts of the table")
    parser.add_argument("--only", action="append", choices=TRIALS, help="repeatable")
    parser.add_argument("--seed", type=int, help="run this one piece again")
    parser.add_argument("--pieces", type=int, help="at most so many new pieces of each test")
    parser.add_argument("--again", action="store_true", help="forget what has been run")
    parser.add_argument("--no-baseline", action="store_true", help="without the naive adapters")
    parser.add_argument("--table", action="store_true", help="run nothing; print what was run")
    parser.add_argument("--keep", action="store_true", help="keep the processes' files and logs")
    return parser.parse_args()


def _run_pieces(
    trial: Trial, size: Size, seeds: list[int], progress: Progress, told: argparse.Namespace
) -> None:
    left = told.pieces if told.pieces is not None else len(seeds)
    for seed in seeds:
        if left == 0:
            return
        if told.seed is None and progress.has(trial.id, seed):
            continue
        left -= 1
        directory = progress.directory(trial.id, seed)
        result, seconds = _one(Piece(trial.id, seed, size, directory), trial.run)
        progress.put(trial.id, seed, result, seconds)
        for sentence in (*result.violations, *result.broken):
            print(f"  {trial.id} seed {seed}: {sentence}", flush=True)
        if result.passed and not told.keep:
            _tidy(directory)


def _run_baseline(trial: Trial, progress: Progress) -> None:
    assert trial.baseline is not None
    for number in range(trial.baseline_size.pieces):
        seed = BASELINE_SEED + number
        if progress.has(trial.id, seed):
            continue
        directory = progress.directory(trial.id, seed)
        piece = Piece(trial.id, seed, replace(trial.baseline_size, pieces=1), directory)
        result, seconds = _one(piece, trial.baseline)
        progress.put(trial.id, seed, result, seconds)
        _tidy(directory)


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
