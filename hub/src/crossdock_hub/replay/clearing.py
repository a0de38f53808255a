"""Lets go of what replays leave behind: plans never started, items long after the end.

It goes in slices of bulk work, with the loop that runs replays. A plan goes whole; a replay that
was started keeps its row, with who did what and why, and the counts of its items.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer, Stopped
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.identity import HUB
from crossdock_hub.replay import decisions
from crossdock_hub.replay.records import (
    UNSTARTED_STATES,
    ReplayItemRecord,
    ReplayRecord,
    Tally,
)
from crossdock_hub.store.replay_reading import ItemCount, ReplayReader
from crossdock_hub.unit import Refused, Unit

log = structlog.get_logger("crossdock.replay_clearing")

CLEAR = "clear_replays"
NOTE = "its items were deleted, as long after its end as they are kept; their counts stay"


def is_past(record: ReplayRecord, limits: Limits, now: int) -> bool:
    """Whether what a replay left behind is kept no longer."""
    if record.state in UNSTARTED_STATES:
        return now >= record.expires_at + int(limits.replay_unstarted_seconds * SECOND)
    ended_at = record.ended_at
    return ended_at is not None and now >= ended_at + int(limits.replay_items_seconds * SECOND)


class Clearer:
    """Deletes what is past its time, a slice at a time. clock: microseconds UTC."""

    def __init__(
        self,
        reader: ReplayReader,
        committer: Committer,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._committer = committer
        self._limits = limits
        self._clock = clock
        self._next_at = 0

    async def step(self) -> bool:
        """One slice when it is time to look; True while more is left. Raises StoreFailure."""
        now = self._clock()
        if now < self._next_at:
            return False
        record = await self._reader.first_past(
            unstarted_before=now - int(self._limits.replay_unstarted_seconds * SECOND),
            ended_before=now - int(self._limits.replay_items_seconds * SECOND),
            under_way=decisions.UNDER_WAY_STATES,
        )
        if record is None:
            self._next_at = now + int(self._limits.replay_clear_seconds * SECOND)
            return False
        tally = None
        if record.state not in UNSTARTED_STATES and not record.final_counts:
            tally = tally_of(record, await self._reader.counts(record.id))
            log.info("the items of a replay are past their time", replay=record.id)
        loop = asyncio.get_running_loop()
        command = Command(
            CLEAR,
            HUB,
            partial(let_go, replay_id=record.id, tally=tally),
            loop.create_future(),
            keys=frozenset({("replay", record.id)}),
            bulk=True,
            weight=self._limits.replay_slice_items,
        )
        with contextlib.suppress(Refused, Stopped):
            await self._committer.submit(command)
        return True


def let_go(unit: Unit, replay_id: str, tally: Tally | None) -> None:
    """Delete the next items of a replay; what was counted is kept before the first of them goes."""
    record: ReplayRecord | None = unit.get(("replay", replay_id))
    if record is None or not is_past(record, unit.limits, unit.now):
        return
    if tally is not None and not record.final_counts:
        kept = replace(record, final_counts=tally.encoded(), note=NOTE)
        unit.put(("replay", replay_id), kept)
    unit.changes.items_past.append((replay_id, unit.limits.replay_slice_items))


def tally_of(record: ReplayRecord, counts: Sequence[ItemCount]) -> Tally:
    """What became of the items, counted by verdict and by outcome."""
    planned: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for count in counts:
        planned[count.approved_verdict if record.approved else count.verdict] += count.count
        outcomes[_outcome(record, count)] += count.count
    decided = sum(count.count for count in counts if count.decided)
    return Tally(decided, planned, outcomes)


def _outcome(record: ReplayRecord, count: ItemCount) -> str:
    """The outcome that all items of a count have in common."""
    stand_in = ReplayItemRecord(
        replay_id=record.id,
        number=0,
        flow=0,
        event_id="",
        event_type="",
        object_id="",
        root_id="",
        operation="",
        item="",
        earlier="",
        verdict=count.verdict,
        why="",
        approved_verdict=count.approved_verdict,
        approved_why="",
        found_verdict=count.found_verdict,
        delivery_id="made" if count.has_delivery else "",
        decided_at=0 if count.decided else None,
    )
    return decisions.outcome_of(
        stand_in,
        approved=record.approved,
        aborted=record.state == "ABORTED",
        delivery_state=count.delivery_state,
    )
