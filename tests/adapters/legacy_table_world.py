"""A simulated ERP with staging tables, an adapter's client of it, and the ERP's people."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossdock_adapters.legacy_table import adapter
from crossdock_adapters.legacy_table.adapter import ADAPTER, Erp
from crossdock_adapters.legacy_table.sandbox import LegacyTableSandbox
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.outcomes import AnswerLater, Confirmed
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import check
from crossdock_adapters.sdk.work import Work
from fixtures_nats import PATIENCE_SECONDS

TICK_SECONDS = 0.01
DELIVERY = "0190f7a2-0000-7e5f-8a6b-00000000000a"
REFERENCE = "A" * 20


@dataclass
class Desk:
    """An ERP that runs, and an adapter's client of it."""

    sandbox: LegacyTableSandbox
    vendor: Erp
    settings: Any
    file: Path

    def work(self, operation: str, event: Any, reference: str = REFERENCE) -> Work:
        nobody: Any = None
        return Work(
            DELIVERY, "legacy-table", operation, "", reference, 1, event, self.settings, nobody,
            nobody,
        )  # fmt: skip

    async def do(self, operation: str, event: Any, reference: str = REFERENCE) -> Confirmed:
        """One attempt, as the runner makes it."""
        with exchange.recording():
            work = self.work(operation, event, reference)
            return await ADAPTER.operations[operation](work, self.vendor)

    async def look(self, operation: str, event: Any, reference: str = REFERENCE) -> Any:
        """One look-up."""
        return await ADAPTER.look_ups[operation](
            self.work(operation, event, reference), self.vendor
        )

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

    async def misbehave(self, kind: str, count: int = 1) -> None:
        await self.sandbox.commands()["misbehave"]({"kind": kind, "count": count})

    async def behave(self) -> None:
        await self.sandbox.commands()["behave"]({})

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What somebody at the ERP does by hand."""
        with closing(sqlite3.connect(self.file, timeout=10)) as connection, connection:
            return connection.execute(statement, values).fetchall()


@asynccontextmanager
async def running(folder: Path, **given: Any) -> AsyncIterator[Desk]:
    """given: settings of the sandbox by its names, of the adapter by its names."""
    own = {key: given.pop(key) for key in list(given) if key in ADAPTER.manifest.settings}
    example = LegacyTableSandbox.example_settings(folder)
    config = SandboxConfig("legacy-table", tick_seconds=TICK_SECONDS, settings={**example, **given})
    async with LegacyTableSandbox(config) as sandbox:
        address = folder / "address"
        address.write_text(sandbox.database_url())
        settings, secrets = check(ADAPTER.manifest.settings, {
            "database_url": f"file:{address}", "answer_wait_seconds": 1, "connect_seconds": 2,
            "time_zone": "America/New_York", **own,
        })  # fmt: skip
        vendor = await adapter.connect(settings, secrets)
        await vendor.test()
        try:
            yield Desk(sandbox, vendor, settings, Path(example["file"]))
        finally:
            await vendor.close()
