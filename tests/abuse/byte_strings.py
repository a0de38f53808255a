"""Byte strings that are no request, or barely one: what a broken or hostile caller sends."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

from abuse.valid_messages import valid
from crossdock import contracts
from wild import absurd, damaged

NEST_LEVELS: Final = (90, 101, 1_000)
START_GROUP, END_GROUP = 3, 4


def tag(number: int, wire_type: int) -> bytes:
    """The key of a field as it is encoded."""
    return varint(number << 3 | wire_type)


def varint(value: int) -> bytes:
    """A number as it is encoded."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _noise(chance: random.Random, _kind: Any) -> bytes:
    return chance.randbytes(chance.choice((1, 2, 3, 7, 20, 100, 300, 2_000)))


def _shaped_noise(chance: random.Random, kind: Any) -> bytes:
    """Fields of the message by number, with another wire type and content than they have."""
    numbers = [field.number for field in kind.DESCRIPTOR.fields] or [1]
    out = b""
    for _ in range(chance.randint(1, 5)):
        wire_type = chance.randrange(8)
        number = chance.choice((*numbers, 0, 999, 2**29 - 1))
        content = chance.randbytes(chance.choice((0, 1, 4, 8, 9)))
        if wire_type == 2:
            content = varint(chance.choice((len(content), 2**31 - 1, 2**63))) + content
        out += tag(number, wire_type) + content
    return out


def _endless_number(chance: random.Random, kind: Any) -> bytes:
    return b"\x08" + b"\xff" * chance.choice((10, 11, 64)) + b"\x01"


def _broken_text(chance: random.Random, kind: Any) -> bytes:
    """A string field that is not UTF-8."""
    texts = [f.number for f in kind.DESCRIPTOR.fields if f.type == f.TYPE_STRING] or [1]
    content = b"ok" + chance.choice(
        (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80")
    )
    return tag(chance.choice(texts), 2) + varint(len(content)) + content


def _nested(chance: random.Random, kind: Any) -> bytes:
    """Deeper than any parser goes: groups in groups, or messages in a message field."""
    levels = chance.choice(NEST_LEVELS)
    numbers = [f.number for f in kind.DESCRIPTOR.fields if f.message_type] or [999]
    number = chance.choice((*numbers, 999))
    if chance.random() < 0.5:
        closed = chance.random() < 0.5
        return tag(number, START_GROUP) * levels + tag(number, END_GROUP) * (levels * closed)
    return _boxes(number, levels)


@cache
def _boxes(number: int, levels: int) -> bytes:
    """A message field in a message field, and so on."""
    key, out = tag(number, 2), b""
    for _ in range(levels):
        out = key + varint(len(out)) + out
    return out


def _absurd(chance: random.Random, kind: Any) -> bytes:
    encoded: bytes = absurd(chance, _sound(chance, kind)).SerializeToString()
    return encoded


def _damaged(chance: random.Random, kind: Any) -> bytes:
    return damaged(chance, _sound(chance, kind).SerializeToString())


@cache
def _valid(message_name: str) -> Any:
    return valid(message_name)


def _sound(chance: random.Random, kind: Any) -> Any:
    """A request that keeps all rules, with an id that nobody has used: it gets past the door."""
    request = kind()
    if chance.random() < 0.8:
        request.CopyFrom(_valid(kind.DESCRIPTOR.full_name))
    if "request_id" in kind.DESCRIPTOR.fields_by_name:
        request.request_id = str(uuid.UUID(int=chance.getrandbits(128)))
    return request


MAKERS: Final[tuple[Callable[[random.Random, Any], bytes], ...]] = (
    _noise,
    _shaped_noise,
    _endless_number,
    _broken_text,
    _nested,
    _absurd,
    _damaged,
)


def byte_strings(message_name: str, count: int, seed: str) -> Iterator[bytes]:
    """So many strings for a message, each kind in turn; the same seed gives the same ones."""
    chance = random.Random(f"{seed}/{message_name}")
    kind: Any = contracts.load().generated_class(message_name)
    for index in range(count):
        yield MAKERS[index % len(MAKERS)](chance, kind)
