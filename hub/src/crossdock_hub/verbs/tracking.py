"""Scans: stored once, put on the scan stream, and their parcels moved forward, never back."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_events_pb2, tracking_pb2, tracking_service_pb2
from crossdock.types.v1 import types_pb2

from crossdock_hub.delivery.emission import emit, is_acted_on
from crossdock_hub.encoded import listed
from crossdock_hub.objects import lifecycle, parcel_news, resources
from crossdock_hub.objects.held import hold
from crossdock_hub.objects.ownership import check_written
from crossdock_hub.records import ParcelRecord, ScanOutboxRecord, ScanRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.stepping import Steps, at_once
from crossdock_hub.unit import Key, NotYet, Unit
from crossdock_hub.verbs import return_labels, scan_meanings
from crossdock_hub.verbs.confirmations import PROOF_CODE
from crossdock_hub.verbs.orders import derive_progress
from crossdock_hub.verbs.registering import (
    ALREADY_KNOWN,
    APPLIED,
    Prepared,
    decides,
    prepares,
)
from crossdock_hub.verbs.retracing import (
    LAST,
    Stop,
    Trail,
    Way,
    note,
    parcel_progress,
    scans_key,
)
from crossdock_hub.verbs.scan_meanings import Reported, milestone_name, wanted
from crossdock_hub.verbs.shipments import (
    progress_of,
    settle_request,
    settle_state,
    settling_keys,
)

MINUTE_MICROSECONDS = 60_000_000
SCANS_A_STEP = 32  # others may have a turn in between
_SCANS_OF_BATCH = tracking_pb2.TrackingEventBatch.TRACKING_EVENTS_FIELD_NUMBER

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
    """Sixteen bytes over what makes a scan the same scan; text and channel do not count, but for
    the text of a proof of delivery.

    The first four are the minute it happened: scans arrive roughly in order, so that neighbours in
    time are neighbours in the index, and a batch writes few of its pages.
    """
    time = resources.instant_of(scan.event_time)
    return _key(scan, time, scan.carrier_code, scan.tracking_number)


def _key(scan: Any, time: int | None, carrier_code: str, tracking_number: str) -> bytes:
    place, status_code = scan.place, scan.status_code
    parts: tuple[str, ...] = (
        carrier_code,
        tracking_number,
        scan.status_type,
        status_code,
        str(time or scan.event_time.local),
        place.city,
        place.postal_code,
        place.country_code,
        place.site_code,
    )
    if status_code == PROOF_CODE:
        # A proof is what it says: who signed and how it was left are no words beside a code, and
        # its place is compared whole.
        parts += (scan.signed_by, scan.description, place.state)
    minute = max(0, time or 0) // MINUTE_MICROSECONDS & 0xFFFF_FFFF
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=12).digest()
    return minute.to_bytes(4, "big") + digest


@decides("tracking.v1.TrackingService/ReportTrackingEvents")
def report_tracking_events(
    unit: Unit, request: tracking_service_pb2.ReportTrackingEventsRequest
) -> tracking_service_pb2.ReportTrackingEventsResponse:
    """Up to 500 scans; those of unknown parcels, and those whose code has no row, are held one by
    one until label or row arrive."""
    reports = _read(request)
    return at_once(_report_batch(unit, request, reports, wanted(reports)))


@prepares("tracking.v1.TrackingService/ReportTrackingEvents")
def prepare_batch(request: tracking_service_pb2.ReportTrackingEventsRequest) -> Prepared:
    """What each scan says, worked out once."""
    reports = _read(request)
    return Prepared(lambda unit: _report_batch(unit, request, reports), wanted(reports))


def _report_batch(
    unit: Unit, request: Any, reports: list[Reported], unread: frozenset[Key] = frozenset()
) -> Steps[tracking_service_pb2.ReportTrackingEventsResponse]:
    receipts = yield from _report(unit, request.tracking_events, reports, unread)
    return tracking_service_pb2.ReportTrackingEventsResponse(receipts=receipts)


@decides("tracking.v1.TrackingService/StreamTrackingEvents")
def stream_tracking_events(
    unit: Unit, request: tracking_service_pb2.StreamTrackingEventsRequest
) -> tracking_service_pb2.StreamTrackingEventsResponse:
    """One frame of a stream, the same as a batch; a single scan that does not fit is held too."""
    reports = _read(request)
    return _report_frame(unit, request, reports, wanted(reports))


@prepares("tracking.v1.TrackingService/StreamTrackingEvents")
def prepare_frame(request: tracking_service_pb2.StreamTrackingEventsRequest) -> Prepared:
    """The same as of a batch."""
    reports = _read(request)
    return Prepared(lambda unit: _report_frame(unit, request, reports), wanted(reports))


def _report_frame(
    unit: Unit, request: Any, reports: list[Reported], unread: frozenset[Key] = frozenset()
) -> tracking_service_pb2.StreamTrackingEventsResponse:
    try:
        receipts = at_once(_report(unit, request.tracking_events, reports, unread))
    except NotYet as why:
        receipts = [_hold(unit, request.tracking_events[0], why)]
    return tracking_service_pb2.StreamTrackingEventsResponse(
        request_id=request.request_id, receipts=receipts
    )


@dataclass(slots=True)
class Step:
    """What a new scan makes of its parcel. moved: milestone or exception; further: milestone.

    reported: with what it means beside the parcel's other scans. way: of a parcel whose way was
    gone again, with one that was decided late, or that made of its delivery a return.
    """

    reported: Reported
    parcel: ParcelRecord
    after: lifecycle.ParcelProgress
    moved: bool
    further: bool
    way: Way | None = None


@dataclass(slots=True)
class Move:
    """A stored scan that moved its parcel."""

    scan: tracking_pb2.TrackingEvent
    step: Step


def _read(request: Any) -> list[Reported]:
    return [_reported(scan) for scan in request.tracking_events]


def _report(
    unit: Unit, scans: Any, reports: list[Reported], unread: frozenset[Key]
) -> Steps[list[types_pb2.FactReceipt]]:
    """unread: what is wanted of the scans; none where their batch has read it."""
    reports = scan_meanings.read_codes(unit, reports, unread)
    _check_reporter(unit, scans)
    steps, parcels = _foresee(unit, reports)
    yield
    for key, parcel in parcels.items():
        unit.put(key, parcel)
    receipts: list[types_pb2.FactReceipt] = []
    stored: dict[int, list[bytes]] = defaultdict(list)
    told: list[tuple[Reported, Any]] = []
    moved: dict[str, list[Move]] = defaultdict(list)
    for reported, step in zip(reports, steps, strict=True):
        if len(receipts) % SCANS_A_STEP == 0:
            yield
        if isinstance(step, str):
            receipts.append(ALREADY_KNOWN)
            unit.count("duplicate", "scan")
            continue
        if not isinstance(step, Step):
            if len(scans) == 1:
                raise step
            receipts.append(_hold(unit, reported.scan, step))
            continue
        parcel = step.parcel
        message, body = _store(unit, step.reported, parcel)
        stored[parcel.partition].append(body)
        # Not what the code says: on its way back it means that the sender has the parcel.
        if step.reported.milestone == "DELIVERED":
            told.append((step.reported, message))
        if step.moved:
            moved[parcel.shipment_id].append(Move(message, step))
        if step.reported.milestone in lifecycle.WAY_BACK and not parcel.comes_back:
            return_labels.move_on_the_way_back(unit, parcel)
        receipts.append(APPLIED)
    unit.require(_settling_keys(unit, moved))
    for shipment_id, moves in moved.items():
        parcels_of = [unit.get(move.step.reported.parcel_key) for move in moves]
        if parcels_of[0].comes_back:
            return_labels.move(unit, parcels_of)
        else:
            _move_shipment(unit, shipment_id, moves)
    for partition, bodies in stored.items():
        _queue(unit, partition, bodies)
    scan_meanings.prove(unit, told)
    return receipts


def _settling_keys(unit: Unit, moved: dict[str, list[Move]]) -> set[Key]:
    """What is read for all shipments that are moved, once for all of them."""
    keys: set[Key] = set()
    for shipment_id, moves in moved.items():
        if not unit.get(moves[0].step.reported.parcel_key).comes_back:
            keys |= settling_keys(unit, shipment_id)
    return keys


def _reported(scan: Any) -> Reported:
    time = resources.instant_of(scan.event_time)
    carrier_code, tracking_number = scan.carrier_code, scan.tracking_number
    key = _key(scan, time, carrier_code, tracking_number)
    is_coded = bool(scan.native_codes)
    return Reported(
        scan,
        key,
        ("scan", key),
        ("parcel", carrier_code, tracking_number),
        scan_meanings.meant(scan, is_coded),
        time,
        is_coded,
    )


def _check_reporter(unit: Unit, scans: Any) -> None:
    """Owner of every field, and the carrier in the caller's scope, before anything is kept."""
    resource = unit.contract.resources["tracking_event"]
    scoped = bool(unit.caller.scope.carrier_codes)
    for index, scan in enumerate(scans):
        check_written(resource, scan, unit.caller, "tracking_events", index)
        if scoped:
            resources.check_carrier(unit, scan.carrier_code)


def _foresee(
    unit: Unit, reports: list[Reported]
) -> tuple[list[Step | NotYet | str], dict[Key, ParcelRecord]]:
    """What each scan will do, "KNOWN", or why it waits, and the parcels that are not as before.

    Asks at once for all that will be moved.
    """
    progress: dict[Key, lifecycle.ParcelProgress] = {}
    mates: dict[Key, list[Reported]] = defaultdict(list)
    trails: dict[Key, Trail] = {}
    seen: set[bytes] = set()
    needed: set[Key] = set()
    steps: list[Step | NotYet | str] = []
    for reported in reports:
        parcel: ParcelRecord | None = unit.get(reported.parcel_key)
        if parcel is not None:
            unit.changes.told_of[parcel.order_id] = None
        if reported.key in seen or unit.get(reported.scan_key):
            steps.append("KNOWN")
            continue
        unmapped = scan_meanings.why_unmapped(unit, reported)
        if unmapped is not None:
            steps.append(unmapped)
            needed.add(("held_payload", unmapped.identity))
            continue
        if parcel is None:
            steps.append(_unknown_parcel(reported.scan))
            continue
        seen.add(reported.key)
        before = progress.get(reported.parcel_key) or parcel_progress(parcel)
        looks_back = _looks_back(unit, reported, before)
        if looks_back or reported.milestone in lifecycle.WAY_BACK:
            needed |= return_labels.way_back_keys(unit, parcel)
        if looks_back:
            needed.add(scans_key(parcel))
            # What is not read yet is asked for with the rest, and all of it decided again.
            if reported.parcel_key not in trails and unit.knows(scans_key(parcel)):
                stops = [_stop(unit, mate) for mate in mates[reported.parcel_key]]
                trails[reported.parcel_key] = Trail(unit, parcel, stops)
        step = _step(unit, reported, parcel, before, trails.get(reported.parcel_key))
        mates[reported.parcel_key].append(reported)
        progress[reported.parcel_key] = step.after
        steps.append(step)
        if step.moved:
            needed |= _moved_keys(unit, step.reported, parcel)
    unit.require(needed)
    _mean_together(steps, trails)
    return steps, _changed(unit, progress)


def _mean_together(steps: list[Step | NotYet | str], trails: dict[Key, Trail]) -> None:
    """Let each scan mean what it does by the whole report: one that is told behind a delivery may
    say that the parcel was on its way back."""
    meanings = {key: iter(trail.meanings()) for key, trail in trails.items()}
    for step in steps:
        if isinstance(step, Step) and step.reported.parcel_key in meanings:
            meaning = next(meanings[step.reported.parcel_key])
            step.reported = replace(step.reported, milestone=meaning)


def _changed(unit: Unit, progress: dict[Key, lifecycle.ParcelProgress]) -> dict[Key, ParcelRecord]:
    changed = {}
    for key, after in progress.items():
        parcel: ParcelRecord = unit.get(key)
        heard_at = parcel_news.heard_at(parcel, unit.now, unit.limits)
        if heard_at != parcel.heard_at or after != parcel_progress(parcel):
            changed[key] = replace(
                parcel,
                heard_at=heard_at,
                milestone=after.milestone,
                milestone_time=after.time,
                exception_open=after.exception_open,
            )
    return changed


def _moved_keys(unit: Unit, reported: Reported, parcel: ParcelRecord) -> set[Key]:
    if parcel.comes_back:
        return return_labels.moved_keys(parcel)
    order = parcel.order_id
    keys: set[Key] = {("object", "shipment", parcel.shipment_id), ("object", "order", order)}
    keys |= {("children", "fulfillment_request", order), ("children", "shipment", order)}
    kind = MILESTONE_EVENTS.get(reported.milestone)
    if kind is not None and is_acted_on(unit, kind.DESCRIPTOR.full_name):
        keys.add(("flow", order))
    return keys


def _looks_back(unit: Unit, reported: Reported, before: lifecycle.ParcelProgress) -> bool:
    """Whether the parcel's other scans decide with it: it is late, or may be of the way back."""
    late = bool(_arrival(unit, reported))
    return late or lifecycle.may_turn(before.milestone, reported.milestone)


def _step(
    unit: Unit,
    reported: Reported,
    parcel: ParcelRecord,
    before: lifecycle.ParcelProgress,
    trail: Trail | None,
) -> Step:
    """before: what earlier scans of the same report made of the parcel; they are on the trail."""
    way = None
    if trail is not None:
        found = trail.add(before, _stop(unit, reported))
        if _looks_back(unit, reported, before):
            reported, way = replace(reported, milestone=found.meaning), found.way
    if way is None:
        after, moved = lifecycle.advance_parcel(before, reported.milestone, reported.time)
        return Step(reported, parcel, after, moved, _further(after, before))
    further = _further(way.progress, before)
    return Step(reported, parcel, way.progress, found.changed, further, way)


def _stop(unit: Unit, reported: Reported) -> Stop:
    return Stop(_arrival(unit, reported) or LAST, reported.milestone, reported.time)


def _arrival(unit: Unit, reported: Reported) -> str:
    """When a scan came that waited for its code, as an id; "" for others."""
    return unit.arrived_as if reported.is_coded else ""


def _further(after: lifecycle.ParcelProgress, before: lifecycle.ParcelProgress) -> bool:
    return after.milestone != before.milestone


def _unknown_parcel(scan: Any) -> NotYet:
    refusal = not_found("parcel", scan.tracking_number).refusal
    return NotYet(refusal, f"parcel:{scan.carrier_code}/{scan.tracking_number}")


def _hold(unit: Unit, scan: Any, why: NotYet) -> types_pb2.FactReceipt:
    """Hold one scan of a batch as a batch of its own."""
    request = tracking_service_pb2.ReportTrackingEventsRequest(
        request_id=unit.new_id(), tracking_events=[scan]
    )
    return hold(
        unit,
        "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents",
        request,
        why,
    )


def _store(
    unit: Unit, reported: Reported, parcel: ParcelRecord
) -> tuple[tracking_pb2.TrackingEvent, bytes]:
    """Keep a scan. Returns it with what the hub knows of it, also encoded."""
    message = tracking_pb2.TrackingEvent()
    message.CopyFrom(reported.scan)
    scan_meanings.fill(message, reported)
    # One that waited keeps its place among the parcel's scans.
    message.id = _arrival(unit, reported) or unit.new_id()
    message.shipment_id = "" if parcel.comes_back else parcel.shipment_id
    message.package_id = parcel.package_id
    message.order_id = parcel.order_id
    message.reporter = unit.caller.endpoint
    resources.stamp(message.record_time, unit.now)
    unit.put(reported.scan_key, True)
    milestone = milestone_name(message.milestone)
    if milestone == "UNKNOWN":
        unit.count("unmapped", message.carrier_code)
    body = message.SerializeToString()
    record = ScanRecord(
        id=message.id,
        dedupe_key=reported.key,
        carrier_code=parcel.carrier_code,
        tracking_number=parcel.tracking_number,
        shipment_id=parcel.shipment_id,
        milestone=milestone,
        event_time=reported.time,
        record_time=unit.now,
        body=body,
    )
    unit.changes.scans.append(record)
    note(unit, parcel, record)
    return message, body


def _move_shipment(unit: Unit, shipment_id: str, moves: list[Move]) -> None:
    record = unit.object("shipment", shipment_id)
    if record is None:
        return

    def edit(shipment: shipment_pb2.Shipment) -> None:
        for move in moves:
            _move_package(shipment, unit.get(move.step.reported.parcel_key), move)
        settle_state(shipment, record.state)

    after = resources.change(unit, record, edit)
    for move in moves:
        milestone = move.step.reported.milestone
        kind = MILESTONE_EVENTS.get(milestone)
        if kind is not None and (move.step.further or _opens(move)):
            event = kind(tracking_event=move.scan, shipment=after.message)
            emit(unit, event, after, event_time=move.step.reported.time)
    if after.state != record.state:
        settle_request(unit, getattr(after.message, "fulfillment_request_id", ""))
    derive_progress(unit, after.root_id)


def _opens(move: Move) -> bool:
    """Whether a scan tells of a problem that its parcel did not have."""
    step = move.step
    opens = step.after.exception_open and not step.parcel.exception_open
    return move.step.reported.milestone == "EXCEPTION" and (opens or step.way is None)


def _move_package(shipment: shipment_pb2.Shipment, parcel: ParcelRecord, move: Move) -> None:
    """Show on the shipment how far a package has come. A replaced label takes nothing back."""
    row = progress_of(shipment, parcel.package_id)
    shown = lifecycle.MILESTONE_RANK.get(milestone_name(row.milestone), 0)
    other = row.tracking_number not in ("", parcel.tracking_number)
    if other and lifecycle.MILESTONE_RANK.get(parcel.milestone, 0) <= shown:
        return
    row.milestone = shipment_pb2.Milestone.Value(f"MILESTONE_{parcel.milestone}")
    row.exception_open = parcel.exception_open
    way = move.step.way
    if way is None and not (move.step.further and move.step.reported.milestone == parcel.milestone):
        return
    reached = move.step.reported.time if way is None else way.reached
    row.ClearField("milestone_time")
    if reached is not None:
        resources.stamp(row.milestone_time, reached)


def _queue(unit: Unit, partition: int, bodies: list[bytes]) -> None:
    unit.changes.scan_outbox.append(
        ScanOutboxRecord(
            id=unit.new_id(),
            partition=partition,
            body=listed(_SCANS_OF_BATCH, bodies),
            count=len(bodies),
            traceparent=unit.traceparent,
            record_time=unit.now,
        )
    )
