"""Runs pieces as processes of their own, a few at a time, those that compare times alone."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.progress import Progress
from tests.faults.trials.trial import Result, Trial

ROOT: Final = Path(__file__).resolve().parents[2]
# Longer than any piece takes on a busy machine; what takes longer hangs.
PIECE_SECONDS_MAX: Final = 1_500.0


@dataclass(frozen=True, slots=True)
class Job:
    """One piece that has to be run."""

    trial: Trial
    seed: int


async def run_jobs(
    jobs: Sequence[Job],
    at_once: int,
    options: Sequence[str],
    progress: Progress,
    ended: Callable[[Trial], None],
) -> None:
    """Run every job. ended: told of a test that has no more of them.

    A piece leaves its own result; of one whose process hangs or dies, this leaves that it did.
    """
    left = Counter(job.trial.id for job in jobs)
    slots = asyncio.Semaphore(at_once)

    async def one(job: Job, limit: asyncio.Semaphore) -> None:
        async with limit:
            await _run(job, options, progress)
        left[job.trial.id] -= 1
        if not left[job.trial.id]:
            ended(job.trial)

    await asyncio.gather(*(one(job, slots) for job in jobs if not job.trial.alone))
    alone = asyncio.Semaphore(1)
    await asyncio.gather(*(one(job, alone) for job in jobs if job.trial.alone))


async def _run(job: Job, options: Sequence[str], progress: Progress) -> None:
    # What an earlier run left would be taken for this one's, should it leave nothing.
    progress.forget_piece(job.trial.id, job.seed)
    started = time.monotonic()
    why = await _process(job, options)
    if why:
        seconds = time.monotonic() - started
        broken = Result({}, broken=[why])
        progress.put(job.trial.id, job.seed, broken, seconds, job.trial.words)


async def _process(job: Job, options: Sequence[str]) -> str:
    """ "" when it ended by itself and well, else how it ended. What it started dies with it."""
    process = await asyncio.create_subprocess_exec(*command(job, options), cwd=ROOT)
    try:
        status = await asyncio.wait_for(process.wait(), PIECE_SECONDS_MAX)
    except TimeoutError:
        return f"did not end within {PIECE_SECONDS_MAX:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return f"its process ended with {status}" if status else ""


def command(job: Job, options: Sequence[str]) -> list[str]:
    """What runs a piece in a process of its own."""
    arguments = ["--only", job.trial.id, "--seed", str(job.seed), "--here", *options]
    return [sys.executable, "-m", "tests.faults.run", *arguments]
