"""The ids of what was told, requests, scans and held facts, lead to what it was told of."""

from __future__ import annotations

import pytest
from crossdock.errors import CallError
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, label, request_id, scan, scans, unique


async def traced(story: Story, text: str) -> tuple[str, str]:
    """The flow that an id leads to, and what it was taken for."""
    request = lineage_service_pb2.TraceRequest(id=text)
    lineage = (await story.operator.lineage.Trace(request)).lineage
    return lineage.root_id, lineage.matched_as


async def untraced(story: Story, text: str) -> str:
    """Why an id leads nowhere."""
    with pytest.raises(CallError) as refused:
        await traced(story, text)
    assert refused.value.refusal.reason == "OBJECT_NOT_FOUND"
    return str(refused.value.refusal.message)


async def test_a_report_of_scans_leads_to_their_orders(hub: RunningHub, lane: Lane) -> None:
    """Proves that the id of a report of scans leads to the first order that it was about and says
    how many more there are; also where the scans moved nothing, or were all known."""
    async with Story(hub, lane) as story:
        parcels = []
        for _ in range(2):
            shipment = await story.packed()
            number = unique("1Z")
            await story.carrier.labels.CreateLabel(
                label(shipment.id, shipment.packages[0].id, number)
            )
            parcels.append((shipment.order_id, number))
        (order, first), (_other, second) = parcels
        moving = scans(scan(first, "IN_TRANSIT"), scan(second, "IN_TRANSIT"))
        for report in (
            moving,
            scans(scan(first, "IN_TRANSIT", 1.0), scan(second, "IN_TRANSIT", 2.0)),
            scans(*moving.tracking_events),
        ):
            await story.carrier.tracking.ReportTrackingEvents(report)
            told = "request id of ReportTrackingEvents (1 more match)"
            assert await traced(story, report.request_id) == (order, told)
        one = scans(scan(first, "IN_TRANSIT", 3.0))
        await story.carrier.tracking.ReportTrackingEvents(one)
        assert await traced(story, one.request_id) == (order, told.partition(" (")[0])
        kept = await story.operator.tracking.ListTrackingEvents(
            tracking_service_pb2.ListTrackingEventsRequest(tracking_number=first)
        )
        for seen in kept.tracking_events:
            assert await traced(story, seen.id) == (order, "scan id")


async def test_a_held_fact_says_what_it_waits_for_and_then_where_it_went(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that a held fact's id and that of its request say what it waits for, and lead to its
    order once it is written."""
    async with Story(hub, lane) as story:
        shipment = await story.packed()
        number = unique("1Z")
        report = scans(scan(number, "IN_TRANSIT"))
        (receipt,) = (await story.carrier.tracking.ReportTrackingEvents(report)).receipts
        assert receipt.outcome == types_pb2.FACT_OUTCOME_HELD
        for text in (report.request_id, receipt.held_fact_id, report.request_id.upper()):
            why = await untraced(story, text)
            assert f"held fact {receipt.held_fact_id} waits for parcel:" in why
            assert number in why
        assert "is not known" in await untraced(story, request_id())
        bought = label(shipment.id, shipment.packages[0].id, number)
        await story.carrier.labels.CreateLabel(bought)

        async def written() -> bool:
            try:
                return await traced(story, receipt.held_fact_id) == (
                    shipment.order_id,
                    "held fact id",
                )
            except CallError:
                return False

        await eventually(written)
        told = "request id of ReportTrackingEvents"
        assert await traced(story, report.request_id) == (shipment.order_id, told)
