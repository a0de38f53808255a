"""What left with a shipment's last departure: packages, and of each line how much, and of which
lots and serial numbers. Pure.

The ship confirm says how much left of a line, and may say less than was packed; the packages alone
say of which lots and serial numbers. Where the two cannot be brought together nobody knows which
pieces left: Untranslatable says so to who asks which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.sdk.outcomes import Untranslatable


@dataclass(frozen=True, slots=True)
class LineThatLeft:
    """Of one order line. packed: what the packages that left say of it.

    Who does not book lots or serial numbers does not ask for them, and is refused nothing.
    """

    line_number: int
    item_number: str
    quantity: Decimal
    unit: str
    packed: Sequence[shipment_pb2.PackageContent] = ()

    @property
    def named(self) -> set[str]:
        """Every lot and serial number that was packed."""
        serial_numbers = {serial for content in self.packed for serial in content.serial_numbers}
        return serial_numbers | {content.lot for content in self.packed if content.lot}

    @property
    def serial_numbers(self) -> tuple[str, ...]:
        """Of what left; empty where none is named. Untranslatable: nobody says which pieces did."""
        found = tuple(serial for content in self.packed for serial in content.serial_numbers)
        if found and len(found) != self.quantity:
            raise Untranslatable(
                f"line {self.line_number}: {len(found)} serial numbers, and {self.quantity:f} left"
            )
        bare = sum(1 for content in self.packed if not content.serial_numbers)
        if found and bare:
            raise Untranslatable(
                f"line {self.line_number}: {len(found)} serial numbers, and pieces without one "
                f"beside them; {self.quantity:f} left"
            )
        if len(set(found)) != len(found):
            (twice, _), *_ = Counter(found).most_common(1)
            raise Untranslatable(f"line {self.line_number}: serial number {twice} is packed twice")
        return found

    @property
    def lots(self) -> dict[str, Decimal]:
        """Quantity of what left by lot, in the line's unit; empty where none is named.

        Untranslatable: nobody says how much of which lot did.
        """
        lots: dict[str, Decimal] = {}
        bare = Decimal(0)
        for content in self.packed:
            if not content.lot:
                bare += Decimal(content.quantity.value)
                continue
            if content.quantity.unit != self.unit:
                raise Untranslatable(
                    f"line {self.line_number}: {self.unit} left, and lot {content.lot} is packed "
                    f"in {content.quantity.unit}"
                )
            lots[content.lot] = lots.get(content.lot, Decimal(0)) + Decimal(content.quantity.value)
        named = sum(lots.values(), Decimal(0))
        if lots and bare:
            raise Untranslatable(
                f"line {self.line_number}: the packages name lots of {named:f} among "
                f"{named + bare:f}, and {self.quantity:f} left"
            )
        if lots and named != self.quantity:
            if len(lots) > 1 or named < self.quantity:
                raise Untranslatable(
                    f"line {self.line_number}: the packages name lots of {named:f}, and "
                    f"{self.quantity:f} left"
                )
            # All of it is of one lot: so is what left.
            lots = {next(iter(lots)): self.quantity}
        return lots


def packages_that_left(shipment: shipment_pb2.Shipment) -> list[shipment_pb2.Package]:
    """Of the last departure; of a shipment without one, all of them."""
    if not shipment.departures:
        return list(shipment.packages)
    left = set(shipment.departures[-1].package_numbers)
    return [package for package in shipment.packages if package.number in left]


def lines_that_left(shipment: shipment_pb2.Shipment) -> list[LineThatLeft]:
    """By line number. Untranslatable: nothing left, or one line in two units."""
    contents = [content for package in packages_that_left(shipment) for content in package.contents]
    quantities = shipment.departures[-1].shipped if shipment.departures else contents
    amounts = _amounts(quantities)
    if len({number for number, _ in amounts}) != len(amounts):
        raise Untranslatable("one line left in more than one unit")
    items = {
        content.line_number: content.item_number
        for package in shipment.packages
        for content in package.contents
    }
    found = [
        LineThatLeft(
            number,
            items.get(number, ""),
            quantity,
            unit,
            [content for content in contents if content.line_number == number],
        )
        for (number, unit), quantity in amounts.items()
        if quantity > 0
    ]
    if not found:
        raise Untranslatable("nothing of the shipment left")
    return sorted(found, key=lambda each: each.line_number)


def _amounts(rows: Iterable[Any]) -> dict[tuple[int, str], Decimal]:
    """The sum of rows with a line number and a quantity."""
    amounts: dict[tuple[int, str], Decimal] = {}
    for row in rows:
        at = (row.line_number, row.quantity.unit)
        amounts[at] = amounts.get(at, Decimal(0)) + Decimal(row.quantity.value)
    return amounts
