"""The legacy ERP by staging tables, from an approved order to its posted goods issue, at a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock_adapters.legacy_table.adapter import ADAPTER
from crossdock_adapters.legacy_table.sandbox import LegacyTableSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import hosted
from story import CUSTOMER, ITEM, Story, unique

pytestmark = pytest.mark.timeout(600)

ORDERS = 5
WAIT_SECONDS = 90.0


def settings(sandbox: LegacyTableSandbox, folder: Path) -> dict[str, Any]:
    """Of the endpoint; the address of the database, with its password, lies in a file."""
    address = folder / "address"
    address.write_text(sandbox.database_url())
    return {
        "database_url": f"file:{address}",
        "answer_wait_seconds": 0.5,
        "items_interval_seconds": 0.5,
    }


async def test_orders_are_booked_by_rows_while_results_are_late_and_one_is_refused(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that orders whose results are late wait and open no breaker, that a
    commit whose answer is lost makes no second row, that an error row ends as a rejection found by
    a look-up, that a row of an item becomes one of the hub's, and that each other order ends with
    the ERP's number, shipped."""
    example = LegacyTableSandbox.example_settings(tmp_path)
    config = SandboxConfig(
        "legacy-table",
        settings={**example, "items": [ITEM], "customers": [CUSTOMER], "result_seconds": 3},
    )
    async with (
        LegacyTableSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.erp, ADAPTER, settings(sandbox, tmp_path)) as runner,
    ):
        await eventually(lambda: runner.state == "serving", "the endpoint", WAIT_SECONDS)
        sandbox.faults.add({"kind": "reply_lost", "operation": "commit", "count": 1})
        ids = [await story.approved() for _ in range(ORDERS)]

        async def ended(object_ids: list[str], operation: str, state: str) -> bool:
            states = [await story.state(each, operation) for each in object_ids]
            return states == [state] * len(object_ids)

        create = "create_sales_order"
        await eventually(lambda: ended(ids, create, "CONFIRMED"), "the orders", WAIT_SECONDS)
        opened = hub.count("endpoints", f"id = '{lane.erp}' AND breaker_since IS NOT NULL")
        assert opened == 0, "waiting for results counted against the ERP"
        books = sandbox.books()
        numbers = {each["KEY_NO"]: each["DOCUMENT_NO"] for each in books["documents"]}
        assert len(numbers) == len(books["asked"]) == ORDERS
        for order_id in ids:
            request = order_service_pb2.GetOrderRequest(id=order_id)
            order = (await story.oms.orders.GetOrder(request)).order
            assert order.sales_document == numbers[order.number]
        delivery = await story.delivery(ids[-1], create)
        assert any(attempt.code == "answer_later" for attempt in delivery.attempt_log)
        await _refused(sandbox, story, ended)
        await _told_of_an_item(sandbox, story)
        (request_id,) = await story.release(ids[0])
        shipment = await story.pack(request_id)
        await story.manifest(shipment.id)
        posted = "post_goods_issue"
        await eventually(
            lambda: ended([shipment.id], posted, "CONFIRMED"), "the goods issue", WAIT_SECONDS
        )
        (issue,) = sandbox.books()["issues"]
        assert (issue["SHIPMENT_NO"], issue["STATUS"].rstrip()) == (shipment.number, "DONE")
        assert sandbox.tick_error == ""


async def _refused(sandbox: LegacyTableSandbox, story: Story, ended: Any) -> None:
    """An order that the ERP refuses, long after its row was taken."""
    sandbox._customers = frozenset()
    refused = await story.approved()
    create = "create_sales_order"
    await eventually(lambda: ended([refused], create, "REJECTED"), "the refusal", WAIT_SECONDS)
    delivery = await story.delivery(refused, create)
    last = delivery.attempt_log[-1]
    assert (last.code, last.reason) == ("E101", "E101 the customer is not known")
    sandbox._customers = frozenset([CUSTOMER])


async def _told_of_an_item(sandbox: LegacyTableSandbox, story: Story) -> None:
    """A row of the ERP's outgoing table becomes an item of the hub's, and is done."""
    number = unique("SKU-T")
    row = {
        "ITEM": number.ljust(30), "CHANGE_NO": 7, "DESCRIPTION": "Lamp", "UNIT": "EA ",
        "STATUS_CODE": "P ", "WEIGHT": 12_500, "WEIGHT_UNIT": "LB ",
    }  # fmt: skip
    await sandbox.commands()["tell_item"](row)

    def is_done() -> bool:
        return sandbox.books()["items"][-1]["STATUS"].rstrip() == "DONE"

    await eventually(is_done, "the row is done", WAIT_SECONDS)
    request = item_service_pb2.GetItemRequest(number=number)
    item = (await story.oms.items.GetItem(request)).item
    assert (item.weight.value, item.weight.unit, item.status_code) == ("1.2500", "LBR", "P")
    assert item.status == item_pb2.ITEM_STATUS_PHASING_OUT
