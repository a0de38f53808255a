"""What a fulfillment order's status means is data: rows as shipped, rows of a deployment, none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock_adapters.salesforce import conformance
from crossdock_adapters.salesforce.adapter import ADAPTER, STAGES
from crossdock_adapters.salesforce.stages import CATEGORY, STATUS, Stage
from crossdock_adapters.sdk.conformance.stage import Stage as World
from crossdock_adapters.sdk.mappings import Code, Topic
from crossdock_adapters.sdk.outcomes import NeedsPerson, Reject
from salesforce_world import HUB_ID, Desk, row, running

# Of the fact sheet, section 2: every category that is documented, in both spellings.
DOCUMENTED = {
    "Draft": Stage.NOT_YET,
    "Activated": Stage.RELEASED,
    "Fulfilling": Stage.WORKED_ON,
    "Closed": Stage.DONE,
    "Canceled": Stage.CANCELLED,
    "Cancelled": Stage.CANCELLED,
    "Rejected": Stage.CANCELLED,
}
# The calls to the hub that place, release and cancel an order.
TELLS = ("CreateOrder", "ApproveOrder", "ReleaseOrder", "CancelOrder")


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


def packed() -> fulfillment_events_pb2.FulfillmentPacked:
    shipment = conformance.shipment()
    shipment.order_id = HUB_ID
    return fulfillment_events_pb2.FulfillmentPacked(shipment=shipment)


def told(world: World) -> dict[tuple[str, str], bytes]:
    """What the hub was told of orders, by method and request id."""
    facts = world.hub.notebook.told()
    return {each: fact for each, fact in facts.items() if each[0].rpartition("/")[2] in TELLS}


def test_every_documented_category_has_a_row_with_its_source() -> None:
    """Proves that the rows as shipped are the fact sheet's categories and no other, each with one
    meaning, heard in any capitals; and that a status has none until a deployment gives it one."""
    file = ADAPTER.mappings.file
    assert file is not None
    rows = [each for each in file.rows if each.topic is Topic.REASON]
    meanings = {each.code.code: Stage(each.meaning.canonical) for each in rows}
    assert meanings == DOCUMENTED
    assert {each.code.type for each in rows} == {CATEGORY} and all(each.source for each in rows)
    for category, stage in DOCUMENTED.items():
        for spelt in (category, category.upper(), category.lower()):
            assert STAGES.known("Whatever", spelt) is stage


@pytest.mark.parametrize("category", ["", "Paused", "activated soon"])
def test_a_category_without_a_row_means_nothing(category: str) -> None:
    """Proves that no word is guessed, whichever it is like."""
    assert STAGES.known("Allocated", category) is None
    assert not STAGES.is_idle("Allocated", category)


def test_a_row_with_another_word_means_nothing() -> None:
    """Proves that a row which means none of the five words is told as if there were none."""
    with row(CATEGORY, "Paused", "HOLD"):
        assert STAGES.known("Allocated", "Paused") is None
    with row(CATEGORY, "Paused", "NOT_YET"):
        assert STAGES.is_idle("Allocated", "Paused")


@pytest.mark.asyncio
async def test_a_status_goes_before_its_category(desk: Desk) -> None:
    """Proves that a deployment which releases by one status alone says so by a row of the others,
    effective at once, and that the order is placed once it comes to the one."""
    with row(STATUS, "Assigned", "NOT_YET"):
        order_id = await desk.order("FO-1", status="Assigned")
        await desk.run()
        assert desk.told("CreateOrder") == 0 and not desk.held
        await desk.command("status", id=order_id, status="Allocated")
        await desk.run()
        assert desk.told("ReleaseOrder") == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("means", ["RELEASED", "CANCELLED"])
async def test_an_unknown_category_is_held_and_told_as_if_its_row_had_been_there(
    tmp_path: Path, means: str
) -> None:
    """Proves that an order whose category has no row is held with its raw words and its place, for
    a row of these, that nothing is told of it, and that once it has one the hub is told what it
    would have been."""
    async with running(tmp_path) as desk:
        with row(CATEGORY, "Paused", means):
            await desk.order("FO-1", category="Paused")
            await desk.run()
            assert not desk.held
            at_once = told(desk.stage)
    async with running(tmp_path) as desk:
        order_id = await desk.order("FO-1", category="Paused")
        await desk.run()
        ((payload, content_type, reason, _),) = desk.held
        assert order_id in reason and "'Paused'" in reason and "/StatusCategory" in reason
        assert "crossdock map set" in reason and not told(desk.stage)
        (unread,) = desk.unread
        assert unread is not None and unread.topic is Topic.REASON
        assert Code(CATEGORY, "Paused") in unread.codes
        with row(CATEGORY, "Paused", means):
            await desk.again(payload, content_type)
        assert told(desk.stage) == at_once and len(desk.held) == 1
        assert len(at_once) == (3 if means == "RELEASED" else 0)


@pytest.mark.asyncio
async def test_nothing_is_written_to_what_may_be_cancelled(desk: Desk) -> None:
    """Proves that an order whose category has no row is left as it is until somebody says what it
    means, and then is written, or refused as cancelled."""
    order_id = await desk.known_order(category="Paused")
    with pytest.raises(NeedsPerson, match=r"'Paused'.*crossdock map set"):
        await desk.do("record_packed", packed())
    with row(CATEGORY, "Paused", "CANCELLED"), pytest.raises(Reject, match="cancelled"):
        await desk.do("record_packed", packed())
    assert not desk.sandbox.books()["status_writes"]
    with row(CATEGORY, "Paused", "WORKED_ON"):
        await desk.do("record_packed", packed())
    assert desk.sandbox._records.orders[order_id]["Status"] == "Pack Complete"
