"""What a delivery waits for at its endpoint: prerequisites, and earlier work of its key. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from crossdock_hub.config import SECOND
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replacing import replace
from crossdock_hub.unit import time_of_id

MILLISECOND = SECOND // 1000

# Waiting, or on the way: later work of the same ordering key waits for it.
OPEN_STATES = frozenset(
    {"HELD", "READY", "DISPATCHED", "IN_FLIGHT", "UNKNOWN", "RESOLVING", "PARKED"}
)
# Not begun: a later fact may make it pointless.
IDLE_STATES = frozenset({"UNROUTED", "HELD", "READY", "DISPATCHED"})

Flow = Iterable[DeliveryRecord]


def is_untouched(record: DeliveryRecord) -> bool:
    """Whether nothing of a delivery can be at the vendor: no call, no doubt about one, no draft."""
    return record.calls_reached == 0 and record.first_unknown_at is None and not record.draft


def is_idle(record: DeliveryRecord) -> bool:
    """Whether a later fact may make a delivery pointless: nothing of it can be at the vendor, and
    it waits, for its turn or for a word to get a code."""
    waits_for_word = record.state == "PARKED" and record.awaits_word != ""
    return (record.state in IDLE_STATES or waits_for_word) and is_untouched(record)


def says_more(other: DeliveryRecord, record: DeliveryRecord) -> bool:
    """Whether a delivery carries what came after the content of another: it is of a later event, or
    an operator resubmitted it since, with its object as it was then."""
    if not (other.resubmits or record.resubmits):
        return other.sequence > record.sequence
    if other.resubmits and record.resubmits:
        return (other.created_at, other.id) > (record.created_at, record.id)
    # An event's id tells its time to the millisecond: within it the careful answer is yes.
    if other.resubmits:
        return other.created_at > time_of_id(record.event_id)
    return time_of_id(other.event_id) + MILLISECOND > record.created_at


def unmet(record: DeliveryRecord, flow: Flow) -> str:
    """The first required operation not confirmed for an object that the delivery refers to.

    What the operation was about counts, not what it mentioned: two shipments of an order both
    mention the order, and the posting of one is none of the other.
    """
    if not record.requires:
        return ""
    books = IndexedFlow.of(flow)
    for operation in record.requires:
        met = any(
            books.count(_done_for, (record.endpoint, operation, object_id))
            for object_id in record.refers_to
        )
        if not met:
            return operation
    return ""


def blocker_of(record: DeliveryRecord, flow: Flow) -> DeliveryRecord | None:
    """The first earlier work of the same key that this one has to wait for.

    Earlier work that waits for this one does not hold it up, or both would wait for ever: a
    delivery scan that came before the ship confirm needs the goods issue behind it. Neither does
    what is only held by such work.
    """
    books = IndexedFlow.of(flow)
    waits_for_us = False
    keys = _places(record.endpoint, record.role, record.ordering_key)
    for other in books.before(record.sequence, _stands_in_the_way, *keys):
        if other.event_id == record.event_id:
            continue
        if other.state == "HELD" and _needs(other, record, books):
            waits_for_us = True
            continue
        if waits_for_us and other.state == "HELD" and other.hold_reason == "ORDER":
            continue
        if other.state in OPEN_STATES:
            return other
        passes = other.on_reject == "CONTINUE" or _is_undone_by(other, record)
        # Work that nobody serves has not reached the vendor, like work that was refused.
        if other.state in ("REJECTED", "UNROUTED") and not passes:
            return other
    return None


def _needs(first: DeliveryRecord, record: DeliveryRecord, books: IndexedFlow) -> bool:
    """Whether a prerequisite of `first` is this delivery, or waits for it in turn."""
    seen, waiting = {first.id}, [first]
    while waiting:
        other = waiting.pop()
        if other.hold_reason != "PREREQUISITE":
            continue
        if other.awaits_operation == record.operation and record.object_id in other.refers_to:
            return True
        for object_id in other.refers_to:
            for between in books.under(
                _held_for, (other.endpoint, other.awaits_operation, object_id)
            ):
                if between.id not in seen:
                    seen.add(between.id)
                    waiting.append(between)
    return False


def _is_undone_by(other: DeliveryRecord, record: DeliveryRecord) -> bool:
    """Whether a delivery takes back earlier work of its key: that of another item it does not."""
    same_item = not other.item or not record.item or other.item == record.item
    return other.operation in record.supersedes and same_item


def undone_by(record: DeliveryRecord, flow: Flow) -> list[DeliveryRecord]:
    """The earlier work of the same key that a delivery takes back, as a cancel does, in order.

    What no endpoint of the role serves yet is among it: it may become this endpoint's.
    """
    if not record.supersedes:
        return []
    places = _places(record.endpoint, record.role, record.ordering_key)
    # A void of a package takes back its own work, and what was asked for the whole.
    items = ("", record.item) if record.item else (None,)
    keys = [
        (*place, operation, item)
        for place in places
        for operation in sorted(set(record.supersedes))
        for item in items
    ]
    found = IndexedFlow.of(flow).before(record.sequence, _by_operation, *keys)
    return [other for other in found if other.event_id != record.event_id]


def left_there(
    record: DeliveryRecord, targets: Iterable[DeliveryRecord], flow: Flow
) -> list[DeliveryRecord]:
    """What a delivery would take back at endpoints that are gone, of which some of its targets are:
    what waits for such an endpoint may follow work that is at its vendor."""
    gone = sorted({other.endpoint for other in targets if other.state == "UNROUTED"} - {""})
    return [other for name in gone for other in undone_by(replace(record, endpoint=name), flow)]


def _places(endpoint: str, role: str, ordering_key: str) -> list[tuple[str, str, str]]:
    """Where earlier work of a key stands: at its endpoint, or at nobody of its role."""
    return [(endpoint, "", ordering_key), ("", role, ordering_key)]


def _place_of(record: DeliveryRecord) -> tuple[str, str, str]:
    # Also of an endpoint that is gone: another one of its role may get it.
    if record.state == "UNROUTED":
        return ("", record.role, record.ordering_key)
    return (record.endpoint, "", record.ordering_key)


def _stands_in_the_way(record: DeliveryRecord) -> Iterator[Hashable]:
    """All that may be a blocker of later work, or what such work is to pass."""
    refused = record.state in ("REJECTED", "UNROUTED") and record.on_reject != "CONTINUE"
    if record.state in OPEN_STATES or refused:
        yield _place_of(record)


def _by_operation(record: DeliveryRecord) -> Iterator[Hashable]:
    place = _place_of(record)
    yield (*place, record.operation, record.item)
    yield (*place, record.operation, None)


def _done_for(record: DeliveryRecord) -> Iterator[Hashable]:
    if record.state == "CONFIRMED":
        yield (record.endpoint, record.operation, record.object_id)


def _held_for(record: DeliveryRecord) -> Iterator[Hashable]:
    if record.state == "HELD":
        yield (record.endpoint, record.operation, record.object_id)
