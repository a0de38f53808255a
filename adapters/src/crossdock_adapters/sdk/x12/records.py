"""Payloads that a host cut into records of one width, wherever that falls: inside a segment too.

    found = records.cut(text, "latin-1")         # None: no lines of one width
    if found is not None and found.inside(segments): read(found.joined)

That a text has lines of one width does not say that it was cut: two lines have one, and segments
may be as long as each other. It was where the text cannot be read as it came, or where a break
stands inside an element; breaks behind segments are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12.isa import take_isa
from crossdock_adapters.sdk.x12.segments import FILLING, LINE_BREAKS, Delimiters, Segment

# EBCDIC's, 0x15; of its pair with 0x0D only together.
_NEXT_LINE: Final = re.compile("(?<!\r)\x85")
# One kind cuts a file.
_BREAKS: Final = (
    *(re.compile(each) for each in ("\r\n", "\r\x85", "(?<!\r)\n", "\r(?![\n\x85])")),
    _NEXT_LINE,
)
# Read by this encoding a 0x85 may be half a letter of UTF-8, or another encoding's sign.
ANY_BYTES: Final = "latin-1"
# Two such letters at one distance are none.
SURE_RECORDS: Final = 2


@dataclass(frozen=True, slots=True)
class Cut:
    """A text that may have been cut. `joined`: without these breaks, and without what fills its
    last record up. `sure`: whether a break inside an element can be nothing but one."""

    joined: str
    line_break: re.Pattern[str]
    sure: bool

    def inside(self, segments: Iterable[Segment]) -> bool:
        """Whether a break stands inside an element of the text as it came, and separates nothing
        there."""
        return self.sure and any(
            self.line_break.search(element)
            for each in segments
            if not _separates(each.delimiters)
            for element in each.elements
        )


def cut(text: str, encoding: str) -> Cut | None:
    """The text joined, where breaks of one kind make lines of one width of it, of which the last
    may be shorter, and it begins with an ISA then. None where they do not.

    text: from its ISA on.
    """
    kept = text.rstrip(FILLING)
    for each in _BREAKS:
        *records, last = each.split(kept)
        if len({len(one) for one in records}) != 1 or len(last) > len(records[0]):
            continue
        joined = "".join((*records, last))
        try:
            take_isa(joined, 0, 1)
        except Unreadable:
            # Such as one whose delimiters are these breaks.
            continue
        letter = encoding == ANY_BYTES and each is _NEXT_LINE
        return Cut(joined, each, not letter or len(records) >= SURE_RECORDS)
    return None


def _separates(marks: Delimiters) -> bool:
    """Whether a line break separates elements, components or repetitions."""
    return any(one in LINE_BREAKS for one in marks.element + marks.component + marks.repetition)
