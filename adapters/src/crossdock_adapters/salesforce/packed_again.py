"""What of an order may be packed again, because the shipment that it was in was voided.

The hub's order stays shipped when one of its shipments is voided. What was in that would be
fulfilled and billed here without having left.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.salesforce.translate import Found, Rules, quantity_of, unit_of
from crossdock_adapters.sdk.measures import plain
from crossdock_adapters.sdk.order_shipments import shipments_of
from crossdock_adapters.sdk.work import Work


async def awaited(work: Work, order: order_pb2.Order, found: Found, rules: Rules) -> str:
    """What of which lines is to be packed again, and which voided shipments had it, in words; "":
    nothing. What a person took out in Salesforce by now is not awaited.

    Retry and NeedsPerson as `shipments_of`. Unreadable: a row has no quantity or unit.
    """
    open_lines = _not_accounted_for(order, found, rules)
    if not open_lines:
        return ""
    voided = [
        each.number
        for each in await shipments_of(work, order.id)
        if each.state == shipment_pb2.SHIPMENT_STATE_VOIDED and _lines(each) & set(open_lines)
    ]
    if not voided:
        return ""
    amounts = ", ".join(words for _, words in sorted(open_lines.items()))
    return f"{amounts} was in {', '.join(voided)}, which was voided, and has not left since"


def _not_accounted_for(order: order_pb2.Order, found: Found, rules: Rules) -> Mapping[int, str]:
    """By line, in words: what was ordered and has neither left nor is short, as far as its row
    still has it.

    What nobody can reckon, because it is told in several units, counts, until the row has nothing
    or a person closed the order there: it would be billed without anybody having looked.
    """
    ordered = {line.line_number: line.quantity for line in order.lines}
    lines: dict[int, str] = {}
    for told in order.progress:
        number = told.line_number
        if number not in ordered or not 1 <= number <= len(found.lines):
            continue
        kept = quantity_of(found.lines[number - 1], rules.names)
        shipped, short = (Decimal(each.value or 0) for each in (told.shipped, told.short))
        counted = (ordered[number], told.shipped, told.short)
        units = {each.unit for each in counted if Decimal(each.value or 0)}
        if kept and len(units) > 1:
            lines[number] = f"what is left of line {number} (told in {', '.join(sorted(units))})"
            continue
        rest = Decimal(ordered[number].value) - shipped - short
        there = unit_of(found, number, rules)
        if there == ordered[number].unit:
            words = f"of line {number}"
            rest = min(rest, kept - shipped)
        else:
            words = f"{ordered[number].unit} of line {number} (its row is in {there})"
        if kept and rest > 0:
            lines[number] = f"{plain(rest)} {words}"
    return lines


def _lines(shipment: shipment_pb2.Shipment) -> set[int]:
    return {content.line_number for each in shipment.packages for content in each.contents}
