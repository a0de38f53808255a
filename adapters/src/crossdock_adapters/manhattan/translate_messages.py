"""From the warehouse's messages to facts of the contract: picks, packs, ship confirms. Pure.

A message is told under an id derived from what it says, never from how it came: (endpoint,
message type, business key, transaction sequence). A redelivery or a re-trigger by hand is the
same fact again.
"""

from __future__ import annotations

import copy
import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from crossdock.client import request_id
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.manhattan.names import PACK, PICK, SHIP, Names
from crossdock_adapters.sdk.local_times import source_time
from crossdock_adapters.sdk.mappings import Code, Topic, UnreadCodes
from crossdock_adapters.sdk.places import Unreadable, inside

MAX_FRACTION_DIGITS = 9
MAX_WHOLE_DIGITS = 18
MAX_EXPONENT = 40
# As long as the contract lets the number of a pick be.
MAX_PICK_NUMBER = 64

Fact = (
    fulfillment_service_pb2.ReportPickRequest
    | fulfillment_service_pb2.ReportPackedRequest
    | shipment_service_pb2.ManifestShipmentRequest
)


@dataclass(frozen=True, slots=True)
class Context:
    """What a translation needs to know besides the message.

    `zones`: IANA zone by facility id, None where the facility has none; a facility that is not
    in it is not ours. `request_ids`: hub id by fulfillment request number, for messages that do
    not echo it.
    """

    endpoint: str
    names: Names
    zones: Mapping[str, str | None]
    request_ids: Mapping[str, str] = field(default_factory=dict)


def message_type(payload: Mapping[str, Any], names: Names) -> str:
    """Our word for the type, or the warehouse's own when it is not one of ours."""
    given = str(names.get(payload, "message.type") or "")
    ours = {vendor: kind for kind, vendor in names.message_types.items()}
    return ours.get(given, given)


def numbers_to_resolve(payload: Mapping[str, Any], names: Names) -> list[str]:
    """Fulfillment request numbers of which the message does not echo the hub's id."""
    if message_type(payload, names) not in (PICK, PACK):
        return []
    return [
        str(names.get(order, "message.original_order_id") or "")
        for _, order in _objects(payload, "message.orders", names)
        if not _is_uuid(names.get(order, "message.host_id"))
    ]


def facts(payload: Mapping[str, Any], context: Context) -> Sequence[Fact]:
    """The facts of one message, in its order. Unreadable says what is wrong with it."""
    names = context.names
    kind = message_type(payload, names)
    facility = str(names.get(payload, "message.facility") or "")
    if kind not in (PICK, PACK, SHIP):
        raise Unreadable(
            f"message type {kind[:64]!r} is not one of this interface", names.place("message.type")
        )
    if facility not in context.zones:
        raise Unreadable(
            f"facility {facility[:64]!r} is not one of this endpoint",
            names.place("message.facility"),
        )
    content = "message.shipments" if kind == SHIP else "message.orders"
    found = []
    for place, record in _objects(payload, content, names):
        with inside(place):
            found.append(_fact(kind, payload, record, context))
    if not found:
        raise Unreadable(f"a {kind} message without content", names.place(content))
    return found


def told_otherwise(fact: Fact, endpoint: str) -> Fact:
    """A fact under an id of what it says, for where the hub has another reading of its message: of
    an earlier version, or from before the zone of its facility was known. The hub knows the goods.
    """
    other = copy.deepcopy(fact)
    other.request_id = request_id(endpoint, f"otherwise:{fact.request_id}", _digest(fact))
    return other


def _fact(
    kind: str, payload: Mapping[str, Any], record: Mapping[str, Any], context: Context
) -> Fact:
    if kind == PICK:
        return _pick(payload, record, context)
    if kind == PACK:
        return _packed(payload, record, context)
    return _manifest(payload, record, context)


def _pick(
    payload: Mapping[str, Any], order: Mapping[str, Any], context: Context
) -> fulfillment_service_pb2.ReportPickRequest:
    names = context.names
    key = _text(order, "message.order_id", names)
    fact = fulfillment_service_pb2.ReportPickRequest(
        fulfillment_request_id=_request_of(order, context),
        # One original order may be picked as several orders of the warehouse.
        pick_number=key[:MAX_PICK_NUMBER],
        pick_time=_time(payload, payload, "message.time", context),
    )
    for place, line in _objects(order, "message.lines", names):
        with inside(place):
            number = _line_number(line, names)
            unit = _unit(line, "message.unit", names)
            picked = _decimal(line, "message.picked", "picked quantity", names, default=Decimal(0))
            short = _decimal(line, "message.short", "short quantity", names, default=Decimal(0))
            if picked > 0:
                fact.picked.append(_line_quantity(number, picked, unit))
            if short > 0:
                reason = str(names.get(line, "message.short_reason") or "")
                fact.short.append(_line_quantity(number, short, unit, reason[:32]))
    fact.request_id = _id(PICK, key, payload, fact, context)
    return fact


def _packed(
    payload: Mapping[str, Any], order: Mapping[str, Any], context: Context
) -> fulfillment_service_pb2.ReportPackedRequest:
    names = context.names
    shipment = _text(order, "message.shipment_id", names)
    fact = fulfillment_service_pb2.ReportPackedRequest(
        fulfillment_request_id=_request_of(order, context),
        shipment_number=shipment,
        pack_time=_time(payload, payload, "message.time", context),
    )
    for place, olpn in _objects(order, "message.olpns", names):
        with inside(place):
            fact.packages.append(_package(olpn, names))
    if not fact.packages:
        raise Unreadable(
            f"shipment {shipment} was packed without an oLPN", names.place("message.olpns")
        )
    fact.request_id = _id(PACK, shipment, payload, fact, context)
    return fact


def _manifest(
    payload: Mapping[str, Any], shipment: Mapping[str, Any], context: Context
) -> shipment_service_pb2.ManifestShipmentRequest:
    names = context.names
    number = _text(shipment, "message.shipment_id", names)
    fact = shipment_service_pb2.ManifestShipmentRequest(
        shipment_number=number,
        manifest_time=_time(payload, shipment, "message.ship_time", context),
        bill_of_lading=str(names.get(shipment, "message.bill_of_lading") or "")[:64],
    )
    orders = list(_objects(shipment, "message.shipment_orders", names))
    for place, order in orders:
        for inner, olpn in _objects(order, "message.olpns", names, place):
            with inside(inner):
                fact.package_numbers.append(_text(olpn, "message.olpn_id", names))
    fact.shipped.extend(_confirmed(orders, "message.shipped", names))
    cancelled = _confirmed(orders, "message.not_to_ship", names)
    fact.cancelled.extend(line for line in cancelled if line.quantity.value != "0")
    fact.request_id = _id(SHIP, number, payload, fact, context)
    return fact


def _confirmed(
    orders: Iterable[tuple[str, Mapping[str, Any]]], name: str, names: Names
) -> list[shipment_pb2.LineQuantity]:
    """A quantity of each line of a ship confirm that gives it; one line over several orders adds
    up."""
    found: dict[int, tuple[Decimal, str]] = {}
    for place, order in orders:
        for inner, line in _objects(order, "message.lines", names, place):
            if names.get(line, name) is None:
                continue
            with inside(inner):
                number = _line_number(line, names)
                quantity = _decimal(line, name, names.fields[name], names)
                unit = _unit(line, "message.unit", names)
                before, same_unit = found.get(number, (Decimal(0), unit))
                if unit != same_unit:
                    raise Unreadable(f"line {number} is confirmed in {same_unit} and in {unit}")
                found[number] = (before + quantity, unit)
    return [
        shipment_pb2.LineQuantity(
            line_number=number,
            quantity=types_pb2.Quantity(value=decimal_text(quantity), unit=unit),
        )
        for number, (quantity, unit) in found.items()
    ]


def _package(olpn: Mapping[str, Any], names: Names) -> shipment_pb2.Package:
    number = _text(olpn, "message.olpn_id", names)
    package = shipment_pb2.Package(
        number=number,
        container_type=str(names.get(olpn, "message.olpn_type") or "")[:32],
    )
    weight = _decimal(olpn, "message.weight", f"weight of oLPN {number}", names)
    weight_unit = _unit(olpn, "message.weight_unit", names)
    package.weight.CopyFrom(types_pb2.Quantity(value=decimal_text(weight), unit=weight_unit))
    for side in ("length", "width", "height"):
        if names.get(olpn, f"message.{side}") is None:
            continue
        unit = _unit(olpn, "message.dimension_unit", names)
        value = decimal_text(_decimal(olpn, f"message.{side}", f"{side} of oLPN {number}", names))
        getattr(package, side).CopyFrom(types_pb2.Quantity(value=value, unit=unit))
    for place, detail in _objects(olpn, "message.olpn_contents", names):
        with inside(place):
            package.contents.append(_content(detail, names))
    if not package.contents:
        raise Unreadable(f"oLPN {number} is empty", names.place("message.olpn_contents"))
    return package


def _content(detail: Mapping[str, Any], names: Names) -> shipment_pb2.PackageContent:
    quantity = _decimal(detail, "message.content_quantity", "packed quantity", names)
    serials = names.get(detail, "message.serials") or []
    if not isinstance(serials, list):
        serials = [serials]
    content = shipment_pb2.PackageContent(
        line_number=_line_number(detail, names),
        item_number=_text(detail, "message.item", names),
        lot=str(names.get(detail, "message.lot") or ""),
        serial_numbers=[str(serial) for serial in serials],
    )
    unit = _unit(detail, "message.unit", names)
    content.quantity.CopyFrom(types_pb2.Quantity(value=decimal_text(quantity), unit=unit))
    return content


def decimal_text(value: Decimal) -> str:
    """A number as the contract writes it. Unreadable when it has too many digits."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    whole, _, fraction = text.lstrip("-").partition(".")
    if len(whole) > MAX_WHOLE_DIGITS or len(fraction) > MAX_FRACTION_DIGITS:
        raise Unreadable(f"{text[:40]} has more digits than the contract allows")
    return text


def _line_quantity(
    number: int, quantity: Decimal, unit: str, reason: str = ""
) -> fulfillment_pb2.FulfillmentLineQuantity:
    line = fulfillment_pb2.FulfillmentLineQuantity(line_number=number, reason_code=reason)
    line.quantity.CopyFrom(types_pb2.Quantity(value=decimal_text(quantity), unit=unit))
    return line


def _id(
    kind: str, business_key: str, payload: Mapping[str, Any], fact: Message, context: Context
) -> str:
    sequence = context.names.get(payload, "message.sequence")
    version = str(sequence) if sequence not in (None, "") else ""
    if not version:
        # Without a sequence only the same content is the same fact.
        version = _digest(fact)
    return request_id(context.endpoint, f"{kind}:{business_key}", version)


def _digest(fact: Message) -> str:
    return hashlib.sha256(fact.SerializeToString(deterministic=True)).hexdigest()


def _request_of(order: Mapping[str, Any], context: Context) -> str:
    """The hub's id of the fulfillment request: echoed, or found by its number."""
    echoed = context.names.get(order, "message.host_id")
    if _is_uuid(echoed):
        return str(echoed)
    number = _text(order, "message.original_order_id", context.names)
    found = context.request_ids.get(number)
    if found is None:
        place = context.names.place("message.original_order_id")
        raise Unreadable(f"the hub has no fulfillment request {number[:64]!r}", place)
    return found


def _time(
    payload: Mapping[str, Any], record: Mapping[str, Any], name: str, context: Context
) -> types_pb2.SourceTime:
    text = context.names.get(record, name)
    facility = str(context.names.get(payload, "message.facility"))
    try:
        return source_time(str(text or ""), context.zones[facility])
    except ValueError as error:
        raise Unreadable(str(error), context.names.place(name)) from None


def _objects(
    record: Mapping[str, Any], name: str, names: Names, place: str = ""
) -> list[tuple[str, Mapping[str, Any]]]:
    """A list of objects, each with its place; one object alone counts as a list of it.

    place: of the record; "" where the caller knows it.
    """
    value, at = names.get(record, name), place + names.place(name)
    if isinstance(value, Mapping):
        return [(at, value)]
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise Unreadable("is not a list of objects", at)
    return [(f"{at}/{position}", each) for position, each in enumerate(value)]


def _text(record: Mapping[str, Any], name: str, names: Names) -> str:
    value = names.get(record, name)
    if not isinstance(value, (str, int)) or isinstance(value, bool) or str(value) == "":
        raise Unreadable("is missing", names.place(name))
    return str(value)


def _line_number(record: Mapping[str, Any], names: Names) -> int:
    text = _text(record, "message.line_id", names)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**31:
        raise Unreadable(
            f"line {text[:40]!r} is not a line number of ours", names.place("message.line_id")
        )
    return int(text)


def _unit(record: Mapping[str, Any], name: str, names: Names) -> str:
    value = names.get(record, name)
    unit = names.unit_in(str(value or ""))
    if unit is None:
        said = (
            f"unit {str(value)[:40]!r} has no row; say what it means with crossdock map set "
            "manhattan UNIT CODE --means WORD --reason …"
        )
        unread = UnreadCodes(Topic.UNIT, (Code("", str(value or "")),))
        raise Unreadable(said, names.place(name), unread)
    return unit


def _decimal(
    record: Mapping[str, Any],
    name: str,
    what: str,
    names: Names,
    default: Decimal | None = None,
) -> Decimal:
    value = names.get(record, name)
    if value is None and default is not None:
        return default
    with inside(names.place(name)):
        number = _number(value, what)
        decimal_text(number)
    return number


def _number(value: Any, what: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise Unreadable(f"{what} is missing or not a number")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise Unreadable(f"{what} {str(value)[:40]!r} is not a number") from None
    if not number.is_finite() or number < 0:
        raise Unreadable(f"{what} is negative or not a number")
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or not -MAX_EXPONENT <= exponent <= MAX_EXPONENT:
        # Written out, an exponent alone can fill the memory.
        raise Unreadable(f"{what} is out of range")
    return number


def _is_uuid(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False
