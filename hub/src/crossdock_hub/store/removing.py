"""Lets go of the work of endpoints that are no longer configured, and gives it back; at start."""

from __future__ import annotations

from collections.abc import Collection

import structlog
from sqlalchemy import and_, func, or_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.config import SECOND
from crossdock_hub.delivery.removal import LOOK_AGAIN_SECONDS, in_doubt, never_began
from crossdock_hub.store import tables as t

log = structlog.get_logger("crossdock.removing")

_IDLE_STATES = ("HELD", "READY")
_NOTHING_HOLDS = {"hold_reason": "", "awaits_operation": "", "prerequisite_until": None}


async def let_go(connection: AsyncConnection, endpoints: Collection[str], now: int) -> None:
    """What waits at these endpoints, none of which is configured, becomes UNROUTED; what may be at
    the vendor is in doubt. Calls that were refused, or looked up in vain, are proof that it is not:
    doubt of them would be the hub's own. What an attempt still holds is seen to when its lease runs
    out.

    Nothing is DISPATCHED any more: a start takes that back. now: microseconds UTC.
    """
    d = t.deliveries
    for endpoint in sorted(endpoints):
        there = d.c.endpoint == endpoint
        idle = and_(there, d.c.state.in_(_IDLE_STATES))
        unrouted = await connection.execute(
            update(d)
            .where(idle, d.c.first_unknown_at.is_(None), d.c.draft == "")
            .values(
                state="UNROUTED",
                waiting_on=never_began(endpoint),
                due_at=None,
                pending=False,
                updated_at=now,
                **_NOTHING_HOLDS,
            )
        )
        looked_up = and_(d.c.state == "RESOLVING", d.c.lease_until.is_(None))
        untold = and_(d.c.state == "UNKNOWN", d.c.waiting_on != in_doubt(endpoint))
        doubtful = await connection.execute(
            update(d)
            .where(there, or_(d.c.state.in_(_IDLE_STATES), looked_up, untold))
            .values(
                state="UNKNOWN",
                waiting_on=in_doubt(endpoint),
                first_unknown_at=func.coalesce(d.c.first_unknown_at, now),
                due_at=now + int(LOOK_AGAIN_SECONDS * SECOND),
                pending=False,
                updated_at=now,
                **_NOTHING_HOLDS,
            )
        )
        if unrouted.rowcount or doubtful.rowcount:
            log.warning(
                "an endpoint is not in the endpoints file any more, and work waits for it",
                endpoint=endpoint,
                unrouted=unrouted.rowcount,
                in_doubt=doubtful.rowcount,
            )


async def take_back(connection: AsyncConnection, endpoints: Collection[str], now: int) -> None:
    """Look at once at what is in doubt at endpoints that are configured again; what never began is
    routed like all that is UNROUTED, in its order."""
    d = t.deliveries
    again = update(d).where(d.c.endpoint.in_(list(endpoints)), d.c.state == "UNKNOWN")
    if endpoints:
        await connection.execute(again.values(due_at=now))
