"""Who opens a database while a back-up takes its place: never two databases in one file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from crossdock import contracts
from crossdock.errors import ConfigurationError
from crossdock_hub.store import Access, Store, putting_back
from crossdock_hub.store.database_files import claimed, half_put_back
from crossdock_hub.store.engine import database_url
from crossdock_hub.store.places import Place
from crossdock_hub.store.putting_back import put_back
from crossdock_hub.store.vacuuming import vacuum_file
from test_back_up import has, stored

PATIENCE_SECONDS = 10.0


async def hub(path: Path) -> None:
    store = await Store.open(database_url("", path.parent), contracts.load())
    await store.close()


async def dry_run_of_the_archive(path: Path) -> None:
    store = await Store.look_into(database_url("", path.parent), contracts.load())
    await store.close()


async def move(path: Path) -> None:
    place = await Place.open(database_url("", path.parent), Access())
    await place.close()


async def vacuum(path: Path) -> None:
    vacuum_file(path)


def openings_of(path: Path) -> int:
    """How often this process has a file open."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += each.readlink() == path
    return found


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


@pytest.mark.parametrize("opening", [hub, dry_run_of_the_archive, move, vacuum])
async def test_who_waits_for_the_old_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: Callable[[Path], Awaitable[None]]
) -> None:
    """Proves that whoever opens a database while it is claimed by a put-back, and gets his lock
    when that is over, has not got in: he holds the file that was replaced, and what he wrote would
    come into the new one. And that he gets in when he comes again."""
    path, source = await stored(tmp_path / "data", "first"), await stored(tmp_path / "b", "second")
    waiting: list[Future[None]] = []
    with ThreadPoolExecutor() as threads:

        async def open_it() -> None:
            await opening(path)

        @contextlib.contextmanager
        def waited_for(file: Path) -> Iterator[sqlite3.Connection]:
            with claimed(file) as connection:
                if file == path:
                    before = openings_of(path)
                    waiting.append(threads.submit(lambda: asyncio.run(open_it())))
                    until(lambda: openings_of(path) > before)
                yield connection

        monkeypatch.setattr(putting_back, "claimed", waited_for)
        put_back(path, source)
        with pytest.raises(ConfigurationError, match=f"a back-up was .* in place of {path}"):
            waiting[0].result(PATIENCE_SECONDS)
    log = path.with_name("crossdock.db-wal")
    assert half_put_back(path) is None and not (log.exists() and log.stat().st_size)
    assert has(path, "second") and not has(path, "first")
    await opening(path)
