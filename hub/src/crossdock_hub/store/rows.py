"""Records to rows and back. Column names are the records' field names."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import crossdock
import orjson
from crossdock.contracts import Contract

from crossdock_hub.records import (
    DeliveryRecord,
    EventRecord,
    HeldFactRecord,
    ObjectRecord,
    QuarantineRecord,
    VendorReferenceRecord,
)

# What the driver maps: by column name, typed by the column.
Row = Any
R = TypeVar("R")


def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def plain_row(record: Any) -> dict[str, Any]:
    """A record whose fields are all columns."""
    return {name: getattr(record, name) for name in _names(type(record))}


def plain_record(kind: type[R]) -> Callable[[Row], R]:
    """The way back from `plain_row`."""
    names = _names(kind)
    return lambda row: kind(**{name: row[name] for name in names})


def object_row(record: ObjectRecord) -> dict[str, Any]:
    """An object with its message encoded."""
    row = plain_row(record)
    row["message"] = record.message.SerializeToString()
    row["contract_version"] = crossdock.__version__
    return row


def object_record(contract: Contract, row: Row) -> ObjectRecord:
    """An object with its message decoded; fields of a later contract are kept in it."""
    name = contract.resources[row["kind"]].message_name
    message = contract.generated_class(name).FromString(row["message"])
    values = {field: row[field] for field in _names(ObjectRecord) if field != "message"}
    return ObjectRecord(message=message, **values)


def event_row(record: EventRecord) -> dict[str, Any]:
    """An event; the database numbers it."""
    row = plain_row(record)
    del row["sequence"]
    parts = record.traceparent.split("-")
    row["trace_id"] = parts[1] if len(parts) == 4 else ""
    return row


event_record = plain_record(EventRecord)

_LISTS = ("requires", "supersedes", "refers_to")


def delivery_row(record: DeliveryRecord) -> dict[str, Any]:
    """A delivery with its lists as JSON."""
    row = plain_row(record)
    for name in _LISTS:
        row[name] = orjson.dumps(row[name]).decode()
    row["vendor_references"] = orjson.dumps(
        [(r.type, r.value) for r in record.vendor_references]
    ).decode()
    row["duplicates"] = orjson.dumps([(r.type, r.value) for r in record.duplicates]).decode()
    row["quarantined"] = orjson.dumps(
        [
            (q.method, base64.b64encode(q.request).decode(), base64.b64encode(q.refusal).decode())
            for q in record.quarantined
        ]
    ).decode()
    return row


def delivery_record(row: Row) -> DeliveryRecord:
    """The way back from `delivery_row`."""
    values = {name: row[name] for name in _names(DeliveryRecord)}
    for name in _LISTS:
        values[name] = tuple(orjson.loads(values[name]))
    values["vendor_references"] = [
        VendorReferenceRecord(*pair) for pair in orjson.loads(values["vendor_references"])
    ]
    values["duplicates"] = [
        VendorReferenceRecord(*pair) for pair in orjson.loads(values["duplicates"])
    ]
    values["quarantined"] = [
        QuarantineRecord(method, base64.b64decode(request), base64.b64decode(refusal))
        for method, request, refusal in orjson.loads(values["quarantined"])
    ]
    return DeliveryRecord(**values)


_SCOPES = ("business_units", "location_numbers", "carrier_codes")


def endpoint_row(record: Any) -> dict[str, Any]:
    """An endpoint with its lists as JSON."""
    row = plain_row(record)
    for name in _SCOPES:
        row[name] = orjson.dumps(sorted(row[name])).decode()
    row["breaker_failing"] = orjson.dumps(record.breaker_failing).decode()
    return row


def endpoint_record(kind: type[R], row: Row) -> R:
    """The way back from `endpoint_row`."""
    values = {name: row[name] for name in _names(kind)}
    for name in (*_SCOPES, "breaker_failing"):
        values[name] = tuple(orjson.loads(values[name]))
    return kind(**values)


held_record = plain_record(HeldFactRecord)
