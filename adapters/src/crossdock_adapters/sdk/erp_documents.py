"""Orders and goods issues as documents of an ERP: rows of named values, a line for each of theirs.

What is the same for every ERP that is given records, whether they lie in files or in tables: a
layout says where and how each value stands. Pure functions, no clock, no disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from crossdock_adapters.sdk import early_settings
from crossdock_adapters.sdk.departures import packages_that_left
from crossdock_adapters.sdk.erp_units import ErpUnits
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import Value
from crossdock_adapters.sdk.mappings import Mappings
from crossdock_adapters.sdk.outcomes import Confirmed, Reference, Untranslatable
from crossdock_adapters.sdk.settings import Settings

BOOK, CHANGE, TAKE_BACK = "I", "U", "D"
WHOLE_DOCUMENT: Final = 0
SPLIT_ADDRESS: Final = 2
NO_NUMBER: Final = "the ERP told no document number"
BY_HAND: Final = "say so with crossdock resolve ID --reference goods_issue=NUMBER --reason …"
# More contents of one line than these are counted.
MAX_LISTED: Final = 6
# What of the rows is a number or a code: with one letter changed it is another one.
KEYS: Final = frozenset({
    "document", "order", "company", "customer", "item", "unit", "warehouse", "carrier", "service",
    "package", "weight_unit", "lot", "serial_number", "tracking_number", "bill_of_lading",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """What the deployment decided. zone: of the ERP's days; None: unknown, days are left blank.

    units: the ERP's own, by rows and setting. warehouses: location number to the ERP's own;
    a number that is not in it is the ERP's already.
    """

    sender: str = ""
    receiver: str = ""
    zone: ZoneInfo | None = None
    units: ErpUnits = field(default_factory=ErpUnits)
    warehouses: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, mappings: Mappings, kind: str) -> Rules:
        """By the settings time_zone, units and warehouses, and sender, receiver if any; a unit
        that the settings do not name by the rows of the kind of endpoint. SettingsError: the zone
        is none."""
        early_settings.zone(settings, "time_zone", may_be_empty=True)
        zone = settings.text("time_zone")
        return cls(
            sender=str(settings.get("sender", "")),
            receiver=str(settings.get("receiver", "")),
            zone=ZoneInfo(zone) if zone else None,
            units=ErpUnits(settings.mapping("units"), mappings, kind),
            warehouses=settings.mapping("warehouses"),
        )


@dataclass(frozen=True, slots=True)
class Document:
    """How one operation is said: in which layout, by which action, as which rows, answered for
    which lines. kind: what the ERP's document is called as a reference; key: its business key, as
    number and departure."""

    layout: str
    action: str
    kind: str
    rows: Callable[[Any, str, str, Rules], list[Row]]
    lines: Callable[[Any], frozenset[int]]
    key: Callable[[Any], tuple[str, str]]


def order_rows(event: Any, action: str, reference: str, rules: Rules) -> list[Row]:
    """A sales order in full; of a cancelled one the document alone."""
    order: order_pb2.Order = event.order
    document = Row(
        "document",
        {
            "reference": reference,
            "action": action,
            "document": order.number,
            "company": order.business_unit,
            "customer": order.customer_number,
            "customer_reference": order.customer_reference,
            "ordered": _day(order.order_time if order.HasField("order_time") else None, rules.zone),
            "promised": _promised(order, rules.zone),
            "carrier": order.carrier_code,
            "service": order.service_code,
            "currency": _currency(order),
        },
    )
    if action == TAKE_BACK:
        return [document]
    return [
        document,
        _ship_to(order.ship_to, reference),
        *(_order_line(line, reference, rules) for line in order.lines),
    ]


def issue_rows(event: Any, action: str, reference: str, rules: Rules) -> list[Row]:
    """What left with the shipment's last departure; of a voided one the document alone."""
    shipment: shipment_pb2.Shipment = event.shipment
    left = shipment.departures[-1] if shipment.departures else None
    moment = left.manifest_time if left else shipment.manifest_time
    document = Row(
        "document",
        {
            "reference": reference,
            "action": action,
            "document": shipment.number,
            # A reversal takes back all that left with the shipment.
            "departure": departure_of(shipment) if action == BOOK else None,
            "order": shipment.order_number,
            "warehouse": rules.warehouses.get(
                shipment.ship_from_location_number, shipment.ship_from_location_number
            ),
            "shipped": _source_day(moment, rules.zone),
            "carrier": shipment.carrier_code,
            "service": shipment.service_code,
            "tracking_number": shipment.tracking_number,
            "bill_of_lading": (left.bill_of_lading if left else "") or shipment.bill_of_lading,
        },
    )
    if action == TAKE_BACK:
        return [document]
    packages = packages_that_left(shipment)
    rows = [document, *(_package(each, shipment, reference, rules) for each in packages)]
    for number, quantity in sorted(_shipped(shipment).items()):
        contents = [
            (package, content)
            for package in packages
            for content in package.contents
            if content.line_number == number
        ]
        rows += _issue_line(number, quantity, contents, reference, rules)
    return rows


def departure_of(shipment: shipment_pb2.Shipment) -> int:
    """Which departure of a shipment a goods issue is of: its business key together with the number.

    In a field of its own, because a shipment's number may end in anything.
    """
    return max(1, len(shipment.departures))


def _order_key(event: Any) -> tuple[str, str]:
    return event.order.number, ""


def _issue_key(event: Any) -> tuple[str, str]:
    return event.shipment.number, str(departure_of(event.shipment))


def _of_order(event: Any) -> frozenset[int]:
    return frozenset(line.line_number for line in event.order.lines)


def _of_issue(event: Any) -> frozenset[int]:
    return frozenset(_shipped(event.shipment))


def _whole(_: Any) -> frozenset[int]:
    return frozenset({WHOLE_DOCUMENT})


DOCUMENTS: Final[Mapping[str, Document]] = {
    "create_sales_order": Document(
        "sales_orders", BOOK, "sales_order", order_rows, _of_order, _order_key
    ),
    "change_order": Document(
        "sales_orders", CHANGE, "sales_order", order_rows, _of_order, _order_key
    ),
    "cancel_order": Document(
        "sales_orders", TAKE_BACK, "sales_order", order_rows, _whole, _order_key
    ),
    "post_goods_issue": Document(
        "goods_issues", BOOK, "goods_issue", issue_rows, _of_issue, _issue_key
    ),
    "reverse_goods_issue": Document(
        "goods_issues", TAKE_BACK, "reversal", issue_rows, _whole, _issue_key
    ),
}


def booked(document: Document, event: Any, number: str, note: str = "") -> Confirmed:
    """The ERP posted a document under a number of its own; "": it told none."""
    facts: list[Message] = []
    if document.action == BOOK and document.kind == "sales_order" and number:
        facts.append(sales_document(event.order.id, number))
    return Confirmed([Reference(document.kind, number)] if number else [], facts, note)


def sales_document(order_id: str, number: str) -> order_service_pb2.UpdateOrderRequest:
    """The fact that the ERP booked the order under a number."""
    request = order_service_pb2.UpdateOrderRequest()
    request.order.id = order_id
    request.order.sales_document = number
    request.update_mask.paths.append("sales_document")
    return request


def _order_line(line: order_pb2.OrderLine, reference: str, rules: Rules) -> Row:
    warehouse = line.ship_from_location_number
    price = Decimal(line.unit_price.amount) if line.HasField("unit_price") else None
    return Row(
        "line",
        {
            "reference": reference,
            "line": line.line_number,
            "item": line.item_number,
            "quantity": Decimal(line.quantity.value),
            "unit": rules.units.out(line.quantity.unit),
            "warehouse": rules.warehouses.get(warehouse, warehouse),
            "price": price,
        },
    )


def _ship_to(party: types_pb2.Party, reference: str) -> Row:
    place = party.address
    lines = list(place.lines)
    return Row(
        "ship_to",
        {
            "reference": reference,
            "name": _one_line(party.name),
            "company": _one_line(party.company),
            "street": _one_line(" ".join(lines[: SPLIT_ADDRESS - 1])),
            "street_2": _one_line(" ".join(lines[SPLIT_ADDRESS - 1 :])),
            "city": _one_line(place.city),
            "state": _one_line(place.state),
            "postal_code": _one_line(place.postal_code),
            "country": place.country_code,
        },
    )


def _package(
    package: shipment_pb2.Package, shipment: shipment_pb2.Shipment, reference: str, rules: Rules
) -> Row:
    tracking = {entry.package_id: entry.tracking_number for entry in shipment.progress}
    return Row(
        "package",
        {
            "reference": reference,
            "package": package.number,
            "tracking_number": tracking.get(package.id, ""),
            "weight": Decimal(package.weight.value),
            "weight_unit": rules.units.out(package.weight.unit),
        },
    )


def _issue_line(
    number: int,
    quantity: types_pb2.Quantity,
    contents: Sequence[tuple[shipment_pb2.Package, shipment_pb2.PackageContent]],
    reference: str,
    rules: Rules,
) -> list[Row]:
    if not contents:
        raise Untranslatable(f"line {number} left, and no package that left holds it")
    key: dict[str, Value] = {"reference": reference, "line": number}
    line: dict[str, Value] = {
        "item": contents[0][1].item_number,
        "quantity": Decimal(quantity.value),
        "unit": rules.units.out(quantity.unit),
    }
    rows = [Row("line", {**key, **line})]
    for package, content, amount in _details(number, quantity, contents):
        detail: dict[str, Value] = {**key, "package": package, "lot": content.lot}
        serials = content.serial_numbers or [""]
        # A serial number is one piece; without them the quantity is the lot's.
        each = Decimal(1) if content.serial_numbers else amount
        rows += [
            Row("detail", {**detail, "serial_number": serial, "quantity": each})
            for serial in serials
        ]
    return rows


def _details(
    number: int,
    quantity: types_pb2.Quantity,
    contents: Sequence[tuple[shipment_pb2.Package, shipment_pb2.PackageContent]],
) -> list[tuple[str, shipment_pb2.PackageContent, Decimal]]:
    """What is named by lot or serial number, in which package ("": nobody says), and how much of it
    left. Untranslatable: less of the line left than was packed, and nobody says which lots or
    pieces did, or how much was packed."""
    named = [
        (package.number, content, Decimal(content.quantity.value))
        for package, content in contents
        if content.lot or content.serial_numbers
    ]
    for _, content, _ in named:
        _check_detail(number, quantity, content)
    serials = [serial for _, content, _ in named for serial in content.serial_numbers]
    if len(set(serials)) != len(serials):
        raise Untranslatable(f"line {number}: a serial number is packed twice")
    if not named:
        return []
    units = sorted({content.quantity.unit for _, content in contents} - {quantity.unit})
    if units:
        # Cases beside pieces of a lot do not add up, or only by accident.
        raise Untranslatable(
            f"line {number} left in {quantity.unit!r}, and what has no lot or serial number is "
            f"packed in {', '.join(map(repr, units))}: nobody says how many of one are the other; "
            f"post the goods issue in the ERP by hand, then {BY_HAND}; packed are "
            f"{_listed(contents)}"
        )
    left = Decimal(quantity.value)
    packed = sum((Decimal(content.quantity.value) for _, content in contents), Decimal(0))
    if packed == left:
        return named
    if serials or len({content.lot for _, content in contents}) > 1 or left > packed:
        raise Untranslatable(
            f"line {number}: {packed:f} are packed and {left:f} left, and nobody says which lots "
            "or serial numbers did: find out, post the goods issue in the ERP by hand, then "
            f"{BY_HAND}; packed are {_listed(contents)}"
        )
    # All of one lot: so is what left. Out of which of several packages something was taken nobody
    # says, so such a lot is told without one.
    package, content, _ = named[0]
    is_one_package = len({packed_in for packed_in, _, _ in named}) == 1
    return [(package if is_one_package else "", content, left)]


def _listed(contents: Sequence[tuple[shipment_pb2.Package, shipment_pb2.PackageContent]]) -> str:
    """What was packed, for people."""
    told = []
    for package, content in contents[:MAX_LISTED]:
        lot = f"lot {content.lot}" if content.lot else "no lot"
        amount = f"{content.quantity.value} {content.quantity.unit}"
        told.append(f"{amount} of {lot} in {package.number}")
    more = [f"and {len(contents) - MAX_LISTED} more"] if len(contents) > MAX_LISTED else []
    return ", ".join(told + more)


def _check_detail(
    number: int, quantity: types_pb2.Quantity, content: shipment_pb2.PackageContent
) -> None:
    """Lots and serial numbers say what the line's quantity consists of, in the line's unit."""
    if content.quantity.unit != quantity.unit:
        raise Untranslatable(
            f"line {number} left in {quantity.unit!r}, and its lot or serial numbers are packed in "
            f"{content.quantity.unit!r}: nobody says how many of one are the other"
        )
    serials = len(content.serial_numbers)
    if serials and Decimal(content.quantity.value) != serials:
        raise Untranslatable(
            f"line {number} has {serials} serial numbers for a quantity of "
            f"{content.quantity.value}: each piece needs its own"
        )


def _shipped(shipment: shipment_pb2.Shipment) -> dict[int, types_pb2.Quantity]:
    """What left by line: the ship confirm's word, and without one what was packed."""
    rows: Iterable[Any] = (
        shipment.departures[-1].shipped
        if shipment.departures
        else (content for package in shipment.packages for content in package.contents)
    )
    found: dict[int, types_pb2.Quantity] = {}
    for row in rows:
        before = found.get(row.line_number)
        if before is not None and before.unit != row.quantity.unit:
            raise Untranslatable(f"line {row.line_number} left in two units")
        value = Decimal(row.quantity.value) + (Decimal(before.value) if before else Decimal(0))
        found[row.line_number] = types_pb2.Quantity(value=f"{value:f}", unit=row.quantity.unit)
    return {number: each for number, each in found.items() if Decimal(each.value)}


def _currency(order: order_pb2.Order) -> str:
    codes = {line.unit_price.currency for line in order.lines if line.HasField("unit_price")}
    if len(codes) > 1:
        raise Untranslatable("a sales order has one currency here, this one has several")
    return codes.pop() if codes else ""


def _promised(order: order_pb2.Order, zone: ZoneInfo | None) -> date | None:
    window = order.promised
    return _day(window.end if window.HasField("end") else None, zone)


def _day(moment: Timestamp | None, zone: ZoneInfo | None) -> date | None:
    """The ERP's day of a moment; without its zone, nobody knows which day it was there."""
    if moment is None or zone is None:
        return None
    instant: datetime = moment.ToDatetime(tzinfo=UTC)
    return instant.astimezone(zone).date()


def _source_day(moment: types_pb2.SourceTime, zone: ZoneInfo | None) -> date | None:
    """The ERP's day of a moment of the warehouse; else the day that the dock itself wrote."""
    if moment.HasField("instant") and zone is not None:
        return _day(moment.instant, zone)
    try:
        return date.fromisoformat(moment.local[:10])
    except ValueError:
        return None


def _one_line(text: str) -> str:
    return " ".join(text.split())
