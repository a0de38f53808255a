"""The bus against a real nats-server: outcomes of publishing, streams as specified, no hang."""

from __future__ import annotations

import asyncio
import inspect
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import nats.errors
import nats.js.errors
import pytest
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.errors import (
    BusDenied,
    BusError,
    BusRefused,
    BusUnavailable,
    PublishUnknown,
    StreamMismatch,
)
from crossdock_hub.bus.jetstream import PUBLISH_TIMEOUT_SECONDS, Bus, translate
from crossdock_hub.bus.publishing import (
    DUPLICATE_IN_BATCH,
    FENCE_HEADER,
    MAX_BATCH_MESSAGES,
    STREAM_FULL,
    WRONG_LAST_SEQUENCE,
    Message,
    Outcome,
    PublishResult,
    publish_slice,
    slices,
)
from crossdock_hub.bus.streams import (
    StreamLimits,
    StreamSpec,
    delivery_consumer_spec,
    delivery_stream_spec,
    event_stream_spec,
    scan_stream_spec,
)
from fixtures_nats import PATIENCE_SECONDS, NatsProcess, eventually
from hypothesis import given
from hypothesis import strategies as st

# Closing waits for a server that is silent, and not for long.
CLOSING_SECONDS_MAX = 20.0
STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE
REFUSED, UNKNOWN = Outcome.REFUSED, Outcome.UNKNOWN


@pytest.fixture
async def bus(nats_server: NatsProcess) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_server.address)
    yield bus
    await bus.close()


@pytest.fixture
async def stream(bus: Bus) -> AsyncIterator[StreamSpec]:
    """A stream of the test's own, made by the hub's own code."""
    name = f"T{uuid.uuid4().hex[:12]}"
    spec = StreamSpec(name, (f"{name}.>",), "file", "limits", 3600.0, 4 * 1024 * 1024)
    await bus.ensure_streams([spec])
    yield spec
    await bus.delete_stream(name)


def message(stream: StreamSpec, number: int | str, **headers: str) -> Message:
    """The same number is the same message id."""
    return Message(f"{stream.name}.a", b"%d" % hash(number), {"Nats-Msg-Id": str(number)} | headers)


def outcomes(results: list[PublishResult]) -> list[Outcome]:
    return [result.outcome for result in results]


# Publishing


async def test_batch_is_stored_in_order(bus: Bus, stream: StreamSpec) -> None:
    """Proves: more messages than one batch holds are all stored, once, in order, with sequences."""
    messages = [message(stream, number) for number in range(MAX_BATCH_MESSAGES + 7)]
    results = await bus.publish_batch(messages)
    assert set(outcomes(results)) == {STORED}
    assert [result.sequence for result in results] == list(range(1, len(messages) + 1))
    state = await bus.stream_state(stream.name)
    assert state is not None and state.messages == len(messages)
    last = await bus.last_message(stream.name, f"{stream.name}.a")
    assert last is not None and last.headers["Nats-Msg-Id"] == str(MAX_BATCH_MESSAGES + 6)


async def test_known_ids_are_told_apart(bus: Bus, stream: StreamSpec) -> None:
    """Proves: a repeated group says of each message whether it is new; none is stored twice."""
    await bus.publish_batch([message(stream, number) for number in (1, 2, 3)])
    results = await bus.publish_batch([message(stream, number) for number in (1, 2, 3, 4, 5, 6)])
    assert outcomes(results) == [DUPLICATE] * 3 + [STORED] * 3
    assert [result.sequence for result in results] == [1, 2, 3, 4, 5, 6]
    again = await bus.publish_batch([message(stream, number) for number in (1, 2, 3)])
    assert outcomes(again) == [DUPLICATE] * 3
    single = await bus.publish(message(stream, 6))
    assert single.outcome is DUPLICATE
    mixed = [number for pair in zip(range(1, 7), range(11, 17), strict=True) for number in pair]
    alternating = await bus.publish_batch([message(stream, number) for number in mixed])
    assert outcomes(alternating) == [DUPLICATE, STORED] * 6


async def test_fence_is_left_to_the_caller(bus: Bus, stream: StreamSpec) -> None:
    """Proves: a fenced batch is stored only behind its predecessor, and never falls back."""
    fenced = [message(stream, 1, **{FENCE_HEADER: "0"}), message(stream, 2)]
    assert outcomes(await bus.publish_batch(fenced)) == [STORED] * 2
    known = await bus.publish_batch(fenced)
    assert outcomes(known) == [REFUSED] * 2 and known[0].code == DUPLICATE_IN_BATCH
    stale = await bus.publish_batch([message(stream, 3, **{FENCE_HEADER: "1"}), message(stream, 4)])
    assert outcomes(stale) == [REFUSED] * 2 and stale[0].code == WRONG_LAST_SEQUENCE
    with pytest.raises(BusRefused) as refusal:
        await bus.publish(message(stream, 1, **{FENCE_HEADER: "0"}))
    assert refusal.value.code == WRONG_LAST_SEQUENCE
    found = await bus.next_message(stream.name, f"{stream.name}.>", after=0)
    ids = []
    while found:
        ids.append(found.headers["Nats-Msg-Id"])
        found = await bus.next_message(stream.name, f"{stream.name}.>", after=found.sequence)
    assert ids == ["1", "2"]


async def test_full_stream_refuses(bus: Bus, stream: StreamSpec) -> None:
    """Proves: a full stream drops nothing; what did not fit is REFUSED, all of it, in order."""
    large = [replace(message(stream, number), payload=b"x" * 400_000) for number in range(30)]
    results = await bus.publish_batch(large)
    assert set(outcomes(results)) == {REFUSED} and results[0].code == STREAM_FULL
    singles = await bus.publish_window(large)
    stored = outcomes(singles).count(STORED)
    assert 0 < stored < 30
    state = await bus.stream_state(stream.name)
    assert state is not None and state.messages == stored
    assert await bus.purge(stream.name, before_sequence=3) == 2
    assert await bus.purge(stream.name) == stored - 2


async def test_bad_messages_are_refused(bus: Bus, stream: StreamSpec) -> None:
    """Proves: no stream, bad subject, bad header, too large: REFUSED with a reason, no hang."""
    good = message(stream, 1)
    bad = [
        Message(f"nowhere.{stream.name}", b""),
        replace(good, subject="with blank"),
        replace(good, headers={"bad header": "x"}),
        replace(good, payload=b"x" * 5_000_000),
    ]
    results = await bus.publish_window([*bad, good])
    assert outcomes(results) == [REFUSED] * 4 + [STORED]
    assert all(result.reason for result in results[:4])
    assert outcomes(await bus.publish_batch([good, bad[1], message(stream, 2)])) == [REFUSED] * 3
    assert await bus.publish_batch([]) == [] and await bus.publish_window([]) == []


async def test_many_publishers_share_the_window(bus: Bus, stream: StreamSpec) -> None:
    """Proves: far more messages than may be in flight, from several callers, all get answers."""
    groups = [
        [message(stream, f"{group}-{number}") for number in range(1_000)] for group in range(3)
    ]
    done = await asyncio.gather(*(bus.publish_window(group, 20) for group in groups))
    assert {outcome for results in done for outcome in outcomes(results)} == {STORED}
    assert len({result.sequence for results in done for result in results}) == 3_000


# Losing the server


async def test_lost_answer_is_unknown_and_repeatable(own_nats_server: NatsProcess) -> None:
    """Proves: a frozen server yields UNKNOWN; with a lost connection nothing is sent late or twice;
    after a restart the repeat tells what was stored."""
    bus = await Bus.connect(own_nats_server.address)
    spec = StreamSpec("S", ("S.>",), "file", "limits", 3600.0, 4 * 1024 * 1024)
    await bus.ensure_streams([spec])
    group = [message(spec, number) for number in range(5)]
    own_nats_server.freeze()
    assert outcomes(await bus.publish_batch(group, timeout_seconds=0.2)) == [UNKNOWN] * 5
    with pytest.raises(PublishUnknown):
        pending = asyncio.create_task(bus.publish(message(spec, 9)))
        await asyncio.sleep(0)
        own_nats_server.kill()
        await asyncio.wait_for(pending, PATIENCE_SECONDS)
    await eventually(lambda: not bus.health.ok, "the red light")
    since = bus.health.since
    with pytest.raises(BusUnavailable):
        await bus.publish_batch(group)
    with pytest.raises(BusUnavailable):
        await bus.stream_state("S")
    assert not await bus.notify("x")
    own_nats_server.start()
    await eventually(lambda: bus.health.ok, "the reconnect")
    assert bus.health.since > since
    results = await bus.publish_batch(group)
    assert all(result.is_stored for result in results)
    state = await bus.stream_state("S")
    assert state is not None and state.messages in (5, 6)
    await bus.close()


async def test_nothing_is_kept_for_a_lost_connection(own_nats_server: NatsProcess) -> None:
    """Proves: what is published between the loss of a connection and its discovery is refused by
    the client itself, and does not reach the server when it is back, as it does by default."""
    bus = await Bus.connect(own_nats_server.address)
    spec = StreamSpec("S", ("S.>",), "file", "limits", 3600.0, 4 * 1024 * 1024)
    await bus.ensure_streams([spec])
    own_nats_server.kill()
    await eventually(lambda: not bus.health.ok, "the red light")
    # Past the bus's own look at the connection, which may be older than the loss.
    with pytest.raises(nats.errors.OutboundBufferLimitError):
        await bus._client.publish("S.late", b"nobody expects it any more")
    own_nats_server.start()
    await eventually(lambda: bus.health.ok, "the reconnect")
    assert (await bus.publish(message(spec, 1))).sequence == 1
    await bus.close()


async def test_close_never_hangs(own_nats_server: NatsProcess) -> None:
    """Proves: closing takes seconds at most, whether the server lives, is frozen, or is gone."""
    living, frozen, orphaned = [await Bus.connect(own_nats_server.address) for _ in range(3)]
    await living.close()
    await living.close()
    own_nats_server.freeze()
    started = time.monotonic()
    await frozen.close()
    own_nats_server.kill()
    await eventually(lambda: not orphaned.health.ok)
    await orphaned.close()
    assert time.monotonic() - started < CLOSING_SECONDS_MAX
    with pytest.raises(BusUnavailable):
        await orphaned.publish_batch([Message("x", b"")])


async def test_connecting_has_a_limit(nats_server: NatsProcess) -> None:
    """Proves: nobody there is BusUnavailable in time, wrong credentials are BusDenied at once."""
    with pytest.raises(BusUnavailable, match="does not answer within"):
        await Bus.connect(BusAddress("nats://127.0.0.1:9"), timeout_seconds=0.5)
    started = time.monotonic()
    wrong = BusAddress(nats_server.address.url, "crossdock-hub", "wrong-password")
    with pytest.raises(BusDenied) as denied:
        await Bus.connect(wrong, timeout_seconds=60)
    assert time.monotonic() - started < 30
    assert "wrong-password" not in str(denied.value)


async def test_closed_hook(own_nats_server: NatsProcess) -> None:
    """Proves: a connection given up for good tells its owner; closing it ourselves does not."""
    told: list[str] = []
    bus = await Bus.connect(own_nats_server.address, on_closed=told.append)
    await bus._client._process_err("'invalid client protocol'")
    await eventually(lambda: told, "the hook")
    await bus.close()
    quiet = await Bus.connect(own_nats_server.address, on_closed=told.append)
    await quiet.close()
    assert len(told) == 1


async def test_missing_permission_is_named(own_nats_server: NatsProcess) -> None:
    """Proves: a subject we may not use is BusDenied at once, not a time-out; others still work."""
    bus = await Bus.connect(own_nats_server.address)
    await bus.ensure_streams([delivery_stream_spec("ups", StreamLimits())])
    await bus.ensure_consumer(delivery_consumer_spec("ups", StreamLimits()))
    address = own_nats_server.address_of("ups")
    adapter = await Bus.connect(address, inbox_prefix="_INBOX_ups")
    started = time.monotonic()
    with pytest.raises(BusDenied, match=r"no permission for crossdock\.v1\.delivery\.ups"):
        await adapter.publish(Message("crossdock.v1.delivery.ups", b""))
    with pytest.raises(BusDenied):
        await adapter.delete_stream("CROSSDOCK_V1_DELIVERY_ups")
    assert time.monotonic() - started < PUBLISH_TIMEOUT_SECONDS
    assert await adapter.pending("CROSSDOCK_V1_DELIVERY_ups", "ups") == 0
    await adapter.close()
    await bus.close()


# Streams


async def test_hub_streams_are_made_and_kept(own_nats_server: NatsProcess) -> None:
    """Proves: the specified streams and consumers are made exactly so, and making them again,
    or after a restart, changes nothing."""
    limits = StreamLimits()
    specs = [event_stream_spec(limits), scan_stream_spec(limits)]
    specs.append(delivery_stream_spec("netsuite", limits))
    back = asyncio.Event()
    bus = await Bus.connect(own_nats_server.address, on_reconnected=back.set)
    for _ in range(2):
        await bus.ensure_streams(specs)
        await bus.ensure_consumer(delivery_consumer_spec("netsuite", limits))
    event = Message("crossdock.v1.event.order.approved.3", b"e", {"Nats-Msg-Id": "e1"})
    work = Message("crossdock.v1.delivery.netsuite", b"w", {"Nats-Msg-Id": "w1"})
    assert (await bus.publish(event)).sequence == 1
    assert (await bus.publish(work)).sequence == 1
    assert await bus.pending(specs[2].name, "netsuite") == 1
    own_nats_server.restart()
    await asyncio.wait_for(back.wait(), PATIENCE_SECONDS)
    await bus.ensure_streams(specs)
    await bus.ensure_consumer(delivery_consumer_spec("netsuite", limits))
    kept = await bus.stream_state(specs[0].name)
    assert kept is not None and kept.messages == 1
    assert await bus.pending(specs[2].name, "netsuite") == 0, "work lies in memory"
    assert await bus.delete_consumer(specs[2].name, "netsuite")
    assert await bus.pending(specs[2].name, "netsuite") is None
    await bus.close()


@pytest.mark.parametrize(
    "drift",
    [
        {"discard": "old"},
        {"max_msgs_per_subject": 1},
        {"max_age": 1_000_000_000},
        {"duplicate_window": 500_000_000},
        {"allow_atomic": False},
        {"allow_rollup_hdrs": True},
        {"max_msg_size": 10},
        {"no_ack": True},
        {"subjects": ["{name}.other"]},
        {"republish": {"src": "{name}.>", "dest": "elsewhere.>"}},
    ],
    ids=lambda drift: next(iter(drift)),
)
async def test_drift_is_corrected(bus: Bus, stream: StreamSpec, drift: dict[str, object]) -> None:
    """Proves: a setting that silently drops or misleads is put right, without losing a message."""
    await bus.publish(message(stream, 1))
    spoiled = eval(repr(drift).replace("{name}", stream.name))
    spoiled.setdefault("duplicate_window", 500_000_000)
    await bus.call_api(f"STREAM.UPDATE.{stream.name}", stream.configuration() | spoiled)
    assert await _differs(bus, stream)
    await bus.ensure_streams([stream])
    assert not await _differs(bus, stream)
    if "max_age" not in drift:
        assert (await bus.publish(message(stream, 1))).outcome in (STORED, DUPLICATE)
        state = await bus.stream_state(stream.name)
        assert state is not None and state.messages >= 1


async def _differs(bus: Bus, spec: StreamSpec) -> bool:
    from crossdock_hub.bus.streams import stream_differences

    told = await bus.call_api(f"STREAM.INFO.{spec.name}")
    return bool(told and stream_differences(spec, told["config"]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"storage": "memory"},
        {"retention": "workqueue"},
        {"deny_purge": True},
        {"persist_mode": "async", "allow_atomic": False},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_dangerous_drift_is_refused(bus: Bus, wrong: dict[str, object]) -> None:
    """Proves: a stream whose kind is wrong is refused in one sentence, and left alone; one that the
    ledger can fill again is made anew."""
    name = f"T{uuid.uuid4().hex[:12]}"
    spec = StreamSpec(name, (f"{name}.>",), "file", "limits", 3600.0, 4 * 1024 * 1024)
    await bus.call_api(f"STREAM.CREATE.{name}", spec.configuration() | wrong)
    await bus.publish(message(spec, 1))
    with pytest.raises(StreamMismatch) as refusal:
        await bus.ensure_streams([spec])
    assert name in str(refusal.value) and next(iter(wrong)) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    state = await bus.stream_state(name)
    assert state is not None and state.messages == 1
    await bus.ensure_streams([replace(spec, rebuildable=True)])
    state = await bus.stream_state(name)
    assert state is not None and state.messages == 0
    await bus.delete_stream(name)


async def test_foreign_stream_on_our_subjects(bus: Bus, stream: StreamSpec) -> None:
    """Proves: another stream that has our subjects is named as the problem."""
    other = replace(stream, name=f"{stream.name}x")
    with pytest.raises(StreamMismatch, match="another stream has"):
        await bus.ensure_streams([other])


async def test_consumer_drift(bus: Bus) -> None:
    """Proves: a consumer with other limits is corrected, one of another kind is made anew."""
    endpoint = f"e{uuid.uuid4().hex[:8]}"
    spec = delivery_consumer_spec(endpoint, StreamLimits())
    await bus.ensure_streams([delivery_stream_spec(endpoint, StreamLimits())])
    await bus.ensure_consumer(spec)
    other = delivery_consumer_spec(endpoint, StreamLimits(ack_wait_seconds=5.0, max_ack_pending=7))
    await bus.ensure_consumer(other)
    await bus.ensure_consumer(replace(other, max_waiting_pulls=3))
    with pytest.raises(StreamMismatch):
        await bus.ensure_consumer(replace(other, rebuildable=False))
    await bus.delete_stream(spec.stream)


# Core NATS


async def test_wake_ups(bus: Bus, nats_server: NatsProcess) -> None:
    """Proves: who listens hears; who stopped does not; nobody listening is no error."""
    subject = f"wake.{uuid.uuid4().hex}"
    heard: list[tuple[str, bytes]] = []
    listener = await bus.listen(f"{subject}.*", lambda *told: heard.append(told))
    assert await bus.notify(f"{subject}.relay", b"now")
    await eventually(lambda: heard == [(f"{subject}.relay", b"now")], "the wake-up")
    await listener.stop()
    await listener.stop()
    assert await bus.notify(f"{subject}.relay", b"later")
    assert await bus.round_trip_seconds() < 5
    assert len(heard) == 1
    with pytest.raises(BusUnavailable, match="nobody answers"):
        await bus.ask(subject, b"?")
    with pytest.raises(BusRefused):
        await bus.listen("with blank", lambda *_: None)


# Errors and pure parts


def nats_errors() -> list[type[Exception]]:
    modules = (nats.errors, nats.js.errors)
    found = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, nats.errors.Error)
    }
    return sorted(found, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", nats_errors(), ids=lambda kind: kind.__name__)
def test_no_error_of_nats_escapes(kind: type[Exception]) -> None:
    """Proves: every exception nats-py has becomes one of ours, with a text."""
    error = kind.__new__(kind)
    for name in ("description", "err_code", "code", "key", "_msg", "subject", "sid", "sub"):
        error.__dict__.setdefault(name, None)
    error.__dict__.setdefault("message", None)
    for name in ("consumer_sequence", "last_consumer_sequence", "stream_resume_sequence"):
        error.__dict__.setdefault(name, 1)
    ours = translate(error, "testing")
    assert isinstance(ours, BusError) and str(ours).startswith("testing: ")
    assert len(nats_errors()) > 40


@given(st.lists(st.integers(0, 3_000_000), max_size=40))
def test_slices_keep_all_in_order(sizes: list[int]) -> None:
    """Proves: slices join to what was given, none is empty, all but single giants fit the limit."""
    messages = [Message(str(place), bytes(size)) for place, size in enumerate(sizes)]
    parts = list(slices(messages))
    assert [message for part in parts for message in part] == messages
    for part in parts:
        assert 0 < len(part) <= MAX_BATCH_MESSAGES
        assert len(part) == 1 or sum(len(message.payload) for message in part) <= 8 * 1024 * 1024


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
async def test_order_survives_any_mixture(cases: list[tuple[bool, bool]]) -> None:
    """Proves: whatever is known and whatever is refused, nothing is stored behind a gap."""
    known = {str(place) for place, (is_known, _) in enumerate(cases) if is_known}
    broken = {str(place) for place, (_, is_broken) in enumerate(cases) if is_broken}
    stored: list[str] = []

    async def commit(part: object) -> list[PublishResult]:
        assert isinstance(part, list)
        ids = [each.subject for each in part]
        if len(ids) == 1 and ids[0] in known:
            return [PublishResult(DUPLICATE)]
        if known & set(ids):
            return [PublishResult(REFUSED, 0, DUPLICATE_IN_BATCH)] * len(ids)
        if broken & set(ids):
            return [PublishResult(UNKNOWN)] * len(ids)
        known.update(ids)
        stored.extend(ids)
        return [PublishResult(STORED)] * len(ids)

    before = set(known)
    results = await publish_slice([Message(str(place), b"") for place in range(len(cases))], commit)
    assert len(results) == len(cases)
    ends = [result.is_stored for result in results]
    assert ends == sorted(ends, reverse=True), "a gap"
    assert [str(place) for place, end in enumerate(ends) if end and str(place) not in before] == (
        stored
    )
