"""NetSuite at a real hub: lots and serial numbers from the carton to the books, and back."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from crossdock.customer.v1 import customer_service_pb2
from crossdock.errors import NotFoundError
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock_adapters.netsuite import conformance
from crossdock_adapters.netsuite.adapter import ADAPTER
from crossdock_adapters.netsuite.sandbox import NetSuiteSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from story import Story, at, create_order, each, order, package, request_id, unique

pytestmark = pytest.mark.timeout(600)

LOT_ITEM, SERIAL_ITEM, CUSTOMER, DOCK = "SKU-1001", "SKU-1002", "CUST-1003", "WH-EAST"
WAIT_SECONDS = 60.0


async def test_lots_are_issued_and_given_back_although_answers_are_lost(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that a carton with two lots and a serial number becomes one fulfillment
    that issues each of them, that a void gives them all back once, and that a lot which the ERP
    has not received parks until it has."""
    config = SandboxConfig(
        "netsuite",
        settings={
            "client_key_file": str(tmp_path / "key.pem"),
            "lots": {LOT_ITEM: ["L-1", "L-2"]},
            "serials": {SERIAL_ITEM: ["S-1"]},
        },
    )
    async with NetSuiteSandbox(config) as sandbox, Story(hub, lane) as story:
        settings = {**conformance.settings(sandbox, tmp_path), "external_id_prefix": "t-"}
        settings["master_data_interval_seconds"] = 3600
        async with hosted(hub, lane.erp, asking_soon(ADAPTER, 1.0), settings):
            wanted = (DOCK, CUSTOMER, LOT_ITEM, SERIAL_ITEM)
            await eventually(lambda: is_pulled(story, *wanted), "the master data", WAIT_SECONDS)
            assert await is_tracked(story, LOT_ITEM) == (True, False)
            assert await is_tracked(story, SERIAL_ITEM) == (False, True)
            sandbox.faults.add({"kind": "reply_lost", "operation": "transform", "count": 1})
            sandbox.faults.add({"kind": "reply_lost", "operation": "delete", "count": 1})
            before = sandbox.books()["inventory_numbers"]
            shipment = await packed(story, "L-1", "L-2")
            await story.manifest(shipment)
            await reaches(story, shipment, "post_goods_issue", "CONFIRMED")
            assert left_of(sandbox) == {
                "L-1": Decimal(999),
                "L-2": Decimal(998),
                "S-1": Decimal(0),
            }
            void = shipment_service_pb2.VoidShipmentRequest(
                request_id=request_id(), shipment_id=shipment, reason="the trailer came back"
            )
            await story.wms.shipments.VoidShipment(void)
            await reaches(story, shipment, "reverse_goods_issue", "CONFIRMED")
            assert sandbox.books()["inventory_numbers"] == before
            counted = sandbox.books()["item_fulfillments_by_external_id"]
            assert counted == {f"t-{shipment}": {"created": 1, "updated": 0, "deleted": 1}}
            assert sandbox.faults.as_json() == []
            unknown = await packed(story, "L-1", "L-7")
            await story.manifest(unknown)
            await reaches(story, unknown, "post_goods_issue", "PARKED")
            delivery = await story.delivery(unknown, "post_goods_issue")
            assert "has no lot L-7 in NetSuite" in str(delivery)


async def is_pulled(story: Story, dock: str, customer: str, *items: str) -> bool:
    """Whether the endpoint's own ids of all that the orders name are at the hub: of the others they
    say nothing, for each record is told by itself."""
    at = location_service_pb2.GetLocationRequest(number=dock)
    by = customer_service_pb2.GetCustomerRequest(number=customer)
    try:
        found: list[Any] = [
            (await story.erp.locations.GetLocation(at)).location,
            (await story.erp.customers.GetCustomer(by)).customer,
        ]
        for number in items:
            asked = item_service_pb2.GetItemRequest(number=number)
            found.append((await story.erp.items.GetItem(asked)).item)
    except NotFoundError:
        return False
    return all(story.lane.erp in {each.system for each in of.references} for of in found)


async def is_tracked(story: Story, number: str) -> tuple[bool, bool]:
    """Whether the hub says of an item that it has lots, and that it has serial numbers."""
    request = item_service_pb2.GetItemRequest(number=number)
    item = (await story.wms.items.GetItem(request)).item
    return item.lot_controlled, item.serial_controlled


async def packed(story: Story, *lots: str) -> str:
    """The shipment of an order whose first line is packed as one of the first lot and two of the
    other, and whose second is one piece with a serial number."""
    message = order(story.lane.business_unit, lines=2, docks=[DOCK])
    message.customer_number = CUSTOMER
    message.lines[0].item_number, message.lines[1].item_number = LOT_ITEM, SERIAL_ITEM
    message.lines[0].quantity.CopyFrom(each("3"))
    order_id = (await story.oms.orders.CreateOrder(create_order(message))).order.id
    await story.approve(order_id)
    await reaches(story, order_id, "create_sales_order", "CONFIRMED")
    (request,) = await story.release(order_id)
    carton = package(1, LOT_ITEM)
    carton.contents[0].lot = lots[0]
    second = carton.contents.add(line_number=1, item_number=LOT_ITEM, lot=lots[1])
    second.quantity.CopyFrom(each("2"))
    third = carton.contents.add(line_number=2, item_number=SERIAL_ITEM, serial_numbers=["S-1"])
    third.quantity.CopyFrom(each("1"))
    report = fulfillment_service_pb2.ReportPackedRequest(
        request_id=request_id(),
        fulfillment_request_id=request,
        shipment_number=unique("SHP"),
        packages=[carton],
        pack_time=at(),
    )
    return str((await story.wms.fulfillments.ReportPacked(report)).shipment.id)


async def reaches(story: Story, object_id: str, operation: str, state: str) -> None:
    """Wait until the only delivery of an operation is in a state."""

    async def there() -> bool:
        return (await story.state(object_id, operation)) == state

    await eventually(there, f"{operation} is {state}", WAIT_SECONDS)


def left_of(sandbox: NetSuiteSandbox) -> dict[str, Decimal]:
    """What is on hand of each lot and serial number."""
    return {row["number"]: row["quantity"] for row in sandbox.books()["inventory_numbers"]}
