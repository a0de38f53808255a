"""Copies tables from one database to another by pages, and tells by a digest what is in one.

A page is what comes next in the order of the primary key, which is the same in every database. Rows
are compared by their values as Python has them: text, whole numbers, truths, bytes, nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Select,
    Table,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
)

from crossdock_hub.store.places import MoveRefused, Place
from crossdock_hub.store.schema import COUNTED, TABLES

PAGE_ROWS_MIN: Final = 16
PAGE_ROWS_MAX: Final = 2_048
# Of the rows as text; a page of more makes the next one smaller.
PAGE_CHARACTERS: Final = 4 * 1024 * 1024
NULL_CHARACTER: Final = "\x00"
INSTEAD_OF_NULL: Final = "\ufffd"
_NULL_AS_TEXT: Final = "\\x00"

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a table in the order of its key. canonical: the same rows as text."""

    rows: list[Values]
    canonical: str
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class Contents:
    """What a table holds. digest: SHA-256 of all its rows in the order of their keys, hex."""

    rows: int
    digest: str


async def pages(place: Place, table: Table) -> AsyncIterator[Page]:
    """Everything in a table."""
    size = PAGE_ROWS_MIN
    keys = [list(table.columns).index(column) for column in table.primary_key.columns]
    after: Values = ()
    while True:
        async with place.transaction() as connection:
            found = await connection.execute(_next_page(table, after, size))
            rows = [tuple(row) for row in found]
        if not rows:
            return
        page = Page(rows, "".join(map(repr, rows)))
        yield page
        after = tuple(rows[-1][index] for index in keys)
        larger = len(page.canonical) < PAGE_CHARACTERS // 2
        size = min(PAGE_ROWS_MAX, size * 2) if larger else max(PAGE_ROWS_MIN, size // 2)


def _next_page(table: Table, after: Values, size: int) -> Select[Any]:
    keys = list(table.primary_key.columns)
    page = select(table).order_by(*keys).limit(size)
    if not after:
        return page
    last = [literal(value, column.type) for value, column in zip(after, keys, strict=True)]
    return page.where(keys[0] > last[0] if len(keys) == 1 else tuple_(*keys) > tuple_(*last))


async def copy_table(
    source: Place,
    target: Place,
    table: Table,
    *,
    replace_nulls: bool,
    told: Callable[[int], None],
) -> tuple[Contents, int]:
    """Copy every row. Returns what was read, and in how many texts a null character was replaced.

    told: how many rows each page had. Raises MoveRefused where PostgreSQL can't hold a text.
    """
    digest, count, replaced = hashlib.sha256(), 0, 0
    async for page in pages(source, table):
        if target.dialect == "postgresql" and _NULL_AS_TEXT in page.canonical:
            page = without_nulls(table, page, replace_nulls=replace_nulls)
        digest.update(page.canonical.encode("utf-8", "surrogatepass"))
        await _put(target, table, page.rows)
        count, replaced = count + len(page.rows), replaced + page.replaced
        told(len(page.rows))
    return Contents(count, digest.hexdigest()), replaced


async def contents(place: Place, table: Table, told: Callable[[int], None]) -> Contents:
    """What a table holds, read page by page."""
    digest, count = hashlib.sha256(), 0
    async for page in pages(place, table):
        digest.update(page.canonical.encode("utf-8", "surrogatepass"))
        count += len(page.rows)
        told(len(page.rows))
    return Contents(count, digest.hexdigest())


def without_nulls(table: Table, page: Page, *, replace_nulls: bool) -> Page:
    """The page as PostgreSQL can hold it. Raises MoveRefused where that is not allowed."""
    rows, replaced = [], 0
    for row in page.rows:
        bad = [n for n, v in enumerate(row) if isinstance(v, str) and NULL_CHARACTER in v]
        if bad and not replace_nulls:
            names = list(table.columns.keys())
            key = {column.name: row[names.index(column.name)] for column in table.primary_key}
            raise MoveRefused(
                f"{table.name}.{names[bad[0]]} of {key} holds a null character, which PostgreSQL "
                "can't; let the move write U+FFFD instead of each: --replace-null-characters"
            )
        replaced += len(bad)
        changed = [
            value.replace(NULL_CHARACTER, INSTEAD_OF_NULL) if number in bad else value
            for number, value in enumerate(row)
        ]
        rows.append(tuple(changed))
    return replace(page, rows=rows, canonical="".join(map(repr, rows)), replaced=replaced)


async def _put(place: Place, table: Table, rows: Sequence[Values]) -> None:
    """Write a page. What is lost of it in a crash is copied again, so no page waits for a disk."""
    names = [column.name for column in table.columns]
    async with place.transaction() as connection:
        if place.dialect == "sqlite":
            named = [dict(zip(names, row, strict=True)) for row in rows]
            await connection.execute(insert(table), named)
            return
        await connection.execute(text("SET LOCAL synchronous_commit = off"))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.copy_records_to_table(table.name, records=rows, columns=names)


def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    return {
        table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for table in TABLES
    }


def clear(connection: Connection) -> None:
    """Take away every row that a move may have written."""
    for table in TABLES:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f'TRUNCATE "{table.name}"'))
        else:
            connection.execute(delete(table))


def counters(connection: Connection) -> dict[str, int]:
    """The last number that each counting table has given, which may be of a row that is gone."""
    return {table.name: _counter(connection, table) for table in COUNTED}


def _counter(connection: Connection, table: Table) -> int:
    if connection.dialect.name == "sqlite":
        asked = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(connection.execute(asked, {"name": table.name}).scalar() or 0)
    sequence = _sequence_of(connection, table)
    asked = text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")
    return int(connection.execute(asked).scalar_one())


def set_counters(connection: Connection, numbers: dict[str, int]) -> None:
    """Let each counting table go on behind a number."""
    for table in COUNTED:
        number = numbers[table.name]
        if connection.dialect.name == "sqlite":
            gone = text("DELETE FROM sqlite_sequence WHERE name = :name")
            connection.execute(gone, {"name": table.name})
            put = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)")
            connection.execute(put, {"name": table.name, "number": number})
        else:
            sequence = _sequence_of(connection, table)
            put = text("SELECT setval(CAST(:name AS regclass), :number, :given)")
            values = {"name": sequence, "number": max(1, number), "given": number > 0}
            connection.execute(put, values)


def _sequence_of(connection: Connection, table: Table) -> str:
    column = table.autoincrement_column
    assert column is not None, table.name
    asked = text("SELECT pg_get_serial_sequence(:table, :column)")
    values = {"table": table.name, "column": column.name}
    return str(connection.execute(asked, values).scalar_one())


def know_sizes(connection: Connection) -> None:
    """Let the database look at what it got, so that its first answers take the right way."""
    for table in TABLES:
        connection.execute(text(f'ANALYZE "{table.name}"'))
