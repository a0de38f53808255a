"""A simulated legacy ERP, an adapter's client of it, and the events of one order, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from crossdock.order.v1 import order_events_pb2, order_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock_adapters.legacy_file import adapter, translate
from crossdock_adapters.legacy_file.adapter import ADAPTER, Erp
from crossdock_adapters.legacy_file.sandbox import LegacyFileSandbox
from crossdock_adapters.sdk import exchange, layout_files
from crossdock_adapters.sdk.erp_documents import DOCUMENTS, Rules
from crossdock_adapters.sdk.erp_units import ErpUnits
from crossdock_adapters.sdk.outcomes import AnswerLater, Confirmed, OutcomeUnknown
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.sequences import Sequences
from crossdock_adapters.sdk.settings import check
from crossdock_adapters.sdk.work import Work
from fixtures_nats import PATIENCE_SECONDS
from test_sequences import KeptCursors

TICK_SECONDS = 0.01
DELIVERY = "0190f7a2-0000-7e5f-8a6b-00000000000a"
ORDER_ID, SHIPMENT_ID = (
    "0d7c1a52-58cb-5c1e-8f66-3f8a2f0f9a02",
    "0e7c1a52-58cb-5c1e-8f66-000000000003",
)
UNITS = ErpUnits({"EA": "EA", "CS": "CA", "KGM": "KG"})
RULES = Rules("CROSSDOCK", "ERP", ZoneInfo("America/New_York"), UNITS)
ANSWERS = adapter.loaded_answers("")
CREATED = datetime(2026, 3, 5, 2, 0, 1, tzinfo=UTC)


def order(*lines: tuple[int, str, str], number: str = "SO-1") -> order_pb2.Order:
    made = order_pb2.Order(
        id=ORDER_ID, number=number, business_unit="EAST", customer_number="CUST-1003",
        customer_reference="PO-77", carrier_code="UPS", service_code="03",
    )  # fmt: skip
    made.ship_to.name = "Zoë Doe"
    address = made.ship_to.address
    address.lines.extend(["1 Main Street", "Suite 5", "Back door"])
    address.city, address.state, address.postal_code = "Albany", "NY", "12207"
    address.country_code = "US"
    made.order_time.FromJsonString("2026-03-05T02:00:00Z")
    for line_number, item, quantity in lines or ((10, "SKU-1001", "2"), (20, "SKU-1002", "5.5")):
        line = made.lines.add(line_number=line_number, item_number=item)
        line.quantity.value, line.quantity.unit = quantity, "EA"
        line.ship_from_location_number = "WH-EAST"
        line.unit_price.amount, line.unit_price.currency = "19.95", "USD"
    return made


def approved(made: order_pb2.Order | None = None) -> order_events_pb2.OrderApproved:
    return order_events_pb2.OrderApproved(order=made or order())


def shipped(quantity: str = "2") -> shipment_events_pb2.ShipmentManifested:
    """Line 10 leaves with a lot and two serial numbers in the first carton, the rest without."""
    shipment = shipment_pb2.Shipment(
        id=SHIPMENT_ID, number="SHP-1", order_id=ORDER_ID, order_number="SO-1",
        ship_from_location_number="WH-EAST", carrier_code="UPS", service_code="03",
    )  # fmt: skip
    shipment.manifest_time.instant.FromJsonString("2026-03-06T03:00:00Z")
    for carton, weight in (("CARTON-1", "2.5"), ("CARTON-2", "0.75")):
        package = shipment.packages.add(id=f"id-{carton}", number=carton)
        package.weight.value, package.weight.unit = weight, "KGM"
    first = shipment.packages[0].contents.add(line_number=10, item_number="SKU-1001", lot="L-7")
    first.serial_numbers.extend(["SN-1", "SN-2"])
    first.quantity.value, first.quantity.unit = quantity, "EA"
    second = shipment.packages[1].contents.add(line_number=20, item_number="SKU-1002")
    second.quantity.value, second.quantity.unit = "5.5", "EA"
    shipment.progress.add(package_id="id-CARTON-1", tracking_number="1Z999AA10123456784")
    return shipment_events_pb2.ShipmentManifested(shipment=shipment)


@dataclass
class Desk:
    """An ERP that runs, an adapter's client of it, and what the hub keeps for both."""

    sandbox: LegacyFileSandbox
    vendor: Erp
    settings: Any
    cursors: KeptCursors
    drafts: dict[str, str] = field(default_factory=dict)

    def work(self, operation: str, event: Any, reference: str = "A" * 20) -> Work:
        nobody: Any = None
        return Work(
            DELIVERY, "legacy-file", operation, "", reference, 1, event, self.settings, nobody,
            nobody, self.drafts.get(reference, ""), Sequences(self.cursors),
        )  # fmt: skip

    async def draft(self, operation: str, event: Any, reference: str = "A" * 20) -> str:
        work = self.work(operation, event, reference)
        self.drafts[reference] = await ADAPTER.drafts[operation](work, self.vendor)
        return self.drafts[reference]

    async def do(self, operation: str, event: Any, reference: str = "A" * 20) -> Confirmed:
        """One attempt as the runner makes it: a draft where there is none, then the rest."""
        if reference not in self.drafts:
            await self.draft(operation, event, reference)
        with exchange.recording():
            work = self.work(operation, event, reference)
            return await ADAPTER.operations[operation](work, self.vendor)

    async def settled(self, operation: str, event: Any, reference: str = "A" * 20) -> Confirmed:
        """Attempts until the ERP has answered, as the hub would ask."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await self.do(operation, event, reference)
                except AnswerLater:
                    await asyncio.sleep(TICK_SECONDS)

    async def told(
        self,
        kind: type[AnswerLater | OutcomeUnknown],
        words: str,
        operation: str,
        event: Any,
        reference: str = "A" * 20,
    ) -> None:
        """Attempts that have to wait, until one of them is told these words."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    done = await self.do(operation, event, reference)
                except (AnswerLater, OutcomeUnknown) as told:
                    if isinstance(told, kind) and words in str(told):
                        return
                    if not isinstance(told, AnswerLater):
                        raise
                else:
                    raise AssertionError(f"answered before it was told {words!r}: {done}")

    def orders(self) -> list[dict[str, Any]]:
        return list(self.sandbox.books()["sales_orders"])

    def issues(self) -> list[dict[str, Any]]:
        return list(self.sandbox.books()["goods_issues"])

    async def misbehave(self, kind: str, count: int = 1) -> None:
        await self.sandbox.commands()["misbehave"]({"kind": kind, "count": count})


@asynccontextmanager
async def running(folder: Path, local: bool = False, **given: Any) -> AsyncIterator[Desk]:
    """given: settings of the sandbox by its names, of the adapter by its names."""
    own = {key: given.pop(key) for key in list(given) if key in ADAPTER.manifest.settings}
    example = LegacyFileSandbox.example_settings(folder)
    config = SandboxConfig("legacy-file", tick_seconds=TICK_SECONDS, settings={**example, **given})
    async with LegacyFileSandbox(config) as sandbox:
        secret = folder / "password"
        secret.write_text(example["password"])
        place = f"file://{example['folder']}"
        if not local:
            place = sandbox.vendor_url.replace("sftp://", "sftp://crossdock@") + "/"
        settings, secrets = check(ADAPTER.manifest.settings, {
            "location": place, "host_key": sandbox.host_key_line(), "password": f"file:{secret}",
            "look_seconds": 0, "answer_wait_seconds": 1, "time_zone": "America/New_York", **own,
        })  # fmt: skip
        vendor = await adapter.connect(settings, secrets)
        await vendor.test()
        try:
            yield Desk(sandbox, vendor, settings, KeptCursors())
        finally:
            await vendor.close()


def file_of(operation: str, event: Any) -> bytes:
    document = DOCUMENTS[operation]
    rows = [translate.head(17, CREATED, RULES)]
    rows += document.rows(event, document.action, "REFERENCE00000000001", RULES)
    return layout_files.write(adapter.loaded_layouts("")[document.layout], rows)
