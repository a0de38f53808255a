"""What a hub has to know of its database before it begins: how far ids and times have come."""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import inserting
from crossdock_hub.unit import time_of_id

_ONLY: Final = 1


async def newest(connection: AsyncConnection) -> tuple[str, int]:
    """(the newest id of an event or object, the latest time that is stored in microseconds).

    Ids sort by their creation, so the ends of three indexes are enough. The event that was stored
    last is not always the newest: what is decided before its batch, or by another hub, has ids from
    before those of batches in front of it. Heartbeats, ends of
    dispatches and leases, and starts are the other stamps that move while nothing else happens.
    """
    ids = [
        await connection.scalar(select(func.max(t.events.c.id))),
        await connection.scalar(select(func.max(t.objects.c.id))),
        await connection.scalar(select(func.max(t.held_facts.c.id))),
    ]
    newest_id = max((found for found in ids if found), default="")
    heard = await connection.scalar(select(func.max(t.endpoints.c.heartbeat_at)))
    moved = await connection.scalar(select(func.max(t.endpoints.c.progress_at)))
    started = await connection.scalar(select(func.max(t.starts.c.started_at)))
    return newest_id, max(time_of_id(newest_id), heard or 0, moved or 0, started or 0)


async def note_start(connection: AsyncConnection, now: int) -> None:
    """Store when a hub began to lead, in microseconds UTC: the next start counts from there for how
    long nobody could renew a lease, also where nothing else was stored in between."""
    said = inserting(connection.dialect.name, t.starts).values(id=_ONLY, started_at=now)
    over = {"started_at": said.excluded.started_at}
    await connection.execute(said.on_conflict_do_update(index_elements=["id"], set_=over))
