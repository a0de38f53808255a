"""Faults in how the SDK begins, sends and completes, and in how the hub lets a call be repeated:
the simulation alone has to notice each.

It runs the SDK's own coroutines; one that goes unnoticed says that it no longer does. The repeats
double nothing there, since its vendor shows what it did within one settle time: that nobody asked
twice is all that there is to notice.
"""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, SDK, Mutant, faults_in

SIMULATION: Final = ("tests/simulation",)

ATTEMPT_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{SDK}attempts.py",
        SIMULATION,
        completion_is_told_once=(
            "result = await self._insist(lambda: self._complete.call(completion))",
            "result = await self._complete.call(completion)",
        ),
        completion_with_which_the_hub_has_a_fault_counts_as_told=(
            "if isinstance(result, HubRefused) or result.refusal.reason != HUB_FAULT:",
            "if isinstance(result, HubRefused) or result.delivery_id:",
        ),
        repeated_begin_is_another_attempt=(
            "            result = await self._begin.call(request)",
            "            request.attempt_id = self._new_id()\n"
            "            result = await self._begin.call(request)",
        ),
        lease_counts_from_the_answer=(
            "asked_at + seconds, result.draft, lease_seconds,",
            "self.clock() + seconds, result.draft, lease_seconds,",
        ),
    ),
    *faults_in(
        f"{SDK}worker.py",
        SIMULATION,
        draft_is_confirmed_untold=(
            "await self.attempts.note_draft(attempt, made)",
            "attempt.draft = made",
        ),
        stopped_process_takes_all_its_time_for_the_call=(
            "if record.lease_until < looked_at + limit_seconds:",
            "if record.lease_until:",
        ),
    ),
    *faults_in(
        f"{SDK}http.py",
        SIMULATION,
        no_look_at_the_lease_finds_it_over=(
            "    if record.effect_left:\n        raise OutcomeUnknown(reason)\n",
            "    if reason:\n        return\n    if record.effect_left:\n"
            "        raise OutcomeUnknown(reason)\n",
        ),
        call_that_is_cut_off_left_nothing=(
            "if record is not None and trace.connected and call.has_effect:",
            "if record is None:",
        ),
        connection_that_breaks_left_nothing=(
            "left = trace.connected and call.has_effect",
            "left = False",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/ledger.py",
        SIMULATION,
        undone_call_is_repeated_after_one_look_up=(
            "if found_nothing < limits.not_found_needed:",
            "if found_nothing < 1:",
        ),
        second_look_up_waits_for_nothing=(
            'too early to tell"\n        return _in_doubt(record, why, spec.settle_seconds, now)',
            'too early to tell"\n        return _in_doubt(record, why, 0.0, now)',
        ),
    ),
]
