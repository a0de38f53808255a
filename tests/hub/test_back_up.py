"""`crossdock hub back-up` and `put-back`: whole copies, and no moment at which files are mixed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crossdock.errors import ConfigurationError
from crossdock_hub.data_lock import DataDirectoryInUse, DataLock
from crossdock_hub.store import backing_up, putting_back
from crossdock_hub.store.backing_up import back_up
from crossdock_hub.store.database_files import beside, half_put_back, sync_directory
from crossdock_hub.store.moves import DatabaseMoved
from crossdock_hub.store.putting_back import put_back
from databases import open_store
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from story import approve_order, create_order, order, seed_master_data

EXIT_CONFIGURATION = 78
WRITERS, SECONDS = 4, 60.0
# How often putting back changes a name or has one on disk: the copy, then index, log and database.
STEPS = 13


def run(hub: RunningHub, command: str, file: Path) -> tuple[int, str, str]:
    """A command of the hub's operator: exit status, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "crossdock.cli", "hub", command, str(file)],
        env=hub.environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def numbers(path: Path) -> set[str]:
    """The orders in a database file that nobody uses."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        found = connection.execute("SELECT number FROM objects WHERE kind = 'order'").fetchall()
    return {number for (number,) in found}


async def ordered(hub: RunningHub) -> str:
    """One more order that is approved, which the bus is told; its number."""
    async with hub.client("oms") as oms:
        made = await oms.orders.CreateOrder(create_order(order(Lane(1).business_unit)))
        await oms.orders.ApproveOrder(approve_order(made.order.id))
    return str(made.order.number)


async def test_a_hub_that_writes_is_backed_up_and_put_back(tmp_path: Path) -> None:
    """Proves that a copy taken while orders come in is whole and has each that was answered before
    it began; that it is put back only when the hub has stopped; that the hub then starts with it,
    knows that it is the older one, and goes on; and that what was replaced is kept."""
    hub = RunningHub(tmp_path / "hub", deployment(1)).start()
    file = tmp_path / "night.db"
    try:
        await seed_master_data(hub)
        before = {await ordered(hub) for _ in range(3)}
        over = asyncio.Event()

        async def write() -> set[str]:
            mine = set()
            while not over.is_set():
                mine.add(await ordered(hub))
            return mine

        writing = [asyncio.create_task(write()) for _ in range(WRITERS)]
        code, out, err = await asyncio.to_thread(run, hub, "back-up", file)
        over.set()
        meanwhile = set().union(*await asyncio.gather(*writing))
        assert (code, err) == (0, ""), err
        told = json.loads(out)
        assert told["bytes"] == file.stat().st_size and told["newest_event"] > 0
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert before <= numbers(file) <= before | meanwhile
        later = await ordered(hub)

        code, _, err = await asyncio.to_thread(run, hub, "put-back", file)
        assert code == EXIT_CONFIGURATION and f"process {hub.pid}" in err
        hub.kill()
        code, out, err = await asyncio.to_thread(run, hub, "put-back", file)
        assert (code, err) == (0, ""), err
        told = json.loads(out)
        hub.start()
        stored = {
            number for (number,) in hub.query("SELECT number FROM objects WHERE kind='order'")
        }
        assert stored == numbers(file) and later not in stored
        await eventually(
            lambda: "messages that this database does not know" in hub.log(), "what is lost"
        )
        assert await ordered(hub)
    finally:
        hub.kill()
    kept = Path(told["replaced"]) / "crossdock.db"
    with contextlib.closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT 1 FROM objects WHERE number = ?", [later]).fetchall()


async def stored(directory: Path, mark: str) -> Path:
    """A closed database that says whose it is; its file."""
    store = await open_store(directory, "sqlite")
    async with store.write() as connection:
        await connection.exec_driver_sql(f"CREATE TABLE {mark} (x INTEGER)")
    await store.close()
    return directory / "crossdock.db"


def has(path: Path, mark: str) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return bool(
            connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [mark]).fetchall()
        )


async def test_a_back_up_never_replaces_a_file(tmp_path: Path) -> None:
    """Proves that an existing file stays as it is, and that a failed copy leaves nothing behind."""
    path = await stored(tmp_path / "data", "first")
    target = tmp_path / "kept"
    target.write_text("kept")
    with pytest.raises(ConfigurationError, match="never replaces"):
        back_up(path, target)
    assert target.read_text() == "kept"
    with path.open("rb+") as file:
        file.seek(4096)
        file.write(os.urandom(4096 * 4))
    with pytest.raises((ConfigurationError, sqlite3.DatabaseError)):
        back_up(path, tmp_path / "new")
    assert not list(tmp_path.glob("new*"))


@pytest.mark.parametrize("damage", ["nothing", "text", "cut", "foreign", "newer", "absent"])
async def test_what_is_no_back_up_changes_nothing(tmp_path: Path, damage: str) -> None:
    """Proves that a file that is no whole database of a hub of this version is refused in a
    sentence, and that the database stays as it was, alone in its directory."""
    path = await stored(tmp_path / "data", "first")
    source = tmp_path / "source"
    shutil.copy(path, source)
    if damage == "nothing":
        source.write_bytes(b"")
    elif damage == "text":
        source.write_text("-- a dump\n" * 5000)
    elif damage == "cut":
        os.truncate(source, source.stat().st_size // 2)
    elif damage == "absent":
        source.unlink()
    else:
        with contextlib.closing(sqlite3.connect(source)) as connection:
            newer = "UPDATE alembic_version SET version_num = '9999'"
            connection.execute("DROP TABLE events" if damage == "foreign" else newer)
            connection.commit()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=str(source)):
        put_back(path, source)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["crossdock.db"]


@pytest.mark.parametrize("linked", [False, True])
async def test_a_copied_directory_is_put_back_with_its_log(tmp_path: Path, linked: bool) -> None:
    """Proves that what only the log of a copied database knows is put back too, also where a link
    names it, and that the copy stays as it is."""
    path = await stored(tmp_path / "data", "first")
    source = await stored(tmp_path / "copy", "second")
    leave_a_log(source, "logged")
    logged = source.with_name("crossdock.db-wal").read_bytes()
    link = tmp_path / "newest.db"
    link.symlink_to(source)
    put_back(path, link if linked else source)
    assert has(path, "logged")
    assert source.with_name("crossdock.db-wal").read_bytes() == logged


async def test_each_that_was_replaced_is_kept(tmp_path: Path) -> None:
    """Proves that two that are put back within a second keep both that were there, and that the
    files belong to whom the database belongs, also when an administrator puts them back."""
    path = await stored(tmp_path / "data", "first")
    second, third = await stored(tmp_path / "b", "second"), await stored(tmp_path / "c", "third")
    owner = 12_345 if os.geteuid() == 0 else os.geteuid()
    for each in (path, path.parent):
        os.chown(each, owner, -1)
    kept = [Path(put_back(path, each)["replaced"]) for each in (second, third)]
    assert has(kept[0] / "crossdock.db", "first") and has(kept[1] / "crossdock.db", "second")
    for each in (path, *kept):
        assert each.stat().st_uid == owner
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("state", ["MOVED", "COPYING", "COPIED"])
async def test_no_move_is_forgotten(tmp_path: Path, state: str) -> None:
    """Proves that a database on which no hub may start is neither backed up, nor put back, nor
    replaced, each in a sentence with the other place; one that has arrived is a database."""
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    mark_move(path, state)
    before = path.read_bytes()
    with pytest.raises(DatabaseMoved, match="elsewhere"):
        back_up(path, tmp_path / "copy")
    with pytest.raises(DatabaseMoved, match="elsewhere"):
        put_back(path, source)
    with pytest.raises(DatabaseMoved, match="elsewhere"):
        put_back(source, path)
    assert path.read_bytes() == before and has(source, "second")
    mark_move(path, "ARRIVED")
    back_up(path, tmp_path / "copy")
    put_back(path, tmp_path / "copy")


def mark_move(path: Path, state: str, *, kept_in_log: bool = False) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM moves")
        row = (1, state, "m", "elsewhere", 1)
        connection.execute(
            "INSERT INTO moves (id, state, move_id, place, at) VALUES (?, ?, ?, ?, ?)", row
        )
        connection.commit()
        if not kept_in_log:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def test_what_a_hub_has_is_no_back_up(tmp_path: Path) -> None:
    """Proves that the directory of a hub that runs is not copied file by file."""
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    with DataLock(source.parent), pytest.raises(DataDirectoryInUse):
        put_back(path, source)
    put_back(path, source)
    assert has(path, "second")


async def test_a_copy_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a copy ends when it takes too long, when it fills the hub's own volume and when
    somebody keeps the database locked, and leaves nothing behind."""
    path, target = await stored(tmp_path / "data", "first"), tmp_path / "copy"
    for limit, value, told in (
        ("COPY_SECONDS_MAX", -1.0, "takes more than"),
        ("LEFT_FOR_THE_HUB_BYTES", 1 << 62, "for the log of a hub"),
    ):
        monkeypatch.setattr(backing_up, limit, value)
        with pytest.raises(ConfigurationError, match=told):
            back_up(path, target)
        monkeypatch.undo()
    monkeypatch.setattr(backing_up, "LOCK_WAIT_SECONDS", 0.05)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            back_up(path, target)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("step", range(1, STEPS + 1))
async def test_an_interruption_anywhere_mixes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Proves that wherever putting back is interrupted, a hub either has one whole database, log
    included, or refuses to start and says how to end it; and that this ends it, with the copy that
    is half in place or with another file, and all that was there is kept."""
    path = await stored(tmp_path / "data", "old")
    new, other = await stored(tmp_path / "new", "new"), await stored(tmp_path / "other", "other")
    leave_a_log(path, "logged")
    break_at(monkeypatch, step)
    with contextlib.suppress(InterruptedError):
        put_back(path, new)
    monkeypatch.undo()
    half = half_put_back(path)
    if half is None:
        await (await open_store(tmp_path / "data", "sqlite")).close()
        assert has(path, "old") == has(path, "logged") != has(path, "new")
        assert step in (1, STEPS), "somewhere between"
        return
    assert path.exists() or not beside(path), "a log without its database"
    with pytest.raises(ConfigurationError, match=f"put-back {half}"):
        await open_store(tmp_path / "data", "sqlite")
    with_half = step % 2 == 0
    told = put_back(path, half if with_half else other)
    assert has(path, "new" if with_half else "other") and half_put_back(path) is None
    kept = Path(told["replaced"]) / "crossdock.db"
    assert has(kept, "old") and has(kept, "logged")


def leave_a_log(
    path: Path, mark: str, more: Callable[[], None] = lambda: None, statement: str = ""
) -> None:
    """As a killed hub leaves it: a table that only the log knows. more: what else it knows;
    statement: what it knows instead of the table."""
    aside = path.parent.with_name(f"{path.parent.name}-aside")
    aside.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement or f"CREATE TABLE {mark} (x INTEGER)")
        connection.commit()
        more()
        for each in beside(path):
            shutil.copy(each, aside)
    for each in aside.iterdir():
        shutil.move(each, path.parent / each.name)
    aside.rmdir()
    assert path.with_name(f"{path.name}-wal").stat().st_size


def break_at(
    monkeypatch: pytest.MonkeyPatch, step: int, first: Callable[[], object] = lambda: None
) -> None:
    """Let the step-th change of a name or of what is on disk fail. first: done just before that,
    when nobody has tidied up, as if the power had gone."""
    done = [0]
    rename, sync = Path.rename, sync_directory

    def count() -> None:
        done[0] += 1
        if done[0] == step:
            first()
            raise InterruptedError

    def renaming(self: Path, target: Any) -> Path:
        count()
        return rename(self, target)

    def syncing(directory: Path) -> None:
        count()
        sync(directory)

    monkeypatch.setattr(Path, "rename", renaming)
    monkeypatch.setattr(putting_back, "sync_directory", syncing)


def interrupted(path: Path, new: Path, until: Callable[[], bool]) -> Path:
    """Put back, and let the power go as soon as something holds; the marked copy."""
    rename = Path.rename

    def renaming(self: Path, target: Any) -> Path:
        done = rename(self, target)
        if until():
            raise InterruptedError
        return done

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(Path, "rename", renaming)
        put_back(path, new)
    half = half_put_back(path)
    assert half is not None
    return half


async def test_servers_are_told_to_use_their_own(tmp_path: Path) -> None:
    """Proves that nobody takes an unused file for the back-up of a PostgreSQL."""
    hub = RunningHub(tmp_path / "hub", database_url="postgresql+asyncpg://nobody@127.0.0.1:1/x")
    for command in ("back-up", "put-back"):
        code, _, err = await asyncio.to_thread(run, hub, command, tmp_path / "file")
        assert code == EXIT_CONFIGURATION and "pg_dump" in err
