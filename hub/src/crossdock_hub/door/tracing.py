"""A span of each call that is recorded; of any other only the place in its trace.

The instrumentation of grpc makes the spans. A call that its sampler does not record would cost
the same there, attributes and a wrapped context included, a tenth of what a write takes of the hub:
so whether it is recorded is asked before, by the same sampler about the same trace id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from crossdock.trace_ids import begin_with
from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    StaticSampler,
    TraceIdRatioBased,
)

# Those that look at the trace id and at what the caller decided, and at nothing else.
_BY_TRACE_ID = (ParentBased, StaticSampler, TraceIdRatioBased)


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
        self._carried = frozenset(propagate.get_global_textmap().fields)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, which runs in the context that stands when this returns."""
        provider = self._provider or trace.get_tracer_provider()
        if (
            _is_traced(handler_call_details)
            and isinstance(provider, TracerProvider)
            and isinstance(provider.sampler, _BY_TRACE_ID)
        ):
            place = self._unrecorded(handler_call_details, provider)
            if place is not None:
                # Each call has a task, and with it a context of its own: nothing to take back.
                attach(place)
                return await continuation(handler_call_details)
        return await self._recording.intercept_service(continuation, handler_call_details)

    def _unrecorded(
        self, call: grpc.HandlerCallDetails, provider: TracerProvider
    ) -> Context | None:
        """Where a call stands that nobody records: in its caller's trace or in one that begins.

        None: it is recorded. A trace that begins with it has the id that was asked about.
        """
        carried = {
            key: value for key, value in call.invocation_metadata or () if key in self._carried
        }
        around = propagate.extract(carried) if carried else Context()
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
