"""The whole first flow as pure decisions: order to delivered, late, doubled, early and undone."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.inventory.v1 import inventory_pb2, inventory_service_pb2
from crossdock.label.v1 import label_service_pb2
from crossdock_hub.backfilling import BACKFILL_MAPPINGS
from crossdock_hub.config import Limits
from crossdock_hub.verbs import DECISIONS
from crossdock_hub.verbs.master_data import UPSERTS
from decisions import CARRIER, CONTRACT, OMS, WMS, outcome, refusal_of, request_id
from first_flow import LABELS, Flow, at, each, order, package, scan, seconds


def play(flow: Flow, number: str = "SO-1") -> tuple[str, Any]:
    """Order to delivered, every delivery settled by its endpoint; order id and shipment."""
    order_id = flow.create(order(number)).id
    flow.approve(order_id)
    booked = flow.deliveries("netsuite", "create_sales_order")[-1]
    flow.settle(booked, references=[("sales_order", f"ERP-{number}")])
    (part,) = flow.release(order_id).fulfillment_request_ids
    flow.settle(flow.deliveries("manhattan", "release_order")[-1])
    flow.pick(part)
    shipment = flow.pack(part, number=f"SHP-{number}").shipment
    carton = shipment.packages[0].id
    fact = (f"{LABELS}/CreateLabel", flow.label_request(shipment.id, carton, f"1Z-{number}"))
    bought = flow.deliveries("ups", "buy_label")[-1]
    flow.settle(bought, references=[("tracking_number", f"1Z-{number}")], facts=[fact])
    flow.settle(flow.deliveries("manhattan", "print_label")[-1])
    flow.manifest(f"SHP-{number}")
    posted = flow.deliveries("netsuite", "post_goods_issue")[-1]
    flow.settle(posted, references=[("item_fulfillment", f"IF-{number}")])
    flow.report(scan("IN_TRANSIT", flow.now, number=f"1Z-{number}"))
    flow.report(scan("DELIVERED", flow.now, number=f"1Z-{number}"))
    flow.prove(f"1Z-{number}")
    return order_id, shipment


def test_an_order_goes_from_created_to_delivered() -> None:
    """Proves the first flow: every event told, every delivery confirmed, every number kept."""
    flow = Flow()
    order_id, shipment = play(flow)
    assert flow.told() == [
        "order.approved",
        "order.released",
        "fulfillment.requested",
        "fulfillment.pick_completed",
        "fulfillment.packed",
        "label.created",
        "shipment.manifested",
        "tracking.in_transit",
        "tracking.delivered",
        "confirmation.delivery_confirmed",
    ]
    assert {r.state for r in flow.deliveries()} == {"CONFIRMED"}
    assert flow.state("order", order_id) == "DELIVERED"
    assert flow.state("shipment", shipment.id) == "DELIVERED"
    (part,) = flow.all("fulfillment_request")
    assert flow.state("fulfillment_request", part.id) == "DELIVERED"
    after = flow.object("shipment", shipment.id)
    assert [(p.document_type, p.document_number) for p in after.postings] == [
        ("item_fulfillment", "IF-SO-1")
    ]
    assert after.tracking_number == "1Z-SO-1"
    assert after.ship_from.address.city == "Reno"
    assert [r.value for r in flow.object("order", order_id).references] == ["ERP-SO-1"]
    row = flow.object("order", order_id).progress[0]
    assert (row.picked.value, row.shipped.value, row.short.value) == ("1", "1", "0")


def test_events_of_an_object_are_in_the_order_of_its_revisions() -> None:
    """Proves that ids sort as text in the order of creation, per object by revision and place."""
    flow = Flow()
    play(flow)
    ids = [event.id for event in flow.events]
    assert ids == sorted(ids)
    for object_id in {event.object_id for event in flow.events}:
        mine = [(e.revision, e.position) for e in flow.events if e.object_id == object_id]
        assert mine == sorted(set(mine))


def test_every_event_says_who_when_and_why() -> None:
    """Proves that metadata is filled for every event, by the producers the contract names."""
    flow = Flow()
    play(flow)
    for stored in flow.events:
        rule = CONTRACT.events[stored.type]
        event: Any = CONTRACT.generated_class(stored.type).FromString(stored.body)
        metadata = event.metadata
        assert (metadata.id, metadata.revision) == (stored.id, stored.revision)
        assert metadata.correlation_id == stored.root_id
        assert metadata.producer
        assert CONTRACT.role_name(metadata.producer_system) in rule.producers
        assert metadata.HasField("record_time")
        assert metadata.HasField("event_time")


def test_everything_of_an_order_shares_its_partition() -> None:
    """Proves that order per partition is order per flow."""
    flow = Flow()
    order_id, _ = play(flow)
    assert {event.partition for event in flow.events} == {flow.events[0].partition}
    assert {event.root_id for event in flow.events} == {order_id}


def test_orders_do_not_touch_each_other() -> None:
    """Proves that a second order changes nothing about the first."""
    flow = Flow()
    first, _ = play(flow)
    before = flow.object("order", first).SerializeToString(deterministic=True)
    play(flow, "SO-2")
    assert flow.object("order", first).SerializeToString(deterministic=True) == before


def test_every_writing_method_of_the_contract_is_decided() -> None:
    """Proves that no mutating method can be called that nobody has written."""
    undecided = {
        name
        for name, method in CONTRACT.methods.items()
        # A backfill reads what waits before it decides.
        if method.mutating and name not in {*DECISIONS, *UPSERTS, BACKFILL_MAPPINGS}
    }
    assert undecided == set()


def test_every_report_twice_is_known() -> None:
    """Proves that doubled facts change no object, tell nobody, and make no work."""
    flow = Flow()
    order_id, shipment = play(flow)
    (part,) = flow.all("fulfillment_request")
    events, deliveries = len(flow.events), len(flow.deliveries())
    revision = flow.object("order", order_id).revision
    void = label_service_pb2.ReportLabelVoidedRequest(
        request_id=request_id(), tracking_number="1Z-SO-1", carrier_code="UPSN"
    )
    doubled = [
        flow.pick(part.id, time=part.pick_time.instant.ToMicroseconds()),
        flow.pack(part.id, number="SHP-SO-1"),
        flow.label(shipment.id, shipment.packages[0].id, "1Z-SO-1"),
        flow.manifest("SHP-SO-1"),
        flow.prove("1Z-SO-1"),
    ]
    assert {outcome(answer.receipt) for answer in doubled} == {"ALREADY_KNOWN"}
    first = flow.call(f"{LABELS}/ReportLabelVoided", void, CARRIER)
    void.request_id = request_id()
    second = flow.call(f"{LABELS}/ReportLabelVoided", void, CARRIER)
    assert [outcome(a.receipt) for a in (first, second)] == ["APPLIED", "ALREADY_KNOWN"]
    assert (len(flow.events), len(flow.deliveries())) == (events, deliveries)
    assert flow.object("order", order_id).revision == revision


def test_facts_that_come_too_early_are_written_in_the_end() -> None:
    """Proves that label, scans, proof and manifest may all outrun the pack; nothing is lost."""
    flow = Flow()
    order_id, (part,) = flow.released()
    assert outcome(flow.manifest().receipt) == "HELD"
    held = flow.report(scan("IN_TRANSIT", flow.now), scan("DELIVERED", flow.now + seconds(1)))
    assert {outcome(receipt) for receipt in held} == {"HELD"}
    assert outcome(flow.prove().receipt) == "HELD"
    shipment = flow.pack(part).shipment
    flow.drive()
    assert flow.state("shipment", shipment.id) == "MANIFESTED"
    assert len(flow.held()) == 3
    flow.label(shipment.id, shipment.packages[0].id)
    flow.drive()
    assert flow.held() == []
    assert flow.state("shipment", shipment.id) == "DELIVERED"
    assert flow.state("order", order_id) == "DELIVERED"
    assert len(flow.all("delivery_confirmation")) == 1


def test_a_label_for_a_package_nobody_packed_waits() -> None:
    """Proves that a label of an unknown shipment or package is held, never refused."""
    flow = Flow()
    unknown = flow.label(request_id(), request_id())
    assert outcome(unknown.receipt) == "HELD"
    assert unknown.receipt.held_because.reason == "OBJECT_NOT_FOUND"
    shipment = flow.labelled()
    odd = flow.label(shipment.id, request_id(), "1Z9")
    assert outcome(odd.receipt) == "HELD"


def test_a_tracking_number_belongs_to_one_package() -> None:
    """Proves that a carrier's number for two packages is refused, and nothing is mixed up."""
    flow = Flow()
    shipment = flow.labelled(2)
    refusal = refusal_of(lambda: flow.label(shipment.id, shipment.packages[1].id, "1Z1"))
    assert refusal.reason == "REFERENCE_TAKEN"


def test_a_pick_after_the_pack_is_kept_and_moves_nothing_back() -> None:
    """Proves that a late pick completes the totals without undoing the pack."""
    flow = Flow()
    order_id, (part,) = flow.released()
    flow.pack(part)
    assert outcome(flow.pick(part).receipt) == "APPLIED"
    assert flow.state("fulfillment_request", part) == "PACKED"
    assert flow.object("order", order_id).progress[0].picked.value == "1"


def test_an_older_pick_does_not_replace_a_newer() -> None:
    """Proves that reports out of order leave the newest count standing."""
    flow = Flow()
    _, (part,) = flow.released()
    now = flow.now
    flow.pick(part, "2", time=now + seconds(60))
    assert outcome(flow.pick(part, "1", time=now).receipt) == "ALREADY_KNOWN"
    assert flow.object("fulfillment_request", part).picked[0].quantity.value == "2"


def test_a_pick_of_nothing_is_a_pick() -> None:
    """Proves that a warehouse which found nothing is heard."""
    from crossdock.fulfillment.v1 import fulfillment_service_pb2

    flow = Flow()
    _, (part,) = flow.released()
    report = fulfillment_service_pb2.ReportPickRequest(
        request_id=request_id(), fulfillment_request_id=part
    )
    method = "fulfillment.v1.FulfillmentService/ReportPick"
    assert outcome(flow.call(method, report, WMS).receipt) == "APPLIED"
    assert flow.state("fulfillment_request", part) == "PICKED"
    report.request_id = request_id()
    assert outcome(flow.call(method, report, WMS).receipt) == "ALREADY_KNOWN"


def test_a_shipment_number_is_one_pack() -> None:
    """Proves that another warehouse order can't pack under a number in use and vanish."""
    flow = Flow()
    _, (first,) = flow.released(order("SO-1"))
    _, (second,) = flow.released(order("SO-2"))
    flow.pack(first)
    refusal = refusal_of(lambda: flow.pack(second))
    assert refusal.reason == "REFERENCE_TAKEN"
    assert len(flow.all("shipment")) == 1


def test_an_order_of_many_locations_is_released_in_few_rounds() -> None:
    """Proves that a release reads ahead: forty warehouses fit into the rounds of a batch."""
    flow = Flow()
    message = order(lines=40)
    for index, line in enumerate(message.lines):
        line.ship_from_location_number = f"DC{index}"
        flow.learn_location(f"DC{index}")
    _, parts = flow.released(message)
    assert len(parts) == 40


def test_a_batch_of_scans_of_many_shipments_is_written_in_few_rounds() -> None:
    """Proves that a batch of scans reads ahead: every shipment of it is moved at once."""
    flow = Flow()
    for index in range(30):
        _, (part,) = flow.released(order(f"SO-{index}"))
        shipment = flow.pack(part, number=f"SHP-{index}").shipment
        flow.label(shipment.id, shipment.packages[0].id, f"1Z{index}")
    receipts = flow.report(*(scan("DELIVERED", flow.now, number=f"1Z{i}") for i in range(30)))
    assert {outcome(receipt) for receipt in receipts} == {"APPLIED"}
    assert {flow.state("shipment", s.id) for s in flow.all("shipment")} == {"DELIVERED"}
    assert sum(batch.count for batch in flow.scan_batches) == 30


def test_a_batch_writes_what_fits_and_holds_the_rest() -> None:
    """Proves that one unknown parcel in a batch holds its own scan only."""
    flow = Flow()
    flow.labelled()
    receipts = flow.report(
        scan("IN_TRANSIT", flow.now), scan("IN_TRANSIT", flow.now, number="1Z-UNKNOWN")
    )
    assert [outcome(receipt) for receipt in receipts] == ["APPLIED", "HELD"]
    assert receipts[1].held_fact_id in {record.id for record in flow.held()}


# Undone


def test_a_cancelled_order_takes_back_what_reached_nobody() -> None:
    """Proves that an order cancelled in time leaves no call at any vendor."""
    flow = Flow()
    order_id, (part,) = flow.released()
    flow.cancel(order_id)
    assert flow.state("order", order_id) == "CANCELLED"
    assert flow.state("fulfillment_request", part) == "CANCELLED"
    assert {r.state for r in flow.deliveries()} == {"SUPERSEDED"}
    assert flow.object("order", order_id).cancel_reason == "changed their mind"


def test_a_cancelled_order_is_undone_where_it_arrived() -> None:
    """Proves that each endpoint is told exactly when it had been told before."""
    flow = Flow()
    order_id, _ = flow.released()
    flow.settle(flow.delivery("manhattan", "release_order"))
    flow.cancel(order_id)
    assert flow.delivery("manhattan", "cancel_order").state == "READY"
    assert flow.delivery("netsuite", "cancel_order").state == "SUPERSEDED"


def test_an_order_that_left_is_not_cancelled() -> None:
    """Proves that goods on the road can't be cancelled away."""
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    refusal = refusal_of(lambda: flow.cancel(shipment.order_id))
    assert refusal.reason == "STATE_TRANSITION"


def test_reports_about_a_cancelled_request_are_kept() -> None:
    """Proves that a warehouse that was faster than the cancel is still believed."""
    flow = Flow()
    order_id, (part,) = flow.released()
    flow.cancel(order_id)
    assert outcome(flow.pick(part).receipt) == "APPLIED"
    assert flow.state("fulfillment_request", part) == "CANCELLED"
    assert flow.object("fulfillment_request", part).picked[0].quantity.value == "1"


def test_a_voided_shipment_takes_back_label_and_posting() -> None:
    """Proves that a void undoes what was done, and drops what was not."""
    flow = Flow()
    _, (part,) = flow.released()
    flow.settle(flow.delivery("netsuite", "create_sales_order"))
    shipment = flow.pack(part).shipment
    fact = flow.label_request(shipment.id, shipment.packages[0].id)
    bought = flow.delivery("ups", "buy_label")
    flow.settle(bought, facts=[(f"{LABELS}/CreateLabel", fact)])
    flow.manifest()
    flow.void(shipment.id)
    assert flow.state("shipment", shipment.id) == "VOIDED"
    assert flow.delivery("ups", "void_label").state == "READY"
    assert flow.delivery("netsuite", "post_goods_issue").state == "SUPERSEDED"
    assert flow.delivery("netsuite", "reverse_goods_issue").state == "SUPERSEDED"
    flow.report(scan("IN_TRANSIT", flow.now))
    assert flow.state("shipment", shipment.id) == "VOIDED"


def test_the_content_of_an_approved_order_is_told_when_it_changes() -> None:
    """Proves that the ERP hears of a change after its sales order, and with the fields' names."""
    flow = Flow()
    made = flow.create()
    flow.update_order(type(made)(id=made.id, channel="web"), "channel")
    assert flow.told() == []
    flow.approve(made.id)
    flow.update_order(type(made)(id=made.id, channel="app"), "channel")
    assert flow.told() == ["order.approved", "order.changed"]
    change = flow.delivery("netsuite", "change_order")
    assert (change.state, change.hold_reason) == ("HELD", "PREREQUISITE")
    flow.settle(flow.delivery("netsuite", "create_sales_order"))
    assert flow.fresh(change).state == "READY"


def test_a_refused_fact_is_quarantined_beside_its_outcome() -> None:
    """Proves that an adapter's wrong fact costs neither the outcome nor the other facts."""
    flow = Flow()
    _, (part,) = flow.released()
    shipment = flow.pack(part).shipment
    good = flow.label_request(shipment.id, shipment.packages[0].id)
    bad = flow.label_request(shipment.id, shipment.packages[0].id, "1Z2")
    bad.label.package_number = "mine"
    method = f"{LABELS}/CreateLabel"
    bought = flow.delivery("ups", "buy_label")
    foreign = ("order.v1.OrderService/ApproveOrder", approve(flow))
    answer = flow.settle(bought, facts=[(method, bad), foreign, (method, good)])
    assert flow.fresh(bought).state == "CONFIRMED"
    reasons = [fact.refusal.reason for fact in answer.quarantined]
    assert reasons == ["FIELD_NOT_OWNED", "METHOD_NOT_ALLOWED"]
    assert [label.tracking_number for label in flow.all("label")] == ["1Z1"]


def approve(flow: Flow) -> Any:
    """A request that no carrier may make."""
    from crossdock.order.v1 import order_service_pb2

    order_id = flow.all("order")[0].id
    return order_service_pb2.ApproveOrderRequest(request_id=request_id(), order_id=order_id)


def test_garbage_for_a_fact_is_quarantined() -> None:
    """Proves that unknown methods, broken bytes and broken rules are told apart."""
    from crossdock.delivery.v1 import delivery_service_pb2
    from crossdock_hub.delivery import checking

    valid = label_service_pb2.CreateLabelRequest(request_id="no uuid")
    stray = label_service_pb2.CreateLabelRequest(request_id=request_id())
    facts = [
        delivery_service_pb2.Fact(method="/crossdock.none.v1.None/Nothing"),
        delivery_service_pb2.Fact(method=f"/crossdock.{LABELS}/CreateLabel", request=b"\xff\xff"),
        delivery_service_pb2.Fact(
            method=f"/crossdock.{LABELS}/CreateLabel", request=valid.SerializeToString()
        ),
        delivery_service_pb2.Fact(
            method=f"/crossdock.{LABELS}/CreateLabel",
            request=stray.SerializeToString() + b"\xfa\x7f\x01x",
        ),
    ]
    checked = checking.check_facts(CONTRACT, facts, Limits())
    assert [c.refusal.reason if c.refusal else "" for c in checked] == [
        "METHOD_UNKNOWN",
        "MALFORMED_MESSAGE",
        "INVALID_FIELD",
        "UNKNOWN_FIELD",
    ]


# Reservations


def reserve(flow: Flow) -> inventory_pb2.InventoryReservation:
    """A soft promise of one piece."""
    request = inventory_service_pb2.CreateInventoryReservationRequest(request_id=request_id())
    promise = request.inventory_reservation
    promise.number, promise.item_number, promise.location_number = "R-1", "SKU-1", "DC1"
    promise.business_unit = "retail-us"
    promise.quantity.CopyFrom(each("1"))
    method = "inventory.v1.InventoryService/CreateInventoryReservation"
    made: inventory_pb2.InventoryReservation = flow.call(method, request, OMS).inventory_reservation
    return made


def allocate(flow: Flow, reservation: str, *, short: bool = False) -> Any:
    """The warehouse decides."""
    request = inventory_service_pb2.ReportAllocationRequest(
        request_id=request_id(), inventory_reservation_id=reservation, event_time=at(flow.now)
    )
    part = request.shortage if short else request.allocation
    part.quantity.CopyFrom(each("1"))
    return flow.call("inventory.v1.InventoryService/ReportAllocation", request, WMS)


def test_a_reservation_is_allocated_or_short() -> None:
    """Proves that the warehouse decides, may change its mind, and repeats nothing."""
    flow = Flow()
    made = reserve(flow)
    assert outcome(allocate(flow, made.id).receipt) == "APPLIED"
    assert flow.state("inventory_reservation", made.id) == "ALLOCATED"
    assert outcome(allocate(flow, made.id).receipt) == "ALREADY_KNOWN"
    allocate(flow, made.id, short=True)
    assert flow.state("inventory_reservation", made.id) == "SHORT"
    allocate(flow, made.id)
    assert flow.state("inventory_reservation", made.id) == "ALLOCATED"
    assert flow.told() == ["inventory.allocated", "inventory.short", "inventory.allocated"]


@pytest.mark.parametrize("short", [False, True])
def test_a_released_reservation_stays_released(short: bool) -> None:
    """Proves that a late allocation is kept as a fact and moves nothing."""
    flow = Flow()
    made = reserve(flow)
    release = inventory_service_pb2.ReleaseInventoryReservationRequest(
        request_id=request_id(), inventory_reservation_id=made.id, reason="sold"
    )
    method = "inventory.v1.InventoryService/ReleaseInventoryReservation"
    flow.call(method, release, OMS)
    assert outcome(allocate(flow, made.id, short=short).receipt) == "APPLIED"
    assert flow.state("inventory_reservation", made.id) == "RELEASED"
    assert refusal_of(lambda: flow.call(method, release, OMS)).reason == "STATE_TRANSITION"


def test_a_package_is_labelled_by_what_was_packed() -> None:
    """Proves that the hub fills in what it knows: package number, order, dock."""
    flow = Flow()
    _, (part,) = flow.released()
    shipment = flow.pack(part, package("LPN-7")).shipment
    label = flow.label(shipment.id, shipment.packages[0].id).label
    assert label.package_number == "LPN-7"
    assert label.ship_from_location_number == "DC1"
    assert label.order_id == shipment.order_id
