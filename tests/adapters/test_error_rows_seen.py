"""What real databases, disks and an SFTP server say, and by which rows it is read."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import pytest_asyncio
from crossdock_adapters.sdk import database_errors, error_table, sandbox_sftp
from crossdock_adapters.sdk.database import Database, Limits, Taken
from crossdock_adapters.sdk.drop_folder import FileMissing, LocalFolder, NameTaken
from crossdock_adapters.sdk.error_table import DATABASE_ERRORS, FOLDER_ERRORS, Word, parse
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    Unreachable,
)
from crossdock_adapters.sdk.sftp import SftpFolder
from fixtures_postgres import session_server
from sqlalchemy import text
from staging_world import House
from test_drop_folders import CALL_SECONDS, shelf
from test_error_rows import AFTER_A_RENAME, BEFORE_A_RENAME

ROWS = error_table.shipped(FOLDER_ERRORS).typed
SFTP_CODES = sorted(int(code) for type_, code in ROWS if type_ == "sftp")
ERRNOS = sorted(code for type_, code in ROWS if type_ == "disk" and hasattr(errno, code))
TABLES = "CREATE TABLE DOC (ID VARCHAR(4) PRIMARY KEY, N NUMERIC(3) NOT NULL)"
OWN_ROWS = (
    f'rows_of = "{DATABASE_ERRORS}"\n[sources]\nerp = "the ERP\'s triggers"\n'
    '[sqlstate]\nZA001 = {{ means = "rejected", meaning = "closed", source = "erp" }}\n'
)


class Seen(Database):
    """A database that keeps the codes of its failures."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.rows: list[tuple[str, Word]] = []

    def _undone(self, error: BaseException, *, writes: bool) -> Exception:
        self._note(error)
        return super()._undone(error, writes=writes)

    def _no_connection(self, error: BaseException) -> Retry:
        self._note(error)
        return super()._no_connection(error)

    def _note(self, error: BaseException) -> None:
        code, row = self._errors.first(database_errors.codes(error, self.dialect))
        self.rows.append((code, row.word))

    async def told(self, *statements: str) -> Exception:
        """What these statements, in one transaction, come to; its row is the last of `rows`."""

        async def do(connection: Any) -> None:
            for statement in statements:
                await self.run(connection, text(statement))

        with pytest.raises(Exception) as found:
            await self.commit("a document", do)
        return found.value


@pytest_asyncio.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[tuple[House, Seen]]:
    house = House(session_server(), tmp_path, TABLES)
    database = Seen(lambda: house.url, Limits(statement_seconds=20.0))
    yield house, database
    await database.close()


@pytest_asyncio.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[tuple[House, Seen]]:
    house = House(None, tmp_path, TABLES)
    database = Seen(lambda: house.url, Limits(statement_seconds=20.0))
    yield house, database
    await database.close()


@pytest.mark.parametrize(
    ("statements", "row", "word"),
    [
        (["INSERT INTO DOC VALUES ('A', 1)"], "23*", Taken),
        (["INSERT INTO DOC VALUES ('B', NULL)"], "23*", Taken),
        (["INSERT INTO DOC VALUES ('TOO LONG', 1)"], "22*", NeedsPerson),
        (["INSERT INTO NOWHERE VALUES (1)"], "42P01", NeedsPerson),
        (["INSERT INTO DOC (NONE) VALUES (1)"], "42703", NeedsPerson),
        (["INSERT INTO"], "42*", NeedsPerson),
        (["SET LOCAL ROLE pg_monitor", "DELETE FROM DOC"], "42501", NeedsPerson),
        (["SET TRANSACTION READ ONLY", "DELETE FROM DOC"], "25006", Retry),
        (["SET LOCAL statement_timeout = 20", "SELECT pg_sleep(5)"], "57014", Retry),
        (["DO $$ BEGIN RAISE EXCEPTION 'secret'; END $$"], "P0001", NeedsPerson),
        (["DO $$ BEGIN RAISE 'secret' USING ERRCODE = '45000'; END $$"], "45000", NeedsPerson),
        (["DO $$ BEGIN RAISE 'secret' USING ERRCODE = '53100'; END $$"], "53100", Retry),
        (["DO $$ BEGIN RAISE 'secret' USING ERRCODE = 'ZZ123'; END $$"], "DBAPIError", Retry),
    ],
)
async def test_what_postgresql_says(
    postgres: tuple[House, Seen], statements: list[str], row: str, word: type[Exception]
) -> None:
    """Proves by a real server which row its errors are read by, and that none of its words is
    told."""
    house, database = postgres
    house.run("INSERT INTO DOC VALUES ('A', 1)")
    found = await database.told(*statements)
    assert (type(found), database.rows[-1][0]) == (word, row)
    assert "secret" not in str(found) and "A" not in str(found).split()


async def test_a_lock_that_is_not_to_be_had_in_postgresql(postgres: tuple[House, Seen]) -> None:
    """Proves by two transactions of a real server that a lock, a deadlock and an order that cannot
    be are tried again."""
    house, database = postgres
    house.run("INSERT INTO DOC VALUES ('A', 1), ('B', 1)")

    async def one(connection: Any) -> None:
        await database.run(connection, text("UPDATE DOC SET N = 2 WHERE ID = 'A'"))
        found = await database.told("SELECT 1 FROM DOC WHERE ID = 'A' FOR UPDATE NOWAIT")
        assert type(found) is Retry and database.rows[-1] == ("55P03", Word.RETRY)

    await database.commit("one", one)
    met = asyncio.Barrier(2)

    async def crossing(first: str, second: str) -> Exception | None:
        async def do(connection: Any) -> None:
            await database.run(connection, text("SET LOCAL deadlock_timeout = '50ms'"))
            await database.run(connection, text(f"UPDATE DOC SET N = 3 WHERE ID = '{first}'"))
            await met.wait()
            await database.run(connection, text(f"UPDATE DOC SET N = 3 WHERE ID = '{second}'"))

        try:
            await database.commit("crossing", do)
        except Retry as retry:
            return retry
        return None

    found = await asyncio.gather(crossing("A", "B"), crossing("B", "A"))
    assert sorted(type(each).__name__ for each in found) == ["NoneType", "Retry"]
    assert database.rows[-1] == ("40P01", Word.RETRY)

    async def overtaken(connection: Any) -> None:
        await database.run(connection, text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        await database.run(connection, text("SELECT * FROM DOC"))
        await asyncio.to_thread(house.run, "UPDATE DOC SET N = 4")
        await database.run(connection, text("UPDATE DOC SET N = 5"))

    with pytest.raises(Retry):
        await database.commit("overtaken", overtaken)
    assert database.rows[-1] == ("40001", Word.RETRY)


async def test_too_many_connections_to_postgresql(postgres: tuple[House, Seen]) -> None:
    """Proves by a real server that its limit of connections holds calls back, and that a database
    which is not there counts as away, whatever its code."""
    house, _ = postgres
    name = house.url.split("?")[0].rpartition("/")[2]
    house.run(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
    house.run("CREATE ROLE crowded LOGIN")
    crowded = house.url.replace("://crossdock@", "://crowded@")
    assert crowded != house.url
    for url, kind, row in (
        (crowded, Throttled, ("53300", Word.THROTTLED)),
        (house.url.replace(name, "nowhere"), Unreachable, ("DBAPIError", Word.UNKNOWN)),
    ):
        database = Seen(lambda url=url: url, Limits())
        found = await database.told("SELECT 1")
        assert (type(found), database.rows[-1]) == (kind, row)
        assert "nowhere" not in str(found)
        await database.close()
    house.run("DROP ROLE crowded")


async def test_a_column_that_the_erp_added_stops_nothing(postgres: tuple[House, Seen]) -> None:
    """Proves by a real server that a document which meets a statement prepared before the ERP's
    table changed goes again by itself, and then goes through."""
    house, database = postgres
    asked = text("SELECT * FROM DOC")
    async with database.reading() as connection:
        await database.run(connection, asked)
    house.run("ALTER TABLE DOC ADD COLUMN MORE NUMERIC(3)")
    with pytest.raises(Retry, match="its tables changed"):
        async with database.reading() as connection:
            await database.run(connection, asked)
    async with database.reading() as connection:
        await database.run(connection, asked)


async def test_a_trigger_of_the_erp_may_reject(tmp_path: Path) -> None:
    """Proves by a real server that the row which an endpoint has for its ERP's trigger makes a
    rejection of it by that code, and that nothing was written."""
    house = House(session_server(), tmp_path, TABLES)
    errors = parse(OWN_ROWS.format(), "errors.toml")
    database = Seen(lambda: house.url, Limits(), errors=errors)
    raised = "DO $$ BEGIN RAISE 'secret' USING ERRCODE = 'ZA001'; END $$"
    found = await database.told("INSERT INTO DOC VALUES ('A', 1)", raised)
    assert isinstance(found, Reject) and found.code == "ZA001"
    assert "closed" in found.reason and "secret" not in found.reason
    assert house.run("SELECT * FROM DOC") == []
    await database.close()


@pytest.mark.parametrize(
    ("statements", "row", "word"),
    [
        (["INSERT INTO DOC VALUES ('A', 1)"], "SQLITE_CONSTRAINT", Taken),
        (["INSERT INTO DOC VALUES ('B', NULL)"], "SQLITE_CONSTRAINT", Taken),
        (["INSERT INTO NOWHERE VALUES (1)"], "SQLITE_ERROR", NeedsPerson),
        (["INSERT INTO REFUSING VALUES (1)"], "SQLITE_CONSTRAINT_TRIGGER", NeedsPerson),
        (["PRAGMA query_only = 1", "DELETE FROM DOC"], "SQLITE_READONLY", Retry),
        (
            ["PRAGMA max_page_count = 1", "CREATE TABLE MORE AS SELECT zeroblob(100000)"],
            "SQLITE_FULL",
            Retry,
        ),
        (["SELECT zeroblob(2000000000)"], "SQLITE_TOOBIG", NeedsPerson),
    ],
)
async def test_what_sqlite_says(
    sqlite: tuple[House, Seen], statements: list[str], row: str, word: type[Exception]
) -> None:
    """Proves by real files which row SQLite's errors are read by."""
    house, database = sqlite
    house.run("INSERT INTO DOC VALUES ('A', 1)")
    house.run("CREATE TABLE REFUSING (N)")
    house.run(
        "CREATE TRIGGER NEVER BEFORE INSERT ON REFUSING BEGIN SELECT RAISE(ABORT, 'secret'); END"
    )
    found = await database.told(*statements)
    assert (type(found), database.rows[-1][0]) == (word, row)
    assert "secret" not in str(found)


async def test_a_lock_that_is_not_to_be_had_in_sqlite(sqlite: tuple[House, Seen]) -> None:
    """Proves by a real file that what somebody else writes to is tried again."""
    _, database = sqlite

    async def one(connection: Any) -> None:
        await database.run(connection, text("INSERT INTO DOC VALUES ('A', 1)"))
        second = "INSERT INTO DOC VALUES ('B', 1)"
        found = await database.told("PRAGMA busy_timeout = 20", second)
        assert type(found) is Retry and database.rows[-1] == ("SQLITE_BUSY", Word.RETRY)

    await database.commit("one", one)


@pytest.mark.parametrize("code", [*SFTP_CODES, 4711])
async def test_what_an_sftp_server_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Proves over a real connection, of each status and of one that nobody knows, what a listing
    and a rename that end with it are."""
    # A server of version 3 must not send those of later ones; some do.
    monkeypatch.setattr(asyncssh.SFTPError, "encode", _as_it_is)

    async def refused(self: Any, *_: bytes) -> None:
        raise asyncssh.SFTPError(code, "secret words")

    async def unlisted(self: Any, _: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        await refused(self)
        yield asyncssh.SFTPName(b"")

    row = ROWS.get(("sftp", str(code)))
    word = row.word if row is not None else Word.UNKNOWN
    async with shelf(tmp_path / "root") as running:
        folder = SftpFolder(running.login(), "", CALL_SECONDS)
        await folder.put("in/a.tmp", b"x")
        monkeypatch.setattr(sandbox_sftp._Files, "rename", refused)
        monkeypatch.setattr(sandbox_sftp._Files, "scandir", unlisted)
        for asked, words in (
            (folder.names("in"), BEFORE_A_RENAME),
            (folder.publish("in/a.tmp", "in/a"), AFTER_A_RENAME),
        ):
            with pytest.raises(words[word]) as found:
                await asked
            assert type(found.value) is words[word] and "secret" not in str(found.value)
        await folder.close()


@pytest.mark.parametrize("means", ["retry", "person", "throttled", "unknown"])
async def test_a_row_for_failure_hides_no_name_that_is_taken(tmp_path: Path, means: str) -> None:
    """Proves that a rename onto a name of an earlier attempt says that it is taken, whatever the
    endpoint's row says of "failure": a file that is out was renamed again for ever, or parked."""
    row = f'4 = {{ means = "{means}", source = "s" }}'
    text = f'rows_of = "folder_errors"\n[sources]\ns = "the guide"\n[sftp]\n{row}\n'
    errors = parse(text, "errors.toml")
    async with shelf(tmp_path / "root") as running:
        folder = SftpFolder(running.login(), "", CALL_SECONDS, errors)
        for _ in range(2):
            await folder.put("in/a.tmp", b"x")
            with contextlib.suppress(NameTaken):
                await folder.publish("in/a.tmp", "in/a")
        (tmp_path / "root" / "in" / "b").mkdir()
        with pytest.raises(AFTER_A_RENAME[Word(means)]):
            await folder.publish("in/a.tmp", "in/b")
        await folder.close()


def _as_it_is(error: asyncssh.SFTPError, _: int) -> bytes:
    reason = error.reason.encode()
    return error.code.to_bytes(4) + len(reason).to_bytes(4) + reason + bytes(4)


async def test_what_a_disk_says(tmp_path: Path) -> None:
    """Proves by a real disk that a name which is too long, a folder in the place of a file and a
    file in the place of a folder are for a person, and that nothing is said to be unknown."""
    (tmp_path / "in" / "folder").mkdir(parents=True)
    (tmp_path / "in" / "file").write_bytes(b"x")
    local = LocalFolder(tmp_path)
    for path, said in (
        (f"in/{'a' * 300}", "the name is too long"),
        ("in/folder", "a folder has the name"),
        ("in/file/a", "is no folder"),
    ):
        with pytest.raises(NeedsPerson, match=said):
            await local.put(path, b"x")
    with pytest.raises(FileMissing):
        await local.read("in/none", 1)


@pytest.mark.parametrize("code", [*ERRNOS, "EPROTO"])
async def test_what_a_rename_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Proves of each error number, and of one without a row, what a rename that ends with it is,
    and what a listing is."""
    number = getattr(errno, code)
    row = ROWS.get(("disk", code))
    word = row.word if row is not None else Word.UNKNOWN

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number), "in/a")

    (tmp_path / "in").mkdir()
    local = LocalFolder(tmp_path)
    await local.put("in/a.tmp", b"x")
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(Path, "rename", refused)
    monkeypatch.setattr(os, "scandir", refused)
    for asked, words in (
        (local.names("in"), BEFORE_A_RENAME),
        (local.publish("in/a.tmp", "in/a"), AFTER_A_RENAME),
    ):
        with pytest.raises(words[word]) as found:
            await asked
        assert type(found.value) is words[word]


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOSPC])
async def test_what_fails_after_the_new_name_is_there_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Proves that a rename which failed after the other side could see the new name is never called
    undone, whatever the row, and that the next attempt finds the name taken."""
    (tmp_path / "in").mkdir()
    local = LocalFolder(tmp_path)
    await local.put("in/a.tmp", b"x")

    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "in")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing)
        with pytest.raises(OutcomeUnknown, match=r"in/a is out"):
            await local.publish("in/a.tmp", "in/a")
    await local.put("in/a.tmp", b"x")
    with pytest.raises(NameTaken):
        await local.publish("in/a.tmp", "in/a")
