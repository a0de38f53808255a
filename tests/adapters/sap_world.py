"""A simulated SAP tenant, an adapter's client of it, and the events of one order, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from crossdock.order.v1 import order_events_pb2, order_pb2, order_service_pb2
from crossdock.shipment.v1 import (
    shipment_events_pb2,
    shipment_pb2,
    shipment_service_pb2,
)
from crossdock_adapters.sap import adapter, conformance
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sap.client import SapClient
from crossdock_adapters.sap.sandbox import SapSandbox
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.outcomes import Confirmed
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import Settings, check
from crossdock_adapters.sdk.work import Work

DELIVERY = "0190f7a2-0000-7e5f-8a6b-00000000000a"
REFERENCE = "ABCDEFGHIJKLMNOPQRST"
SHIPMENT_KEY = conformance.SHIPMENT_ID.replace("-", "")

approved, changed = conformance.approved, conformance.changed
cancelled, voided = conformance.cancelled, conformance.voided


def order(*lines: tuple[int, str, str]) -> order_events_pb2.OrderApproved:
    """An approved order with these lines: number, item, quantity."""
    made = conformance.order()
    del made.lines[:]
    for number, item, ordered in lines:
        line = made.lines.add(line_number=number, item_number=item)
        line.quantity.value, line.quantity.unit = ordered, "EA"
        line.ship_from_location_number = "WH-EAST"
    return order_events_pb2.OrderApproved(order=made)


def manifested(
    *contents: tuple[int, str, str] | tuple[int, str, str, str, tuple[str, ...]],
    shipment_id: str = conformance.SHIPMENT_ID,
) -> shipment_events_pb2.ShipmentManifested:
    """A shipment with these contents: line, item, quantity, and lot and serial numbers."""
    event: Any = conformance.manifested({})
    event.shipment.id = shipment_id
    if contents:
        del event.shipment.packages[0].contents[:]
    for line, item, quantity, *more in contents:
        content = event.shipment.packages[0].contents.add(line_number=line, item_number=item)
        content.quantity.value, content.quantity.unit = quantity, "EA"
        if more:
            content.lot, serials = str(more[0]), more[1]
            content.serial_numbers.extend(serials)
    return event


def depart(event: shipment_events_pb2.ShipmentManifested, *lines: tuple[int, str]) -> None:
    """One more departure of the shipment, with these quantities."""
    left = event.shipment.departures.add(package_numbers=["CARTON-1"])
    left.manifest_time.instant.FromJsonString("2026-03-07T03:00:00Z")
    for line, quantity in lines:
        row = left.shipped.add(line_number=line)
        row.quantity.value, row.quantity.unit = quantity, "EA"


@dataclass
class Desk:
    """A tenant, a client of it, settings of the endpoint, and what the hub has by now: the number
    of the sales order, and the order's shipments."""

    sandbox: SapSandbox
    vendor: SapClient
    settings: Settings
    password_file: Path
    sales_document: str = ""
    shipments: list[shipment_pb2.Shipment] = field(default_factory=list)

    async def do(self, operation: str, event: Any) -> Confirmed:
        """One attempt, as the runner makes it."""
        with exchange.recording():
            return await ADAPTER.operations[operation](self.work(operation, event), self.vendor)

    async def look_up(self, operation: str, event: Any) -> Any:
        """One look-up."""
        with exchange.recording():
            return await ADAPTER.look_ups[operation](self.work(operation, event), self.vendor)

    def work(self, operation: str, event: Any) -> Work:
        hub: Any = SimpleNamespace(
            orders=SimpleNamespace(GetOrder=self._order),
            shipments=SimpleNamespace(ListShipments=self._shipments),
        )
        return Work(
            DELIVERY, "sap", operation, "", REFERENCE, 1, event, self.settings, hub, _no_numbers
        )

    async def _order(self, request: Any) -> Any:
        order = order_pb2.Order(id=request.id, sales_document=self.sales_document)
        return order_service_pb2.GetOrderResponse(order=order)

    async def _shipments(self, request: Any) -> Any:
        assert request.order_id == conformance.ORDER_ID
        return shipment_service_pb2.ListShipmentsResponse(shipments=self.shipments)

    def learn(self, event: Any, operation: str, done: Confirmed) -> None:
        """The hub has a shipment of this id, with what SAP posted for it by this operation."""
        known = {each.id: each for each in self.shipments}
        shipment = known.get(event.shipment.id)
        if shipment is None:
            shipment = shipment_pb2.Shipment(id=event.shipment.id)
            self.shipments.append(shipment)
        for each in done.references:
            shipment.postings.add(
                endpoint="sap", operation=operation, document_type=each.type,
                document_number=each.value,
            )  # fmt: skip

    def fault(self, kind: str, **details: Any) -> None:
        self.sandbox.faults.add({"kind": kind, **details})

    async def command(self, name: str, **given: Any) -> Any:
        return await self.sandbox.commands()[name](given)

    def orders(self) -> list[dict[str, Any]]:
        return list(self.sandbox.books()["sales_orders"])

    def deliveries(self) -> list[dict[str, Any]]:
        return list(self.sandbox.books()["deliveries"])

    def documents(self) -> list[dict[str, Any]]:
        return list(self.sandbox.books()["material_documents"])

    def calls(self, operation: str) -> int:
        return sum(call.operation == operation for call in self.sandbox.calls)


async def _no_numbers(kind: str, numbers: Any) -> dict[str, str]:
    return {}


@asynccontextmanager
async def running(folder: Path, **given: Any) -> AsyncIterator[Desk]:
    """given: settings of the adapter by its names, else of the sandbox by its names."""
    own = {key: given.pop(key) for key in list(given) if key in ADAPTER.manifest.settings}
    config = SandboxConfig("sap", tick_seconds=0.01, settings=given)
    async with SapSandbox(config) as sandbox:
        settings, secrets = check(
            ADAPTER.manifest.settings, {**conformance.settings(sandbox, folder), **own}
        )
        vendor = await adapter.connect(settings, secrets)
        try:
            yield Desk(sandbox, vendor, settings, folder / "sap-password")
        finally:
            await vendor.close()


def order_message() -> order_pb2.Order:
    return conformance.order()


def shipment_message() -> shipment_pb2.Shipment:
    return conformance.shipment()
