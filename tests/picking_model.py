"""What goes out when, as plain as it can be said: budgets, rates, lanes and turns of endpoints.

Written from the rules in docs/reliability.md and docs/architecture.md and not from the code. A
breaker that opens is not in it, nor a rate of a system that throttles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

FULL = 1000  # thousandths
LEAST = 50
RECOVERY_SECONDS = 60
LANES = (0, 1, 2, 3)


@dataclass
class Work:
    """A delivery that may go. place: among those of its lane. state: WAITS, OUT, BEGUN or DONE."""

    name: str
    endpoint: str
    lane: int
    place: int
    state: str = "WAITS"
    stored: bool = False
    sent_at: Fraction = Fraction(0)


@dataclass
class Endpoint:
    """An endpoint of a system. calls: since a less urgent lane had its turn, while one waits.

    last_lane: the less urgent one that had the last turn. served: when stored work of it went last.
    away: work that was out for long came back without having begun, and none has begun since.
    """

    name: str
    system: str
    at_once: int
    rate: str = ""
    takes_work: bool = True
    share: int = FULL
    share_at: Fraction | None = None
    held_until: Fraction = Fraction(0)
    calls: int = 0
    last_lane: int | None = None
    served: int = 0
    away: bool = False


@dataclass
class PickingModel:
    """Everything that waits or is out, and the time in seconds since the first start."""

    endpoints: list[Endpoint]
    run_max: int
    slice_max: int
    margin: Fraction
    # After how long what comes back without having begun had lain at an adapter that is away.
    lay: Fraction = Fraction(15)
    now: Fraction = Fraction(0)
    works: list[Work] = field(default_factory=list)
    begun_at: dict[str, list[Fraction]] = field(default_factory=dict)
    turn: int = 0

    def start(self) -> None:
        """A hub starts: what was not begun waits again; what began just before is taken for all
        that the rate allows."""
        for work in self.works:
            if work.state == "OUT":
                work.state, work.stored = "WAITS", True
        for endpoint in self.endpoints:
            endpoint.calls, endpoint.last_lane, endpoint.served = 0, None, 0
            endpoint.away = False
            if endpoint.rate:
                self.begun_at[endpoint.system] = [self.now] * self._most(endpoint)
        self.turn = 0

    def throttle(self, endpoint: Endpoint, retry_after: int) -> None:
        """A 429: half of what is allowed, once a second; nobody calls before Retry-After."""
        if retry_after:
            endpoint.held_until = max(endpoint.held_until, self.now + min(retry_after, 60))
        if endpoint.share_at is not None and self.now - endpoint.share_at < 1:
            return
        endpoint.share = max(LEAST, self._share(endpoint) // 2)
        endpoint.share_at = self.now

    def batch(self, fresh: list[Work], begun: list[Work], ended: list[Work]) -> set[str]:
        """What one commit sends out, by name. fresh: what has just become ready, perhaps again."""
        for work in fresh:
            if work in self.works and self.now - work.sent_at >= self.lay:
                self._of(work.endpoint).away = True
        for work in begun:
            work.state = "BEGUN"
            self._of(work.endpoint).away = False
            system = self._of(work.endpoint).system
            self.begun_at.setdefault(system, []).append(self.now)
        for work in ended:
            work.state = "DONE"
        self.works += [work for work in fresh if work not in self.works]
        sent: set[str] = set()
        for endpoint in self._in_order_of(fresh):
            sent |= self._send_fresh(endpoint, [w for w in fresh if w.endpoint == endpoint.name])
        for endpoint in sorted(self.endpoints, key=lambda one: one.served):
            sent |= self._send_stored(endpoint)
        return sent

    def free(self, endpoint: Endpoint) -> int:
        """How many more calls its system takes now."""
        sharing = self._sharing(endpoint)
        if not endpoint.takes_work or any(self.now < one.held_until for one in sharing):
            return 0
        out = [w for one in sharing for w in self._of_state(one, "OUT", "BEGUN")]
        least = min(self._share(one) for one in sharing)
        allowed = max(1, min(one.at_once for one in sharing) * least // FULL)
        left = allowed - len(out)
        if endpoint.rate:
            # What is out and not begun will take its part of the rate when it begins.
            not_begun = sum(work.state == "OUT" for work in out)
            left = min(left, self._most(endpoint) - self._lately(endpoint) - not_begun)
        if endpoint.away:
            # One tells when its adapter is back; more would keep slots from the other endpoints.
            left = min(left, 1 - len(self._of_state(endpoint, "OUT")))
        return max(0, left)

    def in_use(self, endpoint: Endpoint) -> int:
        """How much of it is on its way."""
        return len(self._of_state(endpoint, "OUT", "BEGUN"))

    def could_send(self) -> bool:
        """Whether stored work waits although there is room for it."""
        return any(self._stored(one) and self.free(one) > 0 for one in self.endpoints)

    # How much

    def _share(self, endpoint: Endpoint) -> int:
        """A share grows back evenly, to the full in a minute."""
        if endpoint.share_at is None:
            return FULL
        passed = self.now - endpoint.share_at
        return min(FULL, endpoint.share + floor(FULL * passed / RECOVERY_SECONDS))

    def _most(self, endpoint: Endpoint) -> int:
        return max(1, ceil(Fraction(endpoint.rate)))

    def _lately(self, endpoint: Endpoint) -> int:
        """How many began within the shortest time in which whole calls are due."""
        window = self._most(endpoint) / Fraction(endpoint.rate) + self.margin
        return sum(self.now - at < window for at in self.begun_at.get(endpoint.system, []))

    def _sharing(self, endpoint: Endpoint) -> list[Endpoint]:
        return [other for other in self.endpoints if other.system == endpoint.system]

    # Which

    def _send_fresh(self, endpoint: Endpoint, fresh: list[Work]) -> set[str]:
        """What is ready when its event commits goes at once, where nothing older waits."""
        if self._stored(endpoint):
            gone = []
        else:
            fresh = sorted(fresh, key=lambda work: (work.lane, work.place))
            gone = fresh[: self.free(endpoint)]
        for work in gone:
            work.state, work.sent_at = "OUT", self.now
        for work in fresh:
            work.stored = True
        return {work.name for work in gone}

    def _send_stored(self, endpoint: Endpoint) -> set[str]:
        waiting = self._stored(endpoint)
        room = min(self.free(endpoint), self.slice_max)
        if not waiting or not room:
            return set()
        if len(waiting) <= room:
            endpoint.calls = 0
            gone = waiting
        else:
            turns = self._turns(endpoint, waiting, room)
            gone = [*turns, *(work for work in waiting if work not in turns)][:room]
        for work in gone:
            work.state, work.sent_at = "OUT", self.now
        self.turn += 1
        endpoint.served = self.turn
        return {work.name for work in gone}

    def _turns(self, endpoint: Endpoint, waiting: list[Work], room: int) -> list[Work]:
        """After every run of the most urgent that wait, the next of the other lanes has one."""
        urgent = waiting[0].lane
        found: list[Work] = []
        for _ in range(room):
            endpoint.calls += 1
            if endpoint.calls <= self.run_max:
                continue
            endpoint.calls = 0
            behind = [w for w in waiting if w.lane > urgent and w not in found]
            if behind:
                last = urgent if endpoint.last_lane is None else endpoint.last_lane
                lane = _next_after(last, {work.lane for work in behind})
                found.append(next(work for work in behind if work.lane == lane))
                endpoint.last_lane = lane
        return found

    def _stored(self, endpoint: Endpoint) -> list[Work]:
        """What waits in the store, the most urgent and oldest first."""
        found = [work for work in self._of_state(endpoint, "WAITS") if work.stored]
        return sorted(found, key=lambda work: (work.lane, work.place))

    def _of_state(self, endpoint: Endpoint, *states: str) -> list[Work]:
        mine = [work for work in self.works if work.endpoint == endpoint.name]
        return [work for work in mine if work.state in states]

    def _of(self, name: str) -> Endpoint:
        return next(one for one in self.endpoints if one.name == name)

    def _in_order_of(self, fresh: list[Work]) -> list[Endpoint]:
        return [self._of(name) for name in dict.fromkeys(work.endpoint for work in fresh)]


def _next_after(last: int, lanes: set[int]) -> int:
    """The next lane that waits, after the one that had the last turn."""
    turned = [*(lane for lane in LANES if lane > last), *(lane for lane in LANES if lane <= last)]
    return next(lane for lane in turned if lane in lanes)
