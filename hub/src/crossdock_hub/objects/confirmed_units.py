"""What a ship confirm tells in the units of its pack, whatever units it tells it in; pure.

What left is compared with what was packed, and posted as that. A warehouse that packs a case and
confirms twelve pieces says the same of both; where nothing says so, or it is no decimal number of
cases, the confirm stays as it is told, and contradicts the pack.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal

from crossdock.errors import Violation
from crossdock.quantities import (
    Contradiction,
    NotConvertible,
    conversion,
    exact_decimal,
    plain,
)
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2

from crossdock_hub.objects import unit_rules
from crossdock_hub.objects.received_units import awaited_conversion
from crossdock_hub.refusals import invalid
from crossdock_hub.unit import NotYet

Report = shipment_service_pb2.ManifestShipmentRequest


def converted_items(shipment: shipment_pb2.Shipment, report: Report) -> frozenset[str]:
    """Items of which a confirm tells in another unit than they were packed in; most often none."""
    return frozenset(item for _, _, item in _others(shipment, _rows(report)))


def in_packed_units(
    shipment: shipment_pb2.Shipment, report: Report, conversions: Iterable[object]
) -> Report:
    """A confirm in the units of the pack. conversions: of `converted_items` and of every item.

    A line that is packed in several units stays as it is told: nobody says which one is meant.
    """
    conversions = list(conversions)
    found = Report()
    found.CopyFrom(report)
    for row, unit, item in _others(shipment, _rows(found)):
        try:
            way = conversion(row.quantity.unit, unit, unit_rules.rules(conversions, item))
        except (NotConvertible, Contradiction):
            continue
        exact = exact_decimal(way.of(Decimal(row.quantity.value)))
        if exact is not None:
            row.quantity.value, row.quantity.unit = plain(exact), unit
    return found


def held_for(
    shipment: shipment_pb2.Shipment, report: Report, conversions: Iterable[object], why: NotYet
) -> NotYet:
    """Why a confirm is held, and what it waits for: where what it says has left only lacks a unit
    conversion, that one. report: in the units of the pack, as far as those are said."""
    if any(each.field != "shipped" for each in why.refusal.violations):
        return why
    conversions = list(conversions)
    # Nothing is nothing in any unit.
    gone = (row for row in report.shipped if Decimal(row.quantity.value))
    for row, unit, item in _others(shipment, gone):
        try:
            conversion(row.quantity.unit, unit, unit_rules.rules(conversions, item))
        except (NotConvertible, Contradiction) as lack:
            words = (
                f"line {row.line_number} ({item}) left in {row.quantity.unit} and is packed in "
                f"{unit}: {lack}; once the ERP tells it, or corrects it (UpsertUnitConversions), "
                "this is written by itself; else correct the packages with UpdateShipment, or "
                f"confirm again in {unit}"
            )
            return NotYet(
                invalid([Violation("shipped", words, "packed")]).refusal, awaited_conversion(item)
            )
    return why


def _rows(report: Report) -> list[shipment_pb2.LineQuantity]:
    return [*report.shipped, *report.cancelled]


def _others(
    shipment: shipment_pb2.Shipment, rows: Iterable[shipment_pb2.LineQuantity]
) -> Iterator[tuple[shipment_pb2.LineQuantity, str, str]]:
    """Those of these rows in another unit than their line is packed in: that unit, and the item."""
    packed: dict[int, dict[str, str]] = defaultdict(dict)
    for package in shipment.packages:
        for content in package.contents:
            packed[content.line_number][content.quantity.unit] = content.item_number
    for row in rows:
        units = packed.get(row.line_number, {})
        if len(units) == 1 and row.quantity.unit not in units:
            ((unit, item),) = units.items()
            yield row, unit, item
