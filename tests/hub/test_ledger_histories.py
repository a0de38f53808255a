"""The ledger against any history: random events, crashes, late words, time; its laws hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.unit import Refused
from decisions import refusal_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledger_vendor import VENDOR, Desk

OPERATIONS = ("book", "change", "cancel", "post")
OUTCOMES = (
    "CONFIRMED", "REJECTED", "RETRY", "THROTTLED", "UNKNOWN", "PARKED", "NOT_FOUND",
    "LEASE_EXPIRED",
)  # fmt: skip
UNPROCESSED = ("RETRY", "THROTTLED")
CLASSES = ("NONE", "SEARCHABLE", "KEYED", "TWO_STEP", "NATURAL")
MOVING = ("READY", "DISPATCHED", "IN_FLIGHT", "UNKNOWN", "RESOLVING")
LIMITS = Limits(key_life_seconds_default=120.0, calls_max_default=4, unanswered_seconds_max=0.0)


class Histories(RuleBasedStateMachine):
    """Everything that can happen to the deliveries of one flow, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk("SEARCHABLE", LIMITS)
        self.classes = dict.fromkeys(OPERATIONS, "SEARCHABLE")
        # Token -> the class that was declared when the call began.
        self.begun_as: dict[tuple[str, int], str] = {}

    @initialize(kind=st.sampled_from(CLASSES))
    def employ(self, kind: str) -> None:
        """The endpoint registers with one class for everything."""
        self.desk = Desk(kind, LIMITS)
        self.classes = dict.fromkeys(OPERATIONS, kind)

    def deliveries(self, *states: str) -> list[Any]:
        return [r for r in self.desk.deliveries() if not states or r.state in states]

    def pick(self, data: Any, *states: str) -> Any:
        found = self.deliveries(*states)
        return found[data.draw(st.integers(0, len(found) - 1), label="which")] if found else None

    @rule(
        operation=st.sampled_from((*OPERATIONS, "book", "book", "change")),
        key=st.sampled_from(("k1", "k2")),
        items=st.sampled_from((("",), ("box-1", "box-2"))),
        on_reject=st.sampled_from(("BLOCK", "CONTINUE")),
        requires=st.sampled_from(((), ("book",))),
    )
    @precondition(lambda self: len(self.deliveries("HELD", *MOVING)) < 4)
    def an_event(self, operation: str, key: str, items: Any, on_reject: str, requires: Any) -> None:
        """Something happens that the endpoint has to act on."""
        supersedes = ("book", "change") if operation == "cancel" else ()
        self.desk.event(
            operation,
            key=key,
            items=items,
            on_reject=on_reject,
            requires=requires if operation == "post" else (),
            supersedes=supersedes,
        )

    @rule(data=st.data(), outcome=st.sampled_from((*OUTCOMES, "UNKNOWN", "RETRY", "")))
    def work(self, data: Any, outcome: str) -> None:
        """An adapter works something off the usual way, or dies on it."""
        waiting = [r for r in self.deliveries() if r.pending]
        if not waiting:
            return
        record = data.draw(st.sampled_from(waiting), label="worked off")
        self.desk.dispatch(record)
        result = self.desk.begin(record)
        if not result.HasField("refusal"):
            self.begun_as[record.id, result.token] = self.classes[record.operation]
            if outcome:
                self.desk.complete(record, result.token, outcome)

    @rule(
        data=st.data(),
        outcomes=st.lists(st.sampled_from(("UNKNOWN", "RETRY", "NOT_FOUND", "")), max_size=6),
        wait=st.sampled_from((7.0, 65.0)),
    )
    def grind(self, data: Any, outcomes: list[str], wait: float) -> None:
        """A bad day: one attempt after the other without success, with time in between."""
        for outcome in outcomes:
            self.work(data, outcome)
            self.time(wait)

    @rule(data=st.data())
    def dispatch(self, data: Any) -> None:
        """The dispatcher sends something that waits."""
        waiting = [r for r in self.deliveries() if r.pending]
        if waiting:
            self.desk.dispatch(data.draw(st.sampled_from(waiting), label="dispatched"))

    @rule(data=st.data(), back=st.integers(0, 2))
    def begin(self, data: Any, back: int) -> None:
        """An adapter begins, with the newest message or an old one."""
        record = self.pick(data, "DISPATCHED", "RESOLVING", "IN_FLIGHT")
        if record is None or record.dispatch_number - back < 1:
            return
        before = record.token
        try:
            result = self.desk.begin(record, dispatch_number=record.dispatch_number - back)
        except Refused:
            assert self.desk.fresh(record) == record, "a refused begin changed something"
            return
        if result.HasField("refusal"):
            assert self.desk.fresh(record).token == before
            return
        assert back == 0, "an old dispatch began an attempt"
        assert result.token == before + 1
        self.begun_as[record.id, result.token] = self.classes[record.operation]

    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), back=st.integers(0, 2))
    def complete(self, data: Any, outcome: str, back: int) -> None:
        """An attempt ends; old ones may speak up too."""
        begun = [r for r in self.deliveries() if r.token - back >= 1]
        if not begun:
            return
        record = data.draw(st.sampled_from(begun), label="ended")
        newest_call = max(a.token for a in self.desk.attempts_of(record) if a.kind == "CALL")
        done = outcome == "CONFIRMED" and record.token - back == newest_call
        answer = self.desk.complete(record, record.token - back, outcome)
        after = self.desk.fresh(record)
        # Only "done" of the newest call may come late: look-ups since then change nothing.
        if (back and not done) or answer.HasField("refusal"):
            assert after.state == record.state, "a stale word moved a delivery"
            assert after.calls_reached == record.calls_reached
        elif back:
            assert after.state == "CONFIRMED"
        again = self.desk.complete(record, record.token - back, outcome)
        assert (again.state, again.refusal) == (answer.state, answer.refusal)
        assert self.desk.fresh(record) == after, "the same word twice is not the same"

    @rule(data=st.data(), seconds=st.sampled_from((1.0, 30.0, 400.0)))
    def renew(self, data: Any, seconds: float) -> None:
        """A slow call is kept alive."""
        record = self.pick(data, "IN_FLIGHT", "RESOLVING")
        if record is None or record.lease_until is None:
            return
        self.desk.renew(record, record.token, seconds)
        assert (self.desk.fresh(record).lease_until or 0) >= record.lease_until

    @rule(seconds=st.sampled_from((0.5, 6.0, 40.0, 130.0)))
    def time(self, seconds: float) -> None:
        """Time goes by, and every timer fires."""
        self.desk.pass_time(seconds)

    @rule(data=st.data())
    def early_tick(self, data: Any) -> None:
        """A timer fires for nothing: the delivery moved on, or it is too soon."""
        record = self.pick(data)
        if record is not None and (record.due_at or 0) > self.desk.now + SECOND:
            self.desk.tick(record)
            assert self.desk.fresh(record) == record

    @rule(operation=st.sampled_from(OPERATIONS), kind=st.sampled_from((*CLASSES, "")))
    def declare(self, operation: str, kind: str) -> None:
        """The endpoint registers anew: another class, or the operation forgotten."""
        wanted = {**self.classes, operation: kind}
        offered = {name: value for name, value in wanted.items() if value} or {"x": "NONE"}
        try:
            self.desk.register(VENDOR, offered)
        except Refused:
            return
        self.classes = {name: wanted[name] or "NONE" for name in OPERATIONS}

    # The laws

    @invariant()
    def one_event_of_a_key_at_a_time(self) -> None:
        """Later work of a key never moves while earlier work of another event is open."""
        moving: dict[str, set[str]] = {}
        for record in self.deliveries(*MOVING):
            moving.setdefault(record.ordering_key, set()).add(record.event_id)
        assert all(len(events) == 1 for events in moving.values()), moving

    @invariant()
    def nothing_is_called_again_without_proof(self) -> None:
        """Every call but the first follows proof, or a class that makes a repeat harmless."""
        for record in self.deliveries():
            open_calls: list[Any] = []
            found_nothing = 0
            for attempt in self.desk.attempts_of(record):
                if attempt.kind == "LOOK_UP":
                    found_nothing += attempt.outcome == "NOT_FOUND"
                    continue
                if found_nothing >= LIMITS.not_found_needed:
                    open_calls.clear()
                if open_calls:
                    self._check_repeat(record, open_calls, attempt)
                found_nothing = 0
                if attempt.outcome not in UNPROCESSED or attempt.reason.startswith("(late)"):
                    open_calls.append(attempt)

    def _check_repeat(self, record: Any, earlier: list[Any], attempt: Any) -> None:
        classes = {self.begun_as[record.id, call.token] for call in earlier}
        assert "NONE" not in classes, "class NONE was called again"
        assert "SEARCHABLE" not in classes, "called again without two settled look-ups"
        if "KEYED" in classes:
            life = attempt.begun_at - earlier[0].begun_at
            assert life <= LIMITS.key_life_seconds_default * SECOND, "the key was dead"
        if ("breaker", "vendor", "OPEN") not in self.desk.counters:
            # In an outage unanswered calls are not the delivery's own, and not counted.
            assert len(earlier) < LIMITS.calls_max_default, "more calls than declared"

    @invariant()
    def an_open_breaker_lets_one_call_through(self) -> None:
        """Of the attempts that began since it opened at most one is under way."""
        health = self.desk.records["endpoint", VENDOR.endpoint]
        if health.breaker_state == "CLOSED":
            return
        probes = [
            attempt
            for record in self.deliveries("IN_FLIGHT", "RESOLVING")
            for attempt in self.desk.attempts_of(record)
            if record.lease_until is not None
            and attempt.token == record.token
            and attempt.begun_at >= health.breaker_since
        ]
        assert len(probes) <= 1, "two probes at once"

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """Whatever is open is either waited for by a timer, by another delivery, or by a person."""
        for record in self.deliveries():
            if record.state == "HELD" and record.hold_reason in ("RETRY", "PREREQUISITE"):
                assert record.due_at is not None
            if record.state == "HELD" and record.hold_reason == "ORDER":
                self._check_blocked(record)
            if record.state == "READY":
                assert record.pending

    def _check_blocked(self, record: Any) -> None:
        earlier = [
            other
            for other in self.deliveries()
            if other.ordering_key == record.ordering_key and other.sequence < record.sequence
        ]
        assert any(
            other.state not in ("CONFIRMED", "SUPERSEDED") and other.event_id != record.event_id
            for other in earlier
        ), "a delivery waits for nothing"


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_the_machine_would_notice() -> None:
    """Proves that the laws above are checked: a second call of an unknown one is told."""
    machine = Histories()
    record = machine.desk.one()
    for _ in range(2):
        token = machine.desk.take(record)
        machine.begun_as[record.id, token] = "SEARCHABLE"
        machine.desk.complete(record, token, "UNKNOWN")
        broken = machine.desk.fresh(record)
        broken.state, broken.pending, broken.due_at = "READY", True, None
        broken.first_unknown_at = None
    noticed: Callable[[], Any] = machine.nothing_is_called_again_without_proof
    try:
        noticed()
    except AssertionError as told:
        assert "two settled look-ups" in str(told)
    else:
        raise AssertionError("nobody noticed")
    assert refusal_of(lambda: machine.desk.begin(record)).reason == "LEASE_LOST"
