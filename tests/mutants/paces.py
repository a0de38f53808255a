"""Faults in what keeps a system's calls a second: at the hub, and in a process where they leave."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, SDK, Mutant, faults_in

PACING: Final = ("tests/adapters/test_sdk_pacing.py",)
DISPATCHING: Final = ("tests/hub/test_dispatching.py",)

PACE_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{SDK}pacing.py",
        PACING,
        what_has_not_left_has_no_place=(
            "over = self._held + len(self._left) - self._most() + 1",
            "over = len(self._left) - self._most() + 1",
        ),
        ways_are_all_the_same=(
            "return self._most() / self.per_second + self._guard_seconds",
            "return self._most() / self.per_second",
        ),
        what_waits_leaves_in_a_crowd=(
            "return self._even_at + self._interval() - now if waits else 0.0",
            "return 0.0",
        ),
        the_higher_rate_holds=(
            "self.per_second = min(self.per_second, per_second)",
            "self.per_second = max(self.per_second, per_second)",
        ),
    ),
    *faults_in(
        f"{SDK}http.py",
        PACING,
        a_call_counts_from_when_it_waits=(
            "        if place is not None:\n            place.went()",
            "        if place is not None:\n            pass",
        ),
    ),
    *faults_in(
        f"{SDK}exchange.py",
        PACING,
        a_token_request_is_the_call_of_its_attempt=("_is_aside.set(True)", "_is_aside.set(False)"),
    ),
    *faults_in(
        f"{SDK}worker.py",
        PACING,
        attempts_know_no_pace=("if self.pace is None:\n", "if self.pace is None or True:\n"),
        a_cancelled_attempt_keeps_its_place=(
            "if waiting.done() and not waiting.cancelled():\n",
            "if False:\n",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/dispatching.py",
        DISPATCHING,
        ways_from_a_begin_are_all_the_same=(
            "return self._most() / self.per_second + self._margin",
            "return self._most() / self.per_second",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/draining.py",
        DISPATCHING,
        a_pace_that_changed_is_averaged=(
            "(ended < STEADY_EVENTS or end - begin < STEADY_BUCKETS)",
            "True",
        ),
    ),
]
