"""A vendor with books: what was asked, what took effect and when, and what it answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from simulation.faults import Faults
from simulation.virtual_time import VirtualTime

CALL_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Effect:
    """Something booked: for a delivery, at a time (microseconds)."""

    delivery_id: str
    at: int


@dataclass(slots=True)
class Call:
    """One call that reached the vendor, from first byte to its end as the caller saw it."""

    delivery_id: str
    began: int
    ended: int
    outcome: str


@dataclass(slots=True)
class Books:
    """What the oracle reads; nobody else does."""

    effects: list[Effect] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    rejected: set[str] = field(default_factory=set)


class Vendor:
    """Answers calls with what is drawn for each; `books` is the truth."""

    def __init__(self, time: VirtualTime, chance: random.Random, faults: Faults) -> None:
        self._time = time
        self._chance = chance
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

    def call(self, delivery_id: str) -> tuple[str, float]:
        """(outcome as the adapter would word it, seconds until the adapter knows it)."""
        return self._answer(delivery_id, lambda seconds: self._book_later(delivery_id, seconds))

    def draft(self, delivery_id: str) -> tuple[str, float, str]:
        """The same for the first of two steps, and the draft's id. A draft that nobody confirms has
        no effect; a second one is another."""
        self._drafts += 1
        outcome, seconds = self._answer(delivery_id, lambda _: None)
        return outcome, seconds, f"draft-{self._drafts}"

    def confirm(self, delivery_id: str, draft: str, within_seconds: float) -> tuple[str, float]:
        """The same for the second step, for a caller with so much time. Each draft takes effect
        once, however often it is confirmed."""
        self._taken.add(delivery_id)
        return self._answer(
            delivery_id,
            lambda seconds: self._time.after(seconds, lambda: self._book_draft(delivery_id, draft)),
            within_seconds,
        )

    def _answer(
        self,
        delivery_id: str,
        do: Callable[[float], None],
        within_seconds: float = CALL_SECONDS_MAX,
    ) -> tuple[str, float]:
        """What comes of a call. do: make its effect after some seconds."""
        draw, quick = self._chance.random(), self._chance.uniform(0.02, 0.3)
        faults = self.faults
        if self.is_away() and faults.silent_outages:
            return "UNKNOWN", min(CALL_SECONDS_MAX, within_seconds)
        if self.is_away() or (not self.calm and self._chance.random() < faults.vendor_away):
            return "RETRY", quick
        if delivery_id in self.books.rejected:
            return self._ended(delivery_id, "REJECTED", quick)
        if not self.calm:
            if draw < faults.vendor_lost_done:
                slow = self._chance.choice((quick, CALL_SECONDS_MAX))
                late = self._chance.uniform(0, faults.late_effect_seconds)
                do(self._chance.uniform(0, slow) + late)
                return self._ended(delivery_id, "UNKNOWN", min(slow, within_seconds))
            if draw < faults.vendor_lost_done + faults.vendor_lost_undone:
                return self._ended(delivery_id, "UNKNOWN", within_seconds)
            if self._chance.random() < faults.vendor_refuses and delivery_id not in self._taken:
                self.books.rejected.add(delivery_id)
                return self._ended(delivery_id, "REJECTED", quick)
        do(quick / 2)
        if quick > within_seconds:
            return self._ended(delivery_id, "UNKNOWN", within_seconds)
        return self._ended(delivery_id, "CONFIRMED", quick)

    def look_up(self, delivery_id: str) -> tuple[str, float]:
        """A search by reference: what is booked by now is found; it may fail like any call."""
        quick = self._chance.uniform(0.02, 0.3)
        if self.is_away():
            return "UNKNOWN", quick
        if not self.calm and self._chance.random() < self.faults.vendor_lost_undone:
            return "UNKNOWN", CALL_SECONDS_MAX
        return ("CONFIRMED" if self._booked(delivery_id) else "NOT_FOUND"), quick

    def _ended(self, delivery_id: str, outcome: str, seconds: float) -> tuple[str, float]:
        now = self._time.now
        ended = now + int(seconds * 1_000_000)
        self.books.calls.append(Call(delivery_id, now, ended, outcome))
        return outcome, seconds

    def _booked(self, delivery_id: str) -> bool:
        return delivery_id in self._done

    def _book_later(self, delivery_id: str, seconds: float) -> None:
        self._taken.add(delivery_id)
        self._time.after(seconds, lambda: self._book(delivery_id))

    def _book_draft(self, delivery_id: str, draft: str) -> None:
        if draft not in self._confirmed:
            self._confirmed.add(draft)
            self._book(delivery_id)

    def _book(self, delivery_id: str) -> None:
        # A key that the vendor honours makes a second call the first one's echo.
        honours = self.faults.operation_class in ("KEYED", "NATURAL")
        if not (honours and self._booked(delivery_id)):
            self._done.add(delivery_id)
            self.books.effects.append(Effect(delivery_id, self._time.now))
