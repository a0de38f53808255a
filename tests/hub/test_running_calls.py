"""What a hub takes at once: as many calls as wait in little memory, and no more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from crossdock.errors import from_status
from crossdock_hub.arrivals import Arrivals
from crossdock_hub.config import Limits
from crossdock_hub.door.calls import DETAILS
from crossdock_hub.door.running_calls import RunningCalls
from google.rpc import status_pb2

BURST = 5_000
CREATE = "/crossdock.order.v1.OrderService/CreateOrder"


class Ended(Exception):
    """A call was ended by the hub."""


class Context:
    """A call's, that keeps what the call was ended with."""

    def __init__(self) -> None:
        self.refusal: Any = None

    async def abort(self, _code: Any, _text: str, trailers: Any) -> None:
        status = status_pb2.Status.FromString(dict(trailers)[DETAILS])
        self.refusal = from_status(status)
        raise Ended


class Slow:
    """A service whose calls take until they are let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()

    def service(self, _details: Any) -> Any:
        async def answer(request: bytes, _context: Any) -> bytes:
            await self.let_go.wait()
            return request

        return grpc.unary_unary_rpc_method_handler(answer)


class House:
    """A slow hub, and who calls it."""

    def __init__(self, **limits: int) -> None:
        self.slow = Slow()
        self.calls = RunningCalls(Arrivals(), Limits().with_changes(limits))
        details: Any = SimpleNamespace(method=CREATE)
        handlers: list[Any] = [self.slow]
        self.handler: Any = self.calls.of(handlers).service(details)

    async def called(self, *requests: bytes) -> list[asyncio.Task[bytes]]:
        """These calls, begun."""
        begun = [
            asyncio.create_task(self.handler.unary_unary(request, Context()))
            for request in requests
        ]
        await asyncio.sleep(0)
        return begun

    async def refusal(self, request: bytes = b"") -> Any:
        """What one more call is refused with."""
        context = Context()
        with pytest.raises(Ended):
            await self.handler.unary_unary(request, context)
        return context.refusal


async def test_a_burst_may_wait() -> None:
    """Proves that a hub which answers nobody for a while refuses none of 5,000 callers."""
    house = House()
    waiting = await house.called(*[b"departed"] * BURST)
    assert house.calls.count == BURST
    house.slow.let_go.set()
    assert await asyncio.gather(*waiting) == [b"departed"] * BURST
    assert house.calls.count == 0


async def test_who_has_no_room_is_told_when_to_come_again() -> None:
    """Proves that a call beyond the limit is told the limit and when to come again, keeps no room,
    and that there is room once another has ended."""
    house = House(concurrent_rpcs_max=2)
    waiting = await house.called(b"one", b"two")
    for _ in range(3):
        refusal = await house.refusal()
        assert refusal.reason == "HUB_OVERLOADED"
        assert refusal.metadata == {"cause": "concurrent_rpcs_max"}
        assert refusal.retry_after_seconds == 1.0
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    third = await house.called(b"three")
    assert house.calls.count == 2
    house.slow.let_go.set()
    assert await asyncio.gather(waiting[1], *third) == [b"two", b"three"]


async def test_what_waits_fits_into_the_memory_for_it() -> None:
    """Proves that requests which are large are fewer at once, that one alone is taken whatever its
    size, and that what has ended takes no room."""
    house = House(concurrent_bytes_max=100)
    large = await house.called(bytes(1_000))
    assert (await house.refusal(b"1")).metadata == {"cause": "concurrent_bytes_max"}
    house.slow.let_go.set()
    await asyncio.gather(*large)
    house.slow.let_go.clear()
    small = await house.called(bytes(50), bytes(50))
    assert (await house.refusal(b"1")).metadata == {"cause": "concurrent_bytes_max"}
    house.slow.let_go.set()
    await asyncio.gather(*small)
    assert house.calls.count == 0
