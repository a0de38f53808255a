"""Receipts of customer returns as returns deliveries: one for each receipt, posted once.

The service and its entities are common knowledge and not tested in a tenant; they are those of the
outbound delivery under other names, so the same rules hold: a key of ours, ETags, the status says
whether it is posted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crossdock.returns.v1 import return_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from crossdock_adapters.sap import odata, returns, translate
from crossdock_adapters.sap.client import SapClient
from crossdock_adapters.sap.translate import BookingRules, Shipped, item_number
from crossdock_adapters.sdk.outcomes import NeedsPerson, Untranslatable
from crossdock_adapters.sdk.work import Work


@dataclass(frozen=True, slots=True)
class OpenReturn:
    """The customer return that a receipt is of, by SAP's number."""

    number: str


async def open_return(work: Work, vendor: SapClient, rules: BookingRules) -> OpenReturn:
    """The customer return of the event. NeedsPerson: it is not there, or not ours alone."""
    number = await returns.opened(work, vendor, rules)
    if not number:
        raise NeedsPerson(
            f"the customer return of {work.event.customer_return.number} is not in SAP"
        )
    return OpenReturn(number)


def receipt_key(message: return_pb2.Return) -> str:
    """External delivery id of the return's last receipt: the hub's id without dashes, and which
    receipt it is. Untranslatable: there is none."""
    if not message.id or not message.receipts:
        raise Untranslatable("the return has no id or no receipt")
    key = message.id.replace("-", "").upper()
    count = len(message.receipts)
    return key if count == 1 else f"{key}-{count}"


def came(message: return_pb2.Return, rules: BookingRules) -> list[Shipped]:
    """What the last receipt brought, by item of the customer return.

    Untranslatable: several lots of one line, or other serial numbers than the return names: what
    SAP wants then is known of no tenant.
    """
    named = {line.line_number: set(line.serial_numbers) for line in message.lines}
    found: dict[int, Shipped] = {}
    for row in message.receipts[-1].lines:
        number, quantity = row.line_number, translate.amount(row.quantity.value)
        known = found.get(number)
        if known is not None and set(known.lots) != ({row.lot} if row.lot else set()):
            raise Untranslatable(f"line {number}: several lots came with one receipt; divide it")
        lots = [row.lot] if row.lot else []
        serials = (*(known.serial_numbers if known else ()), *row.serial_numbers)
        total = quantity + (known.quantity if known else Decimal(0))
        unit = translate.sap_unit(row.quantity.unit, rules)
        found[number] = Shipped(
            item_number(number), total, unit, dict.fromkeys(lots, total), tuple(serials)
        )
    for number, line in found.items():
        if line.serial_numbers and set(line.serial_numbers) != named.get(number, set()):
            raise Untranslatable(
                f"line {number}: other serial numbers came than return {message.number} names"
            )
    # The customer return names the serial numbers, and its delivery has them from there.
    return [
        Shipped(line.item, line.quantity, line.unit, line.lots)
        for line in sorted(found.values(), key=lambda each: each.item)
    ]


def creation(number: str, lines: Sequence[Shipped]) -> dict[str, Any]:
    """The deep create of a returns delivery of a customer return."""
    return {
        "to_DeliveryDocumentItem": {
            "results": [
                {
                    "ReferenceSDDocument": number,
                    "ReferenceSDDocumentItem": line.item,
                    "ActualDeliveryQuantity": odata.decimal_text(line.quantity),
                    "DeliveryQuantityUnit": line.unit,
                }
                for line in lines
            ]
        }
    }


def header_changes(
    message: return_pb2.Return, heard: Timestamp, rules: BookingRules
) -> dict[str, Any]:
    """The day of the posting: when the goods came, in the zone of the books; else when the hub
    heard of it."""
    day = translate.local_day(message.receipts[-1].receive_time, heard, rules.zone)
    return {"ActualGoodsMovementDate": odata.day(day)}
