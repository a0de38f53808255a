"""A row that is set by RPC, and the very next words that go to a vendor, at a real hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_adapters.canada_post.adapter import ADAPTER
from crossdock_adapters.canada_post.sandbox import CanadaPostSandbox
from crossdock_adapters.sdk import runner as running_endpoints
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import hosted
from story import Story, unique
from test_canada_post_hub import (
    SANDBOX_SETTINGS,
    WAIT_SECONDS,
    dock_in_ottawa,
    label_of,
    packed,
    settings,
)
from typed_commands import typed

pytestmark = pytest.mark.timeout(300)

# Of the test's whole life there is one heartbeat, at its beginning.
NEVER_SECONDS = 3_600.0
CODES = ("DOM.LIB", "DOM.PC", "DOM.RP")


async def test_what_is_sent_is_sent_by_the_row_of_now(
    hub: RunningHub, lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a label is bought by the row that was set a moment before its order was packed,
    the first time and each time that the row is another: without a heartbeat, and at the first
    attempt, as nothing was sent by an older one."""
    monkeypatch.setattr(running_endpoints, "HEARTBEAT_SECONDS", NEVER_SECONDS)
    word = unique("SWIFT").upper().replace("-", "_")
    # Of other parcel numbers than those of other tests at this hub.
    config = SandboxConfig("canada-post", seed=31, settings=SANDBOX_SETTINGS)
    await dock_in_ottawa(hub)
    sold: list[str] = []
    async with (
        CanadaPostSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.carrier, ADAPTER, settings(sandbox, tmp_path)) as runner,
    ):
        await eventually(lambda: runner.state == "serving", "the endpoint", WAIT_SECONDS)
        for code, before in zip(CODES, (None, *CODES), strict=False):
            row = ("map", "set", "canada-post", "SERVICE_LEVEL", code, "--type", "DOM")
            # What the deployment says of a code stays: of two that are preferred none is newer.
            if before is not None:
                gone = ("map", "reset", "canada-post", "SERVICE_LEVEL", before, "--type", "DOM")
                await typed(hub, *gone, "--reason", "the tariff ended", "--yes")
            means = ("--means", word, "--preferred", "--reason", "the new tariff", "--yes")
            await typed(hub, *row, *means)
            shipment = (await packed(story, word)).id

            async def bought(shipment: str = shipment) -> bool:
                return await story.state(shipment, "buy_label") == "CONFIRMED"

            await eventually(bought, f"a label of {code}", WAIT_SECONDS)
            delivery = await story.delivery(shipment, "buy_label")
            assert delivery.attempts == 1, delivery
            number = (await label_of(story, shipment)).tracking_number
            sold += [
                each["service"]
                for each in sandbox.books()["shipments"]
                if each["tracking_number"] == number
            ]
    assert sold == list(CODES)
