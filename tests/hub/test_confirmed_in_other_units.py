"""What a warehouse confirms in another unit than it packed in."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from decisions import WMS, outcome, request_id
from first_flow import SHIPMENTS, Flow, at, package
from hypothesis import given, settings
from hypothesis import strategies as st
from test_packed_in_other_units import conversion, learn
from test_packed_in_several import asked, pack, states

SAID = [conversion("CS", "12"), conversion("PF", "40", "CS")]
PIECES = {"EA": 1, "CS": 12, "PF": 480}
Told = tuple[str, str]


def confirmed(flow: Flow, shipped: Told | None, cancelled: Told | None = None, **more: Any) -> Any:
    """The answer to a confirm of shipment A that tells so much of line 1, each time the same."""
    report = shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(), shipment_number="A", manifest_time=at(1_700_000_000), **more
    )
    for rows, told in ((report.shipped, shipped), (report.cancelled, cancelled)):
        if told:
            row = rows.add(line_number=1)
            row.quantity.value, row.quantity.unit = told
    return flow.call(f"{SHIPMENTS}/ManifestShipment", report, WMS).receipt


def gone(flow: Flow) -> list[tuple[str, str]]:
    """What of line 1 left with each departure of the one shipment."""
    (found,) = flow.all("shipment")
    rows = [row for each in found.departures for row in each.shipped]
    return [(row.quantity.value, row.quantity.unit) for row in rows]


@pytest.mark.parametrize(
    ("packed", "told"),
    [
        (("1", "CS"), ("12", "EA")),
        (("24", "EA"), ("2", "CS")),
        (("1", "PF"), ("480", "EA")),
        (("12", "EA"), ("1", "DZN")),
    ],
)
def test_a_confirm_is_compared_with_the_pack_in_its_unit(packed: Told, told: Told) -> None:
    """Proves that a confirm of all that was packed, in another unit, is no contradiction, is stored
    and posted in the unit of the pack, and is known when it comes again."""
    flow, request = asked(*packed)
    learn(flow, *SAID)
    pack(flow, request, "A", *packed)
    assert outcome(confirmed(flow, told)) == "APPLIED"
    assert gone(flow) == [packed]
    assert states(flow) == ("SHIPPED", "SHIPPED")
    assert outcome(confirmed(flow, told)) == "ALREADY_KNOWN"
    assert outcome(confirmed(flow, told, package_numbers=["LPN-A"])) == "ALREADY_KNOWN"


def test_part_of_a_case_is_part_of_what_was_packed() -> None:
    """Proves that 6 pieces of a packed case are half of it, that the other half, called short in
    pieces too, ends the request, and that more than was packed is held."""
    flow, request = asked("1", "CS")
    learn(flow, *SAID)
    pack(flow, request, "A", "1", "CS")
    held = confirmed(flow, ("13", "EA"))
    assert outcome(held) == "HELD" and "13 EA" in held.held_because.message
    assert outcome(confirmed(flow, ("18", "EA"))) == "HELD"
    assert outcome(confirmed(flow, ("6", "EA"), ("6", "EA"))) == "APPLIED"
    assert gone(flow) == [("0.5", "CS")]
    (made,) = flow.all("order")
    (row,) = made.progress
    told = [(each.value, each.unit) for each in (row.shipped, row.short)]
    assert told == [("0.5", "CS"), ("0.5", "CS")]


@pytest.mark.parametrize("said", [[conversion("BX", "12")], [conversion("CS", "12", item="SKU-2")]])
def test_what_nothing_converts_is_held_as_it_is_told(said: list[Any]) -> None:
    """Proves that pieces of a case of which nobody says how many it has stay a contradiction."""
    flow, request = asked("1", "CS")
    flow.learn_item("SKU-2")
    learn(flow, *said)
    pack(flow, request, "A", "1", "CS")
    held = confirmed(flow, ("12", "EA"))
    assert outcome(held) == "HELD"
    for words in ("line 1 (SKU-1) left in EA and is packed in CS", "UpsertUnitConversions"):
        assert words in held.held_because.message
    assert gone(flow) == []


@pytest.mark.parametrize("item", ["SKU-1", "*"])
def test_a_confirm_that_lacked_a_conversion_goes_on_by_itself(item: str) -> None:
    """Proves that a held confirm is written once the conversion of its item, or one that holds for
    every item, is told, without another confirm; one for another item moves nothing."""
    flow, request = asked("1", "CS")
    flow.learn_item("SKU-2")
    pack(flow, request, "A", "1", "CS")
    assert outcome(confirmed(flow, ("12", "EA"))) == "HELD"
    learn(flow, conversion("CS", "12", item="SKU-2"))
    flow.drive()
    assert gone(flow) == [] and len(flow.held()) == 1
    learn(flow, conversion("CS", "12", item=item))
    flow.drive()
    assert gone(flow) == [("1", "CS")] and not flow.held()
    assert states(flow) == ("SHIPPED", "SHIPPED")


def test_a_corrected_pack_frees_a_confirm_that_lacked_a_conversion() -> None:
    """Proves that packages which are corrected to the unit of the confirm settle it as well, as
    they settle any other contradiction."""
    flow, request = asked("12")
    pack(flow, request, "A", "1", "CS")
    assert outcome(confirmed(flow, ("12", "EA"))) == "HELD"
    (made,) = flow.all("shipment")
    after = shipment_pb2.Shipment()
    after.CopyFrom(made)
    after.packages[0].contents[0].quantity.value = "12"
    after.packages[0].contents[0].quantity.unit = "EA"
    change = shipment_service_pb2.UpdateShipmentRequest(request_id=request_id(), shipment=after)
    change.update_mask.paths.append("packages")
    flow.call(f"{SHIPMENTS}/UpdateShipment", change, WMS)
    flow.drive()
    assert gone(flow) == [("12", "EA")] and not flow.held()


def test_a_confirm_of_too_much_waits_for_no_conversion() -> None:
    """Proves that a confirm whose units are all known waits for the pack, as before: no conversion
    that comes later decides it again."""
    flow, request = asked("1", "CS")
    learn(flow, *SAID)
    pack(flow, request, "A", "1", "CS")
    assert outcome(confirmed(flow, ("18", "EA"))) == "HELD"
    (fact,) = flow.held()
    assert fact.awaits.startswith("packages:")


@pytest.mark.parametrize(
    ("shipped", "words"),
    [
        (("2", "CS"), "2 CS left in packages that hold 1"),
        (("0", "EA"), "nothing of any line left; if none of it will, void the shipment"),
    ],
)
def test_a_contradiction_that_no_conversion_ends_waits_for_none(shipped: Told, words: str) -> None:
    """Proves that where only what stays behind, or nothing at all, is told in a unit that nothing
    converts, the confirm says what is wrong with what left, and waits for the pack."""
    flow, request = asked("3", "CS")
    pack(flow, request, "A", "1", "CS")
    held = confirmed(flow, shipped, ("12", "EA"))
    assert words in held.held_because.message
    (fact,) = flow.held()
    assert fact.awaits.startswith("packages:")


def test_a_carton_that_is_cancelled_in_pieces_does_not_leave() -> None:
    """Proves that of two cases, of which one left, the other stays behind for good when a confirm
    cancels its twelve pieces: it was told as left, and its goods were posted."""
    flow, request = asked("2", "CS")
    learn(flow, *SAID)
    first, second = package("LPN-1"), package("LPN-2")
    for carton in (first, second):
        carton.contents[0].quantity.value, carton.contents[0].quantity.unit = "1", "CS"
    flow.pack(request, first, second, number="A")
    confirmed(flow, None, package_numbers=["LPN-1"])
    assert outcome(confirmed(flow, None, ("12", "EA"))) == "APPLIED"
    assert gone(flow) == [("1", "CS")]
    (found,) = flow.all("shipment")
    assert [row.withdrawn for row in found.progress] == [False, True]
    assert found.state == shipment_pb2.SHIPMENT_STATE_MANIFESTED


def test_what_is_packed_in_several_units_is_not_guessed() -> None:
    """Proves that pieces of a line that is packed as a case and as pieces stay as they are told:
    nobody says which of them left."""
    flow, request = asked("18")
    learn(flow, *SAID)
    first, second = package("LPN-1"), package("LPN-2")
    first.contents[0].quantity.value, first.contents[0].quantity.unit = "1", "CS"
    second.contents[0].quantity.value, second.contents[0].quantity.unit = "6", "EA"
    flow.pack(request, first, second, number="A")
    held = confirmed(flow, ("18", "EA"))
    assert "18 EA left in packages that hold 6" in held.held_because.message
    assert outcome(confirmed(flow, ("6", "EA"), package_numbers=["LPN-2"])) == "APPLIED"


@given(
    packed=st.tuples(st.integers(1, 50), st.sampled_from(sorted(PIECES))),
    told=st.tuples(st.integers(1, 600), st.sampled_from(sorted(PIECES))),
)
@settings(max_examples=60, deadline=None)
def test_what_leaves_is_never_more_than_was_packed(
    packed: tuple[int, str], told: tuple[int, str]
) -> None:
    """Proves over any units that a confirm is applied exactly where its pieces are in the packages
    and are a decimal number of what was packed, and that as many pieces are stored as it told."""
    flow, request = asked(str(packed[0]), packed[1])
    learn(flow, *SAID)
    pack(flow, request, "A", str(packed[0]), packed[1])
    pieces = told[0] * PIECES[told[1]]
    applied = outcome(confirmed(flow, (str(told[0]), told[1]))) == "APPLIED"
    is_decimal = (Fraction(pieces, PIECES[packed[1]]) * 10**9).denominator == 1
    assert applied == (is_decimal and pieces <= packed[0] * PIECES[packed[1]])
    if applied:
        ((value, unit),) = gone(flow)
        assert Fraction(Decimal(value)) * PIECES[unit] == pieces
