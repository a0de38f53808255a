"""Following at one hub what all hubs of a database commit."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from crossdock.bus import partition_of
from crossdock.delivery.v1 import delivery_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock_hub.config import Limits
from crossdock_hub.leading.news import News, decode, encode
from crossdock_hub.reading import shared_tailing
from crossdock_hub.reading.shared_tailing import SharedTail
from crossdock_hub.reading.tailing import Tails
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.store import Reader, Store, Transaction
from crossdock_hub.store.tail_reading import deliveries_by_id
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes
from databases import ServerDatabase, migrated_template
from decisions import CONTRACT, OPERATOR
from first_flow import Flow, order
from fixtures_nats import PATIENCE_SECONDS, eventually
from fixtures_postgres import PostgresProcess
from overlapping_commands import SHARED_BY
from relay_parts import event

LIMITS = Limits(tail_look_seconds=0.01)


@pytest.fixture
async def stores(postgres_server: PostgresProcess) -> AsyncIterator[list[Store]]:
    """Three hubs' ways to one database."""
    database = ServerDatabase(postgres_server, migrated_template())
    opened = [await Store.open(database.url, CONTRACT, shared_by=SHARED_BY) for _ in range(3)]
    yield opened
    for store in opened:
        await store.close()


class Following:
    """Somebody who follows at a hub that commits nothing itself."""

    def __init__(self, store: Store, limits: Limits = LIMITS) -> None:
        self.tails = Tails(Reader(store), limits)
        self.tail = SharedTail(store, self.tails, limits)
        self.tail.start()
        self.entries: list[Any] = []
        self.task: asyncio.Task[None] | None = None

    async def follow(self, **fields: Any) -> None:
        async def take() -> None:
            asked = lineage_service_pb2.TailRequest(**fields)
            async for entry in self.tails.follow(OPERATOR, asked):
                self.entries.append(entry)

        self.task = asyncio.create_task(take())
        await eventually(lambda: len(self.tails) == 1, "the subscription")

    async def __aenter__(self) -> Following:
        return self

    async def leave(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await eventually(lambda: not len(self.tails), "the end of the subscription")

    async def __aexit__(self, *_: object) -> None:
        await self.leave()
        await self.tail.stop()

    def events(self) -> list[str]:
        return [e.event.id for e in self.entries if e.WhichOneof("entry") == "event"]


def delivery() -> DeliveryRecord:
    flow = Flow()
    flow.approve(flow.create(order("SO-1")).id)
    return flow.deliveries()[0]


async def commit(store: Store, changes: Changes) -> None:
    async with store.write() as connection:
        await write(connection, changes, shared=True)


async def test_what_others_commit_comes_once_and_in_order(stores: list[Store]) -> None:
    """Proves that of what two other hubs commit, one of them long after it drew its numbers, every
    event comes once, an object's in their order, and what was there before does not come."""
    first, second, own = stores
    await commit(first, Changes(events=[event()]))
    name = event().object_id
    told_of = {"object_id": name, "root_id": name, "partition": partition_of(name)}
    async with Following(own) as following:
        await following.follow()
        sent = []
        for revision in range(2, 12, 2):
            late, soon = (
                [replace(event(), revision=n, **told_of)] for n in (revision, revision + 1)
            )
            other = event()
            async with first.write() as connection:
                await write(connection, Changes(events=late), shared=True)
                await commit(second, Changes(events=[other]))
                following.tail.heard(News(events=True))
                await asyncio.sleep(0.02)
            await commit(second, Changes(events=soon))
            following.tail.heard(News(events=True))
            sent += [late[0].id, other.id, soon[0].id]
        await eventually(lambda: len(following.events()) >= len(sent), "all events")
        assert sorted(following.events()) == sorted(sent)
        mine = [e.event for e in following.entries if e.event.object_id == name]
        assert [each.revision for each in mine] == list(range(2, 12))


async def test_changed_deliveries_come_as_their_hub_tells(stores: list[Store]) -> None:
    """Proves that a delivery that another hub changed is shown as it is now, and of changes that a
    message had no room for how many they are."""
    first, _, own = stores
    record = delivery()
    await commit(first, Changes(records={("delivery", record.id): record}))
    async with Following(own) as following:
        await following.follow()
        told = decode(encode(News(work=True, deliveries={record.id}, deliveries_untold=7)))
        assert told is not None
        following.tail.heard(told)
        await eventually(lambda: len(following.entries) == 2, "both entries")
        kinds = {e.WhichOneof("entry"): e for e in following.entries}
        assert kinds["delivery"].delivery.id == record.id
        assert kinds["dropped"].dropped == 7


async def test_a_delivery_that_changes_while_it_is_read_is_read_again(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a change which is told between the read of a delivery and its showing is shown
    too: whoever follows ends with the state that the delivery has."""
    first, _, own = stores
    record = delivery()
    last = replace(record, state="CONFIRMED")
    await commit(first, Changes(records={("delivery", record.id): record}))
    told = News(work=True, deliveries={record.id})

    async def read_slowly(connection: Transaction, ids: list[str]) -> list[DeliveryRecord]:
        found = await deliveries_by_id(connection, ids)
        if [each.state for each in found] == [record.state]:
            await commit(first, Changes(records={("delivery", record.id): last}))
            following.tail.heard(told)
        return found

    monkeypatch.setattr(shared_tailing, "deliveries_by_id", read_slowly)
    async with Following(own) as following:
        await following.follow()
        following.tail.heard(told)
        await eventually(lambda: len(following.entries) >= 2, "both states")
        confirmed = delivery_pb2.DELIVERY_STATE_CONFIRMED
        assert following.entries[-1].delivery.state == confirmed


async def test_a_backlog_and_what_follows_overlap_nowhere(stores: list[Store]) -> None:
    """Proves that nothing of a backlog comes again, and that nothing between the two is missing."""
    first, _, own = stores
    sent: dict[str, int] = defaultdict(int)

    async def go_on() -> None:
        while len(sent) < 60:
            fresh = event()
            await commit(first, Changes(events=[fresh]))
            sent[fresh.id] = 1
            following.tail.heard(News(events=True))

    async with Following(own) as following:
        going = asyncio.create_task(go_on())
        await eventually(lambda: len(sent) > 20, "events before")
        await following.follow(backlog=1_000)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await going
        await eventually(lambda: len(following.events()) >= len(sent), "all events")
        assert sorted(following.events()) == sorted(sent)


async def test_nobody_who_follows_costs_nothing(stores: list[Store]) -> None:
    """Proves that without a reader nothing is kept, and that a reader who comes when all have left
    is shown what comes then, not what came meanwhile."""
    first, _, own = stores
    async with Following(own) as following:
        for _ in range(2):
            await commit(first, Changes(events=[event()]))
            following.tail.heard(News(events=True, deliveries={"a"}))
            assert following.tail._changed == {}
            await following.follow()
            fresh = event()
            await commit(first, Changes(events=[fresh]))
            following.tail.heard(News(events=True))
            await eventually(following.events, "an event")
            assert following.events() == [fresh.id]
            await following.leave()
            following.entries.clear()
