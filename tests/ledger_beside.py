"""The ledger's real decisions and a model of them, taken through the same history step by step."""

from __future__ import annotations

from typing import Any

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock_hub.config import Limits
from crossdock_hub.delivery import attempts
from crossdock_hub.unit import Refused
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledger_model import CLASSES, LETS_PASS, NEEDS, TAKES_BACK, WORK, Begun, Model
from ledger_vendor import ROOT, VENDOR, Desk

STEPS = 40
CALLS_MAX = 3
DELIVERIES_MAX = 7
LONG_SECONDS = 2_000.0
# Breaker, outage, key life and the limit of waiting for a prerequisite have tests of their own;
# here they would only stand in the way.
LIMITS = Limits(
    calls_max_default=CALLS_MAX,
    breaker_failures_needed=10**6,
    unanswered_seconds_max=0.0,
    key_life_seconds_default=1e9,
    prerequisite_seconds_default=1e9,
)
OUTCOMES = ("CONFIRMED", "REJECTED", "RETRY", "UNKNOWN", "PARKED", "NOT_FOUND")
KEYS = st.sampled_from(("k1", "k1", "k2"))


class OneFlow(Desk):  # type: ignore[misc]
    """The desk, for work that waits for, or takes back, other work of its key."""

    def __init__(self, kind: str, limits: Limits = LIMITS) -> None:
        super().__init__(kind, limits)
        self.declare(kind)

    def declare(self, kind: str) -> bool:
        """Whether the endpoint may say this class of all its work from now on."""
        try:
            self.register(VENDOR, dict.fromkeys(WORK, kind))
        except Refused:
            return False
        return True

    def ask(self, key: str, work: str) -> None:
        """An event that asks for this work."""
        self.one(
            work,
            key=key,
            object_id=key,
            refers_to=tuple(sorted((key, ROOT))),
            requires=(NEEDS[work],) if work in NEEDS else (),
            supersedes=TAKES_BACK.get(work, ()),
            on_reject="CONTINUE" if work in LETS_PASS else "BLOCK",
        )

    def note(self, record: Any, token: int, draft: str) -> bool:
        """Whether the hub takes a draft of this attempt."""
        renewal = delivery_service_pb2.LeaseRenewal(delivery_id=record.id, token=token, draft=draft)
        try:
            self.decide(VENDOR, "note", lambda unit: attempts.renew(unit, renewal))
        except Refused:
            return False
        return True


class Beside(RuleBasedStateMachine):
    """Everything that happens happens to both."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = OneFlow("SEARCHABLE")
        self.model = Model("SEARCHABLE", CALLS_MAX)

    @initialize(kind=st.sampled_from(CLASSES))
    def employ(self, kind: str) -> None:
        """The endpoint registers, and there is work."""
        self.desk, self.model = OneFlow(kind), Model(kind, CALLS_MAX)
        for key in ("k1", "k1", "k2"):
            self.event(key)

    def record(self, which: int) -> Any:
        return self.desk.deliveries()[which]

    def drawn(self, data: Any, *states: str) -> int | None:
        """One delivery, of these states where there are any."""
        found = [i for i, d in enumerate(self.model.deliveries) if not states or d.state in states]
        return data.draw(st.sampled_from(found), label="which") if found else None

    @rule(key=KEYS, work=st.sampled_from(WORK))
    @precondition(lambda self: len(self.model.deliveries) < DELIVERIES_MAX)
    def more(self, key: str, work: str) -> None:
        """Something happens that the endpoint has to act on."""
        self.event(key, work)

    def event(self, key: str, work: str = "book") -> None:
        """More work."""
        self.desk.ask(key, work)
        self.model.event(key, work)

    @rule(kind=st.sampled_from(CLASSES))
    def declare(self, kind: str) -> None:
        """The adapter is another version, which knows more or less of its vendor."""
        allowed = self.desk.declare(kind)
        assert allowed == self.model.declare(kind), "one of them takes the class, the other not"

    @rule(data=st.data())
    @precondition(lambda self: any(d.waits for d in self.model.deliveries))
    def dispatch(self, data: Any) -> None:
        """Something that waits goes out."""
        waiting = [i for i, d in enumerate(self.model.deliveries) if d.waits]
        if waiting:
            which = data.draw(st.sampled_from(waiting), label="dispatched")
            self.send(which)

    def send(self, which: int) -> None:
        """This one goes out."""
        self.desk.dispatch(self.record(which))
        self.model.dispatch(which)

    @rule(data=st.data(), back=st.sampled_from((0, 0, 0, 1)))
    @precondition(lambda self: any(d.number for d in self.model.deliveries))
    def begin(self, data: Any, back: int) -> None:
        """An adapter begins what it was sent, or what it was sent before."""
        which = self.drawn(data, "DISPATCHED", "RESOLVING", "IN_FLIGHT")
        if which is not None and self.record(which).dispatch_number - back >= 1:
            self.start(which, self.record(which).dispatch_number - back)

    def start(self, which: int, number: int) -> bool:
        """Whether an attempt begins: both say so, and tell it the same."""
        told = None
        try:
            result = self.desk.begin(self.record(which), dispatch_number=number)
            if not result.HasField("refusal"):
                kind = delivery_pb2.AttemptKind.Name(result.kind).removeprefix("ATTEMPT_KIND_")
                told = Begun(kind, result.draft, result.in_doubt)
        except Refused:
            pass
        assert told == self.model.begin(which, number), "one begins what the other does not"
        return told is not None

    @rule(data=st.data(), draft=st.sampled_from(("D-1", "D-1", "D-2")), back=st.integers(0, 1))
    @precondition(lambda self: any(d.begun for d in self.model.deliveries))
    def note(self, data: Any, draft: str, back: int) -> None:
        """The vendor has a draft, and the hub is told of it; or an old attempt tells of one."""
        found = [
            i for i, d in enumerate(self.model.deliveries) if d.begun and len(d.attempts) > back
        ]
        if found:
            self.keep(data.draw(st.sampled_from(found), label="drafted"), draft, back)

    def keep(self, which: int, draft: str, back: int = 0) -> None:
        """Both take the draft, or neither does."""
        token = len(self.model.deliveries[which].attempts) - back
        taken = self.desk.note(self.record(which), token, draft)
        assert taken == self.model.note(which, token, draft), "one takes what the other does not"

    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), back=st.sampled_from((0, 0, 0, 1, 2)))
    @precondition(lambda self: any(d.attempts for d in self.model.deliveries))
    def complete(self, data: Any, outcome: str, back: int) -> None:
        """An attempt ends, or an old one speaks up."""
        found = [i for i, d in enumerate(self.model.deliveries) if len(d.attempts) > back]
        if found:
            self.end(data.draw(st.sampled_from(found), label="ended"), outcome, back)

    def end(self, which: int, outcome: str, back: int = 0) -> None:
        """The newest attempt, or one before it, says how it ended; what is done has a number."""
        token = len(self.model.deliveries[which].attempts) - back
        done = [("doc", str(which))] if outcome == "CONFIRMED" else []
        self.desk.complete(self.record(which), token, outcome, references=done)
        self.model.complete(which, token, outcome)

    @rule(
        data=st.data(),
        outcomes=st.lists(
            st.sampled_from((*OUTCOMES, "UNKNOWN", "NOT_FOUND", "draft", "")),
            min_size=1,
            max_size=8,
        ),
    )
    @precondition(lambda self: any(d.waits for d in self.model.deliveries))
    def work(self, data: Any, outcomes: list[str]) -> None:
        """The usual way, again and again: out, begun, ended or not, and time in between."""
        for outcome in outcomes:
            waiting = [i for i, d in enumerate(self.model.deliveries) if d.waits]
            if waiting:
                which = data.draw(st.sampled_from(waiting), label="worked off")
                self.send(which)
                begun = self.start(which, self.model.deliveries[which].number)
                self.they_agree()
                if begun and outcome == "draft":
                    # It has its draft, and is not heard of again.
                    self.keep(which, self.model.deliveries[which].draft or "D-1")
                elif begun and outcome:
                    self.end(which, outcome)
            self.they_agree()
            self.wait()

    @rule()
    def wait(self) -> None:
        """Long enough for every timer."""
        self.desk.pass_time(LONG_SECONDS)
        self.model.wait()

    @invariant()
    def they_agree(self) -> None:
        """State, what it waits for, numbers, tokens, calls, doubt, look-ups and drafts are the
        same."""
        for record, known in zip(self.desk.deliveries(), self.model.deliveries, strict=True):
            assert seen(record) == known.seen(), f"{record.operation}: {seen(record)}"


def seen(record: Any) -> tuple[object, ...]:
    """Of a real delivery, what the model knows."""
    looked = record.not_found if record.state in ("UNKNOWN", "RESOLVING") else 0
    place = (record.state, record.hold_reason, record.pending)
    counts = (record.dispatch_number, record.token, record.calls_reached)
    return (*place, *counts, record.first_unknown_at is not None, looked, record.draft)
