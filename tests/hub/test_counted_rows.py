"""What tests of growing databases count is all that is asked, on each kind of database."""

from __future__ import annotations

from typing import Any

from counted_rows import FEW, Library, library
from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import IN, Query, fetch
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["library"]

ITEMS = Query(select(t.objects).where(t.objects.c.number.in_(IN)))


async def test_every_statement_of_a_work_is_heard(library: Library) -> None:
    """Proves that of three statements in one transaction all are heard with their values, and
    counted: also those that SQLAlchemy knows nothing of."""
    await library.number(0, FEW)
    wanted = ["sku-1", "sku-2", "sku-3"]

    async def work(connection: AsyncConnection) -> list[Any]:
        return [(await fetch(connection, [(ITEMS, [each])]))[0][0]["id"] for each in wanted]

    found, asked = await library.statements(work)
    assert found == wanted
    listed = library.store.dialect == "postgresql"
    assert [list(values) for _, values in asked] == [[[w] if listed else w] for w in wanted]
