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
from crossdock.quantities import plain
from crossdock.returns.v1 import return_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_hub.objects import returned_pieces
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
) -> None:
    """Refuse a return of what was not shipped, or is in another return of the order already.

    shipments, others: every shipment and every return that the order has. Raises Refused with
    INVALID_FIELD: all lines that ask for too much, of another item, in a unit in which nothing
    left, or for a piece that is in another return.
    """
    shipped = _shipped(shipments)
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
        problem = _problem(line, shipped, returned[number, line.quantity.unit])
        if problem:
            found.append(Violation(f"{at}.quantity", problem, RULE))
        elif excess := returned_pieces.too_many(line, at, RULE):
            found.append(excess)
        found += returned_pieces.taken(line, pieces, wanted.number, at, RULE)
    if found:
        raise invalid(found)


def _shipped(shipments: Iterable[shipment_pb2.Shipment]) -> Amounts:
    """What has left, by line and unit."""
    found: Amounts = defaultdict(Decimal)
    for shipment in filter(has_left, shipments):
        for key, quantity in shipped_amounts(shipment).items():
            found[key] += quantity
    return found


def _problem(line: return_pb2.ReturnLine, out: Amounts, returned: Decimal) -> str:
    """What is wrong with a line's quantity; "" when it may come back. returned: in its unit."""
    quantity, unit = Decimal(line.quantity.value), line.quantity.unit
    if quantity <= 0:
        return "has to be above zero"
    shipped = out.get((line.line_number, unit), Decimal(0))
    others = sorted(u for (n, u), q in out.items() if n == line.line_number and q and u != unit)
    if not shipped and others:
        return (
            f"is in {unit}; line {line.line_number} ({line.item_number}) was shipped in "
            f"{listed(others)}: say in that unit how much comes back (ConvertQuantity tells how "
            f"much {others[0]} of {line.item_number} that is)"
        )
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
