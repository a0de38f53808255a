"""The ledger's rules about a flow once more, each as one look through a plain list.

What the hub finds by its indexes has to be what somebody finds who looks at every delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from crossdock_hub.config import Limits
from crossdock_hub.delivery import guarding, ledger, overtaking
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.ordering import OPEN_STATES, is_idle, says_more
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replay import judging
from crossdock_hub.replay.judging import Candidate, Decision, Specs, Terms

Plain = list[DeliveryRecord]


def in_order(flow: Sequence[DeliveryRecord]) -> Plain:
    """By place; of one event's deliveries the older ones first."""
    return sorted(flow, key=lambda record: (record.sequence, record.created_at, record.id))


def earlier(record: DeliveryRecord, flow: Plain) -> Plain:
    """Work of the same key and endpoint, or of nobody, whose events came before."""
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


def unmet(record: DeliveryRecord, flow: Plain) -> str:
    """The first required operation that nobody has confirmed for what the record refers to."""
    for operation in record.requires:
        if not any(
            (other.endpoint, other.operation, other.state)
            == (record.endpoint, operation, "CONFIRMED")
            and other.object_id in record.refers_to
            for other in flow
        ):
            return operation
    return ""


def blocker_of(record: DeliveryRecord, flow: Plain) -> DeliveryRecord | None:
    """The first earlier work that has to go before."""
    waits_for_us = False
    for other in earlier(record, flow):
        if other.state == "HELD" and needs(other, record, flow, frozenset()):
            waits_for_us = True
            continue
        if waits_for_us and other.state == "HELD" and other.hold_reason == "ORDER":
            continue
        if other.state in OPEN_STATES:
            return other
        passes = other.on_reject == "CONTINUE" or takes_back(record, other)
        if other.state in ("REJECTED", "UNROUTED") and not passes:
            return other
    return None


def needs(other: DeliveryRecord, record: DeliveryRecord, flow: Plain, seen: frozenset[str]) -> bool:
    """Whether what `other` awaits is this delivery, or awaits it in turn."""
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
        and needs(between, record, flow, known)
        for between in flow
    )


def undone_by(record: DeliveryRecord, flow: Plain) -> Plain:
    """Earlier work that a delivery takes back."""
    return [other for other in earlier(record, flow) if takes_back(record, other)]


def takes_back(record: DeliveryRecord, other: DeliveryRecord) -> bool:
    """Whether it undoes that work, or the same work of its item."""
    return other.operation in record.supersedes and (
        not other.item or not record.item or other.item == record.item
    )


def newer(
    record: DeliveryRecord, flow: Plain, specs: Specs, limits: Limits, *, own_fact: bool
) -> str:
    """The later work that makes a delivery pointless, in words."""
    for other in flow:
        if overtaking.takes_back(other, record):
            return f"{other.operation} came later and is {other.state} (delivery {other.id})"
        same = (
            other.endpoint == record.endpoint
            and other.ordering_key == record.ordering_key
            and other.event_id != record.event_id
            and (other.operation, other.item, other.object_id)
            == (record.operation, record.item, record.object_id)
        )
        if not same or not says_more(other, record):
            continue
        full = "NATURAL" in (specs(other.operation).operation_class, other.operation_class)
        if own_fact and not full and not other.resubmits:
            continue
        # What is behind it, and waits there for its turn or for a person, goes after it.
        waits = other.sequence > record.sequence and (
            other.state == "PARKED"
            or (other.state, other.hold_reason) in (("HELD", "ORDER"), ("HELD", "PREREQUISITE"))
        )
        if overtaking.may_be_at_vendor(other, flow, limits) or (
            other.state in OPEN_STATES and not waits
        ):
            return f"a newer state is {other.state} (delivery {other.id})"
    return ""


def spends_too_much(
    record: DeliveryRecord, flow: Plain, displaced: Plain, specs: Specs, now: int
) -> bool:
    """Whether the guard stops a delivery, once what it displaces is counted as it will be."""
    books = {other.id: other for other in (*flow, *displaced)}
    tally = guarding.Tally(list(books.values()))
    return tally.stopped(record, specs(record.operation), now) is not None


def decide(
    terms: Terms,
    candidates: Sequence[Candidate],
    flow: Sequence[DeliveryRecord],
    specs: Specs,
    now: int,
    limits: Limits,
) -> list[Decision]:
    """What a replay makes of the work of one flow."""
    books = {record.id: record for record in flow}
    decisions: dict[tuple[str, str, str], Decision] = {}
    for candidate in sorted(candidates, key=lambda c: (c.sequence, c.operation, c.item)):
        there = in_order(list(books.values()))
        decision = judged(terms, candidate, there, specs, now, limits)
        decisions[candidate.identity] = decision
        if decision.record is not None:
            admit(decision, books, decisions, now)
    after = {record.id: record for record in flow}
    for decision in decisions.values():
        after |= {record.id: record for record in decision.displaced}
        if decision.record is not None:
            after[decision.record.id] = decision.record
    for decision in decisions.values():
        made = decision.record
        if made is not None and made.state != "SUPERSEDED":
            decision.record = placed(made, in_order(list(after.values())), specs, now)
            # How it goes is said of the delivery alone.
            decision.why = ""
    return [decisions[candidate.identity] for candidate in candidates]


def judged(
    terms: Terms, candidate: Candidate, flow: Plain, specs: Specs, now: int, limits: Limits
) -> Decision:
    """The verdict on one piece of work: what no other work of the flow decides is the hub's own."""
    everywhere = [record for record in flow if judging.identity_of(record) == candidate.identity]
    alone = IndexedFlow(everywhere)
    decision = judging.judge(terms, candidate, alone, specs, now, limits)
    asked_last = decision.verdict in (judging.WOULD_POST, judging.SUPERSEDED)
    if not asked_last and "resubmitted it since" not in decision.why:
        return decision
    assert candidate.planned is not None
    overtaken = newer(candidate.planned, flow, specs, limits, own_fact=candidate.own_fact)
    if overtaken:
        return replace(
            decision, verdict=judging.SUPERSEDED, why=overtaken, record=None, displaced=[]
        )
    if decision.record is None:
        return decision
    if specs(candidate.operation).max_per_root > 0 and spends_too_much(
        decision.record, flow, decision.displaced, specs, now
    ):
        here = [record for record in everywhere if record.endpoint == terms.endpoint]
        why = judging.why_spent(judging.standing(here))
        return replace(
            decision, verdict=judging.WOULD_BE_REFUSED, why=why, record=None, displaced=[]
        )
    return decision


def admit(
    decision: Decision,
    books: dict[str, DeliveryRecord],
    decisions: dict[tuple[str, str, str], Decision],
    now: int,
) -> None:
    """Take a made delivery into the books, with what it makes pointless."""
    record = decision.record
    assert record is not None
    books |= {other.id: other for other in decision.displaced}
    targets = undone_by(record, in_order(list(books.values())))
    idle = [o for o in targets if is_idle(o)]
    never = [o for o in targets if o.state == "SUPERSEDED" and ledger.is_untouched(o)]
    own = {d.record.id: d for d in decisions.values() if d.record is not None}
    outside = []
    for other in idle:
        books[other.id] = gone(other, record.id, f"{record.operation} came", now)
        if other.id in own:
            own[other.id].verdict = judging.SUPERSEDED
            own[other.id].why = f"{record.operation} came"
            own[other.id].record, own[other.id].displaced = None, []
        else:
            outside.append(books[other.id])
    if not targets or len(idle) + len(never) < len(targets):
        books[record.id] = record
        decision.displaced += outside
        return
    itself = gone(record, record.id, "nothing had reached the vendor", now)
    books[record.id] = itself
    decision.verdict, decision.why = judging.SUPERSEDED, itself.waiting_on
    decision.record = itself if outside else None
    decision.displaced = [*decision.displaced, *outside] if outside else []


def gone(record: DeliveryRecord, by: str, why: str, now: int) -> DeliveryRecord:
    """A delivery that later work made pointless."""
    return replace(
        record,
        state="SUPERSEDED",
        hold_reason="",
        waiting_on=why,
        superseded_by=by,
        due_at=None,
        pending=False,
        updated_at=now,
    )


def placed(record: DeliveryRecord, flow: Plain, specs: Specs, now: int) -> DeliveryRecord:
    """Where a made delivery waits: the hub's own placing, over no more than what decides it."""
    missing, blocker = unmet(record, flow), blocker_of(record, flow)
    met = [o for o in flow if o.state == "CONFIRMED" and o.operation in record.requires]
    found = ledger.place(record, met, specs(record.operation), now)
    assert (found.state == "HELD") == bool(missing)
    if missing or blocker is None:
        return found
    # Nothing but the blocker: it alone has to hold the delivery, for the reason that it gives.
    return ledger.place(record, [*met, blocker], specs(record.operation), now)
