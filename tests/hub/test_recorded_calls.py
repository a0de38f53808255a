"""Only a recorded call goes through the instrumentation; all stand where it would put them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from crossdock.trace_ids import TimedTraceIds
from crossdock_hub.door.tracing import RecordedCalls
from opentelemetry import baggage, trace
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)

METHOD = "/crossdock.order.v1.OrderService/CreateOrder"
TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
# Sampled or not, of random ids or not, and by a caller who says more than we know.
FLAGS = ("00", "01", "02", "03", "ff")


class ByMethod(Sampler):
    """Somebody's own sampler, which looks at what only the instrumentation tells it."""

    def should_sample(self, *args: Any, **attributes: Any) -> SamplingResult:
        told = args[4] if len(args) > 4 else attributes.get("attributes")
        recorded = (told or {}).get("rpc.method") == "CreateOrder"
        return SamplingResult(Decision.RECORD_AND_SAMPLE if recorded else Decision.DROP)

    def get_description(self) -> str:
        """Of the sampler."""
        return "by method"


@dataclass
class Seen:
    """What the handler of a call finds around it."""

    span: trace.SpanContext
    baggage: dict[str, object]


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Notes where each call stands; a stream once more after it has given way."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Of any method."""
        if details.method.endswith("Watch"):
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._unary)

    def _note(self) -> None:
        self.seen.append(Seen(trace.get_current_span().get_span_context(), dict(baggage.get_all())))

    async def _unary(self, request: bytes, _context: Any) -> bytes:
        self._note()
        return request

    async def _stream(self, request: bytes, _context: Any) -> AsyncIterator[bytes]:
        self._note()
        yield request
        await asyncio.sleep(0)
        self._note()
        yield request


class Door:
    """A server behind one interceptor, and what it records."""

    def __init__(self, sampler: Sampler, *, instrumentation_alone: bool = False) -> None:
        self.provider = TracerProvider(sampler=sampler, id_generator=TimedTraceIds())
        self.exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.handlers = Handlers()
        self.interceptor: Any = RecordedCalls(self.provider)
        if instrumentation_alone:
            self.interceptor = aio_server_interceptor(  # type: ignore[no-untyped-call]
                tracer_provider=self.provider
            )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel to it."""
        server = grpc.aio.server(interceptors=[self.interceptor])
        server.add_generic_rpc_handlers((self.handlers,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await server.stop(None)

    def recorded(self) -> list[int]:
        """Trace ids of the spans that it recorded."""
        return [
            span.context.trace_id for span in self.exporter.get_finished_spans() if span.context
        ]


async def where(door: Door, metadata: tuple[tuple[str, str], ...], method: str = METHOD) -> Seen:
    async with door.open() as channel:
        call: Any = channel.unary_unary(method)
        await call(b"x", metadata=metadata)
    (seen,) = door.handlers.seen
    return seen


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("sampler", [ParentBasedTraceIdRatio(0.05), ALWAYS_ON, ALWAYS_OFF])
async def test_a_call_stands_where_the_instrumentation_would_put_it(
    sampler: Sampler, flags: str
) -> None:
    """Proves that trace, flags, state and baggage of a caller are what a handler finds, recorded or
    not, exactly as behind the instrumentation alone; and that the same calls are recorded."""
    metadata = (
        ("traceparent", f"00-{TRACE_ID:032x}-00f067aa0ba902b7-{flags}"),
        ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("baggage", "customer=C-1"),
    )
    own, library = Door(sampler), Door(sampler, instrumentation_alone=True)
    ours, theirs = await where(own, metadata), await where(library, metadata)
    assert ours.span.trace_id == theirs.span.trace_id == TRACE_ID
    assert ours.span.trace_flags == theirs.span.trace_flags
    assert ours.span.trace_state == theirs.span.trace_state
    assert ours.span.is_remote == theirs.span.is_remote
    assert ours.baggage == theirs.baggage == {"customer": "C-1"}
    assert ours.span.span_id not in (0, 0x00F067AA0BA902B7)
    assert own.recorded() == library.recorded()


@pytest.mark.parametrize("carried", [(), (("traceparent", "00-nonsense-01"),)])
async def test_traces_that_begin_here_are_recorded_in_their_share(
    carried: tuple[tuple[str, str], ...],
) -> None:
    """Proves that of calls without a trace just those are recorded whose id the sampler takes, each
    under the id that its handler has, that the others have ids of their own all the same, and that
    nobody is asked twice, which of a half would leave a quarter."""
    sampler = TraceIdRatioBased(0.5)
    door = Door(sampler)
    async with door.open() as channel:
        call: Any = channel.unary_unary(METHOD)
        await asyncio.gather(*(call(b"x", metadata=carried) for _ in range(400)))
    ids = [seen.span.trace_id for seen in door.handlers.seen]
    taken = [i for i in ids if sampler.should_sample(None, i, "").decision is not Decision.DROP]
    assert len(set(ids)) == 400
    assert sorted(door.recorded()) == sorted(taken)
    assert 150 < len(taken) < 250  # Of 200 in the mean, five times what it usually is off.
    sampled = [seen.span.trace_id for seen in door.handlers.seen if seen.span.trace_flags.sampled]
    assert sorted(sampled) == sorted(taken)
    library = await where(Door(sampler, instrumentation_alone=True), carried)
    assert all(
        seen.span.trace_flags.random_trace_id == library.span.trace_flags.random_trace_id
        for seen in door.handlers.seen
    )


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ALWAYS_ON])
async def test_a_stream_stands_in_its_trace_to_its_end(sampler: Sampler) -> None:
    """Proves that a handler which answers in a stream has its place after it gave way, too, and
    that calls one after the other on a connection do not see each other's."""
    door = Door(sampler)
    parent = (("traceparent", f"00-{TRACE_ID:032x}-00f067aa0ba902b7-00"),)
    async with door.open() as channel:
        watch: Any = channel.unary_stream("/crossdock.order.v1.OrderService/Watch")
        assert [told async for told in watch(b"x", metadata=parent)] == [b"x", b"x"]
        assert [told async for told in watch(b"y")] == [b"y", b"y"]
    first, again, second, once_more = (seen.span for seen in door.handlers.seen)
    assert first == again
    assert first.trace_id == TRACE_ID
    assert second == once_more
    assert second.trace_id not in (0, TRACE_ID)


async def test_a_sampler_of_somebody_else_is_asked_with_all_that_it_may_look_at() -> None:
    """Proves that a sampler that decides by attributes still gets them: no call is passed by."""
    created = Door(ByMethod())
    await where(created, ())
    assert len(created.recorded()) == 1
    listed = Door(ByMethod())
    await where(listed, (), "/crossdock.order.v1.OrderService/ListOrders")
    assert listed.recorded() == []


async def test_health_is_in_no_trace() -> None:
    """Proves that calls of other services than ours stay out of traces, as they were."""
    seen = await where(Door(ALWAYS_ON), (), "/grpc.health.v1.Health/Check")
    assert not seen.span.is_valid
