"""Puts events and scans on the bus, in commit order, at least once, one stored copy each.

The events table is the record: what is not marked published is published, in atomic batches. A
message id that the stream knows already is a duplicate of ours and counts as stored.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from crossdock import bus as contract_bus
from crossdock.event.v1 import event_pb2

from crossdock_hub.bus_errors import BusError
from crossdock_hub.committer import Committed, Committer
from crossdock_hub.config import Limits
from crossdock_hub.jetstream import Bus
from crossdock_hub.keeping import keep
from crossdock_hub.publishing import Message
from crossdock_hub.records import EventRecord, ScanOutboxRecord
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.writing import unpublished_events, unsent_scans

log = structlog.get_logger("crossdock.relay")

SCAN_HEADERS = {"ce-specversion": "1.0", "ce-datacontenttype": "application/protobuf"}


def event_message(record: EventRecord) -> Message:
    """An event as it travels: the stored bytes, and headers derived from its metadata."""
    metadata = event_pb2.AnyEvent.FromString(record.body).metadata
    trace = {"traceparent": record.traceparent} if record.traceparent else {}
    return Message(
        contract_bus.event_subject(record.stem, record.partition),
        record.body,
        contract_bus.headers_for(metadata, trace=trace),
    )


def scan_message(record: ScanOutboxRecord) -> Message:
    """Several scans as they travel."""
    headers = {**SCAN_HEADERS, contract_bus.MESSAGE_ID_HEADER: record.id, "ce-id": record.id}
    if record.traceparent:
        headers["traceparent"] = record.traceparent
    return Message(contract_bus.scan_subject(record.partition), record.body, headers)


class Relay:
    """Publishes what commits leave behind; `committed` wakes it."""

    def __init__(self, store: Store, bus: Bus, limits: Limits, committer: Committer) -> None:
        self._store = store
        self._bus = bus
        self._limits = limits
        self._committer = committer
        self._events_wake = asyncio.Event()
        self._scans_wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        # Numbers are given in commit order by the one writer: what follows these is not sent yet.
        self._last_event = 0
        self._last_scan = 0
        self._stopping = False
        self.published = 0
        self.trouble = ""

    def committed(self, batch: Committed) -> None:
        """A batch is durable: there may be something to publish."""
        if batch.changes.events:
            self._events_wake.set()
        if batch.changes.scan_outbox:
            self._scans_wake.set()

    def start(self) -> None:
        """Begin, with whatever an earlier run left unpublished."""
        self._events_wake.set()
        self._scans_wake.set()
        self._tasks = [
            keep("relay events", lambda: self._run(self._events_wake, self._events)),
            keep("relay scans", lambda: self._run(self._scans_wake, self._scans)),
        ]

    async def stop(self) -> None:
        """Let a publish that has begun end, then no more; the next run publishes what is left."""
        self._stopping = True
        self._events_wake.set()
        self._scans_wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._limits.relay_stop_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, wake: asyncio.Event, publish: Callable[[], Awaitable[bool]]) -> None:
        pause = self._limits.relay_poll_seconds
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.relay_poll_seconds * 10):
                    await wake.wait()
            wake.clear()
            if self._stopping:
                return
            try:
                more = await publish()
            except (BusError, StoreFailure) as error:
                self._say(str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._limits.relay_retry_seconds_max)
                wake.set()
                continue
            self._say("")
            pause = self._limits.relay_poll_seconds
            if more:
                wake.set()

    def _say(self, trouble: str) -> None:
        """Log once when it goes, once when it comes back."""
        if bool(trouble) != bool(self.trouble):
            if trouble:
                log.warning("events wait, the bus does not take them", cause=trouble)
            else:
                log.info("events flow again")
        self.trouble = trouble

    async def _events(self) -> bool:
        most = self._limits.relay_batch_events
        async with self._store.read() as connection:
            waiting = await unpublished_events(connection, self._last_event, most)
        stored = await self._publish([event_message(record) for record in waiting])
        done = [record.sequence for record in waiting[:stored]]
        if done:
            self._last_event = done[-1]
            self._committer.mark(done, [])
        return stored == most

    async def _scans(self) -> bool:
        most = self._limits.relay_batch_events
        async with self._store.read() as connection:
            waiting = await unsent_scans(connection, self._last_scan, most)
        stored = await self._publish([scan_message(record) for record in waiting])
        done = [record.sequence for record in waiting[:stored]]
        if done:
            self._last_scan = done[-1]
            self._committer.mark([], done)
        return stored == most

    async def _publish(self, messages: Sequence[Message]) -> int:
        """Publish in order; how many from the front are stored. Raises BusError: none."""
        if not messages:
            return 0
        results = await self._bus.publish_batch(messages)
        stored = 0
        for result in results:
            if not result.is_stored:
                break
            stored += 1
        self.published += stored
        if stored == 0:
            raise BusError(f"nothing was stored: {results[0].reason}")
        return stored
