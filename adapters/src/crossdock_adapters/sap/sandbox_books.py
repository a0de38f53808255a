"""The simulated tenant's documents: sales orders, outbound deliveries, stock, material documents.

Message numbers other than M7/021 (stock) and M7/053 (period) are the sandbox's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.sandbox_odata import Fields, calendar_day, quantity, refusal
from crossdock_adapters.sdk.sandbox import VendorError

UNITS: Final = frozenset({
    "EA", "PC", "PAA", "DZ", "CV", "CAR", "PAC", "PAL", "ROL", "BAG", "KG", "G", "TO", "LB", "OZ",
    "M", "CM", "MM", "FT", "L", "ML",
})  # fmt: skip
ORDER_UPDATABLE: Final = frozenset({
    "PurchaseOrderByCustomer", "CustomerPurchaseOrderDate", "RequestedDeliveryDate",
    "ShippingCondition", "DeliveryBlockReason", "HeaderBillingBlockReason",
})  # fmt: skip
ORDER_CREATABLE: Final = ORDER_UPDATABLE | {
    "SalesOrderType", "SalesOrganization", "DistributionChannel", "OrganizationDivision",
    "SoldToParty", "TransactionCurrency", "to_Item",
}  # fmt: skip
ORDER_ITEM_UPDATABLE: Final = frozenset({"RequestedQuantity", "SalesDocumentRjcnReason"})
ORDER_ITEM_CREATABLE: Final = ORDER_ITEM_UPDATABLE | {
    "SalesOrderItem", "Material", "RequestedQuantityUnit", "ProductionPlant", "ShippingPoint",
    "to_PricingElement",
}  # fmt: skip
# Dates that come in another shape than they are kept in.
ORDER_DATES: Final = frozenset({"CustomerPurchaseOrderDate", "RequestedDeliveryDate"})
SEVEN_DIGITS: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class Document:
    """A header with items, and the version that its ETag is made of."""

    fields: Fields
    items: dict[str, Fields] = field(default_factory=dict)
    version: int = 1


@dataclass(slots=True)
class Books:
    """Everything that the tenant holds. names_reversed: whether the material document of a reversal
    names the one that it reverses."""

    clock: Callable[[], datetime]
    materials: frozenset[str]
    customers: frozenset[str]
    plants: frozenset[str]
    batch_materials: frozenset[str]
    serial_materials: frozenset[str]
    stock: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    orders: dict[str, Document] = field(default_factory=dict)
    deliveries: dict[str, Document] = field(default_factory=dict)
    material_documents: list[Fields] = field(default_factory=list)
    locked: dict[str, str] = field(default_factory=dict)
    closed_through: date | None = None
    names_reversed: bool = False
    numbers: dict[str, int] = field(default_factory=dict)

    def next_number(self, kind: str, first: int) -> str:
        """A document number, never given twice."""
        number = self.numbers.get(kind, first)
        self.numbers[kind] = number + 1
        return str(number)

    def refuse_locked(self, document: str) -> None:
        """VendorError while somebody has the document open: status 400, and only words tell."""
        if document in self.locked:
            said = (
                f"Document {document} is currently being processed by user {self.locked[document]}"
            )
            raise refusal(400, "V1/042", "Error during processing", details=[("V1/042", said)])

    def refuse_closed(self, day: date) -> None:
        """VendorError when the day's posting period is closed."""
        if self.closed_through is not None and day <= self.closed_through:
            said = f"Posting only possible in periods after {self.closed_through:%m %Y}"
            raise refusal(400, "M7/053", said, details=[("M7/053", said)])


def changed(books: Books, document: Document) -> None:
    """A new version: both the counter of deliveries and the time of orders move."""
    document.version += 1
    before: datetime = document.fields["LastChangeDateTime"]
    document.fields["LastChangeDateTime"] = max(books.clock(), before + SEVEN_DIGITS)


def order_etag(document: Document) -> str:
    moment: datetime = document.fields["LastChangeDateTime"]
    return f"W/\"datetimeoffset'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z'\""


def create_order(books: Books, body: Mapping[str, Any]) -> Document:
    """A sales order with its items. VendorError."""
    only(body, ORDER_CREATABLE)
    for name in ("SalesOrderType", "SalesOrganization", "DistributionChannel", "SoldToParty"):
        if not body.get(name):
            raise refusal(400, "V1/001", f"Enter {name}")
    if body["SoldToParty"] not in books.customers:
        raise refusal(400, "V1/312", f"Customer {body['SoldToParty']} is not defined in sales area")
    if len(str(body.get("PurchaseOrderByCustomer", ""))) > 35:
        raise refusal(400, "/IWBEP/CM_MGW_RT/080", "PurchaseOrderByCustomer: value too long")
    items = odata.inner(body, "to_Item")
    if not items:
        raise refusal(400, "V1/555", "A sales order needs an item")
    made = [_new_item(books, item) for item in items]
    number = books.next_number("order", 1)
    moment = books.clock()
    kept = {name: _kept(name, value) for name, value in body.items() if name != "to_Item"}
    fields: Fields = {
        "SalesOrder": number, "PurchaseOrderByCustomer": "", "ShippingCondition": "01",
        "OverallDeliveryStatus": "A", "OverallTotalDeliveryStatus": "A", "DeliveryBlockReason": "",
        "TotalCreditCheckStatus": "A", "OverallSDDocumentRejectionSts": "A",
        "CreationDate": moment.date(), "LastChangeDateTime": moment, **kept,
    }  # fmt: skip
    document = Document(fields)
    for item in made:
        document.items[item["SalesOrderItem"]] = {"SalesOrder": number, **item}
    books.orders[number] = document
    return document


def add_item(books: Books, document: Document, body: Mapping[str, Any]) -> Fields:
    """One more item of a sales order. VendorError: the number is taken."""
    books.refuse_locked(document.fields["SalesOrder"])
    item = _new_item(books, body)
    if item["SalesOrderItem"] in document.items:
        raise refusal(400, "V1/384", f"Item {item['SalesOrderItem']} already exists")
    document.items[item["SalesOrderItem"]] = {"SalesOrder": document.fields["SalesOrder"], **item}
    changed(books, document)
    return document.items[item["SalesOrderItem"]]


def change_order(books: Books, document: Document, body: Mapping[str, Any]) -> None:
    """Change properties of the header. VendorError."""
    only(body, ORDER_UPDATABLE)
    books.refuse_locked(document.fields["SalesOrder"])
    document.fields.update({name: _kept(name, value) for name, value in body.items()})
    changed(books, document)


def change_order_item(
    books: Books, document: Document, item: Fields, body: Mapping[str, Any]
) -> None:
    """Change an item's quantity, or reject it. VendorError: more is delivered already."""
    only(body, ORDER_ITEM_UPDATABLE)
    books.refuse_locked(document.fields["SalesOrder"])
    done = delivered(books, item)
    if "RequestedQuantity" in body:
        wanted = quantity(body["RequestedQuantity"], "RequestedQuantity")
        if wanted < done:
            raise refusal(400, "V1/847", "The order quantity is less than the delivered quantity")
        item["RequestedQuantity"] = wanted
    if "SalesDocumentRjcnReason" in body:
        if done and body["SalesDocumentRjcnReason"]:
            raise refusal(400, "V1/600", "The item is delivered and cannot be rejected")
        item["SalesDocumentRjcnReason"] = str(body["SalesDocumentRjcnReason"])
    changed(books, document)


def delivered(books: Books, order_item: Mapping[str, Any]) -> Decimal:
    """How much of an order item is on deliveries, posted or not."""
    return sum(
        (
            item["ActualDeliveryQuantity"]
            for document in books.deliveries.values()
            for item in document.items.values()
            if item["ReferenceSDDocument"] == order_item["SalesOrder"]
            and item["ReferenceSDDocumentItem"] == order_item["SalesOrderItem"]
        ),
        Decimal(0),
    )


def only(body: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """VendorError for a property that metadata does not let be written."""
    for name in body:
        if name not in allowed and not name.startswith("YY1_"):
            raise refusal(400, "/IWBEP/CM_MGW_RT/088", f"Property {name} is invalid here")


def _new_item(books: Books, body: Mapping[str, Any]) -> Fields:
    only(body, ORDER_ITEM_CREATABLE)
    number = odata.item_number(body.get("SalesOrderItem"))
    if not (number.isdigit() and len(number) == odata.ITEM_DIGITS):
        raise refusal(400, "/IWBEP/CM_MGW_RT/080", "SalesOrderItem: at most six digits")
    if body.get("Material") not in books.materials:
        raise refusal(400, "V1/382", f"Material {body.get('Material')} is not defined")
    if body.get("RequestedQuantityUnit") not in UNITS:
        raise refusal(400, "V1/451", f"Unit {body.get('RequestedQuantityUnit')} is not defined")
    if body.get("ProductionPlant") not in books.plants:
        raise refusal(400, "V1/310", f"Plant {body.get('ProductionPlant')} is not defined")
    wanted = quantity(body.get("RequestedQuantity"), "RequestedQuantity")
    if wanted <= 0:
        raise refusal(400, "V1/556", "Enter a quantity above zero")
    prices = [dict(price) for price in odata.inner(body, "to_PricingElement")]
    return {
        "SalesOrderItem": number, "HigherLevelItem": "0",
        "Material": body["Material"], "RequestedQuantity": wanted,
        "RequestedQuantityUnit": body["RequestedQuantityUnit"], "SalesDocumentRjcnReason": "",
        "ProductionPlant": body["ProductionPlant"], "DeliveryStatus": "A", "prices": prices,
    }  # fmt: skip


def _kept(name: str, value: Any) -> Any:
    return calendar_day(value, name) if name in ORDER_DATES else value


def missing(what: str) -> VendorError:
    return refusal(404, "/IWBEP/CM_MGW_RT/101", f"Resource not found for {what}")
