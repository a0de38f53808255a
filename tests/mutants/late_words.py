"""Faults in what late proof and late scans change, what waits, and what of long logs is told."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, Mutant, faults_in

LATE_PROOF: Final = ("tests/hub/test_late_proof.py",)
LONG_LOGS: Final = ("tests/hub/test_long_logs.py",)

LATE_WORD_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}delivery/late_proof.py",
        LATE_PROOF,
        proof_during_a_newer_call_is_forgotten=(
            "return replace(record, first_unknown_at=since, not_found=ledger.UNSETTLED)",
            "return record",
        ),
        look_ups_outweigh_late_proof=(
            "first_unknown_at=since, not_found=ledger.UNSETTLED)",
            "first_unknown_at=since)",
        ),
        refusal_hides_what_is_done=(
            "says_done(other) and other.begun_at >=",
            "False and other.begun_at >=",
        ),
        replay_does_what_is_done=(
            "if heir.vendor_reference == record.vendor_reference:",
            "if heir.vendor_reference != heir.vendor_reference:",
        ),
        what_has_ended_is_moved=("heir.state not in _WAITS or not", "False or not"),
        proof_is_never_overruled=(
            "says_done(other) and other.begun_at >= record.first_unknown_at",
            "says_done(other)",
        ),
        void_of_a_replay_is_stopped=("_work_of(heir) != _work_of(record)", "False"),
        late_refusal_stops_a_successor=(
            'return outcome == "CONFIRMED" and attempt.kind == "CALL"',
            'return attempt.kind == "CALL"',
        ),
    ),
    *faults_in(
        f"{HUB}delivery/attempts.py",
        LATE_PROOF,
        repeat_that_did_nothing_outweighs_proof=(
            "return any(a.outcome not in ledger.UNDONE for a in later)",
            "return any(True for a in later)",
        ),
        what_the_first_call_learned_stays_out=(
            "facts = [*facts, *check_facts(unit.contract, late, unit.limits)]",
            "pass",
        ),
        resubmission_is_not_told=(
            "taken = _tell_successor(unit, record, attempt, outcome, facts)",
            "taken = False",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/ledger.py",
        LATE_PROOF,
        refused_state_wipes_out_doubt=(
            'if report.outcome == "REJECTED" and not _stays_in_doubt(record, attempt):',
            'if report.outcome == "REJECTED":',
        ),
    ),
    *faults_in(
        f"{HUB}delivery/postings.py",
        LATE_PROOF,
        replay_that_was_never_begun_counts_twice=(
            "counts = _was_begun(record) or (key, record.vendor_reference) not in called",
            "counts = True",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/flows.py",
        ("tests/hub/test_ledger_order.py",),
        held_work_is_looked_at_once=(
            "        if len(gone) == ended:\n            break",
            "        break",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/dispatching.py",
        ("tests/hub/test_picking.py",),
        one_endpoint_is_always_first=(
            "self._served_at[endpoint.id] = self._turn",
            "self._served_at[endpoint.id] = 0",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/dispatching.py",
        ("tests/hub/test_picking_for_some.py",),
        rate_of_a_system_that_came_is_forgotten=(
            "self._systems.get(system, self._restored_at),",
            "self._restored_at,",
        ),
        work_of_other_hubs_is_counted=(
            "occupying = [way for way in occupying if self._picks_for(way.endpoint)]",
            "occupying = list(occupying)",
        ),
    ),
    *faults_in(
        f"{HUB}store/attempt_logs.py",
        LONG_LOGS,
        doubt_in_a_long_log_is_not_read=(
            "return or_(not_(in_vain), a.reason.contains(LATER, autoescape=True))",
            "return a.reason.contains(LATER, autoescape=True)",
        ),
    ),
    *faults_in(
        f"{HUB}reading/fitting.py",
        LONG_LOGS,
        left_out_is_not_counted=("delivery.attempts_left_out += left_out", "pass"),
        answer_is_larger_than_what_is_sent=("<= room_bytes:", "<= 2 * room_bytes:"),
    ),
    *faults_in(
        f"{HUB}store/loading.py",
        ("tests/hub/test_scans_in_one_batch.py",),
        scans_of_the_batch_are_not_seen=(
            "if (scan.carrier_code, scan.tracking_number) in scans:",
            "if False:",
        ),
        nothing_says_that_scans_are_passed_over=("most=most + 1)", "most=most)"),
        every_scan_of_a_parcel_is_read=("by=by, most=most + 1)", "by=by)"),
    ),
    *faults_in(
        f"{HUB}store/crossing.py",
        ("tests/hub/test_crossing.py",),
        the_oldest_scans_are_read=("|| '' DESC\"", "|| ''\""),
    ),
    *faults_in(
        f"{HUB}store/straight.py",
        ("tests/hub/test_straight.py",),
        statements_are_in_no_transaction=("(alone or driver.is_in_transaction())", "True"),
        rows_are_in_no_transaction=(
            "if driver is not None and driver.is_in_transaction():",
            "if driver:",
        ),
        values_of_one_are_those_of_another=("{int(place[1]) + before}", "{int(place[1])}"),
        lost_connections_are_kept=("lost = driver.is_closed()", "lost = False"),
        abandoned_statements_are_finished=(
            "await connection.invalidate()\n        raise",
            "raise",
        ),
        faults_within_the_driver_are_the_hubs=(
            "    (asyncpg.InternalClientError, InternalError),\n",
            "",
        ),
    ),
    *faults_in(
        f"{HUB}store/crossing.py",
        ("tests/hub/test_rewriting.py",),
        what_changed_is_not_written=(
            "if before is None or self._lasting(record) != self._lasting(before):",
            "if before is None:",
        ),
        every_index_is_written_anew=("replace(shape, keeps=lasting,", "replace(shape, keeps=(),"),
        what_seldom_changes_is_not_written=(
            "self._seldom is None or self._seldom(record) != self._seldom(before)",
            "self._seldom is None",
        ),
    ),
    *faults_in(
        f"{HUB}store/rows.py",
        ("tests/hub/test_departures.py",),
        what_changes_is_said_to_last=('*("event_id", "event_type",', '*("state", "event_type",'),
    ),
    *faults_in(
        f"{HUB}delivery/ledger.py",
        ("tests/hub/test_rewriting.py",),
        dispatch_changes_what_is_not_written=(
            "dispatch_number=record.dispatch_number + 1,",
            "dispatch_number=record.dispatch_number + 1, priority=record.priority + 1,",
        ),
    ),
    *faults_in(
        f"{HUB}committer.py",
        ("tests/hub/test_rewriting.py",),
        what_was_read_is_forgotten=("shared, view.read_or_none", "shared, lambda key: None"),
    ),
    *faults_in(
        f"{HUB}verbs/tracking.py",
        ("tests/hub/test_returned_parcels.py",),
        turned_deliveries_are_told=("    _mean_together(steps, trails)\n", ""),
    ),
]
