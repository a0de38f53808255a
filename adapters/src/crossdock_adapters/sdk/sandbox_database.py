"""A database server on a loopback port for simulated vendors: SQLite in a file, all faults.

The other half is a driver for SQLAlchemy, found by its entry point: `sqlite+sandbox://user:password
@host:port`. Statements are real SQL on a real file; what lies between is only the wire, so that an
answer can be lost after a commit, come late, or find nobody who listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crossdock.ending import end_tasks
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_dbapi,
    SQLiteDialect_aiosqlite,
)
from sqlalchemy.util.concurrency import await_

from crossdock_adapters.sdk import sandbox_server
from crossdock_adapters.sdk.adapter import same_secret

if TYPE_CHECKING:
    from crossdock_adapters.sdk.sandbox import Sandbox

LINE_BYTES: Final = 4 * 1024 * 1024
BUSY_SECONDS: Final = 5.0
# What a statement that changes rows is called in the log; its commit is the step with an effect.
QUERY, WRITE, COMMIT = "query", "write", "commit"
DATABASE_OPERATIONS: Final = frozenset({QUERY, WRITE, COMMIT})
# Somebody else writes at the moment.
Busy = sqlite3.OperationalError
# Error classes that a server names and a driver raises.
ERRORS: Final = {
    each.__name__: each
    for each in (
        sqlite3.OperationalError, sqlite3.IntegrityError, sqlite3.ProgrammingError,
        sqlite3.DatabaseError, sqlite3.InterfaceError, sqlite3.DataError,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class House:
    """The file that the server shows, and to whom."""

    file: Path
    username: str
    password: str


def opened(file: Path, busy_seconds: float = 0.0) -> sqlite3.Connection:
    """A connection to the file as the vendor's own programs have one: rows by name.

    busy_seconds: how long it waits while somebody else writes. In the event loop it must not: who
    writes there needs the loop to go on.
    """
    connection = sqlite3.connect(
        file, timeout=busy_seconds, isolation_level="IMMEDIATE", check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


class DatabasePort:
    """The vendor's port. Closed, it is bound and refuses, as `sandbox_server.Listener` does."""

    def __init__(self, sandbox: Sandbox, house: House) -> None:
        self._sandbox = sandbox
        self._house = house
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._sessions: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def listening(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        """Bind and listen. OSError when the port is taken."""
        config = self._sandbox.config
        self._socket = sandbox_server.bound(config.host, config.vendor_port)
        self.port = int(self._socket.getsockname()[1])
        await self.open()

    async def open(self) -> None:
        """Listen (again) on the port held."""
        if self._server is None and self._socket is not None:
            self._server = await asyncio.start_server(
                self._serve, sock=self._socket, limit=LINE_BYTES
            )

    async def close(self) -> None:
        """Stop listening and cut every connection; the port stays ours."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for writer in list(self._open):
            writer.transport.abort()
        self._socket = await sandbox_server.rebound(self._sandbox.config.host, self.port)

    async def stop(self) -> None:
        """Close for good."""
        await self.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=sandbox_server.CLOSE_GRACE_SECONDS)
            await end_tasks(self._sessions)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        session = asyncio.create_task(_Session(self._sandbox, self._house, writer).run(reader))
        self._sessions.add(session)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await session
        finally:
            self._sessions.discard(session)
            self._open.discard(writer)
            writer.close()


class _Session:
    """One connection: its own transaction at the file, its answers in order."""

    def __init__(self, sandbox: Sandbox, house: House, writer: asyncio.StreamWriter) -> None:
        self._sandbox = sandbox
        self._house = house
        self._writer = writer

    async def run(self, reader: asyncio.StreamReader) -> None:
        connection = await asyncio.to_thread(opened, self._house.file, BUSY_SECONDS)
        connection.row_factory = None
        try:
            while line := await reader.readline():
                asked = json.loads(line)
                if not await self._answer(connection, asked):
                    return
        finally:
            await asyncio.to_thread(connection.close)

    async def _answer(self, connection: sqlite3.Connection, asked: dict[str, Any]) -> bool:
        """Whether the session goes on."""
        # Here, because the frame of sandboxes imports none of its vendors' protocols.
        from crossdock_adapters.sdk.sandbox import CallFailed, ReplyLost

        try:
            said = await self._done(connection, asked)
        except ReplyLost:
            self._writer.transport.abort()
            return False
        except CallFailed as failed:
            # Whatever was not committed by now is rolled back with the session.
            said = {"error": "OperationalError", "text": f"server error {failed.fault.status}"}
        except sqlite3.Error as error:
            said = {"error": type(error).__name__, "text": str(error)}
        self._writer.write(json.dumps(said).encode() + b"\n")
        await self._writer.drain()
        return True

    async def _done(self, connection: sqlite3.Connection, asked: dict[str, Any]) -> dict[str, Any]:
        house = self._house
        match asked["do"]:
            case "login":
                right = same_secret(str(asked["password"]), house.password)
                if asked["username"] != house.username or not right:
                    raise sqlite3.OperationalError("wrong login")
                return {}
            case "commit" if connection.in_transaction:
                return await self._played(COMMIT, connection.commit, effect=True)
            case "execute":
                name = WRITE if _changes(asked["sql"]) else QUERY
                return await self._played(name, lambda: _executed(connection, asked))
            case "rollback":
                await asyncio.to_thread(connection.rollback)
        return {}

    async def _played(self, name: str, work: Any, effect: bool = False) -> dict[str, Any]:
        async def do() -> dict[str, Any]:
            # A server does what it was asked although nobody waits for its answer any more.
            return await asyncio.to_thread(work) or {}

        return await self._sandbox.played(name, name, effect, do)


def _changes(sql: str) -> bool:
    return sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE"))


def _executed(connection: sqlite3.Connection, asked: dict[str, Any]) -> dict[str, Any]:
    if asked.get("many"):
        cursor = connection.executemany(asked["sql"], asked["values"])
    else:
        cursor = connection.execute(asked["sql"], asked["values"])
    names = [column[0] for column in cursor.description] if cursor.description else None
    return {
        "names": names,
        "rows": cursor.fetchall() if names else [],
        "count": cursor.rowcount,
        "id": cursor.lastrowid,
    }


# The driver.


class SandboxConnection:
    """What SQLAlchemy's adapter of asynchronous SQLite drivers asks of a connection."""

    isolation_level = "IMMEDIATE"

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # What the adapter takes for "open".
        self._connection: Any = self

    @classmethod
    async def open(
        cls, host: str, port: int, username: str, password: str, **_: Any
    ) -> SandboxConnection:
        """Connect and log in. sqlite3.OperationalError, OSError."""
        made = cls(*await asyncio.open_connection(host, port, limit=LINE_BYTES))
        try:
            await made.ask(do="login", username=username, password=password)
        except BaseException:
            await made.close()
            raise
        return made

    async def ask(self, **asked: Any) -> dict[str, Any]:
        """One question and its answer. What the server names is raised; silence, too."""
        try:
            self._writer.write(json.dumps(asked).encode() + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
        except OSError:
            line = b""
        if not line:
            self.stop()
            raise sqlite3.OperationalError("connection closed")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise ERRORS.get(said["error"], sqlite3.DatabaseError)(said["text"])
        return said

    def cursor(self) -> SandboxCursor:
        return SandboxCursor(self)

    async def commit(self) -> None:
        await self.ask(do="commit")

    async def rollback(self) -> None:
        await self.ask(do="rollback")

    async def close(self) -> None:
        self.stop()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def stop(self) -> None:
        """Leave at once."""
        self._connection = None
        self._writer.close()


class SandboxCursor:
    """One statement and its rows."""

    arraysize = 1

    def __init__(self, connection: SandboxConnection) -> None:
        self._connection = connection
        self._said: dict[str, Any] = {}

    async def __aenter__(self) -> SandboxCursor:
        return self

    @property
    def description(self) -> Any:
        names = self._said.get("names")
        return tuple((name, *(None,) * 6) for name in names) if names else None

    @property
    def rowcount(self) -> int:
        return int(self._said.get("count", -1))

    @property
    def lastrowid(self) -> int:
        return int(self._said.get("id") or 0)

    async def execute(self, sql: str, values: Sequence[Any] = ()) -> SandboxCursor:
        self._said = await self._connection.ask(do="execute", sql=sql, values=list(values or ()))
        return self

    async def executemany(self, sql: str, values: Sequence[Any]) -> SandboxCursor:
        rows = [list(row) for row in values]
        self._said = await self._connection.ask(do="execute", many=True, sql=sql, values=rows)
        return self

    async def fetchall(self) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._said.get("rows", ())]

    async def close(self) -> None:
        return


class _Driver(AsyncAdapt_aiosqlite_dbapi):
    """The adapter, with connections of ours."""

    def connect(self, *places: Any, **named: Any) -> AsyncAdapt_aiosqlite_connection:
        opening: Any = SandboxConnection.open(*places, **named)
        return AsyncAdapt_aiosqlite_connection(self, await_(opening))


class SandboxDialect(SQLiteDialect_aiosqlite):
    """SQLite behind a port: the dialect `sqlite+sandbox`."""

    driver = "sandbox"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return _Driver(__import__("aiosqlite"), sqlite3)

    @classmethod
    def get_pool_class(cls, url: Any) -> Any:
        from sqlalchemy.pool import AsyncAdaptedQueuePool

        return AsyncAdaptedQueuePool

    def create_connect_args(self, url: Any) -> Any:
        return [url.host, url.port, url.username or "", url.password or ""], {}

    def on_connect(self) -> Any:
        """Nothing: there is no way to bring a function of Python's to the server."""
        return None
