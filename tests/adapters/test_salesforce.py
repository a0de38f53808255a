"""The event bus and the writes of Salesforce where the conformance kit does not go: places kept
after the facts, gaps closed, credit, sessions that end, managed orders, errors in successes."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.errors import Refusal, TryAgainError
from crossdock.fulfillment.v1 import fulfillment_events_pb2, fulfillment_pb2
from crossdock.shipment.v1 import shipment_events_pb2
from crossdock_adapters.salesforce import conformance, sandbox_schemas
from crossdock_adapters.salesforce.inbox import BUDGET, GAP
from crossdock_adapters.salesforce.sandbox import CHANGE_TOPIC, STATUS_TOPIC
from crossdock_adapters.sdk.conformance.notebook import Notebook, Refused
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    Reject,
    Retry,
    Throttled,
    VendorOutcome,
)
from salesforce_world import HUB_ID, Desk, running

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


def picked(quantity: str = "1") -> Any:
    """So much of the first line was short."""
    request = fulfillment_pb2.FulfillmentRequest(order_id=HUB_ID)
    line = request.short.add(line_number=1)
    line.quantity.value, line.quantity.unit = quantity, "EA"
    return fulfillment_events_pb2.FulfillmentPickCompleted(fulfillment_request=request)


def manifested() -> Any:
    shipment = conformance.shipment()
    shipment.order_id = HUB_ID
    return shipment_events_pb2.ShipmentManifested(shipment=shipment)


# Events


async def test_an_allocated_order_is_placed_approved_and_released(desk: Desk) -> None:
    """Proves that one event makes one order, released, with its keys at Salesforce, and its place
    kept; a second run tells nothing more."""
    order_id = await desk.order("FO-1")
    await desk.run()
    await desk.run()
    assert [desk.told(each) for each in ("CreateOrder", "ApproveOrder", "ReleaseOrder")] == [1] * 3
    created: Any = next(iter(desk.stage.hub.notebook.facts.values()))
    assert [each.value for each in created.references][:1] == [order_id]
    assert (await desk.place()).replay_id
    assert not desk.held


async def test_a_place_is_kept_only_once_the_facts_are(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that an event comes again after a hub that could not take it, and is told once."""
    await desk.order("FO-1")
    real = Notebook.ask

    def busy(notebook: Notebook, method: Any, data: bytes) -> Any:
        if method.full_name.endswith("/ApproveOrder"):
            raise Refused(Refusal("HUB_OVERLOADED", "later"))
        return real(notebook, method, data)

    monkeypatch.setattr(Notebook, "ask", busy)
    with pytest.raises(TryAgainError):
        await desk.run()
    assert not (await desk.place()).replay_id
    monkeypatch.undo()
    await desk.run()
    assert (desk.told("CreateOrder"), desk.told("ReleaseOrder")) == (1, 1)
    assert (await desk.place()).replay_id


async def test_a_sign_of_life_moves_the_place(tmp_path: Path) -> None:
    """Proves that the id of an empty response is kept, so a quiet topic's place stays known."""
    async with running(tmp_path, {"keepalive_seconds": 0.05}) as desk:

        async def kept() -> bool:
            await desk.run()
            return bool((await desk.place()).replay_id)

        await until(kept, "the place of a topic without events is kept")
        assert desk.calls("subscribe") == 2, "one stream for each topic"


async def test_a_stream_is_kept_open_and_its_credit_topped_up(tmp_path: Path) -> None:
    """Proves that more events than are asked for at once come by one stream, each told once; and
    the bus refuses who asks for more than is allowed."""
    async with running(tmp_path, events_at_once=7, events_run_seconds=1.0) as desk:
        for number in range(20):
            await desk.order(f"FO-{number}")
        await until_told(desk, "ReleaseOrder", 20)
        await desk.order("FO-last")
        await until_told(desk, "ReleaseOrder", 21)
        assert desk.calls("subscribe") == 2


async def test_a_session_that_ends_in_mid_stream_is_renewed(desk: Desk) -> None:
    """Proves that a stream cut for its token is told as a retry, and the next has a new one."""
    await desk.run()
    await desk.command("expire_tokens")
    with pytest.raises(Retry):
        await desk.run()
    await desk.order("FO-1")
    await desk.run()
    assert desk.told("ReleaseOrder") == 1
    assert desk.sandbox.books()["tokens_given"] == 2


async def test_a_lost_place_is_told_and_what_changed_is_read_again(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves that a replay id which is not known any more starts at the oldest event, finds by
    query what no event tells, raises an alert, and is logged."""
    await desk.order("FO-1")
    await desk.run()
    await desk.command("misbehave", kind="silent", count=1)
    await desk.order("FO-2")
    await desk.command("behave")
    await desk.command("forget_events")
    desk.vendor.pubsub.drop(STATUS_TOPIC)
    await until_told(desk, "ReleaseOrder", 2)
    assert "may be lost" in desk.alerts.told()
    assert any(GAP in each.message or "may be lost" in each.message for each in caplog.records)
    await desk.order("FO-3")
    await desk.run()
    assert desk.told("ReleaseOrder") == 3


async def test_a_gap_of_change_data_capture_reads_the_record(desk: Desk) -> None:
    """Proves that a GAP_ event without content, and an overflow without ids, lead to the orders."""
    await desk.command("misbehave", kind="silent", count=9)
    first = await desk.order("FO-1")
    await desk.command("change_event", change_type="GAP_UPDATE", ids=[first])
    await desk.run()
    assert desk.told("ReleaseOrder") == 1
    await desk.order("FO-2")
    await desk.command("change_event", change_type="GAP_OVERFLOW")
    await desk.run()
    assert desk.told("ReleaseOrder") == 2
    assert (await desk.place(CHANGE_TOPIC)).replay_id


async def test_a_new_definition_of_an_event_is_asked_for_once(desk: Desk) -> None:
    """Proves that each schema is read once, and an event by the definition it was written with."""
    await desk.order("FO-1")
    await desk.order("FO-2")
    await desk.run()
    grown = json.loads(sandbox_schemas.SCHEMAS[sandbox_schemas.STATUS_ID])
    grown["fields"].append({"name": "More", "type": ["null", "string"], "default": None})
    await desk.command("schema", id="new", schema=json.dumps(grown), topic=STATUS_TOPIC)
    await desk.order("FO-3")
    await desk.run()
    assert desk.told("ReleaseOrder") == 3
    assert desk.calls("get_schema") == 2


async def test_a_cancelled_order_is_cancelled_in_either_spelling(desk: Desk) -> None:
    """Proves that the other spelling of the category cancels too, once, and with a reason."""
    order_id = await desk.order("FO-1")
    await desk.run()
    await desk.command("misbehave", kind="british", count=9)
    await desk.command("status", id=order_id, status="Canceled")
    await desk.run()
    await desk.run()
    assert desk.told("CancelOrder") == 1


async def test_what_cannot_be_told_is_held_and_told_later(desk: Desk) -> None:
    """Proves that an order with a delivery method that nobody named is held with its word, keeps no
    other from passing, and is told when it is tried again and can be."""
    order_id = await desk.order("FO-1", delivery_method="Drone")
    await desk.order("FO-2")
    await desk.run()
    ((payload, content_type, reason, _),) = desk.held
    assert "'Drone'" in reason and order_id in reason
    assert desk.told("ReleaseOrder") == 1
    desk.sandbox._records.orders[order_id]["DeliveryMethod"]["Name"] = "Standard"
    await desk.again(payload, content_type)
    assert desk.told("ReleaseOrder") == 2
    assert len(desk.held) == 1


async def test_an_event_of_an_erased_record_is_held_with_its_place(desk: Desk) -> None:
    """Proves that an id which Salesforce erased for privacy is neither guessed nor passed over."""
    event = base64.b64encode(conformance.event(None, 1)).decode()
    await desk.command("publish", event=event)
    await desk.run()
    assert "/FulfillmentOrderId" in desk.held[0][2]


async def test_the_requests_of_a_day_raise_an_alert_in_time(desk: Desk) -> None:
    """Proves that 70 % of the day's requests are told while calls still work, and lifted below."""
    await desk.command("use_requests", used=69_000)
    await desk.order("FO-1")
    await desk.run()
    assert desk.alerts.told() == ""
    await desk.command("use_requests", used=70_000)
    await desk.order("FO-2")
    await desk.run()
    assert "of 100000 API requests" in desk.alerts.told()
    desk.alerts.lift(BUDGET)
    assert desk.alerts.told() == ""


# Writes


async def test_a_managed_order_changes_by_the_action(desk: Desk) -> None:
    """Proves that a shortage of a managed order goes by cancel-item, once however often it is
    asked, and the order is picked then."""
    await desk.known_order(lines=[["SKU-1", "3", "Each"]])
    for _ in range(2):
        assert isinstance(await desk.do("record_pick", picked("2")), Confirmed)
    books = desk.sandbox.books()
    assert [each["quantity"] for each in books["cancellations"]] == [2]
    assert (desk.calls("cancel_item"), desk.calls("update_lines")) == (1, 0)
    assert isinstance(await desk.look_up("record_pick", picked("2")), Confirmed)


async def test_an_unmanaged_order_changes_by_its_rows(desk: Desk) -> None:
    """Proves that OrderLifeCycleType decides how a quantity changes: no action on an unmanaged one,
    and no invoice."""
    await desk.known_order(life_cycle="UNMANAGED", lines=[["SKU-1", "3", "Each"]])
    await desk.do("record_pick", picked("2"))
    assert desk.sandbox.books()["lines"][0]["Quantity"] == 1
    assert (desk.calls("cancel_item"), desk.calls("update_lines")) == (0, 1)
    await desk.do("confirm_shipment", manifested())
    assert desk.calls("create_invoice") == 0


async def test_an_order_that_does_not_say_is_not_written(desk: Desk) -> None:
    """Proves that a life cycle nobody documented is for a person, before anything is written."""
    await desk.known_order(life_cycle="HYBRID", lines=[["SKU-1", "3", "Each"]])
    with pytest.raises(NeedsPerson, match="HYBRID"):
        await desk.do("record_pick", picked())
    assert not desk.sandbox.books()["cancellations"]


async def test_a_pick_without_trace_is_not_found(desk: Desk) -> None:
    """Proves that a look-up says so until quantities and status are both there."""
    await desk.known_order(lines=[["SKU-1", "3", "Each"]])
    assert isinstance(await desk.look_up("record_pick", picked("2")), NotFound)


async def test_what_comes_late_moves_nothing_back(desk: Desk) -> None:
    """Proves that a pick told after the departure leaves the fulfillment order where it is."""
    order_id = await desk.known_order()
    await desk.do("confirm_shipment", manifested())
    request = fulfillment_pb2.FulfillmentRequest(order_id=HUB_ID)
    event = fulfillment_events_pb2.FulfillmentPickCompleted(fulfillment_request=request)
    await desk.do("record_pick", event)
    assert desk.sandbox._records.orders[order_id]["Status"] == "Fulfilled"


async def test_a_success_with_errors_is_none(desk: Desk) -> None:
    """Proves that 201 with success false is a refusal with its words, and that the shipment which
    was written before is there once, also after it worked."""
    await desk.known_order()
    await desk.command("misbehave", kind="errors_in_success", count=1)
    with pytest.raises(Reject, match="tax"):
        await desk.do("confirm_shipment", manifested())
    await desk.do("confirm_shipment", manifested())
    books = desk.sandbox.books()
    assert (len(books["shipments"]), len(books["invoices"])) == (1, 1)


async def test_an_invoice_that_is_there_is_not_made_again(desk: Desk) -> None:
    """Proves that one invoice is made, and a later departure or repeat refers to it."""
    await desk.known_order()
    first = await desk.do("confirm_shipment", manifested())
    second = await desk.do("confirm_shipment", manifested())
    assert first.references[-1] == second.references[-1]
    assert first.references[-1].type == "invoice"
    assert desk.calls("create_invoice") == 1


@pytest.mark.parametrize(("kind", "word"), [("lock_row", Retry), ("multiple_matches", NeedsPerson)])
async def test_a_part_of_a_composite_call_decides(
    desk: Desk, kind: str, word: type[VendorOutcome]
) -> None:
    """Proves that a lock is a retry and an external id that is not unique a person's, both under
    HTTP 200, and that nothing of the call was kept."""
    order_id = await desk.known_order()
    await desk.command("misbehave", kind=kind, count=1)
    with pytest.raises(word):
        await desk.do("confirm_shipment", manifested())
    assert not desk.sandbox.books()["shipments"]
    assert desk.sandbox._records.orders[order_id]["Status"] == "Allocated"


async def test_a_row_that_is_locked_takes_no_quantity(desk: Desk) -> None:
    """Proves that an error of one record under HTTP 200 is seen, with its word, and the look-up
    and the next attempt find nothing done."""
    await desk.known_order(life_cycle="UNMANAGED", lines=[["SKU-1", "3", "Each"]])
    await desk.command("misbehave", kind="lock_row", count=1)
    with pytest.raises(Retry, match="UNABLE_TO_LOCK_ROW"):
        await desk.do("record_pick", picked("2"))
    assert isinstance(await desk.look_up("record_pick", picked("2")), NotFound)
    await desk.do("record_pick", picked("2"))
    assert desk.sandbox.books()["lines"][0]["Quantity"] == 1


async def test_a_lock_inside_of_a_trigger_is_a_lock(desk: Desk) -> None:
    """Proves that a trigger which failed for a lock is tried again, and for another reason not."""
    file = Path(__file__).parent / "payloads/salesforce/composite_rolled_back.json"
    content = json.loads(file.read_text())["compositeResponse"][1]["body"]
    assert isinstance(desk.vendor._meaning(400, content, effect=True), Retry)
    content[0]["message"] = "FulfillmentTrigger: no carrier"
    assert isinstance(desk.vendor._meaning(400, content, effect=True), Reject)


async def test_a_query_is_read_to_its_last_page(desk: Desk) -> None:
    """Proves that everything which changed is found, however many pages it has, in its order."""
    await desk.command("misbehave", kind="silent", count=1)
    ids = [await desk.order(f"FO-{number}") for number in range(450)]
    assert await desk.vendor.changed_since("2026-01-01T00:00:00.000Z") == ids
    assert desk.calls("query") == 3


async def test_the_last_request_of_the_day_is_told_as_throttled(desk: Desk) -> None:
    """Proves that status 403 with the code of the limit is no matter of rights, and rests."""
    await desk.known_order()
    await desk.do("record_pick", picked("0"))
    await desk.command("use_requests", used=100_000)
    with pytest.raises(Throttled) as limited:
        await desk.do("confirm_shipment", manifested())
    assert limited.value.after_seconds == 60


async def test_an_order_of_somebody_else_is_left_alone(desk: Desk) -> None:
    """Proves that an order which did not come from this org costs no call and is confirmed."""
    desk.stage.hub.notebook.learn([conformance.known(HUB_ID, "SO-1", "x")])
    desk.stage.hub.notebook.known[-1].ClearField("references")
    confirmed = await desk.do("record_pick", picked())
    assert "not of this org" in confirmed.note
    assert desk.calls("composite") == 0


async def until_told(desk: Desk, method: str, count: int) -> None:
    """Run the poll until so many facts are told; Failed at the deadline."""

    async def told() -> bool:
        await desk.run()
        return desk.told(method) >= count

    await until(told, f"{count} of {method}")
    assert desk.told(method) == count
