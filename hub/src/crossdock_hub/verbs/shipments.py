"""Shipments: changed, manifested and voided; how far their parcels have come."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2, shipment_service_pb2

from crossdock_hub.delivery.emission import emit
from crossdock_hub.objects import (
    confirmed_units,
    departures,
    lifecycle,
    line_units,
    parcel_news,
    resources,
    shortages,
    unit_rules,
)
from crossdock_hub.objects.received_units import awaited_conversion
from crossdock_hub.records import ObjectRecord, ParcelRecord
from crossdock_hub.refusals import stale, transition
from crossdock_hub.unit import Key, NotYet, Unit
from crossdock_hub.verbs.orders import derive_progress
from crossdock_hub.verbs.registering import ALREADY_KNOWN, APPLIED, decides, expected
from crossdock_hub.verbs.scan_meanings import milestone_name


@decides("shipment.v1.ShipmentService/UpdateShipment")
def update_shipment(
    unit: Unit, request: shipment_service_pb2.UpdateShipmentRequest
) -> shipment_service_pb2.UpdateShipmentResponse:
    """Change masked fields. Which packages there are is fixed: what is in them may be corrected."""
    patch = resources.clone(request.shipment)
    mask = request.update_mask.paths
    known = unit.object("shipment", patch.id)
    if known is not None and "packages" in mask:
        resources.read_family(unit, known.root_id)
        _keep_package_ids(known, patch)
    if known is not None and "manifest_time" in mask and not _is_manifested(known):
        raise transition(
            "shipment", known.state, "UpdateShipment of manifest_time", ("MANIFESTED",)
        )
    _, after, changed = resources.update(
        unit,
        "shipment",
        patch,
        mask,
        expected(request),
        prefix="shipment",
    )
    if "packages" in mask:
        _try_confirms(unit, after, known or after)
    if "packages" in changed:
        # What is in them may have been all that its request waited for.
        settle_request(unit, getattr(after.message, "fulfillment_request_id", ""))
        derive_progress(unit, after.root_id)
    return shipment_service_pb2.UpdateShipmentResponse(shipment=after.message)


def _try_confirms(unit: Unit, after: ObjectRecord, before: ObjectRecord) -> None:
    """Decide confirms again that contradicted the pack, or lacked a conversion to its units."""
    unit.satisfy(departures.awaited_correction(after.id))
    packed: list[Any] = [before.message, after.message]
    packages = [package for message in packed for package in message.packages]
    for item in sorted({row.item_number for package in packages for row in package.contents}):
        unit.satisfy(awaited_conversion(item))


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
    said = unit_rules.said_of(unit, confirmed_units.converted_items(message, request))
    request = confirmed_units.in_packed_units(message, request, said)
    try:
        leaving = departures.next_departure(message, request)
    except NotYet as why:
        if record.state == "VOIDED":
            # Neither a correction nor a conversion would write it.
            raise departures.voided(message) from None
        raise confirmed_units.held_for(message, request, said, why) from None
    if leaving is None:
        return _cancel_the_rest(unit, record, request)
    if record.state == "VOIDED":
        raise departures.voided(message)

    _tell_of_parcels(unit, record)

    def edit(shipment: shipment_pb2.Shipment) -> None:
        if not shipment.HasField("manifest_time"):
            shipment.manifest_time.CopyFrom(request.manifest_time)
        if request.bill_of_lading and not shipment.bill_of_lading:
            shipment.bill_of_lading = request.bill_of_lading
        shipment.departures.append(leaving)
        state = lifecycle.advance("shipment", record.state, "MANIFESTED")
        resources.set_state(shipment, state)
        _withdraw(shipment, _staying(unit, shipment))

    after = resources.change(unit, record, edit)
    number = len(message.departures) + 1
    event = shipment_events_pb2.ShipmentManifested(
        shipment=after.message, part="" if number == 1 else str(number)
    )
    emit(unit, event, after, event_time=resources.instant_of(request.manifest_time))
    _end(unit, after)
    return shipment_service_pb2.ManifestShipmentResponse(receipt=APPLIED, shipment=after.message)


def _tell_of_parcels(unit: Unit, record: ObjectRecord) -> None:
    """What was packed long ago is asked about from now: the carrier has it."""
    if not parcel_news.is_news(record.created_at, unit.now, unit.limits):
        return
    message: Any = record.message
    labels = [row.label_id for row in message.progress if row.label_id]
    unit.require(("object", "label", label_id) for label_id in labels)
    keys: list[Key] = []
    for label_id in labels:
        label = unit.object("label", label_id)
        if label is not None:
            sold: Any = label.message
            keys.append(("parcel", sold.carrier_code, sold.tracking_number))
    unit.require(keys)
    for key in keys:
        parcel: ParcelRecord | None = unit.get(key)
        if parcel is not None and parcel_news.is_news(parcel.heard_at, unit.now, unit.limits):
            unit.put(key, replace(parcel, heard_at=unit.now))


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

    def edit(shipment: shipment_pb2.Shipment) -> None:
        # Each confirm tells the whole: the last departure keeps the newest word of it.
        del shipment.departures[-1].cancelled[:]
        shipment.departures[-1].cancelled.extend(cancelled)
        _withdraw(shipment, _staying(unit, shipment))

    after = resources.change(unit, record, edit)
    _end(unit, after)
    return shipment_service_pb2.ManifestShipmentResponse(receipt=APPLIED, shipment=after.message)


def _withdraw(shipment: shipment_pb2.Shipment, stay: list[str]) -> None:
    """Mark what stays behind for good of a shipment that is being changed: the others may all have
    arrived by now."""
    departures.mark_withdrawn(shipment, stay)
    settle_state(shipment, resources.state_name(shipment))


def _staying(unit: Unit, shipment: Any) -> list[str]:
    """Packages of a shipment at the dock that will not leave, by its fulfillment request."""
    request = unit.object("fulfillment_request", shipment.fulfillment_request_id)
    if request is None:
        return []
    mates = [each.message for each in _of_request(unit, request) if each.id != shipment.id]
    return shortages.stay_for_good(shipment, _reckoned(request, [shipment, *mates]))


def _reckoned(request: ObjectRecord, shipments: list[Any]) -> shortages.Reckoning:
    message: Any = request.message
    return shortages.reckoned(message, shipments)


def _of_request(unit: Unit, request: ObjectRecord) -> list[ObjectRecord]:
    """The shipments of a fulfillment request."""
    found = []
    for record in unit.children("shipment", request.root_id):
        message: Any = record.message
        if message.fulfillment_request_id == request.id:
            found.append(record)
    return found


def _end(unit: Unit, confirmed: ObjectRecord) -> None:
    """What a confirm means for what is around its shipment."""
    source: Any = confirmed.message
    request = unit.object("fulfillment_request", source.fulfillment_request_id)
    if request is not None:
        _withdraw_elsewhere(unit, request, confirmed.id)
        settle_request(unit, request.id)
    derive_progress(unit, confirmed.root_id)


def _withdraw_elsewhere(unit: Unit, request: ObjectRecord, confirmed_id: str) -> None:
    """Other shipments of the request may have cartons at the dock of which nobody knew until this
    confirm that they stay there."""
    records = _of_request(unit, request)
    shipments: dict[str, Any] = {each.id: each.message for each in records}
    by_all = _reckoned(request, list(shipments.values()))
    for mate in records:
        message: Any = mate.message
        if mate.id == confirmed_id or mate.state == "VOIDED":
            continue
        stay = shortages.stay_for_good(message, by_all)
        if stay:
            after = resources.change(unit, mate, partial(_withdraw, stay=stay))
            # What stays behind there is missing to the others.
            shipments[mate.id] = after.message
            by_all = _reckoned(request, list(shipments.values()))


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
    message: Any = after.message
    event = shipment_events_pb2.ShipmentVoided(shipment=message)
    emit(unit, event, after, event_time=unit.now)
    # What is held of it waits for nothing that can still come: a person has to look.
    _try_confirms(unit, after, after)
    settle_request(unit, message.fulfillment_request_id)
    derive_progress(unit, after.root_id)
    return shipment_service_pb2.VoidShipmentResponse(shipment=message)


def settle_request(unit: Unit, request_id: str) -> None:
    """Move a fulfillment request as far as all of its shipments have come."""
    record = unit.object("fulfillment_request", request_id)
    if record is None:
        return
    request: Any = record.message
    shipments: list[Any] = [each.message for each in _of_request(unit, record)]
    said = unit_rules.said_of(unit, line_units.converted_items(request, shipments))
    units = line_units.line_units(request, shipments, said)
    state = shortages.state_of_request(request, shipments, units)
    reached = lifecycle.advance("fulfillment_request", record.state, state or record.state)
    if reached != record.state:
        resources.change(unit, record, lambda m: resources.set_state(m, reached))


def settling_keys(unit: Unit, shipment_id: str) -> set[Key]:
    """What `settle_request` reads beside the flow of a shipment that is read: nothing, unless lines
    are packed in several units. Whoever settles many asks for all of it at once."""
    shipment = unit.object("shipment", shipment_id)
    request_id = getattr(shipment and shipment.message, "fulfillment_request_id", "")
    request = unit.object("fulfillment_request", request_id) if request_id else None
    if request is None:
        return set()
    shipments = [each.message for each in _of_request(unit, request)]
    return unit_rules.keys_of(line_units.converted_items(request.message, shipments))


def progress_of(shipment: Any, package_id: str) -> shipment_pb2.PackageProgress:
    """The progress row of a package; a new one when it has none."""
    for row in shipment.progress:
        if row.package_id == package_id:
            found: shipment_pb2.PackageProgress = row
            return found
    added: shipment_pb2.PackageProgress = shipment.progress.add(package_id=package_id)
    return added


def settle_state(shipment: shipment_pb2.Shipment, current: str) -> None:
    """Give a shipment the state that its packages have brought it to, and the time of that."""
    state = _state_of(shipment, current)
    resources.set_state(shipment, state)
    if state in ("DELIVERED", "RETURNED"):
        _time_delivery(shipment)


def _state_of(shipment: shipment_pb2.Shipment, current: str) -> str:
    milestones = [milestone_name(row.milestone) for row in shipment.progress if not row.withdrawn]
    if current == "VOIDED" or not milestones:
        return current
    if all(m == "RETURNED" for m in milestones):
        return "RETURNED"
    if all(m in lifecycle.ENDED_MILESTONES for m in milestones):
        # Part of it came back; nothing of it will move any more.
        return lifecycle.advance("shipment", current, "DELIVERED")
    if any(lifecycle.is_with_carrier(m) for m in milestones):
        return lifecycle.advance("shipment", current, "IN_TRANSIT")
    return current


def _time_delivery(shipment: shipment_pb2.Shipment) -> None:
    """When the last package arrived of those that did not come back. Of a late scan it may be
    another, so that it is always worked out anew."""
    times = [row.milestone_time for row in shipment.progress if _is_timed_delivery(row)]
    shipment.ClearField("delivered_time")
    if times:
        shipment.delivered_time.CopyFrom(max(times, key=resources.microseconds))


def _is_timed_delivery(row: shipment_pb2.PackageProgress) -> bool:
    arrived = row.milestone == shipment_pb2.MILESTONE_DELIVERED and not row.withdrawn
    return arrived and row.HasField("milestone_time")
