"""A replay of one group of dead letters, through a real hub: those that wait in it, no others."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.errors import CallError
from crossdock_hub.delivery.causes import Cause
from crossdock_hub.delivery.sightings import Sighting
from crossdock_hub.replay.letters import check_group
from crossdock_hub.unit import Refused
from fixtures_hub import Lane, RunningHub
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint, event_of
from replay_desk import Desk, planned, word
from story import Story, pick, request_id, unique
from typed_commands import typed

KINDS = ("UNKNOWN", "UNROUTED", "HELD_FACT", "HELD_PAYLOAD")


async def groups(story: Story, endpoint: str) -> dict[tuple[str, str], Any]:
    """The open groups of an endpoint, by kind and reason."""
    request = dead_letter_service_pb2.ListDeadLettersRequest(endpoint=endpoint)
    found = (await story.operator.dead_letters.ListDeadLetters(request)).groups
    return {(word(dead_letter_pb2.DeadLetterKind, each.kind), each.reason): each for each in found}


async def stopped(story: Story, erp: PlayedEndpoint, outcome: str, **said: Any) -> str:
    """An order whose booking ended like this; its id."""
    order_id = await story.approved()
    await erp.work(outcome, **said)
    return order_id


async def test_a_group_is_replayed_as_it_stands_and_nothing_else(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that of letters which share state, operation and code, and of others without a code,
    exactly those of the group are chosen, also where an earlier attempt had another code; that one
    which stopped again for another cause is in both groups; that the plan is what happens; and that
    the other groups stay as they are."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        wanted = [
            await stopped(story, erp, "REJECTED", code="400", reason=f"period {n} is closed")
            for n in (1, 2)
        ]
        await stopped(story, erp, "REJECTED", code="400", reason="no such customer")
        await stopped(story, erp, "PARKED", reason="period 7 is closed")
        again = await stopped(story, erp, "REJECTED", code="500", reason="something else")
        (delivery,) = await story.deliveries(again, "create_sales_order")
        await _retried(story, delivery.id)
        await erp.work("REJECTED", code="400", reason="period 3 is closed")
        closed, earlier = ("REJECTED", "period # is closed"), ("REJECTED", "something else")
        before = await groups(story, lane.erp)
        desk = Desk(story.operator, lane.erp)
        plan = await desk.plan("FAILED", group_id=before[closed].id)
        items = await desk.items(plan)
        assert sorted(item.correlation_id for item in items) == sorted([*wanted, again])
        assert planned(plan) == {"WOULD_POST": 3}
        other = await desk.plan("FAILED", group_id=before[earlier].id)
        assert [item.correlation_id for item in await desk.items(other)] == [again]
        await desk.start(plan)
        sent = set()
        for _ in items:
            dispatch, _ = await erp.work(references={"sales_order": unique("SO")})
            sent.add(event_of(dispatch).order.id)
        await desk.settled(plan)
        assert (sent, await desk.outcomes(plan)) == ({*wanted, again}, {"POSTED": 3})
        assert erp.waiting == 0
        assert (await groups(story, lane.erp)).keys() == before.keys() - {closed, earlier}


async def _retried(story: Story, delivery_id: str) -> None:
    retry = operations_pb2.RetryDeliveryRequest(
        request_id=request_id(), delivery_id=delivery_id, reason="it is repaired"
    )
    await story.operator.delivery_operations.RetryDelivery(retry)


async def test_what_goes_again_already_is_not_sent_twice(hub: RunningHub, lane: Lane) -> None:
    """Proves that a group whose letters go again has nothing failed, which is said, that its open
    letters are refused as under way, and that what narrows a selection narrows a group."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        first = await stopped(story, erp, "PARKED", reason="no account")
        second = await stopped(story, erp, "PARKED", reason="no account")
        group = (await groups(story, lane.erp))["PARKED", "no account"]
        desk = Desk(story.operator, lane.erp)
        one = await desk.plan("FAILED", group_id=group.id, object_id=second)
        assert [item.correlation_id for item in await desk.items(one)] == [second]
        other = await desk.plan("FAILED", group_id=group.id, operation="cancel_order")
        assert other.item_count == 0
        for order_id in (first, second):
            (delivery,) = await story.deliveries(order_id, "create_sales_order")
            await _retried(story, delivery.id)
        assert (await groups(story, lane.erp))["PARKED", "no account"].under_way_count == 2
        nothing = await desk.plan("FAILED", group_id=group.id)
        assert (nothing.item_count, "there is nothing to replay" in nothing.note) == (0, True)
        assert planned(await desk.plan("MISSING", group_id=group.id)) == {"WOULD_BE_REFUSED": 2}


async def test_a_group_that_is_none_of_this_endpoint_is_refused(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that an unknown group is NOT_FOUND and names the field, that an empty one is an empty
    selection, and that the group of another endpoint, and one of facts that came in, are refused
    with what to do."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        await stopped(story, erp, "REJECTED", code="400", reason="no")
        group = (await groups(story, lane.erp))["REJECTED", "no"]
        desk = Desk(story.operator, lane.erp)
        with pytest.raises(CallError) as unknown:
            await desk.ask("FAILED", group_id="0" * 32)
        assert unknown.value.reason == "OBJECT_NOT_FOUND"
        assert "selection.group_id" in unknown.value.refusal.message
        with pytest.raises(CallError) as empty:
            await desk.ask("FAILED", group_id="")
        assert "an empty selection would replay everything" in empty.value.refusal.message
        with pytest.raises(CallError) as elsewhere:
            await Desk(story.operator, lane.wms).ask("FAILED", group_id=group.id)
        assert f"is of {lane.erp}" in elsewhere.value.refusal.message
        async with PlayedEndpoint(hub, lane.wms, {"release_order": "NATURAL"}):
            await story.wms.fulfillments.ReportPick(pick(request_id()))
            (held,) = (await groups(story, lane.wms)).values()
            with pytest.raises(CallError) as came_in:
                await Desk(story.operator, lane.wms).ask("MISSING", group_id=held.id)
        assert "crossdock dead-letters drive ID" in came_in.value.refusal.message


@pytest.mark.parametrize("kind", KINDS)
def test_what_must_not_be_sent_again_says_what_to_do(kind: str) -> None:
    """Proves for every kind of group that no replay takes that the refusal names the field, the
    kind and a command."""
    assert {*KINDS, "PARKED", "REJECTED", "UNSPECIFIED"} == {
        name.removeprefix("DEAD_LETTER_KIND_")
        for name in dead_letter_pb2.DeadLetterKind.DESCRIPTOR.values_by_name
    }
    cause = Cause("erp", "create_sales_order", "e", kind, "", "")
    with pytest.raises(Refused) as caught:
        check_group(cause.id, "erp", Sighting(cause))
    message = caught.value.refusal.message
    assert message.startswith(f"selection.group_id: the group is {kind}: ")
    assert "crossdock " in message


async def test_the_hint_of_dead_letters_is_a_command_that_works(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that what `dead-letters show` says to type plans the letters of that group as it
    stands, and those alone."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        wanted = await stopped(story, erp, "REJECTED", code="400", reason="no such customer")
        await stopped(story, erp, "REJECTED", code="400", reason="closed")
        group = (await groups(story, lane.erp))["REJECTED", "no such customer"]
        shown = await typed(hub, "dead-letters", "show", group.id)
        (hint,) = [line for line in shown.splitlines() if "replay plan" in line]
        command = hint.partition("crossdock ")[2].split()
        told = await typed(hub, *command)
        assert f"1 items, failed at {lane.erp}" in told
        assert "WOULD_POST        1" in told
        replay_id = told.partition("plan ")[2].partition(":")[0]
        listed = await typed(hub, "replay", "show", replay_id, "--items")
        (delivery,) = await story.deliveries(wanted, "create_sales_order")
        assert delivery.id in listed
