"""Nobody is told any more that a shipment left once it is voided, whoever has nothing to reverse
with, and by whatever way it would have gone: its turn, a timer, an operator, a row, a replay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_hub.delivery import attempts
from crossdock_hub.delivery.undone_departures import DEPARTURE, VOID, VOIDED
from crossdock_hub.identity import HUB, Caller
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replay import decisions
from crossdock_hub.verbs.deliveries import HELD, SENT, send_again
from decisions import CARRIER, ERP, OMS, TMS, refusal_of
from first_flow import Flow
from operator_says import say
from replayed_flows import delivery, one
from test_unsent_words import set_row

# Whoever is told that a shipment left, none with a reversal of it.
TOLD = (
    (ERP, {"create_sales_order": "KEYED", "post_goods_issue": "SEARCHABLE"}),
    (OMS, {"confirm_shipment": "NATURAL"}),
    (CARRIER, {"buy_label": "KEYED", "void_label": "NATURAL", "close_manifest": "NONE"}),
    (TMS, {"record_actuals": "SEARCHABLE"}),
    (Caller("market", "MARKETPLACE"), {"confirm_shipment": "KEYED"}),
    (Caller("salesforce", "CRM"), {"record_shipment": "NATURAL"}),
)
ENDPOINTS = [caller.endpoint for caller, _ in TOLD]


def left() -> tuple[Flow, shipment_pb2.Shipment]:
    """A shipment that left, of which nobody has been told yet."""
    flow = Flow()
    for caller, operations in TOLD:
        flow.employ(caller, operations)
    shipment = flow.labelled(packages=1)
    flow.settle(flow.delivery("netsuite", "create_sales_order"))
    flow.settle(flow.delivery("ups", "buy_label"))
    flow.manifest()
    return flow, shipment


def told(flow: Flow, endpoint: str) -> DeliveryRecord:
    """The delivery that tells an endpoint of the departure."""
    (found,) = [each for each in flow.deliveries(endpoint) if each.event_type == DEPARTURE]
    return found


def void_and_see(flow: Flow, shipment: shipment_pb2.Shipment, record: DeliveryRecord) -> None:
    flow.void(shipment.id)
    after = flow.fresh(record)
    assert (after.state, after.waiting_on, after.superseded_by) == ("SUPERSEDED", VOIDED, "")
    assert not after.pending and after.due_at is None and after.hold_reason == ""


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_has_not_begun_is_ended_by_the_void(endpoint: str) -> None:
    """Proves that what waits to tell a role of a departure, as at a paused endpoint, ends with the
    void, says why, and that the adapter which has it on its subject may not begin it."""
    flow, shipment = left()
    record = flow.dispatch(told(flow, endpoint))
    void_and_see(flow, shipment, record)
    assert "SUPERSEDED" in refusal_of(lambda: flow.begin(record)).message


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_waits_to_be_tried_again_is_ended_by_the_void(endpoint: str) -> None:
    """Proves the same of what a vendor has provably not processed, whether its call ended before
    the void or after it."""
    flow, shipment = left()
    record = told(flow, endpoint)
    flow.settle(record, "RETRY", retry_after=60.0)
    assert flow.fresh(record).hold_reason == "RETRY"
    void_and_see(flow, shipment, record)
    flow, shipment = left()
    record = told(flow, endpoint)
    token = flow.take(record)
    flow.void(shipment.id)
    assert flow.fresh(record).state == "IN_FLIGHT"
    flow.complete(record, token, "RETRY", retry_after=60.0)
    assert (flow.fresh(record).state, flow.fresh(record).waiting_on) == ("SUPERSEDED", VOIDED)


@pytest.mark.parametrize("ended", ["PARKED", "REJECTED"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_stopped_is_not_retried_after_the_void(endpoint: str, ended: str) -> None:
    """Proves that RETRY is refused as RESUBMIT is, with the shipment, the rule and what to do; or
    with the reversal, where the contract has one for the role without condition."""
    flow, shipment = left()
    record = told(flow, endpoint)
    flow.settle(record, ended, reason="closed period")
    flow.void(shipment.id)
    for verb in ("RETRY", "RESUBMIT"):
        refusal = refusal_of(lambda verb=verb: say(flow, verb, record))  # type: ignore[misc]
        assert refusal.reason == "STATE_TRANSITION"
        assert refusal.metadata["verb"] == verb
        if endpoint == "netsuite":
            assert "reverse_goods_issue" in refusal.message
            continue
        assert refusal.metadata["allowed"] == "SKIP, RESOLVE"
        assert f"shipment SHP-1 ({shipment.id}) is VOIDED, so {endpoint} is not told by" in (
            refusal.message
        )
    assert flow.fresh(record).state == ended
    say(flow, "SKIP", record)


def test_what_stopped_is_retried_before_the_void() -> None:
    """Proves that the refusal is about the void alone."""
    flow, _ = left()
    record = told(flow, "salesforce")
    flow.settle(record, "PARKED", reason="closed period")
    say(flow, "RETRY", record)
    assert flow.fresh(record).state == "READY"


def park_for_word(flow: Flow, record: DeliveryRecord, outcome: str = "PARKED") -> None:
    """Its adapter has no code for a word of it."""
    completion = delivery_service_pb2.Completion(
        delivery_id=record.id,
        token=flow.take(record),
        outcome=delivery_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{outcome}"),
        reason="GROUND has no code",
    )
    completion.unsent_word.topic = mapping_pb2.MappingTopic.Name(
        mapping_pb2.MAPPING_TOPIC_SERVICE_LEVEL
    ).removeprefix("MAPPING_TOPIC_")
    completion.unsent_word.canonical = "GROUND"
    completion.unsent_word.native_types.append("")
    flow.decide(CARRIER, "complete", lambda unit: attempts.complete(unit, completion, []))
    assert flow.fresh(record).awaits_word


def test_what_waits_for_a_word_is_ended_by_the_void() -> None:
    """Proves that work which a new row would send again has ended by then."""
    flow, shipment = left()
    record = told(flow, "ups")
    park_for_word(flow, record)
    void_and_see(flow, shipment, record)


@pytest.mark.parametrize(("voided", "expected"), [(True, HELD), (False, SENT)])
def test_a_row_does_not_send_again_what_a_void_undid(voided: bool, expected: str) -> None:
    """Proves that where an earlier call may have told of it, so that a person has to look, a row
    sends it again only while the shipment is not voided."""
    flow, shipment = left()
    record = told(flow, "ups")
    park_for_word(flow, record)
    flow.records["delivery", record.id] = replace(flow.fresh(record), calls_reached=1)
    if voided:
        flow.void(shipment.id)
    set_row(flow, "GROUND")
    said = flow.decide(HUB, "again", lambda unit: send_again(unit, record.id, "a row came"))
    assert said == expected
    assert flow.fresh(record).state == ("PARKED" if voided else "READY")


@pytest.mark.parametrize("state", ["READY", "HELD"])
def test_what_a_void_left_waiting_before_this_rule_does_not_begin(state: str) -> None:
    """Proves that work which is ready or held in a database of before, its shipment voided long
    ago, ends when its turn comes: at its begin, or when its timer runs out."""
    flow, shipment = left()
    record = told(flow, "salesforce")
    if state == "HELD":
        flow.settle(record, "RETRY", retry_after=60.0)
    waiting = flow.fresh(record)
    flow.void(shipment.id)
    flow.records["delivery", record.id] = waiting
    if state == "HELD":
        flow.pass_time(61)
    else:
        begun = flow.begin(flow.dispatch(record))
        assert VOIDED in begun.refusal.message
    assert (flow.fresh(record).state, flow.fresh(record).waiting_on) == ("SUPERSEDED", VOIDED)


def test_what_may_be_at_the_vendor_is_not_ended_by_the_void() -> None:
    """Proves that doubt stays doubt: an outcome that is unknown is still found out, and what was
    done stays done."""
    flow, shipment = left()
    doubted, done = told(flow, "shipping-desk"), told(flow, "market")
    flow.settle(doubted, "UNKNOWN", reason="timed out")
    flow.settle(done)
    flow.void(shipment.id)
    assert (flow.fresh(doubted).state, flow.fresh(done).state) == ("UNKNOWN", "CONFIRMED")


def test_a_void_ends_what_tells_of_its_own_shipment_alone() -> None:
    """Proves that of two shipments of an order the other one is told of."""
    flow, shipment = left()
    record = told(flow, "salesforce")
    other = replace(record, id="other", object_id="another-shipment")
    flow.records["delivery", "other"] = other
    flow.void(shipment.id)
    assert flow.fresh(record).state == "SUPERSEDED"
    assert flow.fresh(other).state == "READY"


def test_a_replay_sends_no_departure_that_was_undone() -> None:
    """Proves that a replay calls it superseded, and names what it was undone by; a departure after
    the void of another shipment goes."""
    record = delivery(5, "pick", "REJECTED", event_type=DEPARTURE, object_id="shipment-1")
    voids = delivery(
        9, "void_label", "CONFIRMED", event_type=VOID, object_id="shipment-1", role="CARRIER"
    )
    decision = one(record, voids, wanted_set="FAILED")
    assert decision.verdict == decisions.SUPERSEDED
    assert decision.why == "its shipment was voided later (void_label, delivery d-9)"
    elsewhere = replace(voids, object_id="shipment-2")
    assert one(record, elsewhere, wanted_set="FAILED").verdict == decisions.WOULD_POST
