"""What becomes of a return whose label a carrier's adapter sells, at a real hub."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.returns.v1 import return_pb2, return_service_pb2
from fixtures_nats import eventually
from returned_goods import initiate, receive
from story import CARRIER_CODE, Story, request_id, state_of, unique

WAIT_SECONDS = 60.0


async def shipped(story: Story) -> str:
    """An order of one piece that has left, with a label of the carrier."""
    order_id, (part,) = await story.released()
    shipment = await story.pack(part)
    await until(story, shipment.id, "buy_label")
    await story.manifest(shipment.id)
    return order_id


async def initiated(
    story: Story, order_id: str, carrier_code: str = CARRIER_CODE
) -> return_pb2.Return:
    """A return of all of an order by this carrier; "": the customer chooses."""
    request = initiate(order_id, unique("RMA"))
    wanted = request.customer_return
    wanted.service_code = "03"
    if carrier_code:
        wanted.carrier_code = carrier_code
    return (await story.oms.returns.InitiateReturn(request)).customer_return


async def read(story: Story, return_id: str) -> return_pb2.Return:
    """The return as the OMS reads it."""
    request = return_service_pb2.GetReturnRequest(id=return_id)
    return (await story.oms.returns.GetReturn(request)).customer_return


async def until(story: Story, object_id: str, operation: str, state: str = "CONFIRMED") -> None:
    """Return once the carrier's delivery of the operation has this state."""

    async def is_so() -> bool:
        found = await story.deliveries(object_id, operation, story.lane.carrier)
        return [state_of(each) for each in found] == [state]

    await eventually(is_so, f"{operation} is {state}", WAIT_SECONDS)


async def give_up(story: Story, return_id: str) -> None:
    """The OMS cancels the return."""
    cancel = return_service_pb2.CancelReturnRequest(
        request_id=request_id(), customer_return_id=return_id, reason="the customer keeps it"
    )
    await story.oms.returns.CancelReturn(cancel)


async def brought_and_credited(
    story: Story,
    made: return_pb2.Return,
    sold_back: Callable[[return_pb2.ReturnLabel], Sequence[dict[str, Any]]],
    hand_over: Callable[[dict[str, Any]], Awaitable[Any]],
    image: bytes,
) -> None:
    """The return is labelled once, moved by the customer's parcel, received and credited; its
    number leads to it and its order.

    sold_back: what the carrier sold under the reference of a label. hand_over: the command by which
    it takes parcels. image: what the label's begins with.
    """
    await until(story, made.id, "buy_return_label")
    label = (await read(story, made.id)).label
    assert label.image.startswith(image)
    (parcel,) = sold_back(label)
    number = parcel["tracking_number"]
    assert (label.tracking_number, label.carrier_code) == (number, CARRIER_CODE)
    await hand_over({"tracking_numbers": [number]})

    async def comes_back() -> bool:
        return (await read(story, made.id)).state == return_pb2.RETURN_STATE_IN_TRANSIT

    await eventually(comes_back, "the customer's parcel is under way", WAIT_SECONDS)
    await story.wms.returns.ReportReturnReceived(receive(made.number))
    credit = return_service_pb2.UpdateReturnRequest(request_id=request_id())
    credit.customer_return.id, credit.customer_return.credit_memo = made.id, unique("CM")
    credit.update_mask.paths.append("credit_memo")
    await story.erp.returns.UpdateReturn(credit)
    after = await read(story, made.id)
    assert after.state == return_pb2.RETURN_STATE_RECEIVED
    assert after.credit_memo == credit.customer_return.credit_memo
    assert [each.tracking_number for each in after.parcels] == [number]
    trace = lineage_service_pb2.TraceRequest(id=number)
    found = (await story.operator.lineage.Trace(trace)).lineage
    assert found.root_id == made.order_id
    assert made.id in {node.id for node in found.nodes}
    assert number in {each.tracking_number for each in found.scans}
