"""Delivery confirmations: proof of delivery, once per parcel."""

from __future__ import annotations

from crossdock.confirmation.v1 import (
    confirmation_events_pb2,
    confirmation_pb2,
    confirmation_service_pb2,
)

from crossdock_hub.delivery.emission import emit
from crossdock_hub.objects import resources
from crossdock_hub.records import ParcelRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.unit import NotYet, Unit
from crossdock_hub.verbs.registering import ALREADY_KNOWN, APPLIED, decides, expected
from crossdock_hub.verbs.retracing import goes_back


@decides("confirmation.v1.ConfirmationService/CreateDeliveryConfirmation")
def create_delivery_confirmation(
    unit: Unit, request: confirmation_service_pb2.CreateDeliveryConfirmationRequest
) -> confirmation_service_pb2.CreateDeliveryConfirmationResponse:
    """The carrier has proof; a second proof of the same parcel is known already.

    Of a parcel that goes back to its sender it is the proof of a return, which the scans tell: no
    confirmation is made of it.
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
        # That goods are back is the warehouse's to say; its scan tells who took the parcel.
        return confirmation_service_pb2.CreateDeliveryConfirmationResponse(receipt=ALREADY_KNOWN)
    shipment = resources.fetch_for_fact(unit, "shipment", parcel.shipment_id)
    for known in unit.children("delivery_confirmation", shipment.root_id):
        if getattr(known.message, "package_id", "") == parcel.package_id:
            return confirmation_service_pb2.CreateDeliveryConfirmationResponse(
                receipt=ALREADY_KNOWN, delivery_confirmation=known.message
            )
    if not by_scan and goes_back(unit, parcel, resources.instant_of(proof.delivered_time)):
        return confirmation_service_pb2.CreateDeliveryConfirmationResponse(receipt=ALREADY_KNOWN)

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
