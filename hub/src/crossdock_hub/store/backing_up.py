"""`crossdock hub back-up FILE`: a whole copy of the database of a hub that runs, or of one that
does not.

SQLite copies it as it was at one moment, while the hub goes on writing. The copy gets its name when
it is checked and on disk; before that nothing has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from crossdock.cli.progress import REDRAW_SECONDS, ProgressLine, bar
from crossdock.errors import ConfigurationError, CrossdockError
from pydantic import ValidationError

from crossdock_hub.config import Settings
from crossdock_hub.store.database_files import (
    bytes_of,
    file_of,
    refuse_half_put_back,
    sync_directory,
)
from crossdock_hub.store.engine import database_url

EXIT_CONFIGURATION: Final = 78
# A hub that commits holds a lock for milliseconds.
LOCK_WAIT_SECONDS: Final = 30.0
Show = Callable[[str], None]


def database_of(settings: Settings) -> Path:
    """The file of the hub's database. Raises ConfigurationError: it is a server's."""
    path = file_of(database_url(settings.database_url, settings.data_directory))
    if path is None:
        raise ConfigurationError(
            "the database is PostgreSQL, which has its own back-ups: pg_dump --format=custom, and "
            "pg_restore into an empty database; see docs/operations.md"
        )
    return path


def back_up(path: Path, target: Path, show: Show = lambda text: None) -> dict[str, Any]:
    """Copy a database to a new file, which only its owner may read.

    show: told now and then how far it is, by another thread. Returns what `describe` says of the
    copy and how long it took.

    Raises ConfigurationError: there is no database, the file exists, or there is too little room;
    sqlite3.Error, OSError. Nothing is left behind then.
    """
    refuse_half_put_back(path)
    if not path.is_file():
        raise ConfigurationError(f"there is no database {path}; name the hub's data directory")
    if target.exists():
        raise ConfigurationError(
            f"{target} exists; a back-up never replaces a file, name a new one"
        )
    if not target.parent.is_dir():
        raise ConfigurationError(f"there is no directory {target.parent}")
    wanted, free = bytes_of(path), shutil.disk_usage(target.parent).free
    if free < wanted:
        raise ConfigurationError(
            f"{target.parent} has {free:,} bytes free and {wanted:,} are needed; make room"
        )
    begun = time.monotonic()
    part = target.with_name(f"{target.name}.part")
    # Made here so that nobody else can read it at any moment; one that was left is of a dead copy.
    os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
    try:
        part.chmod(0o600)
        with _watched(part, wanted, show):
            copy(path, part)
        show("checking the copy")
        told = describe(part, path)
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)
    seconds = round(time.monotonic() - begun, 1)
    return {"database": str(path), "back_up": str(target), **told, "seconds": seconds}


def copy(source: Path, target: Path) -> None:
    """The database as it is at one moment, on disk when this returns. Raises sqlite3.Error."""
    uri = f"{source.resolve().as_uri()}?mode=rw"
    reading = sqlite3.connect(uri, uri=True, timeout=LOCK_WAIT_SECONDS)
    with contextlib.closing(reading), contextlib.closing(sqlite3.connect(target)) as writing:
        # In one go: in steps it would begin anew after each commit of the hub.
        reading.backup(writing, pages=-1)
    with target.open("rb+") as file:
        os.fsync(file.fileno())


def describe(path: Path, original: Path) -> dict[str, Any]:
    """What is in a copy that nobody writes to, once every page of it is checked.

    Raises ConfigurationError: it is no database of a hub, or a damaged one.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            if found != "ok":
                raise ConfigurationError(f"{original} is damaged: {found}")
            ((version,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            ((newest,),) = connection.execute("SELECT max(sequence) FROM events").fetchall()
    except (sqlite3.DatabaseError, ValueError) as error:
        raise ConfigurationError(f"{original} is no whole database of a hub: {error}") from None
    size = path.stat().st_size
    return {"tables_version": str(version), "newest_event": newest or 0, "bytes": size}


@contextlib.contextmanager
def _watched(path: Path, wanted: int, show: Show) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(REDRAW_SECONDS):
            show(f"copying {bar(min(path.stat().st_size / max(wanted, 1), 1.0))}")

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()


def tell(failed: str, work: Callable[[Show], dict[str, Any]]) -> int:
    """Do it, with progress on a terminal; print what it says as JSON. Returns the exit status."""
    progress = ProgressLine(beside_result=True)
    try:
        try:
            done = work(progress.show)
        finally:
            progress.end()
    except (CrossdockError, ValidationError, sqlite3.Error, OSError) as error:
        print(f"{failed}: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    print(json.dumps(done, indent=1))
    return 0


def main(arguments: Sequence[str]) -> int:
    """The command. 0: done. 78: it can't be, the sentence says why."""
    (target,) = arguments
    return tell("not backed up", lambda show: back_up(database_of(Settings()), Path(target), show))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
