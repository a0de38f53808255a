"""Inventory reservations: promised by the OMS, allocated or found short by the warehouse."""

from __future__ import annotations

from typing import Any

from crossdock.inventory.v1 import inventory_events_pb2, inventory_pb2, inventory_service_pb2

from crossdock_hub.delivery.emission import emit
from crossdock_hub.objects import lifecycle, resources
from crossdock_hub.refusals import stale
from crossdock_hub.unit import Unit
from crossdock_hub.verbs.registering import ALREADY_KNOWN, APPLIED, decides, expected

KIND = "inventory_reservation"


@decides("inventory.v1.InventoryService/CreateInventoryReservation")
def create_reservation(
    unit: Unit, request: inventory_service_pb2.CreateInventoryReservationRequest
) -> inventory_service_pb2.CreateInventoryReservationResponse:
    """A new soft promise."""
    record = resources.create(unit, KIND, request.inventory_reservation, prefix=KIND)
    return inventory_service_pb2.CreateInventoryReservationResponse(
        inventory_reservation=record.message
    )


@decides("inventory.v1.InventoryService/UpdateInventoryReservation")
def update_reservation(
    unit: Unit, request: inventory_service_pb2.UpdateInventoryReservationRequest
) -> inventory_service_pb2.UpdateInventoryReservationResponse:
    """Change masked fields."""
    _, after, _ = resources.update(
        unit,
        KIND,
        request.inventory_reservation,
        request.update_mask.paths,
        expected(request),
        prefix=KIND,
    )
    return inventory_service_pb2.UpdateInventoryReservationResponse(
        inventory_reservation=after.message
    )


@decides("inventory.v1.InventoryService/ReleaseInventoryReservation")
def release_reservation(
    unit: Unit, request: inventory_service_pb2.ReleaseInventoryReservationRequest
) -> inventory_service_pb2.ReleaseInventoryReservationResponse:
    """Give the promise up."""
    record = resources.fetch(unit, KIND, request.inventory_reservation_id)
    wanted = expected(request)
    if wanted is not None and wanted != record.revision:
        raise stale(KIND, wanted, record.revision)
    verb = "ReleaseInventoryReservation"
    state = lifecycle.check_verb(lifecycle.RESERVATION, KIND, record.state, verb)

    def edit(message: inventory_pb2.InventoryReservation) -> None:
        resources.set_state(message, state)
        message.release_reason = request.reason

    after = resources.change(unit, record, edit)
    return inventory_service_pb2.ReleaseInventoryReservationResponse(
        inventory_reservation=after.message
    )


@decides("inventory.v1.InventoryService/ReportAllocation")
def report_allocation(
    unit: Unit, request: inventory_service_pb2.ReportAllocationRequest
) -> inventory_service_pb2.ReportAllocationResponse:
    """The warehouse decided. A report about a released reservation is kept and moves nothing."""
    record = resources.fetch_for_fact(unit, KIND, request.inventory_reservation_id)
    short = request.WhichOneof("decision") == "shortage"
    decision: Any = request.shortage if short else request.allocation
    # Short after allocated, or the other way round, is news even when it was said before.
    same = getattr(record.message, "shortage" if short else "allocation") == decision
    undone = record.state == ("ALLOCATED" if short else "SHORT")
    older = resources.is_older(request.event_time, getattr(record.message, "allocation_time", None))
    if (same and not undone) or older:
        return inventory_service_pb2.ReportAllocationResponse(
            receipt=ALREADY_KNOWN, inventory_reservation=record.message
        )

    def edit(message: inventory_pb2.InventoryReservation) -> None:
        (message.shortage if short else message.allocation).CopyFrom(decision)
        message.allocation_time.CopyFrom(request.event_time)
        if record.state in ("CREATED", "ALLOCATED", "SHORT"):
            resources.set_state(message, "SHORT" if short else "ALLOCATED")

    after = resources.change(unit, record, edit)
    kind = inventory_events_pb2.InventoryShort if short else inventory_events_pb2.InventoryAllocated
    event = kind(inventory_reservation=after.message)
    emit(unit, event, after, event_time=resources.instant_of(request.event_time))
    return inventory_service_pb2.ReportAllocationResponse(
        receipt=APPLIED, inventory_reservation=after.message
    )
