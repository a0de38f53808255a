"""The Pub/Sub API as no sandbox plays it: messages that are none, and channels closed in a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from crossdock_adapters.salesforce.client import ERRORS
from crossdock_adapters.salesforce.pubsub import GRPC, Door, NoEntry, PubSub
from crossdock_adapters.sdk.auth import Token, TokenCache
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.error_table import ErrorTable, Row, Word
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry, Throttled, Unreachable

pytestmark = pytest.mark.asyncio

TOPIC = "/event/FOStatusChangedEvent"
NO_MESSAGE = b"\xff\xff"


class Bus:
    """Answers with bytes that are no message, or not at all. asked: how many calls came."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self.asked = 0

    async def get_topic(self, request: bytes, context: Any) -> bytes:
        self.asked += 1
        if not self._answers:
            await asyncio.Event().wait()
        return NO_MESSAGE

    async def subscribe(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        self.asked += 1
        if self._answers:
            yield NO_MESSAGE
        await asyncio.Event().wait()


@asynccontextmanager
async def opened(bus: Bus, errors: ErrorTable = ERRORS) -> AsyncIterator[PubSub]:
    """A client of it."""
    methods: dict[str, Any] = {
        "GetTopic": grpc.unary_unary_rpc_method_handler(bus.get_topic),
        "Subscribe": grpc.stream_stream_rpc_method_handler(bus.subscribe),
    }
    server = grpc.aio.server()
    service = grpc.method_handlers_generic_handler("eventbus.v1.PubSub", methods)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def token() -> Token:
        return Token("token", 60)

    door = Door(
        url=f"http://127.0.0.1:{port}",
        organization="00D5f000000ORGAAA1",
        tokens=TokenCache(token),
        instance_url=lambda: "",
        errors=errors,
        lost_codes=frozenset(),
        session_codes=frozenset(),
        timeout_seconds=20,
        keepalive_seconds=60,
        silence_seconds=300,
    )
    pubsub = PubSub(door)
    try:
        yield pubsub
    finally:
        await pubsub.close()
        await server.stop(None)


async def test_an_answer_that_is_none_is_no_silence() -> None:
    """Proves that bytes which are no message are told, of a call and of a stream, as trouble that
    is tried again; grpc gives nothing for them, as for silence."""
    async with opened(Bus(answers=True)) as pubsub:
        with pytest.raises(Retry, match="GetTopic cannot be read"):
            await pubsub.topic(TOPIC)
        stream = await pubsub.subscription(TOPIC, b"", "EARLIEST", 10)
        with pytest.raises(Retry, match="DATA_LOSS"):
            await pubsub.received(stream, 10)
        assert stream.ended


async def test_a_channel_that_is_closed_ends_nobody() -> None:
    """Proves that who waits for an answer when the channel is closed for another topic's sake is
    told that the vendor is not reached, instead of being cancelled."""
    bus = Bus(answers=False)
    async with opened(bus) as pubsub:
        waiting = asyncio.create_task(pubsub.topic(TOPIC))
        await until(lambda: bus.asked == 1, "the call is on its way")
        await pubsub.close()
        with pytest.raises(Unreachable, match="the connection was closed"):
            await waiting


async def test_who_is_ended_while_he_waits_ends() -> None:
    """Proves that a cancellation which is meant is not taken for a closed channel."""
    bus = Bus(answers=False)
    async with opened(bus) as pubsub:
        waiting = asyncio.create_task(pubsub.topic(TOPIC))
        await until(lambda: bus.asked == 1, "the call is on its way")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


class Refusing(Bus):
    """Refuses every call with one status."""

    def __init__(self, status: grpc.StatusCode) -> None:
        super().__init__(answers=True)
        self._status = status

    async def get_topic(self, request: bytes, context: Any) -> bytes:
        await context.abort(self._status, "no")
        raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("UNAUTHENTICATED", Retry),
        ("UNAVAILABLE", Unreachable),
        ("RESOURCE_EXHAUSTED", Throttled),
        ("PERMISSION_DENIED", NeedsPerson),
        ("NOT_FOUND", NoEntry),
        ("INVALID_ARGUMENT", NoEntry),
        ("INTERNAL", Retry),
    ],
)
async def test_a_status_means_what_its_row_says(status: str, outcome: type[Exception]) -> None:
    """Proves what each status of a call comes to, by its row in errors.toml; one without a row is
    tried again, because a stream is only listened to."""
    async with opened(Refusing(grpc.StatusCode[status])) as pubsub:
        with pytest.raises(outcome) as raised:
            await pubsub.topic(TOPIC)
    assert type(raised.value) is outcome
    assert ERRORS.names(0, f"{GRPC} {status}") == (status != "INTERNAL")


async def test_another_row_is_another_outcome() -> None:
    """Proves that the rows decide: a status whose row says something else ends otherwise."""
    errors = ErrorTable({(0, f"{GRPC} INTERNAL"): Row(Word.PERSON, "a source")})
    async with opened(Refusing(grpc.StatusCode.INTERNAL), errors) as pubsub:
        with pytest.raises(NeedsPerson, match="INTERNAL"):
            await pubsub.topic(TOPIC)
