"""The verdict on one piece of work as its flow stands, with the delivery to make; pure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from crossdock_hub.config import Limits
from crossdock_hub.delivery import guarding, ledger, overtaking, undone_departures
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.delivery.routing import REPLAY_PRIORITY
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.unit import time_of_id

WOULD_POST = "WOULD_POST"
WOULD_PARK = "WOULD_PARK"
ALREADY_POSTED = "ALREADY_POSTED"
SUPERSEDED = "SUPERSEDED"
WOULD_BE_REFUSED = "WOULD_BE_REFUSED"
BLOCKED_BY_POLICY = "BLOCKED_BY_POLICY"

FAILED_STATES = frozenset({"PARKED", "REJECTED"})
UNDER_WAY_STATES = ledger.OPEN_STATES - {"PARKED"}
# On its way to the vendor or about to be: what the window of a run counts.
MOVING_STATES = frozenset({"READY", "DISPATCHED", "IN_FLIGHT", "RESOLVING"})
_MAY_BE_IN_DOUBT = FAILED_STATES | {"UNROUTED"}

Specs = Callable[[str], OperationSpec]


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a whole replay. traceparent: of its start; "" in a plan.

    lost_until: when the database was put back from a back-up last, in microseconds; 0: never.
    """

    replay_id: str
    endpoint: str
    wanted_set: str
    approved: bool
    traceparent: str = ""
    lost_until: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A piece of work: an event and one operation of it. policy: of the event.

    planned: the delivery that routing would make of it at the endpoint; None: it would make none,
    and why_not says so. sole: only one endpoint of the role may do it.
    """

    event_id: str
    object_id: str
    operation: str
    item: str
    sequence: str
    policy: str
    planned: DeliveryRecord | None
    why_not: str = ""
    role: str = ""
    sole: bool = False
    own_fact: bool = False

    @property
    def identity(self) -> tuple[str, str, str]:
        """What it is, at whatever endpoint."""
        return self.event_id, self.operation, self.item


@dataclass(slots=True)
class Decision:
    """A verdict. record: the delivery to make; displaced: what it replaces or makes pointless."""

    candidate: Candidate
    verdict: str
    why: str
    earlier: str = ""
    record: DeliveryRecord | None = None
    displaced: list[DeliveryRecord] = field(default_factory=list)


def identity_of(record: DeliveryRecord) -> tuple[str, str, str]:
    """What a delivery is, at whatever endpoint."""
    return record.event_id, record.operation, record.item


def by_identity(record: DeliveryRecord) -> tuple[tuple[str, str, str]]:
    """Under what a flow finds a delivery when it is asked for a piece of work."""
    return (identity_of(record),)


def standing(
    same: Sequence[DeliveryRecord],
) -> DeliveryRecord | None:
    """Of all deliveries of one identity at one endpoint, the one whose state counts."""
    for wanted in (frozenset({"CONFIRMED"}), UNDER_WAY_STATES, FAILED_STATES):
        found = [record for record in same if record.state in wanted]
        if found:
            return max(found, key=lambda record: (record.created_at, record.id))
    return max(same, key=lambda record: (record.created_at, record.id), default=None)


def wanted(
    terms: Terms, same: Sequence[DeliveryRecord], states: frozenset[str], *, fits: bool = True
) -> bool:
    """Whether a piece of work belongs to the set and the failure group that were asked for.

    same: its deliveries at the endpoint. states: of the failure group; empty: none was asked for.
    fits: the standing delivery failed with the code, and is open in the dead letter group, that was
    asked for, if any was.
    """
    found = standing(same)
    state = found.state if found is not None else ""
    if not fits or (states and state not in states):
        return False
    if terms.wanted_set == "FAILED":
        return state in FAILED_STATES
    return terms.wanted_set == "ALL" or state != "CONFIRMED"


def replay_delivery_id(replay_id: str, canonical_id: str) -> str:
    """The id of a replay's delivery (UUIDv5): one replay never makes two of the same work."""
    return str(uuid.uuid5(uuid.UUID(replay_id), canonical_id))


def judge(
    terms: Terms,
    candidate: Candidate,
    flow: IndexedFlow,
    specs: Specs,
    now: int,
    limits: Limits,
) -> Decision:
    """The verdict on one piece of work as the flow stands, with the delivery to make."""
    everywhere = flow.under(by_identity, candidate.identity)
    here = [record for record in everywhere if record.endpoint == terms.endpoint]
    # Its doubt goes over to the delivery that replaces it.
    unserved = [r for r in everywhere if _is_unserved(r, candidate, terms)]
    now_there = standing(here)
    verdict, why = _verdict(terms, candidate, here, everywhere, flow, specs, now, limits)
    earlier = now_there.id if now_there is not None else ""
    decision = Decision(candidate, verdict, why, earlier)
    if verdict == WOULD_POST:
        assert candidate.planned is not None
        record = _made(terms, candidate.planned, here, unserved, specs, now, limits)
        displaced = _displaced(terms, candidate, everywhere, record.id, now)
        if _spends_too_much(record, flow, displaced, specs):
            decision.verdict = WOULD_BE_REFUSED
            decision.why = why_spent(now_there)
        else:
            decision.record, decision.displaced = record, displaced
    return decision


def why_spent(there: DeliveryRecord | None) -> str:
    """That the guard stops a replay, and what lets the work go. there: the standing delivery."""
    why = "the spending guard stops it: the order has asked for it too often"
    if there is None or there.state not in FAILED_STATES:
        return why
    return f"{why}; if it is wanted: crossdock delivery retry {there.id} --reason …"


def _spends_too_much(
    record: DeliveryRecord,
    flow: IndexedFlow,
    displaced: Sequence[DeliveryRecord],
    specs: Specs,
) -> bool:
    """Whether the guard would stop the delivery: a replay is no way around it."""
    most = specs(record.operation).max_per_root
    if most <= 0:
        return False
    # What the delivery replaces costs nothing any more: what that may have bought counts with it.
    before = [flow.get(other.id) for other in displaced if other.operation == record.operation]
    freed = sum(guarding.costs(other) for other in before if other is not None)
    return guarding.asked_for(record.operation, flow) - freed + guarding.costs(record) > most


def _verdict(
    terms: Terms,
    candidate: Candidate,
    here: Sequence[DeliveryRecord],
    everywhere: Sequence[DeliveryRecord],
    flow: IndexedFlow,
    specs: Specs,
    now: int,
    limits: Limits,
) -> tuple[str, str]:
    there = standing(here)
    if there is not None and there.state == "CONFIRMED":
        if terms.wanted_set != "ALL":
            return ALREADY_POSTED, f"confirmed by delivery {there.id}"
        if candidate.policy != "FREE":
            return ALREADY_POSTED, (
                f"confirmed by delivery {there.id}; policy {candidate.policy} sends it only once"
            )
    refusal = _refusal(terms, candidate, here, everywhere, specs, now, limits)
    if refusal:
        return WOULD_BE_REFUSED, refusal
    if candidate.policy == "NEVER":
        return BLOCKED_BY_POLICY, "its replay policy is NEVER"
    if candidate.policy == "APPROVAL" and not terms.approved:
        return BLOCKED_BY_POLICY, "its replay policy wants a second operator's approval"
    assert candidate.planned is not None
    newer = _newer(candidate.planned, flow, specs, limits, own_fact=candidate.own_fact)
    if newer:
        return SUPERSEDED, newer
    if there is not None and any(record.resubmits for record in here):
        # Its content and its reference are of a later day than the event.
        if there.state == "CONFIRMED":
            return SUPERSEDED, f"delivery {there.id} has sent what the object was later"
        return WOULD_BE_REFUSED, (
            "an operator has resubmitted it since, with later content than its event; resubmit "
            f"delivery {there.id}"
        )
    return WOULD_POST, ""


def _refusal(
    terms: Terms,
    candidate: Candidate,
    here: Sequence[DeliveryRecord],
    everywhere: Sequence[DeliveryRecord],
    specs: Specs,
    now: int,
    limits: Limits,
) -> str:
    """Why the ledger would not take the work; "" when it would."""
    # Also beside a confirmed one: a replay of it may be under way.
    for other in here:
        if other.state in UNDER_WAY_STATES:
            waits = f": {other.waiting_on}" if other.waiting_on else ""
            return f"delivery {other.id} is {other.state}{waits}"
        if other.state == "SKIPPED":
            # It may have been done, and whoever ended it knows why.
            return f"an operator ended delivery {other.id}; a replay does not overrule that"
    if candidate.planned is None:
        return candidate.why_not
    if candidate.sole:
        for other in everywhere:
            elsewhere = other.endpoint not in ("", terms.endpoint) and other.role == candidate.role
            if elsewhere and other.state not in ("SUPERSEDED", "REJECTED", "UNROUTED"):
                return f"{other.endpoint} has it, {other.state}, and only one may do it"
    unserved = [r for r in everywhere if _is_unserved(r, candidate, terms)]
    doubtful = _doubtful([*here, *unserved], limits)
    if doubtful is None:
        return ""
    spec = specs(doubtful.operation)
    kind = ledger.careful_class(doubtful, spec)
    if kind == "NONE":
        return "nobody knows whether the earlier call was done, and the vendor can't be asked"
    if kind == "KEYED" and ledger.key_is_dead(replace(doubtful, operation_class=kind), spec, now):
        return "nobody knows whether the earlier call was done, and its key is no longer honoured"
    return ""


def in_doubt(record: DeliveryRecord, limits: Limits) -> bool:
    """Whether a call of what stopped may have been done: unknown, and not looked for in vain.

    What was refused or never routed is in doubt when its database was put back.
    """
    return (
        record.state in _MAY_BE_IN_DOUBT
        and record.first_unknown_at is not None
        and record.not_found < limits.not_found_needed
    )


def _doubtful(here: Sequence[DeliveryRecord], limits: Limits) -> DeliveryRecord | None:
    """The delivery there whose call may have been done; the oldest, since its key is."""
    doubtful = [record for record in here if in_doubt(record, limits)]
    return min(doubtful, key=lambda record: record.first_unknown_at or 0, default=None)


def _newer(
    record: DeliveryRecord, flow: IndexedFlow, specs: Specs, limits: Limits, *, own_fact: bool
) -> str:
    """The later work that makes this work pointless, in words; "" when there is none."""
    declared = specs(record.operation).operation_class
    undoes = overtaking.taken_back_by(record, flow)
    newer = next(
        (
            other
            for other in overtaking.what_is_newer(
                record, flow, own_fact=own_fact, declared=declared
            )
            if overtaking.goes_first(other, record, flow, limits, holds_back=False)
        ),
        None,
    )
    if undoes is not None and (newer is None or undoes.sequence <= newer.sequence):
        return f"{undoes.operation} came later and is {undoes.state} (delivery {undoes.id})"
    if newer is not None:
        return f"a newer state is {newer.state} (delivery {newer.id})"
    voids = undone_departures.void_after(record, flow)
    if voids is not None:
        return f"its shipment was voided later ({voids.operation}, delivery {voids.id})"
    return ""


def _made(
    terms: Terms,
    planned: DeliveryRecord,
    here: Sequence[DeliveryRecord],
    unserved: Sequence[DeliveryRecord],
    specs: Specs,
    now: int,
    limits: Limits,
) -> DeliveryRecord:
    """The delivery of the replay, ready: the planned one where nothing was there before."""
    record = replace(
        planned,
        created_at=now,
        updated_at=now,
        priority=REPLAY_PRIORITY,
        traceparent=terms.traceparent or planned.traceparent,
        replay_id=terms.replay_id,
        token=max((other.token for other in (*here, *unserved)), default=0),
        calls_maybe_done=sum(
            guarding.handed_on(other, specs(other.operation))
            for other in (*here, *unserved)
            if other.state in _MAY_BE_IN_DOUBT
        ),
    )
    there = standing(here)
    if there is not None:
        record = replace(
            record,
            id=replay_delivery_id(terms.replay_id, planned.id),
            vendor_reference=there.vendor_reference,
            # A draft that waits at the vendor is confirmed, not made again.
            draft=there.draft if there.state == "PARKED" else "",
        )
    doubtful = _doubtful([*here, *unserved], limits)
    if doubtful is None:
        lost = _may_be_lost(terms, record, [*here, *unserved])
        return _as_lost(terms, record) if lost else record
    return replace(
        record,
        operation_class=ledger.careful_class(doubtful, specs(doubtful.operation)),
        first_unknown_at=doubtful.first_unknown_at,
        # One call at least may have been done; that is all that counts from now on.
        calls_reached=1,
    )


def _may_be_lost(terms: Terms, record: DeliveryRecord, known: Sequence[DeliveryRecord]) -> bool:
    """Whether a replay may have sent it in a time that a database which was put back has lost.

    Where a delivery of it is known that says itself what is in doubt.
    """
    unheard_of = all(other.state == "SUPERSEDED" for other in known)
    return unheard_of and time_of_id(record.event_id) <= terms.lost_until


def _as_lost(terms: Terms, record: DeliveryRecord) -> DeliveryRecord:
    """The delivery in doubt since its event, before which nobody can have called, with tokens above
    all that the lost time gave out. It has no class of its own: two steps park, as a draft of then
    may have been confirmed."""
    return replace(
        record,
        first_unknown_at=time_of_id(record.event_id),
        calls_reached=1,
        token=max(record.token, terms.lost_until),
    )


def _displaced(
    terms: Terms,
    candidate: Candidate,
    everywhere: Sequence[DeliveryRecord],
    by: str,
    now: int,
) -> list[DeliveryRecord]:
    """What the new delivery replaces: the failed ones there, and the work that nobody served."""
    return [
        replace(
            record,
            state="SUPERSEDED",
            superseded_by=by,
            waiting_on=f"replayed to {terms.endpoint}; was {record.state}: {record.waiting_on}",
            calls_maybe_done=0,
            hold_reason="",
            due_at=None,
            lease_until=None,
            pending=False,
            updated_at=now,
        )
        for record in everywhere
        if (record.endpoint == terms.endpoint and record.state in FAILED_STATES)
        or _is_unserved(record, candidate, terms)
    ]


def _is_unserved(record: DeliveryRecord, candidate: Candidate, terms: Terms) -> bool:
    """Whether a replay does work that nobody serves, or that an endpoint which is gone has not
    begun. Where several may have the work, each has its own."""
    mine = candidate.sole or record.endpoint in ("", terms.endpoint)
    return record.state == "UNROUTED" and record.role == candidate.role and mine
