"""What `crossdock hub put-back` replaces: kept as it was, and taken from nobody who uses it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from crossdock.errors import ConfigurationError
from crossdock_hub.store import database_files
from crossdock_hub.store.database_files import beside, half_put_back
from crossdock_hub.store.moves import DatabaseMoved
from crossdock_hub.store.putting_back import put_back
from databases import open_store
from test_back_up import STEPS, break_at, has, interrupted, leave_a_log, mark_move, stored

PAGE_BYTES = 4096


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for who has the database open."""
    monkeypatch.setattr(database_files, "CLAIM_WAIT_SECONDS", 0.05)


def contents(path: Path) -> dict[str, bytes]:
    """All files of a database, byte for byte."""
    return {each.name: each.read_bytes() for each in beside(path)}


async def test_a_log_of_another_database_is_written_nowhere(tmp_path: Path) -> None:
    """Proves that where somebody copied a database over another by hand, and left the log of that,
    neither a refused put-back nor one that is done writes the one into the other: what the log
    alone knows is kept."""
    path, other = await stored(tmp_path / "data", "old"), await stored(tmp_path / "b", "new")
    leave_a_log(path, "logged")
    shutil.copy(other, path)
    before = contents(path)
    assert len(before) == len(database_files.ENDS)
    text = tmp_path / "text"
    text.write_text("-- a dump\n" * 5000)
    for refused in (tmp_path / "typo", text, path):
        with pytest.raises(ConfigurationError):
            put_back(path, refused)
        assert contents(path) == before
    told = put_back(path, other)
    assert contents(Path(told["replaced"]) / path.name) == before


@pytest.mark.parametrize("damage", ["header", "pages"])
async def test_what_is_damaged_is_kept_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Proves that a database which SQLite can't read any more is replaced too, and that it is kept
    with its log byte for byte, wherever the command is interrupted and run again."""
    new, broken = await stored(tmp_path / "new", "new"), await stored(tmp_path / "broken", "old")
    with contextlib.closing(sqlite3.connect(broken)) as connection:
        connection.execute("CREATE TABLE logged (x INTEGER)")
    # Not of the first page, which the log would mend.
    leave_a_log(broken, "logged", statement="INSERT INTO logged VALUES (1)")
    with broken.open("rb+") as file:
        file.seek(0 if damage == "header" else PAGE_BYTES)
        file.write(b"\xff" * (100 if damage == "header" else broken.stat().st_size - PAGE_BYTES))
    before = contents(broken)
    for step in range(1, STEPS + 1):
        begun, lost = tmp_path / f"{step}-begun", tmp_path / f"{step}-lost"
        shutil.copytree(broken.parent, begun)
        break_at(monkeypatch, step, partial(shutil.copytree, begun, lost))
        with pytest.raises(InterruptedError):
            put_back(begun / broken.name, new)
        monkeypatch.undo()
        path = lost / broken.name
        half = half_put_back(path)
        if half is not None:
            assert path.exists() or not beside(path), "a log without its database"
            put_back(path, half)
        elif step == 1:
            assert contents(path) == before
            put_back(path, new)
        else:
            assert step == STEPS
        assert has(path, "new")
        (replaced,) = path.parent.glob("*.replaced-*")
        assert contents(replaced / path.name) == before


@pytest.mark.parametrize("with_half", [True, False])
@pytest.mark.parametrize("moved", ["nothing", "index"])
@pytest.mark.usefixtures("hasty")
async def test_ending_an_interruption_takes_nothing_from_who_uses_it(
    tmp_path: Path, moved: str, with_half: bool
) -> None:
    """Proves that as long as the database itself has not moved, ending an interrupted put-back,
    with the marked copy or another file, waits for who reads it, and forgets no move of it."""
    path, new = await stored(tmp_path / "data", "old"), await stored(tmp_path / "new", "new")
    leave_a_log(path, "logged")
    index = path.with_name("crossdock.db-shm")
    half = interrupted(path, new, lambda: moved == "nothing" or not index.exists())
    source = half if with_half else new
    with contextlib.closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'logged'").fetchall()
        with pytest.raises(ConfigurationError, match="locked; stop what uses it"):
            put_back(path, source)
        assert path.exists() and half_put_back(path) == half
    mark_move(path, "MOVED")
    with pytest.raises(DatabaseMoved, match="elsewhere"):
        put_back(path, source)
    mark_move(path, "ARRIVED")
    told = put_back(path, source)
    assert has(path, "new") and has(Path(told["replaced"]) / path.name, "logged")


@pytest.mark.parametrize("with_half", [True, False])
@pytest.mark.usefixtures("hasty")
async def test_a_look_into_the_marked_copy_does_no_harm(tmp_path: Path, with_half: bool) -> None:
    """Proves that what SQLite leaves beside the marked copy, when somebody who looked into it was
    killed, is no second copy: what it knows goes with its own file and with no other, and the hub
    starts. And that the copy is not taken from who still looks."""
    path, new = await stored(tmp_path / "data", "old"), await stored(tmp_path / "new", "new")
    other = await stored(tmp_path / "other", "other")
    half = interrupted(path, new, lambda: half_put_back(path) is not None)
    with contextlib.closing(sqlite3.connect(half)) as looking:
        looking.execute("SELECT count(*) FROM sqlite_master").fetchall()
        assert half_put_back(path) == half
        with pytest.raises(ConfigurationError, match=f"{half} can't be had alone"):
            put_back(path, half)
        assert has(path, "old")
    leave_a_log(half, "looked")
    assert half_put_back(path) == half
    put_back(path, half if with_half else other)
    await (await open_store(path.parent, "sqlite")).close()
    assert has(path, "looked") == has(path, "new") == with_half != has(path, "other")
    assert sorted(each.name.partition("-")[0] for each in path.parent.iterdir()) == [
        "crossdock.db",
        "crossdock.db.replaced",
    ]


@pytest.mark.parametrize("when", ["while it is copied", "just then"])
@pytest.mark.usefixtures("hasty")
async def test_a_database_that_is_made_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Proves that where there was no database, one that somebody makes and uses while a copy is
    made is not taken from him, also in the last moment; and that no hub is kept out afterwards."""
    path, source = tmp_path / "data" / "crossdock.db", await stored(tmp_path / "b", "second")
    path.parent.mkdir()
    rename = Path.rename
    with contextlib.ExitStack() as using:

        def make(_text: str = "") -> None:
            if not path.exists():
                hub = using.enter_context(contextlib.closing(sqlite3.connect(path)))
                hub.execute("PRAGMA journal_mode=WAL")
                hub.execute("CREATE TABLE mine (x INTEGER)")

        def renaming(self: Path, target: Path) -> Path:
            make()
            return rename(self, target)

        if when == "just then":
            monkeypatch.setattr(Path, "rename", renaming)
        with pytest.raises(ConfigurationError, match="stop what uses it"):
            put_back(path, source, (lambda _text: None) if when == "just then" else make)
        assert half_put_back(path) is None
    assert has(path, "mine")
    assert [each.name for each in path.parent.iterdir()] == [path.name]
