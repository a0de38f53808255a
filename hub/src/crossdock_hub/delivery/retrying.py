"""When the next try of a delivery may go: the policy, the vendor's wish, a jitter. Pure.

The jitter is decided by the delivery and the number of the try, so that a decision made again says
the same, and a thousand deliveries of one outage do not come back at the same moment.
"""

from __future__ import annotations

import zlib

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.records import DeliveryRecord

DOUBLINGS_MAX = 16


def back_off(record: DeliveryRecord, tries: int, spec: OperationSpec) -> float:
    """Seconds until the next try: doubling, capped, give or take a fifth."""
    doubled = spec.retry_seconds_first * 2.0 ** min(max(tries - 1, 0), DOUBLINGS_MAX)
    spread = zlib.crc32(f"{record.id}/{tries}".encode()) / 0xFFFFFFFF
    return min(doubled, spec.retry_seconds_max) * (0.8 + 0.4 * spread)


def wish(retry_after_seconds: float, limits: Limits) -> float:
    """How long the vendor asks this delivery to wait, within reason."""
    return min(max(0.0, retry_after_seconds), limits.retry_after_seconds_max)


def next_call_at(
    record: DeliveryRecord,
    spec: OperationSpec,
    retry_after_seconds: float,
    now: int,
    limits: Limits,
) -> int:
    """When a call that was proven unprocessed may be made again: microseconds UTC."""
    wait = max(wish(retry_after_seconds, limits), back_off(record, record.attempts, spec))
    return now + int(wait * SECOND)


def next_look_up_seconds(
    record: DeliveryRecord, spec: OperationSpec, retry_after_seconds: float, limits: Limits
) -> float:
    """How long to wait after a look-up that failed: it proves nothing, so it is made again."""
    pause = min(back_off(record, record.look_ups, spec), limits.look_up_retry_seconds_max)
    return max(wish(retry_after_seconds, limits), pause)


def left_alone_until(
    record: DeliveryRecord,
    spec: OperationSpec,
    retry_after_seconds: float,
    now: int,
    limits: Limits,
) -> int:
    """Until when the vendor wishes to hear nothing about a call whose outcome nobody knows:
    microseconds UTC. A repeat that its key protects has to come while the key lives, so no wish
    holds it back for more than half of that."""
    until = now + int(wish(retry_after_seconds, limits) * SECOND)
    kind = record.operation_class or spec.operation_class
    if kind != "KEYED" or record.first_unknown_at is None:
        return until
    return min(until, record.first_unknown_at + int(spec.key_life_seconds * SECOND) // 2)
