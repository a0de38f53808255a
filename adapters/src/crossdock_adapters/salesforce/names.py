"""What fields of an org are called: standard API names, and what a deployment says instead.

Not every name of Order Management is published with its meaning, and orgs add their own fields: so
each is a default here and may be another by the setting `fields`, under the name on the left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Settings, SettingsError

ORDER: Final = "FulfillmentOrder"
LINE: Final = "FulfillmentOrderLineItem"
SHIPMENT: Final = "Shipment"
SHIPMENT_ITEM: Final = "ShipmentItem"
ITEM: Final = "OrderItemSummary"
RETURN: Final = "ReturnOrder"
RETURN_LINE: Final = "ReturnOrderLineItem"
# A dot leads along a relationship, as in SOQL. "" in the setting leaves a field out.
FIELDS: Final[Mapping[str, str]] = {
    "order.number": "FulfillmentOrderNumber",
    "order.status": "Status",
    "order.category": "StatusCategory",
    "order.invoice": "InvoiceId",
    "order.summary": "OrderSummaryId",
    "order.summary_number": "OrderSummary.OrderNumber",
    "order.life_cycle": "OrderSummary.OrderLifeCycleType",
    "order.placed": "OrderSummary.OrderedDate",
    # An org of one currency has no such field: it is the setting's.
    "order.currency": "",
    "order.customer": "OrderSummary.Account.AccountNumber",
    "order.location": "FulfilledFromLocation.ExternalReference",
    "order.delivery_method": "DeliveryMethod.Name",
    "order.name": "FulfilledToName",
    "order.email": "FulfilledToEmailAddress",
    "order.phone": "FulfilledToPhone",
    "order.street": "FulfilledToStreet",
    "order.city": "FulfilledToCity",
    "order.state": "FulfilledToState",
    "order.postal_code": "FulfilledToPostalCode",
    "order.country": "FulfilledToCountry",
    "line.kind": "TypeCode",
    "line.quantity": "Quantity",
    "line.original_quantity": "OriginalQuantity",
    "line.sku": "Product2.StockKeepingUnit",
    # The row's own unit, in which its quantity is; where it says none, its product's.
    "line.own_unit": "QuantityUnitOfMeasure",
    "line.unit": "Product2.QuantityUnitOfMeasure",
    "line.item": "OrderItemSummaryId",
    "line.product": "Product2Id",
    "line.unit_price": "UnitPrice",
    "shipment.order": "FulfillmentOrderId",
    "shipment.tracking_number": "TrackingNumber",
    "shipment.carrier": "Provider",
    "shipment.name": "ShipToName",
    "shipment.status": "Status",
    "shipment.expected": "ExpectedDeliveryDate",
    "shipment.delivered": "ActualDeliveryDate",
    "shipment_item.product": "Product2Id",
    "shipment_item.quantity": "Quantity",
    # A standard item shows its shipment's, and nobody can write it: an org may add a field.
    "shipment_item.tracking_number": "",
    "shipment_item.numbers": "Description",
    # Standard objects lead from a shipment's item to no row: an org that wants it adds a field.
    "shipment_item.line": "",
    "item.summary": "OrderSummaryId",
    "item.life_cycle": "OrderSummary.OrderLifeCycleType",
    "item.product": "Product2Id",
    "item.returned": "QuantityReturned",
    "item.returnable": "QuantityAvailableToReturn",
    "return.summary": "OrderSummaryId",
    "return.status": "Status",
    "return_line.item": "OrderItemSummaryId",
    "return_line.product": "Product2Id",
    "return_line.quantity": "QuantityReturned",
    "return_line.reason": "ReasonForReturn",
}
# What the operations need of an order and its rows: nothing of whom it goes to, because their
# answers are shown to people as excerpts.
STATE: Final = frozenset({
    "order.status", "order.category", "order.invoice", "order.life_cycle", "line.quantity",
    "line.original_quantity", "line.own_unit", "line.unit", "line.item", "line.product",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Names:
    """The fields of one org, by our name."""

    fields: Mapping[str, str]

    def of(self, prefix: str, only: Collection[str] = FIELDS) -> list[str]:
        """Fields of an object, for a query; prefix: "order.", "line."; only: of these names."""
        return [
            path
            for name, path in self.fields.items()
            if name.startswith(prefix) and name in only and path
        ]

    def get(self, record: Mapping[str, Any], name: str) -> Any:
        """A field's value; None where a record on the way to it is not there."""
        value: Any = record
        path = self.fields[name]
        for part in path.split(".") if path else [""]:
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return value

    def text(self, record: Mapping[str, Any], name: str) -> str:
        """A field's text. Unreadable: it is missing."""
        value = self.get(record, name)
        if not isinstance(value, str) or not value.strip():
            raise Unreadable("is missing", self.pointer(name))
        return value

    def put(self, record: dict[str, Any], name: str, value: Any) -> None:
        """Set a field, unless it is left out or there is nothing to say."""
        if self.fields[name] and value not in (None, ""):
            record[self.fields[name]] = value

    def pointer(self, name: str) -> str:
        """Where a field is, as a JSON pointer."""
        return "/" + self.fields[name].replace(".", "/")


def names_from(settings: Settings) -> Names:
    """The standard names with those of the setting `fields`. SettingsError: one has no name."""
    given = settings.mapping("fields")
    unknown = sorted(set(given) - set(FIELDS))
    if unknown:
        raise SettingsError(f"fields: {', '.join(unknown)} is none of {', '.join(FIELDS)}")
    return Names({**FIELDS, **given})
