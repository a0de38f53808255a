"""The legacy ERP by flat file, from an approved order to its posted goods issue, at a real hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock.order.v1 import order_service_pb2
from crossdock_adapters.legacy_file.adapter import ADAPTER
from crossdock_adapters.legacy_file.sandbox import LegacyFileSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import hosted
from story import CUSTOMER, ITEM, Story

pytestmark = pytest.mark.timeout(600)

ORDERS = 6
WAIT_SECONDS = 60.0


def settings(sandbox: LegacyFileSandbox, folder: Path) -> dict[str, Any]:
    """Of the endpoint; its password lies in a file."""
    password = folder / "password"
    password.write_text(sandbox.settings["password"])
    return {
        "location": sandbox.vendor_url.replace("sftp://", "sftp://crossdock@") + "/",
        "host_key": sandbox.host_key_line(),
        "password": f"file:{password}",
        "look_seconds": 0.2,
        "answer_wait_seconds": 0.5,
    }


async def test_orders_are_booked_by_file_while_answers_are_late_and_lost(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that orders whose results are late wait and open no breaker, that
    a lost answer makes no second file, and that each order ends with the ERP's number, shipped."""
    example = LegacyFileSandbox.example_settings(tmp_path)
    config = SandboxConfig(
        "legacy-file",
        settings={**example, "items": [ITEM], "customers": [CUSTOMER], "result_seconds": 3},
    )
    async with (
        LegacyFileSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.erp, ADAPTER, settings(sandbox, tmp_path)),
    ):
        late = [await story.approved() for _ in range(ORDERS - 2)]

        async def confirmed(object_ids: list[str], operation: str) -> bool:
            states = [await story.state(each, operation) for each in object_ids]
            return states == ["CONFIRMED"] * len(object_ids)

        await eventually(lambda: confirmed(late, "create_sales_order"), "the orders", WAIT_SECONDS)
        # Noted when it opens, and kept when it closes.
        opened = hub.count("endpoints", f"id = '{lane.erp}' AND breaker_since IS NOT NULL")
        assert opened == 0, "waiting for results counted against the ERP"
        sandbox.faults.add({"kind": "reply_lost", "operation": "rename", "count": 2})
        ids = [*late, await story.approved(), await story.approved()]
        await eventually(lambda: confirmed(ids, "create_sales_order"), "the lost", WAIT_SECONDS)
        booked = {each["key"]: each["number"] for each in sandbox.books()["sales_orders"]}
        assert len(booked) == ORDERS
        for order_id in ids:
            request = order_service_pb2.GetOrderRequest(id=order_id)
            order = (await story.oms.orders.GetOrder(request)).order
            assert order.sales_document == booked[order.number]
        delivery = await story.delivery(ids[0], "create_sales_order")
        assert any(attempt.code == "answer_later" for attempt in delivery.attempt_log)
        (request_id,) = await story.release(ids[0])
        shipment = await story.pack(request_id)
        await story.manifest(shipment.id)
        await eventually(
            lambda: confirmed([shipment.id], "post_goods_issue"), "the goods issue", WAIT_SECONDS
        )
        (issue,) = sandbox.books()["goods_issues"]
        assert issue["key"] == f"{shipment.number}/1"
        assert sum(row["status"] == "A" for row in sandbox.books()["receipts"]) == ORDERS + 1
        assert sandbox.tick_error == ""
