"""Between the contract and NetSuite's records: pure functions, no clock, no network.

Orders become sales orders, manifested shipments become item fulfillments. Master data has its own
module, `translate_master_data`. What cannot be said in NetSuite's words raises Untranslatable.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from crossdock.order.v1 import order_pb2
from crossdock.quantities import Rounding, rounded
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from crossdock_adapters.netsuite.order_lines import lines_of
from crossdock_adapters.sdk import departures, measures
from crossdock_adapters.sdk.departures import LineThatLeft
from crossdock_adapters.sdk.outcomes import NeedsPerson, Reference, Untranslatable

MAX_ADDRESS_LINES = 3
MAX_MEMO = 999
MAX_PACKAGES = 200
MAX_NAMED = 10
PACKAGE_SUBLIST, NO_SUBLIST = "package", "none"
# A fulfillment's sublists of packages, and what their fields end with, as the record's schema
# spells both: the sublist is packageFedex, and its fields end with FedEx.
PACKAGE_SUBLISTS: Mapping[str, str] = {
    PACKAGE_SUBLIST: "",
    "packageUps": "Ups",
    "packageFedex": "FedEx",
    "packageUsps": "Usps",
}
# Those that describe what is in a package.
_DESCRIBED = frozenset({PACKAGE_SUBLIST, "packageUps", "packageUsps"})
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class BookingRules:
    """What differs between accounts; made from the endpoint's settings.

    Status ids and field ids are confirmed by common knowledge only, hence settings. `line_units`
    maps a unit code to a NetSuite unit id; an empty id means the item's own stock unit. An empty
    `line_field` or `order_field` means that the account has no such custom field.
    """

    zone: ZoneInfo
    external_id_prefix: str = "xd-"
    line_field: str = "custcol_crossdock_line"
    order_field: str = "custbody_crossdock_order"
    approved_status: str = "B"
    shipped_status: str = "C"
    price_level: str = "-1"
    line_units: Mapping[str, str] = field(default_factory=lambda: {"EA": ""})
    ship_methods: Mapping[str, str] = field(default_factory=dict)
    package_sublists: Mapping[str, str] = field(default_factory=dict)
    subsidiaries: Mapping[str, str] = field(default_factory=dict)
    currencies: Mapping[str, str] = field(default_factory=dict)
    weight_decimals: int = 4


class Numbered(enum.Enum):
    """What an item has in NetSuite: lots or serial numbers, never both."""

    LOTS = "lot"
    SERIAL_NUMBERS = "serial number"


@dataclass(frozen=True, slots=True)
class Tracked:
    """An item with lots or serial numbers, and NetSuite's ids of those that left."""

    by: Numbered
    ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class InternalIds:
    """NetSuite's own ids of the master data that one document refers to, by number.

    tracked: of lots and serial numbers, by the item's number; items without either are not there.
    """

    customers: Mapping[str, str] = field(default_factory=dict)
    items: Mapping[str, str] = field(default_factory=dict)
    locations: Mapping[str, str] = field(default_factory=dict)
    tracked: Mapping[str, Tracked] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenLine:
    """A line of a sales order as read back: its stable key and what tells it apart."""

    key: int
    line_number: int | None
    item_id: str
    unit_id: str


def order_key(rules: BookingRules, order_id: str) -> str:
    """External id of an order's sales order: one per order, whichever delivery asks."""
    return f"{rules.external_id_prefix}{order_id}"


def fulfillment_key(rules: BookingRules, shipment: shipment_pb2.Shipment) -> str:
    """External id of the item fulfillment of a shipment's last departure: one for each, so that a
    second goods issue of it is a duplicate."""
    return fulfillment_keys(rules, shipment)[-1]


def fulfillment_keys(rules: BookingRules, shipment: shipment_pb2.Shipment) -> list[str]:
    """External ids of all item fulfillments a shipment may have, oldest first."""
    key = f"{rules.external_id_prefix}{shipment.id}"
    return [key, *(f"{key}-{number}" for number in range(2, len(shipment.departures) + 1))]


def sales_order(
    order: order_pb2.Order, ids: InternalIds, rules: BookingRules, reference: str
) -> dict[str, Any]:
    """The full state of a new sales order."""
    body: dict[str, Any] = {
        "entity": {"id": _id(ids.customers, order.customer_number, "customer")},
        "orderStatus": {"id": rules.approved_status},
        "otherRefNum": order.customer_reference or order.number,
        "memo": f"{order.number} {reference}"[:MAX_MEMO],
        "shippingAddress": address(order.ship_to),
        "item": {"items": sales_order_lines(order, ids, rules)},
    }
    if order.HasField("order_time"):
        body["tranDate"] = _day(order.order_time, rules.zone)
    if rules.order_field:
        body[rules.order_field] = order.number
    body.update(_ship_method(order, rules))
    if rules.subsidiaries:
        body["subsidiary"] = {"id": _id(rules.subsidiaries, order.business_unit, "subsidiary")}
    if rules.currencies:
        body["currency"] = {"id": _id(rules.currencies, _currency(order), "currency")}
    return body


def changed_parts(
    order: order_pb2.Order,
    changed_fields: Iterable[str],
    ids: InternalIds,
    rules: BookingRules,
    held: Sequence[OpenLine],
) -> dict[str, Any]:
    """What a change means for an existing sales order; empty when it keeps nothing of it.

    Each changed part is sent in full, parts that did not change are left to whoever edited them.
    Lines that NetSuite knows keep their key, so that fulfillments stay attached.
    """
    changed = set(changed_fields)
    body: dict[str, Any] = {}
    if "lines" in changed:
        keys = {line.line_number: line.key for line in held if line.line_number is not None}
        lines = sales_order_lines(order, ids, rules)
        for line, ordered in zip(lines, order.lines, strict=True):
            if ordered.line_number in keys:
                line["line"] = keys[ordered.line_number]
        body["item"] = {"items": lines}
    if "ship_to" in changed:
        body["shippingAddress"] = address(order.ship_to)
    if "customer_number" in changed:
        body["entity"] = {"id": _id(ids.customers, order.customer_number, "customer")}
    if "customer_reference" in changed:
        body["otherRefNum"] = order.customer_reference or order.number
    if changed & {"carrier_code", "service_code"}:
        body.update(_ship_method(order, rules))
    return body


def sales_order_lines(
    order: order_pb2.Order, ids: InternalIds, rules: BookingRules
) -> list[dict[str, Any]]:
    """The order's lines, each with its number in the line field."""
    lines = []
    for ordered in order.lines:
        line: dict[str, Any] = {
            "item": {"id": _id(ids.items, ordered.item_number, "item")},
            "quantity": amount(ordered.quantity.value),
            "location": {"id": _id(ids.locations, ordered.ship_from_location_number, "location")},
        }
        unit_id = _unit_id(ordered.quantity.unit, rules)
        if unit_id:
            line["units"] = unit_id
        if ordered.HasField("unit_price"):
            line["rate"] = amount(ordered.unit_price.amount)
            if rules.price_level:
                # Without a custom price level NetSuite prices the line by its own list.
                line["price"] = {"id": rules.price_level}
        if rules.line_field:
            line[rules.line_field] = ordered.line_number
        lines.append(line)
    return lines


def open_lines(record: Mapping[str, Any], rules: BookingRules) -> list[OpenLine]:
    """The lines of a sales order that was read with its sublists. Untranslatable: not all are."""
    return [
        OpenLine(
            key=int(line["line"]),
            line_number=_line_number(line.get(rules.line_field)),
            item_id=_reference_id(line.get("item")),
            unit_id=_reference_id(line.get("units")),
        )
        for line in lines_of(record)
    ]


def item_fulfillment(
    shipment: shipment_pb2.Shipment,
    held: Sequence[OpenLine],
    ids: InternalIds,
    rules: BookingRules,
    reference: str,
    posted: Timestamp,
) -> dict[str, Any]:
    """The body of the transform that ships exactly what left with the shipment's last departure.

    `posted` decides the day when the warehouse did not say when goods left.
    """
    location = {"id": _id(ids.locations, shipment.ship_from_location_number, "location")}
    shipped = shipped_by_line(shipment, held, ids, rules)
    lines: list[dict[str, Any]] = []
    for line in held:
        if line.key in shipped:
            left = shipped[line.key]
            quantity = amount(f"{sum(each.quantity for each in left):f}")
            lines.append({"orderLine": line.key, "quantity": quantity, "itemReceive": True})
            lines[-1]["location"] = location
            if assigned := [row for each in left for row in inventory_assignments(each, ids)]:
                lines[-1]["inventoryDetail"] = {"inventoryAssignment": {"items": assigned}}
        else:
            # A line left out would be shipped with its whole open quantity.
            lines.append({"orderLine": line.key, "itemReceive": False})
    body = {
        "externalId": fulfillment_key(rules, shipment),
        "shipStatus": {"id": rules.shipped_status},
        "tranDate": ship_day(_left_at(shipment), posted, rules.zone),
        "memo": f"{shipment.number} {reference}"[:MAX_MEMO],
        "item": {"items": lines},
    }
    sublist = package_sublist(shipment, rules)
    if sublist != NO_SUBLIST:
        body[sublist] = {"items": packages(shipment, rules, sublist)}
    return body


def shipped_by_line(
    shipment: shipment_pb2.Shipment,
    held: Sequence[OpenLine],
    ids: InternalIds,
    rules: BookingRules,
) -> dict[int, list[LineThatLeft]]:
    """What left per line key. By line number, else by the only line of such an item."""
    by_number = {line.line_number: line for line in held if line.line_number is not None}
    shipped: dict[int, list[LineThatLeft]] = {}
    for left in departures.lines_that_left(shipment):
        line = by_number.get(left.line_number)
        if line is None:
            item_id = _id(ids.items, left.item_number, "item")
            line = _only_line_of(held, item_id, left.line_number, left.item_number)
        if _is_another_unit(_unit_id(left.unit, rules), line.unit_id, rules):
            raise Untranslatable(
                f"line {left.line_number} was ordered in another unit than it was packed in"
            )
        shipped.setdefault(line.key, []).append(left)
    return shipped


def numbers_that_left(shipment: shipment_pb2.Shipment) -> dict[str, set[str]]:
    """The lots and serial numbers that left, by the item's number."""
    found: dict[str, set[str]] = {}
    for left in departures.lines_that_left(shipment):
        if left.named:
            found.setdefault(left.item_number, set()).update(left.named)
    return found


def inventory_assignments(left: LineThatLeft, ids: InternalIds) -> list[dict[str, Any]]:
    """The inventory detail of what left of a line: a row for each lot with its quantity, or for
    each serial number with one. Empty: the item has neither, or the warehouse named neither, which
    NetSuite refuses by itself. NeedsPerson: NetSuite lacks some of them. Untranslatable: the item
    has them, and nobody says which left.
    """
    tracked = ids.tracked.get(left.item_number)
    if tracked is None:
        return []
    quantities = (
        dict.fromkeys(left.serial_numbers, Decimal(1))
        if tracked.by is Numbered.SERIAL_NUMBERS
        else left.lots
    )
    missing = sorted(quantities.keys() - tracked.ids.keys())
    if missing:
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        raise NeedsPerson(
            f"line {left.line_number}: item {left.item_number} has no {tracked.by.value} "
            f"{', '.join(missing[:MAX_NAMED])}{more} in NetSuite: receive or correct it there, "
            "then retry the delivery"
        )
    return [
        {"issueInventoryNumber": {"id": tracked.ids[number]}, "quantity": amount(f"{quantity:f}")}
        for number, quantity in quantities.items()
    ]


def _left_at(shipment: shipment_pb2.Shipment) -> types_pb2.SourceTime:
    return shipment.departures[-1].manifest_time if shipment.departures else shipment.manifest_time


def package_sublist(shipment: shipment_pb2.Shipment, rules: BookingRules) -> str:
    """Where the packages go: by carrier and service, by carrier, else the plain sublist."""
    chosen = (f"{shipment.carrier_code}/{shipment.service_code}", shipment.carrier_code)
    named = [rules.package_sublists[name] for name in chosen if name in rules.package_sublists]
    return named[0] if named else PACKAGE_SUBLIST


def packages(
    shipment: shipment_pb2.Shipment, rules: BookingRules, sublist: str = PACKAGE_SUBLIST
) -> list[dict[str, Any]]:
    """The package sublist: tracking number where known, weight in pounds.

    An integrated carrier's sublist has its name at the end of each field.
    """
    carrier = PACKAGE_SUBLISTS[sublist]
    tracking = {entry.package_id: entry.tracking_number for entry in shipment.progress}
    # The number of the whole shipment is that of one parcel, as a rule the first.
    only = shipment.tracking_number if len(shipment.packages) == 1 else ""
    lines = []
    for package in departures.packages_that_left(shipment)[:MAX_PACKAGES]:
        number = tracking.get(package.id) or only
        weight = pounds(package.weight, rules.weight_decimals)
        line: dict[str, Any] = {f"packageWeight{carrier}": weight}
        if sublist in _DESCRIBED:
            line[f"packageDescr{carrier}"] = package.number
        if number:
            line[f"packageTrackingNumber{carrier}"] = number
        lines.append(line)
    return lines


def pounds(weight: types_pb2.Quantity, decimals: int) -> Decimal:
    """A weight in pounds: converted exactly, rounded once, half to even."""
    step = Decimal(1).scaleb(-decimals)
    exact = measures.exactly_in(weight, "LBR", measures.MASS)
    value = rounded(exact, step, Rounding.HALF_EVEN)
    if value <= 0:
        raise Untranslatable(f"a package cannot weigh {weight.value} {weight.unit}")
    return value


def ship_day(moment: types_pb2.SourceTime, posted: Timestamp, zone: ZoneInfo) -> str:
    """The accounting day: when the goods left, in the account's zone; else the dock's own day."""
    if moment.HasField("instant"):
        return _day(moment.instant, zone)
    if moment.local:
        try:
            return date.fromisoformat(moment.local[:10]).isoformat()
        except ValueError:
            pass
    return _day(posted, zone)


def address(party: types_pb2.Party) -> dict[str, Any]:
    """A shipping address on the order itself, never the customer's address book."""
    place = party.address
    lines = list(place.lines)
    if len(lines) > MAX_ADDRESS_LINES:
        lines[MAX_ADDRESS_LINES - 1 :] = [", ".join(lines[MAX_ADDRESS_LINES - 1 :])]
    written: dict[str, Any] = {
        "addressee": party.company or party.name,
        "city": place.city,
        "state": place.state,
        "zip": place.postal_code,
        "country": {"id": place.country_code},
    }
    if party.company and party.name:
        written["attention"] = party.name
    if party.phone:
        written["addrPhone"] = party.phone
    for number, line in enumerate(lines, start=1):
        written[f"addr{number}"] = line
    return written


def document_references(kind: str, record: Mapping[str, Any], internal_id: str) -> list[Reference]:
    """The document's number first, then NetSuite's internal id."""
    number = str(record.get("tranId") or "")
    found = [Reference(kind, number)] if number else []
    return [*found, Reference(f"{kind}_id", internal_id)]


def internal_id_of(record: Mapping[str, Any]) -> str:
    """Internal id of a record that was read, from its id or its own link."""
    if record.get("id"):
        return str(record["id"])
    for link in record.get("links") or ():
        if link.get("rel") == "self":
            return str(link.get("href", "")).rsplit("/", 1)[-1]
    raise Untranslatable("a record was read without its id")


def status_of(record: Mapping[str, Any], name: str) -> str:
    """The id of an enumeration field of a record that was read; empty when it has none."""
    return _reference_id(record.get(name))


def amount(text: str) -> Decimal:
    """A decimal of the contract, exact, without trailing zeros."""
    if not _DECIMAL.fullmatch(text):
        raise Untranslatable(f"{text!r} is not a decimal number")
    whole, _, rest = text.partition(".")
    rest = rest.rstrip("0")
    return Decimal(f"{whole}.{rest}" if rest else whole)


def _ship_method(order: order_pb2.Order, rules: BookingRules) -> dict[str, Any]:
    chosen = (f"{order.carrier_code}/{order.service_code}", order.carrier_code)
    for name in chosen:
        if name in rules.ship_methods:
            return {"shipMethod": {"id": rules.ship_methods[name]}}
    return {}


def _currency(order: order_pb2.Order) -> str:
    codes = {line.unit_price.currency for line in order.lines if line.HasField("unit_price")}
    if len(codes) > 1:
        raise Untranslatable("a sales order has one currency, this order has several")
    return codes.pop() if codes else ""


def _only_line_of(
    held: Sequence[OpenLine], item_id: str, line_number: int, item_number: str
) -> OpenLine:
    found = [line for line in held if line.item_id == item_id]
    if len(found) != 1:
        raise Untranslatable(
            f"line {line_number} ({item_number}) is on {len(found)} lines of the sales order and "
            "none carries its number"
        )
    return found[0]


def _is_another_unit(packed: str, ordered: str, rules: BookingRules) -> bool:
    """Whether a line is in another unit than what left of it, by NetSuite's ids. An item's own
    stock unit has no id here: a line in a unit that no setting names may be in it."""
    known = bool(packed) or ordered in rules.line_units.values()
    return bool(ordered) and packed != ordered and known


def _unit_id(unit: str, rules: BookingRules) -> str:
    if unit not in rules.line_units:
        raise Untranslatable(f"unit {unit!r} has no NetSuite unit in the setting line_units")
    return rules.line_units[unit]


def _id(ids: Mapping[str, str], number: str, kind: str) -> str:
    found = ids.get(number)
    if not found:
        raise Untranslatable(f"{kind} {number!r} has no NetSuite id: is it pulled from NetSuite?")
    return found


def _day(moment: Timestamp, zone: ZoneInfo) -> str:
    instant: datetime = moment.ToDatetime(tzinfo=UTC)
    return instant.astimezone(zone).date().isoformat()


def _line_number(value: Any) -> int | None:
    try:
        return None if value is None else int(str(value))
    except ValueError:
        return None


def _reference_id(value: Any) -> str:
    """The id of a reference or an enumeration, which NetSuite also writes as the id alone."""
    found = value.get("id") if isinstance(value, Mapping) else value
    return "" if found is None else str(found)
