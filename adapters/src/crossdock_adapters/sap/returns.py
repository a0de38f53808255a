"""Customer returns: opened once with the items that come back, given up, found by their number.

The number is that of the authorisation, in `PurchaseOrderByCustomer`, which is free text for
everybody in SAP: what carries it is ours only when it is a return of our sales order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from crossdock.returns.v1 import return_pb2

from crossdock_adapters.sap import odata, orders, translate
from crossdock_adapters.sap.client import RecordMissing, SapClient, Stale, etag_of
from crossdock_adapters.sap.deliveries import STALE_PAUSE_SECONDS, TRIES
from crossdock_adapters.sap.translate import MAX_REFERENCE, BookingRules, SalesOrder, item_number
from crossdock_adapters.sdk import return_reasons
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.work import Work

RETURNS: Final = "API_CUSTOMER_RETURN_SRV"
RETURN, RETURN_ITEM = "A_CustomerReturn", "A_CustomerReturnItem"
MAX_SERIAL: Final = 18


@dataclass(frozen=True, slots=True)
class ReturnRules:
    """What the tenant's customizing calls a return. reasons: the OMS's code to SAP's, "*" for any
    other. order_reason, follow_up: "" where SAP determines them."""

    return_type: str
    order_reason: str
    reasons: Mapping[str, str]
    follow_up: str


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


def of_event(
    message: return_pb2.Return, order: SalesOrder, booking: BookingRules, rules: ReturnRules
) -> CustomerReturn:
    """What the hub authorised, of the sales order as it is. Untranslatable: a line that the order
    has not, or a reason or unit without SAP's code."""
    items = {item.number: item for item in order.items}
    lines = []
    for line in message.lines:
        item = items.get(item_number(line.line_number))
        if item is None:
            raise Untranslatable(f"sales order {order.number} has no item {line.line_number}")
        reason = return_reasons.code_of(line.reason_code, rules.reasons, "sap")
        lines.append(
            ReturnLine(
                line.line_number,
                item.material,
                translate.amount(line.quantity.value),
                translate.sap_unit(line.quantity.unit, booking),
                reason,
                rules.follow_up,
                tuple(line.serial_numbers),
            )
        )
    return CustomerReturn(
        number=message.number,
        return_type=rules.return_type,
        sales_area=translate.sales_area(message.business_unit, booking),
        sold_to=order.sold_to,
        sales_order=order.number,
        order_reason=rules.order_reason,
        lines=tuple(lines),
    )


def document(wanted: CustomerReturn) -> dict[str, Any]:
    """The deep create. Untranslatable: nothing comes back, or the number does not fit."""
    if not 0 < len(wanted.number) <= MAX_REFERENCE:
        raise Untranslatable(
            f"return {wanted.number!r} has to have 1 to {MAX_REFERENCE} characters"
        )
    if not wanted.lines or any(line.quantity <= 0 for line in wanted.lines):
        raise Untranslatable("a return has lines, and quantities above zero")
    organisation, channel, division = wanted.sales_area
    body: dict[str, Any] = {
        "CustomerReturnType": wanted.return_type,
        "SalesOrganization": organisation,
        "DistributionChannel": channel,
        "OrganizationDivision": division,
        "SoldToParty": wanted.sold_to,
        "PurchaseOrderByCustomer": wanted.number,
        "ReferenceSDDocument": wanted.sales_order,
        "to_Item": {"results": [_line(wanted, line) for line in wanted.lines]},
    }
    if wanted.order_reason:
        body["SDDocumentReason"] = wanted.order_reason
    return body


def _line(wanted: CustomerReturn, line: ReturnLine) -> dict[str, Any]:
    if any(len(serial) > MAX_SERIAL for serial in line.serial_numbers):
        raise Untranslatable(
            f"line {line.line_number}: a serial number has more than {MAX_SERIAL} characters"
        )
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
    try:
        reply = await vendor.create(RETURNS, RETURN, body)
    except (Stale, RecordMissing) as odd:
        raise NeedsPerson(f"SAP answered a create with {odd}") from odd
    content = reply.content if isinstance(reply.content, Mapping) else {}
    if not content.get("CustomerReturn"):
        raise OutcomeUnknown("SAP opened a customer return and did not say its number")
    return Confirmed([_reference(content)], note="; ".join(map(str, reply.messages)))


async def find(vendor: SapClient, wanted: CustomerReturn) -> Confirmed | NotFound:
    """Look for the return by the authorisation's number: the oldest is adopted, others are told.

    NeedsPerson: what carries the number is a return of another sales order.
    """
    held = await _carrying(vendor, wanted.number, wanted.sales_order)
    if not held:
        return NotFound(f"SAP knows no customer return {wanted.number}")
    duplicates = [_reference(row) for row in held[1:]]
    return Confirmed([_reference(held[0])], duplicates=duplicates, note="found by its number")


async def order_of(work: Work, vendor: SapClient, rules: BookingRules) -> SalesOrder:
    """The sales order that the return of the event is of. NeedsPerson: it is not there."""
    message: return_pb2.Return = work.event.customer_return
    customer = message.customer_number
    try:
        known = await work.numbers("customer", [customer])
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for numbers: {away}") from away
    order = await orders.one(
        vendor, orders.of_return(message, known.get(customer, customer), rules)
    )
    if order is None:
        raise NeedsPerson(f"the sales order of {message.order_number} is not in SAP")
    return order


async def opened(work: Work, vendor: SapClient, rules: BookingRules) -> str:
    """SAP's number of the return of the event; "" when there is none. NeedsPerson: there are
    several, or it is of another sales order."""
    number = work.event.customer_return.number
    rows = await _carrying(vendor, number, (await order_of(work, vendor, rules)).number)
    held = [str(row.get("CustomerReturn")) for row in rows]
    if len(held) > 1:
        raise NeedsPerson(f"customer returns {', '.join(held)} are all of return {number}")
    return held[0] if held else ""


async def _carrying(vendor: SapClient, number: str, sales_order: str) -> list[Mapping[str, Any]]:
    rows = await vendor.query(
        RETURNS,
        RETURN,
        {
            "$filter": odata.equals("PurchaseOrderByCustomer", number),
            "$orderby": "CustomerReturn",
        },
    )
    held = [row for row in rows if row.get("PurchaseOrderByCustomer") == number]
    for row in held:
        # SAP shows and hides the zeros before a number as it likes.
        preceding = str(row.get("ReferenceSDDocument") or "")
        if odata.bare(preceding) != odata.bare(sales_order):
            raise NeedsPerson(
                f"customer return {row.get('CustomerReturn')} has the number {number} and is of "
                f"{preceding or 'no document'} instead of {sales_order}: a person decides whose "
                "it is"
            )
    return held


async def cancel(vendor: SapClient, number: str, reject_reason: str) -> Confirmed:
    """Reject every item of a return, so that none is expected; the same again writes nothing.

    Each write makes a new version of the whole return, so that it is read anew for the next one.
    NeedsPerson: SAP took a rejection and did not keep it, or there is no such return.
    """
    done: set[str] = set()
    stale = 0
    while True:
        try:
            item, etag = await _expected(vendor, number)
            if not item:
                return Confirmed([Reference("customer_return", number)])
            if item in done:
                raise NeedsPerson(f"customer return {number} has not kept {reject_reason}: see why")
            place = odata.key(CustomerReturn=number, CustomerReturnItem=item)
            body = {"SalesDocumentRjcnReason": reject_reason}
            await vendor.change(RETURNS, f"{RETURN_ITEM}{place}", body, etag)
            done.add(item)
        except Stale:
            stale += 1
            if stale == TRIES:
                said = f"customer return {number} is changed all the time"
                raise Retry(STALE_PAUSE_SECONDS, said) from None
        except RecordMissing as missing:
            raise NeedsPerson(f"customer return {number} is not there: {missing}") from missing


async def _expected(vendor: SapClient, number: str) -> tuple[str, str]:
    """The first item of a return that is not rejected, and its ETag; "" when there is none."""
    path = f"{RETURN}{odata.key(CustomerReturn=number)}"
    reply = await vendor.read(RETURNS, path, {"$expand": "to_Item"})
    for item in odata.inner(reply.content, "to_Item"):
        if not item.get("SalesDocumentRjcnReason"):
            return str(item["CustomerReturnItem"]), etag_of(item) or reply.etag
    return "", ""


def _reference(row: Mapping[str, Any]) -> Reference:
    return Reference("customer_return", str(row.get("CustomerReturn")))
