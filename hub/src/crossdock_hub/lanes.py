"""What waits to be committed, in two lanes, and how much of each the next batch takes.

Interactive commands go first. Bulk gets a share of every other batch, so that it never starves, and
no more than fits in a short time, so that nobody who calls amid a load waits long for the batch
under way. Whoever has called lately is likely to call again: until then the batches of bulk between
are as short as those with a caller in them. A single command of bulk may take longer, as a report
of 500 scans does: no caller is in its batch, and callers who wait have the writer for themselves
for as long as it took.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from math import inf

from crossdock.errors import Refusal

from crossdock_hub.arrivals import Arrivals
from crossdock_hub.commands import Command
from crossdock_hub.config import Limits
from crossdock_hub.identity import HUB
from crossdock_hub.unit import Refused

# Beside interactive commands bulk gets this share of a full batch.
BULK_SHARE = 4
# Where a batch takes long whatever is in it, as over a network, bulk gets this share beyond that.
FIXED_SHARE = 0.5
# What a batch has shown counts less by this with each that follows; the first ones stand against a
# guess.
MEMORY = 0.97
GUESS_FIXED_SECONDS, GUESS_EACH_SECONDS = 0.002, 0.000_15
# A command costs this share at least of what it seems to cost if nothing is fixed: what batches of
# nearly the same weight tell is mostly noise.
LEAST_EACH_SHARE = 0.05
# No batch may carry so many times more than the last one of its kind.
MOST_GROWTH = 2.0
# What one after the other carries of what it could: nothing is learned from batches that are alike.
SHARES = (1.0, 1.0, 0.5)
# Where they could carry fewer than this, one of them has so many instead.
NOT_ALIKE = 2


class Costs:
    """What batches cost: a fixed time, for the commit above all, and a time for each command.

    A line through what they took, by least squares in which what is older counts less. Batches of
    few commands tell the one, those of many the other, so that a slow commit is not taken for slow
    commands, which fewer of them would not make any faster.
    """

    def __init__(self) -> None:
        self._count = self._weights = self._seconds = self._squares = self._products = 0.0
        for weight in (1, 64):
            self.note(weight, GUESS_FIXED_SECONDS + GUESS_EACH_SECONDS * weight)

    def note(self, weight: int, seconds: float) -> None:
        """Learn from a batch of this weight."""
        self._count = self._count * MEMORY + 1
        self._weights = self._weights * MEMORY + weight
        self._seconds = self._seconds * MEMORY + seconds
        self._squares = self._squares * MEMORY + weight * weight
        self._products = self._products * MEMORY + weight * seconds

    @property
    def line(self) -> tuple[float, float]:
        """Seconds that a batch takes in any case, and seconds for each unit of weight."""
        all_of_it = self._seconds / self._weights
        spread = self._count * self._squares - self._weights**2
        each = all_of_it
        if spread > 1e-6 * self._squares:
            slope = (self._count * self._products - self._weights * self._seconds) / spread
            each = min(all_of_it, max(slope, all_of_it * LEAST_EACH_SHARE))
        return max(0.0, (self._seconds - each * self._weights) / self._count), each

    def weight_within(self, seconds: float) -> float:
        """How much a batch may carry that is to take so long, or a part more than it has to."""
        fixed, each = self.line
        return max(seconds - fixed, fixed * FIXED_SHARE) / max(each, 1e-9)


class Lanes:
    """Two queues with limits. clock: seconds that only grow."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._called_at = -inf
        self._interactive: deque[Command] = deque()
        self._bulk: deque[Command] = deque()
        self._costs = Costs()
        # Whether the last batch had bulk in it, or left some waiting, and what the last ones could
        # carry: beside callers, and alone.
        self._bulk_went = self._heavy_went = self._passed_over = False
        self._bulk_is_under_way = False
        # How long callers who wait still go before any bulk.
        self._owed_seconds = 0.0
        self.calm = asyncio.Event()
        """Set while no caller waits for the writer, or has it."""
        self.calm.set()
        self._most = dict.fromkeys((True, False), float(limits.batch_commands_max) / 8)
        self._shares = cycle(SHARES)
        self.arrivals = Arrivals()
        """Who will be in line in a moment."""

    @property
    def empty(self) -> bool:
        return not self._interactive and not self._bulk

    @property
    def has_bulk(self) -> bool:
        """Whether bulk waits or is under way."""
        return bool(self._bulk) or self._bulk_is_under_way

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
        if not command.bulk:
            self.calm.clear()
        if not command.bulk and command.caller is not HUB:
            self._called_at = self._clock()

    async def next(self) -> list[Command]:
        """The next batch; before one of bulk whoever is on the way into the line gets there."""
        if self._bulk and not self._interactive:
            await self.arrivals.all_heard(self._limits.bulk_awaits_seconds)
        return self.take()

    def take(self) -> list[Command]:
        """The next batch. Callers do not share two of them in a row with bulk, nor any with a
        command of bulk that weighs more than a slice of it."""
        room = self._limits.batch_commands_max
        most = self._slice_of_bulk() if self._bulk else 0
        heavy = bool(self._bulk) and self._bulk[0].weight > most
        first = heavy and not self._passed_over
        alone = self._bulk_went or self._owed_seconds > 0 or first
        reserved = 0 if alone else room if heavy else min(room // BULK_SHARE, most)
        batch = _taken(self._interactive, room - reserved)
        bulk: list[Command] = []
        if not (batch and alone):
            bulk = _taken(self._bulk, min(max(reserved, room - _weight(batch)), most))
        if not batch:
            self._calm_down()
        self._bulk_went = bool(bulk)
        self._bulk_is_under_way = self._bulk_went
        self._heavy_went = heavy and self._bulk_went
        self._passed_over = bool(self._bulk) and not bulk
        return batch + bulk

    def _slice_of_bulk(self) -> int:
        """How much bulk the next batch may carry; one command goes whatever it weighs."""
        beside = bool(self._interactive) or self.was_called_lately
        limits = self._limits
        seconds = limits.bulk_beside_seconds if beside else limits.bulk_batch_seconds
        wanted = min(self._costs.weight_within(seconds), self._most[beside] * MOST_GROWTH)
        most = self._most[beside] = min(float(limits.batch_commands_max), max(1.0, wanted))
        share = next(self._shares)
        if share < 1 and most < NOT_ALIKE:
            # Half of one command is one again: a slow commit would pass for a slow command.
            return NOT_ALIKE
        return max(1, int(most * share))

    @property
    def was_called_lately(self) -> bool:
        """Whether somebody has called who will likely call again."""
        return self._clock() - self._called_at < self._limits.bulk_yields_seconds

    def ahead(self) -> list[Command]:
        """What the next batch will begin with; it stays where it is."""
        return list(islice(self._interactive, self._limits.batch_commands_max))

    def took(self, batch: Sequence[Command], seconds: float) -> None:
        """Tell how long a batch took, its commit included."""
        self._bulk_is_under_way = False
        self._calm_down()
        if not batch:
            return
        self._costs.note(_weight(batch), seconds)
        if self._heavy_went:
            self._owed_seconds = seconds
        elif not self._bulk_went:
            self._owed_seconds -= seconds

    def _calm_down(self) -> None:
        if not self._interactive:
            self.calm.set()


def _taken(queue: deque[Command], room: int) -> list[Command]:
    """From the front while there is room; the first one may weigh more than all of it."""
    taken: list[Command] = []
    while queue and room > 0:
        if queue[0].answer.done():
            # Given up by its caller, or refused when it was read.
            queue.popleft()
            continue
        if taken and queue[0].weight > room:
            break
        taken.append(queue.popleft())
        room -= taken[-1].weight
    return taken


def _weight(commands: Iterable[Command]) -> int:
    return sum(command.weight for command in commands)
