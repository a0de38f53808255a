"""Which method reads which kind of object, and what its filters mean: data, and one loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossdock_hub.config import Limits
from crossdock_hub.reading.paging import room_of
from crossdock_hub.records import ObjectRecord

# Filters that no column holds are applied to what was read; a page gives up looking after so many
# rows and says where to go on.
SCANNED_ROWS_MAX = 2_000

# (last position, how many) -> the next objects
Fetch = Callable[[str, int], Awaitable[Sequence[ObjectRecord]]]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list method. kind: of the objects. field: of the response. same: fields that must equal."""

    kind: str
    field: str
    same: tuple[str, ...] = ()


GETS: Mapping[str, str] = {
    "/crossdock.carrier.v1.CarrierService/GetCarrierAccount": "carrier_account",
    "/crossdock.confirmation.v1.ConfirmationService/GetDeliveryConfirmation": (
        "delivery_confirmation"
    ),
    "/crossdock.customer.v1.CustomerService/GetCustomer": "customer",
    "/crossdock.freight.v1.FreightService/GetFreightCharge": "freight_charge",
    "/crossdock.fulfillment.v1.FulfillmentService/GetFulfillmentRequest": "fulfillment_request",
    "/crossdock.inventory.v1.InventoryService/GetInventoryReservation": "inventory_reservation",
    "/crossdock.item.v1.ItemService/GetItem": "item",
    "/crossdock.label.v1.LabelService/GetLabel": "label",
    "/crossdock.location.v1.LocationService/GetLocation": "location",
    "/crossdock.order.v1.OrderService/GetOrder": "order",
    "/crossdock.returns.v1.ReturnService/GetReturn": "customer_return",
    "/crossdock.shipment.v1.ShipmentService/GetShipment": "shipment",
    "/crossdock.unit.v1.UnitService/GetUnitConversion": "unit_conversion",
}

LISTS: Mapping[str, Listing] = {
    f"/crossdock.{method}": listing
    for method, listing in {
        "carrier.v1.CarrierService/ListCarrierAccounts": Listing(
            "carrier_account", "carrier_accounts", ("carrier_code",)
        ),
        "confirmation.v1.ConfirmationService/ListDeliveryConfirmations": Listing(
            "delivery_confirmation", "delivery_confirmations", ("shipment_id",)
        ),
        "customer.v1.CustomerService/ListCustomers": Listing(
            "customer", "customers", ("credit_status",)
        ),
        "freight.v1.FreightService/ListFreightCharges": Listing(
            "freight_charge", "freight_charges", ("shipment_id", "carrier_code")
        ),
        "fulfillment.v1.FulfillmentService/ListFulfillmentRequests": Listing(
            "fulfillment_request", "fulfillment_requests"
        ),
        "inventory.v1.InventoryService/ListInventoryReservations": Listing(
            "inventory_reservation", "inventory_reservations"
        ),
        "item.v1.ItemService/ListItems": Listing("item", "items", ("status",)),
        "label.v1.LabelService/ListLabels": Listing(
            "label", "labels", ("shipment_id", "carrier_code")
        ),
        "location.v1.LocationService/ListLocations": Listing(
            "location", "locations", ("business_unit",)
        ),
        "order.v1.OrderService/ListOrders": Listing("order", "orders"),
        "returns.v1.ReturnService/ListReturns": Listing("customer_return", "customer_returns"),
        "shipment.v1.ShipmentService/ListShipments": Listing("shipment", "shipments"),
        "unit.v1.UnitService/ListUnitConversions": Listing(
            "unit_conversion", "unit_conversions", ("item_number",)
        ),
    }.items()
}


def matches(listing: Listing, request: Any, message: Any) -> bool:
    """True when an object passes the filters of the request that no column holds."""
    for name in listing.same:
        wanted = getattr(request, name)
        if wanted and getattr(message, name) != wanted:
            return False
    return True


async def collect(
    fetch: Fetch,
    keep: Callable[[ObjectRecord], bool],
    *,
    after: str,
    size: int,
    limits: Limits,
) -> tuple[list[ObjectRecord], str]:
    """A page of what passes `keep`, and the position to go on from; "" when there is no more."""
    page: list[ObjectRecord] = []
    room = room_of(limits)
    scanned = 0
    while scanned < SCANNED_ROWS_MAX:
        rows = await fetch(after, size + 1)
        for record in rows:
            if keep(record):
                room -= record.message.ByteSize()
                if len(page) == size or (page and room < 0):
                    return page, after
                page.append(record)
            after = record.id
        scanned += len(rows)
        if len(rows) <= size:
            return page, ""
    return page, after
