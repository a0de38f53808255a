"""An adapter process as the SDK runs one: begin, look at the lease, call, complete until heard.

The steps and their order are those of sdk/worker.py and sdk/attempts.py; time, hub and vendor are
simulated, so the coroutines themselves are not used.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crossdock.delivery.v1 import delivery_pb2
from crossdock_hub.unit import Refused
from simulation.faults import Faults
from simulation.hub import HubAway, SimulatedHub
from simulation.vendor import CALL_SECONDS_MAX, Vendor
from simulation.virtual_time import SECOND, VirtualTime

LEASE_SECONDS = CALL_SECONDS_MAX + 10.0
NOT_TRIED = "NOT_TRIED"
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What a bus message says."""

    delivery_id: str
    number: int


class Adapter:
    """One process. `crash` forgets everything that it was doing."""

    def __init__(
        self,
        time: VirtualTime,
        chance: random.Random,
        faults: Faults,
        hub: SimulatedHub,
        vendor: Vendor,
    ) -> None:
        self._time, self._chance, self._faults = time, chance, faults
        self._hub, self._vendor = hub, vendor
        self._life = 0
        self.runs = True
        self.calm = False

    def crash(self) -> None:
        """kill -9: no word about anything that was begun."""
        self.runs = False
        self._life += 1

    def start(self) -> None:
        """A fresh process."""
        self.runs = True

    def receive(self, message: Dispatched) -> None:
        """A message from the bus; a dead process takes none, the bus offers it to nobody else."""
        if self.runs:
            attempt_id = f"{self._chance.getrandbits(128):032x}"
            self._begin(message, attempt_id, FIRST_PAUSE_SECONDS)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something in this life of the process, not in the next."""
        life = self._life
        self._time.after(seconds, lambda: what() if life == self._life else None)

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """A call to the hub that may be lost on its way there or back. Raises HubAway, Refused."""
        lossy = not self.calm
        if lossy and self._chance.random() < self._faults.request_lost:
            raise HubAway
        answer = ask()
        if lossy and self._chance.random() < self._faults.answer_lost:
            raise HubAway
        return answer

    def _begin(self, message: Dispatched, attempt_id: str, pause: float) -> None:
        asked_at = self._time.now
        try:
            result = self._asked(
                lambda: self._hub.begin_attempt(
                    message.delivery_id, message.number, attempt_id, LEASE_SECONDS
                )
            )
        except HubAway:
            longer = min(pause * 2, MAX_PAUSE_SECONDS)
            self._later(pause, lambda: self._begin(message, attempt_id, longer))
            return
        except Refused:
            return
        if result.HasField("refusal"):
            return
        lease_until = asked_at + result.lease.ToMicroseconds()
        pause = 0.0
        if not self.calm and self._chance.random() < self._faults.paused:
            pause = self._chance.uniform(0, self._faults.pause_seconds)
        self._later(pause, lambda: self._perform(message, result, lease_until))

    def _perform(self, message: Dispatched, begun: Any, lease_until: int) -> None:
        left = (lease_until - self._time.now) / SECOND
        if left < CALL_SECONDS_MAX:
            outcome, seconds = NOT_TRIED, 0.0
        elif begun.kind == delivery_pb2.ATTEMPT_KIND_LOOK_UP:
            outcome, seconds = self._vendor.look_up(message.delivery_id)
        elif self._faults.operation_class == "TWO_STEP":
            self._in_two_steps(message, begun)
            return
        else:
            outcome, seconds = self._vendor.call(message.delivery_id)
        self._later(seconds, lambda: self._complete(message, begun, outcome))

    def _in_two_steps(self, message: Dispatched, begun: Any) -> None:
        """Draft, tell the hub, confirm; all of it within the time of one call."""
        until = self._time.now + int(CALL_SECONDS_MAX * SECOND)
        if begun.draft:
            self._confirm(message, begun, begun.draft, until)
            return
        outcome, seconds, made = self._vendor.draft(message.delivery_id)
        if outcome == "CONFIRMED":
            pause = FIRST_PAUSE_SECONDS
            self._later(seconds, lambda: self._note(message, begun, made, until, pause))
        else:
            self._later(seconds, lambda: self._complete(message, begun, outcome))

    def _note(self, message: Dispatched, begun: Any, draft: str, until: int, pause: float) -> None:
        """A draft that only we know of is never confirmed."""
        if self._time.now >= until:
            self._complete(message, begun, "UNKNOWN")
            return
        try:
            self._asked(
                lambda: self._hub.renew_lease(
                    message.delivery_id, begun.token, LEASE_SECONDS, draft
                )
            )
        except HubAway:
            longer = min(pause * 2, MAX_PAUSE_SECONDS)
            self._later(pause, lambda: self._note(message, begun, draft, until, longer))
        except Refused:
            self._complete(message, begun, "UNKNOWN")
        else:
            self._confirm(message, begun, draft, until)

    def _confirm(self, message: Dispatched, begun: Any, draft: str, until: int) -> None:
        left = (until - self._time.now) / SECOND
        if left <= 0:
            self._complete(message, begun, "UNKNOWN")
            return
        outcome, seconds = self._vendor.confirm(message.delivery_id, draft, left)
        self._later(seconds, lambda: self._complete(message, begun, outcome))

    def _complete(
        self,
        message: Dispatched,
        begun: Any,
        outcome: str,
        pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        code = "not_tried" if outcome == NOT_TRIED else ""
        said = "RETRY" if outcome == NOT_TRIED else outcome
        try:
            self._asked(
                lambda: self._hub.complete_attempt(message.delivery_id, begun.token, said, code)
            )
        except HubAway:
            longer = min(pause * 2, MAX_PAUSE_SECONDS)
            self._later(pause, lambda: self._complete(message, begun, outcome, longer))
        except Refused:
            return
