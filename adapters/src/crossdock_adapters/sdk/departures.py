"""What left with a shipment's last departure: packages, and of each line how much, and of which
lots and serial numbers. Pure.

The ship confirm says how much left of a line, and may say less than was packed; the packages alone
say of which lots and serial numbers. Where the two cannot be brought together nobody knows which
pieces left, and Untranslatable says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.sdk.outcomes import Untranslatable


@dataclass(frozen=True, slots=True)
class LineThatLeft:
    """Of one order line. lots: quantity by lot, in the line's unit; empty where none is named."""

    line_number: int
    item_number: str
    quantity: Decimal
    unit: str
    lots: Mapping[str, Decimal] = field(default_factory=dict)
    serial_numbers: tuple[str, ...] = ()


def packages_that_left(shipment: shipment_pb2.Shipment) -> list[shipment_pb2.Package]:
    """Of the last departure; of a shipment without one, all of them."""
    if not shipment.departures:
        return list(shipment.packages)
    left = set(shipment.departures[-1].package_numbers)
    return [package for package in shipment.packages if package.number in left]


def lines_that_left(shipment: shipment_pb2.Shipment) -> list[LineThatLeft]:
    """By line number. Untranslatable: nothing left, or nobody says which pieces did."""
    contents = [content for package in packages_that_left(shipment) for content in package.contents]
    quantities = shipment.departures[-1].shipped if shipment.departures else contents
    amounts: dict[tuple[int, str], Decimal] = {}
    for row in quantities:
        at = (row.line_number, row.quantity.unit)
        amounts[at] = amounts.get(at, Decimal(0)) + Decimal(row.quantity.value)
    if len({number for number, _ in amounts}) != len(amounts):
        raise Untranslatable("one line left in more than one unit")
    items = {
        content.line_number: content.item_number
        for package in shipment.packages
        for content in package.contents
    }
    found = [
        _line(number, items.get(number, ""), unit, quantity, contents)
        for (number, unit), quantity in amounts.items()
        if quantity > 0
    ]
    if not found:
        raise Untranslatable("nothing of the shipment left")
    return sorted(found, key=lambda each: each.line_number)


def _line(
    number: int,
    item_number: str,
    unit: str,
    quantity: Decimal,
    contents: Sequence[shipment_pb2.PackageContent],
) -> LineThatLeft:
    own = [content for content in contents if content.line_number == number]
    lots = _lots(number, unit, quantity, own)
    serial_numbers = tuple(serial for content in own for serial in content.serial_numbers)
    if serial_numbers and len(serial_numbers) != quantity:
        raise Untranslatable(
            f"line {number}: {len(serial_numbers)} serial numbers, and {quantity:f} left"
        )
    if len(set(serial_numbers)) != len(serial_numbers):
        (twice, _), *_ = Counter(serial_numbers).most_common(1)
        raise Untranslatable(f"line {number}: serial number {twice} is packed twice")
    return LineThatLeft(number, item_number, quantity, unit, lots, serial_numbers)


def _lots(
    number: int, unit: str, quantity: Decimal, own: Sequence[shipment_pb2.PackageContent]
) -> dict[str, Decimal]:
    lots: dict[str, Decimal] = {}
    for content in own:
        if not content.lot:
            continue
        if content.quantity.unit != unit:
            raise Untranslatable(
                f"line {number}: {unit} left, and lot {content.lot} is packed in "
                f"{content.quantity.unit}"
            )
        lots[content.lot] = lots.get(content.lot, Decimal(0)) + Decimal(content.quantity.value)
    named = sum(lots.values(), Decimal(0))
    if lots and named != quantity:
        if len(lots) > 1 or named < quantity:
            raise Untranslatable(
                f"line {number}: the packages name lots of {named:f}, and {quantity:f} left"
            )
        # All of it is of one lot: so is what left.
        lots = {next(iter(lots)): quantity}
    return lots
