"""A fulfillment request that is packed in several goes, of which each leaves when it is ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock_hub.objects import departures, resources, shortages
from decisions import CONTRACT, WMS, request_id
from first_flow import FULFILLMENTS, SHIPMENTS, Flow, at, each, order, package, scan, seconds
from hypothesis import given, settings
from hypothesis import strategies as st
from test_returns import said

KIND = "fulfillment_request"


def asked(quantity: str, unit: str = "EA", lines: int = 1) -> tuple[Flow, str]:
    """A company with an order of so much by line, and its fulfillment request."""
    flow = Flow()
    message = order(lines=lines)
    for line in message.lines:
        line.quantity.value, line.quantity.unit = quantity, unit
    _, (request,) = flow.released(message)
    return flow, request


def pack(flow: Flow, request: str, number: str, quantity: str, unit: str = "EA") -> Any:
    """A shipment with a label and so much of line 1 in one carton of its name."""
    carton = package(f"LPN-{number}")
    carton.contents[0].quantity.value, carton.contents[0].quantity.unit = quantity, unit
    shipment = flow.pack(request, carton, number=number).shipment
    flow.label(shipment.id, shipment.packages[0].id, f"1Z-{number}")
    return shipment


def confirm(flow: Flow, number: str, shipped: str = "", cancelled: str = "") -> None:
    """The ship confirm of a shipment: all of it left, unless it says how much of line 1."""
    report = shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(), shipment_number=number, manifest_time=at(flow.now)
    )
    for rows, amount in ((report.shipped, shipped), (report.cancelled, cancelled)):
        if amount:
            rows.append(shipment_pb2.LineQuantity(line_number=1, quantity=each(amount)))
    flow.call(f"{SHIPMENTS}/ManifestShipment", report, WMS)


def short(flow: Flow, request: str, quantity: str) -> Any:
    """The warehouse says how much of line 1 could not be found; its answer."""
    report = fulfillment_service_pb2.ReportPickRequest(
        request_id=request_id(), fulfillment_request_id=request, pick_time=at(flow.now)
    )
    row = fulfillment_pb2.FulfillmentLineQuantity(line_number=1, quantity=each(quantity))
    report.short.append(row)
    return flow.call(f"{FULFILLMENTS}/ReportPick", report, WMS).fulfillment_request


def picks(flow: Flow, request: str, number: str, picked: str, missing: str = "") -> None:
    """The warehouse says what a pick of this number found of line 1, and what not."""
    report = fulfillment_service_pb2.ReportPickRequest(
        request_id=request_id(),
        fulfillment_request_id=request,
        pick_number=number,
        pick_time=at(flow.now),
    )
    for rows, amount in ((report.picked, picked), (report.short, missing)):
        if amount:
            row = fulfillment_pb2.FulfillmentLineQuantity(line_number=1, quantity=each(amount))
            rows.append(row)
    flow.call(f"{FULFILLMENTS}/ReportPick", report, WMS)


def arrives(flow: Flow, number: str) -> None:
    flow.report(scan("DELIVERED", flow.now, number=f"1Z-{number}"))


def states(flow: Flow) -> tuple[str, str]:
    """Of the request and of the order."""
    (request,), (message,) = flow.all(KIND), flow.all("order")
    return str(flow.state(KIND, request.id)), str(flow.state("order", message.id))


def test_a_request_is_shipped_when_all_of_it_has_left() -> None:
    """Proves that a request and its order are not shipped, nor delivered, while goods of the
    request are still to be packed or stand at the dock, though what was packed first has left and
    arrived, and that they are with the last of it."""
    flow, request = asked("10")
    pack(flow, request, "A", "6")
    confirm(flow, "A")
    assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
    arrives(flow, "A")
    assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
    pack(flow, request, "B", "4")
    assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
    confirm(flow, "B")
    assert states(flow) == ("SHIPPED", "SHIPPED")
    arrives(flow, "B")
    assert states(flow) == ("DELIVERED", "DELIVERED")


@pytest.mark.parametrize("by", ["pick", "late pick", "confirm", "late confirm"])
def test_what_is_short_is_not_waited_for(by: str) -> None:
    """Proves that a request of which the rest is short is shipped, whether the warehouse says so by
    its pick or with the confirm, and be that after all that was packed has arrived."""
    flow, request = asked("10")
    if by == "pick":
        short(flow, request, "2")
    pack(flow, request, "A", "8")
    confirm(flow, "A", cancelled="2" if by == "confirm" else "")
    if by in ("pick", "confirm"):
        assert states(flow) == ("SHIPPED", "SHIPPED")
    arrives(flow, "A")
    if by == "late pick":
        assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
        settled = short(flow, request, "2")
        assert settled.state == fulfillment_pb2.FULFILLMENT_STATE_DELIVERED
    if by == "late confirm":
        assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
        confirm(flow, "A", cancelled="2")
    assert states(flow) == ("DELIVERED", "DELIVERED")


def test_what_a_second_pick_found_is_waited_for() -> None:
    """Proves that a request of which one pick was short and a second one found the rest is not
    shipped before that rest has left, and that the order is then short of nothing."""
    flow, request = asked("10")
    picks(flow, request, "P1", "6", "4")
    picks(flow, request, "P2", "4")
    pack(flow, request, "A", "6")
    confirm(flow, "A")
    arrives(flow, "A")
    assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
    pack(flow, request, "B", "4")
    confirm(flow, "B")
    assert states(flow) == ("SHIPPED", "SHIPPED")
    (message,) = flow.all("order")
    assert message.progress[0].short.value == "0"


def test_what_no_pick_found_is_not_waited_for() -> None:
    """Proves that of two picks which were both short only what neither found is short."""
    flow, request = asked("10")
    picks(flow, request, "P1", "6", "4")
    picks(flow, request, "P2", "1", "3")
    pack(flow, request, "A", "6")
    confirm(flow, "A")
    assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
    pack(flow, request, "B", "1")
    confirm(flow, "B")
    assert states(flow) == ("SHIPPED", "SHIPPED")


def test_goods_that_were_taken_out_of_a_carton_are_not_packed_again() -> None:
    """Proves that a carton which leaves with less than it held leaves nothing to be packed."""
    flow, request = asked("10")
    pack(flow, request, "A", "10")
    confirm(flow, "A", shipped="8")
    assert states(flow) == ("SHIPPED", "SHIPPED")


@pytest.mark.parametrize("arrived", [False, True])
def test_a_correction_of_what_is_in_a_carton_ends_the_request(arrived: bool) -> None:
    """Proves that a request and its order whose cartons were said to hold less than was asked for
    come as far as all that left, once the warehouse corrects what was in the cartons."""
    flow, request = asked("10")
    shipment = pack(flow, request, "A", "8")
    confirm(flow, "A")
    if arrived:
        arrives(flow, "A")
    assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
    corrected = resources.clone(flow.object("shipment", shipment.id))
    corrected.packages[0].contents[0].quantity.value = "10"
    flow.update_shipment(corrected, "packages")
    assert states(flow) == (("DELIVERED",) * 2 if arrived else ("SHIPPED",) * 2)


def test_a_void_of_what_was_packed_twice_ends_the_request() -> None:
    """Proves that a request is shipped by the void of a shipment whose goods were packed and left
    with another one."""
    flow, request = asked("10")
    first = pack(flow, request, "A", "10")
    pack(flow, request, "B", "10")
    confirm(flow, "B")
    assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
    flow.void(first.id)
    assert states(flow) == ("SHIPPED", "SHIPPED")


def test_a_void_leaves_the_goods_to_be_packed() -> None:
    """Proves that a request waits for goods of a voided shipment while nobody packed them again."""
    flow, request = asked("10")
    pack(flow, request, "A", "6")
    second = pack(flow, request, "B", "4")
    flow.void(second.id)
    confirm(flow, "A")
    assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
    pack(flow, request, "C", "4")
    confirm(flow, "C")
    assert states(flow) == ("SHIPPED", "SHIPPED")


@pytest.mark.parametrize("found", ["10", "8"])
def test_voided_goods_that_a_pick_is_short_of_are_not_awaited(found: str) -> None:
    """Proves that an order ends with what has left where a pick says of the goods of a voided
    shipment that they are short, also where it was short of others before."""
    flow, request = asked("10")
    picks(flow, request, "P1", found, str(10 - int(found)))
    pack(flow, request, "A", "6")
    second = pack(flow, request, "B", str(int(found) - 6))
    confirm(flow, "A")
    flow.void(second.id)
    assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
    picks(flow, request, "P1", "6", "4")
    assert states(flow) == ("SHIPPED", "SHIPPED")
    arrives(flow, "A")
    assert states(flow) == ("DELIVERED", "DELIVERED")


@pytest.mark.parametrize(("missing", "awaited"), [("2", True), ("3", True), ("4", False)])
def test_what_was_short_before_a_void_is_not_what_was_voided(missing: str, awaited: bool) -> None:
    """Proves that voided goods are awaited though a pick was short of as much that was in no
    carton, until it is short of both: 6 of 10 left, 2 were voided, and 2 were never packed."""
    flow, request = asked("10")
    pack(flow, request, "A", "6")
    second = pack(flow, request, "B", "2")
    confirm(flow, "A")
    flow.void(second.id)
    short(flow, request, missing)
    (ordered,) = flow.all("order")
    found = shortages.is_awaited(
        departures.amounts(ordered.lines), flow.all("shipment"), flow.all(KIND)
    )
    assert found is awaited


@pytest.mark.parametrize("others", [False, True])
def test_goods_that_are_packed_in_another_unit_are_not_awaited(others: bool) -> None:
    """Proves that goods of a voided shipment which are packed again by the case, where pieces were
    asked for, have left with the cases, also where another shipment had left before the void."""
    flow, request = asked("24")
    if others:
        pack(flow, request, "0", "12")
        confirm(flow, "0")
    first = pack(flow, request, "A", "12" if others else "24")
    flow.void(first.id)
    pack(flow, request, "B", "1" if others else "2", "CS")
    assert states(flow)[1] in ("RELEASED", "PARTIALLY_SHIPPED")
    confirm(flow, "B")
    assert states(flow) == ("SHIPPED", "SHIPPED")


def test_the_trace_says_what_is_still_to_be_packed() -> None:
    """Proves that a trace names the warehouse, the request and the goods that it has to pack or to
    call short, once what was packed is with the carrier."""
    flow, request = asked("10")
    pack(flow, request, "A", "6")
    confirm(flow, "A")
    (message,) = flow.all("order")
    while waiting := [each for each in flow.deliveries() if each.pending]:
        flow.settle(waiting[0])
    assert said(flow, message.id) == (
        "Under way: warehouse DC1 has to pack the rest of SO-1-1 (4 EA of line 1), or to say that "
        "it is short, since 0 s."
    )


@pytest.mark.parametrize("voids", [False, True])
def test_the_trace_counts_the_wait_from_the_last_pack_or_void(voids: bool) -> None:
    """Proves that a trace says since when a warehouse owes the rest of a request by what it packed
    or voided last, whatever picks are told and whatever leaves since."""
    flow, request = asked("10")
    pack(flow, request, "A", "6")
    if voids:
        second = pack(flow, request, "B", "3")
        flow.now += seconds(1800)
        flow.void(second.id)
    flow.now += seconds(3600)
    confirm(flow, "A")
    picks(flow, request, "P1", "6")
    (message,) = flow.all("order")
    while waiting := [each for each in flow.deliveries() if each.pending]:
        flow.settle(waiting[0])
    assert said(flow, message.id).endswith(
        "(4 EA of line 1), or to say that it is short, since 1 h."
    )


@dataclass(frozen=True)
class Go:
    """What is packed in one go, what of it is taken out at the dock, and what it says is short."""

    packed: int
    taken_out: int
    short: int


GOES = st.lists(
    st.builds(Go, st.integers(2, 6), st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=4
)


@settings(max_examples=80, deadline=None)
@given(GOES, st.data())
def test_a_request_is_shipped_with_its_last_goods_and_not_before(
    goes: list[Go], data: st.DataObject
) -> None:
    """Proves that a request which is packed in several goes, of which each may be voided and packed
    again and tells what is short of its own, is shipped with the last that is packed or said, in
    whatever order they are packed and leave, and its order is shipped and delivered with it."""
    flow, request = asked(str(sum(go.packed + go.short for go in goes)))
    to_pack, left, count = list(range(len(goes))), list[str](), 0
    at_dock: dict[str, tuple[int, Any]] = {}
    while to_pack or at_dock:
        steps = ["pack"] * bool(to_pack) + ["leave", "void"] * bool(at_dock)
        step = data.draw(st.sampled_from(steps))
        if step == "pack":
            go = to_pack.pop(data.draw(st.integers(0, len(to_pack) - 1)))
            count += 1
            at_dock[f"S{count}"] = (go, pack(flow, request, f"S{count}", str(goes[go].packed)))
            continue
        name = data.draw(st.sampled_from(sorted(at_dock)))
        go, shipment = at_dock[name]
        if step == "void" and count < 12:
            flow.void(shipment.id)
            to_pack.append(go)
        else:
            taken, lacks = goes[go].taken_out, goes[go].short
            confirm(flow, name, str(goes[go].packed - taken), str(taken + lacks))
            left.append(name)
        del at_dock[name]
        done = not to_pack and not at_dock
        assert (states(flow)[0] == "SHIPPED") is done
        assert (states(flow)[1] == "SHIPPED") is done
    for name in left:
        assert states(flow) == ("SHIPPED", "SHIPPED")
        arrives(flow, name)
    assert states(flow) == ("DELIVERED", "DELIVERED")


@pytest.mark.parametrize("what", ["order", "pick", "pack", "confirm"])
def test_nothing_below_zero_is_ordered_picked_packed_or_confirmed(what: str) -> None:
    """Proves that a quantity below zero breaks the contract, that the field and the rule are named,
    and that 0 does not."""
    for value, broken in (("-3", True), ("-0.5", True), ("0", False), ("-0", False)):
        request, field = negative(what, each(value))
        found = CONTRACT.validate(request.DESCRIPTOR.full_name, request.SerializeToString())
        told = [(each.field, each.description) for each in found if each.field.endswith("quantity")]
        assert told == ([(field, "must not be below zero")] if broken else [])


def negative(what: str, quantity: Any) -> tuple[Any, str]:
    """A request that tells this quantity, and the field which it is in."""
    if what == "order":
        message = order()
        message.lines[0].quantity.CopyFrom(quantity)
        return order_service_pb2.CreateOrderRequest(
            request_id=request_id(), order=message
        ), "order.lines[0].quantity"
    if what == "pack":
        carton = package()
        carton.contents[0].quantity.CopyFrom(quantity)
        return fulfillment_service_pb2.ReportPackedRequest(
            request_id=request_id(), packages=[carton]
        ), "packages[0].contents[0].quantity"
    if what == "pick":
        row = fulfillment_pb2.FulfillmentLineQuantity(line_number=1, quantity=quantity)
        report = fulfillment_service_pb2.ReportPickRequest(request_id=request_id(), short=[row])
        return report, "short[0].quantity"
    left = shipment_pb2.LineQuantity(line_number=1, quantity=quantity)
    return shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(), cancelled=[left]
    ), "cancelled[0].quantity"
