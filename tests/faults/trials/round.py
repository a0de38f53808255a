"""One round of load under faults: until every order is placed and nothing is open, then judged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from fixtures_nats import eventually

from tests.faults.history.endings import POISON
from tests.faults.history.records import History, Rpc, Run
from tests.faults.trials.trial import Piece
from tests.faults.yard.adapter import SETTLE_SECONDS
from tests.faults.yard.load import Load
from tests.faults.yard.noting import Notes, of_stream, of_vendor
from tests.faults.yard.site import Plan, Site, chance_of, opened

# A client repeats by itself what was not answered; that takes its time too.
WRITE = "s a write, its client's repeats included"
QUIET_SECONDS = 120.0
PUBLISHED_SECONDS = 30.0
PLACED_SECONDS = 420.0
POLL_SECONDS = 0.1
# Open, unless it waits behind something that only a person can move.
OPEN_WORK = """
SELECT count(*) FROM deliveries d
WHERE d.state IN ('READY', 'DISPATCHED', 'IN_FLIGHT', 'UNKNOWN', 'RESOLVING')
   OR (d.state = 'HELD' AND NOT EXISTS (
        SELECT 1 FROM deliveries p WHERE p.endpoint = d.endpoint
        AND p.ordering_key = d.ordering_key AND p.state IN ('PARKED', 'REJECTED')))
"""


@dataclass(slots=True)
class Round:
    """A site under load."""

    piece: Piece
    site: Site
    load: Load
    notes: Notes
    # Deliveries that a person skipped in it.
    skipped: list[str] = field(default_factory=list)

    def open_work(self) -> int:
        """Deliveries that something still has to happen to by itself."""
        ((count,),) = self.site.hub.query(OPEN_WORK)
        return int(count)

    async def quiet(self) -> float:
        """Wait until nothing is open and everything is on the stream; seconds it took.

        Returns after the plan's patience all the same: the checker then names what is open.
        """
        started = time.monotonic()
        patience = self.site.plan.patience_seconds
        while time.monotonic() < started + max(patience, PUBLISHED_SECONDS):
            unpublished = self.site.hub.count("events", "published_at IS NULL")
            if not unpublished and not (patience and self.open_work()):
                break
            await asyncio.sleep(POLL_SECONDS)
        return time.monotonic() - started

    async def history(self) -> History:
        """Everything that the round left.

        Where work is still open the adapters go first: books and ledger are read one after the
        other, and what was done in between would look like a call that nobody began.
        """
        if not self.site.plan.patience_seconds:
            await self.site.stop_adapters()
        run = Run(
            self.piece.trial,
            self.piece.seed,
            self.load.targets,
            self.load.speaks,
            tuple(self.site.endpoints),
            quiet=self.site.plan.patience_seconds > 0,
            supersedes=self.load.supersedes,
            settle_seconds=SETTLE_SECONDS,
            skipped=tuple(self.skipped),
            parks=(POISON,) if self.site.plan.poisoned else (),
            numbers_go_unused=self.site.numbers_go_unused,
        )
        return History(
            run,
            (
                *self.notes.records,
                *self.load.of_hub(),
                *await of_stream(self.site.bus_address),
                *of_vendor(await self.site.books()),
            ),
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """When a fault strikes: so much later than so many orders are placed."""

    orders: int
    pause_seconds: float


def moments(piece: Piece, what: str, pause_seconds_max: float) -> list[Moment]:
    """The schedule of a piece's faults, drawn from its seed and spread over its load."""
    chance, size = chance_of(piece.seed, what), piece.size
    apart = size.faults + 1
    return [
        Moment((number + 1) * size.orders // apart, chance.uniform(0, pause_seconds_max))
        for number in range(size.faults)
    ]


async def reached(round_: Round, moment: Moment) -> None:
    """Return when a fault has to strike."""
    await progress(round_, moment.orders)
    await asyncio.sleep(moment.pause_seconds)


Misfortune = Callable[[Round], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def played(
    piece: Piece,
    plan: Plan,
    misfortunes: Sequence[Misfortune],
    writers: int = 8,
    load_of: type[Load] = Load,
    site_of: type[Site] = Site,
) -> AsyncIterator[Round]:
    """A round that is over: all orders are placed, all faults made, and nothing is open.

    A misfortune runs beside the load and returns when it has done its share; those still running
    when everything is placed and all others have returned are waited for.
    """
    notes = Notes()
    async with opened(piece.directory, plan, notes, site_of) as site:
        load = load_of(site, piece.size.orders, writers)
        round_ = Round(piece, site, load, notes)
        reading = asyncio.create_task(load.read())
        try:
            async with asyncio.timeout(PLACED_SECONDS), asyncio.TaskGroup() as together:
                together.create_task(load.run())
                for make in misfortunes:
                    together.create_task(make(round_))
            await round_.quiet()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        yield round_


def write_seconds(history: History) -> list[float]:
    """How long each caller waited for the answer to a write."""
    return [(call.end - call.start) / 1e6 for call in history.of(Rpc)]


async def progress(round_: Round, orders: int) -> bool:
    """Wait until so many orders are placed; False when there will be no more."""
    goal = min(orders, round_.load.orders)
    await eventually(lambda: round_.load.done >= goal, f"{goal} orders placed", PLACED_SECONDS)
    return round_.load.done < round_.load.orders
