"""When another node of the bus is asked, as ours serves no streams, and what is said of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import structlog

# A node whose JetStream does not answer is left at most this often: while a cluster elects a leader
# no node answers.
CHANGE_NODE_SECONDS: Final = 4.0
# A bus whose JetStream is switched off, or that takes small messages only, would have it said every
# few seconds, for days.
SAY_AGAIN_SECONDS: Final = 600.0
# Of two looks at the bus one may be answered though the other is not: it serves when none was in
# vain for so long.
SERVES_SECONDS: Final = 15.0

log = structlog.get_logger("crossdock.bus")


class NodeChanges:
    """Those of one connection. clock: in seconds, never set."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_at = -math.inf
        self._said_at: float | None = None
        self._unsaid = 0
        # When each limit of messages that is too small was last said.
        self._small_said_at: dict[int, float] = {}
        # Whether the next loss of the connection, and its return, are ours and not worth a line.
        self.is_quiet = False

    def begin(self) -> bool:
        """Whether to go to another node now; False: that was done just before."""
        now = self._clock()
        if now < self._last_at + CHANGE_NODE_SECONDS:
            return False
        self._last_at = now
        self.is_quiet = True
        self._unsaid += 1
        if self._said_at is None:
            log.warning("the bus is asked at another node", said_again_seconds=SAY_AGAIN_SECONDS)
        elif now < self._said_at + SAY_AGAIN_SECONDS:
            return True
        else:
            log.warning("no node of the bus serves yet", asked=self._unsaid)
        self._said_at, self._unsaid = now, 0
        return True

    def look(self, connected: bool, because: str) -> None:
        """Told how the connection is now and then: one that was left for another node, of which
        none was reached for long, is gone like any other."""
        if not connected and self.is_quiet and self._clock() >= self._last_at + SERVES_SECONDS:
            self.is_quiet = False
            log.warning("the bus is gone", because=because)

    def was_ours(self) -> bool:
        """The connection is back: whether it was only left for another node, a moment ago."""
        was_quiet, self.is_quiet = self.is_quiet, False
        return was_quiet

    def takes_small(self, bytes_max: int) -> None:
        """The node that is asked now takes messages of so many bytes, and the hub has larger ones:
        said when that is new, and of nodes that take turns only now and then."""
        now = self._clock()
        if now >= self._small_said_at.get(bytes_max, -math.inf) + SAY_AGAIN_SECONDS:
            self._small_said_at[bytes_max] = now
            log.error(
                "this node of the bus takes small messages only, and a large event would keep all "
                "others waiting: set max_payload: 4MB there, and reload it",
                bytes_max=bytes_max,
            )

    def answered(self) -> None:
        """A question about streams was answered."""
        if self._said_at is not None and self._clock() >= self._last_at + SERVES_SECONDS:
            self._said_at, self._unsaid = None, 0
            log.info("a node of the bus serves again")
