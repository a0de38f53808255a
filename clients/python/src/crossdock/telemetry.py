"""Traces that every process of crossdock takes part in: set-up, context, and the names in use.

Names of spans and attributes live here, because the messaging conventions of OpenTelemetry are
still in development: when they change, one file does. NATS is a custom value they allow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import CarrierT, Getter, default_getter

MESSAGING_SYSTEM: Final = "nats"
EXPORT_TIMEOUT_SECONDS: Final = 2

# Attributes of ours: on spans and log lines, never on metrics.
ENDPOINT: Final = "crossdock.endpoint"
EVENT_TYPE: Final = "crossdock.event.type"
ORDER_ID: Final = "crossdock.order.id"
ORDER_NUMBER: Final = "crossdock.order.number"
SHIPMENT_ID: Final = "crossdock.shipment.id"
TRACKING_NUMBER: Final = "crossdock.tracking.number"
DELIVERY_ID: Final = "crossdock.delivery.id"
OPERATION: Final = "crossdock.operation"
ATTEMPT: Final = "crossdock.attempt"
DECISION: Final = "crossdock.decision"
VENDOR_REFERENCES: Final = "crossdock.vendor.references"
BATCH_COMMANDS: Final = "crossdock.batch.commands"
REFUSED: Final = "crossdock.refused"

_EXPORT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def start_tracing(service_name: str, instance: str = "") -> Callable[[], None]:
    """Gives this process real trace ids; exports where the standard variables name a collector.

    Call it once, before the first span. Returns what to call at the end: it sends what is left and
    takes `EXPORT_TIMEOUT_SECONDS` at most when the collector is away.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from crossdock.trace_ids import TimedTraceIds

    attributes = {"service.name": service_name}
    if instance:
        attributes["service.instance.id"] = instance
    provider = TracerProvider(
        resource=Resource.create(attributes), shutdown_on_exit=False, id_generator=TimedTraceIds()
    )
    if any(os.environ.get(name) for name in _EXPORT_VARIABLES):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = OTLPSpanExporter(timeout=EXPORT_TIMEOUT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    if propagate.extract({}) is None:
        propagate.set_global_textmap(_CarriesNothing([]))
    return provider.shutdown


class _CarriesNothing(CompositePropagator):
    """OTEL_PROPAGATORS=none: without it the API extracts no context, not even an empty one, which
    grpc's instrumentation attaches all the same, so that calls fail."""

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """The context as it is."""
        return Context() if context is None else context


def trace_carrier() -> dict[str, str]:
    """The current context as headers: traceparent, tracestate, baggage; empty outside any trace."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def may_be_recorded() -> bool:
    """Whether a span that begins here may be recorded, or begins a trace.

    One that nobody records takes as long as a call, and what is left of it is the trace in which it
    stood. Below a span that is not recorded it is for the sampler to say: most go by the parent.
    """
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return False  # Nobody has started tracing in this process.
    span = trace.get_current_span()
    context = span.get_span_context()
    if span.is_recording() or context.trace_flags.sampled or not context.is_valid:
        return True
    sampler = getattr(provider, "sampler", None)
    if sampler is None:
        return False
    return bool(sampler.should_sample(None, context.trace_id, "").decision.is_recording())


def current_traceparent() -> str:
    """The current span as a W3C traceparent; "" outside any trace."""
    return traceparent_of(trace.get_current_span())


def traceparent_of(span: trace.Span) -> str:
    """A span as a W3C traceparent; "" for one outside any trace."""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    flags = int(context.trace_flags)
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"


def context_of(headers: Mapping[str, str]) -> Context:
    """The context that headers of any case carry, for `start_as_current_span(…, context=…)`."""
    return propagate.extract({name.lower(): value for name, value in headers.items()})


def trace_id(traceparent: str = "") -> str:
    """32 hexadecimal digits of a traceparent, or of the current span; "" where there is none."""
    if not traceparent:
        traceparent = trace_carrier().get("traceparent", "")
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else ""


def messaging_attributes(
    operation: str, kind: str, destination: str, template: str, message_id: str = ""
) -> dict[str, str]:
    """Attributes of a span about a message; its name is f"{operation} {template}".

    operation: "publish", "fetch", "process", "ack". kind: "send", "receive", "process", "settle".
    template: the destination with its variable parts named, "crossdock.v1.delivery.{endpoint}".
    """
    attributes = {
        "messaging.system": MESSAGING_SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": destination,
        "messaging.destination.template": template,
    }
    if message_id:
        attributes["messaging.message.id"] = message_id
    return attributes
