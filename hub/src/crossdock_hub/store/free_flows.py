"""Flows that no other hub is changing: locked for this transaction; others are passed over."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_LOCK_FREE = text("""
SELECT o.id FROM objects AS o WHERE o.id = ANY (:roots) ORDER BY o.id FOR UPDATE OF o SKIP LOCKED
""")


async def lock_free_flows(connection: AsyncConnection, roots: Collection[str]) -> Collection[str]:
    """Lock the flows of these roots that nobody has locked, until the transaction ends. Whose they
    are. SQLite has one writer, and every flow is free there."""
    if connection.dialect.name != "postgresql":
        return roots
    found = await connection.execute(_LOCK_FREE, {"roots": sorted(roots)})
    return set(found.scalars())
