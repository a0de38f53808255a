"""Spans and metrics of an adapter process; the names of spans are crossdock.telemetry's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crossdock.delivery.v1.delivery_service_pb2 import Completion
from crossdock.telemetry import (
    ATTEMPT,
    DECISION,
    DELIVERY_ID,
    ENDPOINT,
    EVENT_TYPE,
    OPERATION,
    ORDER_ID,
    ORDER_NUMBER,
    SHIPMENT_ID,
    TRACKING_NUMBER,
    VENDOR_REFERENCES,
    context_of,
    messaging_attributes,
    trace_carrier,
)
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SUBJECT_TEMPLATE = "crossdock.v1.delivery.{endpoint}"
CALL_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
# What people search traces for: (field of an event or of an object in it, attribute).
_SAID_BY_EVENTS = (
    ("order_id", ORDER_ID),
    ("shipment_id", SHIPMENT_ID),
    ("tracking_number", TRACKING_NUMBER),
)
_SAID_BY_OBJECTS = {
    "order": (("id", ORDER_ID), ("number", ORDER_NUMBER)),
    "shipment": (("id", SHIPMENT_ID),),
}
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
        self.alerts = Gauge(
            "crossdock_endpoint_alerts",
            "1 while an adapter says that somebody should look, by what it is about.",
            ["endpoint", "alert"],
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


def describe_event(span: Span, event: Message) -> None:
    """Which order, shipment and parcel the attempt is about, as far as its event says."""
    if not span.is_recording():
        return
    span.set_attribute(EVENT_TYPE, event.DESCRIPTOR.full_name)
    for name, value in _business_ids(event).items():
        span.set_attribute(name, value)


def _business_ids(event: Message) -> dict[str, str]:
    found: dict[str, str] = {}
    held: list[tuple[str, Any]] = [("", event)]
    held += [
        (field.name, value) for field, value in event.ListFields() if isinstance(value, Message)
    ]
    for kind, message in held:
        for field, name in (*_SAID_BY_OBJECTS.get(kind, ()), *_SAID_BY_EVENTS):
            value = getattr(message, field, "")
            if value:
                found.setdefault(name, value)
    return found


def describe_outcome(span: Span, told: Completion, outcome: str) -> None:
    """How the attempt ended; anything but done is an error to whoever looks for errors."""
    code = told.code
    span.set_attribute(DECISION, outcome)
    given = [f"{each.type}={each.value}" for each in told.vendor_references]
    if given:
        span.set_attribute(VENDOR_REFERENCES, given)
    for each in told.vendor_references:
        if each.type == "tracking_number":
            span.set_attribute(TRACKING_NUMBER, each.value)
    if outcome not in ("CONFIRMED", "NOT_FOUND"):
        span.set_status(Status(StatusCode.ERROR, outcome))
        span.set_attribute("error.type", code or outcome)


def traceparent() -> str:
    """The current trace position as a W3C traceparent, or "" outside any trace."""
    return trace_carrier().get("traceparent", "")
