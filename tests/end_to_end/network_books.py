"""What the books of the simulated vendors of the full network say, in words that compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Books = Mapping[str, Any]


@dataclass(frozen=True)
class Booked:
    """What an ERP's own books say. orders: how often it was asked for an order, by our number (in
    NetSuite by our id); issues: goods issues; numbers: every document number that it gave."""

    orders: Mapping[str, int]
    issues: int
    numbers: frozenset[str]


def in_netsuite(books: Books) -> Booked:
    """By external ids, deleted records included."""
    made = {
        part: Counter({
            key.removeprefix("xd-"): counts["created"]
            for key, counts in books[f"{part}_by_external_id"].items()
        })
        for part in ("sales_orders", "item_fulfillments")
    }  # fmt: skip
    return Booked(
        made["sales_orders"],
        made["item_fulfillments"].total(),
        frozenset(map(str, books["document_numbers"])),
    )


def in_sap(books: Books) -> Booked:
    """By the property that carries our number; a material document may have several items."""
    left = {
        each["MaterialDocument"]
        for each in books["material_documents"]
        if each["GoodsMovementType"] == "601"
    }
    orders = books["sales_orders"]
    numbers = {each["SalesOrder"] for each in orders}
    numbers |= {each["DeliveryDocument"] for each in books["deliveries"]}
    return Booked(
        Counter(each["PurchaseOrderByCustomer"] for each in orders),
        len(left),
        frozenset(numbers | left),
    )


def in_legacy_file(books: Books) -> Booked:
    """By what its files asked for, whatever became of it."""
    asked = [each for each in books["documents"] if each["action"] == "I"]
    documents = [*books["sales_orders"], *books["goods_issues"]]
    return Booked(
        Counter(each["document"] for each in asked if each["layout"] == "sales_orders"),
        sum(each["layout"] == "goods_issues" for each in asked),
        frozenset(str(each["number"]) for each in documents),
    )


def in_legacy_soap(books: Books) -> Booked:
    """By the messages that it took, whatever became of them."""
    asked = [each for each in books["asked"] if each["action"] == "I"]
    return Booked(
        Counter(each["order"] for each in asked if each["kind"] == "sales_orders"),
        sum(each["kind"] == "goods_issues" for each in asked),
        frozenset(each["number"] for each in books["documents"]),
    )


def in_legacy_table(books: Books) -> Booked:
    """By the rows that were ever shown to it, whatever became of them."""
    shown = Counter(each["INTERFACE"] for each in books["asked"] if each["ACTION"].rstrip() == "I")
    orders = Counter(each["ORDER_NO"] for each in books["orders"])
    assert orders.total() == shown["sales_orders"]
    return Booked(
        orders,
        shown["goods_issues"],
        frozenset(each["DOCUMENT_NO"] for each in books["documents"]),
    )


ERP_READERS: Mapping[str, Callable[[Books], Booked]] = {
    "netsuite": in_netsuite,
    "sap": in_sap,
    "legacy-file": in_legacy_file,
    "legacy-soap": in_legacy_soap,
    "legacy-table": in_legacy_table,
}


def sold(carrier: str, books: Books) -> Counter[str]:
    """Labels that a carrier sold, by tracking number. FedEx lists open shipments too, GLS keeps
    shipments as lists of parcels, Canada Post has a parcel in each, and freight has one number with
    a count behind it."""
    if carrier == "ltl-freight":
        return Counter(
            bol["pro"] if unit == 1 else f"{bol['pro']}-{unit:03}"
            for bol in books["bols"]
            for unit in range(1, bol["units"] + 1)
        )
    shipments = books["shipments"]
    if carrier == "gls":
        return Counter(parcel["track_id"] for parcels in shipments for parcel in parcels)
    if carrier == "canada-post":
        return Counter(parcel["tracking_number"] for parcel in shipments)
    return Counter(
        str(parcel["tracking_number"])
        for shipment in shipments
        if carrier != "fedex" or shipment["confirmed_at"]
        for parcel in shipment["parcels"]
    )
