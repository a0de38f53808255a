"""What replays leave behind goes after its time, through a real hub, and nothing before it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock.errors import CallError
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.replay.clearing import is_past, let_go, tally_of
from crossdock_hub.replay.records import ReplayRecord, kept_tally
from crossdock_hub.store.replay_reading import ItemCount
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from hypothesis import given
from hypothesis import strategies as st
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from replay_desk import Desk, planned
from story import Story, seed_master_data

LIMITS = Limits()
BOOKED = "order.approved"
HELD_BACK = {
    # Six items in slices of two, looked for often. A plan lives long enough to be started on a slow
    # machine, and goes right after.
    "replay_slice_items": 2,
    "replay_clear_seconds": 0.2,
    "replay_plan_seconds": 8.0,
    "replay_unstarted_seconds": 0.2,
    "replay_items_seconds": 1.5,
}


@pytest.fixture
def clearing_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub that keeps what replays leave behind for seconds."""
    folder = tmp_path / "clearing"
    running = RunningHub(folder, deployment(1), limits=json.dumps(HELD_BACK)).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


def _record(state: str, ended_at: int | None = None) -> ReplayRecord:
    return ReplayRecord("r", "netsuite", "FAILED", b"", state, 0, 3_600 * SECOND, ended_at=ended_at)


def test_each_state_has_its_time() -> None:
    """Proves the limits at their very microsecond: a plan stays its life and a day, items stay 30
    days after the end, and what is being planned, runs or is paused has no end."""
    plan_ends = int((3_600 + LIMITS.replay_unstarted_seconds) * SECOND)
    for state in ("PLANNED", "FAILED"):
        assert not is_past(_record(state), LIMITS, plan_ends - 1)
        assert is_past(_record(state), LIMITS, plan_ends)
    kept = int(LIMITS.replay_items_seconds * SECOND)
    assert kept == 30 * 86_400 * SECOND
    for state in ("DONE", "ABORTED"):
        assert not is_past(_record(state, ended_at=5), LIMITS, kept + 4)
        assert is_past(_record(state, ended_at=5), LIMITS, kept + 5)
    for state in ("PLANNING", "RUNNING", "PAUSED"):
        assert not is_past(_record(state), LIMITS, 10**18)


COUNTS = st.builds(
    ItemCount,
    verdict=st.sampled_from(["WOULD_POST", "SUPERSEDED"]),
    approved_verdict=st.sampled_from(["WOULD_POST", "ALREADY_POSTED"]),
    found_verdict=st.sampled_from(["WOULD_POST", "SUPERSEDED"]),
    decided=st.booleans(),
    has_delivery=st.booleans(),
    delivery_state=st.sampled_from(["", "CONFIRMED", "PARKED", "READY"]),
    count=st.integers(1, 10_000),
)


@given(st.lists(COUNTS, max_size=8), st.booleans())
def test_kept_counts_are_the_counts(counts: list[ItemCount], approved: bool) -> None:
    """Proves that what is kept reads back as it was counted, and that no item is counted twice or
    left out."""
    record = _record("DONE", ended_at=0)
    record.approved = approved
    tally = tally_of(record, counts)
    every = sum(count.count for count in counts)
    assert sum(tally.planned.values()) == sum(tally.outcomes.values()) == every
    record.final_counts = tally.encoded()
    assert kept_tally(record) == tally


async def _six_failed(story: Story, erp: PlayedEndpoint) -> None:
    for _ in range(6):
        await story.approved()
    for _ in range(6):
        await erp.work("REJECTED", reason="no such customer")


async def _gone(hub: RunningHub, table: str, condition: str) -> None:
    async def is_gone() -> bool:
        return not hub.count(table, condition)

    await eventually(is_gone, f"no {table} with {condition}")


async def _late(ended_at: int) -> None:
    """Return when a replay that ended then is past its time, and was looked at since."""
    seconds = HELD_BACK["replay_items_seconds"] + 3 * HELD_BACK["replay_clear_seconds"]

    async def is_late() -> bool:
        return time.time() > ended_at / SECOND + seconds

    await eventually(is_late, "its time is over")


async def test_what_is_past_goes_and_the_rest_stays(clearing_hub: RunningHub) -> None:
    """Proves that an expired plan goes whole while a started replay keeps every item until its time
    is over, and after that its acts and its counts; in slices smaller than either."""
    lane = Lane(1)
    async with (
        Story(clearing_hub, lane) as story,
        PlayedEndpoint(clearing_hub, lane.erp, ERP_OPERATIONS) as erp,
    ):
        await _six_failed(story, erp)
        desk = Desk(story.operator, lane.erp)
        unstarted = await desk.plan("FAILED", event_types=[BOOKED])
        started = await desk.plan("FAILED", event_types=[BOOKED])
        assert planned(unstarted) == planned(started) == {"WOULD_POST": 6}
        await desk.start(started)
        for outcome in ("CONFIRMED", "CONFIRMED", "CONFIRMED", "CONFIRMED", "REJECTED"):
            await erp.work(outcome)
        await desk.done(started)

        await _gone(clearing_hub, "replays", f"id = '{unstarted.id}'")
        assert clearing_hub.count("replay_items", f"replay_id = '{unstarted.id}'") == 0
        with pytest.raises(CallError) as refused:
            await desk.start(unstarted)
        assert refused.value.refusal.reason == "OBJECT_NOT_FOUND"
        # One delivery of it is still with the vendor: nothing goes, however late it is.
        ended = clearing_hub.query("SELECT ended_at FROM replays WHERE id = ?", started.id)[0][0]

        await _late(ended)
        assert len(await desk.items(started)) == 6
        before = await desk.outcomes(started)
        assert before == {"POSTED": 4, "REFUSED": 1, "UNDER_WAY": 1}
        await erp.work("CONFIRMED")

        await _gone(clearing_hub, "replay_items", f"replay_id = '{started.id}'")
        kept = await desk.read(started)
        assert await desk.outcomes(started) == {"POSTED": 5, "REFUSED": 1}
        assert (planned(kept), kept.item_count, kept.decided_count) == ({"WOULD_POST": 6}, 6, 6)
        assert [act.verb for act in kept.acts] == ["plan", "start"]
        assert "their counts stay" in kept.note
        assert await desk.items(started) == []
        assert clearing_hub.count("deliveries", f"replay_id = '{started.id}'") == 6


def test_only_what_is_past_is_let_go() -> None:
    """Proves that the decision in the transaction looks again: a replay that is not past its time
    loses nothing, whoever asks."""

    class Held:
        """Stands for the unit of a batch: one replay, and a time."""

        def __init__(self, record: ReplayRecord | None, now: int) -> None:
            self.record, self.now, self.limits = record, now, LIMITS
            self.changes = type("C", (), {"items_past": []})()

        def get(self, _key: object) -> ReplayRecord | None:
            return self.record

    for record in (None, _record("RUNNING"), _record("PLANNED"), _record("DONE", ended_at=5)):
        unit = Held(record, now=10)
        let_go(unit, "r", None)  # type: ignore[arg-type]
        assert unit.changes.items_past == []
