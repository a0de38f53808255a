"""`crossdock hub vacuum`: what has gone gives its space back, and nothing else changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from crossdock_hub.data_lock import DataLock
from crossdock_hub.store.backing_up import EXIT_CONFIGURATION, EXIT_INTERRUPTED, tell
from crossdock_hub.store.migrating import revisions, upgrade
from crossdock_hub.store.tables import METADATA
from crossdock_hub.store.vacuuming import vacuum_file
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes
from databases import (
    KINDS,
    FileDatabase,
    ServerDatabase,
    database_of,
    migrated_template,
    open_store,
)
from fixtures_postgres import session_server
from relay_parts import event
from small_volume import Volume
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

SECONDS = 120
BODY = bytes(4_000)
EVENTS = 600


def run(directory: Path, url: str = "", **environment: str) -> tuple[int, str, str]:
    """The command as an operator gives it: exit status and what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CROSSDOCK_")}
    settings = {"CROSSDOCK_DATA_DIRECTORY": str(directory), "CROSSDOCK_DATABASE_URL": url}
    done = subprocess.run(
        [sys.executable, "-m", "crossdock.cli", "hub", "vacuum"],
        env=clean | settings | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


async def emptied_store(directory: Path, kind: str, kept: int = 0) -> None:
    """A closed database whose events said much, and say nothing any more, but for the kept."""
    store = await open_store(directory, kind)
    async with store.write() as connection:
        events = [replace(event(), body=BODY) for _ in range(EVENTS)]
        await write(connection, Changes(events=events))
    gone = "''::bytea" if kind == "postgresql" else "''"
    async with store.write() as connection:
        await connection.exec_driver_sql(f"UPDATE events SET body = {gone} WHERE sequence > {kept}")
    await store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_space_comes_back(tmp_path: Path, kind: str) -> None:
    """Proves that a file of SQLite gets smaller by what has gone, that a server's tables are gone
    through, and that every row is still there."""
    directory = tmp_path / "data"
    asyncio.run(emptied_store(directory, kind))
    database = database_of(directory, kind)
    code, out, err = run(directory, database.url)
    assert code == 0, err
    assert err == "", "nobody looks at a terminal"
    done = json.loads(out)
    if kind == "sqlite":
        size = sum(each.stat().st_size for each in directory.glob("crossdock.db*"))
        assert done["bytes_after"] == size
        assert done["bytes_before"] - size > EVENTS * len(BODY) * 0.8
    else:
        counted = "SELECT count(*) FROM pg_stat_user_tables WHERE last_vacuum IS NULL"
        assert database.query(f"{counted} AND relname <> 'alembic_version'") == [(0,)]
    assert [tuple(row) for row in database.query("SELECT count(*) FROM events")] == [(EVENTS,)]


@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_an_earlier_version_are_gone_through(tmp_path: Path, kind: str) -> None:
    """Proves that whoever has put in a newer version and not started its hub yet gets the space of
    the tables that there are, and that these stay of the version they were."""
    directory = tmp_path / "data"
    directory.mkdir()
    database = FileDatabase(directory) if kind == "sqlite" else ServerDatabase(session_server())
    oldest = revisions()[0]

    async def older() -> None:
        engine = create_async_engine(database.url, poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.run_sync(upgrade, oldest)

    asyncio.run(older())
    code, out, err = run(directory, database.url)
    assert code == 0, err
    assert json.loads(out)["bytes_after"] > 0
    assert [tuple(row) for row in database.query("SELECT version_num FROM alembic_version")] == [
        (oldest,)
    ]
    if kind == "postgresql":
        counted = "SELECT relname FROM pg_stat_user_tables WHERE last_vacuum IS NULL"
        assert database.query(f"{counted} AND relname <> 'alembic_version'") == []


def test_a_server_without_a_hub_is_refused(tmp_path: Path) -> None:
    """Proves that a database in which there is no table of a hub is named, and nothing is said to
    be done."""
    empty = ServerDatabase(session_server())
    code, out, err = run(tmp_path, empty.url)
    assert (code, out) == (EXIT_CONFIGURATION, "")
    assert "not vacuumed: no hub has ever run on" in err and empty.name in err


def test_tables_are_found_as_a_hub_finds_them(tmp_path: Path) -> None:
    """Proves that tables are vacuumed that a hub uses by its search path, though another schema has
    come before theirs since."""
    database = ServerDatabase(session_server(), migrated_template())
    ((user,),) = database.query("SELECT current_user")
    database.server.ask(database.name, f'CREATE SCHEMA "{user}"')
    code, out, err = run(tmp_path, database.url)
    assert code == 0, err
    assert json.loads(out)["bytes_after"] > 0


def test_a_copy_beside_the_database_is_not_counted(tmp_path: Path) -> None:
    """Proves that neither the sizes that are told nor the room that is asked for have a back-up in
    them that lies in the same directory."""
    path = tmp_path / "crossdock.db"
    asyncio.run(emptied_store(tmp_path, "sqlite"))
    size = path.stat().st_size
    shutil.copy(path, path.with_name("crossdock.db.bak"))
    assert vacuum_file(path)["bytes_before"] < 2 * size


def test_it_needs_no_room_but_beside_the_database(tmp_path: Path) -> None:
    """Proves that a directory for temporary files that is full keeps nobody from it."""
    directory, elsewhere = tmp_path / "data", Volume(tmp_path / "small", 1)
    try:
        elsewhere.fill()
        asyncio.run(emptied_store(directory, "sqlite", kept=EVENTS))
        code, _, err = run(directory, SQLITE_TMPDIR=str(elsewhere.directory))
    finally:
        elsewhere.remove()
    assert code == 0, err


def _held(begun: Event, until: Event) -> None:
    """Keep whoever asks, from when it began until something has happened."""
    if begun.is_set():
        assert until.wait(SECONDS)


def test_who_interrupts_it_is_heard_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that Ctrl-C ends it in the middle of SQLite's statement with one sentence, that
    nothing has changed then, and that the next one gives the space back."""
    asyncio.run(emptied_store(tmp_path, "sqlite"))
    path = tmp_path / "crossdock.db"
    before, connect = path.read_bytes(), sqlite3.connect
    begun, interrupted = Event(), Event()

    class Interrupted(sqlite3.Connection):
        def interrupt(self) -> None:
            super().interrupt()
            interrupted.set()

    def held(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, factory=Interrupted, **options)
        # SQLite stays amid its statement until it is told to end it.
        connection.set_progress_handler(lambda: _held(begun, interrupted), 10)
        return connection

    def stop(text: str) -> None:
        if text == "gathering what is left":
            begun.set()
        if text.startswith("gathering what is left,"):
            raise KeyboardInterrupt

    monkeypatch.setattr("crossdock_hub.store.vacuuming.sqlite3.connect", held)
    assert tell("not vacuumed", lambda show: vacuum_file(path, stop)) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "not vacuumed: interrupted; run it again\n"
    assert interrupted.is_set()
    assert path.read_bytes() == before
    monkeypatch.undo()
    done = vacuum_file(path)
    assert done["bytes_after"] < done["bytes_before"] - EVENTS * len(BODY) * 0.8


@pytest.mark.parametrize("late", ["amid the statement", "writing the log back"])
def test_who_interrupts_it_too_late_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], late: str
) -> None:
    """Proves that Ctrl-C that comes when SQLite has written the file anew, whether it is known yet
    or not, does not say that nothing was done; and that the space comes back with the next use."""
    asyncio.run(emptied_store(tmp_path, "sqlite"))
    path = tmp_path / "crossdock.db"
    before, connect = path.stat().st_size, sqlite3.connect
    begun, told = Event(), Event()

    def held(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        # SQLite stays amid its statement until progress of it is told.
        connection.set_progress_handler(lambda: _held(begun, told), 10)
        return connection

    def stop(text: str) -> None:
        if text == "gathering what is left":
            begun.set()
        if text.startswith("gathering what is left,"):
            told.set()
        if late == "amid the statement" and text.startswith("gathering what is left,"):
            with contextlib.closing(connect(path)) as other:
                deadline = time.monotonic() + SECONDS
                while other.execute("PRAGMA freelist_count").fetchone()[0]:
                    assert time.monotonic() < deadline, "it never writes the file anew"
            raise KeyboardInterrupt
        if late == "writing the log back" and text.startswith("writing what is in the log"):
            raise KeyboardInterrupt

    monkeypatch.setattr("crossdock_hub.store.vacuuming.sqlite3.connect", held)
    assert tell("not vacuumed", lambda show: vacuum_file(path, stop)) == EXIT_INTERRUPTED
    said = capsys.readouterr().err
    assert said.startswith(f"vacuumed: {path} is written anew; interrupted"), said
    # What is left of the log goes into the file when it is used next, as by a hub.
    with contextlib.closing(connect(path)) as other:
        assert other.execute("SELECT count(*) FROM events").fetchone() == (EVENTS,)
    assert path.stat().st_size < before - EVENTS * len(BODY) * 0.8


def test_what_a_hub_holds_is_left_alone(tmp_path: Path) -> None:
    """Proves that the file of a hub that runs is not touched, and the sentence says whose it is."""
    directory = tmp_path / "data"
    asyncio.run(emptied_store(directory, "sqlite"))
    before = (directory / "crossdock.db").read_bytes()
    lock = DataLock(directory).acquire()
    try:
        code, out, err = run(directory)
    finally:
        lock.release()
    assert (code, out) == (EXIT_CONFIGURATION, "")
    assert f"in use by process {os.getpid()}" in err
    assert (directory / "crossdock.db").read_bytes() == before


def test_no_database_is_made(tmp_path: Path) -> None:
    """Proves that a mistyped directory is told, and that nothing is made there."""
    code, _, err = run(tmp_path / "dta")
    assert code == EXIT_CONFIGURATION
    assert "there is no directory" in err
    assert not list(tmp_path.iterdir())


def test_every_table_has_its_bound_in_the_book() -> None:
    """Proves that nobody adds a table without saying in docs/operations.md what bounds it."""
    book = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    told = book.partition("## What grows, and what bounds it")[2].partition("\n## ")[0]
    for table in METADATA.sorted_tables:
        assert f"`{table.name}`" in told, table.name
