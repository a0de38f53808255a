"""Facts that come too early: held with a receipt, driven in order when what they await arrives."""

from __future__ import annotations

import time
import uuid

import pytest
from crossdock.endpoint.v1 import endpoint_service_pb2, held_fact_pb2
from crossdock.errors import CallError
from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, label, pick, request_id, scan, scans, unique

APPLIED = types_pb2.FACT_OUTCOME_APPLIED
HELD = types_pb2.FACT_OUTCOME_HELD
KNOWN = types_pb2.FACT_OUTCOME_ALREADY_KNOWN


async def held_facts(story: Story) -> list[held_fact_pb2.HeldFact]:
    """What the carrier of the lane is kept waiting for, oldest first, pages and all."""
    found: list[held_fact_pb2.HeldFact] = []
    token = ""
    while True:
        request = held_fact_pb2.ListHeldFactsRequest(
            endpoint=story.lane.carrier, page_size=100, page_token=token
        )
        page = await story.operator.endpoints.ListHeldFacts(request)
        found += page.held_facts
        token = page.next_page_token
        if not token:
            return found


async def shipment(story: Story, shipment_id: str) -> shipment_pb2.Shipment:
    request = shipment_service_pb2.GetShipmentRequest(id=shipment_id)
    return (await story.oms.shipments.GetShipment(request)).shipment


async def all_applied(story: Story) -> bool:
    facts = await held_facts(story)
    return all(fact.state == held_fact_pb2.HELD_FACT_STATE_APPLIED for fact in facts)


async def test_a_pick_for_an_unknown_request_is_held(hub: RunningHub, lane: Lane) -> None:
    """Proves that a fact from its owner is not refused but kept, with a receipt that repeats."""
    async with Story(hub, lane) as story:
        report = pick(str(uuid.uuid4()))
        answer = await story.wms.fulfillments.ReportPick(report)
        assert answer.receipt.outcome == HELD
        assert answer.receipt.held_because.reason == "OBJECT_NOT_FOUND"
        again = await story.wms.fulfillments.ReportPick(report)
        assert again == answer
        request = held_fact_pb2.ListHeldFactsRequest(endpoint=lane.wms)
        (fact,) = (await story.operator.endpoints.ListHeldFacts(request)).held_facts
    assert fact.id == answer.receipt.held_fact_id
    assert fact.method.endswith("/ReportPick")
    assert fact.awaits == f"fulfillment_request:{report.fulfillment_request_id}"
    assert fact.state == held_fact_pb2.HELD_FACT_STATE_HELD


async def test_early_scans_are_driven_by_their_label_in_order(hub: RunningHub, lane: Lane) -> None:
    """Proves that scans that overtook their label, alone and in a batch, are held, applied in the
    order they came once it arrives, and bring shipment and order to DELIVERED."""
    number, start = unique("1Z"), time.time() - 600
    async with Story(hub, lane) as story:
        packed = await story.packed()
        await story.manifest(packed.id)
        first = await story.carrier.tracking.ReportTrackingEvents(
            scans(scan(number, "CARRIER_ACCEPTED", start))
        )
        rest = await story.carrier.tracking.ReportTrackingEvents(
            scans(
                scan(number, "IN_TRANSIT", start + 60),
                scan(number, "OUT_FOR_DELIVERY", start + 120),
                scan(number, "DELIVERED", start + 180),
            )
        )
        receipts = [*first.receipts, *rest.receipts]
        assert [receipt.outcome for receipt in receipts] == [HELD] * 4
        assert len({receipt.held_fact_id for receipt in receipts}) == 4
        sold = await story.carrier.labels.CreateLabel(
            label(packed.id, packed.packages[0].id, number)
        )
        assert sold.receipt.outcome == APPLIED
        await eventually(lambda: all_applied(story), "driving the scans")
        facts = await held_facts(story)
        assert [fact.id for fact in facts] == [receipt.held_fact_id for receipt in receipts]
        request = tracking_service_pb2.ListTrackingEventsRequest(tracking_number=number)
        stored = (await story.oms.tracking.ListTrackingEvents(request)).tracking_events
        names = [shipment_pb2.Milestone.Name(event.milestone) for event in stored]
        assert names == [
            f"MILESTONE_{name}"
            for name in ("CARRIER_ACCEPTED", "IN_TRANSIT", "OUT_FOR_DELIVERY", "DELIVERED")
        ]
        arrived = await shipment(story, packed.id)
        assert arrived.state == shipment_pb2.SHIPMENT_STATE_DELIVERED
        assert arrived.progress[0].milestone == shipment_pb2.MILESTONE_DELIVERED
    events = hub.query(
        "SELECT stem FROM events WHERE root_id = ? AND stem LIKE 'tracking.%' ORDER BY sequence",
        packed.order_id,
    )
    assert [stem for (stem,) in events] == [
        "tracking.carrier_accepted",
        "tracking.in_transit",
        "tracking.out_for_delivery",
        "tracking.delivered",
    ]


async def test_more_scans_than_one_drive_takes(hub: RunningHub, lane: Lane) -> None:
    """Proves that none of hundreds of scans held for one parcel stays behind."""
    number, start = unique("1Z"), time.time() - 4000
    async with Story(hub, lane) as story:
        packed = await story.packed()
        early = [scan(number, "INFORMATION", start + n) for n in range(450)]
        answer = await story.carrier.tracking.ReportTrackingEvents(scans(*early))
        assert {receipt.outcome for receipt in answer.receipts} == {HELD}
        await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))
        await eventually(lambda: all_applied(story), "driving the scans")
    assert hub.count("scans", f"tracking_number = '{number}'") == len(early)


async def test_late_and_doubled_scans_move_nothing_back(hub: RunningHub, lane: Lane) -> None:
    """Proves that a scan known already is told so, and that an older one is stored but moves
    neither parcel nor shipment back."""
    number, start = unique("1Z"), time.time() - 600
    async with Story(hub, lane) as story:
        packed = await story.packed()
        await story.manifest(packed.id)
        await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))
        arrived = scan(number, "DELIVERED", start + 300)

        async def report(*events: object) -> list[int]:
            answer = await story.carrier.tracking.ReportTrackingEvents(scans(*events))  # type: ignore[arg-type]
            return [receipt.outcome for receipt in answer.receipts]

        assert await report(scan(number, "IN_TRANSIT", start + 60), arrived) == [APPLIED] * 2
        before = await shipment(story, packed.id)
        assert await report(arrived, scan(number, "OUT_FOR_DELIVERY", start + 200)) == [
            KNOWN,
            APPLIED,
        ]
        assert await report(scan(number, "EXCEPTION", start + 400)) == [APPLIED]
        after = await shipment(story, packed.id)
    assert (after.state, after.progress[0].milestone) == (
        before.state,
        before.progress[0].milestone,
    )
    assert after.state == shipment_pb2.SHIPMENT_STATE_DELIVERED


async def test_a_late_pick_moves_nothing_back(hub: RunningHub, lane: Lane) -> None:
    """Proves that a pick that comes after the pack is kept without undoing the pack."""
    async with Story(hub, lane) as story:
        _, (part,) = await story.released()
        await story.pack(part)
        answer = await story.wms.fulfillments.ReportPick(pick(part))
        assert answer.receipt.outcome == APPLIED
        assert answer.fulfillment_request.picked[0].quantity.value == "1"
    state = fulfillment_pb2.FulfillmentState.Name(answer.fulfillment_request.state)
    assert state == "FULFILLMENT_STATE_PACKED"


async def test_scans_by_stream_get_receipts_in_order(hub: RunningHub, lane: Lane) -> None:
    """Proves that each frame of a stream gets its receipts in turn, that a bad frame gets its
    refusal there, and that a frame sent again gets the first answer."""
    number, start = unique("1Z"), time.time() - 600
    frames = [
        tracking_service_pb2.StreamTrackingEventsRequest(
            request_id=request_id(),
            tracking_events=[scan(number, "INFORMATION", start + 2 * n + i) for i in range(2)],
        )
        for n in range(20)
    ]
    frames[7].tracking_events[1].ClearField("carrier_code")
    frames.append(frames[3])
    async with Story(hub, lane) as story:
        packed = await story.packed()
        await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))
        call = story.carrier.tracking.StreamTrackingEvents(iter(frames))
        answers = [answer async for answer in call]
    assert [answer.request_id for answer in answers] == [frame.request_id for frame in frames]
    refusal = answers[7].refusal
    assert refusal.reason == "INVALID_FIELD"
    assert refusal.violations[0].field == "tracking_events[1].carrier_code"
    answers[7].ClearField("refusal")
    outcomes = [receipt.outcome for answer in answers for receipt in answer.receipts]
    assert outcomes == [APPLIED] * 40
    assert hub.count("scans", f"tracking_number = '{number}'") == 38


async def test_a_stream_may_wait_for_each_receipt(hub: RunningHub, lane: Lane) -> None:
    """Proves that a frame is answered while its sender waits for that before it sends the next."""
    number = unique("1Z")
    async with Story(hub, lane) as story:
        call = story.carrier.tracking.StreamTrackingEvents(timeout=45)
        for milestone in ("CARRIER_ACCEPTED", "IN_TRANSIT", "DELIVERED"):
            frame = tracking_service_pb2.StreamTrackingEventsRequest(
                request_id=request_id(), tracking_events=[scan(number, milestone)]
            )
            await call.write(frame)
            answer = await call.read()
            assert answer.request_id == frame.request_id
            assert [receipt.outcome for receipt in answer.receipts] == [HELD]
        await call.done_writing()


async def test_untranslatable_payloads_are_kept(hub: RunningHub, lane: Lane) -> None:
    """Proves that a payload nobody can translate is held raw, and shown to nobody but operators
    and its own endpoint."""
    async with Story(hub, lane) as story:
        answer = await story.carrier.endpoints.HoldPayload(
            held_fact_pb2.HoldPayloadRequest(
                request_id=request_id(), payload=b"<x/>", source="/hook", reason="not JSON"
            )
        )
        (fact,) = await held_facts(story)
        assert fact.id == answer.receipt.held_fact_id
        assert (fact.payload, fact.method) == (b"<x/>", "")
        request = held_fact_pb2.ListHeldFactsRequest(endpoint=lane.carrier)
        own = await story.carrier.endpoints.ListHeldFacts(request)
        assert [found.id for found in own.held_facts] == [fact.id]
        others: list[str] = []
        try:
            others = [
                found.id for found in (await story.wms.endpoints.ListHeldFacts(request)).held_facts
            ]
        except CallError as error:
            assert error.reason == "OUT_OF_SCOPE"
        assert others == []


async def test_cursors_move_by_compare_and_set(hub: RunningHub, lane: Lane) -> None:
    """Proves that of two processes of one endpoint only the one that read last moves a cursor,
    and that endpoints do not see each other's cursors."""
    async with Story(hub, lane) as story:
        get = endpoint_service_pb2.GetCursorRequest(name="orders")
        assert (await story.erp.endpoints.GetCursor(get)).version == 0

        def put(value: bytes, version: int) -> endpoint_service_pb2.PutCursorRequest:
            return endpoint_service_pb2.PutCursorRequest(
                request_id=request_id(), name="orders", value=value, expected_version=version
            )

        assert (await story.erp.endpoints.PutCursor(put(b"a", 0))).version == 1
        with pytest.raises(CallError) as caught:
            await story.erp.endpoints.PutCursor(put(b"b", 0))
        assert caught.value.reason == "CURSOR_MOVED"
        assert (await story.erp.endpoints.GetCursor(get)).value == b"a"
        assert (await story.wms.endpoints.GetCursor(get)).version == 0
