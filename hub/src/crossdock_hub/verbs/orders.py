"""Orders: created, changed, approved, released and cancelled by the OMS; progress by the hub."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

from crossdock.fulfillment.v1 import fulfillment_events_pb2, fulfillment_pb2
from crossdock.order.v1 import order_events_pb2, order_pb2, order_service_pb2

from crossdock_hub.archive.records import number_key
from crossdock_hub.delivery.emission import emit
from crossdock_hub.identity import HUB
from crossdock_hub.objects import (
    departures,
    lifecycle,
    line_units,
    resources,
    shortages,
    unit_rules,
)
from crossdock_hub.records import ObjectRecord
from crossdock_hub.refusals import stale, transition
from crossdock_hub.unit import Key, Unit
from crossdock_hub.verbs.registering import decides, expected


@decides("order.v1.OrderService/CreateOrder")
def create_order(
    unit: Unit, request: order_service_pb2.CreateOrderRequest
) -> order_service_pb2.CreateOrderResponse:
    """A new order in state CREATED."""
    record = resources.create(
        unit, "order", request.order, prefix="order", references=request.references
    )
    return order_service_pb2.CreateOrderResponse(order=record.message)


@decides("order.v1.OrderService/UpdateOrder")
def update_order(
    unit: Unit, request: order_service_pb2.UpdateOrderRequest
) -> order_service_pb2.UpdateOrderResponse:
    """Change masked fields; the OMS's content only while the warehouses do not have it."""
    before, after, changed = resources.update(
        unit,
        "order",
        request.order,
        request.update_mask.paths,
        expected(request),
        prefix="order",
    )
    if changed and unit.caller.role == "OMS":
        if before.state not in lifecycle.ORDER_CONTENT_STATES:
            raise transition("order", before.state, "UpdateOrder", lifecycle.ORDER_CONTENT_STATES)
        if before.state == "APPROVED":
            event = order_events_pb2.OrderChanged(order=after.message, changed_fields=changed)
            emit(unit, event, after, event_time=unit.now)
    return order_service_pb2.UpdateOrderResponse(order=after.message)


def _move(unit: Unit, request: Any, verb: str) -> ObjectRecord:
    """The order in the state that the verb leads to."""
    record = resources.fetch(unit, "order", request.order_id)
    wanted = expected(request)
    if wanted is not None and wanted != record.revision:
        raise stale("order", wanted, record.revision)
    state = lifecycle.check_verb(lifecycle.ORDER, "order", record.state, verb)

    def edit(order: order_pb2.Order) -> None:
        resources.set_state(order, state)
        if verb == "CancelOrder":
            order.cancel_reason = request.reason

    return resources.change(unit, record, edit)


@decides("order.v1.OrderService/ApproveOrder")
def approve_order(
    unit: Unit, request: order_service_pb2.ApproveOrderRequest
) -> order_service_pb2.ApproveOrderResponse:
    """CREATED to APPROVED; the ERP books it."""
    record = _move(unit, request, "ApproveOrder")
    emit(unit, order_events_pb2.OrderApproved(order=record.message), record, event_time=unit.now)
    return order_service_pb2.ApproveOrderResponse(order=record.message)


@decides("order.v1.OrderService/ReleaseOrder")
def release_order(
    unit: Unit, request: order_service_pb2.ReleaseOrderRequest
) -> order_service_pb2.ReleaseOrderResponse:
    """APPROVED to RELEASED; one fulfillment request per ship-from location."""
    record = _move(unit, request, "ReleaseOrder")
    emit(unit, order_events_pb2.OrderReleased(order=record.message), record, event_time=unit.now)
    created = _request_fulfillment(unit, record)
    return order_service_pb2.ReleaseOrderResponse(
        order=record.message, fulfillment_request_ids=created
    )


def _request_fulfillment(unit: Unit, record: ObjectRecord) -> list[str]:
    order: Any = record.message
    by_location: dict[str, list[fulfillment_pb2.FulfillmentLine]] = defaultdict(list)
    for line in order.lines:
        by_location[line.ship_from_location_number].append(
            fulfillment_pb2.FulfillmentLine(
                line_number=line.line_number, item_number=line.item_number, quantity=line.quantity
            )
        )
    # The hub makes the requests in its own name: they derive from the order.
    work = unit.nested()
    work.caller = HUB
    numbers = {place: f"{order.number}-{i}" for i, place in enumerate(sorted(by_location), 1)}
    _read_ahead(unit, record, numbers)
    created = []
    for location, number in numbers.items():
        message = fulfillment_pb2.FulfillmentRequest(
            number=number,
            order_id=record.id,
            order_number=order.number,
            business_unit=order.business_unit,
            ship_from_location_number=location,
            carrier_code=order.carrier_code,
            service_code=order.service_code,
            ship_to=order.ship_to,
            lines=by_location[location],
        )
        if order.HasField("promised"):
            message.ship_by.CopyFrom(order.promised)
        made = resources.create(work, "fulfillment_request", message, prefix="fulfillment_request")
        event = fulfillment_events_pb2.FulfillmentRequested(fulfillment_request=made.message)
        emit(work, event, made, event_time=unit.now)
        created.append(made.id)
    unit.absorb(work)
    return created


def _read_ahead(unit: Unit, record: ObjectRecord, numbers: dict[str, str]) -> None:
    """Ask at once for everything that the requests of all locations need."""
    wanted: list[Key] = [("flow", record.id), ("children", "fulfillment_request", record.id)]
    lines: Any = record.message.lines
    wanted += [("number", "item", line.item_number) for line in lines]
    for location, number in numbers.items():
        wanted += [("number", "location", location), ("number", "fulfillment_request", number)]
        wanted.append(("archived", number_key("fulfillment_request", number)))
    unit.require(wanted)


@decides("order.v1.OrderService/CancelOrder")
def cancel_order(
    unit: Unit, request: order_service_pb2.CancelOrderRequest
) -> order_service_pb2.CancelOrderResponse:
    """Cancel an order of which nothing has left; the warehouses and the ERP are told."""
    record = resources.fetch(unit, "order", request.order_id)
    resources.read_family(unit, record.id)
    requests = unit.children("fulfillment_request", record.id)
    gone = [r for r in requests if lifecycle.reached("fulfillment_request", r.state, "SHIPPED")]
    if gone:
        raise transition("order", "PARTIALLY_SHIPPED", "CancelOrder", ("CREATED", "RELEASED"))
    record = _move(unit, request, "CancelOrder")
    emit(unit, order_events_pb2.OrderCancelled(order=record.message), record, event_time=unit.now)
    work = unit.nested()
    work.caller = HUB
    for part in requests:
        cancelled = resources.change(work, part, lambda m: resources.set_state(m, "CANCELLED"))
        event = fulfillment_events_pb2.FulfillmentCancelled(fulfillment_request=cancelled.message)
        emit(work, event, cancelled, event_time=unit.now)
    unit.absorb(work)
    return order_service_pb2.CancelOrderResponse(order=record.message)


def derive_progress(unit: Unit, order_id: str) -> None:
    """Recompute an order's totals and state from its fulfillment requests and shipments."""
    record = unit.object("order", order_id)
    if record is None:
        return
    requests = unit.children("fulfillment_request", order_id)
    shipments = unit.children("shipment", order_id)
    state = record.state
    if any(s.state not in ("VOIDED", "PACKED") for s in shipments):
        reported = _reported(record, requests, shipments)
        state = lifecycle.advance("order", record.state, reported)
    progress = _line_progress(unit, record.message, requests, shipments)
    same = list(getattr(record.message, "progress", ())) == progress
    if state == record.state and same:
        return

    def edit(order: order_pb2.Order) -> None:
        resources.set_state(order, state)
        del order.progress[:]
        order.progress.extend(progress)

    resources.change(unit, record, edit)


def _reported(
    record: ObjectRecord, requests: list[ObjectRecord], shipments: list[ObjectRecord]
) -> str:
    """How far an order of which something has left has come by all of its parts."""
    packed = [s for s in shipments if s.state != "VOIDED"]
    left = [s for s in packed if s.state != "PACKED"]
    open_requests = [
        r
        for r in requests
        if r.state != "CANCELLED"
        and not lifecycle.reached("fulfillment_request", r.state, "SHIPPED")
    ]
    messages: list[Any] = [s.message for s in left]
    behind = any(departures.still_at_dock(message) for message in messages)
    ordered = departures.amounts(getattr(record.message, "lines", ()))
    every: list[Any] = [s.message for s in shipments]
    asked: list[Any] = [r.message for r in requests]
    awaited = shortages.is_awaited(ordered, every, asked)
    if open_requests or len(left) < len(packed) or behind or awaited:
        return "PARTIALLY_SHIPPED"
    states = {s.state for s in left}
    arrived = "DELIVERED" in states and states <= {"DELIVERED", "RETURNED"}
    return "DELIVERED" if arrived else "SHIPPED"


def _line_progress(
    unit: Unit, order: Any, requests: list[ObjectRecord], shipments: list[ObjectRecord]
) -> list[order_pb2.OrderLineProgress]:
    asked: list[Any] = [request.message for request in requests]
    messages: list[Any] = [shipment.message for shipment in shipments]
    said = unit_rules.said_of(unit, line_units.converted_items(order, messages, asked))
    units = line_units.line_units(order, messages, said, asked)
    totals: dict[tuple[int, str, str], Decimal] = defaultdict(Decimal)

    def add(name: str, amounts: departures.Amounts) -> None:
        for (line_number, counted), amount in units.of(amounts).items():
            totals[line_number, name, counted] += amount

    for told in asked:
        add("picked", departures.amounts(told.picked))
        add("short", shortages.short_at_pick(told, units))
    for shipment in filter(shortages.has_left, messages):
        add("shipped", departures.shipped_amounts(shipment))
    # What the docks cancelled includes what was short at the pick.
    docks = shortages.short_at_docks(departures.amounts(order.lines), messages)
    for (line_number, counted), amount in units.of(docks).items():
        short = totals[line_number, "short", counted]
        totals[line_number, "short", counted] = max(short, amount)
    rows = []
    for line in order.lines:
        row = order_pb2.OrderLineProgress(line_number=line.line_number)
        for name in ("picked", "shipped", "short"):
            _total(getattr(row, name), line, name, totals)
        rows.append(row)
    return rows


def _total(target: Any, line: Any, name: str, totals: dict[tuple[int, str, str], Decimal]) -> None:
    """In the unit it is counted in; where units stay mixed, what was counted in the line's own."""
    counted = line.line_number, name
    units = {unit for (*what, unit), total in totals.items() if total and tuple(what) == counted}
    target.unit = next(iter(units)) if len(units) == 1 else line.quantity.unit
    total = totals.get((line.line_number, name, target.unit), Decimal(0))
    target.value = format(total.normalize(), "f")
