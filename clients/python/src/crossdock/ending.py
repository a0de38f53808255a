"""Ends tasks for certain, for one request to cancel can be lost; and what may be left undone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, Final

AGAIN_SECONDS: Final = 5.0
"""How long a task has to end before it is asked again; what tidies up after itself needs less."""


async def end_tasks(
    tasks: Iterable[asyncio.Future[Any]], *, again_seconds: float | None = None
) -> None:
    """Cancel them, and return when every one has ended, however it did; repeatable.

    again_seconds: after how long they are asked again, longer than they take to tidy up; None:
    AGAIN_SECONDS. Who is cancelled while it waits here is so once they have ended: what they use
    is closed next.

    `asyncio.wait_for` of Python 3.11 takes no notice of a cancellation that comes at the moment in
    which what it waits for is there (python/cpython#86296), and nats-py waits with it: a loop that
    goes round it lives on, and whoever waits for its end waits for ever. So it is asked again.
    """
    again = AGAIN_SECONDS if again_seconds is None else again_seconds
    ended = list(tasks)
    pending = {task for task in ended if not task.done()}
    interrupted: asyncio.CancelledError | None = None
    while pending:
        for task in pending:
            task.cancel()
        until = asyncio.get_running_loop().time() + again
        while pending and (left := until - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.wait(pending, timeout=left)
            except asyncio.CancelledError as error:
                if asyncio.current_task() in pending:
                    raise
                interrupted = error
            pending = {task for task in pending if not task.done()}
    _look_at(ended)
    if interrupted is not None:
        raise interrupted


async def within(seconds: float, doing: Awaitable[Any]) -> None:
    """Do something whose failure changes nothing, for so long at most; then it is cancelled.

    It has its time too where who waits for it is cancelled: half closed is not closed.
    """
    task = asyncio.ensure_future(doing)
    limit = asyncio.get_running_loop().call_later(seconds, task.cancel)

    def ended(task: asyncio.Future[Any]) -> None:
        limit.cancel()
        _look_at([task])

    task.add_done_callback(ended)
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()


def _look_at(ended: Iterable[asyncio.Future[Any]]) -> None:
    """See how they ended: asyncio warns of failures that nobody has seen."""
    for task in ended:
        if not task.cancelled():
            task.exception()
