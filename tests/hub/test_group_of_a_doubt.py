"""A doubt stays in one dead letter group while it is looked up, with whoever looks after it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import removal
from crossdock_hub.delivery.causes import (
    NO_CALL_KNOWN,
    DeadLetterGroupRecord,
    alike,
    cause_by,
    cause_of,
)
from crossdock_hub.delivery.ledger import LEASE_RAN_OUT
from crossdock_hub.reading.dead_letter_queries import see_group
from crossdock_hub.records import DeliveryRecord
from decisions import OPERATOR
from first_flow import Flow, order
from stored_flow import Books, books

__all__ = ["books"]

ERP = "netsuite"
QUARTER = Limits().dead_letter_unknown_seconds
# Longer than any lease, settle time or pause between look-ups.
LATER = 4_000
# The lease of whoever looks runs out.
LOST = "LOST"


def booking(flow: Flow) -> DeliveryRecord:
    flow.approve(flow.create(order("SO-1")).id)
    return flow.delivery(ERP, "create_sales_order")


async def group_of(
    books: Books, flow: Flow, record: DeliveryRecord
) -> dead_letter_pb2.DeadLetterGroup:
    """The only open group, as it is listed; it is the same where an acknowledgement looks for it,
    and in what is kept of a letter that goes on."""
    await books.keep(flow)
    books.queries.clock = lambda: flow.now
    method = "dead_letter.v1.DeadLetterService/ListDeadLetters"
    request = dead_letter_service_pb2.ListDeadLettersRequest(endpoint=ERP)
    (group,) = (await books.ask(method, request, OPERATOR)).groups
    noted = dead_letter_service_pb2.AcknowledgeDeadLettersRequest(group_id=group.id)
    assert await see_group(books.queries, noted) is not None
    assert cause_by(flow.fresh(record), flow.attempts_of(record)).id == group.id
    return group


def acknowledge(flow: Flow, record: DeliveryRecord) -> None:
    """Somebody looks after the group of a letter from now on."""
    mark = DeadLetterGroupRecord.of(cause_by(flow.fresh(record), flow.attempts_of(record)))
    mark.marked_at, mark.operator = flow.now, "ada"
    flow.records["dead_letter_group", mark.id] = mark


def end_look_up(flow: Flow, record: DeliveryRecord, token: int, outcome: str) -> None:
    if outcome == LOST:
        flow.pass_time(LATER)
    else:
        flow.complete(record, token, outcome, reason="HTTP 500", code="look_up_failed")
        flow.pass_time(LATER)
    assert flow.fresh(record).state == "RESOLVING"


@pytest.mark.parametrize("call", ["UNKNOWN", LOST, "put back"])
async def test_look_ups_move_no_doubt_to_another_group(books: Books, call: str) -> None:
    """Proves, for a call that said so, one that was never heard of again and one that a ledger
    which was put back does not know, that however look-ups end without an answer, the letter is
    before, during and after each in the group of that call, acknowledged as it was."""
    flow = Flow()
    record = booking(flow)
    if call == "put back":
        doubted = replace(record, first_unknown_at=flow.now - SECOND, calls_reached=1)
        flow.records["delivery", record.id] = doubted
        assert flow.begin(flow.dispatch(record)).HasField("refusal")
        expected = ("", NO_CALL_KNOWN)
    elif call == LOST:
        flow.take(record)
        expected = ("", LEASE_RAN_OUT)
    else:
        flow.settle(record, "UNKNOWN", reason="reset by peer", code="unknown")
        expected = ("unknown", "reset by peer")
    flow.pass_time(LATER)
    acknowledge(flow, record)
    group = await group_of(books, flow, record)
    assert (group.code, group.reason) == expected
    for outcome in ("UNKNOWN", LOST, "THROTTLED", "NOT_FOUND", "UNKNOWN"):
        token = flow.take(record)
        assert await group_of(books, flow, record) == group, f"while one ends with {outcome}"
        end_look_up(flow, record, token, outcome)
        assert await group_of(books, flow, record) == group, f"after one ended with {outcome}"
    assert group.state == dead_letter_pb2.DEAD_LETTER_STATE_ACKNOWLEDGED
    assert "HTTP 500" in flow.fresh(record).waiting_on, "what look-ups say is with the delivery"


async def test_a_word_that_comes_too_late_moves_no_doubt(books: Books) -> None:
    """Proves that the word of a call whose lease ran out, told when its look-up has begun already,
    is kept and makes the doubt no other group."""
    flow = Flow()
    record = booking(flow)
    token = flow.take(record)
    flow.pass_time(LATER)
    group = await group_of(books, flow, record)
    flow.take(record)
    assert flow.complete(record, token, "RETRY", reason="HTTP 503", code="retry").HasField(
        "refusal"
    )
    assert "HTTP 503" in flow.attempts_of(record)[0].reason
    assert await group_of(books, flow, record) == group


async def test_a_doubt_has_the_cause_of_the_call_that_it_began_with(books: Books) -> None:
    """Proves that calls which are proven undone are not what a later doubt is about, and that a
    removed endpoint's doubt says so, since that is what helps then."""
    flow = Flow()
    record = booking(flow)
    flow.settle(record, "RETRY", reason="HTTP 503", code="retry")
    flow.pass_time(LATER)
    flow.settle(record, "UNKNOWN", reason="time-out", code="unknown")
    flow.pass_time(LATER)
    group = await group_of(books, flow, record)
    assert (group.code, group.reason) == ("unknown", "time-out")
    gone = replace(flow.fresh(record), waiting_on=removal.in_doubt(ERP))
    words = ("unknown", "time-out")
    assert cause_of(gone, "unknown", words).reason == alike(removal.in_doubt(ERP))
