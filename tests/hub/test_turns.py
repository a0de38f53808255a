"""A large request is read when no caller waits, or soon, and no small one waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from crossdock_hub.commands import Command
from crossdock_hub.config import Limits
from crossdock_hub.door.intake import Intake
from crossdock_hub.door.turns import LARGE_BYTES, Turns
from crossdock_hub.identity import Caller
from crossdock_hub.lanes import Lanes
from crossdock_hub.unit import Refused
from decisions import CONTRACT
from story import scan, scans

REPORT = "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents"
OMS = Caller("oms", "OMS")
# Nobody waits so long: what it bounds is not to end a test by itself.
LONG_SECONDS = 600.0


def _turns(yields_seconds: float = LONG_SECONDS) -> tuple[Turns, Lanes]:
    changes = {"intake_yields_seconds": yields_seconds, "intake_turn_seconds": 0.0}
    limits = Limits().with_changes(changes)
    lanes = Lanes(limits)
    return Turns(Intake(CONTRACT, limits), lanes, limits), lanes


def _call(lanes: Lanes) -> None:
    answer = asyncio.get_running_loop().create_future()
    lanes.add(Command("call", OMS, lambda _unit: None, answer))


def _counted(seen: list[str], name: str, steps: int = 3) -> Generator[None, None, str]:
    for _ in range(steps):
        seen.append(name)
        yield
    return name


async def _idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_steps_wait_while_a_caller_waits_or_is_under_way() -> None:
    """Proves that no step is taken beside a caller, that those of the next request wait for those
    of the first, and that all are taken when it is calm."""
    turns, lanes = _turns()
    _call(lanes)
    seen: list[str] = []
    both = [
        asyncio.create_task(turns.take(_counted(seen, name), bulk=True)) for name in ("one", "two")
    ]
    await _idle()
    batch = lanes.take()
    await _idle()
    assert not seen
    lanes.took(batch, 0.001)
    assert await asyncio.gather(*both) == ["one", "two"]
    assert seen == ["one"] * 3 + ["two"] * 3


async def test_a_caller_who_comes_meanwhile_goes_first() -> None:
    """Proves that a request that has begun is interrupted between its steps."""
    turns, lanes = _turns()
    seen: list[str] = []

    def steps() -> Generator[None, None, None]:
        yield from _counted(seen, "before", 1)
        _call(lanes)
        yield
        yield from _counted(seen, "after", 1)

    task = asyncio.create_task(turns.take(steps(), bulk=True))
    await _idle()
    assert seen == ["before"]
    lanes.took(lanes.take(), 0.001)
    await task
    assert seen == ["before", "after"]


async def test_callers_who_never_end_do_not_keep_it_out() -> None:
    """Proves that a large request goes on after `intake_yields_seconds`."""
    turns, lanes = _turns(0.01)
    _call(lanes)
    seen: list[str] = []
    async with asyncio.timeout(30):
        await turns.take(_counted(seen, "step"), bulk=True)
    assert len(seen) == 3


async def test_what_is_small_or_no_bulk_waits_for_nobody() -> None:
    """Proves that a report of one scan is read beside callers and behind a large report at once,
    and so is a large request of a method that bulk never comes by."""
    turns, lanes = _turns()
    _call(lanes)
    method = CONTRACT.methods[REPORT]
    large = scans(*(scan(f"1Z{number}", "IN_TRANSIT", 1.0) for number in range(500)))
    raw = large.SerializeToString()
    assert len(raw) >= LARGE_BYTES
    waiting = asyncio.create_task(turns.parse(method, raw))
    await _idle()
    small = scans(scan("1Z", "IN_TRANSIT", 1.0))
    other = replace(method, full_name="/another.Service/Method")
    async with asyncio.timeout(30):
        assert await turns.parse(method, small.SerializeToString()) == small
        assert await turns.parse(other, raw) == large
    assert not waiting.done()
    lanes.took(lanes.take(), 0.001)
    assert await waiting == large


async def test_a_refused_request_lets_the_next_one_in() -> None:
    """Proves that what the first one is refused for ends with it."""
    turns, _ = _turns()
    raw = b"\xff" * LARGE_BYTES
    with pytest.raises(Refused) as refused:
        await turns.parse(CONTRACT.methods[REPORT], raw)
    assert refused.value.refusal.reason == "MALFORMED_MESSAGE"
    seen: list[str] = []
    async with asyncio.timeout(30):
        assert await turns.take(_counted(seen, "next"), bulk=True) == "next"


async def test_work_beside_callers_waits_for_nothing_large() -> None:
    """Proves that what is done beside callers rests while one waits, and is left out, at once,
    while another request is read or the same is done for one: reports come faster than they go."""
    turns, lanes = _turns()
    done: list[str] = []

    async def work(name: str, rest: Any) -> None:
        await rest()
        done.append(name)

    _call(lanes)
    first = asyncio.create_task(turns.beside_callers(partial(work, "first")))
    await _idle()
    assert not done
    await asyncio.wait_for(turns.beside_callers(partial(work, "second")), 5.0)
    lanes.took(lanes.take(), 0.001)
    await asyncio.wait_for(first, 5.0)
    assert done == ["first"]
    _call(lanes)
    seen: list[str] = []
    reading = asyncio.create_task(turns.take(_counted(seen, "read"), bulk=True))
    await _idle()
    await asyncio.wait_for(turns.beside_callers(partial(work, "third")), 5.0)
    lanes.took(lanes.take(), 0.001)
    await asyncio.wait_for(reading, 5.0)
    await turns.beside_callers(partial(work, "fourth"))
    assert done == ["first", "fourth"]
