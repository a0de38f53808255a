"""An operator's word on deliveries: from which states, what follows, and what it can't undo."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.bus import decode
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.order.v1 import order_pb2
from crossdock_hub.config import Limits
from crossdock_hub.delivery import intervention
from crossdock_hub.delivery.registry import CARE
from crossdock_hub.records import SETTLED_STATES, DeliveryRecord
from crossdock_hub.store.reading import ALL_STATES
from crossdock_hub.unit import Refused
from decisions import refusal_of
from first_flow import Flow, order
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_vendor import Desk
from operator_says import say

LIMITS = Limits()
SERVICE = "delivery.v1.DeliveryOperationsService"
VERBS = ("RETRY", "SKIP", "RESOLVE", "RESUBMIT")


def parked(desk: Desk, *, in_doubt: bool) -> DeliveryRecord:
    """A delivery that a person has to look at; in_doubt: because nobody knows what happened."""
    record = desk.one()
    token = desk.take(record)
    if not in_doubt:
        desk.complete(record, token, "PARKED", reason="no mapping for SKU-9")
    elif desk.kind == "SEARCHABLE":
        desk.complete(record, token, "UNKNOWN", reason="timed out")
        desk.pass_time(LIMITS.settle_seconds_default + 1)
        look = desk.take(record)
        desk.complete(record, look, "PARKED", reason="two were found")
    elif desk.kind == "NONE":
        desk.complete(record, token, "UNKNOWN", reason="timed out")
    else:
        desk.complete(record, token, "UNKNOWN", reason="timed out")
        for _ in range(40):
            desk.pass_time(61)
            if desk.fresh(record).state == "PARKED":
                break
            desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    assert desk.fresh(record).state == "PARKED", desk.fresh(record)
    return desk.fresh(record)


# Retry


@pytest.mark.parametrize("kind", CARE)
def test_what_was_proven_undone_goes_again(kind: str) -> None:
    """Proves that a refused delivery, and one parked before anything was sent, goes again through
    the same delivery under the same reference, whatever its class."""
    for outcome in ("REJECTED", "PARKED"):
        desk = Desk(kind)
        record = desk.one()
        desk.complete(record, desk.take(record), outcome, reason="closed period")
        answer = say(desk, "RETRY", record)
        again = desk.fresh(record)
        assert (again.state, again.pending) == ("READY", True)
        assert again.vendor_reference == record.vendor_reference
        assert answer.delivery.id == record.id
        desk.settle(record)
        assert desk.fresh(record).state == "CONFIRMED"


def test_a_call_that_nobody_can_ask_about_is_not_sent_again() -> None:
    """Proves that class NONE in doubt is refused with what to do, and goes again only on the word
    of a person who has looked."""
    desk = Desk("NONE")
    record = parked(desk, in_doubt=True)
    refusal = refusal_of(lambda: say(desk, "RETRY", record))
    assert refusal.reason == "OUTCOME_UNKNOWN"
    assert record.vendor_reference in refusal.message
    assert refusal.metadata["vendor_reference"] == record.vendor_reference
    assert desk.fresh(record) == record
    assert desk.words_about(record) == []
    say(desk, "RETRY", record, not_found_at_vendor=True)
    assert desk.fresh(record).state == "READY"
    (word,) = desk.words_about(record)
    assert "found nothing" in word.change
    desk.settle(record)
    assert desk.fresh(record).state == "CONFIRMED"


def test_a_searchable_call_in_doubt_is_looked_up_first() -> None:
    """Proves that a retry asks the vendor before it repeats, twice, and adopts what is found."""
    desk = Desk("SEARCHABLE")
    record = parked(desk, in_doubt=True)
    calls = record.attempts
    say(desk, "RETRY", record)
    assert (desk.fresh(record).state, desk.fresh(record).attempt_kind) == ("RESOLVING", "LOOK_UP")
    desk.complete(record, desk.take(record), "NOT_FOUND")
    assert desk.fresh(record).state == "UNKNOWN"
    desk.pass_time(LIMITS.settle_seconds_default + 1)
    desk.complete(record, desk.take(record), "CONFIRMED", references=[("doc", "7")])
    done = desk.fresh(record)
    assert (done.state, done.attempts) == ("CONFIRMED", calls)


def test_two_settled_look_ups_are_proof_enough() -> None:
    """Proves that a delivery parked at its limit of calls, and never found, just goes again."""
    desk = Desk("SEARCHABLE", Limits(calls_max_default=1))
    record = desk.one()
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    for _ in range(2):
        desk.pass_time(LIMITS.settle_seconds_default + 1)
        desk.complete(record, desk.take(record), "NOT_FOUND")
    assert desk.fresh(record).state == "PARKED"
    say(desk, "RETRY", record)
    assert desk.fresh(record).state == "READY"


def test_a_dead_key_is_not_trusted() -> None:
    """Proves that a keyed call goes again while its key lives, and not after."""
    limits = Limits(key_life_seconds_default=600.0, calls_max_default=1)
    desk = Desk("KEYED", limits)
    record = desk.one()
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    assert desk.fresh(record).state == "PARKED"
    say(desk, "RETRY", record)
    assert desk.fresh(record).state == "READY"
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    desk.pass_time(700)
    assert desk.fresh(record).state == "PARKED"
    assert refusal_of(lambda: say(desk, "RETRY", record)).reason == "OUTCOME_UNKNOWN"


def test_a_retry_waits_for_its_turn() -> None:
    """Proves that what goes again keeps its place: behind earlier work, ahead of later."""
    desk = Desk("NATURAL")
    first, second, third = desk.one(), desk.one("change"), desk.one("post")
    desk.complete(first, desk.take(first), "PARKED", reason="a")
    say(desk, "SKIP", first)
    desk.complete(second, desk.take(second), "REJECTED", reason="b")
    assert desk.fresh(third).state == "HELD"
    say(desk, "RETRY", second)
    assert [desk.fresh(r).state for r in (second, third)] == ["READY", "HELD"]
    desk.settle(second)
    assert desk.fresh(third).state == "READY"


def test_a_prerequisite_gets_its_time_anew() -> None:
    """Proves that a delivery parked for a missing prerequisite waits for it again."""
    desk = Desk("NATURAL")
    record = desk.one("post", requires=("book",))
    desk.pass_time(LIMITS.prerequisite_seconds_default + 1)
    assert desk.fresh(record).state == "PARKED"
    say(desk, "RETRY", record)
    waiting = desk.fresh(record)
    assert (waiting.state, waiting.hold_reason) == ("HELD", "PREREQUISITE")
    assert (waiting.due_at or 0) > desk.now


def test_older_content_does_not_follow_newer() -> None:
    """Proves that a rejected change is not sent again after a later change was confirmed."""
    desk = Desk("NATURAL")
    old = desk.one("change", on_reject="CONTINUE")
    desk.complete(old, desk.take(old), "REJECTED", reason="no")
    desk.settle(desk.one("change"))
    refusal = refusal_of(lambda: say(desk, "RETRY", old))
    assert refusal.reason == "STATE_TRANSITION"
    assert "resubmit" in refusal.message


# Skip and resolve


def test_todays_state_is_not_sent_ahead_of_an_older_one_on_its_way() -> None:
    """Proves that a full state is resubmitted neither beside a later call in doubt, whose repeat
    would put its older state over it, nor ahead of one that waits behind it."""
    for outcome, held in (("REJECTED", False), ("PARKED", True)):
        desk = Desk("NATURAL")
        first = desk.one("change", on_reject="CONTINUE")
        desk.settle(first, outcome, reason="closed period")
        second = desk.one("change")
        if not held:
            desk.complete(second, desk.take(second), "UNKNOWN", reason="timed out")
        refusal = refusal_of(lambda desk=desk, first=first: say(desk, "RESUBMIT", first))
        assert refusal.reason == "STATE_TRANSITION"
        assert "comes later" in refusal.message and second.id in refusal.message
        assert desk.fresh(first).state == outcome


def test_skipped_work_lets_later_work_pass_and_stays_ended() -> None:
    """Proves that a skip frees the key, and that a late word of the attempt is kept as evidence."""
    desk = Desk("NONE")
    record = desk.one()
    token = desk.take(record)
    desk.complete(record, token, "UNKNOWN", reason="timed out")
    later = desk.one("change")
    assert desk.fresh(later).state == "HELD"
    say(desk, "SKIP", record)
    assert desk.fresh(later).state == "READY"
    answer = desk.complete(record, token, "CONFIRMED", references=[("doc", "late")])
    assert answer.refusal.reason == "LEASE_LOST"
    after = desk.fresh(record)
    assert after.state == "SKIPPED"
    assert [(r.type, r.value) for r in after.vendor_references] == [("doc", "late")]


def test_a_dispatch_that_was_skipped_is_not_begun() -> None:
    """Proves that a message on its way finds nothing to do after the operator's word."""
    desk = Desk()
    record = desk.one()
    desk.dispatch(record)
    say(desk, "SKIP", record)
    assert refusal_of(lambda: desk.begin(record)).reason == "LEASE_LOST"


def test_a_skipped_release_does_not_make_its_cancel_vanish() -> None:
    """Proves that a cancel still goes to the vendor when what it cancels was skipped by a person,
    who may have done it there by hand."""
    desk = Desk("NATURAL")
    record = desk.one()
    say(desk, "SKIP", record)
    assert desk.one("cancel", supersedes=("book",)).state == "READY"


def test_resolving_by_hand_is_as_good_as_a_completion() -> None:
    """Proves that the vendor's number is cross-referenced and listed as a posting, that what
    waited goes on, and that the attempt's own late word changes nothing."""
    flow = Flow()
    _, (part,) = flow.released()
    shipment = flow.pack(part).shipment
    sales_order = flow.delivery("netsuite", "create_sales_order")
    token = flow.take(sales_order)
    flow.complete(sales_order, token, "PARKED", reason="locked account")
    flow.manifest()
    issue = flow.delivery("netsuite", "post_goods_issue")
    assert issue.state == "HELD"
    references = [operations_pb2.FoundReference(type="sales_order", value="SO-77")]
    say(flow, "RESOLVE", sales_order, references=references)
    done = flow.fresh(sales_order)
    assert done.state == "CONFIRMED"
    booked = flow.object("order", shipment.order_id)
    assert [(r.system, r.value) for r in booked.references] == [("netsuite", "SO-77")]
    assert flow.fresh(issue).state == "READY"
    found = [operations_pb2.FoundReference(type="item_fulfillment", value="IF-5")]
    say(flow, "RESOLVE", issue, references=found)
    posted = flow.object("shipment", shipment.id).postings
    assert [(p.endpoint, p.document_number) for p in posted] == [("netsuite", "IF-5")]
    late = flow.complete(sales_order, token, "CONFIRMED", references=[("sales_order", "SO-78")])
    assert late.HasField("refusal")


def test_a_number_of_another_object_is_a_slip_of_the_hand() -> None:
    """Proves that a document that belongs to another order is refused, that nobody is told to use
    that order, and that nothing changes."""
    flow = Flow()
    flow.approve(flow.create().id)
    first = flow.delivery("netsuite", "create_sales_order")
    flow.settle(first, references=[("sales_order", "SO-1")])
    flow.approve(flow.create(order("SO-2")).id)
    second = flow.deliveries("netsuite", "create_sales_order")[1]
    wrong = [operations_pb2.FoundReference(type="sales_order", value="SO-1")]
    refusal = refusal_of(lambda: say(flow, "RESOLVE", second, references=wrong))
    assert refusal.reason == "REFERENCE_TAKEN"
    assert "look again" in refusal.message and "use that one" not in refusal.message
    assert flow.fresh(second) == second


# Resubmit


def test_a_resubmitted_delivery_carries_the_content_of_today() -> None:
    """Proves that the new delivery has the corrected object, a reference of its own and the old
    one's place in the order, and that the old one says where it went."""
    flow = Flow()
    order_id = flow.create().id
    flow.approve(order_id)
    old = flow.delivery("netsuite", "create_sales_order")
    flow.complete(old, flow.take(old), "REJECTED", reason="no such customer")
    corrected = order_pb2.Order(id=order_id, customer_reference="PO-9")
    flow.update_order(corrected, "customer_reference")
    change = flow.delivery("netsuite", "change_order")
    assert change.state == "HELD"
    answer = say(flow, "RESUBMIT", old)
    closed, new = flow.deliveries("netsuite", "create_sales_order")
    if closed.id != old.id:
        closed, new = new, closed
    assert (closed.state, closed.superseded_by) == ("SUPERSEDED", new.id)
    assert (new.state, new.resubmits, new.sequence) == ("READY", old.id, old.sequence)
    assert new.vendor_reference != old.vendor_reference
    assert answer.resubmitted.id == new.id
    assert flow.fresh(change).state == "HELD"
    content = flow.records["delivery_content", new.id]
    event: Any = decode(content.body).event
    assert event.order.customer_reference == "PO-9"
    assert event.metadata.id == old.event_id
    flow.settle(new, references=[("sales_order", "SO-3")])
    assert flow.fresh(change).state == "READY"


def test_a_doubtful_call_is_not_resubmitted_blindly() -> None:
    """Proves that a second booking needs the word of a person who has looked."""
    flow = Flow()
    _, (part,) = flow.released()
    flow.pack(part)
    buy = flow.delivery("ups", "buy_label")
    token = flow.take(buy)
    flow.complete(buy, token, "UNKNOWN", reason="timed out")
    assert refusal_of(lambda: say(flow, "RESUBMIT", buy)).reason == "STATE_TRANSITION"
    flow.pass_time(LIMITS.settle_seconds_default + 1)
    flow.complete(buy, flow.take(buy), "PARKED", reason="two were found")
    assert refusal_of(lambda: say(flow, "RESUBMIT", buy)).reason == "OUTCOME_UNKNOWN"
    say(flow, "RESUBMIT", buy, not_found_at_vendor=True)
    (new,) = [r for r in flow.deliveries("ups", "buy_label") if r.id != buy.id]
    assert (new.item, new.state) == (buy.item, "READY")
    # The zombie speaks up: evidence on the old delivery, and the new one is not called.
    flow.complete(buy, token, "CONFIRMED", references=[("tracking_number", "1Z1")])
    assert flow.fresh(buy).state == "SUPERSEDED"
    assert flow.fresh(new).state == "PARKED"


def test_a_cancel_after_a_resubmission_still_reaches_the_vendor() -> None:
    """Proves that the vendor, who may have the old one, is told of the cancellation."""
    flow = Flow()
    order_id, _ = flow.released()
    release = flow.delivery("manhattan", "release_order")
    token = flow.take(release)
    flow.complete(release, token, "PARKED", reason="locked")
    say(flow, "RESUBMIT", release)
    flow.cancel(order_id)
    states = [r.state for r in flow.deliveries("manhattan", "release_order")]
    assert states == ["SUPERSEDED", "SUPERSEDED"]
    assert flow.delivery("manhattan", "cancel_order").state == "READY"


# The table, and any history


def test_the_table_covers_every_state() -> None:
    """Proves that each word is decided for each state, and none for what has ended well."""
    for verb in VERBS:
        allowed = intervention.ALLOWED[verb]
        assert allowed <= set(ALL_STATES)
        assert not allowed & (SETTLED_STATES - {"REJECTED"})
        assert "IN_FLIGHT" not in allowed


def test_what_an_attempt_holds_is_nobody_s_to_touch() -> None:
    """Proves that a call and a look-up under way are left alone by every word, with a reason."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.take(record)
    for look_up in (False, True):
        if look_up:
            desk.complete(record, desk.fresh(record).token, "UNKNOWN")
            desk.pass_time(LIMITS.settle_seconds_default + 1)
            desk.take(record)
        held = desk.fresh(record)
        for verb in VERBS:
            for looked in (False, True):
                more = {"not_found_at_vendor": True} if looked and verb[:2] == "RE" else {}
                if verb == "RESOLVE":
                    more = {}
                refusal = refusal_of(lambda v=verb, m=more: say(desk, v, record, **m))  # type: ignore[misc]
                assert refusal.reason == "STATE_TRANSITION"
                assert "an attempt holds it" in refusal.message
        assert desk.fresh(record) == held


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(CARE),
    before=st.lists(
        st.sampled_from(("CONFIRMED", "REJECTED", "RETRY", "UNKNOWN", "PARKED", "NOT_FOUND", "")),
        max_size=5,
    ),
    verb=st.sampled_from(("RETRY", "SKIP", "RESOLVE")),
    looked=st.booleans(),
    late=st.sampled_from(("CONFIRMED", "REJECTED", "RETRY", "PARKED", "UNKNOWN")),
    wait=st.sampled_from((1.0, 7.0, 65.0, 2000.0)),
)
def test_any_history_then_a_word(
    kind: str, before: list[str], verb: str, looked: bool, late: str, wait: float
) -> None:
    """Proves, after any history, that a word is kept if and only if it changed something, that no
    attempt begun before it undoes it, and that a call in doubt is never sent again on it alone."""
    desk = Desk(kind)
    record, behind = desk.one(), desk.one("change")
    for outcome in before:
        if desk.fresh(record).pending:
            begun = desk.begin(desk.dispatch(record))
            if outcome and not begun.HasField("refusal"):
                desk.complete(record, begun.token, outcome)
        desk.pass_time(wait)
    known = desk.fresh(record)
    more = {"not_found_at_vendor": True} if looked and verb == "RETRY" else {}
    try:
        say(desk, verb, record, **more)
    except Refused as refused:
        assert refused.refusal.reason in ("STATE_TRANSITION", "OUTCOME_UNKNOWN")
        assert (desk.fresh(record), desk.words_about(record)) == (known, [])
        return
    after = desk.fresh(record)
    (word,) = desk.words_about(record)
    assert (word.state_before, word.state_after) == (known.state, after.state)
    assert not intervention.is_leased(known)
    assert after.token > known.token
    if after.state in ("READY", "HELD") and not looked:
        doubtful = intervention.is_in_doubt(known, LIMITS)
        assert not doubtful or kind in (*intervention.REPEATABLE, "KEYED")
    for attempt in desk.attempts_of(record):
        desk.complete(record, attempt.token, late, references=[("doc", "late")])
    told = desk.fresh(record)
    if verb == "RETRY":
        # Only proof that it was done is believed, and it prevents the repeat.
        assert told.state == after.state or (late, told.state) == ("CONFIRMED", "CONFIRMED")
    else:
        assert told.state == after.state == {"SKIP": "SKIPPED", "RESOLVE": "CONFIRMED"}[verb]
        assert desk.fresh(behind).state not in ("HELD",)
