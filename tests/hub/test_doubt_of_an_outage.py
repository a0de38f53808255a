"""Doubt that an outage makes is no dead letter: nobody can find out while the vendor is away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.dead_letters import Patience, is_dead, since
from crossdock_hub.delivery.mending import moves_of
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.unit import View
from decisions import OPERATOR
from first_flow import Flow, order
from stored_flow import Books, books

__all__ = ["books"]

ERP = "netsuite"
QUARTER = Limits().dead_letter_unknown_seconds
HALF_A_DAY = 43_200


def in_doubt(flow: Flow, orders: int = 6) -> list[DeliveryRecord]:
    """So many orders; all but the last are calls of which nobody heard again: the breaker opens."""
    for index in range(orders):
        flow.approve(flow.create(order(f"SO-{index}")).id)
    waiting = flow.deliveries(ERP, "create_sales_order")
    for record in waiting[:-1]:
        flow.settle(record, "UNKNOWN", reason="time-out")
    return waiting


async def letters(books: Books, flow: Flow) -> list[Any]:
    await books.keep(flow)
    books.queries.clock = lambda: flow.now
    request = dead_letter_service_pb2.ListDeadLettersRequest(endpoint=ERP)
    method = "dead_letter.v1.DeadLetterService/ListDeadLetters"
    return list((await books.ask(method, request, OPERATOR)).groups)


async def status(books: Books) -> endpoint_pb2.Endpoint:
    request = endpoint_service_pb2.GetEndpointRequest(id=ERP)
    answer = await books.ask("endpoint.v1.EndpointService/GetEndpoint", request, OPERATOR)
    found: endpoint_pb2.Endpoint = answer.endpoint
    return found


async def test_half_a_day_without_the_vendor_makes_no_dead_letter(books: Books) -> None:
    """Proves that calls in doubt are no dead letters while the breaker of their endpoint is open,
    that the endpoint says how many they are, and that they are letters once the vendor has been
    there for a quarter of an hour and they are still in doubt."""
    flow = Flow()
    waiting = in_doubt(flow)
    flow.pass_time(HALF_A_DAY)
    assert await letters(books, flow) == []
    found = await status(books)
    assert found.breaker.state == endpoint_pb2.BREAKER_STATE_OPEN
    assert found.in_doubt == len(waiting) - 1

    flow.take(waiting[-1])
    assert await letters(books, flow) == []
    assert (await status(books)).breaker.state == endpoint_pb2.BREAKER_STATE_PROBING

    flow.complete(waiting[-1], flow.fresh(waiting[-1]).token, "CONFIRMED")
    back_at = flow.now
    flow.pass_time(QUARTER - 1)
    assert await letters(books, flow) == []
    assert (await status(books)).breaker.state == endpoint_pb2.BREAKER_STATE_CLOSED
    flow.pass_time(2)
    (group,) = await letters(books, flow)
    assert group.open_count == len(waiting) - 1
    assert group.last_time.ToMicroseconds() == back_at + int(QUARTER * SECOND)


def test_doubt_counts_while_its_endpoint_answers() -> None:
    """Proves that doubt is a dead letter a quarter of an hour after it began or after its endpoint
    came back, whichever is later, and never while the endpoint is down; that of other endpoints and
    what is parked is not touched by that."""
    flow = Flow()
    (doubt, *_) = map(flow.fresh, in_doubt(flow))
    began = doubt.first_unknown_at
    assert began is not None
    late = began + 10 * HALF_A_DAY
    down = Patience(900, {ERP: None})
    assert not is_dead(doubt, down, late)
    assert is_dead(doubt, Patience(900, {"other": None}), late)
    assert is_dead(replace(doubt, state="PARKED"), down, began)
    before, after = Patience(900, {ERP: began - 50}), Patience(900, {ERP: began + 50})
    assert (since(doubt, before), since(doubt, after)) == (began + 900, began + 950)
    assert not is_dead(doubt, after, began + 949)
    assert is_dead(doubt, after, began + 950)


def test_what_an_outage_left_in_doubt_is_followed_as_no_letter() -> None:
    """Proves that the answer which ends a doubt of an outage leaves nothing in the history of dead
    letters, and that it does where the endpoint had been answering."""
    flow = Flow()
    (doubt, *_) = map(flow.fresh, in_doubt(flow))
    now = flow.now + HALF_A_DAY * SECOND
    for endpoints, followed in ((flow.endpoints, False), ((), True)):
        view = View()
        view.add(("endpoints",), endpoints)
        view.add(("delivery", doubt.id), doubt)
        view.changes.records["delivery", doubt.id] = replace(doubt, state="CONFIRMED")
        assert bool(moves_of(view, now, Limits()).gone) is followed
