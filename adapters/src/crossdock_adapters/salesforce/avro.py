"""Avro binary by a vendor's schema: bounded, and saying where a payload cannot be read.

A schema comes over the network, so it is looked at before anything is read by it: one that could
make few bytes into much memory, or nest without end, is refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
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
# Of one instance of a record, those in its lists left out; events have some hundred.
MAX_VALUES: Final = 10_000
# Of what is in lists: a record of one number in a byte is two.
MAX_VALUES_PER_BYTE: Final = 4
# The fewest bytes that each is written in.
_PRIMITIVES: Final[Mapping[str, int]] = {
    "null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1,
}  # fmt: skip
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
    try:
        Costs().of(raw)
    except (KeyError, TypeError):
        raise Unreadable("the schema is no Avro") from None
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


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one value of a type: how few bytes it may be written in, how many values of Python it may
    become, what its lists hold left out, and how deep it nests."""

    least_bytes: int = 1
    values: int = 1
    depth: int = 1


class Costs:
    """What values of each type of a schema cost, each named type reckoned once.

    Every method raises Unreadable for a type that is none, contains itself, or costs too much.
    """

    def __init__(self) -> None:
        # By name without its namespace; None: it is being reckoned.
        self._named: dict[str, Cost | None] = {}

    def of(self, schema: Any, depth: int = 0) -> Cost:
        """Of a type as the schema writes it. depth: how far inside of the text it stands."""
        if depth > MAX_SCHEMA_DEPTH:
            raise Unreadable(f"the schema nests deeper than {MAX_SCHEMA_DEPTH}")
        if isinstance(schema, str):
            return self._by_name(schema)
        if isinstance(schema, list):
            return _one_of([self.of(branch, depth + 1) for branch in schema])
        if not isinstance(schema, dict):
            raise Unreadable("the schema has a type that is none")
        kind = schema.get("type")
        if isinstance(kind, str) and kind in _NAMED:
            return self._defined(kind, schema, depth)
        if kind in ("array", "map"):
            return self._many(schema["items" if kind == "array" else "values"], kind, depth)
        return self.of(kind, depth + 1)

    def _by_name(self, name: str) -> Cost:
        if name in _PRIMITIVES:
            return Cost(_PRIMITIVES[name])
        short = name.rpartition(".")[2]
        if short not in self._named:
            raise Unreadable(f"the schema does not say what {name[:64]} is")
        found = self._named[short]
        if found is None:
            raise Unreadable(f"the schema's type {name[:64]} contains itself")
        return found

    def _defined(self, kind: str, schema: Mapping[str, Any], depth: int) -> Cost:
        short = str(schema.get("name", "")).rpartition(".")[2]
        before = self._named.get(short)
        self._named[short] = None
        if kind in _RECORDS:
            found = _all_of([self.of(each, depth + 1) for each in _types_of(schema)])
        else:
            size = schema.get("size") if kind == "fixed" else 1
            if not isinstance(size, int) or size < 0:
                raise Unreadable("the schema has bytes of a size that is none")
            found = Cost(size)
        # Two namespaces may have one name: whichever is meant, it costs no more than both.
        self._named[short] = _one_of([found, before], tag_bytes=0) if before else found
        return found

    def _many(self, element: Any, kind: str, depth: int) -> Cost:
        """A list is as long as it says: what it holds has to be paid for in bytes."""
        branches = element if isinstance(element, list) else [element]
        # The branch of a union takes a byte, and so does the key of a map.
        paid = int(isinstance(element, list)) + int(kind == "map")
        costs = [self.of(branch, depth + 1) for branch in branches]
        for cost in costs:
            if cost.least_bytes + paid == 0:
                raise Unreadable("the schema has a list of what takes no byte")
            if cost.values > MAX_VALUES_PER_BYTE * (cost.least_bytes + paid):
                raise Unreadable("the schema has a list in which few bytes become many values")
        return _bounded(Cost(1, 1, 1 + max((each.depth for each in costs), default=0)))


def _types_of(record: Mapping[str, Any]) -> Iterator[Any]:
    fields = record.get("fields")
    if not isinstance(fields, list):
        raise Unreadable("the schema has a record without fields")
    for field in fields:
        if not isinstance(field, dict) or "type" not in field:
            raise Unreadable("the schema has a field without a type")
        yield field["type"]


def _all_of(costs: Sequence[Cost]) -> Cost:
    """Of a record: itself, and each of its fields."""
    depth = 1 + max((each.depth for each in costs), default=0)
    values = 1 + sum(each.values for each in costs)
    return _bounded(Cost(sum(each.least_bytes for each in costs), values, depth))


def _one_of(costs: Sequence[Cost], tag_bytes: int = 1) -> Cost:
    """Of a union: the cheapest to write, the dearest to read."""
    if not costs:
        raise Unreadable("the schema has a union of nothing")
    least = tag_bytes + min(each.least_bytes for each in costs)
    depth = max(each.depth for each in costs)
    return _bounded(Cost(least, max(each.values for each in costs), depth))


def _bounded(cost: Cost) -> Cost:
    if cost.values > MAX_VALUES:
        raise Unreadable(f"the schema has a record of more than {MAX_VALUES} values")
    if cost.depth > MAX_SCHEMA_DEPTH:
        raise Unreadable(f"the schema nests deeper than {MAX_SCHEMA_DEPTH}")
    return cost
