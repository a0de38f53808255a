"""SAP S/4HANA Cloud at a real hub, from an approved order to a reversed goods issue."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.mapping.v1 import mapping_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock.returns.v1 import return_service_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock_adapters.sap import conformance
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sap.sandbox import SapSandbox
from crossdock_adapters.sdk import held_payloads
from crossdock_adapters.sdk import runner as running_endpoints
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from returned_goods import initiate, receive
from story import CUSTOMER, DOCK, ITEM, Story, request_id, unique
from typed_commands import typed

pytestmark = pytest.mark.timeout(600)

ORDERS = 4
WAIT_SECONDS = 60.0


def tenant(
    hub: RunningHub, lane: Lane, sandbox: SapSandbox, folder: Path
) -> AbstractAsyncContextManager[EndpointRunner]:
    """The adapter as the lane's ERP, run by the SDK against a hub and its bus."""
    settings = {
        **conformance.settings(sandbox, folder),
        "plants": {DOCK: "1010"},
        "hears": ["SalesOrder"],
        "changes_interval_seconds": 3600,
    }
    return hosted(hub, lane.erp, asking_soon(ADAPTER, 1.0), settings)


async def each_is_booked_once(story: Story, sandbox: SapSandbox, ids: list[str]) -> None:
    """Each order has a sales order of its own, and knows its number."""
    held = sandbox.books()["sales_orders"]
    booked = {each["PurchaseOrderByCustomer"]: each["SalesOrder"] for each in held}
    assert len(held) == len(booked) == len(ids)
    for order_id in ids:
        request = order_service_pb2.GetOrderRequest(id=order_id)
        order = (await story.oms.orders.GetOrder(request)).order
        assert order.sales_document == booked[order.number]


async def the_reversal_is_told(story: Story, sandbox: SapSandbox, shipment_id: str) -> None:
    """One of two shipments is reversed, once, and the reversal's document leads to it."""
    moved = sandbox.books()["material_documents"]
    assert sorted(each["GoodsMovementType"] for each in moved) == ["601", "601", "602"]
    (reversal,) = [each for each in moved if each["GoodsMovementType"] == "602"]
    number = f"{reversal['MaterialDocumentYear']}/{reversal['MaterialDocument']}"
    back = (await story.delivery(shipment_id, "reverse_goods_issue")).vendor_references
    assert [(each.type, each.value) for each in back] == [
        ("material_document", number),
        ("reversed_delivery", reversal["Delivery"]),
    ]
    shown = await story.oms.lineage.Trace(lineage_service_pb2.TraceRequest(id=number))
    assert shipment_id in str(shown)


async def test_orders_are_booked_posted_and_reversed_while_sap_is_in_trouble(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that lost answers, locks and forgotten sessions end in one sales order
    and one goods issue each, with SAP's numbers in the order and the lineage, and one reversal."""
    config = SandboxConfig("sap", settings={"items": [ITEM], "customers": [CUSTOMER]})
    async with (
        SapSandbox(config) as sandbox,
        Story(hub, lane) as story,
        tenant(hub, lane, sandbox, tmp_path),
    ):

        async def confirmed(object_ids: list[str], operation: str) -> bool:
            states = [await story.state(each, operation) for each in object_ids]
            return states == ["CONFIRMED"] * len(object_ids)

        sandbox.faults.add({"kind": "reply_lost", "operation": "create_sales_order", "count": 1})
        ids = [await story.approved() for _ in range(ORDERS)]
        await eventually(lambda: confirmed(ids, "create_sales_order"), "the orders", WAIT_SECONDS)
        await each_is_booked_once(story, sandbox, ids)
        shipments = []
        for order_id in ids[:2]:
            (fulfillment,) = await story.release(order_id)
            shipments.append((await story.pack(fulfillment)).id)
        await sandbox.commands()["forget_sessions"]({})
        sandbox.faults.add({"kind": "reply_lost", "operation": "post_goods_issue", "count": 1})
        for shipment_id in shipments:
            await story.manifest(shipment_id)
        await eventually(
            lambda: confirmed(shipments, "post_goods_issue"), "the goods issues", WAIT_SECONDS
        )
        assert sandbox.faults.as_json() == []
        issues = [each["MaterialDocument"] for each in sandbox.books()["material_documents"]]
        assert len(issues) == len(set(issues)) == len(shipments)
        posted = (await story.delivery(shipments[0], "post_goods_issue")).vendor_references
        numbers = {each.value.rpartition("/")[2] for each in posted}
        assert numbers & set(issues)
        void = shipment_service_pb2.VoidShipmentRequest(
            request_id=request_id(), shipment_id=shipments[0], reason="the trailer came back"
        )
        await story.wms.shipments.VoidShipment(void)
        await eventually(
            lambda: confirmed(shipments[:1], "reverse_goods_issue"), "the reversal", WAIT_SECONDS
        )
        await the_reversal_is_told(story, sandbox, shipments[0])
        assert sandbox.tick_error == ""


async def test_a_block_in_sap_is_seen_at_the_order_by_an_event_of_its_key(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that an event with nothing but a key, pushed by the broker, ends as the
    order's block, and that lifting it ends there too; polling has no part in it."""
    events = {"events_user": "sap-events", "events_password": conformance.EVENTS_PASSWORD}
    config = SandboxConfig("sap", settings={"items": [ITEM], "customers": [CUSTOMER], **events})
    async with (
        SapSandbox(config) as sandbox,
        Story(hub, lane) as story,
        tenant(hub, lane, sandbox, tmp_path) as runner,
    ):
        order_id = await story.approved()

        async def serving() -> bool:
            return (await story.state(order_id, "create_sales_order")) == "CONFIRMED"

        await eventually(serving, "the order", WAIT_SECONDS)
        await sandbox.commands()["subscribe"]({"url": f"{runner.webhook_url}/sap/events"})
        (booked,) = sandbox.books()["sales_orders"]

        async def block() -> str:
            request = order_service_pb2.GetOrderRequest(id=order_id)
            return str((await story.oms.orders.GetOrder(request)).order.block)

        for reason, seen in (("01", "delivery block 01"), ("", "")):
            given = {"order": booked["SalesOrder"], "reason": reason}
            await sandbox.commands()["block_order"](given)

            async def is_seen(expected: str = seen) -> bool:
                return await block() == expected

            await eventually(is_seen, f"the block {seen!r}", WAIT_SECONDS)
        assert sandbox.books()["events_sent"] == 2


async def test_a_credit_status_waits_for_its_row(
    hub: RunningHub, lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves at a real hub that a status of the credit check without a row blocks nothing and is
    kept with its own code, and ends as the order's block once `crossdock map set` says so."""
    monkeypatch.setattr(running_endpoints, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(held_payloads, "HELD_ROUND_SECONDS", 0.5)
    code = unique("Z")
    events = {"events_user": "sap-events", "events_password": conformance.EVENTS_PASSWORD}
    config = SandboxConfig("sap", settings={"items": [ITEM], "customers": [CUSTOMER], **events})
    async with (
        SapSandbox(config) as sandbox,
        Story(hub, lane) as story,
        tenant(hub, lane, sandbox, tmp_path) as runner,
    ):
        order_id = await story.approved()
        await eventually(lambda: _is_booked(story, order_id), "the order is booked", WAIT_SECONDS)
        (booked,) = sandbox.books()["sales_orders"]
        await sandbox.commands()["subscribe"]({"url": f"{runner.webhook_url}/sap/events"})
        given = {"order": booked["SalesOrder"], "credit": code}
        await sandbox.commands()["block_order"](given)
        request = mapping_service_pb2.GetMappingCoverageRequest(endpoint_kind="sap")

        async def is_held() -> bool:
            found = (await story.operator.mappings.GetMappingCoverage(request)).unmapped_codes
            ours = [each for each in found if each.endpoint == lane.erp]
            return code in {native.code for each in ours for native in each.native_codes}

        await eventually(is_held, "the status is kept", WAIT_SECONDS)
        assert await _block(story, order_id) == ""
        words = ("map", "set", "sap", "CREDIT_STATUS", code, "--type", "TotalCreditCheckStatus")
        await typed(hub, *words, "--means", "HOLD", "--reason", "asked credit", "--yes")

        async def is_blocked() -> bool:
            return await _block(story, order_id) == f"credit check status {code}"

        await eventually(is_blocked, "the order's block", WAIT_SECONDS)


async def _is_booked(story: Story, order_id: str) -> bool:
    return (await story.state(order_id, "create_sales_order")) == "CONFIRMED"


async def _block(story: Story, order_id: str) -> str:
    request = order_service_pb2.GetOrderRequest(id=order_id)
    return str((await story.oms.orders.GetOrder(request)).order.block)


async def test_a_return_is_opened_and_its_receipt_posted_in_sap(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub, from caller to vendor, that an authorised return is opened in SAP once
    and its receipt posted once though answers are lost, with SAP's numbers among the references of
    the return and in the lineage of its order."""
    config = SandboxConfig("sap", settings={"items": [ITEM], "customers": [CUSTOMER]})
    async with (
        SapSandbox(config) as sandbox,
        Story(hub, lane) as story,
        tenant(hub, lane, sandbox, tmp_path),
    ):

        async def confirmed(object_id: str, operation: str) -> bool:
            return await story.state(object_id, operation) == "CONFIRMED"

        order_id, (part,) = await story.released()
        shipment = await story.pack(part)
        await story.manifest(shipment.id)
        await eventually(
            lambda: confirmed(shipment.id, "post_goods_issue"), "the goods issue", WAIT_SECONDS
        )
        sandbox.faults.add({"kind": "reply_lost", "operation": "open_return", "count": 1})
        sandbox.faults.add({"kind": "reply_lost", "operation": "post_goods_receipt", "count": 1})
        number = unique("RMA")
        request = initiate(order_id, number)
        made = (await story.oms.returns.InitiateReturn(request)).customer_return
        await story.wms.returns.ReportReturnReceived(receive(number))
        await eventually(
            lambda: confirmed(made.id, "post_return_receipt"), "the receipt", WAIT_SECONDS
        )
        assert sandbox.faults.as_json() == []
        books = sandbox.books()
        (opened,) = books["customer_returns"]
        assert opened["PurchaseOrderByCustomer"] == number
        (receipt,) = [
            each for each in books["material_documents"] if each["GoodsMovementType"] == "653"
        ]
        document = f"{receipt['MaterialDocumentYear']}/{receipt['MaterialDocument']}"
        asked = return_service_pb2.GetReturnRequest(id=made.id)
        held = (await story.oms.returns.GetReturn(asked)).customer_return
        # Every tenant begins with the same numbers: the endpoint tells whose they are.
        assert {(each.system, each.type, each.value) for each in held.references} >= {
            (lane.erp, "customer_return", opened["CustomerReturn"]),
            (lane.erp, "material_document", document),
        }
        await leads_to(story, number, order_id, opened["CustomerReturn"], document)


async def leads_to(
    story: Story, number: str, order_id: str, customer_return: str, document: str
) -> None:
    """The return's number leads to its order, and to what SAP has of it, each posted once."""
    trace = lineage_service_pb2.TraceRequest(id=number)
    found = (await story.operator.lineage.Trace(trace)).lineage
    assert found.root_id == order_id
    posted = {each.operation: each for each in found.postings}
    assert [each.value for each in posted["open_return"].vendor_references] == [customer_return]
    assert document in [each.value for each in posted["post_return_receipt"].vendor_references]
    assert (posted["open_return"].confirmed, posted["post_return_receipt"].confirmed) == (1, 1)
