"""A PostgreSQL that is not what the hub left when it connects again: a copy that lags, or moved."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from crossdock_hub.archive.records import LettingGo, Moment
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.identity import HUB
from crossdock_hub.records import CursorRecord, EventRecord, Mark, Tie
from crossdock_hub.store import Access, Store, StoreFailure, Transaction, moves, postgresql, rows
from crossdock_hub.store.bus_rows import keep_tie
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.failures import STANDBY
from crossdock_hub.store.places import Place
from crossdock_hub.store.postgresql import DatabaseInUse
from crossdock_hub.store.relocation import use_as_back_up
from crossdock_hub.unit import Changes, Refused, Unit
from databases import ServerDatabase
from decisions import CONTRACT
from fixtures_nats import eventually
from fixtures_postgres import SUPERUSER, PostgresProcess

SOCKET = ".s.PGSQL.5432"
ALL_OF_A_HUB = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def store(database: ServerDatabase) -> AsyncIterator[Store]:
    """A hub's store in it, which has started."""
    opened = await Store.open(database.url, CONTRACT)
    async with opened.write() as connection:
        await keep_tie(connection, Tie("one", 6, 6))
        await opened.answered.look(connection)
    yield opened
    await opened.close()


async def lose_all(database: ServerDatabase) -> None:
    """End every connection of the hub, as a server that dies would."""
    await asyncio.to_thread(database.query, ALL_OF_A_HUB)


def names(database: ServerDatabase) -> list[str]:
    return [row[0] for row in database.query("SELECT name FROM cursors ORDER BY name")]


class Ledger:
    """Commits as a hub does. begins: how many calls; each has a generation of its own."""

    def __init__(self, store: Store) -> None:
        limits = Limits()
        self.committer = Committer(store, CONTRACT, limits, Picker(limits))
        self.committer.ties = lambda changes: self._number() if changes.tied else ()
        self._generation = 6

    def _number(self) -> tuple[Mark, ...]:
        self._generation += 1
        return (Mark(generation=self._generation),)

    async def commit(self, name: str, kind: str = "") -> None:
        """Write something under a name, with an event or with the begin of a call beside it."""

        def decide(unit: Unit) -> Any:
            unit.put(("cursor", "ups", name), CursorRecord("ups", name, b"1", 1))
            if kind == "event":
                unit.changes.events.append(event(name))
            if kind == "call":
                unit.tie()

        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self.committer.submit(Command("put", HUB, decide, answer))

    async def commit_at_last(self, name: str, kind: str = "") -> None:
        """The same until it is accepted, as a caller repeats it."""

        async def accepted() -> bool:
            try:
                await self.commit(name, kind)
            except Refused:
                return False
            return True

        await eventually(accepted, f"the commit of {name}")


def event(name: str) -> EventRecord:
    return EventRecord(
        id=f"event-{name}", type="t", stem="s", kind="order", object_id=name, revision=1,
        position=0, root_id=name, partition=0, body=b"1", producer="oms", traceparent="",
        event_time=None, record_time=1, causation_id="",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["call", "event"])
async def test_a_standby_that_lags_is_found_out(
    store: Store, database: ServerDatabase, tmp_path: Path, kind: str
) -> None:
    """Proves that a hub whose server comes back without a commit that it has answered writes no
    more and ends: the begin of a call of which the bus knows, which would be called again, or an
    event, behind which new ones would be numbered as sent."""
    told: list[str] = []
    store.on_taken = told.append
    ledger = Ledger(store)
    ledger.committer.start([])
    try:
        await ledger.commit("kept", kind)
        await lose_all(database)
        await asyncio.to_thread(database.copy, tmp_path)
        await ledger.commit_at_last("lost", kind)
        await asyncio.to_thread(database.put_back, tmp_path)
        for _ in range(2):
            with pytest.raises(Refused):
                await ledger.commit("after", kind)
        await eventually(lambda: told, "that it is found out")
    finally:
        await ledger.committer.stop()
    assert "an older copy" in told[0]
    assert names(database) == ["kept"]


async def test_a_standby_that_has_everything_is_gone_on_with(
    store: Store, database: ServerDatabase, tmp_path: Path
) -> None:
    """Proves that a hub goes on by itself where nothing that it answered is missing."""
    told: list[str] = []
    store.on_taken = told.append
    ledger = Ledger(store)
    ledger.committer.start([])
    try:
        await ledger.commit("begun", "call")
        await ledger.commit("recorded", "event")
        await lose_all(database)
        await asyncio.to_thread(database.copy, tmp_path)
        await asyncio.to_thread(database.put_back, tmp_path)
        await ledger.commit_at_last("after", "event")
    finally:
        await ledger.committer.stop()
    assert told == []
    assert names(database) == ["after", "begun", "recorded"]


async def test_a_start_counts_as_answered(store: Store, database: ServerDatabase) -> None:
    """Proves that what a hub found when it started has to be there too: it told the bus of it."""
    told: list[str] = []
    store.on_taken = told.append
    await lose_all(database)
    await asyncio.to_thread(database.query, "UPDATE bus_tie SET generation = 5")
    for _ in range(2):
        with pytest.raises(StoreFailure):
            await _put(store, "after")
    assert len(told) == 1
    assert names(database) == []


async def test_nothing_is_written_to_what_could_not_be_looked_at(
    store: Store, database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a new connection on which that look fails is not written with afterwards."""

    async def is_locked(_connection: Transaction) -> str:
        raise StoreFailure("the database is locked by another process", full=False, locked=True)

    await lose_all(database)
    monkeypatch.setattr(store.answered, "missing", is_locked)
    for _ in range(3):
        with pytest.raises(StoreFailure):
            await _put(store, "unseen")
    monkeypatch.undo()
    await _put(store, "seen")
    assert names(database) == ["seen"]


async def test_a_standby_that_is_not_promoted_is_waited_for(
    store: Store, database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a server which is still a standby is not compared, since it may not have replayed
    what it was sent, and nothing is written to it: the hub waits, and goes on once it is one that
    takes writes."""
    told: list[str] = []
    store.on_taken = told.append

    async def is_standby(_connection: Transaction) -> bool:
        return True

    await lose_all(database)
    monkeypatch.setattr(postgresql, "is_in_recovery", is_standby)
    await asyncio.to_thread(database.query, "UPDATE bus_tie SET generation = 5")
    with pytest.raises(StoreFailure):
        await _put(store, "lost")
    with pytest.raises(StoreFailure) as failed:
        await _put(store, "too early")
    assert failed.value.away
    assert failed.value.cause == STANDBY
    await asyncio.to_thread(database.query, "UPDATE bus_tie SET generation = 6")
    monkeypatch.undo()
    await _put(store, "after")
    assert names(database) == ["after"]
    assert not told


async def marked_as_moved(database: ServerDatabase) -> None:
    """What a move leaves behind that counts no claim, as those of earlier versions do."""
    mark = f"(1, '{moves.MOVED}', 'm', 'elsewhere', 1)"
    await asyncio.to_thread(database.query, f"INSERT INTO moves VALUES {mark}")


async def used_as_a_back_up(database: ServerDatabase) -> None:
    """A move, and `move --undo --as-back-up` on this database."""
    place = await Place.open(database.url, Access())
    await place.put_mark(moves.Mark(moves.MOVED, "m", "elsewhere", 1))
    await place.close()
    place = await Place.open(database.url, Access())
    await use_as_back_up(place)
    await place.close()


@pytest.mark.parametrize(
    ("work", "says"), [(marked_as_moved, "moved to elsewhere"), (used_as_a_back_up, "or it was")]
)
async def test_a_hub_that_was_cut_off_writes_nothing_where_it_was_moved_away(
    store: Store,
    database: ServerDatabase,
    work: Callable[[ServerDatabase], Awaitable[None]],
    says: str,
) -> None:
    """Proves that a hub whose database moved while it was cut off writes no more and ends, also
    where the database it was on has become one of a back-up meanwhile."""
    told: list[str] = []
    store.on_taken = told.append
    await lose_all(database)
    await work(database)
    ledger = Ledger(store)
    ledger.committer.start([])
    try:
        for _ in range(2):
            with pytest.raises(Refused):
                await ledger.commit("after")
        await eventually(lambda: told, "that it is found out")
    finally:
        await ledger.committer.stop()
    assert says in told[0]
    assert names(database) == []


async def test_an_event_in_the_archive_is_not_missed(store: Store) -> None:
    """Proves that where the newest event has left for the archive with its flow nothing is said to
    be missing, and that another flow which leaves says nothing about it."""
    for root, is_missing in (("other", True), ("own", False)):
        store.answered.note(Changes(events=[event("own")]), ())
        gone = LettingGo(1, [], Moment("", ()), CONTRACT, gone=[root])
        store.answered.note(Changes(archived=[gone]), ())
        async with store.read() as connection:
            assert bool(await store.answered.missing(connection)) == is_missing


class Firewall:
    """A way to a server, of which the hub's side can be cut while the server's stays as it is."""

    def __init__(self, server: PostgresProcess) -> None:
        self._socket = str(server.directory / SOCKET)
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._door: asyncio.Server | None = None

    async def open(self, directory: Path) -> None:
        """Let connections to a socket in a directory through."""
        self._door = await asyncio.start_unix_server(self._let_in, directory / SOCKET)

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        self._writers += [writer, to_server]
        for source, target in ((reader, to_server), (from_server, writer)):
            task = asyncio.create_task(_pass_on(source, target))
            self._tasks.add(task)

    def forget(self) -> None:
        """Pass nothing on any more, and reset the hub's side; the server is told nothing."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers[::2]:
            writer.transport.abort()

    async def close(self) -> None:
        """End everything."""
        if self._door is not None:
            self._door.close()
            await self._door.wait_closed()
        self.forget()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        target.write(data)
        await target.drain()
    # Who has ended says so to the other side; what was cut by `forget` does not come here.
    target.close()


async def test_a_hub_does_not_take_itself_for_another(
    database: ServerDatabase,
) -> None:
    """Proves that a hub whose connection was reset on its own side only, so that the server keeps
    the old one with its lock, ends that one and writes on, and does not take it for another hub;
    and that another hub is still taken for one."""
    firewall, directory = Firewall(database.server), Path(tempfile.mkdtemp(prefix="crossdock-"))
    await firewall.open(directory)
    url = f"postgresql+asyncpg://{SUPERUSER}@/{database.name}?host={directory}"
    store = await Store.open(url, CONTRACT)
    told: list[str] = []
    store.on_taken = told.append
    try:
        await _put(store, "before")
        firewall.forget()
        with pytest.raises(StoreFailure) as lost:
            await _put(store, "lost")
        assert lost.value.away
        await _put(store, "after")
        assert told == []
        assert names(database) == ["after", "before"]
        with pytest.raises(DatabaseInUse):
            await Store.open(database.url, CONTRACT)
    finally:
        await store.close()
        await firewall.close()
        shutil.rmtree(directory)


async def _put(store: Store, name: str) -> None:
    async with store.write() as connection:
        await write_rows(connection, [(rows.CURSORS, [CursorRecord("ups", name, b"1", 1)])])
