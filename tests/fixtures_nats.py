"""Real nats-server processes for tests: one shared for the session, and ones a test may kill."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from crossdock_hub.bus import embedded_config
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.embedded_config import EmbeddedSettings
from crossdock_hub.bus.streams import HUB_USER

START_SECONDS = 60.0
# How long a test waits for what has to happen. Only a test that fails waits so long, so that it is
# far beyond what a slow and busy machine needs.
PATIENCE_SECONDS = 45.0
# Below the ports that the system gives out by itself: what is found free stays free until its
# process binds it, and while that is down. Below those of `crossdock dev`, too, which other tests
# start meanwhile. Each worker of a run has a part of its own.
PORTS = range(10_000, 20_000)
WORKERS_MAX = 12
DIES_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); os.execv(sys.argv[1],"
    " sys.argv[1:])"
)


class NatsProcess:
    """A nats-server with JetStream on its own directory and port, as the hub would configure it.

    `kill` and `start` again keep port, users and store: clients reconnect.
    """

    def __init__(self, directory: Path) -> None:
        self.settings = EmbeddedSettings(directory, port=free_port())
        self.configuration = embedded_config.load(self.settings)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> BusAddress:
        """The hub's own address: no restriction."""
        return self.configuration.address(HUB_USER)

    def address_of(self, endpoint: str) -> BusAddress:
        """The address of an endpoint's adapter, restricted to its own work."""
        if self.configuration.admit(endpoint):
            embedded_config.save(self.settings, self.configuration)
            if self.process:
                self.process.send_signal(signal.SIGHUP)
                log = self.settings.directory / "log"
                _wait_for(lambda: b"Reloaded: authorization users" in log.read_bytes())
        return self.configuration.address(endpoint)

    def start(self) -> NatsProcess:
        embedded_config.save(self.settings, self.configuration)
        server = str(embedded_config.find_server(self.settings))
        command = ["python3", "-I", "-S", "-c", DIES_WITH_PARENT, server]
        log = (self.settings.directory / "log").open("wb")
        self.process = subprocess.Popen(
            [*command, "-c", str(self.settings.configuration_file)], stdout=log, stderr=log
        )
        log.close()
        _wait_for(self._answers)
        return self

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the server at once; nothing is flushed."""
        if self.process:
            self.process.send_signal(how)
            self.process.wait(START_SECONDS)
            self.process = None

    def freeze(self) -> None:
        """Stop the server in its tracks (SIGSTOP); returns when no thread of it runs any more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.pid}/task")
        _wait_for(lambda: all(_state(thread / "stat") == "T" for thread in list(threads.iterdir())))

    def thaw(self) -> None:
        """Let a frozen server go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.kill()
        self.start()

    def _answers(self) -> bool:
        """It says "ready" once JetStream has recovered and clients are accepted."""
        assert self.process is not None and self.process.poll() is None, "nats-server ended"
        return b"Server is ready" in (self.settings.directory / "log").read_bytes()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsProcess]:
    """One server for the whole session: name your streams and subjects so that nobody shares them.

    Never kill or restart this one; take `own_nats_server` for that.
    """
    server = NatsProcess(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.kill()


@pytest.fixture
def own_nats_server(tmp_path: Path) -> Iterator[NatsProcess]:
    """A server of the test's own, to kill and restart."""
    server = NatsProcess(tmp_path / "nats-data").start()
    yield server
    server.kill()


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Ports that nobody holds, no two of them the same, and none that was given before."""
    return list(itertools.islice(filter(_is_free, _own_ports), count))


def _ports_of_this_process() -> Iterator[int]:
    """All of its part, again and again, from a chance place on."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = len(PORTS) // WORKERS_MAX
    mine = PORTS[worker % WORKERS_MAX * share :][:share]
    first = random.SystemRandom().randrange(share)
    return itertools.cycle([*mine[first:], *mine[:first]])


_own_ports = _ports_of_this_process()


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as asked:
        try:
            asked.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def eventually(
    condition: Callable[[], object] | Callable[[], Awaitable[object]],
    what: str = "the condition",
    within_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Poll until the condition (plain or async) holds; AssertionError names what did not happen."""
    deadline = time.monotonic() + within_seconds
    while True:
        held = condition()
        if isinstance(held, Awaitable):
            held = await held
        if held:
            return
        assert time.monotonic() < deadline, f"{what} did not happen in {within_seconds:g} s"
        await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process still runs (a zombie does not)."""
    try:
        return _state(Path(f"/proc/{pid}/stat")) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _state(stat: Path) -> str:
    """The state letter of a process or thread: R, S, T (stopped), Z (ended, not waited for)."""
    return stat.read_text().rpartition(")")[2].split()[0]


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nats-server did not get ready"
        time.sleep(0.01)
