"""How much of an order may come back, and whether a new return asks for more; pure.

What left in one unit may come back in that unit: of each that a line was shipped in, so much. Cases
and pieces of one line are counted apart, so that no more comes back of either than left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from crossdock.errors import Violation
from crossdock.order.v1 import order_pb2
from crossdock.quantities import (
    Contradiction,
    NotConvertible,
    conversion,
    exact_decimal,
    plain,
)
from crossdock.returns.v1 import return_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_hub.objects import returned_pieces, unit_rules
from crossdock_hub.objects.departures import Amounts, shipped_amounts
from crossdock_hub.objects.receipts import authorised, received
from crossdock_hub.objects.shortages import has_left
from crossdock_hub.refusals import invalid
from crossdock_hub.wording import listed

RULE = "returnable"


def check_returnable(
    order: order_pb2.Order,
    shipments: Iterable[shipment_pb2.Shipment],
    others: Iterable[return_pb2.Return],
    wanted: return_pb2.Return,
    conversions: Iterable[object],
) -> None:
    """Refuse a return of what was not shipped, or is in another return of the order already.

    shipments, others: every shipment and every return that the order has. conversions: of
    `mixed_items` and of every item, to say what is left in other units. Raises Refused with
    INVALID_FIELD: all lines that ask for too much, of another item, in a unit in which nothing
    left, or for a piece that is in another return.
    """
    shipped = _shipped(shipments)
    items = {line.line_number: line.item_number for line in order.lines}
    others, conversions = list(others), list(conversions)
    returned, pieces = _taken(others), returned_pieces.spoken_for(others)
    found: list[Violation] = []
    for index, line in enumerate(wanted.lines):
        at, number = f"customer_return.lines[{index}]", line.line_number
        if number not in items:
            found.append(Violation(f"{at}.line_number", f"the order has no line {number}", RULE))
            continue
        if line.item_number != items[number]:
            words = f"line {number} of the order is of {items[number]}; name that item"
            found.append(Violation(f"{at}.item_number", words, RULE))
        problem = _problem(line, shipped, returned, conversions)
        if problem:
            found.append(Violation(f"{at}.quantity", problem, RULE))
        elif excess := returned_pieces.too_many(line, at, RULE):
            found.append(excess)
        found += returned_pieces.taken(line, pieces, wanted.number, at, RULE)
    if found:
        raise invalid(found)


def mixed_items(
    shipments: Iterable[shipment_pb2.Shipment], wanted: return_pb2.Return
) -> frozenset[str]:
    """Items of lines that left in another unit than they are to come back in; most often none."""
    left = _shipped(shipments)
    return frozenset(line.item_number for line in wanted.lines if _other_units(line, left))


def _other_units(line: return_pb2.ReturnLine, left: Amounts) -> list[str]:
    return sorted(
        unit
        for (number, unit), quantity in left.items()
        if number == line.line_number and quantity and unit != line.quantity.unit
    )


def _shipped(shipments: Iterable[shipment_pb2.Shipment]) -> Amounts:
    """What has left, by line and unit."""
    found: Amounts = defaultdict(Decimal)
    for shipment in filter(has_left, shipments):
        for key, quantity in shipped_amounts(shipment).items():
            found[key] += quantity
    return found


def _problem(
    line: return_pb2.ReturnLine, out: Amounts, returned: Amounts, conversions: Iterable[object]
) -> str:
    """What is wrong with a line's quantity; "" when it may come back."""
    quantity, unit = Decimal(line.quantity.value), line.quantity.unit
    if quantity <= 0:
        return "has to be above zero"
    shipped = out.get((line.line_number, unit), Decimal(0))
    back = returned.get((line.line_number, unit), Decimal(0))
    others = _other_units(line, out)
    if not shipped and others:
        return (
            f"is in {unit}; line {line.line_number} ({line.item_number}) was shipped in "
            f"{listed(others)}: say in that unit how much comes back (ConvertQuantity tells how "
            f"much {others[0]} of {line.item_number} that is)"
            + _elsewhere(line, out, returned, conversions)
        )
    if quantity > shipped - back:
        return (
            f"{plain(quantity)} {unit} of line {line.line_number} come back, and "
            f"{plain(max(Decimal(0), shipped - back))} may: {plain(shipped)} were shipped and "
            f"{plain(back)} are in other returns" + _elsewhere(line, out, returned, conversions)
        )
    return ""


def _elsewhere(
    line: return_pb2.ReturnLine, out: Amounts, returned: Amounts, conversions: Iterable[object]
) -> str:
    """What of the line may come back in its other units, and how much there is what was asked for:
    whoever authorises the return decides whether the case or the pieces come."""
    words = ""
    for unit in _other_units(line, out):
        key = (line.line_number, unit)
        left = out[key] - returned.get(key, Decimal(0))
        if left > 0:
            words += f"; {plain(left)} {unit} of it may come back, asked for in {unit}"
            words += _same_in(line, unit, conversions)
    return words


def _same_in(line: return_pb2.ReturnLine, unit: str, conversions: Iterable[object]) -> str:
    try:
        said = unit_rules.rules(conversions, line.item_number)
        way = conversion(line.quantity.unit, unit, said)
    except (NotConvertible, Contradiction):
        return ""
    exact = exact_decimal(way.of(Decimal(line.quantity.value)))
    if exact is None:
        return ""
    asked = f"{plain(Decimal(line.quantity.value))} {line.quantity.unit}"
    return f" ({asked} are {plain(exact)} {unit})"


def _taken(others: Iterable[return_pb2.Return]) -> Amounts:
    """What is in returns: of an open one what may come of it, of an ended one what has come."""
    found: Amounts = defaultdict(Decimal)
    for other in others:
        came = received(other)
        if other.state in (return_pb2.RETURN_STATE_CLOSED, return_pb2.RETURN_STATE_CANCELLED):
            may_come = came
        else:
            may_come = {key: max(q, came.get(key, q)) for key, q in authorised(other).items()}
        for key, quantity in may_come.items():
            found[key] += quantity
    return found
