"""Concurrent callers share one call; a lone caller waits for nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

MAX_BATCH = 200
MAX_CALLS_IN_FLIGHT = 2
MAX_WAITING = 10_000


class Coalescer(Generic[In, Out]):
    """Turns single items into calls of many.

    `send` gets 1 to `max_batch` items and returns as many results in the same order. Items
    that arrive in one turn of the loop, or while `max_calls_in_flight` calls are under way,
    share the next call. What `send` raises reaches every caller of that call.
    """

    def __init__(
        self,
        send: Callable[[list[In]], Awaitable[Sequence[Out]]],
        *,
        max_batch: int = MAX_BATCH,
        max_calls_in_flight: int = MAX_CALLS_IN_FLIGHT,
    ) -> None:
        self._send = send
        self._max_batch = max_batch
        self._max_calls_in_flight = max_calls_in_flight
        self._waiting: deque[tuple[In, asyncio.Future[Out]]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def call(self, item: In) -> Out:
        """The result for this item."""
        if len(self._waiting) >= MAX_WAITING:
            raise asyncio.QueueFull
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._schedule()
        return await future

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._calls) < self._max_calls_in_flight:
            size = min(self._max_batch, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            # Nobody waits for a cancelled item; it must not be begun either.
            batch = [(item, future) for item, future in batch if not future.done()]
            if not batch:
                continue
            task = asyncio.create_task(self._run(batch))
            self._calls.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._start()

    async def _run(self, batch: list[tuple[In, asyncio.Future[Out]]]) -> None:
        try:
            results = await self._send([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} asked, {len(results)} answered")
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(
                        RuntimeError("cancelled") if isinstance(error, asyncio.CancelledError)
                        else error
                    )  # fmt: skip
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
