"""Runs pieces as processes of their own, a few at a time, those that measure seconds alone."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.trials.trial import Trial

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
    stuck: Callable[[Job], None],
    ended: Callable[[Trial], None],
) -> None:
    """Run every job. stuck: told of one that did not end; ended: of a test without more jobs."""
    left = Counter(job.trial.id for job in jobs)
    slots = asyncio.Semaphore(at_once)

    async def one(job: Job, limit: asyncio.Semaphore) -> None:
        async with limit:
            if not await _process(job, options):
                stuck(job)
        left[job.trial.id] -= 1
        if not left[job.trial.id]:
            ended(job.trial)

    await asyncio.gather(*(one(job, slots) for job in jobs if not job.trial.alone))
    alone = asyncio.Semaphore(1)
    await asyncio.gather(*(one(job, alone) for job in jobs if job.trial.alone))


async def _process(job: Job, options: Sequence[str]) -> bool:
    """Whether it ended by itself. What it started dies with it."""
    arguments = ["--only", job.trial.id, "--seed", str(job.seed), "--here", *options]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.run", *arguments, cwd=ROOT
    )
    try:
        await asyncio.wait_for(process.wait(), PIECE_SECONDS_MAX)
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return True
