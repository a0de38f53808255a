"""A span of each call that is recorded; of any other only the place in its trace.

The instrumentation of grpc makes the spans. A call that its sampler does not record would cost
the same there, attributes and a wrapped context included, a seventh of what a write takes of the
hub: so whether it is recorded is asked before, by the same sampler about the same trace id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from crossdock.trace_ids import TimedTraceIds, begin_with
from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# Those that look at the trace id and at what the caller decided, and at nothing else. A class made
# of one of them may look at more.
_BY_TRACE_ID = (StaticSampler, TraceIdRatioBased)
_BY_PARENT = (ParentBased, ParentBasedTraceIdRatio)
_DELEGATES = (
    "_root",
    "_remote_parent_sampled",
    "_remote_parent_not_sampled",
    "_local_parent_sampled",
    "_local_parent_not_sampled",
)
# What W3C's propagators read, which the API does not tell: `fields` is what they write.
_W3C: dict[type, tuple[str, ...]] = {
    TraceContextTextMapPropagator: ("traceparent", "tracestate"),
    W3CBaggagePropagator: ("baggage",),
}


def _is_traced(call: grpc.HandlerCallDetails) -> bool:
    """Ours only: health's Watch writes to its context, which the interceptor can't wrap."""
    return call.method.startswith("/crossdock.")


class RecordedCalls(grpc.aio.ServerInterceptor):
    """Gives recorded calls to the instrumentation, and all of them their place in a trace.

    provider: who samples and records; None: whom the process has set when a call comes.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._provider = provider
        self._recording = aio_server_interceptor(  # type: ignore[no-untyped-call]
            tracer_provider=provider, filter_=_is_traced
        )
        self._known: object = None
        self._carried: frozenset[str] | None = None

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, which runs in the context that stands when this returns."""
        provider: Any = self._provider or trace.get_tracer_provider()
        if provider is not self._known:
            self._known, self._carried = provider, _foreseen(provider)
        if self._carried is not None and _is_traced(handler_call_details):
            place = self._unrecorded(handler_call_details, provider, self._carried)
            if place is not None:
                # Each call has a task, and with it a context of its own: nothing to take back.
                attach(place)
                return await continuation(handler_call_details)
        return await self._recording.intercept_service(continuation, handler_call_details)

    def _unrecorded(
        self, call: grpc.HandlerCallDetails, provider: TracerProvider, carried: frozenset[str]
    ) -> Context | None:
        """Where a call stands that nobody records: in its caller's trace or in one that begins.

        None: it is recorded. A trace that begins with it has the id that was asked about.
        """
        told = {key: value for key, value in call.invocation_metadata or () if key in carried}
        around = propagate.extract(told) if told else Context()
        parent = trace.get_current_span(around).get_span_context()
        ids = provider.id_generator
        trace_id = parent.trace_id if parent.is_valid else ids.generate_trace_id()
        sampled = provider.sampler.should_sample(
            around, trace_id, call.method, trace.SpanKind.SERVER
        )
        if sampled.decision is not Decision.DROP:
            if not parent.is_valid:
                begin_with(trace_id)
            return None
        flags = trace.TraceFlags.DEFAULT
        if parent.trace_flags.random_trace_id if parent.is_valid else ids.is_trace_id_random():
            flags |= trace.TraceFlags.RANDOM_TRACE_ID
        own = trace.SpanContext(
            trace_id,
            ids.generate_span_id(),
            is_remote=False,
            trace_flags=trace.TraceFlags(flags),
            trace_state=sampled.trace_state,
        )
        return trace.set_span_in_context(trace.NonRecordingSpan(own), around)


def _foreseen(provider: object) -> frozenset[str] | None:
    """What carries a trace here, where whether a call is recorded can be asked before.

    None: only the instrumentation can tell, because of what somebody has set: a sampler that looks
    at more than the trace id, other ids, other headers, or no traces at all.
    """
    if not isinstance(provider, TracerProvider):
        return None
    if not isinstance(provider.id_generator, TimedTraceIds) or not _by_trace_id(provider.sampler):
        return None
    if not isinstance(provider.get_tracer(__name__), Tracer):
        return None  # OTEL_SDK_DISABLED
    carriers = propagate.get_global_textmap()
    parts = getattr(carriers, "_propagators", [carriers])
    if any(type(part) not in _W3C for part in parts):
        return None
    return frozenset(header for part in parts for header in _W3C[type(part)])


def _by_trace_id(sampler: Sampler | None) -> bool:
    if type(sampler) in _BY_PARENT:
        return all(_by_trace_id(getattr(sampler, name, None)) for name in _DELEGATES)
    return type(sampler) in _BY_TRACE_ID
