"""Returns that can take no more: what still comes is held for a person, or told where to go."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.returns.v1 import return_pb2, return_service_pb2
from decisions import CARRIER, outcome, refusal_of, request_id
from returned_flow import RETURNS, ReturnedFlow, customer_return

# As many receipts, and parcels, as return.proto lets a return have.
MOST = 200


@pytest.fixture
def flow() -> ReturnedFlow:
    return ReturnedFlow()


def with_receipts(flow: ReturnedFlow, made: return_pb2.Return, count: int) -> None:
    """Let a return have so many receipts of a hundredth of line 1."""
    message = flow.object("customer_return", made.id)
    for number in range(len(message.receipts), count):
        line = message.receipts.add(number=f"OLD-{number}").lines.add(line_number=1)
        line.quantity.value, line.quantity.unit = "0.01", "EA"


def test_goods_that_find_no_room_in_a_return_wait_for_a_person(flow: ReturnedFlow) -> None:
    """Proves that the receipt after the last that a return takes is held with the request's own
    field, the rule and what to do, changes nothing, and that doing so receives the goods."""
    order_id = flow.shipped()
    made = flow.initiate(customer_return(order_id, lines={1: "3"}))
    flow.receive(lines={1: "0.01"})
    with_receipts(flow, made, MOST - 1)
    assert outcome(flow.receive(receipt="LAST", lines={1: "0.01"}).receipt) == "APPLIED"
    before, told = flow.object("customer_return", made.id), len(flow.events)
    answer = flow.receive(receipt="MORE", lines={1: "0.5"}).receipt
    assert outcome(answer) == "HELD"
    (violation,) = answer.held_because.violations
    assert (violation.field, violation.rule) == ("return_receipt", "repeated.max_items")
    assert f"no more than {MOST}" in violation.description
    assert "close it and authorise another" in answer.held_because.message
    assert flow.object("customer_return", made.id) == before
    assert len(flow.events) == told
    flow.end("CloseReturn", made.id)
    flow.initiate(customer_return(order_id, "RMA-2", {1: "1"}))
    assert outcome(flow.receive("RMA-2", "MORE", {1: "0.5"}).receipt) == "APPLIED"


def test_goods_that_are_too_long_to_tell_wait_for_a_person(flow: ReturnedFlow) -> None:
    """Proves that a receipt with which the event of its return would be larger than the bus carries
    is held with its field and sizes, and that as several shorter ones it is received."""
    made = flow.initiate(customer_return(flow.shipped(("40",)), lines={1: "40"}))
    serials = [f"{number:064}" for number in range(40)]
    most = 1500 + flow.object("customer_return", made.id).ByteSize()
    flow.limits = flow.limits.with_changes({"event_bytes_max": most})
    told = len(flow.events)
    answer = flow.receive(lines={1: "40"}, serials=serials).receipt
    assert outcome(answer) == "HELD"
    assert answer.held_because.reason == "LIMIT_EXCEEDED"
    (violation,) = answer.held_because.violations
    assert (violation.field, violation.rule) == ("return_receipt", "event_bytes_max")
    assert f"{most} are allowed; report a long receipt as several" in violation.description
    assert len(flow.events) == told
    assert flow.state("customer_return", made.id) == "INITIATED"
    short = flow.receive(receipt="RCV-2", lines={1: "5"}, serials=serials[:5]).receipt
    assert outcome(short) == "APPLIED"


def test_parcels_that_find_no_room_are_refused_in_words_of_their_report(flow: ReturnedFlow) -> None:
    """Proves that a carrier hears of too many parcels by its request's own field, with the rule and
    what to do, and that none of them is kept."""
    made = flow.initiate(customer_return(flow.shipped()))

    def send_back(first: int, count: int) -> Any:
        request = return_service_pb2.ReportReturnInTransitRequest(
            request_id=request_id(), customer_return_number="RMA-1"
        )
        for number in range(first, first + count):
            request.parcels.add(carrier_code="UPSN", tracking_number=f"1ZBACK{number}")
        return flow.call(f"{RETURNS}/ReportReturnInTransit", request, CARRIER)

    message = flow.object("customer_return", made.id)
    for number in range(MOST - 1):
        message.parcels.add(carrier_code="UPSN", tracking_number=f"OLD{number}")
    refusal = refusal_of(lambda: send_back(0, 2))
    assert refusal.reason == "INVALID_FIELD"
    (violation,) = refusal.violations
    assert (violation.field, violation.rule) == ("parcels", "repeated.max_items")
    assert f"no more than {MOST}" in violation.description
    assert "authorise another" in refusal.message
    assert len(flow.object("customer_return", made.id).parcels) == MOST - 1
    assert outcome(send_back(0, 1).receipt) == "APPLIED"
