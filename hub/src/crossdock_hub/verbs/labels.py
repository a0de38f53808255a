"""Labels: what the carrier sold and voided; a label makes its parcel known to tracking."""

from __future__ import annotations

from typing import Any

from crossdock.label.v1 import label_events_pb2, label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_hub.delivery.emission import emit
from crossdock_hub.objects import lifecycle, resources
from crossdock_hub.records import ObjectRecord, ParcelRecord
from crossdock_hub.refusals import not_found, taken
from crossdock_hub.unit import NotYet, Unit
from crossdock_hub.verbs import return_labels
from crossdock_hub.verbs.registering import ALREADY_KNOWN, APPLIED, decides
from crossdock_hub.verbs.shipments import progress_of


@decides("label.v1.LabelService/CreateLabel")
def create_label(
    unit: Unit, request: label_service_pb2.CreateLabelRequest
) -> label_service_pb2.CreateLabelResponse:
    """The carrier sold a label; the same tracking number again changes nothing. Of another package
    or of a return it is refused with REFERENCE_TAKEN."""
    label = request.label
    parcel_key = ("parcel", label.carrier_code, label.tracking_number)
    unit.require([parcel_key, ("object", "shipment", label.shipment_id)])
    shipment = resources.fetch_for_fact(unit, "shipment", label.shipment_id)
    unit.require([("flow", shipment.root_id), ("children", "label", shipment.root_id)])
    known: ParcelRecord | None = unit.get(parcel_key)
    if known is not None:
        if known.comes_back:
            number = label.tracking_number
            advice = "it is on the label of that return: have the carrier sell another number"
            kind = return_labels.KIND
            raise taken(kind, "label.tracking_number", number, known.shipment_id, advice)
        stored = unit.object("label", known.label_id)
        if known.package_id != label.package_id:
            raise taken("label", "label.tracking_number", label.tracking_number, known.label_id)
        return label_service_pb2.CreateLabelResponse(
            receipt=ALREADY_KNOWN, label=stored.message if stored else None
        )
    package = _package(shipment, label.package_id)

    def fill(message: label_pb2.Label) -> None:
        source: Any = shipment.message
        message.package_number = package.number
        message.order_id = source.order_id
        message.ship_from_location_number = source.ship_from_location_number
        message.business_unit = source.business_unit

    record = resources.create(unit, "label", label, prefix="label", fact=True, fill=fill)
    _register_parcel(unit, record, shipment)
    resources.change(unit, shipment, lambda m: _note_label(m, record.message))
    emit(
        unit,
        label_events_pb2.LabelCreated(label=record.message),
        record,
        event_time=resources.instant_of(label.purchase_time),
    )
    return label_service_pb2.CreateLabelResponse(receipt=APPLIED, label=record.message)


def _package(shipment: ObjectRecord, package_id: str) -> shipment_pb2.Package:
    message: Any = shipment.message
    for package in message.packages:
        if package.id == package_id:
            found: shipment_pb2.Package = package
            return found
    raise NotYet(not_found("package", package_id).refusal, f"package:{package_id}")


def _register_parcel(unit: Unit, record: ObjectRecord, shipment: ObjectRecord) -> None:
    label: Any = record.message
    parcel = ParcelRecord(
        carrier_code=label.carrier_code,
        tracking_number=label.tracking_number,
        label_id=record.id,
        shipment_id=shipment.id,
        package_id=label.package_id,
        order_id=label.order_id,
        partition=shipment.partition,
        milestone="LABEL_CREATED",
        milestone_time=None,
        exception_open=False,
        heard_at=unit.now,
    )
    unit.put(("parcel", label.carrier_code, label.tracking_number), parcel)
    unit.satisfy(f"parcel:{label.carrier_code}/{label.tracking_number}")


def _note_label(shipment: Any, label: Any) -> None:
    row = progress_of(shipment, label.package_id)
    name = shipment_pb2.Milestone.Name(row.milestone).removeprefix("MILESTONE_")
    if not lifecycle.is_with_carrier(name):
        # A parcel on its way travels under the label it has; another one is a spare.
        row.label_id = label.id
        row.tracking_number = label.tracking_number
        row.milestone = shipment_pb2.MILESTONE_LABEL_CREATED
    if not shipment.tracking_number:
        # The first parcel's number stands for the shipment until the carrier gives another.
        shipment.tracking_number = label.carrier_shipment_number or label.tracking_number


@decides("label.v1.LabelService/ReportLabelVoided")
def report_label_voided(
    unit: Unit, request: label_service_pb2.ReportLabelVoidedRequest
) -> label_service_pb2.ReportLabelVoidedResponse:
    """The carrier voided a label; voided twice changes nothing. The label of a return is in the
    return, and the answer shows none."""
    number = request.tracking_number
    parcel: ParcelRecord | None = unit.get(("parcel", request.carrier_code, number))
    if parcel is None:
        refusal = not_found("label", number).refusal
        raise NotYet(refusal, f"parcel:{request.carrier_code}/{number}")
    if parcel.comes_back:
        receipt = APPLIED if return_labels.void(unit, parcel) else ALREADY_KNOWN
        return label_service_pb2.ReportLabelVoidedResponse(receipt=receipt)
    record = resources.fetch_for_fact(unit, "label", parcel.label_id)
    if record.state == "VOIDED":
        return label_service_pb2.ReportLabelVoidedResponse(
            receipt=ALREADY_KNOWN, label=record.message
        )

    def edit(label: label_pb2.Label) -> None:
        resources.set_state(label, "VOIDED")
        label.void_time.CopyFrom(request.void_time)

    after = resources.change(unit, record, edit)
    return label_service_pb2.ReportLabelVoidedResponse(receipt=APPLIED, label=after.message)
