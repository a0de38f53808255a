"""Rounds over held payloads: whose translation the vendor does not serve holds up nobody else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from crossdock_adapters.sdk.held_payloads import VENDOR_FAILURES_IN_A_ROW, HeldPayloads
from crossdock_adapters.sdk.inbound import Inbound
from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.work import HeldPayload


class Hub:
    """A hub that holds payloads until they are reported on."""

    def __init__(self, *ids: str) -> None:
        self.ids = list(ids)
        self.reported: list[str] = []

    async def held_payloads(
        self, *, asked: bool, page_token: str = ""
    ) -> tuple[list[HeldPayload], str]:
        left = [] if asked else [each for each in self.ids if each not in self.reported]
        return [HeldPayload(e, "/hook", e.encode(), "application/json", asked) for e in left], ""

    async def report_held(self, held_id: str, reason: str) -> None:
        self.reported.append(held_id)


def rounds(hub: Hub, served: Any) -> HeldPayloads:
    """The rounds of an endpoint whose vendor fails at what is not served."""

    async def receive(payload: bytes, vendor: Any) -> None:
        if not served(payload.decode()):
            raise Retry(0.0, f"GET /objects/{payload.decode()}: 500")

    inbound = SimpleNamespace(
        endpoint="tiny",
        link=hub,
        vendor=None,
        adapter=SimpleNamespace(webhooks={"/hook": SimpleNamespace(receive=receive)}, polls={}),
        webhook_of=lambda spec, body, *rest: body,
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
