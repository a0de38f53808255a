"""G25: a subscriber with nothing reads everything again, by sequence, by time, and from SQL."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import nats
from crossdock import bus, contracts
from crossdock.event.v1 import event_pb2
from crossdock_hub.committer import now_microseconds
from crossdock_hub.records import EventRecord
from crossdock_hub.store import Store
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Identifiers
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from nats.js.api import DeliverPolicy
from played_endpoint import PlayedEndpoint
from projection import Projection, following
from story import Story, seed_master_data

from tests.faults.trials.trial import Piece, Result, Size, Trial

AT_ONCE = 10
A_COMMIT = 2_000
REVISIONS = 4
READ_SECONDS, READS_A_SECOND = 60.0, 200
TYPE = "crossdock.order.v1.OrderChanged"
PAGE = "SELECT sequence, body FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"
POSTED = "SELECT id, dispatch_number, token FROM deliveries ORDER BY id"


def _event(identifiers: Identifiers, object_id: str, revision: int) -> EventRecord:
    """An event as the hub stores it, of an object that only it tells of."""
    recorded = now_microseconds()
    # The store's clock goes on from the newest id: it has to be one in order.
    event_id, body = identifiers.next(recorded), event_pb2.AnyEvent()
    body.metadata.record_time.FromMicroseconds(recorded)
    body.metadata.id, body.metadata.object_id = event_id, object_id
    body.metadata.type, body.metadata.revision = TYPE, revision
    return EventRecord(
        event_id, TYPE, "order.changed", "order", object_id, revision, 0, object_id,
        bus.partition_of(object_id), body.SerializeToString(), "oms", "", None,
        recorded, "",
    )  # fmt: skip


async def _write_events(hub: RunningHub, count: int) -> None:
    """Put so many events into the database of a hub that has ended; its relay will find them.

    Through the hub this would be a test of its callers; here it is about those who read.
    """
    identifiers = Identifiers()
    store = await Store.open(hub.database.url, contracts.load())
    try:
        for start in range(0, count, A_COMMIT):
            objects = [str(uuid.uuid4()) for _ in range(min(A_COMMIT, count - start) // REVISIONS)]
            events = [_event(identifiers, one, n + 1) for n in range(REVISIONS) for one in objects]
            async with store.write() as connection:
                await write(connection, Changes(events=events))
    finally:
        await store.close()


async def _read(projection: Projection, total: int) -> None:
    seconds = READ_SECONDS + total / READS_A_SECOND
    await eventually(lambda: len(projection.seen) >= total, "reading", seconds)


async def run_g25(piece: Piece) -> Result:
    """A live subscriber beside ones that begin with nothing when everything has been said."""
    hub = RunningHub(piece.directory / "hub", deployment(1)).start()
    try:
        await seed_master_data(hub)
        hub.stop()
        await _write_events(hub, piece.size.orders)
        hub.start()
        return await _compared(hub, piece.size.faults)
    finally:
        hub.kill()


async def _act(hub: RunningHub, erp: PlayedEndpoint, orders: int) -> None:
    """Confirm all of the endpoint's work, so that nothing more is sent to it."""
    done = f"endpoint = '{erp.endpoint}' AND state = 'CONFIRMED'"
    while hub.count("deliveries", done) < orders:
        dispatch = await erp.take()
        begun = await erp.try_begin(dispatch)
        if not begun.HasField("refusal"):
            await erp.complete(dispatch.delivery_id, begun.token, "CONFIRMED")


async def _compared(hub: RunningHub, orders: int) -> Result:
    lane, address, live = Lane(1), hub.bus_address(), Projection()
    client = await nats.connect(address.url, user=address.user, password=address.password)
    operations = {"create_sales_order": "SEARCHABLE"}
    try:
        jetstream = client.jetstream(timeout=30.0)
        async with (
            Story(hub, lane) as story,
            PlayedEndpoint(hub, lane.erp, operations) as erp,
            following(jetstream, live, deliver_policy=DeliverPolicy.ALL),
        ):
            for _ in range(0, orders, AT_ONCE):
                await asyncio.gather(*[story.released() for _ in range(AT_ONCE)])
            total = hub.count("events")
            await _read(live, total)
            await _act(hub, erp, orders)
            posted, waiting = hub.query(POSTED), erp.waiting
            digests, speeds = await _again(hub, jetstream, total)
            broken = [f"{name} differs" for name, d in digests.items() if d != live.digest()]
            if (hub.query(POSTED), erp.waiting) != (posted, waiting):
                broken.append("reading again sent an endpoint something")
    finally:
        await client.close()
    counts = {
        "events": total,
        "objects": len(live.states),
        "readings": len(digests),
        "deliveries that stayed as they were": len(posted),
    }
    return Result(counts, measured={"events/s when read again": speeds}, broken=broken)


async def _again(hub: RunningHub, jetstream: Any, total: int) -> tuple[dict[str, str], list[float]]:
    """Digests of projections that begin with nothing, and how fast they were filled."""
    first = (await jetstream.get_msg(bus.EVENT_STREAM, 1)).headers or {}
    starts: dict[str, dict[str, Any]] = {
        "by sequence": {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": 1},
        "by time": {
            "deliver_policy": DeliverPolicy.BY_START_TIME,
            "opt_start_time": first["ce-recordedtime"],
        },
    }
    digests, speeds = {}, []
    for name, start in starts.items():
        again, started = Projection(), time.monotonic()
        async with following(jetstream, again, **start):
            await _read(again, total)
        speeds.append(total / (time.monotonic() - started))
        digests[name] = again.digest()
    # Beside the loop: a server hangs up on a client that is silent for so long.
    digests["from the events table"] = await asyncio.to_thread(_of_table, hub)
    return digests, speeds


def _of_table(hub: RunningHub) -> str:
    """The digest of a projection that is filled from the events table, a page at a time."""
    table, after = Projection(), 0
    while page := hub.query(PAGE, after, A_COMMIT):
        for _, body in page:
            table.fold(body)
        after = page[-1][0]
    return table.digest()


G25 = Trial(
    "G25",
    "all events read again into an empty projection: by sequence, by time, from the events table",
    "each ends exactly where the live one is; no endpoint is sent anything",
    run_g25,
    Size(1, orders=8_000, faults=20),
    Size(4, orders=250_000, faults=100),
    {"events": 1_000_000},
)
