"""One simulated GLS, one small hub, and the adapter's client between them."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from carrier_hub import SmallHub
from carrier_hub import check as fits_the_contract
from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_events_pb2
from crossdock_adapters.gls import adapter, conformance
from crossdock_adapters.gls.adapter import ADAPTER
from crossdock_adapters.gls.client import GlsClient
from crossdock_adapters.gls.sandbox import GlsSandbox
from crossdock_adapters.sdk.outcomes import Confirmed, NotFound
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import check
from crossdock_adapters.sdk.work import Poll, Work
from test_sequences import KeptCursors

PAYLOADS = Path(__file__).parent / "payloads" / "gls"
CONTACT = "2760194275"
SANDBOX_SETTINGS: dict[str, Any] = {
    "client_id": "application-7",
    "client_secret": "not-a-real-secret",
    "contacts": [CONTACT],
    "scan_interval_seconds": 0.01,
}
REFERENCE = "MFRGGZDFMZTWQ2LKNNWG"
OTHER_REFERENCE = "NBSWY3DPEBLW64TMMQQQ"
os.environ.setdefault("GLS_TEST_ID", "application-7")
os.environ.setdefault("GLS_TEST_SECRET", "not-a-real-secret")
os.environ.setdefault("GLS_TEST_OTHER", "somebody-elses-secret")


class World:
    """One simulated GLS, one small hub, the adapter's client between them."""

    def __init__(self, sandbox: GlsSandbox, **changes: Any) -> None:
        self.sandbox = sandbox
        self.hub: Any = SmallHub()
        self.cursors = KeptCursors()
        self.given: dict[str, Any] = {
            "base_url": sandbox.vendor_url,
            "client_id": "env:GLS_TEST_ID",
            "client_secret": "env:GLS_TEST_SECRET",
            "contact_id": CONTACT,
            "time_zone": conformance.TIME_ZONE,
            "not_found_codes": conformance.NOT_FOUND_CODES,
            "calls_per_second": 2000,
            **changes,
        }
        self.settings, self.secrets = check(ADAPTER.manifest.settings, self.given)
        self.client = GlsClient(self.settings, self.secrets)
        self.cursor = b""

    def packed(
        self, packages: int = 1, item: str = conformance.PACKAGE_ID,
        reference: str = REFERENCE, attempt: int = 1,
    ) -> Work:  # fmt: skip
        shipment = conformance.shipment(packages)
        event = fulfillment_events_pb2.FulfillmentPacked(shipment=shipment)
        return self._work("buy_label", event, item, reference, attempt)

    def voided(
        self, packages: int = 1, item: str = conformance.PACKAGE_ID, in_doubt: bool = True
    ) -> Work:
        event = shipment_events_pb2.ShipmentVoided(shipment=conformance.shipment(packages))
        work = self._work("void_label", event, item, OTHER_REFERENCE, 1)
        return replace(work, in_doubt=in_doubt)

    def _work(self, operation: str, event: Any, item: str, reference: str, attempt: int) -> Work:
        nobody: Any = None
        return Work(
            "delivery", "gls", operation, item, reference, attempt,
            event, self.settings, self.hub, nobody, cursors=self.cursors,
        )  # fmt: skip

    async def bought(self, packages: int = 1) -> list[label_pb2.Label]:
        """Labels that the hub knows of."""
        found = labels_of(await adapter.buy_label(self.packed(packages), self.client))
        self.hub.stored += found
        return found

    def poll(self, name: str = "tracking") -> Poll:
        async def keep(raw: bytes) -> None:
            self.cursor = raw

        return Poll(
            name, "gls", self.cursor, self.settings, self.hub, keep, self.hub.hold,
            cursors=self.cursors,
        )  # fmt: skip

    def another_process(self) -> GlsClient:
        """The same endpoint once more: it shares with this one what the hub keeps."""
        return GlsClient(self.settings, self.secrets)

    def shipments(self) -> list[list[dict[str, Any]]]:
        found: list[list[dict[str, Any]]] = self.sandbox.books()["shipments"]
        return found

    async def misbehave(self, kind: str, count: int = 1_000) -> None:
        await self.command("misbehave", kind=kind, count=count)

    async def command(self, name: str, **arguments: Any) -> Any:
        return await self.sandbox.commands()[name](arguments)


@asynccontextmanager
async def running(sandbox_settings: dict[str, Any] | None = None, **changes: Any) -> Any:
    settings = {**SANDBOX_SETTINGS, **(sandbox_settings or {})}
    config = SandboxConfig("gls", seed=3, tick_seconds=0.01, settings=settings)
    async with GlsSandbox(config) as sandbox:
        made = World(sandbox, **changes)
        try:
            yield made
        finally:
            await made.client.close()


def labels_of(done: Confirmed | NotFound) -> list[label_pb2.Label]:
    """The labels that a purchase or a look-up reports, proved to fit the contract."""
    assert isinstance(done, Confirmed)
    found = []
    for fact in done.facts:
        assert isinstance(fact, label_service_pb2.CreateLabelRequest)
        fits_the_contract(fact)
        found.append(fact.label)
    return found
