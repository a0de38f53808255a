"""A database whose network falls silent: no answer comes, and no word that the connection ended."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crossdock_hub.store import Store, StoreFailure, postgresql, silence
from crossdock_hub.store.bus_rows import NEXT_SCANS
from crossdock_hub.store.straight import rows_of
from databases import ServerDatabase, migrated_template
from decisions import CONTRACT
from fixtures_nats import eventually
from fixtures_postgres import PostgresProcess
from sqlalchemy import text

SOCKET = ".s.PGSQL.5432"
ALL = 1 << 62
# Of a question that nobody answers; the server ends its own at the same time.
PATIENCE_SECONDS = 4
DEADLINE_SECONDS = 20


class Link:
    """A socket in front of a server's. What is connected when it falls silent is never answered
    again, nor hung up on, also when it is back; new connections are then as ever."""

    def __init__(self, server: PostgresProcess) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="link-", dir="/tmp"))
        self.lost_bytes = 0
        self._behind = server.directory / SOCKET
        self._is_silent = False
        self._server: asyncio.Server | None = None
        self._open: list[asyncio.StreamWriter] = []
        self._silenced: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        path = self.directory / SOCKET
        self._server = await asyncio.start_unix_server(self._connected, path)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        shutil.rmtree(self.directory)

    def fall_silent(self) -> None:
        self._is_silent = True
        self._silenced = set(self._open)

    def come_back(self) -> None:
        self._is_silent = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_silent:
            self._open.append(writer)
            self._silenced.add(writer)
            return
        behind, to_behind = await asyncio.open_unix_connection(self._behind)
        self._open += [writer, to_behind]
        for source, sink in ((reader, to_behind), (behind, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if sink in self._silenced:
                    self.lost_bytes += len(data)
                    continue
                sink.write(data)
                await sink.drain()
        if sink not in self._silenced:
            sink.transport.abort()


@pytest.fixture
async def link(postgres_server: PostgresProcess) -> AsyncIterator[Link]:
    """The way to the server."""
    started = Link(postgres_server)
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def store(
    postgres_server: PostgresProcess, link: Link, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    """A hub's store behind the link, which has asked once and waits for no answer for long."""
    monkeypatch.setattr(postgresql, "STATEMENT_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(postgresql, "STATEMENT_MARGIN_SECONDS", 0)
    monkeypatch.setattr(postgresql, "CONNECT_SECONDS", PATIENCE_SECONDS)
    database = ServerDatabase(postgres_server, migrated_template())
    url = database.url.replace(str(postgres_server.directory), str(link.directory))
    opened = await Store.open(url, CONTRACT)
    assert await opened.ask(NEXT_SCANS, 0, ALL, 1) == []
    yield opened
    await opened.close()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_whoever_asks_next_does_not_wait_for_the_silent_one(
    store: Store, link: Link, cancelled: bool
) -> None:
    """Proves that a question that nobody answers is given up in time, and that the first one after
    the link is back is answered: none is asked on the connection that fell silent."""
    link.fall_silent()
    async with asyncio.timeout(DEADLINE_SECONDS):
        asked = asyncio.create_task(store.ask(NEXT_SCANS, 0, ALL, 1))
        if cancelled:
            await eventually(lambda: link.lost_bytes > 0, "the question")
            asked.cancel()
        with pytest.raises((StoreFailure, asyncio.CancelledError)) as lost:
            await asked
        assert isinstance(lost.value, asyncio.CancelledError if cancelled else StoreFailure)
        with pytest.raises(StoreFailure) as away:
            await store.ask(NEXT_SCANS, 0, ALL, 1)
        assert away.value.away
        link.come_back()
        assert await store.ask(NEXT_SCANS, 0, ALL, 1) == []


async def test_the_first_question_after_a_silence_is_answered(store: Store, link: Link) -> None:
    """Proves the same where the link is back before anybody asks again."""
    link.fall_silent()
    async with asyncio.timeout(DEADLINE_SECONDS):
        with pytest.raises(StoreFailure) as lost:
            await store.ask(NEXT_SCANS, 0, ALL, 1)
        assert lost.value.away
        link.come_back()
        assert await store.ask(NEXT_SCANS, 0, ALL, 1) == []


async def test_nothing_is_rolled_back_on_a_silent_connection(store: Store, link: Link) -> None:
    """Proves that a transaction of which a statement past SQLAlchemy was not answered ends with
    its connection, without another question to it, and that the store writes when the link is
    back."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        with pytest.raises(StoreFailure) as lost:
            async with store.write() as connection:
                await rows_of(connection, "SELECT 1", ())
                link.fall_silent()
                try:
                    await rows_of(connection, "SELECT 2", ())
                finally:
                    gone = connection.invalidated
        assert lost.value.away
        assert gone
        link.come_back()
        async with store.write() as connection:
            assert [tuple(row) for row in await rows_of(connection, "SELECT 3", ())] == [(3,)]


@pytest.mark.parametrize("writes", [True, False])
async def test_a_statement_of_sqlalchemy_is_given_up_once(
    store: Store, link: Link, *, writes: bool
) -> None:
    """Proves that who waits for a statement that goes through SQLAlchemy learns as soon as a
    statement may take no longer, and not after a farewell to who does not answer."""
    begun = asyncio.get_running_loop().time()
    with pytest.raises(StoreFailure) as lost:
        async with store.write() if writes else store.read() as connection:
            await connection.execute(text("SELECT 1"))
            link.fall_silent()
            begun = asyncio.get_running_loop().time()
            await connection.execute(text("SELECT 2"))
    assert lost.value.away
    within_seconds = PATIENCE_SECONDS + silence.FAREWELL_SECONDS * 0.75
    assert asyncio.get_running_loop().time() - begun < within_seconds
    link.come_back()
    async with store.write() if writes else store.read() as connection:
        assert await connection.scalar(text("SELECT 3")) == 3


async def test_a_store_closes_on_a_silent_link(store: Store, link: Link) -> None:
    """Proves that a hub which stops takes leave of a database that does not answer for so long
    only as a farewell may take."""
    async with store.read() as connection:
        await connection.execute(text("SELECT 1"))
    async with store.write() as connection:
        await connection.execute(text("SELECT 1"))
    link.fall_silent()
    begun = asyncio.get_running_loop().time()
    await store.close()
    assert asyncio.get_running_loop().time() - begun < 2 * silence.FAREWELL_SECONDS + 1
