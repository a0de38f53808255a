"""The bus: the hub's only use of nats-py. Its exceptions end here, as those of `bus.errors`.

What nats-py does by itself, and is not wanted, is switched off: it gives up after 60 attempts, sees
a half-open link after minutes, publishes what was meant for a lost connection later, and reports a
missing permission as a time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import nats.errors
import structlog
from crossdock.ending import within
from nats.aio.msg import Msg

from crossdock_hub.bus.address import BusAddress, BusHealth, starting
from crossdock_hub.bus.errors import (
    BusDenied,
    BusError,
    BusRefused,
    BusUnavailable,
    PublishUnknown,
)
from crossdock_hub.bus.jetstream_client import Client
from crossdock_hub.bus.jetstream_listening import Listener
from crossdock_hub.bus.node_changes import NodeChanges
from crossdock_hub.bus.publishing import (
    PERMISSION_DENIED,
    STATUS_NO_RESPONDERS,
    Flights,
    Message,
    Outcome,
    PublishResult,
    batch_headers,
    batch_results,
    chain,
    in_order,
    publish_slice,
    refused,
    result_of,
    slices,
    unknown,
)
from crossdock_hub.bus.stream_administration import CALL_TIMEOUT_SECONDS, StreamAdministration
from crossdock_hub.bus.streams import MAX_MESSAGE_BYTES

CONNECT_TIMEOUT_SECONDS: Final = 10.0
PUBLISH_TIMEOUT_SECONDS: Final = 3.0
CLOSE_TIMEOUT_SECONDS: Final = 2.0
PING_INTERVAL_SECONDS: Final = 5
MAX_OUTSTANDING_PINGS: Final = 2
RECONNECT_PAUSE_SECONDS: Final = 0.2
# Of each subject, which is each endpoint's own: more than one turn of the dispatcher.
MAX_IN_FLIGHT: Final = 256
# Of what has arrived on one subscription and is not looked at yet. Beyond it nats-py drops what
# comes and says so to `_on_error`; whoever waits for an answer then asks again.
MAX_PENDING_MESSAGES: Final = 65_536
MAX_PENDING_BYTES: Final = 64 * 1024 * 1024
_DENIED: Final = re.compile(
    r'permissions violation for (?:publish|subscription) to "([^"]+)"', re.I
)

log = structlog.get_logger("crossdock.bus")


@dataclass(slots=True)
class _Waiting:
    """Someone waits for the answer to what was published on `subject`."""

    subject: str
    answer: asyncio.Future[Msg]


class Bus(StreamAdministration):
    """One connection to NATS, kept for as long as the process lives. Made by `connect`.

    Safe for any number of concurrent callers on its event loop.
    """

    def __init__(
        self,
        on_closed: Callable[[str], None] | None,
        on_reconnected: Callable[[], None] | None,
    ) -> None:
        self._client = Client()
        self._on_closed = on_closed
        self._on_back = on_reconnected
        self._health = starting("the bus connection")
        self._closing = False
        self._last_error = ""
        self._denied: asyncio.Future[str] | None = None
        self._inbox = ""
        self._tokens = itertools.count()
        self._waiting: dict[str, _Waiting] = {}
        self._flights = Flights(MAX_IN_FLIGHT)
        self._changes = NodeChanges()

    # Connection

    @classmethod
    async def connect(
        cls,
        address: BusAddress,
        *,
        name: str = "crossdock-hub",
        inbox_prefix: str = "_INBOX",
        on_closed: Callable[[str], None] | None = None,
        on_reconnected: Callable[[], None] | None = None,
        timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
    ) -> Bus:
        """Connect, and from then on reconnect for ever.

        on_closed: called with the reason when the connection is given up for good, which only a
        server's refusal causes; the process should end then. on_reconnected: called when the
        connection is back; streams in memory may be gone then. BusUnavailable: nobody answers.
        BusDenied: the credentials are refused.
        """
        bus = cls(on_closed, on_reconnected)
        try:
            await bus._open(address, _options(address, name, inbox_prefix), timeout_seconds)
        except BaseException:
            bus._closing = True
            await bus._shut()
            raise
        return bus

    @property
    def health(self) -> BusHealth:
        """ok: connected. It says nothing about JetStream's disk; `EmbeddedNats.health` does."""
        connected = self._client.is_connected
        reason = "connected" if connected else f"not connected to the bus{self._because()}"
        self._health = self._health.now(connected, reason)
        self._changes.look(connected, self._last_error)
        return self._health

    @property
    def message_bytes_max(self) -> int:
        """The largest message that the server takes which we are connected to."""
        return int(self._client.max_payload)

    async def round_trip_seconds(self) -> float:
        """How long the server takes to answer a ping. BusUnavailable: it does not."""
        with _translated("ping"):
            self._require_connection()
            return float(await self._client.rtt(timeout=int(CALL_TIMEOUT_SECONDS)))

    async def change_node(self) -> None:
        """Go to another node, if the bus has one and that was not done just now: this one answers
        pings, but may be parted from those with which it would serve streams. Never raises."""
        several = len(self._client.servers) > 1
        if several and self._client.is_connected and self._changes.begin():
            await self._client.force_reconnect()

    def served(self) -> None:
        """JetStream has answered."""
        self._changes.answered()

    async def close(self) -> None:
        """Give what was published a moment to leave, then close. Never hangs; repeatable.

        nats-py's drain() is not used: it waits 30 s for subscriptions that timed out.
        """
        self._closing = True
        if self._client.is_connected:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await self._client.flush()
        await self._shut()

    # Publishing

    async def publish(self, message: Message) -> PublishResult:
        """Store one message, at the price of one round trip; STORED or DUPLICATE.

        BusUnavailable: not sent. PublishUnknown: sent, not answered. BusRefused: not stored.
        """
        (result,) = await self.publish_window([message])
        if result.is_stored:
            return result
        if result.outcome is Outcome.UNKNOWN:
            raise PublishUnknown(f"{message.subject}: {result.reason}")
        kind = BusDenied if result.code == PERMISSION_DENIED else BusRefused
        raise kind(f"{message.subject}: {result.reason}", result.code)

    async def publish_batch(
        self,
        messages: Sequence[Message],
        timeout_seconds: float = PUBLISH_TIMEOUT_SECONDS,
        few_apart: bool = False,
    ) -> list[PublishResult]:
        """Store messages of ONE stream in order in atomic batches; few_apart: few one by one, as of
        one copy (`chain`). A known id has a batch go one by one, or, where it is fenced, REFUSED by
        10201. Behind what is not stored nothing counts. BusUnavailable: nothing was sent."""
        self._require_connection()
        commit = partial(self._commit, by=_now() + timeout_seconds, apart=few_apart)
        results: list[PublishResult] = []
        for part in slices(messages):
            results += await publish_slice(part, commit)
            if not results[-1].is_stored:
                break
        missing = len(messages) - len(results)
        return results + [refused("not sent: an earlier message was not stored")] * missing

    async def publish_window(
        self, messages: Sequence[Message], timeout_seconds: float = PUBLISH_TIMEOUT_SECONDS
    ) -> list[PublishResult]:
        """Store messages that do not depend on one another, many in flight; for streams in memory.

        At most MAX_IN_FLIGHT of a subject wait for their answers at a time, over all callers.
        BusUnavailable: there was no connection, nothing was sent.
        """
        self._require_connection()
        return await self._window(messages, _now() + timeout_seconds)

    # Core NATS

    async def notify(self, subject: str, payload: bytes = b"") -> bool:
        """Tell whoever listens now; lost where nobody does. False: not even sent. Never raises."""
        if not self._client.is_connected:
            return False
        try:
            await self._client.publish(subject, payload)
        except (nats.errors.Error, OSError):
            return False
        return True

    async def listen(self, subject: str, heard: Callable[[str, bytes], None]) -> Listener:
        """Call `heard(subject, payload)` with each message from now on, reconnects included."""

        async def deliver(message: Msg) -> None:
            heard(message.subject, message.data)

        with _translated(f"subscribing to {subject}"):
            return Listener(
                await self._client.subscribe(
                    subject,
                    cb=deliver,
                    pending_msgs_limit=MAX_PENDING_MESSAGES,
                    pending_bytes_limit=MAX_PENDING_BYTES,
                )
            )

    async def tell(self, subject: str, payload: bytes) -> None:
        """Say something over core NATS to whoever listens; nobody keeps it. Raises BusError."""
        with _translated(f"telling {subject}"):
            self._require_connection()
            await self._client.publish(subject, payload)

    async def ask(
        self, subject: str, payload: bytes, timeout_seconds: float = CALL_TIMEOUT_SECONDS
    ) -> bytes:
        """A question over core NATS. BusUnavailable: nobody answers, or not in time."""
        answer = await self._request(subject, payload, timeout_seconds)
        if answer.headers and answer.headers.get("Status") == STATUS_NO_RESPONDERS:
            without = " (no JetStream there, or no leader yet)" if "JS.API" in subject else ""
            raise BusUnavailable(f"nobody answers {subject}{without}")
        return bytes(answer.data)

    # Inside: the connection

    async def _open(
        self, address: BusAddress, options: Mapping[str, Any], timeout_seconds: float
    ) -> None:
        self._denied = asyncio.get_running_loop().create_future()
        with _translated("connecting to the bus"):
            opening = asyncio.ensure_future(
                self._client.connect(
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_client_closed,
                    **options,
                )
            )
            waits: set[asyncio.Future[Any]] = {opening, self._denied}
            await asyncio.wait(waits, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                opening.cancel()
                await asyncio.wait({opening}, timeout=CLOSE_TIMEOUT_SECONDS)
                if self._denied.done():
                    raise BusDenied("the bus refuses the hub's credentials")
                limit = f"within {timeout_seconds:g} s"
                raise BusUnavailable(
                    f"the bus at {address.url} does not answer {limit}{self._because()}"
                )
            opening.result()
            self._inbox = self._client.new_inbox()
            await self._client.subscribe(
                f"{self._inbox}.*",
                cb=self._answered,
                pending_msgs_limit=MAX_PENDING_MESSAGES,
                pending_bytes_limit=MAX_PENDING_BYTES,
            )
        self._last_error = ""

    async def _shut(self) -> None:
        await within(CLOSE_TIMEOUT_SECONDS, self._client.close())
        self._fail_waiting("the connection was closed")

    async def _on_error(self, error: Exception) -> None:
        self._last_error = str(error)
        if isinstance(error, nats.errors.SlowConsumerError):
            log.warning("messages of the bus were dropped: too many wait", subject=error.subject)
        log.debug("bus", error=self._last_error)
        text = self._last_error.lower()
        refused_us = isinstance(error, nats.errors.AuthorizationError) or "authorization" in text
        if refused_us and self._denied and not self._denied.done():
            self._denied.set_result(text)
        if denied := _DENIED.search(text):
            for waiting in list(self._waiting.values()):
                if waiting.subject.lower() == denied[1] and not waiting.answer.done():
                    waiting.answer.set_exception(
                        BusDenied(f"no permission for {waiting.subject}{_NEEDS}", PERMISSION_DENIED)
                    )

    async def _on_disconnected(self) -> None:
        # The answers went with the connection: whoever waits must learn "unknown" now.
        self._fail_waiting("the connection was lost")
        if not self._closing and not self._changes.is_quiet:
            log.warning("the bus is gone", because=self._last_error)

    async def _on_reconnected(self) -> None:
        self._last_error = ""
        if not self._changes.was_ours():
            log.info("the bus is back")
        if self.message_bytes_max < MAX_MESSAGE_BYTES:
            self._changes.takes_small(self.message_bytes_max)
        if self._on_back:
            self._on_back()

    async def _on_client_closed(self) -> None:
        if not self._closing:
            log.error("the bus connection was given up", because=self._last_error)
            if self._on_closed:
                self._on_closed(self._last_error or "the connection was closed")

    def _require_connection(self) -> None:
        if not self._client.is_connected:
            raise BusUnavailable(f"not connected to the bus{self._because()}")

    def _because(self) -> str:
        return f": {self._last_error}" if self._last_error else ""

    # Inside: publishing

    async def _commit(self, part: Sequence[Message], by: float, apart: bool) -> list[PublishResult]:
        count = len(part)
        if links := chain(part) if apart or count == 1 else ():
            return in_order(await self._window(links, by))
        batch_id = uuid.uuid4().hex
        for position, message in enumerate(part[:-1], start=1):
            headers = batch_headers(message, batch_id, position, False)
            if problem := await self._send(message, headers, ""):
                # Never committed: the server drops what it has of the batch.
                return [refused(f"not sent: {problem.reason}")] * count
        reply, answer = self._expect(part[-1].subject)
        headers = batch_headers(part[-1], batch_id, count, True)
        if problem := await self._send(part[-1], headers, reply):
            answer.cancel()
            return [problem] * count
        await asyncio.wait({answer}, timeout=max(0.0, by - _now()))
        return batch_results(result_of(answer), count)

    async def _window(self, messages: Sequence[Message], deadline: float) -> list[PublishResult]:
        results: list[PublishResult | None] = [None] * len(messages)
        waits: list[asyncio.Future[Msg]] = []
        try:
            for position, message in enumerate(messages):
                if not await self._flights.enter(message.subject, deadline - _now()):
                    break
                reply, answer = self._expect(message.subject)
                answer.add_done_callback(partial(self._flights.leave, message.subject))
                waits.append(answer)
                if problem := await self._send(message, message.headers, reply):
                    results[position] = problem
                    answer.cancel()
            if waits:
                await asyncio.wait(waits, timeout=max(0.0, deadline - _now()))
            for position, answer in enumerate(waits):
                results[position] = results[position] or result_of(answer)
        finally:
            for answer in waits:
                answer.cancel()
        return [each or refused("not sent in time") for each in results]

    async def _send(
        self, message: Message, headers: Mapping[str, str], reply: str
    ) -> PublishResult | None:
        """None: it is on its way. Otherwise what became of it."""
        try:
            await self._client.publish(
                message.subject, message.payload, reply=reply, headers=dict(headers) or None
            )
        except nats.errors.Error as error:
            return refused(str(translate(error, "not sent")))
        except OSError as error:
            return unknown(str(error))
        return None

    # Inside: questions and answers

    def _expect(self, subject: str) -> tuple[str, asyncio.Future[Msg]]:
        """A reply subject, and the future of what arrives there."""
        token = str(next(self._tokens))
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = _Waiting(subject, answer)
        answer.add_done_callback(lambda _: self._waiting.pop(token, None))
        return f"{self._inbox}.{token}", answer

    async def _answered(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting and not waiting.answer.done():
            waiting.answer.set_result(message)

    def _fail_waiting(self, reason: str) -> None:
        for waiting in list(self._waiting.values()):
            if not waiting.answer.done():
                waiting.answer.set_exception(BusUnavailable(reason))

    async def _request(self, subject: str, payload: bytes, timeout_seconds: float) -> Msg:
        with _translated(subject):
            self._require_connection()
            reply, answer = self._expect(subject)
            try:
                await self._client.publish(subject, payload, reply=reply)
                await asyncio.wait({answer}, timeout=timeout_seconds)
                if answer.done():
                    return answer.result()
                raise BusUnavailable(f"{subject}: no answer within {timeout_seconds:g} s")
            finally:
                answer.cancel()


_CALLERS_FAULTS: Final = (
    nats.errors.BadSubjectError,
    nats.errors.BadHeaderError,
    nats.errors.BadSubscriptionError,
    nats.errors.InvalidCallbackTypeError,
    nats.errors.MaxPayloadError,
)
_NEEDS: Final = "; the hub's user needs JetStream's API, crossdock.v1.> and _INBOX.>"
_DENIALS: Final = (nats.errors.AuthorizationError, nats.errors.InvalidUserCredentialsError)


def translate(error: BaseException, doing: str) -> BusError:
    """The hub's exception for one of nats-py's, or of the network's."""
    if isinstance(error, BusError):
        return error
    text = f"{doing}: {error or type(error).__name__}"
    if isinstance(error, _DENIALS) or "authorization violation" in text.lower():
        return BusDenied(text)
    if isinstance(error, nats.js.errors.APIError) and error.err_code:
        return BusRefused(text, error.err_code)
    if isinstance(error, _CALLERS_FAULTS):
        return BusRefused(text)
    return BusUnavailable(text)


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except BusError:
        raise
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise translate(error, doing) from error


def _options(address: BusAddress, name: str, inbox_prefix: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "servers": [url.strip() for url in address.url.split(",")],
        "name": name,
        "inbox_prefix": inbox_prefix,
        "connect_timeout": CLOSE_TIMEOUT_SECONDS,
        "allow_reconnect": True,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_PAUSE_SECONDS,
        "ping_interval": PING_INTERVAL_SECONDS,
        "max_outstanding_pings": MAX_OUTSTANDING_PINGS,
        # Nothing is kept for a lost connection: it would be sent when nobody expects it.
        "pending_size": 0,
    }
    return options | address.client_options()


def _now() -> float:
    return asyncio.get_running_loop().time()
