"""Runs a nats-server as a child of the hub: locked, supervised, and never orphaned."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog
from crossdock.ending import end_tasks, within
from crossdock.errors import CrossdockError

from crossdock_hub.bus import embedded_config, embedded_probe, embedded_repair, embedded_room
from crossdock_hub.bus.address import BusAddress, BusHealth, starting
from crossdock_hub.bus.embedded_config import RANDOM_PORT, EmbeddedSettings
from crossdock_hub.bus.embedded_probe import NoAnswer, Ports
from crossdock_hub.bus.embedded_repair import StreamIsTorn, TornWatch
from crossdock_hub.bus.embedded_room import Room, VainRestarts
from crossdock_hub.bus.streams import HUB_USER
from crossdock_hub.data_lock import DataDirectoryInUse, DataLock

__all__ = [
    "BusAddress",
    "BusHealth",
    "DataDirectoryInUse",
    "DataLock",
    "EmbeddedNats",
    "EmbeddedSettings",
    "EmbeddedStartFailed",
]

FIRST_RESTART_PAUSE_SECONDS: Final = 0.1
STEADY_SECONDS: Final = 30.0
MISSED_ANSWERS_BEFORE_RESTART: Final = 2
KEPT_TROUBLES: Final = 5
MAX_LOG_LINE_BYTES: Final = 64 * 1024
_POLL_SECONDS: Final = 0.02
_READY_POLL_SECONDS: Final = 0.05

# A blank line of the banner ends with its bracket.
_LOG_LINE: Final = re.compile(r"\[\d+\] \[([A-Z]{3})\] ?(.*)")
_LEVELS: Final = {"WRN": "warning", "ERR": "error", "FTL": "critical", "DBG": "debug"}
_EXPECTED_WARNINGS: Final = ("Plaintext passwords detected",)

# The child asks the kernel to be killed with the thread that made it, then becomes the server. Run
# by a fresh interpreter, because code between fork and exec must not run in a process with gRPC's
# threads. The parent may die before the request: hence the look at the parent's id.
_TRAMPOLINE: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit("prctl failed")
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

log = structlog.get_logger("crossdock.nats")


class EmbeddedStartFailed(CrossdockError):
    """The embedded nats-server did not come up, or must not be used; the text says why."""


class EmbeddedNats:
    """The embedded server, from `start` to `stop`.

    lock: a lock of the data directory that the caller holds already; otherwise one is taken, and
    released by `stop`. on_health: called with each change of `health`.
    """

    def __init__(
        self,
        settings: EmbeddedSettings,
        lock: DataLock | None = None,
        on_health: Callable[[BusHealth], None] | None = None,
    ) -> None:
        self._settings = settings
        self._own_lock = lock is None
        self._lock = lock or DataLock(settings.data_directory)
        self._on_health = on_health
        self._health = starting("nats-server")
        self._configuration = embedded_config.ServerConfiguration(RANDOM_PORT, {})
        self._process: asyncio.subprocess.Process | None = None
        self._ports = Ports(0, 0)
        self._reader: asyncio.Task[None] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._troubles: deque[str] = deque(maxlen=KEPT_TROUBLES)
        self._disk_was_full = False
        self._vain = VainRestarts()
        self._failures = 0
        self._up_since = 0.0
        self._sick_since = 0.0
        self._missed = 0
        self.restarts = 0

    @property
    def health(self) -> BusHealth:
        """ok: the server stores and answers. reason says what is wrong and what happens next."""
        return self._health

    @property
    def pid(self) -> int:
        """The child's process id; 0 while there is none."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and alive else 0

    async def start(self) -> BusAddress:
        """Start the server, check it, keep it running; the hub's own address.

        Call it on the main thread: the kernel ends the child together with the thread that made it.
        DataDirectoryInUse: another hub runs there. EmbeddedStartFailed: anything else.
        """
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedStartFailed("the embedded nats-server must be started on the main thread")
        self._lock.acquire()
        try:
            self._configuration = embedded_config.load(self._settings)
            await self._first_launch()
        except BaseException as error:
            await self._end_child()
            self._release_lock()
            if isinstance(error, OSError):
                raise EmbeddedStartFailed(f"nats-server cannot be started: {error}") from error
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="nats-server supervisor")
        return self.address

    @property
    def address(self) -> BusAddress:
        """Where the hub finds the server: the same for the life of this data directory."""
        return self._configuration.address(HUB_USER)

    async def admit(self, endpoint: str) -> BusAddress:
        """The address of an endpoint's adapter: a user that reaches its own work and no more.

        A new user is known to the server when this returns. ValueError: a reserved name.
        """
        if endpoint == HUB_USER:
            raise ValueError(f"{endpoint!r} is reserved")
        if self._configuration.admit(endpoint):
            embedded_config.save(self._settings, self._configuration)
            address = self._configuration.address(endpoint)
            if self._process and self.pid:
                self._process.send_signal(signal.SIGHUP)
                await self._wait_until_known(address)
        return self._configuration.address(endpoint)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after the limit; then the lock is free. Repeatable."""
        # Whoever stops it knows.
        self._on_health = None
        supervisor, self._supervisor = self._supervisor, None
        if supervisor:
            await end_tasks([supervisor])
        await self._end_child()
        self._release_lock()
        self._tell(False, "nats-server is stopped")

    # Starting the child

    async def _first_launch(self) -> None:
        try:
            await self._launch()
        except EmbeddedStartFailed:
            # The port of the last run may be somebody else's by now; a chosen port is an order.
            taken = any("address already in use" in line for line in self._troubles)
            if not taken or self._settings.port:
                raise
            self._configuration.port = RANDOM_PORT
            await self._launch()

    async def _launch(self) -> None:
        """Launch the server; a stream that it can't recover is set aside, each one once."""
        for _ in embedded_repair.REFILLED_STREAMS:
            try:
                return await self._launch_once()
            except StreamIsTorn as torn:
                await self._end_child()
                embedded_repair.set_aside(self._settings.directory, torn.stream)
        try:
            await self._launch_once()
        except StreamIsTorn as torn:
            raise EmbeddedStartFailed(f"{torn}, again") from torn

    async def _launch_once(self) -> None:
        settings = self._settings
        embedded_config.save(settings, self._configuration)
        for stale in settings.ports_directory.glob("*.ports"):
            stale.unlink(missing_ok=True)
        self._troubles.clear()
        self._disk_was_full = False
        deadline = time.monotonic() + settings.start_timeout_seconds
        try:
            self._process = process = await self._spawn()
            self._lock.note_child(process.pid)
            self._ports = await self._await_ports(process, deadline)
            await self._await_health(process, deadline)
            problem = await embedded_probe.shortcomings(
                self._ports.monitoring, settings.answer_timeout_seconds
            )
        except (NoAnswer, TimeoutError, FileNotFoundError) as error:
            await self._end_child()
            raise EmbeddedStartFailed(str(error)) from error
        if problem:
            await self._end_child()
            raise EmbeddedStartFailed(problem)
        if self._configuration.port != self._ports.client:
            self._configuration.port = self._ports.client
            embedded_config.save(settings, self._configuration)
        self._up_since, self._sick_since, self._missed = time.monotonic(), 0.0, 0
        self._tell(True, "nats-server is running")

    async def _spawn(self) -> asyncio.subprocess.Process:
        server = embedded_config.find_server(self._settings)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(os.getpid())),
            *(str(server), "-c", str(self._settings.configuration_file)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LOG_LINE_BYTES,
            pass_fds=(self._lock.fileno(),),
            # Ctrl-C in a terminal must reach the hub only: it drains first, then ends the child.
            start_new_session=True,
        )
        assert process.stderr is not None
        self._reader = asyncio.create_task(self._read_log(process.stderr), name="nats-server log")
        return process

    async def _await_ports(self, process: asyncio.subprocess.Process, deadline: float) -> Ports:
        while True:
            for path in self._settings.ports_directory.glob(f"*_{process.pid}.ports"):
                with contextlib.suppress(ValueError, KeyError, IndexError, OSError):
                    told = json.loads(path.read_text())
                    client, monitoring = told["nats"][0], told["monitoring"][0]
                    return Ports(*(int(url.rpartition(":")[2]) for url in (client, monitoring)))
            await self._still_starting(process, deadline)

    async def _await_health(self, process: asyncio.subprocess.Process, deadline: float) -> None:
        limit = self._settings.answer_timeout_seconds
        torn = TornWatch()
        while problem := await embedded_probe.healthz(self._ports.monitoring, limit):
            if (room := self._room()).is_full:
                raise EmbeddedStartFailed(self._full_sentence(room))
            torn.check(problem)
            await self._still_starting(process, deadline, problem)
        await embedded_probe.ping(self.address, self._ports.client, limit)

    async def _still_starting(
        self, process: asyncio.subprocess.Process, deadline: float, problem: str = ""
    ) -> None:
        if process.returncode is not None:
            await self._log_read()
            why = "; ".join(self._troubles) or f"it ended with status {process.returncode}"
            raise EmbeddedStartFailed(f"nats-server did not start: {why}")
        if time.monotonic() > deadline:
            limit = self._settings.start_timeout_seconds
            why = problem or "; ".join(self._troubles) or "it does not listen"
            raise EmbeddedStartFailed(f"nats-server is not ready after {limit:g} s: {why}")
        await asyncio.sleep(_POLL_SECONDS)

    async def _wait_until_known(self, address: BusAddress) -> None:
        limit = self._settings.answer_timeout_seconds
        deadline = time.monotonic() + limit
        while True:
            try:
                await embedded_probe.ping(address, self._ports.client, limit)
                return
            except NoAnswer as error:
                if time.monotonic() > deadline:
                    raise EmbeddedStartFailed("nats-server did not take the new user in") from error
            await asyncio.sleep(_READY_POLL_SECONDS)

    # Keeping it running

    async def _supervise(self) -> None:
        while True:
            try:
                why = await self._watch()
                log.error("restarting nats-server", why=why)
                self._tell(False, why)
                await self._restart(why)
            except asyncio.CancelledError:
                raise
            except Exception:
                # The supervisor must outlive its own mistakes: without it nothing restarts.
                log.exception("the nats-server supervisor failed")
                await asyncio.sleep(self._settings.health_interval_seconds)

    async def _watch(self) -> str:
        """Returns when the child has to be started anew, with the reason."""
        settings = self._settings
        while True:
            process = self._process
            if process is None or process.returncode is not None:
                return self._ended_sentence(process)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.health_interval_seconds):
                    await process.wait()
            if process.returncode is None and (why := await self._examine()):
                return why

    async def _examine(self) -> str:
        """ "" while the child may go on, else why it has to be started anew."""
        limit = self._settings.answer_timeout_seconds
        try:
            problem = await embedded_probe.healthz(self._ports.monitoring, limit)
            await embedded_probe.ping(self.address, self._ports.client, limit)
        except NoAnswer as error:
            self._missed += 1
            why = f"nats-server hangs: {error}"
            # One that waits for a write which finds no room answers nobody: that is the cause.
            room = self._room()
            self._tell(False, self._full_sentence(room) if room.is_full else why)
            if self._missed >= MISSED_ANSWERS_BEFORE_RESTART:
                if self._disk_was_full and room.has(self._needed(room)):
                    return self._treat_full(room)
                return f"{why}; it is being restarted"
            return ""
        self._missed = 0
        if not problem and not self._disk_was_full:
            self._sick_since = 0.0
            if (room := self._room()).is_full:
                # It has not tried to write yet. If it does not, it need not be restarted either.
                self._tell(False, self._full_sentence(room))
                return ""
            if time.monotonic() - self._up_since > STEADY_SECONDS:
                self._failures = 0
                self._vain.forget()
            self._tell(True, "nats-server is running")
            return ""
        return self._treat(problem)

    def _treat(self, problem: str) -> str:
        """A server that answers but does not store: wait for space, or restart it in the end."""
        self._sick_since = self._sick_since or time.monotonic()
        room = self._room()
        if self._disk_was_full or room.is_full:
            self._disk_was_full = True
            return self._treat_full(room)
        self._tell(False, f"nats-server is not healthy: {problem}")
        if time.monotonic() - self._sick_since > self._settings.sick_restart_seconds:
            return f"nats-server is not healthy: {problem}; it is being restarted"
        return ""

    def _treat_full(self, room: Room) -> str:
        """Wait for room; where the volume reports some that is none, try again later and later."""
        if not room.has(self._needed(room)):
            self._vain.forget()
            self._tell(False, self._full_sentence(room))
            return ""
        now = time.monotonic()
        if self._vain.pause_seconds(now) > 0:
            self._tell(False, self._vain_sentence(room))
            return ""
        self._vain.restarting(now)
        return "the disk has space again; nats-server stores only after a restart"

    async def _restart(self, why: str) -> None:
        while True:
            await self._end_child()
            pause = FIRST_RESTART_PAUSE_SECONDS * 2 ** min(self._failures, 16)
            self._failures += 1
            await asyncio.sleep(min(pause, self._settings.max_restart_pause_seconds))
            try:
                await self._launch()
            except (EmbeddedStartFailed, OSError) as error:
                await self._pause_in_vain(error)
                continue
            self.restarts += 1
            log.info("nats-server restarted", why=why, restarts=self.restarts)
            return

    def _ended_sentence(self, process: asyncio.subprocess.Process | None) -> str:
        if process is None or process.returncode is None:
            return "nats-server does not run; it is being restarted"
        code = process.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        last = f" ({self._troubles[-1]})" if self._troubles else ""
        return f"nats-server ended {how}{last}; it is being restarted"

    async def _end_child(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            hangs = self._missed >= MISSED_ANSWERS_BEFORE_RESTART
            await _end(process, 0.0 if hangs else self._settings.stop_timeout_seconds)
        await self._log_read()

    def _release_lock(self) -> None:
        if self._own_lock:
            self._lock.release()

    # Disk

    def _room(self) -> Room:
        return embedded_room.free_room(self._settings.store_directory)

    def _full_sentence(self, room: Room) -> str:
        return embedded_room.full_sentence(self._settings.store_directory, room, self._needed(room))

    def _needed(self, room: Room) -> Room:
        settings = self._settings
        files = None if room.files is None else settings.min_free_files
        return Room(settings.min_free_bytes, files)

    def _vain_sentence(self, room: Room) -> str:
        return embedded_room.vain_sentence(self._settings.store_directory, room)

    async def _pause_in_vain(self, error: BaseException) -> None:
        """After a start that failed: for long where it found no room though enough is reported."""
        if not (self._disk_was_full or embedded_room.is_no_room(error)):
            self._tell(False, f"{error}; trying again")
            return
        if self._has_room():
            self._tell(False, f"{self._vain_sentence(self._room())} ({error})")
            self._vain.restarting(time.monotonic())
            pause = self._vain.pause_seconds(time.monotonic())
            interval = self._settings.health_interval_seconds
            await embedded_room.wait_while(self._has_room, interval, pause)
        if not self._has_room():
            self._vain.forget()
            self._tell(False, f"{self._full_sentence(self._room())} ({error})")

    def _has_room(self) -> bool:
        room = self._room()
        return room.has(self._needed(room))

    # What it says

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # A line beyond the limit: the stream has dropped it.
            if not line:
                return
            self._log_line(line.decode(errors="replace").rstrip())

    async def _log_read(self) -> None:
        reader, self._reader = self._reader, None
        if reader:
            await within(1.0, reader)

    def _log_line(self, line: str) -> None:
        for password in self._configuration.passwords.values():
            line = line.replace(password, "***")
        code, text = log_words(line)
        if not any(character.isalnum() for character in text) or "[INF]  _" in line:
            return
        if code in ("ERR", "FTL"):
            self._troubles.append(text)
        if embedded_room.tells_of_no_room(text):
            self._disk_was_full = True
        expected = text.startswith(_EXPECTED_WARNINGS)
        level = "debug" if expected else _LEVELS.get(code, "info")
        getattr(log, level)(text.strip(), source="nats-server", pid=self.pid)

    def _tell(self, ok: bool, reason: str) -> None:
        fresh = self._health.now(ok, reason)
        if fresh is not self._health:
            self._health = fresh
            if self._on_health:
                self._on_health(fresh)


def is_full(health: BusHealth) -> bool:
    """Whether nothing is stored because the disk has no room."""
    return not health.ok and embedded_room.SAYS_FULL in health.reason


def log_words(line: str) -> tuple[str, str]:
    """(code of the level, text) of a line; what is none of nats-server's form is an error."""
    matched = _LOG_LINE.fullmatch(line)
    return (matched[1], matched[2]) if matched else ("ERR", line)


async def _end(process: asyncio.subprocess.Process, patience_seconds: float) -> None:
    """SIGTERM, then SIGKILL to one child that we started; returns when it is gone."""
    try:
        if process.returncode is None and patience_seconds > 0:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await within(patience_seconds, process.wait())
    finally:  # Also when it is cancelled: nobody else knows of the child any more.
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    await process.wait()
