"""G12: a day without the ERP, in virtual time: what waits, what is parked, how fast it drains."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from simulation.faults import Faults
from simulation.oracle import judge
from simulation.virtual_time import SECOND
from simulation.world import World

DAY_SECONDS = 86_400.0
STEADY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Drained:
    """What a day's outage did.

    steady, drain: effects a second while nothing waited back and all slots were busy, before the
    outage and after it. attempts_in_outage: calls that were tried while nobody answered.
    resumed_after_seconds: from the end of the outage to the first effect; the breaker's last pause.
    """

    events: int
    effects: int
    violations: list[str]
    parked: int
    steady: float
    drain: float
    attempts_in_outage: int
    resumed_after_seconds: float
    drained_after_seconds: float

    def document(self) -> dict[str, Any]:
        """As it stands in a report."""
        return {
            "events": self.events,
            "effects": self.effects,
            "violations": self.violations[:5],
            "violations_count": len(self.violations),
            "parked": self.parked,
            "steady_per_second": round(self.steady, 2),
            "drain_per_second": round(self.drain, 2),
            "attempts_in_outage": self.attempts_in_outage,
            "resumed_after_seconds": round(self.resumed_after_seconds, 1),
            "drained_after_seconds": round(self.drained_after_seconds, 1),
        }


class Outage(World):
    """Events over many keys; a burst first, which shows the steady rate, then a day without it."""

    def __init__(self, seed: int, events: int, keys: int, silent_as: str = "") -> None:
        """silent_as: the class of the operation when calls are not answered; "": refused."""
        start, end = STEADY_SECONDS, STEADY_SECONDS + DAY_SECONDS
        faults = Faults(
            operation_class=silent_as or "SEARCHABLE",
            keys=keys,
            outages=((start, end),),
            silent_outages=bool(silent_as),
            quiet_after_seconds=end + 1.0,
        )
        super().__init__(seed, faults)
        self._events = events
        self._end = end

    def _plan(self) -> None:
        """A burst that keeps every slot busy until the outage, and the rest during it."""
        burst = min(self._events // 10, int(STEADY_SECONDS * 15))
        for number in range(self._events):
            when = 0.0 if number < burst else self._chance.uniform(STEADY_SECONDS, self._end - 60)
            key = number % self.faults.keys
            self.time.after(when, lambda key=key: self._ask(key))  # type: ignore[misc]

    def _is_over(self) -> bool:
        """Counting all rows after each event would take longer than the run."""
        return len(self.vendor.books.effects) >= self._events

    def measure(self) -> Drained:
        """Play it and judge it."""
        self._plan()
        self._calm_down()
        self.time.run(self._end + DAY_SECONDS, self._is_over)
        self.time.run(self.time.monotonic() + 5.0)
        records = self.hub.deliveries()
        by_delivery = defaultdict(list)
        for key, record in self.hub.records.items():
            if key[0] == "attempt":
                by_delivery[record.delivery_id].append(record)
        log = [by_delivery[record.id] for record in records]
        effects = [effect.at / SECOND for effect in self.vendor.books.effects]
        before = [at for at in effects if at < STEADY_SECONDS]
        after = [at for at in effects if at >= self._end]
        failed = ("RETRY", "UNKNOWN")
        retried = sum(1 for told in log for attempt in told if attempt.outcome in failed)
        return Drained(
            len(self.asked),
            len(effects),
            judge(self.asked, records, log, self.vendor.books, self.faults) + self._stop_all(),
            sum(record.state == "PARKED" for record in records),
            _rate(before, before[0] if before else 0.0),
            _rate(after, after[0] if after else self._end),
            retried,
            (after[0] - self._end) if after else DAY_SECONDS,
            (after[-1] - self._end) if after else DAY_SECONDS,
        )


def _rate(times: list[float], since: float) -> float:
    """Effects a second from `since` to the last but the tail, where slots run empty."""
    whole = times[: max(1, len(times) * 9 // 10)]
    return len(whole) / max(1e-6, whole[-1] - since) if whole else 0.0
