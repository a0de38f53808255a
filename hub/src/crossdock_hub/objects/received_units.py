"""What came of a return in the units in which it was authorised, whatever units it was told in;
pure.

A receipt is counted, told and posted in the unit of its return: what the warehouse told is kept
beside that. Nothing is rounded: what has no decimal there does not count until somebody decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from crossdock.quantities import (
    Contradiction,
    Conversion,
    NotConvertible,
    conversion,
    exact_decimal,
    plain,
)
from crossdock.returns.v1 import return_pb2

from crossdock_hub.objects import unit_rules
from crossdock_hub.records import EVERY_ITEM

_CONVERSIONS: Final = "unit_conversions:"


@dataclass(frozen=True, slots=True)
class Counted:
    """A receipt in the units of its return. problems: by the place of a line that has no quantity
    there, why, and what to do. awaits: what would help by itself, once it is written; "": nothing.
    """

    receipt: return_pb2.ReturnReceipt
    problems: Mapping[int, str]
    awaits: str = ""


def awaited_conversion(item: str) -> str:
    """What waits for unit conversions of an item, or of `EVERY_ITEM`, awaits."""
    return f"{_CONVERSIONS}{item}"


def waiting_for_units(awaited: Iterable[str], satisfied: Iterable[str]) -> list[str]:
    """Which of these texts wait for unit conversions, where some have come that hold for every item
    and so may be what any of them is in want of; else none."""
    if awaited_conversion(EVERY_ITEM) not in satisfied:
        return []
    return sorted(each for each in awaited if each.startswith(_CONVERSIONS))


def converted_items(
    customer_return: return_pb2.Return, receipt: return_pb2.ReturnReceipt
) -> frozenset[str]:
    """Items that came in another unit than was authorised; most often none."""
    lines = {line.line_number: line for line in customer_return.lines}
    return frozenset(
        lines[row.line_number].item_number
        for row in receipt.lines
        if row.line_number in lines and row.quantity.unit != lines[row.line_number].quantity.unit
    )


def counted(
    customer_return: return_pb2.Return,
    receipt: return_pb2.ReturnReceipt,
    conversions: Iterable[Any],
) -> Counted:
    """A receipt in the units of its return. conversions: of `converted_items` and of every item.

    A line that the return does not have stays as it is told.
    """
    conversions = list(conversions)
    lines = {line.line_number: line for line in customer_return.lines}
    found = return_pb2.ReturnReceipt()
    found.CopyFrom(receipt)
    problems: dict[int, str] = {}
    awaits = ""
    for index, row in enumerate(found.lines):
        line = lines.get(row.line_number)
        if line is None or row.quantity.unit == line.quantity.unit:
            continue
        try:
            problems[index] = _convert(row, line, _way(row, line, conversions))
        except (NotConvertible, Contradiction) as why:
            problems[index] = (
                f"is in {row.quantity.unit}, and line {row.line_number} ({line.item_number}) in "
                f"{line.quantity.unit}: {why}; once the ERP tells it, or corrects it "
                "(UpsertUnitConversions), it is received by itself; else report it in "
                f"{line.quantity.unit}, then discard this one"
            )
            awaits = awaits or awaited_conversion(line.item_number)
    return Counted(found, {at: words for at, words in problems.items() if words}, awaits)


def as_reported(row: return_pb2.ReceivedLine) -> return_pb2.ReceivedLine:
    """A line as the warehouse told it."""
    copy = return_pb2.ReceivedLine()
    copy.CopyFrom(row)
    if row.HasField("reported_quantity"):
        copy.quantity.CopyFrom(row.reported_quantity)
        copy.ClearField("reported_quantity")
    return copy


def _way(
    row: return_pb2.ReceivedLine, line: return_pb2.ReturnLine, conversions: Iterable[Any]
) -> Conversion:
    said = unit_rules.rules(conversions, line.item_number)
    return conversion(row.quantity.unit, line.quantity.unit, said)


def _convert(row: return_pb2.ReceivedLine, line: return_pb2.ReturnLine, way: Conversion) -> str:
    """Write the quantity of a row in the unit of its line; why it cannot be, where it has none."""
    told, unit = f"{row.quantity.value} {row.quantity.unit}", line.quantity.unit
    value = way.of(Decimal(row.quantity.value))
    exact = exact_decimal(value)
    if exact is None:
        return (
            f"{told} of line {row.line_number} ({line.item_number}) are {value} {unit}, in which "
            f"it was authorised, and that is no decimal number; report it in {unit}, or have the "
            f"OMS authorise a return of it in {row.quantity.unit} and receive it there, then "
            "discard this one"
        )
    row.reported_quantity.CopyFrom(row.quantity)
    row.quantity.value, row.quantity.unit = plain(exact), unit
    return ""
