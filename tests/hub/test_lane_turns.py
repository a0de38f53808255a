"""Less urgent lanes have their turns whatever a full budget frees at a time, replays too."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.delivery.routing import LANES, REPLAY_PRIORITY
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.unit import View
from decisions import START
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulation.hub import NO_CONNECTION, MemoryWork
from simulation.virtual_time import at_once
from test_dispatching import Tick, endpoint, ready


class Saturated:
    """An endpoint all of whose slots are taken, with more waiting in each lane than is sent."""

    def __init__(self, slots: int, lanes: tuple[int, ...], run_max: int, waiting: int) -> None:
        self.endpoint = endpoint(concurrency=slots)
        self.rows: dict[Any, Any] = {}
        work = MemoryWork(lambda: self.rows)
        for record in (ready(number, lane) for lane in lanes for number in range(waiting)):
            self.rows["delivery", record.id] = record
            work.note(record)
        self.picker = Picker(Limits(lane_run_max=run_max), Tick(), work)
        at_once(self.picker.restore(NO_CONNECTION))
        self.out: list[DeliveryRecord] = []
        self.sent: list[int] = []

    def pick(self) -> None:
        """A batch of the committer: what is free is sent."""
        view = View()
        found = at_once(self.picker.pick_stored(NO_CONNECTION, view, [self.endpoint], START))
        self.out += [one.record for one in found]
        self.sent += [one.record.priority for one in found]

    def end(self, most: int) -> None:
        """The oldest calls are done."""
        ended, self.out = self.out[:most], self.out[most:]
        view = View()
        for record in ended:
            done = replace(record, state="CONFIRMED", pending=False)
            view.changes.records["delivery", record.id] = self.rows["delivery", record.id] = done
        self.picker.pick_new(view, [self.endpoint], START)


@settings(deadline=None, max_examples=60)
@given(
    slots=st.integers(1, 8),
    freed=st.integers(1, 8),
    lanes=st.sets(st.sampled_from(LANES), min_size=2),
    run_max=st.sampled_from((1, 2, 5, Limits().lane_run_max)),
)
@example(slots=4, freed=1, lanes=set(LANES), run_max=Limits().lane_run_max)
def test_no_lane_waits_longer_than_its_turn(
    slots: int, freed: int, lanes: set[int], run_max: int
) -> None:
    """Proves for any budget, any number of slots that fall free together and any lanes that wait
    that each less urgent lane, replays among them, has one call in each round of its turns, and
    that the most urgent lane keeps all other calls."""
    urgent, *behind = sorted(lanes)
    turns = 4
    round_calls = (run_max + 1) * len(behind)
    together = min(slots, freed)
    calls = turns * round_calls + slots
    shift = Saturated(slots, tuple(sorted(lanes)), run_max, calls + slots)
    shift.pick()
    while len(shift.sent) < calls:
        shift.end(together)
        shift.pick()
    counted = Counter(shift.sent[:calls])
    for lane in behind:
        assert abs(counted[lane] - turns) <= 1 + slots // (run_max + 1), f"{counted} of lane {lane}"
        places = [-1, *(at for at, found in enumerate(shift.sent) if found == lane)]
        gaps = [later - earlier for earlier, later in pairwise(places)]
        assert max(gaps) <= round_calls + slots, f"lane {lane} waited {max(gaps)} calls"
    assert counted[urgent] >= calls * run_max // (run_max + 1) - slots


def test_a_replay_goes_on_behind_a_backlog_that_frees_one_slot_at_a_time() -> None:
    """Proves with four slots of which one falls free at a time that what a replay sends, behind
    three more urgent lanes that never end, leaves in its order at its known pace."""
    shift = Saturated(4, LANES, Limits().lane_run_max, 900)
    for _ in range(800):
        shift.pick()
        shift.end(1)
    replayed = [record for key, record in shift.rows.items() if record.priority == REPLAY_PRIORITY]
    gone = [record.state != "READY" for record in replayed]
    assert gone == sorted(gone, reverse=True), "a replay lost its order"
    turn = 3 * (Limits().lane_run_max + 1)
    assert sum(gone) == len(shift.sent) // turn
