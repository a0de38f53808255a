"""What a replay makes of each piece of work. Pure functions of records and time.

    confirmed, unless set ALL and policy FREE ──► ALREADY_POSTED
    under way, in doubt for good, not offered, done by another ──► WOULD_BE_REFUSED
    policy NEVER, or APPROVAL without a second person ──► BLOCKED_BY_POLICY
    undone by later work, or older than a newer state ──► SUPERSEDED
    may be done, by the books of a back-up, and nobody can be asked ──► WOULD_PARK
    else ──► WOULD_POST; of both with the delivery that is made

One function decides for the plan and again for the run, over everything a flow holds, so a plan is
what happens unless the ledger moved meanwhile. A replayed delivery has the identity, the place in
the order and the vendor's reference of the one that failed, and carries its doubt: a call that may
have been done is looked up, or parks, as the ledger's own rules have it. It never runs beside an
open one. Which work carries a state that later work replaces, `delivery/overtaking` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from crossdock_hub.config import Limits
from crossdock_hub.delivery import ledger
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replay.judging import ALREADY_POSTED as ALREADY_POSTED
from crossdock_hub.replay.judging import BLOCKED_BY_POLICY as BLOCKED_BY_POLICY
from crossdock_hub.replay.judging import FAILED_STATES as FAILED_STATES
from crossdock_hub.replay.judging import MOVING_STATES as MOVING_STATES
from crossdock_hub.replay.judging import SUPERSEDED as SUPERSEDED
from crossdock_hub.replay.judging import UNDER_WAY_STATES as UNDER_WAY_STATES
from crossdock_hub.replay.judging import WOULD_BE_REFUSED as WOULD_BE_REFUSED
from crossdock_hub.replay.judging import WOULD_PARK as WOULD_PARK
from crossdock_hub.replay.judging import WOULD_POST as WOULD_POST
from crossdock_hub.replay.judging import Candidate as Candidate
from crossdock_hub.replay.judging import Decision as Decision
from crossdock_hub.replay.judging import Specs as Specs
from crossdock_hub.replay.judging import Terms as Terms
from crossdock_hub.replay.judging import by_identity as by_identity
from crossdock_hub.replay.judging import identity_of as identity_of
from crossdock_hub.replay.judging import judge as judge
from crossdock_hub.replay.judging import replay_delivery_id as replay_delivery_id
from crossdock_hub.replay.judging import standing as standing
from crossdock_hub.replay.judging import wanted as wanted
from crossdock_hub.replay.records import ReplayItemRecord
from crossdock_hub.stepping import Steps, at_once

Identity = tuple[str, str, str]


def decide_in_steps(
    terms: Terms,
    candidates: Sequence[Candidate],
    flow: Iterable[DeliveryRecord],
    specs: Specs,
    now: int,
    limits: Limits,
) -> Steps[list[Decision]]:
    """Decide the work of one flow together, in the order of its events.

    Later work of the same replay may make earlier work pointless before anything reached the
    vendor, as it would in the ledger: then neither is made.
    """
    books = IndexedFlow(flow)
    decisions: dict[Identity, Decision] = {}
    # What this replay makes, by the delivery's id.
    own: dict[str, Decision] = {}
    for candidate in sorted(candidates, key=lambda c: (c.sequence, c.operation, c.item)):
        decision = judge(terms, candidate, books, specs, now, limits)
        decisions[candidate.identity] = decision
        if decision.record is not None:
            own[decision.record.id] = decision
            _admit(decision, books, own, now)
        yield
    made = [d for d in decisions.values() if d.record is not None]
    after = _after(flow, made)
    for decision in made:
        record = decision.record
        if record is None or record.state == "SUPERSEDED":
            continue
        decision.record = ledger.place(record, after, specs(record.operation), now)
        decision.verdict, decision.why = _how(decision.record, specs(record.operation))
        yield
    return [decisions[candidate.identity] for candidate in candidates]


def decide(
    terms: Terms,
    candidates: Sequence[Candidate],
    flow: Iterable[DeliveryRecord],
    specs: Specs,
    now: int,
    limits: Limits,
) -> list[Decision]:
    """`decide_in_steps`, without a pause."""
    return at_once(decide_in_steps(terms, candidates, flow, specs, now, limits))


def _after(flow: Iterable[DeliveryRecord], made: Sequence[Decision]) -> IndexedFlow:
    """The flow as these decisions leave it."""
    books = {record.id: record for record in flow}
    for decision in made:
        books |= {record.id: record for record in decision.displaced}
        if decision.record is not None:
            books[decision.record.id] = decision.record
    return IndexedFlow(books.values())


def decide_again_in_steps(
    terms: Terms,
    candidates: Sequence[Candidate],
    planned: Mapping[Identity, str],
    flow: Iterable[DeliveryRecord],
    specs: Specs,
    now: int,
    limits: Limits,
) -> Steps[list[tuple[Decision, bool]]]:
    """Decide a planned flow for good: each with whether it differs from its plan.

    planned: the verdict by identity. What differs is never made; the rest is decided again without
    it, until what is left agrees with its plan.
    """
    differing: dict[Identity, Decision] = {}
    left = list(candidates)
    decisions: list[Decision] = []
    rounds = 0
    while left:
        decisions = yield from decide_in_steps(terms, left, flow, specs, now, limits)
        fresh = [d for d in decisions if d.verdict != planned[d.candidate.identity]]
        if not fresh:
            break
        rounds += 1
        if rounds >= limits.replay_rounds_max:
            # Each round takes as long as the first: an order that moved so much is planned anew.
            fresh = [d if d.record is None else _moved_too_much(d) for d in decisions]
        for decision in fresh:
            differing[decision.candidate.identity] = replace(decision, record=None, displaced=[])
        left = [c for c in left if c.identity not in differing]
        decisions = []
    agreed = {d.candidate.identity: d for d in decisions}
    return [
        (found, found.verdict != planned[found.candidate.identity])
        for found in (differing.get(c.identity) or agreed[c.identity] for c in candidates)
    ]


def decide_again(
    terms: Terms,
    candidates: Sequence[Candidate],
    planned: Mapping[Identity, str],
    flow: Iterable[DeliveryRecord],
    specs: Specs,
    now: int,
    limits: Limits,
) -> list[tuple[Decision, bool]]:
    """`decide_again_in_steps`, without a pause."""
    return at_once(decide_again_in_steps(terms, candidates, planned, flow, specs, now, limits))


def _moved_too_much(decision: Decision) -> Decision:
    why = "too much of its order has changed since the plan; plan it again"
    return replace(decision, verdict=WOULD_BE_REFUSED, why=why)


def _admit(decision: Decision, books: IndexedFlow, own: Mapping[str, Decision], now: int) -> None:
    """Take a new delivery into the flow as the ledger would: what it makes pointless goes.

    own: the decisions of this replay that make a delivery, by its id.
    """
    record = decision.record
    assert record is not None
    for other in decision.displaced:
        books.put(other)
    gone = ledger.supersede(record, books, now)
    mine = {o.id: own[o.id] for o in gone if o.id in own and own[o.id].record is not None}
    outside = [other for other in gone if other.id not in mine]
    for other in gone:
        books.put(other)
        if other.id in mine and other.id != record.id:
            # Made by this replay and pointless before it began: not made at all.
            found = mine[other.id]
            found.verdict, found.why = SUPERSEDED, other.waiting_on
            found.record, found.displaced = None, []
    itself = next((other for other in gone if other.id == record.id), None)
    if itself is None:
        books.put(record)
        decision.displaced += outside
        return
    decision.verdict, decision.why = SUPERSEDED, itself.waiting_on
    # What waited in the ledger is taken back all the same, and has to name what took it back.
    decision.record = itself if outside else None
    decision.displaced = [*decision.displaced, *outside] if outside else []


def _how(record: DeliveryRecord, spec: OperationSpec) -> tuple[str, str]:
    """What happens to a delivery that is made: the verdict, and in words."""
    verdict, first = WOULD_POST, ""
    instead = ledger.instead_of_call(record, spec, record.updated_at)
    if instead is not None and instead.state == "PARKED":
        verdict, first = WOULD_PARK, f"parks: {instead.waiting_on}"
    elif instead is not None:
        first = "looked up first, an earlier call is in doubt"
    waits = f"waits for {record.waiting_on}" if record.state == "HELD" else ""
    return verdict, "; ".join(part for part in (waits, first) if part)


def outcome_of(
    item: ReplayItemRecord, *, approved: bool, aborted: bool, delivery_state: str
) -> str:
    """What became of an item: a name of ReplayOutcome.

    delivery_state: "" without a delivery, or with one that has left the database with its flow.
    """
    if item.decided_at is None:
        return "ABORTED" if aborted else "WAITING"
    if not item.delivery_id:
        same = item.found_verdict == item.planned(approved)
        return "NOT_POSTED" if same else "CHANGED_SINCE"
    return "UNDER_WAY" if delivery_state in UNDER_WAY_STATES else OUTCOMES[delivery_state]


# What a delivery that is not under way came to, by its state.
OUTCOMES = {
    "CONFIRMED": "POSTED",
    "REJECTED": "REFUSED",
    "PARKED": "PARKED",
    # Its endpoint is gone: like parked work it waits until a person does something.
    "UNROUTED": "PARKED",
    "SUPERSEDED": "OVERTAKEN",
    "SKIPPED": "SKIPPED",
    "": "ARCHIVED",
}
