"""Lines packed in another unit that no conversion of the item tells: nobody says what they lack."""

from __future__ import annotations

from typing import Any, Final

from crossdock_hub.objects.shortages import not_compared
from crossdock_hub.reading.chain import Chain
from crossdock_hub.wording import listed

# Lines that are named in a sentence.
NAMED_MAX: Final = 3


def uncompared(chain: Chain) -> str:
    """What to say of such lines of the flow's fulfillment requests, and what to do; "": none."""
    shipments: list[Any] = [each.message for each in chain.objects if each.kind == "shipment"]
    found = []
    for record in chain.objects:
        if record.kind != "fulfillment_request" or record.state == "CANCELLED":
            continue
        request: Any = record.message
        items = {line.line_number: line.item_number for line in request.lines}
        own = [each for each in shipments if each.fulfillment_request_id == record.id]
        units = chain.units_of(request, own)
        for (line, unit), others in not_compared(request, own, units).items():
            found.append(
                f"line {line} ({items[line]}) of {request.number} was asked for in {unit} and "
                f"packed, or called short, in {listed(sorted(others))}"
            )
    if not found:
        return ""
    more = len(found) - NAMED_MAX
    named = listed([*found[:NAMED_MAX], *([f"{more} lines more"] if more > 0 else [])])
    return (
        f"{named}, which the hub does not compare: whether something is missing the warehouse has "
        "to say; have it packed in the unit of the order, the packages corrected "
        "(UpdateShipment), or the ERP tell how much of one unit of the item the other is "
        "(UpsertUnitConversions)"
    )
