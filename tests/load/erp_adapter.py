"""An ERP's adapter process on the real SDK: `python -m tests.load.erp_adapter CONFIG`.

ERP_PER_SECOND in the environment is the rate that it declares for its system; "0": none.
ERP_CALLS_AT_ONCE: how many calls it makes at once. ERP_ASKED "no": it says of everything that it is
done and asks nobody, so that what is measured is the way there and back.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from crossdock_adapters.sdk import hosting, logs, registry
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.config import load_adapters
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.manifest import parse
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    OutcomeUnknown,
    Reference,
    Retry,
    Throttled,
)
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import Work

NAME: Final = "bench-erp"
CALLS_AT_ONCE: Final = "16"
BOOK, POST = "create_sales_order", "post_goods_issue"
_GRADES: Final = (
    "manifest", "pure_translation", "connection_test", "redelivery", "begin_attempt",
    "poison_parked", "drains", "owned_fields", "secrets",
)  # fmt: skip


class ErpClient:
    """The ERP's API."""

    def __init__(self, base_url: str) -> None:
        self._http = VendorHttp(base_url)

    async def test(self) -> None:
        answer = await self._http.get("/open")
        if not answer.ok:
            raise Retry(0.0, f"the ERP answers {answer.status}")

    async def book(self, reference: str, order: str) -> str:
        """The number of the document. order: of which, where it is about one."""
        answer = await self._http.post("/documents", json={"key": reference, "order": order})
        if answer.status == 429:
            raise Throttled(0.0, "the ERP takes no more")
        if not answer.ok:
            raise OutcomeUnknown(f"the ERP answers {answer.status}")
        return str(answer.json()["number"])

    async def close(self) -> None:
        await self._http.close()


def _adapter() -> Adapter:
    rate = int(os.environ.get("ERP_PER_SECOND", "0"))
    at_once = int(os.environ.get("ERP_CALLS_AT_ONCE", CALLS_AT_ONCE))
    limits = f"concurrency = {at_once}\n" + (f"rate_per_second = {rate}\n" if rate else "")
    grades = "".join(f'{rule} = "done"\n' for rule in _GRADES)
    adapter = Adapter(
        parse(
            f"""
name = "{NAME}"
title = "ERP of the bench"
version = "1.0"
owner = "tests"
role = "ERP"
[limits]
{limits}
[operations.{BOOK}]
class = "natural"
[operations.{POST}]
class = "natural"
[settings.base_url]
kind = "url"
description = "where the ERP listens"
[grades.dock]
{grades}
"""
        ),
        NAME,
    )

    @adapter.connect
    async def connect(settings: Settings, secrets: Secrets) -> ErpClient:
        return ErpClient(settings.text("base_url"))

    async def ask(work: Work, erp: ErpClient) -> Confirmed:
        order = work.event.order.number if work.operation == BOOK else ""
        return Confirmed([Reference("document", await erp.book(work.reference, order))])

    async def agree(work: Work, _: ErpClient) -> Confirmed:
        return Confirmed([Reference("document", work.reference)])

    for name in (BOOK, POST):
        adapter.operation(name)(agree if os.environ.get("ERP_ASKED") == "no" else ask)
    return adapter


def main(path: str) -> None:
    """Host the endpoint of a configuration file until SIGTERM."""
    made = _adapter()
    # No entry point: this adapter exists only in the bench.
    registry.adapter = lambda _: made  # type: ignore[assignment]
    logs.start()
    asyncio.run(hosting.host_endpoints(load_adapters(Path(path))))


if __name__ == "__main__":
    main(sys.argv[1])
