"""Concurrent callers share one call; a lone caller waits for nobody."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from opentelemetry import trace

In = TypeVar("In")
Out = TypeVar("Out")

MAX_BATCH = 200
MAX_CALLS_IN_FLIGHT = 2
MAX_WAITING = 10_000


@dataclass(slots=True)
class _Waiting(Generic[In, Out]):
    """An item, who waits for its result, and the caller's context."""

    item: In
    future: asyncio.Future[Out]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class Coalescer(Generic[In, Out]):
    """Turns single items into calls of many.

    `send` gets 1 to `max_batch` items and returns as many results in the same order. Items
    that arrive in one turn of the loop, or while `max_calls_in_flight` calls are under way,
    share the next call. What `send` raises reaches every caller of that call.

    A call runs in the context of one of its callers, so it stands in one trace: of the first whose
    trace is recorded, else of the first.
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
        self._waiting: deque[_Waiting[In, Out]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def call(self, item: In) -> Out:
        """The result for this item."""
        if len(self._waiting) >= MAX_WAITING:
            raise asyncio.QueueFull
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, future))
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
            batch = [each for each in batch if not each.future.done()]
            if not batch:
                continue
            task = asyncio.create_task(self._run(batch), context=_context_of(batch))
            self._calls.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._start()

    async def _run(self, batch: list[_Waiting[In, Out]]) -> None:
        try:
            results = await self._send([each.item for each in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} asked, {len(results)} answered")
        except BaseException as error:
            for each in batch:
                if not each.future.done():
                    each.future.set_exception(
                        RuntimeError("cancelled") if isinstance(error, asyncio.CancelledError)
                        else error
                    )  # fmt: skip
            if not isinstance(error, Exception):
                raise
            return
        for each, result in zip(batch, results, strict=True):
            if not each.future.done():
                each.future.set_result(result)


def _context_of(batch: Sequence[_Waiting[In, Out]]) -> contextvars.Context:
    recorded = (
        each.context
        for each in batch
        if each.context.run(trace.get_current_span).get_span_context().trace_flags.sampled
    )
    return next(recorded, batch[0].context)
