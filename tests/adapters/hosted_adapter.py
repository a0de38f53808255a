"""An adapter run by the SDK against a real hub and its bus, as its process does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from typing import Any

from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.consumer import PullConsumer
from crossdock_adapters.sdk.hub_link import HubLink, Registration
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.telemetry import Telemetry
from fixtures_hub import RunningHub
from fixtures_nats import eventually

REGISTERED_SECONDS = 60.0


def asking_soon(adapter: Adapter, settle_seconds: float) -> Adapter:
    """The adapter, which asks sooner after a lost answer than its real vendor allows: the sandbox
    has done everything, however long a call may take."""
    quick = copy(adapter)
    manifest = adapter.manifest
    operations = {
        name: replace(each, settle_after_seconds=settle_seconds)
        if each.settle_after_seconds
        else each
        for name, each in manifest.operations.items()
    }
    settings = {name: replace(each, below_settle=False) for name, each in manifest.settings.items()}
    quick.manifest = replace(manifest, operations=operations, settings=settings)
    return quick


@asynccontextmanager
async def hosted(
    hub: RunningHub, endpoint: str, adapter: Adapter, settings: Mapping[str, Any]
) -> AsyncIterator[EndpointRunner]:
    """The adapter as this endpoint of the hub, which knows it; drained at the end.

    What is to be done before it has registered is UNROUTED, and replaced when it has: whoever
    counts deliveries would count both.
    """

    async def open_source(registration: Registration, prefetch: int) -> Any:
        consumer = PullConsumer(
            hub.nats_url,
            hub.bus_credentials(endpoint),
            stream=registration.stream,
            durable=registration.consumer,
            prefetch=prefetch,
        )
        return await consumer.start()

    config = EndpointConfig(
        endpoint, adapter.name, hub.token_file(endpoint), webhook_port=0, settings=dict(settings)
    )
    stopping = asyncio.Event()
    async with hub.client(endpoint) as client:
        link = HubLink(endpoint, client, "test")
        runner = EndpointRunner(config, adapter, link, open_source, Telemetry())
        running = asyncio.create_task(runner.run(stopping))
        try:
            await eventually(
                lambda: running.done() or runner.state != "starting",
                f"the registration of {endpoint}",
                REGISTERED_SECONDS,
            )
            yield runner
        finally:
            stopping.set()
            await running
