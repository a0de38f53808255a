"""Items of the simulated org's shipments, and shipments that are taken back.

An item is kept inside of its shipment, which is deleted with it. What is deleted stays in the
books, as in the recycle bin, under a key that nobody upserts.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.salesforce.names import SHIPMENT
from crossdock_adapters.salesforce.sandbox_records import (
    SHIPMENT_FIELDS,
    Records,
    Refusal,
)

ITEM_FIELDS: Final = frozenset({SHIPMENT, "Product2Id", "Quantity", "Description"})
# What the org fills in from the shipment, or from what it knows.
READ_ONLY: Final = frozenset({
    "ExpectedDeliveryDate", "FulfillmentOrderLineItemId", "OrderItemSummaryId", "TrackingNumber",
    "TrackingUrl",
})  # fmt: skip


def upsert_item(
    records: Records, kind: str, field: str, key: str, body: Mapping[str, Any]
) -> tuple[int, Any, bool]:
    """(status, answer, whether something changed) of an item of a shipment, which is named by its
    external id."""
    unknown = set(body) - ITEM_FIELDS - READ_ONLY
    if unknown:
        raise Refusal(400, "INVALID_FIELD", f"No such column '{min(unknown)}' on {kind}")
    keeping = next((row for row in records.live_shipments() if key in row.get("items", {})), None)
    fixed = sorted(set(body) & (READ_ONLY if keeping is None else READ_ONLY | {SHIPMENT}))
    if fixed:
        text = f"Unable to create/update fields: {', '.join(fixed)}"
        raise Refusal(400, "INVALID_FIELD_FOR_INSERT_UPDATE", text)
    parent = body.get(SHIPMENT)
    named = records.shipments.get(str(parent.get(field))) if isinstance(parent, dict) else None
    shipment = keeping or named
    if shipment is None:
        raise Refusal(400, "INVALID_CROSS_REFERENCE_KEY", "no such shipment")
    quantity = body.get("Quantity")
    if not isinstance(quantity, (int, Decimal)) or quantity <= 0:
        raise Refusal(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Quantity]")
    if body.get("Product2Id") not in {line["Product2Id"] for line in records.lines.values()}:
        raise Refusal(400, "INVALID_CROSS_REFERENCE_KEY", "no such product")
    items = shipment.setdefault("items", {})
    is_new = key not in items
    held = {"Id": records.new_id("0OC")} if is_new else items[key]
    row = {name: value for name, value in body.items() if name != SHIPMENT}
    changed = is_new or any(held.get(name) != value for name, value in row.items())
    items[key] = {**held, **row}
    answer: dict[str, Any] = {"id": held["Id"], "success": True, "errors": [], "created": is_new}
    return (201 if is_new else 200), answer, changed


def by_id(
    records: Records, method: str, record_id: str, body: Mapping[str, Any]
) -> tuple[int, Any, bool]:
    """Delete a shipment, or change it; what is gone is gone."""
    key, row = next(
        (
            (key, row)
            for key, row in records.shipments.items()
            if row["Id"] == record_id and not row.get("IsDeleted")
        ),
        ("", None),
    )
    if row is None:
        raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
    if method == "DELETE":
        del records.shipments[key]
        records.shipments[f"{key} deleted {record_id}"] = {**row, "IsDeleted": True}
        return 204, None, True
    unknown = set(body) - SHIPMENT_FIELDS
    if unknown:
        raise Refusal(400, "INVALID_FIELD", f"No such column '{min(unknown)}' on {SHIPMENT}")
    changed = any(row.get(name) != value for name, value in body.items())
    row.update(body)
    return 204, None, changed
