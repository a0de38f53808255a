"""Makes plans in the background: reads what a selection means, decides it, stores the items.

Nothing is posted. A plan is a row in state PLANNING until all its items are stored, slice by slice
as bulk work, so that other calls pass between. A hub that starts makes anew what the one before
left unfinished; what can't be planned ends as FAILED with what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import structlog
from crossdock.contracts import Contract
from crossdock.ending import end_tasks

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer, Stopped
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replay.drafting import (
    Draft,
    Parts,
    draft_of,
    filter_of,
    nothing,
    slice_items,
    slices,
    too_many,
)
from crossdock_hub.replay.records import ReplayItemRecord, ReplayRecord
from crossdock_hub.stepping import in_turns
from crossdock_hub.store import StoreFailure
from crossdock_hub.store.replay_reading import VALUES_PER_STATEMENT, EventFilter, ReplayReader
from crossdock_hub.unit import Refused, Unit

log = structlog.get_logger("crossdock.planning")

PLAN = "plan_replay"
# What the writer says when it has no room now; everything else it refuses is a fault.
TRY_AGAIN = frozenset({"HUB_OVERLOADED", "STORE_FULL", "HUB_UNAVAILABLE"})


class Planner:
    """Makes one plan after another, oldest first. clock: microseconds UTC."""

    def __init__(
        self,
        reader: ReplayReader,
        committer: Committer,
        contract: Contract,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._committer = committer
        self._parts = Parts(contract, limits, clock)
        self._limits = limits
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def committed(self, batch: Committed) -> None:
        """A batch is durable: somebody may have asked for a plan."""
        if any(
            key[0] == "replay" and record is not None and record.state == "PLANNING"
            for key, record in batch.changes.records.items()
        ):
            self._wake.set()

    def start(self) -> None:
        """Begin, with what an earlier run of the hub left unfinished."""
        self._task = keep("planning", self._run)

    async def stop(self) -> None:
        """Plan nothing more; the next hub makes what is unfinished."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        while True:
            waits = True
            try:
                for record in await self._reader.planning():
                    await self._make(record)
            except StoreFailure as failure:
                log.warning("plans wait, the store does not answer", cause=failure.cause)
                waits = False
            except Stopped:
                return
            pause = self._limits.replay_clear_seconds if waits else self._limits.replay_poll_seconds
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()

    async def _make(self, record: ReplayRecord) -> None:
        """Make one plan, or say on its row why that can't be. Raises StoreFailure, Stopped."""
        try:
            await self._plan(record)
        except Refused as refused:
            if refused.refusal.reason in TRY_AGAIN:
                full = refused.refusal.reason == "STORE_FULL"
                raise StoreFailure(refused.refusal.message, full=full) from None
            await self._end(record.id, "FAILED", note=refused.refusal.message)
        except (StoreFailure, Stopped):
            raise
        except Exception as error:
            incident = uuid.uuid4().hex[:12]
            log.error("a plan ends after a fault", replay=record.id, exc_info=error)
            note = f"a fault of the hub (incident {incident}); nothing was posted; plan it again"
            await self._end(record.id, "FAILED", note=note)

    async def _plan(self, record: ReplayRecord) -> None:
        found = {e.id: e for e in self._committer.endpoints}.get(record.endpoint)
        if found is None:
            note = f"{record.endpoint} is no longer in the endpoints file"
            await self._end(record.id, "FAILED", note=note)
            return
        while await self._reader.has_items(record.id):
            # Of a hub that ended while it planned.
            await self._forget(record.id)
        draft = draft_of(replace(record, events=0, events_planned=0, items=0), found)
        draft.terms = replace(draft.terms, lost_until=await self._reader.lost_until())
        by_root = await self._select(draft)
        for slice_ in slices(by_root, self._limits.replay_plan_events):
            ids = [event_id for events in slice_.values() for event_id in events]
            events, books = await self._reader.flows(ids, slice_)
            fitting = await self._fitting(draft, books.values())
            items: list[ReplayItemRecord] = await in_turns(
                slice_items(self._parts, draft, events, books, fitting),
                self._limits.replay_plan_turn_seconds,
                self._limits.replay_plan_pause_seconds,
            )
            draft.record = replace(
                draft.record,
                items=draft.number,
                approvals=draft.approvals,
                events_planned=draft.record.events_planned + len(ids),
            )
            if not await self._store(draft.record, items):
                return
            await asyncio.sleep(self._limits.replay_plan_pause_seconds)
        note = "" if draft.number else nothing(draft)
        await self._end(record.id, "PLANNED", note=note)

    async def _select(self, draft: Draft) -> dict[str, list[str]]:
        """Event ids by root object, in the order of each root's first event. Raises Refused."""
        most, part = self._limits.replay_events_max, self._limits.replay_find_events
        wanted = filter_of(draft, self._parts.contract)
        by_root: dict[str, list[str]] = {}
        count = 0
        for filter_ in await self._filters(draft, wanted):
            after = ""
            while True:
                found = await self._reader.event_ids(filter_, part, after)
                for event_id, root_id in found:
                    by_root.setdefault(root_id, []).append(event_id)
                count += len(found)
                if count > most:
                    raise too_many(most)
                if len(found) < part:
                    break
                after = found[-1][0]
        draft.record = replace(draft.record, events=count)
        return by_root

    async def _filters(self, draft: Draft, wanted: EventFilter) -> list[EventFilter]:
        """What is to be looked for, one after the other: the letters of a group by their events."""
        if not draft.group_id:
            return [wanted]
        found = await self._reader.events_of_group(draft.group_id, draft.endpoint.id)
        events = sorted(found)
        return [
            replace(wanted, ids=tuple(events[start : start + VALUES_PER_STATEMENT]))
            for start in range(0, len(events), VALUES_PER_STATEMENT)
        ]

    async def _fitting(
        self, draft: Draft, books: Iterable[Sequence[DeliveryRecord]]
    ) -> frozenset[str] | None:
        """Ids of what failed with the code, and is open in the group, that was asked for; None: for
        neither."""
        if not (draft.code or draft.group_id):
            return None
        there = [
            record
            for flow in books
            for record in flow
            if record.endpoint == draft.endpoint.id
            and (not draft.states or record.state in draft.states)
        ]
        fitting = {record.id for record in there}
        if draft.code:
            codes = await self._reader.failure_codes(fitting)
            fitting = {each for each, code in codes.items() if code == draft.code}
        if draft.group_id:
            fitting &= await self._reader.of_group(draft.group_id, there)
        return frozenset(fitting)

    async def _store(self, record: ReplayRecord, items: Sequence[ReplayItemRecord]) -> bool:
        """Keep the next items; False when the plan was aborted meanwhile."""

        def put(unit: Unit) -> bool:
            known: ReplayRecord | None = unit.get(("replay", record.id))
            if known is None or known.state != "PLANNING":
                return False
            counts = {
                name: getattr(record, name)
                for name in ("items", "approvals", "events", "events_planned")
            }
            unit.put(("replay", record.id), replace(known, **counts))
            for item in items:
                unit.put(("replay_item", item.replay_id, item.number), item)
            return True

        return bool(await self._submit(record.id, put, max(1, len(items))))

    async def _end(self, replay_id: str, state: str, note: str) -> None:
        """The plan may be started from here on, or never; not if it was aborted meanwhile."""

        def put(unit: Unit) -> None:
            known: ReplayRecord | None = unit.get(("replay", replay_id))
            if known is None or known.state != "PLANNING":
                return
            expires_at = unit.now + int(unit.limits.replay_plan_seconds * SECOND)
            ended = replace(known, state=state, note=note, expires_at=expires_at)
            if state == "FAILED":
                ended = replace(ended, ended_at=unit.now)
            unit.put(("replay", replay_id), ended)

        await self._submit(replay_id, put)

    async def _forget(self, replay_id: str) -> None:
        def put(unit: Unit) -> None:
            unit.changes.items_past.append((replay_id, unit.limits.replay_slice_items))

        await self._submit(replay_id, put, self._limits.replay_slice_items)

    async def _submit(self, replay_id: str, put: Callable[[Unit], Any], weight: int = 1) -> Any:
        command = Command(
            PLAN,
            HUB,
            put,
            asyncio.get_running_loop().create_future(),
            keys=frozenset({("replay", replay_id)}),
            bulk=True,
            weight=weight,
        )
        return await asyncio.shield(self._committer.submit(command))
