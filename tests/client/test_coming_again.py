"""A client whose hub has no room for a call: it waits as it is asked to, and sends it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from crossdock import errors
from crossdock.client import HubClient
from crossdock.errors import Refusal
from crossdock.order.v1 import order_service_pb2_grpc
from crossdock.order.v1.order_service_pb2 import (
    CancelOrderRequest,
    CancelOrderResponse,
    GetOrderRequest,
    GetOrderResponse,
)
from grpc import aio
from grpc_status import rpc_status

BUSY = Refusal("HUB_OVERLOADED", "busy", {"cause": "concurrent_rpcs_max"}, (), 0.01)


@dataclass
class Hub(order_service_pb2_grpc.OrderServiceServicer):
    """Has no room for the first calls, and remembers what it was asked."""

    address: str = ""
    busy_left: int = 1
    busy: Refusal = BUSY
    tokens: list[str] = field(default_factory=list)
    seconds_left: list[float] = field(default_factory=list)
    came: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def _room(self, context: Any) -> None:
        self.tokens.append(dict(context.invocation_metadata())["authorization"])
        self.seconds_left.append(context.time_remaining())
        self.came.release()
        if self.busy_left:
            self.busy_left -= 1
            await context.abort_with_status(rpc_status.to_status(errors.to_status(self.busy)))

    async def GetOrder(self, request: GetOrderRequest, context: Any) -> GetOrderResponse:
        await self._room(context)
        answer = GetOrderResponse()
        answer.order.number = request.number
        return answer

    async def CancelOrder(self, request: CancelOrderRequest, context: Any) -> CancelOrderResponse:
        await self._room(context)
        raise RuntimeError("a fault")


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A server on a free port of its own."""
    running = Hub()  # type: ignore[abstract]
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    order_service_pb2_grpc.add_OrderServiceServicer_to_server(running, server)
    running.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield running
    await server.stop(None)


async def test_a_call_without_room_comes_again(hub: Hub) -> None:
    """Proves that a caller does not notice that the hub had no room for him a few times, that all
    tries share one deadline, and that how often it was is known."""
    hub.busy_left, hub.busy = 7, replace(BUSY, retry_after_seconds=0.1)
    async with HubClient(hub.address, token="abc") as opened:
        answer = await opened.orders.GetOrder(GetOrderRequest(number="late"))
        assert (answer.order.number, opened.calls_turned_away) == ("late", 7)
    assert hub.tokens == ["Bearer abc"] * 8
    first, *_, last = hub.seconds_left
    # Of 30 seconds gRPC tells only tenths.
    assert 20 < last < first - 0.4 and first <= 30.5


async def test_any_method_comes_again(hub: Hub) -> None:
    """Proves that a call for which there was no room is sent again whatever it is, since nothing of
    it was begun, and once it was begun is not."""
    hub.busy_left = 2
    async with HubClient(hub.address, token="abc") as opened:
        with pytest.raises(errors.NoAnswerError):
            await opened.orders.CancelOrder(CancelOrderRequest())
    assert len(hub.tokens) == 3


async def test_nobody_comes_again_after_his_deadline(hub: Hub) -> None:
    """Proves that who is asked to come when his deadline has passed is told at once."""
    hub.busy = replace(BUSY, retry_after_seconds=300.0)
    async with HubClient(hub.address, token="abc") as opened:
        with pytest.raises(errors.TryAgainError) as caught:
            await opened.orders.GetOrder(GetOrderRequest(number="late"), timeout=20)
        assert (len(hub.tokens), opened.calls_turned_away) == (1, 1)
    assert caught.value.refusal == hub.busy
    assert caught.value.__cause__ is None and caught.value.__context__ is None


async def test_only_who_wants_to_comes_again(hub: Hub) -> None:
    """Proves that a client may leave it to its caller when to come again."""
    async with HubClient(hub.address, token="abc", come_again=False) as opened:
        with pytest.raises(errors.TryAgainError):
            await opened.orders.GetOrder(GetOrderRequest(number="late"))
        assert (len(hub.tokens), opened.calls_turned_away) == (1, 1)


async def test_what_is_for_the_caller_to_think_about_is_told_at_once(hub: Hub) -> None:
    """Proves that only where the hub as a whole has no room the client comes again by itself."""
    hub.busy = replace(BUSY, metadata={"cause": "replay_planning_max"})
    async with HubClient(hub.address, token="abc") as opened:
        with pytest.raises(errors.TryAgainError):
            await opened.orders.GetOrder(GetOrderRequest(number="late"))
        assert (len(hub.tokens), opened.calls_turned_away) == (1, 0)


async def test_who_gives_up_does_not_come_again(hub: Hub) -> None:
    """Proves that a caller who is cancelled while he waits to come again is not sent again."""
    hub.busy = replace(BUSY, retry_after_seconds=0.2)
    async with HubClient(hub.address, token="abc") as opened:

        async def call() -> None:
            await opened.orders.GetOrder(GetOrderRequest(number="late"))

        waiting = asyncio.create_task(call())
        await asyncio.wait_for(hub.came.acquire(), 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await opened.orders.GetOrder(GetOrderRequest(number="1"))
    assert len(hub.tokens) == 2
