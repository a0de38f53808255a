"""What a vendor's document becomes once a delivery is confirmed: a reference, and a posting."""

from __future__ import annotations

from typing import Any

from crossdock.delivery.v1 import delivery_service_pb2

from crossdock_hub.objects import resources
from crossdock_hub.records import DeliveryRecord, ObjectRecord
from crossdock_hub.unit import Key, Unit


def keys_given(endpoint: str, completion: delivery_service_pb2.Completion) -> list[Key]:
    """What is read of the documents that a completion names."""
    given = (*completion.vendor_references, *completion.duplicates)
    return [("reference", endpoint, each.type, each.value) for each in given]


def note_posting(unit: Unit, record: DeliveryRecord) -> None:
    """Cross-reference the vendor's documents, and list them on the shipment they belong to."""
    found = note_documents(unit, record)
    if found is not None and found.kind == "shipment" and record.role == "ERP":
        resources.change(unit, found, lambda m: _add_posting(m, record, unit.now))


def note_documents(unit: Unit, record: DeliveryRecord) -> ObjectRecord | None:
    """Let every number that the vendor gave lead to the object, that of a second booking too.

    Returns the object; None when nothing was given, or there is no object.
    """
    given = (*record.vendor_references, *record.duplicates)
    keys = list(dict.fromkeys((record.endpoint, r.type, r.value) for r in given))
    if not keys:
        return None
    unit.require(("reference", *key) for key in keys)
    found = unit.object(record.kind, record.object_id)
    if found is None:
        return None
    free = []
    for key in keys:
        known = unit.get(("reference", *key))
        if known is None or known.object_id == found.id:
            free.append(key)
    return resources.with_references(unit, found, free)


def _add_posting(shipment: Any, record: DeliveryRecord, now: int) -> None:
    known = {(p.endpoint, p.document_type, p.document_number) for p in shipment.postings}
    for reference in record.vendor_references:
        if (record.endpoint, reference.type, reference.value) in known:
            continue
        posting = shipment.postings.add(
            endpoint=record.endpoint,
            operation=record.operation,
            document_type=reference.type,
            document_number=reference.value,
            delivery_id=record.id,
        )
        resources.stamp(posting.posted_time, now)
