"""Only a recorded call goes through the instrumentation; all stand where it would put them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from crossdock.trace_ids import TimedTraceIds
from crossdock_hub.door.tracing import RecordedCalls
from opentelemetry import baggage, propagate, trace
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

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
    next_trace_id: int


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
        here = trace.get_current_span().get_span_context()
        self.seen.append(Seen(here, dict(baggage.get_all()), TimedTraceIds().generate_trace_id()))

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

    def __init__(
        self,
        sampler: Sampler,
        *,
        instrumentation_alone: bool = False,
        ids: IdGenerator | None = None,
    ) -> None:
        self.provider = TracerProvider(sampler=sampler, id_generator=ids or TimedTraceIds())
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
@pytest.mark.parametrize(
    "sampler",
    [ParentBasedTraceIdRatio(0.05), ALWAYS_ON, ALWAYS_OFF, StaticSampler(Decision.RECORD_ONLY)],
)
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
    assert ours.next_trace_id != TRACE_ID
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


class Half(TraceIdRatioBased):
    """Made of a sampler that looks at trace ids, and looks at more."""

    def should_sample(self, *args: Any, **attributes: Any) -> SamplingResult:
        return ByMethod().should_sample(*args, **attributes)


@pytest.mark.parametrize("sampler", [ByMethod(), ParentBased(ByMethod()), Half(0.5)])
async def test_a_sampler_of_somebody_else_is_asked_with_all_that_it_may_look_at(
    sampler: Sampler,
) -> None:
    """Proves that a sampler that decides by attributes still gets them, also where one of
    OpenTelemetry's own asks it and where it is made of one: no call is passed by."""
    created = Door(sampler)
    await where(created, ())
    assert len(created.recorded()) == 1
    listed = Door(sampler)
    await where(listed, (), "/crossdock.order.v1.OrderService/ListOrders")
    assert listed.recorded() == []


async def test_ids_of_somebody_else_are_not_asked_about_twice() -> None:
    """Proves that where trace ids are not made by us as many are recorded as the sampler takes, and
    each under the id that its handler has."""
    door = Door(TraceIdRatioBased(0.5), ids=RandomIdGenerator())
    async with door.open() as channel:
        call: Any = channel.unary_unary(METHOD)
        await asyncio.gather(*(call(b"x") for _ in range(400)))
    sampled = [seen.span.trace_id for seen in door.handlers.seen if seen.span.trace_flags.sampled]
    assert 150 < len(sampled) < 250
    assert sorted(door.recorded()) == sorted(sampled)


class OwnHeader(TraceContextTextMapPropagator):
    """Carries a trace in a header of its own, and tells of another."""

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
        """The context that the header names."""
        told = {"traceparent": carrier["x-own"]} if "x-own" in carrier else {}
        return super().extract(told, context)


async def test_headers_of_somebody_else_carry_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a trace which comes in other headers than W3C's is followed."""
    own = OwnHeader()
    monkeypatch.setattr(propagate, "get_global_textmap", lambda: own)
    seen = await where(
        Door(ParentBasedTraceIdRatio(0.0)), (("x-own", f"00-{TRACE_ID:032x}-00f067aa0ba902b7-01"),)
    )
    assert seen.span.trace_id == TRACE_ID and seen.span.trace_flags.sampled


@pytest.mark.parametrize("flags", ["00", "01"])
async def test_what_nobody_records_does_not_go_through_the_instrumentation(
    monkeypatch: pytest.MonkeyPatch, flags: str
) -> None:
    """Proves that the instrumentation has the recorded calls and no others, of the provider that
    the process has set, as a hub uses it."""
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(0.0), id_generator=TimedTraceIds())
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    door = Door(ALWAYS_ON)
    door.interceptor = RecordedCalls()
    passed: list[str] = []
    intercept = door.interceptor._recording.intercept_service

    async def noted(continuation: Any, call: Any) -> Any:
        passed.append(call.method)
        return await intercept(continuation, call)

    monkeypatch.setattr(door.interceptor._recording, "intercept_service", noted)
    await where(door, (("traceparent", f"00-{TRACE_ID:032x}-00f067aa0ba902b7-{flags}"),))
    assert passed == ([METHOD] if flags == "01" else [])


SERVE = """
import asyncio, os, sys
import grpc
from crossdock.telemetry import start_tracing
from crossdock_hub.door.tracing import RecordedCalls
from opentelemetry import trace

class Handlers(grpc.GenericRpcHandler):
    def service(self, details):
        async def call(request, context):
            return b"1" if trace.get_current_span().get_span_context().is_valid else b"0"
        return grpc.unary_unary_rpc_method_handler(call)

async def main():
    start_tracing("test")
    server = grpc.aio.server(interceptors=[RecordedCalls()])
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/crossdock.order.v1.OrderService/CreateOrder")
        print(sum([int(await call(b"x", timeout=20)) for _ in range(50)]))
    await server.stop(None)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("variables", "in_a_trace"),
    [
        ({"OTEL_PROPAGATORS": "none", "OTEL_TRACES_SAMPLER": "always_on"}, 50),
        ({"OTEL_PROPAGATORS": "none", "OTEL_TRACES_SAMPLER": "always_off"}, 50),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_SAMPLER": "always_off"}, 0),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_SAMPLER": "always_on"}, 0),
    ],
)
def test_what_the_standard_variables_turn_off_is_off(
    variables: dict[str, str], in_a_trace: int
) -> None:
    """Proves that a process answers every call where nothing is carried, and that one without
    traces makes none, whether calls would be recorded or not."""
    told = subprocess.run(
        [sys.executable, "-c", SERVE],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.stdout.strip() == str(in_a_trace), told.stderr


async def test_health_is_in_no_trace() -> None:
    """Proves that calls of other services than ours stay out of traces, as they were."""
    seen = await where(Door(ALWAYS_ON), (), "/grpc.health.v1.Health/Check")
    assert not seen.span.is_valid
