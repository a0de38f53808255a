"""Faults that the models have to notice by themselves: the ledger's, and that of what goes out."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, Mutant, faults_in

LEDGER_MODEL: Final = ("tests/hub/test_ledger_model.py",)
PICKING_MODEL: Final = ("tests/hub/test_picking_model.py",)

MODEL_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}delivery/ordering.py",
        LEDGER_MODEL,
        drafted_work_vanishes=(
            "record.first_unknown_at is None and not record.draft",
            "record.first_unknown_at is None",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/ledger.py",
        LEDGER_MODEL,
        unprocessed_repeat_ends_an_older_doubt=(
            "own = record.first_unknown_at == attempt.begun_at",
            "own = True",
        ),
        calls_that_did_nothing_outweigh_proof=(
            'UNDONE = UNPROCESSED | {"REJECTED", "PARKED"}',
            "UNDONE = UNPROCESSED",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/attempts.py",
        LEDGER_MODEL,
        second_draft_is_taken=(
            'if request.draft and record.draft not in ("", request.draft):',
            "if False:",
        ),
        draft_is_not_told=("draft=record.draft,", 'draft="",'),
    ),
    *faults_in(
        f"{HUB}delivery/ordering.py",
        LEDGER_MODEL,
        what_waits_for_it_holds_it_up=(
            'if other.state == "HELD" and _needs(other, record, books):',
            "if False:",
        ),
        what_is_held_by_such_work_holds_it_up=(
            'if waits_for_us and other.state == "HELD"',
            'if False and other.state == "HELD"',
        ),
        anybodys_prerequisite_is_met=(
            'if record.state == "CONFIRMED":\n        yield',
            'if record.state in ("CONFIRMED", "REJECTED"):\n        yield',
        ),
    ),
    *faults_in(
        f"{HUB}delivery/dispatching.py",
        PICKING_MODEL,
        urgent_is_not_first_when_it_comes=(
            "records.sort(key=lambda r: (r.priority, r.sequence))",
            "records.sort(key=lambda r: r.sequence)",
        ),
        share_of_the_others_is_not_seen=(
            "share = min(pacing.share(e.health, now, limits) for e in sharing)",
            "share = pacing.share(endpoint.health, now, limits)",
        ),
        budget_is_of_the_endpoint=(
            "pacing.concurrency(min(e.max_concurrency for e in sharing), share)",
            "pacing.concurrency(endpoint.max_concurrency, share)",
        ),
        retry_after_holds_one_endpoint=(
            "if any(pacing.is_held(e.health, now) for e in sharing):",
            "if pacing.is_held(endpoint.health, now):",
        ),
        turn_is_owed_from_a_queue_that_has_ended=(
            "self._runs[endpoint.id] = 0\n            return found",
            "return found",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/pacing.py",
        PICKING_MODEL,
        share_does_not_grow_back=(
            "return min(FULL, record.pace_thousandths + int(FULL * passed",
            "return min(FULL, record.pace_thousandths + int(0 * passed",
        ),
    ),
]
