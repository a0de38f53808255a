"""What the hub says, reduced to plain values that proofs can compare with the vendors' books."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from crossdock.cli.deliveries import list_deliveries
from crossdock.cli.names import (
    attempt_kind,
    attempt_outcome,
    delivery_state,
    milestone,
    order_state,
    shipment_state,
)
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.tracking.v1 import tracking_service_pb2

PAGE: Final = 500
MAXIMUM_PAGES: Final = 100
MAXIMUM_DELIVERIES: Final = 50_000


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order at the hub. `sales_document`: the ERP's number for it, as the hub has it."""

    id: str
    number: str
    state: str
    sales_document: str = ""


@dataclass(frozen=True, slots=True)
class PackageView:
    """A package at the hub; weight as decimal text with its unit code."""

    id: str
    number: str
    weight: str
    weight_unit: str
    tracking_number: str = ""
    milestone: str = "UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class ShipmentView:
    """A shipment at the hub."""

    id: str
    number: str
    order_id: str
    state: str
    revision: int
    packages: tuple[PackageView, ...]


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt in the ledger."""

    kind: str
    outcome: str


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery in the ledger. `reference`: under which the vendor knows it. `documents`: what
    the vendor gave, by type."""

    id: str
    endpoint: str
    operation: str
    state: str
    order_id: str
    object_id: str
    reference: str
    documents: tuple[tuple[str, str], ...] = ()
    attempts: tuple[AttemptView, ...] = ()
    waiting_on: str = ""

    def document(self, kind: str) -> str:
        """The vendor's number of one type; empty when it gave none."""
        return next((value for type_, value in self.documents if type_ == kind), "")


@dataclass(frozen=True, slots=True)
class HubView:
    """The hub's side of every comparison, read at one time."""

    orders: tuple[OrderView, ...]
    shipments: tuple[ShipmentView, ...]
    deliveries: tuple[DeliveryView, ...] = ()

    def of(self, order_ids: Collection[str]) -> HubView:
        """Only what belongs to these orders."""
        return replace(
            self,
            orders=tuple(each for each in self.orders if each.id in order_ids),
            shipments=tuple(each for each in self.shipments if each.order_id in order_ids),
            deliveries=tuple(each for each in self.deliveries if each.order_id in order_ids),
        )

    @property
    def packages(self) -> list[PackageView]:
        """Every package of every shipment."""
        return [package for shipment in self.shipments for package in shipment.packages]


async def read_objects(hub: HubClient) -> HubView:
    """All orders and shipments."""
    orders = [order_view(each) async for each in _orders(hub)]
    shipments = [shipment_view(each) async for each in _shipments(hub)]
    return HubView(tuple(orders), tuple(shipments))


async def read_deliveries(
    hub: HubClient, endpoint: str, operation: str = "", with_attempts: bool = False
) -> tuple[DeliveryView, ...]:
    """All deliveries of one endpoint."""
    request = delivery_service_pb2.ListDeliveriesRequest(
        endpoint=endpoint, operation=operation, with_attempts=with_attempts
    )
    found, _ = await list_deliveries(hub, request, MAXIMUM_DELIVERIES)
    return tuple(map(delivery_view, found))


async def count_scans(hub: HubClient, shipments: Iterable[ShipmentView]) -> dict[str, int]:
    """Scans of parcels that moved them, by tracking number; label entries do not count."""
    counts: dict[str, int] = {}
    for shipment in shipments:
        for package in shipment.packages:
            if package.tracking_number:
                counts.setdefault(package.tracking_number, 0)
        token = ""
        for _ in range(MAXIMUM_PAGES):
            page = await hub.tracking.ListTrackingEvents(
                tracking_service_pb2.ListTrackingEventsRequest(
                    shipment_id=shipment.id, page_size=PAGE, page_token=token
                )
            )
            for scan in page.tracking_events:
                if scan.milestone != shipment_pb2.MILESTONE_LABEL_CREATED:
                    counts[scan.tracking_number] = counts.get(scan.tracking_number, 0) + 1
            token = page.next_page_token
            if not token:
                break
    return counts


def order_view(order: order_pb2.Order) -> OrderView:
    """An order without its content."""
    return OrderView(order.id, order.number, order_state(order.state), order.sales_document)


def shipment_view(shipment: shipment_pb2.Shipment) -> ShipmentView:
    """A shipment with its packages and how far each has come."""
    progress = {each.package_id: each for each in shipment.progress}
    packages = []
    for package in shipment.packages:
        row = progress.get(package.id, shipment_pb2.PackageProgress())
        packages.append(
            PackageView(
                id=package.id,
                number=package.number,
                weight=package.weight.value,
                weight_unit=package.weight.unit,
                tracking_number=row.tracking_number,
                milestone=milestone(row.milestone),
            )
        )
    return ShipmentView(
        id=shipment.id,
        number=shipment.number,
        order_id=shipment.order_id,
        state=shipment_state(shipment.state),
        revision=shipment.revision,
        packages=tuple(packages),
    )


def delivery_view(delivery: delivery_pb2.Delivery) -> DeliveryView:
    """A delivery without excerpts."""
    return DeliveryView(
        id=delivery.id,
        endpoint=delivery.endpoint,
        operation=delivery.operation,
        state=delivery_state(delivery.state),
        order_id=delivery.correlation_id,
        object_id=delivery.object_id,
        reference=delivery.vendor_reference,
        documents=tuple((each.type, each.value) for each in delivery.vendor_references),
        attempts=tuple(
            AttemptView(attempt_kind(each.kind), attempt_outcome(each.outcome))
            for each in delivery.attempt_log
        ),
        waiting_on=delivery.waiting_on,
    )


async def _orders(hub: HubClient) -> AsyncIterator[order_pb2.Order]:
    token = ""
    for _ in range(MAXIMUM_PAGES):
        page = await hub.orders.ListOrders(
            order_service_pb2.ListOrdersRequest(page_size=PAGE, page_token=token)
        )
        for order in page.orders:
            yield order
        token = page.next_page_token
        if not token:
            return


async def _shipments(hub: HubClient) -> AsyncIterator[shipment_pb2.Shipment]:
    token = ""
    for _ in range(MAXIMUM_PAGES):
        page = await hub.shipments.ListShipments(
            shipment_service_pb2.ListShipmentsRequest(page_size=PAGE, page_token=token)
        )
        for shipment in page.shipments:
            yield shipment
        token = page.next_page_token
        if not token:
            return
