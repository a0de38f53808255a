"""A database at either end of a move, claimed so that no hub and no other move can use it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

import asyncpg
from crossdock.errors import CrossdockError
from sqlalchemy import Connection, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from crossdock_hub.store.database_files import Entrance, entrance_to, file_of
from crossdock_hub.store.engine import check_url, claim, patient_engine
from crossdock_hub.store.failures import StoreFailure, failure_of
from crossdock_hub.store.moves import Mark, read_mark, write_mark
from crossdock_hub.store.postgresql import Access, DatabaseInUse, count_claim
from crossdock_hub.store.rights import Part, missing_rights
from crossdock_hub.store.tables import claims
from crossdock_hub.store.unopened import unopened

FAILURES: Final = (
    DBAPIError,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)
T = TypeVar("T")


class MoveRefused(CrossdockError):
    """A database can't be moved, or not to where it was asked for; the sentence says why."""


class Place:
    """One claimed connection to a database, from `open` to `close`. Raises StoreFailure."""

    def __init__(
        self,
        url: str,
        engine: AsyncEngine,
        connection: AsyncConnection,
        entrance: Entrance | None,
    ) -> None:
        self.name = name_of(url)
        self._engine = engine
        self._connection = connection
        self._entrance = entrance

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self._engine.dialect.name

    @classmethod
    async def open(cls, url: str, access: Access, part: Part = Part.LEAVES) -> Place:
        """Connect and claim. Raises ConfigurationError, DatabaseUnfit; MoveRefused: it is used, or
        its user may not do there what the move does, of which nothing was done then."""
        check_url(url, access)
        engine = patient_engine(url, access)
        if engine.dialect.name == "sqlite":
            _take_for_itself(engine)
        try:
            entrance = entrance_to(url)
            place = cls(url, engine, await engine.connect(), entrance)
        except FAILURES as error:
            await engine.dispose()
            raise unopened(error, url, access) from None
        try:
            await place._claim(part)
        except BaseException as error:
            await place.close()
            if isinstance(error, StoreFailure):
                raise unopened(error, url, access) from None
            raise
        return place

    async def _claim(self, part: Part) -> None:
        try:
            if self.dialect == "postgresql":
                await claim(self._connection)
        except DatabaseInUse as in_use:
            holder = in_use.holder or "another hub"
            raise MoveRefused(f"{self.name} is in use by {holder}; stop that first") from None
        except FAILURES as error:
            raise failure_of(error) from None
        async with self.transaction() as connection:
            if self._entrance is not None:
                self._entrance.refuse_another()
            if missing := await connection.run_sync(missing_rights, part):
                raise MoveRefused(f"{self.name}: {missing}")
            if self.dialect == "postgresql" and await connection.run_sync(_has_claims):
                # A hub that is cut off and comes back must not write on where it was.
                await count_claim(connection)

    async def close(self) -> None:
        """Let go of it."""
        with contextlib.suppress(*FAILURES):
            await self._connection.close()
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on the claimed connection."""
        try:
            async with self._connection.begin():
                # Of SQLite, the first statement takes the lock; PostgreSQL has given it.
                await self._connection.execute(text("SELECT 1"))
                yield self._connection
        except FAILURES as error:
            raise failure_of(error) from None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Work in one transaction."""
        async with self.transaction() as connection:
            return await connection.run_sync(work)

    async def mark(self) -> Mark | None:
        """How it takes part in a move."""
        return await self.run(read_mark)

    async def put_mark(self, mark: Mark | None) -> None:
        """Change that; it is on disk when this returns."""
        await self.run(lambda connection: write_mark(connection, mark))

    async def has_tables(self) -> bool:
        """Whether there is anything in it."""
        return await self.run(lambda connection: bool(inspect(connection).get_table_names()))


def _has_claims(connection: Connection) -> bool:
    """Whether a hub may have claimed it before: what is empty has nothing to count with."""
    return inspect(connection).has_table(claims.name)


def name_of(url: str) -> str:
    """A database in words: its URL, of a file with the whole path, without a secret."""
    parsed = make_url(url)
    path = file_of(url)
    if path is not None:
        parsed = parsed.set(database=str(path))
    return parsed.render_as_string(hide_password=True)


def _take_for_itself(engine: AsyncEngine) -> None:
    """Let nobody else open the file: not even to read, for a hub begins by reading."""

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA locking_mode=EXCLUSIVE")
        cursor.close()
