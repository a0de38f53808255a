"""Parts of a relay without a hub around it: rows to send, a keeper of marks, a relay to kill.

Run as a process (URL of a database, address of a nats-server) it publishes and is killed by kill -9
at the moment at which it would remember what it has published.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections import Counter

from bus_reading import stored_messages
from crossdock import bus as contract_bus
from crossdock import contracts
from crossdock.event.v1 import event_pb2
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.outlet import Marks, Outlet
from crossdock_hub.bus.relay import Relay
from crossdock_hub.bus.streams import StreamLimits, StreamSpec, event_stream_spec, scan_stream_spec
from crossdock_hub.committer import now_microseconds
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.records import EventRecord, Mark, ScanOutboxRecord
from crossdock_hub.store import Store
from crossdock_hub.store.bus_rows import remember
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Identifiers
from nats.js.errors import NotFoundError

CONTRACT = contracts.load()
# As short as the server allows.
WINDOW_SECONDS = 0.1
HOT_HOURS = 72.0
LIMITS = Limits(relay_poll_seconds=0.02, relay_retry_seconds_max=0.1)


def specs(window_seconds: float = WINDOW_SECONDS) -> list[StreamSpec]:
    """The hub's streams of events and scans, with a window that is soon over."""
    limits = StreamLimits(HOT_HOURS, window_seconds)
    return [event_stream_spec(limits), scan_stream_spec(limits)]


def event(age_hours: float = 0.0) -> EventRecord:
    """An event of a new object in some partition."""
    recorded = now_microseconds() - int(age_hours * 3600 * SECOND)
    object_id, event_id = str(uuid.uuid4()), Identifiers().next(recorded)
    body = event_pb2.AnyEvent()
    body.metadata.id, body.metadata.object_id = event_id, object_id
    body.metadata.type = "crossdock.order.v1.OrderApproved"
    return EventRecord(
        id=event_id,
        type="crossdock.order.v1.OrderApproved",
        stem="order.approved",
        kind="order",
        object_id=object_id,
        revision=1,
        position=0,
        root_id=object_id,
        partition=contract_bus.partition_of(object_id),
        body=body.SerializeToString(),
        producer="oms",
        traceparent="",
        event_time=None,
        record_time=recorded,
        causation_id="",
    )


def scan_batch(age_hours: float = 0) -> ScanOutboxRecord:
    """A scan message that waits to be sent."""
    recorded = now_microseconds() - int(age_hours * 3600 * SECOND)
    return ScanOutboxRecord(Identifiers().next(recorded), 3, b"", 1, "", recorded)


async def record(store: Store, *records: EventRecord | ScanOutboxRecord) -> list[str]:
    """Commit rows that wait to be sent. Returns the message ids in order."""
    events = [each for each in records if isinstance(each, EventRecord)]
    scans = [each for each in records if isinstance(each, ScanOutboxRecord)]
    async with store.write() as connection:
        await write(connection, Changes(events=events, scan_outbox=scans))
    return [each.id for each in records]


class Keeper:
    """Remembers at once what the relay tells; `forget` loses it, as a crash would."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.marks: list[Mark] = []

    def mark(self, mark: Mark) -> None:
        self.marks.append(mark)

    async def write(self) -> None:
        marks, self.marks = self.marks, []
        async with self.store.write() as connection:
            await remember(connection, marks, now_microseconds())

    def forget(self) -> None:
        self.marks = []


class Deadly:
    """Where the relay would remember, the process is killed."""

    def mark(self, _mark: Mark) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def relay_of(store: Store, bus: Bus, marks: Marks) -> Relay:
    return Relay(store, bus, LIMITS, marks, HOT_HOURS)


async def send_all(outlet: Outlet) -> None:
    """Publish until nothing waits."""
    while await outlet.publish():
        pass


async def ids_on(address: BusAddress, stream: str) -> list[str]:
    """The ids of all messages of a stream, in order; none of them twice."""
    ids = [each.headers["Nats-Msg-Id"] for each in await stored_messages(address, stream)]
    twice = {each: count for each, count in Counter(ids).items() if count > 1}
    assert not twice, f"stored more than once: {twice}"
    return ids


async def holds(address: BusAddress, stream: str, ids: list[str]) -> bool:
    """Whether a stream holds these and no others now. One that is just made anew does not: it, or a
    message of it, may be gone between two questions."""
    try:
        return await ids_on(address, stream) == ids
    except NotFoundError:
        return False


async def _publish_and_die(database: str, address: BusAddress) -> None:
    store = await Store.open(database, CONTRACT)
    bus = await Bus.connect(address)
    relay = relay_of(store, bus, Deadly())
    await relay.events.publish()
    await relay.scans.publish()


if __name__ == "__main__":
    _, database, url, user, password = sys.argv
    asyncio.run(_publish_and_die(database, BusAddress(url, user, password)))
