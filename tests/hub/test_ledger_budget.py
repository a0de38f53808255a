"""The ledger over the wire: pauses, and budgets that systems share."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock.errors import CallError
from fixtures_hub import Lane, RunningHub
from played_endpoint import PlayedEndpoint, event_of
from story import Story, request_id, state_of

ERP_OPERATIONS = {
    "create_sales_order": "SEARCHABLE",
    "change_order": "SEARCHABLE",
    "cancel_order": "SEARCHABLE",
    "post_goods_issue": "SEARCHABLE",
}
WMS_OPERATIONS = {"release_order": "NATURAL", "cancel_order": "NATURAL", "print_label": "NATURAL"}


def name_of(enum: Any, value: int, prefix: str) -> str:
    name: str = enum.Name(value)
    return name.removeprefix(prefix)


def hold_reason(delivery: delivery_pb2.Delivery) -> str:
    return name_of(delivery_pb2.HoldReason, delivery.hold_reason, "HOLD_REASON_")


# Pause and budget


async def test_a_pause_holds_work_and_a_resume_lets_it_go_in_order(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that a paused endpoint gets nothing, that what was on its way is refused at its begin
    and waits, and that a resume sends all of it in order."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        orders = [await story.approved()]
        on_its_way = await erp.take()
        paused = await story.operator.endpoints.PauseEndpoint(
            endpoint_service_pb2.PauseEndpointRequest(
                request_id=request_id(), endpoint=lane.erp, reason="month end"
            )
        )
        assert (paused.endpoint.pause_reason, paused.endpoint.paused_by) == (
            "month end",
            "operator",
        )
        assert (await erp.try_begin(on_its_way)).refusal.reason == "LEASE_LOST"
        orders += [await story.approved() for _ in range(3)]
        for order_id in orders:
            waiting = await story.delivery(order_id, "create_sales_order")
            assert (state_of(waiting), hold_reason(waiting)) == ("READY", "PAUSE")
        assert erp.waiting == 0
        await story.operator.endpoints.ResumeEndpoint(
            endpoint_service_pb2.ResumeEndpointRequest(request_id=request_id(), endpoint=lane.erp)
        )
        done = [(await erp.work())[0] for _ in orders]
    assert [event_of(dispatch).order.id for dispatch in done] == orders
    assert done[0].dispatch_number == 2


async def test_the_budget_of_a_system_is_never_exceeded(hub: RunningHub, lane: Lane) -> None:
    """Proves with 30 orders and a budget of three that no more than three deliveries are ever out,
    that every one is done once, and that they leave in order."""
    out: set[str] = set()
    most, done = 0, Counter[str]()
    began: list[str] = []
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS, max_concurrency=3) as erp,
    ):
        orders = [await story.approved() for _ in range(30)]

        turns = iter(orders)

        async def adapter() -> None:
            nonlocal most
            for _ in turns:
                dispatch = await erp.take()
                out.add(dispatch.delivery_id)
                began.append(event_of(dispatch).order.id)
                most = max(most, len(out) + erp.waiting)
                token = await erp.begin(dispatch)
                out.discard(dispatch.delivery_id)
                done[dispatch.delivery_id] += 1
                await erp.complete(dispatch.delivery_id, token, "CONFIRMED")

        await asyncio.gather(*[adapter() for _ in range(3)])
        # What was sent once too often lies on the stream before this one.
        fence = await story.approved()
        assert event_of(await erp.take()).order.id == fence, "something was sent again"
        assert erp.waiting == 0
    assert most <= 3
    assert len(done) == len(orders) and set(done.values()) == {1}
    assert began == orders


async def test_endpoints_of_one_system_share_its_budget(hub: RunningHub, lane: Lane) -> None:
    """Proves that two endpoints in front of one system have one budget between them."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(
            hub, lane.erp, ERP_OPERATIONS, system=lane.business_unit, max_concurrency=2
        ) as erp,
        PlayedEndpoint(
            hub, lane.wms, WMS_OPERATIONS, system=lane.business_unit, max_concurrency=2
        ) as wms,
    ):
        booked = [await story.released() for _ in range(2)]
        ledger = [d for order_id, _ in booked for d in await story.deliveries(order_id)]
        states = Counter(state_of(delivery) for delivery in ledger)
        assert states == {"DISPATCHED": 2, "READY": 2}
        waiting = [d for d in ledger if state_of(d) == "READY"]
        assert {hold_reason(delivery) for delivery in waiting} == {"BUDGET"}
        for _ in range(2):
            await erp.work()
            await wms.work()


async def test_a_bolder_manifest_is_refused(hub: RunningHub, lane: Lane) -> None:
    """Proves that an adapter can't declare by itself that it may repeat on less evidence."""
    async with PlayedEndpoint(hub, lane.erp, {"create_sales_order": "SEARCHABLE"}):
        bolder = PlayedEndpoint(hub, lane.erp, {"create_sales_order": "NATURAL"})
        with pytest.raises(CallError) as caught:
            await bolder.__aenter__()
        assert caught.value.reason == "MANIFEST_REFUSED"
        await bolder.client.close()
