"""Lots and serial numbers of a goods issue are booked in NetSuite one by one, and come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.shipment.v1 import shipment_events_pb2
from crossdock_adapters.netsuite import adapter, sandbox_views
from crossdock_adapters.netsuite.client import eid
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import SettingsError
from netsuite_hub import settings_for
from test_netsuite_adapter import ORDER_ID, SHIPMENT_ID, Desk, approved, desk_at, manifested, order

pytestmark = pytest.mark.asyncio

TRACKED = {"lots": {"SKU-1001": ["L-1", "L-2"]}, "serials": {"SKU-1002": ["S-1", "S-2", "S'3"]}}
FULFILLMENT = f"xd-{SHIPMENT_ID}"


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path, **TRACKED) as desk:
        yield desk


def ordered() -> Any:
    """Five of an item with lots, three with serial numbers, one with neither."""
    made = order()
    made.lines[0].quantity.value, made.lines[1].quantity.value = "5", "3"
    plain = made.lines.add()
    plain.CopyFrom(made.lines[1])
    plain.line_number, plain.item_number = 30, "SKU-1003"
    return approved(made)


def left(*contents: tuple[int, str, str, str, tuple[str, ...]]) -> Any:
    """Line, item, quantity, lot, serial numbers: what is in the carton."""
    event = manifested(*(row[:3] for row in contents))
    packed = event.shipment.packages[0].contents
    for content, (*_, lot, serials) in zip(packed, contents, strict=True):
        content.lot = lot
        content.serial_numbers.extend(serials)
    return event


ALL = (
    (10, "SKU-1001", "3", "L-1", ()),
    (10, "SKU-1001", "1.5", "L-2", ()),
    (20, "SKU-1002", "2", "", ("S-1", "S'3")),
    (30, "SKU-1003", "3", "L-9", ()),
)


def on_hand(desk: Desk) -> dict[str, Decimal]:
    """By lot or serial number, in the vendor's own books."""
    held = desk.account.sandbox.books()["inventory_numbers"]
    return {each["number"]: each["quantity"] for each in held}


async def test_an_account_that_answers_true_has_lots_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that SuiteQL's true is its T: what left of an item with lots names them."""
    real: Any = sandbox_views._text
    monkeypatch.setattr(
        sandbox_views, "_text", lambda value: value if isinstance(value, bool) else real(value)
    )
    await desk.do("create_sales_order", ordered())
    before = on_hand(desk)
    await desk.do("post_goods_issue", left(*ALL))
    assert before["L-1"] - on_hand(desk)["L-1"] == 3


async def test_what_left_is_assigned_by_lot_and_by_serial_number(desk: Desk) -> None:
    """Proves that each lot is issued with its quantity and each serial number with one, that an
    item which has neither in NetSuite gets none of what the warehouse keeps, and that stock
    follows."""
    await desk.do("create_sales_order", ordered())
    await desk.do("post_goods_issue", left(*ALL))
    (posted,) = desk.account.fulfillments()
    assert [
        {row["number"]: row["quantity"] for row in line.get("inventoryAssignment", ())}
        for line in posted["lines"]
    ] == [
        {"L-1": Decimal(3), "L-2": Decimal("1.5")},
        {"S-1": Decimal(1), "S'3": Decimal(1)},
        {},
    ]
    assert on_hand(desk) == {
        "L-1": Decimal(997),
        "L-2": Decimal("998.5"),
        "S-1": Decimal(0),
        "S-2": Decimal(1),
        "S'3": Decimal(0),
    }


async def test_the_items_say_in_the_hub_what_has_lots_and_serial_numbers(desk: Desk) -> None:
    """Proves that the warehouse can be told which items need them."""
    told = {number: entry.item for number, entry in desk.hub.known["item"].items()}
    assert [
        (told[number].lot_controlled, told[number].serial_controlled)
        for number in ("SKU-1001", "SKU-1002", "SKU-1003")
    ] == [(True, False), (False, True), (False, False)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ((10, "SKU-1001", "3", "", ()), "inventory detail in line 1"),
        ((10, "SKU-1001", "3", "L-7", ()), "line 10: item SKU-1001 has no lot L-7 in NetSuite"),
        ((20, "SKU-1002", "1", "", ("S-9",)), "no serial number S-9 in NetSuite"),
        ((20, "SKU-1002", "2", "L-1", ()), "inventory detail in line 2"),
    ],
    ids=["no lot named", "unknown lot", "unknown serial number", "a lot for serial numbers"],
)
async def test_what_netsuite_lacks_is_for_a_person_and_goes_through_afterwards(
    desk: Desk, row: Any, says: str
) -> None:
    """Proves that a missing or unknown number posts nothing and says which, before or by the
    vendor's refusal."""
    await desk.do("create_sales_order", ordered())
    with pytest.raises(NeedsPerson, match=says):
        await desk.do("post_goods_issue", left(row))
    assert desk.account.fulfillments() == []


async def test_a_lot_that_is_received_later_is_posted_by_a_retry(desk: Desk) -> None:
    """Proves that the same delivery goes through once the ERP has what the warehouse shipped, and
    not while it has too little of it."""
    await desk.do("create_sales_order", ordered())
    event = left((10, "SKU-1001", "3", "L-7", ()))
    with pytest.raises(NeedsPerson, match="L-7"):
        await desk.do("post_goods_issue", event)
    receive = desk.account.sandbox.commands()["receive"]
    given = {"item": "SKU-1001", "location": "WH-EAST"}
    await receive({**given, "numbers": {"L-7": "2"}})
    with pytest.raises(NeedsPerson, match="L-7 has 2 on hand"):
        await desk.do("post_goods_issue", event)
    await receive({**given, "numbers": {"L-7": "1"}})
    assert (await desk.do("post_goods_issue", event)).references


async def test_nobody_guesses_which_pieces_stayed_at_the_dock(desk: Desk) -> None:
    """Proves that a departure of less than the lots that were packed is told and not sent, and
    that one lot alone is cut to what left."""
    await desk.do("create_sales_order", ordered())
    event = left(*ALL[:2])
    departure = event.shipment.departures.add(package_numbers=["CARTON-1"])
    shipped = departure.shipped.add(line_number=10)
    shipped.quantity.value, shipped.quantity.unit = "4", "EA"
    with pytest.raises(Untranslatable, match=r"lots of 4\.5, and 4 left"):
        await desk.do("post_goods_issue", event)
    del event.shipment.packages[0].contents[1]
    shipped.quantity.value = "2"
    await desk.do("post_goods_issue", event)
    assert on_hand(desk)["L-1"] == Decimal(998)


async def test_what_netsuite_does_not_number_parks_nothing(desk: Desk) -> None:
    """Proves that an item which has neither lots nor serial numbers in NetSuite is posted although
    those that the warehouse keeps of it do not add up: nobody there asks for them."""
    await desk.do("create_sales_order", ordered())
    await desk.do("post_goods_issue", left((30, "SKU-1003", "3", "", ("S-1", "S-2"))))
    (posted,) = desk.account.fulfillments()
    assert [line.get("inventoryAssignment", ()) for line in posted["lines"]] == [()]


async def test_more_numbers_than_a_query_takes_are_all_found(desk: Desk) -> None:
    """Proves that a pallet of serial numbers is booked whole: the statement's limit parts it."""
    serials = tuple(f"SER-{number:060d}" for number in range(450))
    given = {"item": "SKU-1002", "location": "WH-EAST", "numbers": dict.fromkeys(serials, 1)}
    await desk.account.sandbox.commands()["receive"](given)
    made = ordered()
    made.order.lines[1].quantity.value = "450"
    await desk.do("create_sales_order", made)
    await desk.do("post_goods_issue", left((20, "SKU-1002", "450", "", serials)))
    (posted,) = desk.account.fulfillments()
    (line,) = posted["lines"]
    assert {row["number"] for row in line["inventoryAssignment"]} == set(serials)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("L-1", 2)], "total inventory detail quantity must be 3"),
        ([("S-1", 3)], "issueInventoryNumber"),
        ([("L-1", 3), ("L-1", 1)], "total inventory detail quantity must be 3"),
    ],
    ids=["too little", "of another item", "too much"],
)
async def test_the_account_refuses_a_detail_that_does_not_hold(
    desk: Desk, rows: list[tuple[str, int]], says: str
) -> None:
    """Proves that the sandbox is as strict as an account is, so that what it takes is right."""
    await desk.do("create_sales_order", ordered())
    key = eid(f"xd-{ORDER_ID}")
    sales = await desk.vendor.read("salesOrder", key, expand=True)
    query = "SELECT id AS id, inventorynumber AS n FROM inventorynumber ORDER BY id"
    ids = {row["n"]: row["id"] for row in await desk.vendor.query(query)}
    detail = [{"issueInventoryNumber": {"id": ids[name]}, "quantity": n} for name, n in rows]
    first, *others = [line["line"] for line in sales["item"]["items"]]
    lines: list[dict[str, Any]] = [{"orderLine": key, "itemReceive": False} for key in others]
    tracked = {"inventoryAssignment": {"items": detail}}
    lines.append({"orderLine": first, "quantity": 3, "inventoryDetail": tracked})
    body = {"externalId": "x-1", "item": {"items": lines}}
    with pytest.raises(NeedsPerson, match=says):
        await desk.vendor.transform("salesOrder", sales["id"], "itemFulfillment", body)


@pytest.mark.parametrize("kind", ["reply_lost", "error_after"])
async def test_a_void_gives_every_lot_back_once_although_its_answer_is_lost(
    desk: Desk, kind: str
) -> None:
    """Proves that both the goods issue and its reversal have one effect when nobody heard the
    answers, lot by lot."""
    before = on_hand(desk)
    await desk.do("create_sales_order", ordered())
    desk.account.fault(kind, operation="transform", count=1)
    assert isinstance(await desk.until_settled("post_goods_issue", left(*ALL)), Confirmed)
    voided = shipment_events_pb2.ShipmentVoided(shipment=left(*ALL).shipment)
    desk.account.fault(kind, operation="delete", count=1)
    with pytest.raises(OutcomeUnknown):
        await desk.do("reverse_goods_issue", voided)
    assert "nothing to reverse" in (await desk.do("reverse_goods_issue", voided)).note
    assert on_hand(desk) == before
    assert isinstance(await desk.look_up("post_goods_issue", left(*ALL)), NotFound)
    counted = desk.account.sandbox.books()["item_fulfillments_by_external_id"][FULFILLMENT]
    assert counted == {"created": 1, "updated": 0, "deleted": 1}


async def test_an_account_that_does_not_tell_its_lots_is_for_a_person(desk: Desk) -> None:
    """Proves that a missing permission or a wrong table is said with what to look at, and that a
    map without a column does not start."""
    await desk.do("create_sales_order", ordered())
    settings, _ = settings_for(desk.account, inventory_number_table="lotnumbers")
    work = desk.hub.work("post_goods_issue", left(*ALL), settings)
    with pytest.raises(NeedsPerson, match=r"lotnumbers.*inventory_number_table"):
        await adapter.post_goods_issue(work, desk.vendor)
    settings, secrets = settings_for(desk.account, inventory_number_columns={"id": "id"})
    with pytest.raises(SettingsError, match="inventory_number_columns: item, number is missing"):
        await adapter.connect(settings, secrets)
