"""A bus that has no room for the queue of every endpoint: who is served, and who is told what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from crossdock.bus import delivery_stream
from crossdock.cli.doctor import bus_check
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.errors import TryAgainError
from crossdock.hub.v1 import hub_service_pb2
from crossdock_hub.bus.errors import BusError, BusFull, StreamMismatch
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.streams import HUB_USER, StreamLimits, delivery_stream_spec
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import NatsProcess, eventually
from grpc_health.v1 import health_pb2, health_pb2_grpc
from story import request_id

SERVED, WAITING = Lane(1).erp, Lane(2).erp
# A queue reserves 16 MiB.
ROOM_FOR_ONE, ROOM_FOR_ALL = 20 * 1024 * 1024, 256 * 1024 * 1024


def with_memory(server: NatsProcess, size: int) -> None:
    """Start a server anew with so much memory for streams."""
    server.kill()
    server.settings = replace(server.settings, max_memory_store_bytes=size)
    server.start()


async def register(hub: RunningHub, endpoint: str) -> None:
    operation = endpoint_pb2.Operation(
        name="create_sales_order", operation_class=delivery_pb2.OPERATION_CLASS_SEARCHABLE
    )
    async with hub.client(endpoint) as client:
        await client.endpoints.RegisterEndpoint(
            endpoint_service_pb2.RegisterEndpointRequest(
                request_id=request_id(),
                endpoint=endpoint,
                manifest=endpoint_pb2.Manifest(adapter="played", operations=[operation]),
            )
        )


async def has_queue(server: NatsProcess, endpoint: str) -> bool:
    """Whether an adapter could fetch its work now."""
    try:
        bus = await Bus.connect(server.address, name="test")
    except BusError:
        return False
    try:
        return await bus.pending(delivery_stream(endpoint), endpoint) is not None
    except BusError:
        return False
    finally:
        await bus.close()


async def told(hub: RunningHub) -> tuple[int, hub_service_pb2.GetHubStatusResponse]:
    """Health of the bus, and what the hub says of it."""
    async with hub.client("operator") as operator:
        stub = health_pb2_grpc.HealthStub(operator.channel)
        health = await stub.Check(health_pb2.HealthCheckRequest(service="bus"))
        return health.status, await operator.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())


async def is_serving(hub: RunningHub) -> bool:
    return (await told(hub))[0] == health_pb2.HealthCheckResponse.SERVING


async def test_one_queue_without_room_stops_nobody_else(
    tmp_path: Path, own_nats_server: NatsProcess
) -> None:
    """Proves on processes that an endpoint for whose queue the bus has no memory is told so when it
    registers, that a hub starts all the same, serves the others, also after the bus lost its
    queues, and names that one in its health and to doctor; and that it has its queue as soon as
    there is room, without anybody's help."""
    with_memory(own_nats_server, ROOM_FOR_ONE)
    login = tmp_path / "login.json"
    user = own_nats_server.address
    login.write_text(json.dumps({"user": HUB_USER, "password": user.password}))
    hub = RunningHub(
        tmp_path / "hub", deployment(2), nats_url=user.url, nats_credentials_file=str(login)
    ).start()
    try:
        await register(hub, SERVED)
        with pytest.raises(TryAgainError, match=f"no room for the queue of '{WAITING}'") as refused:
            await register(hub, WAITING)
        assert refused.value.reason == "STORE_FULL"
        await eventually(lambda: _is_named(hub), "the endpoint in the hub's health")
        hub.restart()
        await eventually(lambda: _is_named(hub), "the endpoint in the health of the next run")
        own_nats_server.restart()
        await eventually(lambda: has_queue(own_nats_server, SERVED), "the queue of the other")
        with_memory(own_nats_server, ROOM_FOR_ALL)
        await eventually(lambda: has_queue(own_nats_server, WAITING), "its queue")
        await eventually(lambda: is_serving(hub), "a healthy bus")
        assert hub.stop() == 0
    finally:
        hub.kill()


async def _is_named(hub: RunningHub) -> bool:
    """Whether health is red, and the reason names who has no queue, in doctor's words too."""
    health, status = await told(hub)
    if status.bus_ok or health == health_pb2.HealthCheckResponse.SERVING:
        return False
    check = bus_check("NOT_SERVING", status)
    assert check.result == "wrong" and f"{WAITING} has no queue" in check.found, check
    return SERVED not in status.bus_reason


async def test_a_limit_is_told_from_other_refusals(own_nats_server: NatsProcess) -> None:
    """Proves that a stream beyond the server's memory raises BusFull, at once, and one that the
    server refuses for what it is does not."""
    with_memory(own_nats_server, ROOM_FOR_ONE)
    bus = await Bus.connect(own_nats_server.address)
    try:
        one, two = (delivery_stream_spec(name, StreamLimits()) for name in ("one", "two"))
        await bus.ensure_streams([one])
        with pytest.raises(BusFull):
            await bus.ensure_streams([two])
        with pytest.raises(StreamMismatch):
            await bus.ensure_streams(
                [replace(two, name="three", subjects=one.subjects, max_bytes=1)]
            )
    finally:
        await bus.close()


def test_a_hub_that_lacks_a_bus_which_others_have_is_told_apart() -> None:
    """Proves that the command line says of a hub without a bus that others do its work only where
    the hub that leads says that it has one."""
    leads = [hub_service_pb2.Lead(task="everything", address="hub-b:7443")]
    for status, told in (
        (hub_service_pb2.GetHubStatusResponse(bus_ok=True, leads=leads), "others"),
        (hub_service_pb2.GetHubStatusResponse(bus_ok=True), "nothing goes out"),
        (hub_service_pb2.GetHubStatusResponse(bus_reason="cut", leads=leads), "cut"),
    ):
        check = bus_check("NOT_SERVING", status)
        assert check.result == "wrong"
        assert told.replace("others", "hubs that have it do the rest") in check.found
