"""The law of repeats: what nobody knows of is asked about before it is done again. Pure.

The checker of histories and the oracle of the simulation judge by it. A look-up that found nothing
counts when it began a settle time after the call was given up, and the next one that counts a
settle time after that look-up had ended (docs/reliability.md, operation classes). One that failed
proves nothing, so it neither counts nor makes the next one wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.faults.history.records import CALL, LOOK_UP, Attempt

# Ends of a call that prove nothing.
UNPROVEN = frozenset({"", "UNKNOWN", "LEASE_EXPIRED"})
NOT_FOUND = "NOT_FOUND"
NOT_FOUND_NEEDED = 2
SECOND = 1_000_000

# (kind, number) of an attempt -> the end of its lease, as far as it is known: microseconds.
Leases = Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A call after one of which nothing is proven. found_nothing: look-ups between the two that
    did; settled: how many of them count."""

    earlier: Attempt
    later: Attempt
    found_nothing: int
    settled: int


def repeats(log: Sequence[Attempt], settle_seconds: float, leases: Leases) -> list[Repeat]:
    """Every call of a delivery after one in doubt. log: its attempts, by token."""
    places = [index for index, attempt in enumerate(log) if attempt.kind == CALL]
    found = []
    for first, second in pairwise(places):
        if log[first].outcome not in UNPROVEN:
            continue
        looks = [a for a in log[first + 1 : second] if _found_nothing(a)]
        settled = _settled(looks, given_up_at(log[first], leases), int(settle_seconds * SECOND))
        found.append(Repeat(log[first], log[second], len(looks), settled))
    return found


def given_up_at(attempt: Attempt, leases: Leases) -> int:
    """When nobody waited for an attempt's word any more; a word that came later says less."""
    if attempt.ended_at is not None and not attempt.late:
        return attempt.ended_at
    return leases.get((attempt.kind, attempt.number), attempt.begun_at)


def _found_nothing(attempt: Attempt) -> bool:
    return attempt.kind == LOOK_UP and attempt.outcome == NOT_FOUND and not attempt.late


def _settled(looks: Iterable[Attempt], given_up: int, settle: int) -> int:
    count, since = 0, given_up
    for look in looks:
        if look.begun_at >= since + settle:
            count, since = count + 1, look.ended_at or look.begun_at
    return count
