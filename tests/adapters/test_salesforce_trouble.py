"""Salesforce where the bus lags, orders move on unread, events are poison, reads are refused."""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from crossdock.order.v1 import order_pb2
from crossdock_adapters.salesforce import conformance, sandbox_schemas, translate, translate_events
from crossdock_adapters.salesforce.client import SalesforceClient
from crossdock_adapters.salesforce.inbox import ID_TYPE
from crossdock_adapters.salesforce.sandbox import STATUS_TOPIC
from crossdock_adapters.salesforce.sandbox_pubsub import Service
from crossdock_adapters.sdk.conformance.notebook import Notebook
from crossdock_adapters.sdk.outcomes import NeedsPerson
from salesforce_world import Desk, running

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


async def silent_order(desk: Desk, number: str, **words: Any) -> str:
    """A fulfillment order that no event tells of; its id."""
    await desk.command("misbehave", kind="silent", count=1)
    order_id = await desk.order(number, **words)
    await desk.command("behave")
    return order_id


def age(desk: Desk, order_id: str, minutes: int) -> datetime:
    """Let it have changed so long ago; when that was."""
    moment = datetime.now(UTC) - timedelta(minutes=minutes)
    desk.sandbox._records.orders[order_id]["SystemModstamp"] = moment
    return moment


async def lose_places(desk: Desk) -> None:
    """The bus does not know any place any more."""
    await desk.command("forget_events")
    desk.vendor.pubsub.drop(STATUS_TOPIC)


async def test_a_gap_after_a_lag_is_read_from_the_event_on(tmp_path: Path) -> None:
    """Proves that a place has the time of its event, not of its reading: what changed between the
    two is read again when the place is lost."""
    async with running(tmp_path, overlap_seconds=0) as desk:
        first = await silent_order(desk, "FO-1")
        second = await silent_order(desk, "FO-2")
        moment = age(desk, first, 60)
        age(desk, second, 30)
        order = desk.sandbox._records.orders[first]
        record = sandbox_schemas.status_record(
            order, "Draft", "Draft", "Activated", str(uuid.uuid4()), moment
        )
        desk.sandbox._publish(STATUS_TOPIC, record, record["EventUuid"])
        await desk.run()
        assert desk.told("ReleaseOrder") == 1
        kept = (await desk.place()).time
        assert kept is not None and abs(kept - moment) < timedelta(seconds=1)
        await lose_places(desk)
        await desk.run_until_told("ReleaseOrder", 2)


async def test_an_event_that_nobody_can_read_does_not_make_a_place_newer(desk: Desk) -> None:
    """Proves that where no event of an answer says its time, none is made up: a place that never
    had one is read again from the oldest event that there can be."""
    event = base64.b64encode(conformance.published("no such schema", b"")).decode()
    await desk.command("publish", event=event)
    await desk.run()
    place = await desk.place()
    assert place.replay_id and place.time is None
    assert len(desk.held) == 1


async def test_an_order_that_moved_on_before_it_was_read_is_held(desk: Desk) -> None:
    """Proves that an order which was released and is worked on by now, and which the hub does not
    have, is held for a person; one that the hub has is not, nor one told of by another event."""
    order_id = await desk.order("FO-1")
    await desk.command("status", id=order_id, status="Printed")
    await desk.run()
    ((payload, content_type, reason, _),) = desk.held
    assert order_id in reason and "Fulfilling" in reason and "/StatusCategory" in reason
    assert desk.told("CreateOrder") == 0
    desk.sandbox._records.orders[order_id] |= {
        "Status": "Allocated", "StatusCategory": "Activated",
    }  # fmt: skip
    await desk.again(payload, content_type)
    assert desk.told("ReleaseOrder") == 1
    known = await desk.known_order(state=order_pb2.ORDER_STATE_RELEASED)
    await desk.command("status", id=known, status="Printed")
    unknown = await silent_order(desk, "FO-3", status="Printed")
    await desk.command("change_event", change_type="UPDATE", ids=[unknown])
    await desk.run()
    assert len(desk.held) == 1


@pytest.mark.parametrize("gap", ["place", "GAP_UPDATE"])
async def test_an_order_that_moved_on_in_a_gap_is_held(desk: Desk, gap: str) -> None:
    """Proves that what is read again because events are missing is not taken for told: an order
    that is worked on and that the hub does not have is held; a draft and a closed one are not."""
    await desk.order("FO-1")
    await desk.run()
    lost = [
        await silent_order(desk, f"FO-{status}", status=status)
        for status in ("Pickpack", "Draft", "Fulfilled")
    ]
    if gap == "place":
        await lose_places(desk)
    else:
        await desk.command("change_event", change_type=gap, ids=lost)
    await desk.order("FO-2")
    await desk.run_until_told("ReleaseOrder", 2)
    await desk.run()
    assert {lost[0] in reason for _, _, reason, _ in desk.held} == {True}
    assert (desk.held[0][1] == ID_TYPE) is (gap == "place")


async def test_an_order_cancelled_while_it_is_placed_is_not_released(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a cancellation which another process read before the hub had the order is not
    lost: the record is read once more before the release."""
    order_id = await desk.order("FO-1")
    real = Notebook.ask

    def cancelled_meanwhile(notebook: Notebook, method: Any, data: bytes) -> Any:
        if method.full_name.endswith("/CreateOrder"):
            desk.sandbox._records.update_order(order_id, {"Status": "Canceled"}, datetime.now(UTC))
        return real(notebook, method, data)

    monkeypatch.setattr(Notebook, "ask", cancelled_meanwhile)
    await desk.run()
    facts = ("CreateOrder", "ReleaseOrder", "CancelOrder")
    assert [desk.told(each) for each in facts] == [1, 0, 1]


@pytest.mark.parametrize("place", ["order", "event"])
async def test_a_poison_event_stops_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Proves that what nobody foresaw is held with the place in the code, without its words, and
    that the events behind it are told."""
    poison = await desk.order("FO-1")
    await desk.order("FO-2")

    def strikes(what: Any) -> None:
        if poison in str(what):
            raise KeyError("the customer's name")

    if place == "order":
        real_order = translate.order_of

        def order_of(found: Any, rules: Any) -> Any:
            strikes(found.id)
            return real_order(found, rules)

        monkeypatch.setattr(translate, "order_of", order_of)
    else:
        real_change = translate_events.change_of

        def change_of(name: str, record: Any, idle: Any) -> Any:
            strikes(record)
            return real_change(name, record, idle)

        monkeypatch.setattr(translate_events, "change_of", change_of)
    await desk.run()
    assert desk.told("ReleaseOrder") == 1
    ((_, _, reason, _),) = desk.held
    assert "KeyError in strikes" in reason and "customer" not in reason


async def test_poison_in_a_gap_stops_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a record without a time of change is read again all the same, and one that nobody
    foresaw is held, while what is behind them is told and the gap closes."""
    await desk.order("FO-1")
    await desk.run()
    for number in range(2, 5):
        await silent_order(desk, f"FO-{number}")
    real = SalesforceClient.changed

    async def changed(vendor: SalesforceClient, since: str, until: str) -> Any:
        async for page in real(vendor, since, until):
            odd = [("no id", str(page[0][1])), (page[0][0], "None")]
            yield [*odd, *page[1:]]

    monkeypatch.setattr(SalesforceClient, "changed", changed)
    await lose_places(desk)
    await desk.run_until_told("ReleaseOrder", 4)
    assert {key for _, _, _, key in desk.held} == {"gap/no id"}
    name = translate_events.gap_name(desk.vendor.organization)
    assert (await desk.link.get_cursor(name))[0] == b""


async def test_a_refusal_of_every_read_is_no_fault_of_an_event(desk: Desk) -> None:
    """Proves that where the org lets nothing be read, no event is held and passed: the poll fails
    with its words, and tells them once somebody has mended it."""
    order_id = await desk.order("FO-1")
    email = desk.sandbox._records.orders[order_id].pop("FulfilledToEmailAddress")
    with pytest.raises(NeedsPerson, match="INVALID_FIELD"):
        await desk.run()
    assert not desk.held and not (await desk.place()).replay_id
    desk.sandbox._records.orders[order_id]["FulfilledToEmailAddress"] = email
    await desk.run()
    assert desk.told("ReleaseOrder") == 1


async def test_a_field_that_is_hidden_can_be_left_out(tmp_path: Path) -> None:
    """Proves that where a permission set hides the unit of rows a person is told of the permission
    and the setting, and that orders are told without the field once the setting leaves it out."""
    for name, fields in (("as it is", {}), ("left out", {"line.own_unit": ""})):
        (tmp_path / name).mkdir()
        async with running(tmp_path / name, fields=fields) as desk:
            await desk.order("FO-1")
            for line in desk.sandbox._records.lines.values():
                line.pop("QuantityUnitOfMeasure")
            if fields:
                await desk.run()
                assert desk.told("ReleaseOrder") == 1
                continue
            says = r"INVALID_FIELD .*field-level security.* setting fields: .*QuantityUnitOfMeasure"
            with pytest.raises(NeedsPerson, match=says):
                await desk.run()


async def test_a_schema_that_may_not_be_read_is_no_fault_of_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that only "there is no such schema" is about the event; a right that is missing is for
    a person, with nothing held."""

    async def denied(service: Service, request: Any, context: Any) -> None:
        await service._refuse(context, grpc.StatusCode.PERMISSION_DENIED, "sfdc.not.allowed")

    monkeypatch.setattr(Service, "GetSchema", denied)
    async with running(tmp_path) as desk:
        await desk.order("FO-1")
        with pytest.raises(NeedsPerson, match="the user needs the right"):
            await desk.run()
        assert not desk.held
