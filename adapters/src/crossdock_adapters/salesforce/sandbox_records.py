"""The simulated org's books: order summaries, fulfillment orders, shipments, invoices, and SOQL.

Enough of SOQL for one object with conditions joined by AND. Quantities of a managed order change by
actions alone: a direct write is refused here, where Salesforce would break its balances.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

CATEGORIES: Final[Mapping[str, str]] = {
    "Draft": "Draft",
    "Assigned": "Activated",
    "Allocated": "Activated",
    "Printed": "Fulfilling",
    "Pickpack": "Fulfilling",
    "Pick Complete": "Fulfilling",
    "Pack Complete": "Fulfilling",
    "Fulfilled": "Closed",
    "Canceled": "Canceled",
    "Rejected": "Rejected",
}
SHIPMENT_FIELDS: Final = frozenset({
    "FulfillmentOrderId", "TrackingNumber", "TrackingUrl", "Provider", "ShipToName", "Status",
    "ExpectedDeliveryDate", "ActualDeliveryDate", "DeliveryMethodId",
})  # fmt: skip
REQUIRED_OF_SHIPMENT: Final = ("FulfillmentOrderId", "ShipToName")
PAGE: Final = 200
EXTERNAL_ID_FIELD: Final = "Crossdock_Key__c"
_QUERY: Final = re.compile(
    r"SELECT (?P<fields>[\w., ]+) FROM (?P<object>\w+)(?: WHERE (?P<where>.+?))?"
    r"(?: ORDER BY (?P<order>[\w., ]+))?"
)
_CONDITION: Final = re.compile(r"(?P<field>[\w.]+) (?P<sign>=|>=|<=) (?P<value>'[^']*'|[\w:.+-]+)")


class Refusal(Exception):
    """Salesforce says no: status, code, words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message

    def as_json(self) -> list[dict[str, Any]]:
        return [{"errorCode": self.code, "message": self.message, "fields": []}]


@dataclass(slots=True)
class StatusChange:
    """What a status event says."""

    order: dict[str, Any]
    old_status: str
    old_category: str


@dataclass(slots=True)
class Records:
    """Everything by id. Orders are kept as a query shows them, with what they lead to inside."""

    prefix: str = "0a3"
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Items of order summaries: one for each line that was added.
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    # By the value of the external id, as return orders and their lines are.
    shipments: dict[str, dict[str, Any]] = field(default_factory=dict)
    invoices: list[dict[str, Any]] = field(default_factory=list)
    cancellations: list[dict[str, Any]] = field(default_factory=list)
    return_orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    return_lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    change_orders: list[dict[str, Any]] = field(default_factory=list)
    status_writes: list[dict[str, str]] = field(default_factory=list)
    pages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _count: int = 0

    def as_json(self) -> dict[str, Any]:
        """The books."""
        return {
            "fulfillment_orders": list(self.orders.values()),
            "lines": list(self.lines.values()),
            "shipments": [{"key": key, **row} for key, row in self.shipments.items()],
            "invoices": list(self.invoices),
            "cancellations": list(self.cancellations),
            "status_writes": list(self.status_writes),
            "order_items": list(self.items.values()),
            "change_orders": list(self.change_orders),
            "return_orders": list(self.return_orders.values()),
            "return_lines": list(self.return_lines.values()),
        }

    def new_id(self, prefix: str) -> str:
        """18 characters, as Salesforce has them."""
        self._count += 1
        return f"{prefix}5f{self._count:010d}AAA"

    def add_order(self, given: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """A fulfillment order from a few words: number, status, life_cycle, lines, …"""
        status = str(given.get("status", "Allocated"))
        order_id = str(given.get("id") or self.new_id("0a3"))
        method = str(given.get("delivery_method", "Standard"))
        order = {
            "Id": order_id,
            "FulfillmentOrderNumber": str(given["number"]),
            "Status": status,
            "StatusCategory": str(given.get("category") or CATEGORIES[status]),
            "InvoiceId": None,
            "OrderSummaryId": str(given.get("summary_id") or self.new_id("1Os")),
            "OrderSummary": {
                "OrderNumber": str(given.get("order_number", "00000100")),
                "OrderLifeCycleType": str(given.get("life_cycle", "MANAGED")),
                "OrderedDate": "2026-03-02T09:14:07.000+0000",
                "Account": {"AccountNumber": given.get("customer", "CUST-1003")},
            },
            "FulfilledFromLocation": {"ExternalReference": str(given.get("location", "WH-EAST"))},
            "DeliveryMethod": {"Name": method},
            "FulfilledToName": "R. Okonkwo",
            "FulfilledToEmailAddress": "r.okonkwo@customer.example",
            "FulfilledToPhone": "+1 503 555 0100",
            "FulfilledToStreet": "7 Alder Street",
            "FulfilledToCity": "Portland",
            "FulfilledToState": "OR",
            "FulfilledToPostalCode": "97205",
            "FulfilledToCountry": "US",
            "SystemModstamp": now,
        }
        self.orders[order_id] = order
        for sku, quantity, unit, *own in given.get("lines", [["SKU-1001", "2", "Each"]]):
            self._add_line(order_id, str(sku), Decimal(str(quantity)), str(unit), *own)
        return order

    def _add_line(
        self, order_id: str, sku: str, quantity: Decimal, unit: str, own_unit: str | None = None
    ) -> None:
        """unit: the product's; own_unit: the row's, where it says one."""
        line_id = self.new_id("0a4")
        order = self.orders[order_id]
        item_id = f"10u{line_id[3:]}"
        self.items[item_id] = {
            "Id": item_id,
            "OrderSummaryId": order["OrderSummaryId"],
            "OrderSummary": order["OrderSummary"],
            "Product2Id": f"01t{line_id[3:]}",
            "QuantityReturned": Decimal(0),
            "QuantityAvailableToReturn": Decimal(0),
        }
        self.lines[line_id] = {
            "Id": line_id,
            "FulfillmentOrderId": order_id,
            "OrderItemSummaryId": item_id,
            "TypeCode": "Product",
            "Product2Id": f"01t{line_id[3:]}",
            "Quantity": quantity,
            "OriginalQuantity": quantity,
            "QuantityUnitOfMeasure": own_unit,
            "UnitPrice": Decimal("12.50"),
            "Product2": {"StockKeepingUnit": sku, "QuantityUnitOfMeasure": unit},
        }

    def order(self, order_id: str) -> dict[str, Any]:
        found = self.orders.get(order_id)
        if found is None:
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
        return found

    def update_order(
        self, order_id: str, body: Mapping[str, Any], now: datetime
    ) -> StatusChange | None:
        """Write a status; None: it has it already."""
        order = self.order(order_id)
        for name in body:
            if name != "Status":
                raise Refusal(400, "INVALID_FIELD", f"No such column '{name}' on FulfillmentOrder")
        status = str(body.get("Status", order["Status"]))
        if status not in CATEGORIES:
            text = f"bad value for restricted picklist field: {status}"
            raise Refusal(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", text)
        if status == order["Status"]:
            return None
        change = StatusChange(order, order["Status"], order["StatusCategory"])
        order["Status"], order["StatusCategory"] = status, CATEGORIES[status]
        order["SystemModstamp"] = now
        if CATEGORIES[status] == "Closed":
            # What has left may come back.
            for line in self.lines.values():
                if line["FulfillmentOrderId"] == order_id:
                    item = self.items[line["OrderItemSummaryId"]]
                    item["QuantityAvailableToReturn"] = line["Quantity"] - item["QuantityReturned"]
        self.status_writes.append({"id": order_id, "status": status})
        return change

    def check_shipment(self, body: Mapping[str, Any]) -> None:
        """What Salesforce would refuse of a shipment."""
        unknown = set(body) - SHIPMENT_FIELDS
        if unknown:
            raise Refusal(400, "INVALID_FIELD", f"No such column '{min(unknown)}' on Shipment")
        missing = [name for name in REQUIRED_OF_SHIPMENT if not body.get(name)]
        if missing:
            text = f"Required fields are missing: {missing}"
            raise Refusal(400, "REQUIRED_FIELD_MISSING", text)
        if body["FulfillmentOrderId"] not in self.orders:
            raise Refusal(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")

    def live_shipments(self) -> list[dict[str, Any]]:
        """Those that nobody deleted."""
        return [row for row in self.shipments.values() if not row.get("IsDeleted")]

    def upsert_shipment(self, key: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """(the shipment, whether it was made or changed)."""
        self.check_shipment(body)
        held = self.shipments.get(key)
        if held is None:
            made = {"Id": self.new_id("0OB"), EXTERNAL_ID_FIELD: key, **body, "created": True}
            self.shipments[key] = made
            return made, True
        changed = any(held.get(name) != value for name, value in body.items())
        held.update(body)
        return held, changed

    def create_invoice(self, order_id: str) -> str:
        """One for a fulfillment order of a managed summary."""
        order = self.order(order_id)
        self.need_managed(order)
        if order["InvoiceId"]:
            raise Refusal(400, "INVALID_INPUT", "an invoice exists for this fulfillment order")
        invoice = self.new_id("3tt")
        order["InvoiceId"] = invoice
        billed = {
            line["Id"]: line["Quantity"]
            for line in self.lines.values()
            if line["FulfillmentOrderId"] == order_id
        }
        self.invoices.append({"Id": invoice, "FulfillmentOrderId": order_id, "billed": billed})
        return invoice

    def cancel_items(self, order_id: str, items: list[Any]) -> None:
        """Take quantities out of rows; all or none. Nothing here knows a repeat."""
        self.need_managed(self.order(order_id))
        wanted = []
        for item in items:
            line = self.lines.get(str(item.get("fulfillmentOrderLineItemId")))
            if line is None or line["FulfillmentOrderId"] != order_id:
                raise Refusal(400, "INVALID_CROSS_REFERENCE_KEY", "no such line item")
            quantity = Decimal(str(item.get("quantity")))
            if not 0 < quantity <= line["Quantity"]:
                raise Refusal(400, "INVALID_INPUT", "quantity exceeds what can be canceled")
            wanted.append((line, quantity))
        if not wanted:
            raise Refusal(400, "REQUIRED_FIELD_MISSING", "fulfillmentOrderLineItemsToCancel")
        for line, quantity in wanted:
            line["Quantity"] -= quantity
            self.cancellations.append({"line": line["Id"], "quantity": quantity})

    def set_quantity(self, line_id: str, quantity: Decimal) -> bool:
        """Write a row's quantity directly; whether it changed."""
        line = self.lines.get(line_id)
        if line is None:
            raise Refusal(400, "INVALID_CROSS_REFERENCE_KEY", "no such line item")
        order = self.orders[line["FulfillmentOrderId"]]
        if order["OrderSummary"]["OrderLifeCycleType"] == "MANAGED":
            raise Refusal(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "the order is managed")
        if line["Quantity"] == quantity:
            return False
        self.cancellations.append({"line": line_id, "quantity": line["Quantity"] - quantity})
        line["Quantity"] = quantity
        return True

    def need_managed(self, order: Mapping[str, Any]) -> None:
        """Refuse what actions do not do for the record's order summary."""
        if order["OrderSummary"]["OrderLifeCycleType"] != "MANAGED":
            text = "the action is available for managed orders only"
            raise Refusal(400, "INVALID_OPERATION", text)

    # SOQL

    def query(self, text: str) -> dict[str, Any]:
        """The first page of a query's answer."""
        parsed = _QUERY.fullmatch(text)
        tables = {
            "FulfillmentOrder": self.orders,
            "FulfillmentOrderLineItem": self.lines,
            "OrderItemSummary": self.items,
            "ReturnOrder": self.return_orders,
            "ReturnOrderLineItem": self.return_lines,
            "Shipment": {row["Id"]: row for row in self.live_shipments()},
            "ShipmentItem": {
                item["Id"]: {**item, EXTERNAL_ID_FIELD: key, "Shipment": row}
                for row in self.live_shipments()
                for key, item in row.get("items", {}).items()
            },
        }
        if parsed is None:
            raise Refusal(400, "MALFORMED_QUERY", "unexpected token")
        if parsed["object"] not in tables:
            raise Refusal(400, "INVALID_TYPE", f"sObject type '{parsed['object']}'")
        rows = list(tables[parsed["object"]].values())
        for condition in (parsed["where"] or "").split(" AND ") if parsed["where"] else []:
            rows = [row for row in rows if _holds(row, condition)]
        for name in reversed([each.strip() for each in (parsed["order"] or "Id").split(",")]):
            rows.sort(key=lambda row: _value(row, name))
        fields = [each.strip() for each in parsed["fields"].split(",")]
        return self._page([_shown(row, fields) for row in rows], len(rows))

    def page(self, locator: str) -> dict[str, Any]:
        """A further page."""
        if locator not in self.pages:
            raise Refusal(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        rows = self.pages.pop(locator)
        return self._page(rows, len(rows))

    def _page(self, rows: list[dict[str, Any]], total: int) -> dict[str, Any]:
        answer: dict[str, Any] = {"totalSize": total, "done": True, "records": rows[:PAGE]}
        if len(rows) > PAGE:
            locator = self.new_id("01g")
            self.pages[locator] = rows[PAGE:]
            answer |= {"done": False, "nextRecordsUrl": locator}
        return answer


def _value(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        if part not in value:
            raise Refusal(400, "INVALID_FIELD", f"No such column '{path}'")
        value = value[part]
    return value


def _shown(row: Mapping[str, Any], fields: list[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for path in fields:
        value = _value(row, path)
        place = shown
        *way, last = path.split(".")
        for part in way:
            place = place.setdefault(part, {})
        place[last] = value
    return shown


def _holds(row: Mapping[str, Any], condition: str) -> bool:
    parsed = _CONDITION.fullmatch(condition.strip())
    if parsed is None:
        raise Refusal(400, "MALFORMED_QUERY", f"unexpected token: {condition}")
    value = _value(row, parsed["field"])
    wanted: Any = parsed["value"].strip("'")
    if isinstance(value, datetime):
        wanted = datetime.fromisoformat(wanted)
    signs = {"=": operator.eq, ">=": operator.ge, "<=": operator.le}
    return bool(signs[parsed["sign"]](value, wanted))
