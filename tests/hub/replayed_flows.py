"""Flows in any state with the work of their events, and what a replay decides about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import ledger
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replay import decisions
from crossdock_hub.replay.decisions import Candidate, Decision, Terms
from hypothesis import strategies as st

LIMITS = Limits()
NOW = 1_750_000_000 * SECOND
REPLAY = "01920000-0000-7000-8000-000000000001"
ENDPOINT = "erp"
CLASSES = {
    "amend": "KEYED",
    "book": "SEARCHABLE",
    "cancel": "SEARCHABLE",
    "change": "NATURAL",
    "pay": "NONE",
    "pick": "SEARCHABLE",
}
# Each of its events tells of something of its own; of the others the last one wins.
OWN_FACT = "pick"
SUPERSEDES = {"cancel": ("book", "change")}
STATES = sorted(ledger.OPEN_STATES | {"CONFIRMED", "REJECTED", "SUPERSEDED", "SKIPPED"})
POLICIES = ("FREE", "UNCONFIRMED_ONLY", "APPROVAL", "NEVER")
SETS = ("FAILED", "MISSING", "ALL")
DAY = 86_400 * SECOND
HOLD_REASONS = ("ORDER", "RETRY")
# Where a call without an answer can have been left behind.
MAYBE_IN_DOUBT = ("PARKED", "REJECTED", "SKIPPED", "SUPERSEDED", "READY", "HELD")


def spec(operation: str) -> OperationSpec:
    kind = CLASSES[operation]
    return OperationSpec(operation, kind, 5.0, 60.0, 10, 3_600.0, 1_800.0, 0.5, 30.0)


def event_id(number: int) -> str:
    return f"01910000-0000-7000-8000-{number:012d}"


def delivery(number: int, operation: str, state: str, **details: Any) -> DeliveryRecord:
    """The delivery of event `number` as routing makes it, in some state."""
    reached = int(state in ("IN_FLIGHT", "UNKNOWN", "RESOLVING", "CONFIRMED", "REJECTED", "PARKED"))
    values: dict[str, Any] = {
        "id": f"d-{number}",
        "event_id": event_id(number),
        "event_type": "crossdock.order.v1.OrderApproved",
        "endpoint": ENDPOINT,
        "operation": operation,
        "item": "",
        "ordering_key": "key",
        "state": state,
        "created_at": NOW + number,
        "updated_at": NOW + number,
        "kind": "order",
        "object_id": "order-1",
        "root_id": "order-1",
        "vendor_reference": f"REF{number}",
        "sequence": f"{event_id(number)}:0000",
        "supersedes": SUPERSEDES.get(operation, ()),
        "role": "ERP",
        "calls_reached": reached,
        "pending": state == "READY",
        "due_at": NOW if state in ("DISPATCHED", "IN_FLIGHT", "UNKNOWN") else None,
    }
    return DeliveryRecord(**(values | details))


def resubmission(record: DeliveryRecord, state: str, **details: Any) -> DeliveryRecord:
    """What an operator made of a delivery a day later, with its object as it was by then."""
    number = int(record.event_id[-12:])
    later = {
        "id": f"r-{number}",
        "resubmits": record.id,
        "created_at": record.created_at + DAY,
        "vendor_reference": f"LATER{number}",
        "object_id": record.object_id,
        "ordering_key": record.ordering_key,
    }
    return delivery(number, record.operation, state, **(later | details))


def work(record: DeliveryRecord, policy: str = "UNCONFIRMED_ONLY", **details: Any) -> Candidate:
    """The work that a delivery was made for."""
    canonical = replace(
        delivery(int(record.event_id[-12:]), record.operation, "READY"),
        event_type=record.event_type,
        ordering_key=record.ordering_key,
        object_id=record.object_id,
        id=f"canonical-{record.event_id[-3:]}",
        vendor_reference="CANONICAL",
    )
    return Candidate(
        record.event_id,
        record.object_id,
        record.operation,
        record.item,
        record.sequence,
        policy,
        canonical,
        role="ERP",
        sole=True,
        own_fact=record.operation == OWN_FACT,
        **details,
    )


def terms(wanted_set: str = "MISSING", *, approved: bool = False) -> Terms:
    return Terms(REPLAY, ENDPOINT, wanted_set, approved)


def decide(
    candidates: Sequence[Candidate], flow: Sequence[DeliveryRecord], **options: Any
) -> list[Decision]:
    return decisions.decide(terms(**options), candidates, flow, spec, NOW, LIMITS)


def one(record: DeliveryRecord | None, *others: DeliveryRecord, **options: Any) -> Decision:
    """The decision about one piece of work. record: what the ledger has; None: nothing."""
    policy = options.pop("policy", "UNCONFIRMED_ONLY")
    about = record or delivery(5, options.pop("operation", "book"), "READY")
    flow = [r for r in (record, *others) if r is not None]
    (decision,) = decide([work(about, policy)], flow, **options)
    return decision


@st.composite
def flows(draw: Any) -> tuple[list[DeliveryRecord], list[Candidate]]:
    """A flow in any state, some of its work missing, and the work of all its events."""
    size = draw(st.integers(1, 7))
    books, candidates = [], []
    for number in range(1, size + 1):
        operation = draw(st.sampled_from(["amend", "change", "pick", *sorted(CLASSES)]))
        state = draw(st.sampled_from(["REJECTED", *MAYBE_IN_DOUBT, *STATES, "nothing"]))
        record = delivery(
            number,
            operation,
            state,
            object_id=draw(st.sampled_from(["order-1", "order-1", "order-2"])),
            ordering_key=draw(st.sampled_from(["key", "key", "other"])),
            on_reject=draw(st.sampled_from(["BLOCK", "CONTINUE"])),
            hold_reason=draw(st.sampled_from(HOLD_REASONS)) if state == "HELD" else "",
        )
        if state in MAYBE_IN_DOUBT and draw(st.booleans()):
            record = replace(record, first_unknown_at=NOW - draw(st.integers(0, 9)) * SECOND)
        if state != "nothing" and draw(st.integers(0, 4)) == 0:
            again = draw(st.sampled_from(STATES))
            doubt = NOW if again in MAYBE_IN_DOUBT and draw(st.booleans()) else None
            why = draw(st.sampled_from(HOLD_REASONS)) if again == "HELD" else ""
            new = resubmission(record, again, first_unknown_at=doubt, hold_reason=why)
            record = replace(record, state="SUPERSEDED", superseded_by=new.id, pending=False)
            books.append(new)
        if state != "nothing":
            books.append(record)
        policy = draw(st.sampled_from(POLICIES))
        if draw(st.integers(0, 3)):
            candidates.append(work(record, policy))
    return books, candidates


def after(books: Sequence[DeliveryRecord], decisions: Sequence[Decision]) -> list[DeliveryRecord]:
    """The flow once these decisions are written."""
    found = {record.id: record for record in books}
    for decision in decisions:
        found |= {record.id: record for record in decision.displaced}
        if decision.record is not None:
            found[decision.record.id] = decision.record
    return list(found.values())
