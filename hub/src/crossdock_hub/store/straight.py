"""Statements that go straight to asyncpg, past SQLAlchemy.

What a batch asks PostgreSQL is a text that never changes and values that the driver takes as they
are. SQLAlchemy has nothing to add to them, and takes twice as much time for each as the driver.
Transactions stay SQLAlchemy's: it opens one with the first statement, which goes through it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")


async def rows_of(
    connection: AsyncConnection, text: str, values: Sequence[Any], *, alone: bool = False
) -> Sequence[Any]:
    """The rows that a statement gives, as sequences of their values. alone: it is in no
    transaction, and nobody opens one for it. Raises DBAPIError, OSError."""
    driver = _beneath(connection)
    if driver is not None and (alone or driver.is_in_transaction()):
        return await _asked(connection, driver, lambda: driver.fetch(text, *values))
    return (await connection.exec_driver_sql(text, tuple(values))).all()


async def count_of(connection: AsyncConnection, text: str, values: Sequence[Any]) -> int:
    """How many rows a statement has written. Raises DBAPIError, OSError."""
    driver = _beneath(connection)
    if driver is not None and driver.is_in_transaction():
        # Such as "INSERT 0 3".
        said = await _asked(connection, driver, lambda: driver.execute(text, *values))
        return int(said.rpartition(" ")[2])
    return (await connection.exec_driver_sql(text, tuple(values))).rowcount


def _beneath(connection: AsyncConnection) -> asyncpg.Connection | None:
    if connection.sync_connection is None:
        return None
    driver = connection.sync_connection.connection.driver_connection
    return driver if isinstance(driver, asyncpg.Connection) else None


async def _asked(
    connection: AsyncConnection, driver: asyncpg.Connection, ask: Callable[[], Awaitable[T]]
) -> T:
    """What the driver answers; what goes wrong is told as SQLAlchemy tells it."""
    try:
        return await ask()
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        lost = driver.is_closed()
        if lost:
            await connection.invalidate(error)
        raise DBAPIError(None, None, error, connection_invalidated=lost) from error
    except asyncio.CancelledError:
        # Nobody knows what of it the server has done.
        await connection.invalidate()
        raise
