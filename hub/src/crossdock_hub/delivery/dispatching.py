"""Which pending deliveries go out now: in order, within the budget of the system behind them.

Occupied slots are known from what was committed; a delivery that is ready when its event commits is
dispatched within that commit. Breaker and pace of an endpoint say how much of its budget there is.
Urgent lanes go first, and after each `lane_run_max` calls of theirs the others get one, in turns.
One hub picks for all endpoints of a system.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, zip_longest
from math import ceil, inf
from typing import Final, Protocol

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import breaking, ledger, pacing
from crossdock_hub.delivery.draining import Settled, Throughput
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.delivery.routing import LANES
from crossdock_hub.records import SETTLED_STATES, DeliveryRecord, OnItsWay, occupies
from crossdock_hub.store import Transaction, writing
from crossdock_hub.unit import Changes, View

# What is taken back after this share of `dispatch_seconds` has lain there: clocks may differ.
LAY_SHARE: Final = 0.5


@dataclass(slots=True)
class Picked:
    """A delivery that this commit dispatches, and the event to send with it."""

    record: DeliveryRecord
    lease_seconds: float
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the hub allows a system now: calls at once, and per second; None: no limit."""

    concurrency: int
    rate_per_second: Decimal | None


def allowance(
    endpoint: RegisteredEndpoint,
    endpoints: Sequence[RegisteredEndpoint],
    now: int,
    limits: Limits,
) -> Allowance:
    """The budget of an endpoint's system: the least that any of its endpoints leaves of it."""
    sharing = [e for e in endpoints if e.system == endpoint.system] or [endpoint]
    share = min(pacing.share(e.health, now, limits) for e in sharing)
    rates = [e.max_rate_per_second for e in sharing if e.max_rate_per_second is not None]
    rate = min(rates) * share / pacing.FULL if rates else None
    return Allowance(pacing.concurrency(min(e.max_concurrency for e in sharing), share), rate)


class Rate:
    """How many calls may begin now, so that in no second more begin than the system takes.

    Counted over the shortest time in which whole calls are due: 25 a second in any second, one a
    second and a half in any three. A bucket that fills while nothing is asked would let twice as
    many begin in its first second. margin_seconds: by how much the way from a begin to the vendor
    may differ; the time looked at is so much longer. full_at: as many as it allows count as begun
    then, by the clock; None: nobody called before.
    """

    def __init__(
        self,
        per_second: float,
        margin_seconds: float,
        clock: Callable[[], float],
        full_at: float | None = None,
    ) -> None:
        self.per_second = per_second
        self._margin = margin_seconds
        self._clock = clock
        self._begun: deque[float] = deque()
        if full_at is not None:
            self._begun.extend([full_at] * max(1, ceil(per_second)))

    def available(self) -> int:
        """Calls that may begin now; below zero where more began than the present rate allows."""
        since = self._clock() - self._window()
        while self._begun and self._begun[0] <= since:
            self._begun.popleft()
        return self._most() - len(self._begun)

    def take(self) -> None:
        """One begins."""
        self._begun.append(self._clock())

    def full_seconds(self) -> float:
        """How long until another may begin than now may, at the present rate."""
        over = max(0, -self.available())
        return self._begun[over] + self._window() - self._clock() if self._begun else inf

    def _most(self) -> int:
        return max(1, ceil(self.per_second))

    def _window(self) -> float:
        return self._most() / self.per_second + self._margin


class StoredWork(Protocol):
    """Where work waits that is committed and not dispatched; see store/writing.py for each."""

    async def dispatch_state(self, connection: Transaction) -> tuple[list[OnItsWay], set[str]]: ...

    async def pending(
        self, connection: Transaction, endpoint: str, most: int
    ) -> list[DeliveryRecord]: ...

    async def pending_lanes(
        self, connection: Transaction, endpoint: str, lanes: Sequence[int], most: int
    ) -> list[DeliveryRecord]: ...

    async def write_deliveries(
        self, connection: Transaction, records: Sequence[DeliveryRecord]
    ) -> None: ...

    async def event_bodies(
        self, connection: Transaction, ids: Sequence[str]
    ) -> dict[str, bytes]: ...

    async def contents(self, connection: Transaction, ids: Sequence[str]) -> dict[str, bytes]: ...


class Picker:
    """Slots and backlogs of every endpoint. Asked and told by the committer only."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        stored: StoredWork = writing,
    ) -> None:
        """stored: the database; a simulation has another."""
        self._limits = limits
        self._clock = clock
        self._stored = stored
        self._occupied: dict[str, set[str]] = defaultdict(set)
        # Of what occupies a slot, what has begun: only that has used up a call of the rate.
        self._begun: dict[str, set[str]] = defaultdict(set)
        # When each that has not begun was sent out, by the clock.
        self._sent_at: dict[str, float] = {}
        # Endpoints that let work lie until it was taken back, and have begun nothing since: their
        # adapters are away. What is out to them would keep the slots of their system from others.
        self._away: set[str] = set()
        # When each endpoint last began or ended a call, and when it was last sent one.
        self._heard_at: dict[str, float] = {}
        self._last_sent_at: dict[str, float] = {}
        # Of each endpoint whose breaker is open: since when, and what was on its way already.
        self._before: dict[str, tuple[int | None, set[str]]] = {}
        self._backlog: set[str] = set()
        self._rates: dict[str, Rate] = {}
        self._system_of: dict[str, str] = {}
        # When it first took the store's word. What began just before is on no index, and a rate
        # that forgets it would be used twice: it counts as used up until then.
        self._restored_at: float | None = None
        # Endpoints that it picks for, and since when it has each of their systems; None: all.
        self._own: frozenset[str] | None = None
        self._systems: dict[str, float] = {}
        # When each endpoint last had stored work dispatched, counted in such turns.
        self._turn = 0
        self._served_at: dict[str, int] = {}
        # Calls of the urgent lanes since the others had one, while those wait; by endpoint.
        self._runs: dict[str, int] = defaultdict(int)
        # Which of the others had the last one; by endpoint.
        self._lane_served: dict[str, int] = {}
        self._settled: dict[str, Throughput] = {}
        # Since when work of an endpoint waits while it may go out.
        self._busy_since: dict[str, float] = {}

    async def restore(
        self, connection: Transaction, own: Sequence[RegisteredEndpoint] | None = None
    ) -> None:
        """Take the store's word: at start, after a batch that was lost, and when other systems are
        this hub's than before. own: endpoints that it picks for; None: every one."""
        occupying, backlog = await self._stored.dispatch_state(connection)
        if own is not None:
            self._pick_for(own)
            occupying = [way for way in occupying if self._picks_for(way.endpoint)]
            backlog = {name for name in backlog if self._picks_for(name)}
        lay = {name: out - self._begun[name] for name, out in self._occupied.items()}
        self._occupied.clear()
        self._begun.clear()
        self._backlog.clear()
        if self._restored_at is None:
            self._restored_at = self._clock()
        for way in occupying:
            self._occupied[way.endpoint].add(way.delivery_id)
            if way.begun:
                self._begun[way.endpoint].add(way.delivery_id)
        self._backlog.update(backlog)
        # What lay there and does no more has begun at another hub, and may have ended there: it is
        # this one that takes back.
        still: set[str] = set()
        for name, before in lay.items():
            lies = self._occupied[name] - self._begun[name]
            still |= lies
            if before - lies:
                self._away.discard(name)
        self._sent_at = {one: at for one, at in self._sent_at.items() if one in still}

    def _pick_for(self, own: Sequence[RegisteredEndpoint]) -> None:
        """Another hub's calls of a system that is new here count as its whole rate until now."""
        now = self._clock()
        self._own = frozenset(each.id for each in own)
        before, self._systems = self._systems, {}
        for system in {each.system for each in own}:
            self._systems[system] = before.get(system, now)
        for system in before.keys() - self._systems.keys():
            self._rates.pop(system, None)

    def _picks_for(self, endpoint: str) -> bool:
        return self._own is None or endpoint in self._own

    def picks_for_other_than(self, own: Sequence[RegisteredEndpoint] | None) -> bool:
        """Whether the store's word was taken for other endpoints than these; None: every one."""
        return self._own != (None if own is None else frozenset(each.id for each in own))

    def in_use(self, endpoint: str) -> int:
        """Deliveries of an endpoint on their way to the vendor."""
        return len(self._occupied[endpoint])

    def settled(self, endpoint: str) -> Settled:
        """What ended a second: while work waits there, else over the last minute."""
        found = self._settled.get(endpoint)
        return found.settled(self._busy_since.get(endpoint)) if found else Settled(0.0)

    def free(
        self, endpoint: RegisteredEndpoint, endpoints: Sequence[RegisteredEndpoint], now: int
    ) -> int:
        """How many more calls the endpoint's system takes now."""
        if not endpoint.takes_work:
            return 0
        sharing = [e for e in endpoints if e.system == endpoint.system]
        if any(pacing.is_held(e.health, now) for e in sharing):
            return 0
        allowed = allowance(endpoint, sharing, now, self._limits)
        self._system_of[endpoint.id] = endpoint.system
        left = allowed.concurrency - sum(len(self._occupied[e.id]) for e in sharing)
        rate = self._rate(endpoint.system, allowed)
        if rate is not None:
            # What is out and has not begun will take its call of the rate when it does, all at once
            # perhaps, when an adapter comes back.
            waiting = sum(self._not_begun(e.id) for e in sharing)
            left = min(left, rate.available() - waiting)
        silent = len(sharing) > 1 and self._is_silent(endpoint, now)
        if silent and self._sent_lately(endpoint.id):
            return 0
        if silent or endpoint.id in self._away:
            left = min(left, 1 - self._not_begun(endpoint.id))
        left = max(0, left)
        return breaking.room(endpoint.health, left, self._tried(endpoint), now)

    def _is_silent(self, endpoint: RegisteredEndpoint, now: int) -> bool:
        """Whether nothing was heard of its adapter for long: no sign of life, which comes with each
        registration and every few seconds, and no call that it began, has, or ended."""
        heartbeat_at = endpoint.health.heartbeat_at
        if heartbeat_at is None or self._begun[endpoint.id]:
            return False
        most = self._limits.heard_seconds
        called = self._clock() - self._heard_at.get(endpoint.id, -inf) < most
        return not called and now - heartbeat_at > most * SECOND

    def _sent_lately(self, endpoint: str) -> bool:
        since = self._clock() - self._last_sent_at.get(endpoint, -inf)
        return since < self._limits.silent_turn_seconds

    def _not_begun(self, endpoint: str) -> int:
        return len(self._occupied[endpoint]) - len(self._begun[endpoint])

    def _tried(self, endpoint: RegisteredEndpoint) -> int:
        """How much of what is on its way went out since the endpoint's breaker opened."""
        health, out = endpoint.health, self._occupied[endpoint.id]
        if not breaking.is_open(health):
            self._before.pop(endpoint.id, None)
            return len(out)
        since, before = self._before.get(endpoint.id, (None, set()))
        if since != health.breaker_since:
            since, before = health.breaker_since, set(out)
        before &= out
        self._before[endpoint.id] = (since, before)
        return len(out) - len(before)

    def _rate(self, system: str, allowed: Allowance) -> Rate | None:
        if allowed.rate_per_second is None:
            self._rates.pop(system, None)
            return None
        rate = self._rates.get(system)
        if rate is None:
            rate = self._rates[system] = Rate(
                float(allowed.rate_per_second),
                self._limits.rate_margin_seconds,
                self._clock,
                self._systems.get(system, self._restored_at),
            )
        # The same bucket goes on: a pace that changes must not fill it anew.
        rate.per_second = float(allowed.rate_per_second)
        return rate

    def can_pick(self, endpoints: Sequence[RegisteredEndpoint], now: int) -> bool:
        """True when stored work waits for an endpoint that has a free slot."""
        return any(e.id in self._backlog and self.free(e, endpoints, now) > 0 for e in endpoints)

    @property
    def backlog_seconds(self) -> float | None:
        """How long until the first rate that holds stored work may let some of it out; inf: none
        holds any. None: none waits. Rates of systems of which nothing is stored do not count."""
        if not self._backlog:
            return None
        rates = (self._rates.get(self._system_of.get(name, "")) for name in self._backlog)
        return min((rate.full_seconds() for rate in rates if rate is not None), default=inf)

    def pick_new(
        self, view: View, endpoints: Sequence[RegisteredEndpoint], now: int
    ) -> list[Picked]:
        """Dispatch what this batch made ready, where nothing older waits in the store."""
        by_endpoint: dict[str, list[DeliveryRecord]] = defaultdict(list)
        systems = {e.id: e.system for e in endpoints}
        began: set[str] = set()
        for key, record in view.changes.records.items():
            if key[0] == "delivery" and record is not None and self._picks_for(record.endpoint):
                if self._follow(record, systems.get(record.endpoint, record.endpoint)):
                    began.add(record.endpoint)
                if record.pending:
                    by_endpoint[record.endpoint].append(record)
        self._away -= began
        picked: list[Picked] = []
        known = {e.id: e for e in endpoints}
        for name, records in by_endpoint.items():
            endpoint = known.get(name)
            if endpoint is None or name in self._backlog:
                self._backlog.add(name)
                continue
            records.sort(key=lambda r: (r.priority, r.sequence))
            records = _probes_first(endpoint, records)
            room = self.free(endpoint, endpoints, now)
            for record in records[:room]:
                gone = self._dispatch(record, endpoint, now, picked)
                view.changes.records["delivery", record.id] = gone
            if len(records) > room:
                self._backlog.add(name)
        return picked

    async def pick_stored(
        self,
        connection: Transaction,
        view: View,
        endpoints: Sequence[RegisteredEndpoint],
        now: int,
    ) -> list[Picked]:
        """Dispatch stored work of endpoints with a backlog, oldest and most urgent first."""
        picked: list[Picked] = []
        if not self._backlog and not self._busy_since:
            return picked
        # Of one system's endpoints that which waited longest goes first, or one would starve.
        for endpoint in sorted(endpoints, key=lambda one: self._served_at.get(one.id, 0)):
            if endpoint.id not in self._backlog:
                continue
            room = min(self.free(endpoint, endpoints, now), self._limits.dispatch_slice)
            if room <= 0:
                continue
            found = await self._next(connection, endpoint, room)
            before = len(picked)
            for record in found[:room]:
                self._dispatch(record, endpoint, now, picked)
            if found:
                self._turn += 1
                self._served_at[endpoint.id] = self._turn
            if len(found) <= room:
                self._backlog.discard(endpoint.id)
            for one in picked[before:]:
                view.changes.records["delivery", one.record.id] = one.record
        await self._stored.write_deliveries(connection, [one.record for one in picked])
        self._note_backlogs(endpoints)
        return picked

    def _note_backlogs(self, endpoints: Sequence[RegisteredEndpoint]) -> None:
        for endpoint in endpoints:
            open_for_work = endpoint.takes_work and not breaking.is_open(endpoint.health)
            if endpoint.id in self._backlog and open_for_work:
                self._busy_since.setdefault(endpoint.id, self._clock())
            else:
                self._busy_since.pop(endpoint.id, None)

    async def _next(
        self, connection: Transaction, endpoint: RegisteredEndpoint, room: int
    ) -> list[DeliveryRecord]:
        """What goes next, most urgent first; more than `room` when there is more."""
        more = len(endpoint.health.breaker_failing) if breaking.is_open(endpoint.health) else 0
        found = await self._stored.pending(connection, endpoint.id, room + 1 + more)
        if len(found) <= room:
            self._runs[endpoint.id] = 0
            return found
        found = _probes_first(endpoint, found)
        # A round: the run of the urgent, then one of the others.
        overdue, run = divmod(self._runs[endpoint.id] + room, self._limits.lane_run_max + 1)
        self._runs[endpoint.id] = run
        behind = await self._behind(connection, endpoint.id, found[0].priority, overdue)
        first = {record.id for record in behind}
        return [*behind, *(record for record in found if record.id not in first)]

    async def _behind(
        self, connection: Transaction, endpoint: str, urgent: int, most: int
    ) -> list[DeliveryRecord]:
        """The next `most` of the lanes less urgent than that: one each, after the last that had
        one. Always the most urgent of them first would leave nothing for the others, because a full
        budget frees few slots at a time."""
        if most == 0:
            return []
        served = self._lane_served.get(endpoint, urgent)
        lanes = [lane for lane in LANES if lane > urgent]
        lanes.sort(key=lambda lane: (lane <= served, lane))
        oldest = await self._stored.pending_lanes(connection, endpoint, lanes, most)
        waiting = ([each for each in oldest if each.priority == lane] for lane in lanes)
        turns = chain.from_iterable(zip_longest(*waiting))
        found = [record for record in turns if record is not None][:most]
        if found:
            self._lane_served[endpoint] = found[-1].priority
        return found

    def _dispatch(
        self, record: DeliveryRecord, endpoint: RegisteredEndpoint, now: int, out: list[Picked]
    ) -> DeliveryRecord:
        gone = ledger.dispatch(record, now, self._limits)
        self._occupied[record.endpoint].add(record.id)
        self._sent_at[record.id] = self._last_sent_at[record.endpoint] = self._clock()
        spec = endpoint.operations.get(record.operation)
        call_seconds = spec.call_seconds if spec else self._limits.lease_seconds_default
        lease = min(
            call_seconds + self._limits.lease_margin_seconds, self._limits.lease_seconds_max
        )
        out.append(Picked(gone, lease))
        return gone

    def _follow(self, record: DeliveryRecord, system: str) -> bool:
        """Keep the slots as a commit left them. Whether a call has begun."""
        slots, begun = self._occupied[record.endpoint], self._begun[record.endpoint]
        if occupies(record):
            slots.add(record.id)
            if record.lease_until is not None and record.id not in begun:
                begun.add(record.id)
                self._heard_at[record.endpoint] = self._clock()
                self._sent_at.pop(record.id, None)
                if system in self._rates:
                    self._rates[system].take()
                return True
        elif record.id in slots:
            slots.discard(record.id)
            lay_seconds = self._clock() - self._sent_at.pop(record.id, inf)
            # A pause, a refused begin or a lost queue takes back what has not lain for long.
            if record.pending and lay_seconds >= self._limits.dispatch_seconds * LAY_SHARE:
                self._away.add(record.endpoint)
            if record.id in begun:
                begun.discard(record.id)
                self._heard_at[record.endpoint] = self._clock()
            if record.state in SETTLED_STATES:
                self._note_settled(record.endpoint)
        return False

    def _note_settled(self, endpoint: str) -> None:
        found = self._settled.get(endpoint)
        if found is None:
            window = self._limits.drain_window_seconds
            found = self._settled[endpoint] = Throughput(window, self._clock)
        found.note()

    async def add_bodies(
        self, connection: Transaction, changes: Changes, picked: Sequence[Picked]
    ) -> None:
        """Put the event into what is sent: from this batch, else from the store.

        A resubmitted delivery has a content of its own.
        """
        fresh = {event.id: event.body for event in changes.events}
        missing = {p.record.event_id for p in picked} - fresh.keys()
        fresh.update(await self._stored.event_bodies(connection, sorted(missing)))
        resubmitted = [p.record.id for p in picked if p.record.resubmits]
        own = await self._stored.contents(connection, resubmitted)
        for one in picked:
            one.body = own.get(one.record.id) or fresh.get(one.record.event_id, b"")


def _probes_first(
    endpoint: RegisteredEndpoint, records: list[DeliveryRecord]
) -> list[DeliveryRecord]:
    """While the breaker is open, what failed last is not what finds out whether it works again."""
    if not breaking.is_open(endpoint.health):
        return records
    failing = set(endpoint.health.breaker_failing)
    return sorted(records, key=lambda record: record.id in failing)
