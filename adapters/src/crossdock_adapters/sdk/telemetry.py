"""Spans and metrics of an adapter process; the names of spans are crossdock.telemetry's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from crossdock.telemetry import (
    ATTEMPT,
    DECISION,
    DELIVERY_ID,
    ENDPOINT,
    OPERATION,
    context_of,
    messaging_attributes,
    trace_carrier,
)
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SUBJECT_TEMPLATE = "crossdock.v1.delivery.{endpoint}"
CALL_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Telemetry:
    """One per process: a tracer and the metrics that its metrics port shows."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("crossdock_adapters")
        self.registry = CollectorRegistry()
        self.deliveries = Counter(
            "crossdock_deliveries_total",
            "Attempts ended, by outcome.",
            ["endpoint", "operation", "outcome"],
            registry=self.registry,
        )
        self.calls = Histogram(
            "crossdock_endpoint_call_duration_seconds",
            "Time from begin to the end of the vendor's work.",
            ["endpoint", "operation", "code"],
            buckets=CALL_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "crossdock_endpoint_in_flight",
            "Attempts begun and not completed in this process.",
            ["endpoint"],
            registry=self.registry,
        )
        self.progress = Gauge(
            "crossdock_endpoint_last_progress_timestamp_seconds",
            "When the vendor last did something for us.",
            ["endpoint"],
            registry=self.registry,
        )
        self.webhooks = Counter(
            "crossdock_webhooks_total",
            "Webhooks answered.",
            ["endpoint", "path", "status"],
            registry=self.registry,
        )
        self.polls = Counter(
            "crossdock_polls_total",
            "Polls ended.",
            ["endpoint", "poll", "result"],
            registry=self.registry,
        )

    @contextmanager
    def handling(self, headers: Mapping[str, str], endpoint: str) -> Iterator[Span]:
        """The consumer span of one delivery, continuing the trace its message carries."""
        name = f"process {SUBJECT_TEMPLATE}"
        subject = SUBJECT_TEMPLATE.format(endpoint=endpoint)
        with self._tracer.start_as_current_span(
            name,
            context=context_of(headers),
            kind=SpanKind.CONSUMER,
            attributes={
                **messaging_attributes("process", "process", subject, SUBJECT_TEMPLATE),
                ENDPOINT: endpoint,
            },
        ) as span:
            yield span

    @contextmanager
    def inbound(self, kind: str, name: str, endpoint: str) -> Iterator[Span]:
        """The root span of a poll or a webhook; the hub's calls below continue it."""
        with self._tracer.start_as_current_span(
            f"{kind} {name}",
            kind=SpanKind.SERVER if kind == "webhook" else SpanKind.INTERNAL,
            attributes={ENDPOINT: endpoint},
        ) as span:
            yield span

    def metrics_app(self) -> Starlette:
        """GET /metrics for Prometheus, GET /livez."""

        async def metrics(_: Request) -> Response:
            return Response(generate_latest(self.registry), media_type=METRICS_CONTENT_TYPE)

        async def livez(_: Request) -> Response:
            return Response("ok\n", media_type="text/plain")

        return Starlette(routes=[Route("/metrics", metrics), Route("/livez", livez)])


def describe_attempt(span: Span, delivery_id: str, operation: str, attempt: int) -> None:
    """What the attempt is, once it is known."""
    span.set_attribute("messaging.message.id", delivery_id)
    span.set_attribute(DELIVERY_ID, delivery_id)
    span.set_attribute(OPERATION, operation)
    span.set_attribute(ATTEMPT, attempt)


def describe_outcome(span: Span, outcome: str, code: str) -> None:
    """How the attempt ended; anything but done is an error to whoever looks for errors."""
    span.set_attribute(DECISION, outcome)
    if outcome not in ("CONFIRMED", "NOT_FOUND"):
        span.set_status(Status(StatusCode.ERROR, outcome))
        span.set_attribute("error.type", code or outcome)


def traceparent() -> str:
    """The current trace position as a W3C traceparent, or "" outside any trace."""
    return trace_carrier().get("traceparent", "")
