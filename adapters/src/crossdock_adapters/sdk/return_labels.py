"""Labels for the way back: a return as the shipment it is for a carrier, and what was sold for it.

A return names what comes back and where to; what a carrier asks for besides is what the hub knows
of the location and of the items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from crossdock.client import request_id
from crossdock.errors import NotFoundError
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.label.v1 import label_pb2
from crossdock.location.v1 import location_pb2, location_service_pb2
from crossdock.quantities import Rounding, rounded
from crossdock.returns.v1 import return_pb2, return_service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk import carrier_labels, early_settings, measures
from crossdock_adapters.sdk.carrier_labels import Purchase
from crossdock_adapters.sdk.outcomes import Confirmed, Reference, Untranslatable
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.work import Work

# A return has no packages: all of it is one, without an id, as the delivery's item.
ONLY_PACKAGE: Final = ""
_WEIGHT_UNIT: Final = "KGM"
_WEIGHT_STEP: Final = Decimal("0.001")


def nothing_to_buy(work: Work) -> Confirmed | None:
    """Set where the return is not for this carrier: without one the customer chooses.

    An event without a carrier is within every carrier's scope, and each would sell a label.
    """
    named = work.event.customer_return.carrier_code
    own = work.settings.text("carrier_code")
    if named == own:
        return None
    if named:
        return Confirmed(note=f"the return goes by {named}, not by {own}: nothing bought")
    return Confirmed(note="the return names no carrier, the customer chooses: nothing bought")


async def shipment_back(work: Work) -> shipment_pb2.Shipment:
    """The return of the event as a shipment of one package from the customer to the warehouse.

    Settings: return_service, of a return that names none; return_weight, of items without one.
    Untranslatable: the location has no address, or nothing says what it weighs.
    """
    wanted: return_pb2.Return = work.event.customer_return
    number = wanted.return_to_location_number
    by_number = location_service_pb2.GetLocationRequest(number=number)
    location = (await work.hub.locations.GetLocation(by_number)).location
    items: dict[str, item_pb2.Item] = {}
    for line in wanted.lines:
        if line.item_number not in items:
            asked = item_service_pb2.GetItemRequest(number=line.item_number)
            try:
                items[line.item_number] = (await work.hub.items.GetItem(asked)).item
            except NotFoundError:
                continue
    return as_shipment(wanted, location, items, work.settings)


def as_shipment(
    wanted: return_pb2.Return,
    location: location_pb2.Location,
    items: Mapping[str, item_pb2.Item],
    settings: Settings,
) -> shipment_pb2.Shipment:
    """The return as a shipment; see `shipment_back`. items: by number, those that are known."""
    number = wanted.return_to_location_number
    if not location.address.address.lines:
        raise Untranslatable(f"location {number} has no address to send a return to")
    found = shipment_pb2.Shipment(
        id=wanted.id,
        number=wanted.number,
        order_id=wanted.order_id,
        order_number=wanted.order_number,
        business_unit=wanted.business_unit,
        ship_from_location_number=number,
        carrier_code=wanted.carrier_code,
        service_code=service_of(wanted, settings),
        ship_from=wanted.ship_from,
        ship_to=location.address,
    )
    package = found.packages.add(id=ONLY_PACKAGE, number=wanted.number)
    for line in wanted.lines:
        content = package.contents.add(line_number=line.line_number, item_number=line.item_number)
        content.quantity.CopyFrom(line.quantity)
    package.weight.CopyFrom(_weight_of(wanted.lines, items, settings.text("return_weight")))
    return found


def service_of(wanted: return_pb2.Return, settings: Settings) -> str:
    """The service that the return names, else that of the setting return_service."""
    return wanted.service_code or settings.text("return_service")


def sold_request(
    work: Work, purchase: Purchase, label_format: label_pb2.LabelFormat.ValueType
) -> return_service_pb2.UpdateReturnRequest:
    """The fact "the carrier sold this label for the return"."""
    label = return_pb2.ReturnLabel()
    carrier_labels.describe(
        label,
        work.settings.text("carrier_code"),
        service_of(work.event.customer_return, work.settings),
        work.reference,
        purchase,
        label_format,
    )
    return _label_request(work, label)


async def sold_label(work: Work) -> return_pb2.ReturnLabel | None:
    """The label of the event's return as the hub has it; None where this carrier sold none."""
    by_id = return_service_pb2.GetReturnRequest(id=work.event.customer_return.id)
    try:
        label = (await work.hub.returns.GetReturn(by_id)).customer_return.label
    except NotFoundError:
        return None
    return label if label.carrier_code == work.settings.text("carrier_code") else None


def voided(work: Work, label: return_pb2.ReturnLabel) -> Confirmed:
    """The carrier took the label of the return back."""
    after = return_pb2.ReturnLabel()
    after.CopyFrom(label)
    after.voided = True
    number = label.tracking_number
    return Confirmed([Reference("voided_tracking_number", number)], [_label_request(work, after)])


def _label_request(
    work: Work, label: return_pb2.ReturnLabel
) -> return_service_pb2.UpdateReturnRequest:
    fact = request_id(
        work.endpoint, f"return_label/{label.tracking_number}", carrier_labels.digest(label)
    )
    request = return_service_pb2.UpdateReturnRequest(request_id=fact)
    request.customer_return.id = work.event.customer_return.id
    request.customer_return.label.CopyFrom(label)
    request.update_mask.paths.append("label")
    return request


def _weight_of(
    lines: Sequence[return_pb2.ReturnLine], items: Mapping[str, item_pb2.Item], usual: str
) -> types_pb2.Quantity:
    """What the lines weigh by their items; else what the setting says of a whole return, or the
    lines of which it is known, whichever is more."""
    total, unsaid = Fraction(0), []
    for line in lines:
        item = items.get(line.item_number, item_pb2.Item())
        if not item.HasField("weight") or line.quantity.unit != item.base_unit:
            unsaid.append(line.item_number)
            continue
        each = measures.exactly_in(item.weight, _WEIGHT_UNIT, measures.MASS)
        total += each * Fraction(Decimal(line.quantity.value))
    said = types_pb2.Quantity(
        value=measures.plain(rounded(total, _WEIGHT_STEP, Rounding.UP)), unit=_WEIGHT_UNIT
    )
    if not unsaid:
        return said
    if not usual:
        raise Untranslatable(
            f"nobody says what {', '.join(unsaid[:5])} weighs in the unit of the return: have the "
            "ERP tell the item's weight, or set return_weight"
        )
    whole = early_settings.quantity_of(usual)
    return said if total > measures.exactly_in(whole, _WEIGHT_UNIT, measures.MASS) else whole
