"""`crossdock hub back-up FILE`: a whole copy of the database of a hub that runs, or of one that
does not.

SQLite copies it as it was at one moment, while the hub goes on writing. The copy gets its name when
it is checked and on disk; before that nothing has it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from crossdock.cli.progress import ProgressLine, bar
from crossdock.errors import ConfigurationError, CrossdockError
from pydantic import ValidationError

from crossdock_hub.config import Settings
from crossdock_hub.store.database_files import (
    beside,
    bytes_of,
    describe,
    file_of,
    new_file,
    refuse_half_put_back,
    refuse_moved,
    sync_directory,
)
from crossdock_hub.store.engine import access_of, check_url, database_url
from crossdock_hub.store.failures import StoreFailure
from crossdock_hub.wording import setting_problem

EXIT_INTERRUPTED: Final = 1
EXIT_CONFIGURATION: Final = 78
# A hub that commits holds a lock for milliseconds.
LOCK_WAIT_SECONDS: Final = 30.0
PAGES_AT_A_TIME: Final = 1_024
COPY_SECONDS_MAX: Final = 4 * 3_600.0
# While it is copied the log of the hub can't be written back into the database, and grows: the
# hub keeps so much room.
LEFT_FOR_THE_HUB_BYTES: Final = 256 << 20
Show = Callable[[str], None]


def database_of(settings: Settings) -> Path:
    """The file of the hub's database. Raises ConfigurationError: it is a server's."""
    url = database_url(settings.database_url, settings.data_directory)
    check_url(url, access_of(settings))
    path = file_of(url)
    if path is None and url.startswith("sqlite"):
        raise ConfigurationError("the database is in memory only; there is no file of it")
    if path is None:
        raise ConfigurationError(
            "the database is PostgreSQL, which has its own back-ups: pg_dump --format=custom, and "
            "pg_restore into an empty database; see docs/operations.md"
        )
    return path


def back_up(path: Path, target: Path, show: Show = lambda text: None) -> dict[str, Any]:
    """Copy a database to a new file, which only its owner may read.

    show: told now and then how far it is. Returns what `describe` says of the copy and how long it
    took.

    Raises ConfigurationError: there is no database to copy, the file exists, there is too little
    room, or it took too long; sqlite3.Error, OSError. Nothing is left behind then.
    """
    refuse_half_put_back(path)
    if not target.name or target.is_dir():
        raise ConfigurationError(f"{target} is a directory; name the file to be made in it")
    if not path.is_file():
        raise ConfigurationError(f"there is no database {path}; name the hub's data directory")
    for each in beside(target):
        raise ConfigurationError(
            f"{each} exists; a back-up never replaces a file, nor lies beside the log of another "
            "database: name another"
        )
    if not target.parent.is_dir():
        raise ConfigurationError(f"there is no directory {target.parent}")
    _refuse_too_little_room(path, target.parent)
    begun = time.monotonic()
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        with new_file(part):
            pass
        copy(path, part, show)
        show("checking the copy")
        refuse_moved(part, path)
        told = describe(part, path, show)
        _name(part, target)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(target.parent)
    seconds = round(time.monotonic() - begun, 1)
    return {"database": str(path), "back_up": str(target), **told, "seconds": seconds}


def _refuse_too_little_room(path: Path, directory: Path) -> None:
    """Raises ConfigurationError: the copy, or the log of a hub that runs meanwhile, has none."""
    wanted = {directory: bytes_of(path)}
    shared = directory.stat().st_dev == path.parent.stat().st_dev
    log_at = directory if shared else path.parent
    wanted[log_at] = wanted.get(log_at, 0) + LEFT_FOR_THE_HUB_BYTES
    for where, needed in wanted.items():
        free = shutil.disk_usage(where).free
        if free < needed:
            log = f", {LEFT_FOR_THE_HUB_BYTES:,} of them for the log of a hub that runs meanwhile"
            raise ConfigurationError(
                f"{where} has {free:,} bytes free and {needed:,} are needed"
                f"{log if where == log_at else ''}; make room"
            )


def copy(source: Path, target: Path, show: Show) -> None:
    """The database as it is at one moment, on disk when this returns."""
    was = source.stat().st_ino
    until = time.monotonic() + COPY_SECONDS_MAX

    def step(_status: int, remaining: int, total: int) -> None:
        show(f"copying {bar(1 - remaining / max(total, 1))}")
        if time.monotonic() > until:
            raise ConfigurationError(f"the copy takes more than {COPY_SECONDS_MAX:,.0f} s")
        if shutil.disk_usage(source.parent).free < LEFT_FOR_THE_HUB_BYTES:
            raise ConfigurationError(
                f"{source.parent} gets full: the hub's log grows while its database is copied; "
                "make room, or copy to a faster disk"
            )

    with _reading(source) as reading, contextlib.closing(sqlite3.connect(target)) as writing:
        reading.backup(writing, pages=PAGES_AT_A_TIME, progress=step)
    refuse_half_put_back(source)
    if source.stat().st_ino != was:
        raise ConfigurationError(f"{source} was replaced while it was copied; run it again")
    with target.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one moment until it is closed: without that a copy in steps would
    begin anew after each commit of the hub. Raises sqlite3.OperationalError: somebody has locked
    it for longer than a hub does."""
    uri = f"{path.resolve().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=LOCK_WAIT_SECONDS, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        yield connection


def _name(part: Path, target: Path) -> None:
    """Give the copy its name, unless somebody else has got it meanwhile."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise ConfigurationError(f"{target} exists by now; it was left as it is") from None
    except OSError as error:
        # Some file systems know no second name.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        part.rename(target)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def tell(failed: str, work: Callable[[Show], dict[str, Any]]) -> int:
    """Do it, with progress on a terminal; print what it says as JSON. Returns the exit status.

    SIGTERM ends it as Ctrl-C does: what it has made for itself goes. A KeyboardInterrupt that says
    something came too late for that.
    """
    progress = ProgressLine(beside_result=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        try:
            done = work(progress.show)
        finally:
            signal.signal(signal.SIGTERM, before)
            progress.end()
    except KeyboardInterrupt as interrupted:
        print(str(interrupted) or f"{failed}: interrupted; run it again", file=sys.stderr)
        return EXIT_INTERRUPTED
    except ValidationError as error:
        print(f"{failed}: {setting_problem(error.errors()[0])}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except (CrossdockError, StoreFailure, sqlite3.Error, OSError) as error:
        print(f"{failed}: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    print(json.dumps(done, indent=1))
    return 0


def main(arguments: Sequence[str]) -> int:
    """The command. 0: done. 78: it can't be, the sentence says why. 1: it was interrupted."""
    (target,) = arguments
    return tell("not backed up", lambda show: back_up(database_of(Settings()), Path(target), show))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
