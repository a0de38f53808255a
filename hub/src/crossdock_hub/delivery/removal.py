"""What becomes of work at an endpoint that is no longer in the endpoints file; pure.

What waits there and is proven to be at no vendor is UNROUTED, keeps the name, and is its own again
when it is back. Another endpoint takes it over only where nothing of the flow is, or may be, at the
one that is gone: a renamed endpoint is a new one, and the hub can't know that the system behind it
is the same. Then what is asked for later of the flow is kept for it too, see unrouted.py.
What may have been done and is not known to have ended stays in doubt, and says what helps.
"""

from __future__ import annotations

from collections.abc import Iterable

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import ledger, overtaking
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.records import DeliveryRecord, EndpointRecord
from crossdock_hub.replacing import replace

REMOVED = "REMOVED"


def removed(record: EndpointRecord) -> EndpointRecord:
    """The row of an endpoint that is not configured; who paused it, and its manifest, are kept."""
    return replace(_unheard(record), state=REMOVED, revision=record.revision + 1)


def returned(record: EndpointRecord) -> EndpointRecord:
    """The row of an endpoint that is configured again: as it was."""
    state = "PAUSED" if record.paused_by else "ACTIVE" if record.manifest else "EXPECTED"
    return replace(_unheard(record), state=state, revision=record.revision + 1)


def _unheard(record: EndpointRecord) -> EndpointRecord:
    """The same with a breaker as at first: what it knew is of before. Kept open, it would hide
    doubt again that has shown while the endpoint was gone, and that a person may have seen."""
    return replace(
        record,
        breaker_state="CLOSED",
        breaker_since=None,
        breaker_reason="",
        breaker_failing=(),
        breaker_probe_at=None,
        breaker_probes=0,
    )


def is_gone(endpoint: str) -> str:
    """That an endpoint is not configured, and how to have it back, in words."""
    return (
        f"{endpoint} is not in the hub's endpoints file any more: put it back under this id and "
        "start the hub anew"
    )


def never_began(endpoint: str) -> str:
    """What work that never began waits for."""
    return f"{is_gone(endpoint)}, let another endpoint offer it in this scope, or skip it"


def in_doubt(endpoint: str) -> str:
    """What work waits for of which nobody knows whether it was done."""
    return (
        f"{is_gone(endpoint)}, or look there for the delivery's reference, then resolve or skip it"
    )


def is_back(endpoint: str) -> str:
    """What doubt waits for at an endpoint that was put back."""
    return f"{endpoint} is in the hub's endpoints file again; it is looked at when its time comes"


def what_stays(
    endpoint: str, flow: Iterable[DeliveryRecord], limits: Limits
) -> DeliveryRecord | None:
    """The first work of a flow that is, may be, or has to come before at an endpoint that is gone;
    None: it has nothing of it."""
    books = IndexedFlow.of(flow)
    there = (other for other in books if other.endpoint == endpoint)
    return next((other for other in there if _stays(other, books, limits)), None)


def _stays(other: DeliveryRecord, flow: IndexedFlow, limits: Limits) -> bool:
    refused = other.state == "REJECTED" and other.on_reject != "CONTINUE"
    waits = other.state in ledger.OPEN_STATES
    # What may not go over keeps what comes after it, or that would wait elsewhere for ever.
    bound = other.state == "UNROUTED" and not may_go_over(other)
    return waits or refused or bound or overtaking.may_be_at_vendor(other, flow, limits)


def may_go_over(record: DeliveryRecord) -> bool:
    """Whether work is what its event says and nothing else, so that another endpoint's delivery of
    that event is the same: no call, no draft, no content or replay of its own."""
    own = record.resubmits or record.replay_id
    return ledger.is_untouched(record) and not own


def was_taken(record: DeliveryRecord) -> bool:
    """Whether work was its endpoint's before that left, and has met the spending guard: what a
    person released from it is not asked again. What came since is as it was planned; where a
    database was put back nobody knows, and the guard is asked."""
    return record.updated_at > record.created_at and record.first_unknown_at is None


def given_back(record: DeliveryRecord, now: int) -> DeliveryRecord:
    """What was unrouted with its endpoint, once that is back: as it was, also where its vendor had
    asked to be left alone until a time."""
    again = replace(record, waiting_on="", updated_at=now)
    if record.due_at is not None and record.due_at > now:
        return replace(again, state="HELD", hold_reason="RETRY")
    return replace(again, state="READY", due_at=None)


def waits_for(record: DeliveryRecord, stays: DeliveryRecord | None) -> DeliveryRecord:
    """The same work with the words that fit today. stays: as `what_stays` found it."""
    words = never_began(record.endpoint)
    if stays is not None or not may_go_over(record):
        other = "part of it"
        if stays is not None and stays.id != record.id:
            other = f"{stays.operation} of the same flow, {stays.state}"
        words = (
            f"{is_gone(record.endpoint)}, or skip it; no other endpoint takes it over by itself, "
            f"since {record.endpoint} has {other}"
        )
    return record if words == record.waiting_on else replace(record, waiting_on=words)


def again_at(now: int, limits: Limits) -> int:
    """When doubt there is looked at again. It can't go on: this keeps it from being forgotten, and
    bounds how long it waits for nothing once the endpoint is back."""
    return now + int(limits.look_up_retry_seconds_max * SECOND)


def due(before: DeliveryRecord, after: DeliveryRecord, now: int, limits: Limits) -> DeliveryRecord:
    """What a timer makes of work at an endpoint that is gone. after: what it would make of it."""
    if "UNKNOWN" not in (before.state, after.state):
        return after
    record = before if before.state == "UNKNOWN" else after
    # A timer that has not run out is the call's own.
    due_at = max(again_at(now, limits), record.due_at or 0)
    return replace(record, waiting_on=in_doubt(record.endpoint), due_at=due_at)
