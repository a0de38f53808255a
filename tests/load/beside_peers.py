"""Crossdock beside the same flow as it is usually built: how fast, and what kills lose and double.

Orders are created and approved by callers that repeat what nobody answered, and have to be booked
by the vendor once each. The vendor's own books are the judge. Calm rounds and rounds with kills are
taken in turns; both sides get the same orders and the same kill -9 at the same places of the load,
drawn from a seed: of the service, and of one of the processes that call the vendor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from fixtures_nats import eventually

from tests.faults.yard.processes import Process
from tests.load.measured import Figure, Options
from tests.load.peers.systems import Crossdock, NoAnswer, Taker, Usual

SIDES: Final[tuple[type[Taker], ...]] = (Crossdock, Usual)
WRITERS: Final = 32
ORDERS: Final = 400
KILLED_ROUNDS: Final = 5
# In each of them.
SERVICE_KILLS, CONSUMER_KILLS = 3, 5
PAUSE_SECONDS: Final = 0.1
# What the vendor needs for a booking.
WORK_SECONDS: Final = 0.02
# A place of the load is waited for so long; a service that does not come back ends the bench.
ANSWER_SECONDS_MAX: Final = 120.0
# Longer than a lease, an ack wait and the look-ups after it, so that what is still to come comes.
STILL_SECONDS: Final = 15.0
BOOKED_SECONDS_MAX: Final = 180.0


@dataclass
class Round:
    """What came of one load at one side. answered: calls that were answered OK."""

    answered: int = 0
    approved: set[str] = field(default_factory=set)
    seconds: float = 0.0
    booked_seconds: float = 0.0
    bookings: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> int:
        """Orders whose approval was answered OK, and that the vendor never booked."""
        return len(self.approved - set(self.bookings))

    @property
    def doubled(self) -> int:
        """Bookings beyond the first of an order."""
        return sum(count - 1 for count in self.bookings.values())


async def measure(directory: Path, options: Options) -> list[Figure]:
    """Rates of calm rounds, and the counts of rounds with kills."""
    orders = options.count(ORDERS)
    calm: dict[str, list[Round]] = {side.name: [] for side in SIDES}
    killed: dict[str, list[Round]] = {side.name: [] for side in SIDES}
    async with _vendor(directory) as vendor, contextlib.AsyncExitStack() as ends:
        takers = []
        for side in SIDES:
            taker = side(directory / side.__name__.lower())
            ends.push_async_callback(taker.stop)
            await taker.start(f"{vendor.url}/{side.__name__.lower()}")
            takers.append(taker)
        for turn in range(options.repetitions):
            for taker in takers:
                calm[taker.name].append(await _round(taker, vendor, f"C{turn}", orders))
        for turn in range(options.count(KILLED_ROUNDS)):
            for taker in takers:
                kills = _kills(turn, orders)
                killed[taker.name].append(await _round(taker, vendor, f"K{turn}", orders, kills))
    return _figures(calm, killed)


class Vendor:
    """The sandbox of the fault tests, which books what it is asked for and honours no keys."""

    def __init__(self, url: str, control_url: str) -> None:
        self.url = url
        self._control_url = control_url

    async def bookings(self, taker: Taker, prefix: str) -> Counter[str]:
        """How often each order of a round is in its books."""
        name = type(taker).__name__.lower()
        url = f"{self._control_url}/books"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            effects = (await answer.json())["effects"]
        mine = (e["subject"] for e in effects if e["endpoint"] == name)
        return Counter(subject for subject in mine if subject.startswith(f"{prefix}-"))


@contextlib.asynccontextmanager
async def _vendor(directory: Path) -> AsyncIterator[Vendor]:
    ready = directory / "vendor.json"
    mixes = {side.__name__.lower(): {"work_seconds": WORK_SECONDS} for side in SIDES}
    process = Process(
        "vendor", directory / "vendor.log", ready,
        "-m", "tests.faults.yard.sandbox", str(ready), "1", json.dumps(mixes),
    )  # fmt: skip
    process.spawn()
    try:
        told = await process.serving()
        yield Vendor(told["vendor_url"], told["control_url"])
    finally:
        process.kill()


def _kills(seed: int, orders: int) -> list[tuple[int, int]]:
    """(orders that are approved by then, which consumer; -1 for the service), in their order."""
    chance = random.Random(f"{seed}:kills")
    targets = [-1] * SERVICE_KILLS + [chance.randrange(100) for _ in range(CONSUMER_KILLS)]
    places = [chance.randrange(orders // 20, orders * 9 // 10) for _ in targets]
    return sorted(zip(places, targets, strict=True))


async def _round(
    taker: Taker, vendor: Vendor, prefix: str, orders: int, kills: Sequence[tuple[int, int]] = ()
) -> Round:
    told, numbers = Round(), iter(range(orders))
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(_write(taker, told, prefix, numbers))
        group.create_task(_kill(taker, told, kills))
    told.seconds = time.monotonic() - started
    booked_at = await _all_booked(taker, vendor, prefix, told, still=bool(kills))
    told.booked_seconds = booked_at - started
    return told


async def _write(taker: Taker, told: Round, prefix: str, numbers: Any) -> None:
    for number in numbers:
        name = f"{prefix}-{number:05}"
        known = await _insist(told, lambda name=name: taker.create(name))
        await _insist(told, lambda known=known: taker.approve(known))
        told.approved.add(name)


async def _insist(told: Round, call: Any) -> Any:
    """Repeat a call until it is answered OK."""
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while True:
        try:
            answer = await call()
        except NoAnswer:
            assert time.monotonic() < deadline, "nobody answers"
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        told.answered += 1
        return answer


async def _kill(taker: Taker, told: Round, kills: Sequence[tuple[int, int]]) -> None:
    for place, target in kills:
        await eventually(
            lambda place=place: len(told.approved) >= place, "orders", ANSWER_SECONDS_MAX
        )
        if target < 0:
            taker.kill_service()
        else:
            taker.kill_consumer(target)


async def _all_booked(
    taker: Taker, vendor: Vendor, prefix: str, told: Round, *, still: bool
) -> float:
    """When the vendor had booked the last. still: also wait for what may come after that."""
    deadline = time.monotonic() + BOOKED_SECONDS_MAX
    last = time.monotonic()
    while time.monotonic() < deadline:
        found = await vendor.bookings(taker, prefix)
        if found != told.bookings:
            told.bookings, last = found, time.monotonic()
        if not still and told.approved <= set(found):
            break
        if time.monotonic() - last > STILL_SECONDS:
            break
        await asyncio.sleep(0.05 if not still else 0.5)
    return last


def _figures(calm: dict[str, list[Round]], killed: dict[str, list[Round]]) -> list[Figure]:
    ours, theirs = (side.name for side in SIDES)

    def rate(name: str, of: Any) -> Figure:
        found = {side: [len(each.approved) / of(each) for each in calm[side]] for side in calm}
        return Figure("beside_peers", name, "orders/s", found[ours], theirs, found[theirs])

    def count(name: str, of: Any, target: float | None = None) -> Figure:
        found = {side: [float(sum(map(of, killed[side])))] for side in killed}
        return Figure("beside_peers", name, "", found[ours], theirs, found[theirs], target,
                      at_most=True)  # fmt: skip

    rounds = len(killed[ours])
    kills = f"{SERVICE_KILLS * rounds} + {CONSUMER_KILLS * rounds} kills"
    return [
        rate("orders approved, no kills", lambda each: each.seconds),
        rate("  until all are booked", lambda each: each.booked_seconds),
        count(f"{kills}: calls answered OK", lambda each: each.answered),
        count("  orders booked", lambda each: len(each.bookings)),
        count("  approved, never booked: lost", lambda each: each.lost, 0.0),
        count("  booked again: doubled", lambda each: each.doubled, 0.0),
    ]
