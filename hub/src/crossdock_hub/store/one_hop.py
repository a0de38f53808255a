"""An aiosqlite connection whose statements cross to its thread once instead of four times.

aiosqlite hands the making of a cursor, the statement, the fetch and the close to the thread one by
one, and each hand-over costs more than a small statement. Here a statement runs, is fetched and is
closed in one. SQLAlchemy takes the connection through `async_creator_fn`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import aiosqlite

# Every text that a batch may need: some twenty tables and queries, each in a few sizes.
CACHED_STATEMENTS = 512
# A statement's text and its values.
Step = tuple[str, Sequence[Any]]


class OneHopCursor:
    """A cursor that holds its rows as soon as its statement has run."""

    def __init__(self, connection: OneHopConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> OneHopCursor:
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> OneHopCursor:
        """Run a statement and fetch all it gives."""

        def run(connection: sqlite3.Connection) -> sqlite3.Cursor:
            return connection.execute(sql, parameters)

        return await self._in_thread(run)

    async def executemany(self, sql: str, parameters: Sequence[Any]) -> OneHopCursor:
        """Run a statement for many rows."""

        def run(connection: sqlite3.Connection) -> sqlite3.Cursor:
            return connection.executemany(sql, parameters)

        return await self._in_thread(run)

    async def _in_thread(self, run: Any) -> OneHopCursor:
        def once() -> tuple[Any, ...]:
            cursor = run(self._connection._conn)
            try:
                rows = cursor.fetchall() if cursor.description else []
                return cursor.description, rows, cursor.rowcount, cursor.lastrowid
            finally:
                cursor.close()

        found = await self._connection._execute(once)  # type: ignore[no-untyped-call]
        self.description, self._rows, self.rowcount, self.lastrowid = found
        return self

    async def fetchall(self) -> list[Any]:
        """The rows; they are here already."""
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Nothing is held in the thread."""
        self._rows = []


class OneHopConnection(aiosqlite.Connection):
    """An aiosqlite connection with cursors of one hop."""

    def cursor(self) -> OneHopCursor:  # type: ignore[override]
        """A cursor; making it costs nothing."""
        return OneHopCursor(self)

    async def run(self, steps: Sequence[Step]) -> list[list[Any]]:
        """Run statements one after another, and fetch all that each gives."""

        def once() -> list[list[Any]]:
            execute = self._conn.execute
            return [execute(sql, values).fetchall() for sql, values in steps]

        found: list[list[Any]] = await self._execute(once)  # type: ignore[no-untyped-call]
        return found


def connect(database: str, **options: Any) -> OneHopConnection:
    """Open a database file in a thread of its own, which ends with the process."""
    options.setdefault("cached_statements", CACHED_STATEMENTS)
    connection = OneHopConnection(lambda: sqlite3.connect(database, **options), 64)
    connection._thread.daemon = True
    return connection
