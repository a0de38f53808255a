"""Plans are made in the background, through a real hub: over its death, aborted, and in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock.errors import TryAgainError
from crossdock.replay.v1 import replay_pb2, replay_service_pb2
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from replay_desk import Desk, planned, preview, word
from story import Story, request_id, seed_master_data

BOOKED = "order.approved"
ORDERS = 6
# An event at a time, found two at a time, with a pause in which a test can do something.
PLANNING_MAX = 3
SLOW = {
    "replay_find_events": 2,
    "replay_plan_events": 1,
    "replay_plan_pause_seconds": 1.0,
    "replay_planning_max": PLANNING_MAX,
}


@pytest.fixture
def slow_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub that plans an event every second."""
    running = RunningHub(tmp_path / "slow", deployment(1), limits=json.dumps(SLOW)).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


async def failed(hub: RunningHub) -> None:
    """Orders whose booking was refused."""
    async with (
        Story(hub, Lane(1)) as story,
        PlayedEndpoint(hub, Lane(1).erp, ERP_OPERATIONS) as erp,
    ):
        for _ in range(ORDERS):
            await story.approved()
        for _ in range(ORDERS):
            await erp.work("REJECTED", reason="no such customer")


async def well_begun(desk: Desk, plan: replay_pb2.Replay) -> None:
    """Return once some of a plan is made, and not all."""

    async def has_begun() -> bool:
        found = await desk.read(plan)
        assert word(replay_pb2.ReplayState, found.state) == "PLANNING"
        assert found.planned_event_count < ORDERS
        return found.planned_event_count >= 2

    await eventually(has_begun, "the plan has begun")


async def test_a_plan_survives_its_hub(slow_hub: RunningHub) -> None:
    """Proves over kill -9 that a plan is answered at once, tells how far it is, is made anew by the
    next hub with every item once, and that its request id gets the first answer again."""
    await failed(slow_hub)
    async with Story(slow_hub, Lane(1)) as story:
        desk = Desk(story.operator, Lane(1).erp)
        request = replay_service_pb2.PlanReplayRequest(
            request_id=request_id(),
            endpoint=desk.endpoint,
            set=replay_pb2.REPLAY_SET_FAILED,
            selection=replay_pb2.ReplaySelection(event_types=[BOOKED]),
        )
        plan = (await story.operator.replays.PlanReplay(request)).replay
        assert word(replay_pb2.ReplayState, plan.state) == "PLANNING"
        await well_begun(desk, plan)
        assert (await desk.read(plan)).event_count == ORDERS
        slow_hub.restart()
    async with Story(slow_hub, Lane(1)) as story:
        desk = Desk(story.operator, Lane(1).erp)
        assert (await story.operator.replays.PlanReplay(request)).replay == plan
        made = await desk.planned(plan)
        assert word(replay_pb2.ReplayState, made.state) == "PLANNED"
        assert planned(made) == {"WOULD_POST": ORDERS}
        assert made.item_count == made.planned_event_count == ORDERS
        items = await desk.items(made)
        assert [item.number for item in items] == list(range(1, ORDERS + 1))
        assert len({item.event_id for item in items}) == ORDERS
        assert preview(items) == {"WOULD_POST": ORDERS}
        assert [act.verb for act in made.acts] == ["plan"]


async def test_a_plan_is_aborted_while_it_is_made(slow_hub: RunningHub) -> None:
    """Proves that an abort ends the planning for good, and that the next plan is made after it."""
    await failed(slow_hub)
    async with Story(slow_hub, Lane(1)) as story:
        desk = Desk(story.operator, Lane(1).erp)
        plan = await desk.ask("FAILED", event_types=[BOOKED])
        await well_begun(desk, plan)
        await desk.steer("Abort", plan)
        stored = slow_hub.count("replay_items")
        (order_id,) = slow_hub.query("SELECT root_id FROM events WHERE stem = ? LIMIT 1", BOOKED)[0]
        other = await desk.plan("FAILED", object_id=order_id)
        assert planned(other) == {"WOULD_POST": 1}
        assert slow_hub.count("replay_items") == stored + 1
        assert await desk.state(plan) == "ABORTED"
        assert stored < ORDERS


async def test_no_more_plans_wait_than_may(slow_hub: RunningHub) -> None:
    """Proves that of plans that are asked for at once only as many wait as may, that the others are
    told which limit it is and what to do, and that one of them gets in with its own request id once
    another is aborted."""
    await failed(slow_hub)
    async with Story(slow_hub, Lane(1)) as story:
        desk = Desk(story.operator, Lane(1).erp)
        requests = [
            replay_service_pb2.PlanReplayRequest(
                request_id=request_id(),
                endpoint=desk.endpoint,
                set=replay_pb2.REPLAY_SET_FAILED,
                selection=replay_pb2.ReplaySelection(event_types=[BOOKED]),
            )
            for _ in range(PLANNING_MAX + 2)
        ]
        service = story.operator.replays
        answers = await asyncio.gather(
            *(service.PlanReplay(each) for each in requests), return_exceptions=True
        )
        refused = [
            (request, answer)
            for request, answer in zip(requests, answers, strict=True)
            if isinstance(answer, BaseException)
        ]
        assert len(refused) == 2
        for _, error in refused:
            assert isinstance(error, TryAgainError)
            assert error.refusal.metadata["cause"] == "replay_planning_max"
            assert "crossdock replay abort" in str(error)
        taken = [a.replay for a in answers if not isinstance(a, BaseException)]
        await desk.steer("Abort", taken[-1])
        again = (await service.PlanReplay(refused[0][0])).replay
        assert word(replay_pb2.ReplayState, again.state) == "PLANNING"
        assert slow_hub.count("replays") == PLANNING_MAX + 1
