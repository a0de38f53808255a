"""Hub, vendor and one running endpoint, wired together for tests of the runner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.hub_link import HubLink, Registration
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.telemetry import Telemetry
from sdk_ledger_hub import HubServer, LedgerHub, Queue, ended, serving, token_file
from sdk_tiny_adapter import TinyVendor, tiny_adapter
from sdk_tiny_sandbox import TinySandbox
from sdk_waiting import until

TRACE = "0af7651916cd43dd8448eb211c80319c"


class House:
    """Hub, vendor and one running endpoint."""

    def __init__(self, hub: LedgerHub, server: HubServer, tiny: TinySandbox) -> None:
        self.hub = hub
        self.server = server
        self.tiny = tiny
        self.queue = Queue()
        self.vendors: list[TinyVendor] = []
        self.stopping = asyncio.Event()
        self.telemetry = Telemetry()
        self.subscribed = 0
        self.runner: EndpointRunner | None = None
        self.task: asyncio.Task[None] | None = None

    async def open_source(self, registration: Registration, prefetch: int) -> Queue:
        assert registration.subject == "crossdock.v1.delivery.tiny"
        self.subscribed += 1
        return self.queue

    def start(self, client: HubClient, folder: Path, per_second: float = 0.0) -> None:
        """per_second: calls that the adapter says its system takes; 0: any number."""
        credential = folder / "credential"
        credential.write_text("let me in")
        settings = {"base_url": self.tiny.vendor_url, "credential": f"file:{credential}"}
        config = EndpointConfig("tiny", "tiny", folder / "token", webhook_port=0, settings=settings)
        link = HubLink("tiny", client, "test")
        adapter = tiny_adapter(self.vendors)
        adapter.manifest = replace(adapter.manifest, rate_per_second=per_second)
        self.runner = EndpointRunner(config, adapter, link, self.open_source, self.telemetry)
        self.task = asyncio.create_task(self.runner.run(self.stopping))

    @property
    def vendor(self) -> TinyVendor:
        return self.vendors[-1]

    async def outcome(self, delivery: delivery_pb2.Dispatch) -> str:
        """How the delivery ended, once it has."""
        await until(lambda: bool(self.hub.outcomes().get(delivery.delivery_id)))
        return self.hub.outcomes()[delivery.delivery_id][-1]

    def completion(self, delivery: delivery_pb2.Dispatch) -> delivery_service_pb2.Completion:
        return self.hub.deliveries[delivery.delivery_id].completions[-1]


@asynccontextmanager
async def housed(folder: Path, per_second: float = 0.0) -> AsyncIterator[House]:
    """A house that runs, and is drained at the end."""
    hub = LedgerHub()
    async with (
        serving(hub) as server,
        TinySandbox(SandboxConfig(name="tiny")) as tiny,
        HubClient(server.address, token_file=token_file(folder)) as client,
    ):
        house = House(hub, server, tiny)
        house.start(client, folder, per_second)
        yield house
        house.stopping.set()
        await ended(house.task)
