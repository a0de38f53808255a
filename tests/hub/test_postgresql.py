"""PostgreSQL under a hub's store: what it is told, who may write, and what goes wrong in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from crossdock.errors import ConfigurationError
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.identity import Caller
from crossdock_hub.records import CursorRecord
from crossdock_hub.store import Store, StoreFailure, postgresql
from crossdock_hub.store import tables as t
from crossdock_hub.store.postgresql import DatabaseInUse, DatabaseUnfit
from crossdock_hub.unit import Refused, Unit
from databases import ServerDatabase
from decisions import CONTRACT
from fixtures_postgres import PostgresProcess
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

CURSOR = {"endpoint": "ups", "name": "n", "value": b"1", "version": 1}


@pytest.fixture
async def store(database: ServerDatabase) -> AsyncIterator[Store]:
    """A hub's store in it."""
    opened = await Store.open(database.url, CONTRACT)
    yield opened
    await opened.close()


async def shown(connection: AsyncConnection, name: str) -> str:
    return str(await connection.scalar(text(f"SHOW {name}")))


async def lose_writer(database: ServerDatabase) -> None:
    """End what the store writes with, as a network that fails would."""
    ended = await asyncio.to_thread(
        database.query,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND "
        "database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    assert ended == [(True,)]


async def put(store: Store, name: str) -> None:
    async with store.write() as connection:
        await connection.execute(insert(t.cursors).values(CURSOR | {"name": name}))


def names(database: ServerDatabase) -> list[str]:
    return [row[0] for row in database.query("SELECT name FROM cursors ORDER BY name")]


async def test_migrations_give_what_the_hub_reads(postgres_server: PostgresProcess) -> None:
    """Proves that the migrations end in the tables as the code has them, and that every text is
    compared byte by byte and takes any length: order, pages and refusals are those of SQLite."""

    def differences(connection: Any) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), t.METADATA))

    database = ServerDatabase(postgres_server)
    store = await Store.open(database.url, CONTRACT)
    async with store.read() as connection:
        assert await connection.run_sync(differences) == []
    await store.close()
    columns = database.query(
        "SELECT table_name::text, column_name::text, data_type::text, collation_name::text "
        "FROM information_schema.columns WHERE table_schema = 'public' "
        "AND table_name <> 'alembic_version' AND data_type IN ('text', 'character varying')"
    )
    assert len(columns) > 100
    assert [column for column in columns if column[2:] != ("text", "C")] == []
    floating = database.query(
        "SELECT table_name::text, column_name::text FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type IN ('real', 'double precision', 'numeric')"
    )
    assert floating == []


async def test_every_connection_keeps_what_it_is_given(store: Store) -> None:
    """Proves that commits are on disk, that nothing waits for ever, and that a reader sees one
    moment and can't write, whatever the server's own defaults are."""
    told: dict[str, dict[str, str]] = {}
    for kind, way in (("writer", store.write), ("reader", store.read)):
        async with way() as connection:
            told[kind] = {
                name: await shown(connection, name)
                for name in (
                    "synchronous_commit",
                    "transaction_isolation",
                    "transaction_read_only",
                    "statement_timeout",
                    "lock_timeout",
                    "idle_in_transaction_session_timeout",
                )
            }
    both = {
        "synchronous_commit": "on",
        "statement_timeout": f"{postgresql.STATEMENT_SECONDS}s",
        "lock_timeout": f"{postgresql.LOCK_SECONDS}s",
        "idle_in_transaction_session_timeout": "1min",
    }
    committed = {"transaction_isolation": "read committed", "transaction_read_only": "off"}
    snapshot = {"transaction_isolation": "repeatable read", "transaction_read_only": "on"}
    assert told == {"writer": both | committed, "reader": both | snapshot}


async def test_one_hub_writes_to_a_database(store: Store, database: ServerDatabase) -> None:
    """Proves that a second hub is refused by name while the first goes on undisturbed, and is let
    in when that one has ended."""
    await put(store, "before")
    with pytest.raises(DatabaseInUse, match=f"in use by {postgresql.name_of_hub()}; stop it"):
        await Store.open(database.url, CONTRACT)
    await put(store, "after")
    await store.close()
    second = await Store.open(database.url, CONTRACT)
    try:
        await put(second, "second")
    finally:
        await second.close()
    assert names(database) == ["after", "before", "second"]


async def test_a_lost_connection_is_replaced(store: Store, database: ServerDatabase) -> None:
    """Proves that a hub whose connection is lost claims the database again by itself, and writes
    on: nobody else has written meanwhile."""
    await put(store, "before")
    await lose_writer(database)
    with pytest.raises(StoreFailure) as lost:
        await put(store, "lost")
    assert lost.value.away and not lost.value.full
    await put(store, "after")
    assert names(database) == ["after", "before"]


@pytest.mark.parametrize("still_there", [True, False])
async def test_a_hub_that_was_replaced_writes_no_more(
    store: Store, database: ServerDatabase, still_there: bool
) -> None:
    """Proves that a hub which lost its connection while another one took the database over never
    writes again, also when that one has gone meanwhile, and is told so that it can end."""
    told: list[str] = []
    store.on_taken = told.append
    await lose_writer(database)
    second = await Store.open(database.url, CONTRACT)
    await put(second, "second")
    if not still_there:
        await second.close()
    for _ in range(3):
        with pytest.raises(StoreFailure):
            await put(store, "first")
    # The first try only finds out that the connection is gone.
    assert len(told) == 2
    assert ("in use by" if still_there else "another hub has written") in told[0]
    await second.close()
    assert names(database) == ["second"]


async def test_a_lost_commit_is_said_to_be_uncertain(
    store: Store, database: ServerDatabase
) -> None:
    """Proves that when the connection breaks under a commit, a caller is not told that nothing was
    written, that its neighbours are not tried one by one, and that the hub goes on."""
    database.query(
        "CREATE FUNCTION break_commit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
    )
    database.query(
        "CREATE CONSTRAINT TRIGGER break_commit AFTER INSERT ON cursors "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION break_commit()"
    )
    limits = Limits()
    committer = Committer(store, CONTRACT, limits, Picker(limits))
    committer.start([])
    try:
        lost = [committer.submit(_putting(name)) for name in ("one", "two")]
        for answer in await asyncio.gather(*lost, return_exceptions=True):
            assert isinstance(answer, Refused)
            assert answer.refusal.reason == "HUB_UNAVAILABLE"
            assert "it may have been written; repeat" in answer.refusal.message
        assert committer.failure is not None and committer.failure.uncertain
        database.query("DROP TRIGGER break_commit ON cursors")
        await committer.submit(_putting("three"))
    finally:
        await committer.stop()
    assert names(database) == ["three"]


def _putting(name: str) -> Command:
    def decide(unit: Unit) -> Any:
        cursor = CursorRecord(unit.caller.endpoint, name, b"1", 1)
        unit.put(("cursor", cursor.endpoint, name), cursor)
        return tracking_service_pb2.StreamTrackingEventsResponse()

    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return Command("/a/Method", Caller("ups", "CARRIER"), decide, answer)


@pytest.mark.parametrize(
    ("state", "full", "away", "cause"),
    [
        ("53100", True, False, "the volume of the database is full"),
        ("25006", True, False, "the database is read-only"),
        ("53300", False, True, "the database takes no more connections"),
        ("57P01", False, True, "the database is stopping or starting"),
        ("08006", False, True, "the connection to the database is lost"),
        ("40001", False, False, "another transaction was in the way"),
        ("40P01", False, False, "another transaction was in the way"),
        ("55P03", False, False, "the database is locked by another process"),
        ("57014", False, False, "the database was asked for longer than a statement may take"),
        ("22021", False, False, "the database refused a statement (DBAPIError, 22021)"),
    ],
)
async def test_what_the_server_says_is_told_in_words(
    store: Store, state: str, full: bool, away: bool, cause: str
) -> None:
    """Proves that what the server says by its code becomes a sentence without any data in it, full
    or away as callers have to know it, and that the store goes on."""
    raised = f"DO $$ BEGIN RAISE EXCEPTION 'secret' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(StoreFailure) as failed:
        async with store.write() as connection:
            await connection.exec_driver_sql(raised)
    failure = failed.value
    assert (failure.cause, failure.full, failure.away) == (cause, full, away)
    assert not failure.uncertain
    await put(store, "after")


async def test_nothing_is_waited_for_without_end(store: Store, database: ServerDatabase) -> None:
    """Proves that a row which somebody else holds ends a batch in words, not the hub in silence."""
    await put(store, "held")
    other: Any = await asyncpg.connect(
        host=str(database.server.directory), user="crossdock", database=database.name
    )
    try:
        async with other.transaction():
            await other.execute("SELECT * FROM cursors FOR UPDATE")
            with pytest.raises(StoreFailure, match="locked by another process"):
                async with store.write() as connection:
                    await connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
                    await connection.execute(text("UPDATE cursors SET version = 2"))
    finally:
        await other.close()


async def test_a_server_that_loses_commits_is_refused(
    own_postgres_server: PostgresProcess,
) -> None:
    """Proves that a hub does not start on a server which says that a commit is durable and lies."""
    database = ServerDatabase(own_postgres_server)
    database.query("ALTER SYSTEM SET fsync = off")
    own_postgres_server.restart()
    with pytest.raises(DatabaseUnfit, match="fsync=off and loses commits"):
        await Store.open(database.url, CONTRACT)


async def test_a_pool_in_between_is_refused(
    database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a pool which shares connections, and with them the lock, is found out: it
    announces another process than the one that answers."""
    monkeypatch.setattr(asyncpg.connection.Connection, "get_server_pid", lambda _self: 1)
    with pytest.raises(DatabaseUnfit, match="name the PostgreSQL server itself"):
        await Store.open(database.url, CONTRACT)


@pytest.mark.parametrize(
    "url", ["mysql+aiomysql://db/x", "postgresql://db/x", "postgresql+psycopg://db/x", "nonsense"]
)
async def test_other_drivers_are_refused_by_name(url: str) -> None:
    """Proves that a setting which nobody tests is refused before anything is opened."""
    with pytest.raises(ConfigurationError, match="CROSSDOCK_DATABASE_URL"):
        await Store.open(url, CONTRACT)


async def test_a_server_that_is_not_there_is_said_to_be_away(database: ServerDatabase) -> None:
    """Proves that a missing database and a missing server are told apart from each other."""
    with pytest.raises(StoreFailure, match="does not exist"):
        await Store.open(database.server.url("nowhere"), CONTRACT)
    with pytest.raises(StoreFailure, match="does not answer") as failed:
        await Store.open("postgresql+asyncpg://x@/y?host=/nowhere", CONTRACT)
    assert failed.value.away
