"""Counts the calls that a handler of ours runs, so that a stop waits for them and for no other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from crossdock_hub.arrivals import Arrivals
from crossdock_hub.verbs import PREPARATIONS
from crossdock_hub.verbs.master_data import UPSERTS


class RunningCalls:
    """How many calls have a handler that has not ended."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.count = 0
        self.arrivals = arrivals

    def of(self, handlers: Sequence[grpc.GenericRpcHandler]) -> grpc.GenericRpcHandler:
        """All of these handlers as one, counted: a call asks one, not each of them in turn."""
        return _Counted(handlers, self)

    def counted(self, handler: Any, *, awaited: bool) -> Any:
        """The handler of one method, counted. awaited: bulk waits for its callers."""
        run = handler.unary_unary or handler.stream_unary
        stream = handler.unary_stream or handler.stream_stream

        async def answer(request: Any, context: Any) -> Any:
            if awaited:
                self.arrivals.heard()
            self.count += 1
            try:
                return await run(request, context)
            finally:
                self.count -= 1

        async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
            self.count += 1
            try:
                async with contextlib.aclosing(stream(request, context)) as told:
                    async for each in told:
                        yield each
            finally:
                self.count -= 1

        make = _MAKERS[handler.request_streaming, handler.response_streaming]
        own = answers if handler.response_streaming else answer
        return make(own, handler.request_deserializer, handler.response_serializer)


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
