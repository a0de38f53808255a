"""Rows for every table of a hub's database, with values that two databases might hold differently.

They need not make sense to a hub: what is proved with them is that nothing is lost or changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from crossdock_hub.records import Tie
from crossdock_hub.store import Store, schema
from crossdock_hub.store import bus_rows as bus
from crossdock_hub.store import tables as t
from crossdock_hub.store.bus_tables import bus_tie
from databases import Database, FileDatabase, open_store
from sqlalchemy import Boolean, Column, Integer, LargeBinary, SmallInteger, Table, delete, insert

TIE = Tie("0190a1b2-0000-7000-8000-00000000beef", 41)
FEW, MANY = 30, 3_000
# Numbers of events and scan messages that were given and whose rows are gone.
LAST_GIVEN = {"events": 500_000, "scan_outbox": 600_000}
_TEXTS = ("", "plain", "Größe 日本 🚚", "a\nb\t'quoted' \"so\" \\x00 \\u0000", "é", "Z", "a", "_")
_BYTES = (b"", b"\x00\x01\xff", b"plain", bytes(range(256)))
_NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))


def _value(column: Column[Any], number: int) -> Any:
    kind = column.type
    key = column.primary_key or column.unique or column.name in ("number", "object_id")
    if column.nullable and number % 3 == 0:
        return None
    if isinstance(kind, Boolean):
        return number % 2 == 0
    if isinstance(kind, LargeBinary):
        return number.to_bytes(16, "big") if key else _BYTES[number % len(_BYTES)]
    if isinstance(kind, SmallInteger):
        return number % 32_768
    if isinstance(kind, Integer) and not key:
        wide = type(kind).__name__ == "BigInteger"
        return _NUMBERS[number % (len(_NUMBERS) if wide else 3)]
    if isinstance(kind, Integer):
        return number + 1
    word = _TEXTS[number % len(_TEXTS)]
    return f"{word}{number}" if key else word


def rows_of(table: Table, count: int) -> list[dict[str, Any]]:
    """So many rows, none like another in what has to be unique."""
    return [{c.name: _value(c, number) for c in table.columns} for number in range(count)]


async def fill(store: Store, many: int = MANY) -> None:
    """Give a database rows in every table; in that of events, many."""
    async with store.write() as connection:
        for table in schema.TABLES:
            if table is bus_tie:
                continue
            count = many if table is t.events else FEW
            for some in _slices(rows_of(table, count)):
                await connection.execute(insert(table), some)
        await bus.keep_tie(connection, TIE)
        for table in schema.COUNTED:
            last = rows_of(table, 1)[0] | {"sequence": LAST_GIVEN[table.name], "id": "last"}
            last |= {"object_id": "last"} if table is t.events else {}
            await connection.execute(insert(table), last)
            await connection.execute(delete(table).where(table.c.id == "last"))


def _slices(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    return (rows[start : start + 500] for start in range(0, len(rows), 500))


def filled(directory: Path, kind: str = "sqlite", many: int = MANY) -> None:
    """Make the database of a hub that has run and is stopped, with rows in every table."""

    async def make() -> None:
        store = await open_store(directory, kind)
        await fill(store, many)
        await store.close()

    asyncio.run(make())


def everything(database: Database) -> dict[str, list[Any]]:
    """All rows of all tables that a move takes along, read without the code of a move."""
    found = {}
    for table in schema.TABLES:
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        rows = [tuple(row) for row in database.query(f'SELECT {columns} FROM "{table.name}"')]
        found[table.name] = sorted(rows, key=repr_of_values)
    return found


def repr_of_values(row: Sequence[Any]) -> str:
    """A row as text, with the truths of one database as the numbers of the other."""
    return repr([int(value) if isinstance(value, bool) else value for value in row])


def file_database(directory: Path) -> FileDatabase:
    """The database file of a data directory, whatever databases the run is on."""
    return FileDatabase(directory)
