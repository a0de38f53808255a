"""What a day has of GLS's quota for tracking, and which parcels it is not spent on.

Every call of tracking counts, whichever process of the endpoint makes it: the hub keeps the count,
and a call is taken from it before it is made, so that all together never make more. Polling leaves
some for look-ups, which decide whether a label is bought again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from crossdock.errors import CallError

from crossdock_adapters.sdk.attempts import HubAway, HubRefused
from crossdock_adapters.sdk.cursors import CursorMoved, Cursors
from crossdock_adapters.sdk.outcomes import Retry, Unreachable
from crossdock_adapters.sdk.pacing import DailyBudget, utc_today
from crossdock_adapters.sdk.sequences import BUSY_SECONDS, MAX_TRIES

# Under what the hub keeps the count of an endpoint.
CURSOR: Final = "quota:tracking"
# Of a page that is refused each half is asked about. Five parcels that tracking refuses are found
# with so many; where it refuses everything, halving pages all day would spend the quota on nothing.
SPLITS_PER_DAY: Final = 20
SPENT: Final = "today's calls for tracking are spent: see tracking_calls_per_day"


@dataclass(frozen=True, slots=True)
class Count:
    """So many calls are taken of a UTC day."""

    day: date
    calls: int = 0

    def on(self, today: date) -> Count:
        """The count that holds today. Where clocks differ at midnight the later day holds for all;
        one that is no tomorrow of ours was written by a clock that is wrong."""
        if today <= self.day <= today + timedelta(days=1):
            return self
        return Count(today)


def encode(count: Count) -> bytes:
    """The count as the hub keeps it."""
    told = {"day": count.day.isoformat(), "calls": count.calls}
    return json.dumps(told, separators=(",", ":")).encode()


def decode(raw: bytes, today: date) -> Count:
    """What `encode` wrote, as it holds today; nothing is a day without a call."""
    if not raw:
        return Count(today)
    told = json.loads(raw)
    return Count(date.fromisoformat(told["day"]), int(told["calls"])).on(today)


class TrackingQuota:
    """The calls of a UTC day over all processes of the endpoint, and what this one noticed today.

    Which parcels and pages are refused each process finds out for itself: the calls that it takes
    are counted as any others.
    """

    def __init__(
        self, calls_per_day: int, for_look_ups: int, today: Callable[[], date] = utc_today
    ) -> None:
        self._calls_per_day = calls_per_day
        self._for_look_ups = for_look_ups
        self._splits = DailyBudget(SPLITS_PER_DAY, today)
        self._today = today
        self._left_out: dict[str, date] = {}
        self._failed: tuple[str, ...] = ()
        self._failed_times = 0
        self._failed_alone: dict[str, tuple[date, int]] = {}

    async def left_for_polling(self, cursors: Cursors) -> int:
        """How many calls polling may make today."""
        raw, _ = await cursors.get_cursor(CURSOR)
        return max(0, self._for_polls - decode(raw, self._today()).calls)

    @asynccontextmanager
    async def poll_call(self, cursors: Cursors) -> AsyncIterator[None]:
        """Around one call of a poll. Retry: polling has none left today, and nothing was called."""
        async with self._taken(cursors, self._for_polls):
            yield

    @asynccontextmanager
    async def look_up_call(self, cursors: Cursors) -> AsyncIterator[None]:
        """Around one call of a look-up. One for which nothing is left is made all the same: GLS
        says."""
        async with self._taken(cursors, None):
            yield

    @property
    def _for_polls(self) -> int:
        return self._calls_per_day - self._for_look_ups

    @asynccontextmanager
    async def _taken(self, cursors: Cursors, most: int | None) -> AsyncIterator[None]:
        day = await self._change(cursors, 1, most)
        try:
            yield
        except Unreachable:
            # Nothing left this machine. A hub that is away now leaves it counted, which costs one.
            with suppress(HubAway, HubRefused, CallError, Retry):
                await self._change(cursors, -1, None, day)
            raise

    async def _change(
        self, cursors: Cursors, calls: int, most: int | None, of: date | None = None
    ) -> date:
        """Add to the count, of which `most` may be taken; the day that it was added to.

        of: only if the day is this one still. Retry: there is no room, or others never let us in.
        """
        for _ in range(MAX_TRIES):
            raw, version = await cursors.get_cursor(CURSOR)
            count = decode(raw, self._today())
            if of is not None and count.day != of:
                return count.day
            if most is not None and count.calls >= most:
                raise Retry(0.0, SPENT)
            after = Count(count.day, max(0, count.calls + calls))
            try:
                await cursors.put_cursor(CURSOR, encode(after), version)
            except CursorMoved:
                continue
            return after.day
        raise Retry(BUSY_SECONDS, f"the day's calls were counted by others {MAX_TRIES} times")

    def may_split(self) -> bool:
        """Whether a page that was refused may be halved; it takes one of the day's."""
        return self._splits.spend()

    def failed(self, numbers: Sequence[str]) -> int:
        """How often running this page has failed, this time included."""
        again = tuple(numbers) == self._failed
        self._failed, self._failed_times = tuple(numbers), self._failed_times + 1 if again else 1
        return self._failed_times

    def failed_alone(self, number: str) -> int:
        """How often a call for this parcel by itself failed today, this time included, since GLS
        last answered for it."""
        today = self._today()
        counted = {
            n: (day, times) for n, (day, times) in self._failed_alone.items() if day == today
        }
        counted[number] = today, counted.get(number, (today, 0))[1] + 1
        self._failed_alone = counted
        return counted[number][1]

    def answered(self, numbers: Iterable[str]) -> None:
        """GLS answered for these: what failed has passed."""
        for number in numbers:
            self._failed_alone.pop(number, None)

    def suspects(self, numbers: Sequence[str]) -> list[str]:
        """Those of the numbers whose own call failed today: their page would fail with them."""
        today = self._today()
        return [each for each in numbers if self._failed_alone.get(each, (None, 0))[0] == today]

    def leave_out(self, numbers: Iterable[str]) -> None:
        """Parcels that are not asked about any more today."""
        today = self._today()
        self._left_out = {number: day for number, day in self._left_out.items() if day == today}
        self._left_out.update(dict.fromkeys(numbers, today))

    def asked_about(self, numbers: Sequence[str]) -> list[str]:
        """Those of the numbers that are not left out today."""
        today = self._today()
        return [number for number in numbers if self._left_out.get(number) != today]
