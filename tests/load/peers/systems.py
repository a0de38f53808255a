"""Crossdock, and the same flow as it is usually built: two systems that take the same orders.

Each is a service and two processes that call the vendor, sixteen calls at once each, on a
nats-server of its own that syncs always, with SQLite at synchronous=FULL.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

import aiohttp
from crossdock.cli.toml_text import toml_text
from crossdock.client import HubClient, request_id
from crossdock.errors import NoAnswerError, TryAgainError
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.streams import ConsumerSpec, StreamSpec
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import NatsProcess, free_port
from story import approve_order, create_order, order, seed_master_data

from tests.faults.yard.adapter import adapter_name
from tests.faults.yard.processes import Process
from tests.faults.yard.site import SHORT_LIMITS
from tests.load.peers.consumer import CALLS_AT_ONCE, DURABLE
from tests.load.peers.service import STREAM, SUBJECT

CONSUMERS: Final = 2
DEADLINE_SECONDS: Final = 5.0
# After so long the bus gives a message of a dead consumer to another; a lease is over after 3 s.
ACK_WAIT_SECONDS: Final = 3.0
WATCH_SECONDS: Final = 0.05
CLASS: Final = "searchable"
_MIB: Final = 1024 * 1024


class NoAnswer(Exception):
    """A call that nobody answered OK: its caller says it again."""


class Taker(ABC):
    """Takes orders, creates and approves them in one call each, and books them at the vendor."""

    name = ""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.consumers: list[Process] = []
        self.nats = NatsProcess(directory / "nats")
        self.nats.settings.directory.mkdir(parents=True)
        self._watch: asyncio.Task[None] | None = None

    @abstractmethod
    async def start(self, vendor: str) -> None:
        """Return once it takes orders. vendor: where its own vendor listens."""

    @abstractmethod
    async def create(self, number: str) -> str:
        """How the order is known afterwards; raises NoAnswer."""

    @abstractmethod
    async def approve(self, known: str) -> None:
        """Raises NoAnswer."""

    @abstractmethod
    def kill_service(self) -> None:
        """kill -9; it is started again at once."""

    @abstractmethod
    def _keep_service(self) -> None:
        """Start it again when it has ended."""

    def kill_consumer(self, number: int) -> None:
        """kill -9 of one that calls the vendor; it is started again at once."""
        self.consumers[number % CONSUMERS].kill()

    async def _serve_consumers(self) -> None:
        for consumer in self.consumers:
            consumer.spawn()
        for consumer in self.consumers:
            await consumer.serving()
        self._watch = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            self._keep_service()
            for consumer in self.consumers:
                if not consumer.alive:
                    consumer.spawn()
            await asyncio.sleep(WATCH_SECONDS)

    async def stop(self) -> None:
        """End everything of it."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for consumer in self.consumers:
            consumer.kill()
        self.nats.kill()


class Crossdock(Taker):
    """Hub and adapters on the SDK."""

    name = "crossdock"

    async def start(self, vendor: str) -> None:
        self.nats.start()
        login = self.directory / "bus.json"
        address = self.nats.address
        login.write_text(json.dumps({"user": address.user, "password": address.password}))
        self._hub = RunningHub(
            self.directory / "hub", deployment(1), limits=json.dumps(dict(SHORT_LIMITS)),
            nats_url=address.url, nats_credentials_file=str(login),
        )  # fmt: skip
        self._hub.start()
        await seed_master_data(self._hub)
        self._oms: HubClient = self._hub.client("oms", deadline_seconds=DEADLINE_SECONDS)
        self.consumers = [self._adapter(number, vendor, login) for number in range(CONSUMERS)]
        await self._serve_consumers()

    def _adapter(self, number: int, vendor: str, login: Path) -> Process:
        name = f"adapter-{number}"
        ready, config = self.directory / f"{name}.json", self.directory / f"{name}.toml"
        endpoint = Lane(1).erp
        tables = {
            "process": {"ready_file": str(ready)},
            "hub": {"address": self._hub.address},
            "bus": {"url": self._hub.nats_url},
            f"endpoints.{endpoint}": {
                "adapter": adapter_name(CLASS),
                "token_file": str(self._hub.token_file(endpoint)),
                "credentials_file": str(login),
                "settings": {"base_url": vendor},
            },
        }
        config.write_text(toml_text(tables, "Made for the bench."))
        return Process(
            name, self.directory / f"{name}.log", ready,
            "-m", "tests.faults.yard.hosted", str(config),
            YARD_CALLS=json.dumps({"at_once": CALLS_AT_ONCE, "seconds": 1.5}),
        )  # fmt: skip

    async def create(self, number: str) -> str:
        message = order(Lane(1).business_unit)
        message.number = number
        request = create_order(message)
        request.request_id = request_id("oms", number, "create")
        try:
            return str((await self._oms.orders.CreateOrder(request)).order.id)
        except (NoAnswerError, TryAgainError) as error:
            raise NoAnswer from error

    async def approve(self, known: str) -> None:
        request = approve_order(known)
        request.request_id = request_id("oms", known, "approve")
        try:
            await self._oms.orders.ApproveOrder(request)
        except (NoAnswerError, TryAgainError) as error:
            raise NoAnswer from error

    def kill_service(self) -> None:
        self._hub.kill()

    def _keep_service(self) -> None:
        if not self._hub.runs:
            self._hub.spawn()

    async def stop(self) -> None:
        await super().stop()
        with contextlib.suppress(AttributeError):
            await self._oms.close()
        self._hub.kill()


class Usual(Taker):
    """The service with an ORM and the consumer on FastStream of this folder."""

    name = "service, ORM and FastStream"

    async def start(self, vendor: str) -> None:
        self.nats.start()
        address = self.nats.address
        bus = await Bus.connect(address)
        await bus.ensure_streams(
            [StreamSpec(STREAM, (SUBJECT,), "file", "limits", 3600.0, 512 * _MIB)]
        )
        await bus.ensure_consumer(
            ConsumerSpec(STREAM, DURABLE, SUBJECT, ACK_WAIT_SECONDS, 10_000, 20)
        )
        await bus.close()
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        login = f"://{address.user}:{address.password}@"
        told = {"nats": address.url.replace("://", login, 1), "vendor": vendor, "port": port,
                "database": str(self.directory / "orders.db")}  # fmt: skip
        self._service = self._process("service", "service", told)
        self._service.spawn()
        await self._service.serving()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS),
            connector=aiohttp.TCPConnector(limit=0),
        )
        self.consumers = [
            self._process(f"consumer-{number}", "consumer", told) for number in range(CONSUMERS)
        ]
        await self._serve_consumers()

    def _process(self, name: str, module: str, told: dict[str, Any]) -> Process:
        ready, config = self.directory / f"{name}.json", self.directory / f"{name}.config"
        config.write_text(json.dumps({**told, "ready": str(ready)}))
        log = self.directory / f"{name}.log"
        return Process(name, log, ready, "-m", f"tests.load.peers.{module}", str(config))

    async def create(self, number: str) -> str:
        message = order(Lane(1).business_unit)
        address = message.ship_to.address
        body = {
            "number": number,
            "business_unit": message.business_unit,
            "customer_number": message.customer_number,
            "ship_to": {"name": message.ship_to.name, "street": address.lines[0],
                        "city": address.city, "postal_code": address.postal_code},
            "carrier_code": message.carrier_code,
            "lines": [
                {"line_number": line.line_number, "item_number": line.item_number,
                 "quantity": line.quantity.value, "ship_from": line.ship_from_location_number}
                for line in message.lines
            ],
        }  # fmt: skip
        await self._post("/orders", body)
        return number

    async def approve(self, known: str) -> None:
        await self._post(f"/orders/{known}/approval", {})

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        try:
            async with self._session.post(self._url + path, json=body) as answer:
                await answer.read()
                if answer.status not in (200, 201):
                    raise NoAnswer(f"{path}: {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer from error

    def kill_service(self) -> None:
        self._service.kill()

    def _keep_service(self) -> None:
        if not self._service.alive:
            self._service.spawn()

    async def stop(self) -> None:
        await super().stop()
        with contextlib.suppress(AttributeError):
            await self._session.close()
            self._service.kill()
