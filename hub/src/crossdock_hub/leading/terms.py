"""Who leads, when a leader renews, and when it no longer counts on its lead. Pure.

A row of the database says who leads: a term, which grows with each change of holder, and until when
by the database's clock. A hub that follows takes a row that has run out. A leader counts on its
lead only for as long as the row lasts, from the moment at which it asked for that, by its own
monotonic clock: the database began to count later than that, so nobody else can have taken the row
before. That clock goes on while a process is stopped.

A leader that can't do its work, for its bus is away (`leading.bus_seen`), offers its lead: it goes
on with it, and counts on it no more from before it says so until the database has heard that it
does not offer it any longer. Another hub takes what is offered as it takes what has run out.

Invariants: terms only grow; no two hubs hold the same term; of two hubs that count on their lead at
one moment one has a database whose clock was set. What a hub writes as leader does not rely on
clocks at all, see `store.leadership`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

FOLLOWS: Final = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. lasts: a term without a renewal; renew: between renewals; look: how often a hub
    that follows looks for a row that has run out."""

    lasts: float
    renew: float
    look: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What the row says. left_seconds: until it runs out, by the database's clock; not above 0: it
    has. address: where the holder serves other hubs. offered: its holder lacks a bus, and whoever
    has one may take it."""

    term: int
    holder: str
    address: str
    left_seconds: float
    offered: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What a hub knows of itself. term: the one that it holds; FOLLOWS: none. safe_until: how long
    it counts on that; asked_at: when it asked for it last; both by its monotonic clock. offers:
    others may take it; of a hub that follows: it lost what it offered."""

    term: int = FOLLOWS
    asked_at: float = -inf
    safe_until: float = -inf
    offers: bool = False

    @property
    def holds(self) -> bool:
        """Whether it holds a term that nobody is known to have followed."""
        return self.term != FOLLOWS


def may_take(seen: Seen | None, holder: str, standing: Standing, *, steady: bool) -> bool:
    """Whether a hub that follows may lead from now on, if the bus answers it. A row with its own
    name is from a take whose answer was lost, and nothing was done in that term.

    steady: its bus has been there for long. Without that it takes nothing from a hub that lives,
    nor anything soon after it lost what it had to offer: a bus that comes and goes would send leads
    around.
    """
    if seen is None or seen.left_seconds <= 0 or seen.holder == holder:
        return steady or not standing.offers
    return seen.offered and steady


def granted(term: int, asked_at: float, timing: Timing, *, offers: bool = False) -> Standing:
    """The standing after the database has given or renewed a term that was asked for then. offers:
    before that is written."""
    return Standing(term, asked_at, asked_at + timing.lasts, offers)


def lost(standing: Standing) -> Standing:
    """The standing after a term was lost."""
    return Standing(offers=standing.offers)


def counts_on_it(standing: Standing, now: float) -> bool:
    """Whether a hub may do as leader what the database does not guard."""
    return standing.holds and not standing.offers and now < standing.safe_until


def pause_seconds(standing: Standing, seen: Seen | None, now: float, timing: Timing) -> float:
    """How long a hub waits before it asks again: a leader until its next renewal, or as often as
    others look while it offers its lead, so that it keeps that as soon as its bus is back; another
    one until its next look, or until the row runs out if that is earlier."""
    if standing.holds and standing.offers:
        return timing.look
    if standing.holds:
        return max(0.0, standing.asked_at + timing.renew - now)
    left = seen.left_seconds if seen is not None else timing.look
    return min(timing.look, max(left, 0.0)) if left > 0 else timing.look
