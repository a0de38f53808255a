"""Changes of a sales order: each is written, kept and proven, or a person hears that it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock_adapters.sap import orders, sandbox_books, translate
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import NeedsPerson, Untranslatable
from multidict import CIMultiDict
from sap_world import Desk, approved, cancelled, changed, running

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        await found.do("create_sales_order", approved({}))
        yield found


async def test_another_promise_is_written_and_none_is_said(desk: Desk) -> None:
    """Proves that the requested day follows the promise, in the zone of the books, once."""
    event: Any = changed({})
    event.changed_fields[:] = ["promised"]
    with pytest.raises(Untranslatable, match="give another end"):
        await desk.do("change_order", event)
    event.order.promised.end.FromJsonString("2026-04-01T02:00:00Z")
    await desk.do("change_order", event)
    assert desk.orders()[0]["RequestedDeliveryDate"].isoformat() == "2026-03-31"
    again = await desk.do("change_order", event)
    assert again.note == "nothing that SAP keeps has changed"
    assert desk.calls("change_sales_order") == 1


async def test_numbers_of_items_are_those_of_lines_however_sap_shows_them(desk: Desk) -> None:
    """Proves that item 10, which sales documents show without zeros, is line 10 and no new item."""
    held = await orders.read(desk.vendor, desk.orders()[0]["SalesOrder"])
    assert [item.number for item in held.items] == ["000010", "000020"]
    await desk.do("change_order", changed({}))
    (order,) = desk.orders()
    assert [item["SalesOrderItem"] for item in order["items"]] == ["000010", "000020"]
    assert [item["SalesDocumentRjcnReason"] for item in order["items"]] == ["", ""]
    assert desk.calls("change_order_item") == 1


async def test_an_item_that_sap_made_for_a_line_is_left_alone(desk: Desk) -> None:
    """Proves that free goods and parts of a kit, which no line names, outlive a change of lines."""
    (document,) = desk.sandbox._books.orders.values()
    ordered = document.items["000020"]
    part = {**ordered, "SalesOrderItem": "000021", "HigherLevelItem": "20"}
    document.items["000021"] = part
    await desk.do("change_order", changed({}))
    assert part["SalesDocumentRjcnReason"] == ""
    event: Any = changed({})
    del event.order.lines[1]
    await desk.do("change_order", event)
    assert ordered["SalesDocumentRjcnReason"] == part["SalesDocumentRjcnReason"] == "00"


async def test_a_part_of_a_part_is_left_alone(desk: Desk) -> None:
    """Proves that what SAP made for an item that it made for a line is that line's, however deep,
    and that items that name each other as higher ones end nothing."""
    (document,) = desk.sandbox._books.orders.values()
    ordered = document.items["000020"]
    for number, higher in (("000021", "20"), ("000022", "21"), ("000031", "32"), ("000032", "31")):
        item = {**ordered, "SalesOrderItem": number, "HigherLevelItem": higher}
        document.items[number] = item
    await desk.do("change_order", changed({}))
    reasons = {number: item["SalesDocumentRjcnReason"] for number, item in document.items.items()}
    assert reasons == {
        "000010": "", "000020": "", "000021": "", "000022": "", "000031": "00", "000032": "00",
    }  # fmt: skip


@pytest.mark.parametrize("initial", ["/Date(-62135769600000)/", "/Date(-62135596800000)/"])
async def test_the_initial_date_of_abap_is_none(desk: Desk, initial: str) -> None:
    """Proves that a sales order without a requested day is read, and given the promised one."""
    (document,) = desk.sandbox._books.orders.values()
    document.fields["RequestedDeliveryDate"] = initial
    assert (await orders.read(desk.vendor, "1")).requested == initial
    event: Any = changed({})
    event.changed_fields[:] = ["promised"]
    event.order.promised.end.FromJsonString("2026-04-01T02:00:00Z")
    await desk.do("change_order", event)
    assert desk.orders()[0]["RequestedDeliveryDate"].isoformat() == "2026-03-31"


async def test_an_absurd_date_blocks_only_what_needs_it(desk: Desk) -> None:
    """Proves that a date that no calendar has is for a person where another promise is to be
    written, who reads the order's number and the property, and keeps nothing else from SAP."""
    (document,) = desk.sandbox._books.orders.values()
    document.fields["RequestedDeliveryDate"] = "/Date(999999999999999)/"
    event: Any = changed({})
    event.changed_fields[:] = ["promised"]
    event.order.promised.end.FromJsonString("2026-04-01T02:00:00Z")
    with pytest.raises(Untranslatable, match=r"order 1: RequestedDeliveryDate: .*no day of the ye"):
        await desk.do("change_order", event)
    assert desk.calls("change_sales_order") == 0
    await desk.do("change_order", changed({}))
    assert desk.calls("change_order_item") == 1
    await desk.do("cancel_order", cancelled({}))
    assert {item["SalesDocumentRjcnReason"] for item in desk.orders()[0]["items"]} == {"00"}


async def test_what_sap_leaves_empty_is_empty(desk: Desk) -> None:
    """Proves that null and absent properties are no word, and nothing is compared with one."""
    (document,) = desk.sandbox._books.orders.values()
    document.fields["ShippingCondition"] = document.fields["RequestedDeliveryDate"] = None
    document.items["000020"]["ProductionPlant"] = None
    held = await orders.read(desk.vendor, "1")
    assert (held.condition, held.requested, held.items[1].plant) == ("", "", "")
    bare = translate.order_of({"SalesOrder": "1", "PurchaseOrderByCustomer": None}, "", str)
    assert (bare.customer_reference, bare.sold_to) == ("", "")


async def test_another_plant_of_a_line_is_not_confirmed(tmp_path: Path) -> None:
    """Proves that a line that leaves from elsewhere now is said to be beyond a change."""
    async with running(tmp_path, plants={"WH-EAST": "1010", "WH-WEST": "1020"}) as desk:
        await desk.do("create_sales_order", approved({}))
        event: Any = changed({})
        event.order.lines[0].ship_from_location_number = "WH-WEST"
        with pytest.raises(Untranslatable, match="line 10 changes its plant"):
            await desk.do("change_order", event)


async def test_an_edit_between_reading_and_writing_is_not_overwritten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a step goes with the ETag of what it was decided on, and is decided anew."""
    real: Any = orders.read
    (document,) = desk.sandbox._books.orders.values()

    async def read(vendor: Any, number: str) -> Any:
        held = await real(vendor, number)
        if document.version == 1:
            # Somebody rejects the line by hand, after it was read and before it is written.
            document.items["000010"]["SalesDocumentRjcnReason"] = "10"
            sandbox_books.changed(desk.sandbox._books, document)
        return held

    monkeypatch.setattr(orders, "read", read)
    await desk.do("cancel_order", cancelled({}))
    assert [item["SalesDocumentRjcnReason"] for item in document.items.values()] == ["10", "00"]


async def test_a_change_that_sap_does_not_keep_is_not_confirmed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a change is read back: a 204 alone says nothing of what SAP has."""
    monkeypatch.setattr(sandbox_books, "change_order_item", lambda *_: None)
    with pytest.raises(NeedsPerson, match="has not kept RequestedQuantity 3"):
        await desk.do("change_order", changed({}))
    with pytest.raises(NeedsPerson, match="has not kept SalesDocumentRjcnReason"):
        await desk.do("cancel_order", cancelled({}))


async def test_an_error_beside_a_successful_change_counts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that what SAP says in `sap-message` against a change is its answer."""
    real: Any = desk.vendor._http.request
    said = '{"code": "ZZ/001", "message": "Not changed", "severity": "error"}'

    async def request(verb: str, path: str, **given: Any) -> Answer:
        answer: Answer = await real(verb, path, **given)
        if verb != "PATCH":
            return answer
        return Answer(answer.status, CIMultiDict({"sap-message": said}), b"")

    monkeypatch.setattr(desk.vendor._http, "request", request)
    with pytest.raises(NeedsPerson, match="Not changed"):
        await desk.do("change_order", changed({}))
