"""Counts the calls that a handler of ours runs, so that a stop waits for them and for no other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc


class RunningCalls:
    """How many calls have a handler that has not ended."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, handlers: Sequence[grpc.GenericRpcHandler]) -> tuple[grpc.GenericRpcHandler, ...]:
        """The same handlers, counted."""
        return tuple(_Counted(each, self) for each in handlers)

    def counted(self, handler: Any) -> Any:
        """The handler of one method, counted."""
        run = handler.unary_unary or handler.stream_unary
        stream = handler.unary_stream or handler.stream_stream

        async def answer(request: Any, context: Any) -> Any:
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
    def __init__(self, inner: grpc.GenericRpcHandler, calls: RunningCalls) -> None:
        self._inner = inner
        self._calls = calls
        self._known: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method; None: it is not one of these."""
        method = handler_call_details.method
        if method not in self._known:
            found = self._inner.service(handler_call_details)
            if found is None:
                return None
            self._known[method] = self._calls.counted(found)
        return self._known[method]
