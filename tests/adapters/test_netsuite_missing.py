"""What NetSuite does not find, or has already: nothing is called undone or done by guess."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from crossdock.errors import CallError, InvalidRequestError, Refusal
from crossdock.order.v1 import order_events_pb2
from crossdock.shipment.v1 import shipment_events_pb2
from crossdock_adapters.netsuite import adapter, sandbox, sandbox_records
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Untranslatable,
)
from test_netsuite_adapter import ORDER_ID, Desk, approved, desk_at, manifested, order

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as desk:
        yield desk


async def test_a_reversal_of_what_is_posted_needs_to_find_it(desk: Desk) -> None:
    """Proves that a fulfillment that the hub knows of and nobody finds is for a person, unless an
    earlier attempt of ours may have deleted it."""
    await desk.do("create_sales_order", approved())
    shipment = manifested().shipment
    shipment.postings.add(
        endpoint="netsuite", operation="post_goods_issue", document_type="item_fulfillment",
        document_number="IF7001",
    )  # fmt: skip
    voided = shipment_events_pb2.ShipmentVoided(shipment=shipment)
    work = desk.hub.work("reverse_goods_issue", voided, desk.settings)
    with pytest.raises(NeedsPerson, match="posted: IF7001; found by external id: none;"):
        await adapter.reverse_goods_issue(replace(work, in_doubt=False), desk.vendor)
    assert "nothing to reverse" in (await adapter.reverse_goods_issue(work, desk.vendor)).note
    await desk.do("post_goods_issue", manifested())
    await adapter.reverse_goods_issue(replace(work, in_doubt=False), desk.vendor)
    assert desk.account.fulfillments() == []


async def departed_twice(desk: Desk) -> shipment_events_pb2.ShipmentVoided:
    """A shipment that left in two departures, each posted, and is voided now."""
    await desk.do("create_sales_order", approved())
    first = manifested((10, "SKU-1001", "2"))
    second = manifested((20, "SKU-1002", "5"))
    for _ in range(2):
        left = second.shipment.departures.add(package_numbers=["CARTON-1"])
        left.manifest_time.instant.FromJsonString("2026-03-07T03:00:00Z")
    row = left.shipped.add(line_number=20)
    row.quantity.value, row.quantity.unit = "5", "EA"
    for event in (first, second):
        posted = await desk.do("post_goods_issue", event)
        second.shipment.postings.add(
            endpoint="netsuite", operation="post_goods_issue",
            document_type="item_fulfillment", document_number=posted.references[0].value,
        )  # fmt: skip
    return shipment_events_pb2.ShipmentVoided(shipment=second.shipment)


async def test_of_two_departures_both_are_undone_or_none(desk: Desk) -> None:
    """Proves that nothing is deleted while one of them is not found, that a person reads which is
    there, and that once both are found a retry undoes both."""
    voided = await departed_twice(desk)
    first = f"xd-{voided.shipment.id}"
    external_ids = desk.account.sandbox._books._external
    hidden = external_ids.pop(("itemFulfillment", f"{first}-2"))
    work = desk.hub.work("reverse_goods_issue", voided, desk.settings)
    work = replace(work, in_doubt=False)
    said = "posted: IF20001, IF20002; found by external id: IF20001; nothing was deleted"
    with pytest.raises(NeedsPerson, match=said):
        await adapter.reverse_goods_issue(work, desk.vendor)
    assert len(desk.account.fulfillments()) == 2
    external_ids["itemFulfillment", f"{first}-2"] = hidden
    done = await adapter.reverse_goods_issue(work, desk.vendor)
    assert [each.value for each in done.references] == [first, f"{first}-2"]
    assert desk.account.fulfillments() == []


async def test_a_reversal_that_stops_half_way_is_in_doubt(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that once one is deleted nothing is called unprocessed, that a person reads which one
    it is, and that the next attempt deletes the rest."""
    voided = await departed_twice(desk)
    real = desk.vendor.delete

    async def delete(kind: str, key: str) -> None:
        if key.endswith("-2"):
            raise Retry(7.0, "no connection")
        await real(kind, key)

    with monkeypatch.context() as patch:
        patch.setattr(desk.vendor, "delete", delete)
        first = f"xd-{voided.shipment.id}"
        with pytest.raises(OutcomeUnknown, match=f"{first} is deleted.*no connection") as found:
            await desk.do("reverse_goods_issue", voided)
        assert found.value.after_seconds == 7.0
    done = await desk.do("reverse_goods_issue", voided)
    assert [each.value for each in done.references] == [f"{first}-2"]
    assert desk.account.fulfillments() == []


async def test_a_booked_order_that_is_not_found_is_not_called_cancelled(desk: Desk) -> None:
    """Proves that a sales order whose number the hub has, and that its external id does not find,
    is for a person: it is open in NetSuite, under another key."""
    made = order()
    made.sales_document = "SO10001"
    with pytest.raises(NeedsPerson, match="sales order SO10001 is not found"):
        await desk.do("cancel_order", order_events_pb2.OrderCancelled(order=made))


async def test_an_order_that_was_booked_since_its_cancellation_is_not_called_cancelled(
    desk: Desk,
) -> None:
    """Proves that the hub is asked for the sales order's number where the cancellation, written
    while the booking was in doubt, has none."""
    cancelled = order_events_pb2.OrderCancelled(order=order())
    assert "nothing to cancel" in (await desk.do("cancel_order", cancelled)).note
    desk.hub.order.sales_document = "SO10001"
    with pytest.raises(NeedsPerson, match="sales order SO10001 is not found"):
        await desk.do("cancel_order", cancelled)

    for error, said in (
        (CallError(Refusal("HUB_BUSY", "no leader"), grpc.StatusCode.UNAVAILABLE), Retry),
        (
            InvalidRequestError(Refusal("INVALID_FIELD", "id"), grpc.StatusCode.INVALID_ARGUMENT),
            Untranslatable,
        ),
    ):

        async def refused(_: object, raised: Exception = error) -> Any:
            raise raised

        desk.hub.orders.GetOrder = refused
        with pytest.raises(said, match=r"order '?11111111"):
            await desk.do("cancel_order", cancelled)


async def test_what_is_not_there_after_it_was_written_is_unknown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a 404 to the read behind a write says nothing about the write."""
    real: Any = desk.vendor.upsert
    books = desk.account.sandbox._books

    async def upsert(kind: str, *given: Any, **named: Any) -> str:
        internal_id: str = await real(kind, *given, **named)
        books.delete(books.get(kind, internal_id))
        return internal_id

    monkeypatch.setattr(desk.vendor, "upsert", upsert)
    with pytest.raises(OutcomeUnknown, match="after a request was accepted"):
        await desk.do("create_sales_order", approved())


async def test_an_external_id_of_another_document_is_a_refusal(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a duplicate is looked up and adopted, else told as a rejection, where an order
    is created, and that a change is refused with NetSuite's words."""
    await desk.do("create_sales_order", approved())
    other = order("SO-2", ORDER_ID[:-1] + "9")
    await desk.do("post_goods_issue", manifested(shipment_id=other.id))
    with pytest.raises(Reject, match="already exists"):
        await desk.do("create_sales_order", approved(other))

    def refuses(*_: object) -> Any:
        raise sandbox_records.user_error("A record with this PO number already exists.")

    monkeypatch.setattr(sandbox, "save_sales_order", refuses)
    found = await desk.do("create_sales_order", approved())
    assert found.references[0].value == "SO10001"
    changed = order_events_pb2.OrderChanged(order=order(), changed_fields=["ship_to"])
    with pytest.raises(Reject, match="this PO number already exists"):
        await desk.do("change_order", changed)
