"""Databases from before an endpoint kept all times in which it answered: the one it had stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock_hub.records import EndpointRecord
from crossdock_hub.store import rows, tables
from crossdock_hub.store.migrating import upgrade
from databases import FileDatabase, ServerDatabase
from fixtures_postgres import session_server
from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import create_async_engine
from test_letters_migrated import insert

BEFORE = "0025"
# Microseconds UTC, as they are in a database of today.
FROM, UNTIL = 1_795_000_000_000_000, 1_795_000_900_000_000


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_the_last_time_in_which_an_endpoint_answered_is_kept(
    tmp_path: Path, kind: str
) -> None:
    """Proves that an endpoint which had answered between two outages still has that time, and one
    that never failed none, on both databases."""
    known = {"back": (FROM, UNTIL), "well": (None, None)}
    server = kind == "postgresql"
    database = ServerDatabase(session_server()) if server else FileDatabase(tmp_path)
    engine = create_async_engine(database.url)

    def from_before(connection: Connection) -> dict[str, Any]:
        upgrade(connection, BEFORE)
        for name, (answered_from, answered_until) in known.items():
            record = EndpointRecord(name, "ERP", (), (), (), "ACTIVE", b"")
            row = rows.ENDPOINTS.row(record)
            del row["answered_windows"]
            row |= {"answered_from": answered_from, "answered_until": answered_until}
            insert(connection, "endpoints", row)
        upgrade(connection)
        found = connection.execute(select(tables.endpoints)).mappings()
        return {row["id"]: rows.endpoint_record(EndpointRecord, row) for row in found}

    async with engine.begin() as connection:
        found = await connection.run_sync(from_before)
    await engine.dispose()
    assert found["back"].answered_windows == ((FROM, UNTIL),)
    assert found["well"].answered_windows == ()
