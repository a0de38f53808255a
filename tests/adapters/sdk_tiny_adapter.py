"""The smallest possible adapter: it books at the tiny sandbox, looks bookings up, listens."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from crossdock.item.v1 import item_service_pb2
from crossdock.label.v1 import label_service_pb2
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.adapter import Adapter, same_secret
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.manifest import parse
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
    Throttled,
)
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import Poll, Refused, Webhook, Work

MANIFEST = """
name = "tiny"
title = "Tiny"
version = "1.0"
owner = "tests"
role = "CARRIER"
[limits]
concurrency = 4
[operations.book]
class = "searchable"
timeout_seconds = 6
settle_after_seconds = 1
[operations.ship]
class = "two_step"
timeout_seconds = 6
[operations.numbers]
class = "natural"
[operations.misbehave]
class = "none"
timeout_seconds = 120
[settings.base_url]
kind = "url"
description = "where"
[settings.credential]
kind = "secret"
description = "who"
[settings.pages_interval_seconds]
kind = "seconds"
description = "how often"
default = 0.05
[grades.dock]
manifest = "done"
pure_translation = "done"
connection_test = "done"
redelivery = "done"
begin_attempt = "done"
poison_parked = "done"
drains = "done"
owned_fields = "done"
secrets = "done"
"""


class TinyVendor:
    """The vendor client; `pages` is what the poll sees."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        # It waits as long as any operation may: what ends a call is the runner, or its lease.
        self.http = VendorHttp(settings.text("base_url"), timeout_seconds=20)
        self.secrets = secrets
        self.pages: list[str] = []
        self.tests = 0
        self.closed = False
        self.numbers: dict[str, str] = {}

    async def test(self) -> None:
        self.tests += 1
        answer = await self.http.get("/bookings/none")
        if not answer.ok:
            raise Retry(0.0, f"the vendor answers {answer.status}")

    async def close(self) -> None:
        self.closed = True
        await self.http.close()


def tiny_adapter(vendors: list[TinyVendor]) -> Adapter:
    """A fresh adapter; the vendor clients it makes are appended to `vendors`."""
    adapter = Adapter(parse(MANIFEST), "tiny")

    @adapter.connect
    async def connect(settings: Settings, secrets: Secrets) -> TinyVendor:
        vendors.append(TinyVendor(settings, secrets))
        return vendors[-1]

    @adapter.operation("book")
    async def book(work: Work, vendor: TinyVendor) -> Confirmed:
        answer = await vendor.http.post("/bookings", json={"key": work.reference})
        if answer.status == 429:
            raise Throttled(answer.retry_after_seconds(1), "throttled")
        if answer.status == 422:
            raise Reject("422", "the vendor refuses the key")
        if not answer.ok:
            raise OutcomeUnknown(f"the vendor answers {answer.status}")
        number = str(answer.json()["number"])
        fact = label_service_pb2.CreateLabelRequest()
        return Confirmed([Reference("booking", number)], [fact], "booked")

    @adapter.look_up("book")
    async def find(work: Work, vendor: TinyVendor) -> Confirmed | NotFound:
        answer = await vendor.http.get(f"/bookings/{work.reference}")
        if not answer.ok:
            raise OutcomeUnknown("the look-up failed")
        found = answer.json()["found"]
        if not found:
            return NotFound("not there")
        ours, *others = found
        return Confirmed(
            [Reference("booking", str(ours["number"]))],
            duplicates=[Reference("booking", str(other["number"])) for other in others],
            found_by=ours["key"],
        )

    _two_steps(adapter)

    @adapter.operation("numbers")
    async def numbers(work: Work, vendor: TinyVendor) -> Confirmed:
        vendor.numbers = await work.numbers("item", ["a", "b", "missing"])
        return Confirmed()

    @adapter.operation("misbehave")
    async def misbehave(work: Work, vendor: TinyVendor) -> Confirmed:
        return await _misbehave(work, vendor)

    _hear(adapter)
    return adapter


def _two_steps(adapter: Adapter) -> None:
    """Draft, then confirm by the draft's id."""

    @adapter.draft("ship")
    async def draft(work: Work, vendor: TinyVendor) -> str:
        answer = await vendor.http.post("/drafts", json={"key": work.reference})
        if answer.status == 429:
            raise Throttled(answer.retry_after_seconds(1), "throttled")
        if not answer.ok:
            raise OutcomeUnknown(f"the vendor answers {answer.status} to a draft")
        return str(answer.json()["draft"])

    @adapter.operation("ship")
    async def confirm(work: Work, vendor: TinyVendor) -> Confirmed:
        answer = await vendor.http.post(f"/drafts/{work.draft}/confirm")
        if not answer.ok:
            raise OutcomeUnknown(f"the vendor answers {answer.status} to a confirmation")
        return Confirmed([Reference("shipment", str(answer.json()["number"]))])


def _hear(adapter: Adapter) -> None:
    """The inbound side: a poll that pages, and a webhook."""

    @adapter.poll("pages")
    async def pages(poll: Poll, vendor: TinyVendor) -> None:
        done = int(poll.cursor or b"0")
        for number, page in enumerate(vendor.pages[done:], done + 1):
            if page == "broken":
                await poll.hold(b"broken", "the page cannot be read", key=f"page-{number}")
            await poll.advance(str(number))

    async def check(hook: Webhook, vendor: TinyVendor) -> None:
        if not same_secret(hook.headers.get("credential", ""), vendor.secrets.text("credential")):
            raise Refused(401, "unknown sender")

    @adapter.webhook("/hook", check=check)
    async def hook(hook: Webhook, vendor: TinyVendor) -> None:
        body = vendor_json.loads(hook.body)
        if body["page"] == "invented":
            # The hub will never know an item of this number in this way.
            await hook.hub.items.GetItem(item_service_pb2.GetItemRequest(number="missing"))
        vendor.pages.append(body["page"])


async def _misbehave(work: Work, vendor: TinyVendor) -> Confirmed:
    match work.item:
        case "nothing":
            nothing: Any = None
            return cast(Confirmed, nothing)
        case "key_error":
            raise KeyError("weight")
        case "key_error_after_effect":
            await vendor.http.post("/bookings", json={"key": work.reference})
            raise KeyError("number")
        case "person":
            raise NeedsPerson("the account is locked")
        case "sleep":
            await asyncio.sleep(120)
        case "unhurried":
            await vendor.http.post("/bookings", json={"key": work.reference})
            return Confirmed()
    raise AssertionError(work.item)
