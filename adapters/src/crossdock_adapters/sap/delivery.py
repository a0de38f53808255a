"""A delivery as it was read, and what may be done with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.client import etag_of
from crossdock_adapters.sap.translate import Shipped
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown

OUR_KEY: Final = "DeliveryDocumentBySupplier"
BASE_PLACES: Final = Decimal("0.001")
# What the key of a departure or receipt looks like: see translate.departure_keys.
OUR_KEYS: Final = re.compile(r"[0-9A-F]{32}(-[0-9]+)?")
# What is in its place once its shipment was voided.
RELEASED_KEYS: Final = re.compile(r"V[0-9A-F]{31}(-[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of delivery is called. moved: what its goods did, in a sentence. take_all,
    confirm_all: what takes its quantities as picked or put away, and confirms that."""

    header: str
    item: str
    post: str
    posting: str
    take_all: str
    confirm_all: str
    moved: str
    reference: str
    preceding: str


OUTBOUND: Final = Kind(
    "A_OutbDeliveryHeader",
    "A_OutbDeliveryItem",
    "PostGoodsIssue",
    "goods issue",
    "PickAllItems",
    "ConfirmPickingAllItems",
    "left",
    "outbound_delivery",
    "sales order",
)
RETURNED: Final = Kind(
    "A_ReturnsDeliveryHeader",
    "A_ReturnsDeliveryItem",
    "PostGoodsReceipt",
    "goods receipt",
    "PutawayAllItems",
    "ConfirmPutawayAllItems",
    "came",
    "returns_delivery",
    "customer return",
)


class Preceding(Protocol):
    """What deliveries are of: a sales order, or a customer return."""

    @property
    def number(self) -> str:
        """Its number in SAP."""


@dataclass(frozen=True, slots=True)
class DeliveryItem:
    """An item as it was read. order, order_item: what it delivers, without zeros before it and with
    six digits. main_item: of a batch split, the item that was split. higher: of what SAP made for
    another item, such as a part of a kit, that item; "" for one of its own. serial_count: of its
    serial numbers. to_base: so many of the base unit are so many of the unit."""

    number: str
    order: str
    order_item: str
    quantity: Decimal
    unit: str
    batch: str
    main_item: str
    higher: str
    etag: str
    serial_count: int
    base_unit: str
    to_base: tuple[Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as it was read. movement: a word of the table, "" when it has no row."""

    number: str
    key: str
    movement: str
    status: str
    picking: str
    confirmation: str
    fields: Mapping[str, Any]
    etag: str
    items: tuple[DeliveryItem, ...]

    @property
    def posted(self) -> bool:
        return self.movement == "posted"


def item_of(row: Mapping[str, Any]) -> DeliveryItem:
    """An item of a delivery that was read with its items."""
    return DeliveryItem(
        odata.item_number(row["DeliveryDocumentItem"]),
        odata.bare(str(row.get("ReferenceSDDocument") or "")),
        odata.item_number(row.get("ReferenceSDDocumentItem")),
        odata.number(row.get("ActualDeliveryQuantity") or "0"),
        odata.said(row, "DeliveryQuantityUnit"),
        odata.said(row, "Batch"),
        odata.item_number(row.get("HigherLvlItmOfBatSpltItm")),
        odata.item_number(row.get("HigherLevelItem")),
        etag_of(row),
        int(odata.number(row.get("NumberOfSerialNumbers") or 0)),
        str(row.get("BaseUnit") or row.get("DeliveryQuantityUnit") or ""),
        (
            odata.number(row.get("DeliveryToBaseQuantityNmrtr") or "1") or Decimal(1),
            odata.number(row.get("DeliveryToBaseQuantityDnmntr") or "1") or Decimal(1),
        ),
    )


def in_base_unit(item: DeliveryItem, quantity: Decimal) -> Decimal:
    """A quantity of an item in its base unit, in which SAP splits batches. NeedsPerson: SAP has no
    room for it, with three decimals."""
    numerator, denominator = item.to_base
    found = (quantity * numerator / denominator).quantize(BASE_PLACES)
    if found * denominator != quantity * numerator:
        raise NeedsPerson(
            f"{odata.decimal_text(quantity)} {item.unit} of item {item.number} are no quantity of "
            f"three decimals in {item.base_unit}: a person splits the batch"
        )
    return found


def with_key(deliveries: Sequence[Delivery], key: str) -> Delivery | None:
    """More than one is for a person: a key is given to a delivery once."""
    found = [each for each in deliveries if each.key == key]
    if len(found) > 1:
        numbers = ", ".join(each.number for each in found)
        raise NeedsPerson(f"deliveries {numbers} carry the same {OUR_KEY} {key}")
    return found[0] if found else None


def released(key: str) -> str:
    """What a delivery carries in place of our key once its shipment was voided: what is packed in
    its place may leave on it. As long as the key, which may fill the property."""
    return f"V{key[1:]}"


def is_free_for(delivery: Delivery, order: Preceding, lines: Sequence[Shipped]) -> bool:
    """Whether a departure may take it: open, nobody's yet or any more, with all that left.
    NeedsPerson: it would, and has goods of other orders, which would leave with it."""
    there = {item.order_item for item in delivery.items if item.order == odata.bare(order.number)}
    if delivery.key and not RELEASED_KEYS.fullmatch(delivery.key):
        return False
    if delivery.movement != "open" or not {line.item for line in lines} <= there:
        return False
    refuse_others(delivery)
    return True


def refuse_others(delivery: Delivery) -> None:
    """NeedsPerson: goods of several documents would be posted with one of them."""
    orders = sorted({item.order for item in delivery.items if item.order})
    if len(orders) > 1:
        raise NeedsPerson(
            f"delivery {delivery.number} has items of the documents {', '.join(orders)}: "
            "a person decides what of it moved"
        )


def refuse_unproven(
    deliveries: Sequence[Delivery], order: Preceding, items: Collection[str]
) -> None:
    """NeedsPerson: goods of these items are posted on a delivery that no departure of the hub
    claims. It may be ours, with its key edited: another posting could be the second one."""
    for delivery in deliveries:
        if delivery.movement == "open" or OUR_KEYS.fullmatch(delivery.key):
            continue
        touched = {
            each.order_item
            for each in delivery.items
            if each.order == odata.bare(order.number) and each.quantity > 0
        }
        if touched & set(items):
            raise NeedsPerson(
                f"delivery {delivery.number} of {order.number} is posted and its "
                f"{OUR_KEY} is {delivery.key or 'empty'}: a person says whether it is this one"
            )


def parts_of(delivery: Delivery, lines: Sequence[Shipped]) -> set[str]:
    """Numbers of the items that SAP made for items of these lines, however deep: they move with
    them, by quantities of SAP's own."""
    moved = {line.item for line in lines}
    there = {item.number: item for item in delivery.items}
    found: set[str] = set()
    for item in delivery.items:
        above, seen = there.get(item.higher), {item.number}
        while above is not None and above.number not in seen:
            seen.add(above.number)
            if above.order_item in moved and item.order_item not in moved:
                found.add(item.number)
            above = there.get(above.higher)
    return found | {item.number for item in delivery.items if item.main_item in found}


def refuse_kit(delivery: Delivery, item: DeliveryItem) -> None:
    """NeedsPerson: the item has parts, and what becomes of them when its quantity changes, nobody
    knows."""
    parts = [each.number for each in delivery.items if each.higher == item.number]
    if parts:
        raise NeedsPerson(
            f"item {item.number} of delivery {delivery.number} has "
            f"{odata.decimal_text(item.quantity)}, and another quantity moved; items "
            f"{', '.join(parts)} are parts of it: set their quantities in SAP, then retry"
        )


def differences(delivery: Delivery, lines: Sequence[Shipped], moved: str) -> str:
    """What a delivery has other than what moved, by quantity and lot; "" when it is the same."""
    odd = []
    wanted = {line.item: line for line in lines}
    parts = parts_of(delivery, lines)
    items = [item for item in delivery.items if item.number not in parts]
    for place in sorted({item.order_item for item in items} | set(wanted)):
        line = wanted.get(place)
        lots: dict[str, Decimal] = {}
        for item in items:
            if item.order_item == place and item.quantity:
                lots[item.batch] = lots.get(item.batch, Decimal(0)) + item.quantity
        quantity = sum(lots.values(), Decimal(0))
        left = line.quantity if line is not None else Decimal(0)
        if quantity != left:
            odd.append(
                f"item {place} has {odata.decimal_text(quantity)}, and "
                f"{odata.decimal_text(left)} {moved}"
            )
        elif line is not None and line.lots and lots != line.lots:
            odd.append(f"item {place} has lots {_listed(lots)}, and {_listed(line.lots)} {moved}")
    return "; ".join(odd)


def _listed(lots: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{lot or 'none'} {odata.decimal_text(lots[lot])}" for lot in sorted(lots))


def odd_status(delivery: Delivery) -> str:
    """Why a person has to decide about a delivery that is not open."""
    word = {"part": "is posted in part", "posted": "is posted"}.get(
        delivery.movement, f"has the goods movement status {delivery.status!r}"
    )
    return f"delivery {delivery.number} {word}: a person decides"


def not_moved(delivery: Delivery, before: str, what: str, failure: Exception | None) -> Exception:
    """Why a movement did not come about. What SAP said against it counts only where the delivery
    is as it was before; of one that is moved in part nobody knows what is left to do."""
    if failure is not None and delivery.movement == before:
        return failure
    said = f"SAP says {failure or 'nothing'} against the {what} of {delivery.number}"
    return OutcomeUnknown(f"{said}, and status {delivery.status or 'none'}")
