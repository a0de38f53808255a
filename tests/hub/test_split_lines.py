"""One order line that leaves with several shipments, of which each is short."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from decisions import WMS, request_id
from first_flow import FULFILLMENTS, SHIPMENTS, Flow, at, each, order, package
from hypothesis import given, settings
from hypothesis import strategies as st


@dataclass(frozen=True)
class Part:
    """What a shipment has of the line: what leaves of it, what was short at the pick and what the
    dock took out."""

    leaves: int
    picked_short: int
    taken_out: int

    @property
    def short(self) -> int:
        return self.picked_short + self.taken_out

    @property
    def packed(self) -> int:
        return self.leaves + self.taken_out


PARTS = st.lists(
    st.builds(Part, st.integers(1, 5), st.integers(0, 3), st.integers(0, 3)),
    min_size=1,
    max_size=4,
)


def split(parts: list[Part], *, pick_is_told: bool) -> Flow:
    """A line that is packed as a shipment for each part, SHP-0, SHP-1, …"""
    flow = Flow()
    message = order()
    message.lines[0].quantity.value = str(sum(part.packed + part.picked_short for part in parts))
    _, (request,) = flow.released(message)
    if pick_is_told:
        report = fulfillment_service_pb2.ReportPickRequest(
            request_id=request_id(), fulfillment_request_id=request, pick_time=at(flow.now)
        )
        for rows, amount in (
            (report.picked, sum(part.packed for part in parts)),
            (report.short, sum(part.picked_short for part in parts)),
        ):
            quantity = each(str(amount))
            rows.append(fulfillment_pb2.FulfillmentLineQuantity(line_number=1, quantity=quantity))
        flow.call(f"{FULFILLMENTS}/ReportPick", report, WMS)
    for number, part in enumerate(parts):
        carton = package(f"LPN-{number}")
        carton.contents[0].quantity.value = str(part.packed)
        flow.pack(request, carton, number=f"SHP-{number}")
    return flow


def confirm(flow: Flow, number: int, leaves: int, short: int) -> None:
    """The ship confirm of a part."""
    report = shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(),
        shipment_number=f"SHP-{number}",
        manifest_time=at(flow.now),
        package_numbers=[f"LPN-{number}"],
    )
    for rows, amount in ((report.shipped, leaves), (report.cancelled, short)):
        rows.append(shipment_pb2.LineQuantity(line_number=1, quantity=each(str(amount))))
    flow.call(f"{SHIPMENTS}/ManifestShipment", report, WMS)


def progress(flow: Flow) -> tuple[Decimal, Decimal]:
    """Shipped and short of the line, as the order says."""
    (message,) = flow.all("order")
    row: Any = message.progress[0]
    return Decimal(row.shipped.value), Decimal(row.short.value)


@settings(max_examples=40, deadline=None)
@given(PARTS, st.data(), st.booleans(), st.booleans())
def test_each_shipment_is_short_for_itself(
    parts: list[Part], data: st.DataObject, pick_is_told: bool, all_of_the_line: bool
) -> None:
    """Proves that what shipments of one line are short of adds up, in whatever order and however
    often they are confirmed, whether or not the pick was told, and never to more; and that a
    warehouse which tells the whole line with each confirm has it counted once in the end."""
    short = sum(part.short for part in parts)
    flow = split(parts, pick_is_told=pick_is_told)
    numbers = list(range(len(parts)))
    told = data.draw(st.permutations(numbers)) + data.draw(st.lists(st.sampled_from(numbers)))
    before = Decimal(0)
    for number in told:
        known = short if all_of_the_line else parts[number].short
        confirm(flow, number, parts[number].leaves, known)
        _, found = progress(flow)
        assert all_of_the_line or before <= found <= short, "what is short stays so"
        before = found
    leaves = sum(part.leaves for part in parts)
    assert progress(flow) == (Decimal(leaves), Decimal(short))
