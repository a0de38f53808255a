"""When the hub last heard of a parcel: until when polls of tracking ask about it; pure.

News of a parcel is its label, a scan of it that was stored, whatever it said, and its shipment's
handing over. What counts is when the hub heard, not when it happened: news of long ago is news.

Parcels keep it to STEP_MICROSECONDS: a scan whose parcel does not change otherwise need not write
it, and a shipment that is handed over soon after it was packed need not read it. So polls may end
that much early, and never late.
"""

from __future__ import annotations

from typing import Final

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.records import ParcelRecord

DAY_MICROSECONDS: Final = 86_400 * SECOND
STEP_MICROSECONDS: Final = DAY_MICROSECONDS
# Of a limit of few days the step is this part.
STEPS_PER_LIMIT_MIN: Final = 10


def heard_since(now: int, limits: Limits) -> int:
    """Of whatever was heard since then carriers are still asked. Microseconds UTC."""
    return now - _limit(limits)


def not_sent_since(now: int, limits: Limits) -> int:
    """The same of a return that was not seen moving: its customer may send it late."""
    return min(
        heard_since(now, limits), now - int(limits.return_poll_limit_days * DAY_MICROSECONDS)
    )


def is_news(heard_at: int, now: int, limits: Limits) -> bool:
    """Whether hearing of a parcel now is worth being written: it was last heard of at heard_at."""
    return now - heard_at >= min(STEP_MICROSECONDS, _limit(limits) // STEPS_PER_LIMIT_MIN)


def heard_at(parcel: ParcelRecord, now: int, limits: Limits) -> int:
    """What to keep of a parcel of which something is heard now. Microseconds UTC."""
    return now if is_news(parcel.heard_at, now, limits) else parcel.heard_at


def _limit(limits: Limits) -> int:
    return int(limits.tracking_poll_limit_days * DAY_MICROSECONDS)
