"""Lots and serial numbers of the simulated account: who has them, where they lie, what issues them.

An inventory number is a record of its own: of one item, with what is on hand of it in each
location. An item is lot numbered, serialized, or neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from crossdock_adapters.netsuite.sandbox_records import (
    INVENTORY_NUMBER,
    ITEM,
    LOCATION,
    Books,
    Fields,
    Record,
    invalid_value,
    sublist,
    user_error,
)

LOT_NUMBERED, SERIALIZED = "islotitem", "isserialitem"
# Settings of items with numbers: their flag, and how much of each number there is.
_TRACKED = (("lots", LOT_NUMBERED, Decimal(1000)), ("serials", SERIALIZED, Decimal(1)))


def track_items(books: Books, settings: Mapping[str, Any]) -> None:
    """Items of the settings `lots` and `serials` have their numbers; kept books keep theirs."""
    location = next(books.living(LOCATION)).internal_id
    for setting, flag, quantity in _TRACKED:
        for item_number, numbers in dict(settings.get(setting, {})).items():
            item = books.get(ITEM, f"eid:{item_number}")
            item.fields[flag] = True
            if not numbers_of(books, item):
                receive(books, item, location, dict.fromkeys(numbers, quantity))


def received(books: Books, arguments: Mapping[str, Any]) -> Fields:
    """The command `receive`."""
    item = books.get(ITEM, f"eid:{arguments['item']}")
    location = books.get(LOCATION, f"eid:{arguments['location']}").internal_id
    numbers = {str(name): Decimal(str(n)) for name, n in dict(arguments["numbers"]).items()}
    receive(books, item, location, numbers)
    return {"internal_id": item.internal_id}


def receive(books: Books, item: Record, location: int, numbers: Mapping[str, Decimal]) -> None:
    """Put lots or serial numbers on hand, as a receipt does; new ones get a record."""
    held = {str(each.fields["inventorynumber"]): each for each in numbers_of(books, item)}
    for number, quantity in numbers.items():
        record = held.get(number)
        if record is None:
            fields = {"item": item.internal_id, "inventorynumber": number, "on_hand": {}}
            record = books.add(INVENTORY_NUMBER, None, fields)
        on_hand = record.fields["on_hand"]
        on_hand[location] = on_hand.get(location, Decimal(0)) + quantity


def numbers_of(books: Books, item: Record) -> list[Record]:
    """The lots or serial numbers of an item, oldest first."""
    return [
        record
        for record in books.living(INVENTORY_NUMBER)
        if record.fields["item"] == item.internal_id
    ]


def assigned(books: Books, line: Fields, place: int, told: Any) -> list[Fields]:
    """What a line's inventory detail issues. Raises VendorRefusal.

    line: item, quantity, location. place: the line's, from one. told: the detail, None without.
    """
    item = books.get(ITEM, str(line["item"]))
    path = f"item.items[{place - 1}].inventoryDetail"
    tracked = bool(item.fields.get(LOT_NUMBERED) or item.fields.get(SERIALIZED))
    rows = [] if told is None else _rows(told, path)
    if not tracked:
        if rows:
            raise user_error("Inventory detail is not available for this item.", path)
        return []
    if not rows:
        detail = f"Please configure the inventory detail in line {place} of the item list."
        raise user_error(detail, path)
    issued = [_row(books, item, line, row, f"{path}.{n}") for n, row in enumerate(rows)]
    if sum(row["quantity"] for row in issued) != line["quantity"]:
        detail = f"The total inventory detail quantity must be {line['quantity']}."
        raise user_error(detail, path)
    ids = [row["issueInventoryNumber"] for row in issued]
    if item.fields.get(SERIALIZED) and len(set(ids)) != len(ids):
        raise user_error("A serial number was entered twice in the inventory detail.", path)
    return issued


def move(books: Books, line: Fields, sign: Decimal) -> None:
    """What a shipped line takes from its lots and serial numbers, or gives back to them."""
    for row in line.get("inventoryAssignment", ()):
        on_hand = books.get(INVENTORY_NUMBER, str(row["issueInventoryNumber"])).fields["on_hand"]
        location = line["location"]
        on_hand[location] = on_hand.get(location, Decimal(0)) + sign * row["quantity"]


def _rows(told: Any, path: str) -> Sequence[Fields]:
    if not isinstance(told, Mapping):
        raise invalid_value(told, path)
    return sublist(told, "inventoryAssignment")


def _row(books: Books, item: Record, line: Fields, row: Fields, path: str) -> Fields:
    reference, quantity = row.get("issueInventoryNumber"), row.get("quantity")
    field = f"{path}.issueInventoryNumber"
    number = books.resolve(INVENTORY_NUMBER, reference, field)
    if number.fields["item"] != item.internal_id:
        raise invalid_value(number.internal_id, field)
    if isinstance(quantity, bool) or not isinstance(quantity, int | Decimal) or quantity <= 0:
        raise invalid_value(quantity, f"{path}.quantity")
    if item.fields.get(SERIALIZED) and quantity != 1:
        raise user_error("The quantity of a serial number in inventory detail must be 1.", path)
    held = number.fields["on_hand"].get(line["location"], Decimal(0))
    if quantity > held:
        name = number.fields["inventorynumber"]
        raise user_error(f"Inventory number {name} has {held} on hand in this location.", path)
    return {
        "issueInventoryNumber": number.internal_id,
        "number": number.fields["inventorynumber"],
        "quantity": Decimal(quantity),
    }
