"""The interchange header: 106 characters of fixed widths that name every delimiter behind them.

It is written with these widths. It is read without them, too, where only the blanks are missing or
too many with which names and ids are filled up, as some translators leave it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12.segments import BLANKS, LINE_BREAKS, Delimiters, Segment, skip

WIDTHS: Final = (2, 10, 2, 10, 2, 15, 2, 15, 6, 4, 1, 5, 9, 1, 1, 1)
LENGTH: Final = 106
# Texts, which blanks fill up to their width.
FILLED_UP: Final = frozenset({2, 4, 6, 8})
# Editors break the line behind such blanks.
FILLED_WITH: Final = " " + LINE_BREAKS
# As long as a header may get by more blanks than there should be.
MAX_LENGTH: Final = 200
# From this version on ISA11 is the repetition separator; before, the standard's identifier (U).
FIRST_REPEATING: Final = "00402"
STANDARD: Final = "U"
MAX_CONTROL_NUMBER: Final = 999_999_999
PRODUCTION, TEST = "P", "T"

_FORMS: Final = {
    9: (re.compile(r"\d{6}", re.ASCII), "is no date (YYMMDD)"),
    # Some write the midnight at the end of their day so; nobody reads it.
    10: (re.compile(r"([01]\d|2[0-3])[0-5]\d|2400", re.ASCII), "is no time (HHMM)"),
    12: (re.compile(r"\d{5}", re.ASCII), "is no version (five digits)"),
    13: (re.compile(r"\d{9}", re.ASCII), "is no control number (nine digits)"),
    14: (re.compile(r"[01]"), "is neither 0 nor 1"),
    15: (re.compile(r"[IPT]"), "is none of P, T and I"),
}


def take_isa(text: str, start: int, number: int) -> tuple[Segment, int]:
    """The ISA that begins here, and where the next segment begins.

    Unreadable: it breaks off, an element is not as wide as it has to be, or two delimiters are the
    same.
    """
    place = f"segment {number} (ISA)"
    if not text.startswith("ISA", start):
        raise Unreadable("an ISA is expected here", f"segment {number}")
    elements = _filled_up_otherwise(text[start : start + MAX_LENGTH])
    if not elements:
        head = text[start : start + LENGTH]
        if len(head) < LENGTH:
            raise Unreadable(f"has {len(head)} characters, {LENGTH} are wanted", place)
        elements = _elements(head, place)
    for position, (form, problem) in _FORMS.items():
        if form.fullmatch(elements[position - 1]) is None:
            raise Unreadable(problem, f"{place}, element {position}")
    repetition = elements[10]
    repeats = elements[11] >= FIRST_REPEATING and not repetition.isalnum() and repetition != " "
    # Who names one character twice repeats nothing.
    repeats = repeats and repetition != elements[15]
    end = start + len("ISA") + sum(len(each) + 1 for each in elements)
    marks = text[start + 3], elements[15], text[end], repetition if repeats else ""
    try:
        delimiters = Delimiters(*marks)
    except ValueError as error:
        raise Unreadable(str(error), place) from error
    after = skip(text, end + 1, BLANKS)
    return Segment("ISA", elements, number, text[end + 1 : after], delimiters), after


def isa(
    delimiters: Delimiters,
    sender: tuple[str, str],
    receiver: tuple[str, str],
    now: datetime,
    control_number: int,
    *,
    version: str = "00401",
    usage: str = PRODUCTION,
    acknowledged: bool = False,
) -> Segment:
    """An ISA to be written. Sender and receiver are qualifier and id; `acknowledged` asks for TA1.

    ValueError: something does not fit its width or has a delimiter in it, or the version and the
    repetition separator do not go together.
    """
    if version >= FIRST_REPEATING and not delimiters.repetition:
        raise ValueError(f"version {version} needs a repetition separator")
    if not 0 <= control_number <= MAX_CONTROL_NUMBER:
        raise ValueError("an interchange control number has nine digits")
    told = (
        *("00", "", "00", "", *sender, *receiver, f"{now:%y%m%d}", f"{now:%H%M}"),
        *(delimiters.repetition or STANDARD, version, f"{control_number:09}"),
        *("1" if acknowledged else "0", usage, delimiters.component),
    )
    elements = tuple(each.ljust(width) for each, width in zip(told, WIDTHS, strict=True))
    made = Segment("ISA", elements, 0, delimiters.line_end, delimiters)
    again, _ = take_isa(made.written(), 0, 1)
    if again.delimiters.repetition != delimiters.repetition:
        raise ValueError(f"version {version} and the repetition separator do not go together")
    return made


def _filled_up_otherwise(head: str) -> tuple[str, ...]:
    """The sixteen elements, told apart by their separator, where all but the blanks of a text are
    as wide as they have to be; none where they are not."""
    separator = head[3:4]
    if not separator or separator.isalnum() or separator == " ":
        return ()
    parts = head[4:].split(separator, len(WIDTHS) - 1)
    # Behind the last one, of one character, stands the terminator.
    if len(parts) < len(WIDTHS) or len(parts[-1]) < 2:
        return ()
    elements = (*parts[:-1], parts[-1][0])
    for position, (width, found) in enumerate(zip(WIDTHS, elements, strict=True), start=1):
        text = found.strip(FILLED_WITH) if position in FILLED_UP else found
        if len(text) > width or (position not in FILLED_UP and len(text) < width):
            return ()
    return elements


def _elements(head: str, place: str) -> tuple[str, ...]:
    """The sixteen, by their widths; a separator that is missing is told where it should be."""
    separator, at, elements = head[3], 4, []
    for position, width in enumerate(WIDTHS, start=1):
        found = head[at : at + width]
        at += width
        ends = position == len(WIDTHS) or head[at] == separator
        if not ends or (separator in found and position < len(WIDTHS)):
            raise Unreadable(f"is not {width} characters wide", f"{place}, element {position}")
        elements.append(found)
        at += 1
    return tuple(elements)
