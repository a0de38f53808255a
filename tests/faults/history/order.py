"""The algebra of order that the rules share: gaps, copies and inversions in sequences. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by key; within a key in the order they came."""
    found: dict[K, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return dict(found)


def copies(items: Iterable[K]) -> dict[K, int]:
    """What is there more than once, and how often."""
    return {item: count for item, count in Counter(items).items() if count > 1}


def gaps(numbers: Iterable[int], first: int, last: int) -> list[int]:
    """The numbers from first to last that are missing."""
    there = set(numbers)
    return [number for number in range(first, last + 1) if number not in there]


def inversions(items: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Neighbours of which the later is smaller. None: the sequence never falls."""
    return [(a, b) for a, b in pairwise(items) if b < a]


def overlaps(
    spans: Iterable[tuple[int, int | None]],
) -> list[tuple[tuple[int, int | None], tuple[int, int | None]]]:
    """Neighbouring spans, by start, of which the later starts before the earlier ends.

    An end of None is never: everything that starts later overlaps. Touching is not overlapping.
    """
    ordered = sorted(spans, key=lambda span: span[0])
    found = []
    reaching: tuple[int, int | None] | None = None
    for span in ordered:
        if reaching is not None and (reaching[1] is None or span[0] < reaching[1]):
            found.append((reaching, span))
        if reaching is None or _further(span, reaching):
            reaching = span
    return found


def _further(one: tuple[int, int | None], other: tuple[int, int | None]) -> bool:
    if other[1] is None:
        return False
    return one[1] is None or one[1] > other[1]
