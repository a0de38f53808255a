"""What a hub has to know of its database before it begins: how far ids and times have come."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.store import tables as t
from crossdock_hub.unit import time_of_id


async def newest(connection: AsyncConnection) -> tuple[str, int]:
    """(the newest id of an event or object, the latest time that is stored in microseconds).

    Ids sort by their creation, so the ends of three indexes are enough. Heartbeats and ends of
    dispatches and leases are the other stamps that move while nothing else happens.
    """
    last_event = select(t.events.c.id).order_by(t.events.c.sequence.desc()).limit(1)
    ids = [
        await connection.scalar(last_event),
        await connection.scalar(select(func.max(t.objects.c.id))),
        await connection.scalar(select(func.max(t.held_facts.c.id))),
    ]
    newest_id = max((found for found in ids if found), default="")
    heard = await connection.scalar(select(func.max(t.endpoints.c.heartbeat_at)))
    moved = await connection.scalar(select(func.max(t.endpoints.c.progress_at)))
    return newest_id, max(time_of_id(newest_id), heard or 0, moved or 0)
