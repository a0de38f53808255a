"""What is in a shipment is told to Salesforce line by line, and taken back when it is voided."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Reject, Untranslatable
from salesforce_world import HUB_ID, Desk, running

pytestmark = pytest.mark.asyncio

LINES = [["SKU-1", "5", "Each"], ["SKU-2", "2", "Each"]]
PARTLY = order_pb2.ORDER_STATE_PARTIALLY_SHIPPED
# Of a shipment for which the adapter asks the hub.
KNOWN_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000d1"
ANOTHER_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000d2"


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


def shipment(*packed: tuple[str, int, str, str, tuple[str, ...]], id_: str = KNOWN_ID) -> Any:
    """Package, line, quantity, lot, serial numbers."""
    made = shipment_pb2.Shipment(id=id_, order_id=HUB_ID, carrier_code="UPS")
    made.ship_to.name = "R. Okonkwo"
    for number in dict.fromkeys(row[0] for row in packed):
        made.packages.add(id=f"id-{number}", number=number)
        made.progress.add(package_id=f"id-{number}", tracking_number=f"1Z-{number}")
    for number, line, quantity, lot, serials in packed:
        package = next(each for each in made.packages if each.number == number)
        content = package.contents.add(line_number=line, lot=lot, serial_numbers=serials)
        content.item_number = f"SKU-{line}"
        content.quantity.value, content.quantity.unit = quantity, "EA"
    return made


def left(made: Any) -> Any:
    return shipment_events_pb2.ShipmentManifested(shipment=made)


def voided(made: Any) -> Any:
    return shipment_events_pb2.ShipmentVoided(shipment=made)


def items(desk: Desk) -> dict[str, dict[str, tuple[Decimal, str]]]:
    """Quantity and numbers of each item, by its key, by shipment: those that are not deleted."""
    return {
        each["key"]: {
            key: (row["Quantity"], row.get("Description", "")) for key, row in each["items"].items()
        }
        for each in desk.sandbox.books()["shipments"]
        if not each.get("IsDeleted")
    }


TWO_CARTONS = (
    ("C-1", 1, "2", "L-1", ()),
    ("C-1", 1, "1", "L-2", ()),
    ("C-1", 2, "1", "", ("S-1",)),
    ("C-2", 1, "1", "L-1", ()),
)


async def test_each_carton_has_its_lines_however_often_it_is_told(desk: Desk) -> None:
    """Proves that a departure of two cartons becomes rows with product, quantity, lots and serial
    numbers, and that an answer that was lost adds none."""
    order_id = await desk.known_order(state=PARTLY, lines=LINES)
    desk.sandbox.faults.add({"kind": "reply_lost", "operation": "composite", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await desk.do("confirm_shipment", left(shipment(*TWO_CARTONS)))
    await desk.do("confirm_shipment", left(shipment(*TWO_CARTONS)))
    assert items(desk) == {
        f"{KNOWN_ID}-C-1": {
            f"{KNOWN_ID}-C-1-1": (Decimal(3), "lot L-1, lot L-2"),
            f"{KNOWN_ID}-C-1-2": (Decimal(1), "serial S-1"),
        },
        f"{KNOWN_ID}-C-2": {f"{KNOWN_ID}-C-2-1": (Decimal(1), "lot L-1")},
    }
    products = {
        line["Product2"]["StockKeepingUnit"]: line["Product2Id"]
        for line in desk.sandbox.books()["lines"]
        if line["FulfillmentOrderId"] == order_id
    }
    told = desk.sandbox.books()["shipments"][0]
    first = told["items"]
    assert first[f"{KNOWN_ID}-C-1-1"]["Product2Id"] == products["SKU-1"]
    assert first[f"{KNOWN_ID}-C-1-2"]["Product2Id"] == products["SKU-2"]
    assert (told["TrackingNumber"], "TrackingNumber" in first[f"{KNOWN_ID}-C-1-2"]) == (
        "1Z-C-1",
        False,
    )


@pytest.mark.parametrize("field", ["TrackingNumber", "ExpectedDeliveryDate"])
async def test_what_an_item_takes_from_its_shipment_cannot_be_written(
    tmp_path: Path, field: str
) -> None:
    """Proves that the org refuses what it fills in itself, and that a person is told which field
    that is: `fields` names one that nobody can write."""
    async with running(tmp_path, fields={"shipment_item.tracking_number": field}) as desk:
        await desk.known_order(state=PARTLY, lines=LINES)
        with pytest.raises(NeedsPerson, match=field):
            await desk.do("confirm_shipment", left(shipment(*TWO_CARTONS)))


async def test_a_split_shipment_says_what_left_each_time(desk: Desk) -> None:
    """Proves that a second departure and a second shipment of one line add their own rows, with
    what left and not with what was packed."""
    await desk.known_order(state=PARTLY, lines=LINES)
    made = shipment(("C-1", 1, "3", "", ()), ("C-2", 1, "1", "", ()))
    for package, quantity in (("C-1", "2"), ("C-2", "1")):
        departure = made.departures.add(package_numbers=[package])
        row = departure.shipped.add(line_number=1)
        row.quantity.value, row.quantity.unit = quantity, "EA"
        await desk.do("confirm_shipment", left(made))
    await desk.do("confirm_shipment", left(shipment(("C-9", 1, "1", "", ()), id_=ANOTHER_ID)))
    told = [quantity for rows in items(desk).values() for quantity, _ in rows.values()]
    assert told == [Decimal(2), Decimal(1), Decimal(1)]


async def test_more_rows_than_one_call_takes_are_all_there(desk: Desk) -> None:
    """Proves that forty cartons of one departure are told whole, over several calls."""
    await desk.known_order(state=PARTLY, lines=[["SKU-1", "40", "Each"]])
    cartons = [(f"C-{number}", 1, "1", "", ()) for number in range(40)]
    await desk.do("confirm_shipment", left(shipment(*cartons)))
    assert [len(rows) for rows in items(desk).values()] == [1] * 40


async def test_what_nobody_can_say_is_not_told(desk: Desk) -> None:
    """Proves that a line that lost a piece in one of two cartons, one in another unit, and one that
    is not there are refused before anything is written."""
    await desk.known_order(state=PARTLY, lines=LINES)
    short = shipment(("C-1", 1, "2", "", ()), ("C-2", 1, "2", "", ()))
    row = short.departures.add(package_numbers=["C-1", "C-2"]).shipped.add(line_number=1)
    row.quantity.value, row.quantity.unit = "3", "EA"
    unit = shipment(("C-1", 1, "2", "", ()))
    unit.packages[0].contents[0].quantity.unit = "CS"
    for made, says in (
        (short, "line 1: 4 are packed in several packages, and 3 left"),
        (unit, "line 1: CS left, and the row is in EA: .* shipment_items = false"),
        (shipment(("C-1", 7, "1", "", ())), "line 7 is not among"),
    ):
        with pytest.raises(Untranslatable, match=says):
            await desk.do("confirm_shipment", left(made))
    assert desk.sandbox.books()["shipments"] == []


@pytest.mark.parametrize("cartons", [1, 2])
async def test_a_void_takes_its_own_shipments_back_once(desk: Desk, cartons: int) -> None:
    """Proves that a void deletes the shipments of its own departures with their items, leaves
    those of another shipment, and finds nothing when its answer was lost."""
    await desk.known_order(state=PARTLY, lines=LINES)
    made = shipment(*TWO_CARTONS[: 2 if cartons == 1 else 4])
    await desk.do("confirm_shipment", left(made))
    await desk.do("confirm_shipment", left(shipment(("C-1", 1, "1", "", ()), id_=ANOTHER_ID)))
    calls = len(desk.sandbox.calls)
    operation = "delete_shipment" if cartons == 1 else "composite"
    desk.sandbox.faults.add({"kind": "reply_lost", "operation": operation, "count": 1})
    with pytest.raises(OutcomeUnknown):
        await desk.do("reverse_shipment", voided(made))
    again = await desk.do("reverse_shipment", voided(made))
    assert "nothing to take back" in again.note
    assert list(items(desk)) == [f"{ANOTHER_ID}-C-1"]
    effects = [call.operation for call in desk.sandbox.calls[calls:] if call.effect]
    assert effects == [operation]


async def test_a_first_attempt_after_the_void_writes_nothing(desk: Desk) -> None:
    """Proves that a delivery which is made anew when the void is over and done leaves no shipment
    behind that nobody would take back, where more of the order is still to leave."""
    await desk.known_order(state=PARTLY, lines=LINES)
    made = shipment(*TWO_CARTONS)
    gone = shipment_pb2.Shipment()
    gone.CopyFrom(made)
    gone.state = shipment_pb2.SHIPMENT_STATE_VOIDED
    desk.stage.hub.notebook.learn([gone])
    await desk.do("reverse_shipment", voided(gone))
    done = await desk.do("confirm_shipment", left(made))
    assert "voided" in done.note
    assert items(desk) == {}


@pytest.mark.parametrize("earlier", ["nothing", "everything"])
async def test_a_repeat_after_the_void_writes_nothing(desk: Desk, earlier: str) -> None:
    """Proves that a departure which is told again once its shipment is voided writes no shipment,
    no item, no status and no invoice, says why, and that the void behind it takes back whatever an
    earlier call wrote."""
    await desk.known_order(state=PARTLY, lines=LINES)
    made = shipment(*TWO_CARTONS)
    before = 0
    if earlier == "everything":
        desk.sandbox.faults.add({"kind": "reply_lost", "operation": "composite", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await desk.do("confirm_shipment", left(made))
        before = len(items(desk))
    taken_back = shipment_pb2.Shipment()
    taken_back.CopyFrom(made)
    taken_back.state = shipment_pb2.SHIPMENT_STATE_VOIDED
    (order,) = (each for each in desk.stage.hub.notebook.known if isinstance(each, order_pb2.Order))
    order.state = order_pb2.ORDER_STATE_SHIPPED
    desk.stage.hub.notebook.learn([taken_back])
    calls = len(desk.sandbox.calls)
    done = await desk.do("confirm_shipment", left(made), attempt=2)
    assert "voided" in done.note
    assert not done.references
    assert [call.operation for call in desk.sandbox.calls[calls:] if call.effect] == []
    assert (len(items(desk)), desk.sandbox.books()["invoices"]) == (before, [])
    await desk.do("reverse_shipment", voided(taken_back))
    assert items(desk) == {}


async def test_a_void_may_be_a_status_of_the_org(tmp_path: Path) -> None:
    """Proves that an org that keeps voided shipments has them with its own word, and once."""
    async with running(tmp_path, voided_shipment_status="Voided") as desk:
        await desk.known_order(state=PARTLY, lines=LINES)
        made = shipment(*TWO_CARTONS)
        await desk.do("confirm_shipment", left(made))
        for _ in range(2):
            await desk.do("reverse_shipment", voided(made))
        assert {each["Status"] for each in desk.sandbox.books()["shipments"]} == {"Voided"}
        assert len(items(desk)) == 2


async def test_a_fulfilled_order_is_not_taken_back_in_silence(desk: Desk) -> None:
    """Proves that the void of an order that is fulfilled and invoiced is for a person, who is told
    of the invoice, and goes through once that person has set it back."""
    order_id = await desk.known_order(lines=LINES)
    made = shipment(*TWO_CARTONS)
    await desk.do("confirm_shipment", left(made))
    (invoice,) = desk.sandbox.books()["invoices"]
    with pytest.raises(NeedsPerson, match=f"and has invoice {invoice['Id']}"):
        await desk.do("reverse_shipment", voided(made))
    assert len(items(desk)) == 2
    await desk.command("status", id=order_id, status="Pack Complete")
    await desk.do("reverse_shipment", voided(made))
    assert items(desk) == {}


async def test_an_org_without_the_key_on_items_can_leave_them_out(tmp_path: Path) -> None:
    """Proves that the setting tells shipments alone, and that the vendor's refusal of a field is
    told in its words."""
    async with running(tmp_path, shipment_items=False) as desk:
        await desk.known_order(state=PARTLY, lines=LINES)
        await desk.do("confirm_shipment", left(shipment(*TWO_CARTONS)))
        assert all("items" not in each for each in desk.sandbox.books()["shipments"])
    (tmp_path / "other").mkdir()
    fields = {"shipment_item.line": "Row__c"}
    async with running(tmp_path / "other", fields=fields) as desk:
        await desk.known_order(state=PARTLY, lines=LINES)
        with pytest.raises((Reject, NeedsPerson), match="Row__c"):
            await desk.do("confirm_shipment", left(shipment(*TWO_CARTONS)))
        assert desk.sandbox.books()["shipments"] == []
