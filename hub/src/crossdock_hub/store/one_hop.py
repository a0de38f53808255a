"""An aiosqlite connection that crosses to its thread twice in a transaction, not four times a
statement.

aiosqlite hands the making of a cursor, the statement, the fetch and the close to the thread one by
one, and each hand-over costs more than a small statement. Here a statement runs, is fetched and is
closed in one; BEGIN goes with the first statement, and rows that nobody waits for go with the
COMMIT. SQLAlchemy takes the connection through `async_creator_fn`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
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
        before = self._connection.take()

        def once() -> tuple[Any, ...]:
            _run_all(self._connection._conn, before)
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
    """An aiosqlite connection with cursors of one hop.

    A transaction begins in SQLite with its first statement, not with `begin`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting: list[Step] = []
        self.opening = "BEGIN"
        """The statement that opens a transaction."""
        # One has begun, and SQLite knows nothing of it yet; then it does.
        self._is_begun = self._is_open = False

    def cursor(self) -> OneHopCursor:  # type: ignore[override]
        """A cursor; making it costs nothing."""
        return OneHopCursor(self)

    def begin(self) -> None:
        """Open a transaction with the next crossing, unless one is open."""
        self._is_begun = not self._is_open

    def add(self, steps: Iterable[Step]) -> None:
        """Statements that the next crossing runs first, the one of `commit` at the latest."""
        self._waiting += steps

    def take(self) -> list[Step]:
        """What has to run before anything else; the caller runs it."""
        steps, self._waiting = self._waiting, []
        if self._is_begun:
            steps.insert(0, (self.opening, ()))
            self._is_begun, self._is_open = False, True
        return steps

    async def run(self, steps: Sequence[Step]) -> list[list[Any]]:
        """Run statements one after another, and fetch all that each gives."""
        before = self.take()

        def once() -> list[list[Any]]:
            _run_all(self._conn, before)
            execute = self._conn.execute
            return [execute(sql, values).fetchall() for sql, values in steps]

        found: list[list[Any]] = await self._execute(once)  # type: ignore[no-untyped-call]
        return found

    async def commit(self) -> None:
        """Run what waits and commit. Nothing was said to SQLite: nothing is."""
        if not self._waiting and not self._is_open:
            self._is_begun = False
            return
        before = self.take()

        def once() -> None:
            _run_all(self._conn, before)
            self._conn.commit()

        await self._execute(once)  # type: ignore[no-untyped-call]
        self._is_open = False

    async def rollback(self) -> None:
        """Forget what waits, and undo what SQLite has of the transaction."""
        self._waiting, self._is_begun = [], False
        if self._is_open:
            try:
                await super().rollback()
            except asyncio.CancelledError:
                # The thread does it nevertheless, before all that is asked of it later.
                self._is_open = False
                raise
            self._is_open = False


def _run_all(connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    for sql, values in steps:
        connection.execute(sql, values)


def connect(database: str, **options: Any) -> OneHopConnection:
    """Open a database file in a thread of its own, which ends with the process."""
    options.setdefault("cached_statements", CACHED_STATEMENTS)
    connection = OneHopConnection(lambda: sqlite3.connect(database, **options), 64)
    connection._thread.daemon = True
    return connection
