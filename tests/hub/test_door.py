"""What every call passes before it is decided: who, may they, and is the message what it says."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from typing import Any

import grpc
import pytest
from crossdock import contracts
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_service_pb2, held_fact_pb2
from crossdock.endpoint.v1.endpoint_pb2 import Manifest
from crossdock.errors import CODES, CallError, from_rpc_error
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from fixtures_hub import ROLES, Lane, RunningHub
from fixtures_nats import eventually
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from story import (
    Story,
    at,
    create_order,
    item_entry,
    label,
    order,
    package,
    pick,
    request_id,
    scan,
    scans,
    unique,
    update_order,
)
from wild import absurd, damaged

CONTRACT = contracts.load()
UNARY = [m for m in CONTRACT.methods.values() if not (m.client_streaming or m.server_streaming)]
DEADLINE_SECONDS = 10.0
MEBIBYTE = 1 << 20
CROWD, CROWD_SECONDS = 1200, 30.0
NEVER = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)


async def send(client: HubClient, method: str, data: bytes, **options: Any) -> CallError | None:
    """Send bytes as a request; what the hub refuses it with, None when it answered."""
    call: Any = client.channel.unary_unary(method)
    try:
        await call(data, **{"timeout": DEADLINE_SECONDS} | options)
    except CallError as error:
        return error
    return None


async def raw(hub: RunningHub, method: str, data: bytes, **options: Any) -> CallError | None:
    """The same without our client: options of a bare grpc call, no token, no deadline."""
    channel_options = options.pop("channel_options", [])
    async with grpc.aio.insecure_channel(hub.address, options=channel_options) as channel:
        try:
            call: Any = channel.unary_unary(method)
            await call(data, **options)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error, method)
    return None


def bearer(hub: RunningHub, endpoint: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {hub.token(endpoint)}"),)


CREATE_ORDER = "/crossdock.order.v1.OrderService/CreateOrder"
GET_ORDER = "/crossdock.order.v1.OrderService/GetOrder"


# Who


async def test_nobody_without_token_gets_past_the_door(hub: RunningHub) -> None:
    """Proves that every method but health refuses a caller who shows no token."""
    async with hub.client("") as nobody:
        for method in UNARY:
            refused = await send(nobody, method.full_name, b"")
            assert refused is not None, method.full_name
            assert refused.reason == "UNKNOWN_ENDPOINT", (method.full_name, refused)
            assert refused.code is grpc.StatusCode.UNAUTHENTICATED
        health = health_pb2_grpc.HealthStub(nobody.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_streams_refuse_strangers_too(hub: RunningHub) -> None:
    """Proves that both streaming methods end with UNAUTHENTICATED before any message."""
    async with grpc.aio.insecure_channel(hub.address) as channel:
        tail: Any = channel.unary_stream("/crossdock.lineage.v1.LineageService/Tail")
        upload: Any = channel.stream_stream(
            "/crossdock.tracking.v1.TrackingService/StreamTrackingEvents"
        )
        for call in (tail(b"", timeout=5), upload(iter([b""]), timeout=5)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_bad_credentials_get_one_answer(hub: RunningHub) -> None:
    """Proves that no form of a wrong credential passes, and that none is told what was wrong."""
    good = hub.token("oms")
    wrong = [
        "",
        "Bearer",
        "Bearer ",
        f"bearer {good}",
        f"Basic {good}",
        good,
        f"Bearer {good}x",
        f"Bearer {good[:-1]}",
        f"Bearer  {good}",
        f"Bearer {good} ",
        "Bearer " + "a" * 4000,
        "Bearer ../tokens/oms",
    ]
    answers = set()
    for value in wrong:
        refused = await raw(
            hub, GET_ORDER, b"", metadata=(("authorization", value),), timeout=DEADLINE_SECONDS
        )
        assert refused is not None, value
        answers.add((refused.code, refused.reason, str(refused.refusal.message)))
    assert len(answers) == 1
    ((code, reason, text),) = answers
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_ENDPOINT")
    assert good not in text
    assert good not in hub.log()


async def test_roles_call_what_the_contract_allows_them(hub: RunningHub) -> None:
    """Proves for every role and unary method: forbidden names the rule, allowed is let in."""
    for endpoint, role in ROLES.items():
        async with hub.client(endpoint) as client:
            for method in UNARY:
                refused = await send(client, method.full_name, b"\xff")
                assert refused is not None
                if role in method.callers:
                    assert refused.reason == "MALFORMED_MESSAGE", (endpoint, method.full_name)
                    continue
                assert refused.reason == "METHOD_NOT_ALLOWED", (endpoint, method.full_name)
                assert refused.code is grpc.StatusCode.PERMISSION_DENIED
                rule = refused.refusal.metadata["rule"]
                assert rule == CONTRACT.position(method.full_name[1:].replace("/", "."))
                assert rule.startswith("proto/crossdock/") and rule.rpartition(":")[2].isdigit()
                assert rule in refused.refusal.message


async def test_an_endpoint_speaks_for_itself_only(hub: RunningHub, lane: Lane) -> None:
    """Proves that one endpoint's token opens nothing in another endpoint's name."""
    begin = delivery_service_pb2.Begin(
        delivery_id=str(uuid.uuid4()), dispatch_number=1, attempt_id=str(uuid.uuid4())
    )
    async with hub.client(lane.erp) as erp:
        for call in (
            erp.deliveries.BeginAttempts(
                delivery_service_pb2.BeginAttemptsRequest(endpoint="netsuite", begins=[begin])
            ),
            erp.endpoints.Heartbeat(endpoint_service_pb2.HeartbeatRequest(endpoint="netsuite")),
            erp.endpoints.RegisterEndpoint(
                endpoint_service_pb2.RegisterEndpointRequest(
                    request_id=request_id(), endpoint="netsuite", manifest=Manifest(adapter="x")
                )
            ),
        ):
            with pytest.raises(CallError) as caught:
                await call
            assert caught.value.reason == "OUT_OF_SCOPE"


# What


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=300), min_size=5, max_size=5))
def test_random_bytes_are_malformed_or_valid(hub: RunningHub, strings: list[bytes]) -> None:
    """Proves that bytes which are no message get INVALID_ARGUMENT without an exception's text."""
    chosen = [UNARY[(len(data) * 7 + sum(data)) % len(UNARY)] for data in strings]

    async def throw() -> None:
        clients = {role: hub.client(endpoint) for endpoint, role in ROLES.items()}
        for method, data in zip(chosen, strings, strict=True):
            role = next(role for role in clients if role in method.callers)
            refused = await send(clients[role], method.full_name, data)
            if refused is not None:
                assert refused.code is grpc.StatusCode.INVALID_ARGUMENT, (method, data, refused)
                assert refused.reason in CODES
                assert "Error" not in refused.refusal.message
        for client in clients.values():
            await client.close()

    asyncio.run(throw())


async def _sensible(hub: RunningHub, lane: Lane) -> list[tuple[str, str, Any]]:
    """(endpoint, method, request) that the hub would take, one for each kind of writing."""
    async with Story(hub, lane) as story:
        order_id, requests = await story.released()
        shipment = await story.packed()
        carton = shipment.packages[0].id
    return [
        *_of_the_oms(order_id),
        *_of_the_warehouse(requests[0], shipment.id),
        *_of_the_carrier(shipment.id, carton),
        *_of_attempts(),
        (
            "netsuite",
            "/crossdock.item.v1.ItemService/UpsertItems",
            item_service_pb2.UpsertItemsRequest(entries=[item_entry(unique("SKU"))]),
        ),
    ]


def _of_attempts() -> list[tuple[str, str, Any]]:
    unknown = str(uuid.uuid4())
    service = "/crossdock.delivery.v1.DeliveryService"
    begin = delivery_service_pb2.BeginAttemptsRequest(endpoint="ups", instance="one")
    begin.begins.add(delivery_id=unknown, dispatch_number=1, attempt_id=unknown).lease.seconds = 5
    renew = delivery_service_pb2.RenewLeasesRequest(endpoint="ups")
    renew.renewals.add(delivery_id=unknown, token=1).lease.seconds = 5
    complete = delivery_service_pb2.CompleteAttemptsRequest(endpoint="ups")
    done = complete.completions.add(
        delivery_id=unknown, token=1, outcome=delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED
    )
    done.retry_after.seconds = 1
    done.vendor_references.add(type="label", value="1")
    done.facts.add(method="/crossdock.label.v1.LabelService/CreateLabel", request=b"")
    return [
        ("ups", f"{service}/BeginAttempts", begin),
        ("ups", f"{service}/RenewLeases", renew),
        ("ups", f"{service}/CompleteAttempts", complete),
    ]


def _of_the_oms(order_id: str) -> list[tuple[str, str, Any]]:
    changed = order_pb2.Order(id=order_id, customer_reference="PO-1")
    return [
        ("oms", CREATE_ORDER, create_order()),
        (
            "oms",
            "/crossdock.order.v1.OrderService/UpdateOrder",
            update_order(changed, "customer_reference", revision=1),
        ),
        (
            "oms",
            "/crossdock.order.v1.OrderService/ListOrders",
            order_service_pb2.ListOrdersRequest(page_size=2),
        ),
    ]


def _of_the_warehouse(part: str, shipment_id: str) -> list[tuple[str, str, Any]]:
    return [
        ("manhattan", "/crossdock.fulfillment.v1.FulfillmentService/ReportPick", pick(part)),
        (
            "manhattan",
            "/crossdock.fulfillment.v1.FulfillmentService/ReportPacked",
            fulfillment_service_pb2.ReportPackedRequest(
                request_id=request_id(),
                fulfillment_request_id=part,
                shipment_number=unique("SHP"),
                packages=[package()],
                pack_time=at(),
            ),
        ),
        (
            "manhattan",
            "/crossdock.shipment.v1.ShipmentService/ManifestShipment",
            shipment_service_pb2.ManifestShipmentRequest(
                request_id=request_id(), shipment_id=shipment_id, manifest_time=at()
            ),
        ),
    ]


def _of_the_carrier(shipment_id: str, carton: str) -> list[tuple[str, str, Any]]:
    return [
        (
            "ups",
            "/crossdock.label.v1.LabelService/CreateLabel",
            label(shipment_id, carton, unique("1Z")),
        ),
        (
            "ups",
            "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents",
            scans(scan(unique("1Z"), "IN_TRANSIT")),
        ),
        (
            "ups",
            "/crossdock.endpoint.v1.EndpointService/HoldPayload",
            held_fact_pb2.HoldPayloadRequest(
                request_id=request_id(), payload=b"{}", source="/hook", reason="no idea"
            ),
        ),
        (
            "ups",
            "/crossdock.endpoint.v1.EndpointService/PutCursor",
            endpoint_service_pb2.PutCursorRequest(
                request_id=request_id(), name=unique("cursor"), value=b"1"
            ),
        ),
    ]


def test_absurd_requests_get_answers_not_faults(hub: RunningHub, lane: Lane) -> None:
    """Proves for each kind of write that damaged or absurd content is answered or refused with a
    reason of the contract, never a fault, and that nothing behind the door breaks of it."""
    sensible = asyncio.run(_sensible(hub, lane))
    faults_before = hub.log().count("fault in a")

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32))
    def probe(seed: int) -> None:
        chance = random.Random(seed)

        async def throw() -> None:
            for endpoint, method, request in chance.sample(sensible, 5):
                kind = absurd(chance, request)
                if hasattr(kind, "request_id"):
                    kind.request_id = str(uuid.UUID(int=chance.getrandbits(128)))
                data = kind.SerializeToString()
                if chance.random() < 0.3:
                    data = damaged(chance, data)
                async with hub.client(endpoint) as client:
                    refused = await send(client, method, data)
                if refused is not None:
                    assert refused.code not in NEVER, (method, refused, str(kind)[:2000])
                    assert refused.reason in CODES, (method, refused)

        asyncio.run(throw())

    probe()
    assert hub.log().count("fault in a") == faults_before
    asyncio.run(_still_works(hub, lane))


async def _still_works(hub: RunningHub, lane: Lane) -> None:
    """Everything behind the door is alive: a write commits, its event gets on the bus."""
    async with Story(hub, lane) as story:
        await story.approved()
    await eventually(lambda: hub.count("events", "published_at IS NULL") == 0, "the relay's work")


async def test_every_broken_rule_is_named(hub: RunningHub) -> None:
    """Proves that INVALID_FIELD lists every offending field with its path and rule at once."""
    wrong = order()
    wrong.ClearField("business_unit")
    wrong.lines[0].quantity.value = "many"
    wrong.lines.add().CopyFrom(wrong.lines[0])
    wrong.ship_to.address.country_code = "usa"
    async with hub.client("oms") as oms:
        with pytest.raises(CallError) as caught:
            await oms.orders.CreateOrder(create_order(wrong))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    found = {v.field: v.rule for v in caught.value.refusal.violations}
    assert found == {
        "order": "order.line_numbers_unique",
        "order.business_unit": "required",
        "order.lines[0].quantity.value": "string.pattern",
        "order.lines[1].quantity.value": "string.pattern",
        "order.ship_to.address.country_code": "string.pattern",
    }


async def test_unknown_fields_are_refused(hub: RunningHub) -> None:
    """Proves that a field from another contract is named by its path, never carried along."""
    request = create_order()
    encoded = bytearray(request.SerializeToString())
    inner = order().SerializeToString() + b"\xba\x3e\x03abc"  # field 999 with three bytes
    request.ClearField("order")
    encoded = bytearray(request.SerializeToString())
    length = len(inner)
    encoded += b"\x12" + bytes([length & 0x7F | 0x80, length >> 7]) + inner
    async with hub.client("oms") as oms:
        refused = await send(oms, CREATE_ORDER, bytes(encoded))
    assert refused is not None and refused.reason == "UNKNOWN_FIELD", refused
    assert refused.refusal.metadata["number"] == "999"
    assert "order.#999" in refused.refusal.message


async def test_a_write_needs_a_request_id(hub: RunningHub) -> None:
    """Proves that a write without request_id is told so, and one with another text is invalid."""
    async with hub.client("oms") as oms:
        for value, reason in (("", "REQUEST_ID_MISSING"), ("once", "INVALID_FIELD")):
            request = create_order()
            request.request_id = value
            with pytest.raises(CallError) as caught:
                await oms.orders.CreateOrder(request)
            assert caught.value.reason == reason
            assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


# How much, how long


async def test_oversize_is_refused_by_the_hub_and_by_the_library(hub: RunningHub) -> None:
    """Proves that 1 MiB is the limit of a request, told in bytes, and 4 MiB that of the socket."""
    options = {"metadata": bearer(hub, "oms"), "timeout": DEADLINE_SECONDS}
    refused = await raw(hub, CREATE_ORDER, bytes(MEBIBYTE + 1), **options)
    assert refused is not None and refused.reason == "LIMIT_EXCEEDED"
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.refusal.metadata == {"limit": str(MEBIBYTE), "value": str(MEBIBYTE + 1)}
    refused = await raw(hub, CREATE_ORDER, bytes(5 * MEBIBYTE), **options)
    assert refused is not None and refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_compressed_bomb_stays_small(hub: RunningHub) -> None:
    """Proves that 64 MiB of zeros in a small gzip are refused without the hub growing by them."""
    before = hub.resident_bytes()
    bomb = bytes(64 * MEBIBYTE)
    refused = await raw(
        hub,
        CREATE_ORDER,
        bomb,
        metadata=bearer(hub, "oms"),
        timeout=DEADLINE_SECONDS,
        compression=grpc.Compression.Gzip,
        channel_options=[("grpc.max_send_message_length", -1)],
    )
    assert refused is not None and refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED, refused
    assert hub.resident_bytes() - before < 50 * MEBIBYTE


async def test_too_much_metadata_is_refused(hub: RunningHub) -> None:
    """Proves that 20 KiB of headers are refused with RESOURCE_EXHAUSTED, not taken or dropped."""
    headers = (*bearer(hub, "oms"), ("x-large", "a" * 20 * 1024))
    refused = await raw(hub, GET_ORDER, b"", metadata=headers, timeout=DEADLINE_SECONDS)
    assert refused is not None and refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED, refused


@pytest.mark.parametrize("seconds", [None, 3600.0])
async def test_a_call_needs_a_deadline(hub: RunningHub, seconds: float | None) -> None:
    """Proves that a call without a deadline, or with one too far away, is told the limit."""
    data = order_service_pb2.GetOrderRequest(number="none").SerializeToString()
    refused = await raw(hub, GET_ORDER, data, metadata=bearer(hub, "oms"), timeout=seconds)
    assert refused is not None and refused.reason == "DEADLINE_MISSING", refused
    assert refused.refusal.metadata["limit_seconds"] == "60"


async def test_methods_the_contract_does_not_have(hub: RunningHub) -> None:
    """Proves that an unknown method is UNIMPLEMENTED."""
    async with hub.client("oms") as oms:
        refused = await send(oms, "/crossdock.order.v1.OrderService/DestroyOrder", b"")
        assert refused is not None and refused.code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_crowd_is_turned_away_quickly(hub: RunningHub) -> None:
    """Proves that of far more calls at once than the hub takes each is answered or refused as
    overloaded, none with a fault, and that the next caller is served as ever."""
    data = order_service_pb2.GetOrderRequest(number="none").SerializeToString()
    async with hub.client("oms") as oms, hub.client("ups", deadline_seconds=5.0) as quiet:
        began = time.monotonic()
        answers = await asyncio.gather(
            *[send(oms, GET_ORDER, data, timeout=CROWD_SECONDS) for _ in range(CROWD)]
        )
        took = time.monotonic() - began
        reasons = {answer.reason if answer else "" for answer in answers}
        assert reasons <= {"OBJECT_NOT_FOUND", "HUB_OVERLOADED"}, reasons
        assert took < CROWD_SECONDS
        refused = await send(quiet, GET_ORDER, data)
    assert refused is not None and refused.reason == "OBJECT_NOT_FOUND"


# What it says about itself


async def test_health_of_each_service_and_of_the_bus(hub: RunningHub) -> None:
    """Proves that every service of the contract, the whole and the bus have a health name, to check
    and to watch, and that others are not found."""
    serving = health_pb2.HealthCheckResponse.SERVING
    async with hub.client("") as nobody:
        health = health_pb2_grpc.HealthStub(nobody.channel)
        for name in ("", "bus", *{method.service for method in CONTRACT.methods.values()}):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == serving, name
        watch = health.Watch(health_pb2.HealthCheckRequest(service="bus"), timeout=5)
        first = await anext(aiter(watch))
        assert first.status == serving
        refused = await send(
            nobody,
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest(service="nobody").SerializeToString(),
        )
        assert refused is not None and refused.code is grpc.StatusCode.NOT_FOUND


async def test_reflection_shows_the_contract(hub: RunningHub) -> None:
    """Proves that with reflection on, a foreign tool finds each service and its file."""
    ask = reflection_pb2.ServerReflectionRequest
    async with grpc.aio.insecure_channel(hub.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [
            ask(list_services=""),
            ask(file_containing_symbol="crossdock.order.v1.OrderService"),
        ]
        call = stub.ServerReflectionInfo(iter(requests), timeout=5)
        answers = [answer async for answer in call]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {method.service for method in CONTRACT.methods.values()} <= names
    assert answers[1].file_descriptor_response.file_descriptor_proto
