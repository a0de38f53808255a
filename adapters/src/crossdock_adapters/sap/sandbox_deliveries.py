"""Outbound deliveries of the simulated tenant: created, split, picked, posted, reversed.

A create takes the reference, quantity and shipping point and nothing else. What the vendor's rules
forbid is refused as the vendor does: a stock shortfall comes in the report of a call that is
answered 200.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.sandbox_books import (
    Books,
    Document,
    changed,
    delivered,
    missing,
)
from crossdock_adapters.sap.sandbox_odata import Fields, calendar_day, quantity, refusal

FIRST_DELIVERY: Final = 80_000_000
FIRST_MATERIAL_DOCUMENT: Final = 4_900_000_000
FIRST_SPLIT_ITEM: Final = 900_001
GOODS_ISSUE, GOODS_ISSUE_REVERSAL = "601", "602"
_CREATABLE: Final = frozenset({"ShippingPoint", "to_DeliveryDocumentItem"})
_ITEM_CREATABLE: Final = frozenset({
    "ReferenceSDDocument", "ReferenceSDDocumentItem", "ActualDeliveryQuantity",
    "DeliveryQuantityUnit",
})  # fmt: skip
_UPDATABLE: Final = frozenset({
    "ActualGoodsMovementDate", "BillOfLading", "DeliveryBlockReason", "DeliveryDocumentBySupplier",
    "HeaderGrossWeight", "HeaderNetWeight", "HeaderWeightUnit", "MeansOfTransport",
    "MeansOfTransportType", "PlannedGoodsIssueDate",
})  # fmt: skip
_LENGTHS: Final = {"DeliveryDocumentBySupplier": 35, "BillOfLading": 35, "MeansOfTransport": 20}
_ITEM_UPDATABLE: Final = frozenset({"ActualDeliveryQuantity", "Batch", "StorageLocation"})


def delivery_etag(document: Document) -> str:
    """Made of DeliveryVersion."""
    return f"W/\"'{document.version:04d}'\""


def create_delivery(books: Books, body: Mapping[str, Any]) -> Document:
    """A delivery of some items of sales orders. VendorError: not allowed, or nothing is open."""
    for name in body:
        if name not in _CREATABLE:
            raise refusal(400, "/IWBEP/CM_MGW_RT/088", f"Property {name} is not creatable")
    wanted = odata.inner(body, "to_DeliveryDocumentItem")
    if not wanted:
        raise refusal(400, "VL/001", "A delivery needs an item")
    items = _with_parts(books, [_item_from_order(books, item) for item in wanted])
    number = books.next_number("delivery", FIRST_DELIVERY)
    moment = books.clock()
    document = Document(
        {
            "DeliveryDocument": number, "DeliveryDocumentBySupplier": "", "BillOfLading": "",
            "MeansOfTransport": "", "ActualGoodsMovementDate": None, "DeliveryBlockReason": "",
            "ShippingPoint": body.get("ShippingPoint", "1010"), "OverallGoodsMovementStatus": "A",
            "OverallPickingStatus": "A", "OverallPickingConfStatus": "", "HeaderGrossWeight":
            Decimal(0), "OverallProofOfDeliveryStatus": "", "OverallDelivReltdBillgStatus": "A",
            "CreationDate": moment.date(), "LastChangeDate": moment.date(),
            "LastChangeDateTime": moment,
        }
    )  # fmt: skip
    for index, item in enumerate(items, start=1):
        place = f"{index * 10:06d}"
        document.items[place] = {"DeliveryDocument": number, "DeliveryDocumentItem": place, **item}
    _put_below(books, document)
    books.deliveries[number] = document
    return document


def _with_parts(books: Books, items: list[Fields]) -> list[Fields]:
    """With the parts of kits, which leave with them: so many of each as the order has for one."""
    found: list[Fields] = []
    asked = {item["ReferenceSDDocumentItem"] for item in items}
    for item in items:
        found.append(item)
        ordered = books.orders[item["ReferenceSDDocument"]].items
        of_one = (
            item["ActualDeliveryQuantity"]
            / ordered[item["ReferenceSDDocumentItem"]]["RequestedQuantity"]
        )
        parts = [
            {
                "ReferenceSDDocument": item["ReferenceSDDocument"],
                "ReferenceSDDocumentItem": place,
                "ActualDeliveryQuantity": f"{part['RequestedQuantity'] * of_one:f}",
            }
            for place, part in ordered.items()
            if odata.item_number(part["HigherLevelItem"]) == item["ReferenceSDDocumentItem"]
            and place not in asked
        ]
        found += _with_parts(books, [_item_from_order(books, part) for part in parts])
    return found


def _put_below(books: Books, document: Document) -> None:
    """Say of each item which one of the delivery it is a part of."""
    places = {
        (item["ReferenceSDDocument"], item["ReferenceSDDocumentItem"]): place
        for place, item in document.items.items()
    }
    for item in document.items.values():
        order = item["ReferenceSDDocument"]
        ordered = books.orders[order].items[item["ReferenceSDDocumentItem"]]
        above = odata.item_number(ordered["HigherLevelItem"])
        item["HigherLevelItem"] = places.get((order, above), "000000")


def _item_from_order(books: Books, body: Mapping[str, Any]) -> Fields:
    for name in body:
        if name not in _ITEM_CREATABLE:
            raise refusal(400, "/IWBEP/CM_MGW_RT/088", f"Property {name} is not creatable")
    order = books.orders.get(str(body.get("ReferenceSDDocument")))
    ordered = order and order.items.get(str(body.get("ReferenceSDDocumentItem")))
    if order is None or not ordered:
        raise refusal(400, "VL/110", "The preceding document item does not exist")
    if ordered["SalesDocumentRjcnReason"] or order.fields["DeliveryBlockReason"]:
        raise refusal(400, "VL/367", "The item is rejected or blocked for delivery")
    open_quantity = ordered["RequestedQuantity"] - delivered(books, ordered)
    given = body.get("ActualDeliveryQuantity")
    wanted = open_quantity if given is None else quantity(given, "ActualDeliveryQuantity")
    if not 0 < wanted <= open_quantity:
        raise refusal(400, "VL/150", "No or too little open quantity for delivery")
    if (
        body.get("DeliveryQuantityUnit", ordered["RequestedQuantityUnit"])
        != ordered["RequestedQuantityUnit"]
    ):
        raise refusal(400, "VL/451", "The unit does not fit the item's")
    return {
        "ReferenceSDDocument": ordered["SalesOrder"],
        "ReferenceSDDocumentItem": ordered["SalesOrderItem"],
        "Material": ordered["Material"], "Plant": ordered["ProductionPlant"],
        "ActualDeliveryQuantity": wanted, "DeliveryQuantityUnit": ordered["RequestedQuantityUnit"],
        "Batch": "", "StorageLocation": "", "HigherLvlItmOfBatSpltItm": "000000",
        "picked": Decimal(0), "serials": [], **_in_base(ordered["RequestedQuantityUnit"]),
    }  # fmt: skip


def _in_base(unit: str) -> Fields:
    """What a product's units say of a delivery's: a dozen has twelve, all others are the base."""
    base, pieces = ("EA", 12) if unit == "DZ" else (unit, 1)
    return {
        "BaseUnit": base, "DeliveryToBaseQuantityNmrtr": Decimal(pieces),
        "DeliveryToBaseQuantityDnmntr": Decimal(1),
    }  # fmt: skip


def change_delivery(books: Books, document: Document, body: Mapping[str, Any]) -> None:
    """Change properties of the header. VendorError."""
    for name, value in body.items():
        if name not in _UPDATABLE:
            raise refusal(400, "/IWBEP/CM_MGW_RT/088", f"Property {name} is not updatable")
        if len(str(value)) > _LENGTHS.get(name, 80):
            raise refusal(400, "/IWBEP/CM_MGW_RT/080", f"Property {name}: value too long")
    _refuse_posted(books, document)
    for name, value in body.items():
        dated = name == "ActualGoodsMovementDate"
        document.fields[name] = calendar_day(value, name) if dated else value
    changed(books, document)


def change_item(books: Books, document: Document, item: Fields, body: Mapping[str, Any]) -> None:
    """Change an item's quantity or batch. VendorError."""
    for name in body:
        if name not in _ITEM_UPDATABLE:
            raise refusal(400, "/IWBEP/CM_MGW_RT/088", f"Property {name} is not updatable")
    _refuse_posted(books, document)
    if "ActualDeliveryQuantity" in body:
        wanted = quantity(body["ActualDeliveryQuantity"], "ActualDeliveryQuantity")
        ordered = books.orders[item["ReferenceSDDocument"]].items[item["ReferenceSDDocumentItem"]]
        others = delivered(books, ordered) - item["ActualDeliveryQuantity"]
        if not 0 <= wanted <= ordered["RequestedQuantity"] - others:
            raise refusal(400, "VL/150", "Only the open quantity can be delivered")
        if wanted < item["picked"]:
            raise refusal(400, "VL/609", "The delivery quantity is less than the picked quantity")
        item["ActualDeliveryQuantity"] = wanted
    for name in {"Batch", "StorageLocation"} & body.keys():
        item[name] = str(body[name])
    _picking_status(document)
    changed(books, document)


def pick_all(books: Books, document: Document) -> None:
    """Take the delivery quantity of each item as picked."""
    _refuse_posted(books, document)
    for item in document.items.values():
        item["picked"] = item["ActualDeliveryQuantity"]
    _picking_status(document)
    changed(books, document)


def split_batch(books: Books, document: Document, item: Fields, batch: str, split: Decimal) -> None:
    """Move a part of an item to a sub-item with a batch, and pick it. VendorError."""
    _refuse_posted(books, document)
    if not 0 < split <= item["ActualDeliveryQuantity"]:
        raise refusal(400, "VL/609", "The split quantity is more than the item's quantity")
    place = str(FIRST_SPLIT_ITEM + sum(each > "900000" for each in document.items))
    item["ActualDeliveryQuantity"] -= split
    document.items[place] = {
        **item, "DeliveryDocumentItem": place, "ActualDeliveryQuantity": split, "picked": split,
        "Batch": batch, "HigherLvlItmOfBatSpltItm": item["DeliveryDocumentItem"], "serials": [],
    }  # fmt: skip
    _picking_status(document)
    changed(books, document)


def set_serial(books: Books, document: Document, item: Fields, serial: str, *, there: bool) -> None:
    """Add a serial number to an item, or take it away. VendorError."""
    _refuse_posted(books, document)
    if item["Material"] not in books.serial_materials:
        raise refusal(400, "IO/231", "The material is not managed by serial numbers")
    if (serial in item["serials"]) == there:
        raise refusal(400, "IO/232", f"Serial number {serial} is there already, or is not there")
    if there:
        item["serials"].append(serial)
    else:
        item["serials"].remove(serial)
    changed(books, document)


def post_goods_issue(books: Books, document: Document) -> list[Fields]:
    """Post: the report of the call. One with an E has posted nothing. VendorError."""
    _refuse_posted(books, document)
    if document.fields["OverallPickingStatus"] != "C":
        raise refusal(400, "VL/019", "Picking is not completed for the delivery")
    day = document.fields["ActualGoodsMovementDate"] or books.clock().date()
    books.refuse_closed(day)
    moving = [item for item in document.items.values() if item["ActualDeliveryQuantity"] > 0]
    errors = [*_shortfalls(books, moving), *unnamed(books, moving)]
    if errors or not moving:
        return errors or [report("E", "VL", "363", "No quantity to post")]
    document.fields["ActualGoodsMovementDate"] = day
    document.fields["OverallGoodsMovementStatus"] = "C"
    move_goods(books, document, moving, GOODS_ISSUE, day)
    changed(books, document)
    return [report("S", "VL", "311", document.fields["DeliveryDocument"])]


def reverse_goods_issue(books: Books, document: Document, day: date) -> list[Fields]:
    """Reverse: the stock comes back, the delivery is open again. VendorError: billed, closed."""
    number = document.fields["DeliveryDocument"]
    books.refuse_locked(number)
    if document.fields["OverallGoodsMovementStatus"] != "C":
        raise refusal(400, "VL/062", f"Nothing is posted for delivery {number}")
    if document.fields["OverallDelivReltdBillgStatus"] == "C":
        raise refusal(400, "VL/063", f"Delivery {number} is billed: cancel the billing document")
    books.refuse_closed(day)
    moving = [item for item in document.items.values() if item["ActualDeliveryQuantity"] > 0]
    document.fields["OverallGoodsMovementStatus"] = "A"
    move_goods(books, document, moving, GOODS_ISSUE_REVERSAL, day)
    changed(books, document)
    return [report("S", "VL", "064", number)]


def item_of(document: Document, place: str) -> Fields:
    """An item of a delivery. VendorError 404."""
    if place not in document.items:
        raise missing(f"item {place}")
    return document.items[place]


def move_goods(
    books: Books, document: Document, items: list[Fields], movement: str, day: date
) -> None:
    """A material document of these items: what leaves goes off the stock, the rest comes to it."""
    last = last_issue(books, document) if movement == GOODS_ISSUE_REVERSAL else None
    named = last if last is not None and books.names_reversed else {}
    number = books.next_number("material_document", FIRST_MATERIAL_DOCUMENT)
    sign = Decimal(-1 if movement == GOODS_ISSUE else 1)
    for index, item in enumerate(items, start=1):
        place = (item["Material"], item["Plant"])
        books.stock[place] = (
            books.stock.get(place, Decimal(0)) + sign * item["ActualDeliveryQuantity"]
        )
        books.material_documents.append(
            {
                "MaterialDocumentYear": str(day.year), "MaterialDocument": number,
                "MaterialDocumentItem": str(index), "Material": item["Material"],
                "Plant": item["Plant"], "Batch": item["Batch"], "GoodsMovementType": movement,
                "QuantityInEntryUnit": item["ActualDeliveryQuantity"],
                "EntryUnit": item["DeliveryQuantityUnit"],
                "Delivery": document.fields["DeliveryDocument"],
                "DeliveryItem": item["DeliveryDocumentItem"], "PostingDate": day,
                "ReversedMaterialDocumentYear": named.get("MaterialDocumentYear", ""),
                "ReversedMaterialDocument": named.get("MaterialDocument", ""),
                "posted": books.clock(),
            }
        )  # fmt: skip


def flow_category(row: Mapping[str, Any]) -> str:
    """What a material document is in the flow of its delivery: a goods movement, or that one of
    the delivery was cancelled."""
    return "h" if row["GoodsMovementType"] == GOODS_ISSUE_REVERSAL else "R"


def last_issue(books: Books, document: Document) -> Fields | None:
    """A row of the delivery's last goods issue; None: there is none."""
    number = document.fields["DeliveryDocument"]
    return next(
        (
            each
            for each in reversed(books.material_documents)
            if each["Delivery"] == number and each["GoodsMovementType"] == GOODS_ISSUE
        ),
        None,
    )


def _shortfalls(books: Books, items: list[Fields]) -> list[Fields]:
    needed: dict[tuple[str, str], Decimal] = {}
    for item in items:
        place = (item["Material"], item["Plant"])
        needed[place] = needed.get(place, Decimal(0)) + item["ActualDeliveryQuantity"]
    return [
        report("E", "M7", "021", f"Deficit of SL Unrestricted-use: {material} {plant}")
        for (material, plant), wanted in needed.items()
        if books.stock.get((material, plant), Decimal(0)) < wanted
    ]


def unnamed(books: Books, items: list[Fields]) -> list[Fields]:
    """Items that have to name a batch or their serial numbers, and do not."""
    found = []
    for item in items:
        material, place = item["Material"], item["DeliveryDocumentItem"]
        if material in books.batch_materials and not item["Batch"]:
            found.append(report("E", "M7", "018", f"Enter a batch for item {place}"))
        counted = Decimal(len(item["serials"]))
        if material in books.serial_materials and counted != item["ActualDeliveryQuantity"]:
            found.append(report("E", "IO", "304", f"Maintain serial numbers for item {place}"))
    return found


def report(kind: str, message_class: str, number: str, said: str) -> Fields:
    """A row of a function's report; kind E: it did nothing."""
    return {
        "SystemMessageType": kind, "SystemMessageIdentification": message_class,
        "SystemMessageNumber": number, "SystemMessageVariable1": said[:50],
        "SystemMessageVariable2": said[50:100], "SystemMessageVariable3": "",
        "SystemMessageVariable4": "",
    }  # fmt: skip


def _refuse_posted(books: Books, document: Document) -> None:
    books.refuse_locked(document.fields["DeliveryDocument"])
    if document.fields["OverallGoodsMovementStatus"] != "A":
        raise refusal(400, "VL/602", "Goods movement is posted already: no changes")


def _picking_status(document: Document) -> None:
    picked = [item["picked"] == item["ActualDeliveryQuantity"] for item in document.items.values()]
    some = any(item["picked"] for item in document.items.values())
    document.fields["OverallPickingStatus"] = "C" if all(picked) else ("B" if some else "A")
