"""Returns over the wire of a real hub: once, by their owners, found by any number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import grpc
import pytest
import pytest_asyncio
from crossdock.errors import CallError
from crossdock.label.v1 import label_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.returns.v1 import return_pb2, return_service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock.unit.v1 import unit_service_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from returned_goods import initiate, receive
from story import Story, at, request_id, unique


async def refused(call: Awaitable[Any]) -> CallError:
    """The refusal that a call has to end with."""
    with pytest.raises(CallError) as caught:
        await call
    return caught.value


@pytest_asyncio.fixture
async def story(hub: RunningHub, lane: Lane) -> AsyncIterator[Story]:
    async with Story(hub, lane) as found:
        yield found


async def left(story: Story) -> str:
    """The id of an order of one piece that has left."""
    order_id, (part,) = await story.released()
    await story.manifest((await story.pack(part)).id)
    return order_id


async def test_a_return_is_initiated_received_and_traced(story: Story) -> None:
    """Proves over gRPC that a return and its receipt are stored once however often they are sent,
    read and listed by order and state, and found in the flow of the order by every number."""
    order_id, number, parcel = await left(story), unique("RMA"), unique("1ZBACK")
    request = initiate(order_id, number)
    made = (await story.oms.returns.InitiateReturn(request)).customer_return
    again = (await story.oms.returns.InitiateReturn(request)).customer_return
    assert again == made
    transit = return_service_pb2.ReportReturnInTransitRequest(
        request_id=request_id(), customer_return_id=made.id
    )
    transit.parcels.add(carrier_code="UPSN", tracking_number=parcel)
    await story.carrier.returns.ReportReturnInTransit(transit)
    receipt = receive(number)
    first = await story.wms.returns.ReportReturnReceived(receipt)
    assert await story.wms.returns.ReportReturnReceived(receipt) == first
    asked = return_service_pb2.GetReturnRequest(number=number)
    held = (await story.erp.returns.GetReturn(asked)).customer_return
    assert held == first.customer_return
    assert held.state == return_pb2.RETURN_STATE_RECEIVED
    assert [each.number for each in held.receipts] == [receipt.return_receipt.number]
    listed = return_service_pb2.ListReturnsRequest(
        order_id=order_id, state=return_pb2.RETURN_STATE_RECEIVED
    )
    page = (await story.oms.returns.ListReturns(listed)).customer_returns
    assert [each.id for each in page] == [made.id]
    listed.state = return_pb2.RETURN_STATE_INITIATED
    assert not (await story.oms.returns.ListReturns(listed)).customer_returns
    for query in (number, made.id, parcel, number.lower()):
        trace = lineage_service_pb2.TraceRequest(id=query)
        found = (await story.operator.lineage.Trace(trace)).lineage
        assert found.root_id == order_id
        assert "customer_return" in {node.kind for node in found.nodes}
    told = [event.stem for event in found.events if event.stem.startswith("returns.")]
    assert told == ["returns.initiated", "returns.received"]


async def test_a_receipt_that_contradicts_its_return_is_held_and_seen(story: Story) -> None:
    """Proves over gRPC that more than was authorised changes nothing and waits with its reason."""
    order_id, number = await left(story), unique("RMA")
    made = (await story.oms.returns.InitiateReturn(initiate(order_id, number))).customer_return
    answer = await story.wms.returns.ReportReturnReceived(receive(number, "2"))
    assert answer.receipt.outcome == types_pb2.FACT_OUTCOME_HELD
    assert answer.receipt.held_fact_id
    assert "accept_excess" in answer.receipt.held_because.message
    asked = return_service_pb2.GetReturnRequest(id=made.id)
    assert (await story.oms.returns.GetReturn(asked)).customer_return == made


async def test_a_conversion_for_every_item_lets_in_what_waits_for_it(story: Story) -> None:
    """Proves over gRPC that a receipt in a unit that nothing converts is written by itself once the
    ERP tells for every item how much that unit is."""
    order_id, number = await left(story), unique("RMA")
    made = (await story.oms.returns.InitiateReturn(initiate(order_id, number))).customer_return
    receipt = receive(number)
    receipt.return_receipt.lines[0].quantity.unit = "XRV"
    answer = await story.wms.returns.ReportReturnReceived(receipt)
    assert "nothing says how much EA one XRV is" in answer.receipt.held_because.message
    request = unit_service_pb2.UpsertUnitConversionsRequest()
    entry = request.entries.add(request_id=request_id())
    entry.unit_conversion.number = "*:XRV:EA"
    entry.unit_conversion.from_unit, entry.unit_conversion.to_unit = "XRV", "EA"
    entry.unit_conversion.numerator = entry.unit_conversion.denominator = "1"
    entry.update_mask.paths.extend(["from_unit", "to_unit", "numerator", "denominator"])
    (result,) = (await story.erp.units.UpsertUnitConversions(request)).results
    assert result.created and not result.HasField("refusal")
    asked = return_service_pb2.GetReturnRequest(id=made.id)

    async def is_received() -> bool:
        found = (await story.oms.returns.GetReturn(asked)).customer_return
        return found.state == return_pb2.RETURN_STATE_RECEIVED

    await eventually(is_received)


async def test_nobody_does_what_is_anothers(hub: RunningHub, lane: Lane, story: Story) -> None:
    """Proves over gRPC that every writing method refuses the roles whose word it is not, a caller
    without a token gets nothing, and another's scope sees no return."""
    order_id, number = await left(story), unique("RMA")
    request = initiate(order_id, number)
    for client in (story.erp, story.wms, story.carrier, story.operator):
        error = await refused(client.returns.InitiateReturn(request))
        assert (error.reason, error.code) == (
            "METHOD_NOT_ALLOWED",
            grpc.StatusCode.PERMISSION_DENIED,
        )
    async with hub.client("") as nobody:
        error = await refused(nobody.returns.InitiateReturn(request))
        assert error.code is grpc.StatusCode.UNAUTHENTICATED
    made = (await story.oms.returns.InitiateReturn(request)).customer_return
    for client in (story.oms, story.erp, story.carrier):
        error = await refused(client.returns.ReportReturnReceived(receive(number)))
        assert error.reason == "METHOD_NOT_ALLOWED"
    other = Lane(lane.number % 8 + 1)
    async with hub.client(other.erp) as stranger:
        asked = return_service_pb2.GetReturnRequest(id=made.id)
        assert (await refused(stranger.returns.GetReturn(asked))).reason == "OBJECT_NOT_FOUND"


async def test_a_field_of_another_role_is_refused_with_its_rule(story: Story) -> None:
    """Proves over gRPC that a credit memo is the ERP's: refused to the carrier with field, owner,
    writer and rule, taken from the ERP."""
    made = (
        await story.oms.returns.InitiateReturn(initiate(await left(story), unique("RMA")))
    ).customer_return
    change = return_service_pb2.UpdateReturnRequest(
        request_id=request_id(),
        customer_return=return_pb2.Return(id=made.id, credit_memo="CM-1"),
        expected_revision=made.revision,
    )
    change.update_mask.paths.append("credit_memo")
    error = await refused(story.carrier.returns.UpdateReturn(change))
    assert error.reason == "FIELD_NOT_OWNED"
    metadata = error.refusal.metadata
    assert metadata["field"] == "customer_return.credit_memo"
    assert (metadata["owner"], metadata["writer"]) == ("ERP", "CARRIER")
    assert "proto/crossdock/returns/v1/return.proto:" in metadata["rule"]
    after = (await story.erp.returns.UpdateReturn(change)).customer_return
    assert after.credit_memo == "CM-1"


async def test_a_return_label_is_kept_with_its_return_and_its_scans_move_it(story: Story) -> None:
    """Proves over gRPC that the label of a return is stored with its image, that a scan of its
    number puts the return in transit, and that the number leads to the return, its scan and the
    order, while no list of labels takes it for one of a package."""
    order_id, number, parcel = await left(story), unique("RMA"), unique("1ZBACK")
    made = (await story.oms.returns.InitiateReturn(initiate(order_id, number))).customer_return
    change = return_service_pb2.UpdateReturnRequest(request_id=request_id())
    change.customer_return.id = made.id
    label = change.customer_return.label
    label.carrier_code, label.tracking_number, label.image = "UPSN", parcel, b"%PDF-1.4"
    change.update_mask.paths.append("label")
    sold = (await story.carrier.returns.UpdateReturn(change)).customer_return
    assert sold.label == label
    scan = tracking_pb2.TrackingEvent(
        carrier_code="UPSN",
        tracking_number=parcel,
        milestone=shipment_pb2.MILESTONE_IN_TRANSIT,
        status_code="DP",
        event_time=at(),
    )
    report = tracking_service_pb2.ReportTrackingEventsRequest(
        request_id=request_id(), tracking_events=[scan]
    )
    (receipt,) = (await story.carrier.tracking.ReportTrackingEvents(report)).receipts
    assert receipt.outcome == types_pb2.FACT_OUTCOME_APPLIED
    asked = return_service_pb2.GetReturnRequest(id=made.id)
    back = (await story.oms.returns.GetReturn(asked)).customer_return
    assert back.state == return_pb2.RETURN_STATE_IN_TRANSIT
    shown = tracking_service_pb2.ListTrackingEventsRequest(tracking_number=parcel)
    listed = (await story.operator.tracking.ListTrackingEvents(shown)).tracking_events
    assert [each.status_code for each in listed] == ["DP"]
    trace = lineage_service_pb2.TraceRequest(id=parcel)
    found = (await story.operator.lineage.Trace(trace)).lineage
    assert found.root_id == order_id
    assert parcel in {each.tracking_number for each in found.scans}
    moving = label_service_pb2.ListLabelsRequest(moving_only=True, page_size=500)
    labels = (await story.carrier.labels.ListLabels(moving)).labels
    assert parcel not in {each.tracking_number for each in labels}
