"""Whether database and bus belong together, or one of them was put back from a back-up.

The ledger's generation grows while work is begun. It is stored first and told to the bus afterwards
(as metadata of the event stream), so a bus that knows a later one than the database has seen work
that this database does not remember: nothing that is open may be called before its vendor was
asked.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog
from crossdock.bus import EVENT_STREAM

from crossdock_hub.bus.errors import BusError
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.committer import Committed, Committer
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.registry import compile_endpoint
from crossdock_hub.keeping import keep
from crossdock_hub.records import Difference, EndpointRecord, Mark, Tie
from crossdock_hub.store import Store, StoreFailure, Transaction
from crossdock_hub.store import bus_rows as rows
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.rows import ENDPOINTS

log = structlog.get_logger("crossdock.tie")

DATABASE_METADATA: Final = "crossdock-database"
GENERATION_METADATA: Final = "crossdock-generation"

DATABASE_OLDER: Final = "DATABASE_OLDER"
BUS_OLDER: Final = "BUS_OLDER"
OTHER_DATABASE: Final = "OTHER_DATABASE"


# A delivery has fewer attempts than this many bits count, so tokens that go on from a generation of
# the ledger are above all that were given out before it.
ATTEMPTS_BITS: Final = 20


def read_tie(metadata: Mapping[str, str] | None) -> Tie | None:
    """What the bus was told last; None: nothing, or nothing that can be read."""
    told = metadata or {}
    number = told.get(GENERATION_METADATA, "")
    if not told.get(DATABASE_METADATA) or not number.isdecimal():
        return None
    return Tie(told[DATABASE_METADATA], int(number))


def judge(database: Tie, bus: Tie | None) -> str:
    """How the two differ; "" when they belong together. The bus may lag by one generation."""
    if bus is None:
        return ""
    if bus.database != database.database:
        return OTHER_DATABASE
    if bus.generation > database.generation:
        return DATABASE_OLDER
    return BUS_OLDER if bus.generation < database.generation - 1 else ""


def found(kind: str, sentence: str, now: int, count: int = 1) -> Difference:
    """A difference that was found just now."""
    return Difference(kind, sentence, count, now, now)


async def compare_at_start(
    connection: Transaction, metadata: Mapping[str, str] | None, newest_at: int, now: int
) -> tuple[Tie, str]:
    """Compare, and put everything in doubt that may have been done since the database was copied.

    newest_at: the latest time that is stored. Returns the tie from now on, and the kind of
    difference.
    """
    own = await rows.tie(connection) or Tie(str(uuid.uuid4()), 0)
    bus = read_tie(metadata)
    kind = judge(own, bus)
    told = bus.generation if bus is not None and kind != OTHER_DATABASE else 0
    fresh = Tie(own.database, max(own.generation, told + 1))
    await rows.keep_tie(connection, fresh)
    if not kind:
        return fresh, kind
    doubted = 0
    if kind == DATABASE_OLDER:
        floor = fresh.generation << ATTEMPTS_BITS
        doubted = await rows.doubt_open_deliveries(connection, newest_at, now, floor)
    sentence = {
        DATABASE_OLDER: "the database is older than the bus: it was put back from a back-up; "
        f"{doubted} open deliveries are looked up at their vendors before any is called, and "
        "nothing begins until every lease of the time that is lost has ended",
        BUS_OLDER: "the bus is older than the database: it was put back from a back-up; "
        "what it lacks is published again from the database",
        OTHER_DATABASE: "the bus was used with another database before; "
        "what that one knew is not known here",
    }[kind]
    await rows.note_differences(connection, [found(kind, sentence, now)])
    log.error("database and bus differ", kind=kind, what=sentence)
    return fresh, kind


async def hold_calls(
    connection: Transaction, endpoints: Sequence[EndpointRecord], now: int, limits: Limits
) -> list[EndpointRecord]:
    """Let nothing begin before every lease that the lost time may have given has run out: whoever
    holds one may still call, and nobody here knows of it. Returns the endpoints."""
    held = [
        replace(each, throttled_until=max(each.throttled_until or 0, now + _longest(each, limits)))
        for each in endpoints
    ]
    await write_rows(connection, [(ENDPOINTS, held)])
    return held


def _longest(record: EndpointRecord, limits: Limits) -> int:
    """Microseconds of the longest lease that an endpoint's calls ask for."""
    operations = compile_endpoint(record, limits).operations.values()
    calls = [spec.call_seconds for spec in operations] or [limits.lease_seconds_default]
    seconds = min(max(calls) + limits.lease_margin_seconds, limits.lease_seconds_max)
    return int(seconds * SECOND)


def noted(tie: Tie) -> dict[str, str]:
    """A tie as the bus is told of it."""
    return {DATABASE_METADATA: tie.database, GENERATION_METADATA: str(tie.generation)}


class TieKeeper:
    """Moves the generation on while work is begun: first in the database, then on the bus."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        limits: Limits,
        committer: Committer,
        tie: Tie,
        clock: Callable[[], int],
        told: int = 0,
    ) -> None:
        """told: the generation that the bus knows already; 0: none."""
        self._store = store
        self._bus = bus
        self._limits = limits
        self._committer = committer
        self._tie = tie
        self._clock = clock
        self._told = told
        self._work_begun = False
        self._task: asyncio.Task[None] | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """What the bus was told last: a stream that is made anew is told it again."""
        return noted(replace(self._tie, generation=self._told))

    def committed(self, batch: Committed) -> None:
        """A batch is durable: an attempt in it is work that a copy of before does not know."""
        if not self._work_begun:
            self._work_begun = any(key[0] == "attempt" for key in batch.changes.records)

    def report(self, kind: str, sentence: str, count: int) -> None:
        """Keep a difference, so that an operator can see it later."""
        difference = found(kind, sentence, self._clock(), count)
        self._committer.mark(Mark(differences=[difference]))

    def start(self) -> None:
        """Begin to follow the ledger."""
        self._task = keep("tie", self._run)

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.step()
            except (BusError, StoreFailure) as error:
                log.debug("the tie waits", cause=str(error))
            await asyncio.sleep(self._limits.tie_seconds)

    async def step(self) -> None:
        """One move: tell the bus what is stored, or store that there was work since."""
        if self._told != self._tie.generation:
            async with self._store.read() as connection:
                stored = await rows.tie(connection)
            if stored == self._tie:
                await self._bus.set_metadata(EVENT_STREAM, noted(stored))
                self._told = stored.generation
        elif self._work_begun:
            self._work_begun = False
            self._tie = Tie(self._tie.database, self._tie.generation + 1)
            self._committer.mark(Mark(generation=self._tie.generation))
