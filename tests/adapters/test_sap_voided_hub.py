"""SAP at a real hub: a departure that is voided while nobody knows whether it is posted."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_adapters.sap import conformance
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sap.sandbox import SapSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from hosted_adapter import asking_soon, hosted
from story import CUSTOMER, DOCK, ITEM, Story
from voided_departures import SETTLE_SECONDS, reaches, void, voided_in_doubt

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(
    ("kind", "operation", "movements"),
    [
        ("reply_lost", "create_delivery", []),
        ("error_before", "post_goods_issue", []),
        ("reply_lost", "post_goods_issue", ["601", "602"]),
    ],
)
async def test_a_departure_that_is_voided_in_doubt_is_not_in_the_books(
    hub: RunningHub, lane: Lane, tmp_path: Path, kind: str, operation: str, movements: list[str]
) -> None:
    """Proves at a real hub that a goods issue which failed half way, or whose answer was lost, and
    whose shipment is voided before anybody knows which, is not posted after that; that the one
    which was posted is reversed, once; and that what is packed in its place is posted, once."""
    config = SandboxConfig("sap", settings={"items": [ITEM], "customers": [CUSTOMER]})
    async with SapSandbox(config) as sandbox, Story(hub, lane) as story:
        settings = {
            **conformance.settings(sandbox, tmp_path),
            "plants": {DOCK: "1010"},
            "changes_interval_seconds": 3600,
        }
        async with hosted(hub, lane.erp, asking_soon(ADAPTER, SETTLE_SECONDS), settings):
            _, (request,) = await story.released()
            shipment = (await story.pack(request)).id
            await voided_in_doubt(story, sandbox, shipment, kind, operation)
            assert moved(sandbox) == movements
            told = await story.delivery(shipment, "post_goods_issue")
            assert ("the shipment was voided since" in str(told)) is not bool(movements)
            for _ in range(2):
                again = (await story.pack(request)).id
                await story.manifest(again)
                await reaches(story, again, "post_goods_issue")
                movements = [*movements, "601"]
                assert moved(sandbox) == movements
                await void(story, again)
                await reaches(story, again, "reverse_goods_issue")
                movements = [*movements, "602"]
                assert moved(sandbox) == movements
            assert sandbox.tick_error == ""


def moved(sandbox: SapSandbox) -> list[str]:
    """The goods movements in the books, oldest first."""
    return [each["GoodsMovementType"] for each in sandbox.books()["material_documents"]]
