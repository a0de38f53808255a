"""What the simulated warehouse keeps: facilities, items, orders, cartons, shipments, messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from .sandbox_cartons import INCHES_PER, POUNDS_PER, Carton, ItemSize

# Bands of the status ladder; oLPN 7200, 8000 and 9000 were seen in customers' code.
RELEASED = 2000
PICKED = 5000
PACKED = 7200
SHIPPED = 8000
CANCELLED = 9000


class WarehouseRefusal(Exception):
    """A business refusal of one record, with the key the platform shows."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key
        self.text = text


@dataclass(frozen=True, slots=True)
class Facility:
    """One warehouse site; time stamps in messages are in its zone and carry no offset."""

    id: str
    name: str
    zone: str
    metric: bool = False

    def local(self, instant: datetime) -> str:
        return instant.astimezone(ZoneInfo(self.zone)).strftime("%Y-%m-%dT%H:%M:%S")

    def weight(self, pounds: Decimal) -> Decimal:
        value = pounds / POUNDS_PER["KG"] if self.metric else pounds
        return value.quantize(Decimal("0.001" if self.metric else "0.01"))

    def length(self, inches: Decimal) -> Decimal:
        return (inches / INCHES_PER["CM"] if self.metric else inches).quantize(Decimal("0.1"))

    @property
    def weight_unit(self) -> str:
        return "KG" if self.metric else "LB"

    @property
    def length_unit(self) -> str:
        return "CM" if self.metric else "IN"

    def as_json(self) -> dict[str, Any]:
        return {"FacilityId": self.id, "Description": self.name, "TimeZone": self.zone}


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the item master."""

    id: str
    size: ItemSize
    lots: bool
    serials: bool
    content: Mapping[str, Any]


@dataclass(slots=True)
class Line:
    """One line of an order in work."""

    id: str
    item_id: str
    ordered: Decimal
    unit: str
    picked: Decimal = Decimal(0)
    short: Decimal = Decimal(0)
    shipped: Decimal = Decimal(0)


@dataclass(slots=True)
class Olpn:
    """An outbound container."""

    id: str
    facility_id: str
    organization: str
    order_id: str
    original_order_id: str
    shipment_id: str
    carton: Carton
    weight: Decimal
    lots: dict[str, str]
    serials: dict[str, list[str]]
    status: int = PACKED
    tracking_number: str = ""
    label_prints: int = 0
    saves: int = 0


@dataclass(slots=True)
class Order:
    """What the warehouse plans from an original order."""

    id: str
    original_order_id: str
    lines: list[Line]
    shipment_id: str
    status: int = RELEASED
    olpns: list[Olpn] = field(default_factory=list)


@dataclass(slots=True)
class OriginalOrder:
    """What the host sent, under its business key and the site of the header."""

    organization: str
    location: str
    id: str
    content: dict[str, Any]
    orders: list[Order]
    created: datetime
    saves: int = 1
    changes: int = 0
    cancelled: bool = False

    @property
    def minimum_status(self) -> int:
        return min((order.status for order in self.orders), default=RELEASED)

    @property
    def maximum_status(self) -> int:
        return max((order.status for order in self.orders), default=RELEASED)

    def as_json(self) -> dict[str, Any]:
        """As a search answers it: the content with the warehouse's own fields."""
        lines = {line.id: line for order in self.orders for line in order.lines}
        return {
            **self.content,
            "OriginalOrderId": self.id,
            "MinimumStatus": str(self.minimum_status),
            "MaximumStatus": str(self.maximum_status),
            "IsCancelled": self.cancelled,
            "OrderId": [order.id for order in self.orders],
            "OriginalOrderLine": [
                {**sent, **_progress(lines.get(str(sent.get("OriginalOrderLineId"))))}
                for sent in self.content.get("OriginalOrderLine", [])
            ],
        }


@dataclass(slots=True)
class Shipment:
    """What left the dock with one confirm; `shipped` with it and `cancelled` so far, by line."""

    id: str
    facility_id: str
    original_order_id: str
    olpn_ids: list[str]
    bill_of_lading: str
    ship_time: datetime
    ship_local: str
    shipped: dict[str, Decimal]
    cancelled: dict[str, Decimal]


@dataclass(slots=True)
class OutMessage:
    """One message to the host; `sent` counts publishes, re-triggers included."""

    sequence: int
    type: str
    business_key: str
    original_order_id: str
    facility_id: str
    payload: dict[str, Any]
    sent: int = 0


def item_from_content(content: Mapping[str, Any]) -> Item:
    """An item from an import record. WarehouseRefusal names what is wrong."""
    item_id = str(content.get("ItemId") or "")
    if not item_id or len(item_id) > 50:
        raise WarehouseRefusal("ITEM_ID_INVALID", "ItemId must have 1 to 50 characters")
    packages = content.get("ItemPackage") or [{}]
    package = packages[0] if isinstance(packages, list) and packages else {}
    weight_per = POUNDS_PER.get(str(package.get("WeightUomId", "LB")))
    length_per = INCHES_PER.get(str(package.get("DimensionUomId", "IN")))
    if weight_per is None or length_per is None:
        raise WarehouseRefusal("UOM_NOT_FOUND", "unit of measure is not configured")
    size = ItemSize(
        number(package.get("Weight"), Decimal("1.0")) * weight_per,
        number(package.get("Length"), Decimal(6)) * length_per,
        number(package.get("Width"), Decimal(4)) * length_per,
        number(package.get("Height"), Decimal(2)) * length_per,
    )
    return Item(
        item_id,
        size,
        bool(content.get("TrackBatchNumber", False)),
        bool(content.get("TrackSerialNumber", False)),
        dict(content),
    )


def lines_from_content(content: Mapping[str, Any]) -> list[Line]:
    """The lines of an original order. WarehouseRefusal names what is wrong."""
    raw = content.get("OriginalOrderLine")
    if not isinstance(raw, list) or not raw:
        raise WarehouseRefusal("LINES_MISSING", "OriginalOrderLine is required")
    lines: dict[str, Line] = {}
    for sent in raw:
        line_id = str(sent.get("OriginalOrderLineId") or "")
        item_id = str(sent.get("ItemId") or "")
        quantity = number(sent.get("OrderedQuantity"), Decimal(0))
        if not line_id or not item_id:
            raise WarehouseRefusal("LINE_INVALID", "a line needs OriginalOrderLineId and ItemId")
        if line_id in lines:
            raise WarehouseRefusal("LINE_DUPLICATE", f"line {line_id} appears twice")
        if quantity <= 0:
            raise WarehouseRefusal("QUANTITY_INVALID", f"line {line_id}: quantity must be positive")
        lines[line_id] = Line(line_id, item_id, quantity, str(sent.get("QuantityUomId") or "UNIT"))
    return list(lines.values())


def number(raw: Any, default: Decimal) -> Decimal:
    """A number of a payload, text or JSON number. WarehouseRefusal when it is neither."""
    if raw is None or raw == "":
        return default
    try:
        value = Decimal(str(raw))
    except InvalidOperation:
        raise WarehouseRefusal("NUMBER_INVALID", f"{str(raw)[:40]!r} is not a number") from None
    if not value.is_finite() or value < 0:
        raise WarehouseRefusal("NUMBER_INVALID", f"{value} is out of range")
    return value


def _progress(line: Line | None) -> dict[str, Any]:
    if line is None:
        return {}
    return {
        "PickedQuantity": line.picked,
        "ShortQuantity": line.short,
        "ShippedQuantity": line.shipped,
    }
