"""What the hub finds in a flow by its indexes is what a look at every delivery finds."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import plain_rules
import replayed_flows
from crossdock_hub.config import SECOND
from crossdock_hub.delivery import ledger, ordering
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replay import decisions
from crossdock_hub.replay.decisions import Candidate, Terms
from hypothesis import given, settings
from hypothesis import strategies as st
from replayed_flows import LIMITS, NOW, REPLAY, SETS

CLASSES = {"book": "SEARCHABLE", "change": "NATURAL", "cancel": "KEYED", "label": "SEARCHABLE"}
SUPERSEDES = {"cancel": ("book", "change"), "label": ("label",)}
STATES = sorted(ledger.OPEN_STATES | {"CONFIRMED", "REJECTED", "SUPERSEDED", "SKIPPED", "UNROUTED"})
# What stopped is what replays are made for; what is idle is what later work takes back.
OFTEN = ["REJECTED", "PARKED", "SUPERSEDED", "HELD", "READY"]


def spec(operation: str) -> OperationSpec:
    made = OperationSpec(operation, CLASSES[operation], 5.0, 60.0, 10, 3_600.0, 1_800.0, 0.5, 30.0)
    return replace(made, max_per_root=3) if operation == "label" else made


def delivery(number: int, operation: str, state: str, **details: Any) -> DeliveryRecord:
    """The delivery of event `number`, as routing makes it, in some state: not called, not due."""
    made: dict[str, Any] = {
        "endpoint": "" if state == "UNROUTED" else replayed_flows.ENDPOINT,
        "supersedes": SUPERSEDES.get(operation, ()),
        "calls_reached": 0,
        "pending": False,
        "due_at": None,
    }
    return replayed_flows.delivery(number, operation, state, **(made | details))


def work(
    record: DeliveryRecord, policy: str = "UNCONFIRMED_ONLY", *, own_fact: bool = False
) -> Candidate:
    """The work that a delivery was made for."""
    number = int(record.event_id[-12:])
    planned = replace(
        delivery(number, record.operation, "READY", id=f"c-{number}"),
        item=record.item,
        ordering_key=record.ordering_key,
        object_id=record.object_id,
        requires=record.requires,
        refers_to=record.refers_to,
    )
    return Candidate(
        record.event_id,
        record.object_id,
        record.operation,
        record.item,
        record.sequence,
        policy,
        planned,
        role="ERP",
        sole=True,
        own_fact=own_fact,
    )


@st.composite
def records(draw: Any, number: int) -> DeliveryRecord:
    """One delivery in any state, with whatever the rules ask a flow for."""
    state = draw(st.sampled_from([*OFTEN, *STATES]))
    operation = draw(st.sampled_from(["change", "change", *sorted(CLASSES)]))
    details: dict[str, Any] = {
        "object_id": draw(st.sampled_from(["order-1", "order-1", "order-2"])),
        "ordering_key": draw(st.sampled_from(["key", "key", "key", "other"])),
        "on_reject": draw(st.sampled_from(["BLOCK", "CONTINUE"])),
        "requires": draw(st.sampled_from([(), (), ("book",), ("change", "label")])),
        "refers_to": draw(st.sampled_from([("order-1",), ("order-1", "order-2")])),
        "calls_reached": int(state in ("CONFIRMED", "REJECTED", "UNKNOWN", "IN_FLIGHT")),
        "calls_maybe_done": draw(st.sampled_from([0, 0, 1, 2])),
        "operation_class": draw(st.sampled_from(["", CLASSES[operation]])),
    }
    if operation == "label":
        details["item"] = draw(st.sampled_from(["", "p-1", "p-2"]))
    if state != "UNROUTED" and draw(st.integers(0, 5)) == 0:
        details["endpoint"] = "other-erp"
    if state == "HELD":
        reason = draw(st.sampled_from(["ORDER", "PREREQUISITE", "RETRY"]))
        details["hold_reason"] = reason
        if reason == "PREREQUISITE":
            details["awaits_operation"] = draw(st.sampled_from(sorted(CLASSES)))
    if draw(st.integers(0, 3)) == 0:
        details["first_unknown_at"] = NOW - draw(st.integers(0, 9)) * SECOND
        details["not_found"] = draw(st.sampled_from([0, 0, LIMITS.not_found_needed]))
    if draw(st.integers(0, 9)) == 0:
        details["draft"] = f"draft-{number}"
    if draw(st.integers(0, 5)) == 0:
        details |= {"resubmits": f"o-{number}", "created_at": NOW + draw(st.integers(1, 99))}
    if state == "SUPERSEDED":
        details["superseded_by"] = f"d-{draw(st.integers(1, 12))}"
    details["replay_id"] = draw(st.sampled_from(["", "", REPLAY]))
    return delivery(number, operation, state, **details)


@st.composite
def flows(draw: Any, most: int = 12) -> list[DeliveryRecord]:
    """A flow of deliveries, in no order."""
    size = draw(st.integers(1, most))
    found = [draw(records(number)) for number in range(1, size + 1)]
    again = draw(st.lists(st.sampled_from(found), max_size=2, unique_by=lambda r: r.id))
    # Two deliveries of one event: the one that was replaced, and the one that goes instead.
    found += [
        replace(record, id=f"{record.id}-again", created_at=record.created_at + SECOND)
        for record in again
    ]
    return list(draw(st.permutations(found)))


@settings(max_examples=300, deadline=None)
@given(flows(), st.data())
def test_the_rules_find_what_a_look_at_every_delivery_finds(
    flow: list[DeliveryRecord], data: st.DataObject
) -> None:
    """Proves over any flow, also after any changes of it, that prerequisite, blocker and what is
    taken back are the ones that a plain list gives."""
    books = IndexedFlow(flow)
    now = {record.id: record for record in flow}
    for _ in range(2):
        plain = plain_rules.in_order(list(now.values()))
        assert list(books) == plain
        for record in plain:
            if record.state == "UNROUTED":
                continue
            assert ordering.unmet(record, books) == plain_rules.unmet(record, plain)
            assert ordering.blocker_of(record, books) == plain_rules.blocker_of(record, plain)
            assert ordering.undone_by(record, books) == plain_rules.undone_by(record, plain)
        for record in plain:
            if data.draw(st.booleans()):
                number = int(record.event_id[-12:])
                moved = data.draw(records(number))
                now[record.id] = replace(moved, id=record.id, created_at=record.created_at)
                books.put(now[record.id])


@settings(max_examples=500, deadline=None)
@given(flows(), st.sampled_from(SETS), st.booleans(), st.data())
def test_the_indexed_decision_is_the_plain_one(
    flow: list[DeliveryRecord], wanted_set: str, approved: bool, data: st.DataObject
) -> None:
    """Proves over any flow that a replay decides what it would if it looked at every delivery for
    each of its items: same verdicts, same deliveries, same reasons."""
    policies = st.sampled_from(["FREE", "UNCONFIRMED_ONLY", "APPROVAL", "NEVER"])
    work_of = {
        decisions.identity_of(r): work(r, data.draw(policies), own_fact=data.draw(st.booleans()))
        for r in flow
    }
    candidates = [c for c in work_of.values() if data.draw(st.integers(0, 3))]
    terms = Terms(REPLAY, "erp", wanted_set, approved)
    found = decisions.decide(terms, candidates, flow, spec, NOW, LIMITS)
    plain = plain_rules.decide(terms, candidates, flow, spec, NOW, LIMITS)
    for one, other in zip(found, plain, strict=True):
        if one.verdict == decisions.WOULD_POST:
            one.why = ""
        assert (one.verdict, one.why) == (other.verdict, other.why)
        assert one == other


def test_a_flow_that_moves_with_every_round_ends_after_some() -> None:
    """Proves that work whose plan falls item after item is given up after `replay_rounds_max`
    rounds: listed as changed with what to do, and none of it made."""
    limits = replace(LIMITS, replay_rounds_max=3)
    failed = [delivery(n, "label", "REJECTED", item=f"p-{n}") for n in range(1, 13)]
    candidates = [work(record) for record in failed]
    # Planned the other way round: each item that is dropped lets one in that was planned refused.
    planned = {c.identity: decisions.WOULD_BE_REFUSED for c in candidates}
    terms = Terms(REPLAY, "erp", "FAILED", approved=False)
    ran = decisions.decide_again(terms, candidates, planned, failed, spec, NOW, limits)
    assert not [d for d, _ in ran if d.record is not None]
    assert [differs for _, differs in ran] == [d.verdict != "WOULD_BE_REFUSED" for d, _ in ran]
    patient = replace(LIMITS, replay_rounds_max=99)
    all_rounds = decisions.decide_again(terms, candidates, planned, failed, spec, NOW, patient)
    assert [differs for _, differs in all_rounds] == [True] * 12
    assert "plan it again" in ran[6][0].why


def test_a_flow_of_thousands_is_decided_in_a_moment() -> None:
    """Proves that the work of deciding grows with the flow and not with its square: four times the
    items take less than ten times as long, in the order of one key and over one object."""
    assert _seconds(2_000) < 10 * _seconds(500)


def _seconds(items: int) -> float:
    """The shortest of three decisions about so many failed items, in seconds of this process."""
    flow = [delivery(n, "change", "REJECTED", calls_reached=1) for n in range(1, items + 1)]
    candidates = [work(record) for record in flow]
    terms = Terms(REPLAY, "erp", "FAILED", approved=False)
    taken = []
    for _ in range(3):
        begun = time.process_time()
        decisions.decide(terms, candidates, flow, spec, NOW, LIMITS)
        taken.append(time.process_time() - begun)
    return min(taken)
