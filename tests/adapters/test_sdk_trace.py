"""One trace from the message through the vendor call to the completion, with real spans."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock.client import HubClient
from crossdock_adapters.sdk.sandbox import SandboxConfig
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sdk_house import TRACE, House
from sdk_ledger_hub import LedgerHub, dispatch, ended, serving, token_file
from sdk_tiny_sandbox import TinySandbox
from sdk_waiting import until

PARENT = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """A process has one provider for good, so this one stays for the tests that follow."""
    exporter = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def parent_of(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


async def test_the_trace_of_the_message_continues(
    exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    """process (of the message) > begin, vendor call, complete: one trace, right parents."""
    hub = LedgerHub()
    async with (
        serving(hub) as server,
        TinySandbox(SandboxConfig(name="tiny")) as tiny,
        HubClient(server.address, token_file=token_file(tmp_path)) as client,
    ):
        house = House(hub, server, tiny)
        house.start(client, tmp_path)
        work = dispatch()
        message = house.queue.put(work, traceparent=f"00-{TRACE}-{PARENT}-01")
        await until(lambda: message.acked)
        house.stopping.set()
        await ended(house.task)
    spans = [
        span
        for span in exporter.get_finished_spans()
        if span.context is not None and f"{span.context.trace_id:032x}" == TRACE
    ]
    process = next(span for span in spans if span.kind is trace.SpanKind.CONSUMER)
    assert process.context is not None and process.attributes is not None
    assert parent_of(process) == PARENT
    assert process.attributes["crossdock.delivery.id"] == work.delivery_id
    assert process.attributes["crossdock.decision"] == "CONFIRMED"
    below = {span.name for span in spans if parent_of(span) == f"{process.context.span_id:016x}"}
    assert any("POST" in name for name in below), below
    assert any("CompleteAttempts" in name for name in below), below
    called = next(call for call in tiny.calls if call.operation == "book")
    assert called.traceparent.split("-")[1] == TRACE
    assert called.traceparent.split("-")[2] != PARENT
    text = "".join(str(span.attributes) for span in spans)
    assert "let me in" not in text and "token-of-the-test" not in text
