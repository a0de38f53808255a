"""A database moves to another place: all of it or nothing, and hubs start on one of the two."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from crossdock_hub import moving
from crossdock_hub.data_lock import DataLock
from crossdock_hub.store import Access, Store, copying, moves, relocation, schema
from crossdock_hub.store import tables as t
from crossdock_hub.store.bus_tables import bus_tie
from crossdock_hub.store.copying import NULL_CHARACTER
from crossdock_hub.store.engine import database_url
from crossdock_hub.store.moves import DatabaseMoved
from crossdock_hub.store.places import MoveRefused, Place
from crossdock_hub.store.relocation import Moved, Relocation, take_back
from databases import FileDatabase, ServerDatabase, elsewhere
from decisions import CONTRACT
from fixtures_nats import eventually
from fixtures_postgres import PostgresProcess
from rows_of_every_table import FEW, LAST_GIVEN, MANY, TIE, everything, filled, repr_of_values
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

NOW = 1_700_000_000_000_000
ENOUGH_TO_BE_KILLED_IN = 60_000


@pytest.fixture
def new_database(postgres_server: PostgresProcess) -> ServerDatabase:
    """An empty database of a server."""
    return ServerDatabase(postgres_server)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of a stopped hub, with rows in every table."""
    filled(tmp_path / "data")
    return tmp_path / "data"


def environment(data: Path, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    for name, value in {"data_directory": str(data), **more}.items():
        monkeypatch.setenv(f"CROSSDOCK_{name.upper()}", value)


def told_rows(database: Any) -> dict[str, list[str]]:
    return {
        name: [repr_of_values(row) for row in rows] for name, rows in everything(database).items()
    }


async def relocated(source_url: str, target_url: str, place: type[Place] = Place) -> Moved:
    """Move, as the command does when it has claimed the data directory."""
    async with contextlib.AsyncExitStack() as ending:
        source = await place.open(source_url, Access())
        ending.push_async_callback(source.close)
        target = await place.open(target_url, Access())
        ending.push_async_callback(target.close)
        return await Relocation(source, target, NOW, lambda *_: None).run()


async def starts(url: str) -> bool:
    """Whether a hub would start on a database."""
    try:
        store = await Store.open(url, CONTRACT)
    except DatabaseMoved:
        return False
    await store.close()
    return True


def test_every_row_arrives_and_numbers_go_on(
    data: Path,
    new_database: ServerDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves that the command brings every row of every table to PostgreSQL with the same values,
    that numbers go on behind those of rows that are gone, that the database is the same one to
    the bus, and that a hub starts on the new one and not on the old one, which says why."""
    before = told_rows(FileDatabase(data))
    assert all(len(rows) >= FEW for name, rows in before.items() if name != "bus_tie")
    environment(data, monkeypatch)
    assert moving.main(["--to", new_database.url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == sum(map(len, before.values())) > MANY
    assert told_rows(new_database) == before
    assert new_database.query("SELECT database, generation FROM bus_tie") == [
        (TIE.database, TIE.generation)
    ]
    with pytest.raises(DatabaseMoved, match=new_database.name):
        elsewhere_raising(database_url("", data))
    numbers = elsewhere(lambda: _next_numbers(new_database.url))
    assert numbers == {name: last + 1 for name, last in LAST_GIVEN.items()}


def elsewhere_raising(url: str) -> None:
    async def open_it() -> None:
        store = await Store.open(url, CONTRACT)
        await store.close()

    asyncio.run(open_it())


async def _next_numbers(url: str, name: str = "next") -> dict[str, int]:
    """The number that the next row of each counting table gets from its database. name: its id"""
    store = await Store.open(url, CONTRACT)
    found = {}
    async with store.write() as connection:
        for table in schema.COUNTED:
            (like,) = (await connection.execute(select(table).limit(1))).mappings()
            row = {k: v for k, v in like.items() if k != "sequence"} | {"id": name}
            row |= {"object_id": name} if table is t.events else {}
            added = insert(table).values(row).returning(table.c.sequence)
            found[table.name] = int(await connection.scalar(added) or 0)
    await store.close()
    return found


def test_the_way_back(
    data: Path,
    new_database: ServerDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves that the same command brings a database back from PostgreSQL to a file, with what was
    written there since; and that the file which moved away is not overwritten."""
    environment(data, monkeypatch)
    assert moving.main(["--to", new_database.url]) == 0
    elsewhere(lambda: _next_numbers(new_database.url))
    before = told_rows(new_database)
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", new_database.url)
    assert moving.main(["--to", "sqlite"]) == moving.EXIT_CONFIGURATION
    assert "put it aside or drop it" in capsys.readouterr().err
    for path in data.glob("crossdock.db*"):
        path.rename(data / f"old-{path.name}")
    assert moving.main(["--to", "sqlite"]) == 0
    assert told_rows(FileDatabase(data)) == before
    numbers = elsewhere(lambda: _next_numbers(database_url("", data), "after"))
    assert numbers == {name: last + 2 for name, last in LAST_GIVEN.items()}
    assert not elsewhere(lambda: starts(new_database.url))


class Crash(BaseException):
    """The process is gone."""


def crashing_at(number: int) -> type[Place]:
    """Places whose process ends before its transaction of this number, of both together."""
    left = [number]

    class Crashing(Place):
        @contextlib.asynccontextmanager
        async def transaction(self) -> AsyncIterator[AsyncConnection]:
            left[0] -= 1
            if left[0] == 0:
                raise Crash
            async with super().transaction() as connection:
                yield connection
                if left[0] == 1:
                    # All was said, and the commit did not come.
                    raise Crash

    return Crashing


async def test_a_crash_at_any_point_is_gone_over_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves for every transaction of a move, of two tables, that when its process ends there, a
    hub starts on no more than one of the databases, never on one that is not complete, and the
    move, run again, brings everything."""
    await asyncio.to_thread(filled, tmp_path / "first", many=20)
    for module in (schema, copying, relocation):
        monkeypatch.setattr(module, "TABLES", (t.events, bus_tie))
    before = told_rows(FileDatabase(tmp_path / "first"))
    reached, points = True, 0
    while reached:
        points += 1
        old, new = tmp_path / f"old-{points}", tmp_path / f"new-{points}"
        FileDatabase(tmp_path / "first").copy(old)
        new.mkdir()
        urls = database_url("", old), database_url("", new)
        try:
            await relocated(*urls, crashing_at(points))
            reached = False
        except Crash:
            marks = [_state(directory) for directory in (old, new)]
            usable = [mark in ("", moves.ARRIVED) for mark in marks]
            complete = marks == [moves.MOVED, moves.ARRIVED]
            assert usable == [not marks[0], complete] or _has_nothing(new), marks
            with contextlib.suppress(MoveRefused):
                await relocated(*urls)
        assert [_state(each) for each in (old, new)] == [moves.MOVED, moves.ARRIVED], points
        assert told_rows(FileDatabase(new)) == before, points
    assert points > 8 * len(schema.TABLES), "the crashes reached every table"


def _has_nothing(directory: Path) -> bool:
    return not (directory / "crossdock.db").exists() or FileDatabase(directory).tables() == []


def _state(directory: Path) -> str:
    """The mark of a database; "": it has none."""
    if _has_nothing(directory):
        return ""
    rows = FileDatabase(directory).query("SELECT state FROM moves")
    return str(rows[0][0]) if rows else ""


async def test_what_was_written_between_two_tries_is_there(
    data: Path, new_database: ServerDatabase
) -> None:
    """Proves that an interrupted move leaves the old database usable and the new one not, and that
    what a hub wrote to the old one before the move was run again arrives as well."""
    url = database_url("", data)
    with pytest.raises(Crash):
        await relocated(url, new_database.url, crashing_at(40))
    assert new_database.query("SELECT state FROM moves") == [(moves.COPYING,)]
    assert not await starts(new_database.url)
    await _next_numbers(url)
    await relocated(url, new_database.url)
    assert told_rows(new_database) == told_rows(FileDatabase(data))
    assert new_database.query("SELECT id FROM events WHERE id = 'next'") == [("next",)]


@pytest.mark.parametrize("state", [moves.COPIED, moves.MOVED, moves.ARRIVED])
async def test_a_crash_between_the_marks(
    data: Path, new_database: ServerDatabase, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Proves on PostgreSQL that a process which ends before it writes a mark leaves no database
    that two hubs could start on, and that the move, run again, is done."""
    url = database_url("", data)
    put = Place.put_mark

    async def crash(self: Place, mark: moves.Mark | None) -> None:
        if mark is not None and mark.state == state:
            raise Crash
        await put(self, mark)

    with monkeypatch.context() as patched:
        patched.setattr(Place, "put_mark", crash)
        with pytest.raises(Crash):
            await relocated(url, new_database.url)
    can_start = [await starts(url), await starts(new_database.url)]
    assert can_start == [state != moves.ARRIVED, False]
    moved = await relocated(url, new_database.url)
    assert moved.finished_only == (state == moves.ARRIVED)
    assert [await starts(url), await starts(new_database.url)] == [False, True]
    assert told_rows(new_database) == told_rows(FileDatabase(data))


def test_a_killed_move(
    tmp_path: Path, new_database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a move killed with SIGKILL while it copies holds no lock, tells its progress
    until then, and is done by running it again."""
    data = tmp_path / "data"
    filled(data, many=ENOUGH_TO_BE_KILLED_IN)
    environment(data, monkeypatch)
    command = [sys.executable, "-m", "crossdock_hub.moving", "--to", new_database.url]
    running = subprocess.Popen(command, stdout=subprocess.PIPE)

    def has_begun() -> bool:
        assert running.poll() is None, "it was done before it was killed"
        return bool(new_database.tables()) and bool(
            new_database.query("SELECT id FROM events LIMIT 1")
        )

    asyncio.run(eventually(has_begun, "the first page of events"))
    running.send_signal(signal.SIGKILL)
    said, _ = running.communicate()
    assert b"copied [" in said
    assert new_database.query("SELECT state FROM moves") == [(moves.COPYING,)]
    assert moving.main(["--to", new_database.url]) == 0
    assert told_rows(new_database) == told_rows(FileDatabase(data))


async def test_a_page_that_is_lost_is_found_out(
    data: Path, new_database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a row which arrives changed stops the move before a hub could start on it."""
    put = copying._put

    async def wrong(place: Place, table: Any, rows: list[Any]) -> None:
        if table is t.parcels:
            rows = [(*rows[0][:-1], not rows[0][-1]), *rows[1:]]
        await put(place, table, rows)

    monkeypatch.setattr(copying, "_put", wrong)
    url = database_url("", data)
    with pytest.raises(MoveRefused, match="parcels differs after it was copied"):
        await relocated(url, new_database.url)
    assert [await starts(url), await starts(new_database.url)] == [True, False]


def test_null_characters_are_replaced_when_that_is_asked_for(
    data: Path,
    new_database: ServerDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves that a text which PostgreSQL can't hold is named before anything has moved, and is
    written with U+FFFD, and counted, when the operator says so."""
    with contextlib.closing(sqlite3.connect(data / "crossdock.db")) as connection, connection:
        connection.execute(
            "UPDATE operator_words SET reason = ? WHERE id = (SELECT max(id) FROM operator_words)",
            (f"torn{NULL_CHARACTER}off",),
        )
    environment(data, monkeypatch)
    assert moving.main(["--to", new_database.url]) == moving.EXIT_CONFIGURATION
    assert "operator_words.reason of {'id'" in capsys.readouterr().err
    again = ["--to", new_database.url, "--replace-null-characters", "--json"]
    assert moving.main(again) == 0
    assert json.loads(capsys.readouterr().out)["null_characters_replaced"] == 1
    found = new_database.query("SELECT count(*) FROM operator_words WHERE reason = 'torn�off'")
    assert found == [(1,)]


# Refusals


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence that a refused move ends with."""
    assert moving.main(list(arguments)) == moving.EXIT_CONFIGURATION
    told = capsys.readouterr().err
    assert told.startswith("nothing moved: ") and told.count("\n") == 1, told
    return told


@pytest.fixture
def quiet(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data directory, set for the command."""
    environment(data, monkeypatch)
    yield data


def test_a_running_hub_is_not_moved(
    quiet: Path, new_database: ServerDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a move refuses a data directory that a hub holds, and a database file that any
    process has open for writing."""
    with DataLock(quiet):
        assert "still runs" in said(capsys, "--to", new_database.url)
    with contextlib.closing(sqlite3.connect(quiet / "crossdock.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert moving.main(["--to", new_database.url]) == moving.EXIT_CONFIGURATION
        assert "locked by another process" in capsys.readouterr().err
    assert new_database.tables() == []


async def test_a_database_in_use_takes_nothing(
    quiet: Path, new_database: ServerDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a move refuses a new database on which a hub runs, by its name."""
    store = await Store.open(new_database.url, CONTRACT)
    told = await asyncio.to_thread(said, capsys, "--to", new_database.url)
    await store.close()
    assert "is in use by crossdock-hub" in told


def test_only_an_empty_database_is_filled(
    quiet: Path, new_database: ServerDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a move never writes into a database that has tables, of a hub or anybody's."""
    new_database.query("CREATE TABLE theirs (id int)")
    assert "is not empty" in said(capsys, "--to", new_database.url)
    assert new_database.tables() == ["theirs"]


def test_an_old_schema_is_not_moved(
    quiet: Path, new_database: ServerDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a database of an earlier version, or one without any hub's tables, stays."""
    with contextlib.closing(sqlite3.connect(quiet / "crossdock.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0012'")
    assert "not those of this version" in said(capsys, "--to", new_database.url)
    (quiet / "crossdock.db").unlink()
    assert "there is no database" in said(capsys, "--to", new_database.url)
    sqlite3.connect(quiet / "crossdock.db").close()
    assert "not those of this version" in said(capsys, "--to", new_database.url)


def test_what_can_not_be_meant(quiet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Proves that a move to the same place, to no URL, or with a password in it is refused."""
    assert "is where the database is already" in said(capsys, "--to", "sqlite")
    assert "is no SQLAlchemy URL" in said(capsys, "--to", "somewhere")
    told = said(capsys, "--to", "postgresql+asyncpg://u:hunter2@localhost/x")
    assert "PASSWORD_FILE" in told and "hunter2" not in told


def test_moved_is_moved(
    quiet: Path,
    new_database: ServerDatabase,
    postgres_server: PostgresProcess,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves that a database which has moved is not moved again, there or elsewhere."""
    assert moving.main(["--to", new_database.url]) == 0
    assert "has moved there already" in said(capsys, "--to", new_database.url)
    other = ServerDatabase(postgres_server)
    assert f"moved to postgresql+asyncpg://crossdock@/{new_database.name}" in said(
        capsys, "--to", other.url
    )


# Undo


def test_a_move_is_undone_while_nobody_used_it(
    quiet: Path, new_database: ServerDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a move is taken back when no hub has started behind it: hubs start on the old
    database and not on the new one, and the move can be made again."""
    assert "did not move" in said(capsys, "--undo")
    assert moving.main(["--to", new_database.url]) == 0
    assert moving.main(["--undo"]) == 0
    url = database_url("", quiet)
    assert elsewhere(lambda: starts(url)) and not elsewhere(lambda: starts(new_database.url))
    assert moving.main(["--to", new_database.url]) == 0
    assert told_rows(new_database) == told_rows(FileDatabase(quiet))


def test_a_used_database_is_not_given_up_by_accident(
    quiet: Path, new_database: ServerDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a move is not undone once a hub has started behind it, and that the old database
    can then be used as a back-up only, when that is said; its next hub knows that it is one."""
    assert moving.main(["--to", new_database.url]) == 0
    assert elsewhere(lambda: starts(new_database.url))
    assert "a hub has run on" in said(capsys, "--undo")
    url = database_url("", quiet)
    assert not elsewhere(lambda: starts(url))
    ((before,),) = FileDatabase(quiet).query("SELECT generation FROM bus_tie")
    assert moving.main(["--undo", "--as-back-up"]) == 0
    assert FileDatabase(quiet).query("SELECT generation FROM bus_tie") == [(-1 - before,)]
    assert elsewhere(lambda: starts(url))


async def test_a_crash_in_an_undo(data: Path, new_database: ServerDatabase) -> None:
    """Proves that an undo whose process ends half-way lets no hub in twice, and is run again."""
    url = database_url("", data)
    await relocated(url, new_database.url)
    async with contextlib.AsyncExitStack() as ending:
        source = await Place.open(url, Access())
        ending.push_async_callback(source.close)
        target = await crashing_at(4).open(new_database.url, Access())
        ending.push_async_callback(target.close)
        with pytest.raises(Crash):
            await take_back(source, target)
    assert not await starts(url)
    async with contextlib.AsyncExitStack() as ending:
        source = await Place.open(url, Access())
        ending.push_async_callback(source.close)
        target = await Place.open(new_database.url, Access())
        ending.push_async_callback(target.close)
        await take_back(source, target)
    assert [await starts(url), await starts(new_database.url)] == [True, False]
