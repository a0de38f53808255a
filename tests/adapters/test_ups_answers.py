"""Answers of UPS in forms that it publishes, where one broken part must not cost the others."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from crossdock_adapters.sdk.outcomes import Reject
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.ups import adapter, client
from crossdock_adapters.ups.sandbox import UpsSandbox
from test_ups_adapter import World
from ups_world import SANDBOX_SETTINGS

IMAGE = b"^XA^FDA1^FS^XZ"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    config = SandboxConfig("ups", seed=5, tick_seconds=0.01, settings=SANDBOX_SETTINGS)
    async with UpsSandbox(config) as sandbox:
        made = World(sandbox)
        yield made
        await made.client.close()


@pytest.mark.parametrize(
    "broken",
    [
        {"LabelImageFormat": {"Code": "zpl"}, "GraphicImage": "Q0hFQ0s…"},
        {"LabelImageFormat": {"Code": "zpl"}, "URL": "https://labels.example/1"},
        {"GraphicImage": base64.b64encode(IMAGE).decode()},
        "a link",
    ],
)
def test_an_image_that_cannot_be_read_costs_no_label(broken: Any) -> None:
    """Proves that recovery tells every number, and every image that can be read, where UPS sends
    one image that is no base64, as a link alone (LabelLinkIndicator), or without its format."""
    sound = {"LabelImageFormat": {"Code": "zpl"}, "GraphicImage": base64.b64encode(IMAGE).decode()}
    results = [
        {"TrackingNumber": "1ZA1B2C30300000018", "LabelImage": broken},
        {"TrackingNumber": "1ZA1B2C30300000027", "LabelImage": sound},
    ]
    first, second = client.read_recovery({"LabelRecoveryResponse": {"LabelResults": results}})
    assert (first.tracking_number, first.image) == ("1ZA1B2C30300000018", b"")
    assert (second.tracking_number, second.image) == ("1ZA1B2C30300000027", IMAGE)


async def test_a_refused_renewal_does_not_cost_the_pages_behind_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that parcels behind a page that UPS refuses are subscribed all the same: UPS answers
    400 where it takes no number of a request. The refusal is told in the end."""
    monkeypatch.setattr(adapter, "MAX_SUBSCRIBED_NUMBERS", 1)
    _, behind = await world.sell(2)
    world.hub.stored[0].tracking_number = "not-a-number-of-ups"
    for label in world.hub.stored:
        label.create_time.FromJsonString("2026-01-01T00:00:00Z")
    with pytest.raises(Reject, match="valid"):
        await adapter.renew_subscriptions(world.poll("renew_subscriptions"), world.client)
    assert behind in world.sandbox.books()["subscriptions"]["packages"]
