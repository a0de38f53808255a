"""A return at a real hub by UPS: its label is sold, its scans move it, and the ERP credits it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.returns.v1 import return_pb2
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.ups import conformance
from crossdock_adapters.ups.adapter import ADAPTER
from crossdock_adapters.ups.sandbox import UpsSandbox
from fixtures_hub import Lane, RunningHub
from hosted_adapter import asking_soon, hosted
from labelled_returns import brought_and_credited, give_up, initiated, read, shipped, until
from story import CARRIER_CODE, Story

pytestmark = pytest.mark.timeout(600)

Flowing = tuple[UpsSandbox, Story]


@pytest_asyncio.fixture
async def company(hub: RunningHub, lane: Lane, tmp_path: Path) -> AsyncIterator[Flowing]:
    """UPS as the lane's carrier, its parcels quick; nobody is called back, tracking is polled."""
    config = SandboxConfig(
        "ups",
        # Lanes share a hub, which knows a tracking number once.
        seed=lane.number,
        tick_seconds=0.02,
        settings={**conformance.CONFORMANCE.sandbox_settings, "scan_interval_seconds": 0.05},
    )
    async with UpsSandbox(config) as sandbox, Story(hub, lane) as story:
        settings = {
            **conformance.settings(sandbox, tmp_path),
            "carrier_code": CARRIER_CODE,
            "return_weight": "2 LBR",
            "tracking_interval_seconds": 0.2,
        }
        async with hosted(hub, lane.carrier, asking_soon(ADAPTER, 1.0), settings):
            yield sandbox, story
            assert sandbox.tick_error == ""


def sold_back(sandbox: UpsSandbox, label: return_pb2.ReturnLabel) -> list[dict[str, Any]]:
    """What UPS sold under the reference of a label."""
    return [
        parcel
        for each in sandbox.books()["shipments"]
        if each["comes_back"]
        for parcel in each["parcels"]
        if label.purchase_reference in {value for _, value in parcel["references"]}
    ]


async def test_a_return_goes_from_its_label_to_the_credit(company: Flowing) -> None:
    """Proves at a real hub that a return gets one label although the answer of its purchase was
    lost, that the OMS reads it with its image, that the customer's parcel puts the return in
    transit, that warehouse and ERP end it, and that the number leads to the return and its order.
    """
    sandbox, story = company
    order_id = await shipped(story)
    sandbox.faults.add({"kind": "reply_lost", "operation": "ship", "count": 1})
    made = await initiated(story, order_id)
    await brought_and_credited(
        story,
        made,
        lambda label: sold_back(sandbox, label),
        sandbox.commands()["handover"],
        image=b"GIF8",
    )
    assert sandbox.faults.as_json() == []


async def test_a_cancelled_return_gives_its_label_back(company: Flowing) -> None:
    """Proves at a real hub that the label of a return that is cancelled is voided at UPS once
    although that answer was lost, and is void at the return, while that of the way out stays."""
    sandbox, story = company
    made = await initiated(story, await shipped(story))
    await until(story, made.id, "buy_return_label")
    sandbox.faults.add({"kind": "reply_lost", "operation": "void", "count": 1})
    await give_up(story, made.id)
    await until(story, made.id, "void_return_label")
    label = (await read(story, made.id)).label
    assert label.voided
    (parcel,) = sold_back(sandbox, label)
    assert parcel["voided"]
    assert sandbox.books()["labels_valid"] == 1
    voids = [call for call in sandbox.calls if call.operation == "void"]
    assert [call.effect for call in voids] == [True, False]


async def test_a_return_without_a_carrier_waits_for_nobody(company: Flowing) -> None:
    """Proves at a real hub that a return whose carrier the customer chooses buys no label, and that
    no delivery of it stays open at the carrier."""
    sandbox, story = company
    made = await initiated(story, await shipped(story), "")
    await until(story, made.id, "buy_return_label")
    assert not (await read(story, made.id)).HasField("label")
    assert not any(each["comes_back"] for each in sandbox.books()["shipments"])
