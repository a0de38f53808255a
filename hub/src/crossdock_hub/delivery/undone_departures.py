"""Which work tells that a shipment left which was voided since; pure.

What a void has a reversal for, the contract's `supersedes` says, by role and operation. That is not
all who are told of a departure: a role may have nothing to reverse with, and an endpoint need not
offer a reversal that is optional. None of them is told of a departure once it is undone.
"""

from __future__ import annotations

from collections.abc import Iterator

from crossdock.shipment.v1 import shipment_events_pb2

from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.ordering import Flow, is_idle
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replacing import replace

# The event that is about a part of its object: one departure of a shipment.
DEPARTURE = shipment_events_pb2.ShipmentManifested.DESCRIPTOR.full_name
VOID = shipment_events_pb2.ShipmentVoided.DESCRIPTOR.full_name
VOIDED = "its shipment was voided before anything reached the vendor"


def void_after(record: DeliveryRecord, flow: Flow) -> DeliveryRecord | None:
    """The first work of the later event that undid the departure which a delivery tells of; None:
    nothing undid it, or it tells of none.

    The void of a shipment is in its flow whoever serves it: that of its posting is asked of an ERP
    without condition.
    """
    if record.event_type != DEPARTURE:
        return None
    found = IndexedFlow.of(flow).after(record.sequence, _by_voided, record.object_id)
    return next(found, None)


def told_in_vain(voids: DeliveryRecord, flow: Flow, now: int) -> list[DeliveryRecord]:
    """What has not begun and tells of a departure that a void undid, as it is after that."""
    return [
        _ended(other, now)
        for other in flow
        if other.event_type == DEPARTURE
        and other.object_id == voids.object_id
        and other.sequence < voids.sequence
        and is_idle(other)
    ]


def unless_undone(record: DeliveryRecord, flow: Flow, now: int) -> DeliveryRecord:
    """The same delivery, ended if it tells of a departure that was undone and has not begun."""
    if not is_idle(record) or void_after(record, flow) is None:
        return record
    return _ended(record, now)


def _by_voided(record: DeliveryRecord) -> Iterator[str]:
    if record.event_type == VOID:
        yield record.object_id


def _ended(record: DeliveryRecord, now: int) -> DeliveryRecord:
    # No delivery took its place: the event did, whatever work that made.
    return replace(
        record,
        state="SUPERSEDED",
        hold_reason="",
        waiting_on=VOIDED,
        superseded_by="",
        due_at=None,
        pending=False,
        updated_at=now,
    )
