"""Keeps the hub's own loops running: a fault in one is logged, and the loop begins anew."""

from __future__ import annotations

import asyncio
import contextlib
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
    task = asyncio.current_task()
    while True:
        try:
            await run()
        except asyncio.CancelledError as cancelled:
            if task is None or task.cancelling():
                raise
            # Nobody ended the loop: what it waited for was ended by somebody else.
            fault: BaseException = cancelled
        except Exception as error:
            fault = error
        else:
            return
        _tell(name, fault)
        await asyncio.sleep(FAULT_PAUSE_SECONDS)


def _tell(name: str, fault: BaseException) -> None:
    """Log a fault, or at least its kind: an error whose text can't be made must not end a loop."""
    try:
        log.error("fault in a loop; it begins anew", loop=name, exc_info=fault)
    except Exception as untold:
        with contextlib.suppress(Exception):
            log.error(
                "fault in a loop that can't be put in words; it begins anew",
                loop=name,
                fault=type(fault).__name__,
                because=type(untold).__name__,
            )
