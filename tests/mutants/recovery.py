"""Faults in what brings things back: the bus, the healer, replays and their guard, back-ups."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, Mutant, faults_in

# The fastest that may notice come first: the first failure ends the run of a mutant.
NUMBERS: Final = ("tests/hub/test_relay_of_several.py",)
EMBEDDED: Final = ("tests/hub/test_embedded_upkeep.py", "tests/hub/test_embedded_nats.py")
HEALING: Final = ("tests/hub/test_healing_rules.py", "tests/hub/test_healing.py")
TAILS: Final = ("tests/hub/test_shared_tailing.py",)
REPLAY: Final = (
    "tests/hub/test_replay_pace.py",
    "tests/hub/test_replay_handing_over.py",
    "tests/hub/test_replay.py",
    "tests/hub/test_replay_clearing.py",
)
GUARD: Final = ("tests/hub/test_guarding.py",)
ARCHIVE: Final = ("tests/hub/test_archive_holds.py", "tests/hub/test_archive_failures.py")
PUT_BACK: Final = (
    "tests/hub/test_replaced.py",
    "tests/hub/test_entering.py",
    "tests/hub/test_restoring.py",
    "tests/hub/test_back_up.py",
)

RECOVERY_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}reading/shared_tailing.py",
        TAILS,
        tails_read_what_is_not_settled=(
            "connection, after, EVENTS_MAX, upto)",
            "connection, after, EVENTS_MAX, 1 << 62)",
        ),
        tails_begin_where_the_last_one_ended=("            self._after = upto\n", ""),
        nobody_is_told_of_what_a_tail_misses=(
            "self._tails.miss(news.deliveries_untold)",
            "pass",
        ),
    ),
    *faults_in(
        f"{HUB}store/numbering.py",
        NUMBERS,
        nobody_announces_numbers=("if not tables:", "if tables:"),
        announcements_are_not_looked_at=(
            "if announced is None or announced >= last:",
            "if True or announced >= last:",
        ),
        announced_numbers_are_cut=("(classid::bigint & 65535) << 32", "0"),
        announcements_of_any_table_count=("AND classid::bigint >> 16 = :space", "AND :space > 0"),
    ),
    *faults_in(
        f"{HUB}store/postgresql.py",
        NUMBERS,
        stopped_writers_hold_all_back_for_a_minute=("SHARED_IDLE_SECONDS if shared else", ""),
    ),
    *faults_in(
        f"{HUB}bus/relay.py",
        NUMBERS,
        rows_are_read_whatever_is_under_way=("if not store.shared:", "if store:"),
    ),
    *faults_in(
        f"{HUB}bus/embedded.py",
        EMBEDDED,
        restarts_do_not_back_off=(
            "pause = FIRST_RESTART_PAUSE_SECONDS * 2 ** min(self._failures, 16)",
            "pause = FIRST_RESTART_PAUSE_SECONDS",
        ),
        restarts_back_off_for_ever=(
            "await asyncio.sleep(min(pause, self._settings.max_restart_pause_seconds))",
            "await asyncio.sleep(pause)",
        ),
        server_that_loses_writes_is_taken=(
            "if problem:\n            await self._end_child()",
            "if False:\n            await self._end_child()",
        ),
        passwords_are_logged=('line = line.replace(password, "***")', "pass"),
        child_does_not_hold_the_directory=("pass_fds=(self._lock.fileno(),),", "pass_fds=(),"),
        child_outlives_its_hub=(
            "PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:",
            "PR_SET_PDEATHSIG, 0, 0, 0, 0) != 0:",
        ),
        server_that_hangs_is_kept=("self._missed += 1", "self._missed += 0"),
        port_is_not_kept=(
            "self._configuration.port = self._ports.client\n",
            "pass\n",
        ),
        full_disk_leaves_it_dead=(
            'return "the disk has space again; nats-server stores only after a restart"',
            'return ""',
        ),
    ),
    *faults_in(
        f"{HUB}bus/healing.py",
        HEALING,
        what_is_begun_is_sent_again=(
            "if record is None or record.pending or record.lease_until is not None:",
            "if record is None or record.pending:",
        ),
        hole_in_the_middle_is_not_seen=(
            "return state.deleted > 0 or (edge is not None and edge >= horizon)",
            "return edge is not None and edge >= horizon",
        ),
        clock_that_was_set_back_is_a_loss=(
            "slewed = int(window * self._limits.clock_slew)",
            "slewed = 0",
        ),
        clock_that_was_set_forward_is_a_loss=(
            "latest = max(self._clock(), self._wall())",
            "latest = self._clock()",
        ),
        streams_are_made_again_without_pause=(
            "if since < self._limits.rebuild_pause_seconds * SECOND:",
            "if False:",
        ),
        stream_made_anew_counts_from_one=(
            "await self._bus.make_stream(spec, first)",
            "await self._bus.make_stream(spec, 1)",
        ),
        consumers_of_others_stay_lost=(
            "if lost:\n            await self._restore_consumers(spec.name)",
            "if False:\n            await self._restore_consumers(spec.name)",
        ),
        work_of_a_lost_queue_waits=(
            "if self._emptied:\n            await self._send_again()",
            "if False:\n            await self._send_again()",
        ),
        endpoint_without_room_keeps_back_the_others=(
            "self._note_service(endpoint, str(error))\n",
            "raise\n",
        ),
    ),
    *faults_in(
        f"{HUB}replay/pace.py",
        REPLAY,
        replay_is_faster_than_its_rate=(
            "return max(SECOND, count * SECOND // self.items_per_second)",
            "return SECOND",
        ),
    ),
    *faults_in(
        f"{HUB}replay/running.py",
        REPLAY,
        paused_replay_goes_on=(
            'if record is None or record.state != "RUNNING":\n        # Paused',
            "if record is None:\n        # Paused",
        ),
        replayed_twice_by_two_slices=(
            "if any(item is None or item.decided_at is not None for item in fresh):",
            "if any(item is None for item in fresh):",
        ),
        replay_floods_the_endpoint=(
            "room = min(room, self._limits.replay_moving_max - moving)",
            "room = min(room, self._limits.replay_moving_max)",
        ),
    ),
    *faults_in(
        f"{HUB}replay/judging.py",
        REPLAY,
        replay_token_begins_anew=(
            "token=max((other.token for other in (*here, *unserved)), default=0),",
            "token=0,",
        ),
        replay_beside_what_is_under_way=("if other.state in UNDER_WAY_STATES:", "if False:"),
        replay_forgets_the_doubt=(
            "first_unknown_at=doubtful.first_unknown_at,\n        # One call",
            "first_unknown_at=None,\n        # One call",
        ),
        never_is_replayed=('if candidate.policy == "NEVER":', 'if candidate.policy == "":'),
    ),
    *faults_in(
        f"{HUB}replay/decisions.py",
        REPLAY,
        what_changed_since_is_posted=(
            "fresh = [d for d in decisions if d.verdict != planned[d.candidate.identity]]",
            "fresh = []",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/guarding.py",
        GUARD,
        guard_lets_one_more=(
            "if record.released or self._counts[key] < spec.max_per_root:",
            "if record.released or self._counts[key] <= spec.max_per_root:",
        ),
        guard_forgets_what_was_bought=(
            "self._counts[key] = sum(map(costs, same))",
            "self._counts[key] = 0",
        ),
        repeated_purchases_count_once=(
            "return max(int(asked_for), record.calls_maybe_done + int(ahead))",
            "return int(asked_for)",
        ),
        repeats_told_apart_are_handed_on=(
            "return 0 if careful_class(record, spec) in TOLD_APART else record.calls_maybe_done",
            "return record.calls_maybe_done",
        ),
        resubmitted_doubt_is_forgotten=(
            'return record.calls_maybe_done if anew and record.state != "REJECTED" else 0',
            "return 0",
        ),
        late_refusals_count_as_bought=(
            "return outcome in UNDONE and (in_time or attempt.outcome in _UNSAID)",
            "return outcome in UNDONE and in_time",
        ),
        a_refused_call_is_taken_back_twice=(
            'return any(other.outcome == "REJECTED" for other in look_ups)',
            "return False",
        ),
        a_refusal_takes_back_a_call_of_another_log=(
            "return call is not None and call.outcome in _UNPROVEN",
            "return call is None or call.outcome in _UNPROVEN",
        ),
        what_was_stopped_counts_as_bought=("        and record.hold_reason != SPENDING\n", ""),
        skipped_purchases_are_free=(
            'and not (record.state == "SKIPPED" and is_untouched(record))',
            'and record.state != "SKIPPED"',
        ),
        each_event_rings_the_alarm=(
            "if any(other.hold_reason == SPENDING for other in same):",
            "if False:",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/attempts.py",
        GUARD,
        repeats_are_not_guarded=('if after.state == "READY":', "if False:"),
    ),
    *faults_in(
        f"{HUB}store/putting_back.py",
        PUT_BACK,
        database_moves_before_its_log=(
            "for each in reversed(beside(path)):",
            "for each in beside(path):",
        ),
        copy_does_not_say_what_it_is=("        say_put_back(connection)\n", "        pass\n"),
        database_is_taken_from_who_reads_it=(
            "        if alone:\n            held.enter_context(claimed(path))",
            "        if False:\n            held.enter_context(claimed(path))",
        ),
        index_passes_for_the_database=(
            "for end in ENDS[:2])\n\n\ndef _marked",
            "for end in ENDS)\n\n\ndef _marked",
        ),
    ),
    *faults_in(
        f"{HUB}store/database_files.py",
        PUT_BACK,
        who_waited_for_the_old_file_gets_in=(
            "if _identity(self._path) != self._found:",
            "if False:",
        ),
        log_is_written_into_what_goes=(
            'connection.execute("COMMIT")\n',
            'connection.execute("COMMIT")\n'
            '            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")\n',
        ),
    ),
    *faults_in(
        f"{HUB}store/archiving.py",
        ARCHIVE,
        what_changed_is_deleted=(
            "and fingerprint_of(found[flow.root_id]) == flow.fingerprint",
            "and flow.fingerprint",
        ),
        what_came_to_hold_is_not_seen=(
            "and not named.has_any(flow.ids)",
            "and not named.has_any(())",
        ),
        a_replay_that_moved_is_not_seen=(
            "await replays_under_way(connection) != wanted.moment.replays",
            "not await replays_under_way(connection)",
        ),
    ),
    *faults_in(
        f"{HUB}archive/archiver.py",
        ARCHIVE,
        a_part_is_not_looked_at_again=(
            "await asyncio.to_thread(parts.check, self._directory, part.name, part.sha256)",
            "await asyncio.sleep(0)",
        ),
        what_was_only_noted_is_deleted_by=(
            "elif part.state == WRITTEN:",
            "elif part.state == DONE:",
        ),
    ),
    *faults_in(
        f"{HUB}archive/parts.py",
        ARCHIVE,
        a_part_is_not_read_back=(
            "if content_digest(self._path) != self._content.hexdigest():",
            "if False and content_digest(self._path) != self._content.hexdigest():",
        ),
    ),
]
