"""Dead letters: grouped by cause, shown masked, acknowledged, reopened, closed by themselves."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import CallError
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock_hub.delivery.causes import Cause, DeadLetterGroupRecord, DeadLetterRecord, alike
from crossdock_hub.delivery.dead_letters import Member, Patience, grouped, is_dead, since
from crossdock_hub.reading.paging import next_token, place_of, position_behind
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.unit import Refused
from fixtures_hub import Lane, RunningHub
from hypothesis import given
from hypothesis import strategies as st
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from story import Story, at, pick, request_id, unique
from typed_commands import typed

CAUSE = Cause("netsuite", "create_sales_order", "e", "PARKED", "400", "no")


async def groups(story: Story, endpoint: str, *, closed: bool = False) -> list[Any]:
    request = dead_letter_service_pb2.ListDeadLettersRequest(
        endpoint=endpoint, include_closed=closed
    )
    return list((await story.operator.dead_letters.ListDeadLetters(request)).groups)


async def members(story: Story, group_id: str) -> Any:
    request = dead_letter_service_pb2.GetDeadLettersRequest(group_id=group_id)
    return await story.operator.dead_letters.GetDeadLetters(request)


def state(group: Any) -> str:
    return dead_letter_pb2.DeadLetterState.Name(group.state).removeprefix("DEAD_LETTER_STATE_")


async def test_a_group_lives_until_its_last_member_is_settled(hub: RunningHub, lane: Lane) -> None:
    """Proves the whole life: two refusals that differ in numbers are one group with the event
    masked and each attempt; acknowledged, it reopens on recurrence; what was sent again keeps it
    open until the vendor confirms; and looking changes nothing."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        dead = []
        for number in (1, 2):
            await story.approved()
            dispatch, _ = await erp.work("REJECTED", reason=f"customer C-{number} is on hold")
            dead.append(dispatch.delivery_id)
        (group,) = await groups(story, lane.erp)
        assert (group.open_count, group.reason, state(group)) == (
            2,
            "customer # is on hold",
            "OPEN",
        )
        assert len(group.object_ids) == 2
        before = hub.query("SELECT * FROM deliveries WHERE endpoint = ?", lane.erp)
        answer = await members(story, group.id)
        assert [m.delivery.id for m in answer.members] == dead[::-1]
        assert answer.members[0].delivery.attempt_log[0].reason == "customer C-2 is on hold"
        order = json.loads(answer.members[0].content_json)["order"]
        assert order["number"]
        assert "Lovelace" not in answer.members[0].content_json
        assert hub.query("SELECT * FROM deliveries WHERE endpoint = ?", lane.erp) == before

        noted = await typed(
            hub, "dead-letters", "acknowledge", group.id[:8], "--note", "asked them", "--yes"
        )
        assert "is with operator" in noted
        (group,) = await groups(story, lane.erp)
        assert (state(group), group.note) == ("ACKNOWLEDGED", "asked them")
        await story.approved()
        third, _ = await erp.work("REJECTED", reason="customer C-3 is on hold")
        (group,) = await groups(story, lane.erp)
        assert (state(group), group.reopened, group.open_count) == ("OPEN", True, 3)

        await _settle_all(story, erp, [*dead, third.delivery_id])
        assert await groups(story, lane.erp) == []
        (group,) = await groups(story, lane.erp, closed=True)
        assert (state(group), group.closed_count) == ("CLOSED", 3)


async def _settle_all(story: Story, erp: PlayedEndpoint, dead: list[str]) -> None:
    """One is retried, one resubmitted, one skipped; what is under way keeps the group open."""
    operations = story.operator.delivery_operations
    retry = operations_pb2.RetryDeliveryRequest(
        request_id=request_id(), delivery_id=dead[0], reason="hold lifted"
    )
    await operations.RetryDelivery(retry)
    (group,) = await groups(story, erp.endpoint)
    assert group.open_count == 3, "what goes again is not settled yet"
    await erp.work(references={"sales_order": unique("SO")})
    resubmit = operations_pb2.ResubmitDeliveryRequest(
        request_id=request_id(), delivery_id=dead[1], reason="hold lifted"
    )
    await operations.ResubmitDelivery(resubmit)
    (group,) = await groups(story, erp.endpoint)
    assert (group.open_count, group.closed_count) == (2, 1)
    await erp.work(references={"sales_order": unique("SO")})
    skip = operations_pb2.SkipDeliveryRequest(
        request_id=request_id(), delivery_id=dead[2], reason="cancelled by phone"
    )
    await operations.SkipDelivery(skip)


async def skip(story: Story, delivery_id: str) -> None:
    """An operator ends a delivery."""
    request = operations_pb2.SkipDeliveryRequest(
        request_id=request_id(), delivery_id=delivery_id, reason="by phone"
    )
    await story.operator.delivery_operations.SkipDelivery(request)


async def test_what_closes_between_pages_hides_nothing(hub: RunningHub, lane: Lane) -> None:
    """Proves that a group which closes, and a letter which is settled, after they were read on one
    page leave every other one on the next, also where the last one of the page is what went."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        letters = story.operator.dead_letters
        dead = []
        for reason in ("on hold", "no such item", "closed", "closed", "closed"):
            await story.approved()
            dispatch, _ = await erp.work("REJECTED", reason=reason)
            dead.append(dispatch.delivery_id)
        hold, item, *closed = dead

        asked = dead_letter_service_pb2.GetDeadLettersRequest(
            group_id=(await groups(story, lane.erp))[0].id, page_size=2
        )
        first = await letters.GetDeadLetters(asked)
        assert [m.delivery.id for m in first.members] == closed[:0:-1]
        await skip(story, closed[1])
        asked.page_token = first.next_page_token
        rest = await letters.GetDeadLetters(asked)
        assert [m.delivery.id for m in rest.members] == [closed[0], closed[1]]
        assert not rest.next_page_token

        listing = dead_letter_service_pb2.ListDeadLettersRequest(endpoint=lane.erp, page_size=2)
        page = await letters.ListDeadLetters(listing)
        assert [group.reason for group in page.groups] == ["closed", "no such item"]
        for delivery_id in (closed[0], closed[2], item):
            await skip(story, delivery_id)
        listing.page_token = page.next_page_token
        page = await letters.ListDeadLetters(listing)
        assert [group.reason for group in page.groups] == ["on hold"]
        assert [m.delivery.id for m in (await members(story, page.groups[0].id)).members] == [hold]


def test_a_place_is_read_back_and_nothing_else_is_taken_for_one() -> None:
    """Proves that a page begins behind exactly the place that its token was made of, and that a
    token which says none, as an older hub gave it, is refused."""
    asked = dead_letter_service_pb2.ListDeadLettersRequest(endpoint="netsuite")
    assert place_of(asked) is None
    for place in ((True, 1_750_000_000_000_000, "a:b"), (False, 0, "0" * 32)):
        asked.page_token = next_token(asked, position_behind(place))
        assert place_of(asked) == place
    for position in ("100", "2:1:a", "1:x:a", "1:-1:a"):
        asked.page_token = next_token(asked, position)
        with pytest.raises(Refused) as refused:
            place_of(asked)
        assert refused.value.refusal.violations[0].field == "page_token"


async def test_what_came_in_is_in_the_same_place(hub: RunningHub, lane: Lane) -> None:
    """Proves that a held fact and a raw payload are dead letters too; that a fact is driven by hand
    and says why it still does not fit; that for a payload its adapter is asked; and both are
    discarded with a reason that is kept, once."""
    async with Story(hub, lane) as story:
        held = await story.wms.fulfillments.ReportPick(pick(str(uuid.uuid4())))
        fact = held.receipt.held_fact_id
        raw = held_fact_pb2.HoldPayloadRequest(
            request_id=request_id(), payload=b"<xml", source="/wms/hook", reason="no XML at byte 4"
        )
        payload = (await story.wms.endpoints.HoldPayload(raw)).receipt.held_fact_id
        found = {g.kind: g for g in await groups(story, lane.wms)}
        assert set(found) == {
            dead_letter_pb2.DEAD_LETTER_KIND_HELD_FACT,
            dead_letter_pb2.DEAD_LETTER_KIND_HELD_PAYLOAD,
        }
        group = found[dead_letter_pb2.DEAD_LETTER_KIND_HELD_FACT]
        (member,) = (await members(story, group.id)).members
        assert member.held_fact.id == fact
        assert "fulfillment_request_id" in member.content_json
        driven = await typed(hub, "dead-letters", "drive", fact, "--reason", "once more", "--yes")
        assert "it still does not fit" in driven
        drive = dead_letter_service_pb2.DriveHeldFactRequest(
            request_id=request_id(), held_fact_id=payload, reason="try"
        )
        asked = await story.operator.dead_letters.DriveHeldFact(drive)
        assert asked.held_fact.state == held_fact_pb2.HELD_FACT_STATE_HELD
        assert asked.held_fact.awaits == "retranslation:/wms/hook"
        assert asked.word.change == f"{lane.wms} is asked to translate it again"
        assert {g.id for g in await groups(story, lane.wms)} == {g.id for g in found.values()}
        for held_id in (fact, payload):
            done = await typed(
                hub, "dead-letters", "discard", held_id, "--reason", "a test of theirs", "--yes"
            )
            assert "DISCARDED" in done
        assert await groups(story, lane.wms) == []
        again = await typed(hub, "dead-letters", "discard", fact, "--reason", "x", "--yes", code=1)
        assert "STATE_TRANSITION" in again
        rows = hub.query("SELECT verb, reason FROM operator_words WHERE subject_id = ?", fact)
        assert sorted(rows) == [("DISCARD", "a test of theirs"), ("DRIVE", "once more")]


async def test_a_fact_that_fits_by_now_is_written_by_hand(hub: RunningHub, lane: Lane) -> None:
    """Proves, over the wire, that a confirm which contradicted an earlier one, and which nothing
    drives by itself, is written when an operator drives it after a further confirm has settled it;
    that the group closes and names the operator; and that it is driven once."""
    async with Story(hub, lane) as story:
        packed = await story.packed(2)
        first, second = (package.number for package in packed.packages)

        async def confirm(*numbers: str) -> Any:
            report = shipment_service_pb2.ManifestShipmentRequest(
                request_id=request_id(),
                shipment_id=packed.id,
                manifest_time=at(),
                package_numbers=numbers,
            )
            return (await story.wms.shipments.ManifestShipment(report)).receipt

        await confirm(first)
        fact = (await confirm(first, second)).held_fact_id
        assert fact
        await confirm(second)
        (group,) = await groups(story, lane.wms)
        drive = dead_letter_service_pb2.DriveHeldFactRequest(
            request_id=request_id(), held_fact_id=fact, reason="confirmed apart"
        )
        answer = await story.operator.dead_letters.DriveHeldFact(drive)
        assert answer.held_fact.state == held_fact_pb2.HELD_FACT_STATE_APPLIED
        assert (answer.word.change, answer.word.state_after) == ("it was written", "APPLIED")
        assert await story.operator.dead_letters.DriveHeldFact(drive) == answer
        assert await groups(story, lane.wms) == []
        (closed,) = await groups(story, lane.wms, closed=True)
        assert (closed.id, closed.settled_by) == (group.id, "operator")
        assert closed.settlement == dead_letter_pb2.DEAD_LETTER_SETTLEMENT_APPLIED
        drive.request_id = request_id()
        with pytest.raises(CallError) as caught:
            await story.operator.dead_letters.DriveHeldFact(drive)
        assert caught.value.reason == "STATE_TRANSITION"


async def test_an_unknown_group_is_not_acknowledged(hub: RunningHub, lane: Lane) -> None:
    """Proves that a group that nothing belongs to is said to be unknown, and nothing is kept."""
    async with Story(hub, lane) as story:
        request = dead_letter_service_pb2.AcknowledgeDeadLettersRequest(
            request_id=request_id(), group_id="0" * 32, note="mine"
        )
        with pytest.raises(CallError) as caught:
            await story.operator.dead_letters.AcknowledgeDeadLetters(request)
        assert caught.value.reason == "OBJECT_NOT_FOUND"


@given(st.integers(0, 10**12), st.uuids(), st.text("ABC234567", min_size=20, max_size=20))
def test_numbers_make_no_cause(number: int, some_id: uuid.UUID, reference: str) -> None:
    """Proves that reasons which differ in numbers, ids, references and quoted names are alike."""
    text = f"order SO-{number} ({some_id}) of 'C {number}' under {reference}: closed"
    assert alike(text) == alike("order SO-7 (x1) of 'D' under A2: closed")


def member(number: int, since: int, settled_at: int | None) -> Member:
    if settled_at is None:
        return Member(str(number), "o", since)
    left = DeadLetterRecord(CAUSE.id, str(number), "o", False, since, settled_at)
    left.settled_at = settled_at
    return Member(str(number), "o", since, "SETTLED", left=left)


TIMES = st.integers(0, 100)
SPANS = st.tuples(st.integers(0, 9), TIMES, st.none() | TIMES)


@given(st.lists(SPANS, max_size=12), st.none() | TIMES)
def test_how_a_group_stands(
    found: list[tuple[int, int, int | None]], marked_at: int | None
) -> None:
    """Proves, for any members, that a group is closed without open ones and then names the one that
    was settled last, that it is acknowledged only when no open one came after somebody had looked,
    and that it is reopened when somebody had looked or all had been settled before."""
    mark = DeadLetterGroupRecord.of(CAUSE)
    mark.marked_at = marked_at
    spans = [(n, at, None if end is None else at + end) for n, at, end in found]
    all_members = [(CAUSE, member(*span)) for span in spans]
    for group in grouped(all_members, {CAUSE.id: mark}):
        since = [m.since for m in group.members if m.open]
        assert len({m.id for m in group.members}) == len(group.members)
        if not since:
            assert group.state == "CLOSED"
            assert group.ending is not None
            assert group.ending.settled_at == max(m.until for m in group.members)
        elif marked_at is not None and max(since) <= marked_at:
            assert group.state == "ACKNOWLEDGED"
        else:
            assert group.state == "OPEN"
            assert group.reopened == (marked_at is not None or was_empty(group.members))


def test_doubt_that_shows_later_opens_an_acknowledged_group() -> None:
    """Proves that a doubt which began before somebody acknowledged its group, and became a dead
    letter after it, opens the group again."""
    patience, looked_at = Patience(900), 1_000
    doubt = DeliveryRecord(
        id="d", event_id="e", event_type="t", endpoint="netsuite", operation="create_sales_order",
        item="", ordering_key="k", state="UNKNOWN", created_at=1, updated_at=1, kind="order",
        object_id="o", root_id="o", vendor_reference="v", first_unknown_at=700,
    )  # fmt: skip
    assert not is_dead(doubt, patience, looked_at)
    assert is_dead(doubt, patience, 1_600)
    mark = DeadLetterGroupRecord.of(CAUSE)
    mark.marked_at = looked_at
    letter = Member(doubt.id, "o", since(doubt, patience))
    (group,) = grouped([(CAUSE, letter)], {CAUSE.id: mark})
    assert (group.state, group.reopened) == ("OPEN", True)


def was_empty(members: list[Member]) -> bool:
    """Whether at some moment between the first and the last no member was open."""
    first, last = min(m.since for m in members), max(m.since for m in members)
    moments = [tick + 0.5 for tick in range(first, last)]
    return any(not any(m.since < at < m.until for m in members) for at in moments)
