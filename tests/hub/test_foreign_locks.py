"""Locks of others on PostgreSQL: what is soon free is tried again, the rest has a reason."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from crossdock_hub.committer import Committer
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.records import ParcelRecord
from crossdock_hub.store import Store, contention, postgresql
from crossdock_hub.store.loading import Loader
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Refused, Unit, View
from databases import ServerDatabase
from decisions import CONTRACT
from fixtures_nats import eventually
from overlapping_commands import (
    LIMITS,
    Answer,
    Decide,
    begin,
    change,
    command,
    set_value,
    told,
    value_of,
)
from sqlalchemy.ext.asyncio import AsyncConnection

# How long the stores of these tests wait for a lock.
LOCK_SECONDS = 3
BATCH_COMMANDS = 16
DEADLINE_SECONDS = 90.0
ACCESS_EXCLUSIVE = "LOCK TABLE cursors IN ACCESS EXCLUSIVE MODE"
# Lets everybody read, and nobody lock or change a row: as ALTER TABLE … ADD FOREIGN KEY.
EXCLUSIVE = "LOCK TABLE objects IN EXCLUSIVE MODE"
# What a committer holds that has stored a scan.
LOCKED_AND_SCANNED = r"""
SELECT 1 FROM parcels FOR UPDATE;
INSERT INTO scans (id, dedupe_key, carrier_code, tracking_number, shipment_id, milestone,
    record_time, body)
VALUES ('scan-1', '\x01', 'UPSN', '1Z1', 'S', 'RETURNING', 1, '\x')"""


class WatchedStore(Store):
    """One that knows whether a batch gave way, to be tried again."""

    gave_way: asyncio.Event

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with super().write() as connection:
            try:
                yield connection
            except contention.Contention:
                self.gave_way.set()
                raise


@pytest.fixture
async def store(
    database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WatchedStore]:
    """A hub's store that waits for locks no longer than a test can."""
    monkeypatch.setattr(postgresql, "LOCK_SECONDS", LOCK_SECONDS)
    opened = await WatchedStore.open(database.url, CONTRACT)
    assert isinstance(opened, WatchedStore)
    opened.gave_way = asyncio.Event()
    yield opened
    await opened.close()


@pytest.fixture
async def committer(store: WatchedStore) -> AsyncIterator[Committer]:
    """One that has begun."""
    running = Committer(store, CONTRACT, LIMITS, Picker(LIMITS))
    running.start([])
    await begin(running)
    yield running
    await running.stop()


@contextlib.asynccontextmanager
async def held(database: ServerDatabase, statement: str) -> AsyncIterator[None]:
    """Another session that keeps what a statement locks."""
    other: Any = await asyncpg.connect(
        host=str(database.server.directory), user="crossdock", database=database.name
    )
    try:
        async with other.transaction():
            await other.execute(statement)
            yield
    finally:
        await other.close()


def count_after(kind: str, object_id: str, name: str) -> Decide:
    """Read an object, and then a counter that nobody knew would be needed: add one to it."""

    def decide(unit: Unit) -> Any:
        assert unit.object(kind, object_id) is not None
        set_value(unit, name, value_of(unit, name) + 1)
        return Answer()

    return decide


def change_after(name: str, item: str) -> Decide:
    """Read a counter, then change master data, which is locked only when it is changed."""
    changes = change("item", item, "item", item)

    def decide(unit: Unit) -> Any:
        value_of(unit, name)
        return changes(unit)

    return decide


@pytest.mark.parametrize(
    ("lock", "decide"),
    [
        (ACCESS_EXCLUSIVE, count_after("order", "order-1", "counter-1")),
        (EXCLUSIVE, change("order", "order-1", "order", "order-2")),
        (EXCLUSIVE, change_after("account-1", "item-1")),
    ],
    ids=["sent with NOWAIT", "sent first", "sent with SKIP LOCKED"],
)
async def test_a_locked_table_is_waited_for_once(
    committer: Committer, store: WatchedStore, database: ServerDatabase, lock: str, decide: Decide
) -> None:
    """Proves that a caller gets the reason when a table stays locked, after one wait, whichever
    statement it was that waited, and that the same command succeeds when the table is free."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with held(database, lock):
            answer = await told(committer.submit(command(decide)))
        assert isinstance(answer, Refused)
        assert answer.refusal.reason == "HUB_UNAVAILABLE"
        assert "the database is locked by another process" in answer.refusal.message
        assert not store.gave_way.is_set()
        assert await committer.submit(command(decide)) == Answer()


async def test_a_locked_table_is_waited_for_by_a_batch_and_not_by_each_of_it(
    committer: Committer, database: ServerDatabase
) -> None:
    """Proves that all callers of a batch get the reason soon after its wait: command by command it
    would be as many waits, and nobody would be told before its deadline."""
    decide = count_after("order", "order-1", "counter-1")
    async with asyncio.timeout(DEADLINE_SECONDS), held(database, ACCESS_EXCLUSIVE):
        began = time.monotonic()
        sent = [committer.submit(command(decide)) for _ in range(BATCH_COMMANDS)]
        answers = await asyncio.gather(*map(told, sent))
        lasted = time.monotonic() - began
    told_why = [isinstance(a, Refused) and "locked by another" in str(a.refusal) for a in answers]
    assert told_why == [True] * BATCH_COMMANDS
    assert LOCK_SECONDS <= lasted < LOCK_SECONDS * BATCH_COMMANDS / 2


async def test_a_locked_row_is_no_harm_to_its_neighbours(
    committer: Committer, database: ServerDatabase
) -> None:
    """Proves that of a batch only the command which needs a row that another session keeps is
    refused; the next one that needs it waits again as long as any may."""
    lock = "SELECT 1 FROM cursors WHERE name = 'account-1' FOR UPDATE"
    locked, free = (count_after("order", "order-1", f"account-{n}") for n in (1, 2))
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with held(database, lock):
            sent = [committer.submit(command(decide)) for decide in (free, locked, free)]
            answers = await asyncio.gather(*map(told, sent))
            assert isinstance(answers[1], Refused)
            assert "locked by another" in answers[1].refusal.message
            assert answers[::2] == [Answer()] * 2
            later = committer.submit(command(locked))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(later), LOCK_SECONDS / 6)
            assert not later.done()
        assert await later == Answer()


async def test_a_contended_row_is_tried_again(
    committer: Committer, store: WatchedStore, database: ServerDatabase
) -> None:
    """Proves that a row which is taken when it is first needed is asked for again, and the command
    succeeds as soon as the row is free."""
    lock = "SELECT 1 FROM cursors WHERE name = 'account-1' FOR UPDATE"
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with held(database, lock):
            sent = committer.submit(command(count_after("order", "order-1", "account-1")))
            await store.gave_way.wait()
        assert await sent == Answer()
    stored = database.query("SELECT value FROM cursors WHERE name = 'account-1'")
    assert stored == [(b"6",)]


async def test_the_scans_of_a_parcel_are_read_when_it_is_locked(
    store: WatchedStore, database: ServerDatabase
) -> None:
    """Proves that a batch which asks at once for a parcel and its scans, as every try but the first
    does, has the scan that another committer stored while it waited for the parcel."""
    parcel = ParcelRecord("UPSN", "1Z1", "L", "S", "P", "O", 1, "RETURNING", None, False, 1)
    parcel_key, scans_key = ("parcel", "UPSN", "1Z1"), ("scans_of", "UPSN", "1Z1")
    async with store.write() as connection:
        await write(connection, Changes(records={parcel_key: parcel}))

    async def read() -> Any:
        async with store.write() as connection:
            view = View()
            await Loader(connection, CONTRACT, view).load([scans_key, parcel_key])
            return view.get(scans_key)

    def waits() -> bool:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = ?"
        return bool(database.query(waiting, database.name))

    async with asyncio.timeout(DEADLINE_SECONDS):
        async with held(database, LOCKED_AND_SCANNED):
            reading = asyncio.create_task(read())
            await eventually(waits, "the batch waits for the parcel", LOCK_SECONDS)
        assert [each.id for each in await reading] == ["scan-1"]


def test_tries_do_not_follow_each_other_at_once_or_in_step() -> None:
    """Proves that there is a pause before each new try, that pauses grow up to a bound, and that
    two who were in each other's way do not come back at the same moment."""
    chance = random.Random(1)
    for tries in range(1, LIMITS.batch_tries_max + 1):
        longest = min(
            contention.PAUSE_SECONDS_FIRST * 2 ** (tries - 1), contention.PAUSE_SECONDS_MAX
        )
        drawn = [contention.pause_seconds(tries, chance) for _ in range(50)]
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
