"""The adapter of an ERP in the yard, on the real SDK; `hosted.py` runs it in a process.

It may die by its own hand exactly where it hurts, between the vendor's answer and the hub's: the
variable YARD_DEATHS holds a seed and the shares of calls before and after which it does. YARD_CALLS
says how many calls it makes at once and how long it waits for an answer; YARD_MENDED names a file.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from crossdock_adapters.sdk import exchange, http
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.carrier_labels import find_package
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.manifest import parse
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import Work

from tests.faults.yard.vendor import LEASE_UNTIL, SENT_AT

OPERATIONS = ("create_sales_order", "change_order", "cancel_order")
CLASSES = ("searchable", "keyed", "none", "natural", "two_step")
CALLS = json.loads(os.environ.get("YARD_CALLS", "{}"))
CONCURRENCY = CALLS.get("at_once", 16)
HTTP_SECONDS = CALLS.get("seconds", 1.5)
# Once this file is there, the adapters are as their next version: they can translate every order.
MENDED = os.environ.get("YARD_MENDED", "")
# Beside the call itself a little is left for what is around it.
TIMEOUT_SECONDS = HTTP_SECONDS + 0.5
SETTLE_SECONDS = 1.2
KEY_LIFE_SECONDS = 600.0
MAX_ATTEMPTS = 12
# An order to nobody that any vendor knows.
POISON = "Poison"
DEATHS = json.loads(os.environ.get("YARD_DEATHS", "{}"))


def adapter_name(kind: str) -> str:
    """What the adapter of one class is called."""
    return f"yard-{kind.replace('_', '-')}"


def manifest(kind: str) -> str:
    """The adapter.toml of one class: the same operations, each with the same promise."""
    operations = "".join(operation(name, kind) for name in OPERATIONS)
    return manifest_of(adapter_name(kind), f"Yard ({kind})", "ERP", operations)


def operation(name: str, kind: str) -> str:
    """An operation's table of a manifest."""
    return f"""
[operations.{name}]
class = "{kind}"
timeout_seconds = {TIMEOUT_SECONDS}
settle_after_seconds = {SETTLE_SECONDS}
key_life_seconds = {KEY_LIFE_SECONDS}
max_attempts = {MAX_ATTEMPTS}
"""


def manifest_of(name: str, title: str, role: str, operations: str, settings: str = "") -> str:
    """An adapter.toml of the yard. settings: tables of more settings than where the vendor is."""
    return f"""
name = "{name}"
title = "{title}"
version = "1.0"
owner = "tests"
role = "{role}"
[limits]
concurrency = {CONCURRENCY}
{operations}
[settings.base_url]
kind = "url"
description = "where the vendor listens"
{settings}
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


class YardClient:
    """The vendor's API, with what the sandbox logs about each call."""

    def __init__(self, base_url: str) -> None:
        self._http = VendorHttp(base_url, timeout_seconds=HTTP_SECONDS)

    async def test(self) -> None:
        answer = await self._http.get("/open")
        if not answer.ok:
            raise Retry(0.0, f"the vendor answers {answer.status}")

    async def sell(self, work: Work) -> dict[str, Any]:
        """What was sold: its number, and what the vendor says of it besides."""
        return await self._post("/documents", work)

    async def draft(self, work: Work) -> str:
        """The id of a draft, of which nothing comes until it is confirmed."""
        return str((await self._post("/drafts", work))["draft"])

    async def confirm(self, work: Work) -> dict[str, Any]:
        """What was sold by confirming a draft; the same draft, the same document."""
        return await self._post(f"/drafts/{work.draft}/confirm", work)

    async def void(self, work: Work, number: str) -> None:
        """Take back what was sold; done twice it is done once."""
        await self._post(f"/documents/{number}/void", work)

    async def _post(self, path: str, work: Work) -> dict[str, Any]:
        answer = await self._http.post(path, json=_told(work))
        if answer.status == 503:
            raise Retry(0.0, "the vendor is not available")
        if answer.status == 422:
            raise Reject("422", "the vendor refuses the order")
        if not answer.ok:
            raise OutcomeUnknown(f"the vendor answers {answer.status}")
        told: dict[str, Any] = answer.json()
        return told

    async def find(self, work: Work) -> list[dict[str, Any]]:
        """What the vendor has sold under our reference, the oldest first."""
        told = {name: str(value) for name, value in _told(work).items()}
        answer = await self._http.get(f"/documents/{work.reference}", params=told)
        if not answer.ok:
            raise OutcomeUnknown(f"the look-up was answered with {answer.status}")
        found: list[dict[str, Any]] = answer.json()["documents"]
        return found

    async def close(self) -> None:
        await self._http.close()


def _told(work: Work) -> dict[str, Any]:
    subject, revision = subject_of(work)
    return {
        "operation": work.operation,
        "delivery_id": work.delivery_id,
        "attempt": work.attempt,
        "key": work.reference,
        "subject": subject,
        "revision": revision,
    }


def subject_of(work: Work) -> tuple[str, int]:
    """What a call is about, as callers name it; and its revision, where the vendor keeps states."""
    if work.item:
        return find_package(work.event.shipment, work.item).number, 0
    return work.event.order.number, work.event.metadata.revision


class StampedRequest(http._LeasedRequest):
    """Says when it left, and how far its lease reached then.

    Stamped immediately before the SDK's last look at the lease: a process that is stopped earlier
    and still sends has sent after its lease, one that is stopped after that look is in the window
    that docs/guarantees.md states, and its call arrives after its lease.
    """

    async def send(self, conn: Any) -> Any:
        record = exchange.current()
        if record is not None and math.isfinite(record.lease_until):
            # The time first: whoever is stopped between the two has less lease, not more.
            now = int(time.time() * 1e6)
            left = int(record.lease_left_seconds() * 1e6)
            self.headers[SENT_AT], self.headers[LEASE_UNTIL] = str(now), str(now + left)
        return await super().send(conn)


def die_maybe(where: str, work: Work, step: str = "") -> None:
    """kill -9 of ourselves, when the seed says so for this order, operation, step and attempt."""
    words = f"{DEATHS.get('seed')}:{where}{step}:{subject_of(work)[0]}:{work.operation}"
    if random.Random(f"{words}:{work.attempt}").random() < DEATHS.get(where, 0.0):
        os.kill(os.getpid(), signal.SIGKILL)


def refuse_poison(work: Work) -> None:
    """Raise Untranslatable for an order that nobody can send before the adapters are mended."""
    if work.event.order.ship_to.name == POISON and not (MENDED and Path(MENDED).exists()):
        raise Untranslatable("the vendor has no word for this consignee")


def yard_adapter(kind: str) -> Adapter:
    """The adapter of one class."""
    adapter = Adapter(parse(manifest(kind)), adapter_name(kind))

    @adapter.connect
    async def connect(settings: Settings, secrets: Secrets) -> YardClient:
        return YardClient(settings.text("base_url"))

    async def draft(work: Work, vendor: YardClient) -> str:
        refuse_poison(work)
        die_maybe("before", work, "a draft")
        made = await vendor.draft(work)
        die_maybe("after", work, "a draft")
        return made

    async def sell(work: Work, vendor: YardClient) -> Confirmed:
        refuse_poison(work)
        die_maybe("before", work)
        sold = await (vendor.confirm(work) if work.draft else vendor.sell(work))
        die_maybe("after", work)
        return Confirmed([Reference("document", sold["number"])])

    async def find(work: Work, vendor: YardClient) -> Confirmed | NotFound:
        found = await vendor.find(work)
        if not found:
            return NotFound("not there")
        return Confirmed([Reference("document", found[0]["number"])])

    for name in OPERATIONS:
        adapter.operation(name)(sell)
        if kind == "searchable":
            adapter.look_up(name)(find)
        if kind == "two_step":
            adapter.draft(name)(draft)
    return adapter
