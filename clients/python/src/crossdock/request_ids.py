"""Ids by which the hub knows that a request is a repeat of one it has answered."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Final

_REQUEST_ID_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "crossdock:request")
_RANDOM_BITS: Final = 80
# Of a UUID as a number: its version and its variant, and where they stand.
_VERSION, _VARIANT = 0x7 << 76, 0x2 << 62
_WITHOUT_BOTH: Final = ~(0xF << 76 | 0x3 << 62)


def request_id(endpoint: str, document: str, version: str) -> str:
    """The request_id (UUIDv5) for what a document says in one version of it.

    An adapter that restarts derives the same id again, so that the hub answers again instead of
    writing again. endpoint: its id. document: number there. version: of the document, for example
    its last-modified time; a better translation of the same version names itself in it.
    """
    return str(uuid.uuid5(_REQUEST_ID_NAMESPACE, "\0".join((endpoint, document, version))))


def new_request_id() -> str:
    """A request_id (UUIDv7: RFC 9562, section 5.7) that was never used, for what no document tells
    apart. Keep it until the answer is there, and repeat with the same one.

    It begins with its milliseconds, so that the hub stores it beside those of the same time: ids
    without order read and write one more page of a large table each.
    """
    return str(uuid7(time.time_ns() // 1_000_000, secrets.randbits(_RANDOM_BITS)))


def uuid7(milliseconds: int, random_bits: int) -> uuid.UUID:
    """A UUIDv7 of a time since 1970, with 74 of 80 random bits."""
    value = (milliseconds << _RANDOM_BITS | random_bits) & _WITHOUT_BOTH
    return uuid.UUID(int=value | _VERSION | _VARIANT)
