"""From the contract to the warehouse's words: orders, cancellations, labels, items. Pure.

What comes back has its own module, `translate_messages`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal, InvalidOperation
from typing import Any

from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.item.v1 import item_pb2
from crossdock.label.v1 import label_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from crossdock_adapters.manhattan.names import Names
from crossdock_adapters.sdk.mappings import Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable

MAX_ADDRESS_LINES = 3
FORMATS = {
    label_pb2.LABEL_FORMAT_GIF: "GIF",
    label_pb2.LABEL_FORMAT_ZPL: "ZPL",
    label_pb2.LABEL_FORMAT_EPL: "EPL",
    label_pb2.LABEL_FORMAT_PNG: "PNG",
    label_pb2.LABEL_FORMAT_PDF: "PDF",
}
# Printer languages travel as they are, images as base64.
TEXT_FORMATS = frozenset({"ZPL", "EPL"})


def original_order(
    request: fulfillment_pb2.FulfillmentRequest, facility: str, order_type: str, names: Names
) -> dict[str, Any]:
    """The whole original order of one fulfillment request: its number is the business key."""
    return _order(request, facility, order_type, _carrier_out(request.carrier_code, names), names)


def cancellation(
    request: fulfillment_pb2.FulfillmentRequest, facility: str, order_type: str, names: Names
) -> dict[str, Any]:
    """The same original order with the cancel flag: a save replaces the whole record. To stop it
    any of its carrier's codes will do."""
    carrier = names.carriers_out(request.carrier_code)[0]
    order = _order(request, facility, order_type, carrier, names)
    names.put(order, "order.cancelled", True)
    return order


def _order(
    request: fulfillment_pb2.FulfillmentRequest,
    facility: str,
    order_type: str,
    carrier: str,
    names: Names,
) -> dict[str, Any]:
    order: dict[str, Any] = {}
    names.put(order, "order.id", request.number)
    names.put(order, "order.facility", facility)
    names.put(order, "order.type", order_type)
    names.put(order, "order.host_id", request.id)
    names.put(order, "order.host_order", request.order_number)
    _put_text(order, "order.carrier", carrier, names)
    _put_text(order, "order.service", request.service_code, names)
    _put_text(order, "order.instructions", request.instructions, names)
    if request.ship_by.HasField("start"):
        names.put(order, "order.earliest_ship", _utc(request.ship_by.start))
    if request.ship_by.HasField("end"):
        names.put(order, "order.latest_ship", _utc(request.ship_by.end))
    _put_address(order, request.ship_to, names)
    if not request.lines:
        raise Untranslatable(f"fulfillment request {request.number} has no lines")
    names.put(order, "order.lines", [_line(line, names) for line in request.lines])
    return order


def label_on_olpn(label: label_pb2.Label, names: Names) -> dict[str, Any]:
    """Tracking number and label image for the oLPN that the package is at the warehouse."""
    if not label.package_number or not label.tracking_number:
        raise Untranslatable("the label names no package or no tracking number")
    olpn: dict[str, Any] = {}
    names.put(olpn, "olpn.id", label.package_number)
    names.put(olpn, "olpn.tracking_number", label.tracking_number)
    if label.image:
        kind = FORMATS.get(label.format)
        if kind is None:
            raise Untranslatable(f"label format {label.format} is not known to this adapter")
        names.put(olpn, "olpn.label_format", kind)
        names.put(olpn, "olpn.label", _image(label.image, kind))
    return olpn


def item_record(item: item_pb2.Item, names: Names) -> dict[str, Any]:
    """One item of the item master: what the warehouse needs to pick, pack and weigh it."""
    record: dict[str, Any] = {}
    names.put(record, "item.id", item.number)
    _put_text(record, "item.description", item.description, names)
    names.put(record, "item.lots", item.lot_controlled)
    names.put(record, "item.serials", item.serial_controlled)
    if item.base_unit:
        names.put(record, "item.base_unit", unit_out(item.base_unit, names))
    package: dict[str, Any] = {}
    if item.HasField("weight"):
        names.put(package, "item.weight", number(item.weight))
        names.put(package, "item.weight_unit", unit_out(item.weight.unit, names))
    sides = [side for side in ("length", "width", "height") if item.HasField(side)]
    units = {getattr(item, side).unit for side in sides}
    if len(sides) == 3 and len(units) == 1:
        for side in sides:
            names.put(package, f"item.{side}", number(getattr(item, side)))
        names.put(package, "item.dimension_unit", unit_out(units.pop(), names))
    if package:
        names.put(record, "item.packages", [package])
    return record


def is_cancelled(order: Mapping[str, Any], names: Names) -> bool:
    """Whether an original order, as a search answers it, is cancelled."""
    return names.get(order, "order.cancelled") in (True, "true", "True")


def is_ours(
    order: Mapping[str, Any], request: fulfillment_pb2.FulfillmentRequest, names: Names
) -> bool:
    """Whether an order found under our number was sent for this fulfillment request.

    A tenant without the extension field can't tell; the number is unique at the hub.
    """
    return names.get(order, "order.host_id") in (None, "", request.id)


def number(quantity: types_pb2.Quantity) -> Decimal:
    """The exact number of a quantity."""
    try:
        return Decimal(quantity.value)
    except InvalidOperation:
        raise Untranslatable(f"{quantity.value!r} is not a number") from None


def unit_out(code: str, names: Names) -> str:
    """The warehouse's word for a UN/ECE unit code."""
    unit = names.unit_out(code)
    if unit is None:
        unsent = UnsentWord(Topic.UNIT, code)
        problem = f"unit {code} has no name at the warehouse"
        raise Untranslatable.for_want_of(unsent, "manhattan", problem, "NAME")
    return unit


def _carrier_out(code: str, names: Names) -> str:
    """What the warehouse calls a carrier. Untranslatable: several codes, and none is preferred."""
    found = names.carriers_out(code)
    if len(found) > 1:
        unsent = UnsentWord(Topic.CARRIER_CODE, code)
        problem = f"carrier {code} is {' and '.join(found)} at the warehouse, and none is preferred"
        raise Untranslatable.for_want_of(unsent, "manhattan", problem, found[0])
    return found[0]


def _line(line: fulfillment_pb2.FulfillmentLine, names: Names) -> dict[str, Any]:
    record: dict[str, Any] = {}
    names.put(record, "line.id", str(line.line_number))
    names.put(record, "line.item", line.item_number)
    names.put(record, "line.quantity", number(line.quantity))
    names.put(record, "line.unit", unit_out(line.quantity.unit, names))
    return record


def _put_address(order: dict[str, Any], party: types_pb2.Party, names: Names) -> None:
    address = party.address
    lines = list(address.lines)
    if len(lines) > MAX_ADDRESS_LINES:
        # Nothing is cut off: what has no field of its own shares the last one.
        lines = [*lines[: MAX_ADDRESS_LINES - 1], ", ".join(lines[MAX_ADDRESS_LINES - 1 :])]
    for place, line in enumerate(lines, start=1):
        _put_text(order, f"address.line{place}", line, names)
    for name, value in (
        ("name", party.name),
        ("company", party.company),
        ("phone", party.phone),
        ("email", party.email),
        ("city", address.city),
        ("state", address.state),
        ("postal_code", address.postal_code),
        ("country", address.country_code),
    ):
        _put_text(order, f"address.{name}", value, names)


def _put_text(record: dict[str, Any], name: str, value: str, names: Names) -> None:
    if value:
        names.put(record, name, value)


def _image(image: bytes, kind: str) -> str:
    if kind in TEXT_FORMATS:
        try:
            return image.decode("utf-8")
        except UnicodeDecodeError:
            raise Untranslatable(f"the {kind} label is not text") from None
    return base64.b64encode(image).decode()


def _utc(instant: Timestamp) -> str:
    """With its offset: the only unambiguous form."""
    return instant.ToDatetime(tzinfo=UTC).isoformat(timespec="seconds")
