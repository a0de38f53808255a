"""How much of its declared budget a system gets: less while it throttles, more with time. Pure.

A 429 halves the share of an endpoint, at most once in `pace_decrease_seconds`, because the calls
that were out together are one answer. The share grows back evenly, by itself: it is computed from
the time that has passed, so that recovering writes nothing. Retry-After holds back every call to
the system, not only the one that was told.
"""

from __future__ import annotations

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.records import EndpointRecord
from crossdock_hub.replacing import replace

FULL = 1000  # thousandths
HALF = 0.5


def share(record: EndpointRecord, now: int, limits: Limits) -> int:
    """What an endpoint leaves of its system's budget now, in thousandths."""
    if record.pace_at is None or record.pace_thousandths >= FULL:
        return FULL
    passed = max(0, now - record.pace_at) / SECOND
    return min(FULL, record.pace_thousandths + int(FULL * passed / limits.pace_recovery_seconds))


def throttled(
    record: EndpointRecord, retry_after_seconds: float, now: int, limits: Limits
) -> EndpointRecord:
    """The endpoint after its vendor said that there are too many calls."""
    hold = min(max(0.0, retry_after_seconds), limits.throttle_hold_seconds_max)
    until = max(record.throttled_until or 0, now + int(hold * SECOND))
    held = replace(record, throttled_until=until) if hold else record
    fresh = record.pace_at is not None and (
        now - record.pace_at < int(limits.pace_decrease_seconds * SECOND)
    )
    if fresh and record.pace_thousandths < FULL:
        return held
    lower = max(limits.pace_thousandths_min, int(share(record, now, limits) * HALF))
    return replace(held, pace_thousandths=lower, pace_at=now)


def is_held(record: EndpointRecord, now: int) -> bool:
    """True while the vendor's Retry-After runs."""
    return record.throttled_until is not None and now < record.throttled_until


def concurrency(declared: int, thousandths: int) -> int:
    """Calls at once that a share of the budget allows; one at least."""
    return max(1, declared * thousandths // FULL)
