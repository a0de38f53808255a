"""What the SAP adapter may say without proof: nothing is booked, refused or confirmed by guess."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
)
from multidict import CIMultiDict
from sap_world import Desk, approved, cancelled, changed, manifested, running, voided

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


def answered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, method: str, part: str,
    change: Callable[[Answer], Answer],
) -> None:  # fmt: skip
    """Let an answer arrive changed, after the tenant did what it was asked for."""
    real: Any = desk.vendor._http.request

    async def request(verb: str, path: str, **given: Any) -> Answer:
        answer: Answer = await real(verb, path, **given)
        return change(answer) if verb == method and part in path else answer

    monkeypatch.setattr(desk.vendor._http, "request", request)


async def test_a_document_that_cannot_be_read_refuses_no_goods_issue(desk: Desk) -> None:
    """Proves that a refused read after the posting leaves it in doubt, and never rejected."""
    await desk.do("create_sales_order", approved({}))
    for event in ("do", "look_up"):
        desk.fault("error_before", operation="query_material_documents", status=400, count=1)
        with pytest.raises(OutcomeUnknown, match="is posted"):
            await getattr(desk, event)("post_goods_issue", manifested())
    assert desk.calls("post_goods_issue") == 1


async def test_a_refused_search_rejects_nothing(desk: Desk) -> None:
    """Proves that a refusal of a read, whatever its code, is no answer to what it was for."""
    desk.fault("error_before", operation="query_sales_orders", status=400, count=1)
    with pytest.raises(NeedsPerson):
        await desk.do("create_sales_order", approved({}))
    assert desk.orders() == []


@pytest.mark.parametrize("body", [b"", b'{"d": null}', b'{"d": {}}', b'{"d": {"results": null}}'])
async def test_an_answer_without_a_list_does_not_say_that_nothing_is_there(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """Proves that an empty answer of a search neither books a second time nor confirms."""
    await desk.do("create_sales_order", approved({}))
    answered(desk, monkeypatch, "GET", "A_SalesOrder?", lambda _: Answer(200, CIMultiDict(), body))
    with pytest.raises(Retry, match="no list"):
        await desk.look_up("create_sales_order", approved({}))
    with pytest.raises(Retry, match="no list"):
        await desk.do("create_sales_order", approved({}))
    with pytest.raises(Retry, match="no list"):
        await desk.do("cancel_order", cancelled({}))
    assert len(desk.orders()) == 1


async def test_a_posting_in_part_is_not_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that an error in the report counts only where nothing moved."""
    await desk.do("create_sales_order", approved({}))
    failed = (Path(__file__).parent / "payloads/sap/post_goods_issue_failed.json").read_bytes()

    def in_part(_: Answer) -> Answer:
        for document in desk.sandbox._books.deliveries.values():
            document.fields["OverallGoodsMovementStatus"] = "B"
        return Answer(200, CIMultiDict(), failed)

    answered(desk, monkeypatch, "POST", "PostGoodsIssue", in_part)
    with pytest.raises(OutcomeUnknown, match="status B"):
        await desk.do("post_goods_issue", manifested())


@pytest.mark.parametrize(("code", "outcome"), [("V1/600", Reject), ("ZZ/001", NeedsPerson)])
async def test_only_a_refusal_with_a_row_is_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, code: str, outcome: type[Exception]
) -> None:
    """Proves that a 400 that no row names, which may be a lock, is for a person."""
    await desk.do("create_sales_order", approved({}))
    body = b'{"error": {"code": "%s", "message": {"value": "Said by nobody"}}}' % code.encode()
    answered(desk, monkeypatch, "PATCH", "A_", lambda _: Answer(400, CIMultiDict(), body))
    with pytest.raises(outcome, match="Said by nobody"):
        await desk.do("cancel_order", cancelled({}))


async def test_a_goods_issue_that_was_refused_and_is_posted_is_posted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the status is read after a refusal with status 400 too, and is believed."""
    await desk.do("create_sales_order", approved({}))
    refused = b'{"error": {"code": "M7/021", "message": {"value": "Deficit of stock"}}}'
    answered(
        desk, monkeypatch, "POST", "PostGoodsIssue", lambda _: Answer(400, CIMultiDict(), refused)
    )
    result = await desk.do("post_goods_issue", manifested())
    assert [each.type for each in result.references] == ["material_document", "outbound_delivery"]


async def foreign_order(desk: Desk, **fields: str) -> None:
    """Somebody else's sales order that has our order's number as its customer reference."""
    item = {
        "SalesOrderItem": "000010", "Material": "SKU-1005", "RequestedQuantity": "1",
        "RequestedQuantityUnit": "EA", "ProductionPlant": "1010",
    }  # fmt: skip
    body = {
        "SalesOrderType": "OR", "SalesOrganization": "1010", "DistributionChannel": "10",
        "OrganizationDivision": "00", "SoldToParty": "CUST-1003",
        "PurchaseOrderByCustomer": "SO-1", **fields, "to_Item": {"results": [item]},
    }  # fmt: skip
    await desk.vendor.create("API_SALES_ORDER_SRV", "A_SalesOrder", body)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SoldToParty", "CUST-1009", "sold-to party CUST-1009"),
        ("SalesOrderType", "RO", "type RO"),
        ("SalesOrganization", "2010", "sales area 2010/10/00"),
    ],
)
async def test_another_s_order_is_neither_adopted_nor_touched(
    desk: Desk, name: str, value: str, said: str
) -> None:
    """Proves that our number in a foreign sales order, where it is free text, makes it not ours."""
    await foreign_order(desk, **{name: value})
    for operation, event in (
        ("create_sales_order", approved({})),
        ("change_order", changed({})),
        ("cancel_order", cancelled({})),
    ):
        with pytest.raises(NeedsPerson, match=said):
            await desk.do(operation, event)
    with pytest.raises(NeedsPerson, match=said):
        await desk.look_up("create_sales_order", approved({}))
    (held,) = desk.orders()
    assert [item["SalesDocumentRjcnReason"] for item in held["items"]] == [""]


async def test_an_order_is_known_by_its_number_when_its_reference_is_edited(desk: Desk) -> None:
    """Proves that a cancellation reads the sales order it knows, and asks for one that is gone."""
    await desk.do("create_sales_order", approved({}))
    (document,) = desk.sandbox._books.orders.values()
    document.fields["PurchaseOrderByCustomer"] = "PO 4711"
    event: Any = cancelled({})
    event.order.sales_document = document.fields["SalesOrder"]
    await desk.do("cancel_order", event)
    (held,) = desk.orders()
    assert {item["SalesDocumentRjcnReason"] for item in held["items"]} == {"00"}
    event.order.sales_document = "4711"
    with pytest.raises(NeedsPerson, match="4711 is not there"):
        await desk.do("cancel_order", event)


async def test_an_order_that_was_booked_since_its_cancellation_is_cancelled(desk: Desk) -> None:
    """Proves that the hub is asked for the sales order's number where the cancellation, written
    while the booking was in doubt, has none, and its reference finds nothing."""
    await desk.do("create_sales_order", approved({}))
    (document,) = desk.sandbox._books.orders.values()
    document.fields["PurchaseOrderByCustomer"] = "PO 4711"
    desk.sales_document = document.fields["SalesOrder"]
    await desk.do("cancel_order", cancelled({}))
    (held,) = desk.orders()
    assert {item["SalesDocumentRjcnReason"] for item in held["items"]} == {"00"}
    desk.sales_document = "4711"
    with pytest.raises(NeedsPerson, match="4711 is not there"):
        await desk.do("cancel_order", cancelled({}))


async def test_a_foreign_order_does_not_hide_the_one_that_is_known(desk: Desk) -> None:
    """Proves that a known number goes before whatever else carries the same reference."""
    await foreign_order(desk, SoldToParty="CUST-1009")
    await foreign_order(desk)
    event: Any = cancelled({})
    event.order.sales_document = "2"
    await desk.do("cancel_order", event)
    first, second = desk.orders()
    assert first["items"][0]["SalesDocumentRjcnReason"] == ""
    assert second["items"][0]["SalesDocumentRjcnReason"] == "00"


async def test_a_void_of_what_is_posted_needs_to_find_it(desk: Desk) -> None:
    """Proves that a known posting that no search finds is for a person, not undone by word."""
    await desk.do("create_sales_order", approved({}))
    posted = await desk.do("post_goods_issue", manifested())
    event: Any = voided({})
    event.shipment.postings.add(
        endpoint="sap", operation="post_goods_issue", document_type="material_document",
        document_number=posted.references[0].value,
    )  # fmt: skip
    (delivery,) = desk.sandbox._books.deliveries.values()
    delivery.fields["DeliveryDocumentBySupplier"] = "CARRIER-REF"
    with pytest.raises(NeedsPerson, match="no delivery of sales order"):
        await desk.do("reverse_goods_issue", event)
    with pytest.raises(NeedsPerson, match="CARRIER-REF"):
        await desk.do("reverse_goods_issue", voided({}))
    (order,) = desk.sandbox._books.orders.values()
    order.fields["PurchaseOrderByCustomer"] = "PO 4711"
    for known in (event, voided({})):
        with pytest.raises(NeedsPerson, match="is not in SAP"):
            await desk.do("reverse_goods_issue", known)


async def test_the_oldest_order_is_the_one_with_the_lowest_number(desk: Desk) -> None:
    """Proves that numbers are not sorted as text: 9 is older than 10."""
    desk.sandbox._books.numbers["order"] = 9
    await foreign_order(desk)
    await foreign_order(desk)
    found = await desk.look_up("create_sales_order", approved({}))
    assert isinstance(found, Confirmed)
    assert [each.value for each in (*found.references, *found.duplicates)] == ["9", "10"]
