"""A vendor with books: what was asked, what took effect and when, and what it answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from simulation.faults import Faults
from simulation.virtual_time import SECOND, VirtualTime

CALL_SECONDS_MAX = 30.0
RETRY_AFTER_SECONDS = 5.0
# What comes of a request besides the statuses of HTTP.
NO_CONNECTION, CONNECTION_BREAKS = -1, 0
DONE, ANSWERS_LATER, REFUSED, UNKNOWN, LIMITED, BUSY = 200, 202, 422, 404, 429, 503
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Effect:
    """Something booked: for a delivery, at a time (microseconds)."""

    delivery_id: str
    at: int


@dataclass(slots=True)
class Call:
    """One call that reached the vendor, from first byte to its end as the caller saw it.

    held: whether the hub had the delivery given to the attempt that called, when it did. effect:
    what it has not done yet.
    """

    delivery_id: str
    began: int
    ended: int
    answer: int
    held: bool
    effect: Callable[[], None] | None = field(default=None, repr=False)

    def take_effect(self) -> None:
        """Once, however often it comes to that."""
        effect, self.effect = self.effect, None
        if effect is not None:
            effect()


@dataclass(slots=True)
class Books:
    """What the oracle reads; nobody else does.

    effects: what was done. written: each time that a full state was written over the one before,
    repeats included: an upsert that comes again has no second effect, and may undo a newer one.
    """

    effects: list[Effect] = field(default_factory=list)
    written: list[Effect] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    rejected: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Request:
    """A request with an effect. within_seconds: how long its caller will wait. attempt: its
    number."""

    delivery_id: str
    within_seconds: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes of a request, after so many seconds. call: as it stands in the books, if it
    does."""

    status: int
    seconds: float
    call: Call | None = None


class Vendor:
    """Answers calls with what is drawn for each; `books` is the truth.

    is_held: whether the hub has a delivery given to an attempt, by its number, now.
    """

    def __init__(
        self,
        time: VirtualTime,
        chance: random.Random,
        faults: Faults,
        is_held: Callable[[str, int], bool],
    ) -> None:
        self._time = time
        self._chance = chance
        self._is_held = is_held
        self.faults = faults
        self.books = Books()
        self.calm = False
        self._taken: set[str] = set()
        self._done: set[str] = set()
        self._confirmed: set[str] = set()
        self._drafts = 0

    def is_away(self) -> bool:
        """True in an outage: connections are refused, or nothing is answered."""
        seconds = self._time.monotonic()
        return any(start <= seconds < end for start, end in self.faults.outages)

    def call(self, request: Request) -> Reply:
        """The work itself."""
        return self._answer(request, lambda: self._book(request.delivery_id))

    def draft(self, request: Request) -> tuple[Reply, str]:
        """The first of two steps, and the draft's id. A draft that nobody confirms has no effect;
        a second one is another."""
        self._drafts += 1
        return self._answer(request, None), f"draft-{self._drafts}"

    def confirm(self, request: Request, draft: str) -> Reply:
        """The second step. Each draft takes effect once, however often it is confirmed."""
        self._taken.add(request.delivery_id)
        return self._answer(request, lambda: self._book_draft(request.delivery_id, draft))

    def look_up(self, delivery_id: str) -> Reply:
        """A search by reference: what is booked by now is found; it may fail like any call."""
        quick = self._chance.uniform(0.02, 0.3)
        if self.is_away():
            return Reply(NO_CONNECTION, quick)
        if not self.calm and self._chance.random() < self.faults.vendor_lost_undone:
            return Reply(CONNECTION_BREAKS, NEVER)
        return Reply(DONE if delivery_id in self._done else UNKNOWN, quick)

    def hung_up(self, call: Call | None) -> None:
        """Its caller waits no longer: what it has not done yet comes within the time in which an
        operation's late effects come, as it declares it, counted from now."""
        if call is None or call.ended <= self._time.now:
            return
        call.ended = self._time.now
        late = self._chance.uniform(0, self.faults.late_effect_seconds)
        self._time.after(late, call.take_effect)

    def _answer(self, request: Request, effect: Callable[[], None] | None) -> Reply:
        draw, quick = self._chance.random(), self._chance.uniform(0.02, 0.3)
        faults = self.faults
        if self.is_away() and faults.silent_outages:
            return Reply(CONNECTION_BREAKS, NEVER)
        if self.is_away():
            return Reply(NO_CONNECTION, quick)
        if not self.calm and self._chance.random() < faults.vendor_away:
            return Reply(self._chance.choice((NO_CONNECTION, NO_CONNECTION, BUSY, LIMITED)), quick)
        if request.delivery_id in self.books.rejected:
            return self._noted(request, REFUSED, quick)
        if not self.calm:
            if draw < faults.vendor_lost_done:
                return self._lost(request, effect, quick)
            if draw < faults.vendor_lost_done + faults.vendor_lost_undone:
                return self._noted(request, CONNECTION_BREAKS, NEVER)
            refuses = self._chance.random() < faults.vendor_refuses
            if refuses and request.delivery_id not in self._taken:
                self.books.rejected.add(request.delivery_id)
                return self._noted(request, REFUSED, quick)
        return self._noted(request, DONE, quick, effect, quick / 2)

    def _lost(self, request: Request, effect: Callable[[], None] | None, quick: float) -> Reply:
        """It is done, and the caller does not hear of it: at once, never, or by and by."""
        seconds = self._chance.choice((quick, NEVER))
        status = self._chance.choice((CONNECTION_BREAKS, ANSWERS_LATER))
        ends = max(0.0, min(seconds, request.within_seconds))
        late = self._chance.uniform(0, self.faults.late_effect_seconds)
        return self._noted(request, status, seconds, effect, self._chance.uniform(0, ends) + late)

    def _noted(
        self,
        request: Request,
        status: int,
        seconds: float,
        effect: Callable[[], None] | None = None,
        effect_after_seconds: float = 0.0,
    ) -> Reply:
        """In the books; it ends for the vendor no later than its caller meant to wait."""
        now = self._time.now
        ended = now + int(max(0.0, min(seconds, request.within_seconds)) * SECOND)
        held = self._is_held(request.delivery_id, request.attempt)
        call = Call(request.delivery_id, now, ended, status, held, effect)
        self.books.calls.append(call)
        if effect is not None:
            self._taken.add(request.delivery_id)
            self._time.after(effect_after_seconds, call.take_effect)
        return Reply(status, seconds, call)

    def _book_draft(self, delivery_id: str, draft: str) -> None:
        if draft not in self._confirmed:
            self._confirmed.add(draft)
            self._book(delivery_id)

    def _book(self, delivery_id: str) -> None:
        if self.faults.operation_class == "NATURAL":
            self.books.written.append(Effect(delivery_id, self._time.now))
        # A key that the vendor honours makes a second call the first one's echo.
        honours = self.faults.operation_class in ("KEYED", "NATURAL")
        if not (honours and delivery_id in self._done):
            self._done.add(delivery_id)
            self.books.effects.append(Effect(delivery_id, self._time.now))
