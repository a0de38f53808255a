"""Following what is committed: filters, a backlog without gaps, and what a slow reader loses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from crossdock.lineage.v1 import lineage_service_pb2
from crossdock_hub.committer import Committed
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picked
from crossdock_hub.reading.tailing import Subscriber, Tails
from crossdock_hub.unit import Changes
from decisions import OPERATOR
from first_flow import Flow, order
from fixtures_nats import PATIENCE_SECONDS, eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_flow import Books, books

__all__ = ["books"]

# How long to listen for what must not come.
QUIET_SECONDS = 0.05


def approved(*numbers: str) -> Flow:
    """A company with approved orders: one event and one delivery each."""
    flow = Flow()
    for number in numbers:
        flow.approve(flow.create(order(number)).id)
    return flow


def request(**fields: Any) -> lineage_service_pb2.TailRequest:
    return lineage_service_pb2.TailRequest(**fields)


async def take(entries: AsyncIterator[Any], count: int) -> list[Any]:
    """The next so many entries."""
    return [await asyncio.wait_for(anext(entries), PATIENCE_SECONDS) for _ in range(count)]


async def nothing_more(entries: AsyncIterator[Any]) -> bool:
    try:
        await asyncio.wait_for(anext(entries), QUIET_SECONDS)
    except TimeoutError:
        return True
    return False


def kinds(entries: list[Any]) -> list[str]:
    return [entry.WhichOneof("entry") for entry in entries]


async def following(tails: Tails, **fields: Any) -> tuple[AsyncIterator[Any], asyncio.Task[Any]]:
    """A reader that is subscribed for certain, and its first entry to come."""
    entries = tails.follow(OPERATOR, request(**fields))
    before = len(tails)
    first = asyncio.ensure_future(anext(entries))
    await eventually(lambda: len(tails) > before, "the subscription")
    return entries, first


async def test_events_and_deliveries_come_as_they_are_committed(books: Books) -> None:
    """Proves that a commit's events come first, then its deliveries, picked ones as dispatched."""
    flow = approved("SO-1")
    tails = Tails(books.reader, Limits())
    entries, first = await following(tails)
    record = flow.deliveries()[0]
    gone = flow.dispatch(record)
    changes = Changes(records={("delivery", record.id): record}, events=list(flow.events))
    tails.committed(Committed(flow.now, changes, [Picked(gone, 60.0)]))
    found = [await first, *await take(entries, 1)]
    assert kinds(found) == ["event", "delivery"]
    assert found[0].event.stem == "order.approved"
    assert found[1].delivery.dispatch_number == 1


async def test_filters_let_only_the_asked_through(books: Books) -> None:
    """Proves that a flow and an endpoint can be followed alone."""
    flow = approved("SO-1", "SO-2")
    tails = Tails(books.reader, Limits())
    root = flow.deliveries()[0].root_id
    _, one_flow = await following(tails, correlation_id=root)
    _, one_endpoint = await following(tails, endpoint="netsuite")
    entries, nobody = await following(tails, endpoint="manhattan")
    tails.publish(flow.events, flow.deliveries())
    assert (await one_flow).event.object_id == root
    assert (await one_endpoint).delivery.endpoint == "netsuite"
    assert not nobody.done()
    nobody.cancel()
    del entries


async def test_the_backlog_ends_where_the_commits_begin(books: Books) -> None:
    """Proves that what is committed while the backlog is read comes exactly once."""
    flow = approved("SO-1", "SO-2", "SO-3")
    await books.keep(flow)
    tails = Tails(books.reader, Limits())
    entries = tails.follow(OPERATOR, request(backlog=100))
    first = asyncio.ensure_future(anext(entries))
    await eventually(lambda: len(tails) == 1, "the subscription")
    # The same commit is in the database, and published again while the backlog is being read.
    tails.publish(flow.events, flow.deliveries())
    later = replace(flow.deliveries()[0], state="DISPATCHED", updated_at=flow.now + 1)
    tails.publish([], [later])
    found = [await first, *await take(entries, 6)]
    assert kinds(found).count("event") == 3
    assert found[-1].delivery.update_time.ToMicroseconds() == flow.now + 1
    assert await nothing_more(entries)


async def test_a_backlog_is_the_last_and_in_order(books: Books) -> None:
    """Proves that a short backlog holds the newest entries, oldest first, and obeys the filters."""
    flow = approved("SO-1", "SO-2", "SO-3")
    await books.keep(flow)
    tails = Tails(books.reader, Limits())
    found = await take(tails.follow(OPERATOR, request(backlog=2)), 2)
    last = flow.deliveries()[-1].root_id
    assert [found[0].event.object_id, found[1].delivery.object_id] == [last, last]
    only = tails.follow(OPERATOR, request(backlog=100, endpoint="netsuite"))
    assert kinds(await take(only, 3)) == ["delivery"] * 3


async def test_a_slow_reader_is_told_how_many_it_missed(books: Books) -> None:
    """Proves that the queue is bounded, and that the gap is told where it is."""
    flow = approved(*(f"SO-{index}" for index in range(10)))
    tails = Tails(books.reader, Limits(tail_queue_max=3))
    entries, first = await following(tails)
    tails.publish(flow.events, [])
    found = [await first, *await take(entries, 3)]
    assert kinds(found) == ["event", "event", "event", "dropped"]
    assert found[-1].dropped == 7
    tails.publish(flow.events[:1], [])
    assert kinds(await take(entries, 1)) == ["event"]


@given(st.integers(1, 4), st.lists(st.integers(0, 6), max_size=8))
@settings(max_examples=100, deadline=None)
def test_what_is_taken_and_what_is_dropped_add_up(most: int, batches: list[int]) -> None:
    """Proves that every entry is either taken, in order, or counted as dropped at its place."""
    flow = EVENTS
    reader = Subscriber("", "", most)
    offered, place = 0, 0
    for size in batches:
        for _ in range(size):
            reader.offer(replace(flow, revision=offered))
            offered += 1
        assert len(reader.entries) <= most + 1
        entry = reader.take()
        place = _follow(entry, place)
    while (entry := reader.take()) is not None:
        place = _follow(entry, place)
    assert place == offered


def _follow(entry: Any, place: int) -> int:
    if entry is None:
        return place
    if isinstance(entry, int):
        return place + entry
    assert entry.revision == place
    return place + 1


EVENTS = approved("SO-1").events[0]


async def test_nobody_follows_for_free(books: Books) -> None:
    """Proves that without readers a commit is not even looked at, and that leaving unsubscribes."""
    tails = Tails(books.reader, Limits())
    tails.committed(None)  # type: ignore[arg-type]
    _, first = await following(tails)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await eventually(lambda: len(tails) == 0, "the end of the subscription")


async def test_a_stopping_hub_ends_every_stream(books: Books) -> None:
    """Proves that readers are let go when the hub stops, those who come late too."""
    tails = Tails(books.reader, Limits())
    _, first = await following(tails)
    tails.close()
    late = tails.follow(OPERATOR, request())
    for entry in (first, asyncio.ensure_future(anext(late))):
        ended = asyncio.gather(entry, return_exceptions=True)
        (result,) = await asyncio.wait_for(ended, PATIENCE_SECONDS)
        assert isinstance(result, StopAsyncIteration)
