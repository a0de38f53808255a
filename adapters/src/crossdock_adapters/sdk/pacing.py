"""Keeps a vendor's limits: per second by spreading calls evenly, per day by counting them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, date, datetime

BURST_SECONDS = 1.0


class Pace:
    """At most `per_second` calls a second over any time, a second's worth at once.

    Callers are let through in the order they came (the generic cell rate algorithm).
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        if per_second <= 0:
            raise ValueError("per_second must be above 0")
        self._interval = 1.0 / per_second
        self._tolerance = max(0.0, BURST_SECONDS - self._interval)
        self._clock = clock
        self._due = 0.0

    def reserve(self) -> float:
        """Take the next place; returns how many seconds to wait for it."""
        now = self._clock()
        self._due = max(self._due, now - self._tolerance)
        wait = self._due - now
        self._due += self._interval
        return max(0.0, wait)

    async def wait(self) -> None:
        """Return when this call may go."""
        seconds = self.reserve()
        if seconds > 0:
            await asyncio.sleep(seconds)


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
