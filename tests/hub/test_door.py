"""What every call passes before it is decided: who, may they, and is the message what it says."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

import grpc
import pytest
from bare_calls import DEADLINE_SECONDS, raw, send
from crossdock import contracts
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock.endpoint.v1.endpoint_pb2 import Manifest
from crossdock.errors import CODES, CallError
from fixtures_hub import ROLES, Lane, RunningHub
from fixtures_nats import eventually
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sensible_requests import sensible
from story import (
    Story,
    create_order,
    order,
    request_id,
)
from wild import absurd, damaged

CONTRACT = contracts.load()
UNARY = [m for m in CONTRACT.methods.values() if not (m.client_streaming or m.server_streaming)]
NEVER = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)


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
        # Nothing is written to the second: grpc gives an error of its own when a stream ends while
        # its caller still writes.
        for call in (tail(b"", timeout=DEADLINE_SECONDS), upload(timeout=DEADLINE_SECONDS)):
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
        f"Token {good}",
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


def test_absurd_requests_get_answers_not_faults(hub: RunningHub, lane: Lane) -> None:
    """Proves for each kind of write that damaged or absurd content is answered or refused with a
    reason of the contract, never a fault, and that nothing behind the door breaks of it."""
    requests = asyncio.run(sensible(hub, lane))
    faults_before = hub.log().count("fault in a")

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32))
    def probe(seed: int) -> None:
        chance = random.Random(seed)

        async def throw() -> None:
            for endpoint, method, request in chance.sample(requests, 5):
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
        watch = health.Watch(health_pb2.HealthCheckRequest(service="bus"), timeout=DEADLINE_SECONDS)
        first = await anext(aiter(watch))
        assert first.status == serving
        refused = await send(
            nobody,
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest(service="nobody").SerializeToString(),
        )
        assert refused is not None and refused.code is grpc.StatusCode.NOT_FOUND


async def test_reflection_shows_the_contract(hub: RunningHub) -> None:
    """Proves that with reflection on, a foreign tool that has a token finds each service and its
    file, and that one without is told nothing."""
    ask = reflection_pb2.ServerReflectionRequest
    token = (("authorization", f"bearer {hub.token('oms')}"),)
    async with grpc.aio.insecure_channel(hub.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        for nobody in ((), (("authorization", "Bearer guessed"),)):
            asked = iter([ask(list_services="")])
            anonymous = stub.ServerReflectionInfo(asked, timeout=5, metadata=nobody)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                [answer async for answer in anonymous]
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        requests = [
            ask(list_services=""),
            ask(file_containing_symbol="crossdock.order.v1.OrderService"),
        ]
        call = stub.ServerReflectionInfo(iter(requests), timeout=5, metadata=token)
        answers = [answer async for answer in call]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {method.service for method in CONTRACT.methods.values()} <= names
    assert answers[1].file_descriptor_response.file_descriptor_proto
