"""Between the contract and SAP's documents: pure functions, no clock, no network.

Orders become sales orders, departures become outbound deliveries. What cannot be said in SAP's
words raises Untranslatable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from crossdock_adapters.sap import odata
from crossdock_adapters.sdk import departures
from crossdock_adapters.sdk.mappings import Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable

STANDARD_REFERENCE: Final = "PurchaseOrderByCustomer"
MAX_REFERENCE: Final = 35
MAX_TEXT: Final = 35
# What a property of the delivery header can be filled with, by the setting delivery_properties.
TRACKING, BILL_OF_LADING, SHIPMENT, TRAILER = (
    "tracking_number", "bill_of_lading", "shipment_number", "trailer_number",
)  # fmt: skip
SHIPMENT_VALUES: Final = frozenset({TRACKING, BILL_OF_LADING, SHIPMENT, TRAILER})


@dataclass(frozen=True, slots=True)
class BookingRules:
    """What differs between tenants; made from the endpoint's settings and the rows of units.

    sales_areas: business unit to organisation/channel/division, "" for all others. plants,
    shipping_points: by location number. conditions: carrier/service, or carrier, to shipping
    condition. units: the contract's unit to SAP's; unit_meanings: the other way round.
    """

    zone: ZoneInfo
    reference_property: str = STANDARD_REFERENCE
    reference_prefix: str = ""
    order_type: str = "OR"
    sales_areas: Mapping[str, str] = field(default_factory=dict)
    plants: Mapping[str, str] = field(default_factory=dict)
    shipping_points: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    price_condition: str = ""
    reject_reason: str = "00"
    units: Mapping[str, str] = field(default_factory=dict)
    unit_meanings: Mapping[str, str] = field(default_factory=dict)
    delivery_properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Numbers:
    """SAP's numbers of the master data that one document names, by the hub's numbers.

    A number without an entry is SAP's own: the ERP owns these numbers.
    """

    customers: Mapping[str, str] = field(default_factory=dict)
    items: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrderItem:
    """An item of a sales order as it was read. higher: the item that SAP made it for, such as that
    of a bill of material or of free goods; "" for one that was ordered."""

    number: str
    material: str
    plant: str
    quantity: Decimal
    unit: str
    rejected: bool
    etag: str
    higher: str = ""


@dataclass(frozen=True, slots=True)
class SalesOrder:
    """A sales order as it was read, with its items. requested: the day as SAP writes
    it, read only where it is compared."""

    number: str
    sold_to: str
    condition: str
    customer_reference: str
    requested: str
    etag: str
    items: tuple[OrderItem, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One write on a sales order: of the header, of an item, or a new item."""

    item: str
    body: Mapping[str, Any]
    adds: bool = False


@dataclass(frozen=True, slots=True)
class Shipped:
    """What left of one order line with one departure, in SAP's unit.

    lots: quantity by lot, empty where the line names none.
    """

    item: str
    quantity: Decimal
    unit: str
    lots: Mapping[str, Decimal] = field(default_factory=dict)
    serial_numbers: tuple[str, ...] = ()


def order_reference(order_number: str, rules: BookingRules) -> str:
    """What an order is found by in SAP: the number the customer knows. Untranslatable: too long."""
    found = f"{rules.reference_prefix}{order_number}"
    if not order_number or len(found) > MAX_REFERENCE:
        raise Untranslatable(
            f"order number {order_number!r} has to have 1 to "
            f"{MAX_REFERENCE - len(rules.reference_prefix)} characters to be a reference in SAP"
        )
    return found


def departure_keys(shipment: shipment_pb2.Shipment) -> list[str]:
    """External delivery ids of all departures that a shipment may have, oldest first: the hub's id
    without dashes, and which departure it is."""
    if not shipment.id:
        raise Untranslatable("the shipment has no id")
    found = shipment.id.replace("-", "").upper()
    return [found, *(f"{found}-{each}" for each in range(2, len(shipment.departures) + 1))]


def item_number(line_number: int) -> str:
    """An item's number as it is sent and compared: six digits."""
    return odata.item_number(line_number)


def sales_order(order: order_pb2.Order, numbers: Numbers, rules: BookingRules) -> dict[str, Any]:
    """The deep create of a new sales order."""
    organisation, channel, division = sales_area(order.business_unit, rules)
    customer = order.customer_number
    if not customer:
        raise Untranslatable("the order names no customer")
    body: dict[str, Any] = {
        "SalesOrderType": rules.order_type,
        "SalesOrganization": organisation,
        "DistributionChannel": channel,
        "OrganizationDivision": division,
        "SoldToParty": numbers.customers.get(customer, customer),
        rules.reference_property: order_reference(order.number, rules),
    }
    if rules.reference_property != STANDARD_REFERENCE:
        body[STANDARD_REFERENCE] = (order.customer_reference or order.number)[:MAX_TEXT]
    if order.HasField("order_time"):
        body["CustomerPurchaseOrderDate"] = odata.day(_local_day(order.order_time, rules.zone))
    if order.promised.HasField("end"):
        body["RequestedDeliveryDate"] = odata.day(_local_day(order.promised.end, rules.zone))
    if condition := shipping_condition(order, rules):
        body["ShippingCondition"] = condition
    currency = _currency(order)
    if rules.price_condition and currency:
        body["TransactionCurrency"] = currency
    if not order.lines:
        raise Untranslatable("the order has no lines")
    body["to_Item"] = {"results": [_order_item(line, numbers, rules) for line in order.lines]}
    return body


def changes(
    order: order_pb2.Order,
    changed_fields: Iterable[str],
    numbers: Numbers,
    rules: BookingRules,
    held: SalesOrder,
) -> list[Step]:
    """The writes after which SAP has the order as it is now; none when it keeps nothing of it."""
    changed = set(changed_fields)
    steps: list[Step] = []
    header: dict[str, Any] = {}
    condition = shipping_condition(order, rules)
    if changed & {"carrier_code", "service_code"} and condition not in ("", held.condition):
        header["ShippingCondition"] = condition
    wanted = (order.customer_reference or order.number)[:MAX_TEXT]
    if "promised" in changed:
        if not order.promised.HasField("end"):
            raise Untranslatable("SAP keeps the requested delivery date: give another end")
        day = odata.day(_local_day(order.promised.end, rules.zone))
        if odata.moment(day) != _requested(held):
            header["RequestedDeliveryDate"] = day
    custom = rules.reference_property != STANDARD_REFERENCE
    if custom and "customer_reference" in changed and wanted != held.customer_reference:
        header[STANDARD_REFERENCE] = wanted
    customer = numbers.customers.get(order.customer_number, order.customer_number)
    if "customer_number" in changed and customer != held.sold_to:
        raise Untranslatable("SAP keeps the sold-to party of a sales order: cancel it, order anew")
    if header:
        steps.append(Step("", header))
    return steps + (_item_steps(order, numbers, rules, held) if "lines" in changed else [])


def _item_steps(
    order: order_pb2.Order, numbers: Numbers, rules: BookingRules, held: SalesOrder
) -> list[Step]:
    known = {item.number: item for item in held.items}
    steps = []
    for line in order.lines:
        full = _order_item(line, numbers, rules)
        item = known.pop(str(full["SalesOrderItem"]), None)
        if item is None:
            steps.append(Step(str(full["SalesOrderItem"]), full, adds=True))
            continue
        if item.material != full["Material"]:
            raise Untranslatable(f"line {line.line_number} changes its item: use a new line")
        if item.rejected:
            raise Untranslatable(f"line {line.line_number} is rejected in SAP: a person decides")
        if item.unit != full["RequestedQuantityUnit"]:
            raise Untranslatable(f"line {line.line_number} changes its unit: use a new line")
        if item.plant != full["ProductionPlant"]:
            raise Untranslatable(f"line {line.line_number} changes its plant: use a new line")
        if item.quantity != amount(line.quantity.value):
            steps.append(Step(item.number, {"RequestedQuantity": full["RequestedQuantity"]}))
    kept = {item_number(line.line_number) for line in order.lines}
    # What SAP made for a line that stays is SAP's own.
    gone = [
        item
        for item in known.values()
        if not item.rejected and not kept & _higher_items(item, held)
    ]
    return steps + [rejection(item, rules) for item in gone]


def _higher_items(item: OrderItem, held: SalesOrder) -> set[str]:
    """All items above one: a part of a kit may have parts of its own."""
    higher = {each.number: each.higher for each in held.items}
    found: set[str] = set()
    above = item.higher
    while above and above not in found:
        found.add(above)
        above = higher.get(above, "")
    return found


def rejections(held: SalesOrder, rules: BookingRules) -> list[Step]:
    """The writes after which nothing of a sales order will be delivered."""
    return [rejection(item, rules) for item in held.items if not item.rejected]


def rejection(item: OrderItem, rules: BookingRules) -> Step:
    """An item that will not be delivered: SAP keeps it, with a reason."""
    return Step(item.number, {"SalesDocumentRjcnReason": rules.reject_reason})


def shipping_condition(order: order_pb2.Order, rules: BookingRules) -> str:
    """By carrier and service, by carrier, else "", which leaves it to SAP."""
    chosen = (f"{order.carrier_code}/{order.service_code}", order.carrier_code)
    return next((rules.conditions[name] for name in chosen if name in rules.conditions), "")


def order_of(row: Mapping[str, Any], etag: str, etag_of_row: Any) -> SalesOrder:
    """A sales order that was read with its items. etag_of_row: finds the ETag of a row.
    ValueError, LookupError: a quantity or a number of it cannot be read."""
    items = tuple(
        OrderItem(
            odata.item_number(item["SalesOrderItem"]),
            odata.said(item, "Material"),
            odata.said(item, "ProductionPlant"),
            odata.number(item.get("RequestedQuantity") or "0"),
            odata.said(item, "RequestedQuantityUnit"),
            bool(item.get("SalesDocumentRjcnReason")),
            etag_of_row(item),
            odata.item_number(item.get("HigherLevelItem")),
        )
        for item in odata.inner(row, "to_Item")
    )
    return SalesOrder(
        str(row["SalesOrder"]),
        odata.said(row, "SoldToParty"),
        odata.said(row, "ShippingCondition"),
        odata.said(row, STANDARD_REFERENCE),
        odata.said(row, "RequestedDeliveryDate"),
        etag,
        items,
    )


def shipped(shipment: shipment_pb2.Shipment, rules: BookingRules) -> list[Shipped]:
    """What left with the shipment's last departure, by item: quantities, lots, serial numbers."""
    return [
        Shipped(
            item_number(line.line_number),
            line.quantity,
            sap_unit(line.unit, rules),
            line.lots,
            line.serial_numbers,
        )
        for line in departures.lines_that_left(shipment)
    ]


def header_changes(
    shipment: shipment_pb2.Shipment, posted: Timestamp, rules: BookingRules
) -> dict[str, Any]:
    """Properties of the delivery header before the goods issue. `posted` decides the day when the
    warehouse did not say when goods left."""
    body: dict[str, Any] = {
        "ActualGoodsMovementDate": odata.day(ship_day(shipment, posted, rules.zone))
    }
    for name, source in rules.delivery_properties.items():
        if value := _value(shipment, source):
            body[name] = value
    return body


def _value(shipment: shipment_pb2.Shipment, source: str) -> str:
    departure = shipment.departures[-1] if shipment.departures else None
    if source == TRACKING:
        left = {package.id for package in departures.packages_that_left(shipment)}
        numbers = [
            each.tracking_number
            for each in shipment.progress
            if each.tracking_number and each.package_id in left
        ]
        return _whole(numbers or [shipment.tracking_number])
    if source == BILL_OF_LADING:
        return ((departure and departure.bill_of_lading) or shipment.bill_of_lading)[:MAX_TEXT]
    return (shipment.number if source == SHIPMENT else shipment.trailer_number)[:MAX_TEXT]


def _whole(numbers: Sequence[str]) -> str:
    """As many whole numbers as there is room for: half a tracking number finds nothing."""
    found = ""
    for number in numbers:
        longer = f"{found} {number}".strip()
        if len(longer) > MAX_TEXT:
            break
        found = longer
    return found


def delivery_create(
    order: SalesOrder, lines: Sequence[Shipped], shipping_point: str
) -> dict[str, Any]:
    """The deep create of an outbound delivery: SAP takes no other properties here."""
    body: dict[str, Any] = {"ShippingPoint": shipping_point} if shipping_point else {}
    body["to_DeliveryDocumentItem"] = {
        "results": [
            {
                "ReferenceSDDocument": order.number,
                "ReferenceSDDocumentItem": line.item,
                "ActualDeliveryQuantity": odata.decimal_text(line.quantity),
                "DeliveryQuantityUnit": line.unit,
            }
            for line in lines
        ]
    }
    return body


def ship_day(shipment: shipment_pb2.Shipment, posted: Timestamp, zone: ZoneInfo) -> date:
    """The day that decides the period: when the goods left, in the zone of the books; else the
    dock's own day; else the day on which the hub heard of it."""
    moment = (
        shipment.departures[-1].manifest_time if shipment.departures else shipment.manifest_time
    )
    return local_day(moment, posted, zone)


def local_day(moment: types_pb2.SourceTime, heard: Timestamp, zone: ZoneInfo) -> date:
    """The day of a source's time in the zone of the books; else the source's own day; else the day
    on which the hub heard of it."""
    if moment.HasField("instant"):
        return _local_day(moment.instant, zone)
    if moment.local:
        try:
            return date.fromisoformat(moment.local[:10])
        except ValueError:
            pass
    return _local_day(heard, zone)


def amount(text: str) -> Decimal:
    """A decimal of the contract, exact. Untranslatable: it is none."""
    try:
        return odata.number(text)
    except ValueError as error:
        raise Untranslatable(str(error)) from None


def sap_unit(unit: str, rules: BookingRules) -> str:
    """SAP's code for a unit of the contract. Untranslatable: no row has it."""
    found = rules.units.get(unit)
    if not found:
        unsent = UnsentWord(Topic.UNIT, unit)
        raise Untranslatable.for_want_of(unsent, "sap", f"unit {unit!r} has no code of SAP's")
    return found


def _order_item(line: order_pb2.OrderLine, numbers: Numbers, rules: BookingRules) -> dict[str, Any]:
    item: dict[str, Any] = {
        "SalesOrderItem": item_number(line.line_number),
        "Material": numbers.items.get(line.item_number, line.item_number),
        "RequestedQuantity": odata.decimal_text(amount(line.quantity.value)),
        "RequestedQuantityUnit": sap_unit(line.quantity.unit, rules),
        "ProductionPlant": place(line.ship_from_location_number, rules.plants, "plants"),
    }
    if rules.price_condition and line.HasField("unit_price"):
        price = {
            "ConditionType": rules.price_condition,
            "ConditionRateValue": odata.decimal_text(amount(line.unit_price.amount)),
            "ConditionCurrency": line.unit_price.currency,
            "ConditionQuantity": "1",
            "ConditionQuantityUnit": item["RequestedQuantityUnit"],
        }
        item["to_PricingElement"] = {"results": [price]}
    return item


def place(location: str, places: Mapping[str, str], setting: str) -> str:
    """SAP's code for a location. Untranslatable: the setting of that name does not say it."""
    found = places.get(location, places.get("*", ""))
    if not found:
        raise Untranslatable(f"location {location!r} has no entry in the setting {setting}")
    return found.replace("*", location)


def sales_area(business_unit: str, rules: BookingRules) -> tuple[str, str, str]:
    """Organisation, channel and division. Untranslatable: the setting sales_areas has none."""
    area = rules.sales_areas.get(business_unit, rules.sales_areas.get("*", ""))
    parts = area.split("/")
    if len(parts) != 3 or not all(parts):
        raise Untranslatable(
            f"business unit {business_unit!r} has no organisation/channel/division in the setting "
            "sales_areas"
        )
    return parts[0], parts[1], parts[2]


def _currency(order: order_pb2.Order) -> str:
    codes = {line.unit_price.currency for line in order.lines if line.HasField("unit_price")}
    if len(codes) > 1:
        raise Untranslatable("a sales order has one currency, this order has several")
    return codes.pop() if codes else ""


def _requested(held: SalesOrder) -> datetime | None:
    try:
        return odata.moment(held.requested)
    except ValueError as problem:
        said = f"sales order {held.number}: RequestedDeliveryDate: {problem}: mend it in SAP first"
        raise Untranslatable(said) from problem


def _local_day(moment: Timestamp, zone: ZoneInfo) -> date:
    instant: datetime = moment.ToDatetime(tzinfo=UTC)
    return instant.astimezone(zone).date()
