"""Adapters stopped in their tracks past their leases, taken over from, and resumed (G23, small)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from fixtures_nats import eventually

from tests.faults.history.checker import check
from tests.faults.history.records import VendorCall
from tests.faults.trials.round import Round, played, progress
from tests.faults.trials.trial import Piece, Size
from tests.faults.trials.zombies import ZOMBIES_A_PIECE_MAX, arrived_late
from tests.faults.yard.site import SHORT_LIMITS, Plan

ORDERS, STOPS = 40, 2
SEED = 23
# The lease in this site, the time until a timer sees that it ran out, and room for a busy machine.
STOPPED_SECONDS = SHORT_LIMITS["lease_seconds_max"] + 2.0
# A call is at the vendor by then, which takes 0.8 s for it.
WORK_SECONDS, SENT_SECONDS = 0.8, 0.3
pytestmark = pytest.mark.timeout(600)


def is_calling(round_: Round, pid: int) -> bool:
    """Whether this adapter has calls under way, and none that it may be about to send: one that
    is stopped between its last look at the lease and the write arrives late, which is allowed for
    only as rarely as it happens by chance, and on a busy machine that takes a while."""
    rows = round_.site.hub.query("SELECT instance, begun_at FROM attempts WHERE outcome = ''")
    begun = [at for instance, at in rows if int(instance.rpartition(":")[2]) == pid]
    return bool(begun) and max(begun) < (time.time() - SENT_SECONDS) * 1e6


async def stop_and_go(round_: Round) -> None:
    """Stop all adapters but one for longer than their leases, with calls under way."""
    await progress(round_, ORDERS // 4)
    for number in range(STOPS):
        calling = partial(is_calling, round_, round_.site.adapters[number].pid)
        await eventually(calling, f"calls of adapter {number}")
        round_.site.freeze_adapter(number)
    await asyncio.sleep(STOPPED_SECONDS)
    for number in range(STOPS):
        round_.site.thaw_adapter(number)


async def test_a_stopped_adapter_that_wakes_up_does_nothing_twice(tmp_path: Path) -> None:
    """Proves on real processes that when adapters are stopped past their leases and another takes
    over, the resumed ones send nothing whose lease is over and change nothing that was settled:
    every delivery is confirmed, the vendor sold each of them once, and the history breaks no rule.
    """
    piece = Piece("G23", SEED, Size(1, orders=ORDERS, faults=STOPS), tmp_path)
    mix = {"work_seconds": WORK_SECONDS}
    plan = Plan(SEED, classes=("searchable", "keyed"), mix=mix, adapters=STOPS + 1)
    async with played(piece, plan, [stop_and_go]) as round_:
        history = await round_.history()
        books = await round_.site.books()
        hub = round_.site.hub
        states = dict(hub.query("SELECT state, count(*) FROM deliveries GROUP BY state"))
        # A resumed adapter's proof replaces the word LEASE_EXPIRED of its attempt: count what
        # followed it instead.
        taken_over = hub.count("attempts", "token > 1")
        late = hub.count("attempts", "reason LIKE '(late)%'")
    # That each superseded one was cancelled is among the rules of the history.
    assert set(states) <= {"CONFIRMED", "SUPERSEDED"}, states
    sold = Counter(effect["delivery_id"] for effect in books["effects"])
    assert len(sold) == states["CONFIRMED"]
    assert set(sold.values()) == {1}, {k: n for k, n in sold.items() if n > 1}
    calls = history.of(VendorCall)
    assert all(call.sent_at for call in calls)
    assert not [call for call in calls if call.sent_at > call.lease_until]
    assert len(arrived_late(calls)) <= ZOMBIES_A_PIECE_MAX
    assert [str(violation) for violation in check(history)] == []
    assert taken_over >= 1, "no adapter was stopped in the middle of an attempt"
    print(f"{STOPS} stops, {len(calls)} calls, {taken_over} taken over, {late} late words")
