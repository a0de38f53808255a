"""Lets go of the work of endpoints that are no longer configured, and gives it back; at start."""

from __future__ import annotations

from collections.abc import Collection

import structlog
from sqlalchemy import and_, case, func, or_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.delivery.removal import again_at, in_doubt, is_back, never_began
from crossdock_hub.store import tables as t

log = structlog.get_logger("crossdock.removing")

_IDLE_STATES = ("HELD", "READY")
_RETRIED = t.deliveries.c.hold_reason == "RETRY"
_NOTHING_HOLDS = {"hold_reason": "", "awaits_operation": "", "prerequisite_until": None}


async def let_go(
    connection: AsyncConnection, endpoints: Collection[str], now: int, limits: Limits
) -> None:
    """What waits at these endpoints, none of which is configured, becomes UNROUTED; what may be at
    the vendor is in doubt. Calls that were refused, or looked up in vain, are proof that it is not:
    doubt of them would be the hub's own. What an attempt still holds is seen to when its lease runs
    out.

    Nothing is DISPATCHED any more: a start takes that back. now: microseconds UTC.
    """
    for endpoint in sorted(endpoints):
        unrouted = await _unroute(connection, endpoint, now)
        doubtful = await _doubt(connection, endpoint, now, limits)
        if unrouted or doubtful:
            log.warning(
                "an endpoint is not in the endpoints file any more, and work waits for it",
                endpoint=endpoint,
                unrouted=unrouted,
                in_doubt=doubtful,
            )


async def _unroute(connection: AsyncConnection, endpoint: str, now: int) -> int:
    """What is known to be at no vendor is nobody's for now; how much of it there is."""
    d = t.deliveries
    idle = and_(d.c.endpoint == endpoint, d.c.state.in_(_IDLE_STATES))
    unrouted = await connection.execute(
        update(d)
        .where(idle, d.c.first_unknown_at.is_(None), d.c.draft == "")
        .values(
            state="UNROUTED",
            waiting_on=never_began(endpoint),
            # What its vendor asked for holds when the endpoint is back.
            due_at=case((_RETRIED, d.c.due_at), else_=None),
            pending=False,
            updated_at=now,
            **_NOTHING_HOLDS,
        )
    )
    return unrouted.rowcount


async def _doubt(connection: AsyncConnection, endpoint: str, now: int, limits: Limits) -> int:
    """What else waits is in doubt, and what is says why; how much of it is told anew."""
    d = t.deliveries
    there = d.c.endpoint == endpoint
    looked_up = and_(d.c.state == "RESOLVING", d.c.lease_until.is_(None))
    doubtful = await connection.execute(
        update(d)
        .where(there, or_(d.c.state.in_(_IDLE_STATES), looked_up))
        .values(
            state="UNKNOWN",
            waiting_on=in_doubt(endpoint),
            first_unknown_at=func.coalesce(d.c.first_unknown_at, now),
            due_at=case((_RETRIED, d.c.due_at), else_=again_at(now, limits)),
            pending=False,
            updated_at=now,
            **_NOTHING_HOLDS,
        )
    )
    # Their own time stays: what was called last may not have settled yet.
    untold = and_(there, d.c.state == "UNKNOWN", d.c.waiting_on != in_doubt(endpoint))
    told = await connection.execute(
        update(d).where(untold).values(waiting_on=in_doubt(endpoint), updated_at=now)
    )
    return doubtful.rowcount + told.rowcount


async def take_back(
    connection: AsyncConnection, endpoints: Collection[RegisteredEndpoint], now: int
) -> None:
    """Let what is in doubt at endpoints that are configured again be looked at: once it has settled
    and not before its own time. What never began is routed like all that is UNROUTED, in order."""
    d = t.deliveries
    for endpoint in endpoints:
        settled_at = now + _settle_microseconds(endpoint)
        await connection.execute(
            update(d)
            .where(d.c.endpoint == endpoint.id, d.c.state == "UNKNOWN")
            .values(
                waiting_on=is_back(endpoint.id),
                due_at=case((d.c.due_at > settled_at, d.c.due_at), else_=settled_at),
            )
        )


def _settle_microseconds(endpoint: RegisteredEndpoint) -> int:
    """How long any call of an endpoint may take to be seen by a look-up."""
    waits = [spec.settle_seconds for spec in endpoint.operations.values()]
    return int(max(waits, default=0.0) * SECOND)
