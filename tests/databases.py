"""The databases of tests: a file of SQLite, or a database of a PostgreSQL server of the session.

CROSSDOCK_TEST_DATABASE=postgresql lets every hub and every store of a run use PostgreSQL. Tests of
the store itself run on both, whatever it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from crossdock import contracts
from crossdock_hub.store import Store
from crossdock_hub.store.engine import database_url
from fixtures_postgres import PostgresProcess, session_server
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

KINDS = ("sqlite", "postgresql")
KIND = os.environ.get("CROSSDOCK_TEST_DATABASE", "sqlite")
assert KIND in KINDS, f"CROSSDOCK_TEST_DATABASE is one of {KINDS}"
on_sqlite_only = pytest.mark.skipif(KIND != "sqlite", reason="about the file of SQLite")
R = TypeVar("R")


class Database(Protocol):
    """One hub's database, beside the hub."""

    url: str

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Rows; values for question marks."""

    def tables(self) -> list[str]:
        """Every table, by name."""

    def copy(self, to: Path) -> None:
        """Keep it as it is, under the name of a directory that does not exist; nobody uses it."""

    def put_back(self, saved: Path) -> None:
        """Make it what was kept; nobody uses it."""


class FileDatabase:
    """SQLite, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = database_url("", directory)

    def query(self, statement: str, *values: Any) -> list[Any]:
        uri = f"file:{self.directory / 'crossdock.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            return connection.execute(statement, values).fetchall()

    def tables(self) -> list[str]:
        found = self.query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [row[0] for row in found]

    def copy(self, to: Path) -> None:
        to.mkdir()
        for path in self.directory.glob("crossdock.db*"):
            shutil.copy2(path, to)

    def copy_running(self, to: Path) -> None:
        """The same while a hub works on it, as a replica or a back-up tool would have it."""
        to.mkdir()
        source = sqlite3.connect(f"file:{self.directory / 'crossdock.db'}?mode=ro", uri=True)
        with (
            contextlib.closing(source),
            contextlib.closing(sqlite3.connect(to / "crossdock.db")) as kept,
        ):
            source.backup(kept)

    def put_back(self, saved: Path) -> None:
        for path in self.directory.glob("crossdock.db*"):
            path.unlink()
        for path in saved.iterdir():
            shutil.copy2(path, self.directory)


class ServerDatabase:
    """A database of a PostgreSQL server. Made of one that has every table, which takes no time."""

    def __init__(self, server: PostgresProcess, template: str = "") -> None:
        self.server = server
        self.name = server.new_database(template)
        self.url = server.url(self.name)
        self._saved: dict[Path, str] = {}

    def query(self, statement: str, *values: Any) -> list[Any]:
        numbers = itertools.count(1)
        parts = statement.split("?")
        text = "".join(f"{part}${next(numbers)}" for part in parts[:-1]) + parts[-1]
        return [tuple(row) for row in self.server.ask(self.name, text, *values)]

    def tables(self) -> list[str]:
        found = self.query(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        )
        return [row[0] for row in found]

    def copy(self, to: Path) -> None:
        self._saved[to] = self.server.new_database(self.name)

    def put_back(self, saved: Path) -> None:
        self.server.ask("postgres", f"DROP DATABASE {self.name} WITH (FORCE)")
        self.server.ask("postgres", f"CREATE DATABASE {self.name} TEMPLATE {self._saved[saved]}")


_OF_DIRECTORIES: dict[tuple[Path, str], Database] = {}


def database_of(directory: Path, kind: str = KIND) -> Database:
    """The database that belongs to a directory: the same one, however often it is asked for."""
    key = directory, kind
    if key not in _OF_DIRECTORIES:
        _OF_DIRECTORIES[key] = (
            FileDatabase(directory)
            if kind == "sqlite"
            else ServerDatabase(session_server(), migrated_template())
        )
    return _OF_DIRECTORIES[key]


async def in_new_database(
    directory: Path, kind: str, migrate: Callable[[Connection], None]
) -> None:
    """Do something with a connection of an empty database, in one transaction."""
    # Of a server, not one made from the template, which has its tables.
    is_of_server = kind == "postgresql"
    database = ServerDatabase(session_server()) if is_of_server else FileDatabase(directory)
    engine = create_async_engine(database.url)
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


async def open_store(directory: Path, kind: str = KIND) -> Store:
    """A hub's store, with every table."""
    directory.mkdir(exist_ok=True)
    return await Store.open(database_of(directory, kind).url, contracts.load())


@cache
def migrated_template() -> str:
    """A database with every table and no row but its claim, to make others of."""
    server = session_server()
    name = server.new_database()

    async def make() -> None:
        store = await Store.open(server.url(name), contracts.load())
        await store.close()

    elsewhere(make)
    return name


def elsewhere(work: Callable[[], Awaitable[R]]) -> R:
    """The result of asynchronous work, for callers that may or may not run on an event loop."""
    results: list[R] = []

    async def run() -> None:
        results.append(await work())

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()
    assert results, "it failed; its thread says why"
    return results[0]
