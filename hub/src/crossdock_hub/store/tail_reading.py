"""What those who follow a shared database are shown of its deliveries."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.records import DeliveryRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t

# Ids in one statement.
_AT_ONCE = 500


async def deliveries_by_id(connection: AsyncConnection, ids: Sequence[str]) -> list[DeliveryRecord]:
    """Deliveries as they are now, those first that changed first."""
    found: list[DeliveryRecord] = []
    for start in range(0, len(ids), _AT_ONCE):
        wanted = select(t.deliveries).where(t.deliveries.c.id.in_(ids[start : start + _AT_ONCE]))
        read = (await connection.execute(wanted)).mappings()
        found += [rows.delivery_record(row) for row in read]
    return sorted(found, key=lambda record: (record.updated_at, record.sequence))
