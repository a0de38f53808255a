"""The SAP adapter at the simulated tenant: one document per fact, come what may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock_adapters.sap import deliveries
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sap.delivery import in_base_unit, item_of
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import SettingsError
from sap_world import (
    SHIPMENT_KEY,
    Desk,
    approved,
    cancelled,
    changed,
    depart,
    manifested,
    order,
    running,
    voided,
)

pytestmark = pytest.mark.asyncio

OTHER_SHIPMENT = "33333333-3333-4333-8333-333333333333"


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


async def booked(desk: Desk, event: Any = None) -> str:
    """The number of a sales order."""
    result = await desk.do("create_sales_order", event or approved({}))
    return result.references[0].value


async def test_an_approved_order_is_booked_once(desk: Desk) -> None:
    """Proves that the number comes back as reference and fact, and that asking again adopts."""
    result = await desk.do("create_sales_order", approved({}))
    (held,) = desk.orders()
    assert [(each.type, each.value) for each in result.references] == [
        ("sales_order", held["SalesOrder"])
    ]
    fact: Any = result.facts[0]
    assert (fact.order.sales_document, list(fact.update_mask.paths)) == (
        held["SalesOrder"],
        ["sales_document"],
    )
    assert held["PurchaseOrderByCustomer"] == "SO-1"
    # 02:00 UTC is the day before in New York.
    assert held["CustomerPurchaseOrderDate"].isoformat() == "2026-03-04"
    assert [item["SalesOrderItem"] for item in held["items"]] == ["000010", "000020"]
    again = await desk.do("create_sales_order", approved({}))
    assert again.references == result.references
    assert len(desk.orders()) == 1


async def test_two_sales_orders_of_one_order_are_told(desk: Desk) -> None:
    """Proves that a look-up adopts the oldest and names the other as a duplicate."""
    number = await booked(desk)
    body = {
        "SalesOrderType": "OR", "SalesOrganization": "1010", "DistributionChannel": "10",
        "OrganizationDivision": "00", "SoldToParty": "CUST-1003",
        "PurchaseOrderByCustomer": "SO-1",
        "to_Item": {"results": [{
            "SalesOrderItem": "000010", "Material": "SKU-1001", "RequestedQuantity": "1",
            "RequestedQuantityUnit": "EA", "ProductionPlant": "1010",
        }]},
    }  # fmt: skip
    second = await desk.vendor.create("API_SALES_ORDER_SRV", "A_SalesOrder", body)
    found = await desk.look_up("create_sales_order", approved({}))
    assert isinstance(found, Confirmed)
    assert found.references[0].value == number
    assert [each.value for each in found.duplicates] == [second.content["SalesOrder"]]
    with pytest.raises(NeedsPerson, match="are all of order SO-1"):
        await desk.do("post_goods_issue", manifested())


async def test_a_departure_is_posted_and_its_document_found(desk: Desk) -> None:
    """Proves the whole way: delivery created and claimed, picked, dated, posted, document read."""
    await booked(desk)
    result = await desk.do("post_goods_issue", manifested())
    (delivery,) = desk.deliveries()
    assert delivery["OverallGoodsMovementStatus"] == "C"
    assert delivery["DeliveryDocumentBySupplier"] == SHIPMENT_KEY
    assert delivery["BillOfLading"] == "1Z999AA10123456784"
    assert delivery["ActualGoodsMovementDate"].isoformat() == "2026-03-05"
    assert {each["QuantityInEntryUnit"] for each in desk.documents()} == {Decimal(2), Decimal(5)}
    document = f"2026/{desk.documents()[0]['MaterialDocument']}"
    assert [(each.type, each.value) for each in result.references] == [
        ("material_document", document),
        ("outbound_delivery", delivery["DeliveryDocument"]),
    ]
    again = await desk.do("post_goods_issue", manifested())
    assert again.references == result.references
    assert desk.calls("post_goods_issue") == 1


async def test_what_left_is_posted_and_not_what_was_packed(desk: Desk) -> None:
    """Proves that a short departure posts its quantities, and the next one its own delivery."""
    await booked(desk)
    event = manifested()
    depart(event, (10, "2"), (20, "3"))
    await desk.do("post_goods_issue", event)
    depart(event, (20, "2"))
    await desk.do("post_goods_issue", event)
    first, second = desk.deliveries()
    assert [item["ActualDeliveryQuantity"] for item in first["items"]] == [2, 3]
    assert [item["ActualDeliveryQuantity"] for item in second["items"]] == [2]
    assert second["DeliveryDocumentBySupplier"] == f"{SHIPMENT_KEY}-2"
    event_of_void: Any = voided({})
    event_of_void.shipment.CopyFrom(event.shipment)
    undone = await desk.do("reverse_goods_issue", event_of_void)
    assert [each.type for each in undone.references].count("reversed_delivery") == 2
    assert {each["OverallGoodsMovementStatus"] for each in desk.deliveries()} == {"A"}


async def test_many_lines_are_short_at_once(tmp_path: Path) -> None:
    """Proves that each write goes with the version that the one before it left."""
    async with running(tmp_path, creates_deliveries=True) as desk:
        lines = [(10 * each, f"SKU-{1000 + each}", "9") for each in range(1, 9)]
        await booked(desk, order(*lines))
        await desk.sandbox.tick()
        await desk.do("post_goods_issue", manifested(*((n, item, "7") for n, item, _ in lines)))
        assert {each["QuantityInEntryUnit"] for each in desk.documents()} == {Decimal(7)}
        statuses = {call.status for call in desk.sandbox.calls}
        assert 412 not in statuses


async def test_lots_are_split_and_serial_numbers_named(desk: Desk) -> None:
    """Proves that several lots become batch splits, and that a repeat adds nothing twice."""
    await booked(desk, order((10, "SKU-1011", "5"), (20, "SKU-1012", "2")))
    event = manifested((10, "SKU-1011", "3", "L-1", ()), (10, "SKU-1011", "2", "L-2", ()))
    serials = event.shipment.packages[0].contents.add(line_number=20, item_number="SKU-1012")
    serials.quantity.value, serials.quantity.unit = "2", "EA"
    serials.serial_numbers.extend(["SN-1", "SN-2"])
    # The last step is refused, so that the repeat finds all the others done.
    await desk.command("close_period", through="2026-03-31")
    with pytest.raises(NeedsPerson, match="posting period is closed"):
        await desk.do("post_goods_issue", event)
    await desk.command("close_period", through=None)
    await desk.do("post_goods_issue", event)
    posted = {each["Batch"]: each["QuantityInEntryUnit"] for each in desk.documents()}
    assert posted == {"L-1": Decimal(3), "L-2": Decimal(2), "": Decimal(2)}
    (held,) = desk.deliveries()
    assert [sorted(item["serials"]) for item in held["items"]].count(["SN-1", "SN-2"]) == 1
    assert (desk.calls("split_batch"), desk.calls("add_serial")) == (2, 2)


async def test_a_lot_is_split_off_in_the_base_unit(desk: Desk) -> None:
    """Proves that what was sold by the dozen is split by the piece, which is how SAP splits, and
    that a quantity which SAP has no room for is for a person."""
    event: Any = order((10, "SKU-1011", "5"))
    event.order.lines[0].quantity.unit = "DZN"
    await booked(desk, event)
    left = manifested((10, "SKU-1011", "3", "L-1", ()), (10, "SKU-1011", "2", "L-2", ()))
    for content in left.shipment.packages[0].contents:
        content.quantity.unit = "DZN"
    await desk.do("post_goods_issue", left)
    posted = {each["Batch"]: each["QuantityInEntryUnit"] for each in desk.documents()}
    assert posted == {"L-1": Decimal(3), "L-2": Decimal(2)}
    item = item_of({
        "DeliveryDocumentItem": "10", "DeliveryQuantityUnit": "TH", "BaseUnit": "EA",
        "DeliveryToBaseQuantityNmrtr": "1", "DeliveryToBaseQuantityDnmntr": "3",
    })  # fmt: skip
    assert in_base_unit(item, Decimal(6)) == 2
    with pytest.raises(NeedsPerson, match="1 TH of item 000010 are no quantity"):
        in_base_unit(item, Decimal(1))


async def test_one_lot_is_written_on_the_item(desk: Desk) -> None:
    """Proves that a single lot makes no split, also where a part of it stayed at the dock."""
    await booked(desk, order((10, "SKU-1011", "5")))
    event = manifested((10, "SKU-1011", "5", "L-1", ()))
    depart(event, (10, "4"))
    await desk.do("post_goods_issue", event)
    (document,) = desk.documents()
    assert (document["Batch"], document["QuantityInEntryUnit"]) == ("L-1", Decimal(4))
    assert desk.calls("split_batch") == 0


async def test_serial_numbers_are_read_as_one_list_of_an_item(desk: Desk) -> None:
    """Proves that an item without serial numbers, of which SAP has no list, is not asked for one,
    and that what its list has is compared with what left."""
    await desk.do("create_sales_order", order((10, "SKU-1012", "2")))
    event = manifested((10, "SKU-1012", "2", "", ("SN-1", "SN-2")))
    await desk.do("post_goods_issue", event)
    (held,) = desk.deliveries()
    assert sorted(held["items"][0]["serials"]) == ["SN-1", "SN-2"]
    # After each of both was added: before, there was no list.
    assert desk.calls("read_serials") == 1
    assert not [call for call in desk.sandbox.calls if call.status == 404]


async def test_nobody_guesses_which_lot_or_serial_stayed(desk: Desk) -> None:
    """Proves that quantities that do not agree with lots or serial numbers are not sent."""
    event = manifested((10, "SKU-1011", "3", "L-1", ()), (10, "SKU-1011", "2", "L-2", ()))
    depart(event, (10, "4"))
    with pytest.raises(Untranslatable, match="lots of 5, and 4 left"):
        await desk.do("post_goods_issue", event)
    event = manifested((20, "SKU-1012", "2", "", ("SN-1", "SN-2")))
    depart(event, (20, "1"))
    with pytest.raises(Untranslatable, match="2 serial numbers, and 1 left"):
        await desk.do("post_goods_issue", event)


async def test_two_shipments_of_an_order_never_share_a_delivery(desk: Desk) -> None:
    """Proves that the key is claimed under its ETag: at once, each departure has its own."""
    await booked(desk)
    one = manifested((10, "SKU-1001", "2"))
    other = manifested((20, "SKU-1002", "5"), shipment_id=OTHER_SHIPMENT)
    await asyncio.gather(desk.do("post_goods_issue", one), desk.do("post_goods_issue", other))
    keys = {each["DeliveryDocumentBySupplier"] for each in desk.deliveries()}
    assert keys == {SHIPMENT_KEY, OTHER_SHIPMENT.replace("-", "")}
    posted = sorted((each["Material"], each["QuantityInEntryUnit"]) for each in desk.documents())
    assert posted == [("SKU-1001", Decimal(2)), ("SKU-1002", Decimal(5))]


async def test_a_delivery_that_sap_creates_is_waited_for_and_taken(tmp_path: Path) -> None:
    """Proves that the adapter then creates none, sets what left, and leaves the rest at zero."""
    async with running(tmp_path, creates_deliveries=False) as desk:
        await booked(desk)
        with pytest.raises(Retry, match="has no delivery for sales order"):
            await desk.do("post_goods_issue", manifested())
        desk.sandbox._creates_deliveries = True
        await desk.sandbox.tick()
        desk.sandbox._creates_deliveries = False
        await desk.do("post_goods_issue", manifested((20, "SKU-1002", "4")))
        (delivery,) = desk.deliveries()
        assert [item["ActualDeliveryQuantity"] for item in delivery["items"]] == [0, 4]
        assert desk.calls("create_delivery") == 0


@pytest.mark.parametrize("operation", ["create_delivery", "change_delivery", "pick_all_items"])
async def test_a_lost_answer_of_a_step_leaves_no_second_delivery(
    desk: Desk, operation: str
) -> None:
    """Proves that a repeat takes up the delivery that an earlier attempt left behind."""
    await booked(desk)
    desk.fault("reply_lost", operation=operation, count=1)
    with pytest.raises(OutcomeUnknown):
        await desk.do("post_goods_issue", manifested())
    assert isinstance(await desk.look_up("post_goods_issue", manifested()), NotFound)
    await desk.do("post_goods_issue", manifested())
    assert len(desk.deliveries()) == 1
    assert desk.calls("post_goods_issue") == 1


async def test_an_unknown_goods_issue_is_found_by_its_status(desk: Desk) -> None:
    """Proves that a posting whose answer was lost is adopted with its document, not repeated."""
    await booked(desk)
    desk.fault("error_after", operation="post_goods_issue", count=1)
    with pytest.raises(OutcomeUnknown):
        await desk.do("post_goods_issue", manifested())
    found = await desk.look_up("post_goods_issue", manifested())
    assert isinstance(found, Confirmed)
    assert found.references[0].value.endswith(desk.documents()[0]["MaterialDocument"])


async def test_a_document_that_is_not_visible_yet_is_waited_for(tmp_path: Path) -> None:
    """Proves that a posting without its number is neither confirmed without it nor repeated."""
    async with running(tmp_path, document_delay_seconds=600, document_seconds=0) as desk:
        await booked(desk)
        with pytest.raises(AnswerLater, match="is posted"):
            await desk.do("post_goods_issue", manifested())
        with pytest.raises(AnswerLater):
            await desk.look_up("post_goods_issue", manifested())
        assert len(desk.deliveries()) == 1


async def test_the_document_flow_has_the_number_too(tmp_path: Path) -> None:
    """Proves the other way to the number, where the material document service is not arranged."""
    async with running(tmp_path, documents_by="document_flow") as desk:
        await booked(desk)
        result = await desk.do("post_goods_issue", manifested())
        assert result.references[0].value == desk.documents()[0]["MaterialDocument"]
        assert desk.calls("query_material_documents") == 0


async def test_somebody_who_is_quicker_is_read_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a 412 of the goods issue leads to a new look at the delivery, and one posting."""
    await booked(desk)
    real = deliveries.Deliveries._call
    edited: list[Any] = []

    async def edit_first(self: Any, function: str, parameters: Any, delivery: Any) -> Any:
        if function == "PostGoodsIssue" and not edited:
            edited.append(await desk.command("edit_delivery", delivery=delivery.number))
        return await real(self, function, parameters, delivery)

    monkeypatch.setattr(deliveries.Deliveries, "_call", edit_first)
    await desk.do("post_goods_issue", manifested())
    statuses = [call.status for call in desk.sandbox.calls if call.operation == "post_goods_issue"]
    assert statuses == [412, 200]
    assert len({each["MaterialDocument"] for each in desk.documents()}) == 1


async def test_less_stock_is_a_rejection_though_sap_answers_200(desk: Desk) -> None:
    """Proves that an E in the report counts, with its code, and that the status is read after."""
    await booked(desk)
    await desk.command("set_stock", item="SKU-1002", plant="1010", quantity="1")
    with pytest.raises(Reject, match="less stock") as caught:
        await desk.do("post_goods_issue", manifested())
    assert caught.value.code == "M7/021"
    assert desk.documents() == []


async def test_a_locked_document_is_tried_again_later(desk: Desk) -> None:
    """Proves that a lock, which comes as a 400, is a retry with a pause, and never a rejection."""
    number = await booked(desk)
    await desk.command("lock", document=number)
    with pytest.raises(Retry, match="locked") as caught:
        await desk.do("change_order", changed({}))
    assert caught.value.after_seconds == 10
    await desk.command("unlock", document=number)
    await desk.do("change_order", changed({}))
    assert desk.orders()[0]["items"][0]["RequestedQuantity"] == 3


async def test_a_closed_period_is_for_a_person(desk: Desk) -> None:
    """Proves that nothing loops on a period that a person has to open, and that nothing posts."""
    await booked(desk)
    await desk.command("close_period", through="2026-03-31")
    with pytest.raises(NeedsPerson, match="posting period is closed"):
        await desk.do("post_goods_issue", manifested())
    assert desk.documents() == []


async def test_a_billed_delivery_is_not_reversed(desk: Desk) -> None:
    """Proves that SAP's refusal is the outcome, and that a reversal asked twice is one."""
    await booked(desk)
    await desk.do("post_goods_issue", manifested())
    number = desk.deliveries()[0]["DeliveryDocument"]
    await desk.command("bill", delivery=number)
    with pytest.raises(Reject, match="is billed"):
        await desk.do("reverse_goods_issue", voided({}))
    desk.sandbox._books.deliveries[number].fields["OverallDelivReltdBillgStatus"] = "A"
    for _ in range(2):
        await desk.do("reverse_goods_issue", voided({}))
    assert desk.calls("reverse_goods_issue") == 2
    assert {each["GoodsMovementType"] for each in desk.documents()} == {"601", "602"}


async def test_lines_are_changed_added_and_rejected(desk: Desk) -> None:
    """Proves that a change writes the difference only, and the same change again nothing."""
    await booked(desk)
    event: Any = changed({})
    del event.order.lines[1:]
    added = event.order.lines.add(line_number=30, item_number="SKU-1003")
    added.quantity.value, added.quantity.unit = "7", "EA"
    added.ship_from_location_number = "WH-EAST"
    await desk.do("change_order", event)
    (held,) = desk.orders()
    assert [
        (item["SalesOrderItem"], item["RequestedQuantity"], item["SalesDocumentRjcnReason"])
        for item in held["items"]
    ] == [("000010", 3, ""), ("000020", 5, "00"), ("000030", 7, "")]
    calls = len(desk.sandbox.calls)
    again = await desk.do("change_order", event)
    assert again.note == "nothing that SAP keeps has changed"
    assert not any(call.effect for call in desk.sandbox.calls[calls:])


async def test_what_is_delivered_is_not_cancelled(desk: Desk) -> None:
    """Proves that SAP's refusal of a cancellation is a rejection, and an unknown order is done."""
    nothing = await desk.do("cancel_order", cancelled({}))
    assert "nothing to cancel" in nothing.note
    await booked(desk)
    await desk.do("post_goods_issue", manifested())
    with pytest.raises(Reject, match="cannot be rejected"):
        await desk.do("cancel_order", cancelled({}))


async def test_a_status_without_a_row_is_nobody_s_guess(desk: Desk) -> None:
    """Proves that a goods movement status that the table does not name posts nothing."""
    await booked(desk)
    await desk.command("close_period", through="2026-03-31")
    with pytest.raises(NeedsPerson):
        await desk.do("post_goods_issue", manifested())
    await desk.command("close_period", through=None)
    (document,) = desk.sandbox._books.deliveries.values()
    for status in ("B", "Z", ""):
        document.fields["OverallGoodsMovementStatus"] = status
        with pytest.raises(NeedsPerson, match="a person decides"):
            await desk.do("post_goods_issue", manifested())
        with pytest.raises(OutcomeUnknown):
            await desk.look_up("post_goods_issue", manifested())
    assert desk.documents() == []


async def test_a_picking_status_without_a_row_picks_nothing(tmp_path: Path) -> None:
    """Proves that a status of picking which the table does not name is for a person, and means what
    the table of a deployment says once it does."""
    own = resources.files("crossdock_adapters.sap").joinpath("answers.toml").read_text("utf-8")
    file = tmp_path / "answers.toml"
    file.write_text(own.replace("[picking]\nA = {", "[picking]\nZ = {"), "utf-8")
    for given, picked in ({}, 0), ({"answers_file": str(file)}, 1):
        async with running(tmp_path, **given) as desk:
            await booked(desk)
            desk.sandbox._creates_deliveries = True
            await desk.sandbox.tick()
            (document,) = desk.sandbox._books.deliveries.values()
            document.fields["OverallPickingStatus"] = "Z"
            if picked:
                await desk.do("post_goods_issue", manifested())
            else:
                with pytest.raises(NeedsPerson, match=r"status 'Z' .* no row in \[picking\]"):
                    await desk.do("post_goods_issue", manifested())
            assert desk.calls("pick_all_items") == picked


async def test_a_unit_without_a_row_is_not_sent(desk: Desk) -> None:
    """Proves that nothing leaves for a unit that nobody mapped, and the reason says what to do."""
    event = order((10, "SKU-1001", "2"))
    event.order.lines[0].quantity.unit = "ZZ"
    with pytest.raises(Untranslatable, match="map set sap"):
        await desk.do("create_sales_order", event)
    assert desk.sandbox.calls == []


async def test_settings_that_make_no_sense_are_named(tmp_path: Path) -> None:
    """Proves that a wrong way to the document, or a wrong source of a property, starts nothing."""
    with pytest.raises(SettingsError, match="documents_by has to be one of"):
        async with running(tmp_path, documents_by="guess"):
            pass
    with pytest.raises(SettingsError, match="is none of"):
        async with running(tmp_path, delivery_properties={"BillOfLading": "price"}):
            pass
    assert ADAPTER.manifest.operations["post_goods_issue"].settle_after_seconds > 0
