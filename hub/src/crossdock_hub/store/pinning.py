"""Which events may not be purged yet, because a delivery of theirs is not settled."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.ledger import PINNING_STATES
from crossdock_hub.store import tables as t

# By way of the root object: deliveries have no index by event, and a purge goes flow by flow.
_PINNED = (
    select(t.events.c.id)
    .join(
        t.deliveries,
        and_(
            t.deliveries.c.root_id == t.events.c.root_id, t.deliveries.c.event_id == t.events.c.id
        ),
    )
    .where(
        t.events.c.id.in_(bindparam("wanted", expanding=True)),
        t.deliveries.c.state.in_(sorted(PINNING_STATES)),
    )
    .distinct()
)


async def pinned_events(connection: AsyncConnection, ids: Collection[str]) -> set[str]:
    """Those of these events that a delivery may still need: `ledger.pins_event`, as a query."""
    if not ids:
        return set()
    result = await connection.execute(_PINNED, {"wanted": list(ids)})
    return {row.id for row in result}
