"""A return at a real hub by FedEx: its label is sold, its scans move it, and the ERP credits it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.returns.v1 import return_pb2
from crossdock_adapters.fedex.sandbox import FedexSandbox
from fixtures_hub import Lane, RunningHub
from labelled_returns import brought_and_credited, give_up, initiated, read, shipped, until
from story import Story
from test_fedex_hub import flowing

pytestmark = pytest.mark.timeout(600)

Flowing = tuple[FedexSandbox, Story]


@pytest_asyncio.fixture
async def company(hub: RunningHub, lane: Lane, tmp_path: Path) -> AsyncIterator[Flowing]:
    async with flowing(hub, lane, tmp_path) as found:
        yield found


def sold_back(sandbox: FedexSandbox, label: return_pb2.ReturnLabel) -> list[dict[str, Any]]:
    """What FedEx sold under the reference of a label."""
    return [
        parcel
        for each in sandbox.books()["shipments"]
        if each["comes_back"] and each["index"] == label.purchase_reference
        for parcel in each["parcels"]
    ]


async def test_a_return_goes_from_its_label_to_the_credit(company: Flowing) -> None:
    """Proves at a real hub that a return gets one label although both answers of its purchase were
    lost, that the OMS reads it with its image, that the customer's parcel puts the return in
    transit, that warehouse and ERP end it, and that the number leads to the return and its order.
    """
    sandbox, story = company
    order_id = await shipped(story)
    for operation in ("create", "confirm"):
        sandbox.faults.add({"kind": "reply_lost", "operation": operation, "count": 1})
    made = await initiated(story, order_id)
    await brought_and_credited(
        story,
        made,
        lambda label: sold_back(sandbox, label),
        sandbox.commands()["handover"],
        image=b"%PDF",
    )
    assert sandbox.faults.as_json() == []


async def test_a_cancelled_return_gives_its_label_back(company: Flowing) -> None:
    """Proves at a real hub that the label of a return that is cancelled is cancelled at FedEx once
    although that answer was lost, and is void at the return."""
    sandbox, story = company
    made = await initiated(story, await shipped(story))
    await until(story, made.id, "buy_return_label")
    sandbox.faults.add({"kind": "reply_lost", "operation": "cancel", "count": 1})
    await give_up(story, made.id)
    await until(story, made.id, "void_return_label")
    assert (await read(story, made.id)).label.voided
    assert sandbox.books()["shipments_cancelled"] == 1


async def test_a_return_without_a_carrier_waits_for_nobody(company: Flowing) -> None:
    """Proves at a real hub that a return whose carrier the customer chooses buys no label, and that
    no delivery of it stays open at the carrier."""
    sandbox, story = company
    made = await initiated(story, await shipped(story), "")
    await until(story, made.id, "buy_return_label")
    assert not (await read(story, made.id)).HasField("label")
    assert not any(each["comes_back"] for each in sandbox.books()["shipments"])
