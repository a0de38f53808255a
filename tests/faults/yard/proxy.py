"""A wire that can hold up what it carries, lose what is answered, or be cut."""

from __future__ import annotations

import asyncio
from enum import StrEnum


class Wire(StrEnum):
    """through: both ways. held: nothing moves until it is through again, as where packets get lost
    and are sent again. deaf: what is answered gets lost. cut: no connection."""

    THROUGH = "through"
    HELD = "held"
    DEAF = "deaf"
    CUT = "cut"


class Proxy:
    """One port in front of another one on loopback; `set` changes what becomes of the bytes."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._wire = Wire.THROUGH
        self._moves = asyncio.Event()
        self._moves.set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen on a free port; returns it."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.set(Wire.CUT)
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def set(self, wire: Wire) -> None:
        """From now on; cutting ends what is connected."""
        self._wire = wire
        if wire is Wire.HELD:
            self._moves.clear()
        else:
            self._moves.set()
        if wire is Wire.CUT:
            for writer in self._open:
                writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._wire is Wire.CUT:
            writer.transport.abort()
            return
        await self._moves.wait()
        try:
            behind, to_behind = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            # Nobody is there, which whoever comes learns by the end of its connection.
            writer.transport.abort()
            return
        self._open |= {writer, to_behind}
        for source, sink, answers in ((reader, to_behind, False), (behind, writer, True)):
            pump = asyncio.create_task(self._pump(source, sink, answers=answers))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while data := await source.read(65_536):
                await self._moves.wait()
                if not (answers and self._wire is Wire.DEAF):
                    sink.write(data)
                    await sink.drain()
        except OSError:
            pass
        finally:
            self._open.discard(sink)
            sink.transport.abort()
