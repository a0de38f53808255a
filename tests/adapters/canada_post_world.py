"""One simulated Canada Post, one small hub, and the adapter's client between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

from carrier_hub import SmallHub
from carrier_hub import check as fits_the_contract
from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock_adapters.canada_post import adapter, conformance
from crossdock_adapters.canada_post.adapter import ADAPTER
from crossdock_adapters.canada_post.client import CanadaPostClient
from crossdock_adapters.canada_post.sandbox import CanadaPostSandbox
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NotFound,
)
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import check
from crossdock_adapters.sdk.work import Poll, Work

CUSTOMER = "0008880001"
SANDBOX_SETTINGS: dict[str, Any] = {
    "api_user": "key-7",
    "api_password": "not-a-real-secret",
    "customers": [CUSTOMER],
    "calls_per_second": 2000,
    "scan_interval_seconds": 0.01,
}
REFERENCE = "MFRGGZDFMZTWQ2LKNNWG"
SECOND = "0190f7a2-3c4d-7e5f-8a6b-000000000009"
os.environ.setdefault("CANADA_POST_TEST_USER", "key-7")
os.environ.setdefault("CANADA_POST_TEST_PASSWORD", "not-a-real-secret")
os.environ.setdefault("CANADA_POST_TEST_OTHER", "somebody-elses-secret")


class World:
    """One simulated Canada Post, one small hub, the adapter's client between them."""

    def __init__(self, sandbox: CanadaPostSandbox, **changes: Any) -> None:
        self.sandbox = sandbox
        self.hub: Any = SmallHub()
        given = {
            "base_url": sandbox.vendor_url,
            "api_user": "env:CANADA_POST_TEST_USER",
            "api_password": "env:CANADA_POST_TEST_PASSWORD",
            "customer_number": CUSTOMER,
            "calls_per_second": 2000,
            "refund_email": "refunds@northwind.example",
            **changes,
        }
        self.settings, self.secrets = check(ADAPTER.manifest.settings, given)
        self.client = CanadaPostClient(self.settings, self.secrets)

    def work(
        self,
        operation: str,
        event: Any,
        reference: str = REFERENCE,
        item: str = conformance.PACKAGE_ID,
    ) -> Work:
        nobody: Any = None
        return Work(
            "delivery", "canada-post", operation, item, reference, 1,
            event, self.settings, self.hub, nobody,
        )  # fmt: skip

    def packed(self, reference: str = REFERENCE) -> Work:
        event = fulfillment_events_pb2.FulfillmentPacked(shipment=conformance.shipment())
        return self.work("buy_label", event, reference)

    def voided(self) -> Work:
        event = shipment_events_pb2.ShipmentVoided(shipment=conformance.shipment())
        return self.work("void_label", event)

    def left(self, *packages: str, before: Sequence[str] = ()) -> Work:
        """Packages that leave now, by their number; `before`: those that left earlier."""
        shipment = self.shipment()
        if before:
            shipment.departures.add(package_numbers=before)
        shipment.departures.add(package_numbers=packages)
        event = shipment_events_pb2.ShipmentManifested(shipment=shipment)
        return self.work("close_manifest", event, item="")

    def shipment(self) -> shipment_pb2.Shipment:
        """Two packages."""
        shipment = conformance.shipment()
        second = shipment.packages.add(id=SECOND, number="OLPN-2")
        second.weight.value, second.weight.unit = "500", "GRM"
        return shipment

    async def two_bought(self) -> list[label_pb2.Label]:
        """The labels of both packages of one shipment."""
        event = fulfillment_events_pb2.FulfillmentPacked(shipment=self.shipment())
        for item, reference in ((conformance.PACKAGE_ID, "REFERENCE1"), (SECOND, "REFERENCE2")):
            work = self.work("buy_label", event, reference, item)
            self.hub.stored.append(label_of(await adapter.buy_label(work, self.client)))
        return list(self.hub.stored)

    async def bought(self, reference: str = REFERENCE) -> label_pb2.Label:
        """A label that the hub knows of."""
        found = label_of(await adapter.buy_label(self.packed(reference), self.client))
        self.hub.stored.append(found)
        return found

    def poll(self) -> Poll:
        async def keep(raw: bytes) -> None:
            return None

        return Poll(
            "tracking", "canada-post", b"", self.settings, self.hub, keep, self.hub.hold
        )  # fmt: skip

    def sold(self, reference: str = REFERENCE) -> dict[str, Any]:
        found: dict[str, Any] = self.sandbox.books()["labels_by_reference"].get(reference, {})
        return found

    async def command(self, name: str, **arguments: Any) -> Any:
        return await self.sandbox.commands()[name](arguments)


@asynccontextmanager
async def running(sandbox_settings: dict[str, Any] | None = None, **changes: Any) -> Any:
    settings = {**SANDBOX_SETTINGS, **(sandbox_settings or {})}
    config = SandboxConfig("canada-post", seed=3, tick_seconds=0.01, settings=settings)
    async with CanadaPostSandbox(config) as sandbox:
        made = World(sandbox, **changes)
        try:
            yield made
        finally:
            await made.client.close()


def label_of(done: Confirmed | NotFound) -> label_pb2.Label:
    """The label a purchase or a look-up reports, proved to fit the contract."""
    assert isinstance(done, Confirmed)
    (fact,) = done.facts
    assert isinstance(fact, label_service_pb2.CreateLabelRequest)
    fits_the_contract(fact)
    return fact.label
