"""A client whose hub has no room for a call: it waits as it is asked to, and sends it again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock import calling, client, errors
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
    seconds_of_a_refusal: float = 0.0
    tokens: list[str] = field(default_factory=list)
    labels: list[object] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    seconds_left: list[float] = field(default_factory=list)
    came: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def _room(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        self.tokens.append(metadata["authorization"])
        self.labels.append(metadata.get("x-label"))
        self.seconds_left.append(context.time_remaining())
        self.came.release()
        if self.busy_left:
            self.busy_left -= 1
            await asyncio.sleep(self.seconds_of_a_refusal)
            await context.abort_with_status(rpc_status.to_status(errors.to_status(self.busy)))

    async def GetOrder(self, request: GetOrderRequest, context: Any) -> GetOrderResponse:
        self.numbers.append(request.number)
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
    hub.busy_left = 7
    async with HubClient(hub.address, token="abc") as opened:
        answer = await opened.orders.GetOrder(GetOrderRequest(number="late"))
        assert (answer.order.number, opened.calls_turned_away) == ("late", 7)
    assert hub.tokens == ["Bearer abc"] * 8
    first, *_, last = hub.seconds_left
    # Of 30 seconds gRPC tells only tenths.
    assert 20 < last < first - 0.4 and first <= 30.5


async def test_any_method_comes_again(hub: Hub) -> None:
    """Proves that a call for which there was no room is sent again whatever it is, and once it was
    begun is not."""
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


async def test_every_unary_call_may_come_again() -> None:
    """Proves that a repeat of any unary call is harmless, though something of it was begun: the
    contract calls its method idempotent."""
    idempotent = set(client.idempotent_methods())
    assert idempotent
    for file in client._SERVICE_FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                streams = method.client_streaming or method.server_streaming
                assert streams or (service.full_name, method.name) in idempotent, method.full_name


async def test_a_last_try_has_time_enough(hub: Hub) -> None:
    """Proves that a call is not sent again with so little left that it would end unanswered: its
    caller is told that it was refused, not that nobody knows."""
    hub.busy_left, hub.busy = 100, replace(BUSY, retry_after_seconds=1.0)
    async with HubClient(hub.address, token="abc") as opened:
        with pytest.raises(errors.TryAgainError):
            await opened.orders.CancelOrder(CancelOrderRequest(), timeout=1.9)
    assert len(hub.tokens) == 1


async def test_a_last_try_has_as_long_as_the_one_before(hub: Hub) -> None:
    """Proves that a call whose refusal took long is not sent again with less time than that."""
    hub.busy_left, hub.seconds_of_a_refusal = 100, 1.5
    async with HubClient(hub.address, token="abc") as opened:
        with pytest.raises(errors.TryAgainError):
            await opened.orders.CancelOrder(CancelOrderRequest(), timeout=2.8)
    assert len(hub.tokens) == 1


async def test_a_pause_that_took_too_long_is_the_last(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a caller whose loop stood still while he waited is told of the refusal, and that
    the call is not sent with what is left, or less than nothing."""
    hub.busy = replace(BUSY, retry_after_seconds=0.2)
    async with HubClient(hub.address, token="abc") as opened:
        call = opened.orders.CancelOrder(CancelOrderRequest(), timeout=20)
        waiting = asyncio.create_task(_answer(call))
        await _until(lambda: opened.calls_turned_away == 1)
        late = time.monotonic() + 19.5
        monkeypatch.setattr(calling, "time", SimpleNamespace(monotonic=lambda: late))
        with pytest.raises(errors.TryAgainError) as caught:
            await waiting
        assert call.done() and not call.cancelled() and not call.cancel()
        with pytest.raises(errors.TryAgainError) as again:
            await call
        assert again.value is caught.value
        assert (len(hub.tokens), opened.calls_turned_away) == (1, 1)


async def test_a_call_is_given_up_between_two_tries(hub: Hub) -> None:
    """Proves that a call that waits to be sent again has not ended, and that to cancel it ends it
    at once: nothing more is sent."""
    hub.busy = replace(BUSY, retry_after_seconds=20.0)
    async with HubClient(hub.address, token="abc", deadline_seconds=100) as opened:
        call = opened.orders.GetOrder(GetOrderRequest(number="late"))
        waiting = asyncio.create_task(_answer(call))
        await _until(lambda: opened.calls_turned_away == 1)
        assert not call.done() and not call.cancelled()
        assert call.cancel() and call.done() and call.cancelled() and not call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 10)
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len(hub.tokens) == 1


async def test_a_call_on_its_way_is_given_up(hub: Hub) -> None:
    """Proves that a call that is under way, the second time too, has not ended and is cancelled as
    one that was sent once."""
    async with HubClient(hub.address, token="abc") as opened:
        for tries in (1, 2):
            hub.busy_left, hub.seconds_of_a_refusal = tries, 0.0
            call = opened.orders.GetOrder(GetOrderRequest(number="late"))
            waiting = asyncio.create_task(_answer(call))
            for left in range(tries):
                if left == tries - 1:
                    hub.seconds_of_a_refusal = 60.0
                await asyncio.wait_for(hub.came.acquire(), 10)
            assert not call.done() and call.cancel() and call.done()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(waiting, 10)
            assert call.cancelled() and not call.cancel()
    assert len(hub.tokens) == 3


async def test_an_answer_is_not_cancelled(hub: Hub) -> None:
    """Proves that a call that was answered at its second try has ended, and not by cancel()."""
    async with HubClient(hub.address, token="abc") as opened:
        call = opened.orders.GetOrder(GetOrderRequest(number="late"))
        assert (await call).order.number == "late"
        assert call.done() and not call.cancel() and not call.cancelled()
        assert (await call).order.number == "late"
    assert len(hub.tokens) == 2


async def test_all_tries_send_the_same(hub: Hub) -> None:
    """Proves that what is sent again is what was sent, though the caller has filled his message
    with something else since, and metadata that can be read only once."""
    async with HubClient(hub.address, token="abc") as opened:
        request = GetOrderRequest(number="first")
        labels = iter([("x-label", "abc")])
        call = opened.orders.GetOrder(request, metadata=labels)  # type: ignore[arg-type]
        waiting = asyncio.create_task(_answer(call))
        await asyncio.wait_for(hub.came.acquire(), 10)
        request.number = "second"
        assert (await waiting).order.number == "first"
    assert (hub.numbers, hub.labels) == (["first"] * 2, ["abc"] * 2)


async def test_who_wait_for_one_call_share_its_tries(hub: Hub) -> None:
    """Proves that a call that several await is sent again once each time it is refused, that all
    have its answer, and that who gives it up does so for all, as without a refusal."""
    hub.busy_left = 3
    async with HubClient(hub.address, token="abc") as opened:
        call = opened.orders.GetOrder(GetOrderRequest(number="late"))
        answers = await asyncio.gather(*(_answer(call) for _ in range(3)))
        assert [each.order.number for each in answers] == ["late"] * 3
        assert (len(hub.tokens), opened.calls_turned_away) == (4, 3)
        hub.busy_left, hub.busy = 1, replace(BUSY, retry_after_seconds=10.0)
        call = opened.orders.GetOrder(GetOrderRequest(number="late"))
        one, other = (asyncio.create_task(_answer(call)) for _ in range(2))
        await _until(lambda: opened.calls_turned_away == 4)
        one.cancel()
        ended = await asyncio.wait_for(asyncio.gather(one, other, return_exceptions=True), 5)
        assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
    assert len(hub.tokens) == 5


async def test_who_wait_for_one_call_are_told_the_same(hub: Hub) -> None:
    """Proves that a refusal that is not waited out is one for all who await the call."""
    hub.busy = replace(BUSY, retry_after_seconds=300.0)
    async with HubClient(hub.address, token="abc") as opened:
        call = opened.orders.GetOrder(GetOrderRequest(number="late"))
        told = await asyncio.gather(*(_answer(call) for _ in range(2)), return_exceptions=True)
        assert isinstance(told[0], errors.TryAgainError) and told[1] is told[0]
        assert (len(hub.tokens), opened.calls_turned_away) == (1, 1)


async def test_pauses_grow_with_each_refusal(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that callers of whom there are too many come ever more seldom, up to a limit, or to
    what the hub wishes where that is more."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def remembered(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(random, "uniform", lambda least, _most: least)
    hub.busy_left, hub.busy = 6, replace(BUSY, retry_after_seconds=1.0)
    async with HubClient(hub.address, token="abc", deadline_seconds=100) as opened:
        monkeypatch.setattr(asyncio, "sleep", remembered)
        await opened.orders.GetOrder(GetOrderRequest(number="late"))
        hub.busy_left, hub.busy = 2, replace(BUSY, retry_after_seconds=12.0)
        await opened.orders.GetOrder(GetOrderRequest(number="late"))
        monkeypatch.undo()
    assert [each for each in pauses if each] == [1, 2, 4, 8, 8, 8, 12, 12]


async def _answer(call: Any) -> Any:
    return await call


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while True:
        if holds():
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
