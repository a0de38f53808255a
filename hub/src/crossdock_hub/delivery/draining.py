"""How fast the queue of an endpoint is worked off, and how long the rest will take."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal

BUCKETS = 12


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

    def per_second(self) -> float:
        """The mean over the window, or over the time since the start where that is shorter."""
        now = self._clock()
        oldest = int(now / self._bucket_seconds) - BUCKETS
        counted = sum(count for bucket, count in self._buckets if bucket > oldest)
        window = min(self._bucket_seconds * BUCKETS, now - self._started)
        return counted / max(window, self._bucket_seconds)


def drain_seconds(
    waiting: int, settled_per_second: float, allowed_per_second: Decimal | None, *, moving: bool
) -> float | None:
    """How long until what waits is done; None: nothing moves, or nothing says how fast it would.

    moving: work goes out at all. allowed_per_second: the rate the system declared, as it is now.
    """
    if waiting == 0:
        return 0.0
    if not moving:
        return None
    if settled_per_second > 0:
        return waiting / settled_per_second
    return waiting / float(allowed_per_second) if allowed_per_second else None
