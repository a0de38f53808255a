"""Returns at the simulated tenant by events: opened, given up and received, once each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock_adapters.sap import conformance
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sap.conformance import given_up, initiated, received
from crossdock_adapters.sdk.mappings import Code, Meaning, Told, Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Untranslatable,
)
from sap_world import Desk, approved, order, running

KEY = conformance.RETURN_ID.replace("-", "")


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A tenant that has the sales order, and may open returns of it."""
    async with running(tmp_path) as found:
        await found.do("create_sales_order", approved({}))
        yield found


def returns(desk: Desk) -> list[dict[str, Any]]:
    return list(desk.sandbox.books()["customer_returns"])


def receipts(desk: Desk) -> list[dict[str, Any]]:
    return list(desk.sandbox.books()["return_deliveries"])


def came(*quantities: str) -> Any:
    """The event of the last of these receipts, each of line 10 of a return of two pieces."""
    event: Any = received({})
    event.customer_return.lines[0].quantity.value = "2"
    del event.customer_return.receipts[:]
    for number, quantity in enumerate(quantities, 1):
        receipt = event.customer_return.receipts.add(number=f"RCV-{number}")
        row = receipt.lines.add(line_number=10)
        row.quantity.value, row.quantity.unit = quantity, "EA"
    return event


def asked() -> Any:
    """The event that authorises two pieces of line 10."""
    event: Any = initiated({})
    event.customer_return.lines[0].quantity.value = "2"
    return event


async def test_a_return_says_what_a_create_may_say(desk: Desk) -> None:
    """Proves that SAP's own number of the goods' authorisation is not sent, which it takes from no
    create, and that the authorisation's number is where it is searched."""
    await desk.do("open_return", asked())
    (held,) = returns(desk)
    assert held["PurchaseOrderByCustomer"] == "RMA-1"
    assert "CustRetMatlAuthzn" not in held["lines"][0]
    event = asked()
    event.customer_return.lines[0].serial_numbers.extend(["X" * 19, "SN-2"])
    with pytest.raises(Untranslatable, match="more than 18 characters"):
        await desk.do("open_return", event)


async def test_a_return_is_opened_at_its_sales_order(desk: Desk) -> None:
    """Proves that an authorisation becomes one customer return of the sales order, with its reason
    in SAP's code, and that a lost answer ends in the same one."""
    assert isinstance(await desk.look_up("open_return", initiated({})), NotFound)
    desk.fault("error_after", operation="open_return", count=1)
    with pytest.raises(OutcomeUnknown):
        await desk.do("open_return", initiated({}))
    found = await desk.look_up("open_return", initiated({}))
    (held,) = returns(desk)
    assert [(each.type, each.value) for each in found.references] == [
        ("customer_return", held["CustomerReturn"])
    ]
    assert held["ReferenceSDDocument"] == desk.orders()[0]["SalesOrder"]
    (line,) = held["lines"]
    assert (line["Material"], line["RequestedQuantity"], line["ReturnReason"]) == (
        "SKU-1001",
        "1",
        "001",
    )
    assert (await desk.do("open_return", initiated({}))).references == found.references
    assert len(returns(desk)) == 1


async def test_a_reason_without_a_code_is_not_guessed(desk: Desk) -> None:
    """Proves that a reason that the setting does not have parks the return and sends nothing."""
    event: Any = initiated({})
    event.customer_return.lines[0].reason_code = "TOO-BLUE"
    with pytest.raises(Untranslatable, match="return_reasons"):
        await desk.do("open_return", event)
    event.customer_return.lines[0].reason_code = "DAMAGED"
    event.customer_return.lines[0].line_number = 99
    with pytest.raises(Untranslatable, match="has no item 99"):
        await desk.do("open_return", event)
    assert returns(desk) == []


async def test_a_row_says_what_a_reason_is_sent_as(desk: Desk) -> None:
    """Proves that a reason without a code is told as the word that waits for its row, that such a
    row has the return opened with its code, and that the setting goes before rows."""
    event: Any = initiated({})
    event.customer_return.lines[0].reason_code = "TOO_BLUE"
    with pytest.raises(Untranslatable, match="map set sap REASON CODE --type RETURN") as raised:
        await desk.do("open_return", event)
    assert raised.value.unsent == UnsentWord(Topic.REASON, "TOO_BLUE", ("RETURN",))
    rows = [
        Told(Topic.REASON, Code("RETURN", code), Meaning(word, preferred=True), by_deployment=True)
        for code, word in (("042", "TOO_BLUE"), ("043", "DAMAGED"))
    ]
    ADAPTER.mappings.replace([*ADAPTER.mappings.of_file(), *rows])
    try:
        event.customer_return.lines.add().CopyFrom(event.customer_return.lines[0])
        event.customer_return.lines[1].line_number = 20
        event.customer_return.lines[1].reason_code = "DAMAGED"
        await desk.do("open_return", event)
    finally:
        ADAPTER.mappings.replace(ADAPTER.mappings.of_file())
    (held,) = returns(desk)
    assert [line["ReturnReason"] for line in held["lines"]] == ["042", "001"]


async def test_anothers_return_with_our_number_is_for_a_person(desk: Desk) -> None:
    """Proves that a customer return of another sales order is never adopted."""
    await desk.do("open_return", initiated({}))
    desk.sandbox.books()["customer_returns"][0]["ReferenceSDDocument"] = "4711"
    with pytest.raises(NeedsPerson, match="is of 4711"):
        await desk.look_up("open_return", initiated({}))
    with pytest.raises(NeedsPerson, match="is of 4711"):
        await desk.do("post_return_receipt", received({}))


async def test_a_return_without_its_sales_order_is_for_a_person(tmp_path: Path) -> None:
    """Proves that nothing is opened where SAP has no sales order to open it at."""
    async with running(tmp_path) as bare:
        with pytest.raises(NeedsPerson, match="sales order of SO-1 is not in SAP"):
            await bare.do("open_return", initiated({}))
        assert returns(bare) == []


async def test_a_cancelled_return_is_expected_no_more(desk: Desk) -> None:
    """Proves that a cancel rejects every item, that the same again writes nothing, and that there
    is nothing to cancel where nothing was opened."""
    told = await desk.do("cancel_return", given_up({}))
    assert told.note == "there is no customer return: nothing to cancel"
    await desk.do("open_return", initiated({}))
    await desk.do("cancel_return", given_up({}))
    await desk.do("cancel_return", given_up({}))
    assert [line["SalesDocumentRjcnReason"] for line in returns(desk)[0]["lines"]] == ["00"]
    assert desk.calls("change_return_item") == 1


async def test_every_item_of_a_long_return_is_given_up(tmp_path: Path) -> None:
    """Proves that a cancel goes on past any number of items, one after another."""
    places = range(10, 80, 10)
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", order(*((n, "SKU-1001", "1") for n in places)))
        opening: Any = initiated({})
        del opening.customer_return.lines[:]
        for number in places:
            line = opening.customer_return.lines.add(line_number=number, reason_code="DAMAGED")
            line.quantity.value, line.quantity.unit = "1", "EA"
        await desk.do("open_return", opening)
        ending: Any = given_up({})
        ending.customer_return.CopyFrom(opening.customer_return)
        await desk.do("cancel_return", ending)
        lines = returns(desk)[0]["lines"]
        assert [line["SalesDocumentRjcnReason"] for line in lines] == ["00"] * len(places)


async def test_each_receipt_is_posted_on_a_delivery_of_its_own(desk: Desk) -> None:
    """Proves that two receipts of a return become two goods receipts with our keys, each with its
    material document, and that both come to the stock."""
    await desk.do("open_return", asked())
    before = desk.sandbox.books()["stock"]["SKU-1001/1010"]
    first = await desk.do("post_return_receipt", came("1"))
    second = await desk.do("post_return_receipt", came("1", "1"))
    again = await desk.do("post_return_receipt", came("1"))
    assert [each["DeliveryDocumentBySupplier"] for each in receipts(desk)] == [KEY, f"{KEY}-2"]
    movements = [each for each in desk.documents() if each["GoodsMovementType"] == "653"]
    assert len(movements) == 2
    for answer, movement in zip((first, second), movements, strict=True):
        document = f"{movement['MaterialDocumentYear']}/{movement['MaterialDocument']}"
        assert [(each.type, each.value) for each in answer.references] == [
            ("material_document", document),
            ("returns_delivery", movement["Delivery"]),
        ]
    assert list(again.references) == list(first.references)
    after = desk.sandbox.books()["stock"]["SKU-1001/1010"]
    assert int(after) - int(before) == 2


async def test_a_receipt_is_posted_in_the_unit_of_its_return(desk: Desk) -> None:
    """Proves that of a receipt in another unit, a pair here, what the hub made of it is posted: SAP
    opened the return in that unit, and nothing is converted there."""
    await desk.do("open_return", asked())
    event = came("2")
    told = event.customer_return.receipts[0].lines[0].reported_quantity
    told.value, told.unit = "1", "PR"
    before = desk.sandbox.books()["stock"]["SKU-1001/1010"]
    await desk.do("post_return_receipt", event)
    after = desk.sandbox.books()["stock"]["SKU-1001/1010"]
    assert int(after) - int(before) == 2


@pytest.mark.parametrize("lost", [False, True])
async def test_goods_are_put_away_before_their_receipt(tmp_path: Path, lost: bool) -> None:
    """Proves that where SAP wants what came put away first, that is said once, and a lost answer to
    it posts nothing twice; and that a deployment in which somebody else says it waits."""
    async with running(tmp_path, put_away_first=True) as desk:
        await desk.do("create_sales_order", approved({}))
        await desk.do("open_return", initiated({}))
        if lost:
            desk.fault("reply_lost", operation="put_away_all_items", count=1)
            with pytest.raises(OutcomeUnknown):
                await desk.do("post_return_receipt", received({}))
        await desk.do("post_return_receipt", received({}))
        assert [each["GoodsMovementType"] for each in desk.documents()] == ["653"]
        assert desk.calls("put_away_all_items") == len(receipts(desk)) == 1
    async with running(tmp_path, put_away_first=True, puts_away=False) as desk:
        await desk.do("create_sales_order", approved({}))
        await desk.do("open_return", initiated({}))
        with pytest.raises(NeedsPerson, match="The goods are not put away"):
            await desk.do("post_return_receipt", received({}))
        assert desk.documents() == []


@pytest.mark.parametrize("call", ["create_return_delivery", "post_goods_receipt"])
async def test_a_lost_answer_ends_in_one_receipt(desk: Desk, call: str) -> None:
    """Proves that a receipt whose answer is lost, at the create or at the posting, is found or
    taken up again, never posted twice."""
    await desk.do("open_return", initiated({}))
    desk.fault("error_after", operation=call, count=1)
    try:
        await desk.do("post_return_receipt", received({}))
    except OutcomeUnknown:
        found = await desk.look_up("post_return_receipt", received({}))
        assert isinstance(found, NotFound) == (call == "create_return_delivery")
    await desk.do("post_return_receipt", received({}))
    assert len(receipts(desk)) == 1
    assert [each["GoodsMovementType"] for each in desk.documents()] == ["653"]


async def test_a_receipt_needs_its_return(desk: Desk) -> None:
    """Proves that a receipt is for a person where SAP has no customer return of the number."""
    with pytest.raises(NeedsPerson, match="customer return of RMA-1 is not in SAP"):
        await desk.do("post_return_receipt", received({}))
    assert receipts(desk) == []


async def test_lots_and_serial_numbers_are_sent_or_said(tmp_path: Path) -> None:
    """Proves that a lot goes to the delivery, that serial numbers come from the return that names
    them, and that what SAP has no known way for is for a person and sends nothing."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", order((10, "SKU-1011", "4"), (20, "SKU-1012", "2")))
        event: Any = received({})
        authorised = event.customer_return.lines
        authorised[0].item_number, authorised[0].quantity.value = "SKU-1011", "4"
        serial = authorised.add(line_number=20, item_number="SKU-1012", reason_code="DAMAGED")
        serial.quantity.value, serial.quantity.unit = "1", "EA"
        serial.serial_numbers.append("SN-1")
        opening: Any = initiated({})
        opening.customer_return.CopyFrom(event.customer_return)
        await desk.do("open_return", opening)
        rows = event.customer_return.receipts[0].lines
        rows[0].lot = "LOT-1"
        other = rows.add(line_number=10, lot="LOT-2")
        other.quantity.value, other.quantity.unit = "1", "EA"
        for lot in ("LOT-2", ""):
            other.lot = lot
            with pytest.raises(Untranslatable, match="several lots"):
                await desk.do("post_return_receipt", event)
        del rows[1:]
        back = rows.add(line_number=20, serial_numbers=["SN-9"])
        back.quantity.value, back.quantity.unit = "1", "EA"
        with pytest.raises(Untranslatable, match="other serial numbers came"):
            await desk.do("post_return_receipt", event)
        assert receipts(desk) == []
        back.serial_numbers[:] = ["SN-1"]
        await desk.do("post_return_receipt", event)
        posted = [each for each in desk.documents() if each["GoodsMovementType"] == "653"]
        assert [(each["Material"], each["Batch"]) for each in posted] == [
            ("SKU-1011", "LOT-1"),
            ("SKU-1012", ""),
        ]
