"""What later work makes pointless or old is not sent again by an operator's word."""

from __future__ import annotations

from dataclasses import replace

import pytest
from crossdock_hub.config import Limits
from crossdock_hub.delivery import flows, intervention
from crossdock_hub.delivery.intervention import Case
from crossdock_hub.identity import Caller
from crossdock_hub.records import DeliveryRecord
from decisions import refusal_of
from first_flow import Flow
from ledger_vendor import Desk
from operator_says import say

LIMITS = Limits()


def retried(desk: Desk, record: DeliveryRecord, *others: DeliveryRecord) -> intervention.Decided:
    """What a retry makes of a delivery beside others of its flow. Raises Refused."""
    own = desk.fresh(record)
    spec = flows.default_spec(own.operation, LIMITS)
    return intervention.retry(
        Case(own, [*others, own], replace(spec, operation_class=desk.kind), desk.now, LIMITS),
        not_found_at_vendor=False,
    )


@pytest.mark.parametrize("ended", ["CONFIRMED", "REJECTED", "PARKED", "SKIPPED", "UNKNOWN"])
def test_what_later_work_took_back_does_not_go_again(ended: str) -> None:
    """Proves that neither retry nor resubmit sends what a cancel has taken back, however the cancel
    ended, also when a person skipped it: the object stays cancelled."""
    desk = Desk("NATURAL")
    record = desk.one()
    desk.complete(record, desk.take(record), "REJECTED", reason="no")
    cancel = desk.one("cancel", supersedes=("book",))
    if ended == "SKIPPED":
        say(desk, "SKIP", cancel)
    else:
        desk.complete(cancel, desk.take(cancel), ended, reason="no such order")
    assert desk.fresh(cancel).state == ended
    for verb in ("RETRY", "RESUBMIT"):
        refusal = refusal_of(lambda verb=verb: say(desk, verb, record))  # type: ignore[misc]
        assert refusal.reason == "STATE_TRANSITION"
        assert cancel.id in refusal.message and "skip it" in refusal.message
    say(desk, "SKIP", record)
    assert desk.fresh(record).state == "SKIPPED"


def test_no_label_is_bought_for_a_voided_shipment() -> None:
    """Proves with the contract's own events that a refused purchase stays ended once its shipment
    is voided, also when the carrier refused the void because it never had a label."""
    flow = Flow()
    _, (part,) = flow.released()
    shipment = flow.pack(part).shipment
    buy = flow.delivery("ups", "buy_label")
    flow.complete(buy, flow.take(buy), "REJECTED", reason="bad postal code")
    flow.void(shipment.id)
    void = flow.delivery("ups", "void_label")
    flow.complete(void, flow.take(void), "REJECTED", reason="no such label")
    for verb in ("RETRY", "RESUBMIT"):
        refusal = refusal_of(lambda verb=verb: say(flow, verb, buy))  # type: ignore[misc]
        assert "void_label" in refusal.message
    assert flow.fresh(buy).state == "REJECTED"


@pytest.mark.parametrize("ended", ["REJECTED", "PARKED"])
def test_the_departure_of_a_voided_shipment_is_not_resubmitted(ended: str) -> None:
    """Proves with the contract's own events that no system is told by an operator's resubmission
    that a voided shipment left: neither the ERP, whose reversal took that back, nor a role that the
    void tells nothing, and that the refusal names shipment, rule and what to do."""
    flow = Flow()
    flow.employ(Caller("salesforce", "CRM"), {"record_shipment": "NATURAL"})
    shipment = flow.labelled(packages=1)
    flow.settle(flow.delivery("netsuite", "create_sales_order"))
    flow.manifest()
    issue = flow.delivery("netsuite", "post_goods_issue")
    record = flow.delivery("salesforce", "record_shipment")
    for each in (issue, record):
        flow.complete(each, flow.take(each), ended, reason="closed period")
    flow.void(shipment.id)
    assert "reverse_goods_issue" in refusal_of(lambda: say(flow, "RESUBMIT", issue)).message
    refusal = refusal_of(lambda: say(flow, "RESUBMIT", record))
    assert (refusal.reason, refusal.metadata["allowed"]) == ("STATE_TRANSITION", "SKIP, RESOLVE")
    assert refusal.message == (
        f"shipment SHP-1 ({shipment.id}) is VOIDED, so salesforce is not told by record_shipment "
        "that it left: skip this delivery, and take back at salesforce what an earlier attempt of "
        "it may have written"
    )
    assert flow.fresh(record).state == ended
    say(flow, "SKIP", record)


def test_work_after_a_cancel_is_not_taken_back_by_it() -> None:
    """Proves that a cancel takes back what came before it and nothing that came after, also when a
    person resubmitted the cancel since."""
    desk = Desk("NATURAL")
    cancel = desk.one("cancel", supersedes=("book",), on_reject="CONTINUE")
    desk.complete(cancel, desk.take(cancel), "REJECTED", reason="no such order")
    record = desk.one()
    desk.complete(record, desk.take(record), "REJECTED", reason="no")
    resubmitted = replace(
        desk.fresh(cancel), id="again", state="CONFIRMED", resubmits=cancel.id, created_at=desk.now
    )
    decided = retried(desk, record, resubmitted)
    assert decided.record.state == "READY"


def in_doubt_and_ready(desk: Desk, record: DeliveryRecord) -> None:
    """A call without an answer; its repeat waits to be dispatched."""
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    desk.pass_time(LIMITS.settle_seconds_default + 61)
    assert desk.fresh(record).state == "READY"


@pytest.mark.parametrize("kind", ["NONE", "NATURAL", "KEYED", "SEARCHABLE"])
def test_older_content_does_not_follow_newer_in_doubt(kind: str) -> None:
    """Proves that a rejected change is not sent again over a later one that may be at the vendor:
    parked because nobody knows, about to be repeated, or skipped by a person since."""
    desk = Desk(kind)
    old = desk.one("change", on_reject="CONTINUE")
    desk.complete(old, desk.take(old), "REJECTED", reason="closed period")
    new = desk.one("change")
    if kind == "NONE":
        desk.complete(new, desk.take(new), "UNKNOWN", reason="timed out")
        assert desk.fresh(new).state == "PARKED"
    elif kind == "SEARCHABLE":
        desk.complete(new, desk.take(new), "UNKNOWN", reason="timed out")
        say(desk, "SKIP", new)
    else:
        in_doubt_and_ready(desk, new)
    refusal = refusal_of(lambda: say(desk, "RETRY", old))
    assert refusal.reason == "STATE_TRANSITION"
    assert new.id in refusal.message
    assert desk.fresh(old).state == "REJECTED"


@pytest.mark.parametrize("outcome", ["REJECTED", "PARKED"])
def test_newer_work_that_the_vendor_does_not_have_bars_nothing(outcome: str) -> None:
    """Proves that of two changes that were both refused, or could not be sent, the older may go."""
    desk = Desk("KEYED")
    old = desk.one("change", on_reject="CONTINUE")
    desk.complete(old, desk.take(old), "REJECTED", reason="closed period")
    new = desk.one("change", on_reject="CONTINUE")
    desk.complete(new, desk.take(new), outcome, reason="closed period")
    say(desk, "RETRY", old)
    assert desk.fresh(old).state == "READY"
