"""Goods that leave the dock in part, in two goes, or not at all: what a ship confirm says."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2, shipment_service_pb2
from crossdock.types.v1 import types_pb2
from decisions import WMS, outcome, request_id
from first_flow import SHIPMENTS, Flow, at, each, on_the_wall, scan, seconds
from operator_says import say
from test_lineage import verdict


def confirm(
    flow: Flow,
    *numbers: str,
    shipped: dict[int, str] | None = None,
    cancelled: dict[int, str] | None = None,
    bill: str = "",
    time: types_pb2.SourceTime | None = None,
) -> Any:
    """A ship confirm of shipment SHP-1 that names packages, and quantities by line."""
    report = shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(),
        shipment_number="SHP-1",
        manifest_time=time or at(flow.now),
        package_numbers=numbers,
        bill_of_lading=bill,
        shipped=[line(*pair) for pair in (shipped or {}).items()],
        cancelled=[line(*pair) for pair in (cancelled or {}).items()],
    )
    return flow.call(f"{SHIPMENTS}/ManifestShipment", report, WMS)


def line(number: int, quantity: str) -> shipment_pb2.LineQuantity:
    return shipment_pb2.LineQuantity(line_number=number, quantity=each(quantity))


def told(departure: shipment_pb2.Departure) -> tuple[list[str], dict[int, str]]:
    """Packages, and quantities by line."""
    lines = {row.line_number: row.quantity.value for row in departure.shipped}
    return list(departure.package_numbers), lines


def progress(flow: Flow, shipment: Any) -> list[tuple[str, str]]:
    """Shipped and short of each order line."""
    rows = flow.object("order", shipment.order_id).progress
    return [(row.shipped.value, row.short.value) for row in rows]


def test_a_carton_left_behind_is_not_told_as_gone() -> None:
    """Proves that what stays on the dock is neither shipped nor done, and that it is missed."""
    flow = Flow()
    shipment = flow.labelled(2)
    assert outcome(confirm(flow, "LPN-1").receipt) == "APPLIED"
    (event,) = [e for e in flow.events if e.stem == "shipment.manifested"]
    after = flow.object("shipment", shipment.id)
    assert [told(each) for each in after.departures] == [(["LPN-1"], {1: "1"})]
    assert flow.state("shipment", shipment.id) == "MANIFESTED"
    assert flow.state("fulfillment_request", shipment.fulfillment_request_id) == "PACKED"
    assert flow.state("order", shipment.order_id) == "PARTIALLY_SHIPPED"
    assert progress(flow, shipment) == [("1", "0"), ("0", "0")]
    for record in flow.deliveries():
        flow.settle(record)
    sentence = verdict(flow, shipment.order_id).sentence
    assert "left without package LPN-2, which warehouse DC1 has to hand over" in sentence
    snapshot = shipment_events_pb2.ShipmentManifested.FromString(event.body).shipment
    assert told(snapshot.departures[-1]) == (["LPN-1"], {1: "1"})


def test_the_rest_leaves_with_a_confirm_of_its_own() -> None:
    """Proves that a second departure is told, is work for the ERP, and completes the request."""
    flow = Flow()
    shipment = flow.labelled(2)
    flow.settle(flow.delivery("netsuite", "create_sales_order"))
    confirm(flow, "LPN-1")
    assert outcome(confirm(flow, "LPN-1").receipt) == "ALREADY_KNOWN"
    flow.report(scan("DELIVERED", flow.now, number="1Z1"))
    assert flow.state("shipment", shipment.id) != "DELIVERED", "one carton is still there"
    assert outcome(confirm(flow, "LPN-2").receipt) == "APPLIED"
    after = flow.object("shipment", shipment.id)
    assert [told(each) for each in after.departures] == [
        (["LPN-1"], {1: "1"}),
        (["LPN-2"], {2: "1"}),
    ]
    issues = flow.deliveries("netsuite", "post_goods_issue")
    assert [record.item for record in issues] == ["", "2"]
    for number, record in enumerate(issues):
        flow.settle(record, references=[("item_fulfillment", f"IF-{number}")])
    for record in flow.deliveries():
        if record.state == "READY":
            flow.settle(record)
    found = verdict(flow, shipment.order_id)
    assert found.verdict == "UNDER_WAY", found.sentence
    assert flow.state("fulfillment_request", shipment.fulfillment_request_id) == "SHIPPED"
    assert progress(flow, shipment) == [("1", "0"), ("1", "0")]
    flow.report(scan("DELIVERED", flow.now + seconds(1), number="1Z2"))
    assert flow.state("order", shipment.order_id) == "DELIVERED"


def test_what_the_dock_cancelled_is_short_and_not_awaited() -> None:
    """Proves that a cancelled carton is short on its line, and does not keep the order open."""
    flow = Flow()
    shipment = flow.labelled(2)
    confirm(flow, "LPN-1", shipped={1: "1", 2: "0"}, cancelled={2: "1"})
    after = flow.object("shipment", shipment.id)
    assert [row.withdrawn for row in after.progress] == [False, True]
    assert flow.state("fulfillment_request", shipment.fulfillment_request_id) == "SHIPPED"
    assert progress(flow, shipment) == [("1", "0"), ("0", "1")]
    flow.report(scan("DELIVERED", flow.now, number="1Z1"))
    assert flow.state("order", shipment.order_id) == "DELIVERED"


@pytest.mark.parametrize("named", [False, True])
def test_a_confirm_that_only_cancels_ends_what_stays(named: bool) -> None:
    """Proves that a later confirm with which nothing leaves, whether it names the carton that stays
    or none, withdraws it, once, ends the request and the order, and tells nobody of goods that
    left a second time."""
    flow = Flow()
    shipment = flow.labelled(2)
    confirm(flow, "LPN-1")
    assert flow.state("order", shipment.order_id) == "PARTIALLY_SHIPPED"
    told_before, work_before = flow.told(), len(flow.deliveries())
    words: Any = {"cancelled": {2: "1"}}
    numbers = ("LPN-2",) if named else ()
    if named:
        words["shipped"] = {2: "0"}
    assert outcome(confirm(flow, *numbers, **words).receipt) == "APPLIED"
    assert outcome(confirm(flow, *numbers, **words).receipt) == "ALREADY_KNOWN"
    after = flow.object("shipment", shipment.id)
    assert len(after.departures) == 1
    assert [row.withdrawn for row in after.progress] == [False, True]
    assert flow.state("fulfillment_request", shipment.fulfillment_request_id) == "SHIPPED"
    assert flow.state("order", shipment.order_id) == "SHIPPED"
    assert progress(flow, shipment) == [("1", "0"), ("0", "1")]
    assert (flow.told(), len(flow.deliveries())) == (told_before, work_before)
    assert flow.held() == []


def test_a_first_confirm_of_nothing_says_to_void() -> None:
    """Proves that a shipment of which nothing leaves is not ended by a confirm: it is held, and the
    words name the call that ends it."""
    flow = Flow()
    shipment = flow.labelled(2)
    receipt = confirm(flow, shipped={1: "0", 2: "0"}, cancelled={1: "1", 2: "1"}).receipt
    assert outcome(receipt) == "HELD"
    assert "void the shipment with VoidShipment" in receipt.held_because.message
    assert flow.state("shipment", shipment.id) == "PACKED"


def test_a_confirm_of_everything_still_says_everything() -> None:
    """Proves that a confirm without packages or quantities tells all that was packed."""
    flow = Flow()
    shipment = flow.labelled(2)
    flow.manifest()
    (departure,) = flow.object("shipment", shipment.id).departures
    assert told(departure) == (["LPN-1", "LPN-2"], {1: "1", 2: "1"})
    assert flow.state("order", shipment.order_id) == "SHIPPED"


def test_a_confirm_that_contradicts_the_pack_waits_for_a_correction() -> None:
    """Proves that more than was packed is held with line and quantities, and applied once the
    packages are corrected."""
    flow = Flow()
    shipment = flow.labelled(1)
    receipt = confirm(flow, "LPN-1", shipped={1: "2"}).receipt
    assert outcome(receipt) == "HELD"
    assert "line 1: 2 EA left in packages that hold 1" in receipt.held_because.message
    assert "UpdateShipment" in receipt.held_because.message
    assert flow.told().count("shipment.manifested") == 0
    patch = shipment_pb2.Shipment(id=shipment.id, packages=shipment.packages)
    patch.packages[0].contents[0].quantity.value = "2"
    request = shipment_service_pb2.UpdateShipmentRequest(request_id=request_id(), shipment=patch)
    request.update_mask.paths.append("packages")
    flow.call(f"{SHIPMENTS}/UpdateShipment", request, WMS)
    flow.drive()
    assert flow.held() == []
    (departure,) = flow.object("shipment", shipment.id).departures
    assert told(departure) == (["LPN-1"], {1: "2"})


def test_packages_nobody_packed_or_half_known_are_held() -> None:
    """Proves that an unknown package, an overlap with an earlier confirm, and nothing at all are
    kept with the reason, and change nothing."""
    flow = Flow()
    shipment = flow.labelled(2)
    unknown = confirm(flow, "LPN-9").receipt
    assert "LPN-9 was never packed" in unknown.held_because.message
    nothing = confirm(flow, "LPN-1", shipped={1: "0"}).receipt
    assert "nothing of any line left" in nothing.held_because.message
    confirm(flow, "LPN-1")
    overlap = confirm(flow, "LPN-1", "LPN-2").receipt
    assert "LPN-1 left with an earlier confirm" in overlap.held_because.message
    assert {outcome(r) for r in (unknown, nothing, overlap)} == {"HELD"}
    assert len(flow.object("shipment", shipment.id).departures) == 1


def test_units_taken_out_at_the_dock_are_not_shipped() -> None:
    """Proves that the confirm's quantity counts, not the carton's content."""
    flow = Flow()
    shipment = flow.labelled(2)
    patch = shipment_pb2.Shipment(id=shipment.id, packages=shipment.packages)
    patch.packages[0].contents[0].quantity.CopyFrom(types_pb2.Quantity(value="3", unit="EA"))
    request = shipment_service_pb2.UpdateShipmentRequest(request_id=request_id(), shipment=patch)
    request.update_mask.paths.append("packages")
    flow.call(f"{SHIPMENTS}/UpdateShipment", request, WMS)
    confirm(flow, shipped={1: "2"})
    (departure,) = flow.object("shipment", shipment.id).departures
    assert told(departure) == (["LPN-1", "LPN-2"], {1: "2", 2: "1"})


def test_a_confirm_without_packages_tells_what_is_still_there() -> None:
    """Proves that "all that was packed" after a first carton left is the rest, told and posted, and
    that the same word once more changes nothing."""
    flow = Flow()
    shipment = flow.labelled(2)
    confirm(flow, "LPN-1")
    for expected in ("APPLIED", "ALREADY_KNOWN"):
        flow.pass_time(60)
        assert outcome(confirm(flow).receipt) == expected
        after = flow.object("shipment", shipment.id)
        assert [told(each) for each in after.departures] == [
            (["LPN-1"], {1: "1"}),
            (["LPN-2"], {2: "1"}),
        ]
    assert flow.told().count("shipment.manifested") == 2
    assert flow.state("fulfillment_request", shipment.fulfillment_request_id) == "SHIPPED"
    assert progress(flow, shipment) == [("1", "0"), ("1", "0")]


def test_a_second_confirm_by_line_is_not_lost() -> None:
    """Proves that a confirm without packages that tells another time and quantity, when all have
    left, is held with its reason; and that it is not taken for the first one."""
    flow = Flow()
    shipment = flow.labelled(2)
    assert outcome(confirm(flow, shipped={1: "0"}).receipt) == "APPLIED"
    flow.pass_time(60)
    receipt = confirm(flow, shipped={1: "1"}).receipt
    assert outcome(receipt) == "HELD"
    assert "left with earlier confirms" in receipt.held_because.message
    assert len(flow.held()) == 1
    assert progress(flow, shipment) == [("0", "0"), ("1", "0")]


@pytest.mark.parametrize("zones", [(None, 5), (5, None)])
def test_a_confirm_by_line_is_the_same_whoever_knows_the_zone(
    zones: tuple[int | None, int | None],
) -> None:
    """Proves that a confirm without packages that is told once more, with its zone known by then or
    not known any longer, contradicts nothing; and that one of another minute still does."""
    flow = Flow()
    flow.labelled(2)
    first, again = (on_the_wall("2026-03-02T10:00:00", hours) for hours in zones)
    assert outcome(confirm(flow, shipped={1: "0"}, time=first).receipt) == "APPLIED"
    assert outcome(confirm(flow, shipped={1: "0"}, time=again).receipt) == "ALREADY_KNOWN"
    later = on_the_wall("2026-03-02T10:01:00", zones[1])
    assert outcome(confirm(flow, shipped={1: "0"}, time=later).receipt) == "HELD"


def test_packages_that_left_do_not_leave_again_with_other_quantities() -> None:
    """Proves that a confirm which names them again is known when it agrees, and held when not."""
    flow = Flow()
    flow.labelled(2)
    confirm(flow, "LPN-1", shipped={1: "1"})
    flow.pass_time(60)
    assert outcome(confirm(flow, "LPN-1", shipped={1: "1"}).receipt) == "ALREADY_KNOWN"
    other = confirm(flow, "LPN-1", shipped={1: "0"}).receipt
    assert outcome(other) == "HELD"
    assert "with other quantities" in other.held_because.message


@pytest.mark.parametrize(
    ("before", "again", "shipped", "bill"),
    [
        ((("LPN-1", "LPN-2"),), ("LPN-1",), {1: "0"}, ""),
        ((("LPN-1",), ("LPN-2",)), ("LPN-1", "LPN-2"), {1: "1", 2: "0"}, ""),
        ((("LPN-1", "LPN-2"),), ("LPN-1",), {}, "BOL-9"),
    ],
)
def test_what_left_is_told_again_only_as_it_left(
    before: tuple[tuple[str, ...], ...], again: tuple[str, ...], shipped: dict[int, str], bill: str
) -> None:
    """Proves that a confirm which names a part of what left at once, or what left one by one, is
    known when it says the same, and held when it tells another quantity or bill of lading."""
    flow = Flow()
    flow.labelled(2)
    for numbers in before:
        confirm(flow, *numbers)
    assert outcome(confirm(flow, *again).receipt) == "ALREADY_KNOWN"
    everything = dict.fromkeys(range(1, len(again) + 1), "1")
    assert outcome(confirm(flow, *again, shipped=everything).receipt) == "ALREADY_KNOWN"
    assert outcome(confirm(flow, *again, shipped=shipped, bill=bill).receipt) == "HELD"


def test_a_resubmitted_departure_is_still_the_same_one() -> None:
    """Proves that the first departure, resubmitted after a second one, is posted as the first: with
    its own packages as the last of the shipment, which is what an ERP takes them for."""
    flow = Flow()
    flow.labelled(2)
    flow.settle(flow.delivery("netsuite", "create_sales_order"))
    confirm(flow, "LPN-1")
    (first,) = (d for d in flow.deliveries() if d.operation == "post_goods_issue")
    flow.complete(first, flow.take(first), "PARKED", reason="no such bin")
    confirm(flow, "LPN-2")
    answer = say(flow, "RESUBMIT", first)
    content = flow.records["delivery_content", answer.resubmitted.id].body
    event = shipment_events_pb2.ShipmentManifested.FromString(content)
    assert event.part == ""
    (departure,) = event.shipment.departures
    assert told(departure)[0] == ["LPN-1"]
    assert len(event.shipment.packages) == 2


def test_a_confirm_of_a_voided_shipment_is_held() -> None:
    """Proves that goods which left after a void are not forgotten: the word is kept and shown."""
    flow = Flow()
    shipment = flow.labelled(1)
    flow.void(shipment.id)
    receipt = flow.manifest().receipt
    assert outcome(receipt) == "HELD"
    assert "was voided before this confirm" in receipt.held_because.message
    assert len(flow.held()) == 1
    assert flow.state("shipment", shipment.id) == "VOIDED"
