"""Reads which flows have work that nobody serves, in pages."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.store import tables as t

_UNROUTED_FROM = func.min(t.deliveries.c.sequence)
_UNROUTED_FLOWS = (
    select(t.deliveries.c.root_id, _UNROUTED_FROM.label("oldest"))
    .where(
        # Of nobody, or of an endpoint that is gone; named one by one the index serves.
        t.deliveries.c.endpoint.in_(bindparam("endpoints", expanding=True)),
        t.deliveries.c.state == "UNROUTED",
    )
    .group_by(t.deliveries.c.root_id)
    .having(bindparam("after") < _UNROUTED_FROM)
    .order_by(_UNROUTED_FROM)
    .limit(bindparam("most"))
)


async def unrouted_flows(
    connection: AsyncConnection, after: str, most: int
) -> list[tuple[str, str]]:
    """A page of flows with work that nobody serves: each root, and where its oldest such stands.

    Oldest first, those after a sequence.
    """
    known = (await connection.execute(select(t.endpoints.c.id))).scalars()
    wanted = {"endpoints": ["", *known], "after": after, "most": most}
    result = await connection.execute(_UNROUTED_FLOWS, wanted)
    return [(row.root_id, row.oldest) for row in result]


class Place(NamedTuple):
    """Behind which delivery a page begins: its endpoint, "" if it is nobody's, and its sequence."""

    endpoint: str = ""
    sequence: str = ""


FIRST: Final = Place()
_UNROUTED = (
    select(t.deliveries.c.root_id, t.deliveries.c.sequence)
    .where(
        t.deliveries.c.endpoint == bindparam("endpoint"),
        t.deliveries.c.state == "UNROUTED",
        t.deliveries.c.sequence > bindparam("after"),
    )
    .order_by(t.deliveries.c.sequence)
    .limit(bindparam("most"))
)


async def unrouted_page(
    connection: AsyncConnection, after: Place, most: int
) -> tuple[list[str], Place]:
    """The flows of the next `most` deliveries that nobody serves, and where the page after them
    begins: after the last one, at the first. What it costs does not grow with how many there are.
    """
    known = (await connection.execute(select(t.endpoints.c.id))).scalars()
    roots: dict[str, None] = {}
    left = most
    for endpoint in sorted({"", *known}):
        if endpoint < after.endpoint:
            continue
        sequence = after.sequence if endpoint == after.endpoint else ""
        wanted = {"endpoint": endpoint, "after": sequence, "most": left}
        found = (await connection.execute(_UNROUTED, wanted)).all()
        roots.update(dict.fromkeys(row.root_id for row in found))
        left -= len(found)
        if left == 0:
            return list(roots), Place(endpoint, found[-1].sequence)
    return list(roots), FIRST
