"""Reads which flows have work that nobody serves, in pages, oldest first."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.store import tables as t

# Where a pass through all of it begins, and what follows its last page.
OLDEST: Final = ""
_UNROUTED: Final = (
    select(t.deliveries.c.root_id, t.deliveries.c.sequence)
    .where(t.UNROUTED, t.deliveries.c.sequence > bindparam("after"))
    .order_by(t.deliveries.c.sequence)
    .limit(bindparam("most"))
)


async def unrouted_page(
    connection: AsyncConnection, after: str, most: int
) -> tuple[list[str], str]:
    """The flows of the next `most` deliveries that nobody serves, whoever they were for, each once,
    and behind which sequence the page after them begins; OLDEST: there is none.

    A flow with more of them is named by several pages. What a page costs does not grow with how
    many there are.
    """
    found = (await connection.execute(_UNROUTED, {"after": after, "most": most})).all()
    roots = list(dict.fromkeys(row.root_id for row in found))
    return roots, found[-1].sequence if len(found) == most else OLDEST
