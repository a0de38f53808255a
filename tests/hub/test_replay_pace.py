"""How fast a replay hands work over: its rate is a limit, and no flow is torn for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.replay.pace import Pace
from crossdock_hub.replay.records import ReplayItemRecord, ReplayRecord
from crossdock_hub.replay.running import Replayer
from crossdock_hub.store import Store
from crossdock_hub.store.replay_reading import ReplayReader
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes
from databases import open_store
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_750_000_000 * SECOND
RATE = 10
REPLAY = ReplayRecord(
    "r", "netsuite", "FAILED", b"", "RUNNING", NOW, NOW, items=60, items_per_second=RATE
)


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 2 * SECOND), st.integers(1, 60))))
def test_no_second_has_more_than_the_rate(rate: int, asks: list[tuple[int, int]]) -> None:
    """Proves by counting that however a run asks, no second sees more items than its rate."""
    pace, now, gone = Pace(rate), NOW, []
    for pause, count in asks:
        now += pause
        room = pace.room(now)
        count = min(count, room)
        if count > 0:
            pace.take(now, count)
            gone.append((now, count))
    for at, _ in gone:
        assert sum(count for when, count in gone if at <= when < at + SECOND) <= rate


def test_a_flow_larger_than_the_rate_is_paid_for_in_time() -> None:
    """Proves that what goes together and exceeds the rate keeps the next waiting for its worth."""
    pace = Pace(10)
    pace.take(NOW, 35)
    assert pace.room(NOW + 3 * SECOND) < 0
    assert pace.owes(NOW + 35 * SECOND // 10 - 1)
    assert pace.room(NOW + 35 * SECOND // 10) == 10
    assert not pace.owes(NOW + 35 * SECOND // 10)


def _item(number: int, flow: int) -> ReplayItemRecord:
    return ReplayItemRecord(
        replay_id=REPLAY.id, number=number, flow=flow, event_id=f"e-{number}", event_type="",
        object_id="o", root_id=f"o-{flow}", operation="book", item="", earlier="",
        verdict="WOULD_POST", why="", approved_verdict="WOULD_POST", approved_why="",
    )  # fmt: skip


class Run:
    """A replay in a real database, whose clock is the test's. What is handed over is decided."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = NOW
        self._writes = asyncio.Lock()
        self.replayer = self.new_hub()

    def new_hub(self) -> Replayer:
        """A run that knows nothing of what another did."""
        committer: Any = self
        return Replayer(ReplayReader(self.store), committer, Limits(), lambda: self.now)

    async def keep(self, *records: Any) -> None:
        keys = [
            ("replay", r.id)
            if isinstance(r, ReplayRecord)
            else ("replay_item", r.replay_id, r.number)
            for r in records
        ]
        async with self._writes, self.store.write() as connection:
            await write(connection, Changes(records=dict(zip(keys, records, strict=True))))

    def submit(self, command: Any) -> asyncio.Task[None]:
        """What the committer does with a flow, as far as it matters here."""
        items = command.decide.keywords["items"]
        return asyncio.ensure_future(self.keep(*(replace(i, decided_at=self.now) for i in items)))

    async def begins_anew(self, how: str) -> None:
        """An operator pauses and resumes it, or the hub ends and starts."""
        if how == "restart":
            self.replayer = self.new_hub()
            return
        await self.keep(replace(REPLAY, state="PAUSED"))
        await self.replayer._round()
        await self.keep(REPLAY)

    async def decided(self) -> int:
        """How many items have been handed over once it has looked again."""
        await self.replayer._round()
        async with self.store.read() as connection:
            found = await connection.exec_driver_sql(
                "SELECT count(*) FROM replay_items WHERE decided_at IS NOT NULL"
            )
            return int(found.scalar_one())


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    store = await open_store(tmp_path / "data")
    yield Run(store)
    await store.close()


@pytest.mark.parametrize("how", ["pause", "restart"])
async def test_what_began_anew_gives_no_second_burst(run: Run, how: str) -> None:
    """Proves that a replay which is paused and resumed, or whose hub starts again, hands over no
    more within a second than its rate, counted over both of its parts."""
    await run.keep(REPLAY, *(_item(n, n) for n in range(1, 61)))
    assert await run.decided() == RATE
    await run.begins_anew(how)
    assert await run.decided() == RATE
    run.now += SECOND - 1
    assert await run.decided() == RATE
    run.now += 1
    assert await run.decided() == 2 * RATE


@pytest.mark.parametrize("how", ["pause", "restart"])
async def test_a_large_flow_is_paid_for_over_a_new_begin(run: Run, how: str) -> None:
    """Proves that what a flow of more items than the rate has still to wait for is not forgiven."""
    flow = [_item(n, 1) for n in range(1, 36)]
    await run.keep(REPLAY, *flow, *(_item(n, n) for n in range(36, 61)))
    assert await run.decided() == len(flow)
    await run.begins_anew(how)
    run.now += len(flow) * SECOND // RATE - 1
    assert await run.decided() == len(flow)
    run.now += 1
    assert await run.decided() == len(flow) + RATE


async def test_a_clock_that_was_put_back_does_not_stop_a_replay(run: Run) -> None:
    """Proves that items which seem to have been decided in an hour count as decided now."""
    await run.keep(REPLAY, *(_item(n, n) for n in range(1, 61)))
    run.now += 3_600 * SECOND
    assert await run.decided() == RATE
    run.now -= 3_600 * SECOND
    await run.begins_anew("restart")
    assert await run.decided() == RATE
    run.now += SECOND
    assert await run.decided() == 2 * RATE
