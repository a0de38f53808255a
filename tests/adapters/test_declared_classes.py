"""Each operation is of the class it declares: proved at its sandbox, and the proof can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import test_manhattan_adapter as manhattan
import test_netsuite_adapter as netsuite
import test_ups_adapter as ups
from crossdock_adapters.manhattan.adapter import ADAPTER as MANHATTAN
from crossdock_adapters.manhattan.sandbox import ManhattanSandbox
from crossdock_adapters.netsuite import adapter as netsuite_wiring
from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.manifest import OperationClass, parse
from crossdock_adapters.sdk.outcomes import Confirmed, NotFound
from crossdock_adapters.sdk.proving import SILENT_FAULTS, Trial, class_problems
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.work import Work
from crossdock_adapters.ups.adapter import ADAPTER as UPS
from crossdock_adapters.ups.sandbox import UpsSandbox
from manhattan_world import STILL, fulfillment_request, sandbox_config
from netsuite_account import running_account
from netsuite_hub import HubNotebook, settings_for
from sdk_tiny_adapter import MANIFEST, tiny_adapter
from sdk_tiny_sandbox import TinySandbox
from ups_world import SANDBOX_SETTINGS

DELIVERY = "0190f7a2-0000-7e5f-8a6b-00000000000a"


class Tiny:
    """The tiny vendor behind the SDK's client."""

    def __init__(self, sandbox: TinySandbox) -> None:
        self.sandbox = sandbox
        self.http = VendorHttp(sandbox.vendor_url, timeout_seconds=5)

    def work(self, operation: str) -> Work:
        nobody: Any = None
        return Work(
            DELIVERY, "tiny", operation, "", "A" * 20, 1, None, Settings({}), nobody, nobody
        )

    def trial(self, adapter: Adapter, operation: str, books: Sized, strikes: str = "") -> Trial:
        """A trial of one operation; this vendor shows its bookings at once."""
        return Trial(
            adapter,
            operation,
            self,
            self.sandbox,
            lambda: self.work(operation),
            lambda: len(books),
            strikes,
            settle_seconds=0.0,
        )


@asynccontextmanager
async def tiny_world() -> AsyncIterator[Tiny]:
    async with TinySandbox(SandboxConfig(name="tiny")) as sandbox:
        tiny = Tiny(sandbox)
        try:
            yield tiny
        finally:
            await tiny.http.close()


@pytest.mark.parametrize("fault", SILENT_FAULTS)
@pytest.mark.parametrize(
    ("operation", "strikes"), [("book", ""), ("ship", "draft"), ("ship", "confirm")]
)
async def test_searchable_and_two_step_hold_at_the_tiny_vendor(
    operation: str, strikes: str, fault: str
) -> None:
    """Proves both classes after a lost answer: one booking, one confirmed draft, whichever of the
    two steps nobody heard of."""
    async with tiny_world() as tiny:
        books = {"book": tiny.sandbox.bookings, "ship": tiny.sandbox.confirmed}
        trial = tiny.trial(tiny_adapter([]), operation, books[operation], strikes)
        assert await class_problems(trial, fault) == []


@pytest.mark.parametrize("declared", ["natural", "keyed"])
async def test_a_class_that_is_not_true_is_found_out(declared: str) -> None:
    """Proves that a vendor which books twice is caught when its operation claims otherwise."""
    async with tiny_world() as tiny:
        adapter = tiny_adapter([])
        text = MANIFEST.replace('"searchable"', f'"{declared}"', 1)
        adapter.manifest = parse(text.replace("[operations.ship]", KEY_LIFE[declared]))
        trial = tiny.trial(adapter, "book", tiny.sandbox.bookings)
        (problem,) = await class_problems(trial)
        assert problem.startswith(f"{declared} after reply_lost: 2 effects")


KEY_LIFE = {
    "natural": "[operations.ship]",
    "keyed": "key_life_seconds = 60\n[operations.ship]",
}


async def test_a_key_that_the_vendor_honours_holds() -> None:
    """Proves that a keyed operation at a vendor which keeps its word passes the same trial."""
    async with tiny_world() as tiny:
        tiny.sandbox.honours_keys = True
        adapter = tiny_adapter([])
        text = MANIFEST.replace('"searchable"', '"keyed"', 1)
        adapter.manifest = parse(text.replace("[operations.ship]", KEY_LIFE["keyed"]))
        assert await class_problems(tiny.trial(adapter, "book", tiny.sandbox.bookings)) == []


async def test_a_look_up_that_takes_trouble_for_not_found_is_found_out() -> None:
    """Proves that the kit catches the most expensive mistake of all: an error read as "nothing"."""
    async with tiny_world() as tiny:
        adapter = tiny_adapter([])

        async def careless(work: Work, vendor: Any) -> Confirmed | NotFound:
            answer = await vendor.http.get(f"/bookings/{work.reference}")
            return Confirmed() if answer.ok and answer.json()["found"] else NotFound()

        adapter.look_ups["book"] = careless
        trial = tiny.trial(adapter, "book", tiny.sandbox.bookings)
        problems = await class_problems(trial)
        assert len(problems) == 3
        assert all("was taken for NOT_FOUND" in problem for problem in problems)


@pytest.mark.parametrize("fault", SILENT_FAULTS)
async def test_ups_sells_one_label(fault: str) -> None:
    """Proves that buy_label is searchable at UPS's sandbox: one label whatever gets lost."""
    config = SandboxConfig("ups", seed=1, settings=SANDBOX_SETTINGS)
    async with UpsSandbox(config) as sandbox:
        world = ups.World(sandbox)
        try:
            trial = Trial(
                UPS,
                "buy_label",
                world.client,
                sandbox,
                world.packed,
                lambda: len(sandbox.books()["shipments"]),
                settle_seconds=0.0,
            )
            assert await class_problems(trial, fault) == []
        finally:
            await world.client.close()


@pytest.mark.parametrize("fault", SILENT_FAULTS)
async def test_netsuite_books_one_sales_order(fault: str, tmp_path: Path) -> None:
    """Proves that create_sales_order is searchable at NetSuite's sandbox."""
    async with running_account(tmp_path) as account:
        settings, secrets = settings_for(account)
        vendor = await netsuite_wiring.connect(settings, secrets)
        hub = HubNotebook()
        await netsuite_wiring.pull_master_data(hub.poll(settings), vendor)
        event = netsuite.approved(netsuite.order())
        try:
            trial = Trial(
                netsuite_wiring.ADAPTER,
                "create_sales_order",
                vendor,
                account.sandbox,
                lambda: hub.work("create_sales_order", event, settings),
                lambda: len(account.orders()),
                settle_seconds=0.0,
            )
            assert await class_problems(trial, fault) == []
        finally:
            await vendor.close()


@pytest.mark.parametrize("fault", SILENT_FAULTS)
async def test_manhattan_holds_one_order(fault: str, tmp_path: Path) -> None:
    """Proves that release_order is searchable at Manhattan's sandbox."""
    async with ManhattanSandbox(sandbox_config(**STILL)) as sandbox:
        world = manhattan.World(sandbox, tmp_path)
        request = fulfillment_request()
        try:
            trial = Trial(
                MANHATTAN,
                "release_order",
                world.client,
                sandbox,
                lambda: world.work("release_order", world.released(request)),
                lambda: len(world.originals()),
                strikes="original_order_save",
                settle_seconds=0.0,
            )
            assert await class_problems(trial, fault) == []
        finally:
            await world.client.close()


@pytest.mark.parametrize("fault", SILENT_FAULTS)
async def test_netsuite_posts_one_goods_issue(fault: str, tmp_path: Path) -> None:
    """Proves that post_goods_issue is searchable: one item fulfillment a shipment."""
    async with running_account(tmp_path) as account:
        settings, secrets = settings_for(account)
        vendor = await netsuite_wiring.connect(settings, secrets)
        hub = HubNotebook()
        await netsuite_wiring.pull_master_data(hub.poll(settings), vendor)
        booking = hub.work("create_sales_order", netsuite.approved(netsuite.order()), settings)
        await netsuite_wiring.create_sales_order(booking, vendor)
        event = netsuite.manifested()
        try:
            trial = Trial(
                netsuite_wiring.ADAPTER,
                "post_goods_issue",
                vendor,
                account.sandbox,
                lambda: hub.work("post_goods_issue", event, settings),
                lambda: len(account.fulfillments()),
                settle_seconds=0.0,
            )
            assert await class_problems(trial, fault) == []
        finally:
            await vendor.close()


@pytest.mark.parametrize("fault", SILENT_FAULTS)
async def test_manhattan_cancels_one_order(fault: str, tmp_path: Path) -> None:
    """Proves that cancel_order is searchable: found cancelled, and not cancelled again."""
    async with ManhattanSandbox(sandbox_config(**STILL)) as sandbox:
        world = manhattan.World(sandbox, tmp_path)
        request = fulfillment_request()
        await world.release(request)
        try:
            trial = Trial(
                MANHATTAN,
                "cancel_order",
                world.client,
                sandbox,
                lambda: world.work("cancel_order", manhattan.cancelled(request)),
                lambda: sum(bool(o.get("IsCancelled")) for o in world.originals().values()),
                strikes="original_order_save",
                settle_seconds=0.0,
            )
            assert await class_problems(trial, fault) == []
        finally:
            await world.client.close()


def test_every_operation_that_costs_is_proved_somewhere() -> None:
    """Proves that no adapter declares searchable, keyed or two_step without a trial above."""
    proved = {
        ("ups", "buy_label"),
        ("netsuite", "create_sales_order"),
        ("netsuite", "post_goods_issue"),
        ("manhattan", "release_order"),
        ("manhattan", "cancel_order"),
    }
    declared = {
        (name, operation.name)
        for name in registry.names()
        for operation in registry.adapter(name).manifest.operations.values()
        if operation.operation_class
        in (OperationClass.SEARCHABLE, OperationClass.KEYED, OperationClass.TWO_STEP)
    }
    assert declared == proved
