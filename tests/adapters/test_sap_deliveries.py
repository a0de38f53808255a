"""Deliveries that somebody else made, changed or posted: what left is posted, once, alone."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock_adapters.sap import sandbox_deliveries, sandbox_odata
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sap.sandbox_books import Document
from crossdock_adapters.sdk.outcomes import Confirmed, NeedsPerson, OutcomeUnknown, VendorOutcome
from sap_world import Desk, approved, manifested, order, running, voided

pytestmark = pytest.mark.asyncio


async def made_by_sap(desk: Desk) -> Document:
    """The delivery that the tenant's own job creates of what is open."""
    desk.sandbox._creates_deliveries = True
    await desk.sandbox.tick()
    desk.sandbox._creates_deliveries = False
    return list(desk.sandbox._books.deliveries.values())[-1]


@pytest.mark.parametrize("key", ["", "CARRIER-REF"])
async def test_a_posted_delivery_without_our_key_is_not_posted_again(
    tmp_path: Path, key: str
) -> None:
    """Proves that a key that somebody edited leads to a person, and never to a second posting."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", order((10, "SKU-1001", "9"), (20, "SKU-1002", "9")))
        desk.fault("reply_lost", operation="post_goods_issue", count=1)
        with pytest.raises(OutcomeUnknown):
            await desk.do("post_goods_issue", manifested())
        (delivery,) = desk.sandbox._books.deliveries.values()
        delivery.fields["DeliveryDocumentBySupplier"] = key
        for attempt in (desk.look_up, desk.do):
            with pytest.raises(NeedsPerson, match="a person says whether it is this one"):
                await attempt("post_goods_issue", manifested())
        assert len({each["MaterialDocument"] for each in desk.documents()}) == 1


async def test_a_delivery_of_saps_job_with_no_key_at_all_is_taken(tmp_path: Path) -> None:
    """Proves that null where the key goes is nobody's key: no second delivery is made."""
    async with running(tmp_path, creates_deliveries=False) as desk:
        await desk.do("create_sales_order", approved({}))
        document = await made_by_sap(desk)
        document.fields["DeliveryDocumentBySupplier"] = None
        for item in document.items.values():
            item["Batch"] = item["StorageLocation"] = None
        await desk.do("post_goods_issue", manifested())
        assert document.fields["OverallGoodsMovementStatus"] == "C"
        assert len(desk.deliveries()) == 1


def kit_of(desk: Desk) -> None:
    """Item 10 of the order is a kit of two of a part each, which is a kit itself."""
    (document,) = desk.sandbox._books.orders.values()
    head = document.items["000010"]
    for place, higher, quantity in (("000011", "10", 2), ("000012", "11", 6)):
        ordered = head["RequestedQuantity"] * quantity
        part = {"SalesOrderItem": place, "HigherLevelItem": higher, "RequestedQuantity": ordered}
        document.items[place] = {**head, **part, "Material": "SKU-1005"}


@pytest.mark.parametrize("made_by", ["us", "SAP's job"])
async def test_parts_of_a_kit_leave_with_it(tmp_path: Path, made_by: str) -> None:
    """Proves that items that SAP made for a line that left are posted with what SAP has of them,
    and neither taken out nor told as a difference, whoever made the delivery."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", order((10, "SKU-1001", "2")))
        kit_of(desk)
        if made_by != "us":
            await made_by_sap(desk)
        await desk.do("post_goods_issue", manifested((10, "SKU-1001", "2")))
        moved = [(each["Material"], each["QuantityInEntryUnit"]) for each in desk.documents()]
        assert moved == [("SKU-1001", 2), ("SKU-1005", 4), ("SKU-1005", 12)]


async def test_part_of_a_kit_that_leaves_is_for_a_person(tmp_path: Path) -> None:
    """Proves that nobody guesses how many parts one kit of two has, and that a kit of which nothing
    left takes its parts along."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", order((10, "SKU-1001", "2"), (20, "SKU-1002", "1")))
        kit_of(desk)
        document = await made_by_sap(desk)
        event = manifested((10, "SKU-1001", "1"), (20, "SKU-1002", "1"))
        with pytest.raises(NeedsPerson, match="items 000030 are parts of it"):
            await desk.do("post_goods_issue", event)
        document.fields["DeliveryDocumentBySupplier"] = ""
        await desk.do("post_goods_issue", manifested((20, "SKU-1002", "1")))
        assert [each["Material"] for each in desk.documents()] == ["SKU-1002"]


async def test_a_key_that_sap_does_not_keep_posts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the claim is read back: what could not be found again is not posted."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        real: Any = sandbox_deliveries.change_delivery

        def forgets(books: Any, document: Document, body: dict[str, Any]) -> None:
            real(books, document, body)
            document.fields["DeliveryDocumentBySupplier"] = ""

        monkeypatch.setattr(sandbox_deliveries, "change_delivery", forgets)
        with pytest.raises(NeedsPerson, match="keeps nothing"):
            await desk.do("post_goods_issue", manifested())
        assert desk.documents() == []


async def test_goods_of_another_order_do_not_leave_with_ours(tmp_path: Path) -> None:
    """Proves that a collective delivery is for a person, claimed by us or not."""
    async with running(tmp_path, creates_deliveries=False) as desk:
        first, second = order((10, "SKU-1001", "5")), order((10, "SKU-1003", "9"))
        second.order.number = "SO-2"
        for event in (first, second):
            await desk.do("create_sales_order", event)
        items = [
            {"ReferenceSDDocument": each["SalesOrder"], "ReferenceSDDocumentItem": "000010"}
            for each in desk.orders()
        ]
        body = {"to_DeliveryDocumentItem": {"results": items}}
        delivery = sandbox_deliveries.create_delivery(desk.sandbox._books, body)
        for key in ("", "22222222222242228222222222222222"):
            delivery.fields["DeliveryDocumentBySupplier"] = key
            with pytest.raises(NeedsPerson, match="items of the documents 1, 2"):
                await desk.do("post_goods_issue", manifested((10, "SKU-1001", "5")))
        assert desk.documents() == []


@pytest.mark.parametrize("left", [(20, "SKU-1002", "4"), (10, "SKU-1011", "2", "L-1", ())])
async def test_a_lot_that_somebody_split_does_not_leave_by_itself(
    tmp_path: Path, left: Any
) -> None:
    """Proves that a split of an item that stayed, or of another quantity, is for a person."""
    async with running(tmp_path, creates_deliveries=False) as desk:
        await desk.do("create_sales_order", order((10, "SKU-1011", "5"), (20, "SKU-1002", "4")))
        delivery = await made_by_sap(desk)
        sandbox_deliveries.split_batch(
            desk.sandbox._books, delivery, delivery.items["000010"], "L-1", Decimal(3)
        )
        with pytest.raises(NeedsPerson, match="3 of lot L-1 split"):
            await desk.do("post_goods_issue", manifested(left))
        assert desk.documents() == []


async def test_a_split_that_is_right_is_kept(tmp_path: Path) -> None:
    """Proves that lots that somebody split already are not split again, and the rest is set."""
    async with running(tmp_path, creates_deliveries=False) as desk:
        await desk.do("create_sales_order", order((10, "SKU-1011", "5")))
        delivery = await made_by_sap(desk)
        sandbox_deliveries.split_batch(
            desk.sandbox._books, delivery, delivery.items["000010"], "L-1", Decimal(3)
        )
        lots = ((10, "SKU-1011", "3", "L-1", ()), (10, "SKU-1011", "1", "L-2", ()))
        await desk.do("post_goods_issue", manifested(*lots))
        assert {each["Batch"]: each["QuantityInEntryUnit"] for each in desk.documents()} == {
            "L-1": 3,
            "L-2": 1,
        }


async def test_the_document_flow_of_an_item_that_stayed_is_not_the_deliverys(
    tmp_path: Path,
) -> None:
    """Proves that the number is found where the first item of the delivery stayed at the dock."""
    async with running(
        tmp_path, creates_deliveries=False, documents_by="document_flow", document_seconds=0
    ) as desk:
        await desk.do("create_sales_order", approved({}))
        await made_by_sap(desk)
        event = manifested((20, "SKU-1002", "4"))
        result = await desk.do("post_goods_issue", event)
        assert result.references[0].value == desk.documents()[0]["MaterialDocument"]
        found = await desk.look_up("post_goods_issue", event)
        assert isinstance(found, Confirmed)
        assert found.references == result.references


async def test_what_a_person_reversed_is_not_posted_again_by_a_look_up(tmp_path: Path) -> None:
    """Proves that an open delivery with goods movements is not called never posted."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        desk.fault("reply_lost", operation="post_goods_issue", count=1)
        with pytest.raises(OutcomeUnknown):
            await desk.do("post_goods_issue", manifested())
        (delivery,) = desk.sandbox._books.deliveries.values()
        delivery.fields["OverallGoodsMovementStatus"] = "A"
        with pytest.raises(NeedsPerson, match="somebody reversed it"):
            await desk.look_up("post_goods_issue", manifested())


async def test_a_departure_that_is_resubmitted_after_its_void_posts_nothing(tmp_path: Path) -> None:
    """Proves that the first attempt of a delivery which was made anew goes by what the shipment is
    in it, and posts nothing of one that is voided."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        event = manifested()
        event.shipment.state = shipment_pb2.SHIPMENT_STATE_VOIDED
        done = await desk.do("post_goods_issue", event)
        assert ("voided" in done.note, desk.documents(), desk.deliveries()) == (True, [], [])


async def test_a_repeat_after_the_void_posts_nothing(tmp_path: Path) -> None:
    """Proves that a departure which was claimed and not posted, and whose shipment is voided by
    the time of the repeat, is not posted anew, and that its void finds nothing to reverse."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        event = manifested()
        desk.fault("error_before", operation="post_goods_issue", count=1)
        with pytest.raises(VendorOutcome):
            await desk.do("post_goods_issue", event)
        now = shipment_pb2.Shipment(id=event.shipment.id, state=shipment_pb2.SHIPMENT_STATE_VOIDED)

        async def get(request: Any) -> Any:
            assert request.id == now.id
            return shipment_service_pb2.GetShipmentResponse(shipment=now)

        hub: Any = SimpleNamespace(shipments=SimpleNamespace(GetShipment=get))
        work = replace(desk.work("post_goods_issue", event), attempt=4, hub=hub)
        done = await ADAPTER.operations["post_goods_issue"](work, desk.vendor)
        assert ("voided" in done.note, list(done.references)) == (True, [])
        assert desk.documents() == []
        reversal = await desk.do("reverse_goods_issue", voided({}))
        assert reversal.note == "nothing is posted: nothing to do"


PACKED_AGAIN = "0190f7a2-3c4d-7e5f-8a6b-0000000000aa"


async def test_a_delivery_that_was_let_go_is_taken_once(tmp_path: Path) -> None:
    """Proves that a void asked twice writes once, that what is packed again takes the delivery of
    the first, that the first one's void cannot reverse it then, and that one which somebody posted
    after it was let go is for a person: another posting could be the same goods again."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        posted = await desk.do("post_goods_issue", manifested())
        void: Any = voided({})
        void.shipment.postings.add(
            endpoint="sap", operation="post_goods_issue", document_type="material_document",
            document_number=posted.references[0].value,
        )  # fmt: skip
        for _ in range(2):
            await desk.do("reverse_goods_issue", void)
        assert [call.operation for call in desk.sandbox.calls if call.effect][-2:] == [
            "reverse_goods_issue",
            "change_delivery",
        ]
        (delivery,) = desk.sandbox._books.deliveries.values()
        delivery.fields["OverallGoodsMovementStatus"] = "C"
        with pytest.raises(NeedsPerson, match="a person says whether it is this one"):
            await desk.do("post_goods_issue", manifested(shipment_id=PACKED_AGAIN))
        delivery.fields["OverallGoodsMovementStatus"] = "A"
        done = await desk.do("post_goods_issue", manifested(shipment_id=PACKED_AGAIN))
        assert [each.value for each in done.references][1:] == [delivery.fields["DeliveryDocument"]]
        nothing = await desk.do("reverse_goods_issue", voided({}))
        assert list(nothing.references) == []
        moved = {each["MaterialDocument"]: each["GoodsMovementType"] for each in desk.documents()}
        assert list(moved.values()) == ["601", "602", "601"]


async def test_a_delivery_that_may_not_be_let_go_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a void is done where SAP does not let the key be changed, and says what is to be
    done before the goods leave again."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        await desk.do("post_goods_issue", manifested())

        def refuses(books: Any, document: Document, body: dict[str, Any]) -> None:
            raise sandbox_odata.refusal(400, "VL/999", "The delivery is archived")

        monkeypatch.setattr(sandbox_deliveries, "change_delivery", refuses)
        done = await desk.do("reverse_goods_issue", voided({}))
        assert [each.type for each in done.references] == ["material_document", "reversed_delivery"]
        assert "delete it in SAP before what is packed in its place leaves" in done.note
