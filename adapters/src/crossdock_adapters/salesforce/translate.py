"""Fulfillment orders as orders of the contract; picks, packs and departures as records. Pure.

A fulfillment order is work for one location, one recipient and one delivery method, so it becomes
one order of the hub, under its own number. Its lines have no number of their own: theirs is the
place among the fulfillment order's rows by id, which never changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.salesforce.names import LINE, SHIPMENT, Names
from crossdock_adapters.salesforce.quantities import decimal_of, quantity
from crossdock_adapters.salesforce.recipients import ship_to
from crossdock_adapters.sdk import departures
from crossdock_adapters.sdk.departures import LineThatLeft
from crossdock_adapters.sdk.mappings import Code, Topic, UnreadCodes
from crossdock_adapters.sdk.measures import plain
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable, inside, pointer

ORDER_REFERENCE: Final = "fulfillment_order"
SUMMARY_REFERENCE: Final = "order_summary"
MANAGED, UNMANAGED = "MANAGED", "UNMANAGED"
MAX_EXTERNAL_ID: Final = 255
MAX_DESCRIPTION: Final = 255
# Rows of a fulfillment order that are no goods: delivery charges.
CHARGE: Final = "charge"
OTHER_UNIT: Final = (
    "correct the row there where its unit is wrong, or set shipment_items = false and write the "
    "items by hand, then retry the delivery"
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the deployment decided.

    unit: the vendor's word to a code of UN/ECE Recommendation 20, None where it has no row. The
    maps: location number at the vendor to the hub's, delivery method to "carrier/service", country
    by name to its code.
    """

    names: Names
    endpoint: str
    business_unit: str
    number_prefix: str
    default_customer: str
    currency: str
    default_unit: str
    channel: str
    unit: Callable[[str], str | None]
    locations: Mapping[str, str]
    delivery_methods: Mapping[str, str]
    countries: Mapping[str, str]

    def carrier_and_service(self, method: str) -> tuple[str, str]:
        """Of a delivery method. Unreadable: the setting does not have it."""
        carrier, _, service = self.delivery_methods.get(method, "").partition("/")
        if not carrier or not service:
            raise Unreadable(
                f"delivery method {method!r} is not in the setting delivery_methods",
                self.names.pointer("order.delivery_method"),
            )
        return carrier, service


@dataclass(frozen=True, slots=True)
class Found:
    """A fulfillment order as it is now, with its rows by id. placed_in: the units of the hub's
    order, by line, once it has one."""

    order: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    placed_in: Mapping[int, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.order.get("Id", ""))


def category_of(found: Found, names: Names) -> str:
    """Its status category as Salesforce says it; "": it says none."""
    return str(names.get(found.order, "order.category") or "")


def status_of(found: Found, names: Names) -> str:
    """Its status, of the org's own picklist; "": it says none."""
    return str(names.get(found.order, "order.status") or "")


def is_managed(found: Found, names: Names) -> bool:
    """Whether its quantities may change by actions only. Unreadable: the summary does not say."""
    told = str(names.get(found.order, "order.life_cycle") or "").upper()
    if told not in (MANAGED, UNMANAGED):
        place = names.pointer("order.life_cycle")
        raise Unreadable(f"{told or 'nothing'} is neither MANAGED nor UNMANAGED", place)
    return told == MANAGED


def number_of(found: Found, rules: Rules) -> str:
    """The order's number at the hub. Unreadable: it has none."""
    return rules.number_prefix + rules.names.text(found.order, "order.number")


def references(found: Found, rules: Rules) -> list[types_pb2.ExternalReference]:
    """Its keys here: of itself, and of the summary that it belongs to."""
    keys = [(ORDER_REFERENCE, found.id)]
    summary = rules.names.get(found.order, "order.summary")
    if isinstance(summary, str) and summary:
        keys.append((SUMMARY_REFERENCE, summary))
    return [
        types_pb2.ExternalReference(system=rules.endpoint, type=kind, value=value)
        for kind, value in keys
    ]


def order_of(found: Found, rules: Rules) -> order_pb2.Order:
    """The order to place. Unreadable: something that it needs is missing or has no meaning yet."""
    names = rules.names
    method = names.text(found.order, "order.delivery_method")
    carrier, service = rules.carrier_and_service(method)
    location = names.text(found.order, "order.location")
    customer = names.get(found.order, "order.customer") or rules.default_customer
    if not isinstance(customer, str) or not customer:
        raise Unreadable(
            "has no customer number, and default_customer is not set",
            names.pointer("order.customer"),
        )
    order = order_pb2.Order(
        number=number_of(found, rules),
        business_unit=rules.business_unit,
        customer_number=customer,
        carrier_code=carrier,
        service_code=service,
        ship_to=ship_to(found.order, names, rules.countries),
        lines=_lines(found, rules, rules.locations.get(location, location)),
    )
    summary = names.get(found.order, "order.summary_number")
    if isinstance(summary, str) and summary:
        order.customer_reference = summary
    if rules.channel:
        order.channel = rules.channel
    placed = names.get(found.order, "order.placed")
    if isinstance(placed, str) and placed:
        order.order_time.FromDatetime(_moment(placed, names.pointer("order.placed")))
    return order


def short_rows(
    found: Found, request: fulfillment_pb2.FulfillmentRequest, rules: Rules
) -> dict[str, Decimal]:
    """What is left to cancel of each row, by its id, so that what was short is cancelled in all.

    What was cancelled of it before is the difference of the quantity that was asked of the
    warehouse, which the row had when it was placed, and the one that it has: asked again, nothing
    is left. Untranslatable: the pick names a line that is not there, more was short than the row
    ever had, or in another unit than the row's. Unreadable: that has none.
    """
    names, asked = rules.names, _sums(request.lines)
    left: dict[str, Decimal] = {}
    for (number, unit), wanted in sorted(_lacking(request).items()):
        if not 1 <= number <= len(found.lines):
            raise Untranslatable(f"line {number} is not among the fulfillment order's rows")
        row = found.lines[number - 1]
        if unit != (kept := unit_of(found, number, rules)):
            raise Untranslatable(f"line {number}: {unit} was short, and the row is in {kept}")
        has = quantity(row, "line.quantity", names)
        had = asked.get((number, unit))
        if had is None:
            had = quantity(row, "line.original_quantity", names, default=has)
        if wanted > had:
            raise Untranslatable(f"line {number}: {plain(wanted)} short of {plain(had)}")
        rest = wanted - (had - has)
        if rest > 0:
            left[str(row["Id"])] = rest
    return left


def _lacking(request: fulfillment_pb2.FulfillmentRequest) -> dict[tuple[int, str], Decimal]:
    """What was short by line and unit; what another pick has found of it is not lacking."""
    asked, picked, short = _sums(request.lines), _sums(request.picked), _sums(request.short)
    not_picked = {at: max(Decimal(0), asked[at] - picked.get(at, Decimal(0))) for at in asked}
    return {at: min(each, not_picked.get(at, each)) for at, each in short.items()}


def _sums(lines: Iterable[Any]) -> dict[tuple[int, str], Decimal]:
    sums: dict[tuple[int, str], Decimal] = {}
    for line in lines:
        at = (line.line_number, line.quantity.unit)
        sums[at] = sums.get(at, Decimal(0)) + Decimal(line.quantity.value)
    return sums


def short_over(
    found: Found, order: order_pb2.Order, rules: Rules
) -> tuple[dict[str, Decimal], list[str]]:
    """What each row has beyond what may leave of its line, by its id: beyond what was ordered less
    what the hub counts as short, at the pick and at the dock. And a sentence for each line of which
    that is told in another unit than the row's: a person takes it out."""
    lines = {line.line_number: line.quantity for line in order.lines}
    rest: dict[str, Decimal] = {}
    unread: list[str] = []
    for told in order.progress:
        number, short = told.line_number, told.short
        amount = Decimal(short.value or 0)
        if amount <= 0 or number not in lines or not 1 <= number <= len(found.lines):
            continue
        row, ordered = found.lines[number - 1], lines[number]
        kept = unit_of(found, number, rules)
        if {short.unit, ordered.unit} != {kept}:
            unread.append(
                f"line {number}: {plain(amount)} {short.unit} did not leave, and the row is in "
                f"{kept}: take it out in Salesforce"
            )
            continue
        may_leave = max(Decimal(0), Decimal(ordered.value) - amount)
        over = quantity_of(row, rules.names) - may_leave
        if over > 0:
            rest[str(row["Id"])] = min(over, amount)
    return rest, unread


def quantity_of(row: Mapping[str, Any], names: Names) -> Decimal:
    """What a row has now. Unreadable: it has no quantity."""
    return quantity(row, "line.quantity", names)


def remaining(found: Found, row_id: str, cancelled: Decimal, names: Names) -> Decimal:
    """What a row has once so much of it is cancelled."""
    row = next(each for each in found.lines if each.get("Id") == row_id)
    return quantity_of(row, names) - cancelled


def shipment_rows(
    shipment: shipment_pb2.Shipment, order_id: str, status: str, names: Names
) -> dict[str, dict[str, Any]]:
    """A row for each package that left, whole, by our key of it.

    Whole, so that a row that is written again says the same again.
    """
    rows = {
        shipment_key(shipment, package): _shipment_row(shipment, package, order_id, status, names)
        for package in departures.packages_that_left(shipment)
    }
    if not rows:
        raise Untranslatable("no package of the shipment left with this departure")
    return rows


def shipment_item_rows(
    shipment: shipment_pb2.Shipment, found: Found, rules: Rules, key_field: str
) -> dict[str, dict[str, Any]]:
    """A row for each line in each package that left, whole, by our key of it.

    Untranslatable: nobody says out of which package something was taken at the dock, the line has
    no row here, or another unit than it. Unreadable: the row has no product or unit.
    """
    left = {line.line_number: line for line in departures.lines_that_left(shipment)}
    packages = departures.packages_that_left(shipment)
    packed = [
        (package, number, amount)
        for package in packages
        for number, amount in _packed(package).items()
        if number in left
    ]
    rows: dict[str, dict[str, Any]] = {}
    for package, number, amount in packed:
        line = left[number]
        all_packed = [each for _, other, each in packed if other == number]
        if sum(all_packed) != line.quantity:
            if len(all_packed) > 1:
                raise Untranslatable(
                    f"line {number}: {plain(sum(all_packed, Decimal(0)))} are packed in several "
                    f"packages, and {plain(line.quantity)} left"
                )
            amount = line.quantity
        key = f"{shipment_key(shipment, package)}-{number}"[:MAX_EXTERNAL_ID]
        rows[key] = _item_row(shipment, package, line, amount, found, rules)
        rows[key][SHIPMENT] = {key_field: shipment_key(shipment, package)}
    return rows


def _packed(package: shipment_pb2.Package) -> dict[int, Decimal]:
    amounts: dict[int, Decimal] = {}
    for content in package.contents:
        before = amounts.get(content.line_number, Decimal(0))
        amounts[content.line_number] = before + Decimal(content.quantity.value)
    return amounts


def _item_row(
    shipment: shipment_pb2.Shipment,
    package: shipment_pb2.Package,
    line: LineThatLeft,
    amount: Decimal,
    found: Found,
    rules: Rules,
) -> dict[str, Any]:
    names = rules.names
    if not 1 <= line.line_number <= len(found.lines):
        raise Untranslatable(f"line {line.line_number} is not among the fulfillment order's rows")
    source = found.lines[line.line_number - 1]
    if line.unit != (kept := unit_of(found, line.line_number, rules)):
        raise Untranslatable(
            f"line {line.line_number}: {line.unit} left, and the row is in {kept}: {OTHER_UNIT}"
        )
    tracking = {each.package_id: each.tracking_number for each in shipment.progress}
    row: dict[str, Any] = {}
    names.put(row, "shipment_item.product", names.text(source, "line.product"))
    names.put(row, "shipment_item.quantity", amount)
    number = tracking.get(package.id) or shipment.tracking_number
    names.put(row, "shipment_item.tracking_number", number)
    names.put(row, "shipment_item.numbers", _numbers(package, line.line_number, amount))
    names.put(row, "shipment_item.line", str(source["Id"]))
    return row


def _numbers(package: shipment_pb2.Package, line_number: int, amount: Decimal) -> str:
    """Lots and serial numbers of a line in a package, for people, as many whole ones as there is
    room for; "" where it has none. Where less left than was packed nobody says which of them did,
    but of a lot that was the only one."""
    own = [content for content in package.contents if content.line_number == line_number]
    lots = list(dict.fromkeys(content.lot for content in own))
    serials = [serial for content in own for serial in content.serial_numbers]
    if sum(Decimal(content.quantity.value) for content in own) != amount:
        lots, serials = lots if len(lots) == 1 else [], []
    told = [f"lot {lot}" for lot in lots if lot] + [f"serial {serial}" for serial in serials]
    said, left_out = ", ".join(told), 0
    while len(said) > MAX_DESCRIPTION:
        left_out += 1
        said = f"{', '.join(told[:-left_out])} and {left_out} more"
    return said


def delivered_rows(
    shipment: shipment_pb2.Shipment, order_id: str, status: str, names: Names
) -> dict[str, dict[str, Any]]:
    """A row for each package that arrived, whole, with its time where the carrier could tell it."""
    arrived = {
        each.package_id: each
        for each in shipment.progress
        if each.milestone == shipment_pb2.MILESTONE_DELIVERED
    }
    rows: dict[str, dict[str, Any]] = {}
    for package in shipment.packages:
        if package.id not in arrived:
            continue
        row = _shipment_row(shipment, package, order_id, status, names)
        if arrived[package.id].HasField("milestone_time"):
            moment = arrived[package.id].milestone_time.ToDatetime(UTC)
            names.put(row, "shipment.delivered", told_time(moment))
        rows[shipment_key(shipment, package)] = row
    if not rows:
        raise Untranslatable("no package of the shipment is delivered")
    return rows


def _shipment_row(
    shipment: shipment_pb2.Shipment,
    package: shipment_pb2.Package,
    order_id: str,
    status: str,
    names: Names,
) -> dict[str, Any]:
    tracking = {each.package_id: each.tracking_number for each in shipment.progress}
    row: dict[str, Any] = {}
    names.put(row, "shipment.order", order_id)
    number = tracking.get(package.id) or shipment.tracking_number
    names.put(row, "shipment.tracking_number", number)
    names.put(row, "shipment.carrier", shipment.carrier_code)
    names.put(row, "shipment.name", shipment.ship_to.name)
    names.put(row, "shipment.status", status)
    # A window may have no end: its zero is not the first of January 1970.
    if shipment.estimated_delivery.HasField("end"):
        expected = shipment.estimated_delivery.end
        names.put(row, "shipment.expected", told_time(expected.ToDatetime(UTC)))
    return row


def shipment_key(shipment: shipment_pb2.Shipment, package: shipment_pb2.Package) -> str:
    """Our key of a package, for the field that is unique: the hub's id of the shipment and the
    warehouse's number of the package, which is unique in it."""
    return f"{shipment_prefix(shipment)}{package.number}"[:MAX_EXTERNAL_ID]


def shipment_prefix(shipment: shipment_pb2.Shipment) -> str:
    """What the keys of all packages of a shipment begin with, and those of no other."""
    return f"{shipment.id}-"


def told_time(moment: datetime) -> str:
    """A time as the REST API takes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _lines(found: Found, rules: Rules, location: str) -> list[order_pb2.OrderLine]:
    lines, currency = [], _currency(found, rules)
    for number, row in enumerate(found.lines, start=1):
        with inside(pointer(LINE, number - 1)):
            ordered = quantity(row, "line.quantity", rules.names)
            kind = str(rules.names.get(row, "line.kind") or "").lower()
            if kind == CHARGE or ordered == 0:
                continue
            line = order_pb2.OrderLine(
                line_number=number,
                item_number=rules.names.text(row, "line.sku"),
                ship_from_location_number=location,
                quantity=types_pb2.Quantity(
                    value=plain(ordered), unit=unit_of(found, number, rules)
                ),
            )
            price = rules.names.get(row, "line.unit_price")
            if currency and isinstance(price, (int, Decimal)):
                amount = plain(decimal_of(price, rules.names.pointer("line.unit_price")))
                line.unit_price.amount, line.unit_price.currency = amount, currency
            lines.append(line)
    if not lines:
        raise Unreadable("has no row with a quantity of goods", pointer(LINE))
    return lines


def _currency(found: Found, rules: Rules) -> str:
    """Of an order's prices; "": they are not told. Unreadable: its field says none."""
    if not rules.names.fields["order.currency"]:
        return rules.currency
    told = rules.names.get(found.order, "order.currency")
    if not isinstance(told, str) or not re.fullmatch(r"[A-Z]{3}", told):
        raise Unreadable("is no code of a currency", rules.names.pointer("order.currency"))
    return told


def unit_of(found: Found, number: int, rules: Rules) -> str:
    """The unit of a row in the contract's words: its own, or its product's where it says none, or
    where the hub has the order in that, as orders were placed before rows' own was read.
    Unreadable: the unit's word has no row of mappings."""
    row, names = found.lines[number - 1], rules.names
    own, product = (names.get(row, each) for each in ("line.own_unit", "line.unit"))
    placed_in = rules.unit(str(product)) if product else rules.default_unit
    if placed_in and placed_in == found.placed_in.get(number):
        return placed_in
    told, name = (own, "line.own_unit") if own else (product, "line.unit")
    if not told:
        return rules.default_unit
    code = rules.unit(str(told))
    if code is None:
        raise Unreadable(
            f"unit {str(told)[:64]!r} has no row; say what it means: crossdock map set",
            names.pointer(name),
            UnreadCodes(Topic.UNIT, (Code("", str(told)),)),
        )
    return code


def _moment(text: str, place: str) -> datetime:
    """Times come with the offset of UTC, with or without a colon."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unreadable("is no time", place) from None
    if moment.tzinfo is None:
        raise Unreadable("is a time without a zone", place)
    return moment.astimezone(UTC)
