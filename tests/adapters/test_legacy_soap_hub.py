"""The legacy ERP by SOAP, from an approved order to its posted goods issue, at a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock_adapters.legacy_soap.adapter import ADAPTER
from crossdock_adapters.legacy_soap.sandbox import LegacySoapSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import hosted
from legacy_soap_world import PASSWORD
from story import CUSTOMER, ITEM, Story, unique

pytestmark = pytest.mark.timeout(600)

ORDERS = 4
WAIT_SECONDS = 120.0
CREATE = "create_sales_order"


def settings(sandbox: LegacySoapSandbox, folder: Path) -> dict[str, Any]:
    """Of the endpoint; the password lies in a file."""
    secret = folder / "password"
    secret.write_text(PASSWORD)
    return {
        "base_url": sandbox.vendor_url,
        "username": "crossdock",
        "password": f"file:{secret}",
        "soap_version": "1.2",
        "answer_wait_seconds": 0.5,
        "items_interval_seconds": 0.5,
    }


async def test_orders_are_booked_by_soap_while_one_answer_is_lost_and_one_is_refused(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that orders which the ERP queues wait and open no breaker, that an order
    whose answer is lost is looked up and booked once, that a refusal found by a look-up ends as a
    rejection, that a changed item becomes one of the hub's, and that each other order ends with the
    ERP's number, shipped."""
    config = SandboxConfig(
        "legacy-soap",
        settings={
            "username": "crossdock", "password": PASSWORD, "soap_version": "1.2",
            "items": [ITEM], "customers": [CUSTOMER], "result_seconds": 3,
        },
    )  # fmt: skip
    async with (
        LegacySoapSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.erp, ADAPTER, settings(sandbox, tmp_path)) as runner,
    ):
        await eventually(lambda: runner.state == "serving", "the endpoint", WAIT_SECONDS)
        sandbox.faults.add({"kind": "reply_lost", "operation": "sales-orders", "count": 1})
        ids = [await story.approved() for _ in range(ORDERS)]

        async def ended(object_ids: list[str], operation: str, state: str) -> bool:
            states = [await story.state(each, operation) for each in object_ids]
            return states == [state] * len(object_ids)

        await eventually(lambda: ended(ids, CREATE, "CONFIRMED"), "the orders", WAIT_SECONDS)
        opened = hub.count("endpoints", f"id = '{lane.erp}' AND breaker_since IS NOT NULL")
        assert opened == 0, "waiting for the queue counted against the ERP"
        books = sandbox.books()
        numbers = {each["key"]: each["number"] for each in books["documents"]}
        assert len(numbers) == len(books["asked"]) == len(books["messages"]) == ORDERS
        for order_id in ids:
            request = order_service_pb2.GetOrderRequest(id=order_id)
            order = (await story.oms.orders.GetOrder(request)).order
            assert order.sales_document == numbers[order.number]
        logs = [(await story.delivery(each, CREATE)).attempt_log for each in ids]
        codes = {attempt.code for log in logs for attempt in log}
        assert {"answer_later", "unknown"} <= codes
        await _refused(sandbox, story, ended)
        await _told_of_an_item(sandbox, story)
        await _shipped(sandbox, story, ended, ids[0])
        assert sandbox.tick_error == ""


async def _refused(sandbox: LegacySoapSandbox, story: Story, ended: Any) -> None:
    """An order that the ERP's queue refuses, long after it was taken."""
    sandbox.erp.customers = frozenset()
    refused = await story.approved()
    await eventually(lambda: ended([refused], CREATE, "REJECTED"), "the refusal", WAIT_SECONDS)
    last = (await story.delivery(refused, CREATE)).attempt_log[-1]
    assert (last.code, last.reason) == ("E101", "E101 the customer is not known")
    sandbox.erp.customers = frozenset([CUSTOMER])


async def _shipped(sandbox: LegacySoapSandbox, story: Story, ended: Any, order_id: str) -> None:
    """The order leaves, and its goods issue is posted."""
    (request_id,) = await story.release(order_id)
    shipment = await story.pack(request_id)
    await story.manifest(shipment.id)
    posted = "post_goods_issue"
    await eventually(
        lambda: ended([shipment.id], posted, "CONFIRMED"), "the goods issue", WAIT_SECONDS
    )
    issue = sandbox.books()["documents"][-1]
    assert (issue["kind"], issue["key"]) == ("goods_issues", f"{shipment.number}/1")


async def _told_of_an_item(sandbox: LegacySoapSandbox, story: Story) -> None:
    """A change of the ERP's becomes an item of the hub's."""
    number = unique("SKU-S")
    await sandbox.commands()["tell_item"]({
        "Number": number, "Description": "Lamp", "Unit": "EA", "Status": "P",
        "Weight": "1.25", "WeightUnit": "LB",
    })  # fmt: skip
    seen = _questions(sandbox)
    # The second question after it says that the first page is with the hub.
    await eventually(lambda: _questions(sandbox) >= seen + 2, "the item is told", WAIT_SECONDS)
    request = item_service_pb2.GetItemRequest(number=number)
    item = (await story.oms.items.GetItem(request)).item
    assert (item.weight.value, item.weight.unit, item.status_code) == ("1.2500", "LBR", "P")
    assert item.status == item_pb2.ITEM_STATUS_PHASING_OUT


def _questions(sandbox: LegacySoapSandbox) -> int:
    return sum(call.operation == "items" for call in sandbox.calls)
