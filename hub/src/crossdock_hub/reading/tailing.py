"""Events and deliveries as they are committed, for whoever follows; nothing is done for nobody.

A reader that is too slow loses entries, never the hub its memory: at the place of the gap it is
told how many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from crossdock.lineage.v1 import lineage_service_pb2

from crossdock_hub.committer import Committed
from crossdock_hub.config import Limits
from crossdock_hub.identity import Caller
from crossdock_hub.reading.chain import StoredEvent
from crossdock_hub.reading.presenting import delivery_message, event_node
from crossdock_hub.records import DeliveryRecord, EventRecord
from crossdock_hub.store import Reader

# How many of the last events are looked through for a backlog, at least.
BACKLOG_EVENTS_MIN = 200

Entry = EventRecord | DeliveryRecord


@dataclass(slots=True, eq=False)
class Subscriber:
    """One reader's queue. entries: records, and numbers where so many were dropped."""

    correlation_id: str
    endpoint: str
    most: int
    entries: deque[Entry | int] = field(default_factory=deque)
    dropped: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def wants(self, entry: Entry) -> bool:
        """True when the filters let the entry through."""
        if self.correlation_id and entry.root_id != self.correlation_id:
            return False
        if not self.endpoint:
            return True
        return isinstance(entry, DeliveryRecord) and entry.endpoint == self.endpoint

    def offer(self, entry: Entry) -> None:
        """Queue an entry, or count it where there is no room."""
        if len(self.entries) >= self.most:
            self.dropped += 1
            return
        self._close_gap()
        self.entries.append(entry)
        self.wake.set()

    def _close_gap(self) -> None:
        if self.dropped:
            self.entries.append(self.dropped)
            self.dropped = 0

    def take(self) -> Entry | int | None:
        """The next entry; None when there is none."""
        if not self.entries:
            self._close_gap()
        return self.entries.popleft() if self.entries else None


class Tails:
    """Everybody who follows. The committer publishes, each reader has a bounded queue."""

    def __init__(self, reader: Reader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits
        self._subscribers: set[Subscriber] = set()
        self._closed = False
        self.before_following: Callable[[], Awaitable[None]] = _nothing
        """Done before a reader is subscribed."""

    def __len__(self) -> int:
        """Readers that follow now."""
        return len(self._subscribers)

    def committed(self, batch: Committed) -> None:
        """A batch is durable."""
        if self._subscribers:
            picked = [dispatched.record for dispatched in batch.picked]
            newest = {record.id: record for record in (*batch.deliveries(), *picked)}
            self.publish(batch.changes.events, list(newest.values()))

    def publish(self, events: Sequence[EventRecord], deliveries: Sequence[DeliveryRecord]) -> None:
        """Pass on what was committed; returns at once and never fails."""
        if not self._subscribers:
            return
        entries: list[Entry] = [*events, *deliveries]
        for subscriber in self._subscribers:
            for entry in entries:
                if subscriber.wants(entry):
                    subscriber.offer(entry)

    def miss(self, count: int) -> None:
        """So many entries come to nobody: each reader is told."""
        for subscriber in self._subscribers:
            subscriber.dropped += count
            subscriber.wake.set()

    def close(self) -> None:
        """End every reader's stream, of those that come later too: the hub stops."""
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.closed = True
            subscriber.wake.set()

    async def follow(
        self, _caller: Caller, request: lineage_service_pb2.TailRequest
    ) -> AsyncIterator[lineage_service_pb2.TailResponse]:
        """The backlog that was asked for, then everything as it is committed, until cancelled."""
        subscriber = Subscriber(
            request.correlation_id, request.endpoint, self._limits.tail_queue_max
        )
        await self.before_following()
        # Subscribed before the backlog is read: what is committed meanwhile is in one of the two.
        self._subscribers.add(subscriber)
        subscriber.closed = self._closed
        try:
            seen = set()
            if request.backlog:
                most = min(request.backlog, self._limits.tail_backlog_max)
                for stored in await self._backlog(subscriber, most):
                    seen.add(_identity(stored))
                    yield _backlog_entry(stored)
            while not subscriber.closed:
                for entry in _drain(subscriber):
                    known = not isinstance(entry, int) and _identity(entry) in seen
                    if known:
                        seen.discard(_identity(entry))
                    else:
                        yield _live_entry(entry)
                await subscriber.wake.wait()
                subscriber.wake.clear()
        finally:
            self._subscribers.discard(subscriber)

    async def _backlog(
        self, subscriber: Subscriber, most: int
    ) -> list[StoredEvent | DeliveryRecord]:
        """The last entries, oldest first: events, and the deliveries of their flows."""
        looked_at = max(most, BACKLOG_EVENTS_MIN)
        events = await self._reader.events(looked_at, root_id=subscriber.correlation_id)
        roots = {event.record.root_id for event in events}
        deliveries = await self._reader.deliveries_of_roots(
            roots, looked_at, endpoint=subscriber.endpoint
        )
        found: list[StoredEvent | DeliveryRecord] = [
            event for event in events if subscriber.wants(event.record)
        ]
        found += deliveries
        found.sort(key=_committed_at)
        return found[-most:]


async def _nothing() -> None:
    """Without other hubs every commit is told of as it is made."""


def _drain(subscriber: Subscriber) -> Iterator[Entry | int]:
    while (entry := subscriber.take()) is not None:
        yield entry


def _committed_at(entry: StoredEvent | DeliveryRecord) -> tuple[int, int, str]:
    if isinstance(entry, StoredEvent):
        return entry.record.record_time, 0, entry.record.id
    return entry.updated_at, 1, entry.sequence


def _identity(entry: StoredEvent | Entry | int) -> tuple[object, ...]:
    """What makes two entries the same news: an event once, a delivery once per change."""
    if isinstance(entry, StoredEvent):
        return (entry.record.id,)
    if isinstance(entry, DeliveryRecord):
        return entry.id, entry.updated_at, entry.state, entry.dispatch_number, entry.token
    return (entry.id if isinstance(entry, EventRecord) else entry,)


def _backlog_entry(entry: StoredEvent | DeliveryRecord) -> lineage_service_pb2.TailResponse:
    if isinstance(entry, StoredEvent):
        return lineage_service_pb2.TailResponse(event=event_node(entry))
    return lineage_service_pb2.TailResponse(delivery=delivery_message(entry))


def _live_entry(entry: Entry | int) -> lineage_service_pb2.TailResponse:
    if isinstance(entry, int):
        return lineage_service_pb2.TailResponse(dropped=entry)
    if isinstance(entry, EventRecord):
        return lineage_service_pb2.TailResponse(event=event_node(StoredEvent(entry, False)))
    return lineage_service_pb2.TailResponse(delivery=delivery_message(entry))
