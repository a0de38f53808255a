"""Writing over the wire: answered once, owned by one, never lost, never half, never held against
others."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from crossdock import contracts
from crossdock.errors import CallError
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane, RunningHub
from story import (
    SECOND_DOCK,
    Story,
    approve_order,
    create_order,
    item_entry,
    order,
    request_id,
    unique,
    update_order,
)

CONTRACT = contracts.load()
WRITERS = 64
ORDERS_EACH = 5


async def refused(call: Awaitable[Any]) -> CallError:
    """The refusal that a call has to end with."""
    with pytest.raises(CallError) as caught:
        await call
    return caught.value


# Once


async def test_a_repeated_request_gets_the_first_answer(hub: RunningHub) -> None:
    """Proves that a request sent many times at once and again later is done once and answered
    alike, byte for byte."""
    request = create_order()
    async with hub.client("oms") as oms:
        answers = await asyncio.gather(*[oms.orders.CreateOrder(request) for _ in range(10)])
        await oms.orders.ApproveOrder(approve_order(answers[0].order.id))
        answers.append(await oms.orders.CreateOrder(request))
    assert len({answer.SerializeToString() for answer in answers}) == 1
    assert hub.count("objects", f"number = '{request.order.number}'") == 1


async def test_a_request_id_belongs_to_one_content(hub: RunningHub) -> None:
    """Proves that a used request_id with another content, or for another method, is refused
    and changes nothing."""
    request = create_order()
    other = create_order()
    other.request_id = request.request_id
    async with hub.client("oms") as oms:
        made = (await oms.orders.CreateOrder(request)).order
        approve = approve_order(made.id)
        approve.request_id = request.request_id
        for call in (oms.orders.CreateOrder(other), oms.orders.ApproveOrder(approve)):
            error = await refused(call)
            assert error.reason == "REQUEST_ID_REUSED"
            assert error.code is grpc.StatusCode.ALREADY_EXISTS
        found = await oms.orders.GetOrder(order_service_pb2.GetOrderRequest(id=made.id))
    assert found.order == made
    assert hub.count("objects", f"number = '{other.order.number}'") == 0


async def test_a_refused_request_may_be_repeated(hub: RunningHub) -> None:
    """Proves that a refusal uses no request_id up: the same request succeeds once it can."""
    number = unique("SKU")
    request = create_order()
    request.order.lines[0].item_number = number
    async with hub.client("oms") as oms, hub.client("netsuite") as erp:
        assert (await refused(oms.orders.CreateOrder(request))).reason == "UNKNOWN_REFERENCE"
        entries = [item_entry(number)]
        await erp.items.UpsertItems(item_service_pb2.UpsertItemsRequest(entries=entries))
        assert (await oms.orders.CreateOrder(request)).order.revision == 1


# Revisions and masks


async def test_of_two_writers_one_reads_again(hub: RunningHub) -> None:
    """Proves that of writers with the same expected revision one wins and the rest are told both
    revisions."""
    async with hub.client("oms") as oms:
        made = (await oms.orders.CreateOrder(create_order())).order
        patches = [order_pb2.Order(id=made.id, channel=f"shop-{n}") for n in range(8)]
        answers = await asyncio.gather(
            *[oms.orders.UpdateOrder(update_order(p, "channel", revision=1)) for p in patches],
            return_exceptions=True,
        )
        lost = [answer for answer in answers if isinstance(answer, CallError)]
        assert len(lost) == len(patches) - 1
        for error in lost:
            assert (error.reason, error.code) == ("STALE_REVISION", grpc.StatusCode.ABORTED)
            assert error.refusal.metadata == {"expected": "1", "actual": "2"}
        approve = approve_order(made.id)
        approve.expected_revision = 1
        assert (await refused(oms.orders.ApproveOrder(approve))).reason == "STALE_REVISION"


async def test_masks_name_what_changes(hub: RunningHub) -> None:
    """Proves that only masked fields change, that a masked unset field is cleared, that nothing
    new means no new revision, and that the merged object has to be valid."""
    async with hub.client("oms") as oms:
        message = order()
        message.customer_reference, message.channel = "PO-1", "web"
        made = (await oms.orders.CreateOrder(create_order(message))).order
        patch = order_pb2.Order(id=made.id, channel="shop", carrier_code="DHL")
        after = (await oms.orders.UpdateOrder(update_order(patch, "channel"))).order
        assert (after.channel, after.carrier_code) == ("shop", made.carrier_code)
        assert after.revision == 2
        same = (await oms.orders.UpdateOrder(update_order(patch, "channel"))).order
        assert same.revision == 2
        bare = order_pb2.Order(id=made.id)
        cleared = (await oms.orders.UpdateOrder(update_order(bare, "customer_reference"))).order
        assert not cleared.HasField("customer_reference")
        error = await refused(oms.orders.UpdateOrder(update_order(bare, "lines")))
        assert error.reason == "INVALID_FIELD"
        assert [v.field for v in error.refusal.violations] == ["order.lines"]
        wrong_item = order_pb2.Order(id=made.id, lines=made.lines)
        wrong_item.lines[0].item_number = "SKU-NONE"
        error = await refused(oms.orders.UpdateOrder(update_order(wrong_item, "lines")))
        assert error.reason == "UNKNOWN_REFERENCE"


@pytest.mark.parametrize("paths", [(), ("*",), ("ship_to.name",), ("colour",), ("channel", "*")])
async def test_masks_that_cannot_be_used(hub: RunningHub, paths: tuple[str, ...]) -> None:
    """Proves that a mask which is empty, total, deep or unknown is refused and changes nothing."""
    async with hub.client("oms") as oms:
        made = (await oms.orders.CreateOrder(create_order())).order
        patch = order_pb2.Order(id=made.id, channel="shop")
        error = await refused(oms.orders.UpdateOrder(update_order(patch, *paths)))
        assert (error.reason, error.code) == ("MASK_INVALID", grpc.StatusCode.INVALID_ARGUMENT)
        found = await oms.orders.GetOrder(order_service_pb2.GetOrderRequest(id=made.id))
        assert found.order.revision == 1


# Owners


def assert_not_owned(error: CallError, path: str, owner: str, writer: str, field: str) -> None:
    assert error.reason == "FIELD_NOT_OWNED"
    assert error.code is grpc.StatusCode.PERMISSION_DENIED
    metadata = error.refusal.metadata
    assert (metadata["field"], metadata["owner"], metadata["writer"]) == (path, owner, writer)
    assert metadata["rule"] == CONTRACT.position(field)
    assert re.fullmatch(r"proto/crossdock/\w+/v1/\w+\.proto:\d+", metadata["rule"])
    for word in (path, owner, writer, metadata["rule"]):
        assert word in error.refusal.message


async def test_the_oms_does_not_weigh_packages(hub: RunningHub, lane: Lane) -> None:
    """Proves that an OMS that overwrites package weights is told field, owner, writer and rule."""
    async with Story(hub, lane) as story:
        shipment = await story.packed()
        patch = shipment_pb2.Shipment(id=shipment.id, packages=shipment.packages)
        patch.packages[0].weight.value = "0.1"
        request = shipment_service_pb2.UpdateShipmentRequest(
            request_id=request_id(), shipment=patch
        )
        request.update_mask.paths.append("packages")
        error = await refused(story.oms.shipments.UpdateShipment(request))
        assert_not_owned(
            error, "shipment.packages", "WMS", "OMS", "crossdock.shipment.v1.Shipment.packages"
        )
        found = await story.oms.shipments.GetShipment(
            shipment_service_pb2.GetShipmentRequest(id=shipment.id)
        )
        assert found.shipment == shipment


async def test_the_warehouse_does_not_invent_tracking_numbers(hub: RunningHub, lane: Lane) -> None:
    """Proves that a WMS that writes a tracking number is told field, owner, writer and rule."""
    async with Story(hub, lane) as story:
        shipment = await story.packed()
        patch = shipment_pb2.Shipment(id=shipment.id, tracking_number="1Z0")
        request = shipment_service_pb2.UpdateShipmentRequest(
            request_id=request_id(), shipment=patch
        )
        request.update_mask.paths.append("tracking_number")
        error = await refused(story.wms.shipments.UpdateShipment(request))
        field = "crossdock.shipment.v1.Shipment.tracking_number"
        owner = CONTRACT.owners("crossdock.shipment.v1.Shipment")["tracking_number"]
        assert_not_owned(error, "shipment.tracking_number", owner, "WMS", field)


async def test_nobody_writes_what_the_hub_derives(hub: RunningHub) -> None:
    """Proves that ids, revisions, states and the ERP's fields are refused on a create, each
    named."""
    message = order()
    message.id, message.revision, message.sales_document = str(uuid.uuid4()), 7, "SO1"
    message.state = order_pb2.ORDER_STATE_DELIVERED
    async with hub.client("oms") as oms:
        error = await refused(oms.orders.CreateOrder(create_order(message)))
    assert error.reason == "FIELD_NOT_OWNED"
    fields = {v.field for v in error.refusal.violations}
    assert fields == {"order.id", "order.revision", "order.state", "order.sales_document"}


async def test_each_role_writes_its_own_part_of_one_order(hub: RunningHub) -> None:
    """Proves that OMS and ERP change their own fields of one order side by side, without locks."""
    async with hub.client("oms") as oms, hub.client("netsuite") as erp:
        made = (await oms.orders.CreateOrder(create_order())).order
        booked = order_pb2.Order(id=made.id, sales_document="SO55")
        channel = order_pb2.Order(id=made.id, channel="web")
        await asyncio.gather(
            erp.orders.UpdateOrder(update_order(booked, "sales_document")),
            oms.orders.UpdateOrder(update_order(channel, "channel")),
        )
        found = await oms.orders.GetOrder(order_service_pb2.GetOrderRequest(id=made.id))
    assert (found.order.sales_document, found.order.channel) == ("SO55", "web")
    assert found.order.revision == 3


# What must exist, what must not


@pytest.mark.parametrize("field", ["customer_number", "item_number", "ship_from_location_number"])
async def test_unknown_master_data_is_named(hub: RunningHub, field: str) -> None:
    """Proves that a reference to master data nobody told the hub is refused with its path."""
    message = order(lines=2)
    path = "order.customer_number" if field == "customer_number" else f"order.lines[1].{field}"
    setattr(message if field == "customer_number" else message.lines[1], field, "NONE")
    async with hub.client("oms") as oms:
        error = await refused(oms.orders.CreateOrder(create_order(message)))
    assert error.reason == "UNKNOWN_REFERENCE"
    assert error.code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.refusal.metadata["field"] == path
    assert error.refusal.metadata["value"] == "NONE"
    assert [v.field for v in error.refusal.violations] == [path]


async def test_a_number_names_one_order(hub: RunningHub) -> None:
    """Proves that of simultaneous orders with one number one is stored, the others name it."""
    message = order()
    async with hub.client("oms") as oms:
        answers = await asyncio.gather(
            *[oms.orders.CreateOrder(create_order(message)) for _ in range(6)],
            return_exceptions=True,
        )
    stored = [a for a in answers if not isinstance(a, BaseException)]
    assert len(stored) == 1
    for error in answers:
        if isinstance(error, CallError):
            assert (error.reason, error.code) == (
                "REFERENCE_TAKEN",
                grpc.StatusCode.ALREADY_EXISTS,
            )
            assert error.refusal.metadata["object_id"] == stored[0].order.id


async def test_external_references_name_one_order(hub: RunningHub) -> None:
    """Proves that a key of another system can't name two orders."""
    key = types_pb2.ExternalReference(system="shopify", type="order", value=unique("gid"))
    first, second = create_order(), create_order()
    first.references.append(key)
    second.references.append(key)
    async with hub.client("oms") as oms:
        made = (await oms.orders.CreateOrder(first)).order
        assert list(made.references) == [key]
        error = await refused(oms.orders.CreateOrder(second))
    assert error.reason == "REFERENCE_TAKEN"
    assert error.refusal.metadata["object_id"] == made.id


async def test_commands_need_the_right_state(hub: RunningHub, lane: Lane) -> None:
    """Proves that commands outside their states are refused with state, verb and allowed ones."""
    async with Story(hub, lane) as story:
        made = await story.create()
        error = await refused(story.release(made.id))
        assert (error.reason, error.code) == (
            "STATE_TRANSITION",
            grpc.StatusCode.FAILED_PRECONDITION,
        )
        assert error.refusal.metadata == {
            "state": "CREATED",
            "verb": "ReleaseOrder",
            "allowed": "APPROVED",
        }
        await story.approve(made.id)
        assert (await refused(story.approve(made.id))).reason == "STATE_TRANSITION"
        await story.release(made.id)
        patch = order_pb2.Order(id=made.id, channel="late")
        error = await refused(story.oms.orders.UpdateOrder(update_order(patch, "channel")))
        assert error.reason == "STATE_TRANSITION"
        await story.cancel(made.id)
        assert (await refused(story.cancel(made.id))).reason == "STATE_TRANSITION"
        assert (await refused(story.approve(str(uuid.uuid4())))).reason == "OBJECT_NOT_FOUND"


async def test_a_release_asks_each_warehouse_once(hub: RunningHub, lane: Lane) -> None:
    """Proves that a release makes one fulfillment request per ship-from, with its lines only."""
    async with Story(hub, lane) as story:
        order_id, ids = await story.released(4, docks=("DC1", SECOND_DOCK))
        request = fulfillment_service_pb2.ListFulfillmentRequestsRequest(order_id=order_id)
        answer = await story.wms.fulfillments.ListFulfillmentRequests(request)
    assert {part.id for part in answer.fulfillment_requests} == set(ids)
    lines = {
        part.ship_from_location_number: [line.line_number for line in part.lines]
        for part in answer.fulfillment_requests
    }
    assert lines == {"DC1": [1, 3], SECOND_DOCK: [2, 4]}


async def test_outside_its_scope_nothing_exists(hub: RunningHub, lane: Lane) -> None:
    """Proves that an endpoint can't read, list or change objects of another business unit, nor
    learn that they exist."""
    async with Story(hub, lane) as story, hub.client("netsuite") as everybody:
        made = (await story.oms.orders.CreateOrder(create_order())).order
        get = order_service_pb2.GetOrderRequest(id=made.id)
        assert (await everybody.orders.GetOrder(get)).order == made
        patch = update_order(order_pb2.Order(id=made.id, sales_document="X"), "sales_document")
        nobody = update_order(
            order_pb2.Order(id=str(uuid.uuid4()), sales_document="X"), "sales_document"
        )
        for call in (
            story.erp.orders.GetOrder(get),
            story.erp.orders.GetOrder(order_service_pb2.GetOrderRequest(number=made.number)),
            story.erp.orders.UpdateOrder(patch),
            story.erp.orders.UpdateOrder(nobody),
        ):
            assert (await refused(call)).reason == "OBJECT_NOT_FOUND"
        own = await story.create()
        listed = await story.erp.orders.ListOrders(order_service_pb2.ListOrdersRequest())
    assert [each_order.id for each_order in listed.orders] == [own.id]


# Together


async def test_refusals_do_not_spoil_their_batch(hub: RunningHub) -> None:
    """Proves that good and bad requests that arrive together each get their own answer."""
    unknown, foreign = order(), order()
    unknown.customer_number = "NONE"
    foreign.sales_document = "SO1"
    reasons = ["", "UNKNOWN_REFERENCE", "FIELD_NOT_OWNED", "OBJECT_NOT_FOUND"]
    async with hub.client("oms") as oms:
        calls: list[Any] = []
        for number in range(160):
            kind = number % len(reasons)
            if kind == 3:
                calls.append(oms.orders.ApproveOrder(approve_order(str(uuid.uuid4()))))
                continue
            message = (order(), unknown, foreign)[kind]
            message.number = unique("MIX")
            calls.append(oms.orders.CreateOrder(create_order(message)))
        answers = await asyncio.gather(*calls, return_exceptions=True)
    for number, answer in enumerate(answers):
        got = answer.reason if isinstance(answer, CallError) else ""
        assert got == reasons[number % len(reasons)], answer


async def test_many_writers_lose_nothing(hub: RunningHub) -> None:
    """Proves with 64 concurrent writers that every order answered is stored once, and that every
    one of 64 changes to one order counts."""
    async with hub.client("oms") as oms:
        shared = (await oms.orders.CreateOrder(create_order())).order

        async def write(number: int) -> list[str]:
            requests = [create_order() for _ in range(ORDERS_EACH)]
            made = [(await oms.orders.CreateOrder(request)).order.id for request in requests]
            patch = order_pb2.Order(id=shared.id, channel=f"writer-{number}")
            await oms.orders.UpdateOrder(update_order(patch, "channel"))
            return made

        made = await asyncio.gather(*[write(number) for number in range(WRITERS)])
        get = order_service_pb2.GetOrderRequest(id=shared.id)
        assert (await oms.orders.GetOrder(get)).order.revision == 1 + WRITERS
    ids = [order_id for some in made for order_id in some]
    assert len(set(ids)) == WRITERS * ORDERS_EACH
    stored = {row[0] for row in hub.query("SELECT id FROM objects WHERE kind = 'order'")}
    assert set(ids) <= stored


async def test_counting_by_read_and_write_loses_nothing(hub: RunningHub) -> None:
    """Proves that read, add one, write with the revision read ends at the number of writers."""
    async with hub.client("oms") as oms:
        shared = (await oms.orders.CreateOrder(create_order())).order
        get = order_service_pb2.GetOrderRequest(id=shared.id)

        async def add_one() -> None:
            while True:
                read = (await oms.orders.GetOrder(get)).order
                count = str(int(read.customer_reference or "0") + 1)
                patch = order_pb2.Order(id=shared.id, customer_reference=count)
                request = update_order(patch, "customer_reference", revision=read.revision)
                try:
                    await oms.orders.UpdateOrder(request)
                except CallError as error:
                    assert error.reason == "STALE_REVISION"
                    continue
                return

        await asyncio.gather(*[add_one() for _ in range(12)])
        assert (await oms.orders.GetOrder(get)).order.customer_reference == "12"


async def test_an_upsert_answers_for_each_entry(hub: RunningHub) -> None:
    """Proves that a refused entry refuses no other, and that created and changed are told apart."""
    number, other = unique("SKU"), unique("SKU")
    bad = item_entry(other)
    bad.update_mask.paths.append("colour")
    async with hub.client("netsuite") as erp:

        async def upsert(*entries: Any) -> Any:
            request = item_service_pb2.UpsertItemsRequest(entries=entries)
            return (await erp.items.UpsertItems(request)).results

        first = await upsert(item_entry(number), bad, item_entry(number, "Better"))
        again = await upsert(item_entry(number, "Better"))
    assert (first[0].created, first[0].revision) == (True, 1)
    assert first[1].refusal.reason == "MASK_INVALID"
    assert (first[2].created, first[2].changed, first[2].revision) == (False, True, 2)
    assert (again[0].created, again[0].changed, again[0].revision) == (False, False, 2)
    assert hub.count("objects", f"number = '{other}'") == 0


# Lists


async def test_pages_show_each_order_once_oldest_first(hub: RunningHub, lane: Lane) -> None:
    """Proves that pages cover a list exactly, in the order of creation, while others write."""
    async with Story(hub, lane) as story:
        made = [(await story.create()).id for _ in range(11)]
        seen: list[str] = []
        token = ""
        while True:
            request = order_service_pb2.ListOrdersRequest(page_size=3, page_token=token)
            page = await story.erp.orders.ListOrders(request)
            assert len(page.orders) <= 3
            seen += [each_order.id for each_order in page.orders]
            token = page.next_page_token
            if len(seen) == 3:
                made.append((await story.create()).id)
            if not token:
                break
        assert seen == made
        approved = await story.approved()
        request = order_service_pb2.ListOrdersRequest(state=order_pb2.ORDER_STATE_APPROVED)
        page = await story.erp.orders.ListOrders(request)
        assert [each_order.id for each_order in page.orders] == [approved]


@pytest.mark.parametrize("token", ["x", "AAAA", "é" * 50, "eyJhIjoxfQ==", "0" * 256])
async def test_a_page_token_of_ones_own_is_refused(hub: RunningHub, token: str) -> None:
    """Proves that a made-up page token is INVALID_FIELD of page_token, not a fault."""
    async with hub.client("oms") as oms:
        request = order_service_pb2.ListOrdersRequest(page_token=token)
        error = await refused(oms.orders.ListOrders(request))
    assert error.reason == "INVALID_FIELD"
    assert [v.field for v in error.refusal.violations] == ["page_token"]
