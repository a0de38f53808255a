"""A transaction on a connection of the store's, at the price of what is asked in it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.store.crossing import beneath


@contextlib.asynccontextmanager
async def transaction(connection: AsyncConnection) -> AsyncIterator[None]:
    """What `connection.begin()` is, but SQLAlchemy need not know of it on SQLite: most transactions
    ask it for nothing (crossing.py), and beginning and ending one costs more than a small read."""
    driver = beneath(connection)
    if driver is None:
        async with connection.begin():
            yield
        return
    driver.begin()
    # A statement of SQLAlchemy's begins one for SQLAlchemy too, which then has to end it.
    try:
        yield
        await (connection if connection.in_transaction() else driver).commit()
    except BaseException:
        await (connection if connection.in_transaction() else driver).rollback()
        raise
