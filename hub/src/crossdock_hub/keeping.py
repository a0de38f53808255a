"""Keeps the hub's own loops running: a fault in one is logged, and the loop begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger("crossdock.keeping")

FAULT_PAUSE_SECONDS = 1.0


def keep(name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Run a loop until it returns or its task is cancelled. `run` has to be able to start anew.

    Without this a loop that raises would end silently, and what it does would never be done again.
    """
    return asyncio.create_task(_kept(name, run), name=name)


async def _kept(name: str, run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception as error:
            log.error("fault in a loop; it begins anew", loop=name, exc_info=error)
            await asyncio.sleep(FAULT_PAUSE_SECONDS)
        else:
            return
