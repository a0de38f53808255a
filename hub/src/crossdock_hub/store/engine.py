"""Opens the database: one connection that writes, a few that read, the schema brought up to date.

SQLite is opened with WAL, synchronous=FULL and BEGIN IMMEDIATE: a write transaction takes its lock
with its first statement and survives a power cut. Readers see the last commit and block nobody.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from crossdock.contracts import Contract
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from crossdock_hub.store import one_hop
from crossdock_hub.store.migrating import upgrade

BUSY_TIMEOUT_MILLISECONDS = 10_000
READERS_MAX = 8
READER_WAIT_SECONDS = 5.0
STATEMENT_CACHE = 500
# 64 MiB of the write-ahead log: a page that many batches change is copied back once for all.
CHECKPOINT_PAGES = 16_384


# What `Store.write` and `Store.read` hand out.
Transaction = AsyncConnection


class StoreFailure(Exception):
    """The database did not take or give something. full: there is no room, or it is read-only."""

    def __init__(self, cause: str, *, full: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.full = full


def database_url(setting: str, data_directory: Path) -> str:
    """The SQLAlchemy URL: as set, else SQLite in the data directory."""
    return setting or f"sqlite+aiosqlite:///{data_directory / 'crossdock.db'}"


class Store:
    """The database of a hub. Open it with `Store.open`, close it with `close`."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, contract: Contract) -> None:
        self.contract = contract
        self._writer = writer
        self._reader = reader
        self._connection: AsyncConnection | None = None

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self._writer.dialect.name

    @classmethod
    async def open(cls, url: str, contract: Contract) -> Store:
        """Open and bring the schema up to date. Raises StoreFailure when that can't be done."""
        sqlite = url.startswith("sqlite")
        options: dict[str, Any] = {"query_cache_size": STATEMENT_CACHE}
        if sqlite:
            options["connect_args"] = {"async_creator_fn": one_hop.connect}
        writer = create_async_engine(url, pool_size=1, max_overflow=0, **options)
        reader = create_async_engine(
            url,
            pool_size=READERS_MAX,
            max_overflow=0,
            pool_timeout=READER_WAIT_SECONDS,
            **options,
        )
        if sqlite:
            _prepare_sqlite(writer, "BEGIN IMMEDIATE")
            _prepare_sqlite(reader, "BEGIN")
        store = cls(writer, reader, contract)
        try:
            async with writer.begin() as connection:
                await connection.run_sync(upgrade)
        except (DBAPIError, OSError) as error:
            await store.close()
            raise _failure(error) from None
        return store

    async def close(self) -> None:
        """Close every connection; aiosqlite's threads end with them."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        await self._writer.dispose()
        await self._reader.dispose()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """The write transaction; there is one at a time. Raises StoreFailure."""
        try:
            if self._connection is None:
                self._connection = await self._writer.connect()
            async with self._connection.begin():
                yield self._connection
        except (DBAPIError, sqlite3.Error, OSError) as error:
            await self._drop_connection()
            raise _failure(error) from None

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError, sqlite3.Error, OSError):
                # The next one opens the file anew: what could not be written may be written then.
                await connection.invalidate()
                await connection.close()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees the last commit. Raises StoreFailure."""
        try:
            async with self._reader.connect() as connection:
                yield connection
        except PoolTimeoutError:
            raise StoreFailure("every reader of the database is busy", full=False) from None
        except (DBAPIError, sqlite3.Error, OSError) as error:
            raise _failure(error) from None


def _prepare_sqlite(engine: AsyncEngine, begin: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        # The driver must not open transactions by itself: it would open deferred ones.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={BUSY_TIMEOUT_MILLISECONDS}",
            "foreign_keys=ON",
            "cache_size=-65536",
            "temp_store=MEMORY",
            f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.begin(begin)


def _failure(error: Exception) -> StoreFailure:
    """What went wrong in a word; the driver's text may hold data and is not passed on."""
    cause: BaseException = error.orig or error if isinstance(error, DBAPIError) else error
    text = str(cause).lower()
    if "full" in text or "no space" in text:
        return StoreFailure("the volume of the database is full", full=True)
    if "readonly" in text or "read-only" in text:
        return StoreFailure("the database is read-only", full=True)
    operational = isinstance(error, OperationalError) or isinstance(cause, sqlite3.OperationalError)
    if operational and "locked" in text:
        return StoreFailure("the database is locked by another process", full=False)
    if isinstance(error, (DBAPIError, sqlite3.Error)) and not operational:
        kind = type(cause if isinstance(error, sqlite3.Error) else error).__name__
        return StoreFailure(f"the database refused a statement ({kind})", full=False)
    return StoreFailure("the database does not answer", full=False)
