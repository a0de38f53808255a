"""A commit whose answer is lost on the way from a real PostgreSQL server, before it or after it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from crossdock_adapters.sdk import staging_tables
from crossdock_adapters.sdk.database import Database, Limits, Taken
from crossdock_adapters.sdk.outcomes import OutcomeUnknown
from fixtures_postgres import session_server
from staging_world import House
from test_staging_tables import LAYOUT_OF_ORDERS, REFERENCE, document, write

CHUNK_BYTES = 64 * 1024
COMMIT = b"COMMIT"


class Wire:
    """A network between a client and the server's socket, which is cut at the next commit.

    reaches: whether the server still gets it.
    """

    def __init__(self, socket: Path, reaches: bool) -> None:
        self._socket = socket
        self._reaches = reaches
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self.armed = False
        self.cuts = 0

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_unix_connection(self._socket)
        back = asyncio.create_task(self._forward(answers, writer))
        try:
            while data := await reader.read(CHUNK_BYTES):
                if self.armed and COMMIT in data:
                    self.armed = False
                    self.cuts += 1
                    back.cancel()
                    if self._reaches:
                        asks.write(data)
                        await answers.read(CHUNK_BYTES)
                    return
                asks.write(data)
        finally:
            back.cancel()
            for each in (writer, asks):
                each.transport.abort()

    @staticmethod
    async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                writer.write(data)
            writer.close()


@asynccontextmanager
async def cut_at_commit(house: House, reaches: bool) -> AsyncIterator[tuple[Database, Wire]]:
    """A database of the house, behind a wire of that kind."""
    server = session_server()
    wire = Wire(server.directory / ".s.PGSQL.5432", reaches)
    port = await wire.open()
    name = house.url.rpartition("@/")[2].partition("?")[0]
    url = f"postgresql+asyncpg://crossdock@127.0.0.1:{port}/{name}"
    database = Database(lambda: url, Limits())
    try:
        yield database, wire
    finally:
        await database.close()
        await wire.close()


@pytest.mark.parametrize("reaches", [True, False], ids=["committed", "not committed"])
async def test_a_commit_whose_answer_is_lost_is_looked_up(reaches: bool, tmp_path: Path) -> None:
    """Proves at a real server that the outcome is unknown whether the commit got there or not, that
    looking up by our reference tells the two apart, and that the document is there once either way,
    also when it is written again."""
    house = House(session_server(), tmp_path)
    async with cut_at_commit(house, reaches) as (database, wire):
        # A connection that was made before: what is lost is the commit, not the way to the server.
        assert await staging_tables.find(database, LAYOUT_OF_ORDERS, REFERENCE) is None
        wire.armed = True
        with pytest.raises(OutcomeUnknown, match="the answer to the commit is lost"):
            await write(database, document())
        assert wire.cuts == 1
        there = await staging_tables.find(database, LAYOUT_OF_ORDERS, REFERENCE)
        assert (there is not None) == reaches
        if reaches:
            assert there is not None and there.status == "N"
            with pytest.raises(Taken):
                await write(database, document())
        else:
            await write(database, document())
        assert len(house.run("SELECT * FROM IF_HEAD")) == 1
        assert len(house.run("SELECT * FROM IF_LINE")) == 2
    await house.close()
