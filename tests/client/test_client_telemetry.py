"""Trace context in and out of headers, and the set-up of a process."""

from __future__ import annotations

import subprocess
import sys

from crossdock import telemetry
from opentelemetry import trace

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

PROCESS = """
import os
from crossdock import telemetry
from opentelemetry import trace
stop = telemetry.start_tracing("crossdock-test", "one")
with trace.get_tracer("test").start_as_current_span("work"):
    carrier = telemetry.trace_carrier()
    assert telemetry.trace_id() == carrier["traceparent"].split("-")[1], carrier
stop()
print("stopped")
"""


def test_the_context_survives_headers_of_any_case() -> None:
    """Proves that a trace goes on through NATS headers, whose case is not ours."""
    context = telemetry.context_of({"TraceParent": PARENT})
    assert trace.get_current_span(context).get_span_context().trace_id == int(PARENT[3:35], 16)


def test_the_trace_id_is_read_from_a_traceparent() -> None:
    """Proves that the id shown to people is the one in the header, and "" outside any trace."""
    assert telemetry.trace_id(PARENT) == PARENT[3:35]
    assert telemetry.trace_id("nonsense") == ""
    assert telemetry.trace_id() == ""
    assert telemetry.trace_carrier() == {}


def test_a_process_has_real_trace_ids_and_ends_when_the_collector_is_away() -> None:
    """Proves that tracing needs no collector, and never holds a process up."""
    for environment in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}):
        done = subprocess.run(
            [sys.executable, "-c", PROCESS],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


def test_a_message_span_follows_the_conventions() -> None:
    """Proves the attribute names, the old ones not among them."""
    attributes = telemetry.messaging_attributes("publish", "send", "a.b", "a.{b}", "7")
    assert attributes["messaging.operation.type"] == "send"
    assert attributes["messaging.message.id"] == "7"
    assert "messaging.operation" not in attributes
