"""What pickers of several hubs send where each picks for some systems, and systems move: together
no more than one picker of all would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crossdock_hub.config import SECOND
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.records import DeliveryRecord, occupies
from crossdock_hub.unit import View
from decisions import START
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulation.hub import NO_CONNECTION, MemoryWork
from simulation.virtual_time import at_once
from test_dispatching import LIMITS, Tick, endpoint, ready
from test_picking import batch

SYSTEMS = ("north", "south", "west")
CONCURRENCY = 3
RATE_PER_SECOND = 5
WORK = 12


def vendor(system: str, **budget: Any) -> Any:
    return replace(endpoint(f"{system}-vendor", **budget), system=system)


class Yard:
    """Two hubs' pickers over one store. Who has a system changes as the office says."""

    def __init__(self, **budget: Any) -> None:
        self.tick = Tick()
        self.vendors = [vendor(system, **budget) for system in SYSTEMS]
        self.rows: dict[Any, DeliveryRecord] = {}
        self.work = MemoryWork(lambda: self.rows)
        for each in self.vendors:
            for number in range(WORK):
                self.put(ready(number, 0, each.id))
        self.pickers = [Picker(LIMITS, self.tick, self.work) for _ in range(2)]
        self.has = dict.fromkeys(SYSTEMS, 0)
        self.begun_at: dict[str, list[float]] = {system: [] for system in SYSTEMS}
        self.sent: list[tuple[str, int]] = []

    def put(self, record: DeliveryRecord) -> None:
        self.rows["delivery", record.id] = record
        self.work.note(record)

    def own(self, hub: int) -> list[Any]:
        return [each for each in self.vendors if self.has[each.system] == hub]

    def commit(self, hub: int, *changed: DeliveryRecord, looks: bool = False) -> None:
        """A batch of one hub, as its committer does it."""
        picker, own = self.pickers[hub], self.own(hub)
        if looks or picker.picks_for_other_than(own):
            at_once(picker.restore(NO_CONNECTION, own))
        for each in changed:
            self.put(each)
        before = dict(self.rows)
        view = batch(*changed) if changed else View()
        picked = picker.pick_new(view, own, START)
        picked += at_once(picker.pick_stored(NO_CONNECTION, view, own, START))
        for one in picked:
            assert before["delivery", one.record.id].pending, "sent twice"
            self.sent.append((one.record.id, one.record.dispatch_number))
            self.put(one.record)

    def out(self, system: str, state: str = "") -> list[DeliveryRecord]:
        name = f"{system}-vendor"
        rows = [r for r in self.rows.values() if r.endpoint == name and occupies(r)]
        return sorted((r for r in rows if state in ("", r.state)), key=lambda r: r.id)

    def begin(self, system: str) -> None:
        for each in self.out(system, "DISPATCHED")[:1]:
            self.begun_at[system].append(self.tick.now)
            lease = START + SECOND
            begun = replace(each, state="IN_FLIGHT", lease_until=lease, pending=False)
            self.commit(self.has[system], begun)

    def end(self, system: str) -> None:
        for each in self.out(system, "IN_FLIGHT")[:1]:
            done = replace(each, state="CONFIRMED", lease_until=None, pending=False)
            self.commit(self.has[system], done)

    def do(self, step: tuple[str, str]) -> None:
        what, system = step
        if what == "move":
            self.has[system] = 1 - self.has[system]
        elif what == "begin":
            self.begin(system)
        elif what == "end":
            self.end(system)
        elif what == "wait":
            self.tick.now += 0.3
        else:
            self.commit(self.has[system], looks=what == "look")


steps = st.lists(
    st.tuples(
        st.sampled_from(["move", "begin", "begin", "end", "end", "pick", "look", "wait"]),
        st.sampled_from(SYSTEMS),
    ),
    max_size=80,
)


# To a hub that has had another system for long.
MOVED = [("move", "south"), ("pick", "north"), ("pick", "south"), *[("wait", "")] * 4]
MOVED += [("pick", "north"), ("move", "north"), ("pick", "north")]


@given(steps)
@settings(deadline=None)
def test_systems_that_move_keep_their_budget(drawn: list[tuple[str, str]]) -> None:
    """Proves that whichever hub picks for a system, and whenever that changes, no more of its calls
    are out than it takes, nothing is sent while it is out, and all is sent in the end."""
    yard = Yard(concurrency=CONCURRENCY)
    for step in drawn:
        yard.do(step)
        for system in SYSTEMS:
            assert len(yard.out(system)) <= CONCURRENCY
    for _ in range(WORK * 2):
        for system in SYSTEMS:
            for what in ("look", "begin", "end"):
                yard.do((what, system))
    assert {record.state for record in yard.rows.values()} == {"CONFIRMED"}
    assert len(yard.sent) == len(set(yard.sent)) == WORK * len(SYSTEMS)


@given(steps)
@example(MOVED)
@settings(deadline=None)
def test_systems_that_move_keep_their_rate(drawn: list[tuple[str, str]]) -> None:
    """Proves that in no second more calls of a system begin than its rate allows, however often it
    changes hubs: who is new to it does not know what began just before."""
    yard = Yard(concurrency=WORK, rate=str(RATE_PER_SECOND))
    for step in drawn:
        yard.do(step)
        if step[0] in ("pick", "look"):
            while yard.out(step[1], "DISPATCHED"):
                yard.begin(step[1])
    for system, begun in yard.begun_at.items():
        for at in begun:
            within = [each for each in begun if at <= each < at + 1.0]
            assert len(within) <= RATE_PER_SECOND, system


def test_a_picker_leaves_other_hubs_work_alone() -> None:
    """Proves that a hub neither counts nor sends work of systems that another hub has, nor waits
    for it: its backlog is its own."""
    yard = Yard(concurrency=CONCURRENCY)
    yard.has |= {"south": 1, "west": 1}
    yard.commit(0)
    assert {record.endpoint for record in yard.rows.values() if occupies(record)} == {
        "north-vendor"
    }
    picker = yard.pickers[0]
    fresh = ready(99, 0, "south-vendor")
    assert picker.pick_new(batch(fresh), yard.own(0), START) == []
    assert picker.in_use("south-vendor") == 0
    yard.has["north"] = 1
    yard.commit(0)
    assert picker.backlog_seconds is None
    yard.commit(1)
    assert picker.in_use("north-vendor") == 0
    assert all(len(yard.out(system)) == CONCURRENCY for system in SYSTEMS)
