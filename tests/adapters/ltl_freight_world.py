"""One simulated LTL carrier with its mailbox, one small hub, and the adapter between them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
from carrier_hub import SmallHub, check
from crossdock.errors import NotFoundError, Refusal
from crossdock.freight.v1 import freight_service_pb2
from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.label.v1 import label_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock_adapters.ltl_freight import conformance
from crossdock_adapters.ltl_freight.adapter import ADAPTER, Carrier
from crossdock_adapters.ltl_freight.sandbox import LtlFreightSandbox
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.alerts import Alerts
from crossdock_adapters.sdk.outcomes import Confirmed, OutcomeUnknown
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.sequences import Sequences
from crossdock_adapters.sdk.settings import check as checked
from crossdock_adapters.sdk.work import Poll, Work
from test_sequences import KeptCursors

REFERENCE = "MFRGGZDFMZTWQ2LKNNWG"
SECRET = "not-a-real-secret"
os.environ.setdefault("LTL_TEST_ID", "key-7")
os.environ.setdefault("LTL_TEST_SECRET", SECRET)


class FreightHub(SmallHub):
    """The small hub, which finds a label by its number, and takes invoices, too."""

    def __init__(self) -> None:
        super().__init__()
        self.billed: dict[str, freight_service_pb2.RecordFreightInvoiceRequest] = {}
        self.refuse_invoices: Exception | None = None
        self.freight = self.lineage = self
        self.traced: list[str] = []

    async def RecordFreightInvoice(
        self, request: freight_service_pb2.RecordFreightInvoiceRequest
    ) -> freight_service_pb2.RecordFreightInvoiceResponse:
        check(request)
        if self.refuse_invoices is not None:
            raise self.refuse_invoices
        known = self.billed.setdefault(request.request_id, request)
        assert known == request, "one id, two contents"
        return freight_service_pb2.RecordFreightInvoiceResponse()

    async def GetLabel(
        self, request: label_service_pb2.GetLabelRequest
    ) -> label_service_pb2.GetLabelResponse:
        for label in self.stored:
            if label.tracking_number == request.tracking_number:
                return label_service_pb2.GetLabelResponse(label=label)
        raise NotFoundError(Refusal("OBJECT_NOT_FOUND", "no label"), grpc.StatusCode.NOT_FOUND)

    async def Trace(
        self, request: lineage_service_pb2.TraceRequest
    ) -> lineage_service_pb2.TraceResponse:
        """By the reference of a booking: the shipments of its flow, here all that there are."""
        check(request)
        self.traced.append(request.id)
        if all(label.purchase_reference != request.id for label in self.stored):
            raise NotFoundError(Refusal("OBJECT_NOT_FOUND", "no flow"), grpc.StatusCode.NOT_FOUND)
        found = lineage_service_pb2.TraceResponse()
        for label in self.stored:
            found.lineage.nodes.add(kind="shipment", id=label.shipment_id)
        return found


class World:
    """The carrier, the hub, the adapter's client; drafts as the hub keeps them."""

    def __init__(self, sandbox: LtlFreightSandbox, vendor: Carrier, settings: Any) -> None:
        self.sandbox = sandbox
        self.vendor = vendor
        self.settings = settings
        self.hub: Any = FreightHub()
        self.cursors = KeptCursors()
        self.alerts = Alerts("ltl-freight")
        self.drafts: dict[str, str] = {}
        # Of which the hub has an attempt that nobody knows the outcome of, by operation.
        self.doubts: set[tuple[str, str]] = set()
        self.attempts: Counter[str] = Counter()

    def work(self, operation: str, event: Any, reference: str, item: str) -> Work:
        nobody: Any = None
        return Work(
            "delivery", "ltl-freight", operation, item, reference,
            max(1, self.attempts[reference]), event, self.settings, self.hub,
            nobody, self.drafts.get(reference, ""), Sequences(self.cursors), self.cursors,
            (operation, reference) in self.doubts,
        )  # fmt: skip

    @contextmanager
    def doubting(self, operation: str, reference: str) -> Iterator[None]:
        """An attempt that ends unknown leaves a doubt, as the hub keeps it."""
        try:
            with exchange.recording():
                yield
        except OutcomeUnknown:
            self.doubts.add((operation, reference))
            raise

    async def buy(
        self, shipment: shipment_pb2.Shipment, reference: str = REFERENCE, item: str = ""
    ) -> Confirmed:
        """One attempt as the runner makes it; the hub knows its labels afterwards."""
        event = fulfillment_events_pb2.FulfillmentPacked(shipment=shipment)
        item = item or shipment.packages[0].id
        self.attempts[reference] += 1
        with self.doubting("buy_label", reference):
            if reference not in self.drafts:
                work = self.work("buy_label", event, reference, item)
                self.drafts[reference] = await ADAPTER.drafts["buy_label"](work, self.vendor)
            work = self.work("buy_label", event, reference, item)
            done: Confirmed = await ADAPTER.operations["buy_label"](work, self.vendor)
        self.hub.stored += [fact.label for fact in done.facts]  # type: ignore[attr-defined]
        return done

    async def void(self, shipment: shipment_pb2.Shipment, item: str = "") -> Confirmed:
        event = shipment_events_pb2.ShipmentVoided(shipment=shipment)
        item = item or shipment.packages[0].id
        with self.doubting("void_label", REFERENCE):
            work = self.work("void_label", event, REFERENCE, item)
            done: Confirmed = await ADAPTER.operations["void_label"](work, self.vendor)
        return done

    def poll(self, alerts: Alerts | None = None) -> Poll:
        async def put(raw: bytes) -> None: ...

        return Poll(
            "mailbox", "ltl-freight", b"", self.settings, self.hub, put, self.hub.hold,
            Sequences(self.cursors), self.cursors, alerts or self.alerts,
        )  # fmt: skip

    async def look(self) -> None:
        """One round of the mailbox, and the carrier has taken what we sent."""
        await ADAPTER.polls["mailbox"].pull(self.poll(), self.vendor)
        await self.sandbox.tick()

    async def answered(self) -> None:
        """The carrier has taken what we sent, and we have taken what it said to that."""
        await self.sandbox.tick()
        await self.look()

    def put(self, name: str, body: bytes) -> None:
        """The carrier's file in the mailbox."""
        (self.folder("from_carrier") / name).write_bytes(body)

    def folder(self, name: str) -> Path:
        return self.sandbox.mailbox_folder() / name

    def names(self, folder: str) -> list[str]:
        return sorted(path.name for path in self.folder(folder).iterdir())

    async def command(self, name: str, **arguments: Any) -> Any:
        return await self.sandbox.commands()[name](arguments)


def pallets(count: int) -> shipment_pb2.Shipment:
    """The shipment of the conformance kit, of several pallets."""
    found = conformance.shipment()
    for at in range(2, count + 1):
        package = found.packages.add()
        package.CopyFrom(found.packages[0])
        package.id, package.number = f"{package.id[:-2]}{10 + at}", f"PALLET-{at}"
    return found


@asynccontextmanager
async def running(
    folder: Path, sandbox_settings: dict[str, Any] | None = None, **changes: Any
) -> AsyncIterator[World]:
    config = SandboxConfig(
        "ltl-freight",
        seed=3,
        tick_seconds=60,
        settings={
            **LtlFreightSandbox.example_settings(folder),
            "client_id": "key-7",
            "client_secret": SECRET,
            "calls_per_second": 2000,
            "step_seconds": 0,
            **(sandbox_settings or {}),
        },
    )
    async with LtlFreightSandbox(config) as sandbox:
        given = {
            **conformance.settings(sandbox, folder),
            "client_id": "env:LTL_TEST_ID",
            "client_secret": "env:LTL_TEST_SECRET",
            "answer_wait_seconds": 0,
            "tender_notes": True,
            **changes,
        }
        settings, secrets = checked(ADAPTER.manifest.settings, given)
        assert ADAPTER.connect_function is not None
        vendor = await ADAPTER.connect_function(settings, secrets)
        made = World(sandbox, vendor, settings)
        try:
            yield made
        finally:
            await vendor.close()
