"""A dead letter group is looked for beside the writer, which reads only the few that were seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.dead_letter.v1 import dead_letter_service_pb2 as service_pb2
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.errors import CallError
from crossdock_hub.config import Limits
from crossdock_hub.delivery.causes import cause_of
from crossdock_hub.delivery.dead_letters import NO_PATIENCE
from crossdock_hub.delivery.sightings import LETTERS_SEEN_MAX, MovedOn, Sighting, holds
from crossdock_hub.door.looking import decided_on_sight
from crossdock_hub.identity import HUB
from crossdock_hub.records import DeliveryRecord, EndpointRecord
from crossdock_hub.store import Store
from crossdock_hub.store.contention import Contention, Met
from crossdock_hub.store.dead_letters import LETTERS_AT_ONCE, in_parts
from crossdock_hub.store.loading import Loader
from crossdock_hub.store.sightings import find_group
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Identifiers, Key, NotLoaded, Unit, View
from databases import KINDS, open_store
from fixtures_hub import Lane, RunningHub
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from relay_parts import CONTRACT
from story import Story, request_id
from test_dead_letters import groups, state

ROUNDS_MAX = 5
MANY, NOW = 1_000, 1_800_000_000_000_000
ERP = EndpointRecord("netsuite", "ERP", (), (), (), "EXPECTED", b"")


def stopped(number: int, reason: str) -> DeliveryRecord:
    """A refused delivery in a flow of its own."""
    return DeliveryRecord(
        id=f"d-{number}", event_id="e", event_type="t", endpoint="netsuite", item="",
        operation="create_sales_order", ordering_key=f"o-{number}", state="REJECTED",
        created_at=number, updated_at=number, kind="order", object_id=f"o-{number}",
        root_id=f"o-{number}", vendor_reference=f"v-{number}", waiting_on=reason,
    )  # fmt: skip


RARE, COMMON = stopped(1, "customer is on hold"), stopped(2, "item is unknown")


@pytest.fixture(params=KINDS)
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Many dead letters with one cause, and before them, the oldest, one with another."""
    store = await open_store(tmp_path, request.param)
    records = [RARE, *(stopped(number, COMMON.waiting_on) for number in range(2, MANY))]
    async with store.write() as connection:
        changes = Changes(records={("delivery", each.id): each for each in records})
        changes.records["endpoint", ERP.id] = ERP
        await write(connection, changes)
    yield store
    await store.close()


async def look(store: Store, record: DeliveryRecord) -> Sighting:
    async with store.read() as connection:
        seen = await find_group(connection, cause_of(record, "").id, MANY, NOW, NO_PATIENCE)
    assert seen is not None
    return seen


async def decide(store: Store, seen: Sighting) -> tuple[bool, View]:
    """Whether a sighting holds, and what the writer has read to say so, as its batch reads it."""
    met, view, keys = Met(), View(), seen.keys
    async with store.write() as connection:
        for _ in range(ROUNDS_MAX):
            try:
                await Loader(connection, CONTRACT, view, met).load({*keys, *met.asked})
                return holds(unit_of(view), seen), view
            except NotLoaded as missing:
                keys = missing.keys
            except Contention as contention:
                met.learn(contention)
    raise AssertionError(f"nothing is decided after {ROUNDS_MAX} rounds")


async def test_the_writer_reads_only_what_was_seen(ledger: Store) -> None:
    """Proves that of a thousand letters the writer reads three at most to acknowledge their group,
    also of one with a single letter among all the others."""
    assert (await look(ledger, RARE)).deliveries == (RARE.id,)
    seen = await look(ledger, COMMON)
    assert len(seen.deliveries) == LETTERS_SEEN_MAX
    still, view = await decide(ledger, seen)
    assert still
    read = [f"d-{number}" for number in range(1, MANY) if view.knows(("delivery", f"d-{number}"))]
    assert sorted(read) == sorted(seen.deliveries)


async def test_whoever_goes_through_letters_gives_others_a_turn() -> None:
    """Proves that between two parts of many letters everybody else has a turn, database or not."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    seen = [turns async for _ in in_parts(range(MANY))]
    task.cancel()
    assert seen == list(range(MANY // LETTERS_AT_ONCE))


async def test_beyond_the_newest_nothing_is_looked_for(ledger: Store) -> None:
    """Proves that a group is looked for among so many of the newest as it is listed from."""
    async with ledger.read() as connection:
        wanted = cause_of(RARE, "").id
        assert await find_group(connection, wanted, MANY - 2, NOW, NO_PATIENCE) is None
        assert await find_group(connection, wanted, MANY - 1, NOW, NO_PATIENCE) is not None


def unit_of(view: View) -> Unit:
    return Unit(
        view, contract=CONTRACT, caller=HUB, now=NOW, identifiers=Identifiers(), limits=Limits()
    )


@pytest.mark.parametrize(
    ("now", "is_there"),
    [
        (RARE, True),
        (replace(RARE, state="READY"), False),
        (replace(RARE, waiting_on="they are closed"), False),
        (None, False),
    ],
)
def test_what_was_seen_is_looked_at_again(now: DeliveryRecord | None, is_there: bool) -> None:
    """Proves that in the writer a group holds while one of the letters that were seen waits for
    the same cause, and that one that went on since counts, because its group is then kept."""
    cause = cause_of(RARE, "")
    found: dict[Key, Any] = {
        ("delivery", RARE.id): now,
        ("attempts", RARE.id): (),
        ("attempt", RARE.id, RARE.token): None,
        ("dead_letter_group", cause.id): None,
    }
    view = View()
    for key, value in found.items():
        view.add(key, value)
    sighting = Sighting(cause, deliveries=(RARE.id,))
    assert holds(unit_of(view), sighting) is is_there
    view.add(("dead_letter_group", cause.id), object())
    assert holds(unit_of(view), sighting)


@pytest.mark.parametrize(("moves", "answered"), [(0, True), (2, True), (3, False)])
async def test_it_is_looked_for_again_and_not_for_ever(moves: int, answered: bool) -> None:
    """Proves that a group whose letters move between look and decision is looked for anew, three
    times in all, and that the caller is told then to repeat the same request."""
    looks = 0

    async def see(_request: Any) -> int:
        nonlocal looks
        looks += 1
        return looks

    def submit(seen: int) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        if seen <= moves:
            future.set_exception(MovedOn("g"))
        else:
            future.set_result(seen)
        return future

    work = decided_on_sight(see, None, submit, 3)
    if answered:
        assert await work == moves + 1
    else:
        with pytest.raises(MovedOn) as caught:
            await work
        assert "same request_id" in caught.value.refusal.message
    assert looks == min(moves + 1, 3)


async def test_a_group_that_goes_again_is_acknowledged_once(hub: RunningHub, lane: Lane) -> None:
    """Proves, over the wire, that a group is acknowledged whose only letter goes again already,
    that the repeat of the request gets the first answer, and that another content under its id is
    refused."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        await story.approved()
        dispatch, _ = await erp.work("REJECTED", reason="customer C-1 is on hold")
        (group,) = await groups(story, lane.erp)
        await story.operator.delivery_operations.RetryDelivery(
            operations_pb2.RetryDeliveryRequest(
                request_id=request_id(), delivery_id=dispatch.delivery_id, reason="hold lifted"
            )
        )
        (group,) = await groups(story, lane.erp)
        assert group.under_way_count == 1
        service = story.operator.dead_letters
        noted = service_pb2.AcknowledgeDeadLettersRequest(
            request_id=request_id(), group_id=group.id, note="mine"
        )
        answer = await service.AcknowledgeDeadLetters(noted)
        assert answer.group_id == group.id
        assert await service.AcknowledgeDeadLetters(noted) == answer
        (group,) = await groups(story, lane.erp)
        assert (state(group), group.note) == ("ACKNOWLEDGED", "mine")
        noted.note = "of another"
        with pytest.raises(CallError) as caught:
            await service.AcknowledgeDeadLetters(noted)
        assert caught.value.reason == "REQUEST_ID_REUSED"
