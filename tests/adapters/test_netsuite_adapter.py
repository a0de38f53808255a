"""The NetSuite adapter at the simulated account: one document per fact, come what may."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.order.v1 import order_events_pb2, order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock_adapters.netsuite import adapter
from crossdock_adapters.netsuite.adapter import ADAPTER
from crossdock_adapters.netsuite.client import NetSuiteClient
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import Settings
from netsuite_account import Account, running_account
from netsuite_hub import REFERENCE, HubNotebook, settings_for

pytestmark = pytest.mark.asyncio

ORDER_ID = "11111111-1111-4111-8111-111111111111"
SHIPMENT_ID = "22222222-2222-4222-8222-222222222222"


@dataclass
class Desk:
    """An account, a client of it, and a hub that knows its master data."""

    account: Account
    vendor: NetSuiteClient
    settings: Settings
    hub: HubNotebook

    async def do(self, operation: str, event: Any) -> Confirmed:
        """One attempt, as the runner makes it."""
        with exchange.recording():
            work = self.hub.work(operation, event, self.settings)
            return await ADAPTER.operations[operation](work, self.vendor)

    async def look_up(self, operation: str, event: Any) -> Any:
        """One look-up."""
        with exchange.recording():
            work = self.hub.work(operation, event, self.settings)
            return await ADAPTER.look_ups[operation](work, self.vendor)

    async def until_settled(self, operation: str, event: Any) -> Confirmed:
        """What the ledger does with a searchable operation: retry, look up, adopt or repeat."""
        for _ in range(40):
            try:
                return await self.do(operation, event)
            except Retry:
                continue
            except OutcomeUnknown:
                pass
            for _ in range(40):
                try:
                    found = await self.look_up(operation, event)
                except (Retry, OutcomeUnknown):
                    continue
                if isinstance(found, Confirmed):
                    return found
                break
        raise AssertionError("never settled")


@asynccontextmanager
async def desk_at(directory: Path, **books: Any) -> AsyncIterator[Desk]:
    """A desk whose account has these books from the start, as `running_account` takes them."""
    async with running_account(directory, **books) as account:
        settings, secrets = settings_for(account)
        vendor = await adapter.connect(settings, secrets)
        hub = HubNotebook()
        await adapter.pull_master_data(hub.poll(settings), vendor)
        try:
            yield Desk(account, vendor, settings, hub)
        finally:
            await vendor.close()


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as desk:
        yield desk


def order(number: str = "SO-1", order_id: str = ORDER_ID) -> order_pb2.Order:
    made = order_pb2.Order(
        id=order_id,
        number=number,
        customer_number="CUST-1003",
        customer_reference="PO-77",
        carrier_code="UPS",
        service_code="03",
    )
    made.ship_to.name = "Pat Doe"
    made.ship_to.company = "Doe Ltd"
    made.ship_to.address.lines.extend(["1 Main Street", "Suite 5"])
    made.ship_to.address.city = "Albany"
    made.ship_to.address.state = "NY"
    made.ship_to.address.postal_code = "12207"
    made.ship_to.address.country_code = "US"
    made.order_time.FromJsonString("2026-03-05T02:00:00Z")
    for line_number, item, quantity in ((10, "SKU-1001", "2"), (20, "SKU-1002", "5")):
        line = made.lines.add(line_number=line_number, item_number=item)
        line.quantity.value, line.quantity.unit = quantity, "EA"
        line.ship_from_location_number = "WH-EAST"
        line.unit_price.amount, line.unit_price.currency = "19.95", "USD"
    return made


def approved(made: order_pb2.Order | None = None) -> order_events_pb2.OrderApproved:
    return order_events_pb2.OrderApproved(order=made or order())


def manifested(
    *contents: tuple[int, str, str], shipment_id: str = SHIPMENT_ID
) -> shipment_events_pb2.ShipmentManifested:
    shipment = shipment_pb2.Shipment(
        id=shipment_id,
        number="SHP-1",
        order_id=ORDER_ID,
        order_number="SO-1",
        ship_from_location_number="WH-EAST",
    )
    shipment.manifest_time.instant.FromJsonString("2026-03-06T03:00:00Z")
    package = shipment.packages.add(id="pkg-1", number="CARTON-1")
    package.weight.value, package.weight.unit = "2", "KGM"
    for line_number, item, quantity in contents or ((10, "SKU-1001", "2"), (20, "SKU-1002", "5")):
        content = package.contents.add(line_number=line_number, item_number=item)
        content.quantity.value, content.quantity.unit = quantity, "EA"
    shipment.progress.add(package_id="pkg-1", tracking_number="1Z999AA10123456784")
    event = shipment_events_pb2.ShipmentManifested(shipment=shipment)
    event.metadata.record_time.FromJsonString("2026-03-06T03:00:05Z")
    return event


async def test_an_approved_order_becomes_a_sales_order(desk: Desk) -> None:
    """Its number comes back as reference and as the fact sales_document."""
    result = await desk.do("create_sales_order", approved())
    (booked,) = desk.account.orders()
    assert [(r.type, r.value) for r in result.references] == [
        ("sales_order", "SO10001"),
        ("sales_order_id", str(booked["internal_id"])),
    ]
    (fact,) = result.facts
    assert isinstance(fact, order_service_pb2.UpdateOrderRequest)
    assert (fact.order.id, fact.order.sales_document) == (ORDER_ID, "SO10001")
    assert list(fact.update_mask.paths) == ["sales_document"]
    assert booked["external_id"] == f"xd-{ORDER_ID}"
    fields = booked["fields"]
    assert fields["orderStatus"] == "B"
    assert fields["otherRefNum"] == "PO-77"
    assert fields["memo"] == f"SO-1 {REFERENCE}"
    assert fields["tranDate"] == "2026-03-04", "the account's day, not UTC's"
    assert fields["shippingAddress"]["addr2"] == "Suite 5"
    assert [line["custcol_crossdock_line"] for line in booked["lines"]] == [10, 20]
    assert [line["rate"] for line in booked["lines"]] == [Decimal("19.95")] * 2


async def test_creating_again_makes_no_second_order(desk: Desk) -> None:
    """A resubmitted delivery meets the same record; its lines are replaced, not added."""
    first = await desk.do("create_sales_order", approved())
    second = await desk.do("create_sales_order", approved())
    assert list(first.references) == list(second.references)
    (booked,) = desk.account.orders()
    assert len(booked["lines"]) == 2


@pytest.mark.parametrize("kind", ["throttle", "error_before", "error_after", "reply_lost"])
@pytest.mark.parametrize("operation", ["create_sales_order", "post_goods_issue"])
async def test_every_fault_ends_in_one_document(desk: Desk, kind: str, operation: str) -> None:
    """Whatever goes wrong around the write, retry and look-up end in exactly one record."""
    event: Any = approved()
    if operation == "post_goods_issue":
        await desk.do("create_sales_order", event)
        event = manifested()
    written = {"create_sales_order": "upsert", "post_goods_issue": "transform"}[operation]
    desk.account.fault(kind, operation=written, count=1)
    result = await desk.until_settled(operation, event)
    assert result.references[0].value in ("SO10001", "IF20001")
    assert len(desk.account.orders()) == 1
    assert len(desk.account.fulfillments()) == (operation == "post_goods_issue")
    booked = desk.account.orders()[0]
    assert booked["times_updated"] == 0, "an unknown outcome must not be sent again blindly"


@pytest.mark.parametrize("kind", ["error_before", "throttle"])
async def test_a_failed_read_after_the_write_is_unknown(desk: Desk, kind: str) -> None:
    """The sales order is booked, only its number is missing: unknown, never a retry."""
    desk.account.fault(kind, operation="read", count=1)
    with pytest.raises(OutcomeUnknown):
        await desk.do("create_sales_order", approved())
    found = await desk.look_up("create_sales_order", approved())
    assert isinstance(found, Confirmed)
    assert found.references[0].value == "SO10001"


async def test_a_look_up_overwrites_nothing(desk: Desk) -> None:
    """After a lost reply a person's edit survives, because the order is adopted, not sent again."""
    desk.account.fault("reply_lost", operation="upsert", count=1)
    with pytest.raises(OutcomeUnknown):
        await desk.do("create_sales_order", approved())
    await desk.account.sandbox.commands()["edit_record"](
        {"type": "salesOrder", "key": f"eid:xd-{ORDER_ID}", "fields": {"memo": "call first"}}
    )
    assert isinstance(await desk.look_up("create_sales_order", approved()), Confirmed)
    assert desk.account.orders()[0]["fields"]["memo"] == "call first"


async def test_look_ups_say_not_found_and_nothing_else(desk: Desk) -> None:
    """Nothing sent: both look-ups answer NotFound; a failing look-up is an error, not NotFound."""
    assert isinstance(await desk.look_up("create_sales_order", approved()), NotFound)
    assert isinstance(await desk.look_up("post_goods_issue", manifested()), NotFound)
    desk.account.fault("error_before", operation="read", count=1)
    with pytest.raises(Retry):
        await desk.look_up("post_goods_issue", manifested())


async def test_an_item_that_netsuite_does_not_know_is_for_a_person(desk: Desk) -> None:
    """Nothing is sent while a number has no internal id."""
    made = order()
    made.lines[0].item_number = "SKU-9999"
    with pytest.raises(Untranslatable, match="SKU-9999"):
        await desk.do("create_sales_order", approved(made))
    assert desk.account.orders() == []


async def test_a_hub_that_is_away_costs_a_retry_only(desk: Desk) -> None:
    """Ids are asked before anything is sent: without an answer nothing is unknown or parked."""

    async def away(kind: str, numbers: Sequence[str]) -> dict[str, str]:
        raise HubAway("no connection")

    work = desk.hub.work("create_sales_order", approved(), desk.settings)
    with pytest.raises(Retry, match="hub"):
        await adapter.create_sales_order(replace(work, look_up_numbers=away), desk.vendor)
    assert desk.account.orders() == []


async def test_a_manifested_shipment_becomes_one_shipped_fulfillment(desk: Desk) -> None:
    """All lines, tracking number, weight in pounds, the account's day; order and stock follow."""
    await desk.do("create_sales_order", approved())
    result = await desk.do("post_goods_issue", manifested())
    (posted,) = desk.account.fulfillments()
    assert [(r.type, r.value) for r in result.references] == [
        ("item_fulfillment", "IF20001"),
        ("item_fulfillment_id", str(posted["internal_id"])),
    ]
    assert posted["external_id"] == f"xd-{SHIPMENT_ID}"
    assert posted["fields"]["shipStatus"] == "C"
    assert posted["fields"]["tranDate"] == "2026-03-05"
    assert posted["fields"]["packages"] == [
        {
            "packageDescr": "CARTON-1",
            "packageWeight": Decimal("4.4092"),
            "packageTrackingNumber": "1Z999AA10123456784",
        }
    ]
    assert [line["quantity"] for line in posted["lines"]] == [2, 5]
    assert desk.account.orders()[0]["fields"]["orderStatus"] == "F"


async def test_only_what_was_packed_is_shipped(desk: Desk) -> None:
    """A line that is not in the packages stays open, and a later shipment ships it."""
    await desk.do("create_sales_order", approved())
    await desk.do("post_goods_issue", manifested((20, "SKU-1002", "3")))
    (first,) = desk.account.fulfillments()
    assert [line["quantity"] for line in first["lines"]] == [3]
    assert desk.account.orders()[0]["fields"]["orderStatus"] == "D"
    rest = manifested((10, "SKU-1001", "2"), (20, "SKU-1002", "2"), shipment_id=ORDER_ID[:-1] + "2")
    await desk.do("post_goods_issue", rest)
    assert desk.account.orders()[0]["fields"]["orderStatus"] == "F"


async def test_posting_a_shipment_twice_posts_once(desk: Desk) -> None:
    """The second transform is refused as a duplicate and resolved to the first document."""
    await desk.do("create_sales_order", approved())
    event = manifested((20, "SKU-1002", "3"))
    first = await desk.do("post_goods_issue", event)
    second = await desk.do("post_goods_issue", event)
    assert list(first.references) == list(second.references)
    assert len(desk.account.fulfillments()) == 1


@pytest.mark.parametrize("code", ["B", "Z"])
async def test_a_fulfillment_that_posts_nothing_is_no_goods_issue(desk: Desk, code: str) -> None:
    """Proves that a document somebody set back to packed, or to a code without a row, is told as
    such to a person: it is there, and neither stock nor cost are posted."""
    await desk.do("create_sales_order", approved())
    await desk.do("post_goods_issue", manifested())
    key = f"eid:xd-{SHIPMENT_ID}"
    await desk.account.sandbox.commands()["edit_record"](
        {"type": "itemFulfillment", "key": key, "fields": {"shipStatus": code}}
    )
    work = desk.hub.work("post_goods_issue", manifested(), desk.settings)
    with pytest.raises(NeedsPerson, match=f"IF20001 has shipStatus '?{code}"):
        await adapter.find_goods_issue(work, desk.vendor)


@pytest.mark.parametrize("attempt", [2, 4])
async def test_a_repeat_after_the_void_posts_nothing(desk: Desk, attempt: int) -> None:
    """Proves that a departure whose look-ups found nothing and whose shipment is voided by then is
    not posted anew, from the first repeat on, and says why; one that is not voided is."""
    await desk.do("create_sales_order", approved())
    event = manifested()
    for state, posted in ((shipment_pb2.SHIPMENT_STATE_VOIDED, 0), (event.shipment.state, 1)):
        desk.hub.shipment = shipment_pb2.Shipment(id=SHIPMENT_ID, state=state)
        work = desk.hub.work("post_goods_issue", event, desk.settings, attempt=attempt)
        done = await adapter.post_goods_issue(work, desk.vendor)
        assert len(desk.account.fulfillments()) == posted
        assert ("voided" in done.note, bool(done.references)) == (not posted, bool(posted))


async def test_a_closed_order_rejects_the_goods_issue(desk: Desk) -> None:
    """A documented business refusal is a rejection with the vendor's words, not a retry."""
    await desk.do("create_sales_order", approved())
    await desk.account.sandbox.commands()["close_order"]({"key": f"eid:xd-{ORDER_ID}"})
    with pytest.raises(Reject, match="closed"):
        await desk.do("post_goods_issue", manifested())


async def test_goods_issue_without_a_sales_order_is_for_a_person(desk: Desk) -> None:
    """A missing sales order is not invented."""
    with pytest.raises(NeedsPerson, match="sales order"):
        await desk.do("post_goods_issue", manifested())


async def test_reversal_deletes_once_and_repeats_safely(desk: Desk) -> None:
    """Voiding takes the fulfillment away, a repeat finds nothing, and stock is as before."""
    stock = desk.account.sandbox.books()["on_hand"]
    await desk.do("create_sales_order", approved())
    await desk.do("post_goods_issue", manifested())
    voided = shipment_events_pb2.ShipmentVoided(shipment=manifested().shipment)
    assert (await desk.do("reverse_goods_issue", voided)).references
    again = await desk.do("reverse_goods_issue", voided)
    assert "nothing to reverse" in again.note
    assert desk.account.fulfillments() == []
    assert desk.account.sandbox.books()["on_hand"] == stock
    assert desk.account.orders()[0]["fields"]["orderStatus"] == "B"


async def test_a_change_keeps_line_keys_and_human_edits(desk: Desk) -> None:
    """Only what the OMS changed is sent: the other line's key and a person's memo stay."""
    await desk.do("create_sales_order", approved())
    key = f"eid:xd-{ORDER_ID}"
    await desk.account.sandbox.commands()["edit_record"](
        {"type": "salesOrder", "key": key, "fields": {"memo": "call first"}}
    )
    (before,) = desk.account.orders()
    made = order()
    made.lines[0].quantity.value = "1"
    made.lines.add().CopyFrom(made.lines[1])
    made.lines[2].line_number = 30
    event = order_events_pb2.OrderChanged(order=made, changed_fields=["lines"])
    await desk.do("change_order", event)
    await desk.do("change_order", event)
    (after,) = desk.account.orders()
    assert [line["line"] for line in after["lines"]][:2] == [
        line["line"] for line in before["lines"]
    ]
    assert [line["quantity"] for line in after["lines"]] == [1, 5, 5]
    assert after["fields"]["memo"] == "call first"
    assert after["fields"]["otherRefNum"] == "PO-77"


async def test_a_change_that_netsuite_does_not_keep_sends_nothing(desk: Desk) -> None:
    """A changed promise leaves the sales order alone."""
    await desk.do("create_sales_order", approved())
    event = order_events_pb2.OrderChanged(order=order(), changed_fields=["promised"])
    result = await desk.do("change_order", event)
    assert "nothing" in result.note
    assert desk.account.orders()[0]["times_updated"] == 0


async def test_cancelling_is_repeatable_and_refused_after_shipping(desk: Desk) -> None:
    """Each line is closed once however often asked; an order with a fulfillment refuses."""
    cancelled = order_events_pb2.OrderCancelled(order=order())
    assert "nothing to cancel" in (await desk.do("cancel_order", cancelled)).note
    await desk.do("create_sales_order", approved())
    await desk.do("cancel_order", cancelled)
    await desk.do("cancel_order", cancelled)
    assert desk.account.orders()[0]["fields"]["orderStatus"] == "H"
    assert all(line["isClosed"] for line in desk.account.orders()[0]["lines"])
    assert desk.account.orders()[0]["times_updated"] == 1
    other = order("SO-2", ORDER_ID[:-1] + "9")
    await desk.do("create_sales_order", approved(other))
    shipped = manifested(shipment_id=ORDER_ID[:-1] + "8")
    shipped.shipment.order_id = other.id
    await desk.do("post_goods_issue", shipped)
    with pytest.raises(Reject, match="cannot be cancelled"):
        await desk.do("cancel_order", order_events_pb2.OrderCancelled(order=other))


async def test_an_account_may_take_a_cancelled_status(tmp_path: Path) -> None:
    """Proves that the status of the setting is written where it is given, which an account takes
    that lets more be written than the record's schema says, and others refuse."""
    cancelled = order_events_pb2.OrderCancelled(order=order())
    for statuses in ("ABC", "AB"):
        async with running_account(tmp_path, order_statuses=statuses) as account:
            settings, secrets = settings_for(account, cancelled_status="C")
            vendor = await adapter.connect(settings, secrets)
            desk = Desk(account, vendor, settings, HubNotebook())
            await adapter.pull_master_data(desk.hub.poll(settings), vendor)
            await desk.do("create_sales_order", approved())
            if "C" in statuses:
                await desk.do("cancel_order", cancelled)
                await desk.do("cancel_order", cancelled)
            else:
                with pytest.raises(Reject, match="Invalid Field Value C"):
                    await desk.do("cancel_order", cancelled)
            (held,) = account.orders()
            assert held["fields"]["orderStatus"] == ("C" if "C" in statuses else "B")
            await vendor.close()


async def test_the_manifest_and_the_functions_agree() -> None:
    """Every operation is wired, searchable ones have a look-up, and the dock grade is reached."""
    ADAPTER.check()
    assert ADAPTER.manifest.grade() in ("dock", "yard", "fleet")


async def test_a_down_vendor_is_a_retry(desk: Desk) -> None:
    """A closed port proves that nothing was processed."""
    desk.account.fault("down", seconds=30)
    await desk.account.sandbox.apply_outage()
    for event, operation in (
        (approved(), "create_sales_order"),
        (manifested(), "post_goods_issue"),
    ):
        with pytest.raises((Retry, OutcomeUnknown)):
            await desk.do(operation, event)
    with pytest.raises(Retry):
        await desk.do("create_sales_order", approved())
    assert desk.account.orders() == []
