"""Doubt that an outage makes is no dead letter: nobody can find out while the vendor is away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import breaking
from crossdock_hub.delivery.causes import cause_of
from crossdock_hub.delivery.dead_letters import Patience, is_dead, since
from crossdock_hub.delivery.mending import follow, moves_of
from crossdock_hub.identity import HUB
from crossdock_hub.records import DeliveryRecord, EndpointRecord
from crossdock_hub.unit import Unit, View
from decisions import CONTRACT, OPERATOR
from first_flow import Flow, order
from stored_flow import Books, books

__all__ = ["books"]

ERP = "netsuite"
QUARTER = Limits().dead_letter_unknown_seconds
HALF_A_DAY = 43_200
LONGEST = Limits().unanswered_seconds_max


def in_doubt(flow: Flow, orders: int = 6) -> list[DeliveryRecord]:
    """So many orders; all but the last are calls of which nobody heard again: the breaker opens."""
    waiting = ready(flow, orders)
    fail(flow, waiting[:-1])
    return waiting


def fail(flow: Flow, records: list[DeliveryRecord]) -> None:
    """Calls of which nobody heard again, enough of them for the breaker."""
    for record in records:
        flow.settle(record, "UNKNOWN", reason="time-out")
    assert health(flow).breaker_state == "OPEN"


def health(flow: Flow) -> EndpointRecord:
    found: EndpointRecord = flow.records["endpoint", ERP]
    return found


def answered(flow: Flow, waiting: list[DeliveryRecord]) -> int:
    """One call in doubt at an endpoint that answers, until a second after it has shown. When that
    was: microseconds UTC."""
    flow.settle(waiting[0], "UNKNOWN", reason="time-out")
    flow.settle(waiting[1], "CONFIRMED")
    flow.pass_time(QUARTER + 1)
    return shows_at(flow, waiting[0], QUARTER)


def ready(flow: Flow, orders: int) -> list[DeliveryRecord]:
    for index in range(orders):
        flow.approve(flow.create(order(f"SO-{index}")).id)
    return flow.deliveries(ERP, "create_sales_order")


def shows_at(flow: Flow, doubt: DeliveryRecord, seconds: float) -> int:
    """So long after a doubt began: microseconds UTC."""
    began = flow.fresh(doubt).first_unknown_at
    assert began is not None
    return began + int(seconds * SECOND)


async def shown(books: Books, flow: Flow) -> tuple[int, int]:
    """How many letters are open, and when the newest of them became one; microseconds UTC."""
    groups = [group for group in await letters(books, flow) if group.open_count]
    newest = max((group.last_time.ToMicroseconds() for group in groups), default=0)
    return sum(group.open_count for group in groups), newest


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
    came back, whichever is later, and not while the endpoint is down, unless that lasts longer than
    is believed; that of other endpoints and what is parked is not touched by that."""
    flow = Flow()
    (doubt, *_) = map(flow.fresh, in_doubt(flow))
    began = doubt.first_unknown_at
    assert began is not None
    late = began + 10 * HALF_A_DAY
    down = Patience(900, late - began, {ERP: ()})
    assert not is_dead(doubt, down, late - 1)
    assert is_dead(doubt, down, late)
    assert since(doubt, down) == late
    assert is_dead(doubt, Patience(900, late, {"other": ()}), late)
    assert is_dead(replace(doubt, state="PARKED"), down, began)
    before, after = (Patience(900, late, {ERP: ((began + n, None),)}) for n in (-50, 50))
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


async def test_look_ups_that_fail_hide_doubt_no_longer_than_is_believed(books: Books) -> None:
    """Proves that doubt whose own failing look-ups keep the breaker open becomes a dead letter
    after the time for which silence is believed, and stays one."""
    flow = Flow()
    waiting = in_doubt(flow)
    last_at = shows_at(flow, waiting[-2], LONGEST)
    for number in range(3):
        flow.pass_time(HALF_A_DAY)
        flow.settle(waiting[number], "UNKNOWN", code="look_up_failed", reason="500")
        assert health(flow).breaker_state == "OPEN"
    flow.pass_time((last_at - flow.now) / SECOND - 1)
    assert await shown(books, flow) == (0, 0)
    assert (await status(books)).in_doubt == len(waiting) - 1
    flow.pass_time(2)
    assert await shown(books, flow) == (len(waiting) - 1, last_at)

    flow.settle(waiting[-1], "CONFIRMED")
    assert health(flow).breaker_state == "CLOSED"
    assert await shown(books, flow) == (len(waiting) - 1, last_at)


async def test_a_letter_stays_when_its_endpoint_fails_afterwards(books: Books) -> None:
    """Proves that a doubt which has become a dead letter stays one, since the same moment, while
    the breaker opens and after it closed, and that what is in doubt of that outage is not shown
    with it before its own time."""
    flow = Flow()
    waiting = ready(flow, 8)
    first_at = answered(flow, waiting)
    assert await shown(books, flow) == (1, first_at)
    fail(flow, waiting[2:7])
    assert await shown(books, flow) == (1, first_at)
    flow.pass_time(HALF_A_DAY)
    assert await shown(books, flow) == (1, first_at)

    flow.settle(waiting[7], "CONFIRMED")
    back_at = flow.now
    assert await shown(books, flow) == (1, first_at)
    flow.pass_time(QUARTER + 1)
    assert await shown(books, flow) == (6, back_at + int(QUARTER * SECOND))


async def test_a_short_recovery_neither_shows_nor_hides_doubt(books: Books) -> None:
    """Proves that an endpoint which answers for less than a quarter of an hour between two outages
    shows none of the first one's doubt, and takes back no letter from before it."""
    flow = Flow()
    waiting = ready(flow, 14)
    first_at = answered(flow, waiting)
    fail(flow, waiting[2:7])
    flow.pass_time(HALF_A_DAY)
    flow.settle(waiting[7], "CONFIRMED")
    flow.pass_time(QUARTER / 2)
    fail(flow, waiting[8:13])
    flow.pass_time(HALF_A_DAY)
    assert await shown(books, flow) == (1, first_at)
    flow.settle(waiting[13], "CONFIRMED")
    assert await shown(books, flow) == (1, first_at)


async def test_a_letter_keeps_its_time_over_many_outages(books: Books) -> None:
    """Proves that a doubt which showed before one outage, or after it, became a dead letter at the
    same moment whatever outages follow: a group that somebody acknowledged does not open again."""
    flow = Flow()
    waiting = ready(flow, 24)
    first_at = answered(flow, waiting)
    fail(flow, waiting[2:7])
    flow.pass_time(HALF_A_DAY)
    second_at = recover(flow, waiting[7], QUARTER + 1)
    assert await stopped_at(books, flow) == {first_at, second_at}
    fail(flow, waiting[8:13])
    assert await stopped_at(books, flow) == {first_at, second_at}
    flow.pass_time(HALF_A_DAY)
    third_at = recover(flow, waiting[13], HALF_A_DAY)
    assert await stopped_at(books, flow) == {first_at, second_at, third_at}
    fail(flow, waiting[14:19])
    assert await stopped_at(books, flow) == {first_at, second_at, third_at}
    assert _kept(flow, waiting[0]) == [first_at]
    assert _kept(flow, waiting[2]) == [second_at]
    assert _kept(flow, waiting[14]) == []


def recover(flow: Flow, record: DeliveryRecord, seconds: float) -> int:
    """The endpoint answers again, for so long. When what was in doubt before it shows."""
    flow.settle(record, "CONFIRMED")
    shows = flow.now + int(QUARTER * SECOND)
    flow.pass_time(seconds)
    return shows


async def stopped_at(books: Books, flow: Flow) -> set[int]:
    """When the open letters became ones: microseconds UTC."""
    found = set()
    for group in await letters(books, flow):
        request = dead_letter_service_pb2.GetDeadLettersRequest(group_id=group.id, page_size=50)
        method = "dead_letter.v1.DeadLetterService/GetDeadLetters"
        answer = await books.ask(method, request, OPERATOR)
        found |= {m.stop_time.ToMicroseconds() for m in answer.members if m.open}
    return found


@pytest.mark.parametrize(
    "limits",
    [Limits(unanswered_seconds_max=4 * QUARTER), Limits(answered_windows_max=4)],
    ids=["by age", "by number"],
)
def test_times_long_past_are_taken_together_and_hide_nothing(limits: Limits) -> None:
    """Proves that an endpoint which fails again and again keeps few of the times in which it
    answered, that what showed in any of them still shows since the same moment, and that doubt of
    the last outages is not shown before its time."""
    record, now, doubts = EndpointRecord(ERP, "ERP", (), (), (), "ACTIVE", b""), 0, []
    for _ in range(20):
        record = replace(record, breaker_state="CLOSED", breaker_since=now)
        doubts.append(now)
        now += int(QUARTER * SECOND)
        record = opened(record, now, limits)
        now += int(QUARTER * SECOND)
    assert 2 <= len(record.answered_windows) <= 4
    answers = {ERP: breaking.answered_of(record)}
    patience = replace(Patience.of(limits), answered=answers)
    for doubt in doubts:
        assert patience.ends_at(ERP, doubt) == doubt + patience.microseconds
    begun_at, until = record.answered_windows[-1]
    assert patience.ends_at(ERP, begun_at - 1) == begun_at + patience.microseconds
    assert patience.ends_at(ERP, until) == until + patience.microseconds_max > now


def opened(record: EndpointRecord, now: int, limits: Limits) -> EndpointRecord:
    """The endpoint after as many failures as open its breaker."""
    for number in range(limits.breaker_failures_needed):
        failure = breaking.Evidence(f"d-{number}", "UNKNOWN", "504", "time-out", now)
        record = breaking.told(record, failure, now, limits)
    assert record.breaker_state == "OPEN"
    return record


def test_a_letter_is_followed_when_its_endpoint_failed_afterwards() -> None:
    """Proves that the answer which ends a doubt that had become a dead letter is kept in its
    history, with when it became one, also while the breaker is open and right after it closed."""
    flow = Flow()
    waiting = ready(flow, 8)
    first_at = answered(flow, waiting)
    fail(flow, waiting[2:7])
    flow.pass_time(HALF_A_DAY)
    assert _kept(flow, waiting[0]) == [first_at]
    assert _kept(flow, waiting[2]) == []
    flow.settle(waiting[7], "CONFIRMED")
    assert _kept(flow, waiting[0]) == [first_at]
    assert _kept(flow, waiting[2]) == []


def _kept(flow: Flow, doubt: DeliveryRecord) -> list[int]:
    """Since when it was a letter, as its history has it once it is confirmed; [] without one."""
    before = flow.fresh(doubt)
    view = View()
    view.add(("endpoints",), flow.endpoints)
    view.add(("delivery", doubt.id), before)
    view.changes.records["delivery", doubt.id] = replace(before, state="CONFIRMED")
    view.add(("attempts", doubt.id), ())
    view.add(("dead_letter_group", cause_of(before, "").id), None)
    unit = Unit(
        view,
        contract=CONTRACT,
        caller=HUB,
        now=flow.now,
        identifiers=flow.identifiers,
        limits=flow.limits,
    )
    follow(unit, moves_of(view, flow.now, flow.limits), view.read_or_none)
    return [record.since for key, record in unit.changes.records.items() if key[0] == "dead_letter"]
