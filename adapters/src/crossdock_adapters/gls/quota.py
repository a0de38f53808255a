"""What a day has of GLS's quota for tracking, and which parcels it is not spent on.

Every call of tracking counts, whoever makes it. Polling leaves some for look-ups, which decide
whether a label is bought again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date

from crossdock_adapters.sdk.pacing import DailyBudget, utc_today

# Of a page that is refused each half is asked about. Five parcels that tracking refuses are found
# with so many; where it refuses everything, halving pages all day would spend the quota on nothing.
SPLITS_PER_DAY = 20


class TrackingQuota:
    """The calls of a UTC day, as one process counts them from 0 when it starts."""

    def __init__(
        self, calls_per_day: int, for_look_ups: int, today: Callable[[], date] = utc_today
    ) -> None:
        self._calls = DailyBudget(calls_per_day, today)
        self._for_look_ups = for_look_ups
        self._splits = DailyBudget(SPLITS_PER_DAY, today)
        self._today = today
        self._left_out: dict[str, date] = {}
        self._failed: tuple[str, ...] = ()
        self._failed_times = 0
        self._failed_alone: dict[str, tuple[date, int]] = {}

    def count(self) -> None:
        """One more call that was answered. A look-up for which nothing is left is made all the
        same: GLS says."""
        self._calls.spend()

    def left_for_polling(self) -> int:
        """How many calls polling may make today."""
        return max(0, self._calls.left() - self._for_look_ups)

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
