"""Pieces that come back, as pure decisions: those that were authorised, and each of them once."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.returns.v1 import return_pb2
from decisions import outcome, refusal_of
from returned_flow import ReturnedFlow, customer_return


@pytest.fixture
def flow() -> ReturnedFlow:
    return ReturnedFlow()


def of_pieces(order_id: str, number: str, *serials: str, **more: Any) -> return_pb2.Return:
    """A return of line 1 that names its pieces."""
    wanted = customer_return(order_id, number, {1: str(len(serials) or 1)})
    wanted.lines[0].MergeFrom(return_pb2.ReturnLine(serial_numbers=serials, **more))
    return wanted


@pytest.mark.parametrize(
    ("told", "field", "words"),
    [
        ({"serials": ["A", "X"]}, "serial_numbers[1]", "X is not authorised for line 1"),
        ({"lot": "L9"}, "lot", "L9 is not authorised for line 1"),
    ],
)
def test_another_piece_or_lot_than_was_authorised_is_held(
    flow: ReturnedFlow, told: dict[str, Any], field: str, words: str
) -> None:
    """Proves that a receipt of a serial number or lot that its return does not name is neither
    booked nor lost, also where the quantity fits or an excess is right, and says what to do."""
    made = flow.initiate(of_pieces(flow.shipped(), "RMA-1", "A", "B", lots=["L1", "L2"]))
    for accept_excess in (False, True):
        answer = flow.receive(lines={1: "2"}, accept_excess=accept_excess, **told).receipt
        assert outcome(answer) == "HELD"
        (violation,) = answer.held_because.violations
        assert violation.field == f"return_receipt.lines[0].{field}"
        assert words in violation.description
        assert "initiate a return that names it" in violation.description
    assert flow.state("customer_return", made.id) == "INITIATED"
    assert flow.deliveries("netsuite", "post_return_receipt") == []
    right = flow.receive(receipt="RCV-2", lines={1: "2"}, serials=["B", "A"], lot="L2")
    assert outcome(right.receipt) == "APPLIED"


def test_a_return_that_names_no_piece_takes_any(flow: ReturnedFlow) -> None:
    """Proves that serial numbers and lots are compared only where they were authorised, and that a
    receipt without them contradicts nothing."""
    order_id = flow.shipped()
    flow.initiate(customer_return(order_id))
    assert outcome(flow.receive(serials=["X"], lot="L9").receipt) == "APPLIED"
    flow.initiate(of_pieces(order_id, "RMA-2", "A", lots=["L1"]))
    assert outcome(flow.receive("RMA-2").receipt) == "APPLIED"


@pytest.mark.parametrize("named", [True, False])
def test_a_piece_comes_back_once(flow: ReturnedFlow, named: bool) -> None:
    """Proves that a serial number which an earlier receipt of the return brought is held with the
    number of that receipt, whether or not the authorisation names its pieces."""
    order_id = flow.shipped()
    wanted = customer_return(order_id, lines={1: "3"})
    if named:
        wanted.lines[0].serial_numbers.extend("ABC")
    made = flow.initiate(wanted)
    flow.receive(serials=["A"])
    answer = flow.receive(receipt="RCV-2", lines={1: "2"}, serials=["B", "A"]).receipt
    assert outcome(answer) == "HELD"
    (violation,) = answer.held_because.violations
    assert violation.field == "return_receipt.lines[0].serial_numbers[1]"
    assert "A came with receipt RCV-1 already" in violation.description
    assert flow.object("customer_return", made.id).progress[0].received.value == "1"
    again = flow.receive(receipt="RCV-3", lines={1: "2"}, serials=["B", "C"]).receipt
    assert outcome(again) == "APPLIED"


def test_a_piece_of_one_item_is_none_of_another_line_of_it(flow: ReturnedFlow) -> None:
    """Proves that two lines of a receipt, or of a return, that are of one item cannot both be of
    the same piece."""
    order_id = flow.shipped(("3", "2"))
    twice = customer_return(order_id, lines={1: "1", 2: "1"})
    for line in twice.lines:
        line.serial_numbers.append("A")
    refusal = refusal_of(lambda: flow.initiate(twice))
    assert [v.field for v in refusal.violations] == ["customer_return.lines[1].serial_numbers[0]"]
    flow.initiate(customer_return(order_id, lines={1: "1", 2: "1"}))
    answer = flow.receive(lines={1: "1", 2: "1"}, serials=["A"]).receipt
    assert outcome(answer) == "HELD"
    assert answer.held_because.violations[0].field == "return_receipt.lines[1].serial_numbers[0]"


@pytest.mark.parametrize(("quantity", "pieces"), [("1", 1), ("1.5", 1), ("0.5", 0)])
def test_more_serial_numbers_than_whole_units_are_no_count(
    flow: ReturnedFlow, quantity: str, pieces: int
) -> None:
    """Proves that a receipt and a return with more serial numbers than whole units are refused
    with field and rule, and say what to do."""
    order_id, serials = flow.shipped(), ["A", "B", "C"][: pieces + 1]
    wanted = customer_return(order_id, lines={1: quantity})
    wanted.lines[0].serial_numbers.extend(serials)
    flow.initiate(customer_return(order_id, "RMA-2"))
    told = {
        "customer_return": refusal_of(lambda: flow.initiate(wanted)),
        "return_receipt": refusal_of(
            lambda: flow.receive("RMA-2", lines={1: quantity}, serials=serials)
        ),
    }
    for field, refusal in told.items():
        assert refusal.reason == "INVALID_FIELD"
        (violation,) = refusal.violations
        assert violation.field == f"{field}.lines[0].serial_numbers"
        assert f"{pieces + 1} of {pieces} pieces; name one for each" in violation.description
        assert "correct the quantity" in violation.description


def test_a_piece_is_in_one_open_return(flow: ReturnedFlow) -> None:
    """Proves that a second return of an order that names a piece of an open one is refused with the
    number of that, that a cancelled one gives it free, and that what came does not come again."""
    order_id = flow.shipped(("5",))
    first = flow.initiate(of_pieces(order_id, "RMA-1", "A", "B"))
    refusal = refusal_of(lambda: flow.initiate(of_pieces(order_id, "RMA-2", "C", "B")))
    assert refusal.reason == "INVALID_FIELD"
    (violation,) = refusal.violations
    assert violation.field == "customer_return.lines[0].serial_numbers[1]"
    assert "B is in return RMA-1 already" in violation.description
    flow.end("CancelReturn", first.id)
    second = flow.initiate(of_pieces(order_id, "RMA-2", "A", "B"))
    flow.receive("RMA-2", serials=["A"])
    flow.end("CloseReturn", second.id)
    flow.initiate(of_pieces(order_id, "RMA-3", "B"))
    refusal = refusal_of(lambda: flow.initiate(of_pieces(order_id, "RMA-4", "A")))
    assert "A is in return RMA-2 already" in refusal.message
