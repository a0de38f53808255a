"""Rounds over held payloads: whose translation the vendor does not serve holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from crossdock_adapters.sdk import held_payloads
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.held_payloads import VENDOR_FAILURES_IN_A_ROW, HeldPayloads
from crossdock_adapters.sdk.inbound import Inbound
from crossdock_adapters.sdk.mappings import as_they_are
from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.work import HeldPayload

PAYLOAD_BYTES = 1_000


class Hub:
    """A hub that holds payloads until they are translated, and tells them in pages of four."""

    def __init__(self, *ids: str) -> None:
        self.ids = list(ids)
        self.reported: list[str] = []
        self.sent_bytes = 0
        self.away_at = ""

    async def held_payloads(
        self, *, asked: bool, page_token: str = "", ids: Sequence[str] = ()
    ) -> tuple[list[HeldPayload], str]:
        if page_token and page_token == self.away_at:
            self.away_at = ""
            raise HubAway("away")
        open_ones = [] if asked else [each for each in self.ids if each not in self.reported]
        wanted = [e for e in open_ones if e > page_token and (not ids or e in ids)]
        page = wanted[:4]
        self.sent_bytes += PAYLOAD_BYTES * len(page)
        told = [HeldPayload(e, "/hook", e.encode(), "application/json", asked) for e in page]
        return told, page[-1] if len(wanted) > 4 else ""

    async def report_held(self, held_id: str, reason: str, codes: object = None) -> None:
        if not reason:
            self.reported.append(held_id)


def rounds(hub: Hub, served: Any, catch_up: Any = as_they_are) -> HeldPayloads:
    """The rounds of an endpoint whose vendor fails at what is not served."""

    async def receive(payload: bytes, vendor: Any) -> None:
        name = payload.decode()
        if name.startswith("odd"):
            raise ValueError("of an unknown shape")
        if not served(name):
            raise Retry(0.0, f"GET /objects/{name}: 500")

    inbound = SimpleNamespace(
        endpoint="tiny",
        link=hub,
        vendor=None,
        adapter=SimpleNamespace(webhooks={"/hook": SimpleNamespace(receive=receive)}, polls={}),
        webhook_of=lambda spec, body, *rest: body,
        catch_up=catch_up,
    )
    return HeldPayloads(cast(Inbound, inbound))


@pytest.mark.parametrize("bad", [1, VENDOR_FAILURES_IN_A_ROW, 2 * VENDOR_FAILURES_IN_A_ROW])
async def test_what_the_vendor_does_not_serve_holds_up_nobody(bad: int) -> None:
    """Proves that payloads behind ones that never get an answer are translated, however many stand
    in front of them, and that those are tried again and again and named."""
    hub = Hub(*(f"bad-{n}" for n in range(bad)), "good-1", "good-2")
    held = rounds(hub, lambda name: name.startswith("good"))
    said = [await held.one_round(asked=False) for _ in range(5)]
    assert hub.reported == ["good-1", "good-2"]
    assert all("bad-" in each for each in said)


async def test_a_vendor_that_is_down_is_not_asked_for_all_of_them() -> None:
    """Proves that a round ends after some failures in a row, and goes on when it is back."""
    hub, up = Hub(*(f"p-{n:02}" for n in range(40))), False
    asked: list[str] = []

    def served(name: str) -> bool:
        asked.append(name)
        return up

    held = rounds(hub, served)
    assert await held.one_round(asked=False)
    assert len(asked) == VENDOR_FAILURES_IN_A_ROW
    up = True
    for _ in range(2):
        said = await held.one_round(asked=False)
    assert said == "" and sorted(hub.reported) == sorted(hub.ids)


async def test_later_rounds_transfer_what_is_left_and_no_more() -> None:
    """Proves that one payload that never gets an answer has only itself read again, not the others
    that have one and stay held, and that what was closed meanwhile ends the asking."""
    hub = Hub("bad-1", *(f"odd-{n:02}" for n in range(50)), "zgood")
    held = rounds(hub, lambda name: name == "zgood")
    assert "bad-1" in await held.one_round(asked=False)
    assert hub.sent_bytes == PAYLOAD_BYTES * len(hub.ids)
    assert hub.reported == ["zgood"]
    for _ in range(5):
        hub.sent_bytes = 0
        assert "bad-1" in await held.one_round(asked=False)
        assert hub.sent_bytes == PAYLOAD_BYTES
    hub.reported.append("bad-1")
    hub.sent_bytes = 0
    assert await held.one_round(asked=False) == ""
    assert hub.sent_bytes == 0


async def test_new_rows_end_the_wait_for_the_next_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that rows which changed have the adapter ask at once for what is to be tried again,
    however long the next round would take."""
    monkeypatch.setattr(held_payloads, "HELD_ROUND_SECONDS", 3_600.0)
    held, seen = rounds(Hub(), lambda name: True), asyncio.Queue[bool]()
    one_round = held.one_round

    async def noted(*, asked: bool) -> str:
        seen.put_nowait(asked)
        return await one_round(asked=asked)

    monkeypatch.setattr(held, "one_round", noted)
    running = asyncio.create_task(held.run())
    try:
        async with asyncio.timeout(20):
            assert [await seen.get(), await seen.get()] == [True, False]
            held.look_again()
            assert await seen.get() is True
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_first_pass_that_broke_off_goes_on_where_it_stood() -> None:
    """Proves that what has an answer is not transferred again when the hub was away between two
    pages."""
    hub = Hub(*(f"odd-{n:02}" for n in range(40)))
    held = rounds(hub, lambda name: True)
    hub.away_at = "odd-31"
    assert await held.one_round(asked=False) == "away"
    assert hub.sent_bytes == PAYLOAD_BYTES * 32
    assert await held.one_round(asked=False) == ""
    assert hub.sent_bytes == PAYLOAD_BYTES * 40


async def test_what_is_held_waits_for_the_rows_of_now() -> None:
    """Proves that no payload is translated by rows that are known to be old: while those of now
    can't be read it waits, and then each is read by them."""
    asked: list[bool] = []

    async def catch_up() -> None:
        asked.append(bool(away))
        if away:
            raise HubAway(away)

    away, hub = "no answer", Hub("good-1", "good-2")
    held = rounds(hub, lambda name: True, catch_up)
    assert "HubAway" in await held.one_round(asked=False)
    assert hub.reported == []
    away = ""
    assert await held.one_round(asked=False) == ""
    assert hub.reported == ["good-1", "good-2"]
    assert asked == [True, False, False]
