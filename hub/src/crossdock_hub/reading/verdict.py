"""What a whole flow says, in a word and in one sentence for a person at three in the morning; pure.

Worst first: posted twice, a person has to look, refused, in doubt, waiting; only where the ledger
has nothing open do the objects' own states speak.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crossdock.types.v1 import types_pb2

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.overtaking import may_be_at_vendor, takes_back
from crossdock_hub.delivery.postings import postings
from crossdock_hub.delivery.removal import REMOVED
from crossdock_hub.delivery.undone_departures import void_after
from crossdock_hub.reading.chain import Chain, Situation
from crossdock_hub.reading.presenting import waiting
from crossdock_hub.reading.progress import Judgement, judge_objects, name_of
from crossdock_hub.reading.silent_parcels import silence
from crossdock_hub.reading.uncompared_lines import uncompared
from crossdock_hub.reading.unwritten import OVER, with_unwritten
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.wording import clock, duration, listed

# What is sent and not begun after so long, or heard of so long ago, is worth a word.
LATE_SECONDS = 60
ON_THEIR_WAY = frozenset({"READY", "DISPATCHED", "IN_FLIGHT"})
DOUBTFUL = frozenset({"UNKNOWN", "RESOLVING"})
# Deliveries that wait behind parked work and are named in a sentence.
HELD_NAMED_MAX = 3
NOBODY = Situation("")
# Verdicts on flows whose parcels are waited for.
_NOT_OVER = frozenset({"UNDER_WAY", "WAITING"})


@dataclass(frozen=True, slots=True)
class Case:
    """A flow, how its endpoints are, and when it is looked at (microseconds UTC)."""

    chain: Chain
    known: Mapping[str, Situation]
    limits: Limits
    now: int

    def situation(self, record: DeliveryRecord) -> Situation:
        """How the endpoint of a delivery is; one that is gone is as if all were well."""
        return self.known.get(record.endpoint, NOBODY)

    def since(self, at: int) -> str:
        """How long ago."""
        return duration(self.now - at)


def judge(chain: Chain, known: Mapping[str, Situation], limits: Limits, now: int) -> Judgement:
    """The verdict on a flow. known: situations by endpoint id."""
    case = Case(chain, known, limits, now)
    for look in _WORST_FIRST:
        found = look(case)
        if found is not None:
            return _one_line(found)
    found = judge_objects(chain, now)
    clauses = [silence(chain, limits, now), uncompared(chain)]
    said = "; ".join(filter(None, clauses)) if found.verdict in _NOT_OVER else ""
    if said:
        found = Judgement(found.verdict, f"{found.sentence.rstrip('.')}; {said}.")
    return _one_line(with_unwritten(found, chain, now))


def _one_line(judgement: Judgement) -> Judgement:
    """Vendors' reasons bring line breaks and full stops of their own."""
    words = " ".join(judgement.sentence.split()).rstrip(".")
    return Judgement(judgement.verdict, f"{words}.")


def undone(record: DeliveryRecord, case: Case) -> bool:
    """True when later work made a delivery's failure pointless, for example a cancellation."""
    return any(
        other.endpoint == record.endpoint
        and other.ordering_key == record.ordering_key
        and record.operation in other.supersedes
        and other.sequence > record.sequence
        and (not record.item or not other.item or record.item == other.item)
        and other.state in ("CONFIRMED", "SUPERSEDED")
        for other in case.chain.deliveries
    )


def _posted_twice(case: Case) -> Judgement | None:
    for posting in postings(case.chain.deliveries, case.chain.attempts):
        if posting.twice:
            about = name_of(case.chain, posting.object_id)
            numbers = next((n for n in posting.documents.values() if len(n) > 1), [])
            many = len(numbers) or posting.confirmed
            given = f" ({', '.join(numbers)})" if numbers else ""
            return Judgement(
                "POSTED_TWICE",
                f"POSTED TWICE: {posting.operation} of {about} was booked {many} times at "
                f"{posting.endpoint}{given}; reverse all but one.",
            )
    return None


def _needs_person(case: Case) -> Judgement | None:
    for record in case.chain.deliveries:
        if record.state == "PARKED" and not undone(record, case):
            why = record.waiting_on or "no reason was given"
            clauses = [why, *_what_helps(record, case), *_held_behind(record, case)]
            return Judgement(
                "NEEDS_PERSON",
                f"A person has to look: {_about_item(record, case)} at {record.endpoint} is parked "
                f"since {case.since(record.updated_at)}: {'; '.join(clauses)}.",
            )
        if record.state == "UNROUTED" and not undone(record, case):
            return Judgement("NEEDS_PERSON", f"A person has to look: {record.waiting_on}.")
    if any(o.kind == "order" and o.state in OVER for o in case.chain.objects):
        return None
    for record in case.chain.deliveries:
        for fact in record.quarantined:
            refusal = types_pb2.Refusal.FromString(fact.refusal)
            return Judgement(
                "NEEDS_PERSON",
                f"A person has to look: {record.endpoint} did {record.operation}, but the hub "
                f"refused what it reported ({fact.method.rpartition('/')[2]}): {refusal.message}.",
            )
    return None


def _about_item(record: DeliveryRecord, case: Case) -> str:
    """The operation, and of which package it is, by the number that stands on it."""
    for owner in case.chain.objects if record.item else ():
        for package in getattr(owner.message, "packages", ()):
            if package.id == record.item:
                return f"{record.operation} of package {package.number}"
    return record.operation


def _what_helps(record: DeliveryRecord, case: Case) -> list[str]:
    """What to type about parked work that may be done, or that later work takes back."""
    flow = case.chain.deliveries
    by = next((other for other in flow if takes_back(other, record)), None)
    by = by or void_after(record, flow)
    in_doubt = may_be_at_vendor(record, flow, case.limits)
    skip = f"crossdock delivery skip {record.id} --reason …"
    unwanted = f"nobody wants it any more, for {by.operation} came" if by else ""
    if not in_doubt:
        return [f"{unwanted}: {skip}"] if by else []
    again = f"crossdock delivery retry {record.id} --not-found-at-vendor --reason …"
    return [
        *([unwanted] if by else []),
        f"look at {record.endpoint} for {record.vendor_reference}",
        f"if it is there: crossdock resolve {record.id} --reference TYPE=VALUE --reason …",
        f"if it is not: {skip if by else again}",
    ]


def _held_behind(record: DeliveryRecord, case: Case) -> list[str]:
    """What can't go on before a person has looked at parked work."""
    held = [other for other in case.chain.deliveries if _waits_behind(other, record)]
    if not held:
        return []
    named = [_about_item(other, case) for other in held]
    shown = listed(named) if len(named) <= HELD_NAMED_MAX else f"{len(named)} deliveries"
    return [f"{shown} cannot go on before"]


def _refused(case: Case) -> Judgement | None:
    arrived = any(o.kind == "order" and o.state == "DELIVERED" for o in case.chain.objects)
    refused = [
        record
        for record in case.chain.deliveries
        if record.state == "REJECTED"
        and not undone(record, case)
        # What others need not wait for no longer matters once everything has arrived.
        and not (arrived and record.on_reject == "CONTINUE")
    ]
    if not refused:
        return None
    first = refused[0]
    attempts = case.chain.attempts.get(first.id, ())
    code = next((a.code for a in reversed(attempts) if a.outcome == "REJECTED"), "")
    why = first.waiting_on or "no reason was given"
    shown = f"{why} ({code})" if code and code != why else why
    blocked = [o for o in case.chain.deliveries if _waits_behind(o, first)]
    behind = f"; {listed([o.operation for o in blocked])} cannot go on" if blocked else ""
    more = f"; {len(refused) - 1} more were refused" if len(refused) > 1 else ""
    at = clock(first.updated_at, case.now)
    return Judgement(
        "REFUSED", f"Refused by {first.endpoint} at {at}: {first.operation}: {shown}{behind}{more}."
    )


def _waits_behind(other: DeliveryRecord, first: DeliveryRecord) -> bool:
    same = other.endpoint == first.endpoint and other.state == "HELD"
    if not same:
        return False
    if other.hold_reason == "PREREQUISITE":
        return other.awaits_operation == first.operation
    return other.hold_reason == "ORDER" and other.ordering_key == first.ordering_key


def _in_doubt(case: Case) -> Judgement | None:
    doubtful = [record for record in case.chain.deliveries if record.state in DOUBTFUL]
    if not doubtful:
        return None
    record = min(doubtful, key=lambda r: (r.first_unknown_at or r.updated_at, r.sequence))
    since = case.since(record.first_unknown_at or record.updated_at)
    clauses = [_next_step(record, case), *_endpoint_clauses(record, case)]
    if len(doubtful) > 1:
        clauses.append(f"{len(doubtful) - 1} more are in doubt")
    return Judgement(
        "IN_DOUBT",
        f"In doubt: {record.operation} at {record.endpoint} since {since}, {'; '.join(clauses)}.",
    )


def _next_step(record: DeliveryRecord, case: Case) -> str:
    needed = case.limits.not_found_needed
    look_up = f"look-up {min(record.not_found + 1, needed)} of {needed}"
    if record.not_found < 0:
        look_up = "a first look-up, perhaps too early to count,"
    attempts = case.chain.attempts.get(record.id, ())
    last = next((a.reason or a.code for a in reversed(attempts) if a.reason or a.code), "")
    why = record.waiting_on or last
    because = f" ({why})" if why else ""
    if record.state == "RESOLVING":
        step = "is under way" if record.lease_until is not None else "is about to be made"
        return f"{look_up} {step}{because}"
    due = record.due_at
    when = (
        "is due now"
        if due is None or due <= case.now
        else "is due at " + clock(due, case.now, seconds=True)
    )
    if record.operation_class == "SEARCHABLE":
        return f"{look_up} {when}{because}"
    return f"the repetition that the vendor recognises {when}{because}"


def _waiting(case: Case) -> Judgement | None:
    stuck = [record for record in case.chain.deliveries if _is_stuck(record, case)]
    if not stuck:
        return None
    record = min(stuck, key=lambda r: (r.created_at, r.sequence))
    clauses = [_what_for(record, case), *_endpoint_clauses(record, case)]
    others = [
        other.operation if other.endpoint == record.endpoint else _placed(other)
        for other in stuck
        if other is not record
    ]
    if others:
        shown = listed(others[:2]) if len(others) < 3 else f"{len(others)} more deliveries"
        clauses.append(f"{shown} also {'waits' if len(others) == 1 else 'wait'}")
    since = case.since(record.created_at)
    return Judgement(
        "WAITING", f"Waiting on {record.endpoint} since {since}: {'; '.join(clauses)}."
    )


def _placed(record: DeliveryRecord) -> str:
    return f"{record.operation} at {record.endpoint}"


def _is_stuck(record: DeliveryRecord, case: Case) -> bool:
    if record.state == "HELD":
        return True
    if record.state not in ON_THEIR_WAY:
        return False
    reason, words = waiting(record, case.situation(record))
    late = case.now - record.updated_at > LATE_SECONDS * SECOND
    return bool(reason or words) or (late and record.state != "IN_FLIGHT")


def _what_for(record: DeliveryRecord, case: Case) -> str:
    """What one delivery waits for, without what is wrong with its endpoint."""
    operation = record.operation
    if record.state == "DISPATCHED":
        return f"{operation} was handed to it and is not begun"
    if record.state == "HELD" and record.hold_reason == "PREREQUISITE":
        return (
            f"{operation} needs {record.awaits_operation} confirmed{_state_of_need(record, case)}"
        )
    if record.state == "HELD" and record.hold_reason == "RETRY":
        due = record.due_at
        when = clock(due, case.now, seconds=True) if due and due > case.now else "once more now"
        why = record.waiting_on or "no reason was given"
        return f"{operation} is tried again {'at ' if due and due > case.now else ''}{when}: {why}"
    if record.state == "HELD":
        return f"{operation} waits for {record.waiting_on or 'earlier work'}"
    return f"{operation} is not sent yet"


def _state_of_need(record: DeliveryRecord, case: Case) -> str:
    needed = [
        other
        for other in case.chain.deliveries
        if other.endpoint == record.endpoint and other.operation == record.awaits_operation
    ]
    if not needed:
        return ", which nobody has asked for yet"
    return f", which is {needed[-1].state}"


def _endpoint_clauses(record: DeliveryRecord, case: Case) -> list[str]:
    """What is wrong with the endpoint of a delivery, if anything."""
    endpoint = case.situation(record)
    clauses = []
    if endpoint.state == "PAUSED":
        by = f" by {endpoint.paused_by}" if endpoint.paused_by else ""
        why = f": {endpoint.pause_reason}" if endpoint.pause_reason else ""
        clauses.append(f"endpoint is paused{by}{why}")
    elif endpoint.state == REMOVED:
        clauses.append("endpoint is not in the hub's endpoints file any more")
    elif endpoint.state == "EXPECTED":
        clauses.append("endpoint has not registered yet")
    elif endpoint.breaker_open:
        why = f" ({endpoint.breaker_reason})" if endpoint.breaker_reason else ""
        clauses.append(f"its system does not answer{why} and is tried with one call at a time")
    elif endpoint.throttled:
        clauses.append("its system asked all calls to wait")
    elif record.pending and endpoint.in_use >= endpoint.budget and endpoint.id:
        clauses.append(f"all {endpoint.budget} calls at once that its system takes are in use")
    if endpoint.trouble:
        clauses.append(f"endpoint reports: {endpoint.trouble}")
    heard = endpoint.heartbeat_at
    late = heard is not None and case.now - heard > LATE_SECONDS * SECOND
    if endpoint.state == "ACTIVE" and heard is not None and late:
        clauses.append(f"endpoint was last heard of {case.since(heard)} ago")
    return clauses


def _under_way(case: Case) -> Judgement | None:
    going = [record for record in case.chain.deliveries if record.state in ON_THEIR_WAY]
    if not going:
        return None
    record = going[0]
    step = {"READY": "about to be sent", "DISPATCHED": "handed over", "IN_FLIGHT": "being done"}
    more = f"; {len(going) - 1} more are under way" if len(going) > 1 else ""
    since = case.since(record.updated_at)
    return Judgement(
        "UNDER_WAY",
        f"Under way: {record.operation} at {record.endpoint} is {step[record.state]} since {since}"
        f"{more}.",
    )


def _unpublished(case: Case) -> Judgement | None:
    late = [
        event.record.record_time
        for event in case.chain.events
        if not event.published and case.now - event.record.record_time > LATE_SECONDS * SECOND
    ]
    if not late:
        return None
    return Judgement(
        "WAITING",
        f"Waiting on the bus since {case.since(min(late))}: {len(late)} events are recorded and "
        "not published.",
    )


_WORST_FIRST: tuple[Callable[[Case], Judgement | None], ...] = (
    _posted_twice,
    _needs_person,
    _refused,
    _in_doubt,
    _waiting,
    _under_way,
    _unpublished,
)
