"""Item fulfillments of the simulated account: the transform's rules, pick, pack and ship.

The rules that trap integrations are the vendor's: a transform takes every open line unless told
otherwise, lines go by the order line's key, one fulfillment has one location, stock and order
status move only when the record reaches Shipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from crossdock_adapters.netsuite import sandbox_inventory
from crossdock_adapters.netsuite.sandbox_records import (
    FULFILLABLE,
    ITEM_FULFILLMENT,
    LOCATION,
    SALES_ORDER,
    Books,
    Fields,
    Record,
    fulfilled,
    invalid_value,
    refresh_order_status,
    sublist,
    user_error,
)

PICKED, PACKED, SHIPPED = "A", "B", "C"
_SHIP_STATUSES = (PICKED, PACKED, SHIPPED)
_REACHED_DATES = ("pickedDate", "packedDate", "shippedDate")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PACKAGE_FIELDS = _names(
    "packageTrackingNumber packageWeight packageDescr packageCartonNumber"
    " packageTrackingNumberReturn packageDetails"
)


# What the fields of each sublist end with; that of FedEx is spelt in two ways, and has no contents.
_PACKAGE_SUBLISTS: Mapping[str, str] = {
    "package": "", "packageUps": "Ups", "packageFedex": "FedEx", "packageUsps": "Usps",
}  # fmt: skip
_CARRIER_FIELDS = ("packageTrackingNumber", "packageWeight", "packageCartonNumber")


def fulfill_order(books: Books, order: Record, external_id: str | None, body: Fields) -> Record:
    """Transform a sales order into an item fulfillment. Raises VendorRefusal."""
    books.refuse_taken(ITEM_FULFILLMENT, external_id)
    if order.fields["orderStatus"] not in FULFILLABLE:
        raise user_error("Invalid sales order: it is already closed or not approved.")
    status = _ship_status(body.get("shipStatus"), PICKED)
    header = _header(books, body)
    lines = _chosen_lines(books, order, body)
    locations = {line["location"] for line in lines}
    if len(locations) > 1:
        raise user_error(
            "Line items from different locations cannot be fulfilled on one transaction "
            "when multi-location inventory is enabled.",
            "item",
        )
    packages = _packages(books, body, order.fields.get("shipMethod"))
    header.setdefault("tranDate", books.rules.clock().date().isoformat())
    if status == SHIPPED:
        books.refuse_closed_period(header["tranDate"])
    record = books.add(ITEM_FULFILLMENT, external_id, {"createdFrom": order.internal_id})
    record.fields.update(header, entity=order.fields["entity"], packages=packages)
    record.lines = {line["orderLine"]: line for line in lines}
    _reach(books, record, status)
    books.transforms.append(
        {
            "salesOrder": order.internal_id,
            "itemFulfillment": record.internal_id,
            "externalId": external_id,
            "tranId": record.fields["tranId"],
        }
    )
    return record


def change_fulfillment(books: Books, record: Record, body: Fields) -> None:
    """Change header fields or move Picked to Packed to Shipped. Raises VendorRefusal."""
    now = record.fields["shipStatus"]
    wanted = _ship_status(body.get("shipStatus"), now)
    if wanted < now:
        raise user_error("A fulfillment's status cannot go back.", "shipStatus")
    header = _header(books, body)
    if wanted == SHIPPED != now:
        books.refuse_closed_period(header.get("tranDate", record.fields["tranDate"]))
    if any(name in body for name in _PACKAGE_SUBLISTS):
        method = books.get(SALES_ORDER, str(record.fields["createdFrom"])).fields.get("shipMethod")
        record.fields["packages"] = _packages(books, body, method)
    record.fields.update(header)
    record.times_updated += 1
    record.modified = books.rules.clock()
    if wanted != now:
        _reach(books, record, wanted)


def delete_fulfillment(books: Books, record: Record) -> None:
    """Delete it: stock comes back and the order opens again. Raises VendorRefusal."""
    order = books.get(SALES_ORDER, str(record.fields["createdFrom"]))
    if order.fields["orderStatus"] == "G":
        raise user_error("This fulfillment is invoiced and cannot be deleted.")
    books.delete(record)
    if record.fields["shipStatus"] == SHIPPED:
        _move_stock(books, record, Decimal(1))
    refresh_order_status(books, order)


def _reach(books: Books, record: Record, status: str) -> None:
    record.fields["shipStatus"] = status
    day = books.rules.clock().date().isoformat()
    for reached, name in zip(_SHIP_STATUSES, _REACHED_DATES, strict=True):
        if reached <= status:
            record.fields.setdefault(name, day)
    if status == SHIPPED:
        _move_stock(books, record, Decimal(-1))
        refresh_order_status(books, books.get(SALES_ORDER, str(record.fields["createdFrom"])))


def _move_stock(books: Books, record: Record, sign: Decimal) -> None:
    for line in record.lines.values():
        place = (str(line["item"]), str(line["location"]))
        books.on_hand[place] = books.on_hand.get(place, Decimal(0)) + sign * line["quantity"]
        sandbox_inventory.move(books, line, sign)


def _chosen_lines(books: Books, order: Record, body: Fields) -> list[Fields]:
    told: dict[int, Fields] = {}
    places: dict[int, int] = {}
    for index, line in enumerate(sublist(body, "item")):
        key = line.get("orderLine")
        if not isinstance(key, int) or key not in order.lines or key in told:
            raise invalid_value(key, f"item.items[{index}].orderLine")
        told[key], places[key] = line, index + 1
    chosen = []
    for key, ordered in order.lines.items():
        line = told.get(key, {})
        open_quantity = ordered["quantity"] - fulfilled(books, order, key)
        if line.get("itemReceive") is False or (open_quantity <= 0 and key not in told):
            continue
        quantity = line.get("quantity", open_quantity)
        if not isinstance(quantity, int | Decimal) or not 0 < quantity <= open_quantity:
            raise user_error("The quantity is more than what is left to fulfill.", f"item.{key}")
        location = ordered.get("location", order.fields.get("location"))
        if "location" in line:
            location = books.resolve(LOCATION, line["location"], f"item.{key}.location").internal_id
        if location is None:
            raise user_error("Please enter a location for every line.", f"item.{key}.location")
        chosen.append(_chosen(key, ordered["item"], Decimal(quantity), location))
        place = places.get(key, len(chosen))
        rows = sandbox_inventory.assigned(books, chosen[-1], place, line.get("inventoryDetail"))
        if rows:
            chosen[-1]["inventoryAssignment"] = rows
    if not chosen:
        raise user_error("You must have at least one valid line item for this transaction.", "item")
    return chosen


def _chosen(key: int, item: int, quantity: Decimal, location: int) -> Fields:
    return {"orderLine": key, "item": item, "quantity": quantity, "location": location}


def _header(books: Books, body: Fields) -> Fields:
    written = {
        name: value
        for name, value in body.items()
        if name not in {"item", "externalId", "shipStatus", *_PACKAGE_SUBLISTS}
    }
    if "location" in written:
        location = books.resolve(LOCATION, written["location"], "location")
        written["location"] = location.internal_id
    if "tranDate" in written:
        books.refuse_closed_period(str(written["tranDate"]))
    return written


def _packages(books: Books, body: Fields, ship_method: Any) -> list[Fields]:
    """The packages of the one sublist that the order's ship method has; others are refused."""
    method = str(ship_method.get("id")) if isinstance(ship_method, Mapping) else str(ship_method)
    own = books.rules.integrated_ship_methods.get(method, "package")
    for name in _PACKAGE_SUBLISTS:
        if name in body and name != own:
            raise user_error(f"{name} does not apply to this ship method, {own} does.", name)
    carrier = _PACKAGE_SUBLISTS[own]
    described = () if own == "packageFedex" else ("packageDescr",)
    own_fields = {f"{name}{carrier}" for name in (*_CARRIER_FIELDS, *described)}
    allowed = own_fields if carrier else _PACKAGE_FIELDS
    packages = []
    for index, package in enumerate(sublist(body, own)):
        path = f"{own}.items[{index}]"
        for name in package:
            if name not in allowed:
                raise invalid_value(package[name], f"{path}.{name}")
        weight = package.get(f"packageWeight{carrier}")
        if weight is not None and (not isinstance(weight, int | Decimal) or weight <= 0):
            raise invalid_value(weight, f"{path}.packageWeight{carrier}")
        packages.append(dict(package))
    return packages


def _ship_status(reference: Any, default: str) -> str:
    if reference is None:
        return default
    wanted = str(reference.get("id")) if isinstance(reference, Mapping) else str(reference)
    if wanted not in _SHIP_STATUSES:
        raise invalid_value(wanted, "shipStatus")
    return wanted
