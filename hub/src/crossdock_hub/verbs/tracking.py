"""Scans: stored once, put on the scan stream, and their parcels moved forward, never back."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from typing import Any

from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_events_pb2, tracking_pb2, tracking_service_pb2
from crossdock.types.v1 import types_pb2

from crossdock_hub import lifecycle, resources
from crossdock_hub.emission import emit
from crossdock_hub.held import hold
from crossdock_hub.ownership import check_owner, populated_fields
from crossdock_hub.records import ParcelRecord, ScanOutboxRecord, ScanRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.unit import Key, NotYet, Unit
from crossdock_hub.verbs.orders import derive_progress
from crossdock_hub.verbs.registering import ALREADY_KNOWN, APPLIED, decides
from crossdock_hub.verbs.shipments import advance_request, progress_of

# The event that a parcel's arrival at a milestone is told by.
MILESTONE_EVENTS: dict[str, type[Any]] = {
    "CARRIER_ACCEPTED": tracking_events_pb2.CarrierAccepted,
    "IN_TRANSIT": tracking_events_pb2.InTransit,
    "OUT_FOR_DELIVERY": tracking_events_pb2.OutForDelivery,
    "EXCEPTION": tracking_events_pb2.DeliveryExceptionRaised,
    "DELIVERY_ATTEMPTED": tracking_events_pb2.DeliveryExceptionRaised,
    "DELIVERED": tracking_events_pb2.Delivered,
}


def dedupe_key(scan: Any) -> bytes:
    """Sixteen bytes over what makes a scan the same scan; text and channel do not count."""
    time = scan.event_time
    place = scan.place
    parts = (
        scan.carrier_code,
        scan.tracking_number,
        scan.status_type,
        scan.status_code,
        str(resources.instant_of(time) or time.local),
        place.city,
        place.postal_code,
        place.country_code,
        place.site_code,
    )
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()


@decides("tracking.v1.TrackingService/ReportTrackingEvents")
def report_tracking_events(
    unit: Unit, request: tracking_service_pb2.ReportTrackingEventsRequest
) -> tracking_service_pb2.ReportTrackingEventsResponse:
    """Up to 500 scans; those of unknown parcels are held one by one until their label arrives."""
    return tracking_service_pb2.ReportTrackingEventsResponse(
        receipts=_report(unit, request.tracking_events)
    )


@decides("tracking.v1.TrackingService/StreamTrackingEvents")
def stream_tracking_events(
    unit: Unit, request: tracking_service_pb2.StreamTrackingEventsRequest
) -> tracking_service_pb2.StreamTrackingEventsResponse:
    """One frame of a stream, the same as a batch."""
    return tracking_service_pb2.StreamTrackingEventsResponse(
        request_id=request.request_id, receipts=_report(unit, request.tracking_events)
    )


def _report(unit: Unit, scans: Any) -> list[types_pb2.FactReceipt]:
    resource = unit.contract.resources["tracking_event"]
    keys = [dedupe_key(scan) for scan in scans]
    wanted: list[Key] = [("scan", key) for key in keys]
    wanted += {("parcel", scan.carrier_code, scan.tracking_number) for scan in scans}
    unit.require(wanted)
    receipts: list[types_pb2.FactReceipt] = []
    stored: dict[int, list[Any]] = defaultdict(list)
    moved: dict[str, list[Any]] = defaultdict(list)
    for index, (scan, key) in enumerate(zip(scans, keys, strict=True)):
        check_owner(resource, populated_fields(scan), unit.caller, f"tracking_events[{index}]")
        if unit.get(("scan", key)):
            receipts.append(ALREADY_KNOWN)
            unit.count("duplicate", "scan")
            continue
        parcel: ParcelRecord | None = unit.get(("parcel", scan.carrier_code, scan.tracking_number))
        if parcel is None:
            if len(scans) == 1:
                raise _unknown_parcel(scan)
            receipts.append(_hold(unit, scan))
            continue
        message = _store(unit, scan, key, parcel)
        stored[parcel.partition].append(message)
        if _moves(unit, message, parcel):
            moved[parcel.shipment_id].append(message)
        receipts.append(APPLIED)
    for shipment_id, messages in moved.items():
        _move_shipment(unit, shipment_id, messages)
    for partition, messages in stored.items():
        _queue(unit, partition, messages)
    return receipts


def _unknown_parcel(scan: Any) -> NotYet:
    refusal = not_found("parcel", scan.tracking_number).refusal
    return NotYet(refusal, f"parcel:{scan.carrier_code}/{scan.tracking_number}")


def _hold(unit: Unit, scan: Any) -> types_pb2.FactReceipt:
    """Hold one scan of a batch as a batch of its own."""
    request = tracking_service_pb2.ReportTrackingEventsRequest(
        request_id=unit.new_id(), tracking_events=[scan]
    )
    return hold(
        unit,
        "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents",
        request,
        _unknown_parcel(scan),
    )


def _store(unit: Unit, scan: Any, key: bytes, parcel: ParcelRecord) -> tracking_pb2.TrackingEvent:
    message = tracking_pb2.TrackingEvent()
    message.CopyFrom(scan)
    message.id = unit.new_id()
    message.shipment_id = parcel.shipment_id
    message.package_id = parcel.package_id
    message.order_id = parcel.order_id
    message.reporter = unit.caller.endpoint
    resources.stamp(message.record_time, unit.now)
    unit.put(("scan", key), True)
    milestone = milestone_name(message.milestone)
    if milestone == "UNKNOWN":
        unit.count("unmapped", message.carrier_code)
    unit.changes.scans.append(
        ScanRecord(
            id=message.id,
            dedupe_key=key,
            carrier_code=parcel.carrier_code,
            tracking_number=parcel.tracking_number,
            shipment_id=parcel.shipment_id,
            milestone=milestone,
            event_time=resources.instant_of(message.event_time),
            record_time=unit.now,
            body=message.SerializeToString(),
        )
    )
    return message


def milestone_name(value: Any) -> str:
    """The name of a milestone without prefix; a value from the future counts as UNKNOWN."""
    try:
        return shipment_pb2.Milestone.Name(value).removeprefix("MILESTONE_")
    except ValueError:
        return "UNKNOWN"


def _moves(unit: Unit, scan: tracking_pb2.TrackingEvent, parcel: ParcelRecord) -> bool:
    now = lifecycle.ParcelProgress(parcel.milestone, parcel.milestone_time, parcel.exception_open)
    after, moved = lifecycle.advance_parcel(
        now, milestone_name(scan.milestone), resources.instant_of(scan.event_time)
    )
    if moved:
        changed = replace(
            parcel,
            milestone=after.milestone,
            milestone_time=after.time,
            exception_open=after.exception_open,
        )
        unit.put(("parcel", parcel.carrier_code, parcel.tracking_number), changed)
    return moved


def _move_shipment(unit: Unit, shipment_id: str, scans: list[tracking_pb2.TrackingEvent]) -> None:
    record = unit.object("shipment", shipment_id)
    if record is None:
        return

    def edit(shipment: shipment_pb2.Shipment) -> None:
        for scan in scans:
            parcel: ParcelRecord = unit.get(("parcel", scan.carrier_code, scan.tracking_number))
            row = progress_of(shipment, parcel.package_id)
            row.milestone = shipment_pb2.Milestone.Value(f"MILESTONE_{parcel.milestone}")
            row.exception_open = parcel.exception_open
            if parcel.milestone_time is not None:
                resources.stamp(row.milestone_time, parcel.milestone_time)
        state = _shipment_state(shipment, record.state)
        if state == "DELIVERED" and not shipment.HasField("delivered_time"):
            times = [
                row.milestone_time for row in shipment.progress if row.HasField("milestone_time")
            ]
            if times:
                shipment.delivered_time.CopyFrom(max(times, key=resources.microseconds))
        resources.set_state(shipment, state)

    after = resources.change(unit, record, edit)
    for scan in scans:
        kind = MILESTONE_EVENTS.get(milestone_name(scan.milestone))
        if kind is not None:
            event = kind(tracking_event=scan, shipment=after.message)
            emit(unit, event, after, event_time=resources.instant_of(scan.event_time))
    if after.state == "DELIVERED" and record.state != "DELIVERED":
        advance_request(unit, after, "DELIVERED")
    derive_progress(unit, after.root_id)


def _shipment_state(shipment: shipment_pb2.Shipment, current: str) -> str:
    milestones = [milestone_name(row.milestone) for row in shipment.progress]
    if current == "VOIDED":
        return current
    if milestones and all(m == "RETURNED" for m in milestones):
        return "RETURNED"
    if milestones and all(m == "DELIVERED" for m in milestones):
        return lifecycle.advance("shipment", current, "DELIVERED")
    if any(lifecycle.MILESTONE_RANK.get(m, 0) >= 2 for m in milestones):
        return lifecycle.advance("shipment", current, "IN_TRANSIT")
    return current


def _queue(unit: Unit, partition: int, messages: list[Any]) -> None:
    batch = tracking_pb2.TrackingEventBatch(tracking_events=messages)
    unit.changes.scan_outbox.append(
        ScanOutboxRecord(
            id=unit.new_id(),
            partition=partition,
            body=batch.SerializeToString(),
            count=len(messages),
            traceparent=unit.traceparent,
            record_time=unit.now,
        )
    )
