"""G15: the bus brings every delivery three times, late and in any order."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

from bus_reading import unheard
from fixtures_nats import eventually
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.faults.history.records import Attempt, Delivery, Fault
from tests.faults.trials.naive_round import naive
from tests.faults.trials.round import QUIET_SECONDS, Round, played, progress
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.trials.virtual import shuffled
from tests.faults.yard.noting import now
from tests.faults.yard.site import SHORT_LIMITS, Plan, Site, chance_of, mix_of

COPIES = 2
LATE_SECONDS_MAX = 3.0
POLL_SECONDS = 0.2
LEASE_MICROSECONDS = int(SHORT_LIMITS["lease_seconds_max"] * 1e6)
DELIVERIES = "crossdock.v1.delivery.>"
EVENTS = "crossdock.v1.event.order.approved.*"
# Headers by which the server or the relay would see that it is a copy.
OURS = "x-copy"


class Copier:
    """Publishes what it sees twice more, each copy late by a time of its own."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self._jetstream = client.jetstream()
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: set[bytes] = set()
        self.copies = 0

    async def saw(self, message: Msg) -> None:
        # Seen before: our copy, or a publish that the sender repeated.
        if (message.headers or {}).get(OURS) or message.data in self._seen:
            return
        self._seen.add(message.data)
        for _ in range(COPIES):
            delay = self._chance.uniform(0.0, LATE_SECONDS_MAX)
            task = asyncio.create_task(self._later(message, delay))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _later(self, message: Msg, delay: float) -> None:
        await asyncio.sleep(delay)
        kept = {k: v for k, v in (message.headers or {}).items() if not k.startswith("Nats-")}
        headers = kept | {OURS: "1"}
        await self._jetstream.publish(message.subject, message.data, headers=headers)
        self.copies += 1

    async def idle(self) -> None:
        """Wait until every copy is out."""
        while self._tasks:
            await asyncio.gather(*self._tasks)


@contextlib.asynccontextmanager
async def _copying(site: Site, subject: str, seed: int) -> AsyncIterator[Copier]:
    address = site.hub.bus_address()
    client = Client()
    await client.connect(
        address.url, user=address.user, password=address.password, error_cb=unheard
    )
    try:
        copier = Copier(client, chance_of(seed, "copies"))
        await client.subscribe(subject, cb=copier.saw)
        yield copier
        await copier.idle()
    finally:
        await client.close()


async def _copy_all(round_: Round, subject: str) -> int:
    """Copy for as long as orders are placed and work is open; how many copies there were."""
    async with _copying(round_.site, subject, round_.piece.seed) as copier:
        await progress(round_, round_.load.orders)
        await eventually(lambda: not round_.open_work(), "no open work", QUIET_SECONDS)
        await copier.idle()
        round_.notes.add(Fault(now(), f"{copier.copies} copies", subject))
        return copier.copies


def begun_by_copies(attempts: Iterable[Attempt]) -> int:
    """Attempts that nothing but a copy explains: the one before was still going on, or had done
    it. On a slow machine a lease may run out, and what follows then is no copy's."""
    by_delivery: dict[str, list[Attempt]] = {}
    for each in attempts:
        by_delivery.setdefault(each.delivery_id, []).append(each)
    begun = 0
    for known in by_delivery.values():
        known.sort(key=lambda each: each.begun_at)
        for before, after in pairwise(known):
            until = before.begun_at + LEASE_MICROSECONDS
            ended = before.ended_at is not None and before.ended_at <= after.begun_at
            done = before.outcome in ("CONFIRMED", "REJECTED")
            begun += done if ended else after.begun_at < until
    return begun


async def run_g15(piece: Piece) -> Result:
    """Every dispatch three times; the ledger lets one of them begin."""
    copies = 0

    async def copy(round_: Round) -> None:
        nonlocal copies
        copies = await _copy_all(round_, DELIVERIES)

    plan = Plan(piece.seed, mix=mix_of("well"))
    async with played(piece, plan, [copy]) as round_:
        history = await round_.history()
    attempts = len(history.of(Attempt))
    rows = history.of(Delivery)
    counts = {
        "orders": round_.load.done,
        "deliveries": len(rows),
        "copies": copies,
        "attempts": attempts,
    }
    worked = sum(row.attempts > 0 for row in rows)
    broken = []
    if begun := begun_by_copies(history.of(Attempt)):
        broken.append(f"{begun} attempts began before the one before had failed: by copies")
    if copies < COPIES * worked:
        broken.append(f"only {copies} copies of {worked} deliveries")
    runs = shuffled(piece, piece.size.faults)
    counts["shuffled histories (virtual time)"] = len(runs)
    broken += [f"history {run.seed}: {text}" for run in runs for text in run.violations]
    broken += [f"history {r.seed} ends {r.states}" for r in runs if set(r.states) != {"CONFIRMED"}]
    return judged(history, piece.directory / "history.jsonl", counts, broken=broken)


async def _copy_events(round_: Round) -> None:
    async with _copying(round_.site, EVENTS, round_.piece.seed) as copier:
        await progress(round_, round_.load.orders)
        await asyncio.sleep(POLL_SECONDS)
        await copier.idle()


G15 = Trial(
    "G15",
    "each delivery comes three times, copies up to 3 s late and in any order",
    "vendors end as with single, ordered delivery: 0 doubled, 0 reordered, no copy is begun",
    run_g15,
    Size(1, orders=100, faults=50),
    Size(4, orders=250, faults=250),
    {"orders": 1_000, "shuffled histories (virtual time)": 1_000},
    baseline=lambda piece: naive(piece, "well", _copy_events),
    baseline_size=Size(1, orders=200),
)
