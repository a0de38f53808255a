"""What waits to be committed, in two lanes, and how much of each the next batch takes.

Interactive commands go first. Bulk gets a share of every other batch, so that it never starves, and
no more than fits in a short time, so that nobody who calls amid a load waits long for the batch
under way. Whoever has called lately is likely to call again: until then the batches of bulk between
are as short as those with a caller in them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from math import inf

from crossdock.errors import Refusal

from crossdock_hub.commands import Command
from crossdock_hub.config import Limits
from crossdock_hub.identity import HUB
from crossdock_hub.unit import Refused

# Beside interactive commands bulk gets this share of a full batch.
BULK_SHARE = 4
# Beside them, and soon after them, so much goes at least.
LEAST_BESIDE = 8
# A slice follows the time that batches take, at most doubled or halved by one of them.
MOST_CHANGE = 2.0


class Slice:
    """How much bulk work a batch takes so that it ends within a time.

    seconds: that time. most: the weight of a whole batch. least: what goes in any case, as a commit
    alone may take longer than that time. It learns from the batches that took as much bulk as they
    were let; the first is a guess.
    """

    def __init__(self, seconds: float, most: int, least: int = 1) -> None:
        self._seconds = seconds
        self._most = most
        self._least = float(least)
        self._weight = float(most) / 8

    @property
    def weight(self) -> int:
        """What the next batch may take; one command goes whatever it weighs."""
        return int(self._weight)

    def took(self, bulk: int, seconds: float) -> None:
        """Learn from a batch with this weight of bulk."""
        if bulk < self.weight and seconds <= self._seconds:
            return
        wanted = self._seconds / max(seconds, 1e-6)
        change = min(MOST_CHANGE, max(1 / MOST_CHANGE, wanted))
        self._weight = min(float(self._most), max(self._least, self._weight * change))


class Lanes:
    """Two queues with limits. clock: seconds that only grow."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._called_at = -inf
        self._interactive: deque[Command] = deque()
        self._bulk: deque[Command] = deque()
        most = limits.batch_commands_max
        self._alone = Slice(limits.bulk_batch_seconds, most)
        self._beside = Slice(limits.bulk_beside_seconds, most, LEAST_BESIDE)
        # Of the batch that is under way.
        self._slice = self._alone
        self._bulk_went = False

    @property
    def empty(self) -> bool:
        return not self._interactive and not self._bulk

    def add(self, command: Command) -> None:
        """Queue a command. Raises Refused with HUB_OVERLOADED when its lane is full."""
        queue = self._bulk if command.bulk else self._interactive
        if len(queue) >= self._limits.queue_commands_max:
            raise Refused(
                Refusal(
                    "HUB_OVERLOADED",
                    f"{len(queue)} commands wait already; repeat with the same request_id",
                    {"cause": "queue_commands_max"},
                    retry_after_seconds=1.0,
                )
            )
        queue.append(command)
        if not command.bulk and command.caller is not HUB:
            self._called_at = self._clock()

    def take(self) -> list[Command]:
        """The next batch; callers do not share two of them in a row with bulk."""
        room = self._limits.batch_commands_max
        beside = bool(self._interactive) or self._was_called_lately
        self._slice = self._beside if beside else self._alone
        most = min(self._slice.weight, self._alone.weight)
        reserved = min(room // BULK_SHARE, most) if self._bulk and not self._bulk_went else 0
        batch = _taken(self._interactive, room - reserved)
        bulk: list[Command] = []
        if not (batch and self._bulk_went):
            bulk = _taken(self._bulk, min(max(reserved, room - _weight(batch)), most))
        self._bulk_went = bool(bulk)
        return batch + bulk

    @property
    def _was_called_lately(self) -> bool:
        return self._clock() - self._called_at < self._limits.bulk_yields_seconds

    def ahead(self) -> list[Command]:
        """What the next batch will begin with; it stays where it is."""
        return list(islice(self._interactive, self._limits.batch_commands_max))

    def took(self, batch: Sequence[Command], seconds: float) -> None:
        """Tell how long a batch took, its commit included; only one of bulk alone teaches."""
        if batch and all(command.bulk for command in batch):
            self._slice.took(_weight(batch), seconds)


def _taken(queue: deque[Command], room: int) -> list[Command]:
    """From the front while there is room; the last one may weigh more than what is left of it."""
    taken: list[Command] = []
    while queue and room > 0:
        command = queue.popleft()
        if command.answer.done():
            # Given up by its caller, or refused when it was read.
            continue
        taken.append(command)
        room -= command.weight
    return taken


def _weight(commands: Iterable[Command]) -> int:
    return sum(command.weight for command in commands)
