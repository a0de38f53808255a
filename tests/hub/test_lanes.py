"""Interactive work passes bulk, bulk never starves, and its slices follow the time they take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from crossdock_hub.commands import Command
from crossdock_hub.config import Limits
from crossdock_hub.identity import HUB, Caller
from crossdock_hub.lanes import LEAST_BESIDE, Lanes, Slice
from crossdock_hub.unit import Refused
from hypothesis import given
from hypothesis import strategies as st

LIMITS = Limits()


OMS = Caller("oms", "OMS")


def command(
    loop: asyncio.AbstractEventLoop,
    name: str,
    *,
    bulk: bool,
    weight: int = 1,
    caller: Caller = OMS,
) -> Command:
    return Command(name, caller, lambda unit: None, loop.create_future(), bulk=bulk, weight=weight)


@pytest.fixture
def loop() -> Any:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@given(
    fixed=st.floats(0.0001, 0.015),
    each=st.floats(0.00002, 0.05),
    rounds=st.integers(30, 60),
)
def test_a_slice_settles_where_a_batch_takes_its_time(
    fixed: float, each: float, rounds: int
) -> None:
    """Proves for any cost of a commit and of a command that batches of bulk come to take the time
    they are given, give or take one command and one doubling, or one command where that is more."""
    found = Slice(LIMITS.bulk_batch_seconds, LIMITS.batch_commands_max)
    for _ in range(rounds):
        found.took(found.weight, fixed + each * found.weight)
    took = fixed + each * found.weight
    assert found.weight == 1 or took <= LIMITS.bulk_batch_seconds * 2
    whole = fixed + each * LIMITS.batch_commands_max <= LIMITS.bulk_batch_seconds
    if whole:
        assert found.weight == LIMITS.batch_commands_max
    else:
        assert fixed + each * (found.weight + 1) * 2 >= LIMITS.bulk_batch_seconds


def test_a_batch_that_took_less_than_it_was_let_teaches_nothing() -> None:
    """Proves that a quick batch of few commands does not widen the slice."""
    found = Slice(0.02, 512)
    before = found.weight
    found.took(1, 0.001)
    assert found.weight == before
    found.took(1, 0.2)
    assert found.weight < before


def test_a_caller_amid_a_load_is_in_the_next_batch(loop: asyncio.AbstractEventLoop) -> None:
    """Proves that an interactive command passes all bulk that waits, which keeps its order."""
    lanes = Lanes(LIMITS)
    for number in range(5_000):
        lanes.add(command(loop, str(number), bulk=True))
    lanes.took([command(loop, "", bulk=True, weight=64)], 0.64)
    lanes.add(command(loop, "caller", bulk=False))
    batch = lanes.take()
    assert batch[0].name == "caller"
    assert [each.name for each in batch[1:]] == [str(n) for n in range(len(batch) - 1)]
    assert 1 <= len(batch) - 1 <= 32


def test_soon_after_a_caller_bulk_is_brief(loop: asyncio.AbstractEventLoop) -> None:
    """Proves that batches of bulk alone are as short as those with a caller in them until
    `bulk_yields_seconds` after the last one, and as long as before from then on; and that what the
    hub asks itself does not make them short."""
    now = 100.0
    lanes = Lanes(LIMITS, lambda: now)

    def taken() -> int:
        """The weight of the next batch of bulk; a commit takes 1 ms, and a row 0.1 ms."""
        batch = lanes.take()
        lanes.took(batch, 0.001 + 0.0001 * len(batch))
        return len(batch) if all(each.bulk for each in batch) else 0

    def settled() -> int:
        return [taken() for _ in range(20)][-1]

    for number in range(20_000):
        lanes.add(command(loop, str(number), bulk=True))
    alone = settled()
    assert 0.001 + 0.0001 * alone == pytest.approx(LIMITS.bulk_batch_seconds, rel=0.1)
    lanes.add(command(loop, "timer", bulk=False, caller=HUB))
    assert not taken()
    assert taken() == alone
    lanes.add(command(loop, "caller", bulk=False))
    assert not taken()
    beside = settled()
    took = 0.001 + 0.0001 * beside
    assert beside >= LEAST_BESIDE and took == pytest.approx(LIMITS.bulk_beside_seconds, rel=0.1)
    now += LIMITS.bulk_yields_seconds
    assert taken() == alone


def test_a_slow_disk_does_not_starve_bulk() -> None:
    """Proves that where a commit alone takes longer than bulk is given beside callers, some of it
    goes with each batch still."""
    found = Slice(LIMITS.bulk_beside_seconds, LIMITS.batch_commands_max, LEAST_BESIDE)
    for _ in range(30):
        found.took(found.weight, LIMITS.bulk_beside_seconds * 4)
    assert found.weight == LEAST_BESIDE


def test_bulk_gets_its_share_beside_a_full_lane(loop: asyncio.AbstractEventLoop) -> None:
    """Proves that bulk moves in every other batch while interactive commands never end, also when
    one of its commands weighs more than its slice, and that callers are by themselves between."""
    lanes = Lanes(LIMITS)
    lanes.add(command(loop, "heavy", bulk=True, weight=500))
    lanes.add(command(loop, "light", bulk=True))
    for number in range(2_000):
        lanes.add(command(loop, str(number), bulk=False))
    names = [[each.name for each in lanes.take()] for _ in range(3)]
    assert "heavy" in names[0] and "light" not in names[0]
    assert all(name.isdigit() for name in names[1])
    assert "light" in names[2]
    assert all(len(batch) >= LIMITS.batch_commands_max // 2 for batch in names)


def test_a_full_lane_refuses_and_leaves_the_other_open(loop: asyncio.AbstractEventLoop) -> None:
    """Proves that bulk that piles up to its limit is refused with what to do, and that callers
    still get in."""
    lanes = Lanes(Limits().with_changes({"queue_commands_max": 3}))
    for number in range(3):
        lanes.add(command(loop, str(number), bulk=True))
    with pytest.raises(Refused) as refused:
        lanes.add(command(loop, "more", bulk=True))
    assert refused.value.refusal.reason == "HUB_OVERLOADED"
    assert "request_id" in refused.value.refusal.message
    lanes.add(command(loop, "caller", bulk=False))
    assert lanes.take()[0].name == "caller"


def test_commands_given_up_take_no_room(loop: asyncio.AbstractEventLoop) -> None:
    """Proves that a command whose caller went is not decided, keeps no bulk waiting, and that the
    lanes end empty."""
    lanes = Lanes(LIMITS)
    for name in ("there", "there too"):
        gone = command(loop, "gone", bulk=False)
        gone.answer.cancel()
        lanes.add(gone)
        lanes.add(command(loop, name, bulk=True))
        assert [each.name for each in lanes.take()] == [name]
    assert lanes.empty
