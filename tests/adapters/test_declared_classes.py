"""The proof of a declared class can fail. Those of the adapters: tests/adapters/test_conforming."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager
from typing import Any

import pytest
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.manifest import parse
from crossdock_adapters.sdk.outcomes import Confirmed, NotFound
from crossdock_adapters.sdk.proving import SILENT_FAULTS, Trial, class_problems
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.work import Work
from sdk_tiny_adapter import MANIFEST, tiny_adapter
from sdk_tiny_sandbox import TinySandbox

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
