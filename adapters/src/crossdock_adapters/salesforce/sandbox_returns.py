"""Returns in the simulated org: submit-return of managed orders, return orders of the others.

Nothing here knows a repeat of submit-return. Rows are upserted by the external id, as Salesforce
does it, and a line names its return order by that one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.salesforce.names import RETURN, RETURN_LINE
from crossdock_adapters.salesforce.sandbox_records import Records, Refusal

FIELDS: Final = {
    RETURN: frozenset({"OrderSummaryId", "Status"}),
    RETURN_LINE: frozenset({
        RETURN, "OrderItemSummaryId", "Product2Id", "QuantityReturned", "ReasonForReturn",
    }),
}  # fmt: skip
# What only a create may say.
FIXED: Final = {
    RETURN: frozenset({"OrderSummaryId"}),
    RETURN_LINE: frozenset({RETURN, "OrderItemSummaryId"}),
}
# Statuses of the category Activated, in which a return order has to be made.
ACTIVATED: Final = ("Submitted", "Approved")
PREFIXES: Final = {RETURN: "0ZB", RETURN_LINE: "0ZC"}


def submit(records: Records, summary_id: str, items: Any) -> str:
    """A change order that takes quantities back, all or none; its id."""
    wanted: list[tuple[dict[str, Any], Decimal]] = []
    for item in items if isinstance(items, list) else []:
        row = _item(records, summary_id, str(item.get("orderItemSummaryId")))
        records.need_managed(row)
        quantity = Decimal(str(item.get("quantity")))
        if not item.get("reason") or not isinstance(item.get("shippingReductionFlag"), bool):
            raise Refusal(400, "REQUIRED_FIELD_MISSING", "reason, shippingReductionFlag")
        if not 0 < quantity <= row["QuantityAvailableToReturn"]:
            raise Refusal(400, "INVALID_INPUT", "quantity exceeds what can be returned")
        wanted.append((row, quantity))
    if not wanted:
        raise Refusal(400, "REQUIRED_FIELD_MISSING", "changeItems")
    for row, quantity in wanted:
        row["QuantityReturned"] += quantity
        row["QuantityAvailableToReturn"] -= quantity
    change = records.new_id("801")
    told = [{"item": row["Id"], "quantity": quantity} for row, quantity in wanted]
    records.change_orders.append({"Id": change, "OrderSummaryId": summary_id, "items": told})
    return change


def upsert(
    records: Records, kind: str, field: str, key: str, body: Mapping[str, Any]
) -> tuple[int, Any, bool]:
    """(status, answer, whether something changed) of a return order or one of its lines."""
    unknown = set(body) - FIELDS[kind]
    if unknown:
        raise Refusal(400, "INVALID_FIELD", f"No such column '{min(unknown)}' on {kind}")
    known = records.return_orders if kind == RETURN else records.return_lines
    is_new = key not in known
    fixed = sorted(set(body) & FIXED[kind])
    if fixed and not is_new:
        text = f"Unable to create/update fields: {', '.join(fixed)}"
        raise Refusal(400, "INVALID_FIELD_FOR_INSERT_UPDATE", text)
    if is_new and kind == RETURN and body.get("Status") not in ACTIVATED:
        raise Refusal(400, "FIELD_INTEGRITY_EXCEPTION", "Status is none of Activated")
    row = dict(body) if kind == RETURN else _line(records, field, body)
    held = {"Id": records.new_id(PREFIXES[kind]), field: key} if is_new else known[key]
    changed = is_new or any(held.get(name) != value for name, value in row.items())
    known[key] = {**held, **row}
    answer: dict[str, Any] = {"id": held["Id"], "success": True, "errors": [], "created": is_new}
    return (201 if is_new else 200), answer, changed


def _line(records: Records, field: str, body: Mapping[str, Any]) -> dict[str, Any]:
    parent = body.get(RETURN)
    order = records.return_orders.get(str(parent.get(field))) if isinstance(parent, dict) else None
    if order is None:
        raise Refusal(400, "INVALID_CROSS_REFERENCE_KEY", "no such return order")
    _item(records, str(order.get("OrderSummaryId")), str(body.get("OrderItemSummaryId")))
    if not body.get("QuantityReturned") or not body.get("Product2Id"):
        raise Refusal(400, "REQUIRED_FIELD_MISSING", "QuantityReturned, Product2Id")
    rest = {name: value for name, value in body.items() if name != RETURN}
    return {"ReturnOrderId": order["Id"], **rest}


def _item(records: Records, summary_id: str, item_id: str) -> dict[str, Any]:
    row = records.items.get(item_id)
    if row is None or row["OrderSummaryId"] != summary_id:
        raise Refusal(400, "INVALID_CROSS_REFERENCE_KEY", "no such item of the order summary")
    return row
