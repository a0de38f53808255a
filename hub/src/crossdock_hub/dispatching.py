"""Which pending deliveries go out now: in order, within the budget of the system behind them.

Occupied slots are known from what was committed; a delivery that is ready when its event commits is
dispatched within that commit. One hub leads all endpoints of its database.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crossdock_hub import ledger
from crossdock_hub.config import Limits
from crossdock_hub.records import DeliveryRecord, occupies
from crossdock_hub.registry import RegisteredEndpoint
from crossdock_hub.store import Transaction
from crossdock_hub.store.writing import dispatch_state, event_bodies, pending, write_deliveries
from crossdock_hub.unit import Changes, View


@dataclass(slots=True)
class Picked:
    """A delivery that this commit dispatches, and the event to send with it."""

    record: DeliveryRecord
    lease_seconds: float
    body: bytes = b""


class Rate:
    """A token bucket of one second's worth: how many calls may go out now."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self.per_second = per_second
        self._clock = clock
        self._tokens = max(1.0, per_second)
        self._at = clock()

    def available(self) -> int:
        """Whole tokens left now."""
        now = self._clock()
        most = max(1.0, self.per_second)
        self._tokens = min(most, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        return int(self._tokens)

    def take(self, count: int) -> None:
        """Use tokens up."""
        self._tokens -= count


class Picker:
    """Slots and backlogs of every endpoint. Asked and told by the committer only."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._occupied: dict[str, set[str]] = defaultdict(set)
        self._backlog: set[str] = set()
        self._rates: dict[str, Rate] = {}
        self._turn = 0

    async def restore(self, connection: Transaction) -> None:
        """Take the store's word: at start, and after a batch that was lost."""
        occupying, backlog = await dispatch_state(connection)
        self._occupied.clear()
        self._backlog.clear()
        for endpoint, delivery_id in occupying:
            self._occupied[endpoint].add(delivery_id)
        self._backlog.update(backlog)

    def in_use(self, endpoint: str) -> int:
        """Deliveries of an endpoint on their way to the vendor."""
        return len(self._occupied[endpoint])

    def free(self, endpoint: RegisteredEndpoint, endpoints: Sequence[RegisteredEndpoint]) -> int:
        """How many more calls the endpoint's system takes now."""
        if not endpoint.takes_work:
            return 0
        sharing = [e for e in endpoints if e.system == endpoint.system]
        budget = min(e.max_concurrency for e in sharing)
        left = budget - sum(len(self._occupied[e.id]) for e in sharing)
        rate = self._rate(sharing)
        return max(0, left if rate is None else min(left, rate.available()))

    def _rate(self, sharing: Sequence[RegisteredEndpoint]) -> Rate | None:
        """The rate of a system: the lowest that any of its endpoints declares."""
        declared = [e.max_rate_per_second for e in sharing if e.max_rate_per_second is not None]
        system = sharing[0].system
        if not declared:
            self._rates.pop(system, None)
            return None
        per_second = float(min(declared))
        rate = self._rates.get(system)
        if rate is None or rate.per_second != per_second:
            rate = self._rates[system] = Rate(per_second, self._clock)
        return rate

    def can_pick(self, endpoints: Sequence[RegisteredEndpoint]) -> bool:
        """True when stored work waits for an endpoint that has a free slot."""
        return any(e.id in self._backlog and self.free(e, endpoints) > 0 for e in endpoints)

    @property
    def has_backlog(self) -> bool:
        """True when any endpoint has stored work that waits for a slot."""
        return bool(self._backlog)

    def pick_new(
        self, view: View, endpoints: Sequence[RegisteredEndpoint], now: int
    ) -> list[Picked]:
        """Dispatch what this batch made ready, where nothing older waits in the store."""
        by_endpoint: dict[str, list[DeliveryRecord]] = defaultdict(list)
        for key, record in view.changes.records.items():
            if key[0] == "delivery" and record is not None:
                self._follow(record)
                if record.pending:
                    by_endpoint[record.endpoint].append(record)
        picked: list[Picked] = []
        known = {e.id: e for e in endpoints}
        for name, records in by_endpoint.items():
            endpoint = known.get(name)
            if endpoint is None or name in self._backlog:
                self._backlog.add(name)
                continue
            records.sort(key=lambda r: (r.priority, r.sequence))
            room = self.free(endpoint, endpoints)
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
        # Endpoints of one system take turns at being first, or the last would starve.
        self._turn += 1
        start = self._turn % max(1, len(endpoints))
        for endpoint in [*endpoints[start:], *endpoints[:start]]:
            if endpoint.id not in self._backlog:
                continue
            room = min(self.free(endpoint, endpoints), self._limits.dispatch_slice)
            if room <= 0:
                continue
            found = await pending(connection, endpoint.id, room + 1)
            before = len(picked)
            for record in found[:room]:
                self._dispatch(record, endpoint, now, picked)
            if len(found) <= room:
                self._backlog.discard(endpoint.id)
            for one in picked[before:]:
                view.changes.records["delivery", one.record.id] = one.record
        await write_deliveries(connection, [one.record for one in picked])
        return picked

    def _dispatch(
        self, record: DeliveryRecord, endpoint: RegisteredEndpoint, now: int, out: list[Picked]
    ) -> DeliveryRecord:
        gone = ledger.dispatch(record, now, self._limits)
        self._occupied[record.endpoint].add(record.id)
        rate = self._rates.get(endpoint.system)
        if rate is not None:
            rate.take(1)
        spec = endpoint.operations.get(record.operation)
        call_seconds = spec.call_seconds if spec else self._limits.lease_seconds_default
        lease = min(
            call_seconds + self._limits.lease_margin_seconds, self._limits.lease_seconds_max
        )
        out.append(Picked(gone, lease))
        return gone

    def _follow(self, record: DeliveryRecord) -> None:
        slots = self._occupied[record.endpoint]
        if occupies(record):
            slots.add(record.id)
        else:
            slots.discard(record.id)

    async def add_bodies(
        self, connection: Transaction, changes: Changes, picked: Sequence[Picked]
    ) -> None:
        """Put the event into what is sent: from this batch, else from the store."""
        fresh = {event.id: event.body for event in changes.events}
        missing = {p.record.event_id for p in picked} - fresh.keys()
        fresh.update(await event_bodies(connection, sorted(missing)))
        for one in picked:
            one.body = fresh.get(one.record.event_id, b"")
