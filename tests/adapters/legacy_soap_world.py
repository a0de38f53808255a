"""A simulated ERP with a SOAP service, an adapter's client of it, and what one attempt came to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossdock.item.v1 import item_service_pb2
from crossdock_adapters.legacy_soap import adapter
from crossdock_adapters.legacy_soap.adapter import ADAPTER, Erp
from crossdock_adapters.legacy_soap.sandbox import LegacySoapSandbox
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.mappings import UnreadCodes
from crossdock_adapters.sdk.outcomes import AnswerLater, Confirmed
from crossdock_adapters.sdk.places import unread_codes
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import check
from crossdock_adapters.sdk.work import Work
from fixtures_nats import PATIENCE_SECONDS

TICK_SECONDS = 0.01
DELIVERY = "0190f7a2-0000-7e5f-8a6b-00000000000a"
REFERENCE = "A" * 20
PASSWORD = "correct-horse-battery"


@dataclass
class Desk:
    """An ERP that runs, and an adapter's client of it. record: of the last attempt."""

    sandbox: LegacySoapSandbox
    vendor: Erp
    settings: Any
    record: exchange.Exchange

    def work(self, operation: str, event: Any, reference: str = REFERENCE) -> Work:
        nobody: Any = None
        return Work(
            DELIVERY, "legacy-soap", operation, "", reference, 1, event, self.settings, nobody,
            nobody,
        )  # fmt: skip

    async def do(self, operation: str, event: Any, reference: str = REFERENCE) -> Confirmed:
        """One attempt, as the runner makes it."""
        with exchange.recording() as self.record:
            self.record.hide([PASSWORD])
            work = self.work(operation, event, reference)
            return await ADAPTER.operations[operation](work, self.vendor)

    async def look(self, operation: str, event: Any, reference: str = REFERENCE) -> Any:
        """One look-up."""
        work = self.work(operation, event, reference)
        return await ADAPTER.look_ups[operation](work, self.vendor)

    async def settled(self, operation: str, event: Any, reference: str = REFERENCE) -> Any:
        """An attempt, and look-ups until the ERP has answered."""
        try:
            return await self.do(operation, event, reference)
        except AnswerLater:
            pass
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await self.look(operation, event, reference)
                except AnswerLater:
                    await asyncio.sleep(TICK_SECONDS)

    async def command(self, name: str, **body: Any) -> Any:
        return await self.sandbox.commands()[name](body)

    async def misbehave(self, kind: str, count: int = 1) -> None:
        await self.command("misbehave", kind=kind, count=count)

    def asked(self) -> list[dict[str, Any]]:
        """Everything that the ERP took to post it."""
        return list(self.sandbox.books()["asked"])


@asynccontextmanager
async def running(
    folder: Path, theirs: Mapping[str, Any] | None = None, **given: Any
) -> AsyncIterator[Desk]:
    """given: settings of the adapter by name, the others of the sandbox; soap_version of both.
    theirs: of the sandbox alone, before all others."""
    own = {key: given[key] for key in given if key in ADAPTER.manifest.settings}
    both = {key: given[key] for key in given if key not in own or key == "soap_version"}
    config = SandboxConfig(
        "legacy-soap",
        tick_seconds=TICK_SECONDS,
        settings={"username": "crossdock", "password": PASSWORD, **both, **(theirs or {})},
    )
    async with LegacySoapSandbox(config) as sandbox:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        settings, secrets = check(ADAPTER.manifest.settings, {
            "base_url": sandbox.vendor_url, "username": "crossdock", "password": f"file:{secret}",
            "answer_wait_seconds": 1, "time_zone": "America/New_York", **own,
        })  # fmt: skip
        vendor = await adapter.connect(settings, secrets)
        try:
            await vendor.test()
            yield Desk(sandbox, vendor, settings, exchange.Exchange())
        finally:
            await vendor.close()


class Hub:
    """What a poll tells, and what it holds."""

    def __init__(self, cursor: bytes = b"") -> None:
        self.cursor, self.endpoint = cursor, "erp"
        self.held: list[tuple[bytes, str, str]] = []
        self.unread: list[UnreadCodes | None] = []
        self.told: list[str] = []
        self.hub = self.items = self

    async def UpsertItems(self, request: Any) -> Any:
        self.told += [entry.item.number for entry in request.entries]
        results = [item_service_pb2.ItemResult() for _ in request.entries]
        return item_service_pb2.UpsertItemsResponse(results=results)

    async def hold(
        self, content: bytes, problem: str, media: str, key: str, cause: Exception | None = None
    ) -> None:
        self.held.append((content, problem, key))
        self.unread.append(unread_codes(cause))

    async def advance(self, cursor: str) -> None:
        self.cursor = cursor.encode()

    async def catch_up(self) -> None:
        """There are no rows but those of the file."""


async def tell(desk: Desk, *numbers: str, **values: str) -> None:
    for number in numbers:
        row = {"Number": number, "Description": "Lamp", "Unit": "EA", "Status": "A", **values}
        await desk.command("tell_item", **row)
