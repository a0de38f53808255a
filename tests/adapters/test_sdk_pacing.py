"""The pace of a process: no second with too many calls, whatever pauses and however they wait."""

from __future__ import annotations

import asyncio
import itertools
import selectors
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.auth import Token, TokenCache
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.pacing import GUARD_SECONDS, Pace, Paces, Place
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.worker import Worker
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_house import housed
from sdk_ledger_hub import dispatch
from sdk_tiny_sandbox import TinySandbox

NEVER: Sequence[float] = (0.0,)


class PlayedSelector(selectors.SelectSelector):
    """Waits by setting the clock forward, each time by the next of `late_seconds` too far."""

    def __init__(self, late_seconds: Sequence[float]) -> None:
        super().__init__()
        self.now = 0.0
        self._late_seconds = itertools.cycle(late_seconds)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and for nothing"
        self.now += max(0.0, timeout) + next(self._late_seconds)
        return []


class PlayedLoop(asyncio.SelectorEventLoop):
    """An event loop in played time, which pauses."""

    def __init__(self, late_seconds: Sequence[float]) -> None:
        self._played = PlayedSelector(late_seconds)
        super().__init__(self._played)

    def time(self) -> float:
        return self._played.now


def played(work: Coroutine[Any, Any, Any], late_seconds: Sequence[float] = NEVER) -> Any:
    """Run it in played time."""
    with asyncio.Runner(loop_factory=lambda: PlayedLoop(late_seconds)) as runner:
        return runner.run(work)


def pace_of(per_second: float) -> Pace:
    return Pace(per_second, clock=asyncio.get_running_loop().time)


@dataclass(frozen=True)
class Call:
    """When it is asked for, how long from its place until it leaves and from there until it ends,
    and by how much its way is longer than the shortest. told: whether it says that it leaves."""

    at: float
    before: float
    after: float
    way: float
    told: bool


async def make(call: Call, pace: Pace, came: list[float]) -> None:
    """Make it; came: when the vendor has it."""
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(call.at)
    place = await pace.place()
    await asyncio.sleep(call.before)
    if call.told:
        place.went()
    came.append(clock() + call.way)
    await asyncio.sleep(call.after)
    place.ended()


SECONDS = st.floats(0, 2)
CALLS = st.builds(Call, SECONDS, SECONDS, SECONDS, st.floats(0, GUARD_SECONDS), st.booleans())


@settings(deadline=None)
@given(
    per_second=st.sampled_from((0.4, 1.0, 2.5, 7.0, 25.0)),
    calls=st.lists(CALLS, max_size=60),
    late_seconds=st.lists(st.one_of(st.just(0.0), st.floats(0, 3)), min_size=1, max_size=20),
)
def test_no_second_has_more_calls_than_the_pace(
    per_second: float, calls: list[Call], late_seconds: list[float]
) -> None:
    """Proves that the vendor has no more calls in any stretch of time than are due in it: whenever
    they are asked for, however long each takes to leave, whether or not it says so, whenever the
    process pauses, and if some are longer on their way than others by the guard; and that all go.
    """
    came: list[float] = []

    async def all_of_them() -> None:
        pace = pace_of(per_second)
        await asyncio.gather(*(make(call, pace, came) for call in calls))

    played(all_of_them(), late_seconds)
    assert len(came) == len(calls)
    came.sort()
    most = ceil(per_second)
    for first, after in zip(came, came[most:], strict=False):
        assert after - first >= most / per_second - 1e-6


def test_a_pause_is_followed_by_no_crowd_and_what_waits_loses_nothing() -> None:
    """Proves that what need not wait leaves at once, that what does leaves evenly, also after the
    process stood still for half a second, and that all of it takes no longer than its pace says."""
    left: list[float] = []

    async def all_of_them(count: int) -> None:
        pace = pace_of(25.0)
        await asyncio.gather(*(make(Call(0, 0, 0, 0, True), pace, left) for _ in range(count)))

    played(all_of_them(100))
    assert left[:25] == [0.0] * 25
    gaps = [after - first for first, after in itertools.pairwise(left[24:])]
    assert gaps[0] == pytest.approx(1.0 + GUARD_SECONDS)
    assert gaps[1:] == pytest.approx([(1.0 + GUARD_SECONDS) / 25] * 74)
    left.clear()
    # Every turn a millisecond late, as loops are, and one of them by much.
    played(all_of_them(100), [*[0.001] * 150, 0.5, *[0.001] * 1_000])
    gaps = [after - first for first, after in itertools.pairwise(left[24:])]
    assert max(gaps[1:]) > 0.5 and min(gaps) > 0.035
    assert left[-1] < 4 * (1.0 + GUARD_SECONDS) + 0.5


async def test_a_place_without_a_call_costs_nothing_and_one_that_may_leave_counts() -> None:
    """Proves that a place which was given back is free at once, that a call which has not left
    holds its place for as long as that takes, and that who waits for it hears of its end."""
    now = [0.0]
    pace = Pace(1.0, clock=lambda: now[0])
    (await pace.place()).unused()
    held = await pace.place()
    now[0] = 60.0
    waiting = asyncio.create_task(pace.place())
    await asyncio.sleep(0)
    assert not waiting.done()
    held.unused()
    place = await waiting
    place.went()
    place.unused()
    now[0] = 60.9
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pace.place(), 0.01)
    now[0] = 61.1
    await asyncio.wait_for(pace.place(), 10.0)


def test_one_pace_for_each_system_of_a_process() -> None:
    """Proves that endpoints of one system share a pace, the lower of what they declare, and that no
    rate is no pace."""
    paces = Paces()
    first = paces.of("erp", 25.0)
    assert first is not None and paces.of("erp", 10.0) is first
    assert first.per_second == 10.0
    assert paces.of("erp", 40.0) is first and first.per_second == 10.0
    assert paces.of("wms", 25.0) is not first
    assert paces.of("wms", 0.0) is None
    with pytest.raises(ValueError):
        Pace(-inf)


def most_within(times: Sequence[float], seconds: float) -> int:
    """The most of them within any so many seconds."""
    ordered = sorted(times)
    return max(sum(first <= each < first + seconds for each in ordered) for first in ordered)


async def test_a_backlog_reaches_the_vendor_at_its_pace(tmp_path: Path) -> None:
    """Proves that what waits for an adapter is not called in a burst on top of its pace, which the
    hub of this test leaves to the adapter alone."""
    async with housed(tmp_path, per_second=20.0) as house:
        works = [dispatch() for _ in range(45)]
        for work in works:
            house.queue.put(work)
        for work in works:
            assert await house.outcome(work) == "CONFIRMED"
        came = [call.start.timestamp() for call in house.tiny.calls if call.operation == "book"]
    assert len(came) == 45
    assert most_within(came, 1.0) == 20


async def test_what_waits_for_its_pace_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Proves that a process which stops gives back what has begun and has no place yet."""
    async with housed(tmp_path, per_second=0.05) as house:
        first, second = dispatch(), dispatch()
        house.queue.put(first)
        assert await house.outcome(first) == "CONFIRMED"
        house.queue.put(second)
        began = time.monotonic()
    assert time.monotonic() - began < 10.0
    assert house.hub.outcomes()[second.delivery_id] == ["RETRY"]
    assert len(house.tiny.bookings) == 1


@pytest.mark.parametrize("whose", ["attempt", "client"])
async def test_a_call_counts_from_when_it_leaves(
    whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the place of an attempt, and that of a request in its client's own pace, count
    from when the connection stands, because opening one takes time."""
    now = [0.0]
    pace = Pace(1.0, clock=lambda: now[0])
    opening = aiohttp.TCPConnector._create_connection

    async def slowly(*given: Any) -> Any:
        now[0] += 5.0
        return await opening(*given)

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", slowly)
    async with TinySandbox(SandboxConfig(name="tiny")) as tiny:
        http = VendorHttp(tiny.vendor_url)
        with exchange.recording() as record:
            if whose == "attempt":
                record.place = await pace.place()
            else:
                http._pace = pace
            await http.post("/bookings", json={"key": "a"})
        await http.close()
    now[0] = 5.9
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pace.place(), 0.01)
    now[0] = 5.0 + 1.0 + GUARD_SECONDS + 0.001
    await asyncio.wait_for(pace.place(), 10.0)


async def test_a_token_that_is_fetched_first_does_not_count_as_the_call() -> None:
    """Proves that the place of an attempt counts from its call, however long before that a token
    was asked for."""
    now = [0.0]
    pace = Pace(1.0, clock=lambda: now[0])
    async with TinySandbox(SandboxConfig(name="tiny")) as tiny:
        http = VendorHttp(tiny.vendor_url)

        async def fetch() -> Token:
            await http.post("/bookings", json={"key": "not the call"}, effect=False)
            now[0] += 5.0
            return Token("t", 60.0)

        with exchange.recording() as record:
            record.place = await pace.place()
            await http.post("/bookings", json={"key": "a"}, auth=TokenCache(fetch))
        await http.close()
    now[0] = 5.9
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pace.place(), 0.01)
    now[0] = 5.0 + 1.0 + GUARD_SECONDS + 0.001
    await asyncio.wait_for(pace.place(), 10.0)


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_cancelled_with_a_place_gives_it_back(turns: int) -> None:
    """Proves that an attempt which is cancelled at any turn of the loop holds no place for good."""
    pace = Pace(1.0)
    asking: Any = SimpleNamespace(hurry=asyncio.Event())
    attempt = asyncio.create_task(Worker._place(asking, pace))
    for _ in range(turns):
        await asyncio.sleep(0)
    attempt.cancel()
    (ended,) = await asyncio.gather(attempt, return_exceptions=True)
    if isinstance(ended, Place):
        ended.unused()
    (await asyncio.wait_for(pace.place(), 5.0)).unused()
