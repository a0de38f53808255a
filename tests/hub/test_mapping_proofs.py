"""Deliveries that a code hid from their reporter are proven by the hub, and nothing else is."""

from __future__ import annotations

import pytest
from crossdock.endpoint.v1 import endpoint_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.identity import Caller, Scope
from decisions import outcome
from first_flow import Flow, order, package
from test_mappings import coded, milestone, set_row


@pytest.mark.parametrize("mapped", ["before", "after"])
def test_a_delivery_that_its_code_hid_is_proven(mapped: str) -> None:
    """Proves that where the reporter did not know a code to mean delivered, and so told no proof,
    the hub proves the delivery by the name that came with the scan, when it knows and later alike;
    and that the name goes where the code means something else."""
    flow = Flow()
    flow.labelled(2)
    event = coded(flow.now, "QQ", signed_by="ADA")
    other = coded(flow.now, "ZZ", number="1Z2", signed_by="BOB")
    if mapped == "after":
        flow.report(event, other)
    set_row(flow, "QQ", "DELIVERED")
    set_row(flow, "ZZ", "OUT_FOR_DELIVERY")
    if mapped == "before":
        flow.report(event, other)
    flow.drive()
    (proof,) = flow.all("delivery_confirmation")
    assert (proof.tracking_number, proof.signed_by) == ("1Z1", "ADA")
    bodies = [tracking_pb2.TrackingEvent.FromString(record.body) for record in flow.scans]
    assert {body.tracking_number: body.signed_by for body in bodies} == {"1Z1": "ADA", "1Z2": ""}


def test_a_delivery_that_its_reporter_knew_is_left_to_it() -> None:
    """Proves that the hub tells no proof for a reporter that does."""
    flow = Flow()
    flow.labelled()
    set_row(flow, "QQ", "DELIVERED")
    event = coded(flow.now, "QQ", signed_by="ADA")
    event.milestone = shipment_pb2.MILESTONE_DELIVERED
    flow.report(event)
    assert flow.all("delivery_confirmation") == []


def test_a_parcel_that_came_back_is_no_delivery() -> None:
    """Proves that a code which means delivered, of a parcel on its way back, proves no delivery:
    whoever signed is the sender."""
    flow = Flow()
    flow.labelled()
    set_row(flow, "QQ", "DELIVERED")
    event = coded(flow.now, "QQ", signed_by="THE SENDER")
    event.return_leg = True
    flow.report(event)
    assert milestone(flow) == "RETURNED"
    assert flow.all("delivery_confirmation") == []
    assert "confirmation.delivery_confirmed" not in flow.told()


def test_a_proof_that_is_refused_refuses_no_scan() -> None:
    """Proves that a scan is written, and the whole of its batch, also where its proof may not be:
    the proof alone is kept for a person, with why."""
    flow = Flow()
    flow.labelled(2)
    set_row(flow, "QQ", "DELIVERED")
    set_row(flow, "AR", "IN_TRANSIT")
    elsewhere = Caller("ups-emea", "CARRIER", Scope(business_units=frozenset({"retail-emea"})))
    flow.employ(elsewhere, {})
    flow.records["endpoint", "ups-emea"].manifest = endpoint_pb2.Manifest(
        adapter="ups"
    ).SerializeToString()
    delivered = coded(flow.now, "QQ", signed_by="ADA")
    receipts = flow.report(delivered, coded(flow.now, "AR", number="1Z2"), caller=elsewhere)
    assert [outcome(receipt) for receipt in receipts] == ["APPLIED", "APPLIED"]
    assert (milestone(flow), milestone(flow, "1Z2")) == ("DELIVERED", "IN_TRANSIT")
    assert flow.all("delivery_confirmation") == []
    (held,) = flow.held()
    assert held.method.endswith("/CreateDeliveryConfirmation")
    assert (held.endpoint, held.awaits) == ("ups-emea", "")
    assert types_pb2.Refusal.FromString(held.refusal).reason == "OBJECT_NOT_FOUND"
    (again,) = flow.report(delivered, caller=elsewhere)
    assert outcome(again) == "ALREADY_KNOWN"
    assert len(flow.held()) == 1


def test_the_proofs_of_a_batch_are_read_together() -> None:
    """Proves that many proofs of one report need no more rounds of reading than one of them: their
    number has no limit but the report's."""
    rounds = []
    for shipments in (1, 20):
        flow = Flow()
        set_row(flow, "QQ", "DELIVERED")
        for number in range(shipments):
            _, (part,) = flow.released(order(f"SO-{number}"))
            made = flow.pack(part, package(f"LPN-{number}"), number=f"SHP-{number}").shipment
            flow.label(made.id, made.packages[0].id, f"1Z{number}")
        flow.report(
            *(coded(flow.now, "QQ", number=f"1Z{n}", signed_by="ADA") for n in range(shipments))
        )
        assert len(flow.all("delivery_confirmation")) == shipments
        rounds.append(flow.rounds["/crossdock.tracking.v1.TrackingService/ReportTrackingEvents"])
    assert rounds[0] == rounds[1]
