"""The store's clock when the machine's is set (G16): leases, pauses and ids keep their order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.store_clock import StoreClock
from crossdock_hub.unit import Identifiers, time_of_id
from decisions import START
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_vendor import Desk

LIMITS = Limits()
STEPS = [300, -300, 3600, -3600, 86_400, -86_400]


class Machine:
    """A wall clock that people set, and a monotonic one that they cannot."""

    def __init__(self) -> None:
        self.wall = START
        self.monotonic = 1000.0

    def clock(self, newest: int = 0) -> StoreClock:
        return StoreClock(LIMITS, newest, lambda: self.wall, lambda: self.monotonic)

    def pass_time(self, seconds: float) -> None:
        self.wall += int(seconds * SECOND)
        self.monotonic += seconds

    def set(self, seconds: float) -> None:
        self.wall += int(seconds * SECOND)


@settings(deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.booleans(), st.floats(0, 600), st.floats(-100_000, 100_000)), max_size=40
    )
)
def test_it_never_goes_back_and_never_runs_far_from_true_length(
    moves: list[tuple[bool, float, float]],
) -> None:
    """Proves for any history of steps that a stretch of time is measured within half a percent."""
    machine = Machine()
    clock = machine.clock()
    for steps, passed, step in moves:
        before, began = clock(), machine.monotonic
        if steps:
            machine.set(step)
        machine.pass_time(passed)
        measured, true = (clock() - before) / SECOND, machine.monotonic - began
        assert measured >= 0
        slack = true * LIMITS.clock_slew + 0.001
        assert true - slack <= measured <= true + slack


def test_it_follows_a_wall_that_was_set_until_they_agree() -> None:
    """Proves that a small correction by the network is taken over in minutes."""
    machine = Machine()
    clock = machine.clock()
    machine.set(1.5)
    for _ in range(400):
        machine.pass_time(1.0)
        clock()
    assert abs(clock.offset_microseconds()) < 1000


@pytest.mark.parametrize("step", STEPS)
def test_a_step_ends_no_lease_and_delays_no_retry(step: float) -> None:
    """G16: proves that leases stay exclusive and nothing is lost, doubled or tried more often when
    the machine's clock is set in the middle of calls, look-ups and pauses."""
    counts = {}
    for stepped in (0.0, step):
        machine = Machine()
        clock = machine.clock()
        desk = Desk("SEARCHABLE")
        desk.now = clock()
        records = [desk.one(key=f"k{n}") for n in range(6)]
        flying, lost, paused = records[:2], records[2:4], records[4:]
        tokens = [desk.take(record) for record in flying]
        for record in lost:
            desk.settle(record, "UNKNOWN", reason="reset")
        for record in paused:
            desk.settle(record, "RETRY", reason="refused")
        machine.set(stepped)
        for _ in range(20):
            machine.pass_time(0.1)
            let_time_come(desk, clock())
        assert {desk.fresh(record).state for record in flying} == {"IN_FLIGHT"}, "a lease ended"
        assert {desk.fresh(record).state for record in lost} == {"UNKNOWN"}, "not settled yet"
        for record, token in zip(flying, tokens, strict=True):
            desk.complete(record, token, "CONFIRMED")
        for _ in range(200):
            machine.pass_time(1.0)
            let_time_come(desk, clock())
            for record in [*lost, *paused]:
                if desk.fresh(record).pending:
                    desk.settle(record, "CONFIRMED")
        assert {desk.fresh(record).state for record in records} == {"CONFIRMED"}
        counts[stepped] = sum(len(desk.attempts_of(record)) for record in records)
    assert counts[step] <= counts[0.0] * 1.2


def let_time_come(desk: Any, now: int) -> None:
    """Move a desk to a time of the store's clock, timers included."""
    desk.pass_time(max(0.0, (now - desk.now) / SECOND))


@pytest.mark.parametrize("back", [300, 3600])
def test_a_hub_that_starts_with_a_clock_set_back_goes_on_after_what_is_stored(back: int) -> None:
    """Proves that times and ids after a restart sort behind those before it."""
    machine = Machine()
    before = machine.clock()
    ids = Identifiers()
    made = [ids.next(before()) for _ in range(3)]
    machine.pass_time(5)
    made.append(ids.next(before()))
    machine.set(-back)
    newest = made[-1]
    clock = machine.clock(time_of_id(newest))
    assert clock() >= time_of_id(newest)
    later = Identifiers(newest)
    made += [later.next(clock()) for _ in range(3)]
    assert all(first < second for first, second in itertools.pairwise(made))
