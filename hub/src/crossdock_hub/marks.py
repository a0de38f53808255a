"""What is known of the bus and not written yet: it goes with the next batch, or by itself where
none comes in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from crossdock_hub.config import Limits
from crossdock_hub.records import Mark

# Marks of a batch that the store did not take are tried again after this long.
FAILED_MARKS_SECONDS: Final = 1.0


class Marks:
    """Marks that wait, oldest first. due: whether a batch is wanted for them alone."""

    def __init__(self, limits: Limits, wake: Callable[[], None]) -> None:
        """wake: called on the event loop when they are due."""
        self._limits = limits
        self._wake = wake
        self._waiting: list[Mark] = []
        self._timer: asyncio.TimerHandle | None = None
        self.due = False

    def add(self, mark: Mark) -> None:
        """Let one wait; `mark_seconds` at most, unless a batch takes it before."""
        self._waiting.append(mark)
        if self._timer is None:
            self._wait(self._limits.mark_seconds)

    def take(self) -> list[Mark]:
        """The oldest ones, as many as one batch may write; the others go with the next one."""
        count = taken_rows = 0
        while count < len(self._waiting) and taken_rows < self._limits.mark_rows_max:
            taken_rows += max(1, len(self._waiting[count].events))
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self.due = bool(self._waiting)
        if not self._waiting:
            # What comes next has its own time: else it would go at once, in a batch of its own.
            self._stop_waiting()
        return taken

    def put_back(self, taken: Sequence[Mark]) -> None:
        """What a failed batch had taken. Not at once again: whoever else waits goes first."""
        self._waiting[:0] = taken
        self.due = False
        if self._waiting:
            self._wait(FAILED_MARKS_SECONDS)

    def clear(self) -> None:
        """Forget all of them."""
        self._waiting.clear()
        self.due = False
        self._stop_waiting()

    def flush(self) -> None:
        """Want a batch for what waits."""
        self.due = bool(self._waiting)
        self._wake()

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._is_time)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_time(self) -> None:
        self._timer = None
        self.flush()
