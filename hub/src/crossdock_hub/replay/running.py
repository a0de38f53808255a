"""Runs replays: hands planned items to the ledger, flow by flow, within rate and window.

Everything a run knows is in SQL: a hub that starts goes on where the one before stopped. Each flow
is decided again in the transaction that makes its deliveries; what differs from the plan is listed
and not made. It is bulk work: interactive calls pass between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer, Stopped
from crossdock_hub.config import Limits
from crossdock_hub.delivery import flows
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.delivery.removal import is_gone
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.records import DATABASE_OLDER, Difference, EventRecord
from crossdock_hub.replay import decisions
from crossdock_hub.replay.candidates import candidates
from crossdock_hub.replay.clearing import Clearer
from crossdock_hub.replay.decisions import Candidate, Decision, Terms
from crossdock_hub.replay.drafting import spec_at
from crossdock_hub.replay.pace import Pace
from crossdock_hub.replay.records import Act, ReplayItemRecord, ReplayRecord, with_act
from crossdock_hub.stepping import Steps
from crossdock_hub.store import StoreFailure
from crossdock_hub.store.replay_reading import ReplayReader
from crossdock_hub.unit import Key, Refused, Unit

log = structlog.get_logger("crossdock.replaying")

RUN = "replay"
# What is known of a time that the database lost when it was put back from a back-up.
LOST_TIME: Key = ("difference", DATABASE_OLDER)


class Replayer:
    """Follows replays that run. clock: microseconds UTC."""

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
        self._wake = asyncio.Event()
        self._paces: dict[str, Pace] = {}
        self._clearer = Clearer(reader, committer, limits, clock)
        self._task: asyncio.Task[None] | None = None

    def committed(self, batch: Committed) -> None:
        """A batch is durable: a replay may have been started or resumed."""
        if any(key[0] == "replay" and r.state == "RUNNING" for key, r in _replays(batch)):
            self._wake.set()

    def start(self) -> None:
        """Begin, with what an earlier run of the hub left unfinished."""
        self._task = keep("replaying", self._run)

    async def stop(self) -> None:
        """Hand over nothing more; what runs goes on with the next hub."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        while True:
            runs = await self._round()
            # While there is work, look again soon; otherwise when a commit says so.
            soon, later = self._limits.replay_poll_seconds, self._limits.replay_clear_seconds
            pause = soon if runs else later
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()

    async def _round(self) -> bool:
        """One slice of each replay that runs, and of what goes; False when nothing is left."""
        try:
            running = await self._reader.running()
            for record in running:
                await self._slice(record)
            clears = await self._clearer.step()
        except StoreFailure as failure:
            log.warning("replays wait, the store does not answer", cause=failure.cause)
            return True
        # One that is paused and resumed is still to be paid for what it handed over before.
        kept, now = {record.id for record in running}, self._clock()
        self._paces = {
            name: pace for name, pace in self._paces.items() if name in kept or pace.owes(now)
        }
        return bool(running) or clears

    async def _slice(self, record: ReplayRecord) -> None:
        pace = await self._pace_of(record)
        room = min(pace.room(self._clock()), self._limits.replay_slice_items)
        if room <= 0:
            return
        moving = await self._reader.moving(record.id, decisions.MOVING_STATES)
        room = min(room, self._limits.replay_moving_max - moving)
        if room <= 0:
            return
        items = await self._reader.waiting_items(record.id, room)
        if not items:
            await self._submit([partial(finish, replay_id=record.id)], record)
            return
        left = pace.room(self._clock())
        if len(items) > left and left < record.items_per_second:
            # One flow that is more than is left now: it goes when nothing of the second is used.
            return
        pace.take(self._clock(), len(items))
        events, _ = await self._reader.flows({item.event_id for item in items}, ())
        by_id = {event.id: event for event in events}
        groups = [list(group) for _, group in groupby(items, key=lambda item: item.flow)]
        await self._submit([partial(hand_over, items=g, events=by_id) for g in groups], record)

    async def _pace_of(self, record: ReplayRecord) -> Pace:
        """The pace of a replay: what an earlier run of the hub handed over counts as well."""
        known = self._paces.get(record.id)
        if known is not None:
            return known
        pace, now = Pace(record.items_per_second), self._clock()
        since = now - pace.worth(self._limits.replay_flow_items_max)
        for decided_at, count in await self._reader.decided_since(record.id, since):
            # A clock that was put back does not stop a replay for as long.
            pace.take(min(decided_at, now), count)
        self._paces[record.id] = pace
        return pace

    async def _submit(
        self, decisions: Sequence[Callable[[Unit], Any]], record: ReplayRecord
    ) -> None:
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Any]] = []
        for decide in decisions:
            command = Command(
                RUN,
                HUB,
                decide,
                loop.create_future(),
                keys=frozenset({("replay", record.id)}),
                bulk=True,
            )
            with contextlib.suppress(Refused, Stopped):
                answers.append(self._committer.submit(command))
        for answer in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(answer, Refused) and answer.refusal.reason == "INTERNAL_FAULT":
                await self._on_fault(record, answer.refusal.message)
                return

    async def _on_fault(self, record: ReplayRecord, message: str) -> None:
        """Pause instead of failing for ever; an operator resumes or aborts it."""
        log.error("a replay is paused after a fault", replay=record.id)
        command = Command(
            RUN,
            HUB,
            partial(pause_for_fault, replay_id=record.id, message=message),
            asyncio.get_running_loop().create_future(),
            bulk=True,
        )
        with contextlib.suppress(Refused, Stopped):
            await self._committer.submit(command)


def _replays(batch: Committed) -> list[tuple[Any, ReplayRecord]]:
    return [(k, r) for k, r in batch.changes.records.items() if k[0] == "replay" and r is not None]


def finish(unit: Unit, replay_id: str) -> None:
    """Every item is decided: the run is over."""
    record: ReplayRecord | None = unit.get(("replay", replay_id))
    if record is not None and record.state == "RUNNING":
        unit.put(("replay", replay_id), replace(record, state="DONE", ended_at=unit.now))


def pause_for_fault(unit: Unit, replay_id: str, message: str) -> None:
    """The hub itself pauses a replay, and says why and what helps."""
    record: ReplayRecord | None = unit.get(("replay", replay_id))
    if record is not None and record.state == "RUNNING":
        paused = with_act(replace(record, state="PAUSED"), Act("fault", "hub", message, unit.now))
        unit.put(("replay", replay_id), paused)


def hand_over(
    unit: Unit, items: Sequence[ReplayItemRecord], events: Mapping[str, EventRecord]
) -> Steps[None]:
    """Decide the items of one flow for good, and make the deliveries of those that agree."""
    first = items[0]
    record: ReplayRecord | None = unit.get(("replay", first.replay_id))
    if record is None or record.state != "RUNNING":
        # Paused or aborted since it was read.
        return
    endpoint = unit.endpoint(record.endpoint)
    if endpoint is None:
        # What is left of it would only be used up, and could be planned nowhere.
        message = f"{is_gone(record.endpoint)}, then resume the replay"
        pause_for_fault(unit, record.id, message)
        return
    unit.require([LOST_TIME, *(("replay_item", i.replay_id, i.number) for i in items)])
    fresh = [unit.get(("replay_item", i.replay_id, i.number)) for i in items]
    if any(item is None or item.decided_at is not None for item in fresh):
        return
    flow = IndexedFlow(unit.flow(first.root_id))
    stored = {item.event_id: events.get(item.event_id) for item in fresh}
    offered: dict[str, list[Candidate]] = {}
    for event_id, event in stored.items():
        offered[event_id] = _work_of(unit, endpoint, event, flow)
        yield
    work = {i.number: _candidate(record, i, stored, offered[i.event_id]) for i in fresh}
    planned = {c.identity: i.planned(record.approved) for i in fresh for c in [work[i.number]]}
    terms = _terms(unit, record)
    specs = partial(spec_at, endpoint, limits=unit.limits)
    order = [work[item.number] for item in fresh]
    decided = yield from decisions.decide_again_in_steps(
        terms, order, planned, flow, specs, unit.now, unit.limits
    )
    for item, (decision, differs) in zip(fresh, decided, strict=True):
        _keep(unit, record, item, decision, differs)
        yield
    if any(decision.record is not None for decision, _ in decided):
        yield from flows.wake_in_steps(unit, first.root_id, record.endpoint)
    displaced = [other for decision, _ in decided for other in decision.displaced]
    unserved = [other for other in displaced if other.endpoint != record.endpoint]
    for other in {each.role: each for each in unserved}.values():
        flows.wake_role(unit, other)


def _terms(unit: Unit, record: ReplayRecord) -> Terms:
    lost: Difference | None = unit.get(LOST_TIME)
    return Terms(
        record.id,
        record.endpoint,
        record.wanted_set,
        record.approved,
        record.traceparent,
        lost_until=lost.last_at if lost is not None else 0,
    )


def _work_of(
    unit: Unit, endpoint: RegisteredEndpoint, event: EventRecord | None, flow: IndexedFlow
) -> list[Candidate]:
    """The work of an event at the endpoint as it is today."""
    if event is None:
        return []
    return candidates(unit.contract, event, endpoint, flow, unit.now)


def _candidate(
    record: ReplayRecord,
    item: ReplayItemRecord,
    events: Mapping[str, EventRecord | None],
    work: Sequence[Candidate],
) -> Candidate:
    """An item among the work of its event; if it is there no more, with why not."""
    for candidate in work:
        if (candidate.operation, candidate.item) == (item.operation, item.item):
            return candidate
    why = f"it is no work of {record.endpoint} any more"
    if events[item.event_id] is None:
        why = "the event is no longer stored"
    return Candidate(
        event_id=item.event_id,
        object_id=item.object_id,
        operation=item.operation,
        item=item.item,
        sequence=item.event_id,
        policy="NEVER",
        planned=None,
        why_not=why,
    )


def _keep(
    unit: Unit,
    record: ReplayRecord,
    item: ReplayItemRecord,
    decision: Decision,
    differs: bool,
) -> None:
    """Write what was decided about an item, and the delivery that it becomes."""
    for other in decision.displaced:
        unit.put_delivery(other)
        unit.count("delivery", other.endpoint, other.event_type, other.state)
    made = decision.record
    if made is not None:
        unit.put_delivery(made)
        unit.count("delivery", made.endpoint, made.event_type, made.state)
    unit.put(
        ("replay_item", item.replay_id, item.number),
        replace(
            item,
            found_verdict=decision.verdict,
            found_why=decision.why,
            delivery_id=made.id if made is not None else "",
            decided_at=unit.now,
        ),
    )
    unit.count("replay", record.endpoint, "CHANGED_SINCE" if differs else decision.verdict)
