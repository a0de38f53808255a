"""What is known of the bus is remembered with the batches, however much of it has to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from crossdock_hub import committer as committing
from crossdock_hub import marks as waiting_marks
from crossdock_hub.bus.relay import Scans
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.identity import HUB
from crossdock_hub.marks import Marks
from crossdock_hub.records import BusPosition, EventRecord, Mark, ScanOutboxRecord
from crossdock_hub.store import Store, StoreFailure, Transaction, rows
from crossdock_hub.store.bus_rows import remember
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.unit import Refused, first_id_at
from databases import KINDS, open_store
from decisions import CONTRACT
from fixtures_nats import eventually
from sqlalchemy import text

# Beyond what a statement of PostgreSQL, or of SQLite, takes in arguments.
MANY = 33_000
A_MARK = 500
A_BATCH = 2_000
AGAIN_SECONDS = 0.01


@pytest.fixture(params=KINDS)
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A database whose events are all on the bus, of which nobody has told it."""
    opened = await open_store(tmp_path, request.param)
    async with opened.write() as connection:
        await write_rows(connection, [(rows.EVENTS, [event(n) for n in range(MANY)])])
    yield opened
    await opened.close()


def event(number: int) -> EventRecord:
    return EventRecord(
        id=f"event-{number}", type="t", stem="s", kind="order", object_id="o", revision=number,
        position=0, root_id="o", partition=0, body=b"1", producer="oms", traceparent="",
        event_time=None, record_time=number, causation_id="",
    )  # fmt: skip


async def marks(store: Store) -> list[Mark]:
    """What a relay says that has sent everything."""
    async with store.read() as connection:
        found = await connection.execute(text("SELECT sequence FROM events ORDER BY sequence"))
        numbers = [row.sequence for row in found]
    return [Mark(events=numbers[n : n + A_MARK]) for n in range(0, MANY, A_MARK)]


async def untold(store: Store) -> int:
    async with store.read() as connection:
        wanted = text("SELECT count(*) FROM events WHERE published_at IS NULL")
        return int(await connection.scalar(wanted) or 0)


def nothing() -> Command:
    """A command that changes nothing, and is answered when its batch is durable."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return Command("nothing", HUB, lambda unit: None, answer)


async def test_more_than_a_statement_takes_is_remembered(store: Store) -> None:
    """Proves that what came to wait while the database stalled is written however much it is: as
    arguments of one statement it was refused, with every batch that followed."""
    waiting = await marks(store)
    async with store.write() as connection:
        await remember(connection, waiting, 1)
    assert await untold(store) == 0


async def test_no_batch_writes_more_than_its_share(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that what waits is written in slices, oldest first, each with a batch, so that no
    caller waits for all of it; that a slice which failed comes again in front of the others; and
    that nothing is left over."""
    written: list[Sequence[Mark]] = []
    monkeypatch.setattr(waiting_marks, "FAILED_MARKS_SECONDS", AGAIN_SECONDS)

    async def stalls_once(connection: Transaction, now_due: Sequence[Mark], now: int) -> None:
        written.append(now_due)
        if len(written) == 1:
            raise StoreFailure("the volume of the database is full", full=True)
        await remember(connection, now_due, now)

    monkeypatch.setattr(committing, "remember", stalls_once)
    limits = Limits(mark_rows_max=A_BATCH)
    committer = Committer(store, CONTRACT, limits, Picker(limits))
    waiting = await marks(store)
    for mark in waiting:
        committer.mark(mark)
    first = committer.submit(nothing())
    committer.start([])
    try:
        with pytest.raises(Refused):
            await first
        await committer.submit(nothing())

        async def all_told() -> bool:
            return await untold(store) == 0

        await eventually(all_told, "what waits")
    finally:
        await committer.stop()
    slices = [each for each in written[1:] if each]
    assert {len(each) for each in slices[:-1]} == {A_BATCH // A_MARK}
    assert [mark for each in slices for mark in each] == waiting


async def test_a_mark_that_went_with_a_batch_leaves_no_time_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a mark which comes after others have gone has its own time to wait for a batch:
    it had what was left of theirs, so that amid calls many a transaction wrote marks alone."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def recorded(*arguments: Any) -> asyncio.TimerHandle:
        timers.append(call_later(*arguments))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", recorded)
    marks = Marks(Limits(mark_seconds=60.0), lambda: None)
    for number in range(3):
        marks.add(Mark(events=(number,)))
        assert [mark.events for mark in marks.take()] == [(number,)]
    marks.add(Mark(events=(3,)))
    marks.add(Mark(events=(4,)))
    assert [timer.cancelled() for timer in timers] == [True, True, True, False]
    marks.clear()


@pytest.mark.parametrize("kind", KINDS)
async def test_scan_messages_that_were_let_go_are_not_counted_on(tmp_path: Path, kind: str) -> None:
    """Proves that a lost scan stream is made for those messages only that stay while it is filled
    again: what has been let go may be deleted meanwhile, and the numbers would shift."""
    kept = await open_store(tmp_path, kind)
    times = [n * SECOND for n in range(1, 11)]
    messages = [ScanOutboxRecord(first_id_at(time), 0, b"1", 1, "", time) for time in times]
    async with kept.write() as connection:
        await write_rows(connection, [(rows.SCAN_OUTBOX, messages)])
        outlet = Scans(100 * SECOND, lambda: 1_000 * SECOND)
        assert await outlet.hot(connection, 10) == 10
        outlet.let_go(5)
        counted = await outlet.hot(connection, 10)
        await remember(connection, [outlet.mark([10], BusPosition("scans", 10, 10))], 1)
        left = await connection.scalar(text("SELECT count(*) FROM scan_outbox"))
    await kept.close()
    assert (counted, left) == (6, 6)
