"""Interactive work passes bulk, bulk never starves, and its slices follow the time they take."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from crossdock_hub.commands import Command
from crossdock_hub.config import Limits
from crossdock_hub.identity import HUB, Caller
from crossdock_hub.lanes import Lanes
from crossdock_hub.unit import Refused
from hypothesis import example, given, settings
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


def batch_of(loop: asyncio.AbstractEventLoop, weight: int) -> list[Command]:
    return [command(loop, "", bulk=True, weight=weight)]


@given(
    fixed=st.floats(0.0001, 0.05),
    each=st.floats(0.00002, 0.01),
    noise=st.floats(0.0, 0.2),
    seed=st.integers(0, 2**32),
    calls=st.booleans(),
)
def test_a_slice_settles_where_a_batch_takes_its_time(
    fixed: float, each: float, noise: float, seed: int, calls: bool
) -> None:
    """Proves for any cost of a commit and of a row, and for times that vary, that batches of bulk
    come to take about the time they are given, or half more than a commit takes: no longer, so that
    nobody waits, and no less, so that a slow commit does not starve a load. With callers between
    them, and without."""
    loop = asyncio.new_event_loop()
    now = 0.0
    lanes = Lanes(Limits().with_changes({"queue_commands_max": 10**6}), lambda: now)
    chance = Random(seed)
    sizes = []
    for turn in range(150):
        while len(lanes._bulk) < LIMITS.batch_commands_max:
            lanes.add(command(loop, "", bulk=True))
        if calls and turn % 3 == 0:
            lanes.add(command(loop, "caller", bulk=False))
        batch = lanes.take()
        lanes.took(batch, (fixed + each * len(batch)) * max(0.2, chance.gauss(1.0, noise)))
        if all(one.bulk for one in batch):
            sizes.append(len(batch))
    loop.close()
    seconds = LIMITS.bulk_beside_seconds if calls else LIMITS.bulk_batch_seconds
    wanted = max(seconds - fixed, fixed / 2) / each
    most = min(wanted * 4 + 2, LIMITS.batch_commands_max)
    least = min(wanted / 4, LIMITS.batch_commands_max)
    typical = sorted(sizes[-30:])[len(sizes[-30:]) // 2]
    assert least - 1 <= typical <= most


@pytest.mark.parametrize("commit_seconds", [0.003, 0.0101, 0.015, 0.05])
@pytest.mark.parametrize("calls", [False, True])
def test_a_slow_commit_does_not_starve_a_load(
    loop: asyncio.AbstractEventLoop, commit_seconds: float, calls: bool
) -> None:
    """Proves that a load goes on at a quarter at least of what batches of any size could do,
    however long a commit takes, with somebody calling all the time or nobody."""
    now = 0.0
    lanes = Lanes(LIMITS, lambda: now)
    rows, begun, longest = 0, 0.0, 0.0
    for turn in range(400):
        while len(lanes._bulk) < LIMITS.batch_commands_max:
            lanes.add(command(loop, "", bulk=True))
        if calls:
            lanes.add(command(loop, "caller", bulk=False))
        batch = lanes.take()
        took = commit_seconds + 0.0001 * len(batch)
        lanes.took(batch, took)
        now += took
        if turn < 200:
            begun = now
            continue
        rows += sum(one.bulk for one in batch)
        longest = max(longest, took)
    # A fourth to a third of each batch is rows; with callers every other one has none.
    assert rows / (now - begun) >= (900 if calls else 2_700)
    assert longest <= max(LIMITS.bulk_batch_seconds, commit_seconds * 2) * 1.2


@settings(deadline=None, max_examples=25)
@given(commit_seconds=st.floats(0.002, 0.01), seed=st.integers(0, 2**32))
# Two that left a load at one row a commit for as long as it went on.
@example(commit_seconds=0.002, seed=13)
@example(commit_seconds=0.003, seed=20)
def test_a_load_does_not_stay_at_one_row_a_commit(commit_seconds: float, seed: int) -> None:
    """Proves for commits that take now little and now much, behind callers who came one by one, as
    whose batches no row looks cheaper than a commit, that a load beside such callers goes on at
    500 rows a second at least."""
    loop = asyncio.new_event_loop()
    now = 0.0
    lanes = Lanes(Limits().with_changes({"queue_commands_max": 10**6}), lambda: now)
    chance = Random(seed)

    def go_on() -> int:
        """The rows of a batch that is written; a row takes 0.12 ms."""
        nonlocal now
        batch = lanes.take()
        seconds = commit_seconds * chance.expovariate(1.0) + 0.000_12 * len(batch)
        lanes.took(batch, seconds)
        now += seconds
        return sum(one.bulk for one in batch)

    for _ in range(300):
        lanes.add(command(loop, "caller", bulk=False))
        go_on()
        now += 0.05
    rows, begun, called_at = 0, now, now
    while now - begun < 6.0:
        while len(lanes._bulk) < LIMITS.batch_commands_max:
            lanes.add(command(loop, "", bulk=True))
        if now >= called_at:
            lanes.add(command(loop, "caller", bulk=False))
            called_at += 0.05
        rows += go_on()
    loop.close()
    assert rows / (now - begun) >= 500


def test_heavy_rows_stay_brief_beside_callers_that_never_end(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Proves that batches with callers in them teach too: rows of 3 ms beside callers that leave no
    batch to bulk alone come to be taken one or two at a time."""
    lanes = Lanes(LIMITS)
    taken = []
    for _ in range(100):
        while len(lanes._bulk) < LIMITS.batch_commands_max:
            lanes.add(command(loop, "", bulk=True))
        lanes.add(command(loop, "caller", bulk=False))
        batch = lanes.take()
        lanes.took(batch, 0.002 + 0.003 * sum(one.bulk for one in batch))
        taken.append(sum(one.bulk for one in batch))
    assert max(taken[-20:]) <= 2 and sum(taken[-20:]) >= 10


def test_a_caller_amid_a_load_is_in_the_next_batch(loop: asyncio.AbstractEventLoop) -> None:
    """Proves that an interactive command passes all bulk that waits, which keeps its order."""
    lanes = Lanes(LIMITS)
    for number in range(5_000):
        lanes.add(command(loop, str(number), bulk=True))
    for _ in range(9):
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
        return max([taken() for _ in range(20)][-3:])

    for number in range(20_000):
        lanes.add(command(loop, str(number), bulk=True))
    alone = settled()
    assert 0.001 + 0.0001 * alone == pytest.approx(LIMITS.bulk_batch_seconds, rel=0.35)
    lanes.add(command(loop, "timer", bulk=False, caller=HUB))
    assert not taken()
    assert settled() == pytest.approx(alone, rel=0.35)
    lanes.add(command(loop, "caller", bulk=False))
    assert not taken()
    took = 0.001 + 0.0001 * settled()
    assert took == pytest.approx(LIMITS.bulk_beside_seconds, rel=0.35)
    now += LIMITS.bulk_yields_seconds
    assert settled() == pytest.approx(alone, rel=0.35)


def test_bulk_gets_its_share_beside_a_full_lane(loop: asyncio.AbstractEventLoop) -> None:
    """Proves that bulk moves in every other batch while interactive commands never end, and that
    callers are by themselves between."""
    lanes = Lanes(LIMITS)
    for _ in range(2_000):
        lanes.add(command(loop, "caller", bulk=False))
        lanes.add(command(loop, "bulk", bulk=True))
    names = [[each.name for each in lanes.take()] for _ in range(3)]
    assert [("bulk" in batch) for batch in names] == [True, False, True]
    assert all(batch.count("caller") >= LIMITS.batch_commands_max // 2 for batch in names)


@given(
    reports=st.lists(st.sampled_from((300, 500)), min_size=1, max_size=20),
    report_seconds=st.floats(0.01, 0.1),
    share=st.floats(0.01, 0.25),
)
def test_a_heavy_command_has_no_caller_in_its_batch_and_half_of_the_time(
    reports: list[int], report_seconds: float, share: float
) -> None:
    """Proves for reports that take any time, beside callers who never end, that each goes by
    itself, in its order, the first one behind those who call already, and that callers then have as
    long as it took, and no more than one batch beyond that."""
    loop = asyncio.new_event_loop()
    lanes = Lanes(LIMITS)
    for number, weight in enumerate(reports):
        lanes.add(command(loop, str(number), bulk=True, weight=weight))
    caller_seconds = report_seconds * share
    went: list[str] = []
    owed, passed = 0.0, 0
    while len(went) < len(reports):
        lanes.add(command(loop, "caller", bulk=False))
        batch = lanes.take()
        assert len({each.bulk for each in batch}) == 1
        if batch[0].bulk:
            assert owed <= 1e-9 and passed >= 1
            went += [each.name for each in batch]
            owed, passed = report_seconds, 0
            lanes.took(batch, report_seconds)
            continue
        assert owed > -1e-9 or passed == 0
        owed, passed = owed - caller_seconds, passed + 1
        lanes.took(batch, caller_seconds)
    loop.close()
    assert went == [str(number) for number in range(len(reports))]


def test_a_heavy_command_waits_for_nobody_who_is_not_there(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Proves that reports go one after another while nobody calls, whatever they took."""
    lanes = Lanes(LIMITS)
    for number in range(4):
        lanes.add(command(loop, str(number), bulk=True, weight=500))
    for number in range(4):
        batch = lanes.take()
        assert [each.name for each in batch] == [str(number)]
        lanes.took(batch, 10.0)


def test_a_heavy_command_behind_a_light_one_waits_for_a_batch_of_its_own(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Proves that no slice of bulk is begun with little and ends with much."""
    lanes = Lanes(LIMITS)
    lanes.add(command(loop, "light", bulk=True))
    lanes.add(command(loop, "heavy", bulk=True, weight=500))
    lanes.add(command(loop, "caller", bulk=False))
    batches = [[each.name for each in lanes.take()] for _ in range(2)]
    assert batches == [["caller", "light"], ["heavy"]]


def test_it_is_calm_while_no_caller_waits_or_is_under_way(loop: asyncio.AbstractEventLoop) -> None:
    """Proves when large requests may be read: beside bulk, not beside a caller, from being put in
    line to the commit; and again when one that waited was given up."""
    lanes = Lanes(LIMITS)
    lanes.add(command(loop, "bulk", bulk=True))
    assert lanes.calm.is_set()
    lanes.took(lanes.take(), 0.001)
    assert lanes.calm.is_set()
    lanes.add(command(loop, "caller", bulk=False))
    assert not lanes.calm.is_set()
    batch = lanes.take()
    assert not lanes.calm.is_set()
    lanes.add(command(loop, "next", bulk=False))
    lanes.took(batch, 0.001)
    assert not lanes.calm.is_set()
    lanes.took(lanes.take(), 0.001)
    assert lanes.calm.is_set()
    given_up = command(loop, "given up", bulk=False)
    lanes.add(given_up)
    given_up.answer.cancel()
    assert not lanes.take() and lanes.calm.is_set()


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
