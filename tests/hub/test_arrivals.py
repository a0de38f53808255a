"""Bulk waits a moment for callers whose call has come and who are not in line yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from crossdock_hub.arrivals import Arrivals
from crossdock_hub.commands import Command
from crossdock_hub.config import Limits
from crossdock_hub.door.running_calls import RunningCalls
from crossdock_hub.identity import Caller
from crossdock_hub.lanes import Lanes
from hypothesis import given
from hypothesis import strategies as st

CREATE = "/crossdock.order.v1.OrderService/CreateOrder"
UPSERT = "/crossdock.item.v1.ItemService/UpsertItems"
REPORT = "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents"
OMS = Caller("oms", "OMS")
# Nobody waits so long: what it bounds is not to end a test by itself.
LONG_SECONDS = 600.0


def _lanes(seconds: float) -> Lanes:
    return Lanes(Limits().with_changes({"bulk_awaits_seconds": seconds}))


def _put(lanes: Lanes, name: str, *, bulk: bool) -> None:
    answer = asyncio.get_running_loop().create_future()
    lanes.add(Command(name, OMS, lambda _unit: None, answer, bulk=bulk))


def _names(batch: list[Command]) -> list[str]:
    return [each.name for each in batch]


async def _idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_bulk_waits_for_whoever_is_on_the_way() -> None:
    """Proves that a batch of bulk is not taken while two callers are on their way into the line,
    and that both are in front of it when they are there."""
    lanes = _lanes(LONG_SECONDS)
    _put(lanes, "bulk", bulk=True)
    lanes.arrivals.come()
    lanes.arrivals.come()
    taking = asyncio.create_task(lanes.next())
    await _idle()
    lanes.arrivals.heard()
    _put(lanes, "one", bulk=False)
    await _idle()
    assert not taking.done()
    lanes.arrivals.heard()
    _put(lanes, "two", bulk=False)
    assert _names(await taking)[:2] == ["one", "two"]


async def test_callers_in_line_wait_for_nobody() -> None:
    """Proves that a batch with a caller in it is taken at once, whoever is on the way."""
    lanes = _lanes(LONG_SECONDS)
    _put(lanes, "bulk", bulk=True)
    _put(lanes, "caller", bulk=False)
    lanes.arrivals.come()
    assert _names(await lanes.next())[0] == "caller"


async def test_bulk_waits_once_for_a_caller_who_never_gets_there() -> None:
    """Proves that a call that was given up on its way keeps bulk for the time that is set and no
    longer, and that nothing waits for it again."""
    lanes = _lanes(0.0)
    _put(lanes, "first", bulk=True)
    lanes.arrivals.come()
    assert _names(await lanes.next()) == ["first"]
    await asyncio.wait_for(lanes.arrivals.all_heard(LONG_SECONDS), 5.0)
    lanes.arrivals.heard()
    lanes.arrivals.come()
    waiting = asyncio.create_task(lanes.arrivals.all_heard(LONG_SECONDS))
    await _idle()
    assert not waiting.done()
    lanes.arrivals.heard()
    await waiting


@given(st.lists(st.sampled_from(["come", "heard"]), max_size=30))
def test_whoever_is_on_the_way_is_waited_for_and_nobody_else(what: list[str]) -> None:
    """Proves for calls that come and are heard in any order, some of them twice, that it is waited
    for exactly while more have come than were heard since."""
    left = 0

    async def play() -> None:
        nonlocal left
        arrivals = Arrivals()
        for each in what:
            getattr(arrivals, each)()
            left = left + 1 if each == "come" else max(0, left - 1)
        waiting = asyncio.create_task(arrivals.all_heard(LONG_SECONDS))
        await _idle()
        assert waiting.done() == (left == 0)
        waiting.cancel()

    asyncio.run(play())


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every method with what it was asked."""

    def service(self, handler_call_details: Any) -> Any:
        async def answer(request: Any, _context: Any) -> Any:
            return request

        if handler_call_details.method.startswith("/grpc."):
            return None
        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.mark.parametrize(
    ("method", "awaited"),
    [(CREATE, True), (UPSERT, False), (REPORT, False), ("/grpc.health.v1.Health/Check", False)],
)
async def test_a_call_is_on_the_way_until_its_handler_has_it(method: str, awaited: bool) -> None:
    """Proves that a caller is on the way from when the call is known to when its handler begins,
    and that bulk itself and other services are not waited for."""
    arrivals = Arrivals()
    details: Any = SimpleNamespace(method=method)
    handler: Any = RunningCalls(arrivals, Limits()).of([_Methods()]).service(details)
    waiting = asyncio.create_task(arrivals.all_heard(LONG_SECONDS))
    await _idle()
    assert waiting.done() is not awaited
    if handler is not None:
        assert await handler.unary_unary(b"asked", None) == b"asked"
    await asyncio.wait_for(waiting, 5.0)
