"""The goods of a line in one unit, whatever units they are told in; pure.

Only what a unit conversion of the item itself says of two units counts: that is what it is for, and
nothing nearer can say otherwise. A line of which it says too little stays in the units it is told
in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from fractions import Fraction
from itertools import permutations
from typing import Any, Final

from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.quantities import Contradiction, Origin, Rule, conversion, exact_decimal
from crossdock.shipment.v1 import shipment_pb2

from crossdock_hub.objects.departures import Amounts

KIND: Final = "unit_conversion"
# Units of one line that are compared: goods come in pieces, cases and pallets.
UNITS_MAX: Final = 4
# Digits of the greatest product of a quantity and a ratio, so that none is rounded.
_EXACTLY: Final = Context(prec=60)
_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class LineUnits:
    """By line and the unit that it is told in: the unit to count it in, and how much of that."""

    factors: Mapping[tuple[int, str], tuple[str, Decimal]] = field(default_factory=dict)

    def of(self, told: Amounts) -> Amounts:
        """The same amounts, each line in one unit where that can be said exactly."""
        if not self.factors:
            return told
        found: Amounts = defaultdict(Decimal)
        for (line, unit), quantity in told.items():
            counted, factor = self.factors.get((line, unit), (unit, _ONE))
            found[line, counted] += _EXACTLY.multiply(quantity, factor)
        return found


AS_TOLD: Final = LineUnits()


def wanted(
    request: fulfillment_pb2.FulfillmentRequest, shipments: Iterable[shipment_pb2.Shipment]
) -> frozenset[str]:
    """Numbers of the unit conversions that `line_units` reads, where there are such; most often
    none: who packs in the unit of the order asks for nothing. shipments: of the request."""
    return frozenset(
        _number(item, one, other)
        for _, item, units in _mixed(request, shipments)
        for one, other in permutations(units, 2)
    )


def line_units(
    request: fulfillment_pb2.FulfillmentRequest,
    shipments: Iterable[shipment_pb2.Shipment],
    conversions: Iterable[Any],
) -> LineUnits:
    """How to count the lines of a request. conversions: those that are wanted, and maybe others."""
    by_number = {each.number: each for each in conversions}
    factors: dict[tuple[int, str], tuple[str, Decimal]] = {}
    for line, item, units in _mixed(request, shipments):
        for counted in units:
            ratios = {unit: _ratio(item, unit, counted, by_number) for unit in units}
            exact = {unit: ratio for unit, ratio in ratios.items() if ratio is not None}
            if len(exact) == len(units):
                factors |= {(line, unit): (counted, ratio) for unit, ratio in exact.items()}
                break
    return LineUnits(factors)


def _mixed(
    request: fulfillment_pb2.FulfillmentRequest, shipments: Iterable[shipment_pb2.Shipment]
) -> Iterator[tuple[int, str, list[str]]]:
    """Number, item and units of each line that is told in several; the asked for ones first."""
    asked: dict[int, dict[str, None]] = defaultdict(dict)
    items: dict[int, str] = {}
    for line in request.lines:
        asked[line.line_number][line.quantity.unit] = None
        items.setdefault(line.line_number, line.item_number)
    told: dict[int, set[str]] = defaultdict(set)
    for row in _rows(request, shipments):
        told[row.line_number].add(row.quantity.unit)
    for line_number, first in asked.items():
        units = [*first, *sorted(told[line_number] - set(first))]
        if 1 < len(units) <= UNITS_MAX:
            yield line_number, items[line_number], units


def _rows(
    request: fulfillment_pb2.FulfillmentRequest, shipments: Iterable[shipment_pb2.Shipment]
) -> Iterator[Any]:
    """Whatever has a line and a quantity of what was picked, packed, shipped or called short."""
    yield from request.picked
    yield from request.short
    for shipment in shipments:
        if shipment.state == shipment_pb2.SHIPMENT_STATE_VOIDED:
            continue
        for package in shipment.packages:
            yield from package.contents
        for departure in shipment.departures:
            yield from departure.shipped
            yield from departure.cancelled


def _number(item: str, one: str, other: str) -> str:
    return f"{item}:{one}:{other}"


def _ratio(item: str, unit: str, counted: str, by_number: Mapping[str, Any]) -> Decimal | None:
    """How much of one unit another one is, where that is said, without contradiction, and is a
    decimal: a piece is no decimal part of a case of 12."""
    if unit == counted:
        return _ONE
    numbers = (_number(item, unit, counted), _number(item, counted, unit))
    said = [
        Rule(
            each.from_unit,
            each.to_unit,
            Fraction(each.numerator) / Fraction(each.denominator),
            Origin.ITEM,
            each.number,
        )
        for each in map(by_number.get, numbers)
        # A number may begin like another item's, whose number has a colon: the field decides.
        if each is not None and each.item_number == item
    ]
    if not said:
        return None
    try:
        return exact_decimal(conversion(unit, counted, said).ratio)
    except Contradiction:
        return None
