"""What a caller waits for an order beside a load of master data, to what it waits without one.

`crossdock load` writes items as fast as the hub takes them, in a process of its own; a caller
creates orders at a steady pace. Both stages are taken in turns.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
from fixtures_hub import RunningHub, deployment
from fixtures_nats import eventually
from story import seed_master_data

from tests.load.callers import Callers
from tests.load.measured import Figure, Options, percentile

PER_SECOND: Final = 20
SECONDS: Final = 15.0
# More than any hub loads in the time of a stage; the load is ended with it.
ROWS: Final = 200_000
START_SECONDS: Final = 60.0
TARGET: Final = 2.0


async def measure(directory: Path, options: Options) -> list[Figure]:
    """p50 and p99 of the calls, alone and beside a load, and how fast that went on."""
    hub = RunningHub(directory / "hub", deployment(0)).start()
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    rates: list[float] = []
    seconds = SECONDS * options.scale
    try:
        await seed_master_data(hub)
        for turn in range(options.repetitions):
            alone.append(await _waits(hub, seconds))
            file = _items(directory / f"items-{turn}.csv", turn)
            with _loading(hub, file):
                before = await _begun(hub)
                started = time.monotonic()
                beside.append(await _waits(hub, seconds))
                rates.append((_items_of(hub) - before) / (time.monotonic() - started))
            assert rates[-1] > 0, "nothing was loaded beside the calls"
    finally:
        hub.kill()
    p50 = [percentile(each, 0.5) for each in beside]
    p99 = [percentile(each, 0.99) for each in beside]
    least50, least99 = (
        [percentile(each, 0.5) for each in alone],
        [percentile(each, 0.99) for each in alone],
    )

    def waits(name: str, found: list[float], floor: list[float]) -> Figure:
        return Figure("beside_load", name, "ms", found, "alone", floor, TARGET, at_most=True)

    return [
        waits("a call beside a load, p50", p50, least50),
        waits("  p99", p99, least99),
        Figure("beside_load", "  rows loaded meanwhile", "rows/s", rates),
    ]


async def _waits(hub: RunningHub, seconds: float) -> list[float]:
    """Milliseconds of each call, sent at a steady pace whatever became of those before."""
    async with grpc.aio.insecure_channel(hub.address) as channel:
        callers = Callers(channel, hub.token("oms"))
        await callers.one()
        pending: list[asyncio.Task[float]] = []
        begun = time.monotonic()
        for number in range(int(seconds * PER_SECOND)):
            await asyncio.sleep(max(0.0, begun + number / PER_SECOND - time.monotonic()))
            pending.append(asyncio.create_task(_timed(callers)))
        return list(await asyncio.gather(*pending))


async def _timed(callers: Callers) -> float:
    begun = time.perf_counter()
    await callers.one()
    return (time.perf_counter() - begun) * 1e3


def _items(path: Path, turn: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.write("number,description\n")
        file.writelines(f"LOAD-{turn}-{n},Thing {n}\n" for n in range(ROWS))
    return path


@contextmanager
def _loading(hub: RunningHub, file: Path) -> Iterator[None]:
    """A load under way, until its end here."""
    command = [sys.executable, "-m", "crossdock.cli", "load", "items", str(file), "--yes"]
    environment = hub.environment() | {
        "CROSSDOCK_ADDRESS": hub.address,
        "CROSSDOCK_TOKEN_FILE": str(hub.token_file("netsuite")),
    }
    shown = file.with_suffix(".shown")
    with shown.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            yield
            assert process.poll() is None, shown.read_text()
        finally:
            process.kill()
            process.wait()


async def _begun(hub: RunningHub) -> int:
    """How many items there are once the load writes."""
    before, written = _items_of(hub), 0

    def writes() -> bool:
        nonlocal written
        written = _items_of(hub)
        return written > before

    await eventually(writes, "the first row of the load", START_SECONDS)
    return written


def _items_of(hub: RunningHub) -> int:
    ((count,),) = hub.query("SELECT count(*) FROM objects WHERE kind = 'item'")
    return int(count)
