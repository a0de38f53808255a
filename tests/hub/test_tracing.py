"""Any id leads to its flow: what is recognised, what is forgiven, what is not found."""

from __future__ import annotations

import uuid
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
from crossdock.lineage.v1 import lineage_pb2, lineage_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock_hub.identity import Caller
from crossdock_hub.reading.finding import spellings
from crossdock_hub.records import RequestRecord
from decisions import OMS, OPERATOR, WMS, request_id
from first_flow import ORDERS, Flow, order
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection
from stored_flow import Books, books, played, refusal

__all__ = ["books"]

LINEAGE = "lineage.v1.LineageService"


async def trace(books: Books, text: str, caller: Caller = OPERATOR) -> lineage_pb2.Lineage:
    request = lineage_service_pb2.TraceRequest(id=text)
    lineage: lineage_pb2.Lineage = (await books.ask(f"{LINEAGE}/Trace", request, caller)).lineage
    return lineage


async def test_any_id_leads_to_the_whole_chain(books: Books) -> None:
    """Proves that every id a person may hold is recognised, and as what."""
    flow, shipment = played()
    flow.rounds_max = flow.limits.batch_rounds_max
    sales_order = flow.delivery("netsuite", "create_sales_order")
    flow.settle(sales_order, references=[("sales_order", "SO-77")])
    created = RequestRecord(
        request_id(),
        b"",
        "oms",
        f"/crossdock.{ORDERS}/CreateOrder",
        order_service_pb2.CreateOrderResponse(
            order=flow.object("order", shipment.order_id)
        ).SerializeToString(),
        "",
        flow.now,
    )
    flow.records["request", created.request_id] = created
    trace_id = uuid.uuid4().hex
    flow.events = [replace(e, traceparent=f"00-{trace_id}-{'b' * 16}-01") for e in flow.events]
    await books.keep(flow)
    label = flow.all("label")[0]
    expected = {
        shipment.order_id: "order id",
        "SO-1": "order number",
        "SO-1-1": "fulfillment request number",
        shipment.id: "shipment id",
        "SHP-1": "shipment number",
        shipment.packages[1].id: "package id",
        "LPN-2": "package number",
        label.id: "label id",
        "1Z2": "tracking number of UPSN",
        "SO-77": "reference sales_order of netsuite",
        flow.events[0].id: "event order.approved",
        sales_order.id: "delivery create_sales_order at netsuite",
        sales_order.vendor_reference: "vendor reference of create_sales_order at netsuite",
        created.request_id: "request id of CreateOrder",
        trace_id: "trace id",
    }
    for text, matched_as in expected.items():
        lineage = await trace(books, text)
        assert (lineage.root_id, lineage.matched_as) == (shipment.order_id, matched_as)
        assert lineage.query == text
        assert len(lineage.deliveries) == len(flow.deliveries())
        assert lineage.sentence


@pytest.mark.parametrize(
    ("text", "matched_as"),
    [
        (" SO-1 ", "order number"),
        ("so-1", "order number, as 'SO-1'"),
        ("so 1", "order number or key, as 'SO-1'"),
        ("1z-2", "tracking number of UPSN, as '1Z2'"),
        ("shp1", "shipment number or key, as 'SHP-1'"),
        ("lpn 2", "package number, as 'LPN-2'"),
    ],
)
async def test_spelling_does_not_matter(books: Books, text: str, matched_as: str) -> None:
    """Proves that case, spaces and dashes are forgiven, and that the answer says so."""
    flow, shipment = played()
    await books.keep(flow)
    lineage = await trace(books, text)
    assert (lineage.root_id, lineage.matched_as) == (shipment.order_id, matched_as)


async def test_who_is_named_exactly_is_found_before_who_is_spelled_alike(books: Books) -> None:
    """Proves that a number leads to the object of just that number, of whatever kind, though others
    of its kind differ from it in case and dashes only; and to all of them where none has it."""
    flow = Flow()
    made = {number: flow.create(order(number)).id for number in ("S-1", "s-1", "ü-1", "Ü-1")}
    await books.keep(flow)
    for number, order_id in made.items():
        lineage = await trace(books, number)
        assert (lineage.root_id, lineage.matched_as) == (order_id, "order number")
    item = await trace(books, flow.all("item")[0].number)
    assert item.matched_as == "item number"
    assert (await trace(books, "s 1")).matched_as.endswith("(1 more match)")


async def test_a_trace_is_of_one_moment(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a trace reads with one snapshot, and that one does not see what is written while
    it is open, so that no lineage tells of two moments."""
    flow, shipment = played()
    await books.keep(flow)
    opened: list[str] = []
    read = books.store.read

    def counted() -> AbstractAsyncContextManager[AsyncConnection]:
        opened.append("snapshot")
        return read()

    monkeypatch.setattr(books.store, "read", counted)
    for text in ("SO-1", shipment.id, "1z-2"):
        await trace(books, text)
    assert opened == ["snapshot"] * 3
    async with books.reader.of_one_moment() as reader:
        before = await reader.chain(shipment.order_id)
        flow.settle(flow.delivery("netsuite", "create_sales_order"))
        await books.keep(flow)
        assert await reader.chain(shipment.order_id) == before
    assert await books.reader.chain(shipment.order_id) != before


@pytest.mark.parametrize("text", ["ab 1-x", "AB1X", "ab1x", "aB1x", "Ab-1 X"])
async def test_a_tracking_number_is_found_in_any_spelling(books: Books, text: str) -> None:
    """Proves that a tracking number that was stored in small letters, with a dash and a space, is
    found by every spelling of it."""
    flow, shipment = played()
    key = ("parcel", "UPSN", "1Z1")
    flow.records[key] = replace(flow.records[key], tracking_number="aB-1 x")
    await books.keep(flow)
    lineage = await trace(books, text)
    told = "tracking number of UPSN, as 'aB-1 x'"
    assert (lineage.root_id, lineage.matched_as) == (shipment.order_id, told)


async def test_an_id_without_dashes_or_in_capitals_is_still_an_id(books: Books) -> None:
    """Proves that UUIDs are found as logs and people write them."""
    flow, shipment = played()
    await books.keep(flow)
    for text in (shipment.id.upper(), shipment.id.replace("-", "")):
        assert (await trace(books, text)).root_id == shipment.order_id


async def test_what_nobody_knows_is_said_with_what_was_tried(books: Books) -> None:
    """Proves that a search without result says where it looked."""
    await books.keep(Flow())
    for text in ("SO-404", request_id(), "0" * 32, "A" * 20, "%_", "'; --", "ü"):
        request = lineage_service_pb2.TraceRequest(id=text)
        found = await refusal(books, f"{LINEAGE}/Trace", request)
        assert found.reason == "OBJECT_NOT_FOUND"
        assert "tracking number" in found.message


async def test_a_warehouse_reads_the_chain_but_not_others_calls(books: Books) -> None:
    """Proves that a chain is shown to its parties, and what others sent stays theirs."""
    flow, _ = played()
    for record in (
        flow.delivery("netsuite", "create_sales_order"),
        flow.delivery("manhattan", "release_order"),
    ):
        flow.settle(record)
    for key, attempt in list(flow.records.items()):
        if key[0] == "attempt":
            flow.records[key] = replace(attempt, request_excerpt="secret of theirs")
    await books.keep(flow)

    def shown(lineage: lineage_pb2.Lineage) -> set[str]:
        return {d.endpoint for d in lineage.deliveries for a in d.attempt_log if a.request_excerpt}

    assert shown(await trace(books, "SO-1", WMS)) == {"manhattan"}
    assert shown(await trace(books, "SO-1", OMS)) == set()
    assert shown(await trace(books, "SO-1")) == {"netsuite", "manhattan"}


@given(st.text(min_size=1, max_size=40).filter(str.strip))
@settings(max_examples=200, deadline=None)
def test_spellings_are_few_and_never_empty(text: str) -> None:
    """Proves that any text a person pastes becomes a handful of look-ups at most."""
    found = spellings(text)
    assert len(found) <= 6
    assert all(found)
    assert text not in found
