"""One trace from the message through the vendor call to the completion, with real spans."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock import contracts
from crossdock.client import HubClient
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.telemetry import describe_event
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


async def test_a_trace_that_nobody_records_reaches_the_vendor(
    exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    """Proves that a call to the vendor says in which trace it stands where no span of it is made,
    and that it says so as one that is not recorded."""
    hub, unrecorded = LedgerHub(), TRACE[::-1]
    async with (
        serving(hub) as server,
        TinySandbox(SandboxConfig(name="tiny")) as tiny,
        HubClient(server.address, token_file=token_file(tmp_path)) as client,
    ):
        house = House(hub, server, tiny)
        house.start(client, tmp_path)
        message = house.queue.put(dispatch(), traceparent=f"00-{unrecorded}-{PARENT}-00")
        await until(lambda: message.acked)
        house.stopping.set()
        await ended(house.task)
    called = next(call for call in tiny.calls if call.operation == "book")
    told = called.traceparent.split("-")
    assert (told[1], told[3]) == (unrecorded, "00") and told[2] != PARENT
    traces = {each.context.trace_id for each in exporter.get_finished_spans() if each.context}
    assert int(unrecorded, 16) not in traces


@pytest.mark.parametrize("name", sorted(contracts.load().events))
def test_an_attempt_says_which_order_and_parcel(exporter: InMemorySpanExporter, name: str) -> None:
    """Proves of every event of the contract that the attempt's span names its order, and shipment
    and parcel where the event knows them: what people search traces for."""
    event = contracts.load().generated_class(name)()
    expected = {"crossdock.event.type": name, "crossdock.order.id": "O"}
    for field in event.DESCRIPTOR.fields:
        if field.message_type is None or field.name in ("metadata", "changed_fields"):
            continue
        holder = getattr(event, field.name)
        own = {"order": "O", "shipment": "S"}.get(field.name, "X")
        for part, value in (("id", own), ("order_id", "O"), ("shipment_id", "S")):
            if part in holder.DESCRIPTOR.fields_by_name:
                setattr(holder, part, value)
                if value == "S":
                    expected["crossdock.shipment.id"] = "S"
        for part in ("number", "tracking_number"):
            if part in holder.DESCRIPTOR.fields_by_name:
                setattr(holder, part, part)
                if part == "tracking_number":
                    expected["crossdock.tracking.number"] = part
                elif field.name == "order":
                    expected["crossdock.order.number"] = part
    with trace.get_tracer("test").start_as_current_span("process") as span:
        describe_event(span, event)
    assert dict(exporter.get_finished_spans()[-1].attributes or {}) == expected
