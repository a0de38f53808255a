"""A return at a real hub by FedEx: its label is sold, its scans move it, and the ERP credits it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.returns.v1 import return_pb2, return_service_pb2
from crossdock_adapters.fedex.sandbox import FedexSandbox
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from returned_goods import initiate, receive
from story import CARRIER_CODE, Story, request_id, unique
from test_fedex_hub import WAIT_SECONDS, flowing

pytestmark = pytest.mark.timeout(600)

Flowing = tuple[FedexSandbox, Story]


@pytest_asyncio.fixture
async def company(hub: RunningHub, lane: Lane, tmp_path: Path) -> AsyncIterator[Flowing]:
    async with flowing(hub, lane, tmp_path) as found:
        yield found


async def initiated(story: Story, carrier_code: str = CARRIER_CODE) -> return_pb2.Return:
    """A return of one piece of an order that has left, by this carrier."""
    order_id, (part,) = await story.released()
    await story.manifest((await story.pack(part)).id)
    request = initiate(order_id, unique("RMA"))
    wanted = request.customer_return
    wanted.service_code = "03"
    if carrier_code:
        wanted.carrier_code = carrier_code
    return (await story.oms.returns.InitiateReturn(request)).customer_return


async def read(story: Story, return_id: str) -> return_pb2.Return:
    request = return_service_pb2.GetReturnRequest(id=return_id)
    return (await story.oms.returns.GetReturn(request)).customer_return


async def until(story: Story, return_id: str, operation: str, state: str = "CONFIRMED") -> None:
    """Return once the delivery of the operation for the return has this state."""

    async def is_so() -> bool:
        found = await story.deliveries(return_id, operation, story.lane.carrier)
        return bool(found) and await story.state(return_id, operation) == state

    await eventually(is_so, f"{operation} is {state}", WAIT_SECONDS)


def sold_back(sandbox: FedexSandbox, label: return_pb2.ReturnLabel) -> list[dict[str, Any]]:
    """What FedEx sold under the reference of a label."""
    return [
        parcel
        for each in sandbox.books()["shipments"]
        if each["comes_back"] and each["index"] == label.purchase_reference
        for parcel in each["parcels"]
    ]


async def test_a_return_goes_from_its_label_to_the_credit(company: Flowing) -> None:
    """Proves at a real hub that a return gets one label although both answers of its purchase were
    lost, that the OMS reads it with its image, that the customer's parcel puts the return in
    transit, that warehouse and ERP end it, and that the number leads to the return and its order.
    """
    sandbox, story = company
    for operation in ("create", "confirm"):
        sandbox.faults.add({"kind": "reply_lost", "operation": operation, "count": 1})
    made = await initiated(story)
    await until(story, made.id, "buy_return_label")
    label = (await read(story, made.id)).label
    assert label.image.startswith(b"%PDF")
    (parcel,) = sold_back(sandbox, label)
    number = parcel["tracking_number"]
    assert (label.tracking_number, label.carrier_code) == (number, CARRIER_CODE)
    await sandbox.commands()["handover"]({"tracking_numbers": [number]})

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


async def test_a_cancelled_return_gives_its_label_back(company: Flowing) -> None:
    """Proves at a real hub that the label of a return that is cancelled is cancelled at FedEx once
    although that answer was lost, and is void at the return."""
    sandbox, story = company
    made = await initiated(story)
    await until(story, made.id, "buy_return_label")
    sandbox.faults.add({"kind": "reply_lost", "operation": "cancel", "count": 1})
    cancel = return_service_pb2.CancelReturnRequest(
        request_id=request_id(), customer_return_id=made.id, reason="the customer keeps it"
    )
    await story.oms.returns.CancelReturn(cancel)
    await until(story, made.id, "void_return_label")
    assert (await read(story, made.id)).label.voided
    assert sandbox.books()["shipments_cancelled"] == 1


async def test_a_return_without_a_carrier_waits_for_nobody(company: Flowing) -> None:
    """Proves at a real hub that a return whose carrier the customer chooses buys no label, and that
    no delivery of it stays open at the carrier."""
    sandbox, story = company
    made = await initiated(story, "")
    await until(story, made.id, "buy_return_label")
    assert not (await read(story, made.id)).HasField("label")
    assert not any(each["comes_back"] for each in sandbox.books()["shipments"])
