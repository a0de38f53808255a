"""What the divider of the hub with the office waits for, and what not, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from crossdock_hub.config import Limits
from crossdock_hub.leading.divider import Divider, Division
from crossdock_hub.store import Store, system_leads
from crossdock_hub.store.engine import NO_SECRETS
from crossdock_hub.store.leadership import LeadershipRow
from databases import ServerDatabase
from decisions import CONTRACT, START
from fixtures_nats import eventually
from overlapping_commands import SHARED_BY
from sqlalchemy import text
from test_system_leads import seated

OWN, LOST = 1, 2
HOLDER = "the hub with the office"
# Below what ends a transaction that stands still where hubs share a database, which is 5 s.
AT_ONCE_SECONDS = 3.0
HOLD = text("SELECT pg_advisory_xact_lock(7)")
WAITS = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted"


@pytest.fixture
async def stores(database: ServerDatabase) -> AsyncIterator[tuple[Store, Store]]:
    """What the hub with the office writes with, and what the other one does."""
    opened = [await Store.open(database.url, CONTRACT, shared_by=SHARED_BY) for _ in range(2)]
    yield opened[0], opened[1]
    for each in opened:
        await each.close()


@pytest.fixture
async def row(database: ServerDatabase) -> AsyncIterator[LeadershipRow]:
    """What ends the connections of other hubs."""
    opened = LeadershipRow(database.url, NO_SECRETS)
    yield opened
    await opened.close()


def divider_of(store: Store, row: LeadershipRow) -> Divider:
    async def has_bus() -> bool:
        return True

    division = Division(lambda: OWN, HOLDER, row.end_writer, lambda: None, has_bus)
    endpoints = {"erp": ["erp-1"]}
    return Divider(store, division, lambda: endpoints, Limits(), lambda: START, 0, lambda: True)


async def test_a_hub_that_stopped_amid_a_batch_holds_nobody_up(
    stores: tuple[Store, Store], row: LeadershipRow, database: ServerDatabase
) -> None:
    """Proves that the systems of a hub which was stopped with locks in its hands are given to
    another one at once, though a batch of the hub that gives them waits for such a lock, and what
    it gives them with waits for that batch."""
    store, lost = stores
    writer = lost.write_in_term(f"seat {LOST}", 1)
    assert writer is not None
    await seated(store, OWN, 2, 60.0, HOLDER)
    await seated(store, LOST, 1, -1.0, "a lost hub", writer)
    async with store.write() as connection:
        await system_leads.insert(connection, ["erp"])
        await connection.execute(
            text("UPDATE system_leads SET seat = :seat, seat_term = 1, wanted = :seat"),
            {"seat": LOST},
        )
    holds = asyncio.Event()

    async def stop_amid_a_batch() -> None:
        async with lost.write() as connection:
            await connection.execute(HOLD)
            holds.set()
            await asyncio.Event().wait()

    async def write_a_batch() -> None:
        async with store.write() as connection:
            await connection.execute(HOLD)

    stopped = asyncio.create_task(stop_amid_a_batch())
    await holds.wait()
    batch = asyncio.create_task(write_a_batch())
    try:
        await eventually(lambda: bool(database.query(WAITS)), "a batch that waits")
        async with asyncio.timeout(AT_ONCE_SECONDS):
            assert await divider_of(store, row).look()
        await batch
        async with store.read() as connection:
            (lead,) = await system_leads.all_leads(connection)
        assert (lead.seat, lead.seat_term) == (OWN, 2)
    finally:
        for task in (stopped, batch):
            task.cancel()
        await asyncio.gather(stopped, batch, return_exceptions=True)


async def test_what_a_hub_writes_with_is_not_ended_by_itself(
    stores: tuple[Store, Store], row: LeadershipRow, database: ServerDatabase
) -> None:
    """Proves that a hub whose own seat has run out keeps the connection that its office is fenced
    with: it gives its systems to nobody, and takes the seat again."""
    store, _ = stores
    writer = store.write_in_term(f"seat {OWN}", 1)
    assert writer is not None
    await seated(store, OWN, 1, -1.0, HOLDER, writer)
    await seated(store, LOST, 2, 60.0, "another hub")
    async with store.write() as connection:
        await system_leads.insert(connection, ["erp"])
        await connection.execute(
            text("UPDATE system_leads SET seat = :seat, seat_term = 1, wanted = :seat"),
            {"seat": OWN},
        )
    assert not await divider_of(store, row).look()
    assert database.query("SELECT 1 FROM pg_stat_activity WHERE pid = ?", writer.pid)
