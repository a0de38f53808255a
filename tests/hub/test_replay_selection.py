"""What a replay is about, through real hubs: by time, past what the bus holds, and never some."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fixtures_hub
import pytest
from crossdock.bus import EVENT_STREAM
from crossdock_hub.bus.jetstream import Bus
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from google.protobuf.timestamp_pb2 import Timestamp
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint, event_of
from replay_desk import Desk, planned
from story import Story, seed_master_data

BOOKED = "order.approved"
# The healer looks by itself only when it starts: what a test takes away stays away.
HEALS_NOTHING = {"heal_seconds": 3_600.0}
# A hub whose contract forbids to replay approvals, as a future one may; today's forbids nothing.
NEVER_AGAIN = """
import sys
from dataclasses import replace
from types import MappingProxyType
from crossdock_hub import hub
from crossdock_hub.__main__ import main

with_retention = hub.with_retention

def with_never(contract, days):
    changed = with_retention(contract, days)
    name = "crossdock.order.v1.OrderApproved"
    rule = replace(changed.events[name], replay_policy="NEVER")
    changed.events = MappingProxyType({**changed.events, name: rule})
    changed.events_by_stem = MappingProxyType({**changed.events_by_stem, rule.stem: rule})
    return changed

hub.with_retention = with_never
sys.exit(main())
"""


@contextlib.contextmanager
def started(directory: Path) -> Iterator[RunningHub]:
    """A hub with one lane and master data whose bus stays as a test leaves it."""
    limits = json.dumps(HEALS_NOTHING)
    running = RunningHub(directory, deployment(1), limits=limits).start()
    try:
        yield running
    finally:
        running.kill()


async def refused(story: Story, erp: PlayedEndpoint, count: int) -> list[str]:
    """Orders whose booking was refused, approved one after another; their ids."""
    orders = [await story.approved() for _ in range(count)]
    for _ in orders:
        await erp.work("REJECTED", reason="no such customer")
    return orders


def recorded(hub: RunningHub, order_id: str) -> Timestamp:
    """When the approval of an order was recorded."""
    ((microseconds,),) = hub.query(
        "SELECT record_time FROM events WHERE object_id = ? AND stem = ?", order_id, BOOKED
    )
    time = Timestamp()
    time.FromMicroseconds(microseconds // 1000 * 1000)
    return time


async def test_a_replay_by_time_takes_what_lies_between(hub: RunningHub, lane: Lane) -> None:
    """Proves that since is the first moment that counts and until the first that does not, alone
    and together, and that what they leave out is not posted."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        first, second, third = await refused(story, erp, 3)
        times = {order_id: recorded(hub, order_id) for order_id in (first, second, third)}
        assert len({time.ToMicroseconds() for time in times.values()}) == 3
        desk = Desk(story.operator, lane.erp)

        async def about(**selection: Any) -> list[str]:
            plan = await desk.plan("FAILED", event_types=[BOOKED], **selection)
            return [item.correlation_id for item in await desk.items(plan)]

        assert await about(since=times[second]) == [second, third]
        assert await about(until=times[second]) == [first]
        assert await about(until=times[third]) == [first, second]
        assert await about(since=times[second], until=times[third]) == [second]
        plan = await desk.plan("FAILED", since=times[second], until=times[third])
        await desk.start(plan)
        dispatch, _ = await erp.work("CONFIRMED")
        await desk.settled(plan)
        assert (dispatch.replay_id, await desk.outcomes(plan)) == (plan.id, {"POSTED": 1})
        states = [await story.deliveries(each, "create_sales_order") for each in (first, third)]
        assert [len(found) for found in states] == [1, 1] and erp.waiting == 0


async def test_a_replay_needs_nothing_of_the_event_stream(tmp_path: Path) -> None:
    """Proves that work is planned and posted from the events table: the stream with every event of
    it is gone before the plan is asked for, and is not there again when it is made."""
    with started(tmp_path / "hub") as hub:
        await seed_master_data(hub)
        lane = Lane(1)
        async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
            orders = await refused(story, erp, 3)
            unpublished = "published_at IS NULL"
            await eventually(lambda: hub.count("events", unpublished) == 0, "publishing")
            bus = await Bus.connect(hub.bus_address())
            try:
                held = await bus.stream_state(EVENT_STREAM)
                assert held is not None and held.messages >= 3
                await bus.delete_stream(EVENT_STREAM)
                desk = Desk(story.operator, lane.erp)
                plan = await desk.plan("FAILED", event_types=[BOOKED])
                assert planned(plan) == {"WOULD_POST": 3}
                assert await bus.stream_state(EVENT_STREAM) is None
            finally:
                await bus.close()
            await desk.start(plan)
            sent = {event_of((await erp.work("CONFIRMED"))[0]).order.id for _ in orders}
            await desk.settled(plan)
            assert sent == set(orders)
            assert await desk.outcomes(plan) == {"POSTED": 3}


async def test_what_the_contract_never_replays_is_shown_and_not_posted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves through a hub whose contract says NEVER of an event that its failed work is blocked
    by policy in every set, that no second operator's word is asked for, and that a run of the
    plan posts nothing."""
    monkeypatch.setattr(fixtures_hub, "HUB_COMMAND", (sys.executable, "-c", NEVER_AGAIN))
    with started(tmp_path / "hub") as hub:
        await seed_master_data(hub)
        lane = Lane(1)
        async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
            (order_id,) = await refused(story, erp, 1)
            desk = Desk(story.operator, lane.erp)
            for wanted_set in ("FAILED", "MISSING", "ALL"):
                plan = await desk.plan(wanted_set, object_id=order_id)
                assert planned(plan) == {"BLOCKED_BY_POLICY": 1}
                assert not plan.needs_approval
                (item,) = await desk.items(plan)
                assert item.planned_why == "its replay policy is NEVER"
                await desk.start(plan)
                await desk.done(plan)
                assert await desk.outcomes(plan) == {"NOT_POSTED": 1}
            assert erp.waiting == 0
            assert len(await story.deliveries(order_id, "create_sales_order")) == 1
