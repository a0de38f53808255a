"""What the dock keeps back is taken out at Salesforce before anybody bills it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.fulfillment.v1 import fulfillment_events_pb2, fulfillment_pb2
from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock.tracking.v1 import tracking_events_pb2
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown
from salesforce_world import HUB_ID, Desk, running

pytestmark = pytest.mark.asyncio

ORDERED = {1: 5, 2: 2}
SHIPPED, PARTLY = order_pb2.ORDER_STATE_SHIPPED, order_pb2.ORDER_STATE_PARTIALLY_SHIPPED


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


async def ordered(
    desk: Desk, state: order_pb2.OrderState.ValueType, *units: str, **words: Any
) -> Any:
    """The hub's order of two lines, in EA, with its fulfillment order. units: of a product there,
    and of its row."""
    words_of = units or ("Each",)
    lines = [[f"SKU-{number}", str(quantity), *words_of] for number, quantity in ORDERED.items()]
    await desk.known_order(state=state, lines=lines, **words)
    (order,) = (each for each in desk.stage.hub.notebook.known if isinstance(each, order_pb2.Order))
    for number, quantity in ORDERED.items():
        line = order.lines.add(line_number=number, item_number=f"SKU-{number}")
        line.quantity.value, line.quantity.unit = str(quantity), "EA"
    return order


def kept_back(order: Any, short: dict[int, str], unit: str = "EA") -> None:
    """Say what the hub counts as short by now."""
    del order.progress[:]
    for number, quantity in short.items():
        row = order.progress.add(line_number=number)
        row.short.value, row.short.unit = quantity, unit


def shipment(
    packed: dict[int, str], left: dict[int, str] | None = None, id_: str = "s-1", unit: str = "EA"
) -> shipment_pb2.Shipment:
    """One carton; left: what of it did, where the confirm says so."""
    made = shipment_pb2.Shipment(order_id=HUB_ID, number=f"SHP-{id_}", carrier_code="UPS")
    made.id = str(uuid.uuid5(uuid.NAMESPACE_OID, id_))
    made.ship_to.name = "R. Okonkwo"
    made.state = shipment_pb2.SHIPMENT_STATE_MANIFESTED
    package = made.packages.add(id=f"id-{id_}", number=f"C-{id_}")
    made.progress.add(package_id=package.id, tracking_number=f"1Z-{id_}")
    for number, quantity in packed.items():
        content = package.contents.add(line_number=number, item_number=f"SKU-{number}")
        content.quantity.value, content.quantity.unit = quantity, unit
    if left is not None:
        departure = made.departures.add(package_numbers=[package.number])
        for number, quantity in left.items():
            row = departure.shipped.add(line_number=number)
            row.quantity.value, row.quantity.unit = quantity, unit
    return made


def manifested(made: shipment_pb2.Shipment) -> Any:
    return shipment_events_pb2.ShipmentManifested(shipment=made)


def picked(short: str) -> Any:
    request = fulfillment_pb2.FulfillmentRequest(order_id=HUB_ID)
    line = request.short.add(line_number=1)
    line.quantity.value, line.quantity.unit = short, "EA"
    return fulfillment_events_pb2.FulfillmentPickCompleted(fulfillment_request=request)


def by_item(desk: Desk, rows: Any) -> dict[str, Decimal]:
    """Quantities of rows of the fulfillment order, by item."""
    items = {
        each["Id"]: each["Product2"]["StockKeepingUnit"] for each in desk.sandbox.books()["lines"]
    }
    return {items[row]: quantity for row, quantity in dict(rows).items()}


def billed(desk: Desk) -> dict[str, Decimal]:
    """What the one invoice is about."""
    (invoice,) = desk.sandbox.books()["invoices"]
    return by_item(desk, invoice["billed"])


def told(desk: Desk) -> dict[str, Decimal]:
    """What left, as the items of the shipments say."""
    books = desk.sandbox.books()
    items = {each["Product2Id"]: each["Product2"]["StockKeepingUnit"] for each in books["lines"]}
    found: dict[str, Decimal] = {}
    for each in books["shipments"]:
        for row in each["items"].values():
            item = items[row["Product2Id"]]
            found[item] = found.get(item, Decimal(0)) + row["Quantity"]
    return found


@pytest.mark.parametrize("lost", ["cancel_item", "composite", "create_invoice"])
async def test_what_is_billed_is_what_left(desk: Desk, lost: str) -> None:
    """Proves that a piece that was short at the pick and one that the dock took out are each taken
    out once, whichever answer is lost: the invoice has what left, and not what was packed."""
    order = await ordered(desk, SHIPPED)
    await desk.do("record_pick", picked("1"))
    kept_back(order, {1: "2"})
    made = shipment({1: "4", 2: "2"}, left={1: "3", 2: "2"})
    desk.sandbox.faults.add({"kind": "reply_lost", "operation": lost, "count": 1})
    with pytest.raises(OutcomeUnknown):
        await desk.do("confirm_shipment", manifested(made))
    await desk.do("confirm_shipment", manifested(made))
    assert billed(desk) == told(desk) == {"SKU-1": Decimal(3), "SKU-2": Decimal(2)}
    assert [each["quantity"] for each in desk.sandbox.books()["cancellations"]] == [1, 1]
    assert desk.calls("update_lines") == 0


async def test_a_line_of_which_nothing_left_is_not_billed(desk: Desk) -> None:
    """Proves that a whole line which stayed behind is taken out, and that people are told."""
    kept_back(await ordered(desk, SHIPPED), {2: "2"})
    done = await desk.do("confirm_shipment", manifested(shipment({1: "5"})))
    (line,) = (row for row in desk.sandbox.books()["lines"] if row["Quantity"] == 0)
    assert done.note == f"cancelled, for it did not leave: 2 of {line['Id']}"
    assert billed(desk) == {"SKU-1": Decimal(5), "SKU-2": Decimal(0)}


async def test_nothing_is_taken_out_while_more_may_leave(desk: Desk) -> None:
    """Proves that a part that left takes nothing out, whatever is short by then, and that the last
    one takes out what the hub counts as short then."""
    order = await ordered(desk, PARTLY)
    kept_back(order, {1: "1"})
    await desk.do("confirm_shipment", manifested(shipment({1: "2"})))
    assert not desk.sandbox.books()["cancellations"]
    kept_back(order, {1: "2"})
    order.state = SHIPPED
    last = shipment({1: "2", 2: "2"}, left={1: "1", 2: "2"}, id_="s-2")
    await desk.do("confirm_shipment", manifested(last))
    assert billed(desk) == told(desk) == {"SKU-1": Decimal(3), "SKU-2": Decimal(2)}


@pytest.mark.parametrize("last", ["s-1", "s-2"])
async def test_a_line_of_two_short_shipments_is_cancelled_once(desk: Desk, last: str) -> None:
    """Proves that a line of which two shipments were each short is cancelled by what the hub counts
    of both, whichever leaves last, however often each is told, and with a pick that comes late."""
    order = await ordered(desk, PARTLY)
    made = {
        "s-1": shipment({1: "3"}, left={1: "2"}, id_="s-1"),
        "s-2": shipment({1: "2", 2: "2"}, left={1: "1", 2: "2"}, id_="s-2"),
    }
    kept_back(order, {1: "1"})
    first = next(each for each in made if each != last)
    await desk.do("confirm_shipment", manifested(made[first]))
    assert not desk.sandbox.books()["cancellations"]
    kept_back(order, {1: "2"})
    order.state = SHIPPED
    for each in (last, first, last):
        await desk.do("confirm_shipment", manifested(made[each]))
    await desk.do("record_pick", picked("1"))
    assert [each["quantity"] for each in desk.sandbox.books()["cancellations"]] == [2]
    assert billed(desk) == told(desk) == {"SKU-1": Decimal(3), "SKU-2": Decimal(2)}


def voided(desk: Desk, made: shipment_pb2.Shipment) -> None:
    """The hub has this shipment, and it was voided."""
    made.state = shipment_pb2.SHIPMENT_STATE_VOIDED
    desk.stage.hub.notebook.learn([made])


def counted(order: Any, shipped: dict[int, str], short: dict[int, str]) -> None:
    """Say what the hub counts of each line."""
    kept_back(order, short)
    for number, quantity in shipped.items():
        row = next((each for each in order.progress if each.line_number == number), None)
        row = row or order.progress.add(line_number=number)
        row.shipped.value, row.shipped.unit = quantity, "EA"


async def test_what_was_voided_is_billed_once_it_has_left_again(desk: Desk) -> None:
    """Proves that an order which counts as shipped although one of its shipments was voided is
    neither fulfilled nor billed, and loses nothing of what is to be packed again, until that has
    left; and that the delivery says so."""
    order = await ordered(desk, SHIPPED)
    voided(desk, shipment({1: "5"}, id_="s-2"))
    counted(order, {1: "0", 2: "1"}, {2: "1"})
    done = await desk.do("confirm_shipment", manifested(shipment({2: "2"}, left={2: "1"})))
    assert "5 of line 1 was in SHP-s-2, which was voided, and has not left since" in done.note
    assert not desk.sandbox.books()["invoices"]
    assert {each["Status"] for each in desk.sandbox.books()["fulfillment_orders"]} == {"Allocated"}
    counted(order, {1: "5", 2: "1"}, {2: "1"})
    done = await desk.do("confirm_shipment", manifested(shipment({1: "5"}, id_="s-3")))
    assert done.note.startswith("cancelled, for it did not leave: 1 of ")
    assert billed(desk) == told(desk) == {"SKU-1": Decimal(5), "SKU-2": Decimal(1)}
    assert desk.calls("cancel_item") == 1


@pytest.mark.parametrize("arrives", [False, True])
async def test_nothing_is_cancelled_while_something_is_to_be_packed_again(
    desk: Desk, arrives: bool
) -> None:
    """Proves that a departure and a delivery cancel nothing of an order while goods of a voided
    shipment have not left again, of which the hub may count some as short until then, for each
    confirm tells the whole line; and that what is short then is cancelled once."""
    order = await ordered(desk, SHIPPED)
    voided(desk, shipment({1: "2"}, id_="s-2"))
    made = shipment({1: "1", 2: "2"})
    made.progress[0].milestone = shipment_pb2.MILESTONE_DELIVERED
    counted(order, {1: "1", 2: "2"}, {1: "3"})
    if arrives:
        with pytest.raises(NeedsPerson, match="was in SHP-s-2"):
            await desk.do("record_delivery", tracking_events_pb2.Delivered(shipment=made))
    else:
        done = await desk.do("confirm_shipment", manifested(made))
        assert "was in SHP-s-2, which was voided" in done.note
    assert not desk.sandbox.books()["cancellations"]
    counted(order, {1: "3", 2: "2"}, {1: "2"})
    await desk.do("confirm_shipment", manifested(shipment({1: "2"}, id_="s-3")))
    assert billed(desk) == {"SKU-1": Decimal(3), "SKU-2": Decimal(2)}
    assert [each["quantity"] for each in desk.sandbox.books()["cancellations"]] == [2]


@pytest.mark.parametrize("which", ["its own", "another"])
async def test_what_is_voided_while_a_departure_waits_is_not_billed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """Proves that a first attempt goes by what the hub says once it has its turn: where a shipment
    of the order was voided while it waited, nothing is fulfilled or billed, the delivery says so,
    and the void goes through; where that was its own, nothing at all is written."""
    order = await ordered(desk, SHIPPED)
    gone, rest = shipment({1: "5"}, id_="s-1"), shipment({2: "2"}, id_="s-2")
    counted(order, {1: "5", 2: "2"}, {})
    desk.stage.hub.notebook.learn([gone, rest])
    event = manifested(gone if which == "its own" else rest)
    turn = desk.vendor.turn

    @asynccontextmanager
    async def late(summary: str) -> AsyncIterator[None]:
        voided(desk, gone)
        counted(order, {1: "0", 2: "2"}, {})
        async with turn(summary):
            yield

    monkeypatch.setattr(desk.vendor, "turn", late)
    done = await desk.do("confirm_shipment", event)
    books = desk.sandbox.books()
    assert {each["Status"] for each in books["fulfillment_orders"]} == {"Allocated"}
    assert not books["invoices"]
    assert "voided" in done.note
    assert len(books["shipments"]) == (which == "another")
    await desk.do("reverse_shipment", shipment_events_pb2.ShipmentVoided(shipment=gone))
    assert len(desk.sandbox.books()["shipments"]) == (which == "another")


async def test_what_is_never_packed_again_is_for_a_person(desk: Desk) -> None:
    """Proves that the delivery of an order of which voided goods never left parks with what to do,
    after it told the delivery itself, and fulfils and bills what left once that is done."""
    order = await ordered(desk, order_pb2.ORDER_STATE_DELIVERED)
    voided(desk, shipment({1: "2"}, id_="s-2"))
    made = shipment({1: "3", 2: "2"})
    made.progress[0].milestone = shipment_pb2.MILESTONE_DELIVERED
    counted(order, {1: "3", 2: "2"}, {})
    await desk.do("confirm_shipment", manifested(made))
    says = "2 of line 1 was in SHP-s-2, .* take it out in Salesforce, then retry the delivery"
    with pytest.raises(NeedsPerson, match=says):
        await desk.do("record_delivery", tracking_events_pb2.Delivered(shipment=made))
    assert [each["Status"] for each in desk.sandbox.books()["shipments"]] == ["Delivered"]
    assert not desk.sandbox.books()["invoices"]
    (row,) = (each for each in desk.sandbox.books()["lines"] if each["Quantity"] == 5)
    await desk.vendor.cancel_items(order.references[0].value, {row["Id"]: Decimal(2)})
    await desk.do("record_delivery", tracking_events_pb2.Delivered(shipment=made))
    assert billed(desk) == told(desk) == {"SKU-1": Decimal(3), "SKU-2": Decimal(2)}


@pytest.mark.parametrize(
    ("units", "left_in", "says"),
    [
        (["Dozen"], "EA", r"2 EA of line 1 \(its row is in DZN\) was in SHP-s-2"),
        (["Each"], "CS", r"what is left of line 1 \(told in CS, EA\) was in SHP-s-2"),
    ],
)
async def test_voided_goods_in_another_unit_are_not_billed(
    tmp_path: Path, units: list[str], left_in: str, says: str
) -> None:
    """Proves that what was voided is awaited where the row, or what left, is in another unit than
    was ordered: nothing is fulfilled or billed, a person is told the units, and what is right by
    hand then goes through."""
    async with running(tmp_path, shipment_items=False) as desk:
        order = await ordered(desk, order_pb2.ORDER_STATE_DELIVERED, *units)
        voided(desk, shipment({1: "2"}, id_="s-2"))
        made = shipment({1: "3", 2: "2"})
        made.progress[0].milestone = shipment_pb2.MILESTONE_DELIVERED
        counted(order, {1: "3", 2: "2"}, {})
        order.progress[0].shipped.unit = left_in
        done = await desk.do("confirm_shipment", manifested(made))
        assert "not fulfilled yet" in done.note
        with pytest.raises(NeedsPerson, match=says):
            await desk.do("record_delivery", tracking_events_pb2.Delivered(shipment=made))
        assert not desk.sandbox.books()["invoices"]
        statuses = {each["Status"] for each in desk.sandbox.books()["fulfillment_orders"]}
        assert statuses == {"Allocated"}
        await desk.command("status", id=order.references[0].value, status="Fulfilled")
        await desk.do("record_delivery", tracking_events_pb2.Delivered(shipment=made))


async def test_an_order_goes_on_in_the_unit_that_it_was_placed_in(desk: Desk) -> None:
    """Proves that an order that was placed in its products' unit, before their rows' own was read,
    leaves, is short and is billed in that."""
    order = await ordered(desk, SHIPPED, "Each", "Dozen")
    await desk.do("record_pick", picked("1"))
    kept_back(order, {1: "2"})
    await desk.do("confirm_shipment", manifested(shipment({1: "3", 2: "2"})))
    assert billed(desk) == told(desk) == {"SKU-1": Decimal(3), "SKU-2": Decimal(2)}


async def test_what_the_hub_learns_late_is_taken_out_at_the_delivery(desk: Desk) -> None:
    """Proves that what is short by the time of the delivery is taken out before it bills, once."""
    order = await ordered(desk, PARTLY)
    made = shipment({1: "3", 2: "2"})
    await desk.do("confirm_shipment", manifested(made))
    order.state = SHIPPED
    kept_back(order, {1: "2"})
    made.progress[0].milestone = shipment_pb2.MILESTONE_DELIVERED
    for _ in range(2):
        await desk.do("record_delivery", tracking_events_pb2.Delivered(shipment=made))
    assert billed(desk) == told(desk) == {"SKU-1": Decimal(3), "SKU-2": Decimal(2)}
    assert desk.calls("cancel_item") == 1


async def test_an_unmanaged_order_is_written_row_by_row(desk: Desk) -> None:
    """Proves that what stayed behind of an unmanaged order goes by its rows and by no action."""
    kept_back(await ordered(desk, SHIPPED, life_cycle="UNMANAGED"), {1: "1"})
    for _ in range(2):
        await desk.do("confirm_shipment", manifested(shipment({1: "4", 2: "2"})))
    rows = {row["Id"]: row["Quantity"] for row in desk.sandbox.books()["lines"]}
    assert by_item(desk, rows) == {"SKU-1": Decimal(4), "SKU-2": Decimal(2)}
    assert (desk.calls("cancel_item"), desk.calls("update_lines")) == (0, 1)


async def test_what_is_short_in_another_unit_is_left_to_a_person(desk: Desk) -> None:
    """Proves that a case which stayed behind of a row in pieces takes nothing out, that what left
    is told all the same, and that the delivery says what a person has to do."""
    kept_back(await ordered(desk, SHIPPED), {1: "1"}, unit="CS")
    done = await desk.do("confirm_shipment", manifested(shipment({1: "4", 2: "2"})))
    assert done.note == (
        "line 1: 1 CS did not leave, and the row is in EA: take it out in Salesforce"
    )
    assert not desk.sandbox.books()["cancellations"]
    assert told(desk) == {"SKU-1": Decimal(4), "SKU-2": Decimal(2)}


async def test_what_somebody_closed_stays_as_it_is(desk: Desk) -> None:
    """Proves that a fulfillment order which is closed by now loses nothing any more."""
    order = await ordered(desk, SHIPPED)
    kept_back(order, {1: "1"})
    order_id = order.references[0].value
    await desk.command("status", id=order_id, status="Fulfilled")
    await desk.do("confirm_shipment", manifested(shipment({1: "4", 2: "2"})))
    assert not desk.sandbox.books()["cancellations"]
