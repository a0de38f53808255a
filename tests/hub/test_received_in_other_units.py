"""What a warehouse receives of a return in another unit than was authorised."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from crossdock.returns.v1 import return_events_pb2, return_pb2, return_service_pb2
from decisions import WMS, outcome, refusal_of, request_id
from first_flow import order, package
from hypothesis import given, settings
from hypothesis import strategies as st
from returned_flow import RETURNS, ReturnedFlow, customer_return
from test_packed_in_other_units import Stored, conversion, learn, stored_earlier

SAID = [conversion("PF", "40", "CS"), conversion("CS", "12")]
PIECES = {"EA": 1, "CS": 12, "PF": 480}


@pytest.fixture
def flow() -> ReturnedFlow:
    return ReturnedFlow()


def authorised(flow: ReturnedFlow, quantity: str, unit: str) -> return_pb2.Return:
    """A return of so much of a line that left in that unit."""
    wanted = order("SO-1")
    wanted.lines[0].quantity.value, wanted.lines[0].quantity.unit = quantity, unit
    _, (part,) = flow.released(wanted)
    carton = package("LPN-1")
    carton.contents[0].quantity.CopyFrom(wanted.lines[0].quantity)
    flow.pack(part, carton, number="SHP-1")
    flow.manifest("SHP-1")
    (made,) = flow.all("order")
    back = customer_return(made.id, lines={1: quantity})
    back.lines[0].quantity.unit = unit
    return flow.initiate(back)


def progress(flow: ReturnedFlow) -> tuple[str, str, str]:
    """How much has come, its unit, and the state of the one return."""
    (found,) = flow.all("customer_return")
    came = found.progress[0].received
    state = return_pb2.ReturnState.Name(found.state).removeprefix("RETURN_STATE_")
    return came.value, came.unit, state


def receive(
    flow: ReturnedFlow, quantity: str, unit: str, number: str = "RCV-1", **more: Any
) -> Any:
    return flow.receive(receipt=number, lines={1: quantity}, unit=unit, **more).receipt


@pytest.mark.parametrize(
    ("wanted", "told", "counts"),
    [
        (("1", "CS"), ("12", "EA"), ("1", "CS", "RECEIVED")),
        (("1", "CS"), ("6", "EA"), ("0.5", "CS", "PARTIALLY_RECEIVED")),
        (("12", "EA"), ("1", "CS"), ("12", "EA", "RECEIVED")),
        (("24", "EA"), ("1.5", "CS"), ("18", "EA", "PARTIALLY_RECEIVED")),
        (("960", "EA"), ("1", "PF"), ("480", "EA", "PARTIALLY_RECEIVED")),
        (("1", "PF"), ("480", "EA"), ("1", "PF", "RECEIVED")),
        (("24", "EA"), ("1", "DZN"), ("12", "EA", "PARTIALLY_RECEIVED")),
    ],
)
def test_a_receipt_counts_in_the_unit_of_its_return(
    flow: ReturnedFlow, wanted: Any, told: Any, counts: tuple[str, str, str]
) -> None:
    """Proves that what came in another unit counts exactly in that of the return, over several
    conversions too, is told and posted so, and that what the warehouse told is kept beside it."""
    learn(flow, *SAID)
    authorised(flow, *wanted)
    assert outcome(receive(flow, *told)) == "APPLIED"
    assert progress(flow) == counts
    (body,) = [event.body for event in flow.events if event.stem == "returns.received"]
    event = return_events_pb2.ReturnReceived.FromString(body)
    row = event.customer_return.receipts[0].lines[0]
    assert (row.quantity.value, row.quantity.unit) == counts[:2]
    assert (row.reported_quantity.value, row.reported_quantity.unit) == told
    assert len(flow.deliveries("netsuite", "post_return_receipt")) == 1


def test_what_came_in_the_units_of_the_return_is_stored_as_it_was_told(
    flow: ReturnedFlow,
) -> None:
    """Proves that nothing is converted, written anew or read of the master data without need."""
    authorised(flow, "12", "EA")
    rounds = flow.rounds.get(f"/crossdock.{RETURNS}/ReportReturnReceived", 0)
    assert rounds == 0
    receive(flow, "2.0", "EA")
    (found,) = flow.all("customer_return")
    row = found.receipts[0].lines[0]
    assert row.quantity.value == "2.0" and not row.HasField("reported_quantity")


def test_a_receipt_told_again_is_known_by_what_was_told(flow: ReturnedFlow) -> None:
    """Proves that a repeat in the unit it was told in is known, also when the master data says
    something else by then, and that as much in another unit is another receipt."""
    learn(flow, *SAID)
    authorised(flow, "1", "PF")
    assert outcome(receive(flow, "120", "EA")) == "APPLIED"
    learn(flow, conversion("CS", "24"))
    assert outcome(receive(flow, "120.0", "EA")) == "ALREADY_KNOWN"
    answer = receive(flow, "0.25", "PF")
    assert (outcome(answer), answer.held_because.reason) == ("HELD", "REFERENCE_TAKEN")
    assert progress(flow)[:2] == ("0.25", "PF")


def test_receipts_in_several_units_add_up(flow: ReturnedFlow) -> None:
    """Proves that receipts of pieces, cases and the return's own unit come to the whole, that more
    than the whole is held in words of the return's unit, and that accept_excess lets it in."""
    learn(flow, *SAID)
    authorised(flow, "2", "CS")
    assert outcome(receive(flow, "6", "EA", "A")) == "APPLIED"
    assert outcome(receive(flow, "1", "CS", "B")) == "APPLIED"
    held = receive(flow, "12", "EA", "C")
    assert outcome(held) == "HELD"
    assert "2.5 of line 1 came in all, and 2 may" in held.held_because.message
    assert outcome(receive(flow, "6", "EA", "D")) == "APPLIED"
    assert progress(flow) == ("2", "CS", "RECEIVED")
    assert outcome(receive(flow, "12", "EA", "E", accept_excess=True)) == "APPLIED"
    assert progress(flow) == ("3", "CS", "RECEIVED")


def test_what_is_no_decimal_there_is_held_with_both_ways_out(flow: ReturnedFlow) -> None:
    """Proves that 7 pieces of a return of a case of 12 are neither rounded nor lost."""
    learn(flow, *SAID)
    authorised(flow, "1", "CS")
    held = receive(flow, "7", "EA", accept_excess=True)
    assert outcome(held) == "HELD"
    (violation,) = held.held_because.violations
    assert violation.field == "return_receipt.lines[0].quantity"
    assert "7 EA of line 1 (SKU-1) are 7/12 CS" in violation.description
    assert "report it in CS, or have the OMS authorise a return of it in EA" in (
        violation.description
    )
    assert progress(flow) == ("0", "CS", "INITIATED")
    assert flow.deliveries("netsuite", "post_return_receipt") == []


@pytest.mark.parametrize(
    ("said", "words", "helps"),
    [
        ([], "nothing says how much CS one EA is", conversion("CS", "12")),
        ([conversion("PF", "480")], "nothing says", conversion("PF", "40", "CS")),
        ([], "nothing says", conversion("CS", "12", item="*")),
        (
            [conversion("CS", "12"), stored_earlier("EA", "12", "CS")],
            "but one EA is 12 CS",
            None,
        ),
    ],
    ids=["nothing", "half of the way", "what holds for every item", "two ways"],
)
def test_what_nobody_says_waits_for_the_erp(
    flow: ReturnedFlow, said: Sequence[Any], words: str, helps: Any
) -> None:
    """Proves that a unit that nothing converts, or two things differently, is held with what is
    missing, and received by itself once the ERP tells it."""
    for each in said:
        if isinstance(each, Stored):
            each.put_into(flow)
        else:
            learn(flow, each)
    authorised(flow, "1", "CS")
    held = receive(flow, "12", "EA")
    assert outcome(held) == "HELD"
    assert words in held.held_because.message
    assert "UpsertUnitConversions" in held.held_because.message
    assert progress(flow) == ("0", "CS", "INITIATED")
    if helps is None:
        return
    learn(flow, helps)
    flow.drive()
    assert flow.held() == []
    assert progress(flow) == ("1", "CS", "RECEIVED")


def test_a_corrected_conversion_lets_it_in(flow: ReturnedFlow) -> None:
    """Proves that what waits for a contradiction to end is received once the ERP corrects it."""
    learn(flow, conversion("CS", "12"), conversion("PF", "480"))
    stored_earlier("PF", "50", "CS").put_into(flow)
    authorised(flow, "2", "CS")
    assert outcome(receive(flow, "12", "EA")) == "HELD"
    learn(flow, conversion("PF", "40", "CS"))
    flow.drive()
    assert progress(flow) == ("1", "CS", "PARTIALLY_RECEIVED")


def test_serial_numbers_are_of_pieces_in_either_unit(flow: ReturnedFlow) -> None:
    """Proves that a case with twelve serial numbers comes back of a return of pieces, and pieces of
    a return of cases, each with its own; and that more numbers than pieces are refused."""
    serials = [f"SN-{at}" for at in range(13)]
    learn(flow, *SAID)
    authorised(flow, "24", "EA")
    assert outcome(receive(flow, "1", "CS", "A", serials=serials[:12])) == "APPLIED"
    refusal = refusal_of(lambda: receive(flow, "1", "CS", "B", serials=serials))
    assert refusal.violations[0].field == "return_receipt.lines[0].serial_numbers"
    other = ReturnedFlow()
    learn(other, *SAID)
    authorised(other, "2", "CS")
    assert outcome(receive(other, "6", "EA", "A", serials=serials[:6])) == "APPLIED"


def test_what_the_hub_sets_nobody_tells(flow: ReturnedFlow) -> None:
    """Proves that a receipt that brings its own reported quantity is refused by that field."""
    authorised(flow, "12", "EA")
    request = return_service_pb2.ReportReturnReceivedRequest(
        request_id=request_id(), customer_return_number="RMA-1"
    )
    request.return_receipt.number = "RCV-1"
    row = request.return_receipt.lines.add(line_number=1)
    row.quantity.value, row.quantity.unit = "1", "EA"
    row.reported_quantity.CopyFrom(row.quantity)
    method = f"{RETURNS}/ReportReturnReceived"
    refusal = refusal_of(lambda: flow.call(method, request, WMS))
    assert refusal.violations[0].field == "return_receipt.lines[0].reported_quantity"


@given(
    unit=st.sampled_from(sorted(PIECES)),
    told=st.lists(st.tuples(st.sampled_from(sorted(PIECES)), st.integers(1, 60)), max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_whatever_units_it_comes_in_the_pieces_add_up(
    unit: str, told: list[tuple[str, int]]
) -> None:
    """Proves over any receipts that what has come of a return is exactly the pieces of those that
    were applied, and that one is held if and only if it has no decimal in the return's unit."""
    flow = ReturnedFlow()
    learn(flow, *SAID)
    authorised(flow, "100000", unit)
    pieces = Fraction(0)
    for at, (other, quantity) in enumerate(told):
        applied = outcome(receive(flow, str(quantity), other, f"RCV-{at}")) == "APPLIED"
        there = Fraction(quantity * PIECES[other], PIECES[unit]) * 10**9
        assert applied == (there.denominator == 1)
        pieces += quantity * PIECES[other] if applied else 0
    came, of, _ = progress(flow)
    assert Fraction(Decimal(came)) * PIECES[of] == pieces
