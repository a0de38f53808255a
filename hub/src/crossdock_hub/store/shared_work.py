"""Stored work as a picker takes it where other hubs write too: what a batch of theirs is about to
change waits for that batch. Everything else is that of `writing`.

A flow that is locked is passed over, not waited for. It is picked when whoever has locked it has
committed, and says so, or at the next look at the store.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.records import DeliveryRecord
from crossdock_hub.store import rows, writing
from crossdock_hub.store import tables as t
from crossdock_hub.store.free_flows import lock_free_flows
from crossdock_hub.store.writing import contents as contents
from crossdock_hub.store.writing import dispatch_state as dispatch_state
from crossdock_hub.store.writing import event_bodies as event_bodies
from crossdock_hub.store.writing import write_deliveries as write_deliveries

_STILL_PENDING = select(t.deliveries).where(
    t.deliveries.c.id.in_(bindparam("ids", expanding=True)), text("pending")
)


async def pending(connection: AsyncConnection, endpoint: str, most: int) -> list[DeliveryRecord]:
    """As `writing.pending`; nobody else changes what is returned before this commits."""
    return await _kept(connection, await writing.pending(connection, endpoint, most))


async def pending_lanes(
    connection: AsyncConnection, endpoint: str, lanes: Sequence[int], most: int
) -> list[DeliveryRecord]:
    """As `writing.pending_lanes`; nobody else changes what is returned before this commits."""
    return await _kept(connection, await writing.pending_lanes(connection, endpoint, lanes, most))


async def _kept(
    connection: AsyncConnection, found: Sequence[DeliveryRecord]
) -> list[DeliveryRecord]:
    if not found:
        return []
    locked = await lock_free_flows(connection, {record.root_id for record in found})
    ids = [record.id for record in found if record.root_id in locked]
    if not ids:
        return []
    # Between the first read and the lock somebody may have committed.
    now = await connection.execute(_STILL_PENDING, {"ids": ids})
    fresh = {row["id"]: rows.delivery_record(row) for row in now.mappings()}
    return [fresh[each] for each in ids if each in fresh]
