"""What a hub still writes whose lead another one has taken: nothing as leader, all the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from crossdock_hub.committer import Committer, no_ties
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.engine import NO_SECRETS
from crossdock_hub.store.leadership import EVERYTHING, LeadershipRow
from crossdock_hub.unit import Refused
from databases import ServerDatabase
from decisions import CONTRACT
from overlapping_commands import LIMITS, SHARED_BY, command, count


@pytest.fixture
async def row(database: ServerDatabase) -> AsyncIterator[LeadershipRow]:
    """The row that says who leads."""
    found = LeadershipRow(database.url, NO_SECRETS)
    yield found
    await found.close()


@pytest.fixture
async def store(database: ServerDatabase) -> AsyncIterator[Store]:
    """What the former leader writes with."""
    opened = await Store.open(database.url, CONTRACT, shared_by=SHARED_BY)
    yield opened
    await opened.close()


async def _leads(store: Store, row: LeadershipRow, committer: Committer) -> list[int]:
    """Lead in the first term. The terms that the store finds lost."""
    lost: list[int] = []
    taken = await row.take("a", "127.0.0.1:1", 60.0)
    assert taken is not None
    assert taken.term == 1
    own = store.write_in_term(EVERYTHING, 1)
    assert own is not None
    assert await row.name_writer(1, own)
    store.on_deposed = lambda _task, term: lost.append(term)
    committer.lead(Picker(LIMITS), [], no_ties, lambda: not lost)
    return lost


async def _answer(committer: Committer, name: str, *, leads: bool) -> Any:
    """What a command is answered that counts; the last refusal, where it is refused thrice."""
    for _ in range(3):
        try:
            return await committer.submit(replace(command(count(name, name)), leads=leads))
        except Refused as refused:
            last = refused.refusal
    return last


async def test_a_former_leader_writes_nothing_as_leader(
    store: Store, row: LeadershipRow, database: ServerDatabase
) -> None:
    """Proves that what a leader writes is written in its term, over a lost connection too; that
    nothing of it is once another hub leads, even what is committed in that very moment; and that
    the former leader learns of it by itself and goes on with everything else."""
    committer = Committer(store, CONTRACT, LIMITS, Picker(LIMITS))
    committer.start([])
    lost = await _leads(store, row, committer)
    await _answer(committer, "first", leads=True)
    own = store.write_in_term(EVERYTHING, 1)
    assert own is not None
    assert await row.end_writer(own)
    # Lost, and nobody else leads: a new connection is named in the same term.
    await _answer(committer, "second", leads=True)
    fresh = store.write_in_term(EVERYTHING, 1)
    assert fresh not in (None, own)
    await row.release(1)
    taken = await row.take("b", "127.0.0.1:2", 60.0)
    assert taken is not None
    assert taken.writer == fresh
    # It stands open where the new leader ends it, with everything but its commit done.
    held = asyncio.Event()
    ended = asyncio.Event()

    async def amid() -> None:
        async with store.write() as connection:
            await connection.exec_driver_sql("UPDATE cursors SET version = 99")
            held.set()
            await ended.wait()

    writing = asyncio.create_task(amid())
    await held.wait()
    assert await row.end_writer(taken.writer)
    ended.set()
    with pytest.raises(StoreFailure) as failed:
        await writing
    assert failed.value.away
    refusal = await _answer(committer, "third", leads=True)
    assert refusal.metadata["cause"] == "no hub leads"
    assert lost == [1]
    await _answer(committer, "fourth", leads=False)
    await committer.stop()
    found = database.query("SELECT name, version FROM cursors ORDER BY name")
    assert found == [("first", 1), ("fourth", 1), ("second", 1)]
