"""A hub that is told to stop before it serves."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

from crossdock import supervision
from crossdock_hub.bus.embedded_config import EmbeddedSettings, find_server
from crossdock_hub.store import Store
from crossdock_hub.store.migrating import revisions, upgrade
from fixtures_hub import RunningHub
from fixtures_nats import eventually, is_alive
from fixtures_supervision import Manager
from relay_parts import CONTRACT
from sqlalchemy import create_engine

# Before it would be told that the server is not ready, which takes 15 s, and after.
SIGTERM_SECONDS_MAX = 10.0
AT_FIRST = "0001"


async def test_a_start_that_waits_for_its_bus_can_be_stopped(
    tmp_path: Path, manager: Manager
) -> None:
    """Proves that a hub whose nats-server does not come up ends with 0 when it is told to stop,
    long before it would give up, leaves no server behind, is never called ready, and that the next
    hub starts in the same directory."""
    began, server = tmp_path / "began", tmp_path / "server"
    told = f"echo $$ > {began}.new && mv {began}.new {began}"
    server.write_text(f"#!/bin/sh\n{told}\nexec sleep 600\n")
    server.chmod(0o700)
    hub = RunningHub(tmp_path / "hub", nats_server=str(server))
    hub.spawn()
    try:
        await eventually(began.exists, "the server that never answers")
        started = time.monotonic()
        code = await asyncio.to_thread(hub.stop)
        assert (code, time.monotonic() - started < SIGTERM_SECONDS_MAX) == (0, True), hub.log()
        assert not is_alive(int(began.read_text()))
        assert manager.heard() == supervision.STOPPING
        real = find_server(EmbeddedSettings(tmp_path))
        server.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
        hub.start()
        assert hub.stop() == 0
    finally:
        hub.kill()


async def test_a_migration_that_is_broken_off_has_changed_nothing(tmp_path: Path) -> None:
    """Proves that a start which is cancelled anywhere in its migrations leaves the old schema, or
    the new one where they were being committed; and that the next one brings it up to date."""
    path, other = tmp_path / "crossdock.db", tmp_path / "other.db"
    for each in (path, other):
        _make_old(each)
    await (await Store.open(f"sqlite+aiosqlite:///{other}", CONTRACT)).close()
    old, new, broken_off, turns = _schema(path), _schema(other), 0, 1
    while True:
        opening = asyncio.create_task(Store.open(f"sqlite+aiosqlite:///{path}", CONTRACT))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait({opening})
        if not opening.cancelled():
            await opening.result().close()
            break
        if (found := _schema(path)) != old:
            assert found == new, f"after {turns} turns"
            break
        broken_off, turns = broken_off + 1, turns * 2
    assert broken_off > 3
    assert _schema(path)[0] == [(revisions()[-1],)]


def _make_old(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade(connection, AT_FIRST)
    engine.dispose()


def _schema(path: Path) -> tuple[list[tuple[str]], list[tuple[str]]]:
    """The revision, and every table and index in words."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        revision = database.execute("SELECT version_num FROM alembic_version").fetchall()
        return revision, database.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
