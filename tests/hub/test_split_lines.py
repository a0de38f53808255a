"""One order line that leaves with several shipments, of which each is short."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
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
STEPS = st.lists(st.sampled_from(["confirm", "void", "pack"]), min_size=3, max_size=12)


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
        pack(flow, request, number, part.packed)
    return flow


def pack(flow: Flow, request: str, number: int, amount: int) -> None:
    """A shipment with so much of the line in one carton."""
    carton = package(f"LPN-{number}")
    carton.contents[0].quantity.value = str(amount)
    flow.pack(request, carton, number=f"SHP-{number}")


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


class Docks:
    """A line over shipments that are confirmed, voided and packed again, and what is short of it.

    all_of_the_line: each confirm tells all that the warehouse knows to be short, not its own part.
    """

    def __init__(self, parts: list[Part], *, pick_is_told: bool, all_of_the_line: bool) -> None:
        self.flow = split(parts, pick_is_told=pick_is_told)
        self.parts = list(parts)
        self.all_of_the_line = all_of_the_line
        self.picked_short = sum(part.picked_short for part in parts) if pick_is_told else 0
        self.known_short = sum(part.short for part in parts)
        self.left: set[int] = set()
        self.voided: set[int] = set()
        self.again: list[Part] = []
        self.packed_again: set[int] = set()

    @property
    def open(self) -> list[int]:
        """Shipments that are not voided."""
        return [each for each in range(len(self.parts)) if each not in self.voided]

    @property
    def may_speak_of_what_waits(self) -> bool:
        """Whether a confirm that tells the whole line may as well be its shipment's own word of
        what was voided and is not packed again: the shipment was packed after a void."""
        return bool(self.all_of_the_line and self.again and self.left & self.packed_again)

    def confirm(self, number: int) -> None:
        part = self.parts[number]
        confirm(
            self.flow, number, part.leaves, self.known_short if self.all_of_the_line else part.short
        )
        self.left.add(number)

    def void(self, number: int) -> None:
        (shipment,) = (each for each in self.flow.all("shipment") if each.number == f"SHP-{number}")
        self.flow.void(shipment.id)
        self.voided.add(number)
        self.left.discard(number)
        self.again.append(self.parts[number])

    def pack_again(self, first_leaves: int, lost: int) -> None:
        """The oldest of what was voided, in two shipments where there is enough; of what is left of
        it, so much is lost."""
        part = self.again.pop(0)
        lost = min(lost, part.leaves - 1)
        kept = part.leaves - lost
        self.known_short += lost
        pieces = [Part(kept, part.picked_short + lost, part.taken_out)]
        if 0 < first_leaves < kept:
            rest = replace(pieces[0], leaves=kept - first_leaves)
            pieces = [Part(first_leaves, 0, 0), rest]
        (request,) = self.flow.all("fulfillment_request")
        for piece in pieces:
            pack(self.flow, request.id, len(self.parts), piece.packed)
            self.packed_again.add(len(self.parts))
            self.parts.append(piece)

    def expected(self) -> tuple[Decimal, Decimal]:
        """Shipped and short as they are."""
        shipped = sum(self.parts[number].leaves for number in self.left)
        told = sum(self.parts[number].short for number in self.left)
        if self.all_of_the_line:
            told = self.known_short if self.left else 0
        return Decimal(shipped), Decimal(max(told, self.picked_short))


@settings(max_examples=60, deadline=None)
@given(PARTS, st.data(), st.booleans(), st.booleans())
def test_voids_and_new_packs_leave_what_is_short_as_it_is(
    parts: list[Part], data: st.DataObject, pick_is_told: bool, all_of_the_line: bool
) -> None:
    """Proves that a line is short of what the confirms of the shipments that are not voided say,
    after each of them, each void and each new pack, in whatever order they come, also where what
    was voided is packed in two and some of it is lost; and that this is counted once where each
    confirm tells the whole line, unless voided goods wait beside others that were packed again."""
    docks = Docks(parts, pick_is_told=pick_is_told, all_of_the_line=all_of_the_line)
    for step in data.draw(STEPS):
        if step == "pack" and docks.again:
            # Who tells the whole line tells it anew with the confirm that comes next.
            lost = 0 if all_of_the_line else data.draw(st.integers(0, 2))
            docks.pack_again(data.draw(st.integers(0, 4)), lost)
        elif step == "void" and docks.open:
            docks.void(data.draw(st.sampled_from(docks.open)))
        elif step == "confirm" and docks.open:
            docks.confirm(data.draw(st.sampled_from(docks.open)))
        if docks.left or docks.voided or pick_is_told:
            shipped, short = progress(docks.flow)
            expected = docks.expected()
            assert shipped == expected[0]
            assert short == expected[1] or docks.may_speak_of_what_waits
            assert short >= expected[1]
    while docks.again:
        docks.pack_again(data.draw(st.integers(0, 4)), data.draw(st.integers(0, 2)))
    for number in data.draw(st.permutations(docks.open)):
        docks.confirm(number)
    assert progress(docks.flow) == docks.expected()


@pytest.mark.parametrize("amounts", [(5, 6, 5), (4, 4, 4, 4), (2, 3, 4, 3, 4)])
def test_what_was_voided_is_not_short(amounts: tuple[int, ...]) -> None:
    """Proves that a line of 20, of which each confirm says that 4 are short, stays short of 4 when
    a shipment of three, four or five is voided, while a part of that is packed again, and when all
    has left in the end."""
    parts = [Part(amount, 0, 0) for amount in amounts[:-1]] + [Part(amounts[-1], 4, 0)]
    docks = Docks(parts, pick_is_told=False, all_of_the_line=True)
    for number in docks.open:
        docks.confirm(number)
        assert progress(docks.flow) == docks.expected()
    docks.void(len(parts) - 1)
    assert progress(docks.flow) == (Decimal(sum(amounts[:-1])), Decimal(4))
    docks.pack_again(1, 0)
    for number in docks.open:
        docks.confirm(number)
        assert progress(docks.flow) == docks.expected()
    assert progress(docks.flow) == (Decimal(16), Decimal(4))
