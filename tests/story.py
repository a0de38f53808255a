"""What the systems around a hub say in the first flow, as calls over the wire.

Builders make messages with numbers nobody else has; `Story` plays a flow step by step.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from crossdock.client import HubClient
from crossdock.customer.v1 import customer_service_pb2
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.label.v1 import label_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.request_ids import new_request_id
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2
from crossdock.types.v1 import types_pb2

if TYPE_CHECKING:
    from fixtures_hub import Lane, RunningHub

ITEM, CUSTOMER, DOCK, SECOND_DOCK = "SKU-1", "C-1", "DC1", "DC2"
CARRIER_CODE = "UPSN"
_COUNTER = itertools.count(1)
_RUN = uuid.uuid4().hex[:6].upper()


def request_id() -> str:
    """An id for a request that was never sent before."""
    return new_request_id()


def unique(prefix: str) -> str:
    """A number that no other test, process or run has."""
    return f"{prefix}-{_RUN}-{next(_COUNTER)}"


def each(value: str) -> types_pb2.Quantity:
    """So many pieces."""
    return types_pb2.Quantity(value=value, unit="EA")


def at(seconds: float | None = None) -> types_pb2.SourceTime:
    """A source's time that is known to be this instant; now without one."""
    when = types_pb2.SourceTime(zone=types_pb2.TIME_ZONE_SOURCE_GIVEN)
    when.instant.FromMicroseconds(round((time.time() if seconds is None else seconds) * 1e6))
    return when


def party(name: str = "Ada Lovelace") -> types_pb2.Party:
    """Somebody at an address."""
    address = types_pb2.Address(
        lines=["1 Main St"], city="Reno", state="NV", postal_code="89501", country_code="US"
    )
    return types_pb2.Party(name=name, address=address)


def order(business_unit: str = "nobody", lines: int = 1, docks: Iterable[str] = ()) -> Any:
    """An order of one piece a line. docks: ship-from of each line in turn; DC1 without."""
    froms = itertools.cycle(tuple(docks) or (DOCK,))
    return order_pb2.Order(
        number=unique("SO"),
        business_unit=business_unit,
        customer_number=CUSTOMER,
        ship_to=party(),
        carrier_code=CARRIER_CODE,
        service_code="03",
        lines=[
            order_pb2.OrderLine(
                line_number=index,
                item_number=ITEM,
                quantity=each("1"),
                ship_from_location_number=next(froms),
            )
            for index in range(1, lines + 1)
        ],
    )


def create_order(message: order_pb2.Order | None = None) -> order_service_pb2.CreateOrderRequest:
    """A request for a new order."""
    return order_service_pb2.CreateOrderRequest(request_id=request_id(), order=message or order())


def approve_order(order_id: str) -> order_service_pb2.ApproveOrderRequest:
    return order_service_pb2.ApproveOrderRequest(request_id=request_id(), order_id=order_id)


def update_order(
    message: order_pb2.Order, *paths: str, revision: int | None = None
) -> order_service_pb2.UpdateOrderRequest:
    """A request to change fields of an order."""
    request = order_service_pb2.UpdateOrderRequest(
        request_id=request_id(), order=message, expected_revision=revision
    )
    request.update_mask.paths.extend(paths)
    return request


def package(line: int = 1, item: str = ITEM) -> shipment_pb2.Package:
    """A carton with one piece of one line in it."""
    content = shipment_pb2.PackageContent(line_number=line, item_number=item, quantity=each("1"))
    weight = types_pb2.Quantity(value="1.25", unit="KGM")
    return shipment_pb2.Package(number=unique("LPN"), contents=[content], weight=weight)


def pick(request: str, quantity: str = "1") -> fulfillment_service_pb2.ReportPickRequest:
    """The warehouse says that it picked line 1."""
    picked = fulfillment_pb2.FulfillmentLineQuantity(line_number=1, quantity=each(quantity))
    return fulfillment_service_pb2.ReportPickRequest(
        request_id=request_id(),
        fulfillment_request_id=request,
        picked=[picked],
        pick_time=at(),
    )


def label(shipment_id: str, package_id: str, tracking_number: str) -> Any:
    """The carrier says that it sold a label."""
    request = label_service_pb2.CreateLabelRequest(request_id=request_id())
    request.label.shipment_id, request.label.package_id = shipment_id, package_id
    request.label.carrier_code = CARRIER_CODE
    request.label.tracking_number = tracking_number
    request.label.purchase_time.CopyFrom(at())
    return request


def scan(tracking_number: str, milestone: str, seconds: float | None = None) -> Any:
    """One scan of a parcel."""
    return tracking_pb2.TrackingEvent(
        carrier_code=CARRIER_CODE,
        tracking_number=tracking_number,
        milestone=shipment_pb2.Milestone.Value(f"MILESTONE_{milestone}"),
        status_code=milestone[:32],
        event_time=at(seconds),
    )


def scans(*events: tracking_pb2.TrackingEvent) -> Any:
    """A report of scans."""
    return tracking_service_pb2.ReportTrackingEventsRequest(
        request_id=request_id(), tracking_events=events
    )


def item_entry(number: str, description: str = "A thing") -> item_service_pb2.ItemEntry:
    """One item of an upsert."""
    entry = item_service_pb2.ItemEntry(request_id=request_id())
    entry.item.number, entry.item.description = number, description
    entry.update_mask.paths.append("description")
    return entry


async def seed_master_data(hub: RunningHub) -> None:
    """Tell a hub the item, customer, locations and carrier account that the orders name."""
    customer = customer_service_pb2.CustomerEntry(request_id=request_id())
    customer.customer.number, customer.customer.legal_name = CUSTOMER, "Analytical Engines"
    customer.update_mask.paths.append("legal_name")
    docks = []
    for number in (DOCK, SECOND_DOCK):
        dock = location_service_pb2.LocationEntry(request_id=request_id())
        dock.location.number = number
        dock.location.address.CopyFrom(party("Dock"))
        dock.update_mask.paths.append("address")
        docks.append(dock)
    async with hub.client("netsuite") as erp:
        await erp.items.UpsertItems(item_service_pb2.UpsertItemsRequest(entries=[item_entry(ITEM)]))
        await erp.customers.UpsertCustomers(
            customer_service_pb2.UpsertCustomersRequest(entries=[customer])
        )
        answer = await erp.locations.UpsertLocations(
            location_service_pb2.UpsertLocationsRequest(entries=docks)
        )
    assert not any(result.HasField("refusal") for result in answer.results), answer


class Story:
    """One lane's orders, played by its OMS, warehouse and carrier.

    Each step returns what the hub said. `erp`, `wms`, `carrier`: clients of the lane's endpoints.
    """

    def __init__(self, hub: RunningHub, lane: Lane) -> None:
        self.hub = hub
        self.lane = lane
        self.oms = hub.client("oms")
        self.erp = hub.client(lane.erp)
        self.wms = hub.client(lane.wms)
        self.carrier = hub.client(lane.carrier)
        self.operator = hub.client("operator")
        self._clients: tuple[HubClient, ...] = (
            self.oms,
            self.erp,
            self.wms,
            self.carrier,
            self.operator,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in self._clients:
            await client.close()

    # The OMS

    async def create(self, lines: int = 1, docks: Iterable[str] = ()) -> order_pb2.Order:
        message = order(self.lane.business_unit, lines, docks)
        made: order_pb2.Order = (await self.oms.orders.CreateOrder(create_order(message))).order
        return made

    async def approve(self, order_id: str) -> Any:
        return (await self.oms.orders.ApproveOrder(approve_order(order_id))).order

    async def approved(self, lines: int = 1, docks: Iterable[str] = ()) -> str:
        """The id of a new order that the ERP has to book."""
        made = await self.create(lines, docks)
        await self.approve(made.id)
        return made.id

    async def release(self, order_id: str) -> list[str]:
        request = order_service_pb2.ReleaseOrderRequest(request_id=request_id(), order_id=order_id)
        return list((await self.oms.orders.ReleaseOrder(request)).fulfillment_request_ids)

    async def released(self, lines: int = 1, docks: Iterable[str] = ()) -> tuple[str, list[str]]:
        """A new order on its way: its id and those of its fulfillment requests."""
        order_id = await self.approved(lines, docks)
        return order_id, await self.release(order_id)

    async def cancel(self, order_id: str) -> Any:
        request = order_service_pb2.CancelOrderRequest(
            request_id=request_id(), order_id=order_id, reason="changed their mind"
        )
        return (await self.oms.orders.CancelOrder(request)).order

    # The warehouse

    async def pack(
        self, request: str, packages: int = 1, item: str = ITEM
    ) -> shipment_pb2.Shipment:
        report = fulfillment_service_pb2.ReportPackedRequest(
            request_id=request_id(),
            fulfillment_request_id=request,
            shipment_number=unique("SHP"),
            packages=[package(item=item) for _ in range(packages)],
            pack_time=at(),
        )
        answer = await self.wms.fulfillments.ReportPacked(report)
        made: shipment_pb2.Shipment = answer.shipment
        return made

    async def packed(self, packages: int = 1) -> shipment_pb2.Shipment:
        """The shipment of a new order."""
        _, requests = await self.released()
        return await self.pack(requests[0], packages)

    async def manifest(self, shipment_id: str) -> Any:
        report = shipment_service_pb2.ManifestShipmentRequest(
            request_id=request_id(), shipment_id=shipment_id, manifest_time=at()
        )
        return await self.wms.shipments.ManifestShipment(report)

    # People

    async def deliveries(
        self, object_id: str, operation: str = "", endpoint: str = ""
    ) -> list[delivery_pb2.Delivery]:
        """What the ledger holds about an object or a flow, oldest first, with attempts."""
        request = delivery_service_pb2.ListDeliveriesRequest(
            object_id=object_id, operation=operation, endpoint=endpoint, with_attempts=True
        )
        return list((await self.operator.deliveries.ListDeliveries(request)).deliveries)

    async def delivery(self, object_id: str, operation: str) -> delivery_pb2.Delivery:
        """The only delivery of an operation about an object or a flow."""
        (found,) = await self.deliveries(object_id, operation)
        return found

    async def state(self, object_id: str, operation: str) -> str:
        """The state of the only delivery of an operation, without its prefix."""
        return state_of(await self.delivery(object_id, operation))


def state_of(delivery: delivery_pb2.Delivery) -> str:
    """The state of a delivery without its prefix."""
    name = delivery_pb2.DeliveryState.Name(delivery.state)
    return name.removeprefix("DELIVERY_STATE_")
