"""Faults in what writes, finds and claims rows of staging tables."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import SDK, Mutant, faults_in

TABLES: Final = ("tests/adapters/test_staging_tables.py", "tests/adapters/test_legacy_table.py")
ERP: Final = ("tests/adapters/test_legacy_table.py",)
ERRORS: Final = (
    "tests/adapters/test_error_rows.py",
    "tests/adapters/test_error_rows_seen.py",
)
LEGACY_TABLE: Final = "adapters/src/crossdock_adapters/legacy_table/"

STAGING_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{SDK}staging_tables.py",
        TABLES,
        rows_without_a_ledger=(
            "            await database.run(connection, insert(into), [sent])",
            "            assert into is not None",
        ),
        a_claim_takes_what_is_taken=(
            "where(rows.c[how.id] == number, free, first)",
            "where(rows.c[how.id] == number)",
        ),
        a_claim_overtakes_its_item=(
            "older.c[how.id] < rows.c[how.id],",
            "older.c[how.id] < 0,",
        ),
        a_lost_claim_ends_the_row=(
            "    mine = rows.c[how.token] == token\n",
            "    mine = rows.c[how.id] == row.id\n",
        ),
        a_row_that_vanished_is_new=(
            "return None if sent is None else Found(Place.LEDGER, sent=when)",
            "return None",
        ),
    ),
    *faults_in(
        f"{SDK}database.py",
        TABLES,
        a_lost_commit_is_a_retry=(
            "raise OutcomeUnknown(lost) from None",
            "raise Retry(0.0, lost) from None",
        ),
    ),
    *faults_in(
        f"{SDK}database.py",
        ERRORS,
        too_many_connections_are_an_outage=(
            "kind = Throttled if row.word is Word.THROTTLED else Unreachable",
            "kind = Unreachable",
        ),
        a_refused_question_rejects_the_work=(
            "case Word.REJECTED if writes:",
            "case Word.REJECTED:",
        ),
    ),
    *faults_in(
        f"{SDK}database_errors.py",
        ERRORS,
        a_class_is_no_class=(
            'yield "sqlstate", state[:2] + CLASS',
            'yield "sqlstate", state[:2]',
        ),
    ),
    *faults_in(
        f"{SDK}drop_folder.py",
        ERRORS,
        a_rename_that_failed_late_is_undone=(
            "raise OutcomeUnknown(why) from error",
            "raise Retry(0.0, why) from error",
        ),
    ),
    *faults_in(
        f"{SDK}error_table.py",
        ERRORS,
        the_rows_of_the_sdk_go_first=(
            "                typed[type_, code] = _row(table, entry)",
            "                typed.setdefault((type_, code), _row(table, entry))",
        ),
    ),
    *faults_in(
        f"{SDK}table_layout.py",
        TABLES,
        padding_counts=('return str(raw).strip(" ")', "return str(raw)"),
        blank_is_zero=(
            'if column.stored == "number" and text and text not in column.field.nothing:',
            'if column.stored == "number" and text not in column.field.nothing:',
        ),
    ),
    *faults_in(
        f"{LEGACY_TABLE}translate.py",
        ERP,
        a_stale_error_outranks_a_document=(
            'if word == "done":',
            'if word == "done" and not found.errors:',
        ),
    ),
    *faults_in(
        f"{LEGACY_TABLE}adapter.py",
        ERP,
        absence_is_proof=("if layout.ledger.table or layout.kept:", "if layout is not None:"),
    ),
]
