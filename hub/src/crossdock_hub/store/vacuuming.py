"""`crossdock hub vacuum`: gives the space of what has gone back to the system.

What is emptied or deleted leaves room inside the database, which later rows fill; its files do not
get smaller by themselves. SQLite writes its file anew, for which no hub may run and a second file
must find room; PostgreSQL makes room usable and renews its statistics while a hub runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any, Final

from crossdock.cli.progress import REDRAW_SECONDS, bar
from crossdock.errors import ConfigurationError
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from crossdock_hub.config import Settings
from crossdock_hub.data_lock import DataLock
from crossdock_hub.store import postgresql
from crossdock_hub.store.backing_up import database_of, tell
from crossdock_hub.store.database_files import Entrance, bytes_of, refuse_half_put_back
from crossdock_hub.store.engine import FAILURES, access_of, check_url, database_url
from crossdock_hub.store.failures import failure_of
from crossdock_hub.store.schema import METADATA

# Less of the log is from before.
SHARE_THAT_SHOWS: Final = 0.02
Show = Callable[[str], None]
# The new file and its log stand beside the old one until it is replaced.
ROOM_FACTOR: Final = 2
# Those of an earlier version may be fewer. As a hub finds them: by the whole search path.
_TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
)


def vacuum_file(path: Path, show: Show = lambda text: None) -> dict[str, Any]:
    """Write a database file of SQLite anew, without gaps; nobody uses it meanwhile.

    show: told now and then how far it is.

    Raises ConfigurationError: there is no such file, too little room beside it, or a back-up is
    being put in its place; sqlite3.Error, OSError. KeyboardInterrupt that says so: it came when the
    file was written anew already.
    """
    refuse_half_put_back(path)
    if not path.is_file():
        raise ConfigurationError(f"there is no database {path}; name the hub's data directory")
    entrance = Entrance(path)
    before = bytes_of(path)
    free = shutil.disk_usage(path.parent).free
    if free < before * ROOM_FACTOR:
        raise ConfigurationError(
            f"{path.parent} has {free:,} bytes free and {before * ROOM_FACTOR:,} are needed; "
            "make room, nothing was changed"
        )
    # The thread that runs VACUUM is another one than this.
    opened = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    written = Event()
    try:
        with contextlib.closing(opened) as connection:
            connection.execute("BEGIN IMMEDIATE")
            entrance.refuse_another()
            # A connection to a database with a log keeps a lock on the file until it is closed.
            connection.execute("COMMIT")
            connection.execute("PRAGMA synchronous=FULL")
            # Else the new file is gathered in /var/tmp or /tmp, which may have less room.
            folder = str(path.parent.resolve()).replace("'", "''")
            connection.execute(f"PRAGMA temp_store_directory='{folder}'")
            _write_anew(connection, path, show, written)
            show("writing what is in the log back into the file")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except KeyboardInterrupt:
        if not written.is_set():
            raise
        raise KeyboardInterrupt(
            f"vacuumed: {path} is written anew; interrupted while its log was written back into "
            "it; what is left of that the next start of the hub does, no need to run it again"
        ) from None
    return {"database": str(path), "bytes_before": before, "bytes_after": bytes_of(path)}


def _bytes_in_use(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _write_anew(connection: sqlite3.Connection, path: Path, show: Show, written: Event) -> None:
    """Run VACUUM, and tell how long it takes and how much of it is done: SQLite gathers what is
    left in a temporary file, where nobody sees it, then writes it to the log beside the database.

    A thread runs it, so that a signal is heard meanwhile; what was done of it is undone then.
    written: set when it is done, from when on nothing is undone.
    """

    def run() -> None:
        connection.execute("VACUUM")
        written.set()

    wanted, begun = _bytes_in_use(connection), time.monotonic()
    log = path.with_name(f"{path.name}-wal")
    show("gathering what is left")
    with ThreadPoolExecutor(1) as runs:
        done = runs.submit(run)
        try:
            while not wait((done,), REDRAW_SECONDS).done:
                seconds = f"{time.monotonic() - begun:.0f} s"
                in_log = log.stat().st_size if log.exists() else 0
                if in_log < wanted * SHARE_THAT_SHOWS:
                    show(f"gathering what is left, {seconds}")
                else:
                    show(f"writing it anew {bar(in_log / wanted)}, {seconds}")
            done.result()
        finally:
            # It may not have begun when the first word comes.
            while not wait((done,), 0).done:
                connection.interrupt()
                wait((done,), REDRAW_SECONDS)


async def vacuum_server(
    url: str, access: postgresql.Access, show: Show = lambda text: None
) -> dict[str, Any]:
    """Make the room of dead rows usable in every table of the hub, of whatever version they are.

    show: told before each table how far it is. Raises StoreFailure; ConfigurationError: no table is
    a hub's.
    """
    # No transaction: it is refused in one.
    alone = {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}
    engine = create_async_engine(url, **postgresql.migration_options(access) | alone)
    try:
        async with engine.connect() as connection:
            size = "SELECT pg_database_size(current_database())"
            before = (await connection.exec_driver_sql(size)).scalar_one()
            there = {row[0] for row in await connection.exec_driver_sql(_TABLES)}
            tables = [each for each in METADATA.sorted_tables if each.name in there]
            name = engine.url.render_as_string(hide_password=True)
            if not tables:
                raise ConfigurationError(
                    f"no hub has ever run on {name}; name the hub's CROSSDOCK_DATABASE_URL"
                )
            for number, table in enumerate(tables):
                show(f"{bar(number / len(tables))} {number} of {len(tables)} tables, {table.name}")
                await connection.exec_driver_sql(f'VACUUM (ANALYZE) "{table.name}"')
            after = (await connection.exec_driver_sql(size)).scalar_one()
            return {"database": name, "bytes_before": before, "bytes_after": after}
    except FAILURES as error:
        raise failure_of(error) from None
    finally:
        await engine.dispose()


def vacuum(settings: Settings, show: Show = lambda text: None) -> dict[str, Any]:
    """The database that a hub with these settings has. show: told how far it is.

    Raises CrossdockError, StoreFailure or an error of SQLite.
    """
    url, access = database_url(settings.database_url, settings.data_directory), access_of(settings)
    check_url(url, access)
    if not url.startswith("sqlite"):
        return asyncio.run(vacuum_server(url, access, show))
    path = database_of(settings)
    if not path.parent.is_dir():
        raise ConfigurationError(f"there is no directory {path.parent}")
    lock = DataLock(settings.data_directory).acquire()
    try:
        return vacuum_file(path, show)
    finally:
        lock.release()


def main() -> int:
    """The command. 0: done. 78: it can't be, the sentence says why. 1: it was interrupted."""
    return tell("not vacuumed", lambda show: vacuum(Settings(), show))


if __name__ == "__main__":
    sys.exit(main())
