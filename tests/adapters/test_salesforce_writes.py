"""What is written to Salesforce where the conformance kit does not go: managed orders, errors in
successes, what is cancelled, closed or partly gone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.fulfillment.v1 import fulfillment_events_pb2, fulfillment_pb2
from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_events_pb2
from crossdock_adapters.salesforce import conformance
from crossdock_adapters.salesforce.sandbox_records import Records
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    Reject,
    Retry,
    Throttled,
    Untranslatable,
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


async def test_what_is_fulfilled_is_for_the_whole_order_to_say(desk: Desk) -> None:
    """Proves that one shipment of two fulfils and invoices nothing, and the last one does, as does
    a delivery after which nothing more will leave."""
    order_id = await desk.known_order(state=order_pb2.ORDER_STATE_PARTIALLY_SHIPPED)
    first = await desk.do("confirm_shipment", manifested())
    assert desk.sandbox._records.orders[order_id]["Status"] == "Allocated"
    assert [each.type for each in first.references] == ["fulfillment_order", "shipment"]
    books = desk.sandbox.books()
    assert (len(books["shipments"]), books["invoices"]) == (1, [])
    desk.stage.hub.notebook.known[0].state = order_pb2.ORDER_STATE_SHIPPED
    delivered: Any = conformance.delivered({})
    delivered.shipment.order_id = HUB_ID
    last = await desk.do("record_delivery", delivered)
    assert desk.sandbox._records.orders[order_id]["Status"] == "Fulfilled"
    assert last.references[-1].type == "invoice"
    await desk.do("confirm_shipment", manifested())
    assert len(desk.sandbox.books()["invoices"]) == 1


@pytest.mark.parametrize("operation", ["record_pick", "record_packed", "confirm_shipment"])
async def test_a_cancelled_order_is_not_brought_back(desk: Desk, operation: str) -> None:
    """Proves that work on what Salesforce cancelled is a refusal for a person to see, with nothing
    written."""
    await desk.known_order(status="Canceled")
    packed: Any = conformance.packed({})
    packed.shipment.order_id = HUB_ID
    events = {"record_pick": picked(), "record_packed": packed, "confirm_shipment": manifested()}
    with pytest.raises(Reject, match="cancelled in Salesforce"):
        await desk.do(operation, events[operation])
    books = desk.sandbox.books()
    assert not (books["status_writes"] or books["shipments"] or books["cancellations"])


async def test_what_an_org_closed_in_its_own_words_stays_closed(desk: Desk) -> None:
    """Proves that a status of an org's own, in the category Closed, is past what we would write."""
    order_id = await desk.known_order()
    order = desk.sandbox._records.orders[order_id]
    order["Status"], order["StatusCategory"] = "Handed Over", "Closed"
    await desk.do("record_pick", picked("0"))
    assert order["Status"] == "Handed Over"


async def test_a_shortage_in_another_unit_is_not_taken_for_the_rows(desk: Desk) -> None:
    """Proves that a case short is not one piece short: nothing is converted by guess."""
    await desk.known_order(lines=[["SKU-1", "30", "Each"]])
    event = picked("1")
    event.fulfillment_request.short[0].quantity.unit = "CS"
    with pytest.raises(Untranslatable, match="CS"):
        await desk.do("record_pick", event)
    assert not desk.sandbox.books()["cancellations"]


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


async def test_what_an_action_says_inside_an_error_decides(desk: Desk) -> None:
    """Proves that a lock under HTTP 400 is a retry although only the error's output has its code,
    and that what the org refuses is a refusal with its words, whatever its code."""
    await desk.known_order()
    await desk.do("confirm_shipment", manifested())
    order_id = next(iter(desk.sandbox._records.orders))
    with pytest.raises(Reject, match="an invoice exists"):
        await desk.vendor.create_invoice(order_id)
    await desk.command("misbehave", kind="lock_row", count=1)
    with pytest.raises(Retry):
        await desk.vendor.create_invoice(order_id)


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
    """Proves that an error of one record under HTTP 200 is seen, with its word and its rest, and
    that the look-up and the next attempt find nothing done."""
    await desk.known_order(life_cycle="UNMANAGED", lines=[["SKU-1", "3", "Each"]])
    await desk.command("misbehave", kind="lock_row", count=1)
    with pytest.raises(Retry, match="UNABLE_TO_LOCK_ROW") as locked:
        await desk.do("record_pick", picked("2"))
    assert locked.value.after_seconds == 1
    assert isinstance(await desk.look_up("record_pick", picked("2")), NotFound)
    await desk.do("record_pick", picked("2"))
    assert desk.sandbox.books()["lines"][0]["Quantity"] == 1


async def test_the_row_that_failed_decides_for_those_rolled_back_with_it(desk: Desk) -> None:
    """Proves that of rows that are written all or none the one with an error of its own says what
    became of them, also where others, which Salesforce tells as rolled back, stand before it."""
    await desk.known_order(
        life_cycle="UNMANAGED", lines=[["SKU-1", "3", "Each"], ["SKU-2", "3", "Each"]]
    )
    first, second = desk.sandbox._records.lines
    with pytest.raises(Reject, match="INVALID_CROSS_REFERENCE_KEY"):
        await desk.vendor.set_quantities({first: Decimal(1), "no row": Decimal(1)})
    await desk.command("misbehave", kind="lock_row", count=1)
    with pytest.raises(Retry, match="UNABLE_TO_LOCK_ROW"):
        await desk.vendor.set_quantities({first: Decimal(1), second: Decimal(1)})
    assert [row["Quantity"] for row in desk.sandbox.books()["lines"]] == [3, 3]


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("FIELD_INTEGRITY_EXCEPTION", Reject),
        ("NUMBER_OUTSIDE_VALID_RANGE", Reject),
        ("INVALID_EMAIL_ADDRESS", Reject),
        ("MALFORMED_ID", Reject),
        ("ENTITY_IS_LOCKED", NeedsPerson),
        ("JSON_PARSER_ERROR", NeedsPerson),
        ("DUPLICATE_EXTERNAL_ID", NeedsPerson),
        ("DUPLICATES_DETECTED", NeedsPerson),
        ("STORAGE_LIMIT_EXCEEDED", NeedsPerson),
        ("INACTIVE_OWNER_OR_USER", NeedsPerson),
        ("API_CURRENTLY_DISABLED", Retry),
        ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", Retry),
        ("TOO_MANY_APEX_REQUESTS", Retry),
        ("RECORD_IN_USE_BY_WORKFLOW", Retry),
    ],
)
async def test_a_refusal_of_the_value_or_the_record_is_no_doubt(
    desk: Desk, code: str, word: type[VendorOutcome]
) -> None:
    """Proves that codes with which Salesforce has documented that it did not write end the work, or
    bring a person to it where the record or the set-up is at fault, or are tried again where it
    says that they pass, instead of asking what became of it."""
    content = [{"errorCode": code, "message": "row 1 was not taken"}]
    found = desk.vendor._meaning(400, content, effect=True)
    assert type(found) is word and code in str(found)


async def test_a_status_that_the_org_does_not_have_is_for_a_person(tmp_path: Path) -> None:
    """Proves that a setting which names a status of no picklist parks the work, to be retried once
    it is mended: the org refuses the setting, and no order."""
    async with running(tmp_path, picked_status="Gathered") as desk:
        await desk.known_order(state=order_pb2.ORDER_STATE_RELEASED)
        with pytest.raises(NeedsPerson, match="RESTRICTED_PICKLIST"):
            await desk.do("record_pick", picked("0"))


async def test_a_lock_inside_of_a_trigger_is_a_lock(desk: Desk) -> None:
    """Proves that a trigger which failed for a lock is tried again, and for another reason not, and
    that the same code without a trigger is what Salesforce documents: a missing permission."""
    file = Path(__file__).parent / "payloads/salesforce/composite_rolled_back.json"
    content = json.loads(file.read_text())["compositeResponse"][1]["body"]
    assert isinstance(desk.vendor._meaning(400, content, effect=True), Retry)
    content[0]["message"] = "FulfillmentTrigger: execution of BeforeUpdate caused by: no carrier"
    assert isinstance(desk.vendor._meaning(400, content, effect=True), Reject)
    content[0]["message"] = "entity type cannot be updated: Shipment"
    assert isinstance(desk.vendor._meaning(400, content, effect=True), NeedsPerson)


async def test_the_last_request_of_the_day_is_told_as_throttled(desk: Desk) -> None:
    """Proves that status 403 with the code of the limit is no matter of rights, and rests."""
    await desk.known_order()
    await desk.do("record_pick", picked("0"))
    await desk.command("use_requests", used=100_000)
    with pytest.raises(Throttled) as limited:
        await desk.do("confirm_shipment", manifested())
    assert limited.value.after_seconds == 60


async def test_a_rest_is_the_vendors_where_it_says_one(desk: Desk) -> None:
    """Proves that Retry-After goes before the row's pause, and that without one the row's counts,
    also of an error that is a status of its own."""
    said = [{"errorCode": "SERVER_UNAVAILABLE", "message": "later"}]
    for headers, rest in (({"Retry-After": "7"}, 7), ({"Retry-After": "0"}, 0), ({}, 2)):
        answer = Answer(503, headers, json.dumps(said).encode())
        wish = desk.vendor._wish_seconds(answer, said)
        meaning: Any = desk.vendor._meaning(503, said, effect=True, wish=wish)
        assert (type(meaning), meaning.after_seconds) == (Retry, rest)


async def test_no_operation_reads_whom_an_order_goes_to(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that operations and look-ups, whose answers people see as excerpts, ask for statuses
    and quantities, and neither for the recipient nor for prices."""
    await desk.known_order(lines=[["SKU-1", "3", "Each"]])
    asked: list[str] = []
    real = Records.query

    def query(records: Records, text: str) -> dict[str, Any]:
        asked.append(text)
        return real(records, text)

    monkeypatch.setattr(Records, "query", query)
    await desk.do("record_pick", picked("2"))
    await desk.look_up("record_pick", picked("2"))
    await desk.do("confirm_shipment", manifested())
    assert len(asked) >= 6
    for word in ("FulfilledTo", "Account", "UnitPrice"):
        assert not [each for each in asked if word in each]


async def test_an_order_of_somebody_else_is_left_alone(desk: Desk) -> None:
    """Proves that an order which did not come from this org costs no call and is confirmed."""
    desk.stage.hub.notebook.learn([conformance.known(HUB_ID, "SO-1", "x")])
    desk.stage.hub.notebook.known[-1].ClearField("references")
    confirmed = await desk.do("record_pick", picked())
    assert "not of this org" in confirmed.note
    assert desk.calls("composite") == 0
