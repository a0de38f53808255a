"""U+0000 in a text: PostgreSQL keeps none, so the door takes none, whatever the database is."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from bare_calls import send
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import CallError
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from databases import KINDS
from fixtures_hub import QUICK_LIMITS, Lane, RunningHub, deployment
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from story import Story, create_order, order, request_id, seed_master_data, unique, update_order

LANE = Lane(1)
LIST_ORDERS = "/crossdock.order.v1.OrderService/ListOrders"
LOOK_UP = "/crossdock.lineage.v1.LineageService/LookUpReferences"
UPDATE = "/crossdock.order.v1.OrderService/UpdateOrder"
RULE = "string.no_nul"


@pytest.fixture(scope="module", params=KINDS)
def either_hub(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[RunningHub]:
    """A hub on each kind of database."""
    directory = tmp_path_factory.mktemp(f"hub-{request.param}")
    limits = json.dumps(QUICK_LIMITS)
    running = RunningHub(directory, deployment(1), database=request.param, limits=limits).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


def entry(**fields: Any) -> item_service_pb2.ItemEntry:
    """An item to write, with the fields that are given."""
    made = item_service_pb2.ItemEntry(request_id=request_id(), item=item_pb2.Item(**fields))
    made.update_mask.paths.extend(name for name in fields if name != "number")
    return made


def assert_told(refused: CallError | None, *fields: str) -> None:
    """It is refused for good, by fields and rule, in words that say what to do."""
    assert refused is not None
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT, refused
    assert refused.reason == "INVALID_FIELD"
    found = [violation for violation in refused.refusal.violations if violation.rule == RULE]
    assert sorted(violation.field for violation in found) == sorted(fields)
    assert all("leave it out" in violation.description for violation in found)


async def test_writes_with_it_are_refused(either_hub: RunningHub) -> None:
    """Proves that texts of a write, in lists, inner messages and masks too, are each named."""
    wrong = order()
    wrong.customer_number = "C\0-1"
    wrong.ship_to.name = "Ada\0"
    wrong.ship_to.address.lines.extend(["2nd floor", "\0"])
    async with either_hub.client("oms") as oms:
        with pytest.raises(CallError) as caught:
            await oms.orders.CreateOrder(create_order(wrong))
        fields = ("customer_number", "ship_to.name", "ship_to.address.lines[2]")
        assert_told(caught.value, *(f"order.{field}" for field in fields))
        changed = order_service_pb2.UpdateOrderRequest(request_id=request_id(), order=order())
        changed.order.id = str(uuid.uuid4())
        changed.update_mask.paths.append("note\0")
        with pytest.raises(CallError) as caught:
            await oms.orders.UpdateOrder(changed)
        assert_told(caught.value, "update_mask.paths[0]")


async def test_one_entry_with_it_is_its_own_answer(either_hub: RunningHub) -> None:
    """Proves that of master data sent together the faulty entry alone is refused, keys and values
    of its attributes by name, also by who does not own the item and has to wait for it."""
    wrong = {"color": "red\0", "si\0ze": "L"}
    good, bad = unique("SKU"), unique("SKU")
    entries = [entry(number=bad, listing={"attributes": wrong}), entry(number=good, base_unit="EA")]
    async with either_hub.client("netsuite") as erp:
        asked = item_service_pb2.UpsertItemsRequest(entries=entries)
        first, second = (await erp.items.UpsertItems(asked)).results
    told = {v.field for v in first.refusal.violations if v.rule == RULE}
    assert told == {'item.listing.attributes["color"]', 'item.listing.attributes["si\\0ze"]'}
    assert second.created, second
    async with either_hub.client("manhattan") as wms:
        asked = item_service_pb2.UpsertItemsRequest(entries=[entry(number=f"{bad}\0")])
        (only,) = (await wms.items.UpsertItems(asked)).results
    assert [(v.field, v.rule) for v in only.refusal.violations] == [("item.number", RULE)]
    assert not only.held_fact_id


async def test_questions_with_it_are_refused(either_hub: RunningHub) -> None:
    """Proves that what a list is asked by has none, in a page token neither."""
    async with either_hub.client("oms") as oms:
        asked = lineage_service_pb2.LookUpReferencesRequest(kind="item", values=["7", "7\0"])
        refused = await send(oms, LOOK_UP, asked.SerializeToString())
        assert_told(refused, "values[1]")
        for _ in range(2):
            await oms.orders.CreateOrder(create_order())
        first = order_service_pb2.ListOrdersRequest(page_size=1)
        token = (await oms.orders.ListOrders(first)).next_page_token
        raw = base64.urlsafe_b64decode(token) + b"\0"
        first.page_token = base64.urlsafe_b64encode(raw).decode()
        refused = await send(oms, LIST_ORDERS, first.SerializeToString())
        assert refused is not None
        assert [v.field for v in refused.refusal.violations] == ["page_token"], refused


async def test_bytes_may_have_it(either_hub: RunningHub) -> None:
    """Proves that raw payloads are held as they are: they are no texts."""
    payload = b"\0<x>\0</x>"
    async with either_hub.client(LANE.carrier) as carrier:
        held = held_fact_pb2.HoldPayloadRequest(
            request_id=request_id(), payload=payload, source="/hook", reason="not JSON"
        )
        answer = await carrier.endpoints.HoldPayload(held)
        asked = held_fact_pb2.ListHeldFactsRequest(endpoint=LANE.carrier)
        found = (await carrier.endpoints.ListHeldFacts(asked)).held_facts
    kept = {fact.id: fact.payload for fact in found}
    assert kept[answer.receipt.held_fact_id] == payload


async def test_a_fact_with_it_is_quarantined(either_hub: RunningHub) -> None:
    """Proves that the outcome of an attempt commits beside a fact that no database would keep."""
    async with (
        PlayedEndpoint(either_hub, LANE.erp, ERP_OPERATIONS) as erp,
        Story(either_hub, LANE) as story,
    ):
        approved = await story.approved()
        change = update_order(
            order_pb2.Order(id=approved, sales_document="boo\0ked"), "sales_document"
        )
        _, result = await erp.work(
            "CONFIRMED",
            references={"sales_order": "1"},
            facts=((UPDATE, change.SerializeToString()),),
        )
        assert not result.HasField("refusal")
        (quarantined,) = result.quarantined
        assert "order.sales_document" in str(quarantined.refusal)
        delivery = await story.delivery(approved, "create_sales_order")
    assert delivery.vendor_references[0].value == "1"
