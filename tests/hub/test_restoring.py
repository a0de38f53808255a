"""`crossdock hub put-back` where it is needed: on new disks, by administrators, after mishaps."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from crossdock.errors import ConfigurationError
from crossdock_hub.bus.tie import DATABASE_OLDER, compare_at_start
from crossdock_hub.config import Settings
from crossdock_hub.data_lock import LOCK_FILE, DataLock
from crossdock_hub.store import backing_up, bus_rows, database_files, putting_back
from crossdock_hub.store.backing_up import back_up, database_of
from crossdock_hub.store.database_files import HALF, half_put_back
from crossdock_hub.store.migrating import upgrade
from crossdock_hub.store.moves import DatabaseMoved
from crossdock_hub.store.putting_back import put_back
from databases import ServerDatabase, migrated_template, open_store
from fixtures_postgres import session_server
from source_files import ROOT
from sqlalchemy import create_engine
from test_back_up import has, interrupted, leave_a_log, mark_move, stored

LAST_WITHOUT_A_TIE = "0005"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of a hub that is on no disk yet, as its settings name it."""
    for name in [name for name in os.environ if name.startswith("CROSSDOCK_")]:
        monkeypatch.delenv(name)
    directory = tmp_path / "data"
    directory.mkdir()
    monkeypatch.setenv("CROSSDOCK_DATA_DIRECTORY", str(directory))
    return directory


async def test_an_administrator_keeps_nobody_out(data: Path, tmp_path: Path) -> None:
    """Proves that everything which the command makes in a new data directory, its lock included,
    belongs to whom the directory belongs, so that the hub's own user can start on it."""
    owner = 12_345 if os.geteuid() == 0 else os.geteuid()
    os.chown(data, owner, -1)
    source = await stored(tmp_path / "copy", "first")
    for _ in range(2):
        assert putting_back.main([str(source)]) == 0
    found = sorted(each.name for each in data.iterdir())
    assert found[:2] == ["crossdock.db", found[1]] and found[-1] == "crossdock.lock"
    assert {each.stat().st_uid for each in data.iterdir()} == {owner}
    assert has(data / "crossdock.db", "first")


async def test_a_log_that_was_left_belongs_to_no_new_back_up(tmp_path: Path) -> None:
    """Proves that a back-up is not made beside the log of one that is gone: SQLite would write that
    into it when it is put back."""
    path, target = await stored(tmp_path / "data", "first"), tmp_path / "night.db"
    target.with_name("night.db-wal").write_bytes(b"frames of another database")
    with pytest.raises(ConfigurationError, match=r"night\.db-wal exists"):
        back_up(path, target)
    assert not target.exists()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for who has the database open."""
    monkeypatch.setattr(database_files, "CLAIM_WAIT_SECONDS", 0.05)


@pytest.mark.usefixtures("hasty")
async def test_a_database_that_is_in_use_stays(tmp_path: Path) -> None:
    """Proves that a database which a hub with another data directory has open, or somebody who only
    reads, is not replaced under them, and that it is once they have gone."""
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    hub = await open_store(tmp_path / "data", "sqlite")
    async with hub.write():
        pass
    with pytest.raises(ConfigurationError, match="locked; stop what uses it"):
        put_back(path, source)
    await hub.close()
    with contextlib.closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
        with pytest.raises(ConfigurationError, match="locked; stop what uses it"):
            put_back(path, source)
    assert has(path, "first") and not list(path.parent.glob("*.replaced-*"))
    put_back(path, source)
    assert has(path, "second")


async def test_a_hub_that_comes_in_between_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a hub which looked before the copy had its name, and opens the database after it,
    does not start."""
    path = await stored(tmp_path / "data", "first")
    half = path.with_name(f"{path.name}{HALF}now")
    found = iter([None, half])
    monkeypatch.setattr(database_files, "half_put_back", lambda _path: next(found))
    with pytest.raises(ConfigurationError, match=f"put-back {half}"):
        await open_store(tmp_path / "data", "sqlite")


async def test_a_move_that_only_the_log_knows_is_not_forgotten(tmp_path: Path) -> None:
    """Proves that a database whose log says that it moved is not replaced."""
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    leave_a_log(path, "moved", lambda: mark_move(path, "MOVED", kept_in_log=True))
    with pytest.raises(DatabaseMoved, match="elsewhere"):
        put_back(path, source)
    assert has(path, "first")


@dataclass(frozen=True)
class HalfWay:
    """An interrupted put-back: in place of what, of what, and the copy that is marked."""

    path: Path
    new: Path
    half: Path


@pytest.fixture
async def marked(tmp_path: Path) -> HalfWay:
    """The copy is marked and nothing has moved."""
    path, new = await stored(tmp_path / "data", "old"), await stored(tmp_path / "new", "new")
    return HalfWay(path, new, interrupted(path, new, lambda: half_put_back(path) is not None))


@pytest.fixture
async def moved(tmp_path: Path) -> HalfWay:
    """The old database has moved and the copy is not in place."""
    path, new = await stored(tmp_path / "data", "old"), await stored(tmp_path / "new", "new")
    return HalfWay(path, new, interrupted(path, new, lambda: not path.exists()))


@pytest.mark.parametrize("wrong", ["absent", "text"])
async def test_a_refused_file_ends_no_interruption(
    tmp_path: Path, marked: HalfWay, wrong: str
) -> None:
    """Proves that after an interruption a file that can't be put back changes nothing: no hub
    starts on the old database meanwhile, and the copy that was marked is still there."""
    path, half = marked.path, marked.half
    source = tmp_path / "typo"
    if wrong == "text":
        source.write_text("-- a dump\n" * 5000)
    with pytest.raises(ConfigurationError, match="typo"):
        put_back(path, source)
    assert half_put_back(path) == half and has(half, "new")
    with pytest.raises(ConfigurationError, match=f"put-back {half}"):
        await open_store(tmp_path / "data", "sqlite")


async def test_a_copy_that_is_damaged_half_way_is_no_dead_end(moved: HalfWay) -> None:
    """Proves that a marked copy that is damaged once the old database has moved says how to go on
    and where that is, and that another back-up then takes its place, with what was there kept."""
    path, half = moved.path, moved.half
    half.write_text("-- no database\n" * 5000)
    with pytest.raises(ConfigurationError, match=r"put-back FILE; what was there is in .*replaced"):
        put_back(path, half)
    told = put_back(path, moved.new)
    assert has(path, "new") and has(Path(told["replaced"]) / "crossdock.db", "old")
    assert half_put_back(path) is None


async def test_what_is_made_anew_replaces_nothing_that_is_kept(moved: HalfWay) -> None:
    """Proves that a file which somebody makes where one was moved away does not replace that."""
    path, half = moved.path, moved.half
    path.write_text("made by a hand")
    with pytest.raises(ConfigurationError, match="was made while"):
        put_back(path, half)
    path.unlink()
    assert has(Path(put_back(path, half)["replaced"]) / "crossdock.db", "old")


async def test_a_copy_on_what_can_not_be_written_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a copied directory with its lock file is put back from a read-only mount."""
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    (source.parent / LOCK_FILE).touch()

    def refuse(_lock: DataLock) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(DataLock, "acquire", refuse)
    put_back(path, source)
    assert has(path, "second")


async def test_what_can_not_be_told_is_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a lock which this user may not open does not pass for one that nobody has."""
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    (source.parent / LOCK_FILE).touch()

    def refuse(_lock: DataLock) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(DataLock, "acquire", refuse)
    with pytest.raises(ConfigurationError, match=f"{LOCK_FILE} can't be opened by this user"):
        put_back(path, source)
    assert has(path, "first")


async def test_a_source_that_is_written_to_is_no_back_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a database which a hub with its lock elsewhere writes to while it is copied is
    refused: what was read of it may be of two moments."""
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    copying = shutil.copyfileobj
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as hub:
        hub.execute("CREATE TABLE numbers (x INTEGER)")

        def copy_meanwhile(reading: BinaryIO, writing: BinaryIO) -> None:
            copying(reading, writing)
            hub.execute("INSERT INTO numbers VALUES (1)")

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfileobj", copy_meanwhile)
            with pytest.raises(ConfigurationError, match=f"{source} changed while it was copied"):
                put_back(path, source)
        assert has(path, "first") and [each.name for each in path.parent.iterdir()] == [path.name]
    put_back(path, source)
    assert has(path, "numbers")


async def test_putting_back_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a copy is told part by part, with its log, up to the last byte, and that its
    check is told for as long as it lasts; so is that of a back-up that is made."""
    monkeypatch.setattr(database_files, "CHECK_STEPS", 10)
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    leave_a_log(source, "logged")
    told: list[str] = []
    put_back(path, source, told.append)
    shares = [int(each[-4:-1]) for each in told if each.startswith("copying [")]
    assert shares == sorted(shares) and len(set(shares)) > 2 and shares[-1] == 100
    assert told.count("checking the copy, 0 s") > 1
    told.clear()
    back_up(path, tmp_path / "night.db", told.append)
    assert told.count("checking the copy, 0 s") > 1


async def test_a_back_up_beside_the_hubs_own_lock_is_put_back(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the command, which has the data directory itself, takes a file from there also
    where the database is elsewhere."""
    path, source = await stored(tmp_path / "disk", "first"), await stored(tmp_path / "b", "second")
    shutil.copy(source, data / "night.db")
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", f"sqlite+aiosqlite:///{path}")
    assert putting_back.main([str(data / "night.db")]) == 0
    assert has(path, "second")


async def test_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    """Proves that the next put-back removes what a killed one had copied, and nothing else."""
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    for name in ("crossdock.db.0a.copying", "crossdock.db.0a.copying-wal", "mine.copying"):
        (path.parent / name).write_text("left")
    put_back(path, source)
    found = sorted(each.name for each in path.parent.iterdir())
    assert [found[0], found[-1]] == ["crossdock.db", "mine.copying"] and len(found) == 3


async def test_a_back_up_that_is_ended_leaves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that SIGTERM, as a timer's service gets it, ends a back-up with a sentence and status
    1, and leaves no part of the copy behind."""
    await stored(data, "first")

    def end(*_files: Path) -> dict[str, Any]:
        assert list(tmp_path.glob(".night.db.*.part")), "there is a part by now"
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    monkeypatch.setattr(backing_up, "describe", end)
    before = signal.getsignal(signal.SIGTERM)
    assert backing_up.main([str(tmp_path / "night.db")]) == 1
    assert "not backed up: interrupted" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["data"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "no SQLAlchemy URL"),
        ("mysql://hub@127.0.0.1/hub", "begins with mysql"),
        ("sqlite+aiosqlite://", "in memory"),
    ],
)
@pytest.mark.usefixtures("data")
def test_what_is_no_database_of_a_hub_is_told(
    monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    """Proves that a setting that names none is refused in a sentence about what it is."""
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", url)
    with pytest.raises(ConfigurationError, match=says) as refused:
        database_of(Settings())
    assert "pg_dump" not in str(refused.value)


async def test_names_are_no_patterns(tmp_path: Path) -> None:
    """Proves that an interruption is seen whatever the name of the database is."""
    new = await stored(tmp_path / "new", "new")
    path = tmp_path / "hub[1].db"
    shutil.copy(new, path)
    interrupted(path, new, lambda: half_put_back(path) is not None)


@pytest.mark.parametrize("source_is", ["of before there were ties", "of a hub that was killed"])
async def test_what_has_no_tie_says_that_it_was_put_back(tmp_path: Path, source_is: str) -> None:
    """Proves that a copy of a version which knew no tie, or of a hub that was killed between its
    upgrade and its first tie, is doubted as the older one with a lost bus, once: deliveries may
    have been called from it."""
    source = tmp_path / "source" / "crossdock.db"
    if source_is == "of a hub that was killed":
        await stored(source.parent, "first")
    else:
        source.parent.mkdir()
        with create_engine(f"sqlite:///{source}").begin() as connection:
            upgrade(connection, LAST_WITHOUT_A_TIE)
    told = put_back(tmp_path / "crossdock.db", source)
    is_old = source_is != "of a hub that was killed"
    assert (told["tables_version"] == LAST_WITHOUT_A_TIE) == is_old
    store = await open_store(tmp_path, "sqlite")
    async with store.write() as transaction:
        said = await bus_rows.tie(transaction)
        assert said is not None and said.generation < 0
        kinds = [(await compare_at_start(transaction, None, {}, 10, 20))[1] for _ in range(2)]
    assert kinds == [DATABASE_OLDER, ""]
    await store.close()


def test_a_server_is_told_in_the_words_of_the_manual() -> None:
    """Proves that the statements which operations.md has for PostgreSQL mark a database with a tie
    and one without, and that to say it twice is to say it once."""
    manual = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    block = re.search(r"```sql\n(UPDATE bus_tie.+?)```", manual, re.DOTALL)
    assert block is not None
    database = ServerDatabase(session_server(), migrated_template())

    def say() -> list[Any]:
        for _ in range(2):
            for statement in filter(str.strip, block[1].split(";")):
                database.query(statement)
        return database.query("SELECT generation FROM bus_tie")

    assert database.query("SELECT generation FROM bus_tie") == []
    assert say() == [(-1,)]
    database.query("UPDATE bus_tie SET generation = 7")
    assert say() == [(-8,)]


@pytest.mark.parametrize("command", [backing_up.main, putting_back.main])
@pytest.mark.parametrize("wrong", [".", "/", "loop", "setting"])
async def test_whatever_is_wrong_is_a_sentence(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[Sequence[str]], int],
    wrong: str,
) -> None:
    """Proves that a directory, a link to itself and a wrong setting each end both commands with
    status 78 and one line that names it, and with nothing changed."""
    await stored(data, "first")
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    named = wrong
    if wrong == "." and command is putting_back.main:
        named = str(tmp_path)
    if wrong == "setting":
        monkeypatch.setenv("CROSSDOCK_METRICS_PORT", "many")
        named = "CROSSDOCK_METRICS_PORT: "
    assert command(["night.db" if wrong == "setting" else wrong]) == backing_up.EXIT_CONFIGURATION
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert named in line and told.out == ""
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "loop"]
    assert has(data / "crossdock.db", "first")
