"""Collects concurrent commands and applies them in batches: one read of everything they touch, pure
decisions one after another, one transaction, then all answers.

A lone command waits for nobody: a batch takes what is there when the one before is done.
Interactive commands go first, bulk fills the rest. A refusal never poisons its batch.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import structlog
from crossdock.contracts import Contract

from crossdock_hub.answering import answer_again, remember_answer, resolve
from crossdock_hub.authority import Authority, always
from crossdock_hub.commands import Command
from crossdock_hub.config import Limits
from crossdock_hub.delivery import mending
from crossdock_hub.delivery.dispatching import Picked, Picker
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.door.intake import Intake
from crossdock_hub.foresight import Foresights
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.known_by_heart import KnownByHeart
from crossdock_hub.lanes import Lanes
from crossdock_hub.marks import Marks
from crossdock_hub.records import DeliveryRecord, EndpointRecord, Mark, RequestRecord
from crossdock_hub.refusals import NO_LEADER, fault_in_batch, store_refused
from crossdock_hub.spans import CommitSpans
from crossdock_hub.stepping import in_turns, is_steps
from crossdock_hub.store import Store, StoreFailure, Transaction
from crossdock_hub.store.bus_rows import remember
from crossdock_hub.store.contention import Contention, Met, pause_seconds
from crossdock_hub.store.loading import Loader
from crossdock_hub.store.postgresql import wait_briefly
from crossdock_hub.store.writing import write
from crossdock_hub.unit import (
    Changes,
    Identifiers,
    Key,
    NotLoaded,
    NotYet,
    Refused,
    View,
)

log = structlog.get_logger("crossdock.committer")

FOLLOW = "follow_dead_letters"


@dataclass(slots=True)
class Committed:
    """What a batch has made durable, for those who act on it. untold: whether what was committed
    before it may not have been told: a batch was lost on its way, or this hub leads only now."""

    now: int
    changes: Changes
    picked: list[Picked] = field(default_factory=list)
    untold: bool = False

    def deliveries(self) -> list[DeliveryRecord]:
        """Every delivery the batch changed."""
        return [r for key, r in self.changes.records.items() if key[0] == "delivery" and r]


# What a batch that is about to be written stores of how far the ledger is.
Ties = Callable[[Changes], Sequence[Mark]]


def no_ties(_changes: Changes) -> Sequence[Mark]:
    """What a batch stores that no call begins in."""
    return ()


class Stopped(Exception):
    """The committer no longer takes commands."""


def now_microseconds() -> int:
    """The clock of everything the hub stores."""
    return time.time_ns() // 1000


class Committer:
    """The only writer. `submit` puts a command in; its future is answered after the commit.

    listeners are called with each `Committed`, on the event loop, before the answers. ties: what a
    batch that is about to be written stores of how far the ledger is; see `bus.tie`.
    """

    def __init__(
        self,
        store: Store,
        contract: Contract,
        limits: Limits,
        picker: Picker,
        clock: Callable[[], int] = now_microseconds,
        newest_id: str = "",
    ) -> None:
        self._store = store
        self._contract = contract
        self._limits = limits
        self._picker = picker
        self._clock = clock
        self._intake = Intake(contract, limits)
        self._identifiers = Identifiers(newest_id)
        self._chance = Random()
        self.lanes = Lanes(limits)
        self._wake = asyncio.Event()
        self._marks = Marks(limits, self._wake.set)
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._known = KnownByHeart(limits)
        self._picker_is_stale = True
        self._look_is_due = False
        self.listeners: list[Callable[[Committed], None]] = []
        self.ties: Ties = no_ties
        self._authority = Authority()
        seen = (self.lanes, self._known, self._authority, self._identifiers)
        self.foresights = Foresights(store, limits, *seen, clock)
        self.failure: StoreFailure | None = None

    @property
    def endpoints(self) -> tuple[RegisteredEndpoint, ...]:
        """The registry as of the last commit."""
        return self._known.endpoints

    def start(self, endpoints: Iterable[EndpointRecord]) -> None:
        """Begin to commit."""
        self._known.learn(endpoints)
        self._task = keep("committer", self._run)

    def lead(
        self,
        picker: Picker,
        endpoints: Iterable[EndpointRecord],
        ties: Ties,
        still: Callable[[], bool] = always,
    ) -> None:
        """From the next batch on, this hub dispatches what is stored, and decides what only a
        leader may, as long as it still leads. `poke` it when the bus is ready."""
        self._authority.lead_everything(still)
        self._learn(endpoints)
        self._pick_with(picker, ties)

    def lead_office(self, endpoints: Iterable[EndpointRecord], still: Callable[[], bool]) -> None:
        """From the next batch on, this hub decides what only a leader may; who leads a system
        dispatches for it."""
        self._authority.lead(still)
        self._learn(endpoints)

    def lead_systems(
        self,
        picker: Picker,
        ties: Ties,
        systems: Callable[[], frozenset[str]],
        still: Callable[[], bool],
    ) -> None:
        """From the next batch on, this hub dispatches what is stored for these systems, whichever
        they are then, as long as it still holds its seat."""
        self._authority.lead_systems(systems, still)
        self._known.doubt()
        self._pick_with(picker, ties)

    def _learn(self, endpoints: Iterable[EndpointRecord]) -> None:
        self.foresights.spoil()
        self._known.learn(endpoints)
        # A batch that is under way ends with the endpoints that it began with.
        self._known.doubt()

    def _pick_with(self, picker: Picker, ties: Ties) -> None:
        self._picker, self._picker_is_stale, self.ties = picker, True, ties

    def follow(self) -> None:
        """From the next batch on, another hub of the database decides what only a leader may, and
        dispatches what this one dispatched as leader."""
        self._authority.follow()
        self.foresights.spoil()
        if not self._authority.dispatches:
            self.ties = no_ties
        # Of streams that another hub looks after now, and better.
        self._marks.clear()

    def lead_no_systems(self) -> None:
        """From the next batch on, other hubs dispatch what this one stores."""
        self._authority.lead_no_systems()
        self.ties = no_ties

    async def stop(self) -> None:
        """Commit what is queued, then end. Later submits raise Stopped."""
        self._stopping = True
        # Forgotten, the next run would have to look for it on the bus.
        self._marks.flush()
        if self._task is not None:
            await self._task

    def submit(self, command: Command) -> asyncio.Future[Any]:
        """Queue a command. Its future gets the answer, or raises Refused.

        Raises Refused with HUB_OVERLOADED when the queue is full, Stopped after `stop`.
        """
        if self._stopping:
            raise Stopped
        self.lanes.add(command)
        self._wake.set()
        return command.answer

    def mark(self, mark: Mark) -> None:
        """Remember what is on the bus: with the next batch, at the latest after mark_seconds.

        What is not remembered when the process ends, the relay finds on the bus at the next start.
        """
        if self._authority.leads_anything:
            self._marks.add(mark)

    def system_of(self, endpoint: str) -> str | None:
        """Whose budget an endpoint shares; None: it is not known, or works on nothing."""
        return self._known.system_of(endpoint)

    def leads_endpoint(self, endpoint: str) -> bool:
        """Whether this hub leads the system of an endpoint; of one without, whether it leads the
        office."""
        system = self.system_of(endpoint)
        return self._authority.leads if system is None else self._authority.takes(system)

    def _is_led_elsewhere(self, command: Command) -> bool:
        """Whether only a leader decides a command, and that is not this hub."""
        if command.of_endpoint and not self.leads_endpoint(command.of_endpoint):
            return True
        return (command.leads or _is_of_the_office(command)) and not self._authority.leads

    @property
    def backlog_seconds(self) -> float | None:
        """How long until a rate may let stored work out; inf: none holds it. None: none waits."""
        return self._picker.backlog_seconds

    def look_again(self) -> None:
        """Another hub has stored work or changed what is on its way: take the store's word."""
        if self._authority.dispatches:
            self._look_is_due = True
            self._wake.set()

    def doubt_endpoints(self, *, soon: bool = False) -> None:
        """Another hub may have changed endpoints: the next batch reads them."""
        self._known.doubt(soon=soon)
        if soon:
            self._wake.set()

    def poke(self) -> None:
        """Run a batch soon even when nobody submits: budget or rate may allow a dispatch now."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while True:
                taken = await self.lanes.next()
                begun = time.monotonic()
                batch = self._read(taken)
                if batch or self._marks.due or self._known.is_awaited or self._can_pick():
                    await self._commit_safely(batch)
                    self.lanes.took(batch, time.monotonic() - begun)
                elif not taken:
                    break
            if self._stopping and self.lanes.empty:
                return

    def _can_pick(self) -> bool:
        if self._stopping or not self._authority.dispatches:
            return False
        # At the start only the store knows what waits.
        stale = self._picker_is_stale or self._look_is_due
        own = self._authority.among(self.endpoints)
        if stale or self._picker.picks_for_other_than(own):
            return True
        return self._picker.can_pick(self.endpoints if own is None else own, self._clock())

    def _read_ahead(self) -> None:
        """Read what waits for the next batch."""
        self._read(self.lanes.ahead())

    def _read(self, taken: list[Command]) -> list[Command]:
        """The commands that can be decided; the others have their answer."""
        batch, refused = self._intake.read(taken)
        for command, no in refused:
            resolve(command, no)
        return batch

    async def _commit_safely(self, batch: list[Command], brief: bool = False) -> None:
        """Commit a batch; one that the store refuses whole is tried again one by one.

        brief: a lock was waited for already, by all of them together.
        """
        try:
            answers = await self._commit(batch, brief)
            self.failure = None
        except StoreFailure as failure:
            await self._on_failure(batch, failure)
            return
        except Exception as error:
            if len(batch) > 1:
                # One faulty command must not take its neighbours with it.
                for command in batch:
                    await self._commit_safely([command])
                return
            await self._on_fault(batch, error)
            return
        for command, answer in answers:
            resolve(command, answer)

    async def _on_failure(self, batch: list[Command], failure: StoreFailure) -> None:
        self.failure = failure
        if failure.uncertain:
            # What was lost while it committed may have registered somebody, or set a row.
            self._known.doubt()
        if len(batch) > 1 and not failure.full and not failure.away:
            for command in batch:
                await self._commit_safely([command], brief=failure.locked)
            return
        log.error("store refused a batch", cause=failure.cause, commands=len(batch))
        refusal = store_refused(failure.cause, full=failure.full, uncertain=failure.uncertain)
        for command in batch:
            resolve(command, Refused(refusal))
        if not batch:
            # Only the picker wanted to write: do not spin on a store that is away.
            await asyncio.sleep(1.0)

    async def _on_fault(self, batch: list[Command], error: Exception) -> None:
        incident = uuid.uuid4().hex[:12]
        names = sorted({command.name for command in batch})
        log.exception("fault in a batch", incident=incident, commands=names, exc_info=error)
        refusal = fault_in_batch(incident)
        for command in batch:
            resolve(command, Refused(refusal))
        if not batch:
            await asyncio.sleep(1.0)

    async def _commit(self, batch: list[Command], brief: bool) -> list[tuple[Command, Any]]:
        now = self._clock()
        marks = self._marks.take()
        try:
            return await self._try(batch, marks, now, brief)
        except BaseException:
            self.foresights.spoil()
            self._marks.put_back(marks if self._authority.leads_anything else ())
            raise

    async def _try(
        self, batch: list[Command], marks: Sequence[Mark], now: int, brief: bool
    ) -> list[tuple[Command, Any]]:
        """Decide and write a batch, anew when another hub was in the way."""
        met = Met()
        for tries in range(self._limits.batch_tries_max):
            if tries:
                await asyncio.sleep(pause_seconds(tries, self._chance))
            try:
                return await self._transact(batch, marks, now, met, brief)
            except Contention as contention:
                met.learn(contention)
        raise StoreFailure("other work on the same records was in the way", full=False)

    async def _transact(
        self, batch: list[Command], marks: Sequence[Mark], now: int, met: Met, brief: bool
    ) -> list[tuple[Command, Any]]:
        view = View()
        with CommitSpans(batch) as spans:
            async with self._store.write() as connection:
                if brief:
                    await wait_briefly(connection)
                if await self._known.ready(connection):
                    self.foresights.spoil()
                self._known.tell(view)
                untold = self._picker_is_stale
                # Whoever connects anew may learn that it leads no more.
                picker = await self._ready_picker(connection)
                most = self._limits.parcel_scans_max
                loader = Loader(connection, self._contract, view, met, parcel_scans_max=most)
                answers = await self._decide_all(batch, view, loader, now, met.asked.copy())
                spans.answers = answers
                await self._follow_dead_letters(view, loader, now)
                endpoints = self._known.after(view)
                own = self._authority.among(endpoints)
                served = endpoints if own is None else own
                picked = picker.pick_new(view, served, now) if picker else []
                shared, stored = self._store.shared, view.read_or_none
                await write(connection, view.changes, loader.contenders, stored, shared=shared)
                if picker:
                    picked += await picker.pick_stored(connection, view, served, now)
                    await picker.add_bodies(connection, view.changes, picked)
                ties = self.ties(view.changes)
                await remember(connection, [*marks, *ties], now)
                # It runs as soon as the commit is on its way: while the disk writes.
                asyncio.get_running_loop().call_soon(self._read_ahead)
        self._store.answered.note(view.changes, ties)
        if picker is self._picker:
            self._picker_is_stale = False
        self._known.committed(view, endpoints)
        self.foresights.committed(view, [one.record for one in picked])
        committed = Committed(now, view.changes, picked, untold)
        for listener in self.listeners:
            try:
                listener(committed)
            except Exception as error:
                # It is durable: no listener's fault may make anybody believe it is not.
                log.error("fault in a listener", exc_info=error)
        return answers

    async def _ready_picker(self, connection: Transaction) -> Picker | None:
        """The picker, as true as the store; None: another hub dispatches."""
        if not self._authority.dispatches:
            return None
        own = self._authority.among(self._known.endpoints)
        other = self._picker.picks_for_other_than(own)
        if self._picker_is_stale or self._look_is_due or other:
            self._look_is_due = False
            await self._picker.restore(connection, own)
        # Until this commits, what the picker follows is ahead of the store.
        self._picker_is_stale = True
        return self._picker

    async def _follow_dead_letters(self, view: View, loader: Loader, now: int) -> None:
        """Whoever moved a dead letter: it stays in its group until something settles it."""
        moves = mending.moves_of(view, now, self._limits)
        if moves:
            decide = partial(mending.follow, moves=moves, stored=view.read_or_none)
            answer = asyncio.get_running_loop().create_future()
            await self._decide_all([Command(FOLLOW, HUB, decide, answer)], view, loader, now)

    async def _decide_all(
        self,
        batch: Sequence[Command],
        view: View,
        loader: Loader,
        now: int,
        also: Iterable[Key] = (),
    ) -> list[tuple[Command, Any]]:
        answers: list[tuple[Command, Any]] = []
        waiting = list(batch)
        keys: set[Key] = {*also, *self.foresights.keys_of(batch)}
        for _ in range(self._limits.batch_rounds_max):
            if keys:
                await loader.load(keys)
            keys, again = set(), []
            for command in waiting:
                try:
                    answers.append((command, await self._decide(command, view, now)))
                except NotLoaded as missing:
                    keys |= missing.keys
                    again.append(command)
            waiting = again
            if not waiting:
                return answers
        names = sorted({command.name for command in waiting})
        raise RuntimeError(f"{names} read more than {self._limits.batch_rounds_max} rounds")

    async def _decide(self, command: Command, view: View, now: int) -> Any:
        """One decision: its answer, or the refusal to raise. Raises NotLoaded."""
        if self._is_led_elsewhere(command):
            return Refused(NO_LEADER)
        if command.request_id:
            known: RequestRecord | None = view.get(("request", command.request_id))
            if known is not None:
                return answer_again(command, known)
        unit = self.foresights.unit(command, view, now)
        try:
            response = self.foresights.recall(command, view, unit)
            if response is None:
                response = command.decide(unit)
            if is_steps(response):
                # Nobody else writes meanwhile, and what was read stays as it is.
                response = await in_turns(response, self._limits.turn_seconds)
        except Refused as refused:
            view.changes.count("refused", command.caller.endpoint, refused.refusal.reason)
            return refused
        except NotYet as why:
            if command.on_hold is None:
                return Refused(why.refusal)
            unit.changes = Changes()
            response = command.on_hold(unit, why)
        answer = response.SerializeToString() if command.encoded else response
        if command.request_id:
            remember_answer(unit, command, answer)
        view.changes.merge(unit.changes)
        return answer


def _is_of_the_office(command: Command) -> bool:
    """Whether a command is a hub's own and about no endpoint: of the duties that one hub has."""
    return command.caller is HUB and command.name != FOLLOW and not command.of_endpoint
