"""Shipments: changed, manifested and voided; how far their parcels have come."""

from __future__ import annotations

from typing import Any

from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2, shipment_service_pb2

from crossdock_hub.delivery.emission import emit
from crossdock_hub.objects import departures, lifecycle, resources
from crossdock_hub.records import ObjectRecord
from crossdock_hub.refusals import stale, transition
from crossdock_hub.unit import Unit
from crossdock_hub.verbs.orders import derive_progress
from crossdock_hub.verbs.registering import ALREADY_KNOWN, APPLIED, decides, expected


@decides("shipment.v1.ShipmentService/UpdateShipment")
def update_shipment(
    unit: Unit, request: shipment_service_pb2.UpdateShipmentRequest
) -> shipment_service_pb2.UpdateShipmentResponse:
    """Change masked fields. Which packages there are is fixed: what is in them may be corrected."""
    patch = resources.clone(request.shipment)
    mask = request.update_mask.paths
    known = unit.object("shipment", patch.id)
    if known is not None and "packages" in mask:
        _keep_package_ids(known, patch)
    if known is not None and "manifest_time" in mask and not _is_manifested(known):
        raise transition(
            "shipment", known.state, "UpdateShipment of manifest_time", ("MANIFESTED",)
        )
    _, after, _ = resources.update(
        unit,
        "shipment",
        patch,
        mask,
        expected(request),
        prefix="shipment",
    )
    if "packages" in mask:
        unit.satisfy(departures.awaited_correction(after.id))
    return shipment_service_pb2.UpdateShipmentResponse(shipment=after.message)


def _keep_package_ids(known: ObjectRecord, patch: shipment_pb2.Shipment) -> None:
    """Packages are known by the warehouse's number; their ids are the hub's."""
    message: Any = known.message
    ids = {package.number: package.id for package in message.packages}
    if {package.number for package in patch.packages} != set(ids):
        raise transition(
            "shipment",
            known.state,
            "UpdateShipment of other packages",
            ("VOIDED, then pack again",),
        )
    for package in patch.packages:
        package.id = ids[package.number]


def _is_manifested(record: ObjectRecord) -> bool:
    return bool(record.message.HasField("manifest_time"))


@decides("shipment.v1.ShipmentService/ManifestShipment")
def manifest_shipment(
    unit: Unit, request: shipment_service_pb2.ManifestShipmentRequest
) -> shipment_service_pb2.ManifestShipmentResponse:
    """Goods have left, all that was packed or some of it. What was told already changes nothing."""
    record = resources.fetch_for_fact(
        unit, "shipment", request.shipment_id, number=request.shipment_number
    )
    resources.read_family(unit, record.root_id)
    message: Any = record.message
    leaving = departures.next_departure(message, request)
    if leaving is None:
        return _cancel_the_rest(unit, record, request)
    if record.state == "VOIDED":
        raise departures.voided(message)
    complete = False

    def edit(shipment: shipment_pb2.Shipment) -> None:
        nonlocal complete
        if not shipment.HasField("manifest_time"):
            shipment.manifest_time.CopyFrom(request.manifest_time)
        if request.bill_of_lading and not shipment.bill_of_lading:
            shipment.bill_of_lading = request.bill_of_lading
        shipment.departures.append(leaving)
        behind = unit.object("fulfillment_request", shipment.fulfillment_request_id)
        complete = departures.nothing_more_to_come(shipment, behind and behind.message)
        departures.mark_withdrawn(shipment, complete)
        state = lifecycle.advance("shipment", record.state, "MANIFESTED")
        resources.set_state(shipment, state)

    after = resources.change(unit, record, edit)
    number = len(message.departures) + 1
    event = shipment_events_pb2.ShipmentManifested(
        shipment=after.message, part="" if number == 1 else str(number)
    )
    emit(unit, event, after, event_time=resources.instant_of(request.manifest_time))
    if complete:
        advance_request(unit, after, "SHIPPED")
    derive_progress(unit, after.root_id)
    return shipment_service_pb2.ManifestShipmentResponse(receipt=APPLIED, shipment=after.message)


def _cancel_the_rest(
    unit: Unit, record: ObjectRecord, request: shipment_service_pb2.ManifestShipmentRequest
) -> shipment_service_pb2.ManifestShipmentResponse:
    """A confirm with which nothing more left: what it cancels stays behind, and nobody posts it."""
    message: Any = record.message
    cancelled = None
    if record.state != "VOIDED":
        cancelled = departures.cancelled_since(message, request)
    if cancelled is None:
        return shipment_service_pb2.ManifestShipmentResponse(
            receipt=ALREADY_KNOWN, shipment=message
        )
    complete = False

    def edit(shipment: shipment_pb2.Shipment) -> None:
        nonlocal complete
        # Each confirm tells the whole: the last departure keeps the newest word of it.
        del shipment.departures[-1].cancelled[:]
        shipment.departures[-1].cancelled.extend(cancelled)
        behind = unit.object("fulfillment_request", shipment.fulfillment_request_id)
        complete = departures.nothing_more_to_come(shipment, behind and behind.message)
        departures.mark_withdrawn(shipment, complete)

    after = resources.change(unit, record, edit)
    if complete:
        advance_request(unit, after, "SHIPPED")
    derive_progress(unit, after.root_id)
    return shipment_service_pb2.ManifestShipmentResponse(receipt=APPLIED, shipment=after.message)


@decides("shipment.v1.ShipmentService/VoidShipment")
def void_shipment(
    unit: Unit, request: shipment_service_pb2.VoidShipmentRequest
) -> shipment_service_pb2.VoidShipmentResponse:
    """Undo a shipment that the carrier does not have yet."""
    record = resources.fetch(unit, "shipment", request.shipment_id)
    resources.read_family(unit, record.root_id)
    wanted = expected(request)
    if wanted is not None and wanted != record.revision:
        raise stale("shipment", wanted, record.revision)
    state = lifecycle.check_verb(lifecycle.SHIPMENT, "shipment", record.state, "VoidShipment")

    def edit(shipment: shipment_pb2.Shipment) -> None:
        resources.set_state(shipment, state)
        shipment.void_reason = request.reason
        resources.stamp(shipment.void_time, unit.now)

    after = resources.change(unit, record, edit)
    event = shipment_events_pb2.ShipmentVoided(shipment=after.message)
    emit(unit, event, after, event_time=unit.now)
    derive_progress(unit, after.root_id)
    return shipment_service_pb2.VoidShipmentResponse(shipment=after.message)


def advance_request(unit: Unit, shipment: ObjectRecord, state: str) -> None:
    """Move the fulfillment request behind a shipment forward."""
    message: Any = shipment.message
    record = unit.object("fulfillment_request", message.fulfillment_request_id)
    if record is None:
        return
    reached = lifecycle.advance("fulfillment_request", record.state, state)
    if reached != record.state:
        resources.change(unit, record, lambda m: resources.set_state(m, reached))


def progress_of(shipment: Any, package_id: str) -> shipment_pb2.PackageProgress:
    """The progress row of a package; a new one when it has none."""
    for row in shipment.progress:
        if row.package_id == package_id:
            found: shipment_pb2.PackageProgress = row
            return found
    added: shipment_pb2.PackageProgress = shipment.progress.add(package_id=package_id)
    return added
