"""What a batch may send at once: no more than the budget, and nothing before what waits longer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from crossdock_hub.config import SECOND
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.unit import View
from decisions import START
from hypothesis import example, given
from hypothesis import strategies as st
from simulation.hub import NO_CONNECTION, MemoryWork
from simulation.virtual_time import at_once
from test_dispatching import LIMITS, Tick, endpoint, ready


def batch(*records: DeliveryRecord) -> View:
    view = View()
    view.changes.records.update({("delivery", record.id): record for record in records})
    return view


def test_batches_together_keep_to_the_budget() -> None:
    """Proves that calls of earlier batches, still on their way, count against the budget."""
    picker, vendor = Picker(LIMITS, Tick()), endpoint(concurrency=3)
    sent = [len(picker.pick_new(batch(ready(n)), [vendor], START)) for n in range(6)]
    assert sent == [1, 1, 1, 0, 0, 0]
    assert picker.free(vendor, [vendor], START) == 0
    assert picker.in_use("vendor") == 3


def test_what_waits_for_its_adapter_does_not_leave_in_one_burst() -> None:
    """Proves that the rate counts calls that begin: an adapter that comes back after a minute finds
    no more waiting than one second's worth, and after those nothing more is sent to it at once."""
    tick = Tick()
    picker, vendor = Picker(LIMITS, tick), endpoint(concurrency=50, rate="5")
    sent = [one.record for one in picker.pick_new(batch(*map(ready, range(20))), [vendor], START)]
    assert len(sent) == 5
    tick.now += 60
    assert picker.free(vendor, [vendor], START) == 0, "a minute's tokens beside what waits"
    begun = [replace(one, state="IN_FLIGHT", lease_until=START + SECOND) for one in sent]
    picker.pick_new(batch(*begun), [vendor], START)
    assert picker.free(vendor, [vendor], START) == 0, "a burst of twice the rate"
    renewed = [replace(one, lease_until=START + 2 * SECOND) for one in begun]
    picker.pick_new(batch(*renewed), [vendor], START)
    tick.now += 1 + LIMITS.rate_margin_seconds
    assert picker.free(vendor, [vendor], START) == 5, "a renewed lease took a call of the rate"


def test_a_rate_is_not_used_twice_over_a_restart() -> None:
    """Proves that a hub which starts sends nothing for as long as the calls of the one before may
    still count, and then what the rate allows; a rate that is declared later waits for nothing."""
    for rate, window, calls in (("0.1", 10.0, 1), ("1.5", 2 / 1.5, 2), ("25", 1.0, 25)):
        tick, vendor = Tick(), endpoint(concurrency=50, rate=rate)
        picker = Picker(LIMITS, tick, MemoryWork(dict))
        at_once(picker.restore(NO_CONNECTION))
        assert picker.free(vendor, [vendor], START) == 0, "what began before the start is forgotten"
        tick.now = window
        assert picker.free(vendor, [vendor], START) == 0
        tick.now = window + LIMITS.rate_margin_seconds + 0.001
        assert picker.free(vendor, [vendor], START) == calls
        # Others lost a batch: what is known of the rate stays known.
        at_once(picker.restore(NO_CONNECTION))
        assert picker.free(vendor, [vendor], START) == calls
        late = replace(endpoint("late", concurrency=50, rate=rate), system="late")
        assert picker.free(late, [late], START) == calls


def test_a_dispatch_that_was_given_back_takes_nothing_of_the_rate() -> None:
    """Proves that work which a pause took back before it began leaves its place to other work."""
    picker, vendor = Picker(LIMITS, Tick()), endpoint(concurrency=50, rate="5")
    sent = [one.record for one in picker.pick_new(batch(*map(ready, range(5))), [vendor], START)]
    assert picker.free(vendor, [vendor], START) == 0
    ended = [replace(one, state="SUPERSEDED", pending=False) for one in sent[:3]]
    picker.pick_new(batch(*ended), [vendor], START)
    assert picker.free(vendor, [vendor], START) == 3


def test_new_work_does_not_overtake_what_is_stored() -> None:
    """Proves that a slot which falls free goes to the stored work, not to what came just now."""
    picker, vendor = Picker(LIMITS, Tick()), endpoint(concurrency=1)
    (first,) = picker.pick_new(batch(ready(1), ready(2)), [vendor], START)
    done = replace(first.record, state="CONFIRMED", pending=False)
    assert picker.pick_new(batch(done, ready(3)), [vendor], START) == []
    assert picker.free(vendor, [vendor], START) == 1
    assert picker.can_pick([vendor], START)


@given(idle=st.lists(st.integers(0, 5), min_size=12, max_size=12), endpoints=st.integers(2, 4))
@example(idle=[1] * 12, endpoints=2)
def test_endpoints_of_one_system_have_turns(idle: list[int], endpoints: int) -> None:
    """Proves that endpoints which share one slot have it in turn, however many batches come by
    while it is taken: one that is first in every second batch would have it always."""
    vendors = [endpoint(f"vendor-{n}", concurrency=1) for n in range(endpoints)]
    rows = {("delivery", r.id): r for v in vendors for r in (ready(n, 0, v.id) for n in range(20))}
    work = MemoryWork(lambda: rows)
    for record in rows.values():
        work.note(record)
    picker = Picker(LIMITS, Tick(), work)
    at_once(picker.restore(NO_CONNECTION))
    served: list[str] = []
    for batches in idle:
        (sent,) = at_once(picker.pick_stored(NO_CONNECTION, View(), vendors, START))
        served.append(sent.record.endpoint)
        for _ in range(batches):
            assert not at_once(picker.pick_stored(NO_CONNECTION, View(), vendors, START))
        done = replace(sent.record, state="CONFIRMED", pending=False)
        rows["delivery", done.id] = done
        picker.pick_new(batch(done), vendors, START)
    counted = Counter(served)
    assert len(counted) == endpoints
    assert max(counted.values()) - min(counted.values()) <= 1


def test_who_takes_nothing_leaves_the_budget_to_the_others() -> None:
    """Proves that an endpoint whose adapter let its work lie until it was taken back holds one slot
    of its system from then on, so that the other endpoints go on, and as many as there are again
    as soon as it begins a call."""
    north, south = (endpoint(name, concurrency=4) for name in ("north", "south"))
    rows = {
        ("delivery", r.id): r for v in (north, south) for r in (ready(n, 0, v.id) for n in range(9))
    }
    work = MemoryWork(lambda: rows)
    tick = Tick()
    picker, both = Picker(LIMITS, tick, work), [north, south]

    def went(*changed: DeliveryRecord) -> list[str]:
        for record in changed:
            rows["delivery", record.id] = record
            work.note(record)
        sent = picker.pick_new(batch(*changed), both, START)
        sent += at_once(picker.pick_stored(NO_CONNECTION, View(), both, START))
        for one in sent:
            rows["delivery", one.record.id] = one.record
            work.note(one.record)
        return [one.record.endpoint for one in sent]

    def out(name: str) -> list[DeliveryRecord]:
        return [r for r in rows.values() if r.endpoint == name and r.state == "DISPATCHED"]

    for record in rows.values():
        work.note(record)
    at_once(picker.restore(NO_CONNECTION))
    assert went() == ["north"] * 4
    # Nobody begins any of them in time.
    tick.now += LIMITS.dispatch_seconds
    back = [replace(each, state="READY", pending=True) for each in out("north")]
    assert went(*back) == ["south"] * 4, "who waited longest goes first"
    begun = [replace(each, state="IN_FLIGHT", lease_until=START + SECOND) for each in out("south")]
    done = [replace(each, state="CONFIRMED", pending=False) for each in begun]
    went(*begun)
    assert went(*done).count("south") == 3, "the one that takes nothing has more than a slot"
    (probe,) = out("north")
    taken = replace(probe, state="IN_FLIGHT", lease_until=START + SECOND)
    went(taken)
    ended = [replace(each, state="CONFIRMED", pending=False) for each in (taken, *out("south"))]
    assert "north" in went(*ended)
    assert len(out("north")) > 1, "it has its share no more"


LATE = int(LIMITS.heard_seconds * SECOND) + 1


class OneSlot:
    """A system that takes one call at once, and two endpoints which both have much to send there.
    The adapter of "north" begins nothing while it gives no sign of life."""

    def __init__(self) -> None:
        self.tick = Tick()
        self.north, self.south = (
            endpoint(name, concurrency=1, heartbeat_at=START - LATE) for name in ("north", "south")
        )
        both = [ready(n, 0, name) for name in ("north", "south") for n in range(99)]
        self.rows = {("delivery", each.id): each for each in both}
        self.work = MemoryWork(lambda: self.rows)
        for each in both:
            self.work.note(each)
        self.picker = Picker(LIMITS, self.tick, self.work)
        at_once(self.picker.restore(NO_CONNECTION))

    def heard(self, name: str, at: int) -> None:
        """An endpoint's adapter gives a sign of life."""
        known = getattr(self, name)
        setattr(self, name, replace(known, health=replace(known.health, heartbeat_at=at)))

    def turn(self, now: int, *, lies: bool) -> str:
        """Who is sent the next one, which it begins and ends. lies: not so "north"."""
        both = [self.north, self.south]
        (sent,) = at_once(self.picker.pick_stored(NO_CONNECTION, View(), both, now))
        self._keep(sent.record)
        if lies and sent.record.endpoint == "north":
            self.tick.now += LIMITS.dispatch_seconds
            steps = [replace(sent.record, state="READY", pending=True)]
        else:
            begun = replace(sent.record, state="IN_FLIGHT", lease_until=now + SECOND)
            steps = [begun, replace(begun, state="CONFIRMED", lease_until=None)]
        for step in steps:
            self._keep(step)
            self.picker.pick_new(batch(step), both, now)
        return str(sent.record.endpoint)

    def _keep(self, record: DeliveryRecord) -> None:
        self.rows["delivery", record.id] = record
        self.work.note(record)


def test_an_adapter_that_is_not_heard_of_keeps_no_slot_from_others() -> None:
    """Proves that of one slot that two endpoints share, one whose adapter gives no sign of life has
    a turn once in a long while only, that the other one has all turns between them, and that it has
    its turns again with the next sign of life, and while it begins calls without any."""
    system, later = OneSlot(), START + 2 * LATE
    system.heard("south", later)
    for _ in range(2):
        turns = Counter(system.turn(later, lies=True) for _ in range(20))
        assert turns == {"north": 1, "south": 19}
        system.tick.now += LIMITS.silent_turn_seconds
    system.heard("north", later)
    turns = Counter(system.turn(later, lies=False) for _ in range(20))
    assert turns == {"north": 10, "south": 10}
    system.heard("north", START - LATE)
    turns = Counter(system.turn(later, lies=False) for _ in range(20))
    assert turns == {"north": 10, "south": 10}


def test_what_is_taken_back_at_once_tells_nothing_of_an_adapter() -> None:
    """Proves that an endpoint whose work a pause, a refused begin or a lost queue took back is sent
    as much as before: nothing lay there for long."""
    picker, vendor = Picker(LIMITS, tick := Tick()), endpoint(concurrency=4)
    sent = [one.record for one in picker.pick_new(batch(*map(ready, range(4))), [vendor], START)]
    tick.now += LIMITS.dispatch_seconds / 4
    back = [replace(each, state="READY", pending=True) for each in sent]
    assert len(picker.pick_new(batch(*back), [vendor], START)) == len(sent) == 4


def test_calls_that_begin_at_another_hub_show_that_an_endpoint_is_back() -> None:
    """Proves that an endpoint which let its work lie is sent as much as before once a call of its
    was begun at another hub, whether that still runs when the leader reads the store or has ended,
    and not merely because the store was read."""
    for state in ("IN_FLIGHT", "CONFIRMED"):
        rows = {("delivery", r.id): r for r in (ready(n, 0, "north") for n in range(9))}
        work, north = MemoryWork(lambda rows=rows: rows), endpoint("north", concurrency=4)
        tick = Tick()
        picker = Picker(LIMITS, tick, work)

        def noted(*records: DeliveryRecord, rows: Any = rows, work: Any = work) -> None:
            for record in records:
                rows["delivery", record.id] = record
                work.note(record)

        def sent(picker: Picker = picker, north: Any = north, noted: Any = noted) -> Any:
            at_once(picker.restore(NO_CONNECTION))
            found = at_once(picker.pick_stored(NO_CONNECTION, View(), [north], START))
            noted(*(one.record for one in found))
            return [one.record for one in found]

        noted(*rows.values())
        lay = sent()
        assert len(lay) == 4
        assert sent() == [], "all slots are taken"
        tick.now += LIMITS.dispatch_seconds
        back = [replace(each, state="READY", pending=True) for each in lay]
        noted(*back)
        picker.pick_new(batch(*back), [north], START)
        (probe,) = sent()
        assert sent() == [], "the store was read, and nothing had begun"
        lease = START + SECOND if state == "IN_FLIGHT" else None
        noted(replace(probe, state=state, lease_until=lease, pending=False))
        assert len(sent()) == (3 if state == "IN_FLIGHT" else 4)


def test_a_probe_goes_beside_calls_that_are_silent() -> None:
    """Proves that calls which were out when the breaker opened do not keep a probe back where a
    slot is free, that only one goes, and that none goes beyond the budget."""
    for slots, probes in ((5, 0), (6, 1), (9, 1)):
        picker, well = Picker(LIMITS, Tick()), endpoint(concurrency=slots)
        sent = [one.record for one in picker.pick_new(batch(*map(ready, range(5))), [well], 0)]
        silent = [replace(one, state="IN_FLIGHT", lease_until=START + SECOND) for one in sent]
        assert picker.pick_new(batch(*silent), [well], 0) == []
        opened = endpoint(
            concurrency=slots, breaker_state="OPEN", breaker_since=START, breaker_probe_at=START
        )
        assert picker.pick_new(batch(ready(6)), [opened], START - SECOND) == []
        assert picker.free(opened, [opened], START) == probes
        view = batch(replace(ready(7), endpoint="vendor"))
        picker._backlog.clear()
        assert len(picker.pick_new(view, [opened], START)) == probes
        assert picker.free(opened, [opened], START) == 0, "a second probe beside the first"
        # One of the silent calls fails and is sent again as the next probe: it counts as one.
        back = replace(silent[0], state="READY", pending=True)
        ended = replace(ready(7), state="CONFIRMED", pending=False)
        picker._backlog.clear()
        again = picker.pick_new(batch(ended, back), [opened], START)
        assert len(again) == 1
        assert picker.free(opened, [opened], START) == 0
