"""Opens the database: one connection that writes, a few that read, the schema brought up to date.

SQLite is opened with WAL, synchronous=FULL and BEGIN IMMEDIATE: a write transaction takes its lock
with its first statement and survives a power cut. Readers see the last commit and block nobody.
What PostgreSQL is told, and how one hub claims a database, is in `postgresql`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from crossdock.contracts import Contract
from crossdock.errors import ConfigurationError
from sqlalchemy import URL, Connection, NullPool, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from crossdock_hub.config import Settings
from crossdock_hub.store import moves, one_hop, postgresql
from crossdock_hub.store.answered import Answered
from crossdock_hub.store.crossing import Question, Row
from crossdock_hub.store.database_files import entrance_to
from crossdock_hub.store.failures import READ_ONLY, STANDBY, StoreFailure, failure_of
from crossdock_hub.store.leadership import name_writer
from crossdock_hub.store.migrating import is_current, upgrade
from crossdock_hub.store.postgresql import Access
from crossdock_hub.store.silence import Links
from crossdock_hub.store.straight import abandon
from crossdock_hub.store.transactions import transaction
from crossdock_hub.store.unopened import unopened

DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")
BUSY_TIMEOUT_MILLISECONDS = 10_000
READERS_MAX = 8
# `Store.ask` keeps one for itself.
KEPT_READERS = 1
READER_WAIT_SECONDS = 5.0
STATEMENT_CACHE = 500
# 64 MiB of the write-ahead log: a page that many batches change is copied back once for all.
CHECKPOINT_PAGES = 16_384
# The server lets go of a killed hub's lock within milliseconds; nobody else is worth waiting for.
DEAD_HOLDER_GRACE_SECONDS = 2.0
# But the first of hubs that share a database, while it brings the tables up to date.
FIRST_SHARER_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.05
# The lock is taken at once: a transaction that takes it later may find that others wrote meanwhile.
_BEGIN_WRITING = "BEGIN IMMEDIATE"
NO_SECRETS = Access()


# What `Store.write` and `Store.read` hand out.
Transaction = AsyncConnection
# What goes wrong between us and a database, whatever the database is.
FAILURES = (DBAPIError, sqlite3.Error, OSError)


def database_url(setting: str, data_directory: Path) -> str:
    """The SQLAlchemy URL: as set, else SQLite in the data directory, whatever signs its name has.

    Raises ConfigurationError: the name of the directory is no text.
    """
    if setting:
        return setting
    path = str(data_directory / "crossdock.db")
    try:
        return URL.create("sqlite+aiosqlite", database=path).render_as_string()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"CROSSDOCK_DATA_DIRECTORY {os.fsencode(data_directory)!r} has a name that is no "
            "UTF-8; name another directory"
        ) from None


def access_of(settings: Settings) -> Access:
    """How a server is reached, as it is set."""
    return Access(
        settings.database_password_file, settings.database_ca_file, settings.allow_plaintext
    )


def check_url(url: str, access: Access) -> None:
    """Refuse what the hub does not run on, or not safely. Raises ConfigurationError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError("CROSSDOCK_DATABASE_URL is no SQLAlchemy URL") from None
    except ValueError:
        raise ConfigurationError("the port of CROSSDOCK_DATABASE_URL is no number") from None
    if parsed.drivername not in DRIVERS:
        raise ConfigurationError(
            f"CROSSDOCK_DATABASE_URL begins with {parsed.drivername}://; "
            f"the hub runs on {' and '.join(f'{name}://' for name in DRIVERS)}"
        )
    if not url.startswith("sqlite"):
        access.check(parsed)


class Store:
    """The database of a hub. Open it with `Store.open`, close it with `close`."""

    def __init__(self, url: str, contract: Contract, access: Access, shared_by: str = "") -> None:
        """shared_by: version of the hubs that work on it together; "": one has it for itself."""
        self.contract = contract
        self._url = url
        self._access = access
        self._shared_by = shared_by
        options = _options(url, access, writes=True, shared=bool(shared_by))
        self._writer = create_async_engine(url, pool_size=1, max_overflow=0, **options)
        self._reader = create_async_engine(
            url,
            pool_size=READERS_MAX + KEPT_READERS,
            max_overflow=0,
            pool_timeout=READER_WAIT_SECONDS,
            **_options(url, access, writes=False),
        )
        self._links = Links(self._writer, self._reader)
        if self.dialect == "sqlite":
            _prepare_sqlite(self._writer, _BEGIN_WRITING)
            _prepare_sqlite(self._reader, "BEGIN")
        self._connection: AsyncConnection | None = None
        self._claim = 0
        self._backend: postgresql.Backend | None = None
        self._writing = asyncio.Lock()
        self._asked: AsyncConnection | None = None
        self._asking = asyncio.Lock()
        self._terms: dict[str, int] = {}
        self.on_deposed: Callable[[str, int], None] = lambda _task, _term: None
        """Told, for each task by itself, when a new connection may not write for who leads it:
        another hub has taken the term."""
        self.answered = Answered()
        """What a connection of later has to find; whoever commits notes it."""
        self.on_taken: Callable[[str], None] = _end_nobody
        """Told when another hub has written meanwhile, or what was written is gone: what is in
        memory here is not true."""

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self._writer.dialect.name

    @property
    def shared(self) -> bool:
        """Whether other hubs may write to it too."""
        return bool(self._shared_by)

    @property
    def spares_reader(self) -> bool:
        """Whether `read` would give a connection at once."""
        pool: Any = self._reader.pool
        return bool(pool.checkedout() < pool.size())

    @classmethod
    async def open(
        cls, url: str, contract: Contract, access: Access = NO_SECRETS, shared_by: str = ""
    ) -> Store:
        """Open and bring the schema up to date. shared_by: version of the hubs that share it.

        Raises StoreFailure when that can't be done; ConfigurationError, DatabaseInUse,
        VersionsDiffer, DatabaseUnfit or DatabaseMoved when the setting, other hubs, the server or
        a move to another database stand against it.
        """
        check_url(url, access)
        store = cls(url, contract, access, shared_by)
        async with store._closed_unless_opened():
            if store.dialect == "sqlite":
                await store._enter_through(store._writer, _enter)
            else:
                await store._take()
        return store

    @classmethod
    async def look_into(cls, url: str, contract: Contract, access: Access = NO_SECRETS) -> Store:
        """Open only to read, beside a hub or without one; the schema stays as it is.

        Raises StoreFailure; ConfigurationError: the setting, or a back-up that is being put back.
        """
        check_url(url, access)
        store = cls(url, contract, access)
        async with store._closed_unless_opened():
            if store.dialect == "sqlite":
                await store._enter_through(store._reader, lambda _connection: None)
        return store

    @contextlib.asynccontextmanager
    async def _closed_unless_opened(self) -> AsyncIterator[None]:
        try:
            yield
        except (StoreFailure, *FAILURES) as error:
            await self.close()
            raise unopened(error, self._url, self._access) from None
        except BaseException:
            await self.close()
            raise

    async def _enter_through(self, engine: AsyncEngine, work: Callable[[Connection], None]) -> None:
        """Open the file; work in the transaction that first has a lock on it."""
        entrance = entrance_to(self._url)
        async with engine.begin() as connection:
            # The first statement takes the lock. The engine's connection keeps one from now on.
            await connection.execute(text("SELECT count(*) FROM sqlite_master"))
            if entrance is not None:
                entrance.refuse_another()
            await connection.run_sync(work)

    async def _take(self) -> None:
        """Claim the database for this hub, then bring the schema up to date."""
        connection, alone = await self._claimed(first=True)
        if not alone:
            await self._join(connection)
            return
        migrating = patient_engine(self._url, self._access)
        try:
            async with migrating.begin() as schema:
                await schema.run_sync(_enter)
        finally:
            await migrating.dispose()
        async with connection.begin():
            self._claim = await postgresql.count_claim(connection, self._shared_by)
        if self._shared_by:
            async with connection.begin():
                await postgresql.let_others_in(connection)

    async def _join(self, connection: AsyncConnection) -> None:
        """Work beside the hubs that share the database, if they are of this one's version."""
        async with connection.begin():
            await connection.run_sync(moves.enter)
            current = await connection.run_sync(is_current)
            self._claim, theirs = await postgresql.shared_claim(connection) if current else (0, "")
        if theirs != self._shared_by:
            raise postgresql.VersionsDiffer(theirs, self._shared_by)

    async def _claimed(self, *, first: bool = False) -> tuple[AsyncConnection, bool]:
        """A new connection that holds the lock, and whether it has it for itself; of hubs that
        share it only the first one has, until it lets others in. Raises DatabaseInUse,
        DatabaseUnfit."""
        connection = await self._writer.connect()
        try:
            if self._backend is not None:
                await _end(connection, self._backend)
            async with connection.begin():
                # Before it claims: lost in between, it would hold the lock and nobody knew it.
                self._backend = await postgresql.backend_of(connection)
                if await postgresql.is_in_recovery(connection):
                    raise StoreFailure(STANDBY, full=False, away=True)
            alone = await claim(connection, shared=bool(self._shared_by), first=first)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        return connection, alone

    def write_in_term(self, task: str, term: int) -> postgresql.Backend | None:
        """From now on a new connection writes only once it is known whether a term of a task is
        still this hub's; 0: this hub does not lead it. Other tasks stay as they are. Returns the
        server's end of the present connection, if there is one."""
        if term:
            self._terms[task] = term
        else:
            self._terms.pop(task, None)
        return self._backend if self._connection is not None else None

    async def is_current(self) -> bool:
        """Whether the tables are those of this version; asked without claiming anything.

        Raises StoreFailure.
        """
        async with self.read() as connection:
            return await connection.run_sync(is_current)

    async def close(self) -> None:
        """Close every connection; aiosqlite's threads end with them. A PostgreSQL that does not
        answer is left without a farewell."""
        await self._links.closed(self._close)

    async def _close(self) -> None:
        for connection in (self._connection, self._asked):
            if connection is not None:
                await connection.close()
        self._connection = self._asked = None
        await self._writer.dispose()
        await self._reader.dispose()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """The write transaction; there is one at a time. Raises StoreFailure."""
        decided = False
        try:
            async with self._writing:
                if self._connection is not None and self._connection.invalidated:
                    # Who was cancelled amid a statement of SQLAlchemy's made it let go of it; what
                    # it opened by itself instead would claim nothing and be named nowhere.
                    await self._drop_connection()
                connection = self._connection or await self._connect()
                async with transaction(connection):
                    yield connection
                    decided = True
        except FAILURES as error:
            failure = failure_of(error, committing=decided)
            if self.dialect == "sqlite" or failure.away or failure.cause == READ_ONLY:
                # A standby that is not promoted yet takes nothing: the next one may be the primary.
                await self._drop_connection()
            raise failure from None

    async def _connect(self) -> AsyncConnection:
        """The connection that writes, after one was lost."""
        if self.dialect == "sqlite":
            self._connection = await self._writer.connect()
            return self._connection
        try:
            connection, _ = await self._claimed()
        except postgresql.DatabaseInUse as in_use:
            self.on_taken(str(in_use))
            raise StoreFailure(str(in_use), full=False, away=True) from None
        try:
            async with connection.begin():
                told = await self._what_happened(connection)
            if not told:
                await self._go_on_leading(connection)
        except BaseException:
            # Nothing is written to what could not be looked at.
            await self._drop_connection()
            raise
        if told:
            await self._drop_connection()
            self.on_taken(told)
            raise StoreFailure(told, full=False, away=True)
        return connection

    async def _go_on_leading(self, connection: AsyncConnection) -> None:
        """Say of each task that who leads it writes with this connection from now on, or learn that
        it is lost."""
        assert self._backend is not None
        for task, term in sorted(self._terms.items()):
            # Each by itself: nobody who takes or renews one of these rows waits for another one.
            async with connection.begin():
                named = await name_writer(connection, task, term, self._backend)
            if not named and self._terms.get(task) == term:
                del self._terms[task]
                self.on_deposed(task, term)

    async def _what_happened(self, connection: AsyncConnection) -> str:
        """Why what is in memory here is no longer true, in words; "": nothing has happened."""
        try:
            await connection.run_sync(moves.enter)
        except moves.DatabaseMoved as moved:
            return str(moved)
        if await postgresql.last_claim(connection) != self._claim:
            return (
                "another hub has written to the database, or it was moved, while this one had no "
                "connection to it"
            )
        return await self.answered.missing(connection)

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*FAILURES):
                # The next one opens the file anew: what could not be written may be written then.
                await connection.invalidate()
                await connection.close()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection on a snapshot that sees the last commit. Raises StoreFailure."""
        with _reading():
            async with self._reader.connect() as connection, transaction(connection):
                yield connection

    async def ask(self, question: Question, *values: int | str) -> list[Row]:
        """What a question finds as of the last commit. Raises StoreFailure.

        A statement by itself needs no transaction, and whoever asks such ones no connection of his
        own: one that is kept answers them all, one after another.
        """
        with _reading():
            async with self._asking:
                asked = self._asked = self._asked or await self._reader.connect()
                try:
                    return await question.ask(asked, *values, alone=True)
                except BaseException:
                    # The next one waits for nothing that this one has left unanswered.
                    if self.dialect != "sqlite":
                        self._asked = None
                        await abandon(asked)
                    raise


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Raise as StoreFailure what goes wrong with a reader."""
    try:
        yield
    except PoolTimeoutError:
        raise StoreFailure("every reader of the database is busy", full=False) from None
    except FAILURES as error:
        raise failure_of(error) from None


def patient_engine(url: str, access: Access) -> AsyncEngine:
    """Connections that write, whose statements take as long as they take."""
    if not url.startswith("sqlite"):
        options = postgresql.migration_options(access)
        return create_async_engine(url, poolclass=NullPool, **options)
    engine = create_async_engine(url, poolclass=NullPool, **_options(url, access, writes=True))
    _prepare_sqlite(engine, _BEGIN_WRITING)
    return engine


async def claim(connection: AsyncConnection, *, shared: bool = False, first: bool = True) -> bool:
    """Take the lock of who writes to a PostgreSQL; whether for this connection alone.

    shared: beside others that do; first: for itself, where nobody else has it. Raises
    DatabaseInUse, DatabaseUnfit.
    """
    async with connection.begin():
        await postgresql.check(connection)
    grace = FIRST_SHARER_GRACE_SECONDS if shared else DEAD_HOLDER_GRACE_SECONDS
    deadline = time.monotonic() + grace
    while True:
        async with connection.begin():
            if (first or not shared) and await postgresql.take_lock(connection):
                return True
            if shared and await postgresql.share_lock(connection):
                return False
            holder, shares = await postgresql.holder(connection)
        if time.monotonic() > deadline:
            raise postgresql.DatabaseInUse(holder, shares=shares, wanted_shared=shared)
        await asyncio.sleep(_POLL_SECONDS)


async def _end(connection: AsyncConnection, lost: postgresql.Backend) -> None:
    """Let go of what a lost connection of ours still holds: it is not another hub. Raises
    StoreFailure."""
    async with connection.begin():
        if not await postgresql.end(connection, lost):
            told = "the server has not ended the connection yet that was lost"
            raise StoreFailure(told, full=False, away=True)


def _enter(connection: Connection) -> None:
    """A hub begins here: nowhere that moved away, and with every table."""
    moves.enter(connection)
    upgrade(connection)


def _end_nobody(_why: str) -> None:
    """Without a hub around it, a store only refuses to write."""


def _options(url: str, access: Access, *, writes: bool, shared: bool = False) -> dict[str, Any]:
    options: dict[str, Any] = {"query_cache_size": STATEMENT_CACHE}
    if url.startswith("sqlite"):
        return options | {"connect_args": {"async_creator_fn": one_hop.connect}}
    return options | postgresql.engine_options(access, writes=writes, shared=shared)


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
        connection.driver_connection.opening = begin

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.begin()
