"""Puts events and scans on the bus, in the order of their numbers, one stored copy each.

The events table is the record. `outlet` sends its rows and compares them with what a stream holds;
here is which rows, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import structlog
from crossdock import bus as contract_bus
from crossdock.ending import end_tasks
from crossdock.event.v1 import event_pb2

from crossdock_hub.bus.errors import UNANSWERED, BusError, StreamGone
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.outlet import Marks, Outlet, Report, Waiting
from crossdock_hub.bus.publishing import Message
from crossdock_hub.committer import Committed, now_microseconds
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.keeping import keep
from crossdock_hub.records import BusPosition, EventRecord, Mark, ScanOutboxRecord
from crossdock_hub.store import Store, StoreFailure, Transaction, tables
from crossdock_hub.store.bus_rows import (
    NEXT_EVENTS,
    NEXT_SCANS,
    Numbered,
    event_records,
    hot_events,
    last_published,
    recorded_before,
    row_behind,
    row_numbers,
    scan_records,
    scans_kept,
    unmarked_events,
)
from crossdock_hub.store.numbering import ALL, EVERYTHING, Settled, settled

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


class _Rows:
    """A table of what goes on a stream: what is not there yet, and what a lost stream gets back.

    hot_microseconds: how long a message stays on the stream.
    """

    table: Numbered

    def __init__(self, hot_microseconds: int, clock: Callable[[], int]) -> None:
        self.hot_microseconds = hot_microseconds
        self._clock = clock

    def _hot_since(self) -> int:
        return self._clock() - self.hot_microseconds

    async def settled(self, store: Store) -> Settled:
        if not store.shared:
            return EVERYTHING
        async with store.read() as connection:
            return await settled(connection, self.table)

    async def behind(self, connection: Transaction, upto: int, count: int) -> int:
        return await row_behind(connection, self.table, upto, count)

    def let_go(self, before: int) -> None:
        """Rows before a number are on the stream no more."""

    async def recorded_before(self, connection: Transaction, number: int) -> int | None:
        return await recorded_before(connection, self.table, number)

    async def numbers(self, connection: Transaction, ids: Sequence[str]) -> dict[str, int]:
        return await row_numbers(connection, self.table, ids)


class Events(_Rows):
    """The events table."""

    stream = contract_bus.EVENT_STREAM
    table = tables.events

    async def next(
        self, store: Store, after: int, most: int, upto: int = ALL
    ) -> list[tuple[Waiting, Message]]:
        since = self._hot_since()
        return [
            (Waiting(each.sequence, each.id, each.record_time < since), event_message(each))
            for each in event_records(await store.ask(NEXT_EVENTS, after, upto, most))
        ]

    async def hot(self, connection: Transaction, upto: int) -> int:
        return await hot_events(connection, self._hot_since(), upto)

    async def last_sent(self, connection: Transaction) -> int:
        return await last_published(connection)

    async def unmarked(self, connection: Transaction, upto: int) -> list[int]:
        return await unmarked_events(connection, upto)

    def mark(self, sequences: Sequence[int], position: BusPosition) -> Mark:
        return Mark(events=sequences, positions=[position])


class Scans(_Rows):
    """The outbox of scan messages; it keeps them as long as the stream does."""

    stream = contract_bus.SCAN_STREAM
    table = tables.scan_outbox
    _gone_before = 0

    async def next(
        self, store: Store, after: int, most: int, upto: int = ALL
    ) -> list[tuple[Waiting, Message]]:
        since = self._hot_since()
        return [
            (Waiting(each.sequence, each.id, each.record_time < since), scan_message(each))
            for each in scan_records(await store.ask(NEXT_SCANS, after, upto, most))
        ]

    async def hot(self, connection: Transaction, upto: int) -> int:
        # What was let go may be deleted while the stream is filled again: it is not counted on.
        return await scans_kept(connection, self._gone_before, upto)

    def let_go(self, before: int) -> None:
        self._gone_before = before

    async def last_sent(self, connection: Transaction) -> int:
        # A row does not say so; the noted position does.
        return 0

    async def unmarked(self, connection: Transaction, upto: int) -> list[int]:
        return []

    def mark(self, sequences: Sequence[int], position: BusPosition) -> Mark:
        if not self._gone_before:
            return Mark(positions=[position])
        return Mark(
            positions=[position], scans_before=self._hot_since(), scans_upto=self._gone_before - 1
        )


class Relay:
    """Publishes what commits leave behind; `committed` wakes it.

    hot_hours: how long events stay on the bus. on_gone: called when a stream is not there.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        limits: Limits,
        marks: Marks,
        hot_hours: float,
        on_gone: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = now_microseconds,
        report: Report = lambda kind, sentence, count: None,
    ) -> None:
        self._bus = bus
        self._limits = limits
        self._on_gone = on_gone
        self._events_wake = asyncio.Event()
        self._scans_wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        hot = int(hot_hours * 3600 * SECOND)
        self.events = Outlet(Events(hot, clock), store, bus, limits, marks, clock, report)
        self.scans = Outlet(Scans(hot, clock), store, bus, limits, marks, clock, report)
        self._troubles = dict.fromkeys((self.events, self.scans), "")

    @property
    def published(self) -> int:
        """Messages stored since the start."""
        return self.events.published + self.scans.published

    def committed(self, batch: Committed) -> None:
        """A batch is durable: there may be something to publish."""
        if batch.changes.events:
            self._events_wake.set()
        if batch.changes.scan_outbox:
            self._scans_wake.set()

    def start(self) -> None:
        """Begin, with whatever an earlier run left unpublished."""
        self.wake()
        self._tasks = [
            keep("relay events", lambda: self._run(self._events_wake, self.events)),
            keep("relay scans", lambda: self._run(self._scans_wake, self.scans)),
        ]

    def doubt(self) -> None:
        """The streams may not be as they were: compare with them before anything is sent."""
        self.events.doubt()
        self.scans.doubt()
        self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        self._events_wake.set()
        self._scans_wake.set()

    async def stop(self) -> None:
        """Let a publish that has begun end, then no more; the next run publishes what is left."""
        self._stopping = True
        self.wake()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._limits.relay_stop_seconds)
        finally:
            await end_tasks(self._tasks)

    async def _run(self, wake: asyncio.Event, outlet: Outlet) -> None:
        pause = self._limits.relay_poll_seconds
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds(outlet)):
                    await wake.wait()
            wake.clear()
            if self._stopping:
                return
            try:
                more = await outlet.publish()
            except (BusError, StoreFailure) as error:
                if isinstance(error, StreamGone):
                    self._on_gone()
                elif isinstance(error, UNANSWERED) and pause > self._limits.relay_poll_seconds:
                    # Not the first time: the node may be parted, though it answers pings.
                    await self._bus.change_node()
                self._say(outlet, str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._limits.relay_retry_seconds_max)
                wake.set()
                continue
            self._say(outlet, "")
            pause = self._limits.relay_poll_seconds
            if more:
                wake.set()

    def _look_seconds(self, outlet: Outlet) -> float:
        """After how long it looks by itself: every commit wakes it, of other hubs by their news."""
        if outlet.held:
            return self._limits.relay_held_seconds
        return self._limits.relay_poll_seconds * 10

    def _say(self, outlet: Outlet, trouble: str) -> None:
        """Log once when one goes, once when it is back: one may be stuck while the other flows."""
        stuck, self._troubles[outlet] = self._troubles[outlet], trouble
        what = "events" if outlet is self.events else "scans"
        if trouble and not stuck:
            log.warning(f"{what} wait, the bus does not take them", cause=trouble)
        elif stuck and not trouble:
            log.info(f"{what} flow again")
