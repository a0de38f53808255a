"""Finds fields that a message holds but this contract does not know.

protobuf keeps them, which would carry data past the owner of a field.
"""

from __future__ import annotations

from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from crossdock.contracts.image import is_map


def unknown_field(message: Message) -> str | None:
    """Path of the first unknown field, ending in its number: "order.lines[2].#99"; None: none.

    The message is not changed. Fast while there is nothing to find: a copy without unknown fields
    is as long as the message.
    """
    encoded = message.SerializeToString()
    known = type(message).FromString(encoded)
    known.DiscardUnknownFields()
    if known.ByteSize() == len(encoded):
        return None
    return _first_unknown(message, "")


def _first_unknown(message: Any, prefix: str) -> str | None:
    for field in cast("Any", UnknownFieldSet(message)):
        return f"{prefix}#{field.field_number}"
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for path, inner in _messages(field, value):
            found = _first_unknown(inner, f"{prefix}{path}.")
            if found is not None:
                return found
    return None


def _messages(field: FieldDescriptor, value: Any) -> list[tuple[str, Any]]:
    entry = field.message_type
    if entry is not None and is_map(field):
        if entry.fields_by_name["value"].message_type is None:
            return []
        return [(f"{field.name}[{key!r}]", value[key]) for key in value]
    if field.is_repeated:
        return [(f"{field.name}[{index}]", item) for index, item in enumerate(value)]
    return [(field.name, value)]
