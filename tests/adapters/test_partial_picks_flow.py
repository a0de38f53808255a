"""A partial pick with lots and serial numbers, from the floor to the ERP and the OMS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from crossdock.client import HubClient
from crossdock.delivery.v1 import (
    delivery_operations_service_pb2,
    delivery_pb2,
    delivery_service_pb2,
)
from crossdock.errors import NotFoundError
from crossdock.item.v1 import item_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock_adapters.manhattan import conformance as manhattan
from crossdock_adapters.manhattan.sandbox import ManhattanSandbox
from crossdock_adapters.netsuite import conformance as netsuite
from crossdock_adapters.netsuite.sandbox import NetSuiteSandbox
from crossdock_adapters.salesforce import conformance as salesforce
from crossdock_adapters.salesforce.sandbox import SalesforceSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from story import label, request_id, state_of

pytestmark = pytest.mark.timeout(600)

ENDPOINTS = {
    "salesforce": {"role": "OMS"},
    "netsuite": {"role": "ERP"},
    "manhattan": {"role": "WMS"},
    "ups": {"role": "CARRIER"},
    "operator": {"role": "OPERATOR"},
}
LOT_ITEM, SERIAL_ITEM, PLAIN_ITEM = "SKU-1001", "SKU-1002", "SKU-1003"
# So many that a floor which is short of every line has something of one of them.
ORDERED = {LOT_ITEM: 60, SERIAL_ITEM: 12, PLAIN_ITEM: 90}
WAIT_SECONDS = 90.0


class Floor:
    """The three vendors, and whoever calls the hub."""

    def __init__(self, folder: Path) -> None:
        self.erp = NetSuiteSandbox(
            SandboxConfig(
                "netsuite",
                settings={
                    "client_key_file": str(folder / "netsuite.pem"),
                    "lots": {LOT_ITEM: ["L-0"]},
                    "serials": {SERIAL_ITEM: ["S-0"]},
                },
            )
        )
        given = {**manhattan.CONFORMANCE.sandbox_settings, "short_rate": 1.0}
        given["manifest_seconds"] = 0.02
        self.warehouse = ManhattanSandbox(SandboxConfig("manhattan", settings=given))
        kept = ("organization_id", "client_id")
        org = {name: salesforce.CONFORMANCE.sandbox_settings[name] for name in kept}
        self.oms = SalesforceSandbox(SandboxConfig("salesforce", settings=org))

    @asynccontextmanager
    async def running(self, hub: RunningHub, folder: Path) -> AsyncIterator[None]:
        """Each vendor, and its endpoint as a process hosts it; master data is at the hub."""
        async with AsyncExitStack() as stack:
            for sandbox in (self.erp, self.warehouse, self.oms):
                await stack.enter_async_context(sandbox)
            for kit, sandbox, more in (
                (netsuite, self.erp, {}),
                (manhattan, self.warehouse, {"facilities": {"WH-EAST": manhattan.FACILITY}}),
                (salesforce, self.oms, {}),
            ):
                name = kit.ADAPTER.name
                home = folder / name
                home.mkdir()
                settings = {**kit.settings(sandbox, home), **more}
                quick = asking_soon(kit.ADAPTER, 1.0)
                await stack.enter_async_context(hosted(hub, name, quick, settings))
                if kit is netsuite:
                    await eventually(lambda: has_items(hub), "the items", WAIT_SECONDS)
            yield


async def has_items(hub: RunningHub) -> bool:
    """Whether the last of the items is at the hub."""
    request = item_service_pb2.GetItemRequest(number="SKU-1024")
    async with hub.client("operator") as caller:
        try:
            await caller.items.GetItem(request)
        except NotFoundError:
            return False
        return True


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path / "hub", ENDPOINTS).start()
    yield running
    running.kill()


async def packed(caller: HubClient) -> shipment_pb2.Shipment:
    """The one shipment, once the warehouse has packed it."""
    found: list[shipment_pb2.Shipment] = []

    async def there() -> bool:
        request = shipment_service_pb2.ListShipmentsRequest()
        found[:] = (await caller.shipments.ListShipments(request)).shipments
        return bool(found)

    await eventually(there, "the shipment", WAIT_SECONDS)
    return found[0]


async def deliveries(
    caller: HubClient, object_id: str, operation: str
) -> list[delivery_pb2.Delivery]:
    """What there is to do about an object by an operation, with its attempts."""
    request = delivery_service_pb2.ListDeliveriesRequest(
        object_id=object_id, operation=operation, with_attempts=True
    )
    return list((await caller.deliveries.ListDeliveries(request)).deliveries)


async def reach(caller: HubClient, shipment_id: str, state: str, *operations: str) -> None:
    """Wait until there is one delivery of each operation about the shipment, in this state."""

    async def all_are() -> bool:
        found = [await deliveries(caller, shipment_id, operation) for operation in operations]
        return [[state_of(each) for each in some] for some in found] == [[state]] * len(operations)

    await eventually(all_are, f"{' and '.join(operations)}", WAIT_SECONDS)


def by_lot(shipment: shipment_pb2.Shipment) -> dict[str, dict[str, Decimal]]:
    """By item, how much of each lot or serial number the warehouse packed; "" of neither."""
    told: dict[str, dict[str, Decimal]] = {}
    for package in shipment.packages:
        for content in package.contents:
            own = told.setdefault(content.item_number, {})
            for serial in content.serial_numbers:
                own[serial] = Decimal(1)
            if not content.serial_numbers:
                quantity = Decimal(content.quantity.value)
                own[content.lot] = own.get(content.lot, Decimal(0)) + quantity
    return told


async def test_a_partial_pick_is_the_same_in_the_erp_and_the_oms(
    own_hub: RunningHub, tmp_path: Path
) -> None:
    """Proves that what a floor was short of is cancelled in the OMS, that what left, lot by lot and
    serial number by serial number, is issued in the ERP and told to the OMS carton by carton,
    although the ERP's answers are lost, and that a void gives all of it back: in the OMS, which
    has invoiced it, once a person has set the order back."""
    floor = Floor(tmp_path)
    async with floor.running(own_hub, tmp_path), own_hub.client("operator") as caller:
        lines = [[item, str(quantity), "Each"] for item, quantity in ORDERED.items()]
        await floor.oms.commands()["fulfillment_order"]({"number": "1", "lines": lines})
        shipment = await packed(caller)
        numbers = by_lot(shipment)
        await received(floor, numbers)
        floor.erp.faults.add({"kind": "reply_lost", "operation": "transform", "count": 1})
        async with own_hub.client("ups") as carrier:
            for number, package in enumerate(shipment.packages, start=1):
                bought: Any = label(shipment.id, package.id, f"1ZFLOW{number:012d}")
                bought.label.carrier_code = "UPS"
                await carrier.labels.CreateLabel(bought)
        await reach(caller, shipment.id, "CONFIRMED", "post_goods_issue", "confirm_shipment")
        assert floor.erp.faults.as_json() == []
        assert issued(floor) == numbers
        assert told(floor) == {
            item: sum(quantities.values(), Decimal(0)) for item, quantities in numbers.items()
        }
        left = told(floor)
        short = {item: ordered - left.get(item, 0) for item, ordered in ORDERED.items()}
        assert cancelled(floor) == {item: each for item, each in short.items() if each}
        assert all(short.values()), "the floor was short of every line"
        await a_void_gives_all_back(floor, own_hub, caller, shipment.id)


async def a_void_gives_all_back(
    floor: Floor, hub: RunningHub, caller: HubClient, shipment_id: str
) -> None:
    """The trailer came back, and the ERP's answer is lost again."""
    floor.erp.faults.add({"kind": "reply_lost", "operation": "delete", "count": 1})
    void = shipment_service_pb2.VoidShipmentRequest(
        request_id=request_id(), shipment_id=shipment_id, reason="the trailer came back"
    )
    async with hub.client("manhattan") as warehouse:
        await warehouse.shipments.VoidShipment(void)
    await reach(caller, shipment_id, "PARKED", "reverse_shipment")
    (order,) = floor.oms.books()["fulfillment_orders"]
    (parked,) = await deliveries(caller, shipment_id, "reverse_shipment")
    assert order["InvoiceId"] in str(parked)
    await floor.oms.commands()["status"]({"id": order["Id"], "status": "Pack Complete"})
    retry = delivery_operations_service_pb2.RetryDeliveryRequest(
        request_id=request_id(), delivery_id=parked.id, reason="it is set back in Salesforce"
    )
    await caller.delivery_operations.RetryDelivery(retry)
    await reach(caller, shipment_id, "CONFIRMED", "reverse_goods_issue", "reverse_shipment")
    assert all(each["IsDeleted"] for each in floor.oms.books()["shipments"])
    (fulfillment,) = floor.erp.books()["item_fulfillments"]
    assert fulfillment["deleted"]
    assert floor.erp.faults.as_json() == []


async def received(floor: Floor, numbers: dict[str, dict[str, Decimal]]) -> None:
    """The ERP has what the warehouse found on its shelves."""
    for item in (LOT_ITEM, SERIAL_ITEM):
        if item in numbers:
            given = {"item": item, "location": "WH-EAST", "numbers": numbers[item]}
            await floor.erp.commands()["receive"](given)


def issued(floor: Floor) -> dict[str, dict[str, Decimal]]:
    """By item, what the ERP's one fulfillment issued of each lot or serial number."""
    books = floor.erp.books()
    items = {each["internal_id"]: each["number"] for each in books["master_data"]["inventoryItem"]}
    (fulfillment,) = books["item_fulfillments"]
    return {
        items[line["item"]]: {
            row["number"]: row["quantity"] for row in line.get("inventoryAssignment", ())
        }
        or {"": line["quantity"]}
        for line in fulfillment["lines"]
    }


def told(floor: Floor) -> dict[str, Decimal]:
    """By item, how much the OMS has on the items of its shipments."""
    books = floor.oms.books()
    items = {row["Product2Id"]: row["Product2"]["StockKeepingUnit"] for row in books["lines"]}
    found: dict[str, Decimal] = {}
    for each in books["shipments"]:
        for row in each["items"].values():
            item = items[row["Product2Id"]]
            found[item] = found.get(item, Decimal(0)) + row["Quantity"]
    return found


def cancelled(floor: Floor) -> dict[str, Decimal]:
    """By item, how much the OMS cancelled."""
    books = floor.oms.books()
    items = {row["Id"]: row["Product2"]["StockKeepingUnit"] for row in books["lines"]}
    return {items[each["line"]]: each["quantity"] for each in books["cancellations"]}
