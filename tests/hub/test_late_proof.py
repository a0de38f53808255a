"""Proof that comes late: what is known to be done is not done once more, nor told as refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock_hub.config import Limits
from crossdock_hub.delivery.postings import postings
from crossdock_hub.identity import HUB
from crossdock_hub.reading.posting_history import Logs, histories
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.unit import Refused
from decisions import Company
from first_flow import Flow, order
from ledger_vendor import Desk
from operator_says import say

LIMITS = Limits()
GONE_SECONDS = LIMITS.lease_seconds_default + 1
# Longer than any pause between two calls.
PAUSE_SECONDS = 61
FOUND: dict[str, Any] = {"references": [("doc", "7")]}


def silent(desk: Desk) -> tuple[DeliveryRecord, int]:
    """A call whose adapter says nothing until its lease is over; its token."""
    record = desk.one()
    token = desk.take(record)
    desk.pass_time(GONE_SECONDS)
    return desk.fresh(record), token


def goes_again(desk: Company, record: DeliveryRecord) -> None:
    """A person, or two settled look-ups, found nothing of it."""
    if desk.fresh(record).state == "PARKED":
        say(desk, "RETRY", record, not_found_at_vendor=True)
    while desk.fresh(record).state != "READY":
        if desk.fresh(record).state == "RESOLVING":
            desk.complete(record, desk.take(record), "NOT_FOUND")
        desk.pass_time(LIMITS.settle_seconds_default + 1)


@pytest.mark.parametrize("outcome", ["RETRY", "THROTTLED", "PARKED"])
@pytest.mark.parametrize("kind", ["NONE", "SEARCHABLE"])
def test_proof_counts_after_a_repeat_that_reached_nobody(kind: str, outcome: str) -> None:
    """Proves that a call which turns out to be done settles its delivery, also where it was called
    again meanwhile and that call did nothing: no third one is made."""
    desk = Desk(kind)
    record, first = silent(desk)
    goes_again(desk, record)
    desk.complete(record, desk.take(record), outcome, reason="no connection")
    assert desk.fresh(record).state in ("HELD", "PARKED")
    answer = desk.complete(record, first, "CONFIRMED", **FOUND)
    assert not answer.HasField("refusal")
    done = desk.fresh(record)
    assert (done.state, done.pending, done.due_at) == ("CONFIRMED", False, None)
    assert [(r.type, r.value) for r in done.vendor_references] == [("doc", "7")]


@pytest.mark.parametrize("outcome", ["RETRY", "THROTTLED", "PARKED", "REJECTED"])
@pytest.mark.parametrize("kind", ["NONE", "SEARCHABLE"])
def test_proof_that_came_during_a_repeat_counts_when_that_did_nothing(
    kind: str, outcome: str
) -> None:
    """Proves that the word of the first call, which moves nothing while a newer one runs, settles
    the delivery as soon as that one has ended without doing anything, a refusal included."""
    desk = Desk(kind)
    record, first = silent(desk)
    goes_again(desk, record)
    second = desk.take(record)
    assert desk.complete(record, first, "CONFIRMED", **FOUND).HasField("refusal")
    assert desk.fresh(record).state == "IN_FLIGHT"
    desk.complete(record, second, outcome, reason="already there")
    done = desk.fresh(record)
    assert (done.state, done.pending) == ("CONFIRMED", False)
    assert "an earlier call did it" in done.waiting_on
    log = desk.attempts_of(record)
    assert [a.outcome for a in log if a.kind == "CALL"] == ["CONFIRMED", outcome]


@pytest.mark.parametrize("kind", ["NONE", "SEARCHABLE"])
def test_proof_without_a_number_keeps_a_repeat_from_going(kind: str) -> None:
    """Proves that where the first call's word has no document, the doubt stays: the next call is a
    look-up, or a person's."""
    desk = Desk(kind)
    record, first = silent(desk)
    goes_again(desk, record)
    second = desk.take(record)
    desk.complete(record, first, "CONFIRMED")
    desk.complete(record, second, "RETRY", reason="no connection")
    assert desk.fresh(record).state == "HELD"
    desk.pass_time(60)
    calls = desk.fresh(record).attempts
    result = desk.begin(desk.dispatch(record))
    assert result.HasField("refusal")
    assert desk.fresh(record).state == {"NONE": "PARKED", "SEARCHABLE": "RESOLVING"}[kind]
    assert desk.fresh(record).attempts == calls


def test_a_refusal_that_was_told_first_is_in_doubt_by_later_proof() -> None:
    """Proves that a delivery which ended refused, and whose first call then says that it was done,
    is not sent again on a word alone."""
    desk = Desk("NONE")
    record, first = silent(desk)
    goes_again(desk, record)
    desk.complete(record, desk.take(record), "REJECTED", reason="closed period")
    desk.complete(record, first, "CONFIRMED", **FOUND)
    assert desk.fresh(record).state == "REJECTED"
    with pytest.raises(Refused) as refused:
        say(desk, "RETRY", record)
    assert refused.value.refusal.reason == "OUTCOME_UNKNOWN"


def test_late_proof_overrules_look_ups_that_found_nothing() -> None:
    """Proves that a delivery which was parked because look-ups never found it, and whose first call
    then says that it was done, is looked up before a person's retry sends it again, and needs two
    settled look-ups that find nothing."""
    desk = Desk("SEARCHABLE", replace(LIMITS, calls_max_default=2))
    record, first = silent(desk)
    goes_again(desk, record)
    desk.take(record)
    desk.pass_time(GONE_SECONDS)
    while desk.fresh(record).state != "PARKED":
        desk.pass_time(LIMITS.settle_seconds_default + 1)
        desk.settle(record, "NOT_FOUND")
    desk.complete(record, first, "CONFIRMED", **FOUND)
    assert desk.fresh(record).state == "PARKED"
    say(desk, "RETRY", record)
    asked = desk.fresh(record)
    assert (asked.state, asked.attempt_kind) == ("RESOLVING", "LOOK_UP")
    desk.settle(record, "CONFIRMED", **FOUND)
    assert desk.fresh(record).state == "CONFIRMED"


def test_a_newer_call_that_may_have_done_something_still_keeps_proof_out() -> None:
    """Proves that while nobody knows of the newer call its delivery stays in doubt: two may be
    there, and the first one's number is kept."""
    desk = Desk("NONE")
    record, first = silent(desk)
    goes_again(desk, record)
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    assert desk.complete(record, first, "CONFIRMED", **FOUND).HasField("refusal")
    after = desk.fresh(record)
    assert after.state == "PARKED"
    assert after.first_unknown_at is not None
    assert [(r.type, r.value) for r in after.vendor_references] == [("doc", "7")]


def test_what_the_first_call_learned_is_written_when_it_counts() -> None:
    """Proves that a label which the first call bought, and which was kept as evidence while a newer
    call ran, is written when the delivery is done with that call."""
    flow, buy, first, second, bought = label_bought_twice()
    flow.complete(buy, first, "CONFIRMED", facts=[bought], references=[("tracking_number", "1Z1")])
    assert [f.method for f in flow.fresh(buy).quarantined] == [f"/crossdock.{bought[0]}"]
    assert flow.counters["quarantined", "ups", "LEASE_LOST"] == 1
    flow.complete(buy, second, "REJECTED", reason="already there")
    done = flow.fresh(buy)
    assert (done.state, done.quarantined) == ("CONFIRMED", [])
    labels = [r.message for k, r in flow.records.items() if k[:2] == ("object", "label")]
    assert [label.tracking_number for label in labels] == ["1Z1"]


def label_bought_twice() -> tuple[Flow, DeliveryRecord, int, int, tuple[str, Any]]:
    """A purchase whose first call is silent and whose second one runs, their tokens, and what the
    first one would tell."""
    flow = Flow()
    _, (part,) = flow.released()
    shipment = flow.pack(part).shipment
    buy = flow.delivery("ups", "buy_label")
    first = flow.take(buy)
    flow.pass_time(GONE_SECONDS)
    goes_again(flow, buy)
    second = flow.take(buy)
    request = flow.label_request(shipment.id, shipment.packages[0].id)
    return flow, buy, first, second, ("label.v1.LabelService/CreateLabel", request)


def test_proof_that_a_person_has_overruled_counts_no_more() -> None:
    """Proves that a booking of which a person found nothing, and which is called again in a doubt
    of its own, is not confirmed by what the first call said before."""
    desk = Desk("KEYED")
    record, first = silent(desk)
    while desk.fresh(record).state != "PARKED":
        desk.pass_time(PAUSE_SECONDS)
        if desk.fresh(record).pending:
            desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    desk.complete(record, first, "CONFIRMED", **FOUND)
    say(desk, "RETRY", record, not_found_at_vendor=True)
    desk.pass_time(1)
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    desk.pass_time(PAUSE_SECONDS)
    desk.complete(record, desk.take(record), "RETRY", reason="no connection")
    assert desk.fresh(record).state == "HELD"


# Refused full states


def test_a_refused_repeat_of_a_full_state_leaves_the_doubt_about_the_first() -> None:
    """Proves that the vendor may have taken the first of two calls with a full state though it
    refused the second: no older state is sent over it."""
    desk = Desk("NATURAL")
    old = desk.one("change", on_reject="CONTINUE")
    desk.settle(old, "REJECTED", reason="a code is missing")
    new = desk.one("change", on_reject="CONTINUE")
    desk.complete(new, desk.take(new), "UNKNOWN", reason="timed out")
    desk.pass_time(LIMITS.settle_seconds_default + 1)
    desk.complete(new, desk.take(new), "REJECTED", reason="the load is tendered")
    assert desk.fresh(new).state == "REJECTED"
    with pytest.raises(Refused) as refused:
        say(desk, "RETRY", old)
    assert "is newer" in refused.value.refusal.message
    fresh = desk.fresh(new)
    logs = Logs({new.id: desk.attempts_of(new)}, {}, LIMITS.not_found_needed, desk.now)
    (history,) = histories([fresh], logs)
    assert history.verdict == "IN_DOUBT", history.sentence
    alone = desk.one("change", key="key-2", object_id="order-2")
    desk.settle(alone, "REJECTED")
    assert desk.fresh(alone).first_unknown_at is None


# What took its place


def replaced(desk: Desk, record: DeliveryRecord, **heir: Any) -> DeliveryRecord:
    """A delivery whose place another one has taken, which nobody has begun."""
    values: dict[str, Any] = {
        "state": "READY",
        "pending": True,
        "token": 0,
        "attempts": 0,
        "look_ups": 0,
    }
    values |= {"calls_reached": 0, "not_found": 0, "first_unknown_at": None, "waiting_on": ""}
    new = replace(record, id="5f6e8a52-0a10-4d0b-8f2e-5a7b64a3a001", **(values | heir))
    ended = replace(record, state="SUPERSEDED", superseded_by=new.id, pending=False, due_at=None)

    desk.records["delivery", record.id] = ended
    desk.decide(HUB, "replay", lambda unit: unit.put_delivery(new))
    return new


@pytest.mark.parametrize("state", ["READY", "DISPATCHED", "HELD", "PARKED"])
def test_a_replay_is_done_with_the_call_of_what_it_replaced(state: str) -> None:
    """Proves that a replay which nobody has begun is not called when the delivery that it replaced
    turns out to be done, that what waited behind it goes on, and that it is told as one posting."""
    desk = Desk("SEARCHABLE")
    record, first = silent(desk)
    due = desk.now + 1 if state in ("DISPATCHED", "HELD") else None
    heir = replaced(
        desk, record, replay_id="r-1", state=state, pending=state == "READY", due_at=due
    )
    behind = desk.one("change")
    assert desk.fresh(behind).state == "HELD"
    desk.complete(record, first, "CONFIRMED", **FOUND)
    done = desk.fresh(heir)
    assert (done.state, done.pending, done.due_at) == ("CONFIRMED", False, None)
    assert [r.value for r in done.vendor_references] == ["7"]
    assert desk.fresh(record).state == "SUPERSEDED"
    assert desk.fresh(behind).state == "READY"
    for booked in ([desk.fresh(record), done], [done, desk.fresh(record)]):
        log = {each.id: desk.attempts_of(each) for each in booked}
        (posting,) = postings(booked, log)
        assert (posting.confirmed, posting.twice, posting.maybe_twice) == (1, False, False)


def test_a_full_state_that_a_replay_was_to_send_is_told_as_such() -> None:
    """Proves that a replay which is done with the call of what it replaced has its class: states
    may be sent as often as they change, and are not told as posted twice."""
    desk = Desk("NATURAL")
    before = desk.one("change")
    desk.settle(before)
    record = desk.one("change")
    first = desk.take(record)
    desk.pass_time(GONE_SECONDS)
    heir = replaced(desk, desk.fresh(record), replay_id="r-1", operation_class="")
    desk.complete(record, first, "CONFIRMED")
    assert desk.fresh(heir).operation_class == "NATURAL"
    booked = [desk.fresh(each) for each in (before, record, heir)]
    (posting,) = postings(booked, {each.id: desk.attempts_of(each) for each in booked})
    assert (posting.repeatable, posting.twice) == (True, False)


def test_a_void_that_a_replay_hands_over_goes() -> None:
    """Proves that other work which has taken a delivery back is not stopped when that delivery
    turns out to be done: it is needed just then."""
    desk = Desk("SEARCHABLE")
    record, first = silent(desk)
    heir = replaced(desk, record, replay_id="r-1", operation="cancel")
    desk.complete(record, first, "CONFIRMED", **FOUND)
    assert desk.fresh(heir).state == "READY"


def test_a_replay_that_has_begun_is_left_alone() -> None:
    """Proves that a call which is on its way already is not told to have ended."""
    desk = Desk("SEARCHABLE")
    record, first = silent(desk)
    heir = replaced(desk, record, replay_id="r-1")
    desk.take(heir)
    desk.complete(record, first, "CONFIRMED", **FOUND)
    assert desk.fresh(heir).state == "IN_FLIGHT"


def test_what_an_operator_has_ended_stays_ended() -> None:
    """Proves that a replay which was skipped before the proof came is not moved by it."""
    desk = Desk("SEARCHABLE")
    record, first = silent(desk)
    heir = replaced(desk, record, replay_id="r-1")
    say(desk, "SKIP", heir)
    desk.complete(record, first, "CONFIRMED", **FOUND)
    assert desk.fresh(heir).state == "SKIPPED"


def test_a_resubmission_is_left_to_a_person() -> None:
    """Proves that what an operator sent in the place of a delivery, under its own reference, is
    parked with the number when that delivery turns out to be done, and not called."""
    flow = Flow()
    flow.approve(flow.create(order()).id)
    record = flow.delivery("netsuite", "create_sales_order")
    first = flow.take(record)
    flow.pass_time(GONE_SECONDS)
    say(flow, "RESUBMIT", record, not_found_at_vendor=True)
    heir = next(d for d in flow.deliveries("netsuite") if d.resubmits == record.id)
    assert heir.state == "READY"
    flow.complete(record, first, "CONFIRMED", **FOUND)
    parked = flow.fresh(heir)
    assert (parked.state, parked.pending) == ("PARKED", False)
    assert record.id in parked.waiting_on
    assert "doc 7" in parked.waiting_on
    say(flow, "RESOLVE", heir)
    assert flow.fresh(heir).state == "CONFIRMED"


def test_a_refusal_that_comes_late_stops_nobody() -> None:
    """Proves that only the word that it is done keeps a successor from going."""
    desk = Desk("SEARCHABLE")
    record, first = silent(desk)
    heir = replaced(desk, record, replay_id="r-1")
    desk.complete(record, first, "REJECTED", reason="no")
    assert desk.fresh(heir).state == "READY"
