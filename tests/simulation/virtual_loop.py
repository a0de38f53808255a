"""The event loop of one simulated process: asyncio's own tasks and futures, on virtual time.

It has no sockets, no threads and no wall clock: what asks for one is refused, so that a run which
needed the machine would end and not depend on it.
A process is its loop: stopped, none of its callbacks run while time passes; killed, none ever do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from simulation.virtual_time import SECOND, VirtualTime

# A task that has not ended after it was cancelled so often never will.
KILLS_MAX = 10
# Tasks that ended are forgotten when there are so many, and then twice as many as run.
KNOWN_TASKS = 64

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks at their virtual time, in the order in which they were asked for.

    alive: False once it was killed; what a dying task does must reach nobody. faults: what no task
    or callback should have raised.
    """

    def __init__(self, time: VirtualTime) -> None:
        self._clock = time
        self._ready: deque[asyncio.Handle] = deque()
        self._turn_is_due = False
        self._stopped_until = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._forget_at = KNOWN_TASKS
        self.alive = True
        self.faults: list[str] = []

    # What happens to a process

    def stop_for(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT so much later: the step that runs now still comes to its end."""
        self._stopped_until = max(self._stopped_until, self._clock.now + int(seconds * SECOND))

    def kill(self) -> None:
        """SIGKILL: every task vanishes, without a moment passing."""
        self.alive = False
        self._stopped_until = 0
        for _ in range(KILLS_MAX):
            running = [task for task in self._tasks if not task.done()]
            if not running and not self._ready:
                break
            for task in running:
                task.cancel()
            self._run()
        else:
            raise AssertionError(f"tasks outlive their process: {running}")
        self._tasks.clear()

    # What asyncio asks for

    def time(self) -> float:
        return self._clock.monotonic()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self.alive

    def is_closed(self) -> bool:
        return not self.alive

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """A task of this process. RuntimeError when it is dead."""
        if not self.alive:
            coro.close()
            raise RuntimeError("a dead process does nothing")
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) >= self._forget_at:
            self._tasks = [each for each in self._tasks if not each.done()]
            self._forget_at = max(KNOWN_TASKS, 2 * len(self._tasks))
        return task

    def call_soon(
        self,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._add(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._clock.at(round(when * SECOND), lambda: self._due(handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.alive:
            self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Its time comes all the same, and nothing happens then."""

    # Turns

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if self.alive and not handle.cancelled():
            self._add(handle)

    def _add(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)
        if self.alive and not self._turn_is_due:
            self._turn_is_due = True
            self._clock.at(max(self._clock.now, self._stopped_until), self._turn)

    def _turn(self) -> None:
        """All that is ready, and what becomes ready by it, until the process is stopped."""
        self._turn_is_due = False
        if not self.alive:
            return
        if self._clock.now >= self._stopped_until:
            self._run()
        if self._ready and not self._turn_is_due:
            self._turn_is_due = True
            self._clock.at(self._stopped_until, self._turn)

    def _run(self) -> None:
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            while self._ready and self._clock.now >= self._stopped_until:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(before)
