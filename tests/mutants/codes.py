"""Faults in what payloads wait for that their adapter cannot read for want of a row."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, SDK, Mutant, faults_in

CODES: Final = ("tests/hub/test_payload_codes.py",)
WORDS: Final = ("tests/hub/test_unsent_words.py",)
RESTART: Final = ("tests/hub/test_payload_codes_restart.py",)
ROWS: Final = ("tests/adapters/test_sdk_mappings.py",)
RUNNER: Final = ("tests/adapters/test_sdk_rows.py",)
ROUNDS: Final = ("tests/adapters/test_held_rounds.py",)
UNANSWERED: Final = ("tests/adapters/test_sdk_rows_unanswered.py",)
BEGUN: Final = ("tests/hub/test_rows_at_begin.py",)

CODE_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}known_by_heart.py",
        BEGUN,
        version_is_known_although_a_row_changed=(
            "self._mapping_versions.pop(record.endpoint_kind, None)",
            "pass",
        ),
        version_is_known_although_another_hub_led=("self._mapping_versions.clear()", "pass"),
        doubt_that_comes_meanwhile_is_lost=(
            "self.learn(found)",
            "self.learn(found); self._in_doubt = False",
        ),
    ),
    *faults_in(
        f"{SDK}mapping_sync.py",
        ROWS,
        what_begins_reads_no_rows=(
            "if self._has(version) or self.mappings.read_since(readings):",
            "if readings >= 0:",
        ),
        each_that_begins_reads_rows=(
            "if self._has(version) or self.mappings.read_since(readings):",
            "if readings < 0:",
        ),
        refused_rows_are_asked_for_at_each_begin=(
            "return version in (self.mappings.version, self._refused_version)",
            "return version == self.mappings.version",
        ),
        what_comes_in_asks_for_no_version=(
            "await self.reach(version)",
            "await self.reach(None)",
        ),
        heartbeat_reads_beside_what_begins=(
            "async with self._turn():\n                await self._follow(version)",
            "if version >= 0:\n                await self._follow(version)",
        ),
    ),
    *faults_in(
        f"{SDK}mapping_sync.py",
        UNANSWERED,
        each_waits_for_the_same_silence=("self.mappings.note_silence()\n", "pass\n"),
        one_silence_ends_whoever_comes_later=(
            "if self.mappings.unanswered > unanswered:",
            "if self.mappings.unanswered:",
        ),
        heartbeat_without_news_waits=("if self._is_behind(version):", "if version >= 0:"),
    ),
    *faults_in(
        f"{SDK}mappings.py",
        ROWS,
        rows_that_were_being_read_will_do=(
            "return self._ended > readings",
            "return self._ended >= readings > 0",
        ),
    ),
    *faults_in(
        f"{SDK}inbound.py",
        RUNNER,
        webhook_waits_for_no_rows=(
            "await spec.check(hook, self.vendor)\n            await self.catch_up()",
            "await spec.check(hook, self.vendor)",
        ),
    ),
    *faults_in(
        f"{SDK}held_payloads.py",
        ROUNDS,
        held_payload_waits_for_no_rows=("await self._inbound.catch_up()\n", "\n"),
    ),
    *faults_in(
        f"{SDK}worker.py",
        RUNNER,
        what_begins_waits_for_no_rows=(
            "await self.reach_rows(attempt.mapping_version)",
            "await self.reach_rows(None)",
        ),
    ),
    *faults_in(
        f"{HUB}objects/unsent_words.py",
        WORDS,
        row_that_is_not_sent_will_do=(
            "any(row.preferred and row.native_type in self.types for row in rows)",
            "any(row.native_type in self.types for row in rows)",
        ),
        row_of_another_table_will_do=(
            "any(row.preferred and row.native_type in self.types for row in rows)",
            "any(row.preferred for row in rows)",
        ),
    ),
    *faults_in(
        f"{HUB}delivery/unsent.py",
        WORDS,
        adapter_that_has_not_heard_is_not_asked_again=(
            "if word.sent_by(rows) and word.revision(rows) != request.unsent_word.rows_revision:",
            "if False:",
        ),
        adapter_that_knew_the_row_is_asked_without_end=(
            "if word.sent_by(rows) and word.revision(rows) != request.unsent_word.rows_revision:",
            "if word.sent_by(rows):",
        ),
        parked_for_a_word_cannot_become_pointless=(
            "calls_reached=max(0, record.calls_reached - 1)",
            "calls_reached=record.calls_reached",
        ),
    ),
    *faults_in(
        f"{HUB}objects/held.py",
        CODES,
        payload_waits_for_no_code=('if not told.HasField("unread_codes"):', "if True:"),
        row_that_came_meanwhile_is_missed=(
            "if revision and revision != unread.rows_revision:",
            "if False:",
        ),
        row_that_is_of_no_use_is_asked_for_without_end=(
            "if revision and revision != unread.rows_revision:",
            "if revision:",
        ),
        row_without_a_meaning_counts=(
            "if row is not None and row.canonical)",
            "if row is not None)",
        ),
        source_is_forgotten_with_a_code=(
            "if kind in (TRANSLATION, RETRANSLATION):",
            "if True:",
        ),
    ),
    *faults_in(
        f"{HUB}driving.py",
        CODES,
        payload_is_not_asked_for=("held.asked_again(record) if has_row else record", "record"),
        payload_is_asked_for_without_a_row=(
            "held.asked_again(record) if has_row else record",
            "held.asked_again(record)",
        ),
    ),
    *faults_in(
        f"{HUB}driving.py",
        RESTART,
        payload_that_still_waits_is_forgotten=(
            "unit.changes.still_awaited.append(after.awaits)",
            "pass",
        ),
    ),
    *faults_in(
        f"{HUB}backfilling.py",
        CODES,
        asked_payloads_count_as_held=("    if not record.method:\n        return ASKED\n", ""),
    ),
    *faults_in(
        f"{HUB}delivery/causes.py",
        CODES,
        payload_of_a_code_is_another_dead_letter=(
            'refusal.metadata.get("source") or',
            '"" or',
        ),
    ),
    *faults_in(
        f"{HUB}store/writing.py",
        ("tests/hub/test_payload_codes_restart.py",),
        payloads_are_not_driven_at_start=(
            'driven = or_(h.method != "", by_code)',
            'driven = h.method != ""',
        ),
    ),
    *faults_in(
        f"{SDK}mappings.py",
        ROWS,
        rows_that_did_not_do_are_not_told=(
            "return UnreadCodes(topic, told, sum(",
            "return UnreadCodes(topic, told, 0 * sum(",
        ),
    ),
    *faults_in(
        f"{SDK}mapping_sync.py",
        ROWS,
        rows_that_another_endpoint_read_are_no_news=(
            "before, self._seen = self._seen, self.mappings.told()",
            "before = self.mappings.told()",
        ),
    ),
    *faults_in(
        f"{SDK}hub_link.py",
        ROWS,
        code_is_told_cut=(
            "return as_text(text, most_characters).encode",
            "return True or text.encode",
        ),
    ),
    *faults_in(
        f"{SDK}places.py",
        ROWS,
        codes_are_lost_with_the_place=("        moved.codes = error.codes\n", ""),
        codes_are_lost_with_their_error=("        error = error.__cause__\n", "        break\n"),
    ),
    *faults_in(
        f"{SDK}held_payloads.py",
        ("tests/adapters/test_held_rounds.py",),
        new_rows_wait_for_the_next_round=(
            'other rows than before."""\n        self._added.set()',
            'other rows than before."""',
        ),
    ),
]
