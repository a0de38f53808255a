"""A nats-server that dies under a running hub takes the streams in memory with it."""

from __future__ import annotations

import os
import signal

from crossdock.bus import delivery_stream
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock_hub.bus.errors import BusError
from crossdock_hub.bus.jetstream import Bus
from fixtures_hub import RunningHub
from fixtures_nats import eventually
from story import request_id

ENDPOINT = "netsuite"


async def register(hub: RunningHub) -> None:
    operation = endpoint_pb2.Operation(
        name="create_sales_order", operation_class=delivery_pb2.OPERATION_CLASS_SEARCHABLE
    )
    async with hub.client(ENDPOINT) as client:
        await client.endpoints.RegisterEndpoint(
            endpoint_service_pb2.RegisterEndpointRequest(
                request_id=request_id(),
                endpoint=ENDPOINT,
                manifest=endpoint_pb2.Manifest(adapter=ENDPOINT, operations=[operation]),
            )
        )


async def has_consumer(hub: RunningHub) -> bool:
    """Whether an adapter could fetch its work now."""
    try:
        bus = await Bus.connect(hub.bus_address(), name="test")
    except BusError:
        return False
    try:
        return await bus.pending(delivery_stream(ENDPOINT), ENDPOINT) is not None
    except BusError:
        return False
    finally:
        await bus.close()


async def test_an_endpoint_that_registered_has_its_queue_again(unstarted_hub: RunningHub) -> None:
    """Proves that work flows after a kill -9 of nats-server with no restart of hub or adapter."""
    hub = unstarted_hub.start()
    await register(hub)
    assert await has_consumer(hub)
    killed = hub.nats_pid
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: hub.nats_pid not in (0, killed), "another nats-server")
    await eventually(lambda: "the bus is back" in hub.log(), "the hub's reconnect")
    await eventually(lambda: has_consumer(hub), "the endpoint's queue")
