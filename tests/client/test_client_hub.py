"""HubClient against a real grpc.aio server on loopback."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from crossdock import client, contracts, errors
from crossdock.client import HubClient, Tls, request_id
from crossdock.errors import Refusal
from crossdock.lineage.v1 import lineage_service_pb2_grpc
from crossdock.lineage.v1.lineage_service_pb2 import TailRequest, TailResponse
from crossdock.order.v1 import order_service_pb2_grpc
from crossdock.order.v1.order_service_pb2 import (
    CancelOrderRequest,
    CancelOrderResponse,
    GetOrderRequest,
    GetOrderResponse,
)
from crossdock.tracking.v1 import tracking_service_pb2_grpc
from crossdock.tracking.v1.tracking_service_pb2 import (
    StreamTrackingEventsRequest,
    StreamTrackingEventsResponse,
)
from grpc import aio
from grpc_status import rpc_status
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

REFUSED = Refusal("OBJECT_NOT_FOUND", "no such order", {"kind": "order", "id": "no"})
BUSY = Refusal("HUB_OVERLOADED", "busy", {}, (), 2.0)


@dataclass
class Seen:
    """One call as the server saw it."""

    metadata: dict[str, str]
    seconds_left: float | None


@dataclass
class Hub:
    """A server that answers by the order number it is asked for, and remembers the calls."""

    address: str = ""
    calls: list[Seen] = field(default_factory=list)
    failures_left: int = 0
    came: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, context: Any) -> None:
        self.calls.append(Seen(dict(context.invocation_metadata()), context.time_remaining()))
        self.came.release()


async def _refuse(context: Any, refusal: Refusal) -> None:
    await context.abort_with_status(rpc_status.to_status(errors.to_status(refusal)))


class Orders(order_service_pb2_grpc.OrderServiceServicer):
    """Finds every order but "no"; "slow" takes too long, "flaky" fails a few times first."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def GetOrder(self, request: GetOrderRequest, context: Any) -> GetOrderResponse:
        self.hub.note(context)
        if request.number == "no":
            await _refuse(context, REFUSED)
        if request.number == "slow":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.hub.cut.set()
                raise
        if request.number == "flaky" and self.hub.failures_left:
            self.hub.failures_left -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        answer = GetOrderResponse()
        answer.order.number = request.number
        return answer

    async def CancelOrder(self, request: CancelOrderRequest, context: Any) -> CancelOrderResponse:
        self.hub.note(context)
        raise RuntimeError("a fault")


class Lineage(lineage_service_pb2_grpc.LineageServiceServicer):
    """One line of the tail, then a refusal."""

    async def Tail(self, request: TailRequest, context: Any) -> AsyncIterator[TailResponse]:
        yield TailResponse()
        await _refuse(context, BUSY)


class Tracking(tracking_service_pb2_grpc.TrackingServiceServicer):
    """Answers each batch of a stream."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def StreamTrackingEvents(
        self, requests: AsyncIterator[StreamTrackingEventsRequest], context: Any
    ) -> AsyncIterator[StreamTrackingEventsResponse]:
        self.hub.note(context)
        async for request in requests:
            yield StreamTrackingEventsResponse(request_id=request.request_id)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A server on a free port of its own."""
    running = Hub()
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    # Methods that no test calls stay unimplemented, which the server answers by itself.
    orders, lineage, tracking = Orders(running), Lineage(), Tracking(running)  # type: ignore[abstract]
    order_service_pb2_grpc.add_OrderServiceServicer_to_server(orders, server)
    lineage_service_pb2_grpc.add_LineageServiceServicer_to_server(lineage, server)
    tracking_service_pb2_grpc.add_TrackingServiceServicer_to_server(tracking, server)
    running.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield running
    await server.stop(None)


async def test_a_call_carries_identity_and_a_deadline(hub: Hub) -> None:
    """Proves that the token and a default deadline go with every call, and a given one wins."""
    async with HubClient(hub.address, token="abc", deadline_seconds=50) as opened:
        answer = await opened.orders.GetOrder(GetOrderRequest(number="ORD-1"))
        await opened.orders.GetOrder(GetOrderRequest(number="ORD-1"), timeout=25)
    assert answer.order.number == "ORD-1"
    assert hub.calls[0].metadata["authorization"] == "Bearer abc"
    left = [call.seconds_left or 0 for call in hub.calls]
    # gRPC rounds deadlines up by some milliseconds.
    assert 30 < left[0] < 50.5 and 5 < left[1] < 25.5


async def test_a_refusal_is_raised_as_our_exception(hub: Hub) -> None:
    """Proves that no grpc exception leaves the client, and that the hub's reason is whole."""
    async with HubClient(hub.address, token="abc") as opened:
        with pytest.raises(errors.NotFoundError) as caught:
            await opened.orders.GetOrder(GetOrderRequest(number="no"))
    assert caught.value.refusal == REFUSED
    assert caught.value.method == "/crossdock.order.v1.OrderService/GetOrder"
    assert caught.value.__cause__ is None


async def test_a_refused_stream_keeps_what_came_before(hub: Hub) -> None:
    """Proves that streams are translated too, after the messages that arrived."""
    async with HubClient(hub.address, token="abc") as opened:
        got = 0
        with pytest.raises(errors.TryAgainError) as caught:
            async for _ in opened.lineage.Tail(TailRequest()):
                got += 1
    assert (got, caught.value.refusal.retry_after_seconds) == (1, 2.0)


async def test_a_stream_in_both_directions_works(hub: Hub) -> None:
    """Proves that a bidirectional stream passes the interceptors with identity and deadline."""

    async def requests() -> AsyncIterator[StreamTrackingEventsRequest]:
        for number in range(3):
            yield StreamTrackingEventsRequest(request_id=str(number))

    async with HubClient(hub.address, token="abc") as opened:
        answers = [
            answer.request_id async for answer in opened.tracking.StreamTrackingEvents(requests())
        ]
    assert answers == ["0", "1", "2"]
    assert hub.calls[0].metadata["authorization"] == "Bearer abc"
    assert hub.calls[0].seconds_left


async def test_a_passed_deadline_is_an_unknown_outcome(hub: Hub) -> None:
    """Proves that time running out is told apart from a refusal."""
    async with HubClient(hub.address, token="abc") as opened:
        with pytest.raises(errors.DeadlineError):
            await opened.orders.GetOrder(GetOrderRequest(number="slow"), timeout=0.2)


async def test_cancelling_a_call_stays_a_cancellation(hub: Hub) -> None:
    """Proves that asyncio's own cancellation is not swallowed by the translation."""
    async with HubClient(hub.address, token="abc") as opened:

        async def call() -> None:
            await opened.orders.GetOrder(GetOrderRequest(number="slow"))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call(), 0.2)
        # The hub is told at once, so that it works for nobody who has gone.
        await asyncio.wait_for(hub.cut.wait(), 10)


async def test_a_call_is_sent_before_it_is_awaited(hub: Hub) -> None:
    """Proves that several calls may be begun, and awaited in any order, by a gather too."""
    async with HubClient(hub.address, token="abc") as opened:
        orders = [opened.orders.GetOrder(GetOrderRequest(number=number)) for number in "123"]
        async with asyncio.timeout(10):
            for _ in orders:
                await hub.came.acquire()
        last = await orders.pop()
        others = await asyncio.gather(*orders)
    assert [answer.order.number for answer in (*others, last)] == ["1", "2", "3"]


async def test_idempotent_calls_are_repeated_while_the_hub_is_away(hub: Hub) -> None:
    """Proves that a restart of the hub is invisible to calls that may be repeated."""
    hub.failures_left = 2
    async with HubClient(hub.address, token="abc") as opened:
        answer = await opened.orders.GetOrder(GetOrderRequest(number="flaky"))
    assert (answer.order.number, len(hub.calls)) == ("flaky", 3)


async def test_nobody_there_is_unreachable() -> None:
    """Proves that a refused connection is an error of ours."""
    async with HubClient("127.0.0.1:1", token="abc", deadline_seconds=5) as opened:
        with pytest.raises(errors.UnreachableError):
            await opened.orders.GetOrder(GetOrderRequest(number="1"))


async def test_a_fault_of_the_server_has_no_answer(hub: Hub) -> None:
    """Proves that a server's crash in a handler leaves the outcome open."""
    async with HubClient(hub.address, token="abc") as opened:
        with pytest.raises(errors.NoAnswerError):
            await opened.orders.CancelOrder(CancelOrderRequest())
    assert len(hub.calls) == 1


async def test_a_request_above_the_limit_is_not_sent(hub: Hub) -> None:
    """Proves that a too large message is refused before it leaves."""
    async with HubClient(hub.address, token="abc") as opened:
        with pytest.raises(errors.LimitExceededError):
            await opened.orders.GetOrder(GetOrderRequest(number="x" * (2 << 20)))
    assert hub.calls == []


async def test_the_trace_context_travels(hub: Hub) -> None:
    """Proves that the hub sees the trace of whoever called."""
    known = trace.SpanContext(
        trace_id=0xABCDEF, span_id=0x1234, is_remote=False, trace_flags=trace.TraceFlags(1)
    )
    async with HubClient(hub.address, token="abc") as opened:
        with trace.use_span(trace.NonRecordingSpan(known)):
            await opened.orders.GetOrder(GetOrderRequest(number="1"))
    assert f"{0xABCDEF:032x}" in hub.calls[0].metadata["traceparent"]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What a process records that has set tracing up."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def _around(span_id: int, flags: int) -> trace.NonRecordingSpan:
    """A span of another process."""
    return trace.NonRecordingSpan(
        trace.SpanContext(0xABCDEF, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
    )


async def test_a_call_has_a_span_where_one_may_be_recorded(
    hub: Hub, spans: InMemorySpanExporter
) -> None:
    """Proves that a call below a span that is recorded, here or elsewhere, and one outside any
    trace have a span of their own, which the hub is told, with what went wrong."""
    asked = GetOrderRequest(number="1")
    async with HubClient(hub.address, token="abc") as opened:
        with trace.get_tracer("test").start_as_current_span("ours"):
            await opened.orders.GetOrder(asked)
        with trace.use_span(_around(0x1234, 1)), pytest.raises(errors.NotFoundError):
            await opened.orders.GetOrder(GetOrderRequest(number="no"))
        await opened.orders.GetOrder(asked)
    first, ours, second, third = spans.get_finished_spans()
    assert (first.name, ours.name) == ("/crossdock.order.v1.OrderService/GetOrder", "ours")
    parents = [each.parent and each.parent.span_id for each in (first, second, third)]
    assert parents == [ours.context.span_id, 0x1234, None]
    told = [call.metadata["traceparent"].split("-")[1:3] for call in hub.calls]
    ids = [each.context for each in (first, second, third)]
    assert told == [[f"{each.trace_id:032x}", f"{each.span_id:016x}"] for each in ids]
    assert [each.status.is_ok for each in (first, second)] == [True, False]


async def test_a_sampler_that_asks_no_parent_is_obeyed(
    hub: Hub, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a process which is told to record everything records its calls in the trace of a
    caller that records nothing."""
    monkeypatch.setattr(trace.get_tracer_provider(), "sampler", ALWAYS_ON)
    async with HubClient(hub.address, token="abc") as opened:
        with trace.use_span(_around(0x1234, 0)):
            await opened.orders.GetOrder(GetOrderRequest(number="1"))
    (span,) = spans.get_finished_spans()
    assert span.context is not None and span.context.trace_id == 0xABCDEF
    assert f"{span.context.span_id:016x}" in hub.calls[0].metadata["traceparent"]


async def test_a_call_with_a_span_is_given_up_at_the_hub(
    hub: Hub, spans: InMemorySpanExporter
) -> None:
    """Proves that the hub is told at once that nobody waits any more for a call with a span, as it
    is of one without, though whoever gave it up still holds it."""
    async with HubClient(hub.address, token="abc") as opened:
        with trace.get_tracer("test").start_as_current_span("ours"):
            sent: Any = opened.orders.GetOrder(GetOrderRequest(number="slow"))
        waiting = asyncio.ensure_future(sent)
        await asyncio.wait_for(hub.came.acquire(), 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(hub.cut.wait(), 10)
        assert sent.cancelled()


@pytest.mark.parametrize("flags", [0, 1], ids=["unrecorded", "recorded"])
async def test_a_call_is_asked_the_same_with_and_without_a_span(
    hub: Hub, spans: InMemorySpanExporter, flags: int
) -> None:
    """Proves that whether a trace is recorded changes nothing of what a call can be asked, before
    and after it is answered."""
    async with HubClient(hub.address, token="abc") as opened, asyncio.timeout(10):
        with trace.use_span(_around(0x1234, flags)):
            call: Any = opened.orders.GetOrder(GetOrderRequest(number="1"))
            assert await call.code() is grpc.StatusCode.OK
            assert (await call).order.number == "1"
            assert not list(await call.initial_metadata()) and not await call.details()
            refused: Any = opened.orders.GetOrder(GetOrderRequest(number="no"))
            assert await refused.code() is grpc.StatusCode.NOT_FOUND
            assert await refused.trailing_metadata()
            with pytest.raises(errors.NotFoundError):
                await refused


async def test_a_call_of_a_closed_client_has_no_code(hub: Hub, spans: InMemorySpanExporter) -> None:
    """Proves that who asks about a call that could not be sent is not kept waiting."""
    async with HubClient(hub.address, token="abc") as opened:
        pass
    call: Any = opened.orders.GetOrder(GetOrderRequest(number="1"))
    async with asyncio.timeout(10):
        with pytest.raises(grpc.aio.UsageError):
            await call
        with pytest.raises(asyncio.CancelledError):
            await call.code()


async def test_a_call_that_nobody_records_says_where_it_stands(
    hub: Hub, spans: InMemorySpanExporter
) -> None:
    """Proves that a call in a trace that is not recorded carries that trace, and makes no span."""
    async with HubClient(hub.address, token="abc") as opened:
        with trace.use_span(_around(0x1234, 0)):
            await opened.orders.GetOrder(GetOrderRequest(number="1"))
    assert hub.calls[0].metadata["traceparent"] == f"00-{0xABCDEF:032x}-{0x1234:016x}-00"
    assert spans.get_finished_spans() == ()


async def test_a_token_file_is_read_again(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a token can be changed without restarting its user."""
    monkeypatch.setattr(client, "TOKEN_CHECK_SECONDS", 0.0)
    file = tmp_path / "token"
    file.write_text("first\n")
    async with HubClient(hub.address, token_file=file) as opened:
        await opened.orders.GetOrder(GetOrderRequest(number="1"))
        file.write_text("second\n")
        os.utime(file, (1, 1))
        await opened.orders.GetOrder(GetOrderRequest(number="1"))
        file.unlink()
        await opened.orders.GetOrder(GetOrderRequest(number="1"))
    seen = [call.metadata["authorization"] for call in hub.calls]
    assert seen == ["Bearer first", "Bearer second", "Bearer second"]


@pytest.mark.parametrize("address", ["hub.example:443", "dns:///hub.example:443", "10.0.0.1:1"])
def test_a_token_never_crosses_a_network_in_plain_text(address: str) -> None:
    """Proves that a forgotten TLS setting is an error, not a leak."""
    with pytest.raises(errors.ConfigurationError, match="plain text"):
        HubClient(address, token="abc")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/x", "dns:///localhost:1"]
)
async def test_loopback_needs_no_tls(address: str) -> None:
    """Proves that a developer's machine works without certificates."""
    await HubClient(address, token="abc").close()


async def test_plain_text_can_be_allowed_and_tls_needs_its_files(tmp_path: Path) -> None:
    """Proves that an encrypted network can say so, and that a missing certificate is named."""
    await HubClient("hub.example:443", token="abc", allow_plaintext_token=True).close()
    await HubClient("hub.example:443", token="abc", tls=Tls()).close()
    with pytest.raises(errors.ConfigurationError, match=r"ca\.pem"):
        HubClient("hub.example:443", token="abc", tls=Tls(ca_file=tmp_path / "ca.pem"))


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "é"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    """Proves that an empty or broken token is found at start, and never printed."""
    with pytest.raises(errors.ConfigurationError) as caught:
        HubClient("127.0.0.1:1", token=token)
    assert not token or token not in str(caught.value)
    with pytest.raises(errors.ConfigurationError, match="not both"):
        HubClient("127.0.0.1:1", token="a", token_file="b")
    with pytest.raises(errors.ConfigurationError, match="missing"):
        HubClient("127.0.0.1:1", token_file="missing")


async def test_every_service_of_the_contract_has_an_attribute() -> None:
    """Proves that the client forgets no service, and repeats only what the contract allows."""
    contract = contracts.load()
    opened = HubClient("127.0.0.1:1")
    stubs = {type(value).__name__ for value in vars(opened).values()}
    services = {method.service.rsplit(".", 1)[-1] for method in contract.methods.values()}
    assert {f"{service}Stub" for service in services} <= stubs
    assert set(client.idempotent_methods()) == {
        (method.service, method.name)
        for method in contract.methods.values()
        if method.idempotency != "UNKNOWN"
        and not (method.client_streaming or method.server_streaming)
    }
    await opened.close()


def test_a_request_id_is_derived_from_the_document() -> None:
    """Proves that a restarted adapter repeats its id, and that parts cannot be confused."""
    one = request_id("netsuite", "SO-1", "2026-11-23T08:00:00Z")
    assert one == request_id("netsuite", "SO-1", "2026-11-23T08:00:00Z")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", one)
    assert request_id("a", "bc", "1") != request_id("ab", "c", "1")
