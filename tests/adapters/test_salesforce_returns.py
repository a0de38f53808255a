"""Customer returns at the simulated org: once, whatever gets lost, by the order's life cycle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock_adapters.salesforce import conformance, returns
from crossdock_adapters.salesforce.adapter import ADAPTER, NO_DRAFT, NOT_OURS
from crossdock_adapters.salesforce.returns import CustomerReturn, ReturnLine
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.mappings import Code, Meaning, Told, Topic
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
    Untranslatable,
    VendorOutcome,
)
from salesforce_world import HUB_ID, Desk, running

pytestmark = pytest.mark.asyncio

LINES = [["SKU-1001", "3", "Each"], ["SKU-1002", "5", "Each"]]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


async def delivered(desk: Desk, life_cycle: str = "MANAGED") -> CustomerReturn:
    """A return of two of three and one of five pieces of an order that has left."""
    order_id = await desk.order("FO-1", lines=LINES, life_cycle=life_cycle)
    await desk.command("status", id=order_id, status="Fulfilled")
    first, second = desk.sandbox.books()["order_items"]
    return CustomerReturn(
        number="RMA-1",
        summary=first["OrderSummaryId"],
        lines=(
            ReturnLine(first["Id"], Decimal(2), "Damaged"),
            ReturnLine(second["Id"], Decimal(1), "Unwanted"),
        ),
    )


async def opened(desk: Desk, wanted: CustomerReturn, draft: str) -> Confirmed:
    """One attempt, as the runner makes it."""
    with exchange.recording():
        return await returns.open_return(desk.vendor, wanted, draft)


def returned(desk: Desk) -> list[Any]:
    return [each["QuantityReturned"] for each in desk.sandbox.books()["order_items"]]


@pytest.mark.parametrize("fault", ["reply_lost", "error_after"])
async def test_a_managed_return_is_submitted_once(desk: Desk, fault: str) -> None:
    """Proves that a return whose answer was lost is found by its quantities and not submitted
    again, and that before it was submitted it is not found."""
    wanted = await delivered(desk)
    draft = await returns.prepare(desk.vendor, wanted)
    assert draft == "0,0" and returned(desk) == [0, 0]
    assert isinstance(await returns.find(desk.vendor, wanted, draft), NotFound)
    desk.sandbox.faults.add({"kind": fault, "operation": "submit_return", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await opened(desk, wanted, draft)
    assert isinstance(await returns.find(desk.vendor, wanted, draft), Confirmed)
    again = await opened(desk, wanted, draft)
    assert "earlier call" in again.note and returned(desk) == [2, 1]
    assert len(desk.sandbox.books()["change_orders"]) == 1


async def test_the_next_return_of_an_item_is_another_one(desk: Desk) -> None:
    """Proves that a second return of the same item, prepared after the first, is submitted too, and
    that each names the change order that it made."""
    wanted = await delivered(desk)
    made: list[Reference] = []
    for number in ("RMA-1", "RMA-2"):
        one = replace(wanted, number=number, lines=(replace(wanted.lines[0], quantity=Decimal(1)),))
        draft = await returns.prepare(desk.vendor, one)
        made += (await opened(desk, one, draft)).references
    changes = [each["Id"] for each in desk.sandbox.books()["change_orders"]]
    assert [each.value for each in made] == changes and len(changes) == 2
    assert returned(desk) == [2, 0]


async def test_what_somebody_else_returned_is_not_taken_for_ours(desk: Desk) -> None:
    """Proves that a change of the items which is not this return parks it, and returns nothing."""
    wanted = await delivered(desk)
    draft = await returns.prepare(desk.vendor, wanted)
    other = replace(wanted, number="RMA-2", lines=wanted.lines[1:])
    await opened(desk, other, await returns.prepare(desk.vendor, other))
    for ask in (opened(desk, wanted, draft), returns.find(desk.vendor, wanted, draft)):
        with pytest.raises(NeedsPerson, match="changed, by somebody else"):
            await ask
    assert returned(desk) == [0, 1]


async def test_more_than_may_come_back_is_refused(desk: Desk) -> None:
    """Proves that a return of more than has left is rejected before anything is sent, and so is one
    of an order that has not left; an item of another order is for a person."""
    wanted = await delivered(desk)
    more = replace(wanted, lines=(replace(wanted.lines[0], quantity=Decimal(4)),))
    with pytest.raises(Reject, match=r"4 of .* come back, and 3 may"):
        await returns.prepare(desk.vendor, more)
    strange = replace(wanted, lines=(replace(wanted.lines[0], item_summary="10u000000000000AAA"),))
    with pytest.raises(NeedsPerson, match="has no item 10u000000000000AAA"):
        await returns.prepare(desk.vendor, strange)
    assert desk.calls("submit_return") == 0


async def test_a_locked_row_is_tried_again_and_submitted_once(desk: Desk) -> None:
    """Proves that the lock of an order summary's row is told as not done, and a repeat does it."""
    wanted = await delivered(desk)
    draft = await returns.prepare(desk.vendor, wanted)
    await desk.command("misbehave", kind="lock_row", count=1)
    with pytest.raises(Retry):
        await opened(desk, wanted, draft)
    assert (await opened(desk, wanted, draft)).references and returned(desk) == [2, 1]


@pytest.mark.parametrize("fault", ["reply_lost", "error_after"])
async def test_an_unmanaged_return_is_a_return_order_by_our_key(desk: Desk, fault: str) -> None:
    """Proves that of an order whose quantities no action may change a return order is made with its
    lines and their products, in a status that the org takes, that a repeat makes no second one and
    writes nothing, and that the action is not called."""
    wanted = await delivered(desk, "UNMANAGED")
    draft = await returns.prepare(desk.vendor, wanted)
    assert isinstance(await returns.find(desk.vendor, wanted, draft), NotFound)
    desk.sandbox.faults.add({"kind": fault, "operation": "composite", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await opened(desk, wanted, draft)
    done, found = await opened(desk, wanted, draft), await returns.find(desk.vendor, wanted, draft)
    books = desk.sandbox.books()
    (order,) = books["return_orders"]
    assert isinstance(found, Confirmed) and done.references == found.references
    assert [each.value for each in done.references] == [order["Id"]]
    assert order["Status"] == "Submitted" and all(
        each["Product2Id"] for each in books["return_lines"]
    )
    lines = [
        (each["OrderItemSummaryId"], each["QuantityReturned"], each["ReasonForReturn"])
        for each in books["return_lines"]
    ]
    assert lines == [(line.item_summary, line.quantity, line.reason) for line in wanted.lines]
    assert desk.calls("submit_return") == 0 and returned(desk) == [0, 0]


async def test_a_return_order_is_made_in_a_status_that_the_org_takes(tmp_path: Path) -> None:
    """Proves that a status of the setting that is not Activated is refused, and nothing is made."""
    async with running(tmp_path, return_order_status="Draft") as desk:
        wanted = await delivered(desk, "UNMANAGED")
        draft = await returns.prepare(desk.vendor, wanted)
        with pytest.raises(VendorOutcome, match="Activated"):
            await opened(desk, wanted, draft)
        assert desk.sandbox.books()["return_orders"] == []


async def test_a_return_that_cannot_be_said_is_not_sent(desk: Desk) -> None:
    """Proves that a number that could be anything in a query, no lines, an item twice, a quantity
    that is none, no reason and the draft of another return never reach Salesforce."""
    wanted = await delivered(desk)
    line = wanted.lines[0]
    seen = len(desk.sandbox.calls)
    for wrong, said in (
        (replace(wanted, summary="1Os/../x"), "no record id"),
        (replace(wanted, number="R' OR Id != '"), "letters, digits"),
        (replace(wanted, lines=()), "1 to 24 lines"),
        (replace(wanted, lines=(line,) * 25), "1 to 24 lines"),
        (replace(wanted, lines=(line, line)), "has two lines"),
        (replace(wanted, lines=(replace(line, quantity=Decimal("NaN")),)), "a quantity"),
        (replace(wanted, lines=(replace(line, reason=""),)), "a reason"),
    ):
        with pytest.raises(Untranslatable, match=said):
            await returns.prepare(desk.vendor, wrong)
    assert len(desk.sandbox.calls) == seen
    for draft in ("", "0", "0,0,0", "0,x"):
        with pytest.raises(Untranslatable, match="draft is of another return"):
            await opened(desk, wanted, draft)
    assert returned(desk) == [0, 0]


def came(*quantities: str, line: int = 1, unit: str = "EA", reason: str = "DAMAGED") -> Any:
    """The event of the last of these receipts of one line of the order that the hub knows."""
    event: Any = conformance.received({})
    event.customer_return.order_id = HUB_ID
    event.customer_return.lines[0].line_number = line
    event.customer_return.lines[0].reason_code = reason
    del event.customer_return.receipts[:]
    for number, quantity in enumerate(quantities, 1):
        row = event.customer_return.receipts.add(number=f"RCV-{number}").lines.add()
        row.line_number, row.quantity.value, row.quantity.unit = line, quantity, unit
    return event


async def drafted(desk: Desk, event: Any) -> Any:
    """The work of a receipt, with the draft that the hub keeps."""
    work = desk.work("refund", event)
    return replace(work, draft=await ADAPTER.drafts["refund"](work, desk.vendor))


async def left(desk: Desk, life_cycle: str = "MANAGED") -> None:
    """An order that the hub knows, of which all has left."""
    order_id = await desk.known_order(
        lines=LINES, life_cycle=life_cycle, summary_id=conformance.SUMMARY
    )
    await desk.command("status", id=order_id, status="Fulfilled")


async def test_a_row_says_what_a_reason_is_sent_as(desk: Desk) -> None:
    """Proves that a reason which the setting does not have is sent as its row says."""
    await left(desk, "UNMANAGED")
    meaning = Meaning("TOO_BLUE", preferred=True)
    row = Told(Topic.REASON, Code("RETURN", "Colour"), meaning, by_deployment=True)
    ADAPTER.mappings.replace([*ADAPTER.mappings.of_file(), row])
    try:
        work = await drafted(desk, came("1", reason="TOO_BLUE"))
        with exchange.recording():
            await ADAPTER.operations["refund"](work, desk.vendor)
    finally:
        ADAPTER.mappings.replace(ADAPTER.mappings.of_file())
    (line,) = desk.sandbox.books()["return_lines"]
    assert line["ReasonForReturn"] == "Colour"


async def test_each_receipt_is_taken_back_once(desk: Desk) -> None:
    """Proves that what a receipt brought is submitted with the org's reason at the item behind its
    row, once though its answer is lost, and that a second receipt of the return is another one."""
    await left(desk)
    first = await drafted(desk, came("1"))
    desk.sandbox.faults.add({"kind": "reply_lost", "operation": "submit_return", "count": 1})
    with exchange.recording():
        with pytest.raises(OutcomeUnknown):
            await ADAPTER.operations["refund"](first, desk.vendor)
        again = await ADAPTER.operations["refund"](first, desk.vendor)
        assert "earlier call" in again.note
        second = await drafted(desk, came("1", "2"))
        await ADAPTER.operations["refund"](second, desk.vendor)
    assert returned(desk) == [3, 0]
    changes = desk.sandbox.books()["change_orders"]
    assert [each["items"][0]["quantity"] for each in changes] == [1, 2]


async def test_receipts_of_an_unmanaged_order_are_return_orders_of_their_own(desk: Desk) -> None:
    """Proves that each receipt has a return order under a key of its own, with the org's reason."""
    await left(desk, "UNMANAGED")
    for event in (came("1"), came("1", "2")):
        work = await drafted(desk, event)
        with exchange.recording():
            await ADAPTER.operations["refund"](work, desk.vendor)
            await ADAPTER.operations["refund"](work, desk.vendor)
    field = desk.vendor.external_id_field
    orders = desk.sandbox.books()["return_orders"]
    assert [each[field] for each in orders] == ["RMA-1", "RMA-1--2"]
    lines = desk.sandbox.books()["return_lines"]
    assert [(each["QuantityReturned"], each["ReasonForReturn"]) for each in lines] == [
        (1, "Damaged"),
        (2, "Damaged"),
    ]


async def test_a_return_of_another_org_is_none_of_ours(desk: Desk) -> None:
    """Proves that a return of an order that this org did not bring sends nothing at all."""
    await left(desk)
    strange = known_elsewhere()
    desk.stage.hub.notebook.learn([strange])
    event = came("1")
    event.customer_return.order_id = strange.id
    work = await drafted(desk, event)
    assert work.draft == NO_DRAFT
    assert (await ADAPTER.operations["refund"](work, desk.vendor)).note == NOT_OURS
    assert returned(desk) == [0, 0]


def known_elsewhere() -> Any:
    """An order that another system brought."""
    order = conformance.known("0190f7a2-3c4d-7e5f-8a6b-0000000000d9", "SO-77", "elsewhere")
    del order.references[:]
    return order


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"reason": "TOO-BLUE"}, "return_reasons"),
        ({"unit": "KGM"}, "KGM came, and it is in EA"),
        ({"line": 9}, "line 9 is not among"),
    ],
)
async def test_what_does_not_fit_the_row_is_not_guessed(
    desk: Desk, told: dict[str, Any], words: str
) -> None:
    """Proves that a reason, unit or line that the org has no word for parks and returns nothing."""
    await left(desk)
    with pytest.raises(Untranslatable, match=words):
        await drafted(desk, came("1", **told))
    assert returned(desk) == [0, 0]
