"""Freight charges: estimated and audited by transport management, invoiced by the carrier.

An invoice finds its charge by the shipment of the number that it names, and is known by carrier and
number from then on. What bills otherwise under a known number is held: it corrects the first one
once that is disputed, and replaces nothing before.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal, localcontext
from typing import Any

from crossdock.errors import Violation
from crossdock.freight.v1 import freight_events_pb2, freight_pb2, freight_service_pb2
from crossdock.quantities import plain
from crossdock.types.v1 import types_pb2

from crossdock_hub.delivery.emission import emit
from crossdock_hub.objects import lifecycle, resources
from crossdock_hub.objects.references import carrier_system
from crossdock_hub.records import ObjectRecord, ParcelRecord, ReferenceRecord
from crossdock_hub.refusals import invalid, not_found, stale, taken, transition
from crossdock_hub.unit import Key, NotYet, Unit
from crossdock_hub.verbs.registering import ALREADY_KNOWN, APPLIED, decides, expected

KIND = "freight_charge"
INVOICE_TYPE = "freight_invoice"
# More than a sum of as many amounts as there may be can have: it is never rounded.
SUM_DIGITS = 40
# States in which an invoice under a known number corrects nothing any more.
ENDED_STATES = ("FINALISED", "CANCELLED")


@decides("freight.v1.FreightService/RecordFreightEstimate")
def record_freight_estimate(
    unit: Unit, request: freight_service_pb2.RecordFreightEstimateRequest
) -> freight_service_pb2.RecordFreightEstimateResponse:
    """What a shipment should cost. One that comes after the invoice is kept and moves nothing; one
    that comes after the end is of another charge."""
    estimate, carrier, number = request.estimate, request.carrier_code, request.tracking_number
    resources.check_carrier(unit, carrier)
    _check_sum(estimate, "estimate")
    shipment = _shipment_of(unit, request)
    unit.require([("flow", shipment.root_id), ("children", KIND, shipment.root_id)])
    charges = _charges_of(unit, shipment, carrier, number)
    known = _estimated(charges, number)
    if known is None:
        # What is left has ended. What it says already is not expected a second time.
        known = next((each for each in charges if _is_said(each.message, estimate)), None)
    if known is None:
        record = resources.create(
            unit,
            KIND,
            freight_pb2.FreightCharge(estimate=estimate),
            prefix=KIND,
            fact=True,
            fill=lambda charge: _fill(charge, shipment, carrier, number),
        )
        return freight_service_pb2.RecordFreightEstimateResponse(
            receipt=APPLIED, freight_charge=record.message
        )
    resources.check_scope(unit, known.message)
    if _is_said(known.message, estimate):
        return freight_service_pb2.RecordFreightEstimateResponse(
            receipt=ALREADY_KNOWN, freight_charge=known.message
        )

    def edit(charge: freight_pb2.FreightCharge) -> None:
        charge.estimate.CopyFrom(estimate)
        charge.tracking_number = charge.tracking_number or number

    after = resources.change(unit, known, edit)
    return freight_service_pb2.RecordFreightEstimateResponse(
        receipt=APPLIED, freight_charge=after.message
    )


@decides("freight.v1.FreightService/RecordFreightInvoice")
def record_freight_invoice(
    unit: Unit, request: freight_service_pb2.RecordFreightInvoiceRequest
) -> freight_service_pb2.RecordFreightInvoiceResponse:
    """The carrier billed a shipment: the charge that expects it, or a new one, is INVOICED."""
    invoice = request.invoice
    resources.check_carrier(unit, request.carrier_code)
    _check_sum(invoice, "invoice")
    _check_day(invoice.invoice_date)
    key = _invoice_key(request.carrier_code, invoice.number)
    unit.require([("reference", *key), _parcel_key(request.carrier_code, request.tracking_number)])
    known: ReferenceRecord | None = unit.get(("reference", *key))
    if known is not None:
        return _invoiced_again(unit, known, request)
    parcel = _parcel(unit, request.carrier_code, request.tracking_number)
    shipment = resources.fetch_for_fact(unit, "shipment", parcel.shipment_id)
    unit.require([("flow", shipment.root_id), ("children", KIND, shipment.root_id)])
    charges = _charges_of(unit, shipment, request.carrier_code, request.tracking_number)
    waiting = next((each for each in charges if each.state == "ESTIMATED"), None)
    if waiting is not None:
        resources.check_scope(unit, waiting.message)
        waiting = resources.with_references(unit, waiting, [key])
        record = _invoiced(unit, waiting, request)
    else:
        # Nobody expected it, or what was expected is billed already: a balance, for example.
        system, type_, value = key
        record = resources.create(
            unit,
            KIND,
            freight_pb2.FreightCharge(invoice=invoice),
            prefix=KIND,
            references=[types_pb2.ExternalReference(system=system, type=type_, value=value)],
            fact=True,
            fill=lambda c: _fill(c, shipment, request.carrier_code, request.tracking_number),
            state="INVOICED",
        )
    return _told(unit, record)


@decides("freight.v1.FreightService/UpdateFreightCharge")
def update_freight_charge(
    unit: Unit, request: freight_service_pb2.UpdateFreightChargeRequest
) -> freight_service_pb2.UpdateFreightChargeResponse:
    """Change masked fields; transport management's while they decide nothing yet."""
    before, after, changed = resources.update(
        unit,
        KIND,
        request.freight_charge,
        request.update_mask.paths,
        expected(request),
        prefix=KIND,
    )
    message: Any = after.message
    for name in changed:
        allowed = lifecycle.FREIGHT_CHARGE_CONTENT_STATES.get(name)
        if allowed is not None and before.state not in allowed:
            raise transition(KIND, before.state, f"UpdateFreightCharge of {name}", allowed)
    if "estimate" in changed and message.HasField("estimate"):
        _check_sum(message.estimate, f"{KIND}.estimate")
    if "audit" in changed and message.HasField("audit"):
        _check_audit(message, message.audit, f"{KIND}.audit")
    if "dispute" in changed and message.HasField("dispute"):
        _check_dispute(message, message.dispute, f"{KIND}.dispute")
    return freight_service_pb2.UpdateFreightChargeResponse(freight_charge=message)


@decides("freight.v1.FreightService/ApproveFreightCharge")
def approve_freight_charge(
    unit: Unit, request: freight_service_pb2.ApproveFreightChargeRequest
) -> freight_service_pb2.ApproveFreightChargeResponse:
    """This much is to be paid: what the request says, or an update has said, or the invoice."""
    record, state = _ready(unit, request, "ApproveFreightCharge")
    message: Any = record.message
    audit = freight_pb2.FreightAudit(amount=message.invoice.amount, lines=message.invoice.lines)
    if request.HasField("audit"):
        audit = request.audit
    elif message.HasField("audit"):
        audit = message.audit
    _check_audit(message, audit, "audit")

    def edit(charge: freight_pb2.FreightCharge) -> None:
        resources.set_state(charge, state)
        charge.audit.CopyFrom(audit)

    after = resources.change(unit, record, edit)
    return freight_service_pb2.ApproveFreightChargeResponse(freight_charge=after.message)


@decides("freight.v1.FreightService/DisputeFreightCharge")
def dispute_freight_charge(
    unit: Unit, request: freight_service_pb2.DisputeFreightChargeRequest
) -> freight_service_pb2.DisputeFreightChargeResponse:
    """The audit objects; a correction that is held for that corrects the invoice now."""
    record, state = _ready(unit, request, "DisputeFreightCharge")
    _check_dispute(record.message, request.dispute, "dispute")

    def edit(charge: freight_pb2.FreightCharge) -> None:
        resources.set_state(charge, state)
        charge.dispute.CopyFrom(request.dispute)
        # What was agreed to is objected to: it is agreed to anew.
        charge.ClearField("audit")

    after = resources.change(unit, record, edit)
    unit.satisfy(_awaited_dispute(record.id))
    return freight_service_pb2.DisputeFreightChargeResponse(freight_charge=after.message)


@decides("freight.v1.FreightService/FinaliseFreightCharge")
def finalise_freight_charge(
    unit: Unit, request: freight_service_pb2.FinaliseFreightChargeRequest
) -> freight_service_pb2.FinaliseFreightChargeResponse:
    """APPROVED to FINALISED; the ERP books it."""
    record, state = _ready(unit, request, "FinaliseFreightCharge")
    unit.require([("flow", record.root_id)])
    after = resources.change(unit, record, lambda m: resources.set_state(m, state))
    event = freight_events_pb2.FreightChargeFinalised(freight_charge=after.message)
    emit(unit, event, after, event_time=unit.now)
    return freight_service_pb2.FinaliseFreightChargeResponse(freight_charge=after.message)


@decides("freight.v1.FreightService/CancelFreightCharge")
def cancel_freight_charge(
    unit: Unit, request: freight_service_pb2.CancelFreightChargeRequest
) -> freight_service_pb2.CancelFreightChargeResponse:
    """Nobody is paid for it."""
    record, state = _ready(unit, request, "CancelFreightCharge")

    def edit(charge: freight_pb2.FreightCharge) -> None:
        resources.set_state(charge, state)
        charge.cancel_reason = request.reason

    after = resources.change(unit, record, edit)
    return freight_service_pb2.CancelFreightChargeResponse(freight_charge=after.message)


def _ready(unit: Unit, request: Any, verb: str) -> tuple[ObjectRecord, str]:
    """The charge that a verb is about, and the state that it leads to."""
    record = resources.fetch(unit, KIND, request.freight_charge_id)
    wanted = expected(request)
    if wanted is not None and wanted != record.revision:
        raise stale(KIND, wanted, record.revision)
    return record, lifecycle.check_verb(lifecycle.FREIGHT_CHARGE, KIND, record.state, verb)


def _shipment_of(
    unit: Unit, request: freight_service_pb2.RecordFreightEstimateRequest
) -> ObjectRecord:
    shipment_id = request.shipment_id
    if request.tracking_number:
        shipment_id = _parcel(unit, request.carrier_code, request.tracking_number).shipment_id
    return resources.fetch_for_fact(unit, "shipment", shipment_id, number=request.shipment_number)


def _parcel_key(carrier: str, number: str) -> Key:
    return ("parcel", carrier, number)


def _parcel(unit: Unit, carrier: str, number: str) -> ParcelRecord:
    parcel: ParcelRecord | None = unit.get(_parcel_key(carrier, number))
    if parcel is None:
        raise NotYet(not_found("parcel", number).refusal, f"parcel:{carrier}/{number}")
    return parcel


def _charges_of(
    unit: Unit, shipment: ObjectRecord, carrier: str, number: str
) -> list[ObjectRecord]:
    """The charges of a carrier for a shipment that an estimate or invoice may be about.

    number: under which it travelled; "" when it is not said. Oldest first; none that was cancelled.
    """
    found: list[ObjectRecord] = []
    for record in unit.children(KIND, shipment.root_id):
        charge: Any = record.message
        if (charge.shipment_id, charge.carrier_code) != (shipment.id, carrier):
            continue
        if record.state != "CANCELLED" and (not number or charge.tracking_number in ("", number)):
            found.append(record)
    return found


def _estimated(charges: list[ObjectRecord], number: str) -> ObjectRecord | None:
    """The charge of these that an estimate is of: one that waits for its invoice before one that
    has it. None: all have ended. Refused: it may be of several parcels, and names none."""
    allowed = lifecycle.FREIGHT_CHARGE_CONTENT_STATES["estimate"]
    still_open = [each for each in charges if each.state in allowed]
    fitting = [each for each in still_open if each.state == "ESTIMATED"] or still_open
    messages: list[Any] = [each.message for each in fitting]
    parcels = {message.tracking_number for message in messages}
    if not number and len(parcels) > 1:
        words = f"the shipment has charges for {len(parcels)} parcels; name the parcel by it"
        raise invalid([Violation("tracking_number", words, "one_charge")])
    return next(iter(fitting), None)


def _is_said(charge: Any, estimate: freight_pb2.FreightEstimate) -> bool:
    """Whether a charge has this estimate, or a newer one."""
    if not charge.HasField("estimate"):
        return False
    return _exact(charge.estimate) == _exact(estimate) or resources.is_older(
        estimate.estimate_time, charge.estimate.estimate_time
    )


def _fill(charge: Any, shipment: ObjectRecord, carrier: str, number: str) -> None:
    """What the hub derives."""
    source: Any = shipment.message
    charge.carrier_code, charge.tracking_number = carrier, number
    charge.shipment_id, charge.shipment_number = shipment.id, source.number
    charge.order_id, charge.business_unit = source.order_id, source.business_unit
    charge.ship_from_location_number = source.ship_from_location_number


def _invoiced(
    unit: Unit, record: ObjectRecord, request: freight_service_pb2.RecordFreightInvoiceRequest
) -> ObjectRecord:
    """The charge with this invoice; a dispute that it answers ends with it."""

    def edit(charge: freight_pb2.FreightCharge) -> None:
        charge.invoice.CopyFrom(request.invoice)
        # What was written of another invoice says nothing about this one.
        charge.ClearField("audit")
        charge.tracking_number = request.tracking_number
        resources.set_state(charge, "INVOICED")

    return resources.change(unit, record, edit)


def _invoiced_again(
    unit: Unit, known: ReferenceRecord, request: freight_service_pb2.RecordFreightInvoiceRequest
) -> freight_service_pb2.RecordFreightInvoiceResponse:
    """An invoice whose number is known: the same one, the correction of a disputed one, or held."""
    number = request.invoice.number
    if known.kind != KIND:
        raise taken(INVOICE_TYPE, "invoice.number", number, known.object_id)
    record = resources.fetch_for_fact(unit, KIND, known.object_id)
    charge: Any = record.message
    parcel = (request.carrier_code, request.tracking_number)
    same_parcel = (charge.carrier_code, charge.tracking_number) == parcel
    if same_parcel and _exact(charge.invoice) == _exact(request.invoice):
        return freight_service_pb2.RecordFreightInvoiceResponse(
            receipt=ALREADY_KNOWN, freight_charge=charge
        )
    if same_parcel and record.state == "DISPUTED":
        unit.require([("flow", record.root_id)])
        return _told(unit, _invoiced(unit, record, request))
    advice = "dispute the charge, and this corrects it; or discard this one"
    if record.state in ENDED_STATES or not same_parcel:
        advice = (
            f"ask the carrier, settle it apart from the {record.state} charge, discard this one"
        )
    first, second = charge.invoice.amount, request.invoice.amount
    told = (
        f"that bills {first.amount} {first.currency} for {charge.tracking_number}, this "
        f"{second.amount} {second.currency} for {request.tracking_number}: {advice}"
    )
    refusal = taken(INVOICE_TYPE, "invoice.number", number, record.id, told).refusal
    raise NotYet(refusal, _awaited_dispute(record.id))


def _told(unit: Unit, record: ObjectRecord) -> freight_service_pb2.RecordFreightInvoiceResponse:
    # The day of the invoice is no moment, and whose day it is nobody says.
    emit(unit, freight_events_pb2.FreightChargeInvoiced(freight_charge=record.message), record)
    return freight_service_pb2.RecordFreightInvoiceResponse(
        receipt=APPLIED, freight_charge=record.message
    )


def _invoice_key(carrier: str, number: str) -> tuple[str, str, str]:
    """By which an invoice is known."""
    return carrier_system(carrier), INVOICE_TYPE, number


def _awaited_dispute(charge_id: str) -> str:
    """What an invoice that contradicts a known one waits for."""
    return f"freight_dispute:{charge_id}"


def _exact(told: Any) -> Any:
    """An estimate or invoice with its amounts as numbers are compared: 10.50 is 10.5."""
    copy = resources.clone(told)
    for money in (copy.amount, *(line.amount for line in copy.lines)):
        money.amount = plain(Decimal(money.amount))
    return copy


def _check_day(day: str) -> None:
    try:
        date.fromisoformat(day)
    except ValueError:
        words = f"{day!r} is no day of the calendar; write it as YYYY-MM-DD"
        raise invalid([Violation("invoice.invoice_date", words, "calendar_day")]) from None


def _check_audit(charge: Any, audit: freight_pb2.FreightAudit, field: str) -> None:
    _check_sum(audit, field)
    _check_currency(charge, audit.amount, f"{field}.amount.currency")
    invoiced, agreed = charge.invoice.amount, Decimal(audit.amount.amount)
    asked = Decimal(invoiced.amount)
    words = f"is {agreed:f}, the invoice {invoiced.amount} {invoiced.currency}: agree to "
    if agreed > asked:
        words += "at most the invoice's amount; a balance comes with an invoice of its own"
        raise invalid([Violation(f"{field}.amount", words, "at_most_invoiced")])
    # A credit is below nothing, and taken as it is.
    if agreed < min(asked, Decimal(0)):
        words += "at least nothing, or all of a credit; a refund comes with an invoice of its own"
        raise invalid([Violation(f"{field}.amount", words, "not_below_nothing")])


def _check_dispute(charge: Any, dispute: freight_pb2.FreightDispute, field: str) -> None:
    if dispute.HasField("amount"):
        _check_currency(charge, dispute.amount, f"{field}.amount.currency")


def _check_currency(charge: Any, amount: types_pb2.Money, field: str) -> None:
    wanted = charge.invoice.amount.currency
    if amount.currency != wanted:
        words = f"is {amount.currency}, the invoice is in {wanted}; say it in the same"
        raise invalid([Violation(field, words, "same_currency")])


def _check_sum(told: Any, field: str) -> None:
    """Lines are of one currency and add up to the amount, where there are any."""
    amount: types_pb2.Money = told.amount
    for index, line in enumerate(told.lines):
        if line.amount.currency != amount.currency:
            words = f"is {line.amount.currency}, the amount is in {amount.currency}"
            place = f"{field}.lines[{index}].amount.currency"
            raise invalid([Violation(place, words, "same_currency")])
    with localcontext(prec=SUM_DIGITS):
        total = sum((Decimal(line.amount.amount) for line in told.lines), Decimal(0))
    if told.lines and total != Decimal(amount.amount):
        words = f"add up to {total:f}, the amount is {amount.amount}; correct one of them"
        raise invalid([Violation(f"{field}.lines", words, "sum_of_lines")])
