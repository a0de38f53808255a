"""How goods count that are packed, shipped or called short in another unit than the order's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock.unit.v1 import unit_pb2, unit_service_pb2
from crossdock_hub.config import Limits
from crossdock_hub.objects.line_units import converted_items, line_units
from crossdock_hub.objects.shortages import not_compared, still_to_pack
from crossdock_hub.reading.verdict import judge
from crossdock_hub.records import UNIT_CONVERSION as KIND
from crossdock_hub.replacing import replace
from decisions import CARRIER, ERP, request_id
from first_flow import Flow, order, package, scan
from hypothesis import given
from hypothesis import strategies as st
from stored_flow import Books, books, chain_of, situations_of  # noqa: F401
from test_packed_in_several import asked, confirm, pack, states

PER_CASE, PER_PALLET = 12, 480
RATIOS = {"EA": 1, "CS": PER_CASE, "PF": PER_PALLET}


def conversion(unit: str, ratio: str, to_unit: str = "EA", item: str = "SKU-1") -> Any:
    return unit_pb2.UnitConversion(
        number=f"{item}:{unit}:{to_unit}",
        item_number=None if item == "*" else item,
        from_unit=unit,
        to_unit=to_unit,
        numerator=ratio,
        denominator="1",
    )


@dataclass(frozen=True)
class Stored:
    """A unit conversion that was written before those that contradict were refused."""

    message: Any

    def put_into(self, flow: Flow) -> None:
        learn(flow, conversion(self.message.from_unit, "7", "XTR"))
        message = self.message
        (record,) = [r for k, r in flow.records.items() if k[0] == "object" and r.kind == KIND][-1:]
        record = replace(record, message=message, number=message.number)
        message.id = record.id
        flow.records["object", KIND, record.id] = record
        flow.records["number", KIND, message.number] = record.id


def stored_earlier(unit: str, ratio: str, to_unit: str = "EA") -> Stored:
    return Stored(conversion(unit, ratio, to_unit))


SAID = [conversion("CS", "12"), conversion("PF", "480"), conversion("PF", "40", "CS")]


def learn(flow: Flow, *said: Any) -> None:
    """The ERP tells unit conversions."""
    request = unit_service_pb2.UpsertUnitConversionsRequest()
    for each in said:
        entry = request.entries.add(request_id=request_id(), unit_conversion=each)
        entry.update_mask.paths.extend(["item_number", "from_unit", "to_unit"])
        entry.update_mask.paths.extend(["numerator", "denominator"])
    flow.call("unit.v1.UnitService/UpsertUnitConversions", request, ERP)


def sentence(flow: Flow) -> str:
    """What a trace says once no endpoint has anything to do."""
    for key, record in list(flow.records.items()):
        if key[0] == "delivery":
            record.state = "CONFIRMED"
    (made,) = flow.all("order")
    return judge(chain_of(flow, made.id), situations_of(flow), Limits(), flow.now).sentence


def test_a_case_of_a_line_in_pieces_is_not_the_whole_line() -> None:
    """Proves that of 24 pieces of which a case of 12 left 12 are awaited, that the trace says so,
    and that the rest ships the request, whichever unit it is packed in."""
    for unit, rest in (("EA", "12"), ("CS", "1")):
        flow, request = asked("24")
        learn(flow, *SAID)
        pack(flow, request, "A", "1", "CS")
        confirm(flow, "A")
        assert states(flow) == ("PACKED", "PARTIALLY_SHIPPED")
        assert "has to pack the rest of" in sentence(flow)
        assert "(12 EA of line 1)" in sentence(flow) and "compare" not in sentence(flow)
        pack(flow, request, "B", rest, unit)
        confirm(flow, "B")
        assert states(flow) == ("SHIPPED", "SHIPPED")
        assert "compare" not in sentence(flow)


def test_pieces_of_a_line_in_cases_are_counted_in_pieces() -> None:
    """Proves that of 2 cases of which 5 pieces left 19 pieces are awaited: in cases that is no
    decimal, and nothing is rounded."""
    flow, request = asked("2", "CS")
    learn(flow, *SAID)
    pack(flow, request, "A", "5")
    confirm(flow, "A")
    assert states(flow)[0] == "PACKED"
    assert "(19 EA of line 1)" in sentence(flow)
    pack(flow, request, "B", "19")
    confirm(flow, "B")
    assert states(flow) == ("SHIPPED", "SHIPPED")


@pytest.mark.parametrize(
    "said",
    [
        [],
        [conversion("CS", "12", item="SKU-2")],
        [conversion("PF", "40", "CS")],
        [conversion("CS", "12"), stored_earlier("EA", "12", "CS")],
        [conversion("PF", "480"), conversion("PF", "40", "CS"), stored_earlier("CS", "10")],
    ],
    ids=["nothing", "of another item", "half of the way", "turned", "over a third unit"],
)
def test_what_is_not_said_of_the_item_is_not_guessed(said: list[Any]) -> None:
    """Proves that a line whose units nothing relates, or what is stored of the item relates in two
    ways, counts as packed, and that the trace names it."""
    flow, request = asked("24")
    flow.learn_item("SKU-2")
    for each in said:
        if isinstance(each, Stored):
            each.put_into(flow)
        else:
            learn(flow, each)
    pack(flow, request, "A", "1", "CS")
    confirm(flow, "A")
    assert states(flow) == ("SHIPPED", "SHIPPED")
    assert "was asked for in EA and packed, or called short, in CS" in sentence(flow)
    assert "UpsertUnitConversions" in sentence(flow)


def shipped(flow: Flow) -> tuple[str, str]:
    """How much of the one line has left, as the order tells it."""
    (made,) = flow.all("order")
    return made.progress[0].shipped.value, made.progress[0].shipped.unit


def test_an_order_adds_up_what_left_in_several_units() -> None:
    """Proves that of 24 pieces of which a case of 12 and 6 pieces left the order tells 18 pieces,
    and 6 that are short; it told 6 and none of the case. Without a conversion it does that still,
    and of 2 cases of which 5 pieces left it tells pieces."""
    flow, request = asked("24")
    learn(flow, *SAID)
    pack(flow, request, "A", "1", "CS")
    confirm(flow, "A")
    assert shipped(flow) == ("12", "EA")
    pack(flow, request, "B", "6")
    confirm(flow, "B", cancelled="6")
    assert shipped(flow) == ("18", "EA")
    (made,) = flow.all("order")
    assert (made.progress[0].short.value, made.progress[0].short.unit) == ("6", "EA")
    flow, request = asked("24")
    pack(flow, request, "A", "1", "CS")
    confirm(flow, "A")
    assert shipped(flow) == ("1", "CS")
    flow, request = asked("2", "CS")
    learn(flow, *SAID)
    pack(flow, request, "A", "5")
    confirm(flow, "A")
    assert shipped(flow) == ("5", "EA")


CHAINS = {
    "over a third unit": [conversion("PF", "40", "CS"), conversion("CS", "12")],
    "of every item": [conversion("PF", "480", item="*")],
    "of both": [conversion("PF", "40", "CS"), conversion("CS", "12", item="*")],
    "against every item": [
        conversion("PF", "40", "CS"), conversion("CS", "12"), conversion("CS", "10", item="*"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_a_pallet_is_counted_over_its_cases(chain: str) -> None:
    """Proves that of 960 pieces of which a pallet of 40 cases of 12 left 480 are awaited, whoever
    says how much is in each, and that the rest ships the request in cases."""
    flow, request = asked("960")
    for each in CHAINS[chain]:
        learn(flow, each)
    pack(flow, request, "A", "1", "PF")
    confirm(flow, "A")
    assert states(flow)[0] == "PACKED"
    assert "(480 EA of line 1)" in sentence(flow) and "compare" not in sentence(flow)
    learn(flow, conversion("XTR", "3"))
    unit, rest = ("CS", "40") if "third" in chain or "against" in chain else ("EA", "480")
    pack(flow, request, "B", rest, unit)
    confirm(flow, "B")
    assert states(flow) == ("SHIPPED", "SHIPPED")


def test_bags_are_counted_in_grams() -> None:
    """Proves that of 60,000 grams of which two bags of 25 kg left 10,000 are awaited: the item's
    bag and the standard gram are one way."""
    flow, request = asked("60000", "GRM")
    learn(flow, conversion("BG", "25", "KGM"))
    pack(flow, request, "A", "2", "BG")
    confirm(flow, "A")
    assert "(10000 GRM of line 1)" in sentence(flow) and "compare" not in sentence(flow)


def test_many_parcels_in_other_units_are_moved_by_one_report() -> None:
    """Proves that a report of scans reads the unit conversions of all that it moves at once: more
    shipments than a batch has rounds, each of an item of its own that is packed in cases."""
    flow = Flow()
    numbers = [f"A{at:02}" for at in range(flow.rounds_max + 6)]
    for number in numbers:
        item = f"SKU-{number}"
        flow.learn_item(item)
        learn(flow, conversion("CS", "12", item=item))
        message = order(f"SO-{number}")
        message.lines[0].quantity.value, message.lines[0].item_number = "24", item
        _, (request,) = flow.released(message)
        carton = package(f"LPN-{number}")
        content = carton.contents[0]
        content.quantity.value, content.quantity.unit, content.item_number = "2", "CS", item
        shipment = flow.pack(request, carton, number=number).shipment
        flow.label(shipment.id, shipment.packages[0].id, f"1Z-{number}")
        confirm(flow, number)
    report = tracking_service_pb2.ReportTrackingEventsRequest(request_id=request_id())
    report.tracking_events.extend(
        scan("DELIVERED", flow.now, number=f"1Z-{number}") for number in numbers
    )
    flow.call("tracking.v1.TrackingService/ReportTrackingEvents", report, CARRIER)
    assert {flow.state("order", each.id) for each in flow.all("order")} == {"DELIVERED"}


async def test_a_stored_flow_is_read_with_its_conversions(
    books: Books,  # noqa: F811
) -> None:
    """Proves that a trace of what a database has counts lines as the hub did when it decided."""
    flow, request = asked("24")
    learn(flow, *SAID, conversion("CS", "10", item="*"))
    flow.learn_item("SKU-1:A")
    learn(flow, conversion("CS", "9", item="SKU-1:A"))
    pack(flow, request, "A", "1", "CS")
    confirm(flow, "A")
    await books.keep(flow)
    (made,) = flow.all("order")
    chain = await books.reader.chain(made.id)
    found = sorted(record.number or "" for record in chain.conversions)
    own = ["SKU-1:CS:EA", "SKU-1:PF:CS", "SKU-1:PF:EA"]
    assert [number for number in found if number != "SKU-1:A:CS:EA"] == ["*:CS:EA", *own]
    shipments: list[Any] = flow.all("shipment")
    (part,) = flow.all("fulfillment_request")
    assert still_to_pack(part, shipments, chain.units_of(part, shipments)) == {(1, "EA"): 12}


Told = tuple[str, int]
# So much in a unit; what is packed in pallets is a multiple of what is in cases.
TOLD = st.tuples(st.sampled_from(sorted(RATIOS)), st.integers(0, 3))
SHIPMENTS = st.lists(
    st.tuples(st.lists(TOLD, max_size=3), st.lists(TOLD, max_size=2), st.booleans()), max_size=3
)


def pieces(found: dict[tuple[int, str], Decimal]) -> Decimal:
    return sum((q * RATIOS[unit] for (_, unit), q in found.items()), Decimal(0))


def line(row: Any, told: Told, *, in_pieces: bool) -> None:
    unit, quantity = told
    row.line_number = 1
    row.quantity.unit = "EA" if in_pieces else unit
    row.quantity.value = str(quantity * RATIOS[unit] if in_pieces else quantity)


def played(
    ordered: Told, short: Sequence[Told], shipped: Sequence[Any], *, in_pieces: bool
) -> tuple[fulfillment_pb2.FulfillmentRequest, list[shipment_pb2.Shipment]]:
    """A request and its shipments: packed, cancelled with the confirm, and whether it left."""
    request = fulfillment_pb2.FulfillmentRequest()
    asked_for = request.lines.add(item_number="SKU-1")
    line(asked_for, ordered, in_pieces=in_pieces)
    for told in short:
        line(request.short.add(), told, in_pieces=in_pieces)
    shipments = []
    for packed, cancelled, left in shipped:
        shipment = shipment_pb2.Shipment(state=shipment_pb2.SHIPMENT_STATE_PACKED)
        carton = shipment.packages.add(id="p", number="LPN-1")
        for told in packed:
            line(carton.contents.add(), told, in_pieces=in_pieces)
        if left:
            shipment.state = shipment_pb2.SHIPMENT_STATE_MANIFESTED
            departure = shipment.departures.add(package_numbers=["LPN-1"])
            for told in packed:
                line(departure.shipped.add(), told, in_pieces=in_pieces)
            for told in cancelled:
                line(departure.cancelled.add(), told, in_pieces=in_pieces)
        shipments.append(shipment)
    return request, shipments


@given(ordered=TOLD, short=st.lists(TOLD, max_size=2), shipped=SHIPMENTS)
def test_what_is_to_be_packed_is_the_same_in_every_unit(
    ordered: Told, short: list[Told], shipped: list[Any]
) -> None:
    """Proves that what is still to pack, in pieces, is the same whichever units order, picks,
    packer and confirms tell it in, that no line is left uncompared, and that the master data is
    asked about the item only, and not where there is one unit."""
    request, shipments = played(ordered, short, shipped, in_pieces=False)
    units = line_units(request, shipments, SAID)
    plain, plainly = played(ordered, short, shipped, in_pieces=True)
    assert not converted_items(plain, plainly)
    expected = still_to_pack(plain, plainly, line_units(plain, plainly, ()))
    assert pieces(still_to_pack(request, shipments, units)) == pieces(expected)
    assert not not_compared(request, shipments, units)
    assert converted_items(request, shipments) <= {"SKU-1"}
