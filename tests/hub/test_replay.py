"""What a replay makes of work, over random flows: the plan is what happens, and nothing doubles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock_hub.config import SECOND
from crossdock_hub.delivery import ledger
from crossdock_hub.delivery.guarding import costs
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.delivery.routing import REPLAY_PRIORITY
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replay import decisions
from crossdock_hub.replay.decisions import Candidate
from hypothesis import given, settings
from hypothesis import strategies as st
from replayed_flows import (
    LIMITS,
    NOW,
    OWN_FACT,
    POLICIES,
    REPLAY,
    SETS,
    STATES,
    after,
    decide,
    delivery,
    event_id,
    flows,
    one,
    resubmission,
    spec,
    terms,
    work,
)


@settings(deadline=None)
@given(flows(), st.sampled_from(SETS), st.booleans())
def test_the_plan_is_what_happens(
    flow: tuple[list[DeliveryRecord], list[Candidate]], wanted_set: str, approved: bool
) -> None:
    """Proves that a run over an unmoved ledger decides every item as planned, and makes exactly
    what the plan said it would post."""
    books, candidates = flow
    planned = decide(candidates, books, wanted_set=wanted_set, approved=approved)
    verdicts = {d.candidate.identity: d.verdict for d in planned}
    ran = decisions.decide_again(
        terms(wanted_set, approved=approved), candidates, verdicts, books, spec, NOW, LIMITS
    )
    assert [decision for decision, _ in ran] == planned
    assert not any(differs for _, differs in ran)
    for decision in planned:
        made = decision.record is not None and decision.record.state != "SUPERSEDED"
        assert made == (decision.verdict == decisions.WOULD_POST)


def content_of(record: DeliveryRecord) -> tuple[bool, int]:
    """How new what a delivery says is: its event, or the moment at which it was resubmitted."""
    if record.resubmits:
        return True, record.created_at
    return False, int(record.event_id[-12:])


def could_be_there(record: DeliveryRecord, made: DeliveryRecord) -> bool:
    """Whether the vendor has it, was called about it without ever answering, or gets it before what
    is made: whatever is open ahead of that, and behind it what doesn't wait for its turn."""
    sent = ("IN_FLIGHT", "UNKNOWN", "RESOLVING", "CONFIRMED")
    if record.state in sent or record.first_unknown_at is not None:
        return True
    waits = record.state == "PARKED" or record.hold_reason == "ORDER"
    return record.state in ledger.OPEN_STATES and not (waits and record.sequence > made.sequence)


@settings(max_examples=300, deadline=None)
@given(flows(), st.sampled_from(SETS), st.booleans())
def test_no_replay_breaks_a_law(
    flow: tuple[list[DeliveryRecord], list[Candidate]], wanted_set: str, approved: bool
) -> None:
    """Proves over any flow: never beside an open delivery, never a confirmed one again without ALL
    and FREE, never an older state over a newer one that the vendor may have, whatever the class of
    its operation, never an event over its own resubmission, never past policy; identity stays."""
    books, candidates = flow
    decided = decide(candidates, books, wanted_set=wanted_set, approved=approved)
    then = after(books, decided)
    for decision in decided:
        record, candidate = decision.record, decision.candidate
        if record is None or decision.verdict != decisions.WOULD_POST:
            continue
        same = [r for r in books if decisions.identity_of(r) == candidate.identity]
        assert not any(r.state in decisions.UNDER_WAY_STATES | {"SKIPPED"} for r in same)
        if any(r.state == "CONFIRMED" for r in same):
            assert (wanted_set, candidate.policy) == ("ALL", "FREE")
        assert candidate.policy != "NEVER"
        assert candidate.policy != "APPROVAL" or approved
        # What a cancel of the same replay took back before it began is no newer state any more.
        assert not [
            r
            for r in then
            if r.replay_id != REPLAY
            and (r.operation, r.object_id, r.ordering_key)
            == (record.operation, record.object_id, record.ordering_key)
            and (r.resubmits or record.operation != OWN_FACT)
            and content_of(r) > content_of(record)
            and could_be_there(r, record)
        ]
        # What was resubmitted has a reference and a content of its own: never one with the other.
        assert not any(r.resubmits for r in same)
        assert record.state in ("READY", "HELD")
        assert (record.replay_id, record.sequence) == (REPLAY, candidate.sequence)
        assert [r.vendor_reference for r in same[:1]] in ([], [record.vendor_reference])
    for identity in {c.identity for c in candidates}:
        alive = [
            r
            for r in then
            if decisions.identity_of(r) == identity and r.state in ledger.OPEN_STATES | {"REJECTED"}
        ]
        assert len(alive) <= 1


@settings(deadline=None)
@given(flows(), st.sampled_from(SETS))
def test_a_second_replay_finds_the_first_under_way(
    flow: tuple[list[DeliveryRecord], list[Candidate]], wanted_set: str
) -> None:
    """Proves that what one replay has made, another at once does not make again."""
    books, candidates = flow
    first = decide(candidates, books, wanted_set=wanted_set)
    posted = {d.candidate.identity for d in first if d.verdict == decisions.WOULD_POST}
    second = decide(candidates, after(books, first), wanted_set=wanted_set)
    again = {d.candidate.identity for d in second if d.verdict == decisions.WOULD_POST}
    assert not posted & again


@settings(deadline=None)
@given(flows(), st.data())
def test_what_changed_since_is_listed_and_never_made(
    flow: tuple[list[DeliveryRecord], list[Candidate]], data: st.DataObject
) -> None:
    """Proves that after any movement of the ledger only what still agrees with its plan is made,
    and that everything else says so."""
    books, candidates = flow
    planned = decide(candidates, books)
    verdicts = {d.candidate.identity: d.verdict for d in planned}
    moved = [
        replace(record, state=data.draw(st.sampled_from(STATES)))
        if data.draw(st.booleans())
        else record
        for record in books
    ]
    ran = decisions.decide_again(terms(), candidates, verdicts, moved, spec, NOW, LIMITS)
    for decision, differs in ran:
        assert differs == (decision.verdict != verdicts[decision.candidate.identity])
        if decision.verdict == decisions.WOULD_POST:
            assert (decision.record is None) == differs
    assert len(ran) == len(candidates)


@pytest.mark.parametrize("state", sorted(decisions.UNDER_WAY_STATES))
def test_what_is_under_way_is_refused_with_its_state(state: str) -> None:
    """Proves that a replay never runs beside an open delivery, and names it."""
    decision = one(delivery(5, "book", state))
    assert decision.verdict == decisions.WOULD_BE_REFUSED
    assert "d-5" in decision.why
    assert state in decision.why


def test_what_an_operator_ended_stays_ended() -> None:
    """Proves that a replay of missing work does not send what a person has skipped: it may have
    been done, and nobody looks it up."""
    decision = one(delivery(5, "book", "SKIPPED", first_unknown_at=NOW - SECOND))
    assert decision.verdict == decisions.WOULD_BE_REFUSED
    assert "an operator ended delivery d-5" in decision.why


def test_a_failed_delivery_is_replaced_with_its_identity() -> None:
    """Proves that the new delivery has place and reference of the failed one, waits behind live
    work, and that the failed one says what replaced it."""
    failed = delivery(5, "book", "REJECTED", waiting_on="no such item")
    decision = one(failed, wanted_set="FAILED")
    assert (decision.verdict, decision.earlier) == (decisions.WOULD_POST, "d-5")
    made = decision.record
    assert made is not None
    assert made.id == decisions.replay_delivery_id(REPLAY, "canonical-005")
    assert (made.vendor_reference, made.sequence) == (failed.vendor_reference, failed.sequence)
    assert (made.priority, made.state) == (REPLAY_PRIORITY, "READY")
    (old,) = decision.displaced
    assert (old.state, old.superseded_by) == ("SUPERSEDED", made.id)
    assert "REJECTED: no such item" in old.waiting_on


def test_what_was_never_there_is_made_as_routing_would() -> None:
    """Proves that missing work gets the id that the event itself would have given it."""
    made = one(None).record
    assert made is not None
    assert made.id == "canonical-005"


def test_doubt_goes_with_the_replay() -> None:
    """Proves that a call that may have been done is looked up before it is repeated, and that an
    endpoint that can't be asked gets nothing until a person has found out."""
    doubtful = {"first_unknown_at": NOW - SECOND, "operation_class": "SEARCHABLE"}
    decision = one(delivery(5, "book", "PARKED", **doubtful))
    assert decision.verdict == decisions.WOULD_POST
    assert "looked up first" in decision.why
    made = decision.record
    assert made is not None
    instead = ledger.instead_of_call(made, spec("book"), NOW)
    assert instead is not None
    assert instead.state == "RESOLVING"
    found_nothing = replace(delivery(5, "book", "PARKED", **doubtful), not_found=2)
    assert one(found_nothing).why == ""
    blind = one(delivery(5, "pay", "PARKED", first_unknown_at=NOW - SECOND))
    assert blind.verdict == decisions.WOULD_BE_REFUSED
    assert "can't be asked" in blind.why


def test_an_older_full_state_never_goes_over_a_newer_one() -> None:
    """Proves that an upsert gives way to a newer one of the same object that is confirmed or under
    way, and to no other object's."""
    for state in ("CONFIRMED", "HELD", "IN_FLIGHT", "UNKNOWN"):
        newer = delivery(9, "change", state)
        assert one(delivery(5, "change", "REJECTED"), newer).verdict == decisions.SUPERSEDED
        assert one(None, newer, operation="change").verdict == decisions.SUPERSEDED
        elsewhere = replace(newer, object_id="order-2")
        assert one(delivery(5, "change", "REJECTED"), elsewhere).verdict == decisions.WOULD_POST
    failed = delivery(9, "change", "REJECTED")
    assert one(delivery(5, "change", "REJECTED"), failed).verdict == decisions.WOULD_POST


@pytest.mark.parametrize("state", ["PARKED", "SKIPPED", "SUPERSEDED"])
def test_an_older_full_state_never_goes_over_a_newer_one_in_doubt(state: str) -> None:
    """Proves that a newer state which the vendor may have bars an older one, whatever became of its
    delivery, until two look-ups have shown that the vendor has not."""
    old, doubt = delivery(1, "change", "REJECTED"), {"first_unknown_at": NOW - SECOND}
    newer = delivery(2, "change", state, **doubt)
    assert one(old, newer, wanted_set="FAILED").verdict == decisions.SUPERSEDED
    found_nothing = replace(newer, not_found=LIMITS.not_found_needed)
    assert one(old, found_nothing, wanted_set="FAILED").verdict == decisions.WOULD_POST
    told = delivery(2, "change", "REJECTED", id="replayed", replay_id=REPLAY)
    taken_over = replace(newer, state="SUPERSEDED", superseded_by="replayed")
    assert one(old, taken_over, told, wanted_set="FAILED").verdict == decisions.WOULD_POST


@pytest.mark.parametrize(
    ("state", "details", "expected"),
    [
        ("CONFIRMED", {}, decisions.SUPERSEDED),
        ("PARKED", {"first_unknown_at": NOW}, decisions.WOULD_BE_REFUSED),
        ("REJECTED", {}, decisions.WOULD_BE_REFUSED),
    ],
)
@pytest.mark.parametrize("operation", ["change", "book"])
def test_an_event_never_goes_over_its_own_resubmission(
    operation: str, state: str, details: dict[str, Any], expected: str
) -> None:
    """Proves that what an operator resubmitted is not sent again as its event was recorded, nor
    under the reference of the later content: the operator is told what to resubmit."""
    closed = delivery(1, operation, "SUPERSEDED", superseded_by="r-1")
    again = resubmission(closed, state, **details)
    decision = one(closed, again, wanted_set="ALL", policy="FREE")
    assert (decision.verdict, decision.record) == (expected, None)
    assert again.id in decision.why


def test_what_was_cancelled_stays_cancelled() -> None:
    """Proves that work which later work undid is superseded, in the ledger and within a replay."""
    for state in ("CONFIRMED", "SUPERSEDED", "HELD"):
        decision = one(delivery(5, "book", "REJECTED"), delivery(9, "cancel", state))
        assert decision.verdict == decisions.SUPERSEDED
    missing = [work(delivery(n, o, "READY")) for n, o in ((1, "book"), (2, "cancel"))]
    booked, cancelled = decide(missing, [])
    assert (booked.verdict, cancelled.verdict) == (decisions.SUPERSEDED, decisions.SUPERSEDED)
    assert booked.record is cancelled.record is None


@pytest.mark.parametrize("ended", ["PARKED", "REJECTED", "SKIPPED", "CONFIRMED", "UNROUTED"])
def test_what_a_cancel_took_back_stays_so_however_the_cancel_ended(ended: str) -> None:
    """Proves that a replay makes nothing of work that a cancellation superseded, also where the
    cancellation itself then failed or was given up: the order is cancelled all the same."""
    taken_back = delivery(1, "change", "SUPERSEDED", superseded_by="d-2", calls_reached=0)
    decision = one(taken_back, delivery(2, "cancel", ended))
    assert (decision.verdict, decision.record) == ("SUPERSEDED", None)


def test_what_was_resubmitted_since_is_newer() -> None:
    """Proves that an older event's resubmission, which carried its object as it was then, keeps a
    replay from posting a state between the two."""
    resubmitted = delivery(
        1, "change", "CONFIRMED", id="r-1", resubmits="d-1", created_at=NOW + 10**9
    )
    closed = delivery(1, "change", "SUPERSEDED", superseded_by="r-1")
    decision = one(delivery(2, "change", "REJECTED"), closed, resubmitted, wanted_set="FAILED")
    assert (decision.verdict, decision.record) == ("SUPERSEDED", None)


def test_a_cancel_takes_back_what_still_waits() -> None:
    """Proves that a replayed cancel ends idle work of the ledger as it would have when it came."""
    waiting = delivery(1, "book", "READY")
    (decision,) = decide([work(delivery(2, "cancel", "READY"))], [waiting])
    assert decision.verdict == decisions.SUPERSEDED
    assert decision.record is not None
    then = {r.id: r.state for r in after([waiting], [decision])}
    assert set(then.values()) == {"SUPERSEDED"}


def test_work_of_one_key_keeps_its_order() -> None:
    """Proves that replayed work waits for earlier replayed work of its key."""
    failed = [delivery(n, "book", "REJECTED") for n in (1, 2, 3)]
    made = [d.record for d in decide([work(r) for r in reversed(failed)], failed)]
    states = {r.event_id: r.state for r in made if r is not None}
    assert [states[event_id(n)] for n in (1, 2, 3)] == ["READY", "HELD", "HELD"]


def test_only_one_endpoint_may_do_what_is_done_once() -> None:
    """Proves that work which another endpoint of the role has is refused, and that work which
    nobody served is taken over."""
    other = delivery(5, "book", "CONFIRMED", endpoint="old-erp", id="other")
    refused = one(None, other)
    assert refused.verdict == decisions.WOULD_BE_REFUSED
    assert "old-erp has it" in refused.why
    nobody = delivery(5, "book", "UNROUTED", endpoint="", id="nobody")
    taken = one(None, nobody)
    assert taken.verdict == decisions.WOULD_POST
    assert [(r.id, r.state) for r in taken.displaced] == [("nobody", "SUPERSEDED")]


@pytest.mark.parametrize("sole", [True, False])
def test_what_an_endpoint_that_is_gone_never_began_may_be_done_elsewhere(sole: bool) -> None:
    """Proves that a replay takes over work that never began at an endpoint which is not configured
    any more, where one has to do it, and leaves it alone where each endpoint has its own."""
    gone = delivery(5, "book", "UNROUTED", endpoint="old-erp", id="gone")
    asked = replace(work(delivery(5, "book", "READY")), sole=sole)
    (decision,) = decide([asked], [gone])
    assert decision.verdict == decisions.WOULD_POST
    assert [r.id for r in decision.displaced] == ["gone"] * sole


def test_a_replay_is_no_way_around_the_spending_guard() -> None:
    """Proves that work beyond what one order may ask for is refused, and that what a replay
    replaces does not count twice."""

    def guarded(operation: str) -> OperationSpec:
        return replace(spec(operation), max_per_root=2)

    bought = delivery(1, "book", "CONFIRMED")
    failed = [delivery(number, "book", "PARKED") for number in (2, 3)]
    again = [work(record) for record in failed]
    first = decisions.decide(terms(), again[:1], [bought, failed[0]], guarded, NOW, LIMITS)
    assert [d.verdict for d in first] == [decisions.WOULD_POST]
    both = decisions.decide(terms(), again, [bought, *failed], guarded, NOW, LIMITS)
    assert [d.verdict for d in both] == [decisions.WOULD_BE_REFUSED] * 2
    for found, there in zip(both, failed, strict=True):
        assert "spending guard" in found.why
        assert f"crossdock delivery retry {there.id} --reason" in found.why


@pytest.mark.parametrize(("calls", "verdict"), [(1, "WOULD_POST"), (2, "WOULD_BE_REFUSED")])
def test_a_replay_does_not_forget_what_may_have_been_bought(calls: int, verdict: str) -> None:
    """Proves that earlier calls of the work, of which look-ups found nothing, take room of what the
    order may ask for, and count with the delivery that replaces it."""

    def guarded(operation: str) -> OperationSpec:
        return replace(spec(operation), max_per_root=2)

    failed = delivery(1, "book", "PARKED", calls_reached=calls, calls_maybe_done=calls)
    (found,) = decisions.decide(terms(), [work(failed)], [failed], guarded, NOW, LIMITS)
    assert found.verdict == verdict
    if found.record is not None:
        assert found.record.calls_maybe_done == calls
        assert [gone.calls_maybe_done for gone in found.displaced] == [0]


def test_a_replay_of_what_the_vendor_tells_apart_counts_once() -> None:
    """Proves that a call which was lost, and refused when it was repeated with its key, takes no
    room of what the order may ask for when a replay sends the work again."""

    def guarded(operation: str) -> OperationSpec:
        return replace(spec(operation), max_per_root=2)

    bought = delivery(1, "amend", "CONFIRMED", operation_class="KEYED", calls_maybe_done=1)
    refused = delivery(2, "amend", "REJECTED", operation_class="KEYED", calls_maybe_done=1)
    flow = [bought, refused]
    (found,) = decisions.decide(terms(), [work(refused)], flow, guarded, NOW, LIMITS)
    assert found.verdict == decisions.WOULD_POST
    assert found.record is not None and costs(found.record) == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_confirmed_work_goes_again_only_when_free_and_all(policy: str) -> None:
    """Proves the policies: only FREE repeats what is confirmed, and only when ALL is asked for."""
    confirmed = delivery(5, "book", "CONFIRMED")
    for wanted_set in SETS:
        for approved in (False, True):
            decision = one(confirmed, wanted_set=wanted_set, policy=policy, approved=approved)
            free = (wanted_set, policy) == ("ALL", "FREE")
            expected = decisions.WOULD_POST if free else decisions.ALREADY_POSTED
            assert decision.verdict == expected


def test_policies_of_unconfirmed_work() -> None:
    """Proves that NEVER blocks, and that APPROVAL blocks until a second person has spoken."""
    failed = delivery(5, "book", "REJECTED")
    assert one(failed, policy="NEVER", approved=True).verdict == decisions.BLOCKED_BY_POLICY
    assert one(failed, policy="APPROVAL").verdict == decisions.BLOCKED_BY_POLICY
    assert one(failed, policy="APPROVAL", approved=True).verdict == decisions.WOULD_POST
