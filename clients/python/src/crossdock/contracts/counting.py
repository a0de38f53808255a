"""Counts what an encoding holds before it is parsed, and finds lists that are too long.

Two bytes on the wire become an object of a hundred in memory, and far more in every check after it:
a megabyte of empty items costs gigabytes and half a minute where nobody counts first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from crossdock.contracts.image import is_map
from crossdock.errors import Violation

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX: Final = 10
# The fewest bytes that an element takes: a key and a length of zero.
_ELEMENT_BYTES_MIN: Final = 2


@dataclass(slots=True)
class _Kind:
    """What matters of a message type: by field number, the type inside, or None for a text."""

    elements: dict[int, _Kind | None] = field(default_factory=dict)


class ElementCounter:
    """Counts messages and repeated texts at every depth. One for each image."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def holds_more(self, kind: Descriptor, data: bytes, most: int) -> bool:
        """True when the encoded message holds more than `most` elements.

        What is malformed is counted up to there: the parser refuses it. Costs nothing where the
        bytes are too few to hold so many.
        """
        if len(data) // _ELEMENT_BYTES_MIN <= most:
            return False
        return any(count > most for count in _counts(data, self._kind(kind)))

    def _kind(self, descriptor: Descriptor) -> _Kind:
        found = self._kinds.get(descriptor.full_name)
        if found is None:
            found = self._kinds[descriptor.full_name] = _Kind()
            for each in descriptor.fields:
                if each.message_type is not None:
                    found.elements[each.number] = self._kind(each.message_type)
                elif each.is_repeated and each.type in (each.TYPE_STRING, each.TYPE_BYTES):
                    # Numbers are packed, and stay as small in memory.
                    found.elements[each.number] = None
        return found


def _counts(data: bytes, kind: _Kind) -> Iterator[int]:
    """The number of elements so far, each time it grows."""
    count, position, end = 0, 0, len(data)
    around: list[tuple[int, _Kind]] = []
    while True:
        while position >= end:
            if not around:
                return
            end, kind = around.pop()
        key, position = _number(data, position)
        wire_type, number = key & 7, key >> 3
        if wire_type == _VARINT:
            _, position = _number(data, position)
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        elif wire_type == _LENGTH:
            length, position = _number(data, position)
            if number in kind.elements:
                count += 1
                yield count
                inside = kind.elements[number]
                if inside is not None and length and position + length <= end:
                    around.append((end, kind))
                    end, kind = position + length, inside
                    continue
            position += length


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A varint and where it ends; what is cut off ends with the data."""
    value = shift = 0
    for byte in data[position : position + _VARINT_BYTES_MAX]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    return value, len(data)


@dataclass(frozen=True, slots=True)
class _Lists:
    """The lists with a limit in a message type, and the fields that lead to further ones."""

    limits: tuple[tuple[str, int], ...]
    inside: tuple[tuple[str, bool, _Lists], ...]


class ListLimits:
    """Finds lists longer than the contract allows, without looking at what they hold."""

    def __init__(self, limit_of: Callable[[FieldDescriptor], int]) -> None:
        """limit_of: the most items of a repeated field; 0: any number."""
        self._limit_of = limit_of
        self._lists: dict[str, _Lists] = {}

    def exceeded(self, message: Any) -> list[Violation]:
        """A violation for each list that is too long; nothing below such a list is looked at."""
        kind = message.DESCRIPTOR
        found = self._lists.get(kind.full_name)
        if found is None:
            found = self._lists[kind.full_name] = self._compile(kind, ())
        return list(_exceeded(message, found, ""))

    def _compile(self, kind: Descriptor, around: tuple[str, ...]) -> _Lists:
        limits, inside = [], []
        for each in kind.fields:
            most = self._limit_of(each) if each.is_repeated else 0
            if most:
                limits.append((each.name, most))
            below = each.message_type
            if below is None or is_map(each) or below.full_name in (kind.full_name, *around):
                continue
            lists = self._compile(below, (*around, kind.full_name))
            if lists.limits or lists.inside:
                inside.append((each.name, each.is_repeated, lists))
        return _Lists(tuple(limits), tuple(inside))


def _exceeded(message: Any, lists: _Lists, prefix: str) -> Iterator[Violation]:
    too_long = set()
    for name, most in lists.limits:
        count = len(getattr(message, name))
        if count > most:
            too_long.add(name)
            words = f"must contain no more than {most} item(s), has {count}"
            yield Violation(prefix + name, words, "repeated.max_items")
    for name, repeated, below in lists.inside:
        if name in too_long:
            continue
        if repeated:
            for index, item in enumerate(getattr(message, name)):
                yield from _exceeded(item, below, f"{prefix}{name}[{index}].")
        elif message.HasField(name):
            yield from _exceeded(getattr(message, name), below, f"{prefix}{name}.")
