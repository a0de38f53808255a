"""The unit conversions of an item: those whose numbers begin with its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.records import UNIT_CONVERSION
from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import Query, Row, fetch

# ":CS:EA" with units of three signs at most, so that nothing of an item is read for another one
# whose number goes on after a colon; of one that goes on with one sign it may be.
TAIL_MAX: Final = 8
# Asked for by kind and item. All of them: how many an item has is limited when they are written.
CONVERSIONS: Final = Query(
    select(t.objects).order_by(t.objects.c.id),
    by=(t.objects.c.kind, t.objects.c.number),
    tail_max=TAIL_MAX,
)


def conversions_wanted(items: Iterable[str]) -> list[tuple[str, str]]:
    """What `CONVERSIONS` is asked for, of items."""
    return [(UNIT_CONVERSION, item) for item in sorted(items)]


async def conversions_of(connection: AsyncConnection, items: Collection[str]) -> list[Row]:
    """The rows of the unit conversions of items, each once, oldest first; maybe others too."""
    wanted = conversions_wanted(items)
    if not wanted:
        return []
    (found,) = await fetch(connection, [(CONVERSIONS, wanted)])
    return list({row["id"]: row for row in found}.values())
