"""Customer returns: opened once with the items that come back, found by the authorisation's number.

No event of the contract asks for them yet: whoever brings one calls these functions, which are as
safe to repeat as an operation of class searchable has to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.client import SapClient
from crossdock_adapters.sap.translate import MAX_REFERENCE, item_number
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NotFound,
    OutcomeUnknown,
    Reference,
    Untranslatable,
)

RETURNS: Final = "API_CUSTOMER_RETURN_SRV"
RETURN: Final = "A_CustomerReturn"


@dataclass(frozen=True, slots=True)
class ReturnLine:
    """What comes back of one item of a sales order. unit: SAP's code. reason: of the tenant's
    customizing, as the follow-up activity is."""

    line_number: int
    material: str
    quantity: Decimal
    unit: str
    reason: str
    follow_up: str = ""
    serial_numbers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerReturn:
    """A return that a customer was authorised to send. number: of the authorisation."""

    number: str
    return_type: str
    sales_area: tuple[str, str, str]
    sold_to: str
    sales_order: str
    order_reason: str
    lines: tuple[ReturnLine, ...]


def document(wanted: CustomerReturn) -> dict[str, Any]:
    """The deep create. Untranslatable: nothing comes back, or the number does not fit."""
    if not 0 < len(wanted.number) <= MAX_REFERENCE:
        raise Untranslatable(
            f"return {wanted.number!r} has to have 1 to {MAX_REFERENCE} characters"
        )
    if not wanted.lines or any(line.quantity <= 0 for line in wanted.lines):
        raise Untranslatable("a return has lines, and quantities above zero")
    organisation, channel, division = wanted.sales_area
    return {
        "CustomerReturnType": wanted.return_type,
        "SalesOrganization": organisation,
        "DistributionChannel": channel,
        "OrganizationDivision": division,
        "SoldToParty": wanted.sold_to,
        "PurchaseOrderByCustomer": wanted.number,
        "SDDocumentReason": wanted.order_reason,
        "ReferenceSDDocument": wanted.sales_order,
        "to_Item": {"results": [_line(wanted, line) for line in wanted.lines]},
    }


def _line(wanted: CustomerReturn, line: ReturnLine) -> dict[str, Any]:
    if line.serial_numbers and len(line.serial_numbers) != line.quantity:
        raise Untranslatable(
            f"line {line.line_number}: {len(line.serial_numbers)} serial numbers, and "
            f"{line.quantity:f} come back"
        )
    item: dict[str, Any] = {
        "CustomerReturnItem": item_number(line.line_number),
        "Material": line.material,
        "RequestedQuantity": odata.decimal_text(line.quantity),
        "RequestedQuantityUnit": line.unit,
        "ReturnReason": line.reason,
        "CustRetMatlAuthzn": wanted.number,
        "ReferenceSDDocument": wanted.sales_order,
        "ReferenceSDDocumentItem": item_number(line.line_number),
    }
    if line.follow_up:
        item["CustRetItmFollowUpActivity"] = line.follow_up
    if line.serial_numbers:
        numbers = [{"SerialNumber": serial} for serial in line.serial_numbers]
        item["to_SerialNumber"] = {"results": numbers}
    return item


async def open_return(vendor: SapClient, wanted: CustomerReturn) -> Confirmed:
    """Open the return unless SAP has it."""
    body = document(wanted)
    found = await find(vendor, wanted)
    if isinstance(found, Confirmed):
        return found
    reply = await vendor.create(RETURNS, RETURN, body)
    content = reply.content if isinstance(reply.content, Mapping) else {}
    if not content.get("CustomerReturn"):
        raise OutcomeUnknown("SAP opened a customer return and did not say its number")
    return Confirmed([_reference(content)], note="; ".join(map(str, reply.messages)))


async def find(vendor: SapClient, wanted: CustomerReturn) -> Confirmed | NotFound:
    """Look for the return by the authorisation's number: the oldest is adopted, others are told."""
    rows = await vendor.query(
        RETURNS,
        RETURN,
        {
            "$filter": odata.equals("PurchaseOrderByCustomer", wanted.number),
            "$orderby": "CustomerReturn",
        },
    )
    held = [row for row in rows if row.get("PurchaseOrderByCustomer") == wanted.number]
    if not held:
        return NotFound(f"SAP knows no customer return {wanted.number}")
    duplicates = [_reference(row) for row in held[1:]]
    return Confirmed([_reference(held[0])], duplicates=duplicates, note="found by its number")


def _reference(row: Mapping[str, Any]) -> Reference:
    return Reference("customer_return", str(row.get("CustomerReturn")))
