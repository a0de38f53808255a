"""Silence of calls that still run: what it opens and when, and what it never opens."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from crossdock_hub.committer import Committed
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import breaking, silence
from crossdock_hub.identity import HUB
from crossdock_hub.records import AttemptRecord, DeliveryRecord, EndpointRecord
from crossdock_hub.unit import Changes
from decisions import START
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_vendor import VENDOR, Desk
from test_dispatching import ready

LIMITS = Limits()
BARE = EndpointRecord("vendor", "ERP", (), (), (), "ACTIVE", b"")
CALL = replace(ready(0), state="IN_FLIGHT", attempt_kind="CALL", pending=False)
# What the design asks of a breaker, however long the time-outs of its calls are.
OPEN_WITHIN_SECONDS = 10.0


class Line:
    """A vendor whose calls take as long as a test says, heard by the hub; on virtual time.

    Only what the hub hears of is made: begins and ends, each in a batch of its own.
    """

    def __init__(self, slots: int) -> None:
        self.hearing = silence.Hearing(LIMITS)
        self.health = BARE
        self.slots = slots
        self.now = START
        self.numbers = itertools.count()
        self.ends: list[tuple[int, int, DeliveryRecord, AttemptRecord]] = []
        self.heard_last = self.now

    def ask(self, seconds: float) -> None:
        """Begin a call of another object that ends after so many seconds."""
        number = next(self.numbers)
        record = replace(
            CALL, id=f"d{number}", token=1, lease_until=self.now + 10**12, updated_at=self.now
        )
        attempt = AttemptRecord(record.id, 1, "CALL", 1, "a", "test", self.now, "")
        self._commit(record, attempt)
        heapq.heappush(self.ends, (self.now + int(seconds * SECOND), number, record, attempt))

    def end_first(self, outcome: str = "CONFIRMED") -> None:
        """The call that ends first ends so, at its time."""
        at, _, record, attempt = heapq.heappop(self.ends)
        self.now = max(self.now, at)
        ended = replace(attempt, outcome=outcome, ended_at=self.now)
        told = breaking.Evidence(record.id, outcome, "", outcome, attempt.begun_at)
        self.health = breaking.told(self.health, told, self.now, LIMITS)
        answered = outcome in breaking.ANSWERED
        self._commit(replace(record, state=outcome, lease_until=None), ended, answered)
        self.heard_last = self.now if answered else self.heard_last

    def _commit(
        self, record: DeliveryRecord, attempt: AttemptRecord, answered: bool = False
    ) -> None:
        changes = Changes()
        changes.records = {
            ("delivery", record.id): record,
            ("attempt", record.id, attempt.token): attempt,
        }
        if answered:
            changes.count("answered", VENDOR.endpoint)
        self.hearing.committed(Committed(self.now, changes))

    def look(self) -> None:
        """As the hub looks."""
        calls = self.hearing.calls().get(VENDOR.endpoint, ())
        heard_at = self.hearing.heard_at(VENDOR.endpoint)
        self.health = breaking.silent(self.health, calls, heard_at, self.slots, self.now, LIMITS)

    def play(self, seconds: float, takes: Callable[[], float], outcome: str = "CONFIRMED") -> None:
        """Work for every slot for so long, looked at as often as the hub looks."""
        until = self.now + int(seconds * SECOND)
        look_at = self.now
        while self.now < until and not breaking.is_open(self.health):
            while len(self.ends) < self.slots:
                self.ask(takes())
            if self.ends[0][0] <= look_at:
                self.end_first(outcome)
                continue
            self.now = max(self.now, look_at)
            self.look()
            look_at = self.now + int(LIMITS.breaker_look_seconds * SECOND)

    def fall_silent(self) -> None:
        """From now on nothing that runs is answered."""
        self.ends = [(10**18, number, record, told) for _, number, record, told in self.ends]

    def open_after(self) -> float:
        """Seconds from the last answer to the opening."""
        assert self.health.breaker_since is not None
        return (self.health.breaker_since - self.heard_last) / SECOND


class Listened(Desk):  # type: ignore[misc]
    """The ledger's real decisions, heard by the hub."""

    def __init__(self, kind: str = "NATURAL") -> None:
        self.hearing = silence.Hearing(LIMITS)
        super().__init__(kind, LIMITS)

    def _keep(self, unit: Any) -> None:
        super()._keep(unit)
        self.hearing.committed(Committed(self.now, unit.changes))

    @property
    def health(self) -> EndpointRecord:
        found: EndpointRecord = self.records["endpoint", VENDOR.endpoint]
        return found

    @property
    def calls(self) -> Sequence[breaking.RunningCall]:
        return self.hearing.calls().get(VENDOR.endpoint, ())

    def running(self, count: int) -> list[tuple[DeliveryRecord, int]]:
        """So many calls of different objects that have begun."""
        made = [self.one(key=f"key-{n}", object_id=f"order-{n}") for n in range(count)]
        return [(record, self.take(record)) for record in made]

    def judge(self, calls: Sequence[breaking.RunningCall], heard_at: int, slots: int) -> None:
        """What the committer decides when the hub has heard a silence, and what comes of it."""

        def decide(unit: Any) -> Sequence[breaking.RunningCall]:
            return silence.judge_silence(unit, VENDOR.endpoint, calls, heard_at, slots)

        self.hearing.forget(self.decide(HUB, "silence", decide))

    def look(self, slots: int) -> None:
        self.judge(self.calls, self.hearing.heard_at(VENDOR.endpoint), slots)


def never() -> float:
    return 3_600.0


@pytest.mark.parametrize("slots", [3, 4, 5, 12, 16])
def test_a_vendor_that_never_answers_is_known_within_ten_seconds(slots: int) -> None:
    """G14: proves that calls that would time out after an hour open the breaker within 10 seconds,
    also where fewer calls run at once than failures are needed, and that it says why."""
    line = Line(slots)
    line.play(60, never)
    assert line.health.breaker_state == "OPEN"
    assert LIMITS.breaker_silence_seconds <= line.open_after() <= OPEN_WITHIN_SECONDS
    assert f"{slots} calls have no answer yet" in line.health.breaker_reason


@pytest.mark.parametrize("slots", [1, 2])
def test_two_calls_are_too_few_to_say_so(slots: int) -> None:
    """Proves that what one or two deliveries do to a vendor never speaks for the vendor (G13)."""
    line = Line(slots)
    line.play(60, never)
    assert line.health.breaker_state == "CLOSED"


def test_silence_adds_to_failures_in_a_row() -> None:
    """Proves that calls that failed before and calls that are silent now count together."""
    line = Line(2)
    for _ in range(2):
        line.ask(0.1)
        line.end_first("RETRY")
    line.play(60, never)
    assert line.health.breaker_state == "OPEN"
    assert line.health.breaker_reason.endswith("before that: RETRY")


paces = st.lists(st.floats(0.05, 5.0), min_size=1, max_size=40)


@settings(deadline=None)
@given(slots=st.integers(1, 16), took=paces, together=st.booleans())
def test_a_slow_vendor_that_answers_is_never_taken_for_a_silent_one(
    slots: int, took: list[float], together: bool
) -> None:
    """Proves for any pattern of answers within five seconds, also when all calls begin and end
    together, that the breaker stays closed from the first call on."""
    line = Line(slots)
    turns = itertools.cycle(took)
    batches = (each for pace in turns for each in itertools.repeat(pace, slots))
    source = batches if together else turns
    line.play(60, lambda: next(source))
    assert line.health.breaker_state == "CLOSED"


@settings(deadline=None)
@given(slots=st.integers(3, 16), seed=st.integers(0, 10**6), well=st.floats(1.0, 60.0))
def test_it_opens_soon_after_the_last_answer(slots: int, seed: int, well: float) -> None:
    """Proves that a vendor that answered within five seconds and falls silent at any moment, with
    calls of every age under way, is known to be silent within 10 seconds."""
    line = Line(slots)
    chance = random.Random(seed)
    line.play(well, lambda: chance.uniform(0.1, 5.0))
    line.fall_silent()
    line.play(60, never)
    assert line.health.breaker_state == "OPEN"
    assert line.open_after() <= OPEN_WITHIN_SECONDS


@settings(deadline=None, max_examples=50)
@given(slots=st.integers(3, 16), usual=st.floats(6.0, 40.0), seed=st.integers(0, 10**6))
def test_what_is_usual_is_learned(slots: int, usual: float, seed: int) -> None:
    """Proves that a vendor whose calls take long, evenly, is given half as long again as they
    take once some were answered, and is still found out when it answers no more."""
    line = Line(slots)
    chance = random.Random(seed)
    for _ in range(LIMITS.breaker_answers_kept):
        line.ask(usual)
        line.end_first()
    line.play(150, lambda: chance.uniform(0.8, 1.0) * usual)
    assert line.health.breaker_state == "CLOSED"
    line.fall_silent()
    line.play(300, never)
    assert line.open_after() <= usual * LIMITS.breaker_patience + 1.0


@pytest.mark.parametrize("outcome", ["CONFIRMED", "REJECTED", "THROTTLED"])
def test_any_answer_begins_the_silence_anew(outcome: str) -> None:
    """Proves that while one call is answered now and then, also with a no, silent ones beside it
    are not the vendor's silence."""
    line = Line(8)
    for _ in range(6):
        line.ask(3_600)
    line.play(20, lambda: 3.0, outcome)
    assert line.health.breaker_state == "CLOSED"


def test_a_silence_of_the_real_ledger_opens_it_and_an_answer_closes_it() -> None:
    """Proves with the ledger's own begins that silent calls open the breaker, which is counted,
    that one that times out then is nothing new, and that one that is answered after all closes."""
    desk = Listened()
    out = desk.running(5)
    desk.pass_time(LIMITS.breaker_silence_seconds)
    desk.look(5)
    assert desk.health.breaker_state == "OPEN"
    assert desk.counters["breaker", "vendor", "OPEN"] == 1
    before = desk.health
    desk.complete(*out[0], "UNKNOWN", reason="time-out")
    assert desk.health == before
    desk.complete(*out[1], "CONFIRMED")
    assert desk.health.breaker_state == "CLOSED" and desk.health.breaker_failing == ()


def test_what_came_meanwhile_is_heard() -> None:
    """Proves that the decision reads again: a call that ended, or an answer that was stored, while
    it waited for its batch leaves the breaker closed."""
    desk = Listened()
    out = desk.running(4)
    desk.pass_time(7)
    heard, (first, *others) = desk.calls, out
    desk.complete(*first, "RETRY", reason="refused")
    desk.judge(heard, START, 4)
    assert desk.health.breaker_state == "CLOSED", "one call has ended"
    desk.complete(*others[0], "CONFIRMED")
    left = [call for call in heard if call.delivery_id in {r.id for r, _ in others[1:]}]
    three = [*left, replace(left[0], delivery_id="another")]
    assert breaking.is_open(breaking.silent(desk.health, three, START, 3, desk.now, LIMITS))
    desk.settle(desk.one(key="more"), "RETRY")
    desk.judge(left, START, 2)
    assert desk.health.breaker_state == "CLOSED", "an answer is stored"


def test_a_deaf_hub_begins_anew() -> None:
    """Proves that time in which the hub did not listen is nobody's silence."""
    line = Line(3)
    for _ in range(3):
        line.ask(3_600)
    line.now += 30 * SECOND
    line.hearing.begin_anew(line.now)
    line.look()
    assert line.health.breaker_state == "CLOSED"
    line.play(OPEN_WITHIN_SECONDS, never)
    assert line.health.breaker_state == "OPEN"


def test_what_another_hub_has_ended_does_not_keep_a_breaker_closed() -> None:
    """Proves that a call which another hub of the database has ended, as one whose lease ran out,
    is forgotten at the next look, and that the calls that still run then open the breaker."""
    desk = Listened()
    out = desk.running(4)
    heard_here, desk.hearing = desk.hearing, silence.Hearing(LIMITS)
    desk.complete(*out[0], "UNKNOWN", reason="the lease ran out")
    desk.pass_time(LIMITS.breaker_silence_seconds)
    desk.hearing = heard_here
    desk.look(3)
    assert desk.health.breaker_state == "CLOSED"
    assert {call.delivery_id for call in desk.calls} == {record.id for record, _ in out[1:]}
    desk.look(3)
    assert desk.health.breaker_state == "OPEN"


def test_what_no_longer_runs_is_forgotten() -> None:
    """Proves that ended, expired and fenced attempts leave nothing behind in memory."""
    desk = Listened("SEARCHABLE")
    expired, confirmed, parked = (desk.one(key=f"key-{n}") for n in range(3))
    desk.take(expired)
    desk.settle(confirmed)
    desk.settle(parked, "PARKED")
    assert len(desk.calls) == 1
    desk.pass_time(LIMITS.lease_seconds_default + 1)
    assert desk.hearing.calls() == {}


def test_look_ups_are_heard_too() -> None:
    """Proves that silent look-ups are evidence like silent calls."""
    desk = Listened("SEARCHABLE")
    out = desk.running(3)
    for record, token in out:
        desk.complete(record, token, "UNKNOWN", reason="500")
    desk.settle(desk.one(key="well"))
    desk.pass_time(LIMITS.settle_seconds_default + 1)
    for record, _ in out:
        desk.take(record)
        assert desk.attempts_of(record)[-1].kind == "LOOK_UP"
    desk.pass_time(LIMITS.breaker_silence_seconds)
    desk.look(3)
    assert desk.health.breaker_state == "OPEN"


@settings(deadline=None)
@given(
    ages=st.lists(st.floats(0, 40), max_size=20),
    failed=st.lists(st.integers(0, 5), max_size=5),
    heard=st.floats(0, 40),
    slots=st.integers(1, 20),
)
def test_evidence_is_bounded_and_never_less_than_three_deliveries(
    ages: list[float], failed: list[int], heard: float, slots: int
) -> None:
    """Proves for any calls that a breaker opens only with enough silent calls and failures of
    enough deliveries, never within the silence that is usual, and keeps a bounded reason."""
    now = START + 100 * SECOND
    record = replace(BARE, breaker_failing=tuple(f"d{n}" for n in failed))
    calls = [
        breaking.RunningCall(f"c{n}", 1, now - int(age * SECOND), breaking.patience((), LIMITS))
        for n, age in enumerate(ages)
    ]
    heard_at = now - int(heard * SECOND)
    after = breaking.silent(record, calls, heard_at, slots, now, LIMITS)
    quiet = [age for age in ages if min(age, heard) >= LIMITS.breaker_silence_seconds]
    total = len(quiet) + len(failed)
    needed = min(slots, LIMITS.breaker_failures_needed)
    distinct = len(quiet) + len(set(failed))
    wanted = bool(quiet) and total >= needed and distinct >= LIMITS.breaker_deliveries_needed
    assert breaking.is_open(after) == wanted
    assert wanted or after is record
    assert len(after.breaker_failing) <= LIMITS.breaker_failures_needed
    assert len(after.breaker_reason) <= breaking.REASON_CHARACTERS_MAX
