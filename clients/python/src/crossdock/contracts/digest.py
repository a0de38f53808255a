"""The digest of a message: the same in every language and with every version of protobuf.

Serialized protobuf is not canonical, so the digest is SHA-256 over our own walk, version 1:

  text    tokens in UTF-8, joined by U+0000. Inside a token U+0000 is written U+0001 "0" and U+0001
          is written U+0001 "1".
  start   full name of the message
  message for each field that is set, in ascending order of its number: the number, then the value;
          then "}". Set means: present, where the field has presence; else different from zero or
          empty. Unknown fields do not count. A field "request_id" of the outermost message does not
          count either, because the digest is what a repeated request_id is compared with.
  value   string: itself · bool: "0" or "1" · integer and enum: decimal digits · bytes: lower-case
          hexadecimal · float and double: the eight bytes of the IEEE 754 double, big-endian, in
          hexadecimal · message: as above
  list    number of elements, then each value
  map     number of entries, then each key and value, ordered by the key's value (false before true,
          strings by code point)

It runs on every write, so a function per message type is generated once, with one access per field.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from functools import partial
from keyword import iskeyword
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from crossdock.contracts.image import is_map

DIGEST_VERSION = b"\x01"
_EXCLUDED = "request_id"

Walk = Callable[[Any, list[str]], None]
_outermost: dict[type[Message], Walk] = {}
_embedded: dict[Descriptor, Walk] = {}


def digest(message: Message) -> bytes:
    """33 bytes: the version of the walk, then SHA-256 over the message without its request_id."""
    walk = _outermost.get(type(message))
    if walk is None:
        kind = cast("Descriptor", message.DESCRIPTOR)
        walk = _outermost[type(message)] = _compile(kind, _EXCLUDED)
    tokens = [message.DESCRIPTOR.full_name]
    walk(message, tokens)
    text = "\0".join(tokens)
    if "\x01" in text or text.count("\0") != len(tokens) - 1:
        text = "\0".join(_escaped(token) for token in tokens)
    return DIGEST_VERSION + hashlib.sha256(text.encode()).digest()


def _escaped(token: str) -> str:
    return token.replace("\x01", "\x011").replace("\0", "\x010")


def _compile(kind: Descriptor, excluded: str) -> Walk:
    """Generates the walk of one message type, from nothing but the names in its descriptor."""
    names: dict[str, Any] = {"double_": _double}
    lines = ["def walk(message, tokens):", " has = message.HasField"]
    for field in sorted(kind.fields, key=lambda each: each.number):
        if field.name != excluded:
            lines += [f" {line}" for line in _field_lines(field, names)]
    lines.append(' tokens.append("}")')
    exec("\n".join(lines), names)
    walk: Walk = names["walk"]
    return walk


def _field_lines(field: FieldDescriptor, names: dict[str, Any]) -> list[str]:
    number = f'"{field.number}"'
    value = f"value = message.{field.name}"
    if not field.name.isidentifier() or iskeyword(field.name):
        value = f"value = getattr(message, {field.name!r})"
    if field.message_type is not None and is_map(field):
        names[f"entries_{field.number}"] = partial(_walk_map, field.message_type)
        return [value, f"if value: tokens.append({number}); entries_{field.number}(value, tokens)"]
    if field.message_type is not None:
        names[f"embedded_{field.number}"] = _Embedded(field.message_type)
        walk = f"walk = embedded_{field.number}.walk"
        if field.is_repeated:
            count = f" tokens += ({number}, str(len(value)))"
            return [value, "if value:", count, f" {walk}", " for each in value: walk(each, tokens)"]
        head = [f"if has({field.name!r}):", f" {value}", f" tokens.append({number})"]
        return [*head, f" {walk}", " walk(value, tokens)"]
    if field.is_repeated:
        text = _text("each", field)
        items = "value" if text == "each" else f"[{text} for each in value]"
        return [value, f"if value: tokens += ({number}, str(len(value))); tokens += {items}"]
    is_set = f"value or has({field.name!r})" if field.has_presence else "value"
    return [value, f"if {is_set}: tokens += ({number}, {_text('value', field)})"]


class _Embedded:
    """Holds the walk of an embedded message type; compiled at first use, for types that recur."""

    __slots__ = ("_kind", "walk")

    def __init__(self, kind: Descriptor) -> None:
        self._kind = kind
        self.walk: Walk = self._compile_and_walk

    def _compile_and_walk(self, message: Any, tokens: list[str]) -> None:
        walk = _embedded.get(self._kind)
        if walk is None:
            walk = _embedded[self._kind] = _compile(self._kind, "")
        self.walk = walk
        walk(message, tokens)


def _walk_map(entry: Descriptor, entries: Any, tokens: list[str]) -> None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    key_text, value_text = _scalar(key), _scalar(value)
    embedded = None if value.message_type is None else _Embedded(value.message_type)
    tokens.append(str(len(entries)))
    for each in sorted(entries):
        tokens.append(key_text(each))
        if embedded is None:
            tokens.append(value_text(entries[each]))
        else:
            embedded.walk(entries[each], tokens)


def _scalar(field: FieldDescriptor) -> Callable[[Any], str]:
    """What `_text` writes, as a function."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes.hex
    if field.type == FieldDescriptor.TYPE_BOOL:
        return lambda value: "1" if value else "0"
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return _double
    return str


def _text(name: str, field: FieldDescriptor) -> str:
    """The expression that turns a scalar into its token."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return name
    if field.type == FieldDescriptor.TYPE_BYTES:
        return f"{name}.hex()"
    if field.type == FieldDescriptor.TYPE_BOOL:
        return f'("1" if {name} else "0")'
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return f"double_({name})"
    return f"str({name})"


def _double(value: float) -> str:
    return struct.pack(">d", value).hex()
