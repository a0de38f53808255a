"""The event bus of Salesforce where the conformance kit does not go: places kept after the facts,
gaps closed, credit, sessions that end, streams that fall silent."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock.errors import Refusal, TryAgainError
from crossdock_adapters.salesforce import conformance, sandbox_access, sandbox_schemas
from crossdock_adapters.salesforce.client import SalesforceClient
from crossdock_adapters.salesforce.inbox import GAP
from crossdock_adapters.salesforce.pubsub import ReplayLost
from crossdock_adapters.salesforce.sandbox import CHANGE_TOPIC, STATUS_TOPIC
from crossdock_adapters.sdk.conformance.notebook import Notebook, Refused
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.outcomes import Retry, Unreachable
from cryptography.hazmat.primitives.asymmetric import rsa
from salesforce_world import Desk, running

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


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


async def test_the_unit_of_a_row_goes_before_that_of_its_product(desk: Desk) -> None:
    """Proves that a row that says its own unit is ordered in that, and one whose own word has no
    row is held with the place of that word."""
    await desk.order("FO-1", lines=[["SKU-1", "2", "Each", "Dozen"], ["SKU-2", "3", "Each"]])
    await desk.run()
    created: Any = next(iter(desk.stage.hub.notebook.facts.values()))
    assert [line.quantity.unit for line in created.order.lines] == ["DZN", "EA"]
    await desk.order("FO-2", lines=[["SKU-1", "2", "Each", "Firkin"]])
    await desk.run()
    ((_, _, reason, _),) = desk.held
    assert "/QuantityUnitOfMeasure: unit 'Firkin' has no row" in reason


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
        await desk.run_until_told("ReleaseOrder", 20)
        await desk.order("FO-last")
        await desk.run_until_told("ReleaseOrder", 21)
        assert desk.calls("subscribe") == 2


async def test_no_more_is_asked_for_than_can_be_outstanding(tmp_path: Path) -> None:
    """Proves that answers which say how much was outstanding when they left are not counted again:
    the bus refuses whoever has more than 100 events outstanding."""
    bus = {"events_in_response": 10}
    async with running(tmp_path, bus, events_at_once=100, events_run_seconds=1.0) as desk:
        for number in range(60):
            event = conformance.event(f"0a35f9{number:09d}AAA", number, "Fulfilling")
            for _ in range(5):
                await desk.command("publish", event=base64.b64encode(event).decode())
        await desk.run()
        assert desk.calls("subscribe") == 2, "one stream for each topic"


async def test_a_stream_without_sign_of_life_is_given_up(tmp_path: Path) -> None:
    """Proves that a stream on which not even an empty response comes in the documented time is
    replaced by one on a new connection, and one on which they come is not."""
    # Long enough for what the new streams bring, on a machine that is busy with something else.
    async with running(tmp_path, {"keepalive_seconds": 60}, silence_seconds=2.0) as desk:
        with pytest.raises(Unreachable, match="sign of life"):
            for _ in range(50):
                await desk.pull()
        await desk.order("FO-1")
        await desk.run_until_told("ReleaseOrder", 1)
        assert desk.calls("subscribe") == 4, "each topic twice"
    async with running(tmp_path, {"keepalive_seconds": 0.1}, silence_seconds=3.0) as desk:
        for _ in range(18):
            await desk.pull()
        assert desk.calls("subscribe") == 2


@pytest.mark.parametrize("status", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
async def test_a_session_that_ends_in_mid_stream_is_renewed(tmp_path: Path, status: str) -> None:
    """Proves that a stream cut for its token is told as a retry, and the next has a new one, by the
    service's own code: its status is not published."""
    async with running(tmp_path, {"session_status": status}) as desk:
        await desk.run()
        await desk.command("expire_tokens")
        with pytest.raises(Retry):
            await desk.run()
        await desk.order("FO-1")
        await desk.run()
        assert desk.told("ReleaseOrder") == 1
        assert desk.sandbox.books()["tokens_given"] == 2


@pytest.mark.parametrize("ends", ["cut", "in order"])
async def test_a_stream_that_ends_goes_on_behind_its_place(desk: Desk, ends: str) -> None:
    """Proves that a stream which a lost connection or the service's maintenance ends is told as
    trouble, and the next one begins behind the last event: nothing is missed, nothing new twice."""
    await desk.order("FO-1")
    await desk.run()
    if ends == "cut":
        await desk.sandbox._port.close()
        with pytest.raises(Unreachable):
            await desk.pull()
        await desk.sandbox._port.open()
        await desk.order("FO-2")
    else:
        await desk.command("misbehave", kind="stream_ends", count=1)
        await desk.order("FO-2")
        with pytest.raises(Retry):
            await desk.run()
    await desk.run()
    assert (desk.told("CreateOrder"), desk.told("ReleaseOrder")) == (2, 2)
    assert desk.calls("composite") == 4, "before it is placed and after: each event came once"


async def test_what_came_before_the_latest_is_not_heard(tmp_path: Path) -> None:
    """Proves that an endpoint which is to begin with what comes from now on does, and one place
    later goes on behind it like every other."""
    async with running(tmp_path, {"keepalive_seconds": 0.05}, first_start="latest") as desk:
        await desk.order("FO-1")
        await desk.run()
        desk.vendor.pubsub.drop(STATUS_TOPIC)
        await desk.order("FO-2")
        await desk.run_until_told("ReleaseOrder", 1)


async def test_what_is_missed_before_there_is_a_place_is_read_again(tmp_path: Path) -> None:
    """Proves that an endpoint which is to begin with what comes from now on, and whose stream ends
    before anything came, reads again what changed meanwhile: it has no place to go on behind."""
    async with running(tmp_path, {"keepalive_seconds": 60}, first_start="latest") as desk:
        await desk.pull()
        desk.vendor.pubsub.drop(STATUS_TOPIC)
        await desk.order("FO-1")
        await desk.pull()
        assert desk.told("ReleaseOrder") == 1
        await desk.order("FO-2")
        await desk.run_until_told("ReleaseOrder", 2)


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
    await desk.run_until_told("ReleaseOrder", 2)
    assert "may be lost" in desk.alerts.told()
    assert any(GAP in each.message or "may be lost" in each.message for each in caplog.records)
    await desk.order("FO-3")
    await desk.run()
    assert desk.told("ReleaseOrder") == 3


async def test_reading_again_goes_on_where_it_was_cut_off(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a gap is the hub's to remember: what was read again before a fault is not read
    once more, and the rest is although the place has moved on."""
    await desk.order("FO-1")
    await desk.run()
    await desk.command("misbehave", kind="silent", count=1)
    for number in range(60):
        await desk.order(f"FO-{number + 2}")
    await desk.command("behave")
    await desk.command("forget_events")
    await desk.order("FO-last")
    desk.vendor.pubsub.drop(STATUS_TOPIC)
    # Each is read before it is placed and after.
    left = 2 * 45
    real = SalesforceClient.fulfillment_order

    async def breaks(vendor: SalesforceClient, order_id: str) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Retry(0.0, "the vendor is away")
        return await real(vendor, order_id)

    monkeypatch.setattr(SalesforceClient, "fulfillment_order", breaks)
    with pytest.raises(Retry):
        for _ in range(50):
            await desk.pull()
    monkeypatch.undo()
    before = desk.calls("composite")
    await desk.run_until_told("ReleaseOrder", 62)
    assert desk.calls("composite") - before < 45 + 2 * 17 - 15


async def test_a_place_that_is_lost_twice_is_not_asked_for_without_end(desk: Desk) -> None:
    """Proves that a bus which does not know its own oldest event either is left for a while."""
    await desk.order("FO-1")
    await desk.run()
    desk.vendor.pubsub.drop(STATUS_TOPIC)
    before = desk.calls("subscribe")

    async def lost(*_: Any) -> Any:
        raise ReplayLost("corrupted")

    desk.vendor.pubsub.received = lost  # type: ignore[method-assign]
    with pytest.raises(Retry, match="corrupted"):
        await desk.pull()
    assert desk.calls("subscribe") - before <= 3


async def test_a_query_is_read_to_its_last_page(desk: Desk) -> None:
    """Proves that everything which changed in a time is found, however many pages it has, in its
    order, and nothing else."""
    await desk.command("misbehave", kind="silent", count=1)
    ids = [await desk.order(f"FO-{number}") for number in range(450)]
    changed = desk.vendor.changed
    pages = [page async for page in changed("2026-01-01T00:00:00.000Z", "2100-01-01T00:00:00.000Z")]
    assert [order_id for page in pages for order_id, _ in page] == ids
    assert desk.calls("query") == 3
    before = "2026-01-02T00:00:00.000Z"
    assert [page async for page in changed("2026-01-01T00:00:00.000Z", before)] == [[]]


async def test_a_gap_of_change_data_capture_reads_the_record(desk: Desk) -> None:
    """Proves that a GAP_ event without content, and an overflow without ids, lead to the orders."""
    await desk.command("misbehave", kind="silent", count=9)
    first = await desk.order("FO-1")
    await desk.command("change_event", change_type="GAP_UPDATE", ids=[first])
    await desk.run()
    assert desk.told("ReleaseOrder") == 1
    await desk.order("FO-2")
    await desk.command("change_event", change_type="GAP_OVERFLOW")
    await desk.run_until_told("ReleaseOrder", 2)
    assert (await desk.place(CHANGE_TOPIC)).replay_id


async def test_a_record_that_is_held_keeps_no_other_of_its_event_back(desk: Desk) -> None:
    """Proves that of a change of two records the one that can be told is, wherever it stands."""
    await desk.command("misbehave", kind="silent", count=9)
    first = await desk.order("FO-1", delivery_method="Drone")
    second = await desk.order("FO-2")
    await desk.command("change_event", change_type="UPDATE", ids=[first, second])
    await desk.run()
    assert desk.told("ReleaseOrder") == 1
    assert [first in reason for _, _, reason, _ in desk.held] == [True]


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


async def test_a_rejected_order_is_cancelled(desk: Desk) -> None:
    """Proves that an order which its location rejected, and which will be given to another one, is
    not shipped from here too."""
    order_id = await desk.order("FO-1")
    await desk.run()
    await desk.command("status", id=order_id, status="Rejected")
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
    await desk.command("use_requests", used=10)
    await desk.order("FO-3")
    await desk.run()
    assert desk.alerts.told() == ""


async def test_the_key_of_the_connected_app_is_kept(tmp_path: Path) -> None:
    """Proves that the key which an adapter of another process is given is made once, for its owner
    alone, and that one which is there already is taken instead of the process's own."""
    made = tmp_path / "made.pem"
    first = sandbox_access.private_key_pem(sandbox_access.app_key(made))
    assert made.read_text() == first
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    earlier = sandbox_access.private_key_pem(rsa.generate_private_key(65537, 2048))
    kept = tmp_path / "kept.pem"
    kept.write_text(earlier)
    assert sandbox_access.private_key_pem(sandbox_access.app_key(kept)) == earlier != first
