"""How much of an order may come back, and whether a new return asks for more; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from crossdock.errors import Violation
from crossdock.order.v1 import order_pb2
from crossdock.quantities import plain
from crossdock.returns.v1 import return_pb2

from crossdock_hub.objects import returned_pieces
from crossdock_hub.objects.departures import Amounts
from crossdock_hub.objects.receipts import authorised, received
from crossdock_hub.refusals import invalid

RULE = "returnable"


def check_returnable(
    order: order_pb2.Order,
    others: Iterable[return_pb2.Return],
    wanted: return_pb2.Return,
) -> None:
    """Refuse a return of what was not shipped, or is in another return of the order already.

    others: every return that the order has. Raises Refused with INVALID_FIELD: all lines that ask
    for too much, of another item, in another unit, or for a piece that is in another return.
    """
    shipped = {row.line_number: row.shipped for row in order.progress}
    items = {line.line_number: line.item_number for line in order.lines}
    others = list(others)
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
        out = shipped.get(number)
        unit = out.unit if out is not None else line.quantity.unit
        left = Decimal(out.value) if out is not None else Decimal(0)
        problem = _problem(line, unit, left, returned[number, unit])
        if problem:
            found.append(Violation(f"{at}.quantity", problem, RULE))
        elif excess := returned_pieces.too_many(line, at, RULE):
            found.append(excess)
        found += returned_pieces.taken(line, pieces, wanted.number, at, RULE)
    if found:
        raise invalid(found)


def _problem(line: return_pb2.ReturnLine, unit: str, shipped: Decimal, returned: Decimal) -> str:
    """What is wrong with a line's quantity; "" when it may come back."""
    quantity = Decimal(line.quantity.value)
    if quantity <= 0:
        return "has to be above zero"
    if line.quantity.unit != unit:
        return f"is in {line.quantity.unit}; line {line.line_number} was shipped in {unit}"
    if quantity > shipped - returned:
        return (
            f"{plain(quantity)} {unit} of line {line.line_number} come back, and "
            f"{plain(max(Decimal(0), shipped - returned))} may: {plain(shipped)} were shipped and "
            f"{plain(returned)} are in other returns"
        )
    return ""


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
