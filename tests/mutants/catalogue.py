"""Faults seeded into the reliability code: exact replacements, and the tests that must notice.

A replacement whose source is no longer there, or there more than once, is an error: somebody moved
the code that it is about and has to say what the fault is now.
"""

from __future__ import annotations

from typing import Final

from tests.mutants.attempts import ATTEMPT_MUTANTS
from tests.mutants.codes import CODE_MUTANTS
from tests.mutants.freight import FREIGHT_MUTANTS
from tests.mutants.interchanges import INTERCHANGE_MUTANTS
from tests.mutants.late_words import LATE_WORD_MUTANTS
from tests.mutants.models import MODEL_MUTANTS
from tests.mutants.mutant import HUB, SDK, Mutant, faults_in
from tests.mutants.orders_and_quotas import ORDER_AND_QUOTA_MUTANTS
from tests.mutants.paces import PACE_MUTANTS
from tests.mutants.recovery import RECOVERY_MUTANTS
from tests.mutants.return_labels import RETURN_LABEL_MUTANTS
from tests.mutants.returns import RETURN_MUTANTS
from tests.mutants.soap import SOAP_MUTANTS
from tests.mutants.staging import STAGING_MUTANTS
from tests.mutants.traces import TRACE_MUTANTS
from tests.mutants.turns import TURN_MUTANTS
from tests.mutants.voids import VOID_MUTANTS

# The fastest that may notice come first: the first failure ends the run of a mutant.
LEDGER: Final = (
    "tests/hub/test_ledger.py",
    "tests/hub/test_ledger_fences.py",
    "tests/hub/test_ledger_order.py",
    "tests/hub/test_ledger_evidence.py",
    "tests/hub/test_interleavings.py",
    "tests/hub/test_ledger_keys.py",
    "tests/hub/test_put_back.py",
    "tests/hub/test_ledger_model.py",
    "tests/simulation",
    "tests/hub/test_ledger_histories.py",
)
STORE: Final = ("tests/hub/test_store_promises.py", "tests/hub/test_restart_leases.py")
COMMITTER: Final = (
    "tests/hub/test_committer_promises.py",
    "tests/hub/test_writes.py",
)
DISPATCH: Final = (
    "tests/hub/test_picking.py",
    "tests/hub/test_dispatching.py",
    "tests/hub/test_lane_turns.py",
    "tests/simulation",
    "tests/hub/test_breaking.py",
)
BREAKER: Final = ("tests/hub/test_breaking.py",)
SEVERAL: Final = ("tests/hub/test_several_committers.py",)
FOREIGN: Final = ("tests/hub/test_foreign_locks.py",)
SILENCE: Final = ("tests/hub/test_silence.py",)
TIE: Final = ("tests/hub/test_tie.py", "tests/hub/test_young_copy.py")
RELAY: Final = ("tests/hub/test_relay.py", "tests/hub/test_relay_fence.py")
CLOCK: Final = ("tests/hub/test_store_clock.py", "tests/simulation")
ADAPTER: Final = (
    "tests/adapters/test_sdk_parts.py",
    "tests/adapters/test_sdk_runner.py",
    "tests/adapters/test_sdk_classes.py",
    "tests/adapters/test_sdk_http.py",
)
DOOR: Final = ("tests/hub/test_limits.py", "tests/hub/test_door.py", "tests/abuse/test_oversize.py")

MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}delivery/ledger.py",
        LEDGER,
        token_does_not_grow=("token=record.token + 1,", "token=max(1, record.token),"),
        dispatch_number_does_not_grow=(
            "dispatch_number=record.dispatch_number + 1,",
            "dispatch_number=max(1, record.dispatch_number),",
        ),
        old_token_counts=("if record.token != attempt.token:", "if record.token < attempt.token:"),
        second_word_counts=("if attempt.outcome not in OPEN_OUTCOMES:", "if False:"),
        confirmed_twice=(
            "# Done is done, whatever was asked or planned meanwhile: a repeat would do it twice.\n"
            "        return record.state in OPEN_STATES",
            'return record.state in OPEN_STATES and record.state != "READY"',
        ),
        one_look_up_is_enough=(
            "if found_nothing < limits.not_found_needed:",
            "if found_nothing < limits.not_found_needed - 1:",
        ),
        early_look_up_counts=(
            "doubtful = replace(record, operation_class=kind, not_found=UNSETTLED)",
            "doubtful = replace(record, operation_class=kind)",
        ),
        lease_of_a_lost_time_settles=(
            "not_found=min(record.not_found, 0),",
            "not_found=0,",
        ),
        failed_look_up_is_not_found=(
            'if report.outcome != "NOT_FOUND":',
            'if report.outcome not in ("NOT_FOUND", "UNKNOWN"):',
        ),
        retry_on_unknown=(
            "doubt = unknown(ended, spec, why, attempt.begun_at, now)",
            "return _retry_at(ended, why, now + SECOND)",
        ),
        wish_of_a_vendor_in_doubt_is_dropped=(
            "return replace(doubt, due_at=max(doubt.due_at, until))",
            "return doubt",
        ),
        none_is_repeated=(
            'if kind == "NONE":\n        return _park(record, f"outcome unknown, and',
            'if kind == "":\n        return _park(record, f"outcome unknown, and',
        ),
        no_settling=(
            'if kind == "SEARCHABLE":\n'
            "        return _in_doubt(record, why, spec.settle_seconds, now)",
            'if kind == "SEARCHABLE":\n        return _in_doubt(record, why, 0.0, now)',
        ),
        key_lives_for_ever=(
            "and now - record.first_unknown_at > int(spec.key_life_seconds * SECOND)",
            "and now - record.first_unknown_at > int(spec.key_life_seconds * SECOND * 1000)",
        ),
        key_life_from_the_last_call=(
            "first_unknown_at=record.first_unknown_at or since,",
            "first_unknown_at=since,",
        ),
        calls_without_end=(
            "if record.calls_reached >= spec.calls_max:\n"
            '        return _park(record, f"{spec.calls_max} calls without',
            'if False:\n        return _park(record, f"{spec.calls_max} calls without',
        ),
        reached_is_superseded=(
            "idle = [o for o in targets if is_idle(o)]",
            'idle = [o for o in targets if o.state in ("UNROUTED", "HELD", "READY", "DISPATCHED")]',
        ),
        cancel_vanishes=(
            "rest_is_gone = all(",
            "rest_is_gone = any(",
        ),
        lease_lost_is_ready=(
            "since = record.updated_at if begun_at is None else begun_at\n"
            "        return unknown(record, spec, LEASE_RAN_OUT, since, now)",
            'return replace(record, state="READY", pending=True, due_at=None, updated_at=now)',
        ),
        retry_burns_a_call=(
            "reached = max(0, record.calls_reached - 1)\n        since",
            "reached = record.calls_reached\n        since",
        ),
        renewal_may_shorten=(
            "until = max(record.lease_until or 0, now + int(lease_seconds * SECOND))",
            "until = now + int(lease_seconds * SECOND)",
        ),
        look_up_is_a_call=(
            "calls_reached=record.calls_reached + (0 if look_up else 1),",
            "calls_reached=record.calls_reached + 1,",
        ),
        bolder_class_wins=(
            "kind = min(stored, spec.operation_class, key=CARE.index)",
            "kind = max(stored, spec.operation_class, key=CARE.index)",
        ),
        lost_draft_is_made_again=('"NONE" if kind == "TWO_STEP" and', '"NONE" if False and'),
        state_is_repeated_at_once=("pause = max(pause, spec.settle_seconds)", "pass"),
        prerequisite_is_ignored=("    if missing:\n        until", "    if False:\n        until"),
        timer_fires_early=(
            "if record.due_at is None or record.due_at > now:",
            "if record.due_at is None or record.due_at > now + 10 * SECOND:",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/ordering.py",
        LEDGER,
        order_is_not_kept=(
            "if other.state in OPEN_STATES:\n            return other",
            'if other.state == "IN_FLIGHT":\n            return other',
        ),
        rejection_does_not_block=(
            'if other.state in ("REJECTED", "UNROUTED") and not passes:',
            'if other.state == "UNROUTED" and not passes:',
        ),
        order_is_turned=(
            "books.before(record.sequence, _stands",
            "books.after(record.sequence, _stands",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/attempts.py",
        LEDGER,
        dispatch_number_is_not_checked=(
            "if not waiting or record.dispatch_number != request.dispatch_number:",
            "if not waiting:",
        ),
        begun_twice=(
            'waiting = record.state == "DISPATCHED" or (',
            'waiting = record.state in ("DISPATCHED", "IN_FLIGHT") or (',
        ),
        renewed_with_an_old_token=(
            "if not held or record.token != request.token:",
            "if not held:",
        ),
        another_begin_gets_the_lease=(
            "if record.attempt_id == request.attempt_id and record.lease_until is not None:",
            "if record.lease_until is not None:",
        ),
        order_is_not_checked_at_begin=(
            'if placed.state == "READY":\n        return None',
            "if True:\n        return None",
        ),
        doubt_is_not_judged_at_begin=("if other is not None:", "if other is not None and False:"),
        same_word_twice_counts_twice=(
            "if attempt.ended_at is not None and attempt.outcome == outcome:",
            "if attempt.ended_at is None and attempt.outcome == outcome:",
        ),
        somebody_elses_delivery=(
            "if record is None or record.endpoint != unit.caller.endpoint:",
            "if record is None:",
        ),
    ),
    *faults_in(
        f"{HUB}store/engine.py",
        STORE,
        synchronous_is_normal=('"synchronous=FULL",', '"synchronous=NORMAL",'),
        no_write_ahead_log=('"journal_mode=WAL",', '"journal_mode=DELETE",'),
        no_foreign_keys=('"foreign_keys=ON",', '"foreign_keys=OFF",'),
        no_busy_timeout=('f"busy_timeout={BUSY_TIMEOUT_MILLISECONDS}",', '"busy_timeout=0",'),
        deferred_transactions=('"BEGIN IMMEDIATE"', '"BEGIN"'),
    ),
    *faults_in(
        f"{HUB}store/writing.py",
        STORE,
        restart_ends_leases=("(left > until, left)", "(left > until, until)"),
        clock_step_shortens_leases=(
            "left = d.c.lease_until + away",
            "left = d.c.lease_until + 0",
        ),
    ),
    *faults_in(
        f"{HUB}answering.py",
        COMMITTER,
        digest_is_not_compared=(
            "same = known.digest == command.digest and known.method == command.name",
            "same = known.method == command.name",
        ),
        anybody_gets_the_answer=(
            "if not same or known.endpoint != command.caller.endpoint:",
            "if not same:",
        ),
    ),
    *faults_in(
        f"{HUB}committer.py",
        COMMITTER,
        answer_is_not_remembered=(
            "remember_answer(unit, command, answer)\n        view",
            "pass\n        view",
        ),
        refusal_is_kept=(
            "return refused\n        except NotYet as why:",
            "view.changes.merge(unit.changes)\n            return refused\n"
            "        except NotYet as why:",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/breaking.py",
        SILENCE,
        every_call_is_silent=(">= call.patience]", ">= 0]"),
        one_delivery_is_silence_enough=(
            "if len(failing) < needed or len(set(failing)) < limits.breaker_deliveries_needed:",
            "if len(failing) < needed:",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/breaking.py",
        BREAKER,
        probe_of_nothing_keeps_its_lease=(
            'return replace(record, breaker_state="OPEN", breaker_probe_at=now)',
            "return record",
        ),
        call_from_before_ends_the_probe=(
            '"PROBING" or evidence.begun_at < (record.breaker_since or 0):',
            '"PROBING":',
        ),
    ),
    *faults_in(
        f"{HUB}delivery/silence.py",
        SILENCE,
        answers_are_not_heard=("self._heard[name[1]] = batch.now", "pass"),
    ),
    *faults_in(
        f"{HUB}delivery/dispatching.py",
        DISPATCH,
        budget_is_ignored=(
            "left = allowed.concurrency - sum(len(self._occupied[e.id]) for e in sharing)",
            "left = allowed.concurrency",
        ),
        overtakes_what_is_stored=(
            "if endpoint is None or name in self._backlog:",
            "if endpoint is None:",
        ),
        lanes_have_no_turns=("self._lane_served[endpoint] = found[-1].priority", "pass"),
    ),
    *faults_in(
        f"{HUB}bus/outlet.py",
        RELAY,
        no_fence=(
            "fenced = [messages[0].behind(position.stream_sequence), *messages[1:]]",
            "fenced = list(messages)",
        ),
        marked_before_published=(
            "with PublishSpans(fenced) as sending:\n",
            "self._marks.mark(self._source.mark([r.sequence for r, _ in rows], position))\n"
            "        with PublishSpans(fenced) as sending:\n",
        ),
        does_not_compare_after_doubt=(
            '"""Whatever went wrong, look at the stream before the next try."""\n'
            "        self._settled = False",
            '"""Whatever went wrong, look at the stream before the next try."""\n'
            "        self._settled = True",
        ),
    ),
    *faults_in(
        f"{HUB}bus/publishing.py",
        RELAY,
        links_of_a_chain_are_loose=(
            "*(each.behind(place, known_id) for place, known_id, each in behind)",
            "*(each for place, known_id, each in behind)",
        ),
        chain_names_no_id=("each.behind(place, known_id)", "each.behind(place)"),
        chain_counts_behind_a_doubt=("if each.is_stored else each", "if False else each"),
    ),
    *faults_in(
        f"{HUB}bus/tie.py",
        TIE,
        older_database_is_taken=(
            "if bus.generation > database.generation:",
            "if bus.generation > database.generation + 1_000_000:",
        ),
        put_back_is_not_believed=(
            "if database.generation < 0 or _any",
            "if (database.generation < 0 and bus is not None) or _any",
        ),
        told_before_it_is_stored=(
            "        self._given += 1\n",
            "        self._given += 1\n        self._stored = self._given\n",
        ),
        answered_before_the_bus_is_told=(
            "if self._told >= wanted:\n            return\n        known",
            "if wanted >= 0:\n            return\n        known",
        ),
        bus_that_answers_as_the_waiting_ends_is_away=(
            "if self._told >= wanted:\n                # It answered",
            "if False:\n                # It answered",
        ),
        bus_that_forgets_while_it_is_told_knows=("if self._losses != losses:", "if False:"),
        bus_that_is_away_is_not_asked_for=(
            "if self._trouble or not health.ok:",
            "if False:",
        ),
        bus_is_not_told_again=("        self._told = 0\n", "        pass\n"),
    ),
    *faults_in(
        f"{HUB}delivery/attempts.py",
        TIE,
        calls_begin_untold=('if after.attempt_kind == "CALL":', "if False:"),
        drafts_are_untold=(
            "    if request.draft:\n        unit.tie()",
            "    if False:\n        unit.tie()",
        ),
    ),
    *faults_in(
        f"{HUB}store_clock.py",
        CLOCK,
        clock_follows_the_wall=(
            "most = int(passed * self._limits.clock_slew)",
            "most = abs(self.offset_microseconds())",
        ),
        clock_forgets_what_is_stored=(
            "self._now = max(wall(), newest)",
            "self._now = wall()",
        ),
    ),
    *faults_in(
        f"{SDK}worker.py",
        ADAPTER,
        acknowledged_before_complete=(
            "            try:\n                await self._attempt(dispatch, span)",
            "            await message.ack()\n"
            "            try:\n                await self._attempt(dispatch, span)",
        ),
        call_outlives_its_lease=(
            "if record.lease_left_seconds() < limit and not await self.attempts.renew(attempt):",
            "if False:",
        ),
        lost_lease_goes_on=(
            "{call, alive, hurry}, timeout=left_seconds,",
            "{call, hurry}, timeout=left_seconds,",
        ),
    ),
    *faults_in(
        f"{SDK}completion.py",
        ADAPTER,
        sent_and_lost_is_a_retry=("case _ if exchange.effect_left:", "case _ if False:"),
        failed_look_up_repeats=(
            "case Retry():\n            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN,",
            "case Retry():\n            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_NOT_FOUND,",
        ),
        foreign_answer_is_adopted=(
            "case Confirmed() if ended.found_by not in (None, reference):",
            "case Confirmed() if False:",
        ),
    ),
    *faults_in(
        f"{SDK}http.py",
        ADAPTER,
        lease_is_not_checked_before_sending=(
            "if record is not None and call.has_effect:\n            check_lease(record)",
            "if record is None and call.has_effect:\n            check_lease(record)",
        ),
    ),
    *faults_in(
        f"{HUB}store/row_locks.py",
        SEVERAL,
        flows_are_not_locked=('ORDER BY o.id FOR UPDATE OF o"""', 'ORDER BY o.id"""'),
        later_locks_are_waited_for=(
            'return text if self._waits else f"{text}{_NOWAIT}"',
            "return text",
        ),
        master_data_changes_unseen=(
            "AND o.revision = r.revision",
            "AND o.revision >= r.revision",
        ),
        taken_names_are_not_missed=(
            "if inserted < len(records):",
            "if inserted > len(records):",
        ),
    ),
    *faults_in(
        f"{HUB}store/row_locks.py",
        FOREIGN,
        waits_that_ran_out_begin_anew=(
            "if text.endswith(_NOWAIT) and is_row_taken(error):",
            'if not self._waits and getattr(error.orig, "sqlstate", "") == "55P03":',
        ),
        taken_rows_are_given_up=(
            "if text.endswith(_NOWAIT) and is_row_taken(error):",
            "if text.endswith(_NOWAIT) and not is_row_taken(error):",
        ),
        scans_are_read_before_their_parcel_is_locked=('frozenset({"scans_of"})', "frozenset()"),
    ),
    *faults_in(
        f"{HUB}store/row_locks.py",
        ("tests/hub/test_payloads_held_once.py",),
        closed_payloads_are_in_the_way=(
            'if new["held_fact"] else []',
            'if new["held_fact"] and not changes.records else []',
        ),
    ),
    *faults_in(
        f"{HUB}committer.py",
        FOREIGN,
        each_of_a_batch_waits_in_full=("brief=failure.locked", "brief=False"),
    ),
    *faults_in(
        f"{HUB}refusals.py",
        DOOR,
        nobody_counts=(
            "if contract.holds_more(message_name, raw, most):",
            "if False and contract.holds_more(message_name, raw, most):",
        ),
    ),
    *faults_in(
        f"{HUB}door/server.py",
        ("tests/hub/test_process.py",),
        a_stop_waits_for_nobody=("stop(self._limits.stop_grace_seconds)", "stop(0)"),
    ),
    *ATTEMPT_MUTANTS,
    *LATE_WORD_MUTANTS,
    *MODEL_MUTANTS,
    *RECOVERY_MUTANTS,
    *FREIGHT_MUTANTS,
    *RETURN_MUTANTS,
    *RETURN_LABEL_MUTANTS,
    *STAGING_MUTANTS,
    *ORDER_AND_QUOTA_MUTANTS,
    *PACE_MUTANTS,
    *SOAP_MUTANTS,
    *INTERCHANGE_MUTANTS,
    *CODE_MUTANTS,
    *TRACE_MUTANTS,
    *TURN_MUTANTS,
    *VOID_MUTANTS,
]
