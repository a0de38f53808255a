"""What a delivery waits for at its endpoint: prerequisites, and earlier work of its key. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from crossdock_hub.records import DeliveryRecord

# Waiting, or on the way: later work of the same ordering key waits for it.
OPEN_STATES = frozenset(
    {"HELD", "READY", "DISPATCHED", "IN_FLIGHT", "UNKNOWN", "RESOLVING", "PARKED"}
)


def unmet(record: DeliveryRecord, flow: Sequence[DeliveryRecord]) -> str:
    """The first required operation not confirmed for an object that the delivery refers to.

    What the operation was about counts, not what it mentioned: two shipments of an order both
    mention the order, and the posting of one is none of the other.
    """
    for operation in record.requires:
        met = any(
            other.endpoint == record.endpoint
            and other.operation == operation
            and other.state == "CONFIRMED"
            and other.object_id in record.refers_to
            for other in flow
        )
        if not met:
            return operation
    return ""


def blocker_of(record: DeliveryRecord, flow: Sequence[DeliveryRecord]) -> DeliveryRecord | None:
    """The first earlier work of the same key that this one has to wait for.

    Earlier work that waits for this one does not hold it up, or both would wait for ever: a
    delivery scan that came before the ship confirm needs the goods issue behind it. Neither does
    what is only held by such work.
    """
    waits_for_us = False
    for other in earlier(record, flow):
        if other.state == "HELD" and _needs(other, record, flow):
            waits_for_us = True
            continue
        if waits_for_us and other.state == "HELD" and other.hold_reason == "ORDER":
            continue
        if other.state in OPEN_STATES:
            return other
        passes = other.on_reject == "CONTINUE" or other.operation in record.supersedes
        # Work that nobody serves has not reached the vendor, like work that was refused.
        if other.state in ("REJECTED", "UNROUTED") and not passes:
            return other
    return None


def _needs(
    other: DeliveryRecord,
    record: DeliveryRecord,
    flow: Sequence[DeliveryRecord],
    seen: frozenset[str] = frozenset(),
) -> bool:
    """Whether a prerequisite of `other` is this delivery, or waits for it in turn."""
    if other.hold_reason != "PREREQUISITE":
        return False
    if other.awaits_operation == record.operation and record.object_id in other.refers_to:
        return True
    known = seen | {other.id}
    return any(
        between.operation == other.awaits_operation
        and between.endpoint == other.endpoint
        and between.object_id in other.refers_to
        and between.state == "HELD"
        and between.id not in known
        and _needs(between, record, flow, known)
        for between in flow
    )


def earlier(record: DeliveryRecord, flow: Sequence[DeliveryRecord]) -> list[DeliveryRecord]:
    """Deliveries of the same key at the same endpoint whose events came before, in order.

    What no endpoint of the role serves yet is among them: it may become this endpoint's.
    """
    return [
        other
        for other in flow
        if (
            other.endpoint == record.endpoint
            or (other.state == "UNROUTED" and other.role == record.role)
        )
        and other.ordering_key == record.ordering_key
        and other.event_id != record.event_id
        and other.sequence < record.sequence
    ]
