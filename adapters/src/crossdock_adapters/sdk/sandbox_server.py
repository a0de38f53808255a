"""A listener whose port can really be closed and reopened, and whose replies can get lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import MutableMapping
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

ABORT_KEY = "crossdock.abort"
KEEP_ALIVE_SECONDS = 60
BACKLOG = 256
REBIND_ATTEMPTS = 50
REBIND_PAUSE_SECONDS = 0.02
CLOSE_GRACE_SECONDS = 2.0


class _AbortableProtocol(HttpToolsProtocol):
    """Hands the application a way to cut its own TCP connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: MutableMapping[str, Any] = self.scope  # type: ignore[assignment]
        scope[ABORT_KEY] = self.transport.abort


async def lose_reply(scope: Scope) -> None:
    """Cut the connection this request came on; the application must not answer afterwards."""
    scope[ABORT_KEY]()
    # Two turns of the loop let the server notice, so it does not write an error page.
    await asyncio.sleep(0)
    await asyncio.sleep(0)


class Listener:
    """One application on one loopback port, inside a loop that hosts several.

    uvicorn's own Server takes over signals and cannot stop listening without ending; this
    one drives the same protocol class, so that an outage is a refused connection.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._host = host
        self._wanted_port = port
        self._config = uvicorn.Config(
            app,
            http=_AbortableProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._state = ServerState()
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def listening(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        """Bind and listen; `port` is known afterwards. OSError when the port is taken."""
        self._config.load()
        self._socket = bound(self._host, self._wanted_port)
        self.port = int(self._socket.getsockname()[1])
        await self.open()

    async def open(self) -> None:
        """Listen (again) on the port held."""
        if self._server is not None or self._socket is None:
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, sock=self._socket, backlog=BACKLOG)

    async def close(self) -> None:
        """Stop listening and cut every connection; the port stays ours, and refuses."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in list(self._state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        # Bound but not listening: the kernel refuses, and nobody else can take the port.
        self._socket = await rebound(self._host, self.port)

    async def stop(self) -> None:
        """Close for good, giving running requests a moment to end."""
        await self.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        tasks = list(self._state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_GRACE_SECONDS)
        for task in tasks:
            task.cancel()

    def _protocol(self) -> asyncio.Protocol:
        return _AbortableProtocol(
            config=self._config, server_state=self._state, app_state=dict[str, Any]()
        )


async def rebound(host: str, port: int) -> socket.socket:
    """A port that was just closed, bound again. OSError when somebody else has it by now."""
    for _ in range(REBIND_ATTEMPTS):
        with contextlib.suppress(OSError):
            return bound(host, port)
        await asyncio.sleep(REBIND_PAUSE_SECONDS)
    raise OSError(f"port {port} could not be kept while closed")


def bound(host: str, port: int) -> socket.socket:
    """A port that is ours and refuses until something listens on it. OSError when it is taken."""
    # With the protocol named, asyncio turns Nagle off; else each answer waits 40 ms for an ACK.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
