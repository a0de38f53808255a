"""Breaker, pace, spending guard and drafts over the wire: what a real hub sends, and when."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from played_endpoint import PlayedEndpoint, event_of
from story import Story, seed_master_data, state_of

BOOKING = {"create_sales_order": "SEARCHABLE"}
FAILURES = 5
# What is promised of a breaker whose vendor is silent, whatever its time-outs are.
SILENCE_SECONDS_MAX = 10.0


async def status(story: Story, endpoint: str) -> endpoint_pb2.Endpoint:
    request = endpoint_service_pb2.GetEndpointRequest(id=endpoint)
    return (await story.operator.endpoints.GetEndpoint(request)).endpoint


async def test_a_vendor_that_is_down_is_tried_with_one_call_and_then_drained_in_order(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves with a real hub that five refused calls stop the rest, that one probe at a time goes
    out by itself, and that an answer lets the whole queue drain, each once and in order."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, BOOKING, max_concurrency=1) as erp,
    ):
        orders = [await story.approved() for _ in range(12)]
        for _ in range(FAILURES):
            begun = time.monotonic()
            await erp.work("RETRY", reason="connection refused", retry_after_seconds=4.0)
        told = await status(story, lane.erp)
        assert told.breaker.state == endpoint_pb2.BREAKER_STATE_OPEN
        assert told.breaker.reason == "connection refused"
        probe = await erp.take()
        assert time.monotonic() - begun > 0.3, "sent before its time"
        token = await erp.begin(probe)
        told = await status(story, lane.erp)
        assert (told.breaker.state, told.in_use) == (endpoint_pb2.BREAKER_STATE_PROBING, 1)
        assert erp.waiting == 0
        await erp.complete(probe.delivery_id, token, "RETRY", reason="still refused")
        second = await erp.take()
        assert second.delivery_id != probe.delivery_id
        await erp.complete(second.delivery_id, await erp.begin(second), "CONFIRMED")
        told = await status(story, lane.erp)
        assert told.breaker.state == endpoint_pb2.BREAKER_STATE_CLOSED
        done = [second.delivery_id]
        fresh = []
        while len(done) < len(orders):
            dispatch, _ = await erp.work()
            done.append(dispatch.delivery_id)
            if dispatch.dispatch_number == 1:
                fresh.append(event_of(dispatch).order.id)
        assert len(set(done)) == len(orders)
        assert fresh == [order for order in orders if order in fresh], "out of order"
        told = await status(story, lane.erp)
        assert told.queue_depth == 0 and told.time_to_drain.ToTimedelta().total_seconds() == 0


async def test_a_silent_vendor_is_known_long_before_its_calls_time_out(
    hub: RunningHub, lane: Lane
) -> None:
    """G14: proves with a real hub that three calls which fill all slots and are never answered open
    the breaker within 10 seconds, with leases of a minute, that the endpoint says so, that nothing
    more is sent, and that one late answer lets the queue drain."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, BOOKING, max_concurrency=3) as erp,
    ):
        for _ in range(5):
            await story.approved()
        sent = [await erp.take() for _ in range(3)]
        tokens = [await erp.begin(dispatch, lease_seconds=60.0) for dispatch in sent]

        async def is_open() -> bool:
            breaker = (await status(story, lane.erp)).breaker
            return breaker.state != endpoint_pb2.BREAKER_STATE_CLOSED

        await eventually(is_open, "the breaker's opening")
        told = await status(story, lane.erp)
        begun = (await erp.reread(sent[-1].delivery_id)).attempt_log[0].begin_time
        silence = told.breaker.since_time.ToDatetime() - begun.ToDatetime()
        assert silence.total_seconds() < SILENCE_SECONDS_MAX
        assert "3 calls have no answer yet" in told.breaker.reason
        assert (told.breaker.failures, told.in_use, erp.waiting) == (3, 3, 0)
        assert told.queue_depth == 5
        await erp.complete(sent[0].delivery_id, tokens[0], "CONFIRMED")
        told = await status(story, lane.erp)
        assert told.breaker.state == endpoint_pb2.BREAKER_STATE_CLOSED
        for dispatch, token in zip(sent[1:], tokens[1:], strict=True):
            await erp.complete(dispatch.delivery_id, token, "CONFIRMED")
        for _ in range(2):
            await erp.work()


@pytest.fixture
def waiting_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub whose open breakers send no probe as long as a test lasts."""
    limits = json.dumps({"breaker_probe_seconds_first": 300.0, "breaker_probe_seconds_max": 300.0})
    running = RunningHub(tmp_path / "hub", deployment(1), limits=limits).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


async def test_what_is_on_its_way_when_the_breaker_opens_is_not_attempted(
    waiting_hub: RunningHub,
) -> None:
    """Proves that a dispatch that reaches an adapter after the breaker opened is refused at its
    begin and goes back, so that no attempt is spent on a vendor that is known to be down."""
    lane = Lane(1)
    async with (
        Story(waiting_hub, lane) as story,
        PlayedEndpoint(waiting_hub, lane.erp, BOOKING, max_concurrency=7) as erp,
    ):
        for _ in range(7):
            await story.approved()
        sent = [await erp.take() for _ in range(7)]
        tokens = [await erp.begin(dispatch) for dispatch in sent[:FAILURES]]
        for dispatch, token in zip(sent[:FAILURES], tokens, strict=True):
            await erp.complete(dispatch.delivery_id, token, "RETRY", retry_after_seconds=60.0)
        for dispatch in sent[FAILURES:]:
            refused = await erp.try_begin(dispatch)
            assert refused.refusal.reason == "LEASE_LOST"
            waiting = await erp.reread(dispatch.delivery_id)
            assert (state_of(waiting), waiting.attempts) == ("READY", 0)
            assert waiting.hold_reason == delivery_pb2.HOLD_REASON_BREAKER
            assert "does not answer" in waiting.waiting_on


async def test_a_throttled_system_is_given_less_and_waits_as_it_asks(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that a 429 with Retry-After stops every call for that long and halves the budget."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, BOOKING, max_concurrency=4) as erp,
    ):
        first = await story.approved()
        dispatch = await erp.take()
        token = await erp.begin(dispatch)
        told_at = time.monotonic()
        await erp.complete(dispatch.delivery_id, token, "THROTTLED", retry_after_seconds=8.0)
        told = await status(story, lane.erp)
        assert told.effective_concurrency == 2 and told.HasField("throttled_until")
        for _ in range(6):
            await story.approved()
        out = [await erp.take(), await erp.take()]
        assert time.monotonic() - told_at > 7.5, "sent before the vendor's time was over"
        assert (await status(story, lane.erp)).in_use == 2
        for dispatch in out:
            await erp.complete(dispatch.delivery_id, await erp.begin(dispatch), "CONFIRMED")
        for _ in range(5):
            await erp.work()
        delivery = await story.delivery(first, "create_sales_order")
        assert state_of(delivery) == "CONFIRMED"


async def test_the_spending_guard_stops_an_order_and_its_trace_says_so(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves over the wire that what one order asks beyond its manifest's limit is parked before it
    is sent, and that the verdict of its trace names the guard."""
    async with Story(hub, lane) as story:
        guarded = PlayedEndpoint(hub, lane.carrier, {"buy_label": "SEARCHABLE"}, max_concurrency=9)
        guarded._manifest.operations[0].max_per_root = 2
        erp = PlayedEndpoint(hub, lane.erp, BOOKING)
        wms = PlayedEndpoint(hub, lane.wms, {"release_order": "NATURAL"})
        async with guarded as ups, erp, wms:
            shipment = await story.packed(packages=4)
            bought = [await ups.take(), await ups.take()]
            deliveries = await story.deliveries(shipment.order_id)
            labels = [d for d in deliveries if d.operation == "buy_label"]
            stopped = [d for d in labels if state_of(d) == "PARKED"]
            assert (len(labels), len(stopped), ups.waiting) == (4, 2, 0)
            assert {d.hold_reason for d in stopped} == {delivery_pb2.HOLD_REASON_SPENDING}
            for dispatch in bought:
                await ups.complete(dispatch.delivery_id, await ups.begin(dispatch), "CONFIRMED")
            request = lineage_service_pb2.TraceRequest(id=shipment.order_id)
            lineage = (await story.operator.lineage.Trace(request)).lineage
            assert "spending guard" in lineage.sentence


async def test_a_draft_is_kept_over_a_lost_lease(hub: RunningHub, lane: Lane) -> None:
    """Proves over the wire that the attempt after a silent one is given the draft to confirm, and
    that the silent one can no longer note another."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, {"create_sales_order": "TWO_STEP"}) as erp,
    ):
        await story.approved()
        first = await erp.take()
        token = await erp.begin(first, lease_seconds=4.0)
        renewal = delivery_service_pb2.LeaseRenewal(
            delivery_id=first.delivery_id, token=token, draft="D-1"
        )
        renewal.lease.FromMilliseconds(300)
        request = delivery_service_pb2.RenewLeasesRequest(endpoint=lane.erp, renewals=[renewal])
        answer = (await erp.client.deliveries.RenewLeases(request)).results[0]
        assert not answer.HasField("refusal")
        second = await erp.take()
        begun = await erp.try_begin(second)
        assert begun.draft == "D-1"
        late = (await erp.client.deliveries.RenewLeases(request)).results[0]
        assert late.refusal.reason == "LEASE_LOST"
        await erp.complete(second.delivery_id, begun.token, "CONFIRMED")
        assert (await erp.reread(second.delivery_id)).draft == "D-1"


async def test_opening_and_closing_are_each_said_once(hub: RunningHub, lane: Lane) -> None:
    """Proves that the log has one line when an endpoint goes and one when it is back."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, BOOKING, max_concurrency=8) as erp,
    ):
        for _ in range(8):
            await story.approved()
        sent = [await erp.take() for _ in range(8)]
        tokens = [await erp.begin(dispatch) for dispatch in sent]
        for dispatch, token in zip(sent, tokens, strict=True):
            await erp.complete(dispatch.delivery_id, token, "RETRY", reason="refused")
        for _ in range(8):
            await erp.work()

    def lines(words: str) -> int:
        log = hub.log_file.read_text().splitlines()
        return sum(words in line and f'"{lane.erp}"' in line for line in log)

    await eventually(lambda: lines("answers again") == 1, "the line of the return")
    assert lines("does not answer") == 1
