"""The first six acts: what goes wrong on purpose, and what is read from whom as a proof.

Poison and the outage of a day have files of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask

from crossdock import contracts
from crossdock.cli.demo import proofs
from crossdock.cli.demo.books import Call
from crossdock.cli.demo.day import DayCast, play_day
from crossdock.cli.demo.poison import PoisonCast, play_poison
from crossdock.cli.demo.report import Act, Report
from crossdock.cli.demo.stage import ARRIVED, LEFT, Stage, at_least
from crossdock.cli.demo.views import (
    HubView,
    ShipmentView,
    count_scans,
    read_deliveries,
    shipment_view,
)
from crossdock.cli.names import verdict
from crossdock.cli.network.netsuite import ERP_ID_PREFIX
from crossdock.cli.problems import CommandError
from crossdock.client import HubClient
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock.errors import FieldNotOwnedError
from crossdock.lineage.v1 import lineage_pb2, lineage_service_pb2
from crossdock.request_ids import new_request_id
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2

DELIVERY_SECONDS: Final = 90.0
DRAIN_SECONDS: Final = 60.0
BUSY_SECONDS: Final = 30.0
SCANS_SECONDS: Final = 30.0
POLL_SECONDS: Final = 1.0
FAST_POLL_SECONDS: Final = 0.1
LATE_SECONDS: Final = 1.0
LATE_SHARE: Final = 0.3
# Calls that were under way when the port closed may be logged a moment later.
OUTAGE_MARGIN: Final = timedelta(seconds=0.2)
TRACED_SHIPMENTS: Final = 20
_WRONG_WEIGHT: Final = "0.1"
_WRONG_TRACKING: Final = "1Z0000000000000000"


@dataclass(frozen=True, slots=True)
class Cast:
    """How many orders play in each act, and how long the ERP is away."""

    peak: int
    outage: int
    labels: int
    webhooks: int
    lost_replies: int
    outage_seconds: float
    poison: PoisonCast
    day: DayCast

    @classmethod
    def of(cls, orders: int, outage_seconds: float, day_seconds: float) -> Cast:
        """A cast for so many orders in the first act; the others get a share of it."""
        share = max(2, orders // 20)
        few = max(2, share // 3)
        poison = PoisonCast(unsayable=few, refused=few, sound=share)
        day = DayCast(orders=2 * share, seconds=day_seconds)
        lost = share // 2 * 2
        return cls(orders, 2 * share, share, share, lost, outage_seconds, poison, day)

    @property
    def everybody(self) -> int:
        return self.peak + self.outage + self.labels + self.webhooks


async def play(stage: Stage, cast: Cast) -> None:
    """All acts; they overlap where a real evening does: the ERP goes down in the middle of the
    rush. What the first four leave in the books is judged when everything has settled."""
    peak, ids = await _peak(stage, cast)
    await _troubles(stage, cast, peak, ids)
    await _ownership(stage)
    await _trace(stage)
    await play_poison(stage, cast.poison)
    await stage.settled(DRAIN_SECONDS)
    await play_day(stage, cast.day)


async def _peak(stage: Stage, cast: Cast) -> tuple[Act, list[str]]:
    """Place the peak's orders, until half of them have left the docks."""
    act = stage.report.begin(
        1, "peak", f"{cast.peak} orders from the OMS to warehouse, carrier, ERP, and to the door"
    )
    # With the first label the carrier learns to call back: the rush comes after that.
    ids = await stage.place(1)
    await _carrier_listens(stage)
    ids += await stage.place(cast.peak - 1)
    half = cast.peak // 2
    await stage.wait_until(f"{half} orders shipped", ids, at_least(half, LEFT), DELIVERY_SECONDS)
    return act, ids


async def _prove_peak(stage: Stage, cast: Cast, act: Act, ids: list[str]) -> None:
    erp, wms, ups = await asyncio.gather(stage.erp_books(), stage.wms_books(), stage.ups_books())
    view = stage.view.of(ids)
    stage.report.prove(act, proofs.delivered(view, cast.peak, erp, wms, ups))


async def _carrier_listens(stage: Stage) -> None:
    deadline = time.monotonic() + SCANS_SECONDS
    while not (await stage.ups.books())["subscriptions"]["accounts"]:
        if time.monotonic() > deadline:
            raise CommandError(
                f"the carrier has no subscription after {SCANS_SECONDS:.0f} s",
                next_step="read the log of the adapters",
            )
        await asyncio.sleep(FAST_POLL_SECONDS)


async def _troubles(stage: Stage, cast: Cast, peak: Act, peak_ids: list[str]) -> None:
    """Acts 2, 3 and 4: their orders overlap, the proofs come when all have settled."""
    report = stage.report
    down = report.begin(
        2,
        "ERP down",
        f"the ERP is away for {cast.outage_seconds:.0f} s and until work waits for it, "
        f"{cast.outage} more orders come in",
    )
    await stage.erp.fault("down", seconds=cast.outage_seconds + BUSY_SECONDS)
    begin = datetime.now(UTC)
    ids = peak_ids + await stage.place(cast.outage)
    lost = report.begin(
        3,
        "replies lost",
        f"{cast.lost_replies} label calls die after the carrier booked, {cast.labels} more orders",
    )
    await stage.ups.fault("reply_lost", operation="ship", count=cast.lost_replies)
    ids += await stage.place(cast.labels)
    hooks = report.begin(
        4, "webhooks", f"doubled, late and out of order, {cast.webhooks} more orders"
    )
    await stage.ups.fault("duplicate_webhooks", operation="track_alert")
    await stage.ups.fault(
        "late_webhooks", operation="track_alert", rate=LATE_SHARE, delay_seconds=LATE_SECONDS
    )
    ids += await stage.place(cast.webhooks)
    outage = await _outage(stage, begin, cast.outage_seconds)
    await stage.wait_until(
        f"{len(ids)} orders delivered", ids, at_least(len(ids), ARRIVED), DELIVERY_SECONDS
    )
    await stage.issued(ids, DRAIN_SECONDS)
    await stage.settled(DRAIN_SECONDS)
    view = await stage.look(ids)
    await _prove_peak(stage, cast, peak, peak_ids)
    await _prove_outage(stage, down, outage)
    await _prove_labels(stage, lost, cast)
    await _prove_webhooks(stage, hooks, view)
    await stage.ups.clear()


async def _outage(stage: Stage, begin: datetime, seconds: float) -> proofs.Outage:
    """Bring the ERP back when its time has passed and something waits for it; counts what does.

    A busy machine may not have brought the ERP any work by then. It gets BUSY_SECONDS more: an
    outage in which nobody wanted anything of the ERP proves nothing.
    """
    earliest = begin + timedelta(seconds=seconds)
    latest = earliest + timedelta(seconds=BUSY_SECONDS)
    while True:
        waited = (await stage.queue_depths())[stage.erp.name]
        now = datetime.now(UTC)
        if now >= latest or (waited and now >= earliest):
            break
        left = (earliest - now).total_seconds()
        await asyncio.sleep(min(POLL_SECONDS, left) if left > 0 else POLL_SECONDS)
    await stage.erp.clear("down")
    return proofs.Outage(begin + OUTAGE_MARGIN, min(now, latest) - OUTAGE_MARGIN, waited)


async def _prove_outage(stage: Stage, act: Act, outage: proofs.Outage) -> None:
    erp_books, rows = await asyncio.gather(stage.erp_books(), stage.erp.calls())
    calls = Call.read_all(rows)
    answer = await stage.operator.endpoints.GetEndpoint(
        endpoint_service_pb2.GetEndpointRequest(id=stage.erp.name)
    )
    budget = answer.endpoint.manifest.max_concurrency
    ledger = await read_deliveries(stage.operator, stage.erp.name)
    everything = HubView(stage.view.orders, stage.view.shipments, ledger)
    report = stage.report
    report.prove(act, proofs.waited_for_erp(outage, calls))
    report.prove(act, proofs.drained_within_limit(everything, outage, calls, budget, erp_books))
    report.prove(act, proofs.posted_once(everything, erp_books, calls, ERP_ID_PREFIX))


async def _prove_labels(stage: Stage, act: Act, cast: Cast) -> None:
    ledger = await read_deliveries(stage.operator, stage.ups.name, "buy_label", with_attempts=True)
    calls = Call.read_all(await stage.ups.calls())
    proof = proofs.labels_found(ledger, await stage.ups_books(), calls, cast.lost_replies)
    stage.report.prove(act, proof)


async def _prove_webhooks(stage: Stage, act: Act, view: HubView) -> None:
    deadline = time.monotonic() + SCANS_SECONDS
    while True:
        ups = await stage.ups_books()
        scans = await count_scans(stage.operator, view.shipments)
        complete = all(scans[number] >= ups.parcels[number].scans for number in scans)
        if complete or time.monotonic() > deadline:
            break
        await asyncio.sleep(POLL_SECONDS)
    single = [each for each in view.shipments if len(each.packages) == 1][:TRACED_SHIPMENTS]
    events = {each.id: await _tracking_events(stage.operator, each) for each in single}
    webhooks = await stage.ups.webhooks()
    stage.report.prove(
        act, proofs.never_backwards(view, stage.backwards, scans, ups, webhooks, events)
    )


async def _tracking_events(hub: HubClient, shipment: ShipmentView) -> list[str]:
    """Stems of what was published about a shipment's parcel, in the order of its revisions."""
    answer = await hub.lineage.Trace(lineage_service_pb2.TraceRequest(id=shipment.id))
    found = [each for each in answer.lineage.events if each.object_id == shipment.id]
    found.sort(key=lambda event: event.revision)
    return [event.stem for event in found if event.stem.startswith("tracking.")]


async def _ownership(stage: Stage) -> None:
    act = stage.report.begin(
        5, "ownership", "the OMS overwrites package weights, the warehouse a tracking number"
    )
    shipment = stage.view.shipments[0]
    before = await _read_shipment(stage.operator, shipment.id)
    lighter = shipment_pb2.Shipment(id=shipment.id, packages=before.packages)
    for package in lighter.packages:
        package.weight.value = _WRONG_WEIGHT
    renumbered = shipment_pb2.Shipment(id=shipment.id, tracking_number=_WRONG_TRACKING)
    refusals = [
        await _try_update(stage.oms, lighter, "packages"),
        await _try_update(stage.floor, renumbered, "tracking_number"),
    ]
    expected = [_expected_refusal("OMS", "packages"), _expected_refusal("WMS", "tracking_number")]
    after = await _read_shipment(stage.operator, shipment.id)
    wms, ups = await asyncio.gather(stage.wms_books(), stage.ups_books())
    proof = proofs.refused_by_owner(
        refusals, expected, shipment_view(before), shipment_view(after), wms, ups
    )
    stage.report.prove(act, proof)


async def _read_shipment(hub: HubClient, shipment_id: str) -> shipment_pb2.Shipment:
    request = shipment_service_pb2.GetShipmentRequest(id=shipment_id)
    return (await hub.shipments.GetShipment(request)).shipment


async def _try_update(
    hub: HubClient, shipment: shipment_pb2.Shipment, field: str
) -> proofs.Refused | None:
    request = shipment_service_pb2.UpdateShipmentRequest(
        request_id=new_request_id(), shipment=shipment, update_mask=FieldMask(paths=[field])
    )
    try:
        await hub.shipments.UpdateShipment(request)
    except FieldNotOwnedError as refused:
        named = refused.refusal.metadata
        return proofs.Refused(
            named.get("writer", ""),
            named.get("field", ""),
            named.get("owner", ""),
            named.get("rule", ""),
        )
    return None


def _expected_refusal(writer: str, field: str) -> proofs.Refused:
    """What the contract that this command line was built with says."""
    rule = contracts.load().resources["shipment"].fields[field]
    return proofs.Refused(writer, f"shipment.{field}", rule.owner, rule.position)


async def _trace(stage: Stage) -> None:
    report: Report = stage.report
    erp, ups = await asyncio.gather(stage.erp_books(), stage.ups_books())
    shipment = max(stage.view.shipments, key=lambda each: (len(each.packages), each.number))
    number = _document(erp.fulfillments.get(shipment.id, {}))
    act = report.begin(6, "trace", f"all that is known is the ERP's document number {number}")
    answer = await stage.operator.lineage.Trace(lineage_service_pb2.TraceRequest(id=number))
    order_number = next(
        (each.number for each in stage.view.orders if each.id == shipment.order_id), ""
    )
    report.prove(
        act, proofs.traced(_reduced(answer.lineage, number), shipment, order_number, erp, ups)
    )


def _document(record: Any) -> str:
    fields = record.get("fields", {})
    return str(fields.get("tranId", "none"))


def _reduced(lineage: lineage_pb2.Lineage, asked: str) -> proofs.Traced:
    def of_kind(kind: str) -> Sequence[lineage_pb2.Node]:
        return [node for node in lineage.nodes if node.kind == kind]

    references = {
        reference.value for delivery in lineage.deliveries
        for reference in delivery.vendor_references if reference.type == "tracking_number"
    }  # fmt: skip
    return proofs.Traced(
        asked=asked,
        verdict=verdict(lineage.verdict),
        sentence=lineage.sentence,
        trace_id=lineage.trace_id,
        order_numbers=frozenset(node.number for node in of_kind("order")),
        shipment_ids=frozenset(node.id for node in of_kind("shipment")),
        tracking_numbers=frozenset(references | {scan.tracking_number for scan in lineage.scans}),
        postings=tuple(
            (f"{each.endpoint} {each.operation}", each.confirmed)
            for each in lineage.postings
            if each.confirmed
        ),
    )
