"""The ledger's real decisions and a model of them, taken through the same history step by step."""

from __future__ import annotations

from typing import Any

from crossdock_hub.config import Limits
from crossdock_hub.unit import Refused
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledger_model import Model
from ledger_vendor import Desk

STEPS = 40
CALLS_MAX = 3
LONG_SECONDS = 2_000.0
# Breaker, outage and key life have tests of their own; here they would only stand in the way.
LIMITS = Limits(
    calls_max_default=CALLS_MAX,
    breaker_failures_needed=10**6,
    unanswered_seconds_max=0.0,
    key_life_seconds_default=1e9,
)
OUTCOMES = ("CONFIRMED", "REJECTED", "RETRY", "UNKNOWN", "PARKED", "NOT_FOUND")


class Beside(RuleBasedStateMachine):
    """Everything that happens happens to both."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk("SEARCHABLE", LIMITS)
        self.model = Model("SEARCHABLE", CALLS_MAX)

    @initialize(kind=st.sampled_from(("SEARCHABLE", "NONE", "KEYED", "NATURAL")))
    def employ(self, kind: str) -> None:
        """The endpoint registers, and there is work."""
        self.desk, self.model = Desk(kind, LIMITS), Model(kind, CALLS_MAX)
        for key in ("k1", "k1", "k2"):
            self.event(key)

    def record(self, which: int) -> Any:
        return self.desk.deliveries()[which]

    def drawn(self, data: Any, *states: str) -> int | None:
        """One delivery, of these states where there are any."""
        found = [i for i, d in enumerate(self.model.deliveries) if not states or d.state in states]
        return data.draw(st.sampled_from(found), label="which") if found else None

    @rule(key=st.sampled_from(("k1", "k2")))
    @precondition(lambda self: len(self.model.deliveries) < 6)
    def more(self, key: str) -> None:
        """Something happens that the endpoint has to act on."""
        self.event(key)

    def event(self, key: str) -> None:
        """More work."""
        self.desk.one(key=key)
        self.model.event(key)

    @rule(data=st.data())
    @precondition(lambda self: any(d.waits for d in self.model.deliveries))
    def dispatch(self, data: Any) -> None:
        """Something that waits goes out."""
        waiting = [i for i, d in enumerate(self.model.deliveries) if d.waits]
        if waiting:
            which = data.draw(st.sampled_from(waiting), label="dispatched")
            self.desk.dispatch(self.record(which))
            self.model.dispatch(which)

    @rule(data=st.data(), back=st.sampled_from((0, 0, 0, 1)))
    @precondition(lambda self: any(d.number for d in self.model.deliveries))
    def begin(self, data: Any, back: int) -> None:
        """An adapter begins what it was sent, or what it was sent before."""
        which = self.drawn(data, "DISPATCHED", "RESOLVING", "IN_FLIGHT")
        if which is None or self.record(which).dispatch_number - back < 1:
            return
        number = self.record(which).dispatch_number - back
        try:
            result = self.desk.begin(self.record(which), dispatch_number=number)
            begun = not result.HasField("refusal")
        except Refused:
            begun = False
        assert begun == self.model.begin(which, number), "one of them begins, the other does not"

    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), back=st.sampled_from((0, 0, 0, 1)))
    @precondition(lambda self: any(d.attempts for d in self.model.deliveries))
    def complete(self, data: Any, outcome: str, back: int) -> None:
        """An attempt ends, or an old one speaks up."""
        found = [i for i, d in enumerate(self.model.deliveries) if len(d.attempts) > back]
        if found:
            which = data.draw(st.sampled_from(found), label="ended")
            token = len(self.model.deliveries[which].attempts) - back
            self.desk.complete(self.record(which), token, outcome)
            self.model.complete(which, token, outcome)

    @rule(
        data=st.data(),
        outcomes=st.lists(
            st.sampled_from((*OUTCOMES, "UNKNOWN", "NOT_FOUND", "")), min_size=1, max_size=8
        ),
    )
    @precondition(lambda self: any(d.waits for d in self.model.deliveries))
    def work(self, data: Any, outcomes: list[str]) -> None:
        """The usual way, again and again: out, begun, ended or not, and time in between."""
        for outcome in outcomes:
            waiting = [i for i, d in enumerate(self.model.deliveries) if d.waits]
            if waiting:
                which = data.draw(st.sampled_from(waiting), label="worked off")
                self.desk.dispatch(self.record(which))
                self.model.dispatch(which)
                begun = not self.desk.begin(self.record(which)).HasField("refusal")
                number = self.model.deliveries[which].number
                assert begun == self.model.begin(which, number)
                self.they_agree()
                if outcome:
                    token = len(self.model.deliveries[which].attempts)
                    self.desk.complete(self.record(which), token, outcome)
                    self.model.complete(which, token, outcome)
            self.they_agree()
            self.wait()

    @rule()
    def wait(self) -> None:
        """Long enough for every timer."""
        self.desk.pass_time(LONG_SECONDS)
        self.model.wait()

    @invariant()
    def they_agree(self) -> None:
        """State, what waits to be dispatched, numbers, tokens and calls are the same."""
        real = [
            (r.state, r.pending, r.dispatch_number, r.token, r.calls_reached)
            for r in self.desk.deliveries()
        ]
        assert real == [delivery.seen() for delivery in self.model.deliveries]
