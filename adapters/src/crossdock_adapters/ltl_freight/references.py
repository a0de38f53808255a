"""References of an X12 set by their qualifiers: N9 has the qualifier in front, L11 behind; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from crossdock_adapters.sdk.x12.segments import Segment

# The carrier's own number, the PRO; the shipper's.
CARRIER, SHIPPER = "CN", "SI"
# Where qualifier and value stand.
ELEMENTS: Final = {"N9": (1, 2), "L11": (2, 1)}


def first(body: Iterable[Segment], qualifier: str) -> tuple[Segment, int] | None:
    """The first reference with this qualifier that says something, and the element of its value."""
    for each in body:
        named, value = ELEMENTS.get(each.id, (0, 0))
        if named and each.text(named).upper() == qualifier and each.text(value):
            return each, value
    return None


def text(body: Iterable[Segment], qualifier: str) -> str:
    """What that reference says; "" where there is none."""
    found = first(body, qualifier)
    return "" if found is None else found[0].text(found[1])
