"""The interchange header: 106 characters of fixed widths that name every delimiter behind them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12.segments import LINE_BREAKS, Delimiters, Segment, skip

WIDTHS: Final = (2, 10, 2, 10, 2, 15, 2, 15, 6, 4, 1, 5, 9, 1, 1, 1)
LENGTH: Final = 106
# From this version on ISA11 is the repetition separator; before, the standard's identifier (U).
FIRST_REPEATING: Final = "00402"
STANDARD: Final = "U"
MAX_CONTROL_NUMBER: Final = 999_999_999
PRODUCTION, TEST = "P", "T"

_FORMS: Final = {
    9: (re.compile(r"\d{6}", re.ASCII), "is no date (YYMMDD)"),
    10: (re.compile(r"([01]\d|2[0-3])[0-5]\d", re.ASCII), "is no time (HHMM)"),
    12: (re.compile(r"\d{5}", re.ASCII), "is no version (five digits)"),
    13: (re.compile(r"\d{9}", re.ASCII), "is no control number (nine digits)"),
    14: (re.compile(r"[01]"), "is neither 0 nor 1"),
    15: (re.compile(r"[IPT]"), "is none of P, T and I"),
}


def take_isa(text: str, start: int, number: int) -> tuple[Segment, int]:
    """The ISA that begins here, and where the next segment begins.

    Unreadable: it does not have 106 characters, an element is not as wide as it has to be, or two
    delimiters are the same.
    """
    place = f"segment {number} (ISA)"
    head = text[start : start + LENGTH]
    if not head.startswith("ISA"):
        raise Unreadable("an ISA is expected here", f"segment {number}")
    if len(head) < LENGTH:
        raise Unreadable(f"has {len(head)} characters, {LENGTH} are wanted", place)
    elements = _elements(head, place)
    for position, (form, problem) in _FORMS.items():
        if form.fullmatch(elements[position - 1]) is None:
            raise Unreadable(problem, f"{place}, element {position}")
    repetition = elements[10]
    repeats = elements[11] >= FIRST_REPEATING and not repetition.isalnum() and repetition != " "
    try:
        delimiters = Delimiters(head[3], head[104], head[105], repetition if repeats else "")
    except ValueError as error:
        raise Unreadable(str(error), place) from error
    after = skip(text, start + LENGTH, LINE_BREAKS)
    line_break = text[start + LENGTH : after]
    return Segment("ISA", elements, number, line_break, delimiters), after


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
