"""What any hub of a shared database commits, for those who follow it at this one.

Events are read by their number, so each comes once, an object's in their order, and none is missed
whatever was heard. Deliveries have no number: they are read when their hub tells that they changed,
as they are then, so of two changes close together the first may not be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.committer import Committed
from crossdock_hub.config import Limits
from crossdock_hub.keeping import keep
from crossdock_hub.leading.news import News
from crossdock_hub.reading.tailing import Tails
from crossdock_hub.store import Store, StoreFailure, tables
from crossdock_hub.store.bus_rows import next_events
from crossdock_hub.store.numbering import settled
from crossdock_hub.store.tail_reading import deliveries_by_id

log = structlog.get_logger("crossdock.tail")

# Events that one look reads; where there are more, the next one follows at once.
EVENTS_MAX = 500


class SharedTail:
    """Looks at the store when some hub has committed, at most every `tail_look_seconds`, and only
    while somebody follows. `committed` is a listener of this hub's commits, `heard` of news."""

    def __init__(self, store: Store, tails: Tails, limits: Limits) -> None:
        self._store = store
        self._tails = tails
        self._limits = limits
        self._wake = asyncio.Event()
        # The number of the last event that was passed on to those who follow.
        self._after = 0
        self._changed: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        tails.before_following = self._begin

    def start(self) -> None:
        """Begin to look."""
        self._task = keep("shared tail", self._run)

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            await end_tasks([self._task])

    def committed(self, batch: Committed) -> None:
        """This hub has made a batch durable."""
        picked = (dispatched.record.id for dispatched in batch.picked)
        self._note([*(record.id for record in batch.deliveries()), *picked])

    def heard(self, news: News) -> None:
        """Another hub has committed something, or may have."""
        self._note(news.deliveries)
        if news.deliveries_untold:
            self._tails.miss(news.deliveries_untold)

    def _note(self, changed: Iterable[str]) -> None:
        if not len(self._tails):
            return
        for delivery_id in changed:
            if len(self._changed) < self._limits.tail_queue_max:
                self._changed[delivery_id] = None
            elif delivery_id not in self._changed:
                self._tails.miss(1)
        self._wake.set()

    async def _begin(self) -> None:
        """Before somebody follows: what is committed from here on is passed on."""
        if len(self._tails):
            return
        async with self._store.read() as connection:
            upto, _ = await settled(connection, tables.events)
        if not len(self._tails):
            self._after = upto
            self._changed.clear()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                if await self._look():
                    self._wake.set()
            except StoreFailure as failure:
                # What is known to have changed is read when the next news come.
                log.warning("who follows waits for the database", cause=failure.cause)
            await asyncio.sleep(self._limits.tail_look_seconds)

    async def _look(self) -> bool:
        """Pass on what is new; whether there is more already."""
        if not len(self._tails):
            return False
        # What changes while it is read has to be read once more.
        after, changed, self._changed = self._after, self._changed, {}
        try:
            async with self._store.read() as connection:
                upto, held = await settled(connection, tables.events)
            async with self._store.read() as connection:
                events = await next_events(connection, after, EVENTS_MAX, upto)
                deliveries = await deliveries_by_id(connection, list(changed))
        except StoreFailure:
            self._changed = changed | self._changed
            raise
        if self._after != after:
            # All have left meanwhile, and somebody follows from a later place.
            return True
        full = len(events) == EVENTS_MAX
        self._after = events[-1].sequence if full else max(after, upto)
        self._tails.publish(events, deliveries)
        return held or full
