"""Records to rows and back, a `Shape` for each table. Column names are the records' field names."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

import crossdock
import orjson
from crossdock.contracts import Contract
from sqlalchemy import Table

from crossdock_hub.archive.records import ArchivePart
from crossdock_hub.delivery.causes import DeadLetterGroupRecord, DeadLetterRecord
from crossdock_hub.objects.mapping_kinds import MappingKindRecord
from crossdock_hub.records import (
    AttemptRecord,
    BusConsumer,
    BusPosition,
    CursorRecord,
    DeliveryContentRecord,
    DeliveryRecord,
    Difference,
    EndpointRecord,
    EventRecord,
    HeldFactRecord,
    MappingRecord,
    ObjectRecord,
    OperatorWordRecord,
    PackageNumberRecord,
    ParcelRecord,
    QuarantineRecord,
    ReferenceRecord,
    RequestRecord,
    ScanOutboxRecord,
    ScanRecord,
    Tie,
    VendorReferenceRecord,
)
from crossdock_hub.replay.records import ReplayItemRecord, ReplayRecord
from crossdock_hub.store import tables as t
from crossdock_hub.store.archive_tables import archive_parts
from crossdock_hub.store.bus_tables import bus_consumers, bus_differences, bus_positions, bus_tie
from crossdock_hub.store.crossing import Rewriting, Shape
from crossdock_hub.store.package_numbers import package_numbers

# What the driver maps: by column name, typed by the column.
Row = Any
R = TypeVar("R")


def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def plain_shape(
    table: Table, kind: type[Any], *, without: str = "", replaces: bool = False
) -> Shape:
    """A record whose fields are columns; `without`: one that the database fills."""
    names = tuple(name for name in _names(kind) if name != without)
    return Shape(table, names, attrgetter(*names), replaces)


def _added_shape(
    table: Table,
    plain: tuple[str, ...],
    added: dict[str, Callable[[Any], Any]],
    *,
    replaces: bool = False,
) -> Shape:
    """Some fields as they are, and columns that are made of a record."""
    fields, ways = attrgetter(*plain), tuple(added.values())

    def values(record: Any) -> tuple[Any, ...]:
        return (*fields(record), *(way(record) for way in ways))

    return Shape(table, (*plain, *added), values, replaces)


def plain_record(kind: type[R]) -> Callable[[Row], R]:
    """The way back from `plain_row`."""
    read = itemgetter(*_names(kind))
    return lambda row: kind(*read(row))


def _message(record: ObjectRecord) -> bytes:
    encoded: bytes = record.message.SerializeToString()
    return encoded


OBJECTS = _added_shape(
    t.objects,
    tuple(name for name in _names(ObjectRecord) if name != "message"),
    {"message": _message, "contract_version": lambda _record: crossdock.__version__},
    replaces=True,
)
OBJECTS_OVER = Rewriting(OBJECTS, "kind", "number", "root_id", "partition", "created_at")

_OBJECT_FIELDS = itemgetter(*_names(ObjectRecord))
_MESSAGE = _names(ObjectRecord).index("message")


def object_record(contract: Contract, row: Row) -> ObjectRecord:
    """An object with its message decoded; fields of a later contract are kept in it."""
    name = contract.resources[row["kind"]].message_name
    values = [*_OBJECT_FIELDS(row)]
    values[_MESSAGE] = contract.generated_class(name).FromString(values[_MESSAGE])
    return ObjectRecord(*values)


def _trace_id(record: EventRecord) -> str:
    parts = record.traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


# The database numbers events.
EVENTS = _added_shape(
    t.events,
    tuple(name for name in _names(EventRecord) if name != "sequence"),
    {"trace_id": _trace_id},
)
event_record = plain_record(EventRecord)

_LISTS = ("requires", "supersedes", "refers_to")


def _texts(name: str) -> Callable[[Any], str]:
    """A field of texts, or of pairs of numbers, as JSON, mostly an empty one."""
    read = attrgetter(name)
    return lambda record: orjson.dumps(found).decode() if (found := read(record)) else "[]"


def _pairs(name: str) -> Callable[[Any], str]:
    """A field of vendor references as JSON, mostly an empty one."""
    read = attrgetter(name)

    def pairs(record: Any) -> str:
        found = read(record)
        return orjson.dumps([(r.type, r.value) for r in found]).decode() if found else "[]"

    return pairs


def _quarantined(record: DeliveryRecord) -> str:
    if not record.quarantined:
        return "[]"
    facts = [
        (q.method, base64.b64encode(q.request).decode(), base64.b64encode(q.refusal).decode())
        for q in record.quarantined
    ]
    return orjson.dumps(facts).decode()


_DELIVERY_LISTS = {name: _texts(name) for name in _LISTS} | {
    "vendor_references": _pairs("vendor_references"),
    "duplicates": _pairs("duplicates"),
    "quarantined": _quarantined,
}
DELIVERIES = _added_shape(
    t.deliveries,
    tuple(name for name in _names(DeliveryRecord) if name not in _DELIVERY_LISTS),
    _DELIVERY_LISTS,
    replaces=True,
)
# What it is, of which event and for whom, and what it stands for elsewhere.
DELIVERIES_OVER = Rewriting(
    DELIVERIES,
    *("event_id", "event_type", "kind", "object_id", "root_id", "created_at", "traceparent"),
    *("endpoint", "role", "operation", "item", "ordering_key", "sequence", "priority", "on_reject"),
    *("requires", "supersedes", "refers_to", "vendor_reference", "replay_id", "resubmits"),
    seldom=(
        *("hold_reason", "waiting_on", "look_ups", "not_found", "awaits_operation"),
        *("prerequisite_until", "first_unknown_at", "superseded_by", "draft", "mends", "released"),
        *("awaits_word", "vendor_references", "duplicates", "quarantined"),
    ),
)


def _references_of(text: str) -> list[VendorReferenceRecord]:
    return [VendorReferenceRecord(*pair) for pair in orjson.loads(text)]


def _quarantined_of(text: str) -> list[QuarantineRecord]:
    return [
        QuarantineRecord(method, base64.b64decode(request), base64.b64decode(refusal))
        for method, request, refusal in orjson.loads(text)
    ]


def _texts_of(text: str) -> tuple[str, ...]:
    return tuple(orjson.loads(text))


_DELIVERY_FIELDS = itemgetter(*_names(DeliveryRecord))
# Where a list stands among the fields, how it is read, and what an empty one is.
_DELIVERY_LISTS_OF: list[tuple[int, Callable[[str], Any], Callable[[], Any]]] = [
    (_names(DeliveryRecord).index(name), read, empty)
    for name, read, empty in (
        *((name, _texts_of, tuple) for name in _LISTS),
        ("vendor_references", _references_of, list),
        ("duplicates", _references_of, list),
        ("quarantined", _quarantined_of, list),
    )
]


def delivery_record(row: Row) -> DeliveryRecord:
    """The way back from `delivery_row`."""
    values = [*_DELIVERY_FIELDS(row)]
    for place, read, empty in _DELIVERY_LISTS_OF:
        text = values[place]
        # Mostly empty ones: no parser is needed to see that.
        values[place] = empty() if text == "[]" else read(text)
    return DeliveryRecord(*values)


_SCOPES = ("business_units", "location_numbers", "carrier_codes")


def _scope(name: str) -> Callable[[Any], str]:
    read = attrgetter(name)
    return lambda record: orjson.dumps(sorted(read(record))).decode()


_ENDPOINT_LISTS = {name: _scope(name) for name in _SCOPES} | {
    "breaker_failing": _texts("breaker_failing"),
    "answered_windows": _texts("answered_windows"),
}
ENDPOINTS = _added_shape(
    t.endpoints,
    tuple(name for name in _names(EndpointRecord) if name not in _ENDPOINT_LISTS),
    _ENDPOINT_LISTS,
    replaces=True,
)


def endpoint_record(kind: type[R], row: Row) -> R:
    """The way back from `endpoint_row`."""
    values = {name: row[name] for name in _names(kind)}
    for name in (*_SCOPES, "breaker_failing"):
        values[name] = tuple(orjson.loads(values[name]))
    values["answered_windows"] = windows_of(row)
    return kind(**values)


def windows_of(row: Row) -> tuple[tuple[int, int], ...]:
    """Times before the breaker of an endpoint opened in which its system answered."""
    return tuple((begun_at, until) for begun_at, until in orjson.loads(row["answered_windows"]))


held_record = plain_record(HeldFactRecord)


REQUESTS = plain_shape(t.requests, RequestRecord)
REFERENCES = plain_shape(t.external_references, ReferenceRecord)
ATTEMPTS = plain_shape(t.attempts, AttemptRecord, replaces=True)
PACKAGE_NUMBERS = plain_shape(package_numbers, PackageNumberRecord)
PARCELS = plain_shape(t.parcels, ParcelRecord, replaces=True)
PARCELS_OVER = Rewriting(PARCELS, "label_id", "shipment_id", "package_id", "order_id", "partition")
CURSORS = plain_shape(t.cursors, CursorRecord, replaces=True)
HELD_FACTS = plain_shape(t.held_facts, HeldFactRecord, replaces=True)
MAPPINGS = plain_shape(t.mappings, MappingRecord, replaces=True)
MAPPING_KINDS = plain_shape(t.mapping_kinds, MappingKindRecord, replaces=True)
SCANS = plain_shape(t.scans, ScanRecord)
SCAN_OUTBOX = plain_shape(t.scan_outbox, ScanOutboxRecord, without="sequence")
REPLAYS = plain_shape(t.replays, ReplayRecord, replaces=True)
REPLAY_ITEMS = plain_shape(t.replay_items, ReplayItemRecord, replaces=True)
BUS_POSITIONS = plain_shape(bus_positions, BusPosition, replaces=True)
BUS_CONSUMERS = plain_shape(bus_consumers, BusConsumer, replaces=True)
OPERATOR_WORDS = plain_shape(t.operator_words, OperatorWordRecord)
DELIVERY_CONTENTS = plain_shape(t.delivery_contents, DeliveryContentRecord)
DIFFERENCES = plain_shape(bus_differences, Difference, replaces=True)
TIE = plain_shape(bus_tie, Tie, replaces=True)
DEAD_LETTERS = plain_shape(t.dead_letters, DeadLetterRecord, replaces=True)
DEAD_LETTER_GROUPS = plain_shape(t.dead_letter_groups, DeadLetterGroupRecord, replaces=True)
ARCHIVE_PARTS = plain_shape(archive_parts, ArchivePart, replaces=True)
