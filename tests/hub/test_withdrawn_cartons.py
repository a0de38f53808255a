"""Cartons that stay at the dock for good, of lines that leave with several shipments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock_hub.objects import departures, shortages
from decisions import WMS, request_id
from first_flow import FULFILLMENTS, SHIPMENTS, Flow, at, each, order, package, scan
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


def pack(
    flow: Flow, request: str, number: str, cartons: dict[str, tuple[int, int]], unit: str = "EA"
) -> Any:
    """A shipment of cartons, each with so much of a line: number -> (line, quantity)."""
    packages = []
    for name, (line, quantity) in cartons.items():
        packages.append(package(name, line))
        packages[-1].contents[0].quantity.value = str(quantity)
        packages[-1].contents[0].quantity.unit = unit
    return flow.pack(request, *packages, number=number).shipment


def confirm(
    flow: Flow,
    number: str,
    *cartons: str,
    cancelled: dict[int, int],
    shipped: dict[int, int] | None = None,
    unit: str = "EA",
) -> None:
    """A ship confirm of these cartons; none: it only cancels. shipped: None: all that they hold."""
    report = shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(),
        shipment_number=number,
        manifest_time=at(flow.now),
        package_numbers=cartons,
    )
    for rows, told in ((report.shipped, shipped or {}), (report.cancelled, cancelled)):
        for line, quantity in told.items():
            row = shipment_pb2.LineQuantity(line_number=line, quantity=each(str(quantity)))
            row.quantity.unit = unit
            rows.append(row)
    flow.call(f"{SHIPMENTS}/ManifestShipment", report, WMS)


def picks_short(flow: Flow, request: str, short: dict[int, int], unit: str) -> None:
    """The warehouse says of the pick what it did not find of each line."""
    report = fulfillment_service_pb2.ReportPickRequest(
        request_id=request_id(), fulfillment_request_id=request, pick_time=at(flow.now)
    )
    for line, quantity in short.items():
        row = report.short.add(line_number=line)
        row.quantity.value, row.quantity.unit = str(quantity), unit
    flow.call(f"{FULFILLMENTS}/ReportPick", report, WMS)


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
    assert shortages.is_awaited(ordered, [voided], [])
    assert not shortages.is_awaited(ordered, [voided, again], [])
    voided.create_time.FromMicroseconds(2_000)
    assert shortages.is_awaited(ordered, [voided], [])


@pytest.mark.parametrize("beside", [False, True])
def test_a_carton_in_another_unit_stays_by_its_own_shipments_word(beside: bool) -> None:
    """Proves that a carton of cases, of a line that pieces were asked for, or of pieces beside
    cases, is withdrawn when its own shipment's confirm cancels all of it, and not before."""
    flow, request = released({1: 24})
    unit = "EA" if beside else "CS"
    if beside:
        pack(flow, request, "SHP-0", {"01": (1, 1)}, "CS")
    pack(flow, request, "SHP-A", {"A1": (1, 2), "A2": (1, 2)}, unit)
    if beside:
        confirm(flow, "SHP-0", "01", cancelled={})
    confirm(flow, "SHP-A", "A1", cancelled={1: 1}, unit=unit)
    assert (withdrawn(flow), order_state(flow)) == (set(), "PARTIALLY_SHIPPED")
    confirm(flow, "SHP-A", cancelled={1: 2}, unit=unit)
    assert (withdrawn(flow), order_state(flow)) == ({"A2"}, "SHIPPED")


@pytest.mark.parametrize("unit", ["EA", "CS"])
def test_what_was_taken_out_of_one_carton_does_not_keep_another_one_back(unit: str) -> None:
    """Proves that a carton which leaves later is not withdrawn by a confirm that cancels what was
    taken out of another one, in whatever unit, and is when the rest is cancelled, too."""
    flow, request = released({1: 3})
    pack(flow, request, "SHP-A", {"A1": (1, 1), "A2": (1, 2)}, unit)
    confirm(flow, "SHP-A", "A2", shipped={1: 1}, cancelled={1: 1}, unit=unit)
    assert (withdrawn(flow), order_state(flow)) == (set(), "PARTIALLY_SHIPPED")
    confirm(flow, "SHP-A", cancelled={1: 2}, unit=unit)
    assert (withdrawn(flow), order_state(flow)) == ({"A1"}, "SHIPPED")


@pytest.mark.parametrize("unit", ["EA", "CS"])
def test_what_was_short_at_the_pick_does_not_keep_a_carton_back(unit: str) -> None:
    """Proves that a carton which leaves later is not withdrawn by a confirm that cancels what was
    short at the pick, in whatever unit, and is when it is cancelled beside that."""
    flow, request = released({1: 5})
    picks_short(flow, request, {1: 2}, unit)
    pack(flow, request, "SHP-A", {"A1": (1, 2), "A2": (1, 1)}, unit)
    confirm(flow, "SHP-A", "A2", cancelled={1: 2}, unit=unit)
    assert (withdrawn(flow), order_state(flow)) == (set(), "PARTIALLY_SHIPPED")
    confirm(flow, "SHP-A", cancelled={1: 4}, unit=unit)
    assert (withdrawn(flow), order_state(flow)) == ({"A1"}, "SHIPPED")


def test_a_confirm_reckons_as_often_for_many_shipments_as_for_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a confirm works out what is missing of a request as often beside many shipments
    that have left in part as beside two."""
    counts = []
    reckoned = shortages.reckoned
    for others in (2, 9):
        flow, request = released({1: 100})
        for number in range(others + 1):
            cartons = {f"A{number}": (1, 3), f"B{number}": (1, 2)}
            pack(flow, request, f"SHP-{number}", cartons)
        for number in range(others):
            confirm(flow, f"SHP-{number}", f"A{number}", cancelled={})
        calls: list[int] = []

        def counted(requested: Any, shipments: Any, calls: list[int] = calls) -> Any:
            calls.append(len(shipments))
            return reckoned(requested, shipments)

        monkeypatch.setattr(shortages, "reckoned", counted)
        confirm(flow, f"SHP-{others}", f"A{others}", cancelled={})
        counts.append(len(calls))
    assert counts[0] == counts[1]


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


VOIDS_MAX = 3


class Dock:
    """Shipments of a request that are packed, leave carton by carton, are voided and packed again.

    stays: cartons that are cancelled, of shipments that are not voided.
    """

    def __init__(self, flow: Flow, request: str, unit: str) -> None:
        self.flow, self.request, self.unit = flow, request, unit
        self.packed: dict[str, tuple[list[Carton], dict[int, int]]] = {}
        self.waiting: dict[str, list[str]] = {}
        self.to_pack: list[tuple[list[Carton], dict[int, int]]] = []
        self.stays: set[str] = set()
        self.voided: set[str] = set()
        self.count = 0

    def pack(self, cartons: list[Carton], told: dict[int, int]) -> None:
        number = f"SHP-{self.count}"
        self.count += 1
        names = [f"{number}-{place}" for place in range(len(cartons))]
        named = dict(zip(names, cartons, strict=True))
        amounts = {name: (carton.line, carton.quantity) for name, carton in named.items()}
        pack(self.flow, self.request, number, amounts, self.unit)
        self.packed[number] = cartons, told
        self.waiting[number] = [name for name, carton in named.items() if carton.leaves]
        self.stays |= {name for name, carton in named.items() if not carton.leaves}

    def leave(self, number: str, *, says: bool) -> None:
        """The next carton leaves; with the last of them what is short is said in any case."""
        carton = self.waiting[number].pop(0)
        told = self.packed[number][1] if says or not self.waiting[number] else {}
        confirm(self.flow, number, carton, cancelled=told, unit=self.unit)

    def void(self, number: str) -> None:
        (shipment,) = (each for each in self.flow.all("shipment") if each.number == number)
        self.flow.void(shipment.id)
        names = {carton.number for carton in shipment.packages}
        self.voided |= names
        self.stays -= names
        self.to_pack.append(self.packed.pop(number))
        del self.waiting[number]

    @property
    def open(self) -> list[str]:
        """Shipments of which cartons are still to leave."""
        return sorted(number for number, cartons in self.waiting.items() if cartons)

    @property
    def withdrawn(self) -> set[str]:
        return withdrawn(self.flow) - self.voided


def not_found(parts: list[tuple[list[Carton], dict[int, int]]]) -> dict[int, int]:
    """What the shipments tell as cancelled that is in no carton."""
    short = {line: sum(told[line] for _, told in parts) for line in LINES}
    for cartons, _ in parts:
        for carton in cartons:
            short[carton.line] -= 0 if carton.leaves else carton.quantity
    return short


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(CARTONS, SHORT), min_size=1, max_size=4),
    st.sampled_from(["EA", "CS"]),
    st.data(),
)
def test_only_what_is_cancelled_is_withdrawn_and_all_of_it(
    shipments: list[tuple[list[Carton], dict[int, int]]], unit: str, data: st.DataObject
) -> None:
    """Proves that of cartons of two lines in several shipments, which leave one by one or are
    cancelled, are voided and packed again, beside what was short at the pick, in any order, none
    that leaves is ever withdrawn, and that all that were cancelled are in the end, when the order
    is shipped, and not before. In another unit than was asked for the pick says what was short
    there, and of goods that were voided nobody says how much of the order they are."""
    # A shipment of which nothing leaves is voided, not confirmed.
    shipments = [(cartons, short) for cartons, short in shipments if any(c.leaves for c in cartons)]
    if not shipments:
        return
    ordered: dict[int, int] = dict.fromkeys(LINES, 0)
    parts: list[tuple[list[Carton], dict[int, int]]] = []
    for cartons, short in shipments:
        told = dict(short)
        for carton in cartons:
            ordered[carton.line] += carton.quantity
            told[carton.line] += 0 if carton.leaves else carton.quantity
        for line, amount in short.items():
            ordered[line] += amount
        parts.append((cartons, told))
    for line in LINES:
        if not ordered[line]:
            # Nothing of it was found at the pick.
            ordered[line] = parts[0][1][line] = 1
    dock = Dock(*released(ordered), unit)
    if unit != "EA":
        picks_short(dock.flow, dock.request, not_found(parts), unit)
    for cartons, told in parts:
        dock.pack(cartons, told)
    voids = 0
    while dock.open or dock.to_pack:
        if unit == "EA":
            assert order_state(dock.flow) in ("RELEASED", "PARTIALLY_SHIPPED")
        steps = ["leave"] * bool(dock.open) + ["pack"] * bool(dock.to_pack)
        steps += ["void"] * (bool(dock.packed) and voids < VOIDS_MAX)
        step = data.draw(st.sampled_from(steps))
        if step == "leave":
            dock.leave(data.draw(st.sampled_from(dock.open)), says=data.draw(st.booleans()))
        elif step == "pack":
            dock.pack(*dock.to_pack.pop(0))
        else:
            dock.void(data.draw(st.sampled_from(sorted(dock.packed))))
            voids += 1
        assert dock.withdrawn <= dock.stays
    assert dock.withdrawn == dock.stays
    assert order_state(dock.flow) == "SHIPPED"
