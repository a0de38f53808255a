"""The messages of the first flow, and a company in which it can be played step by step."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from crossdock.confirmation.v1 import confirmation_pb2, confirmation_service_pb2
from crossdock.customer.v1 import customer_service_pb2
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.label.v1 import label_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.config import SECOND, Limits
from decisions import CARRIER, ERP, OMS, OPERATOR, TMS, WMS, Company, request_id

ORDERS = "order.v1.OrderService"
FULFILLMENTS = "fulfillment.v1.FulfillmentService"
SHIPMENTS = "shipment.v1.ShipmentService"
LABELS = "label.v1.LabelService"
TRACKING = "tracking.v1.TrackingService"
CONFIRMATIONS = "confirmation.v1.ConfirmationService"


def each(value: str) -> types_pb2.Quantity:
    """So many pieces."""
    return types_pb2.Quantity(value=value, unit="EA")


def at(microseconds: int) -> types_pb2.SourceTime:
    """A source's time that is known to be this instant."""
    time = types_pb2.SourceTime(zone=types_pb2.TIME_ZONE_SOURCE_GIVEN)
    time.instant.FromMicroseconds(microseconds)
    return time


def on_the_wall(local: str, hours: int | None = None) -> types_pb2.SourceTime:
    """What a clock in a warehouse shows. hours: behind UTC; None: nobody knows yet."""
    time = types_pb2.SourceTime(local=local, zone=types_pb2.TIME_ZONE_SOURCE_UNKNOWN)
    if hours is not None:
        time.zone = types_pb2.TIME_ZONE_SOURCE_FROM_LOCATION
        time.utc_offset = f"-{hours:02}:00"
        time.instant.FromDatetime(datetime.fromisoformat(local) + timedelta(hours=hours))
    return time


def party(name: str = "Ada Lovelace") -> types_pb2.Party:
    """Somebody at an address."""
    address = types_pb2.Address(
        lines=["1 Main St"], city="Reno", state="NV", postal_code="89501", country_code="US"
    )
    return types_pb2.Party(name=name, address=address)


def order(number: str = "SO-1", lines: int = 1, location: str = "DC1") -> order_pb2.Order:
    """An order of one piece a line."""
    return order_pb2.Order(
        number=number,
        business_unit="retail-us",
        customer_number="C-1",
        ship_to=party(),
        carrier_code="UPSN",
        service_code="03",
        lines=[
            order_pb2.OrderLine(
                line_number=index,
                item_number="SKU-1",
                quantity=each("1"),
                ship_from_location_number=location,
            )
            for index in range(1, lines + 1)
        ],
    )


def package(number: str = "LPN-1", line: int = 1, item: str = "SKU-1") -> shipment_pb2.Package:
    """A carton with one piece of one line in it."""
    content = shipment_pb2.PackageContent(line_number=line, item_number=item, quantity=each("1"))
    weight = types_pb2.Quantity(value="1.25", unit="KGM")
    return shipment_pb2.Package(number=number, contents=[content], weight=weight)


def scan(
    milestone: str,
    time: int | None,
    *,
    number: str = "1Z1",
    code: str = "",
    return_leg: bool = False,
) -> tracking_pb2.TrackingEvent:
    """One scan. time: microseconds UTC; None: the carrier could not say."""
    when = types_pb2.SourceTime(local="2025-06-01T10:00:00") if time is None else at(time)
    return tracking_pb2.TrackingEvent(
        carrier_code="UPSN",
        tracking_number=number,
        milestone=shipment_pb2.Milestone.Value(f"MILESTONE_{milestone}"),
        status_code=code or milestone[:32],
        event_time=when,
        return_leg=return_leg,
    )


class Flow(Company):  # type: ignore[misc]
    """A company with master data, playing the first flow; each step returns what the hub said."""

    def __init__(self, limits: Limits | None = None, *, master_data: bool = True) -> None:
        super().__init__(limits)
        for caller in (OMS, ERP, WMS, CARRIER, TMS, OPERATOR):
            self.employ(caller)
        if master_data:
            self.learn_item()
            self.learn_customer()
            self.learn_location()

    def learn_item(self, number: str = "SKU-1", description: str = "A thing") -> Any:
        entry = item_service_pb2.ItemEntry(request_id=request_id())
        entry.item.number, entry.item.description = number, description
        entry.update_mask.paths.append("description")
        request = item_service_pb2.UpsertItemsRequest(entries=[entry])
        return self.call("item.v1.ItemService/UpsertItems", request, ERP)[0]

    def learn_customer(self, number: str = "C-1") -> Any:
        entry = customer_service_pb2.CustomerEntry(request_id=request_id())
        entry.customer.number, entry.customer.legal_name = number, "Analytical Engines"
        entry.update_mask.paths.append("legal_name")
        request = customer_service_pb2.UpsertCustomersRequest(entries=[entry])
        return self.call("customer.v1.CustomerService/UpsertCustomers", request, ERP)[0]

    def learn_location(self, number: str = "DC1") -> Any:
        entry = location_service_pb2.LocationEntry(request_id=request_id())
        entry.location.number = number
        entry.location.address.CopyFrom(party("Dock"))
        entry.update_mask.paths.append("address")
        request = location_service_pb2.UpsertLocationsRequest(entries=[entry])
        return self.call("location.v1.LocationService/UpsertLocations", request, ERP)[0]

    # What the OMS does

    def create(self, message: order_pb2.Order | None = None, caller: Any = OMS) -> order_pb2.Order:
        request = order_service_pb2.CreateOrderRequest(
            request_id=request_id(), order=message or order()
        )
        made: order_pb2.Order = self.call(f"{ORDERS}/CreateOrder", request, caller).order
        return made

    def approve(self, order_id: str) -> Any:
        request = order_service_pb2.ApproveOrderRequest(request_id=request_id(), order_id=order_id)
        return self.call(f"{ORDERS}/ApproveOrder", request, OMS)

    def release(self, order_id: str) -> Any:
        request = order_service_pb2.ReleaseOrderRequest(request_id=request_id(), order_id=order_id)
        return self.call(f"{ORDERS}/ReleaseOrder", request, OMS)

    def cancel(self, order_id: str) -> Any:
        request = order_service_pb2.CancelOrderRequest(
            request_id=request_id(), order_id=order_id, reason="changed their mind"
        )
        return self.call(f"{ORDERS}/CancelOrder", request, OMS)

    def update_order(
        self, message: order_pb2.Order, *paths: str, caller: Any = OMS, revision: int | None = None
    ) -> Any:
        request = order_service_pb2.UpdateOrderRequest(
            request_id=request_id(), order=message, expected_revision=revision
        )
        request.update_mask.paths.extend(paths)
        return self.call(f"{ORDERS}/UpdateOrder", request, caller)

    def released(self, message: order_pb2.Order | None = None) -> tuple[str, list[str]]:
        """An order on its way: its id and those of its fulfillment requests."""
        order_id = self.create(message).id
        self.approve(order_id)
        return order_id, list(self.release(order_id).fulfillment_request_ids)

    # What the warehouse reports

    def pick(
        self, request: str, quantity: str = "1", time: int | None = None, line: int = 1
    ) -> Any:
        picked = fulfillment_pb2.FulfillmentLineQuantity(line_number=line, quantity=each(quantity))
        report = fulfillment_service_pb2.ReportPickRequest(
            request_id=request_id(),
            fulfillment_request_id=request,
            picked=[picked],
            pick_time=at(self.now if time is None else time),
        )
        return self.call(f"{FULFILLMENTS}/ReportPick", report, WMS)

    def pack(self, request: str, *packages: shipment_pb2.Package, number: str = "SHP-1") -> Any:
        report = fulfillment_service_pb2.ReportPackedRequest(
            request_id=request_id(),
            fulfillment_request_id=request,
            shipment_number=number,
            packages=packages or (package(),),
            pack_time=at(self.now),
        )
        return self.call(f"{FULFILLMENTS}/ReportPacked", report, WMS)

    def manifest(self, number: str = "SHP-1") -> Any:
        report = shipment_service_pb2.ManifestShipmentRequest(
            request_id=request_id(), shipment_number=number, manifest_time=at(self.now)
        )
        return self.call(f"{SHIPMENTS}/ManifestShipment", report, WMS)

    def void(self, shipment_id: str) -> Any:
        request = shipment_service_pb2.VoidShipmentRequest(
            request_id=request_id(), shipment_id=shipment_id, reason="wrong box"
        )
        return self.call(f"{SHIPMENTS}/VoidShipment", request, WMS)

    def update_shipment(
        self, message: shipment_pb2.Shipment, *paths: str, caller: Any = WMS
    ) -> Any:
        request = shipment_service_pb2.UpdateShipmentRequest(
            request_id=request_id(), shipment=message
        )
        request.update_mask.paths.extend(paths)
        return self.call(f"{SHIPMENTS}/UpdateShipment", request, caller)

    # What the carrier reports

    def label_request(
        self, shipment_id: str, package_id: str, number: str = "1Z1"
    ) -> label_service_pb2.CreateLabelRequest:
        request = label_service_pb2.CreateLabelRequest(request_id=request_id())
        label = request.label
        label.shipment_id, label.package_id = shipment_id, package_id
        label.carrier_code, label.tracking_number = "UPSN", number
        label.purchase_time.CopyFrom(at(self.now))
        return request

    def label(self, shipment_id: str, package_id: str, number: str = "1Z1") -> Any:
        request = self.label_request(shipment_id, package_id, number)
        return self.call(f"{LABELS}/CreateLabel", request, CARRIER)

    def report(self, *scans: tracking_pb2.TrackingEvent, caller: Any = CARRIER) -> list[Any]:
        request = tracking_service_pb2.ReportTrackingEventsRequest(
            request_id=request_id(), tracking_events=scans
        )
        answer = self.call(f"{TRACKING}/ReportTrackingEvents", request, caller)
        return list(answer.receipts)

    def prove(
        self,
        number: str = "1Z1",
        time: int | types_pb2.SourceTime | None = None,
        signed_by: str = "ADA",
        **more: Any,
    ) -> Any:
        """Proof of delivery. more: further fields of it."""
        request = confirmation_service_pb2.CreateDeliveryConfirmationRequest(
            request_id=request_id()
        )
        proof = request.delivery_confirmation
        proof.MergeFrom(confirmation_pb2.DeliveryConfirmation(**more))
        proof.carrier_code, proof.tracking_number, proof.signed_by = "UPSN", number, signed_by
        if not isinstance(time, types_pb2.SourceTime):
            time = at(self.now if time is None else time)
        proof.delivered_time.CopyFrom(time)
        return self.call(f"{CONFIRMATIONS}/CreateDeliveryConfirmation", request, CARRIER)

    def labelled(self, packages: int = 1) -> shipment_pb2.Shipment:
        """A packed shipment with a label on each package: 1Z1, 1Z2, …"""
        _, (part,) = self.released(order(lines=packages))
        cartons = [package(f"LPN-{i}", i) for i in range(1, packages + 1)]
        shipment: shipment_pb2.Shipment = self.pack(part, *cartons).shipment
        for index, carton in enumerate(shipment.packages, start=1):
            self.label(shipment.id, carton.id, f"1Z{index}")
        return shipment


def seconds(count: float) -> int:
    """So many seconds, in microseconds."""
    return int(count * SECOND)
