"""Avro binary by a vendor's schema: bounded, and saying where a payload cannot be read.

A schema comes over the network, so it is looked at before anything is read by it: one that could
make few bytes into much memory, or nest without end, is refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import SchemaParseException, UnknownType

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.places import Unreadable, pointer

# Events of the platform have at most 1 MB.
MAX_PAYLOAD_BYTES: Final = 1024 * 1024
MAX_SCHEMA_BYTES: Final = 512 * 1024
MAX_SCHEMA_DEPTH: Final = 24
_NAMED: Final = frozenset({"record", "error", "enum", "fixed"})
_RECORDS: Final = frozenset({"record", "error"})
# What reading by a schema raises when the bytes are not its own.
_MISREAD: Final = (
    EOFError, ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError,
    AttributeError, ArithmeticError, StopIteration,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schema:
    """A record schema, checked and ready. name: without its namespace."""

    name: str
    parsed: Any
    fields: tuple[Mapping[str, Any], ...]


def schema_of(text: str) -> Schema:
    """Read a schema. Unreadable: it is none, no record, or could be used to exhaust the reader."""
    if len(text) > MAX_SCHEMA_BYTES:
        raise Unreadable(f"the schema has {len(text)} characters; at most {MAX_SCHEMA_BYTES}")
    try:
        raw = vendor_json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("the schema is no JSON") from None
    if not isinstance(raw, dict) or raw.get("type") not in _RECORDS:
        raise Unreadable("the schema is of no record")
    _check(raw, frozenset(), 0)
    try:
        parsed: Any = parse_schema(raw)
    except (SchemaParseException, UnknownType, *_MISREAD):
        raise Unreadable("the schema is no Avro") from None
    name = str(raw.get("name", "")).rpartition(".")[2]
    return Schema(name, parsed, tuple(raw["fields"]))


def decode(schema: Schema, payload: bytes) -> dict[str, Any]:
    """The record of a payload. Unreadable: too large, too short, too long, or something else."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Unreadable(f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES}", "/payload")
    source = io.BytesIO(payload)
    try:
        record: Any = schemaless_reader(source, schema.parsed, None)
    except _MISREAD:
        place = _failing(schema, payload)
        raise Unreadable(f"is not what schema {schema.name} says", place or "/payload") from None
    left = len(payload) - source.tell()
    if left:
        raise Unreadable(f"{left} bytes are left behind the record", "/payload")
    return {str(name): value for name, value in record.items()}


def encode(schema: Schema, record: Mapping[str, Any]) -> bytes:
    """A record as a publisher writes it."""
    target = io.BytesIO()
    schemaless_writer(target, schema.parsed, dict(record))
    return target.getvalue()


def _failing(schema: Schema, payload: bytes) -> str:
    """The field at which reading ends; "" where fields cannot be read one by one."""
    source = io.BytesIO(payload)
    for field in schema.fields:
        try:
            alone: Any = parse_schema({"type": "record", "name": "one", "fields": [dict(field)]})
        except (SchemaParseException, UnknownType, *_MISREAD):
            return ""
        try:
            schemaless_reader(source, alone, None)
        except _MISREAD:
            return pointer(str(field.get("name", "")))
    return ""


def _check(schema: Any, around: frozenset[str], depth: int) -> None:
    """Refuse what nests in itself, and lists of what takes no byte."""
    if depth > MAX_SCHEMA_DEPTH:
        raise Unreadable(f"the schema nests deeper than {MAX_SCHEMA_DEPTH}")
    if isinstance(schema, str):
        if schema.rpartition(".")[2] in around:
            raise Unreadable(f"the schema's type {schema} contains itself")
        return
    if isinstance(schema, list):
        for branch in schema:
            _check(branch, around, depth + 1)
        return
    if not isinstance(schema, dict):
        raise Unreadable("the schema has a type that is none")
    kind = schema.get("type")
    if kind in _NAMED:
        around |= {str(schema.get("name", "")).rpartition(".")[2]}
    if kind in _RECORDS and not isinstance(schema.get("fields"), list):
        raise Unreadable("the schema has a record without fields")
    if kind in ("array", "map"):
        element = schema.get("items" if kind == "array" else "values")
        if kind == "array" and _may_be_empty(element):
            raise Unreadable("the schema has a list of what takes no byte")
        _check(element, around, depth + 1)
        return
    for inner in _inner(schema):
        _check(inner, around, depth + 1)


def _inner(schema: Mapping[str, Any]) -> Iterator[Any]:
    kind = schema.get("type")
    if kind in _RECORDS:
        for field in schema["fields"]:
            if not isinstance(field, dict) or "type" not in field:
                raise Unreadable("the schema has a field without a type")
            yield field["type"]
    elif not isinstance(kind, str):
        yield kind


def _may_be_empty(element: Any) -> bool:
    """Whether a value may be written in no byte: then a count is all that a list of it costs.

    A name says nothing here; a record that is referred to by name counts as empty.
    """
    primitive = {"boolean", "int", "long", "float", "double", "bytes", "string"}
    if isinstance(element, str):
        return element not in primitive
    if isinstance(element, list):
        return False
    if isinstance(element, dict):
        kind = element.get("type")
        if kind in _RECORDS:
            fields = element.get("fields")
            inner = [each.get("type") for each in fields or () if isinstance(each, dict)]
            return all(_may_be_empty(each) for each in inner)
        if kind == "fixed":
            return not element.get("size")
        return isinstance(kind, str) and kind not in (primitive | {"array", "map", "enum"})
    return True
