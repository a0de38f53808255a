"""One stored copy of every event, whatever became of the answer and of the message ids' window."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import relay_parts
from crossdock.bus import EVENT_STREAM, SCAN_STREAM
from crossdock_hub.bus.errors import BusError, BusRefused, PublishUnknown
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.outlet import Outlet, Waiting, compare
from crossdock_hub.bus.publishing import (
    BATCH_ID_HEADER,
    CHAIN_MESSAGES,
    LAST_ID_FENCE_HEADER,
    STREAM_FENCE_HEADER,
    STREAM_FULL,
    Message,
    Outcome,
    PublishResult,
    chain,
    in_order,
)
from crossdock_hub.store import Store
from databases import database_of, open_store
from fixtures_nats import NatsProcess, eventually
from hypothesis import given
from hypothesis import strategies as st
from own_committer import store
from relay_parts import (
    WINDOW_SECONDS,
    Keeper,
    event,
    ids_on,
    record,
    relay_of,
    scan_batch,
    send_all,
    specs,
)

__all__ = ["store"]


@pytest.fixture
async def bus(own_nats_server: NatsProcess) -> AsyncIterator[Bus]:
    bus = await Bus.connect(own_nats_server.address)
    await bus.ensure_streams(specs())
    yield bus
    await bus.close()


async def window_is_over(bus: Bus, message_id: str) -> None:
    """Wait until the server takes an id for new that it has seen: a naive repeat would double it.

    Asked on another stream with the same window, so that nothing is added where we look.
    """
    name = f"W{message_id[:8]}"
    await bus.call_api(
        f"STREAM.CREATE.{name}",
        {"name": name, "subjects": [name], "duplicate_window": int(WINDOW_SECONDS * 1e9)},
    )
    probe = Message(name, b"", {"Nats-Msg-Id": message_id})
    assert (await bus.publish(probe)).outcome is Outcome.STORED

    async def forgotten() -> bool:
        return (await bus.publish(probe)).outcome is Outcome.STORED

    await eventually(forgotten, "the end of the window")


async def test_killed_between_publish_and_mark(
    store: Store, bus: Bus, own_nats_server: NatsProcess, tmp_path: Path
) -> None:
    """Proves with a real kill -9 after the publish and before the mark, and with the window of
    message ids over, that the next run finds what is stored and adds no copy."""
    events = await record(store, *[event() for _ in range(40)])
    await store.close()
    address = own_nats_server.address
    command = (sys.executable, relay_parts.__file__, database_of(tmp_path).url)
    process = await asyncio.create_subprocess_exec(
        *(*command, address.url, address.user, address.password),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert await process.wait() == -signal.SIGKILL
    assert await ids_on(address, EVENT_STREAM) == events
    store = await open_store(tmp_path)
    await window_is_over(bus, events[0])
    events += await record(store, event())
    keeper = Keeper(store)
    relay = relay_of(store, bus, keeper)
    await send_all(relay.events)
    assert await ids_on(address, EVENT_STREAM) == events
    assert relay.published == 1
    marked = [sequence for mark in keeper.marks for sequence in mark.events]
    assert marked == list(range(1, 42)), "what was found is remembered"
    await store.close()


@pytest.mark.parametrize("more", [CHAIN_MESSAGES, CHAIN_MESSAGES + 1])
async def test_an_answer_that_never_came(
    store: Store, bus: Bus, own_nats_server: NatsProcess, more: int
) -> None:
    """Proves that messages whose answers are lost, few or a batch, are stored once, whether the
    server got them or not, and that scan messages are held to the same."""
    relay = relay_of(store, bus, Keeper(store))
    events = await record(store, event(), event())
    scans = await record(store, scan_batch(), scan_batch())
    await send_all(relay.events)
    await send_all(relay.scans)
    events += await record(store, *[event() for _ in range(more)])
    scans += await record(store, scan_batch())
    own_nats_server.freeze()
    sent = [asyncio.create_task(outlet.publish()) for outlet in (relay.events, relay.scans)]
    for result in await asyncio.gather(*sent, return_exceptions=True):
        assert isinstance(result, PublishUnknown), result
    own_nats_server.thaw()

    async def came_late() -> bool:
        return len(await ids_on(own_nats_server.address, EVENT_STREAM)) == len(events)

    await eventually(came_late, "the batch that was sent while the server was frozen")
    await window_is_over(bus, events[-1])
    await _until_sent(relay.events)
    await _until_sent(relay.scans)
    assert await ids_on(own_nats_server.address, EVENT_STREAM) == events
    assert await ids_on(own_nats_server.address, SCAN_STREAM) == scans


async def test_what_comes_late_never_passes_what_is_before_it(
    store: Store, bus: Bus, own_nats_server: NatsProcess
) -> None:
    """Proves of a few messages that go one by one: the second of them, come late and alone, as the
    rest of a lost connection is, is not stored behind a stranger that has the first one's place."""
    relay = relay_of(store, bus, Keeper(store))
    events = await record(store, event())
    await send_all(relay.events)
    late = [_message(number).behind(1) for number in ("first", "second")]
    _, second = chain(late)
    await bus.publish(_message("alien"))
    (result,) = await bus.publish_window([second])
    assert not result.is_stored and result.code
    assert [each.is_stored for each in await bus.publish_batch(late, few_apart=True)] == [
        False,
        False,
    ]
    assert await ids_on(own_nats_server.address, EVENT_STREAM) == [*events, "alien"]


async def test_a_few_messages_take_no_batch(bus: Bus, own_nats_server: NatsProcess) -> None:
    """Proves that a few messages which go directly behind the stream's end are stored in order
    without a batch, for which the server would make and delete a store of its own; and that one
    which the stream knows already stops what is behind it, since that has another place then."""
    few = [_message(f"{number}") for number in range(CHAIN_MESSAGES)]
    told = await bus.publish_batch([few[0].behind(0), *few[1:]], few_apart=True)
    assert [each.sequence for each in told] == list(range(1, CHAIN_MESSAGES + 1))
    last = await bus.last_message(EVENT_STREAM, few[-1].subject)
    assert last is not None and BATCH_ID_HEADER not in last.headers
    assert last.headers[LAST_ID_FENCE_HEADER] == few[-2].message_id
    known = [_message("new").behind(CHAIN_MESSAGES), few[0], _message("newer")]
    told = await bus.publish_batch(known, few_apart=True)
    assert [each.outcome for each in told] == [Outcome.STORED, Outcome.DUPLICATE, Outcome.REFUSED]
    ids = [each.message_id for each in few]
    assert await ids_on(own_nats_server.address, EVENT_STREAM) == [*ids, "new"]


def _message(message_id: str) -> Message:
    return Message("crossdock.v1.event.order.approved.1", b"", {"Nats-Msg-Id": message_id})


async def test_a_full_stream_says_so(store: Store, bus: Bus) -> None:
    """Proves that what the server refuses is told as refused, with its code, and not as if nobody
    had answered: for that the hub would leave a node that works."""
    relay = relay_of(store, bus, Keeper(store))
    (events, _) = specs()
    narrow = {**events.configuration(), "max_bytes": 1}
    await bus.call_api(f"STREAM.UPDATE.{EVENT_STREAM}", narrow)
    await record(store, event())
    with pytest.raises(BusRefused, match=EVENT_STREAM) as refused:
        await relay.events.publish()
    assert refused.value.code == STREAM_FULL
    await bus.ensure_streams([events])
    assert not await relay.events.publish()
    assert relay.published == 1


@pytest.mark.parametrize("count", [CHAIN_MESSAGES, 60])
async def test_a_server_killed_while_it_is_published_to(
    store: Store, bus: Bus, own_nats_server: NatsProcess, count: int
) -> None:
    """Proves that kill -9 of the server at moments of all kinds leaves one copy of each, in order,
    though the window is over before the repeat."""
    relay = relay_of(store, bus, Keeper(store))
    events: list[str] = []
    for kill_number in range(5):
        events += await record(store, *[event() for _ in range(count)])
        sending = asyncio.create_task(relay.events.publish())
        await asyncio.sleep(0.002 * kill_number)
        own_nats_server.kill()
        await asyncio.gather(sending, return_exceptions=True)
        own_nats_server.start()
        await eventually(lambda: bus.health.ok, "the reconnect")
        await _until_sent(relay.events)
    assert await ids_on(own_nats_server.address, EVENT_STREAM) == events


@pytest.mark.parametrize("count", [2, CHAIN_MESSAGES, CHAIN_MESSAGES + 3])
async def test_two_relays_do_not_double(
    store: Store, bus: Bus, own_nats_server: NatsProcess, count: int
) -> None:
    """Proves that a relay which believes it is alone, and is not, stores nothing twice or out of
    order: the fence lets one of them through, and the other finds what is there."""
    other_bus = await Bus.connect(own_nats_server.address)
    outlets = [relay_of(store, each, Keeper(store)).events for each in (bus, other_bus)]
    events: list[str] = []
    for _ in range(10):
        events += await record(store, *[event() for _ in range(count)])
        await asyncio.gather(*[outlet.publish() for outlet in outlets], return_exceptions=True)
    for outlet in outlets:
        await _until_sent(outlet)
    assert await ids_on(own_nats_server.address, EVENT_STREAM) == events
    await other_bus.close()


async def test_what_others_publish_is_seen(
    store: Store, bus: Bus, own_nats_server: NatsProcess
) -> None:
    """Proves that a message which is no event of the database neither stops the relay nor hides:
    it is counted, and our events follow it."""
    relay = relay_of(store, bus, Keeper(store))
    events = await record(store, event())
    await send_all(relay.events)
    await bus.publish(_message("alien"))
    events += await record(store, event())
    await _until_sent(relay.events)
    assert await ids_on(own_nats_server.address, EVENT_STREAM) == [events[0], "alien", events[1]]
    assert relay.events.strangers == 1


async def test_an_id_that_the_stream_still_knows(
    store: Store, bus: Bus, own_nats_server: NatsProcess
) -> None:
    """Proves that a row whose id the stream remembers, though its message was deleted, does not
    block those behind it."""
    await bus.ensure_streams(specs(window_seconds=120.0))
    relay = relay_of(store, bus, Keeper(store))
    events = await record(store, *[event() for _ in range(4)])
    known = Message("crossdock.v1.event.order.approved.1", b"", {"Nats-Msg-Id": events[1]})
    stored = await bus.publish(known)
    await bus.call_api(f"STREAM.MSG.DELETE.{EVENT_STREAM}", {"seq": stored.sequence})
    await _until_sent(relay.events)
    assert await ids_on(own_nats_server.address, EVENT_STREAM) == [events[0], *events[2:]]


async def _until_sent(outlet: Outlet) -> None:
    """Publish, again after each trouble, until nothing waits."""

    async def sent() -> bool:
        try:
            await send_all(outlet)
        except BusError:
            return False
        return True

    await eventually(sent, "publishing")


@given(
    st.lists(st.booleans(), max_size=12),
    st.lists(st.integers(0, 3), max_size=12),
    st.integers(0, 12),
)
def test_comparing_finds_the_front(
    expired: list[bool], aliens: list[int], stored_count: int
) -> None:
    """Proves for any mixture of stored rows and strange messages: exactly the stored front of what
    waits is found, strangers are counted, and a message that expired counts for its row only."""
    waiting = [Waiting(number, f"id-{number}", old) for number, old in enumerate(expired)]
    messages: list[str | None] = []
    for place, row in enumerate(waiting[:stored_count]):
        messages += [f"alien-{place}-{n}" for n in range((aliens + [0] * 12)[place])]
        messages.append(None if row.expired else row.id)
    found, strangers = compare(messages, waiting)
    assert list(found) == waiting[:stored_count]
    assert strangers == sum(1 for each in messages if each and each.startswith("alien"))
    assert compare([None] * 5, [Waiting(1, "fresh")]) == ([], 0)


@given(st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=CHAIN_MESSAGES))
def test_nothing_counts_behind_what_may_not_be_stored(outcomes: list[Outcome]) -> None:
    """Proves for any answers to messages that go one by one: those up to the first which is not
    stored stand, and behind it none counts as stored."""
    results = [PublishResult(each, place + 1) for place, each in enumerate(outcomes)]
    told = in_order(results)
    good = [each.is_stored for each in [*results, PublishResult(Outcome.REFUSED)]].index(False)
    assert len(told) == len(results) and told[: good + 1] == results[: good + 1]
    for before, now in zip(results[good:], told[good:], strict=True):
        assert now.outcome is (Outcome.UNKNOWN if before.is_stored else before.outcome)


@given(st.integers(1, CHAIN_MESSAGES + 3), st.integers(0, 9), st.booleans())
def test_each_message_of_a_chain_names_the_one_before_it(
    count: int, end: int, fenced: bool
) -> None:
    """Proves: only a few messages behind a known end go one by one, and each but the first then
    names place and id of the one before it; what is published stays as it was."""
    plain = [_message(f"{number}") for number in range(count)]
    part = [plain[0].behind(end) if fenced else plain[0], *plain[1:]]
    links = chain(part)
    if count > 1 and (count > CHAIN_MESSAGES or not fenced):
        assert not links
        return
    assert [(each.subject, each.payload, each.message_id) for each in links] == [
        (each.subject, each.payload, each.message_id) for each in part
    ]
    for place, link in enumerate(links[1:], start=1):
        assert link.headers[STREAM_FENCE_HEADER] == f"{end + place}"
        assert link.headers[LAST_ID_FENCE_HEADER] == f"{place - 1}"
