"""Keeps a vendor's limits: per second by holding calls back, per day by counting them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final

# How much longer two calls may be on their way than two others, at most, before the vendor counts
# one too many: a connection's own jitter, and that of its sender's loop between look and write.
GUARD_SECONDS: Final = 0.02


class Place:
    """Room for one call, from when it is given until so long after the call left.

    Until `went` or `ended` the call may leave at any moment, and counts.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._given = True

    def went(self) -> None:
        """The call has left just now. Only the first word about a place counts."""
        self._give_up(left=True)

    def ended(self) -> None:
        """The call is over; where nobody said when it left, it may have been just now."""
        self._give_up(left=True)

    def unused(self) -> None:
        """There was no call."""
        self._give_up(left=False)

    def _give_up(self, *, left: bool) -> None:
        if self._given:
            self._given = False
            self._pace.note(left=left)


class Pace:
    """In no second more calls than `per_second`, whatever waited before and whatever paused.

    Counted where calls leave and over the shortest time in which whole calls are due: 25 a second
    in any second, one a second and a half in any three; `guard_seconds` longer, by which the way of
    a call may differ from that of another. What need not wait leaves at once. What does leaves in
    the order it came and evenly, so that a pause of this process is followed by no crowd.
    """

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        guard_seconds: float = GUARD_SECONDS,
    ) -> None:
        if per_second <= 0:
            raise ValueError("per_second must be above 0")
        self.per_second = per_second
        self._guard_seconds = guard_seconds
        self._clock = clock
        self._held = 0
        self._left: deque[float] = deque()
        self._even_at = -math.inf
        self._line = asyncio.Lock()
        self._changed = asyncio.Event()

    def at_most(self, per_second: float) -> None:
        """Another adapter of the same system declares this rate: the lower one holds."""
        self.per_second = min(self.per_second, per_second)

    async def place(self) -> Place:
        """Room for a call, when there is some. Whoever gets it says what became of the call."""
        waits = self._line.locked()
        async with self._line:
            while (pause := self._pause_seconds(waits)) > 0:
                waits = True
                self._changed.clear()
                await self._pause(pause)
            now = self._clock()
            even = self._even_at + self._interval()
            # What came late comes no sooner for it, but what comes after it need not be late too.
            self._even_at = even if waits and now - even < self._interval() else now
            self._held += 1
        return Place(self)

    def note(self, *, left: bool) -> None:
        """A place that was given is given up: its call left, or there was none."""
        self._held -= 1
        if left:
            self._left.append(self._clock())
        self._changed.set()

    def _pause_seconds(self, waits: bool) -> float:
        """How long until there may be room; inf: not before a call leaves."""
        now = self._clock()
        while self._left and self._left[0] + self._span() <= now:
            self._left.popleft()
        # Of those that left, so many have to be forgotten first.
        over = self._held + len(self._left) - self._most() + 1
        if over > len(self._left):
            return math.inf
        if over > 0:
            return self._left[over - 1] + self._span() - now
        return self._even_at + self._interval() - now if waits else 0.0

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _most(self) -> int:
        return max(1, math.ceil(self.per_second))

    def _span(self) -> float:
        return self._most() / self.per_second + self._guard_seconds

    def _interval(self) -> float:
        return self._span() / self._most()


class Paces:
    """The paces of a process: one for each system, whichever of its endpoints calls it."""

    def __init__(self) -> None:
        self._by_system: dict[str, Pace] = {}

    def of(self, system: str, per_second: float) -> Pace | None:
        """The pace of a system; None: 0 is declared, which is no limit."""
        if not per_second:
            return None
        pace = self._by_system.setdefault(system, Pace(per_second))
        pace.at_most(per_second)
        return pace


def utc_today() -> date:
    """The day by this machine's clock."""
    return datetime.now(UTC).date()


class DailyBudget:
    """Calls that a UTC day has room for; each process counts its own, from 0 when it starts."""

    def __init__(self, calls_per_day: int, today: Callable[[], date] = utc_today) -> None:
        self._calls_per_day = calls_per_day
        self._today = today
        self._day = today()
        self._spent = 0

    def left(self) -> int:
        """How many calls today still has room for."""
        today = self._today()
        if today != self._day:
            self._day, self._spent = today, 0
        return max(0, self._calls_per_day - self._spent)

    def spend(self) -> bool:
        """Take one call; False: today's are spent."""
        if not self.left():
            return False
        self._spent += 1
        return True
