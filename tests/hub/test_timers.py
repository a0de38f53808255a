"""Timers fire on time, and read the store only when something is due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, cast

import pytest
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer, now_microseconds
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.dispatcher import CLOCK_SECONDS, Timers, look_pause_seconds
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.identity import Caller
from crossdock_hub.records import DeliveryRecord, EndpointRecord
from crossdock_hub.store import Store, rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Refused, Unit
from databases import KINDS, ServerDatabase, database_of, open_store
from decisions import CONTRACT
from fixtures_nats import eventually
from replayed_flows import ENDPOINT, delivery
from sqlalchemy import select

POKES = 10
# Longer than any of these tests: what fires was known, and not found by looking.
NEVER = 600.0
# A small part of that, in which a machine may do something else for some seconds.
LATE_SECONDS = 10.0
LEASE_SECONDS = 6.0
LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
# Of a timer that fires: what is due, what is due still or next, and what a batch of it tells.
READS_MAX = 8
LIMITS = Limits(timer_seconds=0.01, timer_look_seconds=NEVER)


class CountedStore:
    """A store as timers see it. reads: how often it was read."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reads = 0

    def read(self) -> AbstractAsyncContextManager[Any]:
        self.reads += 1
        return self.store.read()


class Backlogged:
    """A committer as timers see it, some of whose stored work waits. pokes: how often they asked it
    whether that may go out."""

    def __init__(self, committer: Committer) -> None:
        self.submit = committer.submit
        self.backlog_seconds = inf
        self.pokes = 0

    def poke(self) -> None:
        self.pokes += 1


class House:
    """A committer and timers on one store."""

    def __init__(self, store: Store, limits: Limits = LIMITS) -> None:
        self.store = store
        self.counted = CountedStore(store)
        self.committer = Committer(store, CONTRACT, limits, Picker(limits))
        self.asked = Backlogged(self.committer)
        self.timers = Timers(
            cast("Store", self.counted), cast("Committer", self.asked), limits, now_microseconds
        )
        self.committer.listeners.append(self.timers.committed)

    async def start(self) -> None:
        """Begin, with an endpoint, and let the timers take their first look."""
        erp = EndpointRecord(ENDPOINT, "ERP", (), (), (), "ACTIVE", b"")
        async with self.store.write() as connection:
            await write(connection, Changes(records={("endpoint", erp.id): erp}))
        self.committer.start([erp])
        # What waits at a start is looked for by the committer, which tells the timers.
        self.committer.poke()
        self.timers.start()
        await self.rest()

    async def rest(self) -> int:
        """Let many turns of the timers go by; how often the store was read in the last."""
        for _ in range(2):
            reads, seen = self.counted.reads, self.asked.pokes
            await eventually(lambda seen=seen: self.asked.pokes >= seen + POKES, "turns")
        return self.counted.reads - reads

    async def fired(self, record: DeliveryRecord) -> float:
        """Wait until its timer has fired; how late that was, in seconds."""
        wanted = select(t.deliveries.c.state, t.deliveries.c.updated_at)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                async with self.store.read() as connection:
                    found = await connection.execute(wanted.where(t.deliveries.c.id == record.id))
                    state, updated_at = found.one()
                if state != record.state:
                    assert record.due_at is not None
                    return float(updated_at - record.due_at) / SECOND
                await asyncio.sleep(0.01)


@pytest.fixture(params=KINDS)
async def house(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """One on each kind of database, not started."""
    made = House(await open_store(tmp_path, request.param))
    yield made
    await made.timers.stop()
    await made.committer.stop()
    await made.store.close()


def leased(number: int, seconds: float) -> DeliveryRecord:
    """A delivery in flight whose lease ends so much later than now."""
    until = now_microseconds() + int(seconds * SECOND)
    return delivery(number, "book", "IN_FLIGHT", lease_until=until, due_at=until)


async def commit(committer: Committer, record: DeliveryRecord | None) -> None:
    """Someone's command, which leaves a delivery so. Raises Refused."""

    def decide(unit: Unit) -> None:
        if record is not None:
            unit.put(("delivery", record.id), record)

    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    await committer.submit(Command("/a/Method", Caller("operator", "OPERATOR"), decide, answer))


async def test_nothing_is_read_until_a_timer_is_due(house: House) -> None:
    """Proves that timers ask the committer again and again whether what waits may go out, but do
    not read the store meanwhile; that the timer which was stored before they began, one that is
    committed and one that another hub tells of fire soon after they are due, each by some reads."""
    async with house.store.write() as connection:
        stored = leased(1, LEASE_SECONDS)
        await write_rows(connection, [(rows.DELIVERIES, [stored])])
    await house.start()
    assert await house.rest() == 0
    assert 0 <= await house.fired(stored) < LATE_SECONDS
    await commit(house.committer, committed := leased(2, LEASE_SECONDS))
    async with house.store.write() as connection:
        elsewhere = leased(3, LEASE_SECONDS)
        await write_rows(connection, [(rows.DELIVERIES, [elsewhere])])
    house.timers.heard(elsewhere.due_at)
    assert await house.rest() == 0
    reads = house.counted.reads
    assert 0 <= await house.fired(committed) < LATE_SECONDS
    assert 0 <= await house.fired(elsewhere) < LATE_SECONDS
    assert house.counted.reads <= reads + READS_MAX
    assert await house.rest() == 0


async def test_what_nobody_tells_of_is_found(house: House) -> None:
    """Proves that a timer that another hub's lost news would have told of fires all the same, once
    the store was not read for `timer_look_seconds`, and that nothing else reads it more often."""
    house = House(house.store, replace(LIMITS, timer_look_seconds=LOOK_SECONDS))
    await house.start()
    async with house.store.write() as connection:
        untold = leased(1, 0.0)
        await write_rows(connection, [(rows.DELIVERIES, [untold])])
    began, reads = time.monotonic(), house.counted.reads
    assert 0 <= await house.fired(untold) < LOOK_SECONDS + LATE_SECONDS
    looks = (time.monotonic() - began) / LOOK_SECONDS
    assert house.counted.reads <= reads + looks + READS_MAX
    await house.timers.stop()
    await house.committer.stop()


async def test_a_batch_whose_answer_was_lost_is_followed(tmp_path: Path) -> None:
    """Proves that the store is read again at once after a batch of which nobody knows whether it is
    written: its timers are told by nobody."""
    database = database_of(tmp_path, "postgresql")
    assert isinstance(database, ServerDatabase)
    house = House(await open_store(tmp_path, "postgresql"))
    await house.start()
    database.query(
        "CREATE FUNCTION break_commit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
    )
    database.query(
        "CREATE CONSTRAINT TRIGGER break_commit AFTER INSERT ON deliveries "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION break_commit()"
    )
    assert await house.rest() == 0
    reads = house.counted.reads
    with pytest.raises(Refused, match="HUB_UNAVAILABLE"):
        await commit(house.committer, leased(1, 60.0))
    await eventually(lambda: house.counted.reads > reads, "another look")
    await house.timers.stop()
    await house.committer.stop()
    await house.store.close()


def test_a_look_comes_when_a_rate_lets_work_out() -> None:
    """Proves that what waits for a rate is looked for when that has room and not a tenth of a
    second later, that other reasons to wait are looked at as often as ever, and that a rate of
    thousands asks for no more looks than the limit."""
    limits = Limits()
    for backlog_seconds, pause in ((0.03, 0.03), (inf, 0.1), (5.0, 0.1), (0.0001, 0.01)):
        assert look_pause_seconds(backlog_seconds, limits) == pause
    assert look_pause_seconds(None, limits) == CLOCK_SECONDS
