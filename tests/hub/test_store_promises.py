"""What the database is opened with: commits are on disk, writers have their lock at once."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from crossdock_hub.store import Store
from crossdock_hub.store.bus_rows import NEXT_EVENTS
from crossdock_hub.store.engine import READERS_MAX, database_url
from databases import open_store
from decisions import CONTRACT


async def test_every_connection_keeps_what_it_is_given(tmp_path: Path) -> None:
    """Proves that writer and readers use a write-ahead log, fsync at each commit, wait for locks
    and check foreign keys: any of these missing loses or mixes writes without an error."""
    store = await Store.open(database_url("", tmp_path), CONTRACT)
    try:
        for way in (store.write, store.read):
            async with way() as connection:
                told = {
                    name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
                    for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
                }
            assert told["journal_mode"] == "wal"
            assert told["synchronous"] == 2, "FULL: the last commit survives a power cut"
            assert told["busy_timeout"] >= 5_000
            assert told["foreign_keys"] == 1
    finally:
        await store.close()


async def test_a_write_transaction_has_its_lock_from_the_start(tmp_path: Path) -> None:
    """Proves that nobody else can begin to write once a transaction has begun, though it has only
    read so far: otherwise two would decide on the same rows."""
    store = await Store.open(database_url("", tmp_path), CONTRACT)
    other = sqlite3.connect(tmp_path / "crossdock.db", timeout=0.0, isolation_level=None)
    try:
        async with store.write() as connection:
            await connection.exec_driver_sql("SELECT count(*) FROM deliveries")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    finally:
        other.close()
        await store.close()


async def test_whoever_reads_has_every_reader_beside_the_one_that_is_kept(tmp_path: Path) -> None:
    """Proves that the connection which answers questions by themselves is taken from nobody."""
    store = await open_store(tmp_path)
    try:
        assert await store.ask(NEXT_EVENTS, 0, 1, 1) == []
        async with contextlib.AsyncExitStack() as reading:
            for _ in range(READERS_MAX):
                await reading.enter_async_context(store.read())
    finally:
        await store.close()
