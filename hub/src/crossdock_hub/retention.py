"""Lets go of what old events say, as long after they happened as the contract keeps them.

The rows stay, so that the trace and the places on the stream stay as they are; what goes is their
content. An event that a delivery may still need is kept, however old it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog
from crossdock.contracts import Contract
from crossdock.ending import end_tasks
from crossdock.errors import ConfigurationError

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer, Stopped
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.event_contents import FIRST, past_events
from crossdock_hub.unit import Refused, Unit

log = structlog.get_logger("crossdock.retention")

PURGE: Final = "let go of events"
RETENTION_DAYS_MAX: Final = 36_500


def with_retention(contract: Contract, days: Mapping[str, float]) -> Contract:
    """The contract with what an operator set instead of its own retentions.

    ConfigurationError names the first event that there is not, or the first impossible time.
    """
    for name, value in days.items():
        if name not in contract.events:
            raise ConfigurationError(
                f"CROSSDOCK_RETENTION_DAYS: there is no event {name}; "
                "the full name of its message is meant, as crossdock.order.v1.OrderApproved"
            )
        if not 0 < value <= RETENTION_DAYS_MAX:
            raise ConfigurationError(
                f"CROSSDOCK_RETENTION_DAYS: {name} must be above 0 and at most "
                f"{RETENTION_DAYS_MAX:,} days"
            )
    return contract.with_retention({name: timedelta(days=n) for name, n in days.items()})


def is_past(retention_seconds: float, record_time: int, now: int) -> bool:
    """Whether an event is older than the contract keeps it: no work is made of it any more."""
    return record_time + int(retention_seconds * SECOND) <= now


def ages(contract: Contract, hot_hours: float, limits: Limits) -> dict[str, int]:
    """How old the events of a type have to be before their content goes, in microseconds.

    Never younger than the stream keeps them, and later than work of them is refused: what was made
    of an event in its last moment holds it.
    """
    hot = int(hot_hours * 3600 * SECOND)
    slack = int(limits.retention_slack_seconds * SECOND)
    return {
        rule.type: max(int(rule.retention.total_seconds() * SECOND), hot) + slack
        for rule in contract.events.values()
    }


class Purger:
    """Goes through what is past its time, type by type, some at a time, and anew after a pause.

    A pass reads what is due and what a delivery holds longer than that, however many there are.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        limits: Limits,
        hot_hours: float,
        clock: Callable[[], int],
        counted: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """counted: told how many events have let their content go."""
        self._store = store
        self._committer = committer
        self._limits = limits
        self._clock = clock
        self._counted = counted
        self._ages = ages(store.contract, hot_hours, limits)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the oldest."""
        self._task = keep("retention", self._run)

    async def stop(self) -> None:
        """Purge no more."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        while True:
            gone = 0
            try:
                gone = await self.purge()
            except StoreFailure as failure:
                log.warning("old events wait, the store does not answer", cause=failure.cause)
            if gone:
                log.info("old events let their content go", events=gone)
            await asyncio.sleep(self._limits.retention_look_seconds)

    async def purge(self) -> int:
        """One pass over what is old enough; how many events let their content go.

        Raises StoreFailure.
        """
        gone = 0
        for kind, age in self._ages.items():
            gone += await self._purge(kind, age)
        return gone

    async def _purge(self, kind: str, age: int) -> int:
        gone, after, most = 0, FIRST, self._limits.retention_slice_events
        while True:
            async with self._store.read() as connection:
                found = await past_events(connection, kind, self._clock() - age + 1, after, most)
            if found.past and await self._let_go(found.past):
                self._counted(len(found.past))
                gone += len(found.past)
            if found.last is None:
                return gone
            after = found.last
            # Others are asked first: this is never in a hurry.
            await asyncio.sleep(self._limits.retention_pause_seconds)

    async def _let_go(self, sequences: Sequence[int]) -> bool:
        """Whether a batch has taken it; what none takes now is found by the next pass."""

        def decide(unit: Unit) -> None:
            unit.changes.events_past += sequences

        command = Command(
            PURGE,
            HUB,
            decide,
            asyncio.get_running_loop().create_future(),
            bulk=True,
            weight=len(sequences),
        )
        try:
            await self._committer.submit(command)
        except (Refused, Stopped):
            return False
        return True
