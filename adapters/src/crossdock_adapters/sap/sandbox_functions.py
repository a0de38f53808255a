"""The function imports of the simulated delivery service: literals in the query, a report back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from crossdock_adapters.sap import sandbox_deliveries
from crossdock_adapters.sap.sandbox_books import Books, Document
from crossdock_adapters.sap.sandbox_odata import (
    Fields,
    calendar_day,
    parameter,
    quantity,
    refusal,
)

Function = Callable[[Books, Request, Document], list[Fields]]


def pick_all(books: Books, request: Request, document: Document) -> list[Fields]:
    """Take over what is to be delivered as picked."""
    sandbox_deliveries.pick_all(books, document)
    return []


def split_batch(books: Books, request: Request, document: Document) -> list[Fields]:
    """Split a batch off an item, by a quantity in its base unit, and pick it."""
    item = sandbox_deliveries.item_of(document, parameter(request, "DeliveryDocumentItem"))
    if parameter(request, "SplitQuantityUnit") != item["BaseUnit"]:
        raise refusal(400, "VL/451", "The unit is not the item's base unit")
    given = quantity(parameter(request, "SplitQuantity"), "SplitQuantity")
    numerator, denominator = (item[f"DeliveryToBaseQuantity{each}"] for each in ("Nmrtr", "Dnmntr"))
    split = given * denominator / numerator
    sandbox_deliveries.split_batch(books, document, item, parameter(request, "Batch"), split)
    return []


def serial(there: bool) -> Function:
    """Add a serial number to an item, or take it away."""

    def change(books: Books, request: Request, document: Document) -> list[Fields]:
        item = sandbox_deliveries.item_of(document, parameter(request, "DeliveryDocumentItem"))
        number = parameter(request, "SerialNumber")
        sandbox_deliveries.set_serial(books, document, item, number, there=there)
        return []

    return change


def post_goods_issue(books: Books, request: Request, document: Document) -> list[Fields]:
    """Post the goods issue."""
    return sandbox_deliveries.post_goods_issue(books, document)


def reverse_goods_issue(books: Books, request: Request, document: Document) -> list[Fields]:
    """Reverse it on a day."""
    day = calendar_day(parameter(request, "ActualGoodsMovementDate"), "ActualGoodsMovementDate")
    return sandbox_deliveries.reverse_goods_issue(books, document, day)


# Name, operation in the call log, what it does.
FUNCTIONS: Final[tuple[tuple[str, str, Function], ...]] = (
    ("PickAllItems", "pick_all_items", pick_all),
    ("ConfirmPickingAllItems", "confirm_picking", pick_all),
    ("PickAndBatchSplitOneItem", "split_batch", split_batch),
    ("AddSerialNumberToDeliveryItem", "add_serial", serial(True)),
    ("DeleteSerialNumberFromDeliveryItem", "delete_serial", serial(False)),
    ("PostGoodsIssue", "post_goods_issue", post_goods_issue),
    ("ReverseGoodsIssue", "reverse_goods_issue", reverse_goods_issue),
)
