"""What several hubs commit to one database of PostgreSQL is published once, each object's events in
their order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from crossdock.bus import EVENT_STREAM, SCAN_STREAM
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.relay import Relay
from crossdock_hub.committer import Committer
from crossdock_hub.delivery.dispatching import Picked, Picker
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.records import EventRecord
from crossdock_hub.store import Store, Transaction, tables
from crossdock_hub.store import bus_rows as reading
from crossdock_hub.store.numbering import announce, settled
from crossdock_hub.store.postgresql import SHARED_IDLE_SECONDS
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Unit, View
from databases import ServerDatabase
from decisions import CONTRACT
from fixtures_nats import NatsProcess, eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from overlapping_commands import LIMITS, SHARED_BY, Answer, command, new_object
from relay_parts import HOT_HOURS, event, ids_on, scan_batch, specs

COMMITTERS = 6
CALLERS = 18
# Of each caller, one after another, on as many objects as keep most of them apart.
COMMANDS = 30
OBJECTS = 120
DEADLINE_SECONDS = 120.0
# How long a committer dawdles between what it writes and its commit; one in ten, so much longer.
SHORT_SECONDS, LONG_SECONDS = 0.01, 0.3


class Dawdling(Picker):
    """A picker that takes its time: the batch has written, and does not commit yet."""

    def __init__(self, seed: int) -> None:
        super().__init__(LIMITS)
        self._chance = random.Random(seed)

    async def pick_stored(
        self,
        connection: Transaction,
        view: View,
        endpoints: Sequence[RegisteredEndpoint],
        now: int,
    ) -> list[Picked]:
        longest = LONG_SECONDS if self._chance.random() < 0.1 else SHORT_SECONDS
        await asyncio.sleep(self._chance.uniform(0, longest))
        return await super().pick_stored(connection, view, endpoints, now)


@pytest.fixture
async def stores(database: ServerDatabase) -> AsyncIterator[list[Store]]:
    """Several hubs' ways to it."""
    opened = [
        await Store.open(database.url, CONTRACT, shared_by=SHARED_BY) for _ in range(COMMITTERS)
    ]
    yield opened
    for store in opened:
        await store.close()


@pytest.fixture
async def committers(stores: list[Store]) -> AsyncIterator[list[Committer]]:
    """Several that write to it, with transactions short and long."""
    running = [
        Committer(store, CONTRACT, LIMITS, Dawdling(seed)) for seed, store in enumerate(stores)
    ]
    for each in running:
        each.start([])
    yield running
    for each in running:
        await each.stop()


@pytest.fixture
async def relay(
    stores: list[Store], committers: list[Committer], own_nats_server: NatsProcess
) -> AsyncIterator[Relay]:
    """The one relay, beside them; it hears of every commit, as hubs tell each other."""
    bus = await Bus.connect(own_nats_server.address)
    await bus.ensure_streams(specs())
    relay = Relay(stores[0], bus, LIMITS, committers[0], HOT_HOURS)
    for each in committers:
        each.listeners.append(relay.committed)
    relay.start()
    yield relay
    await relay.stop()
    await bus.close()


def create(names: Sequence[str]) -> Callable[[Unit], Any]:
    """Make orders."""

    def decide(unit: Unit) -> Any:
        for name in names:
            unit.put_object(new_object(unit, "order", name))
        return Answer()

    return decide


def change(names: Sequence[str], scans: bool) -> Callable[[Unit], Any]:
    """Change orders and tell of it, and have a scan message sent."""

    def decide(unit: Unit) -> Any:
        for name in names:
            known = unit.object("order", name)
            assert known is not None, name
            changed = replace(known, revision=known.revision + 1)
            unit.put_object(changed)
            told_of = {"object_id": name, "revision": changed.revision, "root_id": name}
            unit.changes.events.append(replace(event(), **told_of, partition=changed.partition))
        if scans:
            unit.changes.scan_outbox.append(scan_batch())
        return Answer()

    return decide


async def test_nothing_is_lost_and_no_object_turned_around(
    committers: list[Committer],
    relay: Relay,
    database: ServerDatabase,
    own_nats_server: NatsProcess,
) -> None:
    """Proves that of what six committers write at once, in transactions short and long, the relay
    beside them puts every event and scan message on the bus, once, and each object's events in the
    order of its revisions."""
    orders = [f"order-{number}" for number in range(OBJECTS)]
    await committers[0].submit(command(create(orders)))

    async def call(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(COMMANDS):
            names = chance.sample(orders, chance.choice((1, 1, 1, 2)))
            decide = change(names, scans=chance.random() < 0.3)
            await committers[seed % COMMITTERS].submit(command(decide))

    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(*map(call, range(CALLERS)))
    for table, stream in (("events", EVENT_STREAM), ("scan_outbox", SCAN_STREAM)):
        stored = [row[0] for row in database.query(f"SELECT id FROM {table} ORDER BY sequence")]

        async def all_there(stream: str = stream, stored: list[str] = stored) -> bool:
            return len(await ids_on(own_nats_server.address, stream)) >= len(stored)

        try:
            await eventually(all_there, "the last message")
        except AssertionError:
            on_bus = set(await ids_on(own_nats_server.address, stream))
            missing = sum(1 for each in stored if each not in on_bus)
            raise AssertionError(f"{missing} of {len(stored)} never came to {stream}") from None
        assert set(await ids_on(own_nats_server.address, stream)) == set(stored)
    assert relay.events.strangers == relay.scans.strangers == 0
    revisions = defaultdict(list)
    found = database.query("SELECT id, object_id, revision FROM events")
    of_event = {message_id: (name, revision) for message_id, name, revision in found}
    for message_id in await ids_on(own_nats_server.address, EVENT_STREAM):
        name, revision = of_event[message_id]
        revisions[name].append(revision)
    assert sum(map(len, revisions.values())) >= COMMANDS * CALLERS
    for name, seen in revisions.items():
        assert seen == list(range(2, len(seen) + 2)), name


class Played:
    """Transactions whose steps are played one after another, and a reader by number beside them."""

    def __init__(self, stores: Sequence[Store], after: int) -> None:
        self._stores = stores
        self._after = after
        self._open: dict[int, tuple[Any, Transaction, list[str]]] = {}
        self.committed: list[str] = []
        self.read: list[EventRecord] = []

    async def step(self, who: int, what: str) -> None:
        if what == "write" and who not in self._open:
            begun = self._stores[who].write()
            self._open[who] = begun, await begun.__aenter__(), []
        if what == "write":
            _, connection, ids = self._open[who]
            written = [event(), event()]
            await write(connection, Changes(events=written), shared=True)
            ids += [each.id for each in written]
        elif what == "look":
            await self.look()
        elif who in self._open:
            begun, _, ids = self._open.pop(who)
            if what == "commit":
                await begun.__aexit__(None, None, None)
                self.committed += ids
            else:
                assert not await begun.__aexit__(RuntimeError, RuntimeError("given up"), None)

    async def look(self) -> None:
        """Read on from where the last look ended, as the relay does."""
        store = self._stores[-1]
        async with store.read() as connection:
            upto, _ = await settled(connection, tables.events)
        after = self.read[-1].sequence if self.read else self._after
        async with store.read() as connection:
            self.read += await reading.next_events(connection, after, 1_000, upto)
        if not self._open:
            # With nobody on the way nothing is kept back.
            assert len(self.read) == len(self.committed)

    async def end(self) -> None:
        for who in list(self._open):
            await self.step(who, "commit")
        await self.look()


STEPS = st.tuples(
    st.integers(0, COMMITTERS - 2), st.sampled_from(("write", "write", "commit", "give up", "look"))
)


@given(steps=st.lists(STEPS, max_size=30))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_interleaving_is_read_whole(
    database: ServerDatabase, steps: list[tuple[int, str]]
) -> None:
    """Proves for drawn interleavings of transactions that write, commit or give up that a reader by
    number misses nothing, reads nothing twice, sees numbers only grow, and is kept from nothing
    when all are over."""

    async def play() -> None:
        stores = [
            await Store.open(database.url, CONTRACT, shared_by=SHARED_BY) for _ in range(COMMITTERS)
        ]
        ((newest,),) = database.query("SELECT coalesce(max(sequence), 0) FROM events")
        played = Played(stores, newest)
        try:
            for who, what in steps:
                await played.step(who, what)
            await played.end()
        finally:
            for store in stores:
                await store.close()
        assert sorted(each.id for each in played.read) == sorted(played.committed)
        numbers = [each.sequence for each in played.read]
        assert numbers == sorted(set(numbers))

    asyncio.run(play())


async def test_a_writer_that_stops_is_ended(stores: list[Store], database: ServerDatabase) -> None:
    """Proves that a writer which stops amid its commit keeps others' events back only until the
    server ends it, and that what it wrote is gone whole."""
    first, second, reader = stores[:3]
    kept_back, free = [event()], [event()]

    async def stop() -> None:
        async with first.write() as connection:
            await write(connection, Changes(events=kept_back), shared=True)
            stopped.set()
            await asyncio.Event().wait()

    async def upto() -> int:
        async with reader.read() as connection:
            return (await settled(connection, tables.events)).upto

    stopped = asyncio.Event()
    stopping = asyncio.create_task(stop())
    await stopped.wait()
    async with second.write() as connection:
        await write(connection, Changes(events=free), shared=True)
    (row,) = database.query("SELECT sequence FROM events")
    assert await upto() < row[0]

    async def released() -> bool:
        return await upto() >= row[0]

    await eventually(released, "the end of the writer", within_seconds=SHARED_IDLE_SECONDS * 2)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    assert database.query("SELECT id FROM events") == [(free[0].id,)]


@pytest.mark.parametrize("last", [0, 1, 2**32 - 1, 2**32 + 5, 2**40])
async def test_numbers_of_any_size_are_announced(
    stores: list[Store], database: ServerDatabase, last: int
) -> None:
    """Proves that an announcement says the same number that it was made with, however high, and
    that of another table's numbers it says nothing."""
    if last:
        database.query(f"SELECT setval('events_sequence_seq', {last})")
    writer, other, reader = stores[:3]
    async with writer.write() as connection:
        await announce(connection, {"events"})
        async with other.write() as beside:
            told = Changes(events=[event()], scan_outbox=[scan_batch()])
            await write(beside, told, shared=True)
        async with reader.read() as looking:
            assert tuple(await settled(looking, tables.events)) == (last, True)
            assert tuple(await settled(looking, tables.scan_outbox)) == (1, False)
    async with reader.read() as looking:
        assert tuple(await settled(looking, tables.events)) == (last + 1, False)
