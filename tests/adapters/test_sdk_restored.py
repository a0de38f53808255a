"""An adapter on the real SDK whose call leaves in a lease of a time that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from back_ups import copy_running_database, put_back_database
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.consumer import PullConsumer
from crossdock_adapters.sdk.hub_link import HubLink, Registration
from crossdock_adapters.sdk.manifest import parse
from crossdock_adapters.sdk.outcomes import Confirmed, NotFound, OutcomeUnknown, Reference
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.telemetry import Telemetry
from crossdock_adapters.sdk.work import Work
from crossdock_adapters.sdk.worker import LEASE_MARGIN_SECONDS
from databases import on_sqlite_only
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from sdk_tiny_adapter import MANIFEST, TinyVendor
from sdk_tiny_sandbox import TinySandbox
from story import Story, approve_order

pytestmark = [on_sqlite_only, pytest.mark.timeout(600)]

CALL_SECONDS = 20
LEASE_MICROSECONDS = int((CALL_SECONDS + LEASE_MARGIN_SECONDS) * 1e6)
LANE = Lane(1)
OPERATION = "create_sales_order"


def manifest() -> str:
    """That of the tiny adapter, with one operation of an ERP."""
    head, _, rest = MANIFEST.partition("[operations.book]")
    settings = rest[rest.index("[settings.base_url]") :]
    operation = (
        f'[operations.{OPERATION}]\nclass = "searchable"\ntimeout_seconds = {CALL_SECONDS}\n'
        "settle_after_seconds = 1\n"
    )
    return head.replace("CARRIER", "ERP") + operation + settings


class Slow:
    """An adapter that books when it is let: its work has begun, and its call has not left."""

    def __init__(self) -> None:
        self.may_take = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.may_send = asyncio.Event()
        self.adapter = Adapter(parse(manifest()), "tiny")
        self.adapter.connect(self._connect)
        self.adapter.operation(OPERATION)(self._book)
        self.adapter.look_up(OPERATION)(self._find)

    async def _connect(self, settings: Settings, secrets: Secrets) -> TinyVendor:
        return TinyVendor(settings, secrets)

    async def _book(self, work: Work, vendor: TinyVendor) -> Confirmed:
        self.has_begun.set()
        await self.may_send.wait()
        answer = await vendor.http.post("/bookings", json={"key": work.reference})
        return Confirmed([Reference("sales_order", str(answer.json()["number"]))])

    async def _find(self, work: Work, vendor: TinyVendor) -> Confirmed | NotFound:
        answer = await vendor.http.get(f"/bookings/{work.reference}")
        if not answer.ok:
            raise OutcomeUnknown("the look-up failed")
        found = answer.json()["found"]
        if not found:
            return NotFound("not there")
        reference = Reference("sales_order", str(found[0]["number"]))
        return Confirmed([reference], found_by=found[0]["key"])


@asynccontextmanager
async def hosted(
    hub: RunningHub, slow: Slow, tiny: TinySandbox, folder: Path
) -> AsyncIterator[None]:
    """The adapter, run by the SDK against a hub and its bus."""

    async def open_source(registration: Registration, prefetch: int) -> Any:
        await slow.may_take.wait()
        consumer = PullConsumer(
            hub.nats_url,
            hub.bus_credentials(LANE.erp),
            stream=registration.stream,
            durable=registration.consumer,
            prefetch=prefetch,
        )
        return await consumer.start()

    credential = folder / "credential"
    credential.write_text("let me in")
    settings = {"base_url": tiny.vendor_url, "credential": f"file:{credential}"}
    config = EndpointConfig(LANE.erp, "tiny", hub.token_file(LANE.erp), settings=settings)
    stopping = asyncio.Event()
    async with hub.client(LANE.erp) as client:
        link = HubLink(LANE.erp, client, "test")
        runner = EndpointRunner(config, slow.adapter, link, open_source, Telemetry())
        running = asyncio.create_task(runner.run(stopping))
        try:
            yield
        finally:
            stopping.set()
            await running


async def test_a_call_that_leaves_within_a_lease_of_a_time_that_is_lost(
    own_hub: RunningHub, tmp_path: Path
) -> None:
    """Proves with a real adapter that a call which began after the copy, and leaves after that was
    put back, within its old lease, is not made twice: its outcome is kept as evidence, nothing else
    begins at its endpoint before that lease is over, and then a look-up finds what it made."""
    slow, saved = Slow(), tmp_path / "saved"
    async with (
        TinySandbox(SandboxConfig(name="tiny")) as tiny,
        Story(own_hub, LANE) as story,
        hosted(own_hub, slow, tiny, tmp_path),
    ):
        await eventually(
            counting(own_hub, "endpoints", f"id = '{LANE.erp}' AND state != 'EXPECTED'"),
            "the registration",
        )
        for _ in range(2):
            made = await story.create()
            await story.oms.orders.ApproveOrder(approve_order(made.id))
        await eventually(counting(own_hub, "deliveries", "state = 'DISPATCHED'", 2), "the work")
        copy_running_database(own_hub, saved)
        slow.may_take.set()
        await slow.has_begun.wait()
        await eventually(counting(own_hub, "deliveries", "state = 'IN_FLIGHT'", 2), "both begins")
        own_hub.kill()
        put_back_database(own_hub, saved)
        own_hub.spawn()
        await asyncio.to_thread(own_hub.wait_until_serving)
        ((restored_at,),) = own_hub.query("SELECT first_at FROM bus_differences")
        slow.may_send.set()
        await eventually(counting(own_hub, "attempts", "number = 0", 2), "the late words")
        assert len(tiny.bookings) == 2, "the old lease let it send"
        assert own_hub.count("attempts", "number > 0") == 0, "something began in the old lease"
        await eventually(
            counting(own_hub, "deliveries", "state = 'CONFIRMED'", 2), "the look-ups", 60.0
        )
        assert len(tiny.bookings) == 2, "sent again"
        begun = own_hub.query("SELECT kind, outcome, begun_at FROM attempts WHERE number > 0")
        assert {(kind, outcome) for kind, outcome, _ in begun} == {("LOOK_UP", "CONFIRMED")}
        assert min(at for _, _, at in begun) >= restored_at + LEASE_MICROSECONDS


def counting(hub: RunningHub, table: str, condition: str, least: int = 1) -> Callable[[], bool]:
    """Whether so many rows meet a condition."""
    return lambda: hub.count(table, condition) >= least
