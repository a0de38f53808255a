"""What nats-py and grpc.aio do by themselves, and must not; docs/reliability.md lists each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from crossdock import client
from crossdock.errors import ConfigurationError
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock_hub.arrivals import Arrivals
from crossdock_hub.bus import jetstream
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.config import Limits, Settings
from crossdock_hub.door.calls import HEARD_OUT_MAX
from crossdock_hub.door.server import LOOK_SECONDS, LOOKS_AT_NONE, Server, channel_options
from crossdock_hub.identity import Identities
from crossdock_hub.reading.tailing import Tails
from decisions import OPERATOR
from first_flow import Flow, order
from fixtures_hub import RunningHub
from fixtures_nats import PATIENCE_SECONDS, NatsProcess, eventually, free_port
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from stored_flow import Books, books
from story import create_order
from structlog.testing import capture_logs

__all__ = ["books"]

MEBIBYTE = 1 << 20
CANCELLED_STREAMS = 300
PINGS_ALLOWED = "grpc.http2.min_ping_interval_without_data_ms"
# Some pings, one a second; the third that comes too early ends a connection and its streams.
IDLE_SECONDS = 6.0
REFUSED_STREAMS, TOGETHER = 200, 8
HALF_OPEN_SECONDS_MAX = 20.0
LINEAGE = "crossdock.lineage.v1.LineageService"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SCAN_STREAM = "/crossdock.tracking.v1.TrackingService/StreamTrackingEvents"
STALLED_QUEUE, STALLED_EVENTS = 50, 2_000
BURST = 2_000
FOLLOWED = Flow()
FOLLOWED.approve(FOLLOWED.create(order("SO-1")).id)


async def test_two_servers_never_share_a_port() -> None:
    """Proves that the port is bound without SO_REUSEPORT: the second server is refused, even where
    it did not look before, instead of getting half of the calls."""
    settings = Settings(listen=f"127.0.0.1:{free_port()}")
    first, second = (
        Server(settings, Limits(), (), (), Identities({}), Arrivals()) for _ in range(2)
    )
    await first.start()
    try:
        with pytest.raises(ConfigurationError, match="another process has it"):
            await second.start()
    finally:
        await first.drain()
        await second.drain()


async def test_pings_of_idle_clients_are_allowed() -> None:
    """Proves that the server allows our client's keepalive of 30 s, on idle connections too, which
    by default it answers with GOAWAY: by its own option, which here allows quicker ones."""
    options = dict(channel_options(Limits()))
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options[PINGS_ALLOWED] <= client.KEEPALIVE_MILLISECONDS == 30_000
    assert options["grpc.max_connection_age_ms"] == 30 * 60_000
    server = grpc.aio.server(options=tuple((options | {PINGS_ALLOWED: 10}).items()))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pinging = [
        ("grpc.keepalive_time_ms", 1_000),
        ("grpc.keepalive_timeout_ms", 30_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=pinging) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(watch.read(), IDLE_SECONDS)
    finally:
        await server.stop(None)


async def test_a_refused_stream_is_told_why(hub: RunningHub) -> None:
    """Proves that callers whose stream is refused while they send are told the hub's reason, and
    not INTERNAL by their own library because their write met an ended call."""

    async def upload(channel: grpc.aio.Channel) -> grpc.StatusCode:
        start: Any = channel.stream_stream(SCAN_STREAM)
        call = start(iter([b""]), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        return refused.value.code()

    async with grpc.aio.insecure_channel(hub.address) as channel:
        codes: set[grpc.StatusCode] = set()
        for _ in range(REFUSED_STREAMS // TOGETHER):
            codes.update(await asyncio.gather(*(upload(channel) for _ in range(TOGETHER))))
    assert codes == {grpc.StatusCode.UNAUTHENTICATED}


async def test_nobody_is_heard_out_for_long(hub: RunningHub) -> None:
    """Proves that a refused caller who keeps its stream open is told why all the same, and so are
    more of them at once than are heard out."""
    async with grpc.aio.insecure_channel(hub.address) as channel:
        start: Any = channel.stream_stream(SCAN_STREAM)
        calls = [start(timeout=20) for _ in range(HEARD_OUT_MAX + 16)]
        codes = await asyncio.gather(*(call.code() for call in calls))
    assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}


async def test_what_a_stranger_sends_is_not_read(hub: RunningHub) -> None:
    """Proves that bytes that are no message, sent without a token to a stream of the library's own
    service, get the refusal and no words of an exception."""
    async with grpc.aio.insecure_channel(hub.address) as channel:
        reflected: Any = channel.stream_stream(REFLECTION)
        call = reflected(iter([bytes([255]) * 3]), timeout=20)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "DecodeError" not in await call.details()


async def test_cancelled_streams_leave_nothing(own_hub: RunningHub) -> None:
    """Proves that hundreds of streams, opened and cancelled, leave no memory and no follower
    behind, and that the hub goes on serving."""
    async with own_hub.client("operator") as operator, own_hub.client("oms") as oms:
        for round_number in range(2):
            for _ in range(CANCELLED_STREAMS // 2):
                stream = operator.lineage.Tail(lineage_service_pb2.TailRequest())
                reading = asyncio.ensure_future(anext(aiter(stream)))
                await asyncio.sleep(0)
                reading.cancel()
                stream.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            await oms.orders.CreateOrder(create_order())
            if round_number == 0:
                before = own_hub.resident_bytes()
        assert own_hub.resident_bytes() - before < 16 * MEBIBYTE
    assert own_hub.stop() == 0


async def test_a_reader_that_stalls_halts_its_own_stream_only(books: Books) -> None:
    """Proves over a socket that what is written for a reader who reads no more stops when the
    connection holds no more, that its queue stays within its limit, that another reader is told
    everything meanwhile, and that the first, when it reads on, is told how many it missed."""
    tails = Tails(books.reader, Limits(tail_queue_max=STALLED_QUEUE))
    events = [replace(FOLLOWED.events[0], revision=number) for number in range(STALLED_EVENTS)]
    async with serving(tails) as address, follower(address) as slow, follower(address) as quick:
        await eventually(lambda: len(tails) == 2, "both follow")
        tails.publish(events[:1], [])
        await asyncio.gather(slow.read(), quick.read())
        told = 1
        for start in range(1, len(events), STALLED_QUEUE):
            part = events[start : start + STALLED_QUEUE]
            tails.publish(part, [])
            for _ in part:
                entry = await asyncio.wait_for(quick.read(), PATIENCE_SECONDS)
                assert entry.event.revision == told
                told += 1
        (stalled,) = [each for each in tails._subscribers if each.dropped]
        assert len(stalled.entries) <= STALLED_QUEUE + 1
        taken, dropped = 1, 0
        while taken + dropped < STALLED_EVENTS:
            entry = await asyncio.wait_for(slow.read(), PATIENCE_SECONDS)
            if entry.HasField("event"):
                assert entry.event.revision == taken + dropped, "the gap is told in its place"
                taken += 1
            dropped += entry.dropped
        assert dropped > STALLED_EVENTS // 4


async def test_no_method_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that neither health nor reflection registers its methods with grpc, whose stop then
    loses calls that come at that moment, and that both are served."""
    registered: list[str] = []
    plain = grpc.aio.server

    def observed(**options: Any) -> Any:
        made: Any = plain(**options)
        made.add_registered_method_handlers = lambda service, _: registered.append(service)
        return made

    monkeypatch.setattr(grpc.aio, "server", observed)
    settings = Settings(listen="127.0.0.1:0", reflection=True)
    limits = Limits(health_drain_seconds=0.0)
    server = Server(settings, limits, (), (), Identities({}), Arrivals())
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            asked = health_pb2.HealthCheckRequest()
            told = await health_pb2_grpc.HealthStub(channel).Check(asked, timeout=PATIENCE_SECONDS)
            assert told.status == health_pb2.HealthCheckResponse.SERVING
            asking: Any = channel.stream_stream(REFLECTION)(timeout=PATIENCE_SECONDS)
            await asking.done_writing()
            # Served, and refused for want of a token: not UNIMPLEMENTED.
            assert await asking.code() == grpc.StatusCode.UNAUTHENTICATED
    finally:
        await server.drain()
    assert registered == []


async def test_a_stop_waits_for_what_runs_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a stop lets the call end whose handler runs, and then cancels one that no handler
    of ours has, as grpc may leave it, though there is time left: its caller may repeat it."""
    gate, began = asyncio.Event(), asyncio.Event()

    async def work(request: bytes, _context: Any) -> bytes:
        began.set()
        await gate.wait()
        return request

    async def lost(_request: bytes, _context: Any) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError("nobody has it")

    def served(name: str, behaviour: Any) -> grpc.GenericRpcHandler:
        handler: Any = grpc.unary_unary_rpc_method_handler(behaviour)
        return grpc.method_handlers_generic_handler(f"played.{name}", {"Call": handler})

    plain = grpc.aio.server

    def with_a_call_of_nobody(**options: Any) -> Any:
        made = plain(**options)
        made.add_generic_rpc_handlers((served("Lost", lost),))
        return made

    monkeypatch.setattr(grpc.aio, "server", with_a_call_of_nobody)
    limits = Limits(health_drain_seconds=0.0, stop_grace_seconds=600.0)
    settings = Settings(listen="127.0.0.1:0")
    server = Server(settings, limits, (served("Work", work),), (), Identities({}), Arrivals())
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        ask: Any = channel.unary_unary
        nobodys, running = ask("/played.Lost/Call")(b"word"), ask("/played.Work/Call")(b"word")
        await began.wait()
        stopping = asyncio.create_task(server.drain())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS * (LOOKS_AT_NONE + 2)):
                await asyncio.shield(stopping)
        assert not (stopping.done() or running.done() or nobodys.done())
        gate.set()
        assert await running == b"word"
        async with asyncio.timeout(PATIENCE_SECONDS):
            await stopping
        assert await nobodys.code() == grpc.StatusCode.UNAVAILABLE


@contextlib.asynccontextmanager
async def serving(tails: Tails) -> AsyncIterator[str]:
    """Our server with nothing but the stream of what is committed."""

    async def follow(request: Any, _context: Any) -> AsyncIterator[Any]:
        async for entry in tails.follow(OPERATOR, request):
            yield entry

    tail = grpc.unary_stream_rpc_method_handler(
        follow,
        request_deserializer=lineage_service_pb2.TailRequest.FromString,
        response_serializer=lineage_service_pb2.TailResponse.SerializeToString,
    )
    handler = grpc.method_handlers_generic_handler(LINEAGE, {"Tail": tail})
    limits = Limits(health_drain_seconds=0.0)
    server = Server(
        Settings(listen="127.0.0.1:0"), limits, (handler,), (), Identities({}), Arrivals()
    )
    try:
        yield await server.start()
    finally:
        await server.drain()


@contextlib.asynccontextmanager
async def follower(address: str) -> AsyncIterator[Any]:
    """A call that follows, on a connection that takes 64 KiB ahead of its reader and no more."""
    narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    async with grpc.aio.insecure_channel(address, options=narrow) as channel:
        yield channel.unary_stream(
            f"/{LINEAGE}/Tail",
            request_serializer=lineage_service_pb2.TailRequest.SerializeToString,
            response_deserializer=lineage_service_pb2.TailResponse.FromString,
        )(lineage_service_pb2.TailRequest())


async def test_a_half_open_link_is_noticed(
    own_nats_server: NatsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a server which is stopped (SIGSTOP), its socket open, turns the bus red when our
    pings go unanswered, that the shipped pings need seconds for it and not the six minutes of the
    library, and that the bus is back when it goes on."""
    shipped = jetstream.PING_INTERVAL_SECONDS * (jetstream.MAX_OUTSTANDING_PINGS + 1)
    assert shipped <= HALF_OPEN_SECONDS_MAX
    monkeypatch.setattr(jetstream, "PING_INTERVAL_SECONDS", 1)
    bus = await Bus.connect(own_nats_server.address)
    try:
        own_nats_server.freeze()
        began = time.monotonic()
        await eventually(lambda: not bus.health.ok, "the red light", HALF_OPEN_SECONDS_MAX)
        assert time.monotonic() - began < HALF_OPEN_SECONDS_MAX
        own_nats_server.thaw()
        await eventually(lambda: bus.health.ok, "the reconnect")
    finally:
        await bus.close()


async def test_reconnecting_never_ends(
    own_nats_server: NatsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the bus comes back after far more failed attempts than the 60 after which the
    library gives up, and that nobody was told that it was given up."""
    monkeypatch.setattr(jetstream, "RECONNECT_PAUSE_SECONDS", 0.001)
    given_up: list[str] = []
    bus = await Bus.connect(own_nats_server.address, on_closed=given_up.append)
    try:
        own_nats_server.kill()
        pool = bus._client._server_pool
        await eventually(lambda: pool and pool[0].reconnects > 100, "a hundred attempts")
        assert not bus.health.ok
        own_nats_server.start()
        await eventually(lambda: bus.health.ok, "the reconnect")
        assert not given_up
    finally:
        await bus.close()


async def test_what_is_dropped_on_arrival_is_said(
    nats_server: NatsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that what waits on a subscription of the hub has limits of ours, that what is dropped
    beyond them is said in the log by its subject, and that what comes later is heard."""
    monkeypatch.setattr(jetstream, "MAX_PENDING_MESSAGES", 1)
    listening, telling = [await Bus.connect(nats_server.address) for _ in range(2)]
    heard: list[bytes] = []
    try:
        with capture_logs() as lines:
            await listening.listen("news.all", lambda _, payload: heard.append(payload))
            await listening.round_trip_seconds()
            for number in range(BURST):
                await telling.notify("news.all", b"%d" % number)
            await eventually(lambda: any(_dropped(line) for line in lines), "the line in the log")
        assert len(heard) < BURST

        async def comes_later() -> bool:
            # Told again: the first may find no room, either, where much else runs.
            await telling.notify("news.all", b"later")
            return b"later" in heard

        await eventually(comes_later, "what comes later")
    finally:
        await listening.close()
        await telling.close()


def _dropped(line: Any) -> bool:
    return line["log_level"] == "warning" and line.get("subject") == "news.all"
