"""The calls that a handler of ours runs: a stop waits for them and for no other, and how many there
are at once, with how much in them, is limited.

A hub that is slow lets its callers wait: what waits costs memory, and nothing else. Beyond that
memory who comes is told when to come again. grpc's own limit does not say that.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NoReturn

import grpc
from crossdock.errors import Refusal

from crossdock_hub.arrivals import Arrivals
from crossdock_hub.config import Limits
from crossdock_hub.door.calls import abort, abort_stream
from crossdock_hub.verbs import PREPARATIONS
from crossdock_hub.verbs.master_data import UPSERTS

# When to come again: a hub that has so much to do has done some of it by then.
ROOM_SECONDS: Final = 1.0


class RunningCalls:
    """How many calls have a handler that has not ended, and the bytes of their requests."""

    def __init__(self, arrivals: Arrivals, limits: Limits) -> None:
        self.count = 0
        self.arrivals = arrivals
        self._bytes = 0
        self._limits = limits

    def of(self, handlers: Sequence[grpc.GenericRpcHandler]) -> grpc.GenericRpcHandler:
        """All of these handlers as one, counted: a call asks one, not each of them in turn."""
        return _Counted(handlers, self)

    def counted(self, handler: Any, *, awaited: bool) -> Any:
        """The handler of one method, counted. awaited: bulk waits for its callers."""
        run = handler.unary_unary or handler.stream_unary
        stream = handler.unary_stream or handler.stream_stream
        sends_stream = handler.request_streaming

        async def answer(request: Any, context: Any) -> Any:
            if awaited:
                self.arrivals.heard()
            size = len(request) if isinstance(request, bytes) else 0
            if (no := self._no_room(size)) is not None:
                await _refuse(request, context, no, sends_stream)
            self._add(1, size)
            try:
                return await run(request, context)
            finally:
                self._add(-1, -size)

        async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
            size = len(request) if isinstance(request, bytes) else 0
            if (no := self._no_room(size)) is not None:
                await _refuse(request, context, no, sends_stream)
            self._add(1, size)
            try:
                async with contextlib.aclosing(stream(request, context)) as told:
                    async for each in told:
                        yield each
            finally:
                self._add(-1, -size)

        make = _MAKERS[handler.request_streaming, handler.response_streaming]
        own = answers if handler.response_streaming else answer
        return make(own, handler.request_deserializer, handler.response_serializer)

    def _add(self, calls: int, size: int) -> None:
        self.count += calls
        self._bytes += size

    def _no_room(self, size: int) -> Refusal | None:
        """Why a call with so many bytes is refused; None: it is not. A lone one has room."""
        if self.count >= self._limits.concurrent_rpcs_max:
            return _overloaded(f"{self.count} calls are", "concurrent_rpcs_max")
        if self._bytes and self._bytes + size > self._limits.concurrent_bytes_max:
            return _overloaded(f"calls of {self._bytes} bytes are", "concurrent_bytes_max")
        return None


def _overloaded(what: str, limit: str) -> Refusal:
    return Refusal(
        "HUB_OVERLOADED",
        f"{what} under way already, and nothing of this one was begun; "
        "repeat with the same request_id",
        {"cause": limit},
        retry_after_seconds=ROOM_SECONDS,
    )


async def _refuse(request: Any, context: Any, refusal: Refusal, sends_stream: bool) -> NoReturn:
    if sends_stream:
        await abort_stream(context, request, refusal)
    await abort(context, refusal)


_MAKERS: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class _Counted(grpc.GenericRpcHandler):
    def __init__(self, inner: Sequence[grpc.GenericRpcHandler], calls: RunningCalls) -> None:
        self._inner = inner
        self._calls = calls
        self._known: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method; None: none of these has it."""
        method = handler_call_details.method
        known = self._known.get(method)
        if known is None:
            found = (each.service(handler_call_details) for each in self._inner)
            handler = next((each for each in found if each is not None), None)
            if handler is None:
                return None
            awaited = is_awaited(method, handler)
            known = self._known[method] = self._calls.counted(handler, awaited=awaited), awaited
        counted, awaited = known
        if awaited:
            self._calls.arrivals.come()
        return counted


def is_awaited(method: str, handler: Any) -> bool:
    """Whether a call is that of a caller who waits for one answer, and may be in line at once."""
    one = not handler.request_streaming and not handler.response_streaming
    return one and method not in UPSERTS and method not in PREPARATIONS
