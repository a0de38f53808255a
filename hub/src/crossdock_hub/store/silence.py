"""Connections to PostgreSQL of which the server may have fallen silent: they are left at once.

The driver learns of it by its time-out alone, and then waits as long again for what it left
unanswered before it asks or rolls back anything, or says farewell. So a connection on which one
statement was not answered is ended without another word to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakSet

import asyncpg
from crossdock.ending import within
from sqlalchemy import ExceptionContext, event
from sqlalchemy.ext.asyncio import AsyncEngine

# How long all connections of a hub that ends may take for their farewells.
FAREWELL_SECONDS: Final = 2.0


class Links:
    """The driver's connections of some engines of PostgreSQL; of SQLite there are none."""

    def __init__(self, *engines: AsyncEngine) -> None:
        self._open: WeakSet[asyncpg.Connection] = WeakSet()
        self._on_a_server = False
        for engine in engines:
            if engine.dialect.name == "postgresql":
                self._on_a_server = True
                event.listen(engine.sync_engine, "connect", self._connected)
                event.listen(engine.sync_engine, "handle_error", _give_up)

    async def closed(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close what has them, in order where the server answers. close: repeatable."""
        if not self._on_a_server:
            await close()
            return
        await within(FAREWELL_SECONDS, close())
        for driver in list(self._open):
            driver.terminate()
        await within(FAREWELL_SECONDS, close())

    def _connected(self, connection: Any, _record: Any) -> None:
        self._open.add(connection.driver_connection)


def _give_up(context: ExceptionContext) -> None:
    """A statement failed. An OSError is the driver's time-out, or a link that broke."""
    connection = context.connection
    if connection is None or connection.invalidated or connection.closed:
        return
    if isinstance(context.original_exception, OSError):
        driver: Any = connection.connection.driver_connection
        driver.terminate()
        context.is_disconnect = True
