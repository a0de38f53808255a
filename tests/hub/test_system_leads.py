"""Who leads which system, as it is written down in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from crossdock_hub.leading.division import NOBODY, Seat, Steps, SystemLead, steps
from crossdock_hub.leading.elector import NOTHING
from crossdock_hub.store import Store, StoreFailure, postgresql, system_leads
from crossdock_hub.store.engine import NO_SECRETS, Transaction
from crossdock_hub.store.leadership import LeadershipRow, SeatRow, name_writer
from crossdock_hub.store.postgresql import Backend
from databases import ServerDatabase
from decisions import CONTRACT
from overlapping_commands import SHARED_BY
from sqlalchemy import text

SYSTEMS = [f"system {n}" for n in range(6)]


@pytest.fixture
async def store(database: ServerDatabase) -> AsyncIterator[Store]:
    """What the hub writes with that gives systems to seats."""
    opened = await Store.open(database.url, CONTRACT, shared_by=SHARED_BY)
    yield opened
    await opened.close()


@pytest.fixture
async def other(database: ServerDatabase) -> AsyncIterator[Store]:
    """What another hub writes with, which believes the same of itself."""
    opened = await Store.open(database.url, CONTRACT, shared_by=SHARED_BY)
    yield opened
    await opened.close()


async def seated(
    store: Store,
    number: int,
    term: int,
    left_seconds: float,
    holder: str = "a hub",
    writer: Backend = NOTHING,
) -> None:
    """Write a seat down as a hub has left it."""
    written = text(
        "INSERT INTO leadership VALUES (:task, :term, :holder, :address, "
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint + :left, :pid, :began)"
    )
    async with store.write() as connection:
        await connection.execute(
            written,
            {
                "task": f"seat {number}",
                "term": term,
                "holder": holder,
                "address": f"127.0.0.1:{number}",
                "left": int(left_seconds * 1_000_000),
                "pid": writer.pid,
                "began": writer.began,
            },
        )


async def led_by(store: Store) -> dict[str, tuple[int | None, int, int]]:
    """(seat, its term, wanted) of each system."""
    async with store.read() as connection:
        found = await system_leads.all_leads(connection)
    return {each.system: (each.seat, each.seat_term, each.wanted) for each in found}


async def close(store: Store, number: int, term: int) -> Backend | None:
    async with store.write() as connection:
        return await system_leads.close_seat(connection, number, term)


async def test_a_seat_that_ran_out_is_closed_by_one(
    store: Store, other: Store, database: ServerDatabase
) -> None:
    """Proves that of two hubs which close a seat at once one is told what its holder wrote with, of
    which nothing is named any more; that a hub which comes back then neither renews the seat nor
    writes in it; and that a seat that lives, or another term of it, is not closed."""
    writer = Backend(7, 70)
    await seated(store, 1, 4, -1.0, writer=writer)
    await seated(store, 2, 5, 60.0)
    found = await asyncio.gather(close(store, 1, 4), close(other, 1, 4))
    assert sorted(found, key=str) == [writer, None]
    assert await close(store, 1, 4) is None
    assert await close(store, 2, 5) is None
    assert await close(store, 2, 4) is None
    async with store.read() as connection:
        first, second = await system_leads.seats(connection)
    assert (first.number, first.term, first.holder, first.address) == (1, 5, "", "")
    assert (first.writer, first.lives, first.is_closed) == (NOTHING, False, True)
    assert (second.number, second.lives, second.is_closed) == (2, True, False)
    assert 50.0 < second.left_seconds <= 60.0
    row = LeadershipRow(database.url, NO_SECRETS, "seat 1")
    assert not await row.renew(4, 60.0)
    assert not await row.name_writer(4, Backend(8, 80))
    await row.close()
    # Who asks next has it, and has nothing to end.
    seat = SeatRow(database.url, NO_SECRETS, 8)
    taken = await seat.take("b", "b:1", 60.0)
    assert taken is not None
    assert (seat.number, taken.term, taken.writer) == (1, 6, NOTHING)
    await seat.close()


async def test_closing_sees_what_the_holder_does_in_that_moment(store: Store, other: Store) -> None:
    """Proves that closing waits for a holder amid naming what it writes with, and tells the newest;
    that it leaves a seat which is renewed in that moment; and that where it is taken back all is as
    before, so that the next hub still finds what is to be ended."""
    await seated(store, 1, 4, -1.0, writer=Backend(7, 70))
    async with other.write() as connection:
        assert await name_writer(connection, "seat 1", 4, Backend(8, 80))
        closing = asyncio.create_task(close(store, 1, 4))
        await _waits(other)
    assert await closing == Backend(8, 80)
    await seated(store, 2, 5, -1.0)
    renewed = text("UPDATE leadership SET expires_at = expires_at + 60000000 WHERE task = 'seat 2'")
    async with other.write() as connection:
        await connection.execute(renewed)
        closing = asyncio.create_task(close(store, 2, 5))
        await _waits(other)
    assert await closing is None
    await seated(store, 3, 6, -1.0, writer=Backend(9, 90))
    with pytest.raises(ValueError, match="not ended"):
        await _fail_to_close(store, 3, 6)
    assert await close(store, 3, 6) == Backend(9, 90)


async def _fail_to_close(store: Store, number: int, term: int) -> None:
    async with store.write() as connection:
        assert await system_leads.close_seat(connection, number, term) is not None
        raise ValueError("not ended")


async def _waits(store: Store) -> None:
    """Return when a statement of another connection waits for a lock."""
    asked = text("SELECT 1 FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(10.0):
        while True:
            async with store.read() as connection:
                if (await connection.execute(asked)).first() is not None:
                    return
            await asyncio.sleep(0.01)


async def test_a_closed_seat_writes_nothing_more(
    store: Store, other: Store, database: ServerDatabase
) -> None:
    """Proves that a hub whose connection is ended while its seat is closed has written nothing of
    what it was about to, and learns on the next connection that it lost the seat."""
    seat = SeatRow(database.url, NO_SECRETS, 8)
    taken = await seat.take("a", "a:1", 0.0)
    assert taken is not None
    own = other.write_in_term(seat.task, taken.term)
    assert own is not None
    assert await seat.name_writer(taken.term, own)
    lost: list[tuple[str, int]] = []
    other.on_deposed = lambda task, term: lost.append((task, term))
    with pytest.raises(StoreFailure) as failed:
        async with other.write() as late:
            await late.execute(text("INSERT INTO cursors VALUES ('oms', 'late', '', 1)"))
            async with store.write() as connection:
                former = await system_leads.close_seat(connection, 1, taken.term)
                assert former == own
                assert await postgresql.end(connection, former)
    assert failed.value.away
    async with other.write() as connection:
        assert lost == [("seat 1", taken.term)]
        assert (await connection.execute(text("SELECT count(*) FROM cursors"))).scalar() == 0
    await seat.close()


async def test_nobody_closes_what_it_writes_with(store: Store, other: Store) -> None:
    """Proves that a hub does not close its own seat, as what it still writes there would not end;
    another hub does, and a connection that only has the same process id is another one."""
    own = store.write_in_term("seat 1", 4)
    assert own is not None
    await seated(store, 1, 4, -1.0, writer=own)
    await seated(store, 2, 4, -1.0, writer=replace(own, began=own.began - 1))
    assert await close(store, 1, 4) is None
    assert await close(store, 2, 4) is not None
    assert await close(other, 1, 4) == own


async def test_a_system_is_given_when_nobody_leads_it(store: Store) -> None:
    """Proves that a system is given only to a seat that lives in the term that is named, only when
    nobody leads it or its seat was closed, and not when its seat has run out, or was taken since
    without that its former holder's end is known."""
    for number, term, left in ((1, 4, 60.0), (2, 5, -1.0), (3, 6, 60.0)):
        await seated(store, number, term, left)
    async with store.write() as connection:
        await system_leads.insert(connection, SYSTEMS)
        await system_leads.insert(connection, [*SYSTEMS, "one more"])

        async def gives(system: str, seat: int, term: int) -> bool:
            return await system_leads.assign(connection, system, seat, term)

        assert not await gives("a", 2, 5)
        assert not await gives("a", 3, 5)
        assert not await gives("system 0", 2, 5)
        assert not await gives("system 0", 3, 5)
        assert not await gives("unknown", 1, 4)
        assert await gives("system 0", 1, 4)
        assert not await gives("system 0", 3, 6)
        assert not await gives("system 0", 1, 4)
    assert (await led_by(store))["system 0"] == (1, 4, 1)
    assert (await led_by(store))["one more"] == (None, 0, NOBODY)
    await _run_out(store, 1)
    async with store.write() as connection:
        assert not await gives_to_third(connection)
        assert await system_leads.remove(connection, SYSTEMS) == SYSTEMS[1:]
        await connection.execute(
            text("UPDATE leadership SET term = 7, expires_at = 1 << 60 WHERE task = 'seat 1'")
        )
        assert not await gives_to_third(connection)
    await _run_out(store, 1)
    async with store.write() as connection:
        assert await system_leads.close_seat(connection, 1, 7) is not None
        assert await gives_to_third(connection)
    assert (await led_by(store))["system 0"] == (3, 6, 3)


async def gives_to_third(connection: Transaction) -> bool:
    return await system_leads.assign(connection, "system 0", 3, 6)


async def _run_out(store: Store, number: int) -> None:
    async with store.write() as connection:
        await connection.execute(
            text("UPDATE leadership SET expires_at = 0 WHERE task = :task"),
            {"task": f"seat {number}"},
        )


async def test_a_hub_lets_go_of_what_is_its_own(store: Store) -> None:
    """Proves that a hub learns what it leads and what of that it is asked for, lets go of what it
    leads itself in its term and of nothing else, and that calls find who leads while it lives."""
    for number, term in ((1, 4), (2, 5)):
        await seated(store, number, term, 60.0)
    async with store.write() as connection:
        await system_leads.insert(connection, SYSTEMS[:4])
        for system, seat, term in (("system 0", 1, 4), ("system 1", 1, 4), ("system 2", 2, 5)):
            assert await system_leads.assign(connection, system, seat, term)
        assert await system_leads.want(connection, "system 1", 2)
        assert not await system_leads.want(connection, "system 3", 2)
        own = await leads_of(connection, 1, 4)
        assert [(each.system, each.wanted) for each in own] == [("system 0", 1), ("system 1", 2)]
        assert all(each.since > 0 for each in own)
        assert await leads_of(connection, 1, 3) == []
        routes = await system_leads.routes(connection)
        assert {name: (seen.term, seen.address) for name, seen in routes.items()} == {
            "system 0": (4, "127.0.0.1:1"),
            "system 1": (4, "127.0.0.1:1"),
            "system 2": (5, "127.0.0.1:2"),
        }
        assert all(0 < seen.left_seconds <= 60.0 for seen in routes.values())
        assert await system_leads.let_go(connection, SYSTEMS, 1, 3) == []
        assert await system_leads.let_go(connection, ["system 1", "system 2"], 1, 4) == ["system 1"]
        assert await system_leads.let_former_go(connection, 1, 4) == []
    assert (await led_by(store))["system 1"] == (None, 4, 2)
    await _run_out(store, 2)
    async with store.write() as connection:
        assert (await system_leads.routes(connection)).keys() == {"system 0"}
        # Who took the seat before it was closed says that what was before has ended.
        assert await system_leads.let_former_go(connection, 2, 6) == ["system 2"]
    # Not in peace: whoever gets it starts its leases anew.
    assert (await led_by(store))["system 2"] == (None, 0, 2)


@pytest.mark.parametrize("seed", range(20))
async def test_what_is_decided_can_be_done(store: Store, seed: int) -> None:
    """Proves, from states that are drawn, that the database lets every step be done that is decided
    of it, all in one transaction, and that nothing is left to do once hubs have done their part."""
    await drawn(store, random.Random(seed))
    systems = set(SYSTEMS[1:])
    for _ in range(4):
        async with store.write() as connection:
            await take(connection, await decided(connection, systems))
        async with store.write() as connection:
            for seat in await system_leads.seats(connection):
                if seat.lives:
                    await let_go(connection, seat)
    async with store.read() as connection:
        assert not (await decided(connection, systems)).is_any
        assert (await system_leads.routes(connection)).keys() == systems


async def drawn(store: Store, chance: random.Random) -> None:
    """Seats and systems as hubs may have left them; one seat at least lives."""
    terms = {number: chance.randint(5, 7) for number in range(1, 5)}
    for number, term in terms.items():
        lives = number == 1 or chance.random() < 0.5
        holder = "a hub" if lives or chance.random() < 0.6 else ""
        await seated(store, number, term, 60.0 if lives else -1.0, holder)
    written = text("INSERT INTO system_leads VALUES (:system, :seat, :term, :wanted, 0)")
    for system in SYSTEMS:
        seat = chance.choice([None, *terms, 5])
        asked = {
            "system": system,
            "seat": seat,
            "term": terms.get(seat or 0, 5) - chance.choice([0, 0, 1]),
            "wanted": chance.randint(0, 5),
        }
        if chance.random() < 0.8:
            async with store.write() as connection:
                await connection.execute(written, asked)


async def decided(connection: Transaction, systems: set[str]) -> Steps:
    leads: list[SystemLead] = await system_leads.all_leads(connection)
    return steps(leads, await system_leads.seats(connection), systems, {1: 1})


async def take(connection: Transaction, told: Steps) -> None:
    """Do every step; each has to be possible."""
    for seat in told.close:
        assert await system_leads.close_seat(connection, seat.number, seat.term) is not None
    await system_leads.insert(connection, told.insert)
    for system, seat in told.assign.items():
        assert await system_leads.assign(connection, system, seat.number, seat.term), system
    for system, number in told.want.items():
        assert await system_leads.want(connection, system, number), system
    assert await system_leads.remove(connection, told.delete) == sorted(told.delete)


async def let_go(connection: Transaction, seat: Seat) -> None:
    """What the hub of a seat does with each look."""
    await system_leads.let_former_go(connection, seat.number, seat.term)
    own = await leads_of(connection, seat.number, seat.term)
    asked = [each.system for each in own if each.wanted != seat.number]
    await system_leads.let_go(connection, asked, seat.number, seat.term)


async def leads_of(connection: Transaction, seat: int, term: int) -> list[SystemLead]:
    """What a seat leads in a term, with what it is to let go."""
    leads = await system_leads.all_leads(connection)
    return [each for each in leads if (each.seat, each.seat_term) == (seat, term)]
