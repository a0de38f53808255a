"""How HubClient calls: identity, deadline and trace context go with a call, errors of ours come.

A unary call goes without grpc's interceptors, of which two took as long as the call itself. Streams
are few, and have them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
from grpc import aio

from crossdock import telemetry
from crossdock.errors import CallError, from_rpc_error

if TYPE_CHECKING:
    from grpc.aio import ClientCallDetails

# The metadata that says who calls, as it is now; None: nobody.
Identity = Callable[[], tuple[str, str] | None]
Continuation = Callable[[Any, Any], Awaitable[Any]]
# The limits of the hub as a whole, as HUB_OVERLOADED names them, beyond which a call has no room,
# and grpc's own, which has no name. Others are for whoever called to think about.
ROOM_FOR_ALL: Final = frozenset(
    ("", "queue_commands_max", "concurrent_rpcs_max", "concurrent_bytes_max")
)
# Who is turned away together comes again spread over so much more than the hub asked for.
PAUSE_SPREAD: Final = 0.5
# Each time the same call is turned away it waits so much longer, from the hub's wish on: callers of
# whom there are too many for the hub do not keep it busy with refusals.
PAUSE_GROWTH: Final = 2.0
MAXIMUM_PAUSE_SECONDS: Final = 8.0
# A call with less left is not sent again: it would end unanswered, and whoever made it would know
# less than by the refusal.
LEAST_SECONDS_LEFT: Final = 1.0
# What aio.Call answers when it is awaited, and a task does not have.
_ASKED_OF_CALLS = frozenset(
    (
        "code",
        "debug_error_string",
        "details",
        "initial_metadata",
        "trailing_metadata",
        "wait_for_connection",
    )
)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Of calls that name none."""

    unary_seconds: float
    stream_seconds: float


class HubChannel:
    """A channel whose unary methods need no interceptor; all else of it is the channel's.

    channel: has the interceptors of `stream_interceptors`, and none for unary calls. trace,
    come_again: as HubClient has them.
    """

    def __init__(
        self,
        channel: aio.Channel,
        identity: Identity,
        deadlines: Deadlines,
        *,
        trace: bool,
        come_again: bool,
    ) -> None:
        self._channel = channel
        self._caller = _Caller(identity, deadlines)
        self._tracing = _Tracing.open() if trace else None
        self._come_again = come_again
        self.calls_turned_away = 0
        """How many unary calls the hub had no room for, each time counted."""

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        *deserializing: Any,
        **more: Any,
    ) -> _UnaryUnary:
        """A method to be called and awaited; the arguments are those of aio.Channel."""
        # Without a serializer the channel sends what it is given, which is bytes already.
        send: Any = self._channel.unary_unary(method, None, *deserializing, **more)
        serialize = request_serializer or _unchanged
        return _UnaryUnary(method, send, serialize, self._caller, self._tracing, self._wish)

    def _wish(self, refused: CallError) -> float | None:
        """How long the hub asks a call that it refused to wait; None: it is not sent again."""
        cause = refused.refusal.metadata.get("cause", "")
        if refused.reason != "HUB_OVERLOADED" or cause not in ROOM_FOR_ALL:
            return None
        self.calls_turned_away += 1
        return refused.refusal.retry_after_seconds if self._come_again else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def stream_interceptors(
    identity: Identity, deadlines: Deadlines, *, trace: bool
) -> list[aio.ClientInterceptor]:
    """Ours come first, that is outermost: tracing has to see grpc's own exceptions to end spans."""
    kinds = (_UnaryStream, _StreamUnary, _StreamStream)
    ours: list[aio.ClientInterceptor] = [kind(identity, deadlines) for kind in kinds]
    if not trace:
        return ours
    unary = aio.UnaryUnaryClientInterceptor
    return [*ours, *(each for each in _instrumentation() if not isinstance(each, unary))]


def _instrumentation() -> Sequence[aio.ClientInterceptor]:
    """OpenTelemetry's interceptors, one of each kind; none where they are not installed."""
    try:
        from opentelemetry.instrumentation.grpc import aio_client_interceptors
    except ImportError:
        return ()
    opened: Any = aio_client_interceptors
    return cast("Sequence[aio.ClientInterceptor]", opened())


class _Caller:
    """Adds identity and deadline to a call and translates what it raises."""

    def __init__(self, identity: Identity, deadlines: Deadlines) -> None:
        self._identity = identity
        self.deadlines = deadlines

    def details(self, details: ClientCallDetails, default_seconds: float) -> ClientCallDetails:
        metadata = aio.Metadata(*(tuple(details.metadata) if details.metadata else ()))
        authorization = self._identity()
        if authorization is not None:
            metadata.add(*authorization)
        return aio.ClientCallDetails(
            details.method,
            default_seconds if details.timeout is None else details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
        )

    async def _messages(
        self, call: AsyncIterable[Any], details: ClientCallDetails
    ) -> AsyncIterator[Any]:
        try:
            async for message in call:
                yield message
        except grpc.RpcError as error:
            raise from_rpc_error(error, _name(details.method)) from None


def _name(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method


# Unary calls

# How long the hub asks a call that it refused to wait; None: it is not sent again.
_Wish = Callable[[CallError], float | None]


def _unchanged(request: bytes) -> bytes:
    return request


class _UnaryUnary:
    """A method of the contract. To call it is to send; what it returns is to be awaited."""

    def __init__(
        self,
        method: str,
        send: Any,
        serialize: Callable[[Any], bytes],
        caller: _Caller,
        tracing: _Tracing | None,
        wish: _Wish,
    ) -> None:
        self._method = method
        self._send = send
        self._serialize = serialize
        self._caller = caller
        self._tracing = tracing
        self._wish = wish

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> _Sent:
        seconds = self._caller.deadlines.unary_seconds if timeout is None else timeout
        # Whoever calls may fill the message again, and metadata be an iterator: all tries are one.
        message = self._serialize(request)
        metadata = tuple(metadata) if metadata else None

        def send_within(seconds: float) -> Any:
            asked = aio.ClientCallDetails(
                self._method, seconds, metadata, credentials, wait_for_ready
            )
            return self._traced(self._caller.details(asked, seconds), message, compression)

        return _Sent(self._method, send_within, seconds, self._wish)

    def _traced(
        self, details: ClientCallDetails, message: bytes, compression: grpc.Compression | None
    ) -> Any:
        def send(details: ClientCallDetails) -> Any:
            return self._send(
                message,
                timeout=details.timeout,
                metadata=details.metadata,
                credentials=details.credentials,
                wait_for_ready=details.wait_for_ready,
                compression=compression,
            )

        if self._tracing is None:
            return send(details)
        if telemetry.may_be_recorded():
            return self._tracing.in_span(send, details, message)
        return send(self._tracing.carried(details))


class _Sent:
    """A call under way: awaited, it is the answer, or raises an error of ours.

    One that the hub has no room for is sent again when the hub asks for it, and later each time,
    while enough is left of its deadline. That is harmless though something of it was begun, as of a
    batch: the contract calls every unary method idempotent. Who awaits it with others has the same
    answer as they; who gives it up does so for all. What else it is asked is asked of the call that
    was sent last.
    """

    __slots__ = (
        "_call",
        "_ended_by",
        "_given_up",
        "_least_left",
        "_method",
        "_pause_seconds",
        "_pausing",
        "_send_within",
        "_sent_at",
        "_until",
        "_waiting",
        "_wish",
    )

    def __init__(
        self, method: str, send_within: Callable[[float], Any], seconds: float, wish: _Wish
    ) -> None:
        self._method = method
        self._send_within = send_within
        self._wish = wish
        self._pause_seconds = 0.0
        self._least_left = LEAST_SECONDS_LEFT
        self._waiting = 0
        self._given_up = False
        self._pausing: asyncio.Future[None] | None = None
        self._ended_by: CallError | None = None
        self._sent_at = time.monotonic()
        self._until = self._sent_at + seconds
        self._call = send_within(seconds)

    def __await__(self) -> Generator[Any, None, Any]:
        self._waiting += 1
        try:
            while True:
                call = self._call
                try:
                    return (yield from call.__await__())
                except grpc.RpcError as error:
                    refused = from_rpc_error(error, self._method)
                yield from self._come_again(call, refused)
        finally:
            self._waiting -= 1

    def cancel(self) -> bool:
        """Ends it, under way or between two tries. False: it had ended."""
        first, self._given_up = not self._given_up, True
        if self._pausing is None:
            return cast("bool", self._call.cancel())
        self._pausing.cancel()
        return first

    def cancelled(self) -> bool:
        """Whether it was given up before there was an answer."""
        between = self._given_up and self._pausing is not None
        return between or cast("bool", self._call.cancelled())

    def done(self) -> bool:
        """Whether it has ended: one that waits to be sent again has not."""
        return self.cancelled() or (self._call.done() and not self._waiting)

    def _come_again(self, call: Any, refused: CallError) -> Generator[Any, None, None]:
        """Comes back once a call was sent in place of `call`, by whoever of those who await it;
        raises what `call` ended by when none is."""
        if self._call is not call:
            return
        if self._pausing is None:
            self._pausing = self._begin_pause(refused)
        try:
            yield from self._pausing.__await__()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._given_up:
            raise asyncio.CancelledError
        if self._call is call:
            self._send_again(refused)

    def _begin_pause(self, refused: CallError) -> asyncio.Future[None]:
        if self._ended_by is not None:
            raise self._ended_by
        wish = self._wish(refused)
        if wish is None or self._given_up:
            self._ended_by = refused
            raise refused
        grown = min(self._pause_seconds * PAUSE_GROWTH, MAXIMUM_PAUSE_SECONDS)
        self._pause_seconds = max(wish, grown)
        pause = self._pause_seconds * (1 + random.uniform(0, PAUSE_SPREAD))
        # What it took to be refused it takes at least to be answered.
        self._least_left = max(time.monotonic() - self._sent_at, LEAST_SECONDS_LEFT)
        self._check_left(pause, refused)
        return asyncio.ensure_future(asyncio.sleep(pause))

    def _send_again(self, refused: CallError) -> None:
        self._pausing = None
        # The pause may have been longer than it was meant to be.
        left = self._check_left(0, refused)
        self._sent_at = time.monotonic()
        self._call = self._send_within(left)

    def _check_left(self, pause: float, refused: CallError) -> float:
        """The seconds that are left after a pause; raises `refused` when they are not enough."""
        left = self._until - time.monotonic() - pause
        if left < self._least_left:
            self._ended_by = refused
            raise refused
        return left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class _Tracing:
    """The span of a unary call where one may be recorded, else only the trace where it stands."""

    def __init__(self, interceptor: Any) -> None:
        self._interceptor = interceptor

    @classmethod
    def open(cls) -> _Tracing | None:
        """None: the instrumentation is not installed."""
        kind = aio.UnaryUnaryClientInterceptor
        found = next((each for each in _instrumentation() if isinstance(each, kind)), None)
        return None if found is None else cls(found)

    def carried(self, details: ClientCallDetails) -> ClientCallDetails:
        """The same with the current context."""
        assert details.metadata is not None
        for name, value in telemetry.trace_carrier().items():
            details.metadata.add(name, value)
        return details

    def in_span(
        self, send: Callable[[Any], Any], details: ClientCallDetails, request: Any
    ) -> _InSpan:
        """The call in a span of its own, begun."""
        return _InSpan(self._interceptor, send, details, request)


class _InSpan:
    """A call with its span. It is sent in a task, and is asked what it is asked once it is."""

    __slots__ = ("_answered", "_call")

    def __init__(
        self,
        interceptor: Any,
        send: Callable[[Any], Any],
        details: ClientCallDetails,
        request: Any,
    ) -> None:
        self._call: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def continuation(details: ClientCallDetails, _request: Any) -> Any:
            call = send(details)
            self._call.set_result(call)
            return call

        async def answered() -> Any:
            try:
                return await (
                    await interceptor.intercept_unary_unary(continuation, details, request)
                )
            except asyncio.CancelledError:
                # The interceptor waits for the end of the call, and does not end it.
                if self._call.done() and not self._call.cancelled():
                    self._call.result().cancel()
                raise

        self._answered = asyncio.ensure_future(answered())
        # Nobody waits for a call that was never sent.
        self._answered.add_done_callback(lambda _: self._call.cancel())

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answered.__await__()

    def __getattr__(self, name: str) -> Any:
        if name not in _ASKED_OF_CALLS:
            return getattr(self._answered, name)

        async def asked() -> Any:
            call = await asyncio.shield(self._call)
            return await getattr(call, name)()

        return asked


# Streams


class _StreamUnary(_Caller, aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: Continuation,
        client_call_details: ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        details = self.details(client_call_details, self.deadlines.stream_seconds)
        try:
            started: Any = await continuation(details, request_iterator)
            await started
        except grpc.RpcError as error:
            raise from_rpc_error(error, _name(details.method)) from None
        return started


class _UnaryStream(_Caller, aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Continuation, client_call_details: ClientCallDetails, request: Any
    ) -> Any:
        details = self.details(client_call_details, self.deadlines.stream_seconds)
        # Started here, not inside the generator: grpc asks the call before anyone iterates.
        return self._messages(await continuation(details, request), details)


class _StreamStream(_Caller, aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self,
        continuation: Continuation,
        client_call_details: ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        details = self.details(client_call_details, self.deadlines.stream_seconds)
        return self._messages(await continuation(details, request_iterator), details)
