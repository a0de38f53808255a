"""An endpoint leaves the endpoints file, is renamed, or comes back: what becomes of its work."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from back_ups import copy_database, differences, put_back_database
from crossdock.bus import delivery_stream
from crossdock.cli.doctor import Check, endpoint_checks
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.errors import CallError
from crossdock.order.v1 import order_pb2
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.tie import DATABASE_OLDER
from crossdock_hub.config import SECOND
from crossdock_hub.delivery import removal
from crossdock_hub.delivery.ordering import blocker_of
from crossdock_hub.delivery.unrouted import left_behind, routed_now
from crossdock_hub.identity import HUB
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.store import rows
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.writing import ensure_endpoints
from decisions import ERP, OPERATIONS
from first_flow import Flow
from fixtures_hub import QUICK_LIMITS, Lane, RunningHub, deployment
from fixtures_nats import eventually
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from removal_flow import put_back, reroute, take_out, two_waiting
from stored_flow import Books, books
from story import Story, request_id, seed_master_data, state_of, update_order
from test_dead_letters import groups, members

__all__ = ["books"]

# Microseconds UTC: far beyond every time that a test plays.
LATER = 2**55
LANE = Lane(1)
OLD, NEW = LANE.erp, "erp-renamed"
GONE = f"{OLD} is not in the hub's endpoints file any more"
QUICK = QUICK_LIMITS | {
    "restart_grace_seconds": 0.5,
    "dead_letter_unknown_seconds": 0.5,
    "look_up_retry_seconds_max": 1.0,
}


@pytest.fixture
def company_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub with one lane whose leases and doubts are over soon after a restart."""
    running = RunningHub(tmp_path / "hub", deployment(1), limits=json.dumps(QUICK)).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


def configure(hub: RunningHub, *, without: str = "", also: str = "") -> None:
    """Change the endpoints file as an operator does, and start the hub anew. also: a new endpoint
    with the role and scope of the lane's ERP."""
    path = hub.directory / "endpoints.json"
    document: dict[str, Any] = json.loads(path.read_text())
    entry = document.pop(without) if without else document.get(OLD)
    kept = hub.directory / "taken-out.json"
    if entry is not None:
        kept.write_text(json.dumps(entry))
    if also:
        token = hub.token_file(also)
        if not token.exists():
            token.write_text("0123456789abcdef" * 2)
        digest = hashlib.sha256(token.read_bytes()).hexdigest()
        document[also] = json.loads(kept.read_text()) | {"token_sha256": [digest]}
    path.write_text(json.dumps(document))
    hub.restart()


async def pause(story: Story) -> None:
    await story.operator.endpoints.PauseEndpoint(
        endpoint_service_pb2.PauseEndpointRequest(
            request_id=request_id(), endpoint=OLD, reason="month end"
        )
    )


async def look(story: Story, name: str = OLD) -> endpoint_pb2.Endpoint:
    request = endpoint_service_pb2.GetEndpointRequest(id=name)
    found: endpoint_pb2.Endpoint = (await story.operator.endpoints.GetEndpoint(request)).endpoint
    return found


def judged(endpoint: endpoint_pb2.Endpoint) -> Check:
    """What `crossdock doctor` says of an endpoint as the hub tells of it."""
    found = {each.name: each for each in endpoint_checks([endpoint], datetime.now(UTC))}
    return found[f"endpoint {endpoint.id}"]


async def states(story: Story, ids: list[str]) -> list[str]:
    return [await story.state(each, "create_sales_order") for each in ids]


async def nobody_sends_there(story: Story, order_id: str) -> None:
    """An operator who steers the endpoint that is gone, or retries its work, is told why not."""
    with pytest.raises(CallError, match="endpoints file"):
        await pause(story)
    doubt = await story.delivery(order_id, "create_sales_order")
    retry = operations_pb2.RetryDeliveryRequest(
        request_id=request_id(), delivery_id=doubt.id, reason="go", not_found_at_vendor=True
    )
    with pytest.raises(CallError, match="endpoints file"):
        await story.operator.delivery_operations.RetryDelivery(retry)


async def test_work_of_an_endpoint_that_is_gone_is_seen_and_waits_for_it(
    company_hub: RunningHub,
) -> None:
    """Proves that work at an endpoint which is no longer configured becomes a dead letter that
    names it: unrouted where it never began, in doubt where a call was out; that nobody can send it
    there; and that, configured again, the endpoint gets it once and in order."""
    async with (
        Story(company_hub, LANE) as story,
        PlayedEndpoint(company_hub, OLD, ERP_OPERATIONS) as erp,
    ):
        begun = await story.approved()
        await erp.begin(await erp.take(), lease_seconds=1.0)
        await pause(story)
        waiting = [await story.approved() for _ in range(3)]
    configure(company_hub, without=OLD)
    async with Story(company_hub, LANE) as story:
        assert await states(story, waiting) == ["UNROUTED"] * 3

        async def in_doubt() -> bool:
            stopped = {g.reason for g in await groups(story, OLD)}
            return len(stopped) == 2 and await story.state(begun, "create_sales_order") == "UNKNOWN"

        await eventually(in_doubt, "all of it is a dead letter")
        for group in await groups(story, OLD):
            (first, *_) = (await members(story, group.id)).members
            assert GONE in first.delivery.waiting_on
            assert "put it back under this id" in first.delivery.waiting_on
        found = await look(story)
        assert found.state == endpoint_pb2.ENDPOINT_STATE_REMOVED
        assert (found.queue_depth, found.in_doubt) == (4, 1)
        assert judged(found).result == "warning" and "4 deliveries" in judged(found).found
        await nobody_sends_there(story, begun)
    configure(company_hub, also=OLD)
    async with Story(company_hub, LANE) as story:
        assert (await look(story)).state == endpoint_pb2.ENDPOINT_STATE_PAUSED
        await story.operator.endpoints.ResumeEndpoint(
            endpoint_service_pb2.ResumeEndpointRequest(request_id=request_id(), endpoint=OLD)
        )
        async with PlayedEndpoint(company_hub, OLD, ERP_OPERATIONS) as erp:
            done: list[str] = []
            while len(done) < 4:
                dispatch = await erp.take()
                token = await erp.begin(dispatch)
                await erp.complete(dispatch.delivery_id, token, "CONFIRMED")
                done.append((await erp.reread(dispatch.delivery_id)).correlation_id)
            assert sorted(done) == sorted([begun, *waiting])
            assert [each for each in done if each != begun] == waiting
            assert erp.waiting == 0
        assert await groups(story, OLD) == []


async def test_a_renamed_endpoint_takes_over_what_the_old_one_has_nothing_of(
    company_hub: RunningHub,
) -> None:
    """Proves that the successor of an endpoint gets the orders that never reached the old one, as
    new deliveries that replace them; that it does not get the rest of an order which the old one
    has, which says so and is an operator's to end."""
    async with (
        Story(company_hub, LANE) as story,
        PlayedEndpoint(company_hub, OLD, ERP_OPERATIONS) as erp,
    ):
        known = await story.approved()
        await erp.work("CONFIRMED")
        await pause(story)
        await story.oms.orders.UpdateOrder(
            update_order(order_pb2.Order(id=known, channel="app"), "channel")
        )
        fresh = [await story.approved() for _ in range(2)]
    configure(company_hub, without=OLD, also=NEW)
    async with (
        Story(company_hub, LANE) as story,
        PlayedEndpoint(company_hub, NEW, ERP_OPERATIONS) as erp,
    ):
        for order_id in fresh:
            dispatch, _ = await erp.work("CONFIRMED")
            assert (await erp.reread(dispatch.delivery_id)).correlation_id == order_id
        left = await story.delivery(known, "change_order")
        assert (state_of(left), left.endpoint) == ("UNROUTED", OLD)
        assert "create_sales_order of the same flow, CONFIRMED" in left.waiting_on
        (group,) = await groups(story, OLD)
        assert group.open_count == 1
        assert judged(await look(story)).result == "warning"
        assert erp.waiting == 0
        await story.operator.delivery_operations.SkipDelivery(
            operations_pb2.SkipDeliveryRequest(
                request_id=request_id(), delivery_id=left.id, reason="changed by hand"
            )
        )
        assert await groups(story, OLD) == []
        assert judged(await look(story)).result == "ok"


async def test_an_older_database_holds_calls_of_an_endpoint_that_is_gone(
    company_hub: RunningHub, tmp_path: Path
) -> None:
    """Proves that a database which is put back while an endpoint is out of the file holds that
    endpoint's calls too, and drops its queue: somebody may hold a lease there of the time that is
    lost, and the queue holds messages of it."""
    saved = tmp_path / "yesterday"
    async with (
        Story(company_hub, LANE) as story,
        PlayedEndpoint(company_hub, OLD, ERP_OPERATIONS) as erp,
    ):
        await story.approved()
        await erp.take()
        assert company_hub.stop() == 0
        copy_database(company_hub, saved)
        company_hub.start()
        await erp.begin(await erp.take())
    company_hub.kill()
    put_back_database(company_hub, saved)
    began_at = int(time.time() * SECOND)
    configure(company_hub, without=OLD)
    assert DATABASE_OLDER in differences(company_hub)
    held = "SELECT state, throttled_until FROM endpoints WHERE id = ?"
    ((state, held_until),) = company_hub.query(held, OLD)
    assert state == "REMOVED" and held_until > began_at + SECOND
    bus = await Bus.connect(company_hub.bus_address())
    try:
        assert not await bus.delete_stream(delivery_stream(OLD))
    finally:
        await bus.close()


def test_work_comes_back_as_it_was_in_its_order() -> None:
    """Proves that deliveries which were unrouted with their endpoint are the same ones again when
    it is back, one behind the other, and count as no replacement."""
    flow = Flow()
    root, create, change = two_waiting(flow)
    take_out(flow, create, change)
    reroute(flow, root)
    assert {flow.fresh(each).state for each in (create, change)} == {"UNROUTED"}
    assert "let another endpoint offer it" in flow.fresh(create).waiting_on
    put_back(flow)
    reroute(flow, root)
    assert (flow.fresh(create).state, flow.fresh(create).pending) == ("READY", True)
    behind = flow.fresh(change)
    assert (behind.state, behind.awaits_operation) == ("HELD", "create_sales_order")
    assert len(flow.deliveries()) == 2
    flow.settle(create)
    flow.settle(change)
    assert {r.state for r in flow.deliveries()} == {"CONFIRMED"}


def test_new_work_waits_behind_work_of_an_endpoint_that_is_gone() -> None:
    """Proves that the successor's new work of an order waits for what never began at the one that
    is gone, goes after it when it takes it over, and that a cancel takes both back."""
    flow = Flow()
    root, create, change = two_waiting(flow)
    take_out(flow, create, change)
    successor = replace(ERP, endpoint="erp-2")
    later = replace(
        flow.fresh(change), id="later", endpoint="erp-2", event_id="e", sequence="z", state="READY"
    )
    assert blocker_of(later, [flow.fresh(create), later]) == flow.fresh(create)
    flow.employ(successor, OPERATIONS["netsuite"])
    flow.cancel(root)
    assert {record.state for record in flow.deliveries()} == {"SUPERSEDED"}
    assert {r.operation for r in flow.deliveries("erp-2")} >= {"create_sales_order", "cancel_order"}


@pytest.mark.parametrize(
    ("change", "goes"),
    [
        ({}, True),
        ({"calls_reached": 1}, False),
        ({"draft": "D-1"}, False),
        ({"resubmits": "d"}, False),
        ({"replay_id": "r"}, False),
    ],
)
def test_only_what_never_began_goes_to_another(change: dict[str, Any], goes: bool) -> None:
    """Proves that a call, a draft, a content or a replay of its own keep work from being planned
    anew at another endpoint."""
    flow = Flow()
    root, create, later = two_waiting(flow)
    take_out(flow, create, later)
    flow.records["delivery", create.id] = replace(flow.fresh(create), **change)
    flow.employ(replace(ERP, endpoint="erp-2"), OPERATIONS["netsuite"])
    found = flow.decide(HUB, "route", lambda unit: _route(unit, flow.fresh(create)))
    assert (found is not None) is goes
    assert found is None or (found.endpoint, found.state) == ("erp-2", "READY")
    reroute(flow, root)
    assert (flow.fresh(create).state == "SUPERSEDED") is goes


def _route(unit: Any, record: DeliveryRecord) -> DeliveryRecord | None:
    unit.require([("flow", record.root_id), ("event", record.event_id)])
    return routed_now(unit, record, left_behind(unit, record.root_id))


@pytest.mark.parametrize(
    ("state", "changes", "stays"),
    [
        ("CONFIRMED", {}, True),
        ("UNKNOWN", {"first_unknown_at": 1}, True),
        ("PARKED", {}, True),
        ("REJECTED", {"on_reject": "BLOCK"}, True),
        ("REJECTED", {"on_reject": "CONTINUE"}, False),
        ("SKIPPED", {}, False),
        ("SKIPPED", {"first_unknown_at": 1}, True),
        ("SUPERSEDED", {}, False),
        ("UNROUTED", {}, False),
        ("UNROUTED", {"replay_id": "r"}, True),
    ],
)
def test_what_the_endpoint_may_have_keeps_its_flow_there(
    state: str, changes: dict[str, Any], stays: bool
) -> None:
    """Proves which work of a flow at the endpoint that is gone keeps the rest with it: all that it
    has, may have, or that had to come first."""
    flow = Flow()
    _, create, change = two_waiting(flow)
    first = replace(create, state=state, **changes)
    waiting = replace(change, state="UNROUTED")
    found = removal.what_stays("netsuite", [first, waiting], flow.limits)
    assert (found is not None) is stays
    words = removal.waits_for(waiting, found).waiting_on
    assert (f"create_sales_order of the same flow, {state}" in words) is stays


def test_doubt_at_an_endpoint_that_is_gone_stays_doubt() -> None:
    """Proves that no timer repeats or looks up a call at an endpoint that is not configured, and
    that it says what helps and is looked at again."""
    flow = Flow()
    _, create, _ = two_waiting(flow)
    flow.take(create)
    take_out(flow)
    for hours in (1, 3):
        flow.pass_time(hours * 3_600)
        doubt = flow.fresh(create)
        assert (doubt.state, doubt.pending) == ("UNKNOWN", False)
        assert doubt.due_at is not None and doubt.due_at > flow.now
        assert doubt.waiting_on == removal.in_doubt("netsuite")


@pytest.mark.parametrize(
    ("state", "details", "becomes"),
    [
        ("READY", {"pending": True}, "UNROUTED"),
        ("HELD", {"hold_reason": "ORDER"}, "UNROUTED"),
        ("HELD", {"hold_reason": "RETRY", "due_at": 5, "attempts": 3}, "UNROUTED"),
        ("HELD", {"hold_reason": "RETRY", "due_at": LATER}, "UNROUTED"),
        ("HELD", {"hold_reason": "PREREQUISITE", "due_at": LATER}, "UNROUTED"),
        ("READY", {"pending": True, "calls_reached": 1}, "UNROUTED"),
        ("READY", {"pending": True, "draft": "D-1"}, "UNKNOWN"),
        ("HELD", {"hold_reason": "RETRY", "first_unknown_at": 7, "due_at": LATER}, "UNKNOWN"),
        ("READY", {"pending": True, "first_unknown_at": 7}, "UNKNOWN"),
        ("RESOLVING", {"pending": True, "first_unknown_at": 7}, "UNKNOWN"),
        ("RESOLVING", {"lease_until": 9, "first_unknown_at": 7}, "RESOLVING"),
        ("UNKNOWN", {"due_at": 5, "first_unknown_at": 7}, "UNKNOWN"),
        ("UNKNOWN", {"due_at": LATER, "first_unknown_at": 7}, "UNKNOWN"),
        ("IN_FLIGHT", {"lease_until": 9}, "IN_FLIGHT"),
        ("PARKED", {}, "PARKED"),
        ("REJECTED", {}, "REJECTED"),
        ("CONFIRMED", {}, "CONFIRMED"),
    ],
)
async def test_what_a_start_makes_of_work_at_an_endpoint_that_left(
    books: Books, state: str, details: dict[str, Any], becomes: str
) -> None:
    """Proves at the store that what is known to be at no vendor is unrouted, that what may be there
    is in doubt and stays timed, that nothing goes earlier than it was to go, that work of other
    endpoints is left alone, and that a second start changes nothing more."""
    flow = Flow()
    _, create, _ = two_waiting(flow)
    row = replace(create, state=state, **({"pending": False} | details))
    elsewhere = replace(create, id=request_id(), endpoint="manhattan")
    kept = [record for key, record in flow.records.items() if key[0] == "endpoint"]
    async with books.store.write() as connection:
        await write_rows(connection, [(rows.ENDPOINTS, kept)])
        await write_rows(connection, [(rows.DELIVERIES, [row, elsewhere])])
        configured = [record for record in kept if record.id != "netsuite"]
        for _ in range(2):
            await ensure_endpoints(connection, configured, flow.now, flow.limits)
    found = await books.reader.delivery(row.id)
    assert found is not None and found.state == becomes
    timed = row.due_at if state == "UNKNOWN" or row.hold_reason == "RETRY" else None
    if becomes == "UNROUTED":
        assert found.waiting_on == removal.never_began("netsuite")
        assert (found.due_at, found.pending, found.hold_reason) == (timed, False, "")
    elif becomes == "UNKNOWN":
        assert found.waiting_on == removal.in_doubt("netsuite")
        assert (found.first_unknown_at, found.pending) == (row.first_unknown_at or flow.now, False)
        assert found.due_at == (timed or removal.again_at(flow.now, flow.limits))
    else:
        assert found == row
    assert await books.reader.delivery(elsewhere.id) == elsewhere
    endpoint = await books.reader.endpoint("netsuite")
    assert endpoint is not None and endpoint.state == "REMOVED"
    async with books.store.write() as connection:
        await ensure_endpoints(connection, kept, flow.now + 1, flow.limits)
    again = await books.reader.delivery(row.id)
    assert again is not None and again.state == becomes
    if becomes == "UNKNOWN":
        settled_at = flow.now + 1 + int(flow.limits.settle_seconds_default * SECOND)
        assert again.due_at == max(settled_at, found.due_at or 0)
        assert again.waiting_on == removal.is_back("netsuite")
