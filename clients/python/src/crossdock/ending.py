"""Ends tasks for certain, for one request to cancel can be lost; and what may be left undone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, Final

AGAIN_SECONDS: Final = 5.0
"""How long a task has to end before it is asked again; what tidies up after itself needs less."""


async def end_tasks(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel them, and return when every one has ended, however it did; repeatable.

    `asyncio.wait_for` of Python 3.11 takes no notice of a cancellation that comes at the moment in
    which what it waits for is there (python/cpython#86296), and nats-py waits with it: a loop that
    goes round it lives on, and whoever waits for its end waits for ever. So it is asked again.
    """
    ended = list(tasks)
    pending = {task for task in ended if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
    # Somebody has looked at each of them: asyncio warns of failures that nobody has seen.
    await asyncio.gather(*ended, return_exceptions=True)


async def within(seconds: float, doing: Awaitable[Any]) -> None:
    """Do something whose failure changes nothing, for so long at most; then it is cancelled."""
    task = asyncio.ensure_future(doing)
    await asyncio.wait({task}, timeout=seconds)
    if task.done() and not task.cancelled():
        task.exception()
    task.cancel()
