"""Delivery confirmations: proof of delivery, once per parcel."""

from __future__ import annotations

from crossdock.confirmation.v1 import (
    confirmation_events_pb2,
    confirmation_pb2,
    confirmation_service_pb2,
)
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2
from crossdock.types.v1 import types_pb2

from crossdock_hub.delivery.emission import emit
from crossdock_hub.objects import lifecycle, resources
from crossdock_hub.records import ParcelRecord, ScanRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.unit import NotYet, Unit
from crossdock_hub.verbs.registering import (
    ALREADY_KNOWN,
    APPLIED,
    DECISIONS,
    decides,
    expected,
)
from crossdock_hub.verbs.retracing import goes_back, scans_key

REPORT = "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents"
# Code of a scan that is made of a proof.
PROOF_CODE = "PROOF_OF_DELIVERY"
# As long as tracking.proto lets a description be.
DESCRIPTION_MAX = 300


@decides("confirmation.v1.ConfirmationService/CreateDeliveryConfirmation")
def create_delivery_confirmation(
    unit: Unit, request: confirmation_service_pb2.CreateDeliveryConfirmationRequest
) -> confirmation_service_pb2.CreateDeliveryConfirmationResponse:
    """The carrier has proof; a second proof of the same parcel is known already.

    Of a parcel that goes back to its sender it is the proof of a return, which the scans tell: no
    confirmation is made of it, and it is kept beside them. Of the parcel of a return it is kept as
    the scan that it is of.
    """
    return _confirm(unit, request.delivery_confirmation, by_scan=False)


def confirm_by_scan(
    unit: Unit, proof: confirmation_pb2.DeliveryConfirmation
) -> confirmation_service_pb2.CreateDeliveryConfirmationResponse:
    """The same of a scan of which it is known already, by when it came, that it is a delivery."""
    return _confirm(unit, proof, by_scan=True)


def _confirm(
    unit: Unit, proof: confirmation_pb2.DeliveryConfirmation, *, by_scan: bool
) -> confirmation_service_pb2.CreateDeliveryConfirmationResponse:
    parcel: ParcelRecord | None = unit.get(("parcel", proof.carrier_code, proof.tracking_number))
    if parcel is None:
        refusal = not_found("parcel", proof.tracking_number).refusal
        raise NotYet(refusal, f"parcel:{proof.carrier_code}/{proof.tracking_number}")
    if parcel.comes_back:
        # That goods are back is the warehouse's to say; a scan tells who took the parcel.
        receipt = ALREADY_KNOWN
        if not by_scan:
            receipt = _kept_as_scan(unit, parcel, proof, shipment_pb2.MILESTONE_DELIVERED)
        return confirmation_service_pb2.CreateDeliveryConfirmationResponse(receipt=receipt)
    shipment = resources.fetch_for_fact(unit, "shipment", parcel.shipment_id)
    for known in unit.children("delivery_confirmation", shipment.root_id):
        if getattr(known.message, "package_id", "") == parcel.package_id:
            return confirmation_service_pb2.CreateDeliveryConfirmationResponse(
                receipt=ALREADY_KNOWN, delivery_confirmation=known.message
            )
    if not by_scan and goes_back(unit, parcel, resources.instant_of(proof.delivered_time)):
        # It moves nothing: how far the parcel is on its way back is told by the carrier's scans.
        receipt = _kept_as_scan(unit, parcel, proof, shipment_pb2.MILESTONE_INFORMATION)
        return confirmation_service_pb2.CreateDeliveryConfirmationResponse(receipt=receipt)

    def fill(message: confirmation_pb2.DeliveryConfirmation) -> None:
        message.shipment_id = parcel.shipment_id
        message.package_id = parcel.package_id
        message.order_id = parcel.order_id
        message.business_unit = getattr(shipment.message, "business_unit", "")

    record = resources.create(
        unit,
        "delivery_confirmation",
        proof,
        prefix="delivery_confirmation",
        fact=True,
        fill=fill,
    )
    event = confirmation_events_pb2.DeliveryConfirmed(delivery_confirmation=record.message)
    emit(unit, event, record, event_time=resources.instant_of(proof.delivered_time))
    return confirmation_service_pb2.CreateDeliveryConfirmationResponse(
        receipt=APPLIED, delivery_confirmation=record.message
    )


def _kept_as_scan(
    unit: Unit,
    parcel: ParcelRecord,
    proof: confirmation_pb2.DeliveryConfirmation,
    milestone: shipment_pb2.Milestone.ValueType,
) -> types_pb2.FactReceipt:
    """Who signed for a parcel that comes or goes back, and when, kept as a scan of this milestone;
    known where a scan says it."""
    known: tuple[ScanRecord, ...] = unit.get(scans_key(parcel))
    if any(_says(record, parcel, proof) for record in known):
        return ALREADY_KNOWN
    event = tracking_pb2.TrackingEvent(
        carrier_code=parcel.carrier_code,
        tracking_number=parcel.tracking_number,
        milestone=milestone,
        status_code=PROOF_CODE,
        description=_words(proof),
        event_time=proof.delivered_time,
        place=proof.place if proof.HasField("place") else None,
        signed_by=proof.signed_by,
        return_leg=milestone != shipment_pb2.MILESTONE_DELIVERED,
    )
    request = tracking_service_pb2.ReportTrackingEventsRequest(tracking_events=[event])
    receipt: types_pb2.FactReceipt = DECISIONS[REPORT](unit, request).receipts[0]
    return receipt


def _says(
    record: ScanRecord, parcel: ParcelRecord, proof: confirmation_pb2.DeliveryConfirmation
) -> bool:
    """Whether a scan tells of the same signature, and all else that the proof says. A parcel of a
    sale may have been signed for by its customer before it went back, so that there the time
    counts, too; and of two proofs it always does."""
    scan = tracking_pb2.TrackingEvent.FromString(record.body)
    of_a_proof = scan.status_code == PROOF_CODE
    if record.milestone not in lifecycle.ENDED_MILESTONES and not of_a_proof:
        return False
    if scan.signed_by != proof.signed_by or _words(proof) not in ("", scan.description):
        return False
    if parcel.comes_back and not of_a_proof:
        return True
    elsewhere = of_a_proof and proof.HasField("place") and proof.place != scan.place
    return not elsewhere and _same_moment(scan.event_time, proof.delivered_time)


def _same_moment(left: types_pb2.SourceTime, right: types_pb2.SourceTime) -> bool:
    """Whether both say the same time: by their instants, and by the local time where one of them
    does not say in which zone that is."""
    instants = resources.instant_of(left), resources.instant_of(right)
    if None not in instants:
        return instants[0] == instants[1]
    return left.local == right.local and (bool(left.local) or instants == (None, None))


def _words(proof: confirmation_pb2.DeliveryConfirmation) -> str:
    """What a proof says of how the parcel was left, in the carrier's words."""
    return "; ".join(filter(None, (proof.left_at, proof.condition)))[:DESCRIPTION_MAX]


@decides("confirmation.v1.ConfirmationService/UpdateDeliveryConfirmation")
def update_delivery_confirmation(
    unit: Unit, request: confirmation_service_pb2.UpdateDeliveryConfirmationRequest
) -> confirmation_service_pb2.UpdateDeliveryConfirmationResponse:
    """Change masked fields; customer relations' word moves the state."""
    _, after, changed = resources.update(
        unit,
        "delivery_confirmation",
        request.delivery_confirmation,
        request.update_mask.paths,
        expected(request),
        prefix="delivery_confirmation",
    )
    if "acceptance" in changed and unit.caller.role == "CRM":
        proof = request.delivery_confirmation
        state = "ACCEPTED" if proof.acceptance.accepted else "DISPUTED"
        if not proof.HasField("acceptance"):
            state = "REPORTED"
        after = resources.change(unit, after, lambda m: resources.set_state(m, state))
    return confirmation_service_pb2.UpdateDeliveryConfirmationResponse(
        delivery_confirmation=after.message
    )
