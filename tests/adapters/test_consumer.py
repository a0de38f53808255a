"""The SDK's pull consumer against a real nats-server: everything arrives, whatever happens."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from crossdock_adapters.sdk import consumer as consumer_module
from crossdock_adapters.sdk.bus_credentials import BusCredentials, BusCredentialsError
from crossdock_adapters.sdk.consumer import PullConsumer, PulledMessage
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import Message
from crossdock_hub.bus.streams import (
    ConsumerSpec,
    StreamLimits,
    StreamSpec,
    delivery_consumer_spec,
    delivery_stream_spec,
)
from fixtures_nats import PATIENCE_SECONDS, NatsProcess, eventually

MIB = 1024 * 1024
SOON_SECONDS = 20.0
CLOSING_SECONDS_MAX = 20.0
# A consumer is bound after some 3 ms; the steps reach beyond that.
STOPPING_STEPS = 400
STOPPING_STEP_SECONDS = 0.000_025
STOPPING_SECONDS_MAX = 10.0


class Queue:
    """A work queue with one durable consumer, and a hub's hand to fill it."""

    def __init__(self, bus: Bus, address: BusAddress, storage: str = "memory") -> None:
        name = f"Q{uuid.uuid4().hex[:10]}"
        self.bus, self.address = bus, address
        self.stream = StreamSpec(name, (name,), storage, "workqueue", 600.0, 64 * MIB)
        self.consumer = ConsumerSpec(name, "me", name, 15.0, 10_000, 20)

    async def make(self, **changes: object) -> Queue:
        self.consumer = replace(self.consumer, **changes)  # type: ignore[arg-type]
        await self.bus.ensure_streams([self.stream])
        await self.bus.ensure_consumer(self.consumer)
        return self

    async def fill(self, count: int, start: int = 0) -> None:
        numbers = range(start, start + count)
        messages = [
            Message(self.stream.name, b"%d" % number, {"Nats-Msg-Id": f"{number}", "Number": "n"})
            for number in numbers
        ]
        assert all(result.is_stored for result in await self.bus.publish_batch(messages))

    async def pending(self) -> int | None:
        return await self.bus.pending(self.stream.name, "me")

    async def unanswered(self) -> int:
        told = await self.bus.call_api(f"CONSUMER.INFO.{self.stream.name}.me")
        assert told is not None
        return int(told["num_ack_pending"])

    def reader(self, **options: object) -> PullConsumer:
        who = BusCredentials(self.address.user, self.address.password)
        options = {"stream": self.stream.name, "durable": "me"} | options
        return PullConsumer(self.address.url, who, **options)  # type: ignore[arg-type]


@pytest.fixture
async def queue(nats_server: NatsProcess) -> AsyncIterator[Queue]:
    bus = await Bus.connect(nats_server.address)
    queue = Queue(bus, nats_server.address)
    yield await queue.make()
    await bus.delete_stream(queue.stream.name)
    await bus.close()


@pytest.fixture
async def own_queue(own_nats_server: NatsProcess) -> AsyncIterator[Queue]:
    """On a server that the test may kill; the stream outlives it."""
    bus = await Bus.connect(own_nats_server.address)
    yield await Queue(bus, own_nats_server.address, "file").make()
    await bus.close()


async def soon(reader: PullConsumer, seconds: float = PATIENCE_SECONDS) -> PulledMessage:
    message = await asyncio.wait_for(reader.next(), seconds)
    assert message is not None
    return message


async def drained(reader: PullConsumer, count: int, seconds: float = 60.0) -> list[int]:
    """Numbers in the order they came, each acknowledged."""
    got: list[int] = []
    async with asyncio.timeout(seconds):
        async for batch in reader.batches(100):
            got += [int(message.data) for message in batch]
            await reader.ack_many(batch)
            if len(set(got)) >= count:
                break
    return got


async def test_everything_arrives_once_in_order(queue: Queue) -> None:
    """Proves: many times the prefetch arrives complete and in order, and is acknowledged."""
    await queue.fill(3_000)
    async with queue.reader(prefetch=200) as reader:
        assert await drained(reader, 3_000) == list(range(3_000))
        await eventually(lambda: _is(queue.pending(), 0), "the last acknowledgement")
        assert reader.bindings == 1 and reader.trouble == ""


async def test_single_messages(queue: Queue) -> None:
    """Proves: messages that come one by one are handed out at once, with headers and counts."""
    async with queue.reader(prefetch=1) as reader:
        for number in range(5):
            waiting = asyncio.create_task(soon(reader))
            await queue.fill(1, start=number)
            message = await waiting
            assert message.data == b"%d" % number and message.headers["Number"] == "n"
            assert (message.delivery_count, message.stream_sequence) == (1, number + 1)
            await message.ack()


async def test_prefetch_is_a_limit(queue: Queue) -> None:
    """Proves: what is not taken stays on the bus beyond the prefetch, where others can get it."""
    await queue.fill(100)
    async with queue.reader(prefetch=8) as slow:
        first = await soon(slow)
        async with queue.reader(prefetch=500) as quick:
            rest = await asyncio.wait_for(_take(quick, 100 - 1 - 8 - 4), PATIENCE_SECONDS)
        assert int(first.data) not in rest
        assert len(slow._buffer) <= 8


async def _take(reader: PullConsumer, count: int) -> list[int]:
    taken: list[int] = []
    while len(taken) < count:
        message = await soon(reader)
        taken.append(int(message.data))
        await message.ack()
    return taken


async def test_batches_linger(queue: Queue) -> None:
    """Proves: a list waits for company up to the limit, never longer, and never grows beyond."""
    async with queue.reader() as reader:
        await queue.fill(2)
        pending = asyncio.ensure_future(anext(reader.batches(5, linger_seconds=PATIENCE_SECONDS)))
        await eventually(lambda: len(reader._buffer) == 2)
        await queue.fill(4, start=2)
        assert len(await pending) == 5
        started = time.monotonic()
        assert len(await anext(reader.batches(5, linger_seconds=0.5))) == 1
        assert 0.4 < time.monotonic() - started < 20


async def test_answers(queue: Queue) -> None:
    """Proves: nak brings a message back now or later, in_progress keeps it away."""
    await queue.make(ack_wait_seconds=4.0)
    await queue.fill(3)
    async with queue.reader(prefetch=3) as reader:
        now, later, kept = [await soon(reader) for _ in range(3)]
        await later.nak(delay_seconds=2.0)
        await now.nak()
        again = await soon(reader)
        assert again.data == now.data and again.delivery_count == 2
        await again.ack()
        started = time.monotonic()

        async def ack_wait_is_over() -> bool:
            await kept.in_progress()
            return time.monotonic() - started > 5.0

        await eventually(ack_wait_is_over, "more than the wait for an acknowledgement")
        await kept.ack()
        last = await soon(reader)
        assert last.data == later.data and last.delivery_count >= 2
        await last.ack()
        await eventually(lambda: _is(queue.pending(), 0), "all answers")


async def test_what_waited_too_long_is_not_handed_out(queue: Queue) -> None:
    """Proves: a message that the server sends again is not handed out from the buffer as well."""
    await queue.make(ack_wait_seconds=0.3)
    await queue.fill(3)
    async with queue.reader() as reader:
        first = await soon(reader)
        await first.ack()
        acked = time.monotonic()
        await eventually(lambda: time.monotonic() - acked > 0.4, "what waits to be too old")
        second = await soon(reader)
        assert second.delivery_count >= 2


# Losing things


async def test_restarts_lose_nothing(own_queue: Queue, own_nats_server: NatsProcess) -> None:
    """Proves: kill -9 of the server, twice, in the middle: everything arrives, soon after."""
    await own_queue.make(ack_wait_seconds=1.0)
    await own_queue.fill(2_000)
    got: set[int] = set()
    async with own_queue.reader(prefetch=100) as reader:
        for share in (500, 1_200, 2_000):
            async with asyncio.timeout(60):
                async for batch in reader.batches(50):
                    got |= {int(message.data) for message in batch}
                    await reader.ack_many(batch)
                    if len(got) >= share:
                        break
            if share < 2_000:
                own_nats_server.kill()
                await eventually(lambda: "connection" in reader.trouble, "trouble")
                own_nats_server.start()
                back = time.monotonic()
                await eventually(lambda: not reader.trouble, "the end of trouble")
                assert time.monotonic() - back < SOON_SECONDS
        assert got == set(range(2_000))
        # What was acknowledged right before a kill comes again: the server had not written it.
        again = asyncio.create_task(drained(reader, 2_001, 60))
        await eventually(lambda: _is(own_queue.pending(), 0), "nothing left")
        again.cancel()


async def test_consumer_is_waited_for(queue: Queue) -> None:
    """Proves: a consumer that is missing, deleted or made anew is waited for, and bound again."""
    await queue.bus.delete_consumer(queue.stream.name, "me")
    async with queue.reader() as reader:
        await eventually(lambda: "consumer not found" in reader.trouble, "the first trouble")
        await queue.make()
        await queue.fill(1)
        await (await soon(reader)).ack()
        await eventually(lambda: _is(queue.pending(), 0), "the acknowledgement")
        assert reader.trouble == ""
        await queue.bus.delete_consumer(queue.stream.name, "me")
        await eventually(lambda: reader.trouble, "the second trouble")
        await queue.make()
        await queue.fill(1, start=1)
        assert (await soon(reader)).data == b"1"
        await queue.bus.delete_stream(queue.stream.name)
        await eventually(lambda: "stream not found" in reader.trouble, "the third trouble")
        await queue.make()
        await queue.fill(1, start=2)
        assert (await soon(reader)).data == b"2"


async def test_bus_is_waited_for(own_queue: Queue, own_nats_server: NatsProcess) -> None:
    """Proves: an adapter may be started before the bus."""
    own_nats_server.kill()
    async with own_queue.reader() as reader:
        waiting = asyncio.create_task(soon(reader))
        await eventually(lambda: "no connection" in reader.trouble, "trouble")
        own_nats_server.start()
        await eventually(lambda: own_queue.bus.health.ok)
        await own_queue.fill(1)
        assert (await waiting).data == b"0"


async def test_silence_is_noticed(own_queue: Queue, own_nats_server: NatsProcess) -> None:
    """Proves: a server that is silent on an open connection is trouble, and not for ever."""
    async with own_queue.reader(heartbeat_seconds=0.2) as reader:
        await eventually(lambda: reader.bindings)
        own_nats_server.freeze()
        await eventually(lambda: "no word" in reader.trouble, "trouble")
        own_nats_server.thaw()
        await own_queue.fill(1)
        assert (await soon(reader)).data == b"0"
        await eventually(lambda: not reader.trouble, "the end of trouble")


async def test_connection_given_up(queue: Queue) -> None:
    """Proves: a client that nats-py closes for good is replaced."""
    await queue.make(ack_wait_seconds=1.0)
    async with queue.reader() as reader:
        await eventually(lambda: reader.bindings == 1)
        assert reader._client is not None
        await reader._client._process_err("'invalid client protocol'")
        await queue.fill(1)
        assert (await soon(reader)).data == b"0"


async def test_idle_requests_are_renewed(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves: requests that end unserved are made again, without binding again."""
    monkeypatch.setattr(consumer_module, "PULL_SECONDS", 2.0)
    async with queue.reader() as reader:
        ended = 0

        async def counted(message: object, binding: int) -> None:
            nonlocal ended
            ended += getattr(message, "headers", {}).get("Status") == "408"
            await status(message, binding)  # type: ignore[arg-type]

        status = reader._status
        reader._status = counted  # type: ignore[method-assign]
        await eventually(lambda: ended >= 3, "three ends")
        await queue.fill(1)
        assert (await soon(reader)).data == b"0"
        assert reader.bindings == 1 and reader.trouble == ""


# Stopping


async def test_stop_gives_back(queue: Queue) -> None:
    """Proves: after stop nothing is handed out, what was fetched is others' at once, and what was
    handed out before can still be acknowledged."""
    # What was handed out does not come again while the others work.
    await queue.make(ack_wait_seconds=120.0)
    await queue.fill(50)
    first = queue.reader(prefetch=50)
    await first.start()
    mine = await soon(first)
    await eventually(lambda: len(first._buffer) == 49)
    waiting = asyncio.create_task(_until_end(first))
    await first.stop()
    assert await waiting == 0 and await first.next() is None
    async with queue.reader() as second:
        others = await asyncio.wait_for(_take(second, 49), PATIENCE_SECONDS)
        assert sorted([*others, int(mine.data)]) == list(range(50))
        await eventually(lambda: _is(queue.pending(), 1), "the others' acknowledgements")
        await mine.ack()
        await eventually(lambda: _is(queue.pending(), 0), "the late acknowledgement")
    await first.close()
    await first.close()
    await mine.ack()


async def _until_end(reader: PullConsumer) -> int:
    return len([message async for batch in reader.batches() for message in batch])


async def test_close_never_hangs(own_queue: Queue, own_nats_server: NatsProcess) -> None:
    """Proves: closing takes seconds at most with a frozen, dead, or never seen server."""
    frozen, dead, never = (own_queue.reader() for _ in range(3))
    for reader in (frozen, dead):
        await reader.start()
    await eventually(lambda: frozen.bindings == dead.bindings == 1)
    started = time.monotonic()
    own_nats_server.freeze()
    await frozen.close()
    own_nats_server.kill()
    await never.start()
    await asyncio.gather(dead.close(), never.close())
    assert time.monotonic() - started < CLOSING_SECONDS_MAX


async def test_a_stop_at_any_moment_ends(queue: Queue) -> None:
    """Proves that a consumer which is stopped while it connects and binds ends, whatever it was
    waiting for: nats-py misses a cancellation that comes together with an answer."""
    for step in range(STOPPING_STEPS):
        reader = await queue.reader().start()
        await asyncio.sleep(step * STOPPING_STEP_SECONDS)
        async with asyncio.timeout(STOPPING_SECONDS_MAX):
            await reader.close()


# Permissions and credentials


async def test_restricted_user_suffices(own_nats_server: NatsProcess) -> None:
    """Proves: an endpoint's own user can consume its work, but not another endpoint's."""
    bus = await Bus.connect(own_nats_server.address)
    for endpoint in ("ups", "netsuite"):
        await bus.ensure_streams([delivery_stream_spec(endpoint, StreamLimits())])
        await bus.ensure_consumer(delivery_consumer_spec(endpoint, StreamLimits()))
    who = own_nats_server.address_of("ups")
    credentials = BusCredentials(who.user, who.password)
    await bus.publish(Message("crossdock.v1.delivery.ups", b"work", {"Nats-Msg-Id": "1"}))
    mine = PullConsumer(who.url, credentials, stream="CROSSDOCK_V1_DELIVERY_ups", durable="ups")
    async with mine:
        await (await soon(mine)).ack()
        await eventually(lambda: _is(bus.pending("CROSSDOCK_V1_DELIVERY_ups", "ups"), 0))
    foreign = PullConsumer(
        who.url,
        credentials,
        stream="CROSSDOCK_V1_DELIVERY_netsuite",
        durable="netsuite",
        inbox_prefix="_INBOX_ups",
    )
    async with foreign:
        await eventually(lambda: "permissions violation" in foreign.trouble, "the refusal")
    await bus.close()


def test_credentials_files(tmp_path: Path) -> None:
    """Proves: three kinds of file are understood; others are refused without quoting them."""
    file = tmp_path / "bus"
    file.write_text(json.dumps({"user": "ups", "password": "s3cret"}))
    read = BusCredentials.read(file)
    assert (read.user, read.password) == ("ups", "s3cret") and "s3cret" not in repr(read)
    file.write_text("SUAFAKESEED\n")
    assert BusCredentials.read(file).client_options() == {"nkeys_seed_str": "SUAFAKESEED"}
    file.write_text("-----BEGIN NATS USER JWT-----\nx\n")
    assert BusCredentials.read(file).client_options() == {"user_credentials": str(file)}
    file.write_text("s3cret and more")
    with pytest.raises(BusCredentialsError) as refusal:
        BusCredentials.read(file)
    assert "s3cret" not in str(refusal.value) and str(file) in str(refusal.value)
    with pytest.raises(BusCredentialsError):
        BusCredentials.read(tmp_path / "missing")


async def _is(asked: object, expected: object) -> bool:
    return bool(await asked == expected)  # type: ignore[misc]
