"""Posted once, twice, not, or nobody knows: the verdict on an intent, and what it must not say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import flows, intervention
from crossdock_hub.delivery.intervention import Case
from crossdock_hub.delivery.registry import CARE
from crossdock_hub.reading.posting_history import DOUBTFUL, History, Logs, histories
from crossdock_hub.records import DeliveryRecord, OperatorWordRecord
from crossdock_hub.unit import Refused
from crossdock_hub.wording import LOOKED, clock
from decisions import OPERATOR, request_id
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_vendor import Desk

LIMITS = Limits()
SERVICE = "delivery.v1.DeliveryOperationsService"
FIRST = [("sales_order", "SO-1"), ("sales_order_id", "101")]
SECOND_ONE = [("sales_order", "SO-2"), ("sales_order_id", "102")]


def of_all(desk: Desk) -> list[History]:
    """Every intent at the desk."""
    made = desk.deliveries()
    logs = Logs(
        {r.id: desk.attempts_of(r) for r in made},
        {r.id: desk.words_about(r) for r in made},
        LIMITS.not_found_needed,
        desk.now,
    )
    return histories(made, logs)


def told(desk: Desk) -> History:
    """The only intent at the desk."""
    (history,) = of_all(desk)
    return history


def say(desk: Desk, verb: str, record: DeliveryRecord, **more: Any) -> Any:
    """One word of the operator about a delivery. Raises Refused."""
    name = f"{verb.capitalize()}Delivery"
    request: Any = getattr(operations_pb2, f"{name}Request")(
        request_id=request_id(), delivery_id=record.id, reason="looked there", **more
    )
    if verb == "RESOLVE":
        request.references.add(type="sales_order", value="SO-1")
    return desk.call(f"{SERVICE}/{name}", request, OPERATOR)


def in_doubt(kind: str) -> tuple[Desk, DeliveryRecord, int]:
    """A delivery whose first call was lost on the way back, and that call's token."""
    desk = Desk(kind)
    record = desk.one()
    token = desk.take(record)
    desk.complete(record, token, "UNKNOWN", reason="timed out")
    return desk, record, token


# One after the other, as an operator asks


def test_the_plain_case_is_posted_once_with_number_and_time() -> None:
    """Proves that one confirmation is told with its document, not its internal id, and its time."""
    desk = Desk()
    record = desk.one()
    token = desk.take(record)
    desk.pass_time(3)
    desk.complete(record, token, "CONFIRMED", references=FIRST)
    at = clock(desk.now, desk.now, seconds=True)
    found = told(desk)
    assert (found.verdict, found.sentence) == (
        "POSTED_ONCE",
        f"posted once as sales_order SO-1 at {at}",
    )
    assert not found.doubts


def test_what_waits_and_what_is_being_called_is_pending() -> None:
    """Proves that work the hub still does by itself is not called "not posted" for good."""
    desk = Desk()
    record = desk.one()
    assert told(desk).verdict == "PENDING"
    desk.take(record)
    found = told(desk)
    assert found.verdict == "PENDING"
    assert found.sentence.startswith("NOT posted yet: the vendor is being called since ")
    assert not found.doubts, "a call under its lease is in nobody's doubt"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [("PARKED", "parked since"), ("REJECTED", "refused at")],
)
def test_what_stopped_is_not_posted_since_when_and_why(outcome: str, words: str) -> None:
    """Proves that what stopped before anything was done says so with its time and reason."""
    desk = Desk()
    record = desk.one()
    desk.complete(record, desk.take(record), outcome, reason="no mapping for SKU-9")
    at = clock(desk.now, desk.now, seconds=True)
    desk.pass_time(600)
    assert told(desk).verdict == "NOT_POSTED"
    assert told(desk).sentence == f"NOT posted: {words} {at}: no mapping for SKU-9"


def test_a_skipped_delivery_says_who_did_not_want_it() -> None:
    """Proves that an ended delivery is told with the operator's reason."""
    desk = Desk()
    record = desk.one()
    desk.complete(record, desk.take(record), "REJECTED", reason="no")
    say(desk, "SKIP", record)
    assert told(desk).verdict == "NOT_POSTED"
    assert told(desk).sentence.endswith(": looked there")
    assert "skipped by an operator at" in told(desk).sentence


def test_an_unknown_call_is_in_doubt_until_it_was_looked_up() -> None:
    """Proves that nobody is told "not posted" while the vendor may have done it, and that the
    look-up which finds it makes it posted once, with the doubt and its end still told."""
    desk, record, token = in_doubt("SEARCHABLE")
    found = told(desk)
    assert found.verdict == "IN_DOUBT"
    assert found.sentence.startswith(f"NOBODY KNOWS whether it is posted: call {token} of ")
    assert "timed out" in found.sentence
    desk.pass_time(LIMITS.settle_seconds_default + 1)
    desk.complete(record, desk.take(record), "CONFIRMED", references=FIRST)
    found = told(desk)
    assert found.verdict == "POSTED_ONCE"
    assert [d.settlement for d in found.doubts] == ["FOUND"]
    assert "call in doubt: look-up 2 found it" in found.sentence


def test_two_settled_look_ups_end_a_doubt() -> None:
    """Proves that the repeated call is the one posting, on the evidence of both look-ups and not
    of one."""
    desk, record, _ = in_doubt("SEARCHABLE")
    for index in range(LIMITS.not_found_needed):
        assert told(desk).verdict == "IN_DOUBT", index
        desk.pass_time(LIMITS.settle_seconds_default + 1)
        desk.complete(record, desk.take(record), "NOT_FOUND")
    assert told(desk).verdict == "PENDING"
    desk.complete(record, desk.take(record), "CONFIRMED", references=FIRST)
    found = told(desk)
    assert found.verdict == "POSTED_ONCE"
    assert [(d.settlement, d.words) for d in found.doubts] == [
        ("NOT_THERE", "2 settled look-ups found nothing")
    ]


def test_a_look_up_that_came_too_early_ends_no_doubt() -> None:
    """Proves that a look-up made before the call could have been seen ends nothing, with one that
    came after it: the doubt lasts as long as the ledger itself goes on asking."""
    desk, record, _ = in_doubt("KEYED")
    desk.pass_time(61)
    desk.register(desk.caller_of(record), {record.operation: "SEARCHABLE"})
    assert desk.begin(desk.dispatch(record)).HasField("refusal")
    for index in range(1 + LIMITS.not_found_needed):
        assert told(desk).verdict == "IN_DOUBT", index
        desk.complete(record, desk.take(record), "NOT_FOUND")
        desk.pass_time(LIMITS.settle_seconds_default + 1)
    assert [d.settlement for d in told(desk).doubts] == ["NOT_THERE"]
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    found = told(desk)
    assert [d.settlement for d in found.doubts] == ["NOT_THERE", ""]


@pytest.mark.parametrize(
    ("kind", "settlement"),
    [("KEYED", "SAME_KEY"), ("TWO_STEP", "SAME_DRAFT"), ("NATURAL", "FULL_STATE")],
)
def test_a_repetition_that_the_vendor_tells_ends_a_doubt(kind: str, settlement: str) -> None:
    """Proves for each class that may repeat that its confirmed repetition counts once."""
    desk, record, _ = in_doubt(kind)
    assert told(desk).verdict == "IN_DOUBT"
    desk.pass_time(61)
    desk.complete(record, desk.take(record), "CONFIRMED", references=FIRST)
    found = told(desk)
    assert found.verdict == "POSTED_ONCE"
    assert [d.settlement for d in found.doubts] == [settlement]


def test_a_person_ends_a_doubt_and_is_named() -> None:
    """Proves that what rests on somebody's look says whose, for a document found and for nothing
    found."""
    desk, record, _ = in_doubt("NONE")
    assert told(desk).verdict == "IN_DOUBT"
    say(desk, "RESOLVE", record)
    found = told(desk)
    assert found.verdict == "POSTED_ONCE"
    assert found.sentence.endswith("; by hand of operator: looked there")
    desk, record, _ = in_doubt("NONE")
    say(desk, "RETRY", record, not_found_at_vendor=True)
    assert [d.settlement for d in told(desk).doubts] == ["PERSON"]
    desk.complete(record, desk.take(record), "CONFIRMED", references=FIRST)
    found = told(desk)
    assert found.verdict == "POSTED_ONCE"
    assert "operator said what there is: looked there" in found.sentence


def test_a_skip_ends_no_doubt() -> None:
    """Proves that an operator who ended a delivery did not say what the vendor has."""
    desk, record, _ = in_doubt("SEARCHABLE")
    say(desk, "SKIP", record)
    found = told(desk)
    assert found.verdict == "IN_DOUBT"
    assert "before anybody knew" in found.sentence


def test_a_resubmission_belongs_to_the_same_intent() -> None:
    """Proves that a closed delivery and the one sent for it are one intent, posted once, and that
    the sentence says by what way."""
    desk = Desk()
    record = desk.one()
    desk.complete(record, desk.take(record), "REJECTED", reason="no")
    again = resubmitted(desk, record)
    assert told(desk).verdict == "PENDING"
    desk.settle(again, references=FIRST)
    found = told(desk)
    assert [r.id for r in found.deliveries] == [record.id, again.id]
    assert found.verdict == "POSTED_ONCE"
    assert f"; as the resubmission of {record.id}" in found.sentence


def resubmitted(desk: Desk, record: DeliveryRecord, *, looked: bool = False) -> DeliveryRecord:
    """What an operator's resubmission leaves, without the content that a desk has none of."""
    now = desk.fresh(record)
    spec = flows.default_spec(record.operation, LIMITS)
    case = Case(now, desk.deliveries(), spec, desk.now, LIMITS)
    decided = intervention.resubmit(case, not_found_at_vendor=looked)
    assert decided.successor is not None
    word = OperatorWordRecord(
        id=desk.identifiers.next(desk.now),
        subject_id=record.id,
        verb="RESUBMIT",
        operator="operator",
        said_at=desk.now,
        reason="looked there",
        state_before=now.state,
        state_after="SUPERSEDED",
        change=decided.change + (LOOKED if looked else ""),
    )
    new = replace(decided.successor, pending=True)
    desk.records["operator_word", word.id] = word
    desk.records["delivery", record.id] = decided.record
    desk.records["delivery", new.id] = new
    return new


# Twice


def test_two_documents_are_twice_and_one_is_to_be_voided() -> None:
    """Proves that a second booking which a look-up saw is told with both numbers."""
    desk, record, _ = in_doubt("SEARCHABLE")
    desk.pass_time(LIMITS.settle_seconds_default + 1)
    look = desk.take(record)
    desk.complete(record, look, "CONFIRMED", references=FIRST, duplicates=SECOND_ONE)
    found = told(desk)
    assert found.verdict == "POSTED_TWICE"
    assert found.sentence == ("posted TWICE: sales_order SO-1 and SO-2; void one of them at vendor")


def test_a_zombie_that_posted_after_a_resubmission_is_seen() -> None:
    """Proves that a late confirmation of a delivery that was closed and sent anew makes it twice,
    although the closed one never became CONFIRMED."""
    desk = Desk("NONE")
    record = desk.one()
    zombie = desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default + 1)
    assert desk.fresh(record).state == "PARKED"
    again = resubmitted(desk, record, looked=True)
    desk.settle(again, references=SECOND_ONE)
    assert told(desk).verdict == "POSTED_ONCE"
    assert [d.settlement for d in told(desk).doubts] == ["PERSON"]
    late = desk.complete(record, zombie, "CONFIRMED", references=FIRST)
    assert late.HasField("refusal")
    found = told(desk)
    assert found.verdict == "POSTED_TWICE"
    assert "SO-1" in found.sentence and "SO-2" in found.sentence


def test_one_confirmation_without_a_number_may_be_a_second_one() -> None:
    """Proves that two confirmations of which one has no number are not called one posting."""
    desk = Desk("NONE")
    record = desk.one()
    zombie = desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default + 1)
    desk.settle(resubmitted(desk, record, looked=True), references=FIRST)
    desk.complete(record, zombie, "CONFIRMED")
    found = told(desk)
    assert found.verdict == "MAY_BE_TWICE"
    assert "once without a number" in found.sentence


def test_a_full_state_may_be_confirmed_again() -> None:
    """Proves that an upsert is never twice, and says how often it went."""
    desk = Desk("NATURAL")
    for _ in range(3):
        desk.settle(desk.one("change"), references=[("sales_order", "SO-1")])
        desk.pass_time(60)
    found = told(desk)
    assert found.verdict == "REPEATED"
    assert found.sentence.startswith("posted 3 times as sales_order SO-1 last at ")


def test_a_ledger_that_was_put_back_is_in_doubt() -> None:
    """Proves that an open delivery which counts as called at an unknown time is nobody's "not
    posted", although the copy has no attempt of it."""
    desk = Desk()
    record = desk.one()
    put_back = replace(
        desk.fresh(record), state="UNKNOWN", pending=False, first_unknown_at=desk.now - SECOND
    )
    desk.records["delivery", record.id] = put_back
    found = told(desk)
    assert found.verdict == "IN_DOUBT"
    assert [d.attempt for d in found.doubts] == [None]


def test_items_and_objects_are_intents_of_their_own() -> None:
    """Proves that two packages and two objects are never counted together."""
    desk = Desk()
    for record in desk.event(items=("box-1", "box-2")):
        desk.settle(record, references=[("label", f"1Z{record.item}")])
    desk.settle(desk.one(object_id="order-2", key="key-2"), references=[("label", "1Z3")])
    assert [history.verdict for history in of_all(desk)] == ["POSTED_ONCE"] * 3


# Whatever happens


class Vendor:
    """Books on every call but those that are lost on the way there, and is honest when asked."""

    def __init__(self) -> None:
        self.booked: list[str] = []

    def call(self, desk: Desk, record: DeliveryRecord, arrives: bool) -> None:
        repeats = desk.kind in ("KEYED", "TWO_STEP", "NATURAL") and self.booked
        if arrives and not repeats:
            self.booked.append(f"SO-{len(self.booked) + 1}")


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(CARE),
    fates=st.lists(
        st.tuples(st.booleans(), st.sampled_from(("answer", "lost", "zombie"))),
        min_size=1,
        max_size=6,
    ),
    eager=st.booleans(),
)
def test_the_verdict_never_hides_what_the_vendor_holds(
    kind: str, fates: list[tuple[bool, str]], eager: bool
) -> None:
    """Proves against the vendor's own books, over calls that arrive or not and answers that come,
    are lost or come from an attempt whose lease is gone: "once" is said only of one booking, "not
    posted" and "pending" only of none, and two bookings are never told as less than a doubt.

    eager: an operator who believes too early that nothing is there; his word is what it rests on.
    """
    desk, vendor = Desk(kind), Vendor()
    record = desk.one()
    for arrives, fate in fates:
        now = desk.fresh(record)
        if now.state == "PARKED" and eager:
            try:
                say(desk, "RETRY", record, not_found_at_vendor=True)
            except Refused:
                break
            now = desk.fresh(record)
        if not now.pending:
            break
        token = desk.take(record)
        if desk.fresh(record).attempt_kind == "LOOK_UP":
            answer(desk, record, token, vendor)
        else:
            vendor.call(desk, record, arrives)
            if fate == "zombie":
                desk.pass_time(LIMITS.lease_seconds_default + 1)
            elif fate == "answer" and arrives:
                answer(desk, record, token, vendor)
            else:
                desk.complete(record, token, "UNKNOWN", reason="lost")
        check(desk, vendor)
        desk.pass_time(LIMITS.settle_seconds_default + 60)
        check(desk, vendor)


def answer(desk: Desk, record: DeliveryRecord, token: int, vendor: Vendor) -> None:
    """The vendor says what it holds: the first is adopted, others are duplicates."""
    if not vendor.booked:
        desk.complete(record, token, "NOT_FOUND")
        return
    first, *others = vendor.booked
    desk.complete(
        record,
        token,
        "CONFIRMED",
        references=[("sales_order", first)],
        duplicates=[("sales_order", number) for number in others],
    )


def check(desk: Desk, vendor: Vendor) -> None:
    """What is said against what the vendor holds."""
    found, held = told(desk), len(vendor.booked)
    on_a_word = any(doubt.settlement == "PERSON" for doubt in found.doubts)
    running = desk.deliveries()[0].state == "IN_FLIGHT"
    if found.verdict == "POSTED_TWICE":
        assert held > 1
    elif found.verdict in ("POSTED_ONCE", "REPEATED"):
        assert held == 1 or on_a_word, found.sentence
    elif found.verdict in ("NOT_POSTED", "PENDING"):
        assert held == 0 or on_a_word or running, found.sentence
    else:
        assert found.verdict in DOUBTFUL
