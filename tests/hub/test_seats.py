"""The seats that hubs hold among which systems are divided, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from bus_that_is import BusThatIs
from crossdock_hub.leading.elector import NOTHING, Elector
from crossdock_hub.leading.terms import FOLLOWS, Timing
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.engine import NO_SECRETS
from crossdock_hub.store.leadership import EVERYTHING, LeadershipRow, SeatRow
from crossdock_hub.store.postgresql import Backend
from databases import ServerDatabase
from decisions import CONTRACT
from fixtures_nats import eventually
from overlapping_commands import SHARED_BY

SEATS_MAX = 8
OFTEN = Timing(lasts=30.0, renew=1.0, look=0.02)
RowOf = Callable[[], SeatRow]


@pytest.fixture
async def row_of(database: ServerDatabase) -> AsyncIterator[RowOf]:
    """Makes the row of one more hub."""
    async with AsyncExitStack() as ending:

        def make() -> SeatRow:
            row = SeatRow(database.url, NO_SECRETS, SEATS_MAX)
            ending.push_async_callback(row.close)
            return row

        yield make


async def taken(row: SeatRow, holder: str) -> tuple[int, int]:
    """(seat, term) that a hub takes, for long."""
    found = await row.take(holder, f"{holder}:1", 60.0)
    assert found is not None
    return row.number, found.term


async def test_each_hub_has_the_lowest_seat_that_is_free(row_of: RowOf) -> None:
    """Proves that a hub takes the lowest free seat and never one that lives, that it has its own
    again after an answer that was lost, and that none of its terms is one that a seat had before:
    with the same one in two seats it would not see that it lost the first."""
    first, second, third = row_of(), row_of(), row_of()
    assert first.number == 0
    assert await first.look() is None
    assert await taken(first, "a") == (1, 1)
    assert await taken(second, "b") == (2, 2)
    assert await taken(third, "c") == (3, 3)
    assert await second.renew(2, 60.0)
    assert not await second.renew(1, 60.0)
    await first.release(1)
    await second.release(2)
    # What it had does not live any more, and is its own still: not the lowest one.
    assert await taken(second, "b") == (2, 4)
    assert await taken(row_of(), "c") == (3, 5)
    assert not await third.renew(3, 60.0)
    assert await taken(row_of(), "d") == (1, 6)


async def test_two_hubs_never_have_one_seat(row_of: RowOf) -> None:
    """Proves that of hubs which ask at once each gets a seat of its own, that one more is told that
    all are taken and how long the first to run out has left, and gets the one that falls free."""
    rows = [row_of() for _ in range(SEATS_MAX)]
    found = await asyncio.gather(*(taken(row, f"hub {n}") for n, row in enumerate(rows)))
    assert sorted(seat for seat, _ in found) == list(range(1, SEATS_MAX + 1))
    late = row_of()
    assert await late.take("late", "late:1", 60.0) is None
    assert late.number == 0
    seen = await late.look()
    assert seen is not None
    assert 0 < seen.left_seconds <= 60.0
    third = next(row for row in rows if row.number == 3)
    await third.release(dict(found)[3])
    assert await late.look() is None
    assert (await taken(late, "late"))[0] == 3


async def test_an_elector_holds_a_seat(row_of: RowOf) -> None:
    """Proves that electors take part in seats as in the lead: each holds one, one that goes leaves
    its own to who waits for one, and who loses its seat has another one."""
    rows = [row_of() for _ in range(SEATS_MAX + 1)]
    electors = [Elector(row, f"hub {n}", OFTEN, BusThatIs()) for n, row in enumerate(rows)]

    def held() -> list[Elector]:
        return [each for each in electors if each.leads]

    async with AsyncExitStack() as ending:
        for each in electors:
            each.address = "127.0.0.1:1"
            each.start()
            ending.push_async_callback(each.stop)
        await eventually(lambda: len(held()) == SEATS_MAX, "every seat to be held")
        (waits,) = (each for each in electors if not each.leads)
        await eventually(lambda: waits.leader is not None, "the last one to see that")
        gone = held()[0]
        number = rows[electors.index(gone)].number
        await gone.stop()
        await eventually(lambda: waits.leads, "the seat that is free")
        assert rows[electors.index(waits)].number == number
        # Its seat is found lost, by whoever finds that out.
        lost = waits.term
        waits.lose(lost)
        await eventually(lambda: waits.leads, "a seat again")
        assert waits.term > lost


async def test_a_lost_seat_costs_no_other_task(database: ServerDatabase, row_of: RowOf) -> None:
    """Proves that a hub which does what one does for all, and holds a seat, learns on its next
    connection of exactly what it has lost, before anything is written over that; and that the rows
    of what it has still name that connection, so that whoever takes them ends it."""
    office, seat = LeadershipRow(database.url, NO_SECRETS), row_of()
    store = await Store.open(database.url, CONTRACT, shared_by=SHARED_BY)
    lost: list[tuple[str, int]] = []
    store.on_deposed = lambda task, term: lost.append((task, term))
    try:
        led = await office.take("a", "a:1", 60.0)
        _, term = await taken(seat, "a")
        assert led is not None
        first = await _named(store, office, led.term)
        assert first == await _named(store, seat, term)
        # To follow in one task says nothing of the others.
        store.write_in_term("seat 7", 9)
        store.write_in_term("seat 7", FOLLOWS)
        # Another hub has the seat, and has ended what was written with.
        await seat.release(term)
        other = row_of()
        found = await other.take("b", "b:1", 60.0)
        assert found is not None
        assert (other.number, found.writer) == (1, first)
        assert await other.end_writer(first)
        with pytest.raises(StoreFailure):
            await _write(store)
        assert lost == []
        await _write(store)
        assert lost == [("seat 1", term)]
        fresh = store.write_in_term(EVERYTHING, led.term)
        assert fresh not in (None, first, NOTHING)
        assert _writers(database) == {"everything": fresh, "seat 1": first}
        # Lost once, told once; and what it follows in is not asked for.
        store.write_in_term(EVERYTHING, FOLLOWS)
        assert fresh is not None
        assert await other.end_writer(fresh)
        with pytest.raises(StoreFailure):
            await _write(store)
        await _write(store)
        assert lost == [("seat 1", term)]
        assert _writers(database)["everything"] == fresh
    finally:
        await store.close()
        await office.close()


async def test_every_task_is_named_on_a_new_connection(
    database: ServerDatabase, row_of: RowOf
) -> None:
    """Proves that a hub whose connection is lost, and nothing else, names the new one wherever the
    old one was named; and that it is told of each loss where both are lost."""
    office, seat = LeadershipRow(database.url, NO_SECRETS), row_of()
    store = await Store.open(database.url, CONTRACT, shared_by=SHARED_BY)
    lost: list[tuple[str, int]] = []
    store.on_deposed = lambda task, term: lost.append((task, term))
    try:
        led = await office.take("a", "a:1", 60.0)
        _, term = await taken(seat, "a")
        assert led is not None
        first = await _named(store, office, led.term)
        await _named(store, seat, term)
        assert await office.end_writer(first)
        with pytest.raises(StoreFailure):
            await _write(store)
        await _write(store)
        fresh = store.write_in_term(seat.task, term)
        assert fresh not in (None, first)
        assert _writers(database) == {"everything": fresh, "seat 1": fresh}
        assert fresh is not None
        for row, held in ((office, led.term), (seat, term)):
            await row.release(held)
        assert await office.take("b", "b:1", 60.0) is not None
        assert await row_of().take("b", "b:1", 60.0) is not None
        assert await office.end_writer(fresh)
        with pytest.raises(StoreFailure):
            await _write(store)
        await _write(store)
        assert lost == [("everything", led.term), ("seat 1", term)]
    finally:
        await store.close()
        await office.close()


async def _named(store: Store, row: LeadershipRow, term: int) -> Backend:
    """Write in a term from now on, and have the present connection named in it."""
    own = store.write_in_term(row.task, term)
    assert own is not None
    assert await row.name_writer(term, own)
    return own


async def _write(store: Store) -> None:
    async with store.write() as connection:
        await connection.exec_driver_sql("SELECT 1")


def _writers(database: ServerDatabase) -> dict[str, Backend]:
    found = database.query("SELECT task, writer_pid, writer_began FROM leadership")
    return {task: Backend(pid, began) for task, pid, began in found}
