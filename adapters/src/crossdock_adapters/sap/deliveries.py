"""The delivery of one departure, or of one receipt: found or created, made ready, posted, reversed.

Every step reads the delivery first and does only what is missing, with the ETag of what it read, so
that a repeat goes on where the last attempt ended. Nothing but the goods issue and its reversal
moves stock or books.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.answers import GOODS_MOVEMENT, PICKING
from crossdock_adapters.sap.client import (
    RecordMissing,
    Reply,
    SapClient,
    Stale,
    warnings,
)
from crossdock_adapters.sap.delivery import (
    OUR_KEY,
    OUR_KEYS,
    OUTBOUND,
    Delivery,
    DeliveryItem,
    Kind,
    Preceding,
    differences,
    in_base_unit,
    is_free_for,
    item_of,
    not_moved,
    odd_status,
    parts_of,
    refuse_kit,
    refuse_others,
    refuse_unproven,
    released,
    with_key,
)
from crossdock_adapters.sap.material_documents import DocumentRules, MaterialDocuments
from crossdock_adapters.sap.translate import Shipped
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
)

ITEMS: Final = "to_DeliveryDocumentItem"
# An item has one list of serial numbers, or none.
SERIAL_LIST, SERIALS = "to_SerialDeliveryItem", "to_MaintenanceItemObject"
# How often somebody may be quicker than us before the attempt ends.
TRIES: Final = 4
NOT_CREATED_PAUSE_SECONDS: Final = 60.0
STALE_PAUSE_SECONDS: Final = 2.0
# Words for a status of picking by which something is left to be taken as picked, or confirmed.
TO_PICK: Final = ("open", "part")


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """creates: the adapter creates deliveries; else SAP's own job does, and it waits for them.
    picks: it takes their quantities as picked, or as put away.
    documents: where their material documents are found."""

    service: str
    creates: bool
    picks: bool
    documents: DocumentRules


class Deliveries:
    """Deliveries of one kind in one tenant, by the rules of one deployment."""

    def __init__(self, vendor: SapClient, rules: DeliveryRules, kind: Kind = OUTBOUND) -> None:
        self._vendor = vendor
        self._rules = rules
        self._kind = kind
        self.documents = MaterialDocuments(vendor, rules.service, rules.documents, kind)

    async def of_order(self, order: Preceding) -> list[Delivery]:
        """All deliveries of a sales order or customer return, oldest first."""
        rows = await self._vendor.query(
            self._rules.service,
            self._kind.item,
            {
                "$filter": odata.equals("ReferenceSDDocument", order.number),
                "$orderby": "DeliveryDocument,DeliveryDocumentItem",
                "$select": "DeliveryDocument,DeliveryDocumentItem",
            },
        )
        numbers = sorted({str(row["DeliveryDocument"]) for row in rows}, key=odata.by_number)
        return [await self.read(number) for number in numbers]

    async def find(self, order: Preceding, key: str, lines: Sequence[Shipped]) -> Delivery | None:
        """The order's delivery that carries our key. NeedsPerson: what left may be posted on one
        that does not."""
        deliveries = await self.of_order(order)
        found = with_key(deliveries, key)
        if found is None:
            refuse_unproven(deliveries, order, {line.item for line in lines})
        return found

    async def read(self, number: str) -> Delivery:
        """A delivery with its items. Raises RecordMissing. NeedsPerson: it cannot be read."""
        path = f"{self._kind.header}{odata.key(DeliveryDocument=number)}"
        reply = await self._vendor.read(self._rules.service, path, {"$expand": ITEMS})
        try:
            return self._delivery_of(reply)
        except (ValueError, LookupError) as problem:
            raise NeedsPerson(f"delivery {number} cannot be read: {problem}") from problem

    def _delivery_of(self, reply: Reply) -> Delivery:
        row = reply.content
        status = odata.said(row, "OverallGoodsMovementStatus")
        return Delivery(
            str(row["DeliveryDocument"]),
            odata.said(row, OUR_KEY),
            self._vendor.answers.word(GOODS_MOVEMENT, status),
            status,
            odata.said(row, "OverallPickingStatus"),
            odata.said(row, "OverallPickingConfStatus"),
            row,
            reply.etag,
            tuple(item_of(each) for each in odata.inner(row, ITEMS)),
        )

    async def claimed(
        self, order: Preceding, key: str, lines: Sequence[Shipped], creation: Mapping[str, Any]
    ) -> Delivery:
        """The delivery that carries our key: found, or an unposted one without a key that has all
        lines, or a new one. The key is written under its ETag, so that two departures of an order
        never take the same delivery."""
        for _ in range(TRIES):
            deliveries = await self.of_order(order)
            ours = with_key(deliveries, key)
            if ours is not None:
                return ours
            refuse_unproven(deliveries, order, {line.item for line in lines})
            free = next((each for each in deliveries if is_free_for(each, order, lines)), None)
            if free is None:
                if not self._rules.creates:
                    said = f"SAP has no delivery for {self._kind.preceding} {order.number} yet"
                    raise Retry(NOT_CREATED_PAUSE_SECONDS, said)
                made = await self._vendor.create(self._rules.service, self._kind.header, creation)
                free = await self.read(_number_of(made))
            try:
                await self._change_header(free, {OUR_KEY: key})
            except Stale:
                continue
            claimed = await self.read(free.number)
            if claimed.key != key:
                raise NeedsPerson(
                    f"delivery {claimed.number} keeps {claimed.key or 'nothing'} in {OUR_KEY} "
                    f"where {key} was written: without it a posting would not be found again"
                )
            return claimed
        raise Retry(STALE_PAUSE_SECONDS, f"the deliveries of {order.number} change all the time")

    async def made_ready(
        self, delivery: Delivery, lines: Sequence[Shipped], header: Mapping[str, Any]
    ) -> Delivery:
        """Quantities, lots, serial numbers, picking, and the header's properties, as they left."""
        for _ in range(TRIES):
            try:
                ready = await self._ready(delivery, lines, header)
                if not ready.posted:
                    await self._refuse_differences(ready, lines)
                return ready
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
                failure, told = await self._moved(self._kind.post, parameters, delivery)
            except Stale:
                delivery = await self.read(delivery.number)
                continue
            delivery = await self._read_after_write(delivery.number)
            if delivery.posted:
                return told
            raise not_moved(delivery, "open", self._kind.posting, failure)
        raise Retry(STALE_PAUSE_SECONDS, f"delivery {delivery.number} is changed all the time")

    async def reverse(self, delivery: Delivery, day: str) -> str:
        """Reverse the goods issue unless nothing is posted. What SAP warned of."""
        for _ in range(TRIES):
            if delivery.movement == "open":
                return ""
            if not delivery.posted:
                raise NeedsPerson(odd_status(delivery))
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
            raise not_moved(delivery, "posted", "reversal", failure)
        raise Retry(STALE_PAUSE_SECONDS, f"delivery {delivery.number} is changed all the time")

    async def release(self, number: str) -> str:
        """Let what is packed in place of a voided shipment leave on its delivery, which has all
        that was open of the order. Why that may not be, in words; "" once it may."""
        for _ in range(TRIES):
            delivery = await self.read(number)
            if delivery.movement != "open" or not OUR_KEYS.fullmatch(delivery.key):
                return ""
            try:
                await self._change_header(delivery, {OUR_KEY: released(delivery.key)})
                return ""
            except Stale:
                continue
            except (Reject, NeedsPerson) as refused:
                return (
                    f"delivery {number} keeps its {OUR_KEY}: delete it in SAP before what is "
                    f"packed in its place leaves ({refused})"
                )
        raise Retry(STALE_PAUSE_SECONDS, f"delivery {number} is changed all the time")

    async def posted_documents(self, delivery: Delivery) -> list[Reference]:
        """The material document of the delivery's posting, and the delivery. AnswerLater: SAP does
        not show it yet."""
        document = await self.documents.posted(delivery)
        return [
            Reference("material_document", document),
            Reference(self._kind.reference, delivery.number),
        ]

    async def refuse_reversed(self, delivery: Delivery) -> None:
        """NeedsPerson: the delivery is open and has goods movements: a person reversed it."""
        postings = await self.documents.postings(delivery)
        if postings:
            last = postings[-1].reversal or postings[-1].document
            raise NeedsPerson(
                f"delivery {delivery.number} is open and had the goods movement {last}: "
                "somebody reversed it, and a person decides whether it is posted again"
            )

    async def _ready(
        self, delivery: Delivery, lines: Sequence[Shipped], header: Mapping[str, Any]
    ) -> Delivery:
        if delivery.posted:
            return delivery
        self._refuse_unless_open(delivery)
        refuse_others(delivery)
        by_item = {line.item: line for line in lines}
        parts = parts_of(delivery, lines)
        own = [item for item in delivery.items if not item.main_item and item.number not in parts]
        for number in [item.number for item in own]:
            item = next(each for each in delivery.items if each.number == number)
            if await self._item_ready(delivery, item, by_item.get(item.order_item)):
                # Every write makes a new version of the whole delivery.
                delivery = await self.read(delivery.number)
        if self._rules.picks and self._is_left(delivery, delivery.picking):
            parameters = {"DeliveryDocument": odata.text(delivery.number)}
            await self._checked(self._kind.take_all, parameters, delivery)
            delivery = await self.read(delivery.number)
        if self._rules.picks and self._is_left(delivery, delivery.confirmation):
            parameters = {"DeliveryDocument": odata.text(delivery.number)}
            await self._checked(self._kind.confirm_all, parameters, delivery)
            delivery = await self.read(delivery.number)
        differs = {
            name: value for name, value in header.items() if delivery.fields.get(name) != value
        }
        if differs:
            await self._change_header(delivery, differs)
            delivery = await self.read(delivery.number)
        return delivery

    def _is_left(self, delivery: Delivery, status: str) -> bool:
        """Whether a status of picking says that something is left to do; blank says that it is not
        relevant. NeedsPerson: it has no row."""
        word = self._vendor.answers.word(PICKING, status)
        if status and not word:
            raise NeedsPerson(
                f"delivery {delivery.number} has the status {status!r} of picking or its "
                f"confirmation, which has no row in [{PICKING}] of answers.toml: add one "
                "(setting answers_file), then retry"
            )
        return word in TO_PICK

    async def _item_ready(
        self, delivery: Delivery, item: DeliveryItem, line: Shipped | None
    ) -> bool:
        """What left of the item; none of an item that stayed. Whether anything was written."""
        if line is not None and line.unit != item.unit:
            raise NeedsPerson(
                f"item {item.number} of delivery {delivery.number} is in {item.unit}, and "
                f"{line.unit} {self._kind.moved}"
            )
        lots = line.lots if line is not None else {}
        splits = [each for each in delivery.items if each.main_item == item.number]
        wanted = line.quantity if line is not None else Decimal(0)
        body: dict[str, Any] = {}
        odd = [each for each in splits if each.quantity != lots.get(each.batch, Decimal(0))]
        if odd:
            raise NeedsPerson(
                f"delivery {delivery.number} has {odata.decimal_text(odd[0].quantity)} of lot "
                f"{odd[0].batch} split from item {item.number}, and "
                f"{lots.get(odd[0].batch, 0)} {self._kind.moved}"
            )
        rest = wanted - sum((each.quantity for each in splits), Decimal(0))
        if item.quantity != rest:
            if line is not None:
                refuse_kit(delivery, item)
            body["ActualDeliveryQuantity"] = odata.decimal_text(rest)
        if len(lots) == 1 and item.batch not in lots:
            body["Batch"] = next(iter(lots))
        place = {"DeliveryDocument": delivery.number, "DeliveryDocumentItem": item.number}
        if body:
            path = f"{self._kind.item}{odata.key(**place)}"
            await self._vendor.change(self._rules.service, path, body, item.etag)
        keys = {name: odata.text(value) for name, value in place.items()}
        missing = sorted(set(lots) - {each.batch for each in splits}) if len(lots) > 1 else []
        for lot in missing:
            parameters = {
                **keys,
                "Batch": odata.text(lot),
                "SplitQuantity": odata.decimal(in_base_unit(item, lots[lot])),
                "SplitQuantityUnit": odata.text(item.base_unit),
            }
            latest = await self.read(delivery.number)
            await self._checked("PickAndBatchSplitOneItem", parameters, latest)
        serials = line.serial_numbers if line is not None else ()
        named = bool(serials) and await self._serials_ready(delivery, item, serials, keys)
        return bool(body or missing) or named

    async def _refuse_differences(self, delivery: Delivery, lines: Sequence[Shipped]) -> None:
        """NeedsPerson: the delivery, as it would be posted now, is not what left."""
        odd = differences(delivery, lines, self._kind.moved)
        for line in lines:
            if not line.serial_numbers or odd:
                continue
            there: set[str] = set()
            for item in delivery.items:
                if item.order_item == line.item:
                    there |= await self._serials(delivery, item)
            if there != set(line.serial_numbers):
                odd = f"item {line.item} has other serial numbers than what {self._kind.moved}"
        if odd:
            raise NeedsPerson(f"delivery {delivery.number} is not what {self._kind.moved}: {odd}")

    async def _serials(self, delivery: Delivery, item: DeliveryItem) -> set[str]:
        """Those of the item; an item that counts none has no list that could be asked for."""
        if not item.serial_count:
            return set()
        place = odata.key(DeliveryDocument=delivery.number, DeliveryDocumentItem=item.number)
        path = f"{self._kind.item}{place}/{SERIAL_LIST}"
        reply = await self._vendor.read(self._rules.service, path, {"$expand": SERIALS})
        rows = odata.inner(reply.content, SERIALS)
        return {str(row.get("SerialNumber", "")) for row in rows}

    async def _serials_ready(
        self,
        delivery: Delivery,
        item: DeliveryItem,
        wanted: Sequence[str],
        keys: Mapping[str, str],
    ) -> bool:
        """Exactly these serial numbers on the item. Whether anything was written."""
        there = await self._serials(delivery, item)
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
        path = f"{self._kind.header}{odata.key(DeliveryDocument=delivery.number)}"
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
            raise NeedsPerson(odd_status(delivery))


def _number_of(made: Reply) -> str:
    number = made.content.get("DeliveryDocument") if isinstance(made.content, Mapping) else None
    if not number:
        raise OutcomeUnknown("SAP created a delivery and did not say its number")
    return str(number)
