"""Returns: authorised by the OMS, brought by a carrier, received by the warehouse."""

from __future__ import annotations

from typing import Any

from crossdock.returns.v1 import return_events_pb2, return_pb2, return_service_pb2

from crossdock_hub.archive.records import key_of
from crossdock_hub.delivery.emission import emit
from crossdock_hub.objects import lifecycle, receipts, received_units, resources, unit_rules
from crossdock_hub.objects.returnable import check_returnable, mixed_items
from crossdock_hub.records import ObjectRecord
from crossdock_hub.refusals import archived, stale, transition, unknown_reference
from crossdock_hub.unit import Key, NotYet, Refused, Unit
from crossdock_hub.verbs import return_labels
from crossdock_hub.verbs.registering import ALREADY_KNOWN, APPLIED, decides, expected
from crossdock_hub.verbs.return_labels import check_carriers, check_parcels, found_by

KIND = return_labels.KIND


@decides("returns.v1.ReturnService/InitiateReturn")
def initiate_return(
    unit: Unit, request: return_service_pb2.InitiateReturnRequest
) -> return_service_pb2.InitiateReturnResponse:
    """Authorise a return of what has left; ERP, warehouse and carrier are told."""

    def fill(message: return_pb2.Return) -> None:
        order = _returned_order(unit, message)
        source: Any = order.message
        message.business_unit = source.business_unit
        message.order_number = source.number
        message.customer_number = source.customer_number
        message.sales_document = source.sales_document
        if not message.HasField("ship_from"):
            message.ship_from.CopyFrom(source.ship_to)
        message.progress.extend(receipts.progress_of(message))

    record = resources.create(
        unit,
        KIND,
        request.customer_return,
        prefix=KIND,
        references=request.references,
        fill=fill,
    )
    event = return_events_pb2.ReturnInitiated(customer_return=record.message)
    emit(unit, event, record, event_time=unit.now)
    return return_service_pb2.InitiateReturnResponse(customer_return=record.message)


def _returned_order(unit: Unit, wanted: return_pb2.Return) -> ObjectRecord:
    """The order, of which all that is wanted may come back. Raises Refused."""
    order_id = wanted.order_id
    keys: list[Key] = [("object", "order", order_id), ("children", KIND, order_id)]
    unit.require([*keys, ("children", "shipment", order_id), ("flow", order_id)])
    order = unit.object("order", order_id)
    part = unit.get(("archived", key_of(order_id))) if order is None else None
    if part is not None:
        raise archived(f"order {order_id}", part)
    if order is None or not resources.in_scope(unit, order.message):
        raise Refused(unknown_reference(f"{KIND}.order_id", "order", order_id))
    if order.state not in lifecycle.RETURNABLE_ORDER_STATES:
        raise transition("order", order.state, "InitiateReturn", lifecycle.RETURNABLE_ORDER_STATES)
    message: Any = order.message
    others: list[Any] = [other.message for other in unit.children(KIND, order_id)]
    shipments: list[Any] = [each.message for each in unit.children("shipment", order_id)]
    said = unit_rules.said_of(unit, mixed_items(shipments, wanted))
    check_returnable(message, shipments, others, wanted, said)
    return order


@decides("returns.v1.ReturnService/UpdateReturn")
def update_return(
    unit: Unit, request: return_service_pb2.UpdateReturnRequest
) -> return_service_pb2.UpdateReturnResponse:
    """Change masked fields; the parcels that a carrier names lead to the return."""
    before, after, changed = resources.update(
        unit,
        KIND,
        request.customer_return,
        request.update_mask.paths,
        expected(request),
        prefix=KIND,
    )
    if "parcels" in changed:
        # The list is written whole: nobody may leave another carrier's parcels out of it.
        message: Any = before.message
        check_carriers(unit, [*message.parcels, *request.customer_return.parcels])
        fresh = receipts.unknown_parcels(message, request.customer_return.parcels)
        check_parcels(unit, before, fresh, f"{KIND}.parcels")
        after = found_by(unit, after, request.customer_return.parcels)
    if "label" in changed:
        after = return_labels.note(unit, before, after)
    return return_service_pb2.UpdateReturnResponse(customer_return=after.message)


def _end(
    unit: Unit,
    request: return_service_pb2.CancelReturnRequest | return_service_pb2.CloseReturnRequest,
    verb: str,
) -> ObjectRecord:
    """The return in the state that the verb leads to. Raises Refused."""
    record = resources.fetch(unit, KIND, request.customer_return_id)
    wanted = expected(request)
    if wanted is not None and wanted != record.revision:
        raise stale(KIND, wanted, record.revision)
    state = lifecycle.check_verb(lifecycle.CUSTOMER_RETURN, KIND, record.state, verb)

    def edit(message: return_pb2.Return) -> None:
        resources.set_state(message, state)
        message.end_reason = request.reason

    return resources.change(unit, record, edit)


@decides("returns.v1.ReturnService/CancelReturn")
def cancel_return(
    unit: Unit, request: return_service_pb2.CancelReturnRequest
) -> return_service_pb2.CancelReturnResponse:
    """Give a return up of which nothing has come; whoever was told of it is told."""
    record = _end(unit, request, "CancelReturn")
    event = return_events_pb2.ReturnCancelled(customer_return=record.message)
    emit(unit, event, record, event_time=unit.now)
    return return_service_pb2.CancelReturnResponse(customer_return=record.message)


@decides("returns.v1.ReturnService/CloseReturn")
def close_return(
    unit: Unit, request: return_service_pb2.CloseReturnRequest
) -> return_service_pb2.CloseReturnResponse:
    """Expect no more of a return; what has come stays received."""
    record = _end(unit, request, "CloseReturn")
    return return_service_pb2.CloseReturnResponse(customer_return=record.message)


@decides("returns.v1.ReturnService/ReportReturnInTransit")
def report_return_in_transit(
    unit: Unit, request: return_service_pb2.ReportReturnInTransitRequest
) -> return_service_pb2.ReportReturnInTransitResponse:
    """A carrier has parcels of it. What it says after the goods came moves nothing back."""
    record = _reported(unit, request)
    message: Any = record.message
    check_carriers(unit, request.parcels)
    fresh = receipts.unknown_parcels(message, request.parcels)
    state = lifecycle.advance(KIND, record.state, "IN_TRANSIT")
    if not fresh and state == record.state:
        return return_service_pb2.ReportReturnInTransitResponse(
            receipt=ALREADY_KNOWN, customer_return=message
        )
    check_parcels(unit, record, fresh, "parcels")

    def edit(after: return_pb2.Return) -> None:
        after.parcels.extend(fresh)
        resources.set_state(after, state)

    changed = resources.change(unit, record, edit)
    try:
        _check_limits(unit, changed)
    except Refused as full:
        raise Refused(receipts.no_room(message, "parcels", full.refusal)) from None
    after = found_by(unit, changed, fresh)
    return return_service_pb2.ReportReturnInTransitResponse(
        receipt=APPLIED, customer_return=after.message
    )


@decides("returns.v1.ReturnService/ReportReturnReceived")
def report_return_received(
    unit: Unit, request: return_service_pb2.ReportReturnReceivedRequest
) -> return_service_pb2.ReportReturnReceivedResponse:
    """Goods came. A receipt counts once by its number; what contradicts the return is held."""
    record = _reported(unit, request)
    message: Any = record.message
    receipt = request.return_receipt
    known = receipts.numbered(message, receipt.number)
    if known is not None:
        receipts.check_same(message, known, receipt)
        return return_service_pb2.ReportReturnReceivedResponse(
            receipt=ALREADY_KNOWN, customer_return=message
        )
    receipts.refuse_ended(message, record.state)
    said = unit_rules.said_of(unit, received_units.converted_items(message, receipt))
    accepted = receipts.check_receipt(message, receipt, said, accept_excess=request.accept_excess)

    def edit(after: return_pb2.Return) -> None:
        after.receipts.append(accepted)
        del after.progress[:]
        after.progress.extend(receipts.progress_of(after))
        state = lifecycle.advance(KIND, record.state, receipts.state_of(after))
        resources.set_state(after, state)

    after = resources.change(unit, record, edit)
    count = len(message.receipts) + 1
    event = return_events_pb2.ReturnReceived(
        customer_return=after.message, part="" if count == 1 else str(count)
    )
    try:
        _check_limits(unit, after)
        emit(unit, event, after, event_time=resources.instant_of(receipt.receive_time))
    except Refused as full:
        # The goods are there: a person finds a return for them.
        refusal = receipts.no_room(message, "return_receipt", full.refusal)
        raise NotYet(refusal, receipts.awaited_correction(after.id)) from None
    unit.satisfy(receipts.awaited_correction(after.id))
    return return_service_pb2.ReportReturnReceivedResponse(
        receipt=APPLIED, customer_return=after.message
    )


def _reported(
    unit: Unit,
    request: return_service_pb2.ReportReturnInTransitRequest
    | return_service_pb2.ReportReturnReceivedRequest,
) -> ObjectRecord:
    """The return that a fact is about. Raises NotYet until it is initiated."""
    number = request.customer_return_number
    record = resources.fetch_for_fact(unit, KIND, request.customer_return_id, number=number)
    unit.require([("flow", record.root_id)])
    return record


def _check_limits(unit: Unit, record: ObjectRecord) -> None:
    """Refuse what would make a list of the return longer than it may be. Raises Refused."""
    resources.check_valid(unit, unit.contract.resources[KIND], record.message, KIND)
