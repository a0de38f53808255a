"""The files of an SQLite database, and the sign that one is being put back.

A database is one file and what SQLite keeps beside it: the log of what is not in it yet (`-wal`)
and its index (`-shm`). They belong together: a log beside another file is written into it.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from crossdock.errors import ConfigurationError
from sqlalchemy import make_url

from crossdock_hub.store.moves import ARRIVED, DatabaseMoved
from crossdock_hub.taken import DatabaseReplaced

ENDS: Final = ("", "-wal", "-shm")
# The copy that takes the place of the database, from when it is whole until it does.
HALF: Final = ".putting-back-"
# A killed hub lets go of its files within milliseconds.
CLAIM_WAIT_SECONDS: Final = 2.0
# So many steps of SQLite's machine take some milliseconds.
CHECK_STEPS: Final = 100_000
# As SQLite makes a database; who may enter its directory is said there.
_MODE_OF_SQLITE: Final = 0o644
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def file_of(url: str) -> Path | None:
    """The file of an SQLite database; None for any other. Raises ConfigurationError: see
    `real_path`."""
    parsed = make_url(url)
    is_file = parsed.drivername.startswith("sqlite") and parsed.database
    return real_path(Path(str(parsed.database))) if is_file else None


def real_path(path: Path) -> Path:
    """A path without links. Raises ConfigurationError: its links lead nowhere but to each other."""
    try:
        return path.resolve()
    except RuntimeError:
        raise ConfigurationError(f"{path} is a link that leads back to itself; mend it") from None


def beside(path: Path) -> list[Path]:
    """The files of a database that are there."""
    named = (path.with_name(path.name + end) for end in ENDS)
    return [each for each in named if each.exists()]


def bytes_of(path: Path) -> int:
    """Of all its files; not of copies that somebody put beside it."""
    return sum(each.stat().st_size for each in beside(path))


def half_put_back(path: Path) -> Path | None:
    """The copy that was about to take the place of a database when that was interrupted."""
    # Not what SQLite keeps beside it while somebody looks into it.
    return min(path.parent.glob(f"{glob.escape(path.name)}{HALF}*Z"), default=None)


def refuse_half_put_back(path: Path) -> None:
    """Raises ConfigurationError while some files may be of one database and some of another."""
    half = half_put_back(path)
    if half is not None:
        raise ConfigurationError(
            f"a back-up was being put back in place of {path} and that was interrupted; end it "
            f"with: crossdock hub put-back {shlex.quote(str(half))}"
        )


class Entrance:
    """The file of a database as it was before somebody opened it, who looks again once he has a
    lock on it.

    Who waits while a back-up is put back has opened the file that is moved away meanwhile. What he
    wrote would get into a log beside the one that came: SQLite finds a log by its name.
    """

    def __init__(self, path: Path) -> None:
        """A database that is to be made begins here, as an empty file. Raises ConfigurationError:
        see `refuse_half_put_back`; OSError."""
        refuse_half_put_back(path)
        if not path.exists():
            path.touch(_MODE_OF_SQLITE)
        self._path = path
        self._found = _identity(path)

    def refuse_another(self) -> None:
        """Asked by who has a lock, so that no file can take its place any more. Raises
        DatabaseReplaced: one did; ConfigurationError: see `refuse_half_put_back`."""
        refuse_half_put_back(self._path)
        if _identity(self._path) != self._found:
            raise DatabaseReplaced(
                f"a back-up was put in place of {self._path} while it was being opened; "
                "run this again"
            )


def entrance_to(url: str) -> Entrance | None:
    """Where to look before a database is opened; None: it is no file."""
    path = file_of(url)
    return None if path is None else Entrance(path)


def _identity(path: Path) -> tuple[int, int] | None:
    # Not of a descriptor: to close one lets go of every lock that this process has on the file.
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that was not there, and that only its owner may ever read. Raises FileExistsError."""
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        yield file


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe(
    path: Path, original: Path, show: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """What is in a copy that nobody writes to, once every page of it is checked.

    show: told now and then for how long it has been checked; SQLite does not say how much is left.
    Raises ConfigurationError: it is no database of a hub, or a damaged one; the sentence names the
    original.
    """
    begun = time.monotonic()

    def step() -> None:
        show(f"checking the copy, {time.monotonic() - begun:.0f} s")

    with _still(path, original) as connection:
        connection.set_progress_handler(step, CHECK_STEPS)
        ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
        if found != "ok":
            raise ConfigurationError(f"{original} is damaged: {found}")
        ((version,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        ((newest,),) = connection.execute("SELECT max(sequence) FROM events").fetchall()
    size = path.stat().st_size
    return {"tables_version": str(version), "newest_event": newest or 0, "bytes": size}


def refuse_moved(path: Path, original: Path) -> None:
    """Raises DatabaseMoved: it is the one a hub must not start on; where it went is the one."""
    with _still(path, original) as connection:
        _refuse_marks(connection, original)


def _refuse_marks(connection: sqlite3.Connection, original: Path) -> None:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'moves'").fetchall()
    marks = connection.execute("SELECT state, place FROM moves").fetchall() if known else []
    for state, place in marks:
        if state != ARRIVED:
            raise DatabaseMoved(
                f"{original} takes part in a move, its other place is {place}: no hub may start on "
                "it; see crossdock hub move --undo, and --as-back-up"
            )


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[sqlite3.Connection]:
    """While nobody else has a database open.

    Where the file has moved by the end, it and its log are as they were; else SQLite has written
    the one into the other. A damaged one is claimed by nobody: it may be why something is put back.
    Raises ConfigurationError: it is in use, or can't be read; DatabaseMoved: see `refuse_moved`.
    """
    uri = f"{path.resolve().as_uri()}?mode=rw"
    opened = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=CLAIM_WAIT_SECONDS)
    with contextlib.closing(opened) as connection:
        try:
            # Not even to read: a hub begins by reading.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            _refuse_marks(connection, path)
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if not is_damaged(error):
                raise ConfigurationError(
                    f"{path} can't be had alone: {error}; stop what uses it, maybe a hub with "
                    "another data directory, or, if it can't be read, move it and what is beside "
                    "it elsewhere"
                ) from None
        yield connection


@contextlib.contextmanager
def _still(path: Path, original: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that nobody writes to. Raises ConfigurationError: it is no database
    of a hub."""
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            yield connection
    except (sqlite3.DatabaseError, ValueError) as error:
        raise ConfigurationError(f"{original} is no whole database of a hub: {error}") from None


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether SQLite says of a file that it is none of its own, or not whole."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
