"""The runner on a real bus, and as a process that is stopped and killed in mid-call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from crossdock.bus import delivery_message_id, delivery_subject, vendor_reference
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2
from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock_adapters.sdk.bus_credentials import BusCredentials
from crossdock_adapters.sdk.consumer import PullConsumer
from crossdock_adapters.sdk.hub_link import Registration
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.ups.sandbox import UpsSandbox
from crossdock_hub.bus.errors import BusError
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import Message
from crossdock_hub.bus.streams import StreamLimits, delivery_consumer_spec, delivery_stream_spec
from fixtures_nats import PATIENCE_SECONDS, NatsProcess
from sdk_house import House
from sdk_ledger_hub import HubServer, LedgerHub, dispatch, ended, serving, token_file
from sdk_tiny_sandbox import TinySandbox
from sdk_waiting import until
from ups_world import ACCOUNT, CALLBACK_CREDENTIAL, SANDBOX_SETTINGS, packed_shipment


@asynccontextmanager
async def queue_for(nats: NatsProcess, endpoint: str) -> AsyncIterator[Bus]:
    """A bus with the delivery stream and the consumer of one endpoint, as the hub makes them."""
    nats.address_of(endpoint)
    bus = await Bus.connect(nats.address)
    try:
        await make_queue(bus, endpoint)
        yield bus
    finally:
        await bus.close()


async def make_queue(bus: Bus, endpoint: str) -> None:
    limits = StreamLimits()
    await bus.ensure_streams([delivery_stream_spec(endpoint, limits)])
    await bus.ensure_consumer(delivery_consumer_spec(endpoint, limits))


async def remake_queue(bus: Bus, endpoint: str) -> None:
    """The same after the server came back empty."""

    async def made() -> bool:
        try:
            await make_queue(bus, endpoint)
        except BusError:
            return False
        return True

    await until(made, what="the queue is made again")


async def publish(bus: Bus, endpoint: str, *works: delivery_pb2.Dispatch) -> None:
    messages = [
        Message(
            delivery_subject(endpoint),
            work.SerializeToString(),
            {"Nats-Msg-Id": delivery_message_id(work.delivery_id, work.dispatch_number)},
        )
        for work in works
    ]
    results = await bus.publish_window(messages)
    assert all(result.is_stored for result in results)


class BusHouse(House):
    """The house with deliveries from the real bus."""

    nats: NatsProcess
    consumers: list[PullConsumer]

    async def open_source(self, registration: Registration, prefetch: int) -> Any:
        address = self.nats.address_of("tiny")
        consumer = PullConsumer(
            address.url,
            BusCredentials(user=address.user, password=address.password),
            stream=registration.stream,
            durable=registration.consumer,
            prefetch=prefetch,
        )
        self.consumers.append(consumer)
        self.subscribed += 1
        return await consumer.start()


async def test_deliveries_from_the_bus_survive_its_restart(
    own_nats_server: NatsProcess, tmp_path: Path
) -> None:
    """With the server killed in between, and everything sent twice, each booking is made once."""
    hub = LedgerHub()
    async with (
        queue_for(own_nats_server, "tiny") as bus,
        serving(hub) as server,
        TinySandbox(SandboxConfig(name="tiny")) as tiny,
        HubClient(server.address, token_file=token_file(tmp_path)) as client,
    ):
        house = BusHouse(hub, server, tiny)
        house.nats, house.consumers = own_nats_server, []
        house.start(client, tmp_path)
        works = [dispatch() for _ in range(40)]
        await publish(bus, "tiny", *works[:20])
        await until(lambda: len(tiny.bookings) >= 10)
        own_nats_server.restart()
        # The queue is in memory: the ledger sends again what it has no answer for.
        await remake_queue(bus, "tiny")
        again = []
        for work in works:
            copy = delivery_pb2.Dispatch()
            copy.CopyFrom(work)
            copy.dispatch_number = 2
            again.append(copy)
        await publish(bus, "tiny", *again)
        await until(lambda: len(tiny.bookings) == 40)
        await until(lambda: len([each for each in hub.outcomes().values() if each]) == 40)
        house.stopping.set()
        await ended(house.task)
    keys = [booking["key"] for booking in tiny.bookings]
    assert len(set(keys)) == 40
    assert all(outcomes == ["CONFIRMED"] for outcomes in hub.outcomes().values())


class AdapterProcess:
    """`python -m crossdock_adapters run` with the UPS adapter."""

    def __init__(self, folder: Path, server: HubServer, nats: NatsProcess, vendor: str) -> None:
        self.ready = folder / "ready.json"
        address = nats.address_of("ups")
        bus = folder / "bus.json"
        bus.write_text(json.dumps({"user": address.user, "password": address.password}))
        self.config = folder / "adapters.toml"
        self.config.write_text(
            f'[process]\nready_file = "{self.ready}"\n'
            f'[hub]\naddress = "{server.address}"\n'
            f'[bus]\nurl = "{address.url}"\ncredentials_file = "{bus}"\n[metrics]\nport = 0\n'
            f'[endpoints.ups]\ntoken_file = "{token_file(folder)}"\nwebhook_port = 0\n'
            f'[endpoints.ups.settings]\nbase_url = "{vendor}"\naccount_number = "{ACCOUNT}"\n'
            'client_id = "env:UPS_TEST_CLIENT_ID"\n'
            'client_secret = "env:UPS_TEST_CLIENT_SECRET"\n'
            'callback_credential = "env:UPS_TEST_CALLBACK"\n'
        )
        self.log = folder / "log"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.ready.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "crossdock_adapters", "run", "--config", str(self.config),
                stdout=log, stderr=log, env=dict(os.environ),
            )  # fmt: skip
        await until(self._serves, what="the adapter serves")

    async def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self.log.read_text()
        if not self.ready.exists():
            return False
        status = json.loads(self.ready.read_text())
        return bool(status["endpoints"]["ups"]["state"] == "serving")


def packed() -> delivery_pb2.Dispatch:
    """A dispatch that asks for the label of one package."""
    event = fulfillment_events_pb2.FulfillmentPacked()
    event.shipment.CopyFrom(packed_shipment())
    work = dispatch("buy_label", item=event.shipment.packages[0].id)
    work.event_type = event.DESCRIPTOR.full_name
    work.event = event.SerializeToString()
    work.vendor_reference = vendor_reference(work.delivery_id)
    return work


@asynccontextmanager
async def ups_house(
    nats: NatsProcess, folder: Path
) -> AsyncIterator[tuple[LedgerHub, Bus, UpsSandbox, AdapterProcess]]:
    hub = LedgerHub()
    settings = {**SANDBOX_SETTINGS, "callback_credential": CALLBACK_CREDENTIAL}
    async with (
        queue_for(nats, "ups") as bus,
        serving(hub) as server,
        UpsSandbox(SandboxConfig("ups", settings=settings)) as sandbox,
    ):
        adapter = AdapterProcess(folder, server, nats, sandbox.vendor_url)
        await adapter.start()
        try:
            yield hub, bus, sandbox, adapter
        finally:
            if adapter.process is not None and adapter.process.returncode is None:
                await adapter.end(signal.SIGKILL)


def labels(sandbox: UpsSandbox, works: list[delivery_pb2.Dispatch]) -> list[int]:
    """How many labels UPS sold under the reference of each delivery that has any."""
    found: dict[str, Any] = sandbox.books()["labels_by_reference"]
    references = [work.vendor_reference for work in works]
    return [found[each]["bought"] for each in references if each in found]


async def test_sigterm_under_load_finishes_what_runs(
    own_nats_server: NatsProcess, tmp_path: Path
) -> None:
    """Stopped in mid-work: status 0 within 10 s, nothing unknown; a successor does the rest."""
    async with ups_house(own_nats_server, tmp_path) as (hub, bus, sandbox, adapter):
        sandbox.faults.add({"kind": "slow", "operation": "ship", "delay_seconds": 0.3})
        works = [packed() for _ in range(60)]
        await publish(bus, "ups", *works)
        await until(lambda: len(labels(sandbox, works)) >= 8)
        began = time.monotonic()
        assert await adapter.end(signal.SIGTERM) == 0, adapter.log.read_text()
        assert time.monotonic() - began < 10
        first = {id_: each for id_, each in hub.outcomes().items() if each}
        assert set(map(tuple, first.values())) == {("CONFIRMED",)}
        assert len(first) == len(hub.deliveries) < 60
        await adapter.start()
        await until(lambda: len([e for e in hub.outcomes().values() if e]) == 60)
        assert await adapter.end(signal.SIGTERM) == 0
    assert labels(sandbox, works) == [1] * 60


async def test_killed_in_mid_call_the_label_is_found_not_bought_again(
    own_nats_server: NatsProcess, tmp_path: Path
) -> None:
    """kill -9 between booking and completion: the look-up adopts the one label there is."""
    async with ups_house(own_nats_server, tmp_path) as (hub, bus, sandbox, adapter):
        sandbox.faults.add({"kind": "slow", "operation": "ship", "delay_seconds": 3})
        works = [packed() for _ in range(5)]
        await publish(bus, "ups", *works)
        await until(lambda: len([c for c in sandbox.calls if c.operation == "ship"]) == 5)
        await adapter.end(signal.SIGKILL)
        await until(lambda: len(labels(sandbox, works)) == 5)
        assert not any(hub.outcomes().values())
        sandbox.faults.clear()
        for work in works:
            hub.expire(work.delivery_id)
            work.dispatch_number = 2
        await adapter.start()
        await publish(bus, "ups", *works)
        await until(lambda: len([e for e in hub.outcomes().values() if e]) == 5)
        assert await adapter.end(signal.SIGTERM) == 0
    assert set(map(tuple, hub.outcomes().values())) == {("CONFIRMED",)}
    assert labels(sandbox, works) == [1] * 5
    text = adapter.log.read_text()
    assert "not-a-real-secret" not in text and "token-of-the-test" not in text


async def test_an_outage_of_the_bus_is_survived_by_the_process(
    own_nats_server: NatsProcess, tmp_path: Path
) -> None:
    """The bus goes and comes back: the process stays, says so once each, and works on."""
    async with ups_house(own_nats_server, tmp_path) as (hub, bus, sandbox, adapter):
        own_nats_server.restart()
        await remake_queue(bus, "ups")
        works = [packed()]
        await publish(bus, "ups", *works)
        await until(lambda: any(hub.outcomes().values()))
        assert await adapter.end(signal.SIGTERM) == 0
    assert labels(sandbox, works) == [1]
    assert adapter.log.read_text().count("the bus is gone") <= 1


pytestmark = pytest.mark.timeout(600)
