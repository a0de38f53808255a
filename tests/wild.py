"""Requests that nobody should send: random bytes, damaged encodings, fields with absurd values."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

DEPTH_MAX = 4
STRINGS = (
    "",
    " ",
    "\0",
    "x" * 65,
    "x" * 3000,
    "SKU-1",
    "DC1",
    "UPSN",
    "EA",
    "1.5",
    "-0",
    "1e9",
    "999999999999999999.999999999",
    "00000000-0000-4000-8000-000000000000",
    "'; DROP TABLE objects; --",
    "../../etc/passwd",
    "🛒" * 20,
    "+14:00",
)
INTEGERS = (0, 1, -1, 2, 99, 500, 501, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))
SECONDS = (0, -1, 253_402_300_799, 253_402_300_800, 10**12, -(10**12), 2**62, -(2**63), 2**63 - 1)
_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_ENUM: (0, 2**31 - 1),
}
_TIMES = ("google.protobuf.Timestamp", "google.protobuf.Duration")


def damaged(chance: random.Random, encoded: bytes) -> bytes:
    """An encoding with bytes cut off, flipped, doubled or put in."""
    data = bytearray(encoded)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            del data[at:]
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            data[at:at] = data[max(0, at - 8) : at]
        else:
            data[at:at] = chance.randbytes(chance.randint(1, 6))
    return bytes(data)


def absurd(chance: random.Random, request: Any) -> Any:
    """A copy of a request in which one to three fields, at any depth, say something absurd."""
    copy = type(request)()
    copy.CopyFrom(request)
    for _ in range(chance.randint(1, 3)):
        _change_one(chance, copy, DEPTH_MAX)
    return copy


def _change_one(chance: random.Random, message: Any, depth: int) -> None:
    if message.DESCRIPTOR.full_name in _TIMES:
        _populate(chance, message, depth)
        return
    inner = [
        item
        for field, value in message.ListFields()
        if field.message_type is not None and not _is_map(field)
        for item in (value if field.is_repeated else [value])
    ]
    if inner and depth and chance.random() < 0.7:
        _change_one(chance, chance.choice(inner), depth - 1)
        return
    if not message.DESCRIPTOR.fields:
        return
    field = chance.choice(message.DESCRIPTOR.fields)
    if chance.random() < 0.15:
        message.ClearField(field.name)
    else:
        _fill(chance, message, field, depth)


def _fill(chance: random.Random, message: Any, field: Any, depth: int) -> None:
    if _is_map(field):
        return
    if field.message_type is not None:
        target = getattr(message, field.name)
        for _ in range(chance.randint(1, 3) if field.is_repeated else 1):
            one = target.add() if field.is_repeated else target
            one.SetInParent()
            _populate(chance, one, depth - 1)
    elif field.is_repeated:
        values = [_scalar(chance, field) for _ in range(chance.randint(0, 3))]
        getattr(message, field.name).extend(values)
    else:
        setattr(message, field.name, _scalar(chance, field))


def _populate(chance: random.Random, message: Any, depth: int) -> None:
    if message.DESCRIPTOR.full_name in _TIMES:
        message.seconds = chance.choice(SECONDS)
        message.nanos = chance.choice((0, -1, 999_999_999, 2**31 - 1))
        return
    for field in message.DESCRIPTOR.fields:
        if depth >= 0 and chance.random() < 0.5:
            _fill(chance, message, field, depth)


def _scalar(chance: random.Random, field: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return chance.choice(STRINGS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.choice((0, 1, 100)))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type in _RANGES:
        low, high = _RANGES[field.type]
        return min(max(chance.choice(INTEGERS), low), high)
    return chance.choice((0.0, -1.5, 1e308, float("inf"), float("nan")))


def _is_map(field: Any) -> bool:
    entry = field.message_type
    return bool(entry is not None and entry.GetOptions().map_entry)
