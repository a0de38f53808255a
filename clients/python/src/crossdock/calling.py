"""How HubClient calls: identity, deadline and trace context go with a call, errors of ours come.

A unary call goes without grpc's interceptors, of which two took as long as the call itself. Streams
are few, and have them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc
from grpc import aio

from crossdock import telemetry
from crossdock.errors import from_rpc_error

if TYPE_CHECKING:
    from grpc.aio import ClientCallDetails

# The metadata that says who calls, as it is now; None: nobody.
Identity = Callable[[], tuple[str, str] | None]
Continuation = Callable[[Any, Any], Awaitable[Any]]
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

    channel: has the interceptors of `stream_interceptors`, and none for unary calls. trace: as
    HubClient has it.
    """

    def __init__(
        self, channel: aio.Channel, identity: Identity, deadlines: Deadlines, *, trace: bool
    ) -> None:
        self._channel = channel
        self._caller = _Caller(identity, deadlines)
        self._tracing = _Tracing.open() if trace else None

    def unary_unary(self, method: str, *serializing: Any, **more: Any) -> _UnaryUnary:
        """A method to be called and awaited; the arguments are those of aio.Channel."""
        send = self._channel.unary_unary(method, *serializing, **more)
        return _UnaryUnary(method, send, self._caller, self._tracing)

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


class _UnaryUnary:
    """A method of the contract. To call it is to send; what it returns is to be awaited."""

    def __init__(self, method: str, send: Any, caller: _Caller, tracing: _Tracing | None) -> None:
        self._method = method
        self._send = send
        self._caller = caller
        self._tracing = tracing

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
        asked = aio.ClientCallDetails(self._method, timeout, metadata, credentials, wait_for_ready)
        details = self._caller.details(asked, self._caller.deadlines.unary_seconds)

        def send(details: ClientCallDetails) -> Any:
            return self._send(
                request,
                timeout=details.timeout,
                metadata=details.metadata,
                credentials=details.credentials,
                wait_for_ready=details.wait_for_ready,
                compression=compression,
            )

        if self._tracing is None:
            return _Sent(self._method, send(details))
        if telemetry.may_be_recorded():
            return _Sent(self._method, self._tracing.in_span(send, details, request))
        return _Sent(self._method, send(self._tracing.carried(details)))


class _Sent:
    """A call under way: awaited, it is the answer, or raises an error of ours."""

    __slots__ = ("_call", "_method")

    def __init__(self, method: str, call: Any) -> None:
        self._method = method
        self._call = call

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._call.__await__())
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._method) from None

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
