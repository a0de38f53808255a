"""A simulated org, a hub that answers as the conformance kit's does, and the adapter between them,
called by hand: one run of the poll, one operation."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1.shipment_pb2 import Shipment
from crossdock_adapters.salesforce import translate_events
from crossdock_adapters.salesforce.adapter import ADAPTER
from crossdock_adapters.salesforce.client import SalesforceClient
from crossdock_adapters.salesforce.conformance import CONFORMANCE, ORGANIZATION, known
from crossdock_adapters.salesforce.sandbox import CHANGE_TOPIC, STATUS_TOPIC, SalesforceSandbox
from crossdock_adapters.salesforce.sandbox_pubsub import replay_bytes
from crossdock_adapters.salesforce.translate_events import Place
from crossdock_adapters.sdk.alerts import Alerts
from crossdock_adapters.sdk.conformance.evidence import Evidence
from crossdock_adapters.sdk.conformance.stage import Stage, staged, until
from crossdock_adapters.sdk.hub_link import HubLink
from crossdock_adapters.sdk.mappings import Code, Meaning, Told, Topic, UnreadCodes
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work

HUB_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000c1"


@dataclass
class Desk:
    """What a test touches."""

    sandbox: SalesforceSandbox
    vendor: SalesforceClient
    stage: Stage
    link: HubLink
    settings: Settings
    alerts: Alerts = field(default_factory=Alerts)
    held: list[tuple[bytes, str, str, str]] = field(default_factory=list)
    # The codes that what is held waits for, one for one.
    unread: list[UnreadCodes | None] = field(default_factory=list)

    async def command(self, name: str, **arguments: Any) -> Any:
        return await self.sandbox.commands()[name](arguments)

    async def order(self, number: str, **words: Any) -> str:
        """A fulfillment order that is allocated, with its event; its id."""
        answer = await self.command("fulfillment_order", number=number, **words)
        return str(answer["id"])

    async def known_order(
        self, state: order_pb2.OrderState.ValueType = order_pb2.ORDER_STATE_SHIPPED, **words: Any
    ) -> str:
        """One that the hub has already, under HUB_ID, in this state."""
        order_id = await self.order("FO-9", **words)
        order = known(HUB_ID, "FO-9", order_id)
        order.state = state
        self.stage.hub.notebook.learn([order])
        return order_id

    async def run(self) -> None:
        """Run the poll, and again until the last event of each topic is behind its place; what a
        run raises is raised."""

        async def caught_up() -> bool:
            await self.pull()
            for topic in self.sandbox._bus.topics.values():
                kept = (await self.place(topic.name)).replay_id
                if topic.events and kept != replay_bytes(topic.newest):
                    return False
            return True

        await until(caught_up, "the last event is told")

    async def pull(self) -> None:
        """One run of the poll."""
        await ADAPTER.polls["events"].pull(self.poll(), self.vendor)

    async def run_until_told(self, method: str, count: int) -> None:
        """Run the poll until so many facts are told, and no more; Failed at the deadline."""

        async def told() -> bool:
            await self.run()
            return self.told(method) >= count

        await until(told, f"{count} of {method}")
        assert self.told(method) == count

    async def again(self, payload: bytes, content_type: str) -> None:
        """A payload that was held, once more."""
        translate = ADAPTER.polls["events"].translate_held
        assert translate is not None
        held = HeldPayload("h", "poll:events", payload, content_type, True)
        await translate(self.poll(), held, self.vendor)

    async def do(self, operation: str, event: Any, attempt: int = 1) -> Any:
        work = self.work(operation, event, attempt)
        return await ADAPTER.operations[operation](work, self.vendor)

    async def look_up(self, operation: str, event: Any) -> Any:
        return await ADAPTER.look_ups[operation](self.work(operation, event), self.vendor)

    async def place(self, topic: str = STATUS_TOPIC) -> Place:
        """What the hub keeps of a topic."""
        name = translate_events.cursor_name(ORGANIZATION, topic)
        return translate_events.place_of((await self.link.get_cursor(name))[0])

    def told(self, method: str) -> int:
        """How many facts of a method the hub has."""
        facts = self.stage.hub.notebook.facts
        return sum(name.endswith(f"/{method}") for name, _ in facts)

    def calls(self, operation: str) -> int:
        return sum(call.operation == operation for call in self.sandbox.calls)

    def poll(self) -> Poll:
        async def put(_: bytes) -> None:
            raise AssertionError("places are kept by topic")

        async def hold(
            payload: bytes, content_type: str, reason: str, key: str, codes: UnreadCodes | None
        ) -> None:
            self.held.append((payload, content_type, reason, key))
            self.unread.append(codes)

        return Poll(
            "events", ADAPTER.name, b"", self.settings, self.link.hub, put, hold,
            cursors=self.link, alerts=self.alerts,
        )  # fmt: skip

    def knows_shipment(self, event: Any) -> None:
        """The hub has the shipment that an event of it tells; one that it knows stays as it is."""
        told = getattr(event, "shipment", None)
        known = {each.id for each in self.stage.hub.notebook.known if isinstance(each, Shipment)}
        if told is not None and told.id not in known:
            self.stage.hub.notebook.learn([told])

    def work(self, operation: str, event: Any, attempt: int = 1) -> Work:
        self.knows_shipment(event)
        return Work(
            str(uuid.uuid4()), ADAPTER.name, operation, "", "REFERENCE", attempt, event,
            self.settings, self.link.hub, self.link.numbers,
        )  # fmt: skip


@contextmanager
def row(type_: str, code: str, means: str) -> Iterator[None]:
    """A deployment says what a status or category means."""
    said = Told(Topic.REASON, Code(type_, code), Meaning(means), by_deployment=True)
    mappings = ADAPTER.mappings
    mappings.replace([*mappings.of_file(), said])
    try:
        yield
    finally:
        mappings.replace(mappings.of_file())


@asynccontextmanager
async def running(
    folder: Path, sandbox: dict[str, Any] | None = None, **given: Any
) -> AsyncIterator[Desk]:
    """An org without orders. sandbox: its settings; given: the endpoint's."""
    kept = {"organization_id": ORGANIZATION, "client_id": "conformance-consumer-key"}

    def settings(org: Any, home: Path) -> dict[str, Any]:
        topics = {"topics": [STATUS_TOPIC, CHANGE_TOPIC]}
        return {**CONFORMANCE.settings(org, home), **topics, **given}

    subject = replace(
        CONFORMANCE,
        settings=settings,
        sandbox_settings={**kept, **(sandbox or {})},
        knows=lambda _: [],
    )
    async with staged(subject, Evidence(), folder, start=False) as stage:
        assert ADAPTER.connect_function is not None
        vendor = await ADAPTER.connect_function(stage.settings, stage.secrets)
        try:
            yield Desk(stage.sandbox, vendor, stage, stage.link(), stage.settings)
        finally:
            await vendor.close()
