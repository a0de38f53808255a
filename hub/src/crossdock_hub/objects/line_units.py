"""The goods of a line in one unit, whatever units they are told in; pure.

They are compared as `ConvertQuantity` converts: by the item's unit conversions, over as many units
as it takes, those for every item, and the standard table. A line of which these say too little, or
in two ways that differ, stays in the units it is told in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any, Final

from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.order.v1 import order_pb2
from crossdock.quantities import (
    Contradiction,
    NotConvertible,
    Rule,
    conversion,
    exact_decimal,
)
from crossdock.shipment.v1 import shipment_pb2

from crossdock_hub.objects import unit_rules
from crossdock_hub.objects.departures import Amounts

Asked = fulfillment_pb2.FulfillmentRequest | order_pb2.Order
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


def converted_items(
    asked: Asked,
    shipments: Iterable[shipment_pb2.Shipment],
    requests: Iterable[fulfillment_pb2.FulfillmentRequest] | None = None,
) -> frozenset[str]:
    """Items whose unit conversions `line_units` reads, beside those for every item; most often
    none: who packs in the unit of the order asks for nothing."""
    return frozenset(item for _, item, _ in _mixed(asked, shipments, requests))


def line_units(
    asked: Asked,
    shipments: Iterable[shipment_pb2.Shipment],
    conversions: Iterable[Any],
    requests: Iterable[fulfillment_pb2.FulfillmentRequest] | None = None,
) -> LineUnits:
    """How to count the lines of a request, or of an order.

    shipments: of it. requests: of an order; None: the request itself. conversions: of
    `converted_items` and of every item.
    """
    by_item: dict[str, list[Any]] = defaultdict(list)
    for each in conversions:
        by_item[each.item_number].append(each)
    factors: dict[tuple[int, str], tuple[str, Decimal]] = {}
    for line, item, units in _mixed(asked, shipments, requests):
        try:
            said = unit_rules.rules((*by_item[item], *by_item[""]), item)
        except NotConvertible:
            continue
        for counted in units:
            ratios = {unit: _ratio(unit, counted, said) for unit in units}
            exact = {unit: ratio for unit, ratio in ratios.items() if ratio is not None}
            if len(exact) == len(units):
                factors |= {(line, unit): (counted, ratio) for unit, ratio in exact.items()}
                break
    return LineUnits(factors)


def _mixed(
    asked: Asked,
    shipments: Iterable[shipment_pb2.Shipment],
    requests: Iterable[Any] | None,
) -> Iterator[tuple[int, str, list[str]]]:
    """Number, item and units of each line that is told in several; the asked for ones first."""
    first: dict[int, dict[str, None]] = defaultdict(dict)
    items: dict[int, str] = {}
    for line in asked.lines:
        first[line.line_number][line.quantity.unit] = None
        items.setdefault(line.line_number, line.item_number)
    told: dict[int, set[str]] = defaultdict(set)
    for row in _rows([asked] if requests is None else requests, shipments):
        told[row.line_number].add(row.quantity.unit)
    for line_number, wanted in first.items():
        units = [*wanted, *sorted(told[line_number] - set(wanted))]
        if 1 < len(units) <= UNITS_MAX:
            yield line_number, items[line_number], units


def _rows(requests: Iterable[Any], shipments: Iterable[shipment_pb2.Shipment]) -> Iterator[Any]:
    """Whatever has a line and a quantity of what was picked, packed, shipped or called short."""
    for request in requests:
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


def _ratio(unit: str, counted: str, said: Iterable[Rule]) -> Decimal | None:
    """How much of one unit another one is, where that is said, without contradiction, and is a
    decimal: a piece is no decimal part of a case of 12."""
    try:
        return exact_decimal(conversion(unit, counted, said).ratio)
    except (NotConvertible, Contradiction):
        return None
