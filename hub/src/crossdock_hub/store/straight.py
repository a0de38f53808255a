"""Statements that go straight to asyncpg, past SQLAlchemy.

What a batch asks PostgreSQL is a text that never changes and values that the driver takes as they
are. SQLAlchemy has nothing to add to them, and takes twice as much time for each as the driver.
Transactions stay SQLAlchemy's: it opens one with the first statement, which goes through it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import Row as SqlAlchemyRow
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    ProgrammingError,
)
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
# As many as the driver keeps prepared.
_TEXTS_MAX: Final = 500
_PLACE: Final = re.compile(r"\$(\d+)")
# What SQLAlchemy makes of the driver's errors; of all others of a server a plain DBAPIError.
_TOLD_AS: Final[tuple[tuple[type[Exception], type[DBAPIError]], ...]] = (
    (asyncpg.IntegrityConstraintViolationError, IntegrityError),
    (asyncpg.SyntaxOrAccessError, ProgrammingError),
    (asyncpg.InternalServerError, InternalError),
    (asyncpg.InterfaceError, InterfaceError),
    (asyncpg.InternalClientError, InternalError),
    (asyncpg.PostgresError, DBAPIError),
)
_FAILURES: Final = tuple(failure for failure, _ in _TOLD_AS)


async def rows_of(
    connection: AsyncConnection, text: str, values: Sequence[Any], *, alone: bool = False
) -> Sequence[Any]:
    """The rows that a statement gives, as sequences of their values. alone: it is in no
    transaction, and nobody opens one for it. Raises DBAPIError, OSError."""
    driver = _beneath(connection)
    if driver is not None and (alone or driver.is_in_transaction()):
        return await _asked(connection, driver, lambda: driver.fetch(text, *values))
    return (await connection.exec_driver_sql(text, tuple(values))).all()


async def named_rows_of(
    connection: AsyncConnection, text: str, values: Sequence[Any], *, alone: bool = False
) -> list[Any]:
    """The same by column. The driver's own rows are found by name as well as a dict is: none is
    made of them."""
    found = await rows_of(connection, text, values, alone=alone)
    return [row._mapping if isinstance(row, SqlAlchemyRow) else row for row in found]


async def count_of(connection: AsyncConnection, text: str, values: Sequence[Any]) -> int:
    """How many rows a statement has written. Raises DBAPIError, OSError."""
    driver = _beneath(connection)
    if driver is not None and driver.is_in_transaction():
        # Such as "INSERT 0 3".
        said = await _asked(connection, driver, lambda: driver.execute(text, *values))
        return int(said.rpartition(" ")[2])
    return (await connection.exec_driver_sql(text, tuple(values))).rowcount


async def write_all(
    connection: AsyncConnection,
    steps: Sequence[tuple[str, Sequence[Any]]],
    counted: Collection[int] = (),
) -> list[int]:
    """Run statements that only write, as one: the server is asked once. No two of them may touch
    the same row, for none sees what another one does. counted: places of those whose rows are
    counted; returns how many rows each has written. Raises DBAPIError, OSError."""
    places = tuple(sorted(counted))
    if len(places) == 1:
        # The server tells of the last one by itself: most batches have one that is counted.
        (place,) = places
        steps = [*steps[:place], *steps[place + 1 :], steps[place]]
    text = _as_one(tuple(text for text, _ in steps), places if len(places) > 1 else ())
    values = [value for _, values in steps for value in values]
    if len(places) < 2:
        count = await count_of(connection, text, values)
        return [count] * len(places)
    (counts,) = await rows_of(connection, text, values)
    return list(counts)


@lru_cache(_TEXTS_MAX)
def _as_one(texts: tuple[str, ...], counted: tuple[int, ...]) -> str:
    """A statement that does what several do, with the values of all of them in their order; its
    one row has how many rows each of the counted ones has written."""
    numbered, before = [], 0
    for place, text in enumerate(texts):
        returned = " RETURNING 1" if place in counted else ""
        numbered.append(_behind(text, before) + returned)
        before += max(int(found) for found in _PLACE.findall(text))
    # Where something is counted, nothing but the counts stands last.
    parts, last = (numbered, "") if counted else (numbered[:-1], numbered[-1])
    named = ", ".join(f"part_{place} AS ({part})" for place, part in enumerate(parts))
    last = last or f"SELECT {', '.join(f'(SELECT count(*) FROM part_{n})' for n in counted)}"
    return f"WITH {named} {last}" if named else last


def _behind(text: str, before: int) -> str:
    """A statement whose values come behind so many others."""
    return _PLACE.sub(lambda place: f"${int(place[1]) + before}", text)


async def abandon(connection: AsyncConnection) -> None:
    """Let go of a connection at once: no farewell that a silent server would not answer."""
    if not connection.invalidated:
        driver = _beneath(connection)
        if driver is not None:
            driver.terminate()
        await connection.invalidate()
    await connection.close()


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
    except _FAILURES as error:
        lost = driver.is_closed()
        if lost:
            await connection.invalidate(error)
        told = next(told for failure, told in _TOLD_AS if isinstance(error, failure))
        raise told(None, None, error, connection_invalidated=lost) from error
    except OSError as error:
        # Of a link that fell silent the driver learns by its time-out alone. It would wait as long
        # again for what it left unanswered before it asks or rolls back anything.
        driver.terminate()
        await connection.invalidate(error)
        raise
    except asyncio.CancelledError:
        # Nobody knows what of it the server has done.
        await connection.invalidate()
        raise
