"""Salesforce's Pub/Sub API as a gRPC client: subscriptions with credit, schemas by id; no orders.

Every error ends a stream, and says by status and trailer what it was: a replay id that is not known
any more is `ReplayLost`; a token that is refused is forgotten, so that the next stream has a new
one; everything else waits for the poll's back-off.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import grpc

from crossdock_adapters.salesforce import avro
from crossdock_adapters.salesforce.stubs import pubsub_api_pb2, pubsub_api_pb2_grpc
from crossdock_adapters.sdk.auth import TokenCache
from crossdock_adapters.sdk.error_table import ErrorTable, Word
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry, Throttled, Unreachable
from crossdock_adapters.sdk.places import Unreadable

log = logging.getLogger(__name__)

# The most that the service lets anybody ask for at once.
MAX_REQUESTED: Final = 100
KEEPALIVE_TIMEOUT_MILLISECONDS: Final = 20_000
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
MAX_METADATA_BYTES: Final = 32 * 1024
MAX_SCHEMAS: Final = 200
MAX_SEEN: Final = 10_000
DEFAULT_PORT: Final = 7443
# The trailer in which the service says its own code.
ERROR_CODE: Final = "error-code"
_CODE: Final = re.compile(r"sfdc\.[a-z0-9.]+")
# What a write meets when its stream is over: the reader knows why.
ENDED: Final = (grpc.RpcError, asyncio.InvalidStateError, Unreachable)
# How codes of errors.toml begin that are statuses of calls here.
GRPC: Final = "grpc"


class NoEntry(NeedsPerson):
    """The service has nothing of that name or id."""


class ReplayLost(Exception):
    """The service does not know our replay id any more: what came since then may be gone."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where the service is and who asks. instance_url: as the last token's answer said it. errors:
    what a status means, by code "grpc" and its name."""

    url: str
    organization: str
    tokens: TokenCache
    instance_url: Callable[[], str]
    errors: ErrorTable
    lost_codes: frozenset[str]
    session_codes: frozenset[str]
    timeout_seconds: float
    keepalive_seconds: float
    silence_seconds: float


class PubSub:
    """One channel to the event bus, the streams that are open on it, and the schemas it gave."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._channel: grpc.aio.Channel | None = None
        self._schemas: OrderedDict[str, avro.Schema] = OrderedDict()
        self._streams: dict[str, Subscription] = {}

    async def close(self) -> None:
        """End every stream and the channel."""
        for topic in list(self._streams):
            self.drop(topic)
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def topic(self, name: str) -> pubsub_api_pb2.TopicInfo:
        """What a topic is. NeedsPerson: there is none, or we may not subscribe to it."""
        request = pubsub_api_pb2.TopicRequest(topic_name=name)
        info: pubsub_api_pb2.TopicInfo = await self._asked("GetTopic", request, name)
        if not info.can_subscribe:
            raise NeedsPerson(f"topic {name}: the user may not subscribe to it")
        return info

    async def schema(self, schema_id: str) -> avro.Schema:
        """A schema, asked for once. Unreadable: there is none of that id, or it is no schema.
        NeedsPerson: we may not read it."""
        found = self._schemas.get(schema_id)
        if found is not None:
            self._schemas.move_to_end(schema_id)
            return found
        request = pubsub_api_pb2.SchemaRequest(schema_id=schema_id)
        try:
            info = await self._asked("GetSchema", request, f"schema {schema_id}")
        except NoEntry:
            raise Unreadable("the service knows no such schema", "/schema_id") from None
        found = avro.schema_of(info.schema_json)
        self._schemas[schema_id] = found
        while len(self._schemas) > MAX_SCHEMAS:
            self._schemas.popitem(last=False)
        return found

    def is_open(self, topic: str, replay_id: bytes) -> bool:
        """Whether there is a stream of a topic that stands behind this replay id."""
        held = self._streams.get(topic)
        return held is not None and held.kept == replay_id and not held.ended

    async def subscription(self, topic: str, replay_id: bytes, preset: str, size: int) -> Any:
        """The open stream of a topic, if it stands behind this replay id; else a new one.

        preset: LATEST or EARLIEST, where there is no replay id.
        """
        if self.is_open(topic, replay_id):
            return self._streams[topic]
        self.drop(topic)
        request = pubsub_api_pb2.FetchRequest(
            topic_name=topic,
            num_requested=size,
            replay_preset="CUSTOM" if replay_id else preset,  # type: ignore[arg-type]
            replay_id=replay_id,
        )
        token = await self._door.tokens.get()
        call = self._stub().Subscribe(metadata=self._metadata(token))
        stream = Subscription(topic, call, size, replay_id, token)
        self._streams[topic] = stream
        try:
            await stream.begin(request)
        except ENDED:
            log.debug("topic %s: the stream ended before it began", topic)
        return stream

    async def received(self, stream: Subscription, seconds: float) -> Any:
        """The next FetchResponse of a stream; None: none came in time.

        ReplayLost, or what the end of the stream means for trying again. Unreachable: nothing came
        for longer than the service is ever silent, so the connection is given up, although whatever
        is between it and us may answer its pings.
        """
        try:
            came = await stream.next(seconds)
        except grpc.aio.AioRpcError as error:
            self.drop(stream.topic)
            if code_of(error) in self._door.lost_codes:
                raise ReplayLost(code_of(error)) from None
            what = f"topic {stream.topic}, rpc {stream.rpc_id or 'unknown'}"
            self._raise(error, what, stream.token)
        if came is None and stream.silent_seconds > self._door.silence_seconds:
            await self.close()
            what = f"topic {stream.topic}, rpc {stream.rpc_id or 'unknown'}"
            limit = f"{self._door.silence_seconds:g} s"
            raise Unreachable(0.0, f"{what}: no sign of life for {limit}; connecting again")
        if came is not None and not stream.rpc_id:
            # What the vendor's support asks for.
            log.info("topic %s: subscribed, rpc %s", stream.topic, came.rpc_id)
            stream.rpc_id = came.rpc_id
        return came

    def drop(self, topic: str) -> None:
        """End the stream of a topic, if there is one."""
        stream = self._streams.pop(topic, None)
        if stream is not None:
            stream.cancel()

    async def _asked(self, method: str, request: Any, what: str) -> Any:
        for attempt in (1, 2):
            token = await self._door.tokens.get()
            call = getattr(self._stub(), method)(
                request, metadata=self._metadata(token), timeout=self._door.timeout_seconds
            )
            try:
                answer = await _of_channel(call, what)
            except grpc.aio.AioRpcError as error:
                if self._is_session_lost(error) and attempt == 1:
                    self._door.tokens.invalidate(token)
                    continue
                self._raise(error, what, token)
            if answer is None:
                # That is how grpc tells of a message that it cannot read.
                raise Retry(0.0, f"{what}: the answer of {method} cannot be read")
            return answer
        raise AssertionError("the second attempt returns or raises")

    def _raise(self, error: grpc.aio.AioRpcError, what: str, token: str) -> NoReturn:
        """What an error means. Of its text only the service's own code is repeated."""
        status, code = error.code(), code_of(error)
        said = f"{what}: Pub/Sub says {status.name} {code}".rstrip()
        log.warning("%s", said)
        if self._is_session_lost(error):
            self._door.tokens.invalidate(token)
            raise Retry(0.0, said) from None
        row = self._door.errors.row(0, f"{GRPC} {status.name}")
        match row.word:
            case Word.THROTTLED:
                raise Throttled(row.pause_seconds, said) from None
            case Word.PERSON:
                raise NeedsPerson(f"{said}; the user needs the right to this event") from None
            case Word.REJECTED:
                raise NoEntry(f"{said}; check its name") from None
        # grpc's own word for a channel without a connection: the vendor has said nothing.
        lost = status is grpc.StatusCode.UNAVAILABLE
        raise (Unreachable if lost else Retry)(row.pause_seconds, said) from None

    def _is_session_lost(self, error: grpc.aio.AioRpcError) -> bool:
        """By the code first: with which status that comes is not published."""
        told = code_of(error) in self._door.session_codes
        return told or error.code() is grpc.StatusCode.UNAUTHENTICATED

    def _metadata(self, token: str) -> tuple[tuple[str, str], ...]:
        return (
            ("accesstoken", token),
            ("instanceurl", self._door.instance_url()),
            ("tenantid", self._door.organization),
        )

    def _stub(self) -> Any:
        if self._channel is None:
            parts = urlsplit(self._door.url)
            target = f"{parts.hostname}:{parts.port or DEFAULT_PORT}"
            options = [
                ("grpc.keepalive_time_ms", int(self._door.keepalive_seconds * 1000)),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MILLISECONDS),
                ("grpc.http2.max_pings_without_data", 0),
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 5_000),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ]
            if parts.scheme == "https":
                secure = grpc.ssl_channel_credentials()
                self._channel = grpc.aio.secure_channel(target, secure, options=options)
            else:
                self._channel = grpc.aio.insecure_channel(target, options=options)
        return pubsub_api_pb2_grpc.PubSubStub(self._channel)


class Seen:
    """Events that are told already, by their own id. The oldest go first: the hub knows the facts
    of those anyway, this saves reading their records again."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def add(self, event_id: str) -> None:
        self._ids[event_id] = None
        while len(self._ids) > MAX_SEEN:
            self._ids.popitem(last=False)


class Subscription:
    """One Subscribe stream. What comes is read beside it: a reader that waits for a while and gives
    up would end the call. Credit bounds what can lie here unread: it is counted here, because the
    service's own count in a response is of when that left, and more may have been asked for since.

    kept: the replay id that the hub has of this topic. token: what it was opened with.
    """

    def __init__(self, topic: str, call: Any, size: int, kept: bytes, token: str) -> None:
        self.topic = topic
        self.kept = kept
        self.token = token
        self.rpc_id = ""
        self.ended = False
        self._call = call
        self._size = min(size, MAX_REQUESTED)
        self._outstanding = self._size
        self._heard_at = time.monotonic()
        self._came: asyncio.Queue[Any] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None

    async def begin(self, request: pubsub_api_pb2.FetchRequest) -> None:
        """Say topic and place, and ask for the first events."""
        self._reader = asyncio.create_task(self._read(), name=f"topic {self.topic}")
        await _of_channel(self._call.write(request), f"topic {self.topic}")

    async def next(self, seconds: float) -> Any:
        """What came; None: nothing in time. AioRpcError, Unreachable: the stream has ended."""
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                came = await self._came.get()
        except TimeoutError:
            return None
        if isinstance(came, Exception):
            self.ended = True
            raise came
        return came

    @property
    def silent_seconds(self) -> float:
        """Since when nothing came."""
        return time.monotonic() - self._heard_at

    async def grant(self, done: int) -> None:
        """So many events are dealt with; ask for more once half of what may be outstanding is."""
        self._outstanding -= done
        if self._outstanding > self._size // 2:
            return
        wanted = self._size - self._outstanding
        self._outstanding = self._size
        more = pubsub_api_pb2.FetchRequest(topic_name=self.topic, num_requested=wanted)
        try:
            await _of_channel(self._call.write(more), f"topic {self.topic}")
        except ENDED:
            # It has ended: the reader has why, and the next one who asks is told.
            log.debug("topic %s: no more can be asked for", self.topic)

    def cancel(self) -> None:
        """End it."""
        self.ended = True
        self._call.cancel()
        if self._reader is not None:
            self._reader.cancel()

    async def _next_read(self) -> Any:
        return await _of_channel(self._call.read(), f"topic {self.topic}")

    async def _read(self) -> None:
        try:
            while (came := await self._next_read()) is not grpc.aio.EOF:
                if came is None:
                    # That is how grpc tells of a message that it cannot read: it is no silence.
                    self._came.put_nowait(_error(grpc.StatusCode.DATA_LOSS))
                    return
                self._heard_at = time.monotonic()
                self._came.put_nowait(came)
            # A server that ends a stream in order, as for its maintenance.
            self._came.put_nowait(_error(grpc.StatusCode.ABORTED))
        except Exception as error:
            # Whatever it is, whoever waits has to hear that nothing comes any more.
            self._came.put_nowait(error)


async def _of_channel(waited_for: Awaitable[Any], what: str) -> Any:
    """What a call gives. Unreachable: its channel was closed, for another topic's sake perhaps.

    grpc tells that as a cancellation, and would end whoever waits, whom nobody wanted to end.
    """
    try:
        return await waited_for
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unreachable(0.0, f"{what}: the connection was closed") from None


def _error(status: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata())


def code_of(error: grpc.aio.AioRpcError) -> str:
    """The service's own code for an error: of the trailer, else of the text; "": it has none."""
    for name, value in error.trailing_metadata() or ():
        if name == ERROR_CODE:
            return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    found = _CODE.search(error.details() or "")
    return found.group() if found else ""
