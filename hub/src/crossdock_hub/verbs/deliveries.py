"""An operator's word on a delivery: retry, skip, resolve, resubmit; each with its reason."""

from __future__ import annotations

from typing import Any

from crossdock import bus
from crossdock.contracts import items_of
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.errors import Refusal

from crossdock_hub.delivery import flows, intervention, unsent
from crossdock_hub.delivery.documents import note_posting
from crossdock_hub.delivery.intervention import Case, Decided
from crossdock_hub.delivery.removal import in_doubt
from crossdock_hub.delivery.routing import is_own_fact
from crossdock_hub.delivery.undone_departures import DEPARTURE
from crossdock_hub.objects import departures, receipts
from crossdock_hub.reading.presenting import delivery_message, word_message
from crossdock_hub.records import (
    DeliveryContentRecord,
    DeliveryRecord,
    EventRecord,
    ObjectRecord,
    OperatorWordRecord,
    VendorReferenceRecord,
)
from crossdock_hub.refusals import not_found, taken
from crossdock_hub.unit import Refused, Unit
from crossdock_hub.verbs.registering import decides
from crossdock_hub.wording import LOOKED

SERVICE = "delivery.v1.DeliveryOperationsService"
# What became of a delivery that was parked for a word.
SENT, HELD, UNSENT, GONE = "sent again", "held", "unmapped", "gone"


@decides(f"{SERVICE}/RetryDelivery")
def retry_delivery(
    unit: Unit, request: operations_pb2.RetryDeliveryRequest
) -> operations_pb2.RetryDeliveryResponse:
    """Let a parked or rejected delivery go again."""
    case = _case(unit, request.delivery_id)
    _refuse_gone(unit, case.record, "RETRY")
    decided = intervention.retry(case, not_found_at_vendor=request.not_found_at_vendor)
    _refuse_departure_undone(unit, case.record, "RETRY")
    said = LOOKED if request.not_found_at_vendor else ""
    word = _keep(unit, case, decided, "RETRY", request.reason, said)
    flows.settle(unit, case.record, decided.record)
    return operations_pb2.RetryDeliveryResponse(
        delivery=_present(unit, case.record), word=word_message(word)
    )


@decides(f"{SERVICE}/SkipDelivery")
def skip_delivery(
    unit: Unit, request: operations_pb2.SkipDeliveryRequest
) -> operations_pb2.SkipDeliveryResponse:
    """End a delivery; what waited for it in order goes on."""
    case = _case(unit, request.delivery_id)
    decided = intervention.skip(case)
    word = _keep(unit, case, decided, "SKIP", request.reason)
    flows.settle(unit, case.record, decided.record)
    return operations_pb2.SkipDeliveryResponse(
        delivery=_present(unit, case.record), word=word_message(word)
    )


@decides(f"{SERVICE}/ResolveDelivery")
def resolve_delivery(
    unit: Unit, request: operations_pb2.ResolveDeliveryRequest
) -> operations_pb2.ResolveDeliveryResponse:
    """Confirm a delivery with the vendor's document that a person found."""
    case = _case(unit, request.delivery_id)
    pairs = dict.fromkeys((r.type, r.value) for r in request.references)
    found = [VendorReferenceRecord(*pair) for pair in pairs]
    decided = intervention.resolve(case, found)
    _refuse_taken(unit, case.record, found)
    word = _keep(unit, case, decided, "RESOLVE", request.reason)
    flows.settle(unit, case.record, decided.record)
    note_posting(unit, decided.record)
    return operations_pb2.ResolveDeliveryResponse(
        delivery=_present(unit, case.record), word=word_message(word)
    )


@decides(f"{SERVICE}/ResubmitDelivery")
def resubmit_delivery(
    unit: Unit, request: operations_pb2.ResubmitDeliveryRequest
) -> operations_pb2.ResubmitDeliveryResponse:
    """Close a delivery and send the event's object as it is now, as new work."""
    case = _case(unit, request.delivery_id)
    _refuse_gone(unit, case.record, "RESUBMIT")
    decided = intervention.resubmit(case, not_found_at_vendor=request.not_found_at_vendor)
    successor = decided.successor
    assert successor is not None
    _refuse_departure_undone(unit, case.record, "RESUBMIT")
    body = _present_content(unit, case.record)
    said = LOOKED if request.not_found_at_vendor else ""
    word = _keep(unit, case, decided, "RESUBMIT", request.reason, said)
    unit.put(("delivery_content", successor.id), DeliveryContentRecord(successor.id, body))
    unit.put_delivery(decided.record)
    unit.count("delivery", case.record.endpoint, case.record.event_type, decided.record.state)
    flows.admit(unit, [successor])
    flows.hold_back(unit, successor)
    flows.wake(unit, case.record.root_id, case.record.endpoint)
    return operations_pb2.ResubmitDeliveryResponse(
        delivery=_present(unit, case.record),
        word=word_message(word),
        resubmitted=_present(unit, successor),
    )


def send_again(unit: Unit, delivery_id: str, reason: str) -> str:
    """Let a delivery go again that was parked for a word, once a row says what to send: SENT. It
    goes by the rules of a retry, so what the vendor may have done is looked up first, and where a
    person has to look it stays: HELD. UNSENT: there is no row still; GONE: it waits for none."""
    record = unit.delivery(delivery_id)
    word = unsent.waits(record)
    if record is None or word is None:
        return GONE
    if not unsent.is_sent(unit, word):
        return UNSENT
    work = unit.nested()
    try:
        case = _case(work, delivery_id)
        _refuse_gone(work, record, "RETRY")
        decided = intervention.retry(case, not_found_at_vendor=False)
        _refuse_departure_undone(work, record, "RETRY")
        said = f"; {word.topic} {word.canonical} has a code now"
        _keep(work, case, decided, "RETRY", reason, said)
        flows.settle(work, record, decided.record)
    except Refused:
        return HELD
    unit.absorb(work)
    return SENT


def _case(unit: Unit, delivery_id: str) -> Case:
    record = unit.delivery(delivery_id)
    if record is None:
        raise not_found("delivery", delivery_id)
    spec = flows.spec_of(unit, record)
    own_fact = is_own_fact(unit.contract, record.event_type, record.role, record.operation)
    return Case(record, unit.flow(record.root_id), spec, unit.now, unit.limits, own_fact)


def _refuse_gone(unit: Unit, record: DeliveryRecord, verb: str) -> None:
    """Nothing is sent to an endpoint that is not configured: it would wait and nobody be told."""
    stopped = record.state != "UNROUTED" and bool(record.endpoint)
    if stopped and unit.endpoint(record.endpoint) is None:
        raise Refused(
            Refusal(
                "STATE_TRANSITION",
                in_doubt(record.endpoint),
                {"state": record.state, "verb": verb, "allowed": "SKIP, RESOLVE"},
            )
        )


def _keep(
    unit: Unit, case: Case, decided: Decided, verb: str, reason: str, said: str = ""
) -> OperatorWordRecord:
    """Remember who decided what and why."""
    before = case.record
    word = OperatorWordRecord(
        id=unit.new_id(),
        subject_id=before.id,
        verb=verb,
        operator=unit.caller.endpoint,
        said_at=unit.now,
        reason=reason,
        state_before=before.state,
        state_after=decided.record.state,
        change=decided.change + said,
    )
    unit.put(("operator_word", word.id), word)
    return word


def _refuse_taken(unit: Unit, record: DeliveryRecord, found: list[VendorReferenceRecord]) -> None:
    """A number that names another object is a slip of the hand."""
    unit.require(("reference", record.endpoint, r.type, r.value) for r in found)
    for reference in found:
        known: Any = unit.get(("reference", record.endpoint, reference.type, reference.value))
        if known is not None and known.object_id != record.object_id:
            advice = "look again which number the vendor has for this delivery"
            raise taken(known.kind, reference.type, reference.value, known.object_id, advice)


def _present_content(unit: Unit, record: DeliveryRecord) -> bytes:
    """The delivery's event with its object as it is now. Raises Refused when it lacks the item."""
    stored: EventRecord | None = unit.get(("event", record.event_id))
    known = unit.object(record.kind, record.object_id)
    if stored is not None and not stored.body:
        raise Refused(
            Refusal(
                "STATE_TRANSITION",
                f"the event of delivery {record.id} is past its retention, and what it said is "
                "gone; make the change anew at its owner",
                {"state": record.state, "verb": "RESUBMIT", "allowed": "SKIP, RESOLVE"},
            )
        )
    event: Any = None if stored is None else bus.decode(stored.body).event
    if event is None or known is None:
        raise not_found("event", record.event_id)
    for field in event.DESCRIPTOR.fields:
        kind = field.message_type
        if kind is not None and kind.full_name == known.message.DESCRIPTOR.full_name:
            getattr(event, field.name).CopyFrom(known.message)
    if record.event_type == DEPARTURE:
        departures.as_of(event.shipment, event.part)
    if record.event_type == receipts.RECEIPT:
        receipts.as_of(event.customer_return, event.part)
    event.metadata.revision = known.revision
    targets = unit.contract.events[record.event_type].targets
    same = [t for t in targets if (t.role, t.operation) == (record.role, record.operation)]
    if record.item and not any(record.item in items_of(target, event) for target in same):
        raise Refused(
            Refusal(
                "STATE_TRANSITION",
                f"{record.kind} {record.object_id} no longer has the item {record.item} that this "
                "delivery is about; skip it",
                {"state": record.state, "verb": "RESUBMIT", "allowed": "SKIP"},
            )
        )
    return bytes(event.SerializeToString())


def _refuse_departure_undone(unit: Unit, record: DeliveryRecord, verb: str) -> None:
    """Nobody is told anew that a shipment left which was undone; what takes it back, if anything
    does, is later work of its own."""
    if record.event_type != DEPARTURE:
        return
    known: ObjectRecord | None = unit.object(record.kind, record.object_id)
    if known is None or known.state != "VOIDED":
        return
    there = record.endpoint
    raise Refused(
        Refusal(
            "STATE_TRANSITION",
            f"shipment {known.number} ({known.id}) is VOIDED, so {there} is not told by "
            f"{record.operation} that it left: skip this delivery, and take back at {there} what "
            "an earlier attempt of it may have written",
            {"state": record.state, "verb": verb, "allowed": "SKIP, RESOLVE"},
        )
    )


def _present(unit: Unit, record: DeliveryRecord) -> Any:
    return delivery_message(unit.delivery(record.id) or record)
