"""Time that passes only when somebody says so: events in their order, and nothing in between."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Coroutine
from typing import Any

SECOND = 1_000_000


class VirtualTime:
    """Microseconds since the start, and what is to happen when. Ties keep their order."""

    def __init__(self) -> None:
        self.now = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def monotonic(self) -> float:
        """Seconds, as time.monotonic would tell them."""
        return self.now / SECOND

    def at(self, when: int, what: Callable[[], None]) -> None:
        """Do something then; what is past is done next."""
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something so much later."""
        self.at(self.now + int(seconds * SECOND), what)

    def run(self, until_seconds: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, event by event, until then or until `stop` says so."""
        until = int(until_seconds * SECOND)
        while self._events and self._events[0][0] <= until and not stop():
            self.now, _, what = heapq.heappop(self._events)
            what()
        if not stop():
            self.now = max(self.now, until)


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing outside."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something that a simulation does not have")
