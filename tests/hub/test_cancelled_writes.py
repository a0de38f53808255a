"""Who is cancelled amid a write transaction leaves nothing behind that spoils the next one."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from crossdock_hub.records import RequestRecord
from crossdock_hub.store import Store, Transaction, rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.bus_rows import NEXT_EVENTS
from crossdock_hub.store.crossing import write_rows
from databases import KINDS, open_store
from fixtures_nats import eventually
from sqlalchemy import select, text


def request(number: int) -> RequestRecord:
    return RequestRecord(f"r-{number}", b"\x01", "oms", "/m", b"\x00\xff", "", 7)


@contextlib.asynccontextmanager
async def opened(path: Path, kind: str) -> AsyncIterator[Store]:
    store = await open_store(path, kind)
    try:
        yield store
    finally:
        await store.close()


@contextlib.contextmanager
def kept_busy(path: Path) -> Iterator[None]:
    """Somebody else writes to the file: who begins waits for that."""
    (file,) = path.rglob("*.db")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def turns() -> None:
    """Long enough for a task to come to what it waits for."""
    for _ in range(50):
        await asyncio.sleep(0)


async def add(connection: Transaction, number: int) -> None:
    await write_rows(connection, [(rows.REQUESTS, [request(number)])])


async def found(store: Store) -> list[str]:
    async with store.read() as connection:
        wanted = select(t.requests.c.request_id).order_by(t.requests.c.request_id)
        return list((await connection.execute(wanted)).scalars())


async def check_the_next_ones(store: Store) -> None:
    """One that fails, of which nothing may be there, and one that is committed."""
    with contextlib.suppress(RuntimeError):
        async with store.write() as connection:
            await add(connection, 2)
            await connection.execute(text("SELECT 1"))
            raise RuntimeError("changed my mind")
    async with store.write() as connection:
        await add(connection, 3)
    assert await found(store) == ["r-3"]


@pytest.mark.parametrize("core", [True, False], ids=["sqlalchemy", "crossing"])
@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_while_the_file_is_busy(tmp_path: Path, times: int, core: bool) -> None:
    """Proves that the next transaction is one, all of it or none, whether who was cancelled waited
    for a statement of SQLAlchemy's or for one that crosses by itself, and was cancelled again amid
    its rollback, as tasks are that take long to end."""
    async with opened(tmp_path, "sqlite") as store:

        async def write() -> None:
            async with store.write() as connection:
                await add(connection, 1)
                if core:
                    await connection.execute(text("SELECT 1"))
                else:
                    await NEXT_EVENTS.ask(connection, 0, 1, 1)

        with kept_busy(tmp_path):
            task = asyncio.create_task(write())
            for _ in range(times):
                await turns()
                task.cancel()
            await turns()
        await asyncio.wait([task])
        assert task.cancelled()
        await check_the_next_ones(store)


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelled_amid_a_statement(tmp_path: Path, kind: str) -> None:
    """Proves that what is written next goes over a connection that has claimed the database, and
    that the hub knows by its name, not over one that SQLAlchemy opened in its place."""
    async with opened(tmp_path, kind) as store:

        async def write() -> None:
            async with store.write() as connection:
                await add(connection, 1)
                await connection.execute(text(long))

        async def under_way() -> bool:
            async with store.read() as connection:
                asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sl%'"
                return bool((await connection.execute(text(asked))).scalar_one())

        counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000)"
        long = f"{counting} SELECT max(i) FROM n" if kind == "sqlite" else "SELECT pg_sleep(60)"
        task = asyncio.create_task(write())
        if kind == "sqlite":
            await turns()
        else:
            await eventually(under_way, "the statement")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await check_the_next_ones(store)
        async with store.write() as connection:
            if kind == "postgresql":
                own = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
                backend = store.write_in_term("everything", 0)
                assert backend is not None
                assert backend.pid == own
