"""Messages made of encoded ones: of their bytes as they are, not of copies encoded anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_LENGTH_DELIMITED: Final = 2
_SEVEN_BITS: Final = 0x7F
_MORE: Final = 0x80


def listed(number: int, messages: Iterable[bytes]) -> bytes:
    """The encoding of a message that has nothing but these in its repeated field of a number."""
    key = _varint(number << 3 | _LENGTH_DELIMITED)
    return b"".join([part for each in messages for part in (key, _varint(len(each)), each)])


def _varint(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first; all but the last say that more come."""
    groups = bytearray()
    while value > _SEVEN_BITS:
        groups.append(value & _SEVEN_BITS | _MORE)
        value >>= 7
    groups.append(value)
    return bytes(groups)
