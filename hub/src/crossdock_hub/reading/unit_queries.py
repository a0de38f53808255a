"""How much of another unit a quantity is: the rules of the books, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from crossdock.errors import Refusal
from crossdock.quantities import (
    CONVERSIONS_MAX,
    Contradiction,
    NotConvertible,
    Origin,
    Rounding,
    Rule,
    conversion,
    exact_decimal,
    plain,
    rounded,
)
from crossdock.quantities.decimals import DIGITS_BEFORE_MAX
from crossdock.unit.v1 import unit_service_pb2

from crossdock_hub.identity import Caller
from crossdock_hub.objects.unit_rules import TooManyConversions, rules
from crossdock_hub.reading.queries import Queries
from crossdock_hub.records import EVERY_ITEM
from crossdock_hub.refusals import not_found
from crossdock_hub.unit import Refused

_ROUNDINGS: Final[Mapping[int, Rounding]] = {
    unit_service_pb2.QUANTITY_ROUNDING_UP: Rounding.UP,
    unit_service_pb2.QUANTITY_ROUNDING_DOWN: Rounding.DOWN,
    unit_service_pb2.QUANTITY_ROUNDING_HALF_EVEN: Rounding.HALF_EVEN,
}
_ORIGINS: Final[Mapping[Origin, unit_service_pb2.ConversionOrigin.ValueType]] = {
    Origin.ITEM: unit_service_pb2.CONVERSION_ORIGIN_ITEM,
    Origin.EVERY_ITEM: unit_service_pb2.CONVERSION_ORIGIN_EVERY_ITEM,
    Origin.STANDARD: unit_service_pb2.CONVERSION_ORIGIN_STANDARD,
}


async def convert_quantity(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """A quantity in another unit, exactly or as it was asked to be rounded.

    Raises Refused: the item is unknown, nothing says how to convert, or what is said contradicts
    itself.
    """
    item = request.item_number
    if item and not await _sees_item(queries, caller, item):
        raise not_found("item", item)
    records = await queries.reader.unit_conversions([*filter(None, [item]), EVERY_ITEM])
    asked = request.quantity
    try:
        said = rules((each.message for each in records if queries.sees(caller, each)), item)
        found = conversion(asked.unit, request.to_unit, said)
    except TooManyConversions as why:
        limits = {"limit": str(CONVERSIONS_MAX), "value": f"more than {CONVERSIONS_MAX}"}
        raise Refused(Refusal("LIMIT_EXCEEDED", str(why), limits)) from why
    except NotConvertible as why:
        raise _refused(request, f"{why}; add a unit conversion for {item or 'every item'}") from why
    except Contradiction as why:
        raise _refused(request, f"{why}; correct the unit conversions") from why
    response = unit_service_pb2.ConvertQuantityResponse(
        numerator=str(found.ratio.numerator), denominator=str(found.ratio.denominator)
    )
    response.steps.extend(map(_step, found.steps))
    exactly = found.of(Decimal(asked.value))
    told = _told(request, exactly)
    if told is not None:
        response.quantity.value, response.quantity.unit = plain(told), request.to_unit
        response.exact = Fraction(told) == exactly
    return response


def _told(request: Any, exactly: Fraction) -> Decimal | None:
    """What a quantity can say of the result, rounded as asked; None: nothing."""
    rounding = _ROUNDINGS.get(request.rounding)
    if rounding is None:
        return exact_decimal(exactly)
    told = rounded(exactly, Decimal(1).scaleb(-request.digits), rounding)
    if abs(told) >= 10**DIGITS_BEFORE_MAX:
        digits = f"a quantity has {DIGITS_BEFORE_MAX} digits before the point"
        raise _refused(request, f"the result is too great: {digits}; use a greater unit")
    return told


async def _sees_item(queries: Queries, caller: Caller, number: str) -> bool:
    found = await queries.reader.objects_by_number([number], ["item"])
    return any(queries.sees(caller, record) for record in found)


def _step(rule: Rule) -> unit_service_pb2.ConversionStep:
    return unit_service_pb2.ConversionStep(
        from_unit=rule.from_unit,
        to_unit=rule.to_unit,
        numerator=str(rule.ratio.numerator),
        denominator=str(rule.ratio.denominator),
        origin=_ORIGINS[rule.origin],
        number=rule.number,
    )


def _refused(request: Any, why: str) -> Refused:
    metadata = {
        "from_unit": request.quantity.unit,
        "to_unit": request.to_unit,
        "item": request.item_number,
    }
    return Refused(Refusal("UNITS_NOT_CONVERTIBLE", why, metadata))
