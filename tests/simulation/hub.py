"""The hub's real decisions over rows in memory; a crash loses everything but the rows.

What a process keeps only in memory (picker, clock, what is on its way to the bus) goes with a
crash. What the store's restart does to leases is written in SQL in the hub and mirrored here.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from crossdock.delivery.v1 import delivery_service_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import attempts, breaking
from crossdock_hub.delivery.dispatching import Picked, Picker
from crossdock_hub.delivery.registry import compile_endpoint
from crossdock_hub.identity import HUB
from crossdock_hub.records import DeliveryRecord, OnItsWay, occupies
from crossdock_hub.store.rows import DELIVERIES_OVER
from crossdock_hub.store_clock import StoreClock
from crossdock_hub.unit import Identifiers, Unit, View
from decisions import START
from ledger_vendor import VENDOR, Desk
from simulation.oracle import CALLS_AT_ONCE_MAX
from simulation.virtual_time import VirtualTime, at_once

# What a store's functions are handed first; memory needs none.
NO_CONNECTION: Any = None


class HubAway(Exception):
    """Nobody answers: the process is down, or the call was lost."""


class MemoryWork:
    """Pending work in memory, as the database would list it."""

    def __init__(self, rows: Callable[[], dict[Any, Any]]) -> None:
        self._rows = rows
        self._ready: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        self._lanes: set[int] = set()

    def note(self, record: DeliveryRecord) -> None:
        """A delivery has changed."""
        if record.pending:
            self._lanes.add(record.priority)
            item = (record.priority, record.sequence, record.id)
            heapq.heappush(self._ready[record.endpoint], item)

    async def dispatch_state(self, _: Any) -> tuple[list[OnItsWay], set[str]]:
        rows = [r for key, r in self._rows().items() if key[0] == "delivery"]
        occupying = [
            OnItsWay(r.endpoint, r.id, r.lease_until is not None) for r in rows if occupies(r)
        ]
        return occupying, {r.endpoint for r in rows if r.pending}

    async def pending(self, _: Any, endpoint: str, most: int) -> list[DeliveryRecord]:
        ready = self._ready[endpoint]
        found: list[DeliveryRecord] = []
        seen: set[str] = set()
        while ready and len(found) < most:
            item = heapq.heappop(ready)
            record = self._rows()["delivery", item[2]]
            if record.pending and record.id not in seen:
                seen.add(record.id)
                found.append(record)
        for record in found:
            self.note(record)
        return found

    async def pending_lanes(
        self, _: Any, endpoint: str, lanes: Sequence[int], most: int
    ) -> list[DeliveryRecord]:
        if not self._lanes.intersection(lanes):
            return []
        rows = [r for key, r in self._rows().items() if key[0] == "delivery"]
        ready = sorted(
            (r for r in rows if r.pending and r.endpoint == endpoint), key=lambda r: r.sequence
        )
        return [r for lane in lanes for r in [r for r in ready if r.priority == lane][:most]]

    async def write_deliveries(self, _: Any, records: Sequence[DeliveryRecord]) -> None:
        for record in records:
            before = self._rows()["delivery", record.id]
            # What else it changed would not be written, and nobody would notice.
            assert DELIVERIES_OVER.shape(record, before) is DELIVERIES_OVER.least, record
            self._rows()["delivery", record.id] = record

    async def event_bodies(self, _: Any, ids: Sequence[str]) -> dict[str, bytes]:
        return dict.fromkeys(ids, b"")

    async def contents(self, _: Any, ids: Sequence[str]) -> dict[str, bytes]:
        return {}


class SimulatedHub(Desk):  # type: ignore[misc]
    """One hub process that may die, and its rows, which may not.

    send: what is done with dispatches that were committed. wall_offset: seconds by which the
    machine's clock is wrong now.
    """

    def __init__(
        self,
        time: VirtualTime,
        chance: random.Random,
        kind: str,
        send: Callable[[Sequence[Picked]], None],
        limits: Limits | None = None,
        max_concurrency: int = CALLS_AT_ONCE_MAX,
    ) -> None:
        self.time = time
        self.now: int
        self.wall_offset = 0.0
        self.runs = False
        self.life = 0
        # How often a row was kept: where it has not grown, no row has changed.
        self.kept = 0
        self._send = send
        self._compiled: tuple[Any, ...] | None = None
        self._max_concurrency = max_concurrency
        super().__init__(kind, limits)
        self.identifiers = Identifiers(random_bits=chance.getrandbits)
        self.work = MemoryWork(lambda: self.records)
        self.poking = False
        self.start()

    def register(self, caller: Any, operations: dict[str, str], **manifest: Any) -> Any:
        """With as many calls at once as the run wants."""
        manifest.setdefault("max_concurrency", self._max_concurrency)
        return super().register(caller, operations, **manifest)

    # The process

    def start(self) -> None:
        """As hub.py does: a clock that does not go back, leases get their grace, a fresh picker."""
        newest = self.now
        self.clock = StoreClock(self.limits, newest, self._wall, self.time.monotonic)
        self.runs = True
        self._tick_clock()
        away = self.now - newest
        until = self.now + int(self.limits.restart_grace_seconds * SECOND)
        for key, record in list(self.records.items()):
            if key[0] == "delivery":
                self._keep_row(_restarted(record, self.now, until, away))
        self.picker = Picker(self.limits, self.time.monotonic, self.work)
        at_once(self.picker.restore(NO_CONNECTION))
        self.poke()

    def crash(self) -> None:
        """kill -9."""
        self.runs = False
        self.life += 1

    def _wall(self) -> int:
        return START + self.time.now + int(self.wall_offset * SECOND)

    def _tick_clock(self) -> None:
        self.now = max(self.now, self.clock())

    # Deciding

    @property
    def endpoints(self) -> tuple[Any, ...]:
        """The registry, compiled when it changes."""
        if self._compiled is None:
            record = self.records["endpoint", VENDOR.endpoint]
            self._compiled = (compile_endpoint(record, self.limits),)
        return self._compiled

    def caller_of(self, record: DeliveryRecord) -> Any:
        """Everything here is the vendor's."""
        return VENDOR

    def decide(self, caller: Any, name: str, work: Callable[[Unit], Any]) -> Any:
        """One decision at the store's time. Raises HubAway when the process is down."""
        if hasattr(self, "clock"):
            if not self.runs:
                raise HubAway
            self._tick_clock()
        return super().decide(caller, name, work)

    def _keep(self, unit: Unit) -> None:
        super()._keep(unit)
        if any(key[0] == "endpoint" for key in unit.changes.records):
            self._compiled = None
        for key, record in unit.changes.records.items():
            if key[0] == "delivery":
                self._keep_row(record)
        if hasattr(self, "picker"):
            view = View()
            view.changes = unit.changes
            self._pick(view)

    def _pick(self, view: View) -> None:
        """As the committer does it, within the same commit."""
        picked = self.picker.pick_new(view, self.endpoints, self.now)
        for one in picked:
            self._keep_row(one.record)
        picked += at_once(self.picker.pick_stored(NO_CONNECTION, view, self.endpoints, self.now))
        for one in picked:
            self._keep_row(one.record)
        if picked:
            self._send(picked)
        if self.picker.backlog_seconds is not None and not self.poking:
            self.poking = True
            self.time.after(self._poke_seconds(), self.poke)

    def _poke_seconds(self) -> float:
        """The hub's timers look every so often; while a breaker is open, earlier looks are idle."""
        soonest = self.limits.timer_seconds
        (endpoint,) = self.endpoints
        if not breaking.is_open(endpoint.health):
            return soonest
        ahead = ((endpoint.health.breaker_probe_at or 0) - self.now) / SECOND
        return max(soonest, ahead)

    def poke(self) -> None:
        """Stored work waits for a budget: look again."""
        self.poking = False
        if self.runs:
            self._tick_clock()
            self._pick(View())

    def _keep_row(self, record: DeliveryRecord) -> None:
        self.kept += 1
        self.records["delivery", record.id] = record
        self.work.note(record)
        if record.due_at is not None:
            self._wake_at(record.id, record.due_at)

    def _wake_at(self, delivery_id: str, due_at: int) -> None:
        ahead = max(0, due_at - self.now)
        self.time.at(self.time.now + ahead, lambda: self._timer(delivery_id, due_at))

    def _timer(self, delivery_id: str, due_at: int) -> None:
        """Look at one delivery when its time has come by the store's clock."""
        if not self.runs or self.records["delivery", delivery_id].due_at != due_at:
            return
        self._tick_clock()
        if self.now < due_at:
            # The store's clock was slowed down meanwhile.
            self.time.after((due_at - self.now) / SECOND + 0.01, self._again(delivery_id, due_at))
            return
        self.decide(HUB, "tick", lambda unit: attempts.tick(unit, delivery_id))

    def _again(self, delivery_id: str, due_at: int) -> Callable[[], None]:
        return lambda: self._timer(delivery_id, due_at)

    # What an adapter may ask

    def begin_attempt(self, begin: delivery_service_pb2.Begin) -> Any:
        """An item of BeginAttempts. Raises HubAway, Refused."""
        return self.decide(VENDOR, "begin", lambda unit: attempts.begin(unit, begin, "sim"))

    def renew_lease(self, renewal: delivery_service_pb2.LeaseRenewal) -> Any:
        """An item of RenewLeases. Raises HubAway, Refused."""
        return self.decide(VENDOR, "renew", lambda unit: attempts.renew(unit, renewal))

    def complete_attempt(self, completion: delivery_service_pb2.Completion) -> Any:
        """An item of CompleteAttempts. Raises HubAway, Refused."""
        return self.decide(VENDOR, "complete", lambda unit: attempts.complete(unit, completion, ()))

    # What the rows say, whether it runs or not

    def waits_for(self, delivery_id: str, token: int) -> bool:
        """Whether an attempt has the delivery and has not been heard of."""
        record = self.records["delivery", delivery_id]
        lease_until = record.lease_until
        return record.token == token and lease_until is not None and lease_until > self.now

    def is_held(self, delivery_id: str, attempt: int) -> bool:
        """Whether the delivery is given to its attempt of this number."""
        record = self.records["delivery", delivery_id]
        return record.lease_until is not None and record.attempts + record.look_ups == attempt


def _restarted(record: DeliveryRecord, now: int, until: int, away: int) -> DeliveryRecord:
    """What store.writing.restart_leases does to a row."""
    if record.lease_until is not None:
        later = max(record.lease_until + away, until)
        return replace(record, lease_until=later, due_at=later)
    if record.state == "DISPATCHED":
        return replace(record, state="READY", pending=True, due_at=None, updated_at=now)
    if record.state == "RESOLVING":
        return replace(record, pending=True, due_at=None, updated_at=now)
    return record
