"""Finds the one character that a text of the contract never has: U+0000, which PostgreSQL keeps in
no text. Fields of bytes may have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from crossdock.contracts.image import is_map
from crossdock.errors import Violation

NO_NUL: Final = "string.no_nul"
_NULL: Final = "\0"
_DESCRIPTION: Final = "has the character U+0000, which is stored in no text; leave it out"


def may_have_null(data: bytes) -> bool:
    """Whether a message can have one by its encoded bytes, among which texts stand as they are."""
    return b"\0" in data


def null_characters(message: Any, prefix: str = "") -> list[Violation]:
    """Every text of a message that has one, told with its path behind a prefix."""
    return [Violation(path, _DESCRIPTION, NO_NUL) for path in _within(message, prefix)]


def _within(message: Any, prefix: str) -> Iterator[str]:
    """The paths of texts that have one, in the order of their fields."""
    for field, value in message.ListFields():
        for path, each in _values(field, value, prefix + field.name):
            if isinstance(each, str):
                if _NULL in each:
                    yield path
            elif field.message_type is not None and hasattr(each, "ListFields"):
                yield from _within(each, f"{path}.")


def _values(field: FieldDescriptor, value: Any, path: str) -> Iterable[tuple[str, Any]]:
    """The values of a field with their paths."""
    if is_map(field):
        return [_entry(path, key, item) for key, item in value.items()]
    if field.is_repeated:
        return [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    return [(path, value)]


def _entry(path: str, key: Any, item: Any) -> tuple[str, Any]:
    """An entry of a map: the key, where that has one, else its value."""
    shown = str(key).replace(_NULL, "\\0")
    return f'{path}["{shown}"]', key if shown != str(key) else item
