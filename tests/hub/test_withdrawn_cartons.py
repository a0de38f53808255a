"""Cartons that stay at the dock for good, of lines that leave with several shipments."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock_hub.objects import departures, shortages
from decisions import WMS, request_id
from first_flow import SHIPMENTS, Flow, at, each, order, package, scan
from hypothesis import given, settings
from hypothesis import strategies as st

LINES = (1, 2)


def released(ordered: dict[int, int]) -> tuple[Flow, str]:
    """A company with an order of these quantities by line, and its fulfillment request."""
    flow = Flow()
    message = order(lines=len(ordered))
    for line in message.lines:
        line.quantity.value = str(ordered[line.line_number])
    _, (request,) = flow.released(message)
    return flow, request


def pack(flow: Flow, request: str, number: str, cartons: dict[str, tuple[int, int]]) -> Any:
    """A shipment of cartons, each with so much of a line: number -> (line, quantity)."""
    packages = []
    for name, (line, quantity) in cartons.items():
        packages.append(package(name, line))
        packages[-1].contents[0].quantity.value = str(quantity)
    return flow.pack(request, *packages, number=number).shipment


def confirm(flow: Flow, number: str, *cartons: str, cancelled: dict[int, int]) -> None:
    """A ship confirm of these cartons; none: it only cancels."""
    report = shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(),
        shipment_number=number,
        manifest_time=at(flow.now),
        package_numbers=cartons,
    )
    for line, quantity in cancelled.items():
        row = shipment_pb2.LineQuantity(line_number=line, quantity=each(str(quantity)))
        report.cancelled.append(row)
    flow.call(f"{SHIPMENTS}/ManifestShipment", report, WMS)


def withdrawn(flow: Flow) -> set[str]:
    """Numbers of the cartons that are said to stay behind."""
    found = set()
    for shipment in flow.all("shipment"):
        numbers = {carton.id: carton.number for carton in shipment.packages}
        found |= {numbers[row.package_id] for row in shipment.progress if row.withdrawn}
    return found


def order_state(flow: Flow) -> str:
    (message,) = flow.all("order")
    return str(flow.state("order", message.id))


TWO = {"SHP-A": {"A1": (1, 3), "A2": (1, 2)}, "SHP-B": {"B1": (1, 3), "B2": (1, 2)}}


@pytest.mark.parametrize("all_of_the_line", [False, True])
def test_each_of_two_shipments_leaves_a_carton_behind(all_of_the_line: bool) -> None:
    """Proves that a line of which two shipments each leave a cancelled carton at the dock is done:
    both are withdrawn, the order is shipped, and delivered once the others arrive, also where each
    confirm tells what is short of the whole line."""
    flow, request = released({1: 10})
    shipments = [pack(flow, request, *pair) for pair in TWO.items()]
    confirm(flow, "SHP-A", "A1", cancelled={1: 2})
    assert withdrawn(flow) == {"A2"}
    assert order_state(flow) == "PARTIALLY_SHIPPED"
    confirm(flow, "SHP-B", "B1", cancelled={1: 4 if all_of_the_line else 2})
    assert withdrawn(flow) == {"A2", "B2"}
    assert flow.state("fulfillment_request", request) == "SHIPPED"
    assert order_state(flow) == "SHIPPED"
    for number, shipment in enumerate(shipments):
        flow.label(shipment.id, shipment.packages[0].id, f"1Z{number}")
        flow.report(scan("DELIVERED", flow.now, number=f"1Z{number}"))
    assert order_state(flow) == "DELIVERED"


def test_a_carton_stays_in_question_until_the_rest_is_packed() -> None:
    """Proves that a carton whose confirm cancels as much as it holds is not withdrawn while nobody
    knows whether that was short at the pick, and is as soon as the rest of the line has left."""
    flow, request = released({1: 10})
    pack(flow, request, "SHP-A", TWO["SHP-A"])
    confirm(flow, "SHP-A", "A1", cancelled={1: 2})
    assert withdrawn(flow) == set()
    pack(flow, request, "SHP-B", {"B1": (1, 5)})
    confirm(flow, "SHP-B", "B1", cancelled={})
    assert withdrawn(flow) == {"A2"}
    assert order_state(flow) == "SHIPPED"


def test_an_order_is_not_shipped_while_a_carton_may_leave() -> None:
    """Proves that a carton which stays for now keeps its order partially shipped when another
    shipment of the line leaves whole, and that the order is shipped with that carton."""
    flow, request = released({1: 10})
    for pair in TWO.items():
        pack(flow, request, *pair)
    confirm(flow, "SHP-A", "A1", cancelled={})
    confirm(flow, "SHP-B", "B1", "B2", cancelled={})
    assert (withdrawn(flow), order_state(flow)) == (set(), "PARTIALLY_SHIPPED")
    confirm(flow, "SHP-A", "A2", cancelled={})
    assert order_state(flow) == "SHIPPED"


@pytest.mark.parametrize("by_another", [False, True])
def test_what_arrived_before_the_rest_is_cancelled_is_delivered(by_another: bool) -> None:
    """Proves that a shipment whose other cartons have arrived is delivered when what stayed behind
    is cancelled, and so is its order; be it that only another shipment's confirm shows it."""
    flow, request = released({1: 10})
    first = pack(flow, request, "SHP-A", TWO["SHP-A"])
    if not by_another:
        pack(flow, request, "SHP-B", {"B1": (1, 5)})
    confirm(flow, "SHP-A", "A1", cancelled={1: 2} if by_another else {})
    flow.label(first.id, first.packages[0].id, "1ZA")
    flow.report(scan("DELIVERED", flow.now, number="1ZA"))
    assert flow.state("shipment", first.id) == "IN_TRANSIT"
    if by_another:
        pack(flow, request, "SHP-B", {"B1": (1, 5)})
        confirm(flow, "SHP-B", "B1", cancelled={})
    else:
        confirm(flow, "SHP-A", cancelled={1: 2})
    assert flow.state("shipment", first.id) == "DELIVERED"
    assert flow.object("shipment", first.id).HasField("delivered_time")


def test_a_void_does_not_bring_a_withdrawn_carton_back() -> None:
    """Proves that a carton which stays behind for good does so when another shipment is voided and
    packed again, and that the order is shipped when that has left, and not before."""
    flow, request = released({1: 10})
    pack(flow, request, "SHP-A", TWO["SHP-A"])
    second = pack(flow, request, "SHP-B", {"B1": (1, 5)})
    confirm(flow, "SHP-A", "A1", cancelled={1: 2})
    flow.void(second.id)
    assert order_state(flow) == "PARTIALLY_SHIPPED"
    confirm(flow, "SHP-A", cancelled={1: 2})
    assert (withdrawn(flow), order_state(flow)) == ({"A2"}, "PARTIALLY_SHIPPED")
    pack(flow, request, "SHP-C", {"C1": (1, 5)})
    assert order_state(flow) == "PARTIALLY_SHIPPED"
    confirm(flow, "SHP-C", "C1", cancelled={})
    assert (withdrawn(flow), order_state(flow)) == ({"A2"}, "SHIPPED")


def test_what_is_cancelled_may_be_what_was_voided() -> None:
    """Proves that a carton which may still leave is not withdrawn by a word that may be of what was
    voided, and that the order waits for the carton."""
    flow, request = released({1: 20})
    pack(flow, request, "SHP-A", {"A1": (1, 5), "A2": (1, 5)})
    voided = pack(flow, request, "SHP-B", {"B1": (1, 10)})
    flow.void(voided.id)
    confirm(flow, "SHP-A", "A1", cancelled={1: 10})
    assert (withdrawn(flow), order_state(flow)) == (set(), "PARTIALLY_SHIPPED")
    confirm(flow, "SHP-A", "A2", cancelled={1: 10})
    assert (withdrawn(flow), order_state(flow)) == (set(), "SHIPPED")


def test_what_was_packed_before_the_void_takes_its_place() -> None:
    """Proves that an order of which all has left is shipped, where goods were packed a second time
    before the first shipment of them was voided."""
    flow, request = released({1: 10})
    first = pack(flow, request, "SHP-A", {"A1": (1, 10)})
    pack(flow, request, "SHP-B", {"B1": (1, 10)})
    flow.void(first.id)
    confirm(flow, "SHP-B", "B1", cancelled={})
    assert order_state(flow) == "SHIPPED"


@pytest.mark.parametrize("apart", [0, 1])
def test_what_was_packed_in_the_batch_of_a_void_came_after_it(apart: int) -> None:
    """Proves that goods which are packed again at the time of the void are not awaited any more."""
    voided = shipment_pb2.Shipment(
        id="1", state=shipment_pb2.SHIPMENT_STATE_VOIDED, packages=[package("B1", 1)]
    )
    again = shipment_pb2.Shipment(
        id="2", state=shipment_pb2.SHIPMENT_STATE_PACKED, packages=[package("C1", 1)]
    )
    voided.create_time.FromMicroseconds(1_000)
    voided.void_time.FromMicroseconds(2_000)
    again.create_time.FromMicroseconds(2_000 + apart)
    ordered = departures.amounts(voided.packages[0].contents)
    assert shortages.is_awaited(ordered, [voided])
    assert not shortages.is_awaited(ordered, [voided, again])
    voided.create_time.FromMicroseconds(2_000)
    assert shortages.is_awaited(ordered, [voided])


@dataclass(frozen=True)
class Carton:
    """line, quantity, and whether it leaves; else it is cancelled."""

    line: int
    quantity: int
    leaves: bool


CARTONS = st.lists(
    st.builds(Carton, st.sampled_from(LINES), st.integers(1, 4), st.booleans()),
    min_size=1,
    max_size=4,
)
SHORT = st.fixed_dictionaries({line: st.integers(0, 2) for line in LINES})


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(CARTONS, SHORT), min_size=1, max_size=4), st.data())
def test_only_what_is_cancelled_is_withdrawn_and_all_of_it(
    shipments: list[tuple[list[Carton], dict[int, int]]], data: st.DataObject
) -> None:
    """Proves that of cartons of two lines in several shipments, which leave one by one or are
    cancelled, beside what was short at the pick, in any order, none that leaves is ever withdrawn,
    and that all that were cancelled are in the end, when the order is shipped, and not before."""
    # A shipment of which nothing leaves is voided, not confirmed.
    shipments = [(cartons, short) for cartons, short in shipments if any(c.leaves for c in cartons)]
    if not shipments:
        return
    ordered: dict[int, int] = dict.fromkeys(LINES, 0)
    told: dict[int, dict[int, int]] = {}
    waiting: dict[int, list[str]] = defaultdict(list)
    stays: set[str] = set()
    for number, (cartons, short) in enumerate(shipments):
        told[number] = dict(short)
        for place, carton in enumerate(cartons):
            ordered[carton.line] += carton.quantity
            if carton.leaves:
                waiting[number].append(f"C{number}-{place}")
            else:
                stays.add(f"C{number}-{place}")
                told[number][carton.line] += carton.quantity
        for line, amount in short.items():
            ordered[line] += amount
    for line in LINES:
        if not ordered[line]:
            # Nothing of it was found at the pick.
            ordered[line] = told[0][line] = 1
    flow, request = released(ordered)
    for number, (cartons, _) in enumerate(shipments):
        named = {f"C{number}-{place}": (c.line, c.quantity) for place, c in enumerate(cartons)}
        pack(flow, request, f"SHP-{number}", named)
    while waiting:
        assert order_state(flow) in ("RELEASED", "PARTIALLY_SHIPPED")
        number = data.draw(st.sampled_from(sorted(waiting)))
        leaving = waiting[number].pop(0)
        says = not waiting[number] or data.draw(st.booleans())
        confirm(flow, f"SHP-{number}", leaving, cancelled=told[number] if says else {})
        assert withdrawn(flow) <= stays
        if not waiting[number]:
            del waiting[number]
    assert withdrawn(flow) == stays
    assert order_state(flow) == "SHIPPED"
