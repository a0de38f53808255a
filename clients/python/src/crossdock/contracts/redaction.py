"""Turns messages into plain data for logs, dead letters and the CLI, with secrets masked."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from crossdock.contracts.paths import Tree

MASK = "***"


def redacted(message: Message, sensitive: Tree[bool], zeros: bool) -> dict[str, Any]:
    """The message as JSON-able data; field names as in the contract, 64-bit integers as strings.

    Sensitive values are replaced by "***". Bytes are replaced by their size, because they hold
    encoded messages whose sensitive fields could not be masked. zeros: also fields without presence
    that have their zero value.
    """
    plain: dict[str, Any] = json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=zeros,
    )
    _mask(plain, sensitive)
    _measure_bytes(plain, message)
    return plain


def _mask(plain: dict[str, Any], tree: Tree[bool]) -> None:
    for leaf in tree.leaves:
        # What is empty hides nothing, and must not look as if it did.
        if plain.get(leaf.name):
            plain[leaf.name] = [MASK] * len(plain[leaf.name]) if leaf.repeated else MASK
    for branch in tree.branches:
        inner = plain.get(branch.name)
        for item in inner if isinstance(inner, list) else (inner,):
            if isinstance(item, dict):
                _mask(item, branch.tree)


def _measure_bytes(plain: Any, message: Message) -> None:
    for field, value in message.ListFields():
        inner = plain.get(field.name) if isinstance(plain, dict) else None
        if inner is None or inner == MASK:
            continue
        if field.type == FieldDescriptor.TYPE_BYTES:
            sizes = [f"({len(item)} bytes)" for item in (value if field.is_repeated else (value,))]
            plain[field.name] = sizes if field.is_repeated else sizes[0]
        elif field.message_type is not None and isinstance(inner, dict) and not field.is_repeated:
            _measure_bytes(inner, value)
        elif field.message_type is not None and isinstance(inner, list):
            for plain_item, item in zip(inner, value, strict=True):
                _measure_bytes(plain_item, item)
