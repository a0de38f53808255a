"""Pulls an endpoint's deliveries from JetStream, continuously: the SDK's only use of nats-py.

One inbox takes everything; the server always has a request from us for as many messages as still
fit into the buffer, renewed when half of it has come. That is several times as fast as fetching
batch after batch, and a single message arrives without a round trip. Whatever ends the stream of
messages (a lost connection, a restarted server, a consumer that was deleted and made anew, silence)
ends in the same way: bind again.

An acknowledgement may be lost with the connection: the message comes again, and the hub's ledger
knows that it was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Final

import nats.errors
from crossdock.ending import end_tasks, within
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from crossdock_adapters.sdk.bus_credentials import BusCredentials
from crossdock_adapters.sdk.consumer_client import Client
from crossdock_adapters.sdk.presence import Presence

PREFETCH: Final = 500
MAX_BATCH_MESSAGES: Final = 500
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 1.0
# The server says something at least once per heartbeat while it has a request of ours.
SILENT_HEARTBEATS: Final = 3
PULL_SECONDS: Final = 30.0
FIRST_PAUSE_SECONDS: Final = 0.05
MAX_PAUSE_SECONDS: Final = 1.0
STEADY_SECONDS: Final = 2.0
RECONNECT_PAUSE_SECONDS: Final = 0.2
CHANGE_NODE_SECONDS: Final = 5.0
PING_INTERVAL_SECONDS: Final = 5
MAX_OUTSTANDING_PINGS: Final = 2

_NANOSECONDS: Final = 1_000_000_000
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_ACK, _NAK, _IN_PROGRESS = b"+ACK", b"-NAK", b"+WPI"
_HEARTBEAT, _REQUEST_ENDED = "100", "408"
_PENDING_HEADER: Final = "Nats-Pending-Messages"
# $JS.ACK.<stream>.<consumer>.<delivered>.… or, with a domain, $JS.ACK.<domain>.<account>.…
_SHORT_ACK_TOKENS: Final = 9

log = logging.getLogger(__name__)


class PulledMessage:
    """A message that waits for its answer: ack or nak, within the ack wait.

    None of the answers raises or waits for the server: one that is lost makes the message come
    again, with a greater delivery_count.
    """

    __slots__ = ("_consumer", "_reply", "data", "headers", "received_at", "subject")

    def __init__(self, consumer: PullConsumer, message: Msg, received_at: float) -> None:
        self._consumer = consumer
        self._reply = message.reply
        self.subject = message.subject
        self.data = message.data
        self.headers: Mapping[str, str] = message.headers or _NO_HEADERS
        self.received_at = received_at

    @property
    def delivery_count(self) -> int:
        """1 for a first delivery."""
        return int(self._tokens()[0])

    @property
    def stream_sequence(self) -> int:
        """The message's place in its stream."""
        return int(self._tokens()[1])

    async def ack(self) -> None:
        """Done: the message is not sent again."""
        await self._consumer.answer(self._reply, _ACK)

    async def nak(self, delay_seconds: float = 0.0) -> None:
        """Not done: send it again, after the delay at the earliest."""
        told = json.dumps({"delay": round(delay_seconds * _NANOSECONDS)}).encode()
        await self._consumer.answer(self._reply, _NAK + b" " + told if delay_seconds else _NAK)

    async def in_progress(self) -> None:
        """Still at it: the ack wait starts anew."""
        await self._consumer.answer(self._reply, _IN_PROGRESS)

    def _tokens(self) -> list[str]:
        tokens = self._reply.split(".")
        return tokens[4 if len(tokens) <= _SHORT_ACK_TOKENS else 6 :]


class PullConsumer:
    """Binds to an existing durable pull consumer (the hub makes it) and keeps bound.

        async with PullConsumer(url, credentials, stream=…, durable="ups") as consumer:
            async for batch in consumer.batches(100):
                …
                await consumer.ack_many(batch)

    url: one server, or several separated by commas. inbox_prefix: what our bus user may subscribe
    to; "_INBOX_" and the durable's name unless told otherwise. prefetch: messages held here or on
    their way at most; no other process sees them, so an adapter that works slowly takes few.
    `trouble` says in words why nothing comes, "" when all is well.
    """

    def __init__(
        self,
        url: str,
        credentials: BusCredentials | None = None,
        *,
        stream: str,
        durable: str,
        inbox_prefix: str = "",
        prefetch: int = PREFETCH,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        if prefetch < 1:
            raise ValueError("prefetch must be at least 1")
        self._servers = [part.strip() for part in url.split(",")]
        self._credentials = credentials or BusCredentials()
        self._name = f"{stream}.{durable}"
        self._inbox_prefix = inbox_prefix or f"_INBOX_{durable}"
        self._prefetch = prefetch
        self._heartbeat_seconds = heartbeat_seconds
        self._presence = Presence(f"endpoint {durable}: the bus")
        self._client: Client | None = None
        self._subscription: Subscription | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._buffer: deque[PulledMessage] = deque()
        self._available = asyncio.Event()
        self._bind_again = asyncio.Event()
        self._reconnected = asyncio.Event()
        self._last_error = ""
        self._inbox = ""
        self._binding = 0
        self._outstanding = 0
        self._last_heard = self._steady_at = 0.0
        self._ack_wait_seconds = 0.0
        self._stopping = False

    @property
    def trouble(self) -> str:
        return self._presence.trouble

    @property
    def bindings(self) -> int:
        """How often it has bound to its consumer: 1 in a life without incident."""
        return self._binding

    async def start(self) -> PullConsumer:
        """Begin to connect, bind and pull. Returns at once; a bus that is away is waited for."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_bound(), name=f"consumer {self._name}")
        return self

    async def next(self) -> PulledMessage | None:
        """The next message; None once stopped."""
        while not self._stopping:
            self._drop_expired()
            if self._buffer:
                await self._pull(taking=1)
                if self._buffer:
                    return self._buffer.popleft()
            self._available.clear()
            await self._available.wait()
        return None

    async def batches(
        self, max_messages: int = MAX_BATCH_MESSAGES, linger_seconds: float = 0.0
    ) -> AsyncIterator[list[PulledMessage]]:
        """Lists of 1 to max_messages, as they come; it ends when stopped.

        linger_seconds: how long a list that is not full waits for more.
        """
        while not self._stopping:
            self._drop_expired()
            if self._buffer:
                if linger_seconds > 0:
                    await self._linger(min(max_messages, self._prefetch), linger_seconds)
                await self._pull(taking=min(max_messages, len(self._buffer)))
                count = min(max_messages, len(self._buffer))
                if count:
                    yield [self._buffer.popleft() for _ in range(count)]
                continue
            self._available.clear()
            await self._available.wait()

    async def ack_many(self, messages: Iterable[PulledMessage]) -> None:
        """Acknowledge several messages; as little certain, and as quick, as one."""
        for message in messages:
            await message.ack()

    async def stop(self) -> None:
        """Take no more. What was fetched and not handed out goes back to the bus at once, so that
        others get it; messages that were handed out can still be answered, until `close`."""
        if self._stopping:
            return
        self._stopping = True
        for waited in (self._available, self._bind_again, self._reconnected):
            waited.set()
        keeper, self._keeper = self._keeper, None
        if keeper:
            await end_tasks([keeper])
        await self._give_back()
        # What the server sent before it heard of the end comes now, and is returned on arrival.
        if self._subscription and self._client and self._client.is_connected:
            draining = self._subscription.drain()  # type: ignore[no-untyped-call]
            await within(CLOSE_SECONDS, draining)

    async def close(self) -> None:
        """Stop, let the last answers leave, disconnect. Takes 3 s at most, and 5 more where nats-py
        misses that it is cancelled; repeatable.

        nats-py's own drain() of a connection is not used: it can hang for 30 s.
        """
        await self.stop()
        client, self._client = self._client, None
        if client:
            if client.is_connected:
                await within(CLOSE_SECONDS, client.flush())
            await within(CLOSE_SECONDS, client.close())

    async def __aenter__(self) -> PullConsumer:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def answer(self, reply: str, word: bytes) -> None:
        """Send one of JetStream's answers to a message; lost without a word when disconnected."""
        client = self._client
        if client is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.publish(reply, word)

    # Staying bound

    async def _keep_bound(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_SECONDS
        # Whatever waits within nats-py may miss that it is cancelled (see crossdock.ending).
        while not self._stopping:
            bound_at = loop.time()
            try:
                client = await self._connected()
                await self._bind(client)
                self._steady_at = loop.time()
                self._last_error = ""
                self._presence.back()
                trouble = await self._until_unbound(client)
            except _NotYet as error:
                trouble = str(error)
            except (nats.errors.Error, OSError, ValueError, KeyError) as error:
                trouble = f"{type(error).__name__}: {error}"
            if loop.time() - bound_at > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            if trouble:
                self._presence.gone(trouble)
                await self._change_node()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._reconnected.wait()
            pause = FIRST_PAUSE_SECONDS if self._reconnected.is_set() else pause * 2
            pause = min(pause, MAX_PAUSE_SECONDS)
            self._reconnected.clear()

    async def _change_node(self) -> None:
        """Leave a node that is there and binds nothing: it may be parted from the others."""
        client, now = self._client, asyncio.get_running_loop().time()
        late = len(self._servers) > 1 and now - self._steady_at > CHANGE_NODE_SECONDS
        if late and client and client.is_connected:
            self._steady_at = now
            await client.force_reconnect()

    async def _connected(self) -> Client:
        """A connected client: the one we have, or a new one where it was given up."""
        if self._client is not None and not self._client.is_closed:
            if not self._client.is_connected:
                raise _NotYet(self._away())
            return self._client
        client = Client()
        opening = asyncio.ensure_future(client.connect(**self._options()))
        try:
            await asyncio.wait({opening}, timeout=CONNECT_SECONDS)
            if not opening.done():
                raise _NotYet(self._away())
            opening.result()
        except BaseException:
            # First the one, then the other: what is closed while it connects stays open.
            await end_tasks([opening])
            await within(CLOSE_SECONDS, client.close())
            raise
        self._client, self._last_error = client, ""
        return client

    def _options(self) -> dict[str, Any]:
        return {
            "servers": self._servers,
            "name": f"crossdock-adapter {self._name}",
            "inbox_prefix": self._inbox_prefix,
            "connect_timeout": ANSWER_SECONDS,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RECONNECT_PAUSE_SECONDS,
            "ping_interval": PING_INTERVAL_SECONDS,
            "max_outstanding_pings": MAX_OUTSTANDING_PINGS,
            # Answers kept for a lost connection would tell a restarted server of other messages.
            "pending_size": 0,
            # Subjects come from the server or from here; checking each costs a tenth of the rate.
            "skip_subject_validation": True,
            "error_cb": self._on_error,
            "reconnected_cb": self._on_reconnected,
            "disconnected_cb": self._on_disconnected,
        } | self._credentials.client_options()

    async def _on_error(self, error: Exception) -> None:
        self._last_error = str(error)
        if self._client is None:
            self._presence.gone(self._away())
        log.debug("consumer %s: %s", self._name, self._last_error)

    async def _on_disconnected(self) -> None:
        self._outstanding = 0
        self._bind_again.set()

    async def _on_reconnected(self) -> None:
        self._bind_again.set()
        self._reconnected.set()

    def _away(self) -> str:
        because = f": {self._last_error}" if self._last_error else ""
        return f"no connection{because}"

    async def _bind(self, client: Client) -> None:
        """Look at the consumer, then pull from it into a fresh inbox."""
        self._bind_again.clear()
        old, self._subscription = self._subscription, None
        if old is not None:
            with contextlib.suppress(nats.errors.Error):
                await old.unsubscribe()
        self._ack_wait_seconds = await self._look_at_consumer(client)
        self._binding += 1
        self._outstanding = 0
        self._last_heard = asyncio.get_running_loop().time()
        self._inbox = client.new_inbox()
        self._subscription = await client.subscribe(
            self._inbox, cb=self._receiver(self._binding), pending_bytes_limit=0
        )
        await self._pull()

    async def _look_at_consumer(self, client: Client) -> float:
        """The consumer's ack wait. _NotYet: it is not there, or not as the hub makes it."""
        try:
            answer = await client.request(
                f"$JS.API.CONSUMER.INFO.{self._name}", b"", ANSWER_SECONDS
            )
        except nats.errors.NoRespondersError:
            raise _NotYet("JetStream is not up") from None
        except nats.errors.TimeoutError:
            denied = "permissions" in self._last_error
            raise _NotYet(self._last_error if denied else "JetStream does not answer") from None
        told = json.loads(answer.data)
        if error := told.get("error"):
            raise _NotYet(f"consumer {self._name}: {error.get('description')}")
        config = told["config"]
        if config.get("ack_policy") != "explicit" or config.get("deliver_subject"):
            raise _NotYet(f"consumer {self._name} is no pull consumer with explicit acks")
        return float(config["ack_wait"]) / _NANOSECONDS

    async def _until_unbound(self, client: Client) -> str:
        """Returns when it has to bind again: with the reason, "" where that is nobody's trouble."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat_seconds):
                    await self._bind_again.wait()
            if self._stopping:
                return ""
            if not client.is_connected:
                return self._away()
            if self._bind_again.is_set():
                return self._last_error
            silent_seconds = loop.time() - self._last_heard
            if self._outstanding and silent_seconds > self._heartbeat_seconds * SILENT_HEARTBEATS:
                return f"no word from the bus for {silent_seconds:.1f} s"
            await self._pull()

    # Pulling

    async def _pull(self, taking: int = 0) -> None:
        """Ask for what fits, when that is half of the buffer or when nothing is asked for."""
        free = self._prefetch - self._outstanding - len(self._buffer) + taking
        if self._stopping or free <= 0 or (self._outstanding and free * 2 < self._prefetch):
            return
        client = self._client
        if client is None or self._subscription is None or not client.is_connected:
            return
        wanted = {
            "batch": free,
            "expires": round(PULL_SECONDS * _NANOSECONDS),
            "idle_heartbeat": round(self._heartbeat_seconds * _NANOSECONDS),
        }
        self._outstanding += free
        try:
            await client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._name}", json.dumps(wanted).encode(), self._inbox
            )
        except (nats.errors.Error, OSError):
            self._bind_again.set()

    def _receiver(self, binding: int) -> Any:
        time = asyncio.get_running_loop().time

        async def receive(message: Msg) -> None:
            if not message.reply:
                await self._status(message, binding)
                return
            pulled = PulledMessage(self, message, time())
            if self._stopping:
                await pulled.nak()
                return
            self._buffer.append(pulled)
            if not self._available.is_set():
                self._available.set()
            if binding == self._binding:
                self._last_heard = pulled.received_at
                if self._outstanding > 0:
                    self._outstanding -= 1
                if self._outstanding * 2 <= self._prefetch:
                    await self._pull()

        return receive

    async def _status(self, message: Msg, binding: int) -> None:
        """The server on our requests: alive, ended, or impossible."""
        if binding != self._binding:
            return
        self._last_heard = asyncio.get_running_loop().time()
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status == _HEARTBEAT:
            return
        if status == _REQUEST_ENDED:
            unserved = int(headers.get(_PENDING_HEADER, self._outstanding))
            self._outstanding = max(0, self._outstanding - unserved)
            await self._pull()
            return
        # 409 and 503: the consumer was deleted, or moved, or is not what we took it for.
        self._last_error = f"{status} {headers.get('Description', '').strip()}".strip()
        self._outstanding = 0
        self._bind_again.set()

    # The buffer

    def _drop_expired(self) -> None:
        """Forget what the server sends again anyway, because nobody took it within the ack wait."""
        if not self._buffer:
            return
        oldest = asyncio.get_running_loop().time() - self._ack_wait_seconds
        while self._buffer and self._buffer[0].received_at < oldest:
            self._buffer.popleft()

    async def _linger(self, enough: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while len(self._buffer) < enough and not self._stopping:
            left = deadline - loop.time()
            if left <= 0:
                return
            self._available.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._available.wait()

    async def _give_back(self) -> None:
        while self._buffer:
            await self._buffer.popleft().nak()


class _NotYet(Exception):
    """Binding is not possible now; the text says why."""
