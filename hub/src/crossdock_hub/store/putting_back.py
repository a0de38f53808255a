"""`crossdock hub put-back FILE`: a back-up takes the place of the database of a stopped hub.

What was there is kept beside it, whole. The files of a database belong together, so there is a
moment from which a hub must not start until all of them are of one: it is marked by the name of the
copy (`database_files.HALF`), and whoever runs the command again ends what is left.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossdock.errors import ConfigurationError

from crossdock_hub.config import Settings
from crossdock_hub.data_lock import DataLock
from crossdock_hub.store.backing_up import Show, database_of, describe, tell
from crossdock_hub.store.database_files import (
    ENDS,
    HALF,
    beside,
    bytes_of,
    half_put_back,
    sync_directory,
)
from crossdock_hub.store.migrating import is_known


def put_back(path: Path, source: Path, show: Show = lambda text: None) -> dict[str, Any]:
    """Put a copy of a back-up in place of a database that nobody uses.

    Returns what is in it, and where what was there is now. Run again after an interruption, it ends
    what is left, with the copy that it had.

    Raises ConfigurationError: the file is none that can be put back, or there is no room for it,
    and nothing was changed; sqlite3.Error, OSError.
    """
    half = half_put_back(path)
    what = str(source) if half is None else "the copy that an interrupted one had made"
    if half is None:
        half = _ready(path, source, show)
    told = describe(half, half)
    replaced = path.parent / half.name.replace(HALF, ".replaced-")
    replaced.mkdir(mode=0o700, exist_ok=True)
    # The log first: beside the file that is coming it would be written into it.
    for each in reversed(beside(path)):
        each.rename(replaced / each.name)
    sync_directory(replaced)
    half.rename(path)
    sync_directory(path.parent)
    if not any(replaced.iterdir()):
        replaced.rmdir()
    kept = str(replaced) if replaced.exists() else ""
    return {"database": str(path), "put_back": what, **told, "replaced": kept}


def _ready(path: Path, source: Path, show: Show) -> Path:
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
    copy = path.with_name(f"{path.name}.copying")
    try:
        show("copying")
        _copy(source, copy)
        show("checking the copy")
        told = describe(copy, source)
        if not is_known(told["tables_version"]):
            raise ConfigurationError(
                f"{source} is of a newer version of the hub (tables {told['tables_version']}); "
                "install that version first"
            )
    except BaseException:
        for each in beside(copy):
            each.unlink()
        raise
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    half = path.with_name(f"{path.name}{HALF}{stamp}")
    copy.rename(half)
    sync_directory(path.parent)
    return half


def _copy(source: Path, target: Path) -> None:
    """With what only its log knows, so that it is one file; the back-up itself is left as it is."""
    for each in beside(target):
        each.unlink()
    for end in ENDS[:2]:
        found = source.with_name(source.name + end)
        if found.exists():
            shutil.copyfile(found, target.with_name(target.name + end))
    target.chmod(0o600)
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        raise ConfigurationError(f"{source} is no whole database of a hub: {error}") from None
    for each in beside(target)[1:]:
        each.unlink()
    with target.open("rb+") as file:
        os.fsync(file.fileno())


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
