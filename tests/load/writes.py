"""Durable unary writes by 1 to 256 callers, to a grpc.aio echo behind the same interceptors.

Of one caller the time of an answer counts: to the echo's and one bare commit's together, which is
the least that a durable answer takes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import grpc
from fixtures_hub import RunningHub, deployment
from story import seed_master_data

from tests.load.callers import Callers
from tests.load.measured import Figure, Options
from tests.load.processes import serving, told_by

CALLERS: Final = (1, 16, 64, 256)
# Those whose rate is aimed at, and compared with an echo that has no interceptor, too.
AIMED: Final = 64
TARGET: Final = 0.65
LONE_TARGET: Final = 3.0


async def measure(directory: Path, options: Options) -> list[Figure]:
    """The hub, the echo behind its interceptors, a bare one and bare commits, in turns."""
    hub = RunningHub(directory / "hub", deployment(0)).start()
    try:
        await seed_master_data(hub)
        answer = directory / "answer"
        answer.write_bytes(await _one_answer(hub))
        return await asyncio.to_thread(_in_turns, hub, directory, answer, options)
    finally:
        hub.kill()


async def _one_answer(hub: RunningHub) -> bytes:
    async with grpc.aio.insecure_channel(hub.address) as channel:
        return await Callers(channel, hub.token("oms")).one()


def _in_turns(hub: RunningHub, directory: Path, answer: Path, options: Options) -> list[Figure]:
    told: dict[tuple[str, int], list[Any]] = {}
    commits: list[float] = []
    seconds, size = str(options.seconds), str(len(answer.read_bytes()))
    with (
        serving("floors_echo", "traced", str(answer)) as traced,
        serving("floors_echo", "bare", str(answer)) as bare,
    ):
        where = {"hub": hub.address, "traced": traced, "bare": bare}
        for _ in range(options.repetitions):
            for count in CALLERS:
                for name, address in where.items():
                    if name == "bare" and count != AIMED:
                        continue
                    arguments = (address, str(hub.token_file("oms")), str(count), seconds)
                    told.setdefault((name, count), []).append(told_by("callers", *arguments))
            commits.append(told_by("floors_commit", str(directory), size, seconds)["p50"])
    return _figures(told, commits)


def _figures(told: dict[tuple[str, int], list[Any]], commits: list[float]) -> list[Figure]:
    def of(name: str, count: int, what: str = "per_second") -> list[float]:
        return [each[what] for each in told[name, count]]

    figures = []
    for count in CALLERS:
        name = f"durable unary writes, {count} caller{'s' if count > 1 else ''}"
        target = TARGET if count == AIMED else None
        written, echoed = of("hub", count), of("traced", count)
        figures.append(
            Figure("writes", name, "calls/s", written, "echo, same interceptors", echoed, target)
        )
        if count == AIMED:
            bare = of("bare", count)
            figures.append(Figure("writes", "  beside it", "calls/s", written, "bare echo", bare))
    least = [sum(pair) for pair in zip(of("traced", 1, "p50"), commits, strict=True)]
    figures.append(
        Figure("writes", "  an answer to one caller, p50", "ms", of("hub", 1, "p50"),
               "echo and one bare commit", least, LONE_TARGET, at_most=True)
    )  # fmt: skip
    return figures
