"""Which later work of a flow makes a delivery pointless, or its content old; pure.

An operator's retry and a replay ask the same questions here, so that neither sends what the other
refuses. One difference is left, in `goes_first`: a retry takes back later work that is about to go.

Whether later work replaces earlier work, the event's target says (`own_fact`), not the class of the
operation. An endpoint can only say more: class NATURAL sends the full state of what it is told.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import merge

from crossdock_hub.config import Limits
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.ordering import OPEN_STATES, Flow, says_more
from crossdock_hub.records import DeliveryRecord

# With the vendor, or done there.
_SENT_STATES = frozenset({"IN_FLIGHT", "UNKNOWN", "RESOLVING", "CONFIRMED"})
# What is parked counts by its doubt.
_COUNTING_STATES = (OPEN_STATES - {"PARKED"}) | _SENT_STATES
# Why what is held is placed anew, behind all that comes before it.
_IN_ITS_PLACE = frozenset({"ORDER", "PREREQUISITE"})
FULL_STATE_CLASS = "NATURAL"


def takes_back(other: DeliveryRecord, record: DeliveryRecord) -> bool:
    """Whether other work came later and undoes what a delivery does, as a cancel does.

    However it ended: the object was cancelled when its event was written. That the cancel was
    refused, failed, was never served, or was skipped by a person says only what the vendor was
    told, and makes no cancelled order wanted again. Neither does another endpoint of the role that
    got it, as when the one with the order had left the endpoints file.
    """
    return (
        other.role == record.role
        and other.ordering_key == record.ordering_key
        and other.event_id != record.event_id
        and other.sequence > record.sequence
        and record.operation in other.supersedes
        and (not other.item or not record.item or other.item == record.item)
    )


def may_be_at_vendor(record: DeliveryRecord, flow: Flow, limits: Limits) -> bool:
    """Whether the vendor has, or may have, what a delivery says, whatever its state is by now.

    A refusal, and an answer that it could not be sent, are proof that the vendor has not, unless an
    earlier call of the same full state may have been taken: then the doubt stays. flow: may hold
    the replay's delivery that took over the doubt of one that it replaced.
    """
    if record.state in _SENT_STATES or (record.draft and record.state in OPEN_STATES):
        return True
    in_doubt = record.first_unknown_at is not None and record.not_found < limits.not_found_needed
    if not in_doubt or record.state != "SUPERSEDED":
        return in_doubt
    by = IndexedFlow.of(flow).get(record.superseded_by)
    return by is None or not by.replay_id


def is_behind(other: DeliveryRecord, record: DeliveryRecord) -> bool:
    """Whether its place in the order is later; a resubmission keeps the place of its event."""
    return other.sequence > record.sequence


def is_newer(
    other: DeliveryRecord, record: DeliveryRecord, *, own_fact: bool, declared: str
) -> bool:
    """Whether the same work of another event, sent before a delivery, would be undone by it.

    own_fact: what the target of the delivery's event says. declared: its operation's class today.
    """
    full = FULL_STATE_CLASS in (declared, record.operation_class, other.operation_class)
    # What was resubmitted carries its object as it was then, and so the facts until then.
    as_recorded = not (other.resubmits or record.resubmits)
    if own_fact and as_recorded and not full:
        return False
    return says_more(other, record)


def goes_first(
    other: DeliveryRecord, record: DeliveryRecord, flow: Flow, limits: Limits, *, holds_back: bool
) -> bool:
    """Whether other work of a key is at the vendor, maybe, or gets there before a delivery that
    goes again in its place.

    holds_back: the delivery takes back later work that was only dispatched.
    """
    if may_be_at_vendor(other, flow, limits):
        return True
    if other.state not in OPEN_STATES:
        return False
    if not is_behind(other, record):
        return True
    waits = other.state == "HELD" and other.hold_reason in _IN_ITS_PLACE
    return not (holds_back or waits or other.state == "PARKED")


def taken_back_by(record: DeliveryRecord, flow: IndexedFlow) -> DeliveryRecord | None:
    """The first later work that undoes what a delivery does; None: there is none."""
    later = flow.after(record.sequence, _by_undone, (record.ordering_key, record.operation))
    return next((other for other in later if takes_back(other, record)), None)


def what_is_newer(
    record: DeliveryRecord, flow: IndexedFlow, *, own_fact: bool, declared: str
) -> Iterator[DeliveryRecord]:
    """The same work on the same object that carries what came after a delivery, in order.

    Only what waits, is under way, or may be at the vendor; record: nothing that was resubmitted.
    """
    key = _content_of(record)
    found = merge(
        flow.after(record.sequence, _by_content, key),
        flow.under(_by_later_content, key),
        key=lambda other: other.sequence,
    )
    return (
        other
        for other in found
        if other.event_id != record.event_id
        and is_newer(other, record, own_fact=own_fact, declared=declared)
    )


def _by_undone(record: DeliveryRecord) -> Iterator[Hashable]:
    for operation in set(record.supersedes):
        yield (record.ordering_key, operation)


def _content_of(record: DeliveryRecord) -> Hashable:
    work = (record.operation, record.item, record.object_id)
    return (record.endpoint, record.ordering_key, *work)


def _counts(record: DeliveryRecord) -> bool:
    """Whether a delivery may be on its way to the vendor, or there."""
    doubt = record.first_unknown_at is not None
    return doubt or bool(record.draft) or record.state in _COUNTING_STATES


def _by_content(record: DeliveryRecord) -> Iterator[Hashable]:
    if _counts(record) and not record.resubmits:
        yield _content_of(record)


def _by_later_content(record: DeliveryRecord) -> Iterator[Hashable]:
    # How new it is, its place in the order does not say: what goes first may also be parked.
    if record.resubmits and (_counts(record) or record.state in OPEN_STATES):
        yield _content_of(record)
