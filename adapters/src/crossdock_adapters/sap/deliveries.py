"""The outbound delivery of one departure: found or created, made ready, posted, reversed.

Every step reads the delivery first and does only what is missing, with the ETag of what it read, so
that a repeat goes on where the last attempt ended. Nothing but the goods issue and its reversal
moves stock or books.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.client import (
    RecordMissing,
    Reply,
    SapClient,
    Stale,
    etag_of,
    warnings,
)
from crossdock_adapters.sap.translate import SalesOrder, Shipped
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NeedsPerson,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
)

HEADER, ITEM = "A_OutbDeliveryHeader", "A_OutbDeliveryItem"
ITEMS, FLOW = "to_DeliveryDocumentItem", "to_DocumentFlow"
SERIALS = "to_SerialDeliveryItem/to_MaintenanceItemObject"
MATERIAL_DOCUMENTS = "API_MATERIAL_DOCUMENT_SRV"
OUR_KEY = "DeliveryDocumentBySupplier"
# The category of a goods movement in a document flow.
GOODS_MOVEMENT = "R"
# How often somebody may be quicker than us before the attempt ends.
TRIES: Final = 4
LOOK_PAUSE_SECONDS: Final = 0.2
NOT_CREATED_PAUSE_SECONDS: Final = 60.0
STALE_PAUSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """creates: the adapter creates deliveries; else SAP's own job does, and it waits for them.
    documents_by: "delivery" (the material document service) or "document_flow".
    document_seconds: how long the document number may take to show after the posting.
    """

    service: str
    creates: bool
    picks: bool
    documents_by: str
    document_seconds: float


@dataclass(frozen=True, slots=True)
class DeliveryItem:
    """An item as it was read. main_item: of a batch split, the item that was split."""

    number: str
    order_item: str
    quantity: Decimal
    unit: str
    batch: str
    main_item: str
    etag: str


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


class Deliveries:
    """Deliveries of one tenant by the rules of one deployment."""

    def __init__(self, vendor: SapClient, rules: DeliveryRules) -> None:
        self._vendor = vendor
        self._rules = rules

    async def of_order(self, order: SalesOrder) -> list[Delivery]:
        """All deliveries of a sales order, oldest first."""
        rows = await self._vendor.query(
            self._rules.service,
            ITEM,
            {
                "$filter": odata.equals("ReferenceSDDocument", order.number),
                "$orderby": "DeliveryDocument,DeliveryDocumentItem",
                "$select": "DeliveryDocument,DeliveryDocumentItem",
            },
        )
        numbers = sorted({str(row["DeliveryDocument"]) for row in rows}, key=odata.by_number)
        return [await self.read(number) for number in numbers]

    async def find(self, order: SalesOrder, key: str) -> Delivery | None:
        """The order's delivery that carries our key."""
        return _with_key(await self.of_order(order), key)

    async def read(self, number: str) -> Delivery:
        """A delivery with its items. Raises RecordMissing."""
        path = f"{HEADER}{odata.key(DeliveryDocument=number)}"
        reply = await self._vendor.read(self._rules.service, path, {"$expand": ITEMS})
        row = reply.content
        status = str(row.get("OverallGoodsMovementStatus", ""))
        return Delivery(
            str(row["DeliveryDocument"]),
            str(row.get(OUR_KEY, "")),
            self._vendor.answers.movements.get(status, ""),
            status,
            str(row.get("OverallPickingStatus", "")),
            str(row.get("OverallPickingConfStatus", "")),
            row,
            reply.etag,
            tuple(_item(each) for each in odata.inner(row, ITEMS)),
        )

    async def claimed(
        self, order: SalesOrder, key: str, lines: Sequence[Shipped], creation: Mapping[str, Any]
    ) -> Delivery:
        """The delivery that carries our key: found, or an unposted one without a key that has all
        lines, or a new one. The key is written under its ETag, so that two departures of an order
        never take the same delivery."""
        for _ in range(TRIES):
            deliveries = await self.of_order(order)
            ours = _with_key(deliveries, key)
            if ours is not None:
                return ours
            free = next((each for each in deliveries if _is_free_for(each, lines)), None)
            if free is None:
                if not self._rules.creates:
                    said = f"SAP has no delivery for sales order {order.number} yet"
                    raise Retry(NOT_CREATED_PAUSE_SECONDS, said)
                made = await self._vendor.create(self._rules.service, HEADER, creation)
                free = await self.read(_number_of(made))
            try:
                await self._change_header(free, {OUR_KEY: key})
            except Stale:
                continue
            return await self.read(free.number)
        raise Retry(STALE_PAUSE_SECONDS, f"the deliveries of {order.number} change all the time")

    async def made_ready(
        self, delivery: Delivery, lines: Sequence[Shipped], header: Mapping[str, Any]
    ) -> Delivery:
        """Quantities, lots, serial numbers, picking, and the header's properties, as they left."""
        for _ in range(TRIES):
            try:
                return await self._ready(delivery, lines, header)
            except Stale:
                delivery = await self.read(delivery.number)
        raise Retry(STALE_PAUSE_SECONDS, f"delivery {delivery.number} is changed all the time")

    async def post(self, delivery: Delivery) -> str:
        """Post the goods issue unless it is posted. What SAP warned of.

        The status is read again after whatever SAP said: it alone says whether it is posted.
        """
        for _ in range(TRIES):
            if delivery.posted:
                return ""
            self._refuse_unless_open(delivery)
            parameters = {"DeliveryDocument": odata.text(delivery.number)}
            try:
                failure, told = await self._moved("PostGoodsIssue", parameters, delivery)
            except Stale:
                delivery = await self.read(delivery.number)
                continue
            delivery = await self._read_after_write(delivery.number)
            if delivery.posted:
                return told
            raise _not_moved(delivery, "open", "goods issue", failure)
        raise Retry(STALE_PAUSE_SECONDS, f"delivery {delivery.number} is changed all the time")

    async def reverse(self, delivery: Delivery, day: str) -> str:
        """Reverse the goods issue unless nothing is posted. What SAP warned of."""
        for _ in range(TRIES):
            if delivery.movement == "open":
                return ""
            if not delivery.posted:
                raise NeedsPerson(_odd_status(delivery))
            parameters = {
                "DeliveryDocument": odata.text(delivery.number),
                "ActualGoodsMovementDate": day,
            }
            try:
                failure, told = await self._moved("ReverseGoodsIssue", parameters, delivery)
            except Stale:
                delivery = await self.read(delivery.number)
                continue
            delivery = await self._read_after_write(delivery.number)
            if delivery.movement == "open":
                return told
            raise _not_moved(delivery, "posted", "reversal", failure)
        raise Retry(STALE_PAUSE_SECONDS, f"delivery {delivery.number} is changed all the time")

    async def documents(self, delivery: Delivery) -> list[Reference]:
        """The delivery, and the material document of its last goods movement, which SAP shows a
        moment after the posting. AnswerLater: it does not show it yet."""
        until = time.monotonic() + self._rules.document_seconds
        while True:
            found = await self._material_document(delivery)
            if found:
                return [Reference("material_document", found), _delivery_reference(delivery)]
            if time.monotonic() >= until:
                raise AnswerLater(f"delivery {delivery.number} is posted, its document not visible")
            await asyncio.sleep(LOOK_PAUSE_SECONDS)

    async def _material_document(self, delivery: Delivery) -> str:
        """Year and number, or the number alone where only the document flow may be read."""
        if self._rules.documents_by == "document_flow":
            item = delivery.items[0]
            place = odata.key(DeliveryDocument=delivery.number, DeliveryDocumentItem=item.number)
            rows = await self._vendor.query(
                self._rules.service, f"{ITEM}{place}/{FLOW}", {"$orderby": "Subsequentdocument"}
            )
            flow = [row for row in rows if row.get("SubsequentDocumentCategory") == GOODS_MOVEMENT]
            return str(flow[-1].get("Subsequentdocument", "")) if flow else ""
        rows = await self._vendor.query(
            MATERIAL_DOCUMENTS,
            "A_MaterialDocumentItem",
            {
                "$filter": odata.equals("Delivery", delivery.number),
                "$orderby": "MaterialDocumentYear,MaterialDocument,MaterialDocumentItem",
            },
        )
        if not rows:
            return ""
        return f"{rows[-1].get('MaterialDocumentYear')}/{rows[-1].get('MaterialDocument')}"

    async def _ready(
        self, delivery: Delivery, lines: Sequence[Shipped], header: Mapping[str, Any]
    ) -> Delivery:
        if delivery.posted:
            return delivery
        self._refuse_unless_open(delivery)
        by_item = {line.item: line for line in lines}
        for number in [item.number for item in delivery.items if not item.main_item]:
            item = next(each for each in delivery.items if each.number == number)
            if await self._item_ready(delivery, item, by_item.get(item.order_item)):
                # Every write makes a new version of the whole delivery.
                delivery = await self.read(delivery.number)
        if self._rules.picks and delivery.picking in ("A", "B"):
            parameters = {"DeliveryDocument": odata.text(delivery.number)}
            await self._checked("PickAllItems", parameters, delivery)
            delivery = await self.read(delivery.number)
        if self._rules.picks and delivery.confirmation in ("A", "B"):
            parameters = {"DeliveryDocument": odata.text(delivery.number)}
            await self._checked("ConfirmPickingAllItems", parameters, delivery)
            delivery = await self.read(delivery.number)
        differs = {
            name: value for name, value in header.items() if delivery.fields.get(name) != value
        }
        if differs:
            await self._change_header(delivery, differs)
            delivery = await self.read(delivery.number)
        return delivery

    async def _item_ready(
        self, delivery: Delivery, item: DeliveryItem, line: Shipped | None
    ) -> bool:
        """What left of the item; none of an item that stayed. Whether anything was written."""
        if line is not None and line.unit != item.unit:
            raise NeedsPerson(
                f"item {item.number} of delivery {delivery.number} is in {item.unit}, and "
                f"{line.unit} left"
            )
        lots = line.lots if line is not None else {}
        splits = [each for each in delivery.items if each.main_item == item.number]
        wanted = line.quantity if line is not None else Decimal(0)
        body: dict[str, Any] = {}
        if item.quantity + sum((each.quantity for each in splits), Decimal(0)) != wanted:
            body["ActualDeliveryQuantity"] = odata.decimal_text(wanted)
        if len(lots) == 1 and item.batch not in lots:
            body["Batch"] = next(iter(lots))
        place = {"DeliveryDocument": delivery.number, "DeliveryDocumentItem": item.number}
        if body:
            path = f"{ITEM}{odata.key(**place)}"
            await self._vendor.change(self._rules.service, path, body, item.etag)
        keys = {name: odata.text(value) for name, value in place.items()}
        missing = sorted(set(lots) - {each.batch for each in splits}) if len(lots) > 1 else []
        for lot in missing:
            parameters = {
                **keys,
                "Batch": odata.text(lot),
                "SplitQuantity": odata.decimal(lots[lot]),
                "SplitQuantityUnit": odata.text(item.unit),
            }
            latest = await self.read(delivery.number)
            await self._checked("PickAndBatchSplitOneItem", parameters, latest)
        serials = line.serial_numbers if line is not None else ()
        named = bool(serials) and await self._serials_ready(delivery, item, serials, keys)
        return bool(body or missing) or named

    async def _serials_ready(
        self,
        delivery: Delivery,
        item: DeliveryItem,
        wanted: Sequence[str],
        keys: Mapping[str, str],
    ) -> bool:
        """Exactly these serial numbers on the item. Whether anything was written."""
        place = odata.key(DeliveryDocument=delivery.number, DeliveryDocumentItem=item.number)
        rows = await self._vendor.query(
            self._rules.service, f"{ITEM}{place}/{SERIALS}", {"$orderby": "SerialNumber"}
        )
        there = {str(row.get("SerialNumber", "")) for row in rows}
        for function, serials in (
            ("DeleteSerialNumberFromDeliveryItem", sorted(there - set(wanted))),
            ("AddSerialNumberToDeliveryItem", sorted(set(wanted) - there)),
        ):
            for serial in serials:
                latest = await self.read(delivery.number)
                parameters = {**keys, "SerialNumber": odata.text(serial)}
                await self._checked(function, parameters, latest)
        return there != set(wanted)

    async def _change_header(self, delivery: Delivery, body: Mapping[str, Any]) -> Reply:
        path = f"{HEADER}{odata.key(DeliveryDocument=delivery.number)}"
        return await self._vendor.change(self._rules.service, path, body, delivery.etag)

    async def _call(
        self, function: str, parameters: Mapping[str, str], delivery: Delivery
    ) -> Reply:
        return await self._vendor.call(self._rules.service, function, parameters, delivery.etag)

    async def _moved(
        self, function: str, parameters: Mapping[str, str], delivery: Delivery
    ) -> tuple[Exception | None, str]:
        """A call that moves stock: what SAP said against it, and what it warned of. Raises Stale,
        and what says nothing about this delivery."""
        try:
            reply = await self._call(function, parameters, delivery)
        except (Reject, NeedsPerson) as refused:
            return refused, ""
        return self._vendor.failure(reply.messages, effect=True), warnings(reply.messages)

    async def _checked(
        self, function: str, parameters: Mapping[str, str], delivery: Delivery
    ) -> None:
        """A step that has to work; its report may say that it did not."""
        reply = await self._call(function, parameters, delivery)
        failure = self._vendor.failure(reply.messages, effect=True)
        if failure is not None:
            raise failure

    async def _read_after_write(self, number: str) -> Delivery:
        """What a write left behind; not being able to see it leaves the write in doubt."""
        try:
            return await self.read(number)
        except (Retry, RecordMissing, Reject, NeedsPerson) as error:
            raise OutcomeUnknown(
                f"delivery {number} was written and cannot be read: {error}"
            ) from None

    def _refuse_unless_open(self, delivery: Delivery) -> None:
        if delivery.movement != "open":
            raise NeedsPerson(_odd_status(delivery))


def _item(row: Mapping[str, Any]) -> DeliveryItem:
    main_item = str(row.get("HigherLvlItmOfBatSpltItm") or "")
    return DeliveryItem(
        str(row["DeliveryDocumentItem"]),
        str(row.get("ReferenceSDDocumentItem", "")),
        odata.number(row.get("ActualDeliveryQuantity", "0")),
        str(row.get("DeliveryQuantityUnit", "")),
        str(row.get("Batch", "")),
        main_item if main_item.strip("0") else "",
        etag_of(row),
    )


def _with_key(deliveries: Sequence[Delivery], key: str) -> Delivery | None:
    """More than one is for a person: a key is given to a delivery once."""
    found = [each for each in deliveries if each.key == key]
    if len(found) > 1:
        numbers = ", ".join(each.number for each in found)
        raise NeedsPerson(f"deliveries {numbers} carry the same {OUR_KEY} {key}")
    return found[0] if found else None


def _is_free_for(delivery: Delivery, lines: Sequence[Shipped]) -> bool:
    there = {item.order_item for item in delivery.items}
    return (
        not delivery.key and delivery.movement == "open" and {line.item for line in lines} <= there
    )


def _number_of(made: Reply) -> str:
    number = made.content.get("DeliveryDocument") if isinstance(made.content, Mapping) else None
    if not number:
        raise OutcomeUnknown("SAP created a delivery and did not say its number")
    return str(number)


def _odd_status(delivery: Delivery) -> str:
    word = {"part": "is posted in part", "posted": "is posted"}.get(
        delivery.movement, f"has the goods movement status {delivery.status!r}"
    )
    return f"delivery {delivery.number} {word}: a person decides"


def _not_moved(delivery: Delivery, before: str, what: str, failure: Exception | None) -> Exception:
    """Why a movement did not come about. What SAP said against it counts only where the delivery
    is as it was before; of one that is moved in part nobody knows what is left to do."""
    if failure is not None and delivery.movement == before:
        return failure
    said = f"SAP says {failure or 'nothing'} against the {what} of {delivery.number}"
    return OutcomeUnknown(f"{said}, and status {delivery.status or 'none'}")


def _delivery_reference(delivery: Delivery) -> Reference:
    return Reference("outbound_delivery", delivery.number)
