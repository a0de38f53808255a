"""The simulated event bus: topics with retention, and the Pub/Sub API over real gRPC.

Replay ids are opaque: they grow in steps that nobody can compute, and those of events that are not
retained any more are refused as corrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc

from crossdock_adapters.salesforce.stubs import pubsub_api_pb2, pubsub_api_pb2_grpc
from crossdock_adapters.sdk.faults import FaultKind
from crossdock_adapters.sdk.sandbox import CallFailed, ReplyLost
from crossdock_adapters.sdk.sandbox_server import Listener

if TYPE_CHECKING:
    from crossdock_adapters.sdk.sandbox import Sandbox

CODES: Final = "sfdc.platform.eventbus.grpc."
CORRUPTED: Final = f"{CODES}subscription.fetch.replayid.corrupted"
AUTH_ERROR: Final = f"{CODES}service.auth.error"
LIMIT_EXCEEDED: Final = f"{CODES}subscription.limit.exceeded"
INVALID: Final = f"{CODES}subscription.fetch.invalid"
MAX_REQUESTED: Final = 100
REPLAY_BYTES: Final = 10
RETENTION: Final = timedelta(hours=72)
MAX_EVENTS: Final = 50_000
REBIND_ATTEMPTS: Final = 50
REBIND_PAUSE_SECONDS: Final = 0.02
_Status = grpc.StatusCode


@dataclass(slots=True)
class Stored:
    """One retained event."""

    replay: int
    event: pubsub_api_pb2.ProducerEvent
    time: datetime

    def as_sent(self) -> pubsub_api_pb2.ConsumerEvent:
        return pubsub_api_pb2.ConsumerEvent(event=self.event, replay_id=replay_bytes(self.replay))


@dataclass(slots=True)
class Topic:
    """One topic. oldest: replay ids below it are not known any more; newest: the last one given."""

    name: str
    schema_id: str
    events: list[Stored] = field(default_factory=list)
    oldest: int = 0
    newest: int = 1_000

    def after(self, replay: int, most: int) -> list[Stored]:
        return [each for each in self.events if each.replay > replay][:most]

    def forget(self, before: datetime) -> None:
        """Drop what is older."""
        while self.events and self.events[0].time < before:
            self.oldest = self.events.pop(0).replay

    def position(self, request: pubsub_api_pb2.FetchRequest) -> int | None:
        """Behind which event a subscription begins; None: its replay id is not known any more."""
        if request.replay_preset == pubsub_api_pb2.LATEST:
            return self.newest
        if request.replay_preset == pubsub_api_pb2.EARLIEST:
            return self.oldest
        if len(request.replay_id) != REPLAY_BYTES:
            return None
        replay = int.from_bytes(request.replay_id, "big")
        return replay if self.oldest <= replay <= self.newest else None


@dataclass(slots=True)
class Bus:
    """Every topic and schema of the org."""

    random: Random
    topics: dict[str, Topic] = field(default_factory=dict)
    schemas: dict[str, str] = field(default_factory=dict)
    waiting: set[asyncio.Event] = field(default_factory=set)

    def publish(self, topic: str, event: pubsub_api_pb2.ProducerEvent, now: datetime) -> bytes:
        """Retain an event and wake who waits; its replay id. KeyError: no such topic."""
        found = self.topics[topic]
        found.newest += self.random.randint(1, 40)
        found.events.append(Stored(found.newest, event, now))
        del found.events[:-MAX_EVENTS]
        self.wake()
        return replay_bytes(found.newest)

    def wake(self) -> None:
        for each in self.waiting:
            each.set()


def replay_bytes(replay: int) -> bytes:
    return replay.to_bytes(REPLAY_BYTES, "big")


@dataclass(slots=True)
class House:
    """What the service knows: the bus, whose tokens are open, which org it is of."""

    bus: Bus
    is_open: Callable[[str], bool]
    organization: str
    instance_url: Callable[[], str]
    keepalive_seconds: float
    events_in_response: int
    loses_replay: Callable[[], bool] = lambda: False
    ends_stream: Callable[[], bool] = lambda: False
    refuses_with: grpc.StatusCode = grpc.StatusCode.UNAUTHENTICATED


class Service(pubsub_api_pb2_grpc.PubSubServicer):
    """The RPCs. Each call is logged, and struck by the faults that a stream can show."""

    def __init__(self, sandbox: Sandbox, house: House) -> None:
        self._sandbox = sandbox
        self._house = house
        self._rpcs = 0

    async def GetTopic(self, request: Any, context: Any) -> pubsub_api_pb2.TopicInfo:
        await self._enter("get_topic", request.topic_name, context)
        topic = await self._topic(request.topic_name, context)
        return pubsub_api_pb2.TopicInfo(
            topic_name=topic.name,
            tenant_guid=self._house.organization,
            can_subscribe=True,
            schema_id=topic.schema_id,
            rpc_id=self._rpc_id(),
        )

    async def GetSchema(self, request: Any, context: Any) -> pubsub_api_pb2.SchemaInfo:
        await self._enter("get_schema", request.schema_id, context)
        text = self._house.bus.schemas.get(request.schema_id)
        if text is None:
            await self._refuse(context, _Status.NOT_FOUND, f"{CODES}schema.not.found")
        return pubsub_api_pb2.SchemaInfo(
            schema_json=text, schema_id=request.schema_id, rpc_id=self._rpc_id()
        )

    async def Subscribe(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[pubsub_api_pb2.FetchResponse]:
        token = await self._enter("subscribe", "", context)
        first = await anext(aiter(request_iterator))
        topic = await self._topic(first.topic_name, context)
        await self._check_credit(first, context)
        position = topic.position(first)
        custom = first.replay_preset == pubsub_api_pb2.CUSTOM
        if position is None or (custom and self._house.loses_replay()):
            await self._refuse(context, _Status.INVALID_ARGUMENT, CORRUPTED)
        stream = _Stream(topic, position, first.num_requested)
        self._house.bus.waiting.add(stream.wake)
        reader = asyncio.create_task(stream.read(request_iterator))
        try:
            while not stream.ended:
                if not self._house.is_open(token):
                    await self._refuse(context, self._house.refuses_with, AUTH_ERROR)
                if stream.wrong:
                    await self._refuse(context, _Status.INVALID_ARGUMENT, INVALID)
                if self._house.ends_stream():
                    return
                response = await self._next(stream)
                if response is not None:
                    yield response
        finally:
            self._house.bus.waiting.discard(stream.wake)
            reader.cancel()

    async def _next(self, stream: _Stream) -> pubsub_api_pb2.FetchResponse | None:
        """Events there is credit for; else, after a long silence, a sign of life."""
        stream.wake.clear()
        most = min(stream.credit, self._house.events_in_response)
        found = stream.topic.after(stream.position, most)
        left = stream.spoke + self._house.keepalive_seconds - time.monotonic()
        if not found and left > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await stream.wake.wait()
            return None
        if found:
            stream.position = found[-1].replay
        elif not stream.topic.after(stream.position, 1):
            # Silence: nothing that this stream was not shown lies before the newest id.
            stream.position = stream.topic.newest
        stream.credit -= len(found)
        stream.spoke = time.monotonic()
        return pubsub_api_pb2.FetchResponse(
            events=[each.as_sent() for each in found],
            latest_replay_id=replay_bytes(stream.position),
            rpc_id=self._rpc_id(),
            pending_num_requested=stream.credit,
        )

    async def _enter(self, operation: str, what: str, context: Any) -> str:
        """The token of a caller who may come in, under the faults in force."""
        metadata = dict(context.invocation_metadata())
        token = str(metadata.get("accesstoken", ""))
        fits = (
            self._house.is_open(token)
            and metadata.get("tenantid") == self._house.organization
            and metadata.get("instanceurl") == self._house.instance_url()
        )
        if not fits:
            await self._refuse(context, self._house.refuses_with, AUTH_ERROR)
        try:
            await self._sandbox.played(operation, what, False, _nothing)
        except CallFailed as failed:
            throttled = failed.fault.kind is FaultKind.THROTTLE
            status = _Status.RESOURCE_EXHAUSTED if throttled else _Status.INTERNAL
            code = LIMIT_EXCEEDED if throttled else f"{CODES}service.fault"
            await self._refuse(context, status, code)
        except ReplyLost:
            await self._refuse(context, _Status.UNAVAILABLE, "")
        return token

    async def _topic(self, name: str, context: Any) -> Topic:
        found = self._house.bus.topics.get(name)
        if found is None:
            await self._refuse(context, _Status.NOT_FOUND, f"{CODES}topic.not.found")
        found.forget(datetime.now(UTC) - RETENTION)
        return found

    async def _check_credit(self, request: Any, context: Any) -> None:
        if not 1 <= request.num_requested <= MAX_REQUESTED:
            await self._refuse(context, _Status.INVALID_ARGUMENT, INVALID)

    async def _refuse(self, context: Any, status: grpc.StatusCode, code: str) -> NoReturn:
        trailer = (("error-code", code), ("rpc-id", self._rpc_id()))
        await context.abort(status, f"{code} rpcId: {self._rpc_id()}", trailer)
        raise AssertionError("the call is aborted")

    def _rpc_id(self) -> str:
        self._rpcs += 1
        return f"rpc-{self._rpcs:06d}"


class _Stream:
    """One subscriber: where it stands, and for how many more it asked."""

    def __init__(self, topic: Topic, position: int, credit: int) -> None:
        self.topic = topic
        self.position = position
        self.credit = credit
        self.wake = asyncio.Event()
        self.spoke = time.monotonic()
        self.ended = False
        self.wrong = False

    async def read(self, requests: Any) -> None:
        async for request in requests:
            other = request.topic_name not in ("", self.topic.name)
            self.credit += request.num_requested
            self.wrong |= other or not 1 <= request.num_requested <= MAX_REQUESTED
            self.wrong |= self.credit > MAX_REQUESTED
            self.wake.set()
        self.ended = True
        self.wake.set()


class OrgPort:
    """Both ports of the org: REST, which is the vendor's port of the frame, and the Pub/Sub API."""

    def __init__(self, listener: Listener, service: Service, host: str, wanted_port: int) -> None:
        self._listener = listener
        self._service = service
        self._host = host
        self._server: grpc.aio.Server | None = None
        self.port = 0
        self.pubsub_port = wanted_port

    @property
    def listening(self) -> bool:
        return self._listener.listening

    async def start(self) -> None:
        """Bind both. OSError when a port is taken."""
        await self._listener.start()
        self.port = self._listener.port
        await self._open_pubsub()

    async def open(self) -> None:
        """Serve (again) on the ports held."""
        await self._listener.open()
        await self._open_pubsub()

    async def close(self) -> None:
        """Refuse and cut every connection of both."""
        await self._listener.close()
        await self._close_pubsub()

    async def stop(self) -> None:
        """Close for good."""
        await self._listener.stop()
        await self._close_pubsub()

    async def _open_pubsub(self) -> None:
        if self._server is not None:
            return
        for attempt in range(REBIND_ATTEMPTS):
            server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            pubsub_api_pb2_grpc.add_PubSubServicer_to_server(self._service, server)
            try:
                port = server.add_insecure_port(f"{self._host}:{self.pubsub_port}")
            except RuntimeError:
                if attempt == REBIND_ATTEMPTS - 1:
                    raise OSError(f"port {self.pubsub_port} is taken") from None
                await asyncio.sleep(REBIND_PAUSE_SECONDS)
                continue
            await server.start()
            self._server, self.pubsub_port = server, port
            return

    async def _close_pubsub(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)


async def _nothing() -> None:
    return None
