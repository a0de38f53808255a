"""Fulfillment requests: what a warehouse reports about its part of an order."""

from __future__ import annotations

from typing import Any

from crossdock.fulfillment.v1 import (
    fulfillment_events_pb2,
    fulfillment_pb2,
    fulfillment_service_pb2,
)
from crossdock.shipment.v1 import shipment_pb2

from crossdock_hub.archive.records import number_key
from crossdock_hub.delivery.emission import emit
from crossdock_hub.identity import HUB
from crossdock_hub.objects import lifecycle, picks, resources
from crossdock_hub.objects.references import check_references
from crossdock_hub.records import ObjectRecord, PackageNumberRecord
from crossdock_hub.refusals import taken
from crossdock_hub.unit import Unit
from crossdock_hub.verbs.orders import derive_progress
from crossdock_hub.verbs.registering import ALREADY_KNOWN, APPLIED, decides, expected
from crossdock_hub.verbs.shipments import settle_request


@decides("fulfillment.v1.FulfillmentService/UpdateFulfillmentRequest")
def update_fulfillment_request(
    unit: Unit, request: fulfillment_service_pb2.UpdateFulfillmentRequestRequest
) -> fulfillment_service_pb2.UpdateFulfillmentRequestResponse:
    """Change masked fields."""
    _, after, _ = resources.update(
        unit,
        "fulfillment_request",
        request.fulfillment_request,
        request.update_mask.paths,
        expected(request),
        prefix="fulfillment_request",
    )
    return fulfillment_service_pb2.UpdateFulfillmentRequestResponse(
        fulfillment_request=after.message
    )


@decides("fulfillment.v1.FulfillmentService/ReportPick")
def report_pick(
    unit: Unit, request: fulfillment_service_pb2.ReportPickRequest
) -> fulfillment_service_pb2.ReportPickResponse:
    """The warehouse picked all of the request or some of it. A pick that comes after the pack is
    kept and moves nothing back."""
    record = resources.fetch_for_fact(unit, "fulfillment_request", request.fulfillment_request_id)
    resources.read_family(unit, record.root_id)
    known: Any = record.message
    found = picks.with_report(known, request)
    if picks.has_same_rows(found, known) and record.state != "REQUESTED":
        return fulfillment_service_pb2.ReportPickResponse(
            receipt=ALREADY_KNOWN, fulfillment_request=known
        )

    def edit(message: fulfillment_pb2.FulfillmentRequest) -> None:
        for name in ("picked", "short", "pick_time"):
            message.ClearField(name)
        message.MergeFrom(found)
        state = lifecycle.advance("fulfillment_request", record.state, "PICKED")
        resources.set_state(message, state)

    after = resources.change(unit, record, edit)
    if picks.quantities(found) != picks.quantities(known) or after.state != record.state:
        event = fulfillment_events_pb2.FulfillmentPickCompleted(fulfillment_request=after.message)
        emit(unit, event, after, event_time=resources.instant_of(request.pick_time))
        # What is short by now may have been all that its shipments waited for.
        settle_request(unit, after.id)
        derive_progress(unit, after.root_id)
    settled = unit.object("fulfillment_request", after.id) or after
    return fulfillment_service_pb2.ReportPickResponse(
        receipt=APPLIED, fulfillment_request=settled.message
    )


@decides("fulfillment.v1.FulfillmentService/ReportPacked")
def report_packed(
    unit: Unit, request: fulfillment_service_pb2.ReportPackedRequest
) -> fulfillment_service_pb2.ReportPackedResponse:
    """The warehouse packed: the shipment exists from now on, and every package needs a label."""
    record = resources.fetch_for_fact(unit, "fulfillment_request", request.fulfillment_request_id)
    site = getattr(record.message, "ship_from_location_number", "")
    resources.read_family(
        unit,
        record.root_id,
        ("number", "shipment", request.shipment_number),
        ("archived", number_key("shipment", request.shipment_number)),
        ("number", "location", site),
    )
    known = unit.by_number("shipment", request.shipment_number)
    if known is not None:
        # One shipment number is one pack; what differs is a change of the shipment, not a new one.
        if getattr(known.message, "fulfillment_request_id", "") != record.id:
            raise taken("shipment", "shipment_number", request.shipment_number, known.id)
        return fulfillment_service_pb2.ReportPackedResponse(
            receipt=ALREADY_KNOWN, shipment=known.message
        )
    shipment = _create_shipment(unit, record, request)

    def edit(message: fulfillment_pb2.FulfillmentRequest) -> None:
        message.shipment_id = shipment.id
        if request.HasField("pack_time"):
            message.pack_time.CopyFrom(request.pack_time)
        state = lifecycle.advance("fulfillment_request", record.state, "PACKED")
        resources.set_state(message, state)

    after = resources.change(unit, record, edit)
    event = fulfillment_events_pb2.FulfillmentPacked(
        fulfillment_request=after.message, shipment=shipment.message
    )
    emit(unit, event, after, event_time=resources.instant_of(request.pack_time))
    order = unit.object("order", after.root_id)
    if order is not None and lifecycle.reached("order", order.state, "PARTIALLY_SHIPPED"):
        # What is at a dock is not short: what others told of the line may mean less by now.
        derive_progress(unit, after.root_id)
    return fulfillment_service_pb2.ReportPackedResponse(receipt=APPLIED, shipment=shipment.message)


def _create_shipment(
    unit: Unit, record: ObjectRecord, request: fulfillment_service_pb2.ReportPackedRequest
) -> ObjectRecord:
    part: Any = record.message
    message = shipment_pb2.Shipment(
        number=request.shipment_number,
        order_id=part.order_id,
        order_number=part.order_number,
        fulfillment_request_id=record.id,
        business_unit=part.business_unit,
        ship_from_location_number=part.ship_from_location_number,
        carrier_code=part.carrier_code,
        service_code=part.service_code,
        ship_to=part.ship_to,
        packages=request.packages,
    )
    for package in message.packages:
        package.id = unit.new_id()
        message.progress.add(package_id=package.id)
    dock = unit.by_number("location", part.ship_from_location_number)
    address = getattr(dock.message, "address", None) if dock else None
    if isinstance(address, type(message.ship_from)):
        message.ship_from.CopyFrom(address)
    elif dock is not None and address is not None:
        message.ship_from.name = dock.number or ""
        message.ship_from.address.CopyFrom(address)
    check_references(unit, message, "shipment", fact=True)
    resources.check_valid(unit, unit.contract.resources["shipment"], message, "shipment")
    # Copied from the order by the hub; the packages are the warehouse's, checked by the method.
    work = unit.nested()
    work.caller = HUB
    shipment = resources.create(work, "shipment", message, prefix="shipment", fact=True)
    for package in message.packages:
        found_by = PackageNumberRecord(shipment.id, package.number)
        work.put(("package_number", shipment.id, package.number), found_by)
    unit.absorb(work)
    return shipment
