"""What this process has told the warehouse about items; forgotten with the process."""

from __future__ import annotations

MAX_ITEMS = 100_000


class KnownItems:
    """Revision of each item a facility was told, and when (monotonic seconds)."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[int, float]] = {}

    def is_fresh(self, facility: str, number: str, since: float) -> bool:
        """Whether it was told or compared after `since`."""
        known = self._known.get((facility, number))
        return known is not None and known[1] >= since

    def revision(self, facility: str, number: str) -> int | None:
        """The revision told last; None when it was never told."""
        known = self._known.get((facility, number))
        return None if known is None else known[0]

    def keep(self, facility: str, number: str, revision: int, now: float) -> None:
        """Remember; the oldest entry goes at the limit, and is told again when needed."""
        if len(self._known) >= MAX_ITEMS:
            self._known.pop(next(iter(self._known)))
        self._known[(facility, number)] = (revision, now)
