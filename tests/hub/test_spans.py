"""The hub's own spans: only of sampled requests, of a transaction and of each message sent."""

from __future__ import annotations

import asyncio

import pytest
from crossdock.errors import Refusal
from crossdock_hub.bus.publishing import Message, Outcome, PublishResult, refused, unknown
from crossdock_hub.commands import Command
from crossdock_hub.spans import CommitSpans, PublishSpans, is_sampled
from crossdock_hub.unit import Refused
from decisions import OMS
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TRACE = "0af7651916cd43dd8448eb211c80319c"
SUBJECT = "crossdock.v1.event.order.approved.17"


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


def rpc(number: int, flags: str = "01") -> str:
    """The traceparent of a request."""
    return f"00-{TRACE}-{number:016x}-{flags}"


def parent_of(span: ReadableSpan) -> int:
    return span.parent.span_id if span.parent else 0


def command(traceparent: str) -> Command:
    future = asyncio.get_running_loop().create_future()
    return Command("test", OMS, lambda unit: None, future, traceparent=traceparent)


def attribute(span: ReadableSpan, name: str) -> object:
    assert span.attributes is not None
    return span.attributes[name]


@given(st.integers(0, 255))
def test_the_flag_is_the_lowest_bit(flags: int) -> None:
    """Proves that nothing but the sampled bit decides, whatever other flags there may be."""
    assert is_sampled(rpc(1, f"{flags:02x}")) == bool(flags & 1)
    assert not is_sampled("")


async def test_a_commit_is_a_span_of_each_sampled_rpc(exporter: InMemorySpanExporter) -> None:
    """Proves one span for an RPC with several commands, none for one that is not sampled, how many
    commands shared the transaction, and which RPC had one refused."""
    exporter.clear()
    no = Refused(Refusal("OBJECT_NOT_FOUND", "no"))
    batch = [command(text) for text in (rpc(1), rpc(1), rpc(2), rpc(3, "00"), "")]
    with CommitSpans(batch) as spans:
        spans.answers = [(c, no if c.traceparent == rpc(2) else None) for c in batch]
    found = {parent_of(span): span for span in exporter.get_finished_spans()}
    assert {parent: span.name for parent, span in found.items()} == {1: "commit", 2: "commit"}
    assert len(exporter.get_finished_spans()) == 2
    assert {attribute(span, "crossdock.batch.commands") for span in found.values()} == {5}
    assert attribute(found[1], "crossdock.refused") is False
    assert attribute(found[2], "crossdock.refused") is True


async def test_a_transaction_that_failed_is_an_error(exporter: InMemorySpanExporter) -> None:
    """Proves that a store that takes nothing is seen in the trace, and its failure passed on."""
    exporter.clear()
    with pytest.raises(OSError, match="full"), CommitSpans([command(rpc(1))]):
        raise OSError("full")
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert attribute(span, "error.type") == "OSError"


def test_a_message_names_the_span_that_sent_it(exporter: InMemorySpanExporter) -> None:
    """Proves that each sampled message goes out below its own publish span, and the others as they
    are, with nothing else changed; and that what was not stored is an error there."""
    exporter.clear()
    headers = {"Nats-Msg-Id": "1", "traceparent": rpc(7)}
    sampled = Message(SUBJECT, b"1", headers)
    plain = Message(SUBJECT, b"2", {"traceparent": rpc(8, "00")})
    none = Message(SUBJECT, b"3")
    lost = Message("crossdock.v1.delivery.ups", b"4", {"traceparent": rpc(9)})
    messages = [sampled, plain, none, lost]
    with PublishSpans(messages) as sending:
        stored = PublishResult(Outcome.STORED, 1)
        sending.results = [stored, refused("not this one"), stored, unknown("no answer")]
    first, last = exporter.get_finished_spans()
    assert (parent_of(first), parent_of(last)) == (7, 9)
    assert first.name == "publish crossdock.v1.event.{event}.{partition}"
    assert last.name == "publish crossdock.v1.delivery.{endpoint}"
    assert (first.status.is_ok, last.status.is_ok) == (True, False)
    assert attribute(last, "error.type") == "unknown"
    assert first.context is not None
    traceparent = f"00-{TRACE}-{first.context.span_id:016x}-01"
    assert sending.messages[0] == Message(SUBJECT, b"1", {**headers, "traceparent": traceparent})
    assert sending.messages[1] is plain
    assert sending.messages[2] is none
    assert messages[0] is sampled, "a second try is below the same RPC"


def test_what_nobody_samples_is_sent_as_it_is() -> None:
    """Proves that a batch without a sampled message is not even copied."""
    messages = [Message(SUBJECT, b"", {"traceparent": rpc(1, "00")}), Message(SUBJECT, b"")]
    with PublishSpans(messages) as sending:
        assert sending.messages is messages
