"""Customer returns: opened once at the order summary that they are of, found after a lost answer.

What a receipt of the hub's return brought is a return here, under the number of the authorisation.
The operation is of class two_step: `prepare` is its draft, which changes nothing, and `open_return`
its confirmation.

Of a managed order quantities change by the action submit-return alone, and that has no key: what an
earlier call did is seen by what is returned of each item now and what was when the return was
prepared. So returns of one order have to be taken one after another, from prepare to the end, as an
ordering key takes them. Of an unmanaged order the action does not work: a ReturnOrder with its
lines is written, all under keys of ours, whole each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from crossdock.returns.v1 import return_pb2

from crossdock_adapters.salesforce import translate
from crossdock_adapters.salesforce.client import MAX_PARTS, Part, SalesforceClient, soql_id
from crossdock_adapters.salesforce.names import ITEM, RETURN, RETURN_LINE, Names
from crossdock_adapters.salesforce.translate import Found, Rules
from crossdock_adapters.salesforce.translate_events import is_id
from crossdock_adapters.sdk import return_reasons
from crossdock_adapters.sdk.measures import plain
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Untranslatable,
)
from crossdock_adapters.sdk.places import Unreadable

RETURN_REFERENCE: Final = "return_order"
CHANGE_REFERENCE: Final = "change_order"
# As much of a draft as the hub keeps.
MAX_DRAFT: Final = 200
NUMBER: Final = re.compile(r"[A-Za-z0-9._-]{1,80}")


@dataclass(frozen=True, slots=True)
class ReturnLine:
    """What comes back of one item of an order summary, and why, in the org's words."""

    item_summary: str
    quantity: Decimal
    reason: str


@dataclass(frozen=True, slots=True)
class CustomerReturn:
    """A return that a customer was authorised to send. number: of the authorisation."""

    number: str
    summary: str
    lines: tuple[ReturnLine, ...]


@dataclass(frozen=True, slots=True)
class _Items:
    """The returned items as they are now, in the order of the lines: how much of each is returned,
    and may still be; nothing of an unmanaged order, whose quantities nobody has to keep.
    products: their records' ids."""

    managed: bool
    products: tuple[str, ...]
    returned: tuple[Decimal, ...]
    returnable: tuple[Decimal, ...]


def of_receipt(
    message: return_pb2.Return,
    summary: str,
    found: Found,
    reasons: Mapping[str, str],
    rules: Rules,
) -> CustomerReturn:
    """What the last receipt of a return brought, of the items behind the fulfillment order's rows.

    Untranslatable: there is no receipt, a line has no row, another unit than its row, or a reason
    without an entry. Unreadable: a row has no item or unit.
    """
    if not message.receipts:
        raise Untranslatable(f"return {message.number[:80]!r} tells no receipt")
    codes = {line.line_number: line.reason_code for line in message.lines}
    came: dict[int, Decimal] = {}
    for line in message.receipts[-1].lines:
        number = line.line_number
        if not 1 <= number <= len(found.lines):
            raise Untranslatable(f"line {number} is not among the fulfillment order's rows")
        kept = translate.unit_of(found, number, rules)
        if line.quantity.unit != kept:
            raise Untranslatable(f"line {number}: {line.quantity.unit} came, and it is in {kept}")
        came[number] = came.get(number, Decimal(0)) + Decimal(line.quantity.value)
    lines = []
    for number, quantity in sorted(came.items()):
        item = rules.names.get(found.lines[number - 1], "line.item")
        if not isinstance(item, str) or not is_id(item):
            raise Unreadable("is no record id", rules.names.pointer("line.item"))
        reason = return_reasons.code_of(codes.get(number, ""), reasons, "salesforce")
        lines.append(ReturnLine(item, quantity, reason))
    count = len(message.receipts)
    number_there = message.number if count == 1 else f"{message.number}--{count}"
    return CustomerReturn(number_there, summary, tuple(lines))


async def prepare(vendor: SalesforceClient, wanted: CustomerReturn) -> str:
    """The draft: how much was returned of each item before. It changes nothing.

    Untranslatable: it is no return. Reject: more comes back than may. NeedsPerson: the order
    summary does not have such an item, or does not say whether it is managed.
    """
    _check(wanted)
    items = await _items(vendor, wanted)
    _check_returnable(wanted, items)
    draft = ",".join(map(plain, items.returned))
    if len(draft) > MAX_DRAFT:
        raise Untranslatable(f"return {wanted.number}: too many lines for one; divide it")
    return draft


async def open_return(vendor: SalesforceClient, wanted: CustomerReturn, draft: str) -> Confirmed:
    """Open the return unless it is open. draft: what `prepare` said, the first time."""
    _check(wanted)
    async with vendor.turn(wanted.summary):
        items = await _items(vendor, wanted)
        if not items.managed:
            # What a return order is of may only be said when it is made, with all of its lines.
            held = await _held(vendor, wanted)
            return held or await _write_order(vendor, wanted, items.products)
        if _is_done(wanted, items, draft):
            return _found(wanted)
        _check_returnable(wanted, items)
        change = await vendor.submit_return(wanted.summary, _change_items(wanted))
    return Confirmed([Reference(CHANGE_REFERENCE, change)])


async def find(
    vendor: SalesforceClient, wanted: CustomerReturn, draft: str
) -> Confirmed | NotFound:
    """Whether the return is open: by its quantities, of an unmanaged order by its key."""
    _check(wanted)
    items = await _items(vendor, wanted)
    if items.managed:
        done = _is_done(wanted, items, draft)
        return _found(wanted) if done else NotFound(f"nothing of {wanted.number} is returned")
    return await _held(vendor, wanted) or NotFound(f"there is no return order {wanted.number}")


async def _held(vendor: SalesforceClient, wanted: CustomerReturn) -> Confirmed | None:
    """The return order under our key; None: there is none."""
    field = vendor.external_id_field
    rows = await vendor.query(f"SELECT Id FROM {RETURN} WHERE {field} = '{wanted.number}'")
    if not rows:
        return None
    return Confirmed([Reference(RETURN_REFERENCE, str(rows[0].get("Id")))], note="found by its key")


def _check(wanted: CustomerReturn) -> None:
    """Untranslatable: what is asked for is no return, or could not be told from another one."""
    if not is_id(wanted.summary):
        raise Untranslatable(f"return {wanted.number[:80]!r}: its summary is no record id")
    if not NUMBER.fullmatch(wanted.number):
        raise Untranslatable(
            f"return {wanted.number[:80]!r}: its number has to be 1 to 80 letters, digits, dots, "
            "underscores and hyphens"
        )
    if not 0 < len(wanted.lines) < MAX_PARTS:
        raise Untranslatable(f"return {wanted.number}: has to have 1 to {MAX_PARTS - 1} lines")
    for line in wanted.lines:
        if not line.quantity.is_finite() or line.quantity <= 0 or not line.reason:
            raise Untranslatable(f"return {wanted.number}: each line has a quantity and a reason")
    if len({line.item_summary for line in wanted.lines}) < len(wanted.lines):
        raise Untranslatable(f"return {wanted.number}: an item has two lines; add them up")


async def _items(vendor: SalesforceClient, wanted: CustomerReturn) -> _Items:
    names = vendor.names
    fields = ", ".join(dict.fromkeys(["Id", *names.of("item.")]))
    summary = f"{names.fields['item.summary']} = {soql_id(wanted.summary)}"
    rows = await vendor.query(f"SELECT {fields} FROM {ITEM} WHERE {summary} ORDER BY Id")
    held = {str(row.get("Id")): row for row in rows}
    missing = [line.item_summary for line in wanted.lines if line.item_summary not in held]
    if missing:
        raise NeedsPerson(f"{wanted.summary} has no item {', '.join(missing)}: nothing is returned")
    ours = [held[line.item_summary] for line in wanted.lines]
    products = tuple(str(names.get(row, "item.product") or "") for row in ours)
    try:
        if not _is_managed(ours, names):
            nothing = (Decimal(0),) * len(ours)
            return _Items(False, products, nothing, nothing)
        return _Items(
            True,
            products,
            tuple(_quantity(row, "item.returned", names) for row in ours),
            tuple(_quantity(row, "item.returnable", names) for row in ours),
        )
    except Unreadable as problem:
        raise NeedsPerson(f"{wanted.summary}: {problem}") from problem


def _is_managed(rows: Sequence[Mapping[str, Any]], names: Names) -> bool:
    told = str(names.get(rows[0], "item.life_cycle") or "").upper()
    if told not in (translate.MANAGED, translate.UNMANAGED):
        place = names.pointer("item.life_cycle")
        raise Unreadable(f"{told or 'nothing'} is neither MANAGED nor UNMANAGED", place)
    return told == translate.MANAGED


def _quantity(row: Mapping[str, Any], name: str, names: Names) -> Decimal:
    value = names.get(row, name)
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise Unreadable("is no number", names.pointer(name))
    return Decimal(value)


def _check_returnable(wanted: CustomerReturn, items: _Items) -> None:
    for line, returnable in zip(wanted.lines, items.returnable, strict=True):
        if items.managed and line.quantity > returnable:
            raise Reject(
                "NOT_RETURNABLE",
                f"{plain(line.quantity)} of {line.item_summary} come back, and "
                f"{plain(returnable)} may",
            )


def _is_done(wanted: CustomerReturn, items: _Items, draft: str) -> bool:
    """Whether all of it is returned since the draft. The action does all of a return or nothing.
    NeedsPerson: something else is."""
    before = _before(wanted, draft)
    since = [now - then for now, then in zip(items.returned, before, strict=True)]
    if since == [line.quantity for line in wanted.lines]:
        return True
    if any(since):
        told = ", ".join(
            f"{plain(each)} of {line.item_summary}"
            for each, line in zip(since, wanted.lines, strict=True)
        )
        raise NeedsPerson(
            f"return {wanted.number}: since it was prepared {told} changed, by somebody else: see "
            "in Salesforce whether it is open, then resolve this, or prepare it anew"
        )
    return False


def _before(wanted: CustomerReturn, draft: str) -> list[Decimal]:
    try:
        found = [Decimal(each) for each in draft.split(",")]
    except InvalidOperation:
        found = []
    if len(found) != len(wanted.lines):
        raise Untranslatable(f"return {wanted.number}: its draft is of another return")
    return found


def _change_items(wanted: CustomerReturn) -> list[dict[str, Any]]:
    return [
        {
            "orderItemSummaryId": line.item_summary,
            "quantity": line.quantity,
            "reason": line.reason,
            # What was paid for the shipment stays paid.
            "shippingReductionFlag": False,
        }
        for line in wanted.lines
    ]


async def _write_order(
    vendor: SalesforceClient, wanted: CustomerReturn, products: Sequence[str]
) -> Confirmed:
    """The return order and its lines, by our keys, all or nothing."""
    names, field = vendor.names, vendor.external_id_field
    order: dict[str, Any] = {}
    names.put(order, "return.summary", wanted.summary)
    names.put(order, "return.status", vendor.return_status)
    parts = [Part("PATCH", f"/sobjects/{RETURN}/{field}/{wanted.number}", order)]
    for line, product in zip(wanted.lines, products, strict=True):
        # Its parent by that one's key: it has no id yet that could be named here.
        row: dict[str, Any] = {RETURN: {field: wanted.number}}
        names.put(row, "return_line.item", line.item_summary)
        names.put(row, "return_line.product", product)
        names.put(row, "return_line.quantity", line.quantity)
        names.put(row, "return_line.reason", line.reason)
        key = f"{wanted.number}-{line.item_summary}"
        parts.append(Part("PATCH", f"/sobjects/{RETURN_LINE}/{field}/{key}", row))
    bodies = await vendor.composite(parts, effect=True)
    order_id = bodies[0].get("id") if isinstance(bodies[0], dict) else None
    if not isinstance(order_id, str) or not order_id:
        raise OutcomeUnknown(f"return order {wanted.number} is written; the answer names no id")
    return Confirmed([Reference(RETURN_REFERENCE, order_id)])


def _found(wanted: CustomerReturn) -> Confirmed:
    note = f"{wanted.number} was returned by an earlier call: its items show it, no number does"
    return Confirmed(note=note)
