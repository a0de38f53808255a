"""Whether a hub has its bus, as far as its questions tell: when it offers what it leads to others,
and when it may take what others offer. Pure.

A hub whose bus is away offers what it leads, and leads on: another hub takes that only if its own
bus has answered for long, and answers now. So a lead moves from a hub that lost its bus to one that
has it, and where the bus itself is down, or is back for some hubs a moment earlier than for others,
every lead stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Final

# One question may be lost, or late where this hub itself was held up.
FAILURES_MIN: Final = 2


@dataclass(frozen=True, slots=True)
class BusPatience:
    """Seconds. away: for how long no question is answered before the bus counts as away. steady:
    for how long it has to have been there before this hub takes what another one offers; longer
    than the bus, when it is back, may take to be back for one hub later than for another."""

    away: float
    steady: float


@dataclass(frozen=True, slots=True)
class BusSeen:
    """What the questions told, by the hub's monotonic clock. silent_since: when the first one was
    asked of those that nobody has answered since; None: the last one was answered. failures: how
    many those are. there_since: since when every question was answered."""

    silent_since: float | None = None
    failures: int = 0
    there_since: float = -inf


def answered(seen: BusSeen, now: float) -> BusSeen:
    """A question was answered now."""
    return BusSeen(there_since=seen.there_since if seen.silent_since is None else now)


def unanswered(seen: BusSeen, asked_at: float) -> BusSeen:
    """A question that was asked then was not answered in its time."""
    since = asked_at if seen.silent_since is None else seen.silent_since
    return replace(seen, silent_since=since, failures=seen.failures + 1)


def is_away(seen: BusSeen, now: float, patience: BusPatience) -> bool:
    """Whether the bus has been away for longer than a leader may be without it."""
    if seen.silent_since is None or seen.failures < FAILURES_MIN:
        return False
    return now - seen.silent_since > patience.away


def is_steady(seen: BusSeen, now: float, patience: BusPatience) -> bool:
    """Whether this hub may take what another one offers, if the bus answers it now, too."""
    return seen.silent_since is None and now - seen.there_since >= patience.steady
