"""NetSuite at a real hub: a departure that is voided while nobody knows whether it is booked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from crossdock_adapters.netsuite import conformance
from crossdock_adapters.netsuite.adapter import ADAPTER
from crossdock_adapters.netsuite.sandbox import NetSuiteSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from story import Story, create_order, order
from test_netsuite_flow import is_pulled
from voided_departures import SETTLE_SECONDS, WAIT_SECONDS, reaches, voided_in_doubt

pytestmark = pytest.mark.timeout(600)

ITEM, CUSTOMER, DOCK = "SKU-1005", "CUST-1003", "WH-EAST"
ONCE = {"created": 1, "updated": 0, "deleted": 0}
TAKEN_BACK = {**ONCE, "deleted": 1}


@asynccontextmanager
async def account(
    hub: RunningHub, lane: Lane, folder: Path
) -> AsyncIterator[tuple[NetSuiteSandbox, Story]]:
    """NetSuite as the lane's ERP; its master data is at the hub."""
    key_file = str(folder / "key.pem")
    config = SandboxConfig("netsuite", settings={"client_key_file": key_file})
    async with NetSuiteSandbox(config) as sandbox, Story(hub, lane) as story:
        settings = {**conformance.settings(sandbox, folder), "external_id_prefix": "t-"}
        settings["master_data_interval_seconds"] = 3600
        async with hosted(hub, lane.erp, asking_soon(ADAPTER, SETTLE_SECONDS), settings):
            await eventually(
                lambda: is_pulled(story, DOCK, CUSTOMER, ITEM), "the master data", WAIT_SECONDS
            )
            yield sandbox, story


async def released(story: Story) -> str:
    """The fulfillment request of an order of one piece that NetSuite has booked."""
    message = order(story.lane.business_unit, docks=[DOCK])
    message.customer_number, message.lines[0].item_number = CUSTOMER, ITEM
    order_id = (await story.oms.orders.CreateOrder(create_order(message))).order.id
    await story.approve(order_id)
    await reaches(story, order_id, "create_sales_order")
    (request,) = await story.release(order_id)
    return request


@pytest.mark.parametrize("kind", ["error_before", "reply_lost"])
async def test_a_departure_that_is_voided_in_doubt_is_not_in_the_books(
    hub: RunningHub, lane: Lane, tmp_path: Path, kind: str
) -> None:
    """Proves at a real hub that a goods issue which failed, or whose answer was lost, and whose
    shipment is voided before anybody knows which, is not written after that; that the one which
    was written is deleted, once; and that what is packed in its place is fulfilled, once."""
    async with account(hub, lane, tmp_path) as (sandbox, story):
        request = await released(story)
        before = sandbox.books()["on_hand"]
        shipment = (await story.pack(request, item=ITEM)).id
        await voided_in_doubt(story, sandbox, shipment, kind, "transform")
        was_written = kind == "reply_lost"
        counted = sandbox.books()["item_fulfillments_by_external_id"]
        assert counted == ({f"t-{shipment}": TAKEN_BACK} if was_written else {})
        assert sandbox.books()["on_hand"] == before
        told = await story.delivery(shipment, "post_goods_issue")
        assert ("the shipment was voided since" in str(told)) is not was_written
        assert bool(told.vendor_references) is was_written
        reversal = await story.delivery(shipment, "reverse_goods_issue")
        taken_back = [each.value for each in reversal.vendor_references]
        assert taken_back == ([f"t-{shipment}"] if was_written else [])
        again = (await story.pack(request, item=ITEM)).id
        await story.manifest(again)
        await reaches(story, again, "post_goods_issue")
        counted = sandbox.books()["item_fulfillments_by_external_id"]
        assert counted.pop(f"t-{again}") == ONCE
        assert counted == ({f"t-{shipment}": TAKEN_BACK} if was_written else {})
