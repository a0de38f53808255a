"""What anybody can read of an endpoint: breaker, what is allowed, lanes, drain; RPC and metrics."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.options.v1 import options_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.draining import Settled
from crossdock_hub.reading import endpoint_metrics
from crossdock_hub.reading.chain import situations
from crossdock_hub.reading.verdict import judge
from crossdock_hub.records import EndpointRecord
from crossdock_hub.store import tables as t
from crossdock_hub.store.starting import newest
from crossdock_hub.unit import time_of_id
from databases import open_store
from decisions import ERP, OPERATIONS, OPERATOR
from first_flow import Flow, order
from sqlalchemy import update
from stored_flow import Books, books, chain_of, situations_of

__all__ = ["books"]

ENDPOINTS = "endpoint.v1.EndpointService"
DELIVERIES = "delivery.v1.DeliveryService"


def down(flow: Flow, orders: int = 8, reason: str = "connection refused") -> list[Any]:
    """So many orders, and an ERP that refuses every call."""
    made = [flow.approve(flow.create(order(f"SO-{index}")).id) for index in range(orders)]
    waiting = flow.deliveries("netsuite", "create_sales_order")
    for record in waiting[:5]:
        flow.settle(record, "RETRY", reason=reason)
    assert len(waiting) == len(made)
    return waiting


async def read(books: Books, flow: Flow, name: str = "netsuite") -> endpoint_pb2.Endpoint:
    await books.keep(flow)
    books.queries.clock = lambda: flow.now
    request = endpoint_service_pb2.GetEndpointRequest(id=name)
    found: endpoint_pb2.Endpoint = (
        await books.ask(f"{ENDPOINTS}/GetEndpoint", request, OPERATOR)
    ).endpoint
    return found


async def test_an_outage_is_told_with_reason_probe_and_queue(books: Books) -> None:
    """Proves that breaker, reason, next probe, allowance and lanes of an endpoint that is down are
    readable, that it says no drain time, and that its deliveries say what they wait for."""
    flow = Flow()
    waiting = down(flow)
    flow.pass_time(40)
    found = await read(books, flow)
    assert found.breaker.state == endpoint_pb2.BREAKER_STATE_OPEN
    assert found.breaker.reason == "connection refused"
    assert found.breaker.failures == 5
    assert found.breaker.probe_time.ToMicroseconds() > found.breaker.since_time.ToMicroseconds()
    assert not found.HasField("time_to_drain")
    assert found.queue_depth == len(waiting)
    assert [(lane.latency_class, lane.waiting) for lane in found.lanes] == [
        (options_pb2.LATENCY_CLASS_REAL_TIME, len(waiting))
    ]
    request = delivery_service_pb2.GetDeliveryRequest(id=waiting[0].id)
    answer = await books.ask(f"{DELIVERIES}/GetDelivery", request, OPERATOR)
    assert answer.delivery.hold_reason == delivery_pb2.HOLD_REASON_BREAKER
    assert "connection refused" in answer.delivery.waiting_on
    root = waiting[0].root_id
    judged = judge(chain_of(flow, root), situations_of(flow), Limits(), flow.now)
    assert judged.verdict == "WAITING"
    assert "does not answer (connection refused)" in judged.sentence


async def test_an_endpoint_that_is_back_says_how_long_it_takes(books: Books) -> None:
    """Proves that an answer closes the breaker for all to see, and that the drain time follows the
    rate that is measured."""
    flow = Flow()
    waiting = down(flow)
    flow.pass_time(40)
    flow.settle(waiting[0], references=[("sales_order", "SO-1")])
    books.queries.settled_of = lambda endpoint: Settled(0.5)
    found = await read(books, flow)
    assert found.breaker.state == endpoint_pb2.BREAKER_STATE_CLOSED
    assert found.settled_per_second == "0.50"
    assert found.time_to_drain.ToTimedelta().total_seconds() == (len(waiting) - 1) / 0.5


async def test_a_pace_that_is_not_known_here_is_not_told(books: Books) -> None:
    """Proves that an endpoint whose system another hub leads is shown with all that is stored of
    it, and with neither a rate nor a drain time, which a queue that stands still would have too."""
    flow = Flow()
    waiting = down(flow)
    flow.pass_time(40)
    flow.settle(waiting[0], references=[("sales_order", "SO-1")])
    books.queries.settled_of = lambda endpoint: None
    found = await read(books, flow)
    assert found.queue_depth == len(waiting) - 1
    assert found.settled_per_second == ""
    assert not found.HasField("time_to_drain")


async def test_throttling_is_told(books: Books) -> None:
    """Proves that a lowered budget and the vendor's wish are readable while they hold."""
    flow = Flow()
    flow.approve(flow.create(order("SO-T")).id)
    record = flow.delivery("netsuite", "create_sales_order")
    flow.settle(record, "THROTTLED", retry_after=30)
    found = await read(books, flow)
    assert found.effective_concurrency == 2
    assert found.throttled_until.ToMicroseconds() - flow.now <= 30 * SECOND
    flow.pass_time(90)
    found = await read(books, flow)
    assert found.effective_concurrency == 4
    assert not found.HasField("throttled_until")


async def test_metrics_are_read_from_the_ledger(books: Books) -> None:
    """Proves that a scrape from another thread gets depth, age, doubt, what is parked, breaker and
    pace of each endpoint, no drain time of one that another hub leads, and names without values
    while the store does not answer."""
    flow = Flow()
    waiting = down(flow)
    flow.pass_time(40)
    for record, state in zip(waiting, ("PARKED", "UNKNOWN", "RESOLVING"), strict=False):
        flow.records["delivery", record.id] = replace(flow.fresh(record), state=state)
    await books.keep(flow)
    limits = Limits()
    kept = endpoint_metrics.Books(
        asyncio.get_running_loop(),
        books.reader.endpoints,
        books.reader.figures,
        lambda endpoint: Settled(0.0) if endpoint != "manhattan" else None,
        lambda: flow.now,
        limits,
    )
    families = await asyncio.to_thread(lambda: list(endpoint_metrics.gauges(kept)))
    values = {
        (family.name, sample.labels["endpoint"]): sample.value
        for family in families
        for sample in family.samples
    }
    assert values["crossdock_queue_depth", "netsuite"] == len(waiting)
    assert values["crossdock_in_doubt", "netsuite"] == 2
    assert values["crossdock_parked", "netsuite"] == 1
    assert 39 < values["crossdock_queue_oldest_age_seconds", "netsuite"] < 60
    assert values["crossdock_endpoint_breaker_open", "netsuite"] == 1
    assert values["crossdock_endpoint_breaker_open", "ups"] == 0
    assert values["crossdock_endpoint_pace_ratio", "netsuite"] == 1
    assert ("crossdock_time_to_drain_seconds", "netsuite") not in values
    assert values["crossdock_time_to_drain_seconds", "ups"] == 0
    assert values["crossdock_queue_depth", "manhattan"] == 0
    assert ("crossdock_time_to_drain_seconds", "manhattan") not in values
    assert [f.samples for f in endpoint_metrics.gauges(None)] == [[]] * len(families)


@pytest.mark.parametrize("kind", ["KEYED", "NATURAL", "TWO_STEP"])
async def test_doubt_that_waits_to_be_repeated_is_counted(books: Books, kind: str) -> None:
    """Proves that a call which is repeated to end its doubt counts as in doubt also while it waits
    for that, as in an outage, and no longer once it is parked or was done."""
    flow = Flow()
    expected = replace(flow.records["endpoint", ERP.endpoint], manifest=b"", state="EXPECTED")
    flow.records["endpoint", ERP.endpoint] = expected
    flow.register(ERP, OPERATIONS["netsuite"] | {"create_sales_order": kind})
    for name in ("SO-1", "SO-2"):
        flow.approve(flow.create(order(name)).id)
    record, untouched = flow.deliveries("netsuite", "create_sales_order")
    flow.settle(record, "UNKNOWN", reason="timed out")
    assert (await read(books, flow)).in_doubt == 1
    flow.pass_time(flow.limits.settle_seconds_default + flow.limits.retry_seconds_max)
    states = [flow.fresh(each).state for each in (record, untouched)]
    assert states == ["READY", "READY"]
    assert (await read(books, flow)).in_doubt == 1
    waiting = flow.fresh(record)
    for state in ("PARKED", "UNROUTED"):
        flow.records["delivery", record.id] = replace(waiting, state=state, pending=False)
        assert (await read(books, flow)).in_doubt == 0
    flow.records["delivery", record.id] = waiting
    flow.settle(record, references=[("sales_order", "SO-1")])
    assert (await read(books, flow)).in_doubt == 0


async def test_a_hub_starts_its_ids_after_the_newest_stored_one(tmp_path: Path) -> None:
    """Proves that what the store holds decides where ids and the clock begin, whatever the wall
    says, and that an empty store decides nothing."""
    store = await open_store(tmp_path)
    kept = Books(store, Limits())
    try:
        async with store.write() as connection:
            assert await newest(connection) == ("", 0)
        flow = Flow()
        down(flow)
        await kept.keep(flow)
        async with store.write() as connection:
            newest_id, newest_at = await newest(connection)
    finally:
        await store.close()
    ids = [event.id for event in flow.events]
    ids += [key[2] for key in flow.records if key[0] == "object"]
    assert newest_id == max(ids)
    assert newest_at >= time_of_id(max(ids))


async def test_the_newest_event_is_not_always_stored_last(tmp_path: Path) -> None:
    """Proves that a hub begins behind every id also where an event of an earlier one was stored
    behind it, as of a report that was decided before its batch."""
    store = await open_store(tmp_path)
    flow = Flow()
    down(flow)
    earliest, *_, latest = sorted(event.id for event in flow.events)
    assert latest > max(key[2] for key in flow.records if key[0] == "object")
    try:
        await Books(store, Limits()).keep(flow)
        async with store.write() as connection:
            moved = update(t.events).where(t.events.c.id == earliest)
            await connection.execute(moved.values(sequence=t.events.c.sequence + 1_000))
            assert (await newest(connection))[0] == latest
    finally:
        await store.close()


def test_endpoints_of_one_system_share_its_calls() -> None:
    """Proves that what is in use at a system is the sum of its endpoints', of which the one that
    takes the fewest calls says how many it takes, and that another system's are its own."""
    said = {"a": ("x", 3), "b": ("x", 2), "c": ("", 5), "d": ("", 0)}
    manifests = {
        name: endpoint_pb2.Manifest(system=system, max_concurrency=most)
        for name, (system, most) in said.items()
    }
    records = [
        EndpointRecord(name, "ERP", (), (), (), "ACTIVE", manifest.SerializeToString())
        for name, manifest in manifests.items()
    ]
    limits = Limits()
    found = situations(records, {"a": 1, "b": 1, "c": 4}, limits, 0)
    assert {name: (each.in_use, each.budget) for name, each in found.items()} == {
        "a": (2, 2),
        "b": (2, 2),
        "c": (4, 5),
        "d": (0, limits.concurrency_default),
    }
