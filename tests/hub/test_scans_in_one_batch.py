"""Reports that share a batch: what one of them stored, the next one decides with."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.records import ScanRecord
from crossdock_hub.unit import Unit
from crossdock_hub.verbs import DECISIONS
from databases import database_of, open_store
from decisions import CARRIER, CONTRACT
from first_flow import Flow, scan, seconds

REPORT = "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents"
DEADLINE_SECONDS = 30.0


def command(decide: Any) -> Command:
    return Command(REPORT, CARRIER, decide, asyncio.get_running_loop().create_future())


def report(event: tracking_pb2.TrackingEvent) -> Command:
    """One webhook of the carrier."""
    request = tracking_service_pb2.ReportTrackingEventsRequest(
        request_id=str(uuid.uuid4()), tracking_events=[event]
    )
    return command(lambda unit: DECISIONS[REPORT](unit, request))


def stored(flow: Flow) -> Command:
    """Everything that a company in memory knows of its shipment."""

    def decide(unit: Unit) -> None:
        for key, record in flow.records.items():
            if key[0] in ("object", "parcel"):
                unit.put(key, record)
        unit.changes.scans += flow.scans

    return command(decide)


async def test_a_hub_reads_no_more_scans_of_a_parcel_than_its_limit(tmp_path: Path) -> None:
    """Proves with a real store that a decision gets the newest scans of a parcel up to the hub's
    own limit and one more, and that a delivery from behind older ones is still one to the sender,
    as the parcel says that it was on its way back."""
    flow = Flow()
    flow.labelled()
    later = [scan("EXCEPTION", flow.now + seconds(10 + after)) for after in range(7)]
    flow.report(scan("RETURNING", flow.now + 1), *later)
    known: list[ScanRecord] = []

    def read(unit: Unit) -> None:
        known[:] = unit.get(("scans_of", "UPSN", "1Z1"))

    limits = Limits().with_changes({"parcel_scans_max": 4})
    store = await open_store(tmp_path / "hub")
    committer = Committer(store, CONTRACT, limits, Picker(limits))
    committer.start([])
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            for sent in (stored(flow), command(read)):
                await committer.submit(sent)
            delivered = scan("DELIVERED", flow.now + seconds(30))
            await committer.submit(report(delivered))
    finally:
        await committer.stop()
        await store.close()
    assert len(flow.scans) == 8
    assert sorted(each.id for each in known) == sorted(each.id for each in flow.scans)[3:]
    parcels = database_of(tmp_path / "hub").query("SELECT milestone FROM parcels")
    assert [tuple(each) for each in parcels] == [("RETURNED",)]


async def test_a_late_delivery_is_decided_with_the_scan_before_it_in_the_batch(
    tmp_path: Path,
) -> None:
    """Proves that a delivery from before the way back is one also where it is told in the same
    batch as the first scan of the way back, which is not in the database by then."""
    flow = Flow()
    flow.labelled()
    flow.report(scan("IN_TRANSIT", flow.now + seconds(5)))
    back = scan("RETURNING", flow.now + seconds(20))
    delivered = scan("DELIVERED", flow.now + seconds(10))
    limits = Limits()
    store = await open_store(tmp_path / "hub")
    committer = Committer(store, CONTRACT, limits, Picker(limits))
    committed: list[Committed] = []
    committer.listeners.append(committed.append)
    committer.start([])
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await committer.submit(stored(flow))
            sent = [committer.submit(report(each)) for each in (back, delivered)]
            await asyncio.gather(*sent)
    finally:
        await committer.stop()
        await store.close()
    batch = [each for each in committed if each.changes.scans][-1]
    assert [each.milestone for each in batch.changes.scans] == ["RETURNING", "DELIVERED"]
    end = tracking_pb2.TrackingEvent.FromString(batch.changes.scans[1].body)
    assert not end.return_leg
    parcels = database_of(tmp_path / "hub").query("SELECT milestone FROM parcels")
    assert [tuple(each) for each in parcels] == [("DELIVERED",)]
