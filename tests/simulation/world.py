"""A run on virtual time from one seed: hub, bus, two adapters, a vendor, and what goes wrong."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatcher import dispatch_message
from crossdock_hub.delivery.dispatching import Picked
from simulation.adapter import Adapter
from simulation.faults import Faults
from simulation.hub import HubAway, SimulatedHub
from simulation.oracle import Asked, judge
from simulation.vendor import Vendor
from simulation.virtual_time import SECOND, VirtualTime

# After the last fault everything has to come to its end within this.
PATIENCE_SECONDS = 6 * 3600.0
RESTART_SECONDS = (0.5, 20.0)
# Of the messages on their way when the hub dies, the share that it had not handed to the bus.
UNSENT_AT_CRASH = 0.5
# What a dead process has not acknowledged is sent again within this.
ACK_WAIT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a seed. digest: one value over all that happened: equal when runs are."""

    seed: int
    violations: list[str]
    digest: str
    effects: int
    attempts: int
    states: dict[str, int]
    seconds: float


class World:
    """Everything of a run; `run` plays it."""

    def __init__(self, seed: int, faults: Faults, limits: Limits | None = None) -> None:
        self.seed = seed
        self.faults = faults
        self.time = VirtualTime()
        self._chance = random.Random(f"world/{seed}")
        self.calm = False
        self.vendor = Vendor(
            self.time,
            self._fork("vendor"),
            faults,
            lambda delivery_id, attempt: self.hub.is_held(delivery_id, attempt),
        )
        self.hub: SimulatedHub = SimulatedHub(
            self.time, self._fork("ids"), faults.operation_class, self._send, limits
        )
        self.adapters = [
            Adapter(self.time, self._fork(f"adapter {n}"), faults, self.hub, self.vendor)
            for n in range(2)
        ]
        self.asked: list[Asked] = []
        self._seen: tuple[int, bool] = (-1, False)

    def _fork(self, name: str) -> random.Random:
        return random.Random(f"{name}/{self.seed}")

    def run(self) -> Run:
        """Play the run to its end and judge it."""
        self._plan()
        self.time.run(self.faults.quiet_after_seconds)
        self._calm_down()
        self.time.run(self.faults.quiet_after_seconds + PATIENCE_SECONDS, self._is_over)
        records = self.hub.deliveries()
        log = [self.hub.attempts_of(record) for record in records]
        violations = judge(self.asked, records, log, self.vendor.books, self.faults)
        violations += self._stop_all()
        states: dict[str, int] = {}
        for record in records:
            states[record.state] = states.get(record.state, 0) + 1
        told = repr((self.vendor.books, [(r.id, r.state, r.token) for r in records], self.time.now))
        return Run(
            self.seed,
            violations,
            hashlib.sha256(told.encode()).hexdigest(),
            len(self.vendor.books.effects),
            sum(record.token for record in records),
            states,
            self.time.monotonic(),
        )

    def _stop_all(self) -> list[str]:
        """Nobody goes on. What adapters did that a process must never do."""
        for adapter in self.adapters:
            adapter.crash()
        return [fault for adapter in self.adapters for fault in adapter.faults]

    def _is_over(self) -> bool:
        if self._seen[0] != self.hub.kept:
            self._seen = (self.hub.kept, self._all_ended())
        return self._seen[1]

    def _all_ended(self) -> bool:
        moving = ("READY", "DISPATCHED", "IN_FLIGHT", "UNKNOWN", "RESOLVING")
        return not any(
            record.state in moving or record.hold_reason == "RETRY"
            for record in self.hub.deliveries()
        )

    # What happens

    def _plan(self) -> None:
        chance, faults = self._chance, self.faults
        for key in range(faults.keys):
            for _ in range(faults.events_per_key):
                when = chance.uniform(0, faults.spread_seconds)
                self.time.after(when, lambda key=key: self._ask(key))  # type: ignore[misc]
        for _ in range(faults.hub_crashes):
            self.time.after(chance.uniform(0, 200), self._crash_hub)
        for end, times in (
            (self._crash, faults.adapter_crashes),
            (self._terminate, faults.adapter_stops),
        ):
            for _ in range(times):
                adapter = chance.choice(self.adapters)
                self.time.after(
                    chance.uniform(0, 200),
                    lambda end=end, adapter=adapter: end(adapter),  # type: ignore[misc]
                )
        for step in faults.clock_steps:
            self.time.after(
                chance.uniform(0, 200),
                lambda step=step: self._set_clock(step),  # type: ignore[misc]
            )

    def _ask(self, key: int) -> None:
        """An event commits; a caller repeats it while the hub is away."""
        try:
            root = f"order-{key}"
            made = self.hub.one(key=f"key-{key}", root_id=root, object_id=root)
        except HubAway:
            self.time.after(1.0, lambda: self._ask(key))
            return
        self.asked.append(Asked(made.id, f"key-{key}", made.sequence))

    def _crash_hub(self) -> None:
        if self.hub.runs:
            self.hub.crash()
            self.time.after(self._chance.uniform(*RESTART_SECONDS), self.hub.start)

    def _crash(self, adapter: Adapter) -> None:
        if adapter.runs:
            self._reap(adapter)

    def _terminate(self, adapter: Adapter) -> None:
        if adapter.runs:
            self.time.after(adapter.terminate(), lambda: self._reap(adapter))

    def _reap(self, adapter: Adapter) -> None:
        life = self.hub.life
        for message in adapter.crash():
            self.time.after(
                self._chance.uniform(0, ACK_WAIT_SECONDS),
                lambda message=message: self._deliver(message, life),  # type: ignore[misc]
            )
        self.time.after(self._chance.uniform(*RESTART_SECONDS), adapter.start)

    def _set_clock(self, seconds: float) -> None:
        self.hub.wall_offset += seconds

    def _calm_down(self) -> None:
        self.calm = self.vendor.calm = True
        for adapter in self.adapters:
            adapter.calm = True

    # The bus

    def _send(self, picked: Sequence[Picked]) -> None:
        """A crash between commit and publish loses what the process still holds."""
        for one in picked:
            message = dispatch_message(one).payload
            for _ in range(self._copies()):
                delay = self._chance.uniform(0.001, 0.02 if self.calm else self.faults.late_seconds)
                life = self.hub.life
                self.time.after(
                    delay,
                    lambda m=message, life=life: self._deliver(m, life),  # type: ignore[misc]
                )

    def _copies(self) -> int:
        if self.calm:
            return 1
        if self._chance.random() < self.faults.lost:
            return 0
        return self.faults.copies + (self._chance.random() < self.faults.doubled)

    def _deliver(self, message: bytes, life: int) -> None:
        if life != self.hub.life and self._chance.random() < UNSENT_AT_CRASH:
            return
        self._chance.choice(self.adapters).receive(message)


__all__ = ["PATIENCE_SECONDS", "SECOND", "Run", "World"]
