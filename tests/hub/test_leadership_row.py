"""The row that says which hub leads, on a real PostgreSQL, and what keeps a former leader out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from bus_that_is import BusThatIs
from crossdock_hub.leading.elector import NOTHING, Elector
from crossdock_hub.leading.terms import FOLLOWS, Timing
from crossdock_hub.store.engine import NO_SECRETS
from crossdock_hub.store.failures import StoreFailure
from crossdock_hub.store.leadership import LeadershipRow
from crossdock_hub.store.postgresql import Backend
from databases import ServerDatabase
from fixtures_postgres import PostgresProcess

# A hub that keeps its lead may be late with a renewal, on a machine that does much else.
TIMING = Timing(lasts=4.0, renew=1.0, look=0.05)
WAIT_SECONDS = 20.0


@pytest.fixture
async def row(database: ServerDatabase) -> AsyncIterator[LeadershipRow]:
    """The row in it."""
    found = LeadershipRow(database.url, NO_SECRETS)
    yield found
    await found.close()


async def until(holds: Any) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def test_one_takes_it_and_only_its_term_renews(row: LeadershipRow) -> None:
    """Proves that a row is taken by one, renewed in its own term only, free at once when it is let
    go, and that a hub which never heard that it had taken it does not wait for itself."""
    assert await row.look() is None
    taken = await row.take("a", "127.0.0.1:1", 60.0)
    assert taken is not None
    assert (taken.term, taken.writer) == (1, NOTHING)
    assert await row.take("b", "127.0.0.1:2", 60.0) is None
    assert not await row.renew(2, 60.0)
    assert await row.renew(1, 60.0)
    seen = await row.look()
    assert seen is not None
    assert (seen.term, seen.holder, seen.address) == (1, "a", "127.0.0.1:1")
    assert 50.0 < seen.left_seconds <= 60.0
    again = await row.take("a", "127.0.0.1:1", 60.0)
    assert again is not None
    assert again.term == 2
    await row.release(1)
    assert await row.take("b", "127.0.0.1:2", 60.0) is None
    await row.release(2)
    other = await row.take("b", "127.0.0.1:2", 60.0)
    assert other is not None
    assert other.term == 3
    assert not await row.renew(2, 60.0)


async def test_what_is_offered_is_taken_by_who_asks_for_that(row: LeadershipRow) -> None:
    """Proves that a lead which its holder offers is taken by who takes what is offered only, that
    its holder loses it by that and by nothing else, and that it keeps it by a renewal."""
    first = await row.take("a", "x", 60.0)
    assert first is not None
    assert await row.take("b", "y", 60.0, offered=True) is None
    renewed = await row.renew(first.term, 60.0, offers=True)
    assert renewed is not None
    assert not renewed.offered
    await row.offer(first.term, renewed.until)
    seen = await row.look()
    assert seen is not None
    assert (seen.offered, seen.left_seconds > 50.0) == (True, True)
    assert await row.take("b", "y", 60.0) is None
    again = await row.renew(first.term, 60.0, offers=True)
    assert again is not None
    assert again.offered
    kept = await row.renew(first.term, 60.0)
    assert kept is not None
    assert not kept.offered
    assert await row.take("b", "y", 60.0, offered=True) is None
    # Sent before that renewal, and late: its holder counts on its lead by now.
    await row.offer(first.term, again.until)
    assert await row.take("b", "y", 60.0, offered=True) is None
    await row.offer(first.term, kept.until)
    second = await row.take("b", "y", 60.0, offered=True)
    assert second is not None
    assert second.term == first.term + 1
    assert await row.renew(first.term, 60.0) is None
    seen = await row.look()
    assert seen is not None
    assert (seen.holder, seen.offered) == ("b", False)


async def test_what_a_former_leader_writes_with_is_ended(
    row: LeadershipRow, database: ServerDatabase
) -> None:
    """Proves that a leader's connection is named in its own term only, stays named while nobody
    has ended it, and that whoever ends it leaves an open transaction of it without effect."""
    first = await row.take("a", "x", 60.0)
    assert first is not None
    writer = await asyncpg.connect(
        host=str(database.server.directory), user="crossdock", database=database.name
    )
    facts = await writer.fetchrow(
        "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint AS began "
        "FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    )
    assert facts is not None
    backend = Backend(facts["pid"], facts["began"])
    assert await row.name_writer(first.term, backend)
    await writer.execute("BEGIN")
    await writer.execute("UPDATE leadership SET holder = 'written by a former leader'")
    # The row itself is locked by that transaction: ended first, as whoever finds it stuck would.
    assert await row.end_writer(backend)
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await writer.execute("COMMIT")
    await writer.close()
    await row.release(first.term)
    second = await row.take("b", "y", 60.0)
    assert second is not None
    assert second.writer == backend
    seen = await row.look()
    assert seen is not None
    assert seen.holder == "b"
    assert not await row.name_writer(first.term, Backend(1, 1))
    assert await row.end_writer(second.writer)
    # Nobody has named another one: whoever comes next is told of it still.
    await row.release(second.term)
    third = await row.take("c", "z", 60.0)
    assert third is not None
    assert third.writer == backend


async def test_another_hub_leads_when_one_falls_silent(database: ServerDatabase) -> None:
    """Proves that of three electors one leads, that another one leads soon after it falls silent,
    that the silent one stops counting on its lead before that, and learns of it when it asks."""
    rows = [LeadershipRow(database.url, NO_SECRETS) for _ in range(3)]
    electors = [Elector(each, f"hub {n}", TIMING, BusThatIs()) for n, each in enumerate(rows)]
    changes: list[tuple[int, int]] = []
    for number, elector in enumerate(electors):
        elector.address = f"127.0.0.1:{number + 1}"

        def changed(number: int = number, elector: Elector = elector) -> None:
            changes.append((number, elector.term))

        elector.on_change = changed
        await elector.step()
    first = next(each for each in electors if each.leads)
    others = [each for each in electors if each is not first]
    for each in others:
        each.start()
    await until(lambda: any(each.leads for each in others))
    assert not first.leads
    assert first.term == 1
    await first.step()
    assert first.term == FOLLOWS
    assert [term for _, term in changes] == [1, 2, FOLLOWS]
    second = next(each for each in others if each.leads)
    await first.step()
    assert first.leader is not None
    assert first.leader.address == second.address
    # One that goes in peace is followed at once.
    await second.stop()
    await until(lambda: any(each.leads for each in others))
    assert not second.leads
    for each in others:
        await each.stop()
    for row in rows:
        await row.close()


async def test_a_database_that_is_away_costs_nobody_the_lead(
    own_postgres_server: PostgresProcess,
) -> None:
    """Proves that a leader whose database is away counts on nothing after its term, and leads in
    the same term when it is back and nobody else has asked for it."""
    own = ServerDatabase(own_postgres_server)
    async with contextlib.AsyncExitStack() as ending:
        row = LeadershipRow(own.url, NO_SECRETS)
        ending.push_async_callback(row.close)
        own.server.ask(
            own.name,
            "CREATE TABLE leadership (task text PRIMARY KEY, term bigint, holder text, "
            "address text, expires_at bigint, writer_pid integer, writer_began bigint, "
            "offered boolean DEFAULT false)",
        )
        elector = Elector(row, "hub", TIMING, BusThatIs())
        elector.address = "127.0.0.1:1"
        elector.start()
        ending.push_async_callback(elector.stop)
        await until(lambda: elector.leads)
        own_postgres_server.kill()
        await until(lambda: not elector.leads)
        with pytest.raises(StoreFailure):
            await row.look()
        assert elector.term == 1
        own_postgres_server.start()
        await until(lambda: elector.leads)
        assert elector.term == 1
