"""Pages of lists: opaque tokens that only fit the query they came from; pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from crossdock.errors import Violation

from crossdock_hub.config import Limits
from crossdock_hub.refusals import invalid
from crossdock_hub.unit import Refused

_FINGERPRINT_BYTES = 6
# A page ends early rather than outgrow what a message may hold.
PAGE_BYTES_SHARE = 0.6
# What says how much of the list is told, and not which: it may differ from page to page.
NOT_OF_THE_QUERY = frozenset({"page_token", "page_size", "with_attempts", "request_id", "reason"})


def page_size(request: Any, limits: Limits) -> int:
    """How many entries a page may have."""
    wanted: int = request.page_size or limits.page_size_default
    return min(wanted, limits.page_size_max)


def room_of(limits: Limits) -> int:
    """How many bytes of an answer its list may take."""
    return int(limits.message_bytes_max * PAGE_BYTES_SHARE)


def next_token(request: Any, position: str) -> str:
    """The token of the page that follows `position`, for this query only."""
    return base64.urlsafe_b64encode(_fingerprint(request) + position.encode()).decode()


def position_of(request: Any) -> str:
    """Where the page begins: "" for the first. Raises Refused with INVALID_FIELD page_token."""
    token: str = request.page_token
    if not token:
        return ""
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        position = raw[_FINGERPRINT_BYTES:].decode()
    except (binascii.Error, ValueError):
        raise _refused("is no token of this hub; send what the page before gave") from None
    fits = raw[:_FINGERPRINT_BYTES] == _fingerprint(request)
    # A position never has U+0000, and PostgreSQL would not even compare with it.
    if not fits or not position or "\0" in position:
        raise _refused("belongs to another query; repeat the filters of the page before")
    return position


# What entries are listed by where a list is made anew each time, the highest first: a page begins
# behind a place, so that one which leaves the list meanwhile moves no other over its edge.
Place = tuple[bool, int, str]


def position_behind(place: Place) -> str:
    """The position of the page that begins behind a place."""
    first, number, name = place
    return f"{first:d}:{number}:{name}"


def place_of(request: Any) -> Place | None:
    """The place behind which the page begins; None: the first page. Raises Refused, as above."""
    position = position_of(request)
    if not position:
        return None
    first, _, rest = position.partition(":")
    number, _, name = rest.partition(":")
    if first not in ("0", "1") or not number.isdecimal():
        raise _refused("is no token of this hub; send what the page before gave")
    return first == "1", int(number), name


def _refused(problem: str) -> Refused:
    return invalid([Violation("page_token", problem, "page_token")])


def _fingerprint(request: Any) -> bytes:
    query = type(request)()
    query.CopyFrom(request)
    for name in NOT_OF_THE_QUERY & set(query.DESCRIPTOR.fields_by_name):
        query.ClearField(name)
    kind = request.DESCRIPTOR.full_name.encode()
    encoded = query.SerializeToString(deterministic=True)
    return hashlib.blake2b(kind + b"\0" + encoded, digest_size=_FINGERPRINT_BYTES).digest()
