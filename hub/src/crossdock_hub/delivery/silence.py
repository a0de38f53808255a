"""Listens for endpoints that fall silent, and tells their breakers while the calls still run.

Kept in memory: which calls run, when each endpoint answered last, and how long such calls took of
late. A hub that starts knows none of it and takes only calls that begin after it: an answer may
have come while it was away. For the same reason it begins anew when it could not listen itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer, Stopped
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import breaking
from crossdock_hub.delivery.dispatching import allowance
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.records import AttemptRecord, DeliveryRecord, EndpointRecord
from crossdock_hub.unit import Key, Refused, Unit

log = structlog.get_logger("crossdock.silence")

# Answers to what was asked; a refusal to listen (429) says nothing about how long work takes.
_DONE: Final = frozenset({"CONFIRMED", "REJECTED", "NOT_FOUND"})
# A hub that did nothing for this share of a silence was busy: answers may still wait to be read.
_DEAF_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Call:
    """An attempt that runs, and what it asks: calls of one kind take alike long."""

    endpoint: str
    token: int
    begun_at: int
    kind: tuple[str, str, str]


class Hearing:
    """What is known of running calls and of answers. Told of every commit; no clock of its own."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._running: dict[str, _Call] = {}
        self._heard: dict[str, int] = {}
        self._listening_since = 0
        kept = limits.breaker_answers_kept
        self._took: dict[tuple[str, str, str], deque[float]] = defaultdict(
            lambda: deque(maxlen=max(1, kept))
        )

    def begin_anew(self, now: int) -> None:
        """Nobody listened until now: no silence began before."""
        self._listening_since = now

    def committed(self, batch: Committed) -> None:
        """A batch is durable: calls have begun or ended, endpoints have answered."""
        for name in batch.changes.counters:
            if name[0] == "answered":
                self._heard[name[1]] = batch.now
        for key, record in batch.changes.records.items():
            if key[0] == "delivery" and record is not None:
                self._follow(record, batch)

    def _follow(self, record: DeliveryRecord, batch: Committed) -> None:
        known = self._running.get(record.id)
        leased = record.state in ("IN_FLIGHT", "RESOLVING") and record.lease_until is not None
        if known is not None and (not leased or known.token != record.token):
            del self._running[record.id]
            self._note_end(known, batch.changes.records.get(("attempt", record.id, known.token)))
            known = None
        begun: AttemptRecord | None = batch.changes.records.get(
            ("attempt", record.id, record.token)
        )
        if leased and known is None and begun is not None:
            kind = (record.endpoint, record.operation, begun.kind)
            self._running[record.id] = _Call(record.endpoint, record.token, begun.begun_at, kind)

    def _note_end(self, call: _Call, ended: AttemptRecord | None) -> None:
        if ended is not None and ended.ended_at is not None and ended.outcome in _DONE:
            self._took[call.kind].append((ended.ended_at - call.begun_at) / SECOND)

    def forget(self, calls: Sequence[breaking.RunningCall]) -> None:
        """These run no more, and who ended them told the store: another hub of the database."""
        for call in calls:
            known = self._running.get(call.delivery_id)
            if known is not None and known.token == call.token:
                del self._running[call.delivery_id]

    def heard_at(self, endpoint: str) -> int:
        """When an endpoint was last known to answer, or nobody listened, microseconds."""
        return max(self._heard.get(endpoint, 0), self._listening_since)

    def calls(self) -> Mapping[str, Sequence[breaking.RunningCall]]:
        """The calls that run, by endpoint."""
        found: dict[str, list[breaking.RunningCall]] = defaultdict(list)
        for delivery_id, call in self._running.items():
            usual = breaking.patience(self._took.get(call.kind, ()), self._limits)
            running = breaking.RunningCall(delivery_id, call.token, call.begun_at, usual)
            found[call.endpoint].append(running)
        return found


def judge_silence(
    unit: Unit,
    endpoint_id: str,
    calls: Sequence[breaking.RunningCall],
    heard_at: int,
    slots: int,
) -> Sequence[breaking.RunningCall]:
    """Open an endpoint's breaker if the calls that still run say so now. A decision.

    Returns those that run no more: of a call that another hub has ended, such as a lease that ran
    out, only the store knows.
    """
    record: EndpointRecord | None = unit.get(("endpoint", endpoint_id))
    keys: list[Key] = [("attempt", call.delivery_id, call.token) for call in calls]
    unit.require(keys)
    attempts: list[AttemptRecord | None] = [unit.get(key) for key in keys]
    pairs = zip(calls, attempts, strict=True)
    ended = [call for call, each in pairs if each is None or each.outcome]
    if record is None or ended:
        # One has ended just now: the next look knows whether that was an answer.
        return ended
    heard_at = max(heard_at, record.progress_at or 0)
    after = breaking.silent(record, calls, heard_at, slots, unit.now, unit.limits)
    if after is not record:
        unit.put(("endpoint", endpoint_id), after)
        unit.count("breaker", endpoint_id, after.breaker_state)
    return ()


class SilenceWatch:
    """Looks every `breaker_look_seconds` whether an endpoint with running calls is silent."""

    def __init__(
        self,
        committer: Committer,
        limits: Limits,
        in_use: Callable[[str], int],
        clock: Callable[[], int],
    ) -> None:
        """in_use: how many deliveries of an endpoint are on their way."""
        self._committer = committer
        self._limits = limits
        self._in_use = in_use
        self._clock = clock
        self._hearing = Hearing(limits)
        self._task: asyncio.Task[None] | None = None

    def committed(self, batch: Committed) -> None:
        """A batch is durable. A listener of commits."""
        self._hearing.committed(batch)

    def start(self) -> None:
        """Begin to listen."""
        self._task = keep("silence", self._run)

    async def stop(self) -> None:
        """Listen no more."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        pause = self._limits.breaker_look_seconds
        deaf = int((pause + _DEAF_SHARE * self._limits.breaker_silence_seconds) * SECOND)
        while True:
            before = self._clock()
            await asyncio.sleep(pause)
            now = self._clock()
            if now - before > deaf or self._committer.failure is not None:
                self._hearing.begin_anew(now)
            await self._look()

    async def _look(self) -> None:
        now = self._clock()
        registry = {each.id: each for each in self._committer.endpoints}
        for endpoint_id, calls in self._hearing.calls().items():
            endpoint = registry.get(endpoint_id)
            if endpoint is None:
                continue
            heard_at = self._hearing.heard_at(endpoint_id)
            slots = self._slots(endpoint, tuple(registry.values()), now)
            health = endpoint.health
            if breaking.silent(health, calls, heard_at, slots, now, self._limits) is not health:
                await self._tell(endpoint_id, calls, heard_at, slots)

    def _slots(
        self, endpoint: RegisteredEndpoint, every: Sequence[RegisteredEndpoint], now: int
    ) -> int:
        """Calls at once that the system leaves this endpoint beside its other endpoints' calls."""
        others = [e.id for e in every if e.system == endpoint.system and e.id != endpoint.id]
        allowed = allowance(endpoint, every, now, self._limits).concurrency
        return max(1, allowed - sum(self._in_use(each) for each in others))

    async def _tell(
        self,
        endpoint_id: str,
        calls: Sequence[breaking.RunningCall],
        heard_at: int,
        slots: int,
    ) -> None:
        """Let the breaker be decided with what is stored, behind every answer that has come."""
        keys: set[Key] = {("attempt", call.delivery_id, call.token) for call in calls}
        command = Command(
            "silence",
            HUB,
            lambda unit: judge_silence(unit, endpoint_id, calls, heard_at, slots),
            asyncio.get_running_loop().create_future(),
            of_endpoint=endpoint_id,
            keys=frozenset(keys | {("endpoint", endpoint_id)}),
        )
        try:
            self._hearing.forget(await self._committer.submit(command))
        except Stopped:
            return
        except Refused as refused:
            log.debug("the breaker waits", endpoint=endpoint_id, cause=str(refused))
