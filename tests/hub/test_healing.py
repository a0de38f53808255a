"""What the bus has lost comes back from the database: the same events in the same places, outside
consumers where they were, and work that lay in a queue."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
from back_ups import differences, lose_running_bus
from bus_reading import stored_messages
from crossdock.bus import EVENT_STREAM, SCAN_STREAM, delivery_stream
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.errors import BusRefused
from crossdock_hub.bus.healing import Healer, has_holes
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.stream_administration import StreamState
from crossdock_hub.bus.streams import StreamLimits, delivery_stream_spec
from crossdock_hub.bus.tie import BUS_OLDER, DATABASE_OLDER, OTHER_DATABASE
from crossdock_hub.committer import Committer, now_microseconds
from crossdock_hub.config import SECOND
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.retention import Purger
from crossdock_hub.store import Store, tables
from crossdock_hub.store.bus_rows import bus_position
from databases import open_store
from fixtures_hub import Lane, RunningHub
from fixtures_nats import PATIENCE_SECONDS, NatsProcess, eventually
from played_endpoint import PlayedEndpoint
from relay_parts import (
    CONTRACT,
    HOT_HOURS,
    LIMITS,
    event,
    ids_on,
    record,
    relay_of,
    scan_batch,
    send_all,
)
from sqlalchemy import update
from story import Story, approve_order

DURABLE = "analytics"
# How long an outside consumer listens for what must not come.
SILENCE_SECONDS = 0.3
ACK_WAIT_NANOSECONDS = 60 * 10**9
# Long before a dispatch runs out, after 30 s.
AT_ONCE_SECONDS = 20.0


async def told(
    address: BusAddress,
    count: int,
    ack: int = 1000,
    stream: str = EVENT_STREAM,
    *,
    is_all: bool = False,
) -> list[str]:
    """The next so many that an outside consumer is told, in order; it acknowledges the first `ack`.

    is_all: what comes after them is told too.
    """
    client = await nats.connect(address.url, user=address.user, password=address.password)
    try:
        subscription = await client.jetstream().pull_subscribe_bind(DURABLE, stream)
        found: list[Any] = []
        while len(found) < count:
            found += await subscription.fetch(count - len(found), timeout=PATIENCE_SECONDS)
        if is_all:
            with contextlib.suppress(TimeoutError):
                found += await subscription.fetch(1, timeout=SILENCE_SECONDS)
        for message in found[:ack]:
            await message.ack_sync()
        return [message.headers["Nats-Msg-Id"] for message in found]
    finally:
        await client.close()


async def subscribe(bus: Bus, stream: str = EVENT_STREAM) -> None:
    """An outside team makes its durable consumer."""
    config: dict[str, Any] = {"name": DURABLE, "durable_name": DURABLE, "ack_policy": "explicit"}
    config |= {"deliver_policy": "all"}
    # Nothing that was fetched comes a second time while a slow machine is at it.
    config |= {"ack_wait": ACK_WAIT_NANOSECONDS}
    wanted = {"stream_name": stream, "config": config, "action": ""}
    await bus.call_api(f"CONSUMER.CREATE.{stream}.{DURABLE}", wanted)


@dataclass
class Bench:
    """Relay and healer on a real store and a real server, driven step by step."""

    store: Store
    bus: Bus
    server: NatsProcess

    def __post_init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """As after a kill of the hub: nothing is known but what was written, and who was before
        writes no more."""
        before = getattr(self, "committer", None)
        if before is not None and before._task is not None:
            before._task.cancel()
        self.committer = Committer(self.store, CONTRACT, LIMITS, Picker(LIMITS))
        self.committer.start([])
        limits = StreamLimits(hot_window_hours=HOT_HOURS)
        self.healer = Healer(self.store, self.bus, LIMITS, limits, self.committer)
        self.relay = relay_of(self.store, self.bus, self.committer)
        self.healer.watch(self.relay)

    async def settle(self) -> None:
        """Heal, fill, and write down what is known."""
        await self.healer.heal()
        await send_all(self.relay.events)
        await send_all(self.relay.scans)
        await self.healer.heal()
        await self.committer.stop()
        self.committer = Committer(self.store, CONTRACT, LIMITS, Picker(LIMITS))
        self.committer.start([])
        self.healer._committer = self.committer
        for outlet in (self.relay.events, self.relay.scans):
            outlet._marks = self.committer

    async def start_server(self) -> None:
        """Start it again, and wait until the bus has noticed both."""
        await eventually(lambda: not self.bus.health.ok, "the loss")
        self.server.start()
        await eventually(lambda: self.bus.health.ok, "the reconnect")

    async def stored(self, stream: str = EVENT_STREAM) -> list[tuple[int, str]]:
        """Sequence and id of each message of a stream."""
        found = await stored_messages(self.server.address, stream)
        return [(each.sequence, each.headers["Nats-Msg-Id"]) for each in found]


@pytest.fixture
async def bench(tmp_path: Path, own_nats_server: NatsProcess) -> AsyncIterator[Bench]:
    store = await open_store(tmp_path / "data")
    bus = await Bus.connect(own_nats_server.address)
    made = Bench(store, bus, own_nats_server)
    yield made
    await made.committer.stop()
    await bus.close()
    await store.close()


LOSSES = ["stream", "purge", "front", "middle", "end", "anew"]


@pytest.mark.parametrize(
    ("stream", "loss", "restarted"),
    [(EVENT_STREAM, loss, restarted) for loss in LOSSES for restarted in (False, True)]
    + [(SCAN_STREAM, "stream", True), (SCAN_STREAM, "purge", False), (SCAN_STREAM, "middle", True)],
)
async def test_lost_messages_come_back(
    bench: Bench, stream: str, loss: str, restarted: bool
) -> None:
    """Proves that a stream which was deleted, emptied or torn has the same messages at the same
    sequences again, also those that were recorded before the hot window and sent within it, and
    that an outside consumer is told what it had not acknowledged, and no more."""
    one = event if stream == EVENT_STREAM else scan_batch
    other = scan_batch if stream == EVENT_STREAM else event
    late = [one(age_hours=100), one(age_hours=99)]
    sent = await record(bench.store, *late, *[one() for _ in range(8)])
    await bench.settle()
    if stream == EVENT_STREAM:
        await sent_hours_ago(bench.store, sent[0], 98)
    await subscribe(bench.bus, stream)
    assert await told(bench.server.address, 6, 4, stream) == sent[:6]
    before = await bench.stored(stream)
    await bench.settle()
    if restarted:
        bench.start_anew()
    await lose(bench.bus, stream, loss)
    fresh = await record(bench.store, one(), other())
    await bench.settle()
    after = await bench.stored(stream)
    # The first event was sent before the hot window: it is not filled in again.
    held = before[1:] if stream == EVENT_STREAM else before
    assert after == [*held, (before[-1][0] + 1, fresh[0])]
    left = [*sent[4:], fresh[0]]
    assert await told(bench.server.address, len(left), stream=stream, is_all=True) == left
    rebuilds = bench.healer.rebuilds
    await bench.settle()
    assert (rebuilds, bench.healer.rebuilds) == (1, 1), "healed once, and quiet since"


async def sent_hours_ago(store: Store, event_id: str, hours: float) -> None:
    """Have an event noted as sent then."""
    then = now_microseconds() - int(hours * 3600 * SECOND)
    async with store.write() as connection:
        noted = update(tables.events).where(tables.events.c.id == event_id)
        await connection.execute(noted.values(published_at=then))


async def lose(bus: Bus, stream: str, loss: str) -> None:
    if loss in ("stream", "anew"):
        config = await bus.call_api(f"STREAM.INFO.{stream}")
        await bus.delete_stream(stream)
        if loss == "anew":
            assert config is not None
            await bus.call_api(f"STREAM.CREATE.{stream}", config["config"])
    elif loss == "purge":
        await bus.purge(stream)
    elif loss == "front":
        await bus.purge(stream, before_sequence=6)
    else:
        sequence = 5 if loss == "middle" else 10
        await bus.call_api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence})


async def test_scan_messages_go_when_their_stream_lets_them_go(bench: Bench) -> None:
    """Proves that of what was sent the outbox keeps what the stream still holds, however old it
    was when it was sent, and no more, and that what was not sent is never let go."""
    old = await record(bench.store, scan_batch(age_hours=100), scan_batch(age_hours=90))
    await bench.settle()
    unsent = await record(bench.store, scan_batch(age_hours=80))
    await bench.committer.stop()
    assert await outbox(bench.store) == [*old, *unsent]
    bench.start_anew()
    # As the stream does when its window is over.
    await bench.bus.purge(SCAN_STREAM, before_sequence=3)
    fresh = await record(bench.store, scan_batch(age_hours=1))
    await bench.settle()
    fresh += await record(bench.store, scan_batch())
    await bench.settle()
    assert await outbox(bench.store) == [*unsent, *fresh]
    assert bench.healer.rebuilds == 0 and len(await bench.stored(SCAN_STREAM)) == 3


async def test_events_past_their_retention_are_no_loss(bench: Bench) -> None:
    """Proves that a stream whose oldest events have let their content go in the database is not
    taken for torn, and that one which is lost gets back what it has to hold, no empty events."""
    old = await record(bench.store, *[event(age_hours=24 * 1000) for _ in range(3)])
    young = await record(bench.store, *[event() for _ in range(4)])
    await bench.settle()
    purger = Purger(bench.store, bench.committer, LIMITS, HOT_HOURS, now_microseconds)
    assert await purger.purge() == len(old)
    await bench.settle()
    bench.start_anew()
    await bench.settle()
    assert bench.healer.rebuilds == 0
    before = await bench.stored()
    await lose(bench.bus, EVENT_STREAM, "stream")
    await bench.settle()
    assert [each for _, each in await bench.stored()] == young
    assert await bench.stored() == before[len(old) :]


async def test_a_stream_that_loses_again_at_once_has_to_wait(bench: Bench) -> None:
    """Proves that a stream which loses a message again, right after it was made anew, is left as
    it is for a minute, so that nothing deletes and fills it without end, and is made anew then."""
    sent = await record(bench.store, *[event() for _ in range(10)])
    await bench.settle()
    now = now_microseconds()
    bench.healer._clock = lambda: now
    await lose(bench.bus, EVENT_STREAM, "middle")
    await bench.settle()
    whole = await bench.stored()
    assert (bench.healer.rebuilds, [each for _, each in whole]) == (1, sent)
    await lose(bench.bus, EVENT_STREAM, "middle")
    now += int(LIMITS.rebuild_pause_seconds * SECOND) - 1
    await bench.settle()
    state = await bench.bus.stream_state(EVENT_STREAM)
    assert state is not None and (bench.healer.rebuilds, state.deleted) == (1, 1)
    now += 1
    await bench.settle()
    assert (bench.healer.rebuilds, await bench.stored()) == (2, whole)


@pytest.mark.parametrize("was_set", ["back", "forward"])
async def test_what_expired_by_a_clock_that_was_set_is_no_loss(bench: Bench, was_set: str) -> None:
    """Proves that a stream is left alone when its first message goes by the machine's clock, ten
    minutes before its row is so old by the hub's or half an hour after, and that one which loses
    an hour more is made anew."""
    now = now_microseconds()
    # Set back, by what a clock may have come nearer since, rows are stamped ahead; set forward, by
    # more than that, the hub's clock is behind.
    step_hours = 10 / 60 if was_set == "back" else 30 / 60
    assert (was_set == "forward") == (step_hours > HOT_HOURS * LIMITS.clock_slew + 1 / 60)
    age_hours = HOT_HOURS - (step_hours if was_set == "back" else 0.0)
    behind = int(step_hours * 3600 * SECOND) if was_set == "forward" else 0
    bench.healer._clock = lambda: now - behind
    bench.healer._wall = lambda: now
    await record(bench.store, event(age_hours=age_hours), event(age_hours=HOT_HOURS - 1), event())
    await bench.settle()
    await bench.bus.purge(EVENT_STREAM, before_sequence=2)
    await bench.settle()
    assert (bench.healer.rebuilds, len(await bench.stored())) == (0, 2)
    await bench.bus.purge(EVENT_STREAM, before_sequence=3)
    await bench.settle()
    assert bench.healer.rebuilds == 1


async def outbox(store: Store) -> list[str]:
    async with store.read() as connection:
        found = await connection.exec_driver_sql("SELECT id FROM scan_outbox ORDER BY sequence")
        return [row.id for row in found]


async def test_a_deleted_consumer_stays_deleted(bench: Bench) -> None:
    """Proves that a consumer which its owner deletes while the hub looks on is let go, and that one
    which is gone after a time in which nobody looked is made again, where it was."""
    events = await record(bench.store, *[event() for _ in range(6)])
    await bench.settle()
    await subscribe(bench.bus)
    await told(bench.server.address, 2)
    await bench.settle()
    bench.start_anew()
    await bench.bus.delete_consumer(EVENT_STREAM, DURABLE)
    await bench.settle()
    assert await told(bench.server.address, 1) == [events[2]]
    await bench.settle()
    await bench.bus.delete_consumer(EVENT_STREAM, DURABLE)
    await bench.settle()
    bench.start_anew()
    await bench.settle()
    assert await bench.bus.pending(EVENT_STREAM, DURABLE) is None


async def test_an_older_stream_is_continued(bench: Bench) -> None:
    """Proves that a bus that was put back from a back-up gets what it lacks, once, and that a crash
    while it is filled changes nothing."""
    events = await record(bench.store, *[event() for _ in range(4)])
    await bench.settle()
    saved = bench.server.settings.store_directory
    older = saved.with_name("older")
    bench.server.kill()
    shutil.copytree(saved, older)
    await bench.start_server()
    events += await record(bench.store, *[event() for _ in range(5)])
    await bench.settle()
    bench.server.kill()
    shutil.rmtree(saved)
    older.rename(saved)
    await bench.start_server()
    bench.start_anew()
    await bench.healer.heal()
    await bench.relay.events.publish()
    bench.start_anew()
    events += await record(bench.store, event())
    await bench.settle()
    assert await ids_on(bench.server.address, EVENT_STREAM) == events
    assert [sequence for sequence, _ in await bench.stored()] == list(range(1, 11))
    async with bench.store.read() as connection:
        position = await bus_position(connection, EVENT_STREAM)
    assert position is not None
    assert (position.stream_sequence, position.record_sequence) == (10, 10)


@pytest.mark.parametrize("loss", ["between two runs", "under the hub"])
async def test_a_hub_heals_all_of_jetstream(own_hub: RunningHub, loss: str) -> None:
    """Proves on a hub: its whole JetStream store, deleted between two runs or while the hub goes
    on with all that it knows of it, is there again with the same events in the same places; outside
    consumers are where they were; every outstanding dispatch comes again, new work goes out and
    begins; and the next start takes neither database nor bus for older."""
    lane = Lane(1)
    async with (
        Story(own_hub, lane) as story,
        PlayedEndpoint(own_hub, lane.erp, {"create_sales_order": "SEARCHABLE"}) as erp,
    ):
        for _ in range(4):
            made = await story.create()
            await story.oms.orders.ApproveOrder(approve_order(made.id))
        begun = await erp.take()
        token = await erp.begin(begun)
        # All of them: what came before the loss is not counted as what comes again.
        waiting = {(await erp.take()).delivery_id for _ in range(3)}
        await eventually(lambda: own_hub.count("events", "published_at IS NULL") == 0, "events")
        before = await places(own_hub)
        await noted_consumer(own_hub, before[2][1])
        if loss == "under the hub":
            killed = lose_running_bus(own_hub)
            await eventually(lambda: own_hub.nats_pid not in (0, killed), "a server")
        else:
            assert own_hub.stop() == 0
            shutil.rmtree(own_hub.data / "nats" / "jetstream")
            own_hub.start()
        await eventually(lambda: refilled(own_hub, before), "the refill")
        again: set[str] = set()
        while again != waiting:
            again.add((await erp.take()).delivery_id)
            assert again <= waiting, "what was begun came again"
        await erp.complete(begun.delivery_id, token, "CONFIRMED")
        fresh = await story.create()
        await story.oms.orders.ApproveOrder(approve_order(fresh.id))
        while (later := await erp.take()).delivery_id in waiting:
            pass
        await erp.complete(later.delivery_id, await erp.begin(later), "CONFIRMED")
        assert await told(own_hub.bus_address(), 1, 0) == [before[3][1]]
        own_hub.restart()
        assert {DATABASE_OLDER, BUS_OLDER, OTHER_DATABASE}.isdisjoint(differences(own_hub))


async def places(hub: RunningHub) -> list[tuple[int, str]]:
    """Sequence and id of each event on the stream of a hub."""
    found = await stored_messages(hub.bus_address(), EVENT_STREAM)
    return [(each.sequence, each.headers["Nats-Msg-Id"]) for each in found]


async def refilled(hub: RunningHub, before: list[tuple[int, str]]) -> bool:
    """Whether the stream holds what it held; a bus that is not there yet holds nothing."""
    try:
        return await places(hub) == before
    except (OSError, TimeoutError, nats.errors.Error, AssertionError):
        return False


async def noted_consumer(hub: RunningHub, last: str) -> None:
    """An outside team's consumer that has acknowledged all up to an event, which the hub knows."""
    bus = await Bus.connect(hub.bus_address())
    await subscribe(bus)
    await bus.close()
    assert (await told(hub.bus_address(), 3))[-1] == last
    known = "SELECT stream_sequence FROM bus_consumers WHERE name = ?"
    await eventually(lambda: hub.query(known, DURABLE) == [(3,)], "the note of the consumer")


@pytest.mark.parametrize("loss", ["queue", "server", "queue, while another can't be made"])
async def test_lost_work_comes_at_once(own_hub: RunningHub, loss: str) -> None:
    """Proves that a queue which is deleted, or dies with its server, is there again with what
    nobody had begun, long before the dispatch would have run out, also while another endpoint's
    can't be made because a stream of somebody else has its subject."""
    lane = Lane(1)
    async with (
        Story(own_hub, lane) as story,
        PlayedEndpoint(own_hub, lane.erp, {"create_sales_order": "SEARCHABLE"}) as erp,
    ):
        made = await story.create()
        await story.oms.orders.ApproveOrder(approve_order(made.id))
        dispatch = await erp.take()
        if loss == "server":
            os.kill(own_hub.nats_pid, signal.SIGKILL)
        else:
            bus = await Bus.connect(own_hub.bus_address())
            if loss != "queue":
                async with PlayedEndpoint(own_hub, lane.wms, {"release_order": "NATURAL"}):
                    pass
                await take_subject(bus, lane.wms)
            await bus.delete_stream(delivery_stream(lane.erp))
            await bus.close()
        async with asyncio.timeout(AT_ONCE_SECONDS):
            again = await erp.next()
        assert again.delivery_id == dispatch.delivery_id
        assert again.dispatch_number == dispatch.dispatch_number + 1
        assert (await erp.try_begin(dispatch)).refusal.reason == "LEASE_LOST"
        await erp.complete(again.delivery_id, await erp.begin(again), "CONFIRMED")


async def take_subject(bus: Bus, endpoint: str) -> None:
    """A stream of somebody else gets an endpoint's subject in the moment in which it is free."""
    spec = delivery_stream_spec(endpoint, StreamLimits())
    foreign = spec.configuration() | {"name": "FOREIGN"}

    async def taken() -> bool:
        await bus.delete_stream(spec.name)
        with contextlib.suppress(BusRefused):
            await bus.call_api("STREAM.CREATE.FOREIGN", foreign)
            return True
        return False

    await eventually(taken, "the subject of the endpoint")


def test_what_counts_as_a_hole() -> None:
    """Proves: a stream loses messages at its front by age, and in no other way."""
    whole = StreamState(5, 500, 6, 10)
    assert not has_holes(whole, edge=None, horizon=1000)
    assert not has_holes(whole, edge=999, horizon=1000)
    assert has_holes(whole, edge=1000, horizon=1000)
    assert has_holes(StreamState(4, 500, 6, 10, deleted=1), edge=None, horizon=1000)
