"""Dead letters that went on: they stay in their group until what supersedes them is confirmed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.dead_letter.v1 import dead_letter_pb2
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.mending import moves_of
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.unit import View
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from replay_desk import Desk, word
from story import Story, approve_order, label, request_id, scan, scans, seed_master_data, unique
from test_dead_letters import groups, members, state

Settlement = dead_letter_pb2.DeadLetterSettlement


def standing(member: Any) -> str:
    return word(dead_letter_pb2.DeadLetterStanding, member.standing)


async def only(story: Story, endpoint: str, *, closed: bool = False) -> Any:
    (group,) = await groups(story, endpoint, closed=closed)
    return group


async def skip(story: Story, delivery_id: str) -> None:
    request = operations_pb2.SkipDeliveryRequest(
        request_id=request_id(), delivery_id=delivery_id, reason="done by phone"
    )
    await story.operator.delivery_operations.SkipDelivery(request)


async def test_a_replayed_letter_stays_until_the_replay_is_confirmed(own_hub: RunningHub) -> None:
    """Proves that what a replay hands over stays in its group as under way, over a `kill -9` of the
    hub too, that the group closes with the confirmation and by nobody's word, and that the history
    says when and by which delivery."""
    lane = Lane(1)
    async with (
        Story(own_hub, lane) as story,
        PlayedEndpoint(own_hub, lane.erp, ERP_OPERATIONS) as erp,
    ):
        await story.approved()
        old, _ = await erp.work("REJECTED", reason="period closed")
        stopped = await only(story, lane.erp)
        desk = Desk(story.operator, lane.erp)
        await desk.start(await desk.plan("FAILED", event_types=["order.approved"]))
        new = await erp.take()
        group = await only(story, lane.erp)
        assert group.id == stopped.id
        assert (state(group), group.open_count, group.under_way_count) == ("OPEN", 1, 1)
        (member,) = (await members(story, group.id)).members
        assert (member.delivery.id, standing(member)) == (old.delivery_id, "UNDER_WAY")
        assert member.carrier_id == new.delivery_id
        assert member.stop_time == stopped.first_time
        assert not member.HasField("settle_time")
    own_hub.kill()
    own_hub.start()
    async with Story(own_hub, lane) as story:
        async with PlayedEndpoint(own_hub, lane.erp, ERP_OPERATIONS) as erp:
            assert (await only(story, lane.erp)).under_way_count == 1
            again, _ = await erp.work(references={"sales_order": unique("SO")})
            assert again.delivery_id == new.delivery_id
        assert await groups(story, lane.erp) == []
        group = await only(story, lane.erp, closed=True)
        assert (state(group), group.closed_count) == ("CLOSED", 1)
        assert group.settlement == Settlement.DEAD_LETTER_SETTLEMENT_CONFIRMED
        assert group.settled_by == new.delivery_id
        (member,) = (await members(story, group.id)).members
        assert (standing(member), member.open) == ("SETTLED", False)
        assert member.settle_time == group.close_time
        assert member.settle_time.ToMicroseconds() > member.leave_time.ToMicroseconds()
        assert not member.delivery.operator_words


async def test_what_stops_again_is_in_both_groups(hub: RunningHub, lane: Lane) -> None:
    """Proves that a retried letter that stops for another cause keeps its first group open, which
    says so, and that both close, and name the resubmission, once that is confirmed; the same cause
    again opens the closed group anew."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        await story.approved()
        old, _ = await erp.work("REJECTED", reason="period closed")
        first = await only(story, lane.erp)
        retry = operations_pb2.RetryDeliveryRequest(
            request_id=request_id(), delivery_id=old.delivery_id, reason="period 05 is open"
        )
        await story.operator.delivery_operations.RetryDelivery(retry)
        assert (await only(story, lane.erp)).under_way_count == 1
        await erp.work("REJECTED", reason="no such customer")
        found = {group.id: group for group in await groups(story, lane.erp)}
        assert len(found) == 2
        assert [group.under_way_count for group in found.values()] == [0, 0]
        (member,) = (await members(story, first.id)).members
        assert standing(member) == "STOPPED_AGAIN"
        (second,) = found.keys() - {first.id}
        assert standing((await members(story, second)).members[0]) == "STOPPED"

        resubmit = operations_pb2.ResubmitDeliveryRequest(
            request_id=request_id(), delivery_id=old.delivery_id, reason="customer made"
        )
        answer = await story.operator.delivery_operations.ResubmitDelivery(resubmit)
        assert [g.under_way_count for g in await groups(story, lane.erp)] == [1, 1]
        await erp.work(references={"sales_order": unique("SO")})
        assert await groups(story, lane.erp) == []
        closed = await groups(story, lane.erp, closed=True)
        assert {group.settled_by for group in closed} == {answer.resubmitted.id}
        await story.approved()
        await erp.work("REJECTED", reason="period closed")
        group = await only(story, lane.erp)
        assert (group.id, state(group), group.reopened) == (first.id, "OPEN", True)
        assert (group.open_count, group.closed_count) == (1, 1)


async def test_a_letter_that_proves_itself_done_is_history(hub: RunningHub, lane: Lane) -> None:
    """Proves that a parked call that its endpoint confirms late, and early scans that their label
    brings in, close their groups without any word, and that the history says by what."""
    manual = {**ERP_OPERATIONS, "create_sales_order": "NONE"}
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, manual) as erp:
        order_id = await story.approved()
        dispatch = await erp.take()
        token = await erp.begin(dispatch, lease_seconds=0.3)

        async def parked() -> bool:
            return await story.state(order_id, "create_sales_order") == "PARKED"

        await eventually(parked, "the lease's end")
        assert (await only(story, lane.erp)).open_count == 1
        await erp.complete(
            dispatch.delivery_id, token, "CONFIRMED", references={"sales_order": unique("SO")}
        )
        group = await only(story, lane.erp, closed=True)
        assert (state(group), group.settled_by) == ("CLOSED", dispatch.delivery_id)
        assert group.settlement == Settlement.DEAD_LETTER_SETTLEMENT_CONFIRMED

        number = unique("1Z")
        packed = await story.packed()
        await story.carrier.tracking.ReportTrackingEvents(scans(scan(number, "CARRIER_ACCEPTED")))
        assert state(await only(story, lane.carrier)) == "OPEN"
        await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))

        async def none_held() -> bool:
            return await groups(story, lane.carrier) == []

        await eventually(none_held, "the scan has its label")
        group = await only(story, lane.carrier, closed=True)
        assert group.settlement == Settlement.DEAD_LETTER_SETTLEMENT_APPLIED
        assert number in group.settled_by
        (member,) = (await members(story, group.id)).members
        assert member.held_fact.state == held_fact_pb2.HELD_FACT_STATE_APPLIED
        assert standing(member) == "SETTLED"


async def test_routed_work_is_under_way_until_it_is_confirmed(own_hub: RunningHub) -> None:
    """Proves that work that nobody served keeps its group open when an endpoint takes it over, and
    closes it when the endpoint has done it."""
    lane = Lane(1)
    async with Story(own_hub, lane) as story:
        made = await story.create()
        await story.oms.orders.ApproveOrder(approve_order(made.id))
        group = await only(story, "")
        assert group.kind == dead_letter_pb2.DEAD_LETTER_KIND_UNROUTED
        async with PlayedEndpoint(own_hub, lane.erp, ERP_OPERATIONS) as erp:
            dispatch = await erp.take()
            group = await only(story, "")
            assert (group.open_count, group.under_way_count) == (1, 1)
            await erp.complete(dispatch.delivery_id, await erp.begin(dispatch), "CONFIRMED")
        assert await groups(story, "") == []
        assert (await only(story, "", closed=True)).settled_by == dispatch.delivery_id


async def test_the_history_has_an_end(tmp_path: Path) -> None:
    """Proves that no more settled letters stay than the limit says, the newest, that causes nothing
    belongs to go with the last, and that what is under way is never among those that go."""
    lane = Lane(1)
    limits = json.dumps({"dead_letter_history_max": 2})
    running = RunningHub(tmp_path, deployment(1), limits=limits).start()
    await seed_master_data(running)
    async with (
        Story(running, lane) as story,
        PlayedEndpoint(running, lane.erp, ERP_OPERATIONS) as erp,
    ):
        dead = []
        for reason in ("one", "two", "three", "four", "five"):
            await story.approved()
            dispatch, _ = await erp.work("REJECTED", reason=reason)
            dead.append(dispatch.delivery_id)
        retry = operations_pb2.RetryDeliveryRequest(
            request_id=request_id(), delivery_id=dead[0], reason="once more"
        )
        await story.operator.delivery_operations.RetryDelivery(retry)
        for delivery_id in dead[1:]:
            await skip(story, delivery_id)
        found = await groups(story, lane.erp, closed=True)
        assert [g.reason for g in found] == ["one", "five", "four"]
        assert found[0].under_way_count == 1
        assert running.count("dead_letters") == running.count("dead_letter_groups") == 3
    running.kill()


NOW = 1_000_000 * SECOND
RECENT, LONG_AGO = NOW - SECOND, NOW - 3_600 * SECOND


@pytest.mark.parametrize(
    ("before", "unknown_since", "after", "goes_on"),
    [
        ("HELD", None, "SKIPPED", False),
        ("READY", None, "SUPERSEDED", False),
        ("IN_FLIGHT", None, "CONFIRMED", False),
        ("PARKED", None, "SKIPPED", True),
        ("REJECTED", None, "READY", True),
        ("UNROUTED", None, "SUPERSEDED", True),
        ("PARKED", LONG_AGO, "REJECTED", False),
        ("PARKED", LONG_AGO, "RESOLVING", True),
        ("UNKNOWN", RECENT, "CONFIRMED", False),
        ("UNKNOWN", LONG_AGO, "RESOLVING", False),
        ("UNKNOWN", LONG_AGO, "PARKED", False),
        ("UNKNOWN", LONG_AGO, "CONFIRMED", True),
        ("RESOLVING", LONG_AGO, "READY", True),
    ],
)
def test_what_goes_on(before: str, unknown_since: int | None, after: str, goes_on: bool) -> None:
    """Proves which changes of a delivery make a dead letter go on: it waited for a person, or in
    doubt for too long, and does so no longer; work on its way never was one."""
    record = DeliveryRecord(
        id="d",
        event_id="e",
        event_type="t",
        endpoint="erp",
        operation="create_sales_order",
        item="",
        ordering_key="o",
        state=before,
        created_at=1,
        updated_at=1,
        kind="order",
        object_id="o",
        root_id="o",
        vendor_reference="R",
        first_unknown_at=unknown_since,
    )
    view = View()
    view.add(("delivery", "d"), record)
    view.changes.records["delivery", "d"] = replace(record, state=after)
    assert bool(moves_of(view, NOW, Limits()).gone) is goes_on
