"""`crossdock hub put-back FILE`: a back-up takes the place of the database of a stopped hub.

What was there is kept beside it, whole. The files of a database belong together, so there is a
moment from which a hub must not start until all of them are of one: it is marked by the name of the
copy (`database_files.HALF`).

    files                                         a hub may start   the command, run again
    FILE is being copied                          yes               copies once more
    copy marked; nothing moved                    no                begins anew with its FILE
    log, or log and database, moved to replaced   no                ends it, given the marked copy
    copy in place                                 yes               -

The copy says itself that it was put back: the bus may be lost, or of the same back-up, and the hub
that starts on it has to doubt what is open (`bus.tie`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from crossdock.errors import ConfigurationError

from crossdock_hub.config import Settings
from crossdock_hub.data_lock import LOCK_FILE, DataLock
from crossdock_hub.store.backing_up import Show, database_of, tell
from crossdock_hub.store.bus_rows import SAY_PUT_BACK
from crossdock_hub.store.database_files import (
    ENDS,
    HALF,
    beside,
    bytes_of,
    describe,
    half_put_back,
    is_damaged,
    new_file,
    refuse_half_put_back,
    refuse_moved,
    sync_directory,
)
from crossdock_hub.store.migrating import is_known

AT_START: Final = (
    "whatever the bus says, the hub takes what is open for called since the copy: by its class it "
    "is looked up, repeated with its key, or parked"
)


def put_back(path: Path, source: Path, show: Show = lambda text: None) -> dict[str, Any]:
    """Put a copy of a back-up in place of a database that nobody uses.

    Returns what is in it, where what was there is now, and what the next start does.

    Raises ConfigurationError: the file is none that can be put back, or there is no room for it,
    or an interrupted one has to be ended first; DatabaseMoved: a hub must not start on the
    database or on the copy, and put back that would be forgotten. Nothing was changed then.
    sqlite3.Error, OSError.
    """
    source = source.resolve()
    half = half_put_back(path)
    if half is not None and source != half:
        _begin_anew(path, half)
        half = None
    if half is None:
        refuse_moved_away(path)
        half, told = _ready(path, source, show)
    else:
        told = describe(half, half)
    replaced = _replaced(half)
    _move_away(path, replaced)
    half.rename(path)
    sync_directory(path.parent)
    kept = str(replaced) if any(replaced.iterdir()) else ""
    if not kept:
        replaced.rmdir()
    told |= {"replaced": kept, "at_start": AT_START}
    return {"database": str(path), "put_back": str(source), **told}


def _begin_anew(path: Path, half: Path) -> None:
    """Forget a copy of which nothing came. Raises ConfigurationError: something did."""
    replaced = _replaced(half)
    if replaced.exists():
        if any(replaced.iterdir()):
            refuse_half_put_back(path)
        replaced.rmdir()
    half.unlink()


def _replaced(half: Path) -> Path:
    """Where what was there goes, when this copy takes its place."""
    return half.with_name(half.name.replace(HALF, ".replaced-"))


def _move_away(path: Path, replaced: Path) -> None:
    """The log first, and on disk before anything else: beside the file that is coming it would be
    written into it."""
    replaced.mkdir(mode=0o700, exist_ok=True)
    _give_to_owner(replaced, path.parent)
    for each in reversed(beside(path)):
        each.rename(replaced / each.name)
        sync_directory(replaced)
        sync_directory(path.parent)


def refuse_moved_away(path: Path) -> None:
    """Raises DatabaseMoved: the database says that it moved elsewhere, and nothing would any more.

    What can't be read says nothing; it may be why something is put back.
    """
    if not path.exists():
        return
    with contextlib.suppress(sqlite3.DatabaseError, ConfigurationError):
        # What its log knows belongs to it.
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        refuse_moved(path, path)


def _ready(path: Path, source: Path, show: Show) -> tuple[Path, dict[str, Any]]:
    """A whole and checked copy beside the database, under the name from which a hub waits."""
    if not source.is_file():
        raise ConfigurationError(f"there is no file {source}")
    if path.exists() and source.samefile(path):
        raise ConfigurationError(f"{source} is the database itself")
    wanted, free = bytes_of(source), shutil.disk_usage(path.parent).free
    if free < 2 * wanted:
        raise ConfigurationError(
            f"{path.parent} has {free:,} bytes free and {2 * wanted:,} are needed; make room, "
            "nothing was changed"
        )
    copy = path.with_name(f"{path.name}.{uuid.uuid4().hex}.copying")
    try:
        show("copying")
        with _unused(source, path.parent):
            _copy(source, copy)
        show("checking the copy")
        refuse_moved(copy, source)
        told = describe(copy, source)
        if not is_known(told["tables_version"]):
            raise ConfigurationError(
                f"{source} is of a newer version of the hub (tables {told['tables_version']}); "
                "install that version first"
            )
        _say_put_back(copy)
        _give_to_owner(copy, path if path.exists() else path.parent)
    except BaseException:
        for each in beside(copy):
            each.unlink()
        raise
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    half = path.with_name(f"{path.name}{HALF}{stamp}")
    copy.rename(half)
    sync_directory(path.parent)
    return half, told


@contextlib.contextmanager
def _unused(source: Path, own: Path) -> Any:
    """While no hub has the directory of a back-up. Raises DataDirectoryInUse."""
    lock = source.parent / LOCK_FILE
    if source.parent == own or not lock.exists():
        yield
        return
    held = DataLock(source.parent)
    # No hub works where nothing can be written.
    with contextlib.suppress(PermissionError):
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _copy(source: Path, target: Path) -> None:
    """With what only its log knows, so that it is one file; the back-up itself is left as it is."""
    for end in ENDS[:2]:
        found = source.with_name(source.name + end)
        if found.exists():
            to = target.with_name(target.name + end)
            with found.open("rb") as reading, new_file(to) as writing:
                shutil.copyfileobj(reading, writing)
    try:
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        raise ConfigurationError(f"{source} is no whole database of a hub: {error}") from None
    for each in beside(target)[1:]:
        each.unlink()


def _say_put_back(copy: Path) -> None:
    """Have it say so itself, on disk. Without a tie no hub has begun anything on it."""
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'bus_tie'").fetchall()
        if known:
            connection.execute(SAY_PUT_BACK)
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
    """The command. 0: done. 78: it can't be, the sentence says why."""
    (source,) = arguments

    def work(show: Show) -> dict[str, Any]:
        settings = Settings()
        path = database_of(settings)
        if not settings.data_directory.is_dir() or not path.parent.is_dir():
            raise ConfigurationError(
                f"there is no directory {path.parent}; name the hub's data directory"
            )
        with DataLock(settings.data_directory):
            return put_back(path, Path(source), show)

    return tell("not put back", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
