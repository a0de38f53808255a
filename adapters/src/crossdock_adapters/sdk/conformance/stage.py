"""One world to check in: a sandbox, a hub, and the endpoint between them, as a process hosts it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2

from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.conformance.evidence import Evidence, telling_parts
from crossdock_adapters.sdk.conformance.hub import Hub, serving
from crossdock_adapters.sdk.conformance.ledger import ENDED, Delivery, delivery_of
from crossdock_adapters.sdk.conformance.subject import Case, Delivered, Subject, WayIn
from crossdock_adapters.sdk.hub_link import HubLink, Registration
from crossdock_adapters.sdk.runner import EndpointRunner, prepared
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.telemetry import Telemetry

PATIENCE_SECONDS = 20.0
SERVES_SECONDS = 20.0
LOOK_SECONDS = 0.005
ATTEMPTS_MAX = 12
END_SECONDS = 12.0
CLIENT_SECONDS = 30.0


class Failed(Exception):
    """The endpoint does not do what the check is there to prove; the text says what it did."""


class NotServing(Failed):
    """The endpoint did not even start to serve; the text says what it waits for."""


def require(holds: object, said: str) -> None:
    """Failed with these words unless it holds."""
    if not holds:
        raise Failed(said)


async def until(
    condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = PATIENCE_SECONDS
) -> None:
    """Return once it holds; Failed at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        held = condition()
        if inspect.isawaitable(held):
            held = await held
        if held:
            return
        require(time.monotonic() < deadline, f"not within {seconds:g} s: {what}")
        await asyncio.sleep(LOOK_SECONDS)


@dataclass(slots=True)
class QueuedMessage:
    """One message as the bus would bring it."""

    data: bytes
    headers: dict[str, str] = field(default_factory=dict)
    acked: bool = False

    async def ack(self) -> None:
        self.acked = True

    async def in_progress(self) -> None:
        return


class Queue:
    """Where deliveries come from, in place of the bus."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[QueuedMessage | None] = asyncio.Queue()

    def put(self, dispatch: delivery_pb2.Dispatch, headers: dict[str, str]) -> QueuedMessage:
        message = QueuedMessage(dispatch.SerializeToString(), headers)
        self._waiting.put_nowait(message)
        return message

    async def next(self) -> QueuedMessage | None:
        return await self._waiting.get()

    async def stop(self) -> None:
        self._waiting.put_nowait(None)

    async def close(self) -> None:
        return


@dataclass(slots=True)
class Running:
    """The endpoint, running in this process."""

    runner: EndpointRunner
    queue: Queue
    stopping: asyncio.Event
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """Drain it."""
        self.stopping.set()
        await asyncio.wait({self.task}, timeout=END_SECONDS)
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


class Stage:
    """Sandbox, hub and as many processes of the endpoint as a check wants; `running` is the last.

    Calls of a check that end badly raise Failed.
    """

    def __init__(
        self, subject: Subject, adapter: Adapter, sandbox: Any, hub: Hub, address: str, folder: Path
    ) -> None:
        self.subject = subject
        self.adapter = adapter
        self.sandbox = sandbox
        self.hub = hub
        self.address = address
        self.token_file = folder / "token"
        self.token_file.write_text("token-of-the-check")
        self.config = EndpointConfig(
            id=adapter.name,
            adapter=adapter.name,
            token_file=self.token_file,
            webhook_port=0,
            settings=subject.settings(sandbox, folder),
        )
        self.settings, self.secrets = prepared(self.config, adapter)
        self.processes: list[Running] = []
        self.answered: list[str] = []
        self._clients: list[HubClient] = []

    @property
    def running(self) -> Running:
        return self.processes[-1]

    def link(self) -> HubLink:
        """A connection to the hub in the endpoint's name."""
        client = HubClient(self.address, token_file=self.token_file)
        self._clients.append(client)
        return HubLink(self.adapter.name, client, f"check-{len(self._clients)}")

    async def start(self) -> Running:
        """One process of the endpoint, serving."""
        queue, stopping = Queue(), asyncio.Event()

        async def open_source(registration: Registration, prefetch: int) -> Queue:
            return queue

        runner = EndpointRunner(self.config, self.adapter, self.link(), open_source, Telemetry())
        task = asyncio.create_task(runner.run(stopping))
        running = Running(runner, queue, stopping, task)
        self.processes.append(running)
        try:
            await until(
                lambda: runner.state == "serving" or task.done(),
                "the endpoint serves",
                SERVES_SECONDS,
            )
        except Failed as late:
            raise NotServing(f"{late}; {runner.trouble or 'it is ' + runner.state}") from late
        if task.done():
            await task
        return running

    async def close(self) -> None:
        self.hub.hears_again.set()
        await asyncio.gather(*(running.stop() for running in self.processes))
        await asyncio.gather(*(client.close() for client in self._clients))

    # Deliveries

    def made(self, case: Case) -> int:
        """How many effects of the case the vendor's books hold."""
        return case.made(self.sandbox.books())

    def new(self, case: Case) -> Delivery:
        """A delivery of the case that nobody has been asked for yet."""
        event = case.event(self.sandbox.books())
        kind = self.adapter.manifest.operations[case.operation].operation_class
        delivery = delivery_of(case.operation, event, case.item, kind)
        self.hub.deliveries[delivery.id] = delivery
        return delivery

    def ask(self, delivery: Delivery, traceparent: str = "") -> QueuedMessage:
        """Bring the endpoint the message of the attempt at hand."""
        headers = {"traceparent": traceparent} if traceparent else {}
        return self.running.queue.put(delivery.dispatch(), headers)

    async def outcome(self, delivery: Delivery, attempts: int = 1) -> str:
        """How the attempt of that number ended, once it has."""
        await until(
            lambda: len(delivery.outcomes) >= attempts,
            f"{delivery.operation} ends ({', '.join(delivery.outcomes) or 'no attempt has ended'})",
        )
        return delivery.outcomes[attempts - 1]

    async def settle(self, delivery: Delivery) -> str:
        """What the hub does until there is nothing more to do; the last outcome."""
        if not delivery.outcomes:
            self.ask(delivery)
            await self.outcome(delivery)
        while delivery.last not in ENDED and len(delivery.outcomes) < ATTEMPTS_MAX:
            before = len(delivery.outcomes)
            if not delivery.again():
                break
            await asyncio.sleep(self._pause_seconds(delivery))
            self.ask(delivery)
            await self.outcome(delivery, before + 1)
        return delivery.last

    async def prepare(self, case: Case) -> None:
        """Do what has to be confirmed before the case."""
        for operation in case.after:
            earlier = self.subject.case(operation)
            delivery = self.new(earlier)
            await self.settle(delivery)
            said = told(delivery, f"{operation}, which comes before,")
            require(delivery.last == "CONFIRMED", said)
        said = f"the vendor is ready for {case.operation}"
        await until(lambda: case.ready(self.sandbox.books()), said)

    def _pause_seconds(self, delivery: Delivery) -> float:
        if delivery.last == "LEASE_EXPIRED" or not delivery.completions:
            return self.subject.settle_seconds
        wish = delivery.completions[-1].retry_after.ToNanoseconds() / 1e9
        return max(self.subject.settle_seconds, wish)

    # The way in

    def proof(self, way: WayIn, payload: bytes) -> dict[str, str]:
        """The headers that show that the vendor sent these bytes."""
        given = {} if way.headers is None else dict(way.headers(self.secrets))
        return given | ({} if way.signed is None else dict(way.signed(self.secrets, payload)))

    async def deliver(
        self,
        way: WayIn,
        payload: bytes,
        proof: Mapping[str, str] | None = None,
        encoding: str = "",
    ) -> Delivered:
        """Bring one payload to the endpoint. proof: instead of what shows who sent it. encoding:
        what a request says its bytes are packed with."""
        if way.deliver is not None:
            return await way.deliver(self, payload)
        shown = self.proof(way, payload) if proof is None else proof
        headers = {"Content-Type": way.content_type, **shown}
        if encoding:
            headers["Content-Encoding"] = encoding
        url = self.running.runner.webhook_url + way.source
        timeout = aiohttp.ClientTimeout(total=CLIENT_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=payload, headers=headers) as answer,
        ):
            said = (await answer.read()).decode("utf-8", "replace")
            self.answered += [said, *answer.headers.values()]
            return Delivered(answer.status, said)

    def held_from(self, way: WayIn) -> list[Any]:
        """What the hub holds of a way in, oldest first."""
        return [held for held in self.hub.held if held.source == way.source]


@asynccontextmanager
async def staged(
    subject: Subject,
    evidence: Evidence,
    folder: Path,
    *,
    ways_in: Sequence[str] = (),
    timeout_seconds: float | None = None,
    start: bool = True,
) -> AsyncIterator[Stage]:
    """A fresh world. ways_in: the webhooks and polls of the endpoint that are at work in it."""
    home = folder / uuid.uuid4().hex
    home.mkdir(parents=True)
    settings = {**subject.sandbox.example_settings(home), **subject.sandbox_settings}
    config = SandboxConfig(
        subject.name, seed=7, settings=settings, tick_seconds=subject.tick_seconds
    )
    adapter = adjusted(subject.adapter, ways_in, timeout_seconds)
    hub = Hub(adapter.manifest)
    async with subject.sandbox(config) as sandbox, serving(hub) as address:
        hub.notebook.learn(subject.knows(sandbox))
        stage = Stage(subject, adapter, sandbox, hub, address, home)
        evidence.keep_secrets(stage.secrets)
        try:
            if start:
                await stage.start()
            yield stage
        finally:
            await stage.close()
            evidence.told += hub.evidence
            evidence.answered += stage.answered
            for shown in sandbox.shown:
                evidence.secrets.update(telling_parts(shown))
            evidence.is_cut |= hub.evidence_is_cut


def adjusted(adapter: Adapter, ways_in: Sequence[str], timeout_seconds: float | None) -> Adapter:
    """The adapter with these ways in alone, and with shorter attempts."""
    changed = copy.copy(adapter)
    changed.polls = {
        name: spec for name, spec in adapter.polls.items() if f"poll:{name}" in ways_in
    }
    changed.webhooks = {path: spec for path, spec in adapter.webhooks.items() if path in ways_in}
    if timeout_seconds is not None:
        operations = {
            name: replace(operation, timeout_seconds=timeout_seconds)
            for name, operation in adapter.manifest.operations.items()
        }
        changed.manifest = replace(adapter.manifest, operations=operations)
    return changed


def told(delivery: Delivery, what: str = "") -> str:
    """What became of a delivery, for people."""
    reason = delivery.completions[-1].reason if delivery.completions else ""
    ended = " > ".join(delivery.outcomes) or "nothing"
    return f"{what or delivery.operation} ended {ended}{': ' + reason if reason else ''}"
