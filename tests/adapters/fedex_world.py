"""What the FedEx tests share: one simulated FedEx, a small hub, the adapter's client between."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from carrier_hub import SmallHub, check
from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.label.v1 import label_service_pb2
from crossdock.shipment.v1 import shipment_events_pb2
from crossdock_adapters.fedex import adapter, conformance
from crossdock_adapters.fedex.adapter import ADAPTER
from crossdock_adapters.fedex.client import FedexClient
from crossdock_adapters.fedex.sandbox import FedexSandbox
from crossdock_adapters.sdk import settings
from crossdock_adapters.sdk.outcomes import Confirmed
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.work import Poll, Webhook, Work
from sdk_waiting import until

SECOND_PACKAGE = "0190f7a2-3c4d-7e5f-8a6b-000000000009"
DELIVERY_ID = "0190f7a2-0000-7e5f-8a6b-00000000000a"


def reference_of(delivery_id: str) -> str:
    """Twenty base32 characters per delivery, as the hub derives them."""
    return base64.b32encode(hashlib.sha256(delivery_id.encode()).digest()).decode()[:20]


class World:
    """One simulated FedEx, one small hub, the adapter's client between them."""

    def __init__(self, sandbox: FedexSandbox, folder: Path, **changes: Any) -> None:
        self.sandbox = sandbox
        self.hub: Any = SmallHub()
        given = {**conformance.settings(sandbox, folder), **changes}
        self.settings, self.secrets = settings.check(ADAPTER.manifest.settings, given)
        self.client = FedexClient(self.settings, self.secrets)

    def work(self, operation: str, event: Any, item: str, delivery_id: str) -> Work:
        async def no_numbers(kind: str, numbers: Any) -> dict[str, str]:
            return {}

        return Work(
            delivery_id=delivery_id,
            endpoint="fedex",
            operation=operation,
            item=item,
            reference=reference_of(delivery_id),
            attempt=1,
            event=event,
            settings=self.settings,
            hub=self.hub,
            look_up_numbers=no_numbers,
        )

    def packed(
        self, delivery_id: str = DELIVERY_ID, item: str = conformance.PACKAGE_ID, packages: int = 1
    ) -> Work:
        shipment = conformance.shipment()
        if packages == 2:
            second = shipment.packages.add(id=SECOND_PACKAGE, number="OLPN-2")
            second.weight.CopyFrom(shipment.packages[0].weight)
        event = fulfillment_events_pb2.FulfillmentPacked(shipment=shipment)
        return self.work("buy_label", event, item, delivery_id)

    def voided(self, item: str = conformance.PACKAGE_ID) -> Work:
        event = shipment_events_pb2.ShipmentVoided(shipment=conformance.shipment())
        return self.work("void_label", event, item, "void")

    async def buy(self, work: Work, draft: str = "") -> Confirmed:
        """Both steps, as the runner does them; a draft that is known is not made again."""
        known = draft or await adapter.open_shipment(work, self.client)
        done = await adapter.buy_label(replace(work, draft=known), self.client)
        for fact in done.facts:
            check(fact)
            assert isinstance(fact, label_service_pb2.CreateLabelRequest)
            self.hub.stored.append(fact.label)
        return done

    def hook(self, body: bytes, **headers: str) -> Webhook:
        given = {"content-type": "application/json", **headers}
        return Webhook(
            "/fedex/tracking", "fedex", body, given, {}, self.settings, self.secrets, self.hub,
            self.hub.hold,
        )  # fmt: skip

    def poll(self, cursor: bytes = b"") -> Poll:
        async def keep(raw: bytes) -> None:
            self.cursor = raw

        return Poll("tracking", "fedex", cursor, self.settings, self.hub, keep, self.hub.hold)

    async def handed_over(self) -> None:
        await self.sandbox.commands()["handover"]({})
        await until(lambda: self.sandbox.books()["delivered"] > 0)

    def calls(self, operation: str) -> int:
        return sum(call.operation == operation for call in self.sandbox.calls)

    @property
    def books(self) -> dict[str, Any]:
        return self.sandbox.books()


@asynccontextmanager
async def fedex(
    folder: Path, vendor: dict[str, Any] | None = None, **changes: Any
) -> AsyncIterator[World]:
    """A world with these settings of the simulated vendor, and of the endpoint."""
    given = {
        **conformance.CONFORMANCE.sandbox_settings,
        "scan_interval_seconds": 0.01,
        **(vendor or {}),
    }
    async with FedexSandbox(
        SandboxConfig("fedex", seed=3, tick_seconds=0.01, settings=given)
    ) as sandbox:
        world = World(sandbox, folder, **changes)
        try:
            yield world
        finally:
            await world.client.close()
