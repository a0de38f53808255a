"""A nats-server as its documentation starts it: a directory, a port, JetStream on."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nats
from crossdock_hub.bus.embedded_config import EmbeddedSettings, find_server
from fixtures_nats import DIES_WITH_PARENT, eventually, free_ports
from nats.aio.client import Client
from nats.js.errors import NotFoundError

READY_SECONDS = 30.0
STOP_SECONDS = 15.0
STREAM, SUBJECT = "NAIVE", "naive.event"
# A service that starts its bus, and waits for it.
OWNER = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"


class PlainBus:
    """A server on a store. owned: a service starts it as its child, and is what `end` hits."""

    def __init__(self, files: Path, store: Path, *, owned: bool = False) -> None:
        self.port, self.monitor = free_ports(2)
        self._files = files
        first = (OWNER,) if owned else (DIES_WITH_PARENT,)
        self._command = [
            sys.executable, "-I", "-S", "-c", *first, str(find_server(EmbeddedSettings(store))),
            "-js", "-sd", str(store), "-a", "127.0.0.1", "-p", str(self.port),
            "-m", str(self.monitor), "-P", str(self._files.with_suffix(".pid")),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Return once it accepts clients."""
        path = self._files.with_suffix(".log")
        self._spawn(path)
        await eventually(
            lambda: b"Server is ready" in path.read_bytes(), "a nats-server", READY_SECONDS
        )

    def _spawn(self, path: Path) -> None:
        with path.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """Of the server itself."""
        return int(self._files.with_suffix(".pid").read_text())

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """A signal to what was started, and wait for its end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(STOP_SECONDS)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client, and a stream with one subject if there is none."""
        url = f"nats://127.0.0.1:{self.port}"
        client = await nats.connect(url, max_reconnect_attempts=-1, error_cb=_expected)
        try:
            jetstream = client.jetstream()
            try:
                await jetstream.stream_info(STREAM)
            except NotFoundError:
                await jetstream.add_stream(name=STREAM, subjects=[SUBJECT])
            yield client
        finally:
            await client.close()


async def _expected(_error: Exception) -> None:
    """That the server is gone is what was done to it, and needs no traceback."""


async def stored(client: Client) -> set[bytes]:
    """What the stream has."""
    jetstream = client.jetstream()
    state = (await jetstream.stream_info(STREAM)).state
    reading = await jetstream.subscribe(SUBJECT, ordered_consumer=True)
    return {(await reading.next_msg(READY_SECONDS)).data for _ in range(state.messages)}
