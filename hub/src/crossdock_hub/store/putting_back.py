"""`crossdock hub put-back FILE`: a back-up takes the place of the database of a stopped hub.

What was there is kept beside it, whole. The files of a database belong together, so there is a
moment from which a hub must not start until all of them are of one: it is marked by the name of the
copy (`database_files.HALF`).

    files                                         a hub may start   the command, run again
    FILE is being copied                          yes               copies once more
    copy marked; nothing moved                    no                ends it, given the marked copy
    log, or log and database, moved to replaced   no                ends it, given the marked copy
    copy in place                                 yes               -

Given another FILE it puts a copy of that in place of the marked one, and ends it with that.

The database is not opened before the copy is whole and checked: SQLite writes a log into the file
beside it when it is closed, and that log may be of another one. From when the copy is marked until
it is in place nobody else has either of them open; SQLite leaves files alone that have moved.

The copy says itself that it was put back: the bus may be lost, or of the same back-up, and the hub
that starts on it has to doubt what is open (`bus.tie`).
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from crossdock.cli.progress import bar
from crossdock.errors import ConfigurationError
from sqlalchemy import NullPool, create_engine, inspect

from crossdock_hub.config import Settings
from crossdock_hub.data_lock import LOCK_FILE, DataLock
from crossdock_hub.store.backing_up import Show, database_of, tell
from crossdock_hub.store.bus_rows import say_put_back
from crossdock_hub.store.database_files import (
    ENDS,
    HALF,
    beside,
    bytes_of,
    claimed,
    describe,
    half_put_back,
    is_damaged,
    new_file,
    real_path,
    refuse_moved,
    sync_directory,
)
from crossdock_hub.store.migrating import is_known, upgrade

COPYING: Final = ".copying"
# The migration that made the table in which a database says that it was put back.
_FIRST_WITH_A_TIE: Final = "0006"
AT_START: Final = (
    "whatever the bus says, the hub takes what is open for called since the copy: by its class it "
    "is looked up, repeated with its key, or parked"
)


def put_back(
    path: Path, source: Path, show: Show = lambda text: None, locked: Path | None = None
) -> dict[str, Any]:
    """Put a copy of a back-up in place of a database that nobody uses.

    locked: the data directory that the caller holds, where it is not that of the database.
    Returns what is in it, where what was there is now, and what the next start does.

    Raises ConfigurationError: the file is none that can be put back, or there is no room for it, or
    somebody uses the database; DatabaseMoved: a hub must not start on the database or on the copy,
    and put back that would be forgotten. Nothing was changed then. sqlite3.Error, OSError.
    """
    source = real_path(source)
    half = half_put_back(path)
    with contextlib.ExitStack() as held:
        if half is not None and source == half:
            copy, told = half, _ended(path, half, show)
        else:
            ready = _ready(path, source, {path.parent, locked or path.parent}, show)
            copy, told = held.enter_context(ready)
        # Once some of it has moved, what is left is no database.
        alone = path.exists() and not (half is not None and _has_moved(path, half))
        if alone:
            held.enter_context(claimed(path))
        half = _marked(copy, path, half, alone=alone)
        held.enter_context(_in_one_file(half))
        replaced = _replaced(half)
        _move_away(path, replaced)
        half.rename(path)
        sync_directory(path.parent)
    kept = str(replaced) if any(replaced.iterdir()) else ""
    if not kept:
        replaced.rmdir()
    told |= {"replaced": kept, "at_start": AT_START}
    return {"database": str(path), "put_back": str(source), **told}


def _ended(path: Path, half: Path, show: Show) -> dict[str, Any]:
    """What is in a copy of which an interruption is ended. Raises ConfigurationError: it is damaged
    by now; the sentence names the way out."""
    try:
        return describe(half, half, show)
    except ConfigurationError as error:
        kept = f"; what was there is in {_replaced(half)}" if _has_moved(path, half) else ""
        raise ConfigurationError(
            f"{error}; put another back-up in place of it, with: crossdock hub put-back FILE{kept}"
        ) from None


def _has_moved(path: Path, half: Path) -> bool:
    """Whether the log or the database itself was moved away already to make room for this copy.
    Where only the index was, the database is whole in its place."""
    replaced = _replaced(half)
    return any((replaced / f"{path.name}{end}").exists() for end in ENDS[:2])


def _marked(copy: Path, path: Path, earlier: Path | None, *, alone: bool) -> Path:
    """The copy under the name that keeps hubs out; earlier: the one that has it already.

    Raises ConfigurationError: somebody has made the database that was not there to be claimed.
    """
    if copy == earlier:
        return copy
    half = earlier or _new_half(path)
    for each in beside(half)[1:]:
        # Of the one that goes: beside the new one its log would be written into it.
        each.unlink()
    # Over an earlier one: there is never a moment without.
    copy.rename(half)
    sync_directory(path.parent)
    if earlier is None and not alone and path.exists():
        half.unlink()
        raise ConfigurationError(
            f"{path} was made while a back-up was being put back; stop what uses it and run this "
            "again"
        )
    return half


def _new_half(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return path.with_name(f"{path.name}{HALF}{stamp}")


def _replaced(half: Path) -> Path:
    """Where what was there goes, when this copy takes its place."""
    return half.with_name(half.name.replace(HALF, ".replaced-"))


def _move_away(path: Path, replaced: Path) -> None:
    """The log first, and on disk before anything else: beside the file that is coming it would be
    written into it. Raises ConfigurationError: somebody has opened what is left meanwhile, and made
    a file anew that is kept already."""
    replaced.mkdir(mode=0o700, exist_ok=True)
    _give_to_owner(replaced, path.parent)
    for each in reversed(beside(path)):
        kept = replaced / each.name
        if kept.exists():
            raise ConfigurationError(
                f"{each} was made while a back-up was being put back, the one from before is "
                f"{kept}; move it away and run this again"
            )
        each.rename(kept)
        sync_directory(replaced)
        sync_directory(path.parent)


@contextlib.contextmanager
def _in_one_file(half: Path) -> Iterator[None]:
    """A marked copy, while nobody else has it open: who was killed while he looked into it has left
    a log beside it. Raises ConfigurationError: somebody still looks."""
    with claimed(half) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for each in beside(half)[1:]:
            each.unlink()
        yield


@contextlib.contextmanager
def _ready(
    path: Path, source: Path, held: set[Path], show: Show
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A whole and checked copy beside the database, which says that it was put back. What is left
    of it by that name goes in the end.

    held: directories that nobody else can use.
    """
    if not source.is_file():
        raise ConfigurationError(f"there is no file {source}")
    if path.exists() and source.samefile(path):
        raise ConfigurationError(f"{source} is the database itself")
    for each in path.parent.glob(f"{glob.escape(path.name)}.*{COPYING}*"):
        each.unlink()
    wanted, free = bytes_of(source), shutil.disk_usage(path.parent).free
    if free < 2 * wanted:
        raise ConfigurationError(
            f"{path.parent} has {free:,} bytes free and {2 * wanted:,} are needed; make room, "
            "nothing was changed"
        )
    copy = path.with_name(f"{path.name}.{uuid.uuid4().hex}{COPYING}")
    try:
        show("copying")
        with _unused(source, held):
            _copy(source, copy, show)
        show("checking the copy")
        refuse_moved(copy, source)
        told = describe(copy, source, show)
        if not is_known(told["tables_version"]):
            raise ConfigurationError(
                f"{source} is of a newer version of the hub (tables {told['tables_version']}); "
                "install that version first"
            )
        _say_put_back(copy)
        _give_to_owner(copy, path if path.exists() else path.parent)
        yield copy, told
    finally:
        for each in beside(copy):
            each.unlink()


@contextlib.contextmanager
def _unused(source: Path, held: set[Path]) -> Iterator[None]:
    """While no hub has the directory of a back-up. Raises DataDirectoryInUse; ConfigurationError:
    nobody here can tell."""
    lock = source.parent / LOCK_FILE
    if not lock.exists() or any(each.samefile(source.parent) for each in held):
        yield
        return
    mine = DataLock(source.parent)
    try:
        mine.acquire()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise ConfigurationError(
                f"{lock} can't be opened by this user, so it can't be told whether a hub works "
                f"beside {source}; run this as the user who owns it"
            ) from None
        # No hub works where nothing can be written.
        if error.errno != errno.EROFS:
            raise
    try:
        yield
    finally:
        mine.release()


class _Counted:
    """A file that is read in parts. told: how many bytes each part had."""

    def __init__(self, file: BinaryIO, told: Callable[[int], None]) -> None:
        self._file, self._told = file, told

    def read(self, size: int = -1) -> bytes:
        """The next part."""
        found = self._file.read(size)
        self._told(len(found))
        return found


def _copy(source: Path, target: Path, show: Show) -> None:
    """With what only its log knows, so that it is one file; the back-up itself is left as it is.

    Raises ConfigurationError: it is written to, by whoever has no lock beside it; or is damaged.
    """
    before = _state(source)
    done, total = 0, max(1, sum(size for _, size, _ in filter(None, before)))

    def told(count: int) -> None:
        nonlocal done
        done += count
        show(f"copying {bar(done / total)}")

    for end in ENDS[:2]:
        found = source.with_name(source.name + end)
        if found.exists():
            to = target.with_name(target.name + end)
            with found.open("rb") as reading, new_file(to) as writing:
                shutil.copyfileobj(_Counted(reading, told), writing)
    if _state(source) != before:
        raise ConfigurationError(
            f"{source} changed while it was copied: somebody uses it, maybe a hub with another "
            "data directory; stop that, or make a back-up of it with: crossdock hub back-up FILE"
        )
    try:
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        raise ConfigurationError(f"{source} is no whole database of a hub: {error}") from None
    for each in beside(target)[1:]:
        each.unlink()


def _state(source: Path) -> list[tuple[int, int, int] | None]:
    """What changes when somebody writes to a database or to its log."""
    found: list[tuple[int, int, int] | None] = []
    for end in ENDS[:2]:
        try:
            each = source.with_name(source.name + end).stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((each.st_ino, each.st_size, each.st_mtime_ns))
    return found


def _say_put_back(copy: Path) -> None:
    """Have it say so itself, on disk; one of before there was where to say it is brought so far."""
    uri = f"{copy.resolve().as_uri()}?mode=rw"
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(uri, uri=True), poolclass=NullPool
    )
    with engine.begin() as connection:
        if not inspect(connection).has_table("bus_tie"):
            upgrade(connection, _FIRST_WITH_A_TIE)
        say_put_back(connection)
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for each in beside(copy)[1:]:
        each.unlink()
    with copy.open("rb+") as file:
        os.fsync(file.fileno())


def _give_to_owner(file: Path, like: Path) -> None:
    """An administrator puts back what the hub's own user has to open."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def main(arguments: Sequence[str]) -> int:
    """The command. 0: done. 78: it can't be, the sentence says why. 1: it was interrupted."""
    (source,) = arguments

    def work(show: Show) -> dict[str, Any]:
        settings = Settings()
        path = database_of(settings)
        if not settings.data_directory.is_dir() or not path.parent.is_dir():
            raise ConfigurationError(
                f"there is no directory {path.parent}; name the hub's data directory"
            )
        with DataLock(settings.data_directory):
            return put_back(path, Path(source), show, settings.data_directory)

    return tell("not put back", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
