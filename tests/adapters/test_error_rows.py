"""The SDK's rows of what errors of folders and databases mean: each is read, none is missed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.sdk import database_errors, deployed_files, drop_folder, error_table
from crossdock_adapters.sdk.database import Database, Limits, Taken
from crossdock_adapters.sdk.drop_folder import FileMissing, LocalFolder, NameTaken
from crossdock_adapters.sdk.error_table import (
    DATABASE_ERRORS,
    FOLDER_ERRORS,
    SHARED_ERRORS,
    TYPES,
    ErrorTable,
    Row,
    Word,
    parse,
)
from crossdock_adapters.sdk.manifest import ManifestError
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
)
from crossdock_adapters.sdk.settings import SettingsError
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc

ADAPTERS = Path(error_table.__file__).parents[1]
FOLDERS = error_table.shipped(FOLDER_ERRORS)
DATABASES = error_table.shipped(DATABASE_ERRORS)
# What an error of a folder is where a rename may have been done, and where nothing was.
AFTER_A_RENAME = {
    Word.MISSING: FileMissing,
    Word.KNOWN: NameTaken,
    Word.PERSON: NeedsPerson,
    Word.RETRY: Retry,
    Word.THROTTLED: Throttled,
    Word.UNKNOWN: OutcomeUnknown,
}
BEFORE_A_RENAME = AFTER_A_RENAME | {Word.UNKNOWN: Retry}
BEFORE_A_COMMIT = {
    Word.KNOWN: Taken,
    Word.PERSON: NeedsPerson,
    Word.REJECTED: Reject,
    Word.RETRY: Retry,
    Word.THROTTLED: Throttled,
    Word.UNKNOWN: Retry,
}
DIALECTS = {type_: dialect for dialect, type_ in reversed(database_errors.VENDORS.items())}


def rows_of(table: ErrorTable) -> list[Any]:
    rows = table.typed.items()
    return [pytest.param(*key, row, id=" ".join(key)) for key, row in rows]


class Posing(Database):
    """A database of which only the dialect matters: its failures are made here."""

    dialect = ""

    @classmethod
    def of(cls, dialect: str, errors: ErrorTable | None = None) -> Posing:
        made = cls(lambda: "sqlite+aiosqlite:////never/opened.db", Limits(), errors=errors)
        made.dialect = dialect
        return made


def failure(type_: str, code: str) -> BaseException:
    """A failure as SQLAlchemy raises it, with what the drivers of this kind tell."""
    words: Any = Exception("secret words")
    if type_ == "driver":
        if (known := getattr(exc, code, None)) is None:
            return exc.DBAPIError("SELECT", None, type(code, (Exception,), {})())
        return known("SELECT", None, words) if issubclass(known, exc.DBAPIError) else _bare(known)
    if type_ == "sqlstate":
        words.sqlstate = code.replace("*", "ZZZ")
    elif type_ == "sqlite":
        words.sqlite_errorname = code
    elif type_ == "oracle":
        # The second line is of where it was: of several the first that has a row counts.
        words = Exception(f"{code.replace('*', '999')}: secret words\nORA-06512: at line 3")
    elif type_ == "mysql":
        words = Exception(int(code), "secret words")
    else:
        number = code.replace("+", "")
        words = Exception("HY000", f"[HY000] [Driver]secret words ({number}) (SQLExecDirectW)")
    return exc.DBAPIError("SELECT", None, words)


def _bare(kind: type[Any]) -> BaseException:
    if kind is exc.StatementError:
        return exc.StatementError("words", "SELECT", None, Exception("secret words"))
    return kind("words")  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", SHARED_ERRORS)
def test_each_row_says_where_it_is_known_from(name: str) -> None:
    """Proves that no row of the SDK is without source and confidence, and that one which stops or
    delays work tells people why."""
    for (type_, code), row in error_table.shipped(name).typed.items():
        assert row.source and row.confidence, f"{type_} {code}"
        if row.word in (Word.PERSON, Word.THROTTLED):
            assert row.meaning, f"{type_} {code}"
        assert row.pause_seconds or row.word is not Word.THROTTLED, f"{type_} {code}: no pause"


def test_the_rows_that_decide_most() -> None:
    """Proves, apart from the file, what a deployment relies on: a deadlock is tried again, too many
    connections hold calls back, a full disk waits, a right that is missing is for a person."""
    for type_, codes, word in (
        ("sqlstate", "40001 40P01 55P03 57014 53100 25006", Word.RETRY),
        ("sqlstate", "53300", Word.THROTTLED),
        ("sqlstate", "42501 22* 42* 44* 0A*", Word.PERSON),
        ("sqlstate", "23*", Word.KNOWN),
        ("oracle", "ORA-00060 ORA-00054 ORA-01653 ORA-08177 ORA-16000", Word.RETRY),
        ("oracle", "ORA-00018 ORA-00020 ORA-12516 ORA-12519", Word.THROTTLED),
        ("oracle", "ORA-01031 ORA-00942 ORA-20*", Word.PERSON),
        ("oracle", "ORA-00001", Word.KNOWN),
        ("sqlserver", "1205 1222 9002 3906", Word.RETRY),
        ("sqlserver", "2601 2627", Word.KNOWN),
        ("mysql", "1205 1213 1114 1836", Word.RETRY),
        ("mysql", "1040", Word.THROTTLED),
        ("db2", "-911 -913 -964", Word.RETRY),
        ("db2", "-803", Word.KNOWN),
        ("db2", "-1040", Word.THROTTLED),
        ("sqlite", "SQLITE_BUSY SQLITE_FULL SQLITE_READONLY", Word.RETRY),
    ):
        for code in codes.split():
            assert DATABASES.typed[type_, code].word is word, f"{type_} {code}"


@pytest.mark.parametrize(("type_", "code", "row"), rows_of(FOLDERS))
def test_each_row_of_a_folder_is_its_word(type_: str, code: str, row: Row) -> None:
    """Proves of every row of SFTP, SSH and disks that it is read, that it says its word after a
    rename, and that what proves nothing is asked again where nothing was renamed."""
    for has_effect, words in ((True, AFTER_A_RENAME), (False, BEFORE_A_RENAME)):
        found = drop_folder.failure(FOLDERS, type_, code, "in/a", has_effect=has_effect)
        assert type(found) is words[row.word]
        assert row.meaning in str(found) and "in/a" in str(found)
        if isinstance(found, Retry):
            assert found.after_seconds == row.pause_seconds


@pytest.mark.parametrize(("type_", "code", "row"), rows_of(DATABASES))
def test_each_row_of_a_database_is_its_word(type_: str, code: str, row: Row) -> None:
    """Proves of every row of databases that a failure which has its code is found, by what the
    drivers of that database tell, that it says its word before the commit, and that nothing of the
    driver's words is told."""
    database = Posing.of(DIALECTS.get(type_, "postgresql"))
    error = failure(type_, code)
    assert DATABASES.first(database_errors.codes(error, database.dialect)) == (code, row)
    found = database._undone(error, writes=True)
    assert type(found) is BEFORE_A_COMMIT[row.word]
    assert row.meaning in str(found) and "secret" not in str(found)
    if isinstance(found, Retry):
        assert found.after_seconds == row.pause_seconds


@given(st.sampled_from(["sftp", "ssh", "disk"]), st.text(max_size=8), st.booleans())
def test_no_code_of_a_folder_falls_through(type_: str, code: str, has_effect: bool) -> None:
    """Proves that whatever a server or system says becomes a word, and that what no row names is
    unknown after a rename and tried again before one."""
    found = drop_folder.failure(FOLDERS, type_, code, "in/a", has_effect=has_effect)
    words = AFTER_A_RENAME if has_effect else BEFORE_A_RENAME
    row = FOLDERS.typed.get((type_, code))
    assert type(found) is words[row.word if row else Word.UNKNOWN]


@given(
    st.sampled_from(["postgresql", "informix", *database_errors.VENDORS]),
    st.lists(st.one_of(st.text(max_size=12), st.integers(), st.none()), max_size=3),
    st.sampled_from([exc.DBAPIError, exc.OperationalError, exc.InterfaceError, exc.InternalError]),
    st.from_regex(r"[0-9A-Z]{5}", fullmatch=True) | st.none() | st.text(max_size=6),
)
def test_no_failure_of_a_database_falls_through(
    dialect: str, told: list[Any], kind: type[exc.DBAPIError], state: str | None
) -> None:
    """Proves that whatever a driver tells, of whichever database, becomes a word that says that
    nothing was written, and that what no row names is tried again."""
    original: Any = Exception(*told)
    original.sqlstate = state
    database = Posing.of(dialect)
    error = kind("SELECT", None, original)
    _, row = DATABASES.first(database_errors.codes(error, dialect))
    found = database._undone(error, writes=True)
    assert type(found) is BEFORE_A_COMMIT[row.word]
    if not list(database_errors.told_codes(error, dialect)):
        assert type(found) is Retry


def test_several_codes_of_one_failure() -> None:
    """Proves that below an error of no row the one that says more counts, and that a code goes
    before the kind of failure that a driver makes of it."""
    for dialect, original, expected in (
        ("oracle", Exception("ORA-00604: at level 1\nORA-00018: too many"), "ORA-00018"),
        ("oracle", Exception("DPY-6005: cannot connect\nORA-12516: no handler"), "ORA-12516"),
        (
            "mssql",
            Exception("23000", "[23000] dup (2627) (SQLExecDirectW); [01000] (3621)"),
            "2627",
        ),
        ("mssql", Exception("40001", "[40001] [Driver]words without a number"), "40001"),
        ("db2", Exception("57033", "[57033] words (-913) (SQLExecute)"), "-913"),
        ("oracle", Exception("DPY-1234: words"), "DPY-1234"),
    ):
        error = exc.IntegrityError("SELECT", None, original)
        told = next(code for _, code in database_errors.told_codes(error, dialect))
        row = DATABASES.first(database_errors.codes(error, dialect))
        assert expected in (row[0], told)
    # Oracle's driver calls a number that is too large a breach of integrity, which it is not.
    error = exc.IntegrityError("SELECT", None, Exception("ORA-01438: words"))
    assert type(Posing.of("oracle")._undone(error, writes=True)) is NeedsPerson


def test_a_row_of_an_adapter_goes_first() -> None:
    """Proves that a file which begins with the SDK's rows may say otherwise of one, that it keeps
    the rest, and that what a trigger of the ERP raises can then be a rejection by its code."""
    own = parse(
        'rows_of = "database_errors"\n[sources]\nerp = "the ERP\'s triggers"\n'
        "[oracle]\n"
        'ORA-20101 = { means = "rejected", meaning = "no such customer", source = "erp" }\n'
        'ORA-00060 = { means = "person", source = "erp" }\n'
        '[[error]]\ncode = "E1"\nmeans = "rejected"\nsource = "erp"\n',
        "errors.toml",
    )
    database = Posing.of("oracle", own)
    refused = failure("oracle", "ORA-20101")
    found = database._undone(refused, writes=True)
    assert isinstance(found, Reject) and found.code == "ORA-20101"
    assert "no such customer" in found.reason and "secret" not in found.reason
    assert type(database._undone(refused, writes=False)) is NeedsPerson, "a question is no work"
    assert type(database._undone(failure("oracle", "ORA-00060"), writes=True)) is NeedsPerson
    assert type(database._undone(failure("oracle", "ORA-20102"), writes=True)) is NeedsPerson
    assert type(database._undone(failure("oracle", "ORA-00054"), writes=True)) is Retry
    assert isinstance(own.meaning(0, "E1", "no", effect=True), Reject)


@pytest.mark.parametrize(
    ("type_", "row", "told"),
    [
        ("oracle", "ORA-20*", "ORA-20999"),
        ("sqlserver", "50000+", "50101"),
        ("sqlstate", "45*", "45ZZZ"),
        ("mysql", "1644", "1644"),
    ],
)
def test_a_rejection_has_the_code_of_the_failure(type_: str, row: str, told: str) -> None:
    """Proves that what a row for many codes rejects is rejected by the one that came: people look
    that one up in the ERP, and not the row."""
    head = 'rows_of = "database_errors"\n[sources]\ns = "the guide"\n'
    own = parse(f'{head}[{type_}]\n"{row}" = {{ means = "rejected", source = "s" }}', "errors.toml")
    database = Posing.of(DIALECTS.get(type_, "postgresql"), own)
    code = told if type_ == "sqlserver" else row
    found = database._undone(failure(type_, code), writes=True)
    assert isinstance(found, Reject) and found.code == told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('rows_of = "nowhere"', "rows_of names rows that the SDK has: folder_errors, database"),
        ("rows_of = 1", "rows_of names rows that the SDK has"),
        ('[sftp]\n4 = { means = "rejected", source = "s" }', "sftp 4: means must be one of known"),
        ('[oracle]\nORA-1 = { means = "missing", source = "s" }', "oracle ORA-1: means must be"),
        ('[oracle]\n"ORA-201*" = { means = "person", source = "s" }', "ORA-201*: the code has to"),
        ('[oracle]\nora-20101 = { means = "person", source = "s" }', "ora-20101: the code has to"),
        ('[oracle]\n20101 = { means = "person", source = "s" }', "oracle 20101: the code has to"),
        ('[sqlstate]\n23 = { means = "person", source = "s" }', "sqlstate 23: the code has to be"),
        ('[sqlserver]\n"50*" = { means = "person", source = "s" }', "50*: the code has to be a n"),
        ('[db2]\n803 = { means = "person", source = "s" }', "db2 803: the code has to be a num"),
        ('[disk]\neio = { means = "retry", source = "s" }', "disk eio: the code has to be the na"),
        ('[sftp]\nSSH_FX_FAILURE = { means = "retry", source = "s" }', "the code has to be a num"),
        ('[disk]\nEIO = { means = "retry" }', "disk EIO: source must be one of"),
        ('[disk]\nEIO = { means = "retry", source = "s", code = 1 }', "code is no key"),
        ('[ssh]\n9 = { means = "person", source = "s", confidence = "X" }', "confidence is H, M"),
        ('[db2]\n-1 = { means = "retry", source = "s", meaning = 1 }', "meaning is a text"),
        ("sqlite = 1", "sqlite must be a table of rows by code"),
        ("[mysql]\n1 = 2", "mysql 1 must be a row"),
        ("[informix]", "informix is not known here"),
    ],
)
def test_a_wrong_row_is_told(text: str, said: str) -> None:
    """Proves that a wrong row by code is refused at the start, with the row and the rule."""
    head, source = (
        ("", "") if "rows_of" in text or "=" in text[:9] else ('[sources]\ns = "s"\n', "")
    )
    with pytest.raises(ManifestError, match=re.escape(said)):
        parse(f"{head}{source}{text}", "errors.toml")


def test_a_table_without_the_rows_that_are_read_is_refused(tmp_path: Path) -> None:
    """Proves that a folder or database whose table has no row of it ends at the start, and is told
    which line to write: every file would be missing to it otherwise."""
    none = parse("", "errors.toml")
    with pytest.raises(SettingsError, match=r'no row of disk: .* rows_of = "folder_errors"'):
        LocalFolder(tmp_path, none)
    with pytest.raises(SettingsError, match=r'driver, sqlstate: .* rows_of = "database_errors"'):
        Posing.of("sqlite", none)


def test_each_type_has_rows() -> None:
    """Proves that there is no kind of code of which nothing is known."""
    there = {type_ for type_, _ in (*FOLDERS.typed, *DATABASES.typed)}
    assert there == set(TYPES)
    assert set(database_errors.VENDORS.values()) < set(TYPES)


def test_an_adapter_holds_or_names_the_rows_that_it_reads() -> None:
    """Proves that each adapter with folders or a database has an errors.toml that begins with the
    rows for them, so that whoever runs it finds and replaces them beside it."""
    named = {}
    for module in sorted(ADAPTERS.glob("*/adapter.py")):
        text = module.read_text("utf-8")
        for call, name in (("opened_folder(", FOLDER_ERRORS), ("Database(\n", DATABASE_ERRORS)):
            if call in text:
                table = ErrorTable.load(f"crossdock_adapters.{module.parent.name}")
                assert table.typed.keys() >= error_table.shipped(name).typed.keys(), module
                named[module.parent.name] = name
    assert named.keys() >= {"legacy_file", "legacy_table", "ltl_freight"}


@pytest.mark.parametrize("name", ["legacy_file", "legacy_table"])
def test_a_deployment_has_a_table_of_its_own(name: str, tmp_path: Path) -> None:
    """Proves that the setting errors_file puts a file in place of the adapter's, and that what is
    wrong with it is told for that setting."""
    package = f"crossdock_adapters.{name}"
    (type_, code), *_ = deployed_files.errors(package, "").typed
    base = FOLDER_ERRORS if name == "legacy_file" else DATABASE_ERRORS
    own = tmp_path / "own.toml"
    row = f'"{code}" = {{ means = "throttled", source = "s", pause_seconds = 7 }}'
    own.write_text(f'rows_of = "{base}"\n[sources]\ns = "the guide"\n[{type_}]\n{row}\n', "utf-8")
    table = deployed_files.errors(package, str(own))
    assert table.typed[type_, code] == Row(Word.THROTTLED, "the guide", 7.0)
    own.write_text(f'rows_of = "{base}"\n[{type_}]\n{row}\n', "utf-8")
    with pytest.raises(SettingsError, match=r"errors_file: .*source must be one of"):
        deployed_files.errors(package, str(own))
    with pytest.raises(SettingsError, match="errors_file: "):
        deployed_files.errors(package, "/nowhere.toml")
