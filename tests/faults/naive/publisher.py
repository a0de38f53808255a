"""G10 as it is usually built: a publisher that tries again, at a bus that nobody looks after."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import aiohttp
import nats.errors
import nats.js.errors
from fixtures_nats import eventually
from nats.aio.client import Client

from tests.faults.naive.plain_bus import SUBJECT, PlainBus, stored
from tests.faults.trials.trial import Piece, Result
from tests.faults.yard.volumes import fill, small_volume

MEBIBYTES = 96
# Of a message: its number, with so many digits.
DIGITS = 1024
PACE_SECONDS, RETRY_SECONDS = 0.02, 0.5
# Between two full volumes.
MESSAGES = 200
FULL_SECONDS = 3.0
LOOK_SECONDS = 60.0
# Twice as long as the hub has to be well again.
PATIENCE_SECONDS = 30.0
# What a probe of liveness usually asks.
PROBE = "healthz?js-enabled-only=true"


class Publisher:
    """Says each message until it is acknowledged. last_answer, last_failure: monotonic seconds."""

    def __init__(self, client: Client) -> None:
        self._jetstream = client.jetstream()
        self.acknowledged: set[bytes] = set()
        self.last_answer = self.last_failure = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        for number in itertools.count():
            message = f"{number:0{DIGITS}}".encode()
            while not await self._publish(message):
                self.last_failure = time.monotonic()
                await asyncio.sleep(RETRY_SECONDS)
            self.acknowledged.add(message)
            self.last_answer = time.monotonic()
            await asyncio.sleep(PACE_SECONDS)

    async def _publish(self, message: bytes) -> bool:
        try:
            await self._jetstream.publish(SUBJECT, message)
        except (TimeoutError, nats.errors.Error, nats.js.errors.Error):
            return False
        return True


async def naive_g10(piece: Piece) -> Result:
    """The volume is filled and has room again; what does not heal by itself is restarted."""
    with small_volume(piece.directory / "volume", MEBIBYTES) as volume:
        bus = PlainBus(piece.directory / "bus", volume / "store")
        await bus.start()
        try:
            return await _published(bus, volume, piece.size.faults)
        finally:
            bus.end()


async def _published(bus: PlainBus, volume: Path, faults: int) -> Result:
    healed: list[float] = []
    dead = alive = 0
    async with bus.client() as client:
        publisher = Publisher(client)
        running = asyncio.create_task(publisher.run())
        for _ in range(faults):
            seconds = await _filled_and_freed(publisher, volume)
            if seconds is not None:
                healed.append(seconds)
                continue
            dead += 1
            alive += await _is_alive(bus)
            bus.end()
            await bus.start()
            await _answered(publisher, time.monotonic(), LOOK_SECONDS)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        lost = publisher.acknowledged - await stored(client)
    counts = {
        "full volumes": faults,
        f"plain bus: dead {PATIENCE_SECONDS:g} s after there is room, until a restart": dead,
        f"of these alive for /{PROBE}": alive,
        "acknowledged messages": len(publisher.acknowledged),
        "lost of them": len(lost),
    }
    return Result(counts, measured={"s until one is acknowledged without a restart": healed})


async def _filled_and_freed(publisher: Publisher, volume: Path) -> float | None:
    """Seconds from room to an acknowledgement; None when none came in time."""
    goal = len(publisher.acknowledged) + MESSAGES
    await eventually(lambda: len(publisher.acknowledged) >= goal, "messages", LOOK_SECONDS)
    filler, started = fill(volume), time.monotonic()
    await eventually(lambda: publisher.last_failure > started, "a failure", LOOK_SECONDS)
    await asyncio.sleep(FULL_SECONDS)
    filler.unlink()
    freed = time.monotonic()
    try:
        await _answered(publisher, freed, PATIENCE_SECONDS)
    except AssertionError:
        return None
    return publisher.last_answer - freed


async def _answered(publisher: Publisher, since: float, seconds: float) -> None:
    await eventually(lambda: publisher.last_answer > since, "an acknowledgement", seconds)


async def _is_alive(bus: PlainBus) -> bool:
    url = f"http://127.0.0.1:{bus.monitor}/{PROBE}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status == 200
