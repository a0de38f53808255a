"""Replays through a real hub, to an endpoint whose adapter is the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock.errors import CallError
from crossdock.options.v1 import options_pb2
from crossdock.order.v1 import order_pb2
from crossdock.replay.v1 import replay_pb2, replay_service_pb2
from crossdock_hub.replay import decisions
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from google.protobuf.timestamp_pb2 import Timestamp
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from replay_desk import Desk, planned, preview, verdict, word
from story import Story, label, request_id, seed_master_data, state_of, unique, update_order

SECOND_OPERATOR = "second-operator"
PARKED = delivery_pb2.DELIVERY_STATE_PARKED
BOOKED = "order.approved"


@pytest.fixture(scope="module")
def desk_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub with two operators and lanes of its own."""
    endpoints = deployment(12) | {SECOND_OPERATOR: {"role": "OPERATOR"}}
    running = RunningHub(tmp_path_factory.mktemp("replays"), endpoints).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def _lanes() -> Iterator[Lane]:
    return map(Lane, range(1, 13))


@pytest.fixture
def own_lane(_lanes: Iterator[Lane]) -> Lane:
    """A business unit that no other test of this file uses."""
    return next(_lanes)


async def failed(story: Story, erp: PlayedEndpoint, count: int, outcome: str) -> list[str]:
    """Orders whose booking ended so; their ids."""
    orders = [await story.approved() for _ in range(count)]
    for _ in orders:
        await erp.work(outcome, reason="no such customer")
    return orders


async def test_what_failed_is_posted_and_nothing_else(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves the failed set: refused bookings are made again with their reference, the one that is
    confirmed is not, and each item tells its outcome; old deliveries say what replaced them."""
    async with (
        Story(desk_hub, own_lane) as story,
        PlayedEndpoint(desk_hub, own_lane.erp, ERP_OPERATIONS) as erp,
    ):
        good = await failed(story, erp, 1, "CONFIRMED")
        bad = await failed(story, erp, 3, "REJECTED")
        desk = Desk(story.operator, own_lane.erp)
        plan = await desk.plan("FAILED", event_types=[BOOKED])
        assert planned(plan) == {"WOULD_POST": 3}
        assert erp.waiting == 0
        started = await desk.start(plan)
        references = set()
        for outcome in ("CONFIRMED", "CONFIRMED", "REJECTED"):
            dispatch, _ = await erp.work(outcome)
            assert dispatch.replay_id == plan.id
            references.add(dispatch.vendor_reference)
        await desk.done(plan)
        await desk.settled(plan)
        assert await desk.outcomes(plan) == {"POSTED": 2, "REFUSED": 1}
        items = await desk.items(plan)
        assert [item.correlation_id for item in items] == bad
        for item in items:
            old = await erp.reread(item.earlier_delivery_id)
            new = await erp.reread(item.delivery_id)
            assert (state_of(old), old.superseded_by) == ("SUPERSEDED", new.id)
            assert new.replay_id == plan.id
            assert new.vendor_reference in references
            assert new.trace_id == started.trace_id or not started.trace_id
        assert await story.state(good[0], "create_sales_order") == "CONFIRMED"
        assert erp.waiting == 0
        acts = [(act.verb, act.by, act.reason) for act in (await desk.read(plan)).acts]
        assert acts == [
            ("plan", "operator", ""),
            ("start", "operator", "the vendor lost them"),
        ]


async def test_a_failure_group_is_a_state_and_a_code(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves that a failure group takes what failed with that code and leaves the rest."""
    async with (
        Story(desk_hub, own_lane) as story,
        PlayedEndpoint(desk_hub, own_lane.erp, ERP_OPERATIONS) as erp,
    ):
        orders = [await story.approved() for _ in range(2)]
        for code in ("CREDIT", "SYNTAX"):
            dispatch = await erp.take()
            await erp.begin(dispatch)
            await _end(erp, dispatch.delivery_id, code)
        desk = Desk(story.operator, own_lane.erp)
        group = replay_pb2.FailureGroup(code="SYNTAX")
        plan = await desk.plan("FAILED", failure=group)
        assert [item.correlation_id for item in await desk.items(plan)] == [orders[1]]
        nobody = replay_pb2.FailureGroup(states=[PARKED])
        nothing = await desk.plan("FAILED", failure=nobody)
        assert (nothing.item_count, planned(nothing)) == (0, {})
        assert "nothing that was selected is failed" in nothing.note


async def _end(erp: PlayedEndpoint, delivery_id: str, code: str) -> None:
    request = delivery_service_pb2.CompleteAttemptsRequest(endpoint=erp.endpoint)
    request.completions.add(
        delivery_id=delivery_id,
        token=1,
        outcome=delivery_pb2.ATTEMPT_OUTCOME_REJECTED,
        code=code,
        reason=f"refused: {code}",
    )
    await erp.client.deliveries.CompleteAttempts(request)


async def test_what_was_never_there_is_missing(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves the missing set: events from before an endpoint offered an operation are posted, in
    their order, with the ids that routing would have given; a second time nothing is missing."""
    async with Story(desk_hub, own_lane) as story:
        shipment = await story.packed(packages=2)
        codes = [
            await story.carrier.labels.CreateLabel(label(shipment.id, p.id, unique("1Z")))
            for p in shipment.packages
        ]
        assert len(codes) == 2
        operations = ERP_OPERATIONS
        async with PlayedEndpoint(desk_hub, own_lane.carrier, operations | TRACKING) as carrier:
            desk = Desk(story.operator, own_lane.carrier)
            plan = await desk.plan(
                "MISSING", object_id=shipment.order_id, operation="subscribe_tracking"
            )
            assert planned(plan) == {"WOULD_POST": 2}
            await desk.start(plan)
            for _ in range(2):
                await carrier.work("CONFIRMED")
            await desk.settled(plan)
            assert await desk.outcomes(plan) == {"POSTED": 2}
            again = await desk.plan(
                "MISSING", object_id=shipment.order_id, operation="subscribe_tracking"
            )
            assert again.item_count == 0
            everything = await desk.plan(
                "ALL", object_id=shipment.order_id, operation="subscribe_tracking"
            )
            # label.created is FREE, so ALL repeats it; a replay of a replay is fine.
            assert planned(everything) == {"WOULD_POST": 2}
            await desk.start(everything)
            for _ in range(2):
                await carrier.work("CONFIRMED")
            await desk.settled(everything)
            assert await desk.outcomes(everything) == {"POSTED": 2}


TRACKING = {"subscribe_tracking": "NATURAL"}


async def test_what_is_confirmed_stays_posted_once(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves that ALL lists confirmed work of policy UNCONFIRMED_ONLY as already posted, that the
    run posts nothing, and that its items say so."""
    async with (
        Story(desk_hub, own_lane) as story,
        PlayedEndpoint(desk_hub, own_lane.erp, ERP_OPERATIONS) as erp,
    ):
        (order_id,) = await failed(story, erp, 1, "CONFIRMED")
        desk = Desk(story.operator, own_lane.erp)
        plan = await desk.plan("ALL", object_id=order_id)
        assert planned(plan) == {"ALREADY_POSTED": 1}
        await desk.start(plan)
        await desk.done(plan)
        assert await desk.outcomes(plan) == {"NOT_POSTED": 1}
        assert erp.waiting == 0
        assert len(await story.deliveries(order_id, "create_sales_order")) == 1


async def test_a_second_person_approves(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves that labels, whose policy is APPROVAL, are blocked until another operator has spoken,
    and that the one who planned can't be that person."""
    async with (
        Story(desk_hub, own_lane) as story,
        desk_hub.client(SECOND_OPERATOR) as second,
        PlayedEndpoint(desk_hub, own_lane.carrier, {"buy_label": "SEARCHABLE"}) as carrier,
    ):
        shipment = await story.packed()
        await carrier.work("REJECTED")
        desk = Desk(story.operator, own_lane.carrier)
        blocked = await desk.plan("FAILED", object_id=shipment.order_id)
        assert planned(blocked) == {"BLOCKED_BY_POLICY": 1}
        assert blocked.needs_approval
        await desk.start(blocked)
        await desk.done(blocked)
        assert await desk.outcomes(blocked) == {"NOT_POSTED": 1}
        plan = await desk.plan("FAILED", object_id=shipment.order_id)
        word_of = replay_service_pb2.ApproveReplayRequest(
            request_id=request_id(), replay_id=plan.id, reason="seen it"
        )
        with pytest.raises(CallError) as refused:
            await story.operator.replays.ApproveReplay(word_of)
        assert refused.value.reason == "OUT_OF_SCOPE"
        assert not (await second.replays.ApproveReplay(word_of)).replay.needs_approval
        assert planned(await desk.read(plan)) == {"WOULD_POST": 1}
        await desk.start(plan)
        await carrier.work("CONFIRMED")
        await desk.settled(plan)
        assert await desk.outcomes(plan) == {"POSTED": 1}


async def test_what_changed_since_the_plan_is_listed(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves that work which another replay posted meanwhile is listed with both verdicts and not
    posted a second time."""
    async with (
        Story(desk_hub, own_lane) as story,
        PlayedEndpoint(desk_hub, own_lane.erp, ERP_OPERATIONS) as erp,
    ):
        orders = await failed(story, erp, 2, "REJECTED")
        desk = Desk(story.operator, own_lane.erp)
        slow = await desk.plan("FAILED", event_types=[BOOKED])
        quick = await desk.plan("FAILED", object_id=orders[0])
        await desk.start(quick)
        await erp.work("CONFIRMED")
        await desk.settled(quick)
        await desk.start(slow)
        await erp.work("CONFIRMED")
        await desk.settled(slow)
        assert await desk.outcomes(slow) == {"CHANGED_SINCE": 1, "POSTED": 1}
        (changed,) = await desk.items(slow, changed_only=True)
        assert changed.correlation_id == orders[0]
        assert changed.planned_verdict == verdict("WOULD_POST")
        assert changed.verdict == verdict("ALREADY_POSTED")
        assert not changed.delivery_id
        assert erp.waiting == 0


async def test_a_plan_started_twice_is_one_run(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves that starting again, with another request id, starts nothing more."""
    async with (
        Story(desk_hub, own_lane) as story,
        PlayedEndpoint(desk_hub, own_lane.erp, ERP_OPERATIONS) as erp,
    ):
        (order_id,) = await failed(story, erp, 1, "REJECTED")
        desk = Desk(story.operator, own_lane.erp)
        plan = await desk.plan("FAILED", object_id=order_id)
        first, second = await desk.start(plan), await desk.start(plan)
        assert first.start_time == second.start_time
        await erp.work("CONFIRMED")
        await desk.settled(plan)
        await desk.start(plan)
        assert len(await story.deliveries(order_id, "create_sales_order")) == 2
        assert erp.waiting == 0


async def test_pages_hold_every_item_once(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves that pages of items and of replays are complete, and filters name what they say."""
    async with (
        Story(desk_hub, own_lane) as story,
        PlayedEndpoint(desk_hub, own_lane.erp, ERP_OPERATIONS) as erp,
    ):
        await failed(story, erp, 3, "REJECTED")
        await failed(story, erp, 2, "CONFIRMED")
        desk = Desk(story.operator, own_lane.erp)
        plan = await desk.plan("ALL", event_types=[BOOKED])
        items = await desk.items(plan, size=2)
        assert [item.number for item in items] == [1, 2, 3, 4, 5]
        assert preview(items) == {"WOULD_POST": 3, "ALREADY_POSTED": 2}
        only = await desk.items(plan, planned_verdict=verdict("ALREADY_POSTED"))
        assert [item.number for item in only] == [4, 5]
        listed = await story.operator.replays.ListReplays(
            replay_service_pb2.ListReplaysRequest(endpoint=own_lane.erp, page_size=1)
        )
        assert [found.id for found in listed.replays] == [plan.id]


async def test_a_bad_plan_is_refused_in_words(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves that an empty selection, an unknown event, endpoint or plan and times the wrong way
    round are refused with what to do, and that only operators may replay."""
    async with Story(desk_hub, own_lane) as story:
        desk = Desk(story.operator, own_lane.erp)
        with pytest.raises(CallError) as empty:
            await desk.plan("MISSING")
        assert empty.value.reason == "INVALID_FIELD"
        assert "an empty selection would replay everything" in str(empty.value)
        with pytest.raises(CallError) as no_criterion:
            await desk.plan("ALL", operation="create_sales_order")
        assert no_criterion.value.reason == "INVALID_FIELD"
        with pytest.raises(CallError) as unknown:
            await desk.plan("ALL", event_types=["order.eaten"])
        assert "selection.event_types[0]" in str(unknown.value)
        late, early = Timestamp(seconds=200), Timestamp(seconds=100)
        with pytest.raises(CallError) as backwards:
            await desk.plan("ALL", since=late, until=early)
        assert "selection.until" in str(backwards.value)
        with pytest.raises(CallError) as nobody:
            await Desk(story.operator, "nobody").plan("ALL", object_id="x")
        assert nobody.value.reason == "OBJECT_NOT_FOUND"
        with pytest.raises(CallError) as not_planned:
            await desk.start(replay_pb2.Replay(id=request_id()))
        assert not_planned.value.reason == "OBJECT_NOT_FOUND"
        with pytest.raises(CallError) as not_allowed:
            await Desk(story.erp, own_lane.erp).plan("ALL", object_id="x")
        assert not_allowed.value.reason == "METHOD_NOT_ALLOWED"


async def test_a_plan_beyond_its_limits_says_how_to_narrow_it(tmp_path: Path) -> None:
    """Proves that a plan of too many events, and of too much work of one order, ends as FAILED with
    what to do and is not started; and that the narrower selection is planned."""
    limits = json.dumps({"replay_flow_items_max": 1, "replay_events_max": 2})
    running = RunningHub(tmp_path, deployment(1), limits=limits).start()
    try:
        await seed_master_data(running)
        async with (
            Story(running, Lane(1)) as story,
            PlayedEndpoint(running, Lane(1).erp, ERP_OPERATIONS),
        ):
            order_id = await story.approved()
            changed = order_pb2.Order(id=order_id, customer_reference="PO-1")
            await story.oms.orders.UpdateOrder(update_order(changed, "customer_reference"))
            desk = Desk(story.operator, Lane(1).erp)
            both = [BOOKED, "order.changed"]
            too_large = await desk.plan("ALL", object_id=order_id, event_types=both)
            assert word(replay_pb2.ReplayState, too_large.state) == "FAILED"
            assert f"{order_id} alone has more than 1 items" in too_large.note
            assert too_large.HasField("end_time")
            with pytest.raises(CallError) as not_planned:
                await desk.start(too_large)
            assert not_planned.value.reason == "STATE_TRANSITION"
            one = await desk.plan("ALL", object_id=order_id, event_types=[BOOKED])
            assert one.item_count == 1
            for _ in range(2):
                await story.approved()
            too_many = await desk.plan("ALL", event_types=[BOOKED])
            assert word(replay_pb2.ReplayState, too_many.state) == "FAILED"
            assert "more than 2 events; narrow it" in too_many.note
            assert (too_many.item_count, planned(too_many)) == (0, {})
    finally:
        running.kill()


async def test_what_a_replay_waits_with_is_a_lane(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves that an endpoint whose budget or pause holds a replay's work can be read, alone and in
    the list, with that work as the last of its lanes; and that it goes when the endpoint does."""
    async with (
        Story(desk_hub, own_lane) as story,
        PlayedEndpoint(desk_hub, own_lane.erp, ERP_OPERATIONS) as erp,
    ):
        endpoints = story.operator.endpoints
        await failed(story, erp, 2, "REJECTED")
        desk = Desk(story.operator, own_lane.erp)
        plan = await desk.plan("FAILED", event_types=[BOOKED])
        await endpoints.PauseEndpoint(
            endpoint_service_pb2.PauseEndpointRequest(
                request_id=request_id(), endpoint=own_lane.erp, reason="month end"
            )
        )
        await desk.start(plan)
        await desk.done(plan)
        await story.approved()
        one = endpoint_service_pb2.GetEndpointRequest(id=own_lane.erp)
        found = (await endpoints.GetEndpoint(one)).endpoint
        every = endpoint_service_pb2.ListEndpointsRequest(page_size=500)
        listed = (await endpoints.ListEndpoints(every)).endpoints
        for endpoint in (found, *(e for e in listed if e.id == own_lane.erp)):
            assert [(e.latency_class, e.replays, e.waiting) for e in endpoint.lanes] == [
                (options_pb2.LATENCY_CLASS_REAL_TIME, False, 1),
                (options_pb2.LATENCY_CLASS_UNSPECIFIED, True, 2),
            ]
            assert endpoint.lanes[1].HasField("oldest_time")
        assert own_lane.erp in {endpoint.id for endpoint in listed}
        await endpoints.ResumeEndpoint(
            endpoint_service_pb2.ResumeEndpointRequest(
                request_id=request_id(), endpoint=own_lane.erp
            )
        )
        for replay_id in ("", plan.id, plan.id):
            dispatch, _ = await erp.work("CONFIRMED")
            assert dispatch.replay_id == replay_id
        found = (await endpoints.GetEndpoint(one)).endpoint
        assert (found.queue_depth, len(found.lanes)) == (0, 0)


async def test_an_aborted_plan_is_not_started(desk_hub: RunningHub, own_lane: Lane) -> None:
    """Proves that what is aborted stays so, and that a run which is over can't be paused."""
    async with Story(desk_hub, own_lane) as story:
        desk = Desk(story.operator, own_lane.erp)
        plan = await desk.plan("ALL", object_id=request_id())
        await desk.steer("Abort", plan)
        await desk.steer("Abort", plan)
        with pytest.raises(CallError) as over:
            await desk.start(plan)
        assert over.value.reason == "STATE_TRANSITION"
        with pytest.raises(CallError) as too_late:
            await desk.steer("Pause", plan)
        assert too_late.value.reason == "STATE_TRANSITION"


async def test_a_run_survives_its_hub_pauses_and_ends(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Proves over kill -9 that a run goes on where it was and hands over nothing twice, keeps its
    rate in every second, hands over nothing while paused, and after an abort never again."""
    hub = RunningHub(tmp_path_factory.mktemp("killed"), deployment(1)).start()
    try:
        await seed_master_data(hub)
        lane = Lane(1)
        async with Story(hub, lane) as story:
            async with PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS, max_concurrency=50) as erp:
                await failed(story, erp, 24, "REJECTED")
            desk = Desk(story.operator, lane.erp)
            plan = await desk.plan("FAILED", event_types=[BOOKED])
            await desk.start(plan, items_per_second=4)
            await eventually(lambda: _decided(hub) >= 4, "the run has begun")
            hub.restart()
        async with Story(hub, lane) as story:
            desk = Desk(story.operator, lane.erp)
            await eventually(lambda: _decided(hub) >= 8, "the run goes on")
            await desk.steer("Pause", plan)
            paused = _decided(hub)
            hub.restart()
        async with Story(hub, lane) as story:
            desk = Desk(story.operator, lane.erp)
            assert await desk.state(plan) == "PAUSED"
            # Another run that starts and ends now proves that the loop has looked at this one.
            other = await desk.plan("ALL", object_id=request_id())
            await desk.start(other)
            await desk.done(other)
            assert _decided(hub) == paused
            await desk.steer("Resume", plan)
            await eventually(lambda: _decided(hub) > paused, "the run goes on")
            await desk.steer("Abort", plan)
            ended = _decided(hub)
            other = await desk.plan("ALL", object_id=request_id())
            await desk.start(other)
            await desk.done(other)
            assert _decided(hub) == ended
            outcomes = await desk.outcomes(plan)
            assert outcomes == {"UNDER_WAY": ended, "ABORTED": 24 - ended}
            verbs = [act.verb for act in (await desk.read(plan)).acts]
            assert verbs == ["plan", "start", "pause", "resume", "abort"]
        _check_books(hub, ended)
    finally:
        hub.kill()


def _decided(hub: RunningHub) -> int:
    return hub.count("replay_items", "decided_at IS NOT NULL")


def _check_books(hub: RunningHub, ended: int) -> None:
    """One new delivery per decided item, and never more than four within a second."""
    assert hub.count("deliveries", "replay_id <> ''") == ended
    assert (
        hub.query(
            "SELECT event_id FROM deliveries WHERE replay_id <> '' "
            "GROUP BY event_id HAVING count(*) > 1"
        )
        == []
    )
    times = sorted(t for (t,) in hub.query("SELECT decided_at FROM replay_items") if t)
    for start in times:
        assert len([t for t in times if start <= t < start + 1_000_000]) <= 4


def test_words_of_verdicts_are_the_contracts() -> None:
    """Proves that every verdict and outcome the hub decides is a word of the contract."""
    known = {word(replay_pb2.ReplayVerdict, n) for n in replay_pb2.ReplayVerdict.values()}
    assert {
        decisions.WOULD_POST,
        decisions.WOULD_PARK,
        decisions.ALREADY_POSTED,
        decisions.SUPERSEDED,
        decisions.WOULD_BE_REFUSED,
        decisions.BLOCKED_BY_POLICY,
    } == known - {"UNSPECIFIED"}
    outcomes = {word(replay_pb2.ReplayOutcome, n) for n in replay_pb2.ReplayOutcome.values()}
    assert set(decisions.OUTCOMES.values()) <= outcomes
