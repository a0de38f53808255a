"""Stored work where other hubs write too: what one of them is changing is picked by nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from crossdock_hub.store import Store, rows, shared_work
from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import write_rows
from databases import ServerDatabase
from decisions import CONTRACT
from ledger_vendor import Desk
from overlapping_commands import SHARED_BY
from rows_of_every_table import rows_of
from sqlalchemy import insert, text, update


@pytest.fixture
async def stores(database: ServerDatabase) -> AsyncIterator[list[Store]]:
    """The stores of two hubs that share it."""
    opened = [await Store.open(database.url, CONTRACT, shared_by=SHARED_BY) for _ in range(2)]
    yield opened
    for each in opened:
        await each.close()


async def test_work_of_a_locked_flow_is_passed_over(stores: list[Store]) -> None:
    """Proves that pending work whose flow another hub has locked is neither waited for nor picked,
    that what that hub made of it is what counts afterwards, and that other work is picked."""
    picking, changing = stores
    desk = Desk()
    records = [desk.one(), desk.one()]
    for number, record in enumerate(records):
        record.state, record.pending, record.endpoint = "READY", True, "netsuite"
        record.root_id = f"root-{number}"
    async with picking.write() as connection:
        row = rows_of(t.objects, 1)[0]
        for number, record in enumerate(records):
            own = {"id": record.root_id, "root_id": record.root_id, "number": f"n{number}"}
            await connection.execute(insert(t.objects).values(row | own))
        await write_rows(connection, [(rows.DELIVERIES, records)])
    locked, free = records
    lock = text("SELECT id FROM objects WHERE id = :id FOR UPDATE")
    async with changing.write() as theirs:
        await theirs.execute(lock, {"id": locked.root_id})
        ended = update(t.deliveries).where(t.deliveries.c.id == locked.id)
        await theirs.execute(ended.values(state="SUPERSEDED", pending=False))
        async with picking.write() as ours:
            found = await shared_work.pending(ours, "netsuite", 10)
            assert [each.id for each in found] == [free.id]
            lane = await shared_work.pending_lanes(ours, "netsuite", [free.priority], 10)
            assert [each.id for each in lane] == [free.id]
    async with picking.write() as ours:
        found = await shared_work.pending(ours, "netsuite", 10)
        assert [each.id for each in found] == [free.id]
