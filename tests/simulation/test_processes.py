"""What a simulated process is: its tasks on virtual time, stopped, and killed without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from decisions import START
from simulation.faults import Faults
from simulation.link import SimulatedLink
from simulation.quiet import quiet
from simulation.virtual_loop import VirtualLoop
from simulation.virtual_time import VirtualTime
from simulation.world import World

DAY_SECONDS = 86_400.0
SILENT = Faults(outages=((0.0, 600.0),), silent_outages=True, keys=1, events_per_key=1)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


def test_time_passes_only_when_nothing_is_left_to_do() -> None:
    """Proves that timers of tasks fire in their order, each at its own virtual time, and that no
    other time is looked at."""
    time = VirtualTime()
    loop = VirtualLoop(time)
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    for name, seconds in (("late", DAY_SECONDS), ("soon", 0.5), ("sooner", 0.25)):
        loop.create_task(sleeper(name, seconds))
    time.run(2 * DAY_SECONDS)
    assert seen == [("sooner", 0.25), ("soon", 0.5), ("late", DAY_SECONDS)]


def test_a_stopped_process_sees_that_time_has_passed() -> None:
    """Proves that nothing of a stopped process runs until it goes on, and that the step which was
    running came to its end first."""
    time = VirtualTime()
    loop = VirtualLoop(time)
    seen: list[float] = []

    async def stops() -> None:
        loop.stop_for(30.0)
        seen.append(loop.time())
        await asyncio.sleep(0)
        seen.append(loop.time())

    async def sleeps() -> None:
        await asyncio.sleep(1.0)
        seen.append(loop.time())

    loop.create_task(sleeps())
    loop.create_task(stops())
    time.run(DAY_SECONDS)
    assert seen == [0.0, 30.0, 30.0]


def test_a_killed_process_does_nothing_more() -> None:
    """Proves that no timer of a killed process fires, and that nothing can be begun in it."""
    time = VirtualTime()
    loop = VirtualLoop(time)
    seen: list[str] = []

    async def waits() -> None:
        await asyncio.sleep(1.0)
        seen.append("woke up")

    async def refused() -> None:
        """Never begun."""

    loop.create_task(waits())
    time.run(0.5)
    loop.kill()
    with pytest.raises(RuntimeError, match="dead"):
        loop.create_task(refused())
    time.run(DAY_SECONDS)
    assert seen == []


def test_a_task_that_outlives_its_process_is_told() -> None:
    """Proves that code which swallows being cancelled can't pass for a process that was killed."""
    time = VirtualTime()
    loop = VirtualLoop(time)

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1.0)
            except asyncio.CancelledError:
                continue

    loop.create_task(stubborn())
    time.run(0.5)
    with pytest.raises(AssertionError, match="outlive"):
        loop.kill()


def test_a_killed_adapter_tells_neither_hub_nor_vendor() -> None:
    """Proves that kill -9 in the midst of a call leaves the hub with an attempt whose lease runs
    out, and the vendor with a connection that nobody closed; a call that ends is completed."""
    assert _outcomes_of_a_silent_call(killed=True)[0] == "LEASE_EXPIRED"
    assert _outcomes_of_a_silent_call(killed=False)[0] == "UNKNOWN"


def _outcomes_of_a_silent_call(*, killed: bool) -> list[str]:
    """What the ledger knows two minutes after a call that nobody answers began."""
    world = World(1, SILENT)
    world._plan()
    world.time.run(DAY_SECONDS, lambda: bool(_outcomes(world)))
    world.time.run(world.time.monotonic() + 1.0)
    assert _outcomes(world) == [""], "it has to run still"
    if killed:
        for adapter in world.adapters:
            adapter.crash()
            assert adapter.faults == []
    world.time.run(world.time.monotonic() + 120.0)
    told = _outcomes(world)
    world._stop_all()
    return told


def test_a_call_of_a_process_that_was_stopped_ends_within_its_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a process which is stopped while it asks for a whole lease, and wakes up with
    less of it than a call may take, ends its call before the hub gives the delivery to another."""
    stops = {"begin": 15.0, "renew": 28.0}
    for name, seconds in stops.items():
        monkeypatch.setattr(SimulatedLink, name, _stopped_after(name, seconds, stops))
    world = World(1, Faults(vendor_lost_undone=1.0, keys=1, events_per_key=1))
    world._plan()
    world.time.run(DAY_SECONDS, lambda: bool(world.vendor.books.calls))
    (call,) = world.vendor.books.calls
    lease_until = next(iter(world.hub.deliveries())).lease_until - START
    world.time.run(world.time.monotonic() + 40.0)
    world._stop_all()
    assert not stops, "both stops have to happen"
    assert call.ended < lease_until, (call.ended, lease_until)
    assert _outcomes(world)[0] == "UNKNOWN"


def _stopped_after(name: str, seconds: float, stops: dict[str, float]) -> Any:
    """The link's call, after which the process is stopped, once, before it reads the answer."""
    ask = getattr(SimulatedLink, name)

    async def asked(self: SimulatedLink, items: list[Any]) -> list[Any]:
        results: list[Any] = await ask(self, items)
        if stops.pop(name, None):
            self._loop.stop_for(seconds)
            await asyncio.sleep(0)
        return results

    return asked


def _outcomes(world: World) -> list[str]:
    return [
        attempt.outcome
        for record in world.hub.deliveries()
        for attempt in world.hub.attempts_of(record)
    ]
