"""Statements that go to PostgreSQL past SQLAlchemy: the same rows, the same words of what goes
wrong, and nothing is written by a connection of which nobody knows what the server has done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import asyncpg
import pytest
from crossdock_hub.records import CursorRecord, DeliveryRecord, ParcelRecord, ScanOutboxRecord
from crossdock_hub.store import Store, StoreFailure, bus_rows, rows
from crossdock_hub.store.bus_rows import NEXT_SCANS
from crossdock_hub.store.crossing import Change, Rewriting, Shape, write_rows
from crossdock_hub.store.postgresql import PREPARED_STATEMENT_SIGNS_MAX
from crossdock_hub.store.straight import count_of, rows_of, write_all
from databases import ServerDatabase
from decisions import CONTRACT
from sqlalchemy import text

SCANS = 300
ALL = 1 << 62


@pytest.fixture
async def store(database: ServerDatabase) -> AsyncIterator[Store]:
    """A hub's store in it."""
    opened = await Store.open(database.url, CONTRACT)
    yield opened
    await opened.close()


def scan_message(number: int) -> ScanOutboxRecord:
    # Their ids fall while they are told in order: nothing but that order numbers them.
    return ScanOutboxRecord(f"{ALL - number}", number, b"\x00body", 1, "", number)


async def test_rows_are_numbered_in_the_order_told(store: Store) -> None:
    """Proves that rows of one statement get their numbers in the order in which they were told,
    which is the order they are published in, and that they are found as they were written."""
    told = [scan_message(number) for number in range(SCANS)]
    async with store.write() as connection:
        await write_rows(connection, [(rows.SCAN_OUTBOX, told)])
    found = await store.ask(NEXT_SCANS, 0, ALL, SCANS + 1)
    assert [row["record_time"] for row in found] == list(range(SCANS))
    assert {bytes(row["body"]) for row in found} == {b"\x00body"}


async def test_what_is_written_as_one_is_all_written(
    store: Store, database: ServerDatabase
) -> None:
    """Proves that rows of several tables and changes of other rows, sent as one statement, each get
    their own values, whichever of them comes last."""
    cursors = [CursorRecord("e", f"c{number}", b"v", number) for number in range(3)]
    told = [scan_message(number) for number in range(2)]
    change = Change(
        "", "UPDATE cursors SET version = version + $1 WHERE version = ANY ($2::bigint[])"
    )
    work: list[tuple[Shape, Sequence[Any]]] = [
        (rows.CURSORS, cursors),
        (rows.SCAN_OUTBOX, told),
        (rows.HELD_FACTS, []),
    ]
    async with store.write() as connection:
        await write_rows(connection, work)
        await write_rows(connection, [], [(change, (100, [0, 2]))])
        moved = replace(cursors[1], version=50)
        await write_rows(
            connection,
            [(rows.CURSORS, [moved]), (rows.SCAN_OUTBOX, [scan_message(2)])],
            [(change, (1000, [102])), (change, (7, [100]))],
        )
    found = database.query("SELECT name, version FROM cursors ORDER BY name")
    assert found == [("c0", 107), ("c1", 50), ("c2", 1102)]
    assert [row["record_time"] for row in await store.ask(NEXT_SCANS, 0, ALL, 9)] == [0, 1, 2]


def delivery(number: int, state: str = "READY") -> DeliveryRecord:
    return DeliveryRecord(
        id=f"d-{number}", event_id="e", event_type="t", endpoint="erp", operation="o", item="",
        ordering_key="k", state=state, created_at=1, updated_at=1, kind="order", object_id="x",
        root_id="x", vendor_reference="v", pending=True,
    )  # fmt: skip


@pytest.mark.parametrize("with_others", [False, True], ids=["alone", "with_others"])
@pytest.mark.parametrize("missing", [[], [2], [0, 1, 2]])
async def test_a_row_that_is_not_there_to_write_over_undoes_its_batch(
    store: Store, database: ServerDatabase, missing: Sequence[int], with_others: bool
) -> None:
    """Proves that a change of a row which only names some of its columns is never lost without a
    word: where the row is missing, its whole transaction is a failure and nothing of it stays."""
    there = [delivery(number) for number in range(3) if number not in missing]
    async with store.write() as connection:
        await write_rows(connection, [(rows.DELIVERIES, there)])
    changed = [delivery(number, "CONFIRMED") for number in range(3)]
    others: list[tuple[Shape, Sequence[Any]]] = [
        (rows.CURSORS, [CursorRecord("e", "c", b"v", 1)]),
        (rows.SCAN_OUTBOX, [scan_message(0), scan_message(1)]),
    ]
    work = [(rows.DELIVERIES_OVER.least, changed), *(others if with_others else [])]
    with pytest.raises(StoreFailure) if missing else contextlib.nullcontext() as failed:
        async with store.write() as connection:
            await write_rows(connection, work)
    states = database.query("SELECT id, state FROM deliveries ORDER BY id")
    number_of_others = database.query("SELECT count(*) FROM cursors")[0][0]
    if missing:
        told = f"3 rows of deliveries were to be written over, {len(there)} were there"
        assert failed is not None and failed.value.cause == told
        assert states == [(each.id, "READY") for each in there]
        assert number_of_others == 0
    else:
        assert states == [(each.id, "CONFIRMED") for each in changed]
        assert number_of_others == with_others


async def test_of_several_tables_the_missing_row_is_found(
    store: Store, database: ServerDatabase
) -> None:
    """Proves that the rows of each table are counted by themselves: one row too few of one is not
    made up for by those of another, and the table is named."""
    parcel = ParcelRecord("U", "1Z", "l", "s", "p", "o", 1, "IN_TRANSIT", None, False, 1)
    async with store.write() as connection:
        await write_rows(connection, [(rows.DELIVERIES, [delivery(0), delivery(1)])])
    both: list[tuple[Shape, Sequence[Any]]] = [
        (rows.DELIVERIES_OVER.narrow, [delivery(0, "CONFIRMED")]),
        (rows.DELIVERIES_OVER.least, [delivery(1, "CONFIRMED")]),
        (rows.PARCELS_OVER.narrow, [parcel]),
    ]
    with pytest.raises(StoreFailure, match="1 rows of parcels were to be written over, 0 were"):
        async with store.write() as connection:
            await rows_of(connection, "SELECT 1", ())
            await write_rows(connection, both)
    assert database.query("SELECT DISTINCT state FROM deliveries") == [("READY",)]
    async with store.write() as connection:
        await write_rows(connection, [(rows.PARCELS, [parcel])])
        await write_rows(connection, both)
    assert database.query("SELECT DISTINCT state FROM deliveries") == [("CONFIRMED",)]


def every_shape() -> list[Shape]:
    """Every way in which a record becomes a row, also of those that are written over in three."""
    found = [each for each in vars(rows).values() if isinstance(each, Shape)]
    for each in vars(rows).values():
        if isinstance(each, Rewriting):
            found += [each.whole, each.narrow, each.least]
    return list({id(shape): shape for shape in found}.values())


async def test_the_largest_batch_is_prepared_once(store: Store) -> None:
    """Proves that the driver keeps a statement that writes rows of every table and all that is
    known of the bus: a batch is larger than what it keeps by itself."""
    # Of no rows, so that nothing is written.
    work: list[tuple[str, Sequence[Any]]] = [
        (shape.writing_text, [[] for _ in shape.sent]) for shape in every_shape()
    ]
    over = [place for place, shape in enumerate(every_shape()) if shape.keeps]
    changes = [each for each in vars(bus_rows).values() if isinstance(each, Change)]
    signs = sum(len(text) for text, _ in work) + sum(len(each.postgresql) for each in changes)
    # Room for the words between them, and for some tables more.
    assert 15 * 1024 < signs < PREPARED_STATEMENT_SIGNS_MAX / 2
    kept = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'WITH part_0 AS%'"
    async with store.write() as connection:
        await rows_of(connection, "SELECT 1", ())
        for _ in range(2):
            assert await write_all(connection, work, over) == [0] * len(over)
        assert [tuple(row) for row in await rows_of(connection, kept, ())] == [(1,)]


@pytest.mark.parametrize("order", list(permutations(("through", "counted", "asked"))))
async def test_all_ways_are_in_one_transaction(
    store: Store, database: ServerDatabase, order: Sequence[str]
) -> None:
    """Proves that statements past SQLAlchemy are undone with those that go through it, whichever
    came first, and that they count and give the rows that they have written."""
    added = "INSERT INTO cursors (endpoint, name, value, version) SELECT 'e', n, '', 1 FROM {} AS n"
    straight = added.format("unnest($1::text[])")
    with pytest.raises(ZeroDivisionError):
        async with store.write() as connection:
            for way in order:
                if way == "through":
                    await connection.execute(text(added.format("unnest(ARRAY['x'])")))
                elif way == "counted":
                    assert await count_of(connection, straight, (["a", "b"],)) == 2
                else:
                    given = await rows_of(connection, f"{straight} RETURNING name", (["c"],))
                    assert [tuple(row) for row in given] == [("c",)]
            1 / 0  # noqa: B018
    assert database.query("SELECT count(*) FROM cursors") == [(0,)]


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("53100", "the volume of the database is full"),
        ("57P01", "the database is stopping or starting"),
        ("55P03", "the database is locked by another process"),
        ("22021", "the database refused a statement (DBAPIError, 22021)"),
        ("23505", "the database refused a statement (IntegrityError, 23505)"),
        ("42P01", "the database refused a statement (ProgrammingError, 42P01)"),
        ("XX000", "the database refused a statement (InternalError, XX000)"),
        ("0A000", "the database refused a statement (DBAPIError, 0A000)"),
    ],
)
async def test_what_goes_wrong_is_told_in_the_same_words(
    store: Store, state: str, cause: str
) -> None:
    """Proves that what the server says to a statement past SQLAlchemy becomes the sentence that it
    becomes through it, and that the store goes on."""
    raised = f"DO $$ BEGIN RAISE EXCEPTION 'secret' USING ERRCODE = '{state}'; END $$"
    for opened in (False, True):
        with pytest.raises(StoreFailure) as failed:
            async with store.write() as connection:
                if opened:
                    await rows_of(connection, "SELECT 1", ())
                await rows_of(connection, raised, ())
        assert failed.value.cause == cause
    async with store.write() as connection:
        assert [tuple(row) for row in await rows_of(connection, "SELECT 1", ())] == [(1,)]


@pytest.mark.parametrize("opened", [False, True])
async def test_what_the_driver_does_not_take_is_told_in_the_same_words(
    store: Store, opened: bool
) -> None:
    """Proves the same of a number that has no room, in the first statement of a
    transaction, which goes through SQLAlchemy, and in a later one."""
    with pytest.raises(StoreFailure) as failed:
        async with store.write() as connection:
            if opened:
                await rows_of(connection, "SELECT 1", ())
            await rows_of(connection, "SELECT $1::int", (1 << 40,))
    assert failed.value.cause == "the database refused a statement (DBAPIError, 22000)"


async def test_a_fault_within_the_driver_is_a_failure_of_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that what the driver raises when its own state does not fit is no fault of the hub's,
    but told as it is through SQLAlchemy."""

    async def fails(_connection: Any, *_values: Any) -> Any:
        raise asyncpg.InternalClientError("secret")

    with pytest.raises(StoreFailure) as failed:
        async with store.write() as connection:
            await rows_of(connection, "SELECT 1", ())
            monkeypatch.setattr(asyncpg.Connection, "fetch", fails)
            await rows_of(connection, "SELECT 1", ())
    assert failed.value.cause == "the database refused a statement (InternalError)"


async def test_whoever_asks_connects_anew(store: Store, database: ServerDatabase) -> None:
    """Proves that the connection that is kept for questions is replaced when it is lost, and that
    nobody is told worse than that the database is away."""
    assert await store.ask(NEXT_SCANS, 0, ALL, 1) == []
    # All but the one that asks this.
    database.query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(StoreFailure) as lost:
        await store.ask(NEXT_SCANS, 0, ALL, 1)
    assert lost.value.away
    assert await store.ask(NEXT_SCANS, 0, ALL, 1) == []


async def test_an_abandoned_statement_takes_its_connection_with_it(
    store: Store, database: ServerDatabase
) -> None:
    """Proves that of a transaction that was cancelled amid a statement nothing is written, also
    what was before it, and that the store writes on with another connection."""
    begun = asyncio.Event()

    async def write() -> Any:
        async with store.write() as connection:
            await rows_of(connection, "SELECT 1", ())
            await write_rows(connection, [(rows.SCAN_OUTBOX, [scan_message(1)])])
            begun.set()
            await rows_of(connection, "SELECT pg_sleep(60)", ())

    async with asyncio.timeout(20):
        task = asyncio.create_task(write())
        await begun.wait()
        before = store.write_in_term("nothing", 0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, StoreFailure)):
            await task
        async with store.write() as connection:
            await write_rows(connection, [(rows.SCAN_OUTBOX, [scan_message(2)])])
    assert store.write_in_term("nothing", 0) != before
    assert database.query("SELECT record_time FROM scan_outbox") == [(2,)]
