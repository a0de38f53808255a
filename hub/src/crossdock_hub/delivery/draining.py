"""How fast the queue of an endpoint is worked off, and how long the rest will take."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

BUCKETS = 60
# Work that has waited for so many buckets without a pause shows what the system takes.
STEADY_BUCKETS = 3
# It is counted as far back as so many take: then chance is a fifteenth of it, and what changed, as
# the share that throttling leaves or the end of a rush at the hub, is seen as soon as it can be.
STEADY_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Settled:
    """Deliveries that ended a second. steady: work waited all the while, so it is the pace at which
    the system takes it; else a mean that times without work are part of."""

    per_second: float
    steady: bool = False


class Throughput:
    """Events of the last `window_seconds`, counted in a few buckets: bounded, whatever happens."""

    def __init__(self, window_seconds: float, clock: Callable[[], float]) -> None:
        self._bucket_seconds = window_seconds / BUCKETS
        self._clock = clock
        self._started = clock()
        self._buckets: deque[tuple[int, int]] = deque(maxlen=BUCKETS)

    def note(self, count: int = 1) -> None:
        """Something happened now."""
        bucket = int(self._clock() / self._bucket_seconds)
        if self._buckets and self._buckets[-1][0] == bucket:
            count += self._buckets.pop()[1]
        self._buckets.append((bucket, count))

    def settled(self, busy_since: float | None = None) -> Settled:
        """The mean over the window, or over the time since the start where that is shorter.

        busy_since: since when work has waited there without a pause; None: it does not.
        """
        now = self._clock()
        if busy_since is not None:
            # Whole buckets alone: neither that in which it began nor that which is not over.
            first = max(int(busy_since / self._bucket_seconds), self._oldest(now)) + 1
            buckets = int(now / self._bucket_seconds) - first
            if buckets >= STEADY_BUCKETS:
                return self._steady(first, first + buckets)
        window = min(self._bucket_seconds * BUCKETS, now - self._started)
        ended = self._counted(self._oldest(now) + 1, int(now / self._bucket_seconds) + 1)
        return Settled(ended / max(window, self._bucket_seconds * STEADY_BUCKETS))

    def _steady(self, first: int, end: int) -> Settled:
        """Of these buckets the last ones in which enough ended to tell a pace."""
        begin, ended, counted = end, 0, dict(self._buckets)
        while begin > first and (ended < STEADY_EVENTS or end - begin < STEADY_BUCKETS):
            begin -= 1
            ended += counted.get(begin, 0)
        return Settled(ended / ((end - begin) * self._bucket_seconds), steady=True)

    def _oldest(self, now: float) -> int:
        return int(now / self._bucket_seconds) - BUCKETS

    def _counted(self, first: int, end: int) -> int:
        return sum(count for bucket, count in self._buckets if first <= bucket < end)


def drain_seconds(
    waiting: int, settled: Settled, allowed_per_second: Decimal | None, *, moving: bool
) -> float | None:
    """How long until what waits is done; None: nothing moves, or nothing says how fast it would.

    moving: work goes out at all. allowed_per_second: the rate the system declared, as it is now. A
    steady pace says most; then what is allowed; a mean with idle times in it says too little.
    """
    if waiting == 0:
        return 0.0
    if not moving:
        return None
    if settled.steady:
        # Work waits and nothing ends: what is allowed says nothing then.
        return waiting / settled.per_second if settled.per_second > 0 else None
    if allowed_per_second:
        return waiting / float(allowed_per_second)
    return waiting / settled.per_second if settled.per_second > 0 else None
