"""How fast a replay goes: never more items within any second than its rate. Pure."""

from __future__ import annotations

from collections import deque

from crossdock_hub.config import SECOND


class Pace:
    """How many items may be handed over now: never more than the rate within any second.

    Work that goes together and is more than the rate is paid for by the time it is worth.
    """

    def __init__(self, items_per_second: int) -> None:
        self.items_per_second = items_per_second
        self._taken: deque[tuple[int, int]] = deque()

    def room(self, now: int) -> int:
        """How many items may go at this time (microseconds); 0 or less: none."""
        while self._taken and self._taken[0][0] <= now:
            self._taken.popleft()
        return self.items_per_second - sum(count for _, count in self._taken)

    def take(self, now: int, count: int) -> None:
        """So many went, together."""
        self._taken.append((now + self.worth(count), count))

    def worth(self, count: int) -> int:
        """For how long so many that go together count, in microseconds."""
        return max(SECOND, count * SECOND // self.items_per_second)

    def owes(self, now: int) -> bool:
        """Whether anything that went still counts."""
        return self.room(now) < self.items_per_second
