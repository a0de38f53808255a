"""X12 segments exactly as they stand in a payload: read by the ISA's own delimiters, written back.

    text = take_isa(body, 0, 1)                  # the delimiters come from here and nowhere else
    segment.text(3), segment.need(1)             # SegmentError: segment 12 (B10), element 3: …
    segment.decimal(4), segment.implied(7, 2)    # R and N2; never a float

Nothing is normalised: an element keeps its blanks, a segment its empty elements at the end and the
blanks and line breaks behind its terminator, so that what is read can be written again byte for
byte. Values are looked at when somebody asks for them; what nobody asks for is kept as it came.
Binary segments (BIN, BDS), in which delimiters are data, are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from typing import Final

from crossdock_adapters.sdk.places import Unreadable

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_SEGMENTS: Final = 50_000
MAX_ELEMENTS: Final = 100
MAX_ELEMENT_CHARACTERS: Final = 5_000
MAX_PARTS: Final = 100
MAX_DIGITS: Final = 18
# YYMMDD, and the first year of those that are still of the last century.
SHORT_DATE: Final = 6
FIRST_SHORT_YEAR: Final = "80"
# The last is EBCDIC's (0x15).
LINE_BREAKS: Final = "\r\n\x85"
# What may stand between two segments: some indent them, or fill lines up.
BLANKS: Final = LINE_BREAKS + " \t"
# How a file ends that was filled up to a record.
FILLING: Final = BLANKS + "\x00\x1a"
# One character for each byte, or strict UTF-8: what is decoded can be encoded to the same bytes.
ENCODINGS: Final = ("latin-1", "utf-8", "ascii", "cp1252", "cp037", "cp500")

# Data element error codes of AK4 (data element 723) and segment error codes of AK3 (720).
MISSING, TOO_MANY, TOO_SHORT, TOO_LONG = "1", "3", "4", "5"
BAD_CHARACTER, BAD_CODE, BAD_DATE, BAD_TIME, EXCLUDED = "6", "7", "8", "9", "10"
SEGMENT_MISSING, SEGMENT_REPEATED = "3", "5"
SEGMENT_MISPLACED, SEGMENT_HAS_ERRORS = "7", "8"

_IDENTIFIER = re.compile(r"[A-Z][A-Z0-9]{1,2}")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_DECIMAL = re.compile(r"-?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_WHOLE = re.compile(r"-?\d+", re.ASCII)
_TIME = re.compile(r"\d{4}(\d{2}(\d{1,2})?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fault:
    """What a 997 says about an element of a set, or about a segment (element 0).

    number: of the segment in the payload; segment_code: AK304, element_code: AK403 or "".
    """

    segment_id: str
    number: int
    segment_code: str
    element: int = 0
    component: int = 0
    element_code: str = ""


class SegmentError(Unreadable):
    """A segment or an element is not what it has to be; `fault` is that for a 997."""

    def __init__(self, problem: str, place: str = "", fault: Fault | None = None) -> None:
        super().__init__(problem, place)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Delimiters:
    """What separates; repetition is "" where the version knows none. `line_end`: only written."""

    element: str = "*"
    component: str = ">"
    terminator: str = "~"
    repetition: str = ""
    line_end: str = ""

    def __post_init__(self) -> None:
        """ValueError: two are the same, or one is a letter, a digit or a blank."""
        each = [self.element, self.component, self.terminator, *self.repetition]
        if len(set(each)) != len(each):
            raise ValueError("two delimiters are the same")
        for one in each:
            if len(one) != 1 or one.isalnum() or one == " ":
                raise ValueError("a delimiter is one character, no letter, digit or blank")
        if len(self.repetition) > 1 or self.line_end.strip(LINE_BREAKS):
            raise ValueError("repetition is at most one character, line_end a line break")

    def all(self) -> str:
        """Every character that must not stand in data."""
        return self.element + self.component + self.terminator + self.repetition

    def clean(self, text: str) -> str:
        """Free text with a blank for each character that X12 cannot say: it has no escapes."""
        kept = (" " if one in self.all() else one for one in _CONTROL.sub(" ", text))
        return " ".join("".join(kept).split())


USUAL: Final = Delimiters()


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. `elements` are raw, before repetitions and components are taken apart.

    `number` counts from 1 in the payload and is 0 for one that was not read; `after` are the blanks
    and line breaks behind the terminator; `left_open`: it has none, as the last one of a file may.
    Two segments are equal when they say the same.
    """

    id: str
    elements: tuple[str, ...] = ()
    number: int = field(default=0, compare=False)
    after: str = field(default="", compare=False)
    delimiters: Delimiters = field(default=USUAL, compare=False, repr=False)
    left_open: bool = field(default=False, compare=False, repr=False)

    def place(self, element: int = 0, component: int = 0) -> str:
        """Where this is, for people: segment 12 (B10), element 3, component 2."""
        told = f"segment {self.number} ({self.id})"
        if element:
            told += f", element {element}"
        return f"{told}, component {component}" if component else told

    def error(self, problem: str, code: str, element: int = 0, component: int = 0) -> SegmentError:
        """What is wrong here: code is AK403 with an element, AK304 without one."""
        segment_code = SEGMENT_HAS_ERRORS if element else code
        element_code = code if element else ""
        fault = Fault(self.id, self.number, segment_code, element, component, element_code)
        return SegmentError(problem, self.place(element, component), fault)

    def lacks(self, identifier: str, problem: str = "") -> SegmentError:
        """A segment that has to stand behind this one does not: a 997 names that one, not this."""
        fault = Fault(identifier, self.number + 1, SEGMENT_MISSING)
        return SegmentError(problem or f"has no {identifier}", self.place(), fault)

    def raw(self, element: int) -> str:
        """The element as it stands there; "" when it is not there."""
        return self.elements[element - 1] if element <= len(self.elements) else ""

    def text(self, element: int, default: str = "") -> str:
        """The element without blanks around it. SegmentError: it has a control character."""
        found = self.raw(element)
        if _CONTROL.search(found):
            raise self.error("has a control character", BAD_CHARACTER, element)
        return found.strip(" ") or default

    def need(self, element: int) -> str:
        """The element's text. SegmentError: it is missing."""
        found = self.text(element)
        if not found:
            raise self.error("is missing", MISSING, element)
        return found

    def decimal(self, element: int) -> Decimal | None:
        """Type R: a decimal with its point written. None: empty. SegmentError: it is none."""
        found = self.text(element)
        return self._number(found, element, _DECIMAL) if found else None

    def implied(self, element: int, decimals: int) -> Decimal | None:
        """Type N: a whole number of units of its last decimal. None: empty.

        Some write the point all the same, which says where it is. SegmentError: no number, or one
        with more decimals.
        """
        found = self.text(element)
        whole, point, fraction = found.partition(".")
        if not point:
            return self._number(found, element, _WHOLE).scaleb(-decimals) if found else None
        if len(fraction) > decimals:
            raise self.error(f"has more than {decimals} decimals", TOO_LONG, element)
        if not fraction and not whole:
            raise self.error("is no number", BAD_CHARACTER, element)
        return self._number(f"{whole}{fraction:0<{decimals}}", element, _WHOLE).scaleb(-decimals)

    def count(self, element: int) -> int:
        """Type N0 that has to be there and is not negative."""
        found = self._number(self.need(element), element, _WHOLE)
        if found < 0:
            raise self.error("is less than nothing", BAD_CODE, element)
        return int(found)

    def date(self, element: int) -> date | None:
        """CCYYMMDD; YYMMDD, as before release 004010, is of the years 1980 to 2079. None: empty.
        SegmentError: it is no day."""
        found = self.text(element)
        if not found:
            return None
        problem = "is no date (CCYYMMDD)"
        if len(found) == SHORT_DATE:
            found = ("19" if found[:2] >= FIRST_SHORT_YEAR else "20") + found
        if len(found) != 8 or not (found.isascii() and found.isdigit()):
            raise self.error(problem, BAD_DATE, element)
        try:
            return date(int(found[:4]), int(found[4:6]), int(found[6:]))
        except ValueError as error:
            raise self.error(problem, BAD_DATE, element) from error

    def time(self, element: int) -> time | None:
        """HHMM[SS[D[D]]]; parts of seconds are left out. None: empty. SegmentError: no time."""
        found = self.text(element)
        if not found:
            return None
        problem = "is no time (HHMM, HHMMSS or with hundredths)"
        if _TIME.fullmatch(found) is None:
            raise self.error(problem, BAD_TIME, element)
        try:
            return time(int(found[:2]), int(found[2:4]), int(found[4:6] or "0"))
        except ValueError as error:
            raise self.error(problem, BAD_TIME, element) from error

    def components(self, element: int) -> tuple[str, ...]:
        """A composite element taken apart; of several repetitions the first."""
        return self._parts(self.repetitions(element)[0], self.delimiters.component, element)

    def repetitions(self, element: int) -> tuple[str, ...]:
        """A repeated element taken apart; where the version repeats none, the one."""
        separator, found = self.delimiters.repetition, self.raw(element)
        return self._parts(found, separator, element) if separator else (found,)

    def written(self) -> str:
        """The segment with its terminator and what stands behind it."""
        marks = self.delimiters
        terminator = "" if self.left_open else marks.terminator
        return marks.element.join((self.id, *self.elements)) + terminator + self.after

    def _number(self, found: str, element: int, form: re.Pattern[str]) -> Decimal:
        if form.fullmatch(found) is None:
            raise self.error("is no number", BAD_CHARACTER, element)
        if sum(one.isdigit() for one in found) > MAX_DIGITS:
            raise self.error(f"has more than {MAX_DIGITS} digits", TOO_LONG, element)
        return Decimal(found)

    def _parts(self, found: str, separator: str, element: int) -> tuple[str, ...]:
        if found.count(separator) >= MAX_PARTS:
            raise self.error(f"has more than {MAX_PARTS} parts", TOO_MANY, element)
        return tuple(found.split(separator))


class Composite(str):
    """An element of components, whose separator is no data; `composite` makes one."""

    __slots__ = ()


def segment(delimiters: Delimiters, identifier: str, *elements: str) -> Segment:
    """A segment to be written; empty elements at its end are left out.

    ValueError: an element has a delimiter or a control character in it (`Delimiters.clean` is for
    free text, `composite` for components), or there are too many, or one is too long.
    """
    kept = list(elements)
    while kept and not kept[-1]:
        kept.pop()
    if len(kept) > MAX_ELEMENTS or _IDENTIFIER.fullmatch(identifier) is None:
        raise ValueError(f"{identifier}: no segment, or more than {MAX_ELEMENTS} elements")
    for position, element in enumerate(kept, start=1):
        own = delimiters.all()
        if isinstance(element, Composite):
            own = own.replace(delimiters.component, "")
        if _CONTROL.search(element) or any(one in own for one in element):
            raise ValueError(f"{identifier}{position:02} has a character that X12 cannot say")
        if len(element) > MAX_ELEMENT_CHARACTERS:
            raise ValueError(f"{identifier}{position:02} is too long")
    return Segment(identifier, tuple(kept), 0, delimiters.line_end, delimiters)


def composite(delimiters: Delimiters, *components: str) -> Composite:
    """An element of components; empty ones at its end are left out. ValueError as for a segment."""
    kept = list(components)
    while kept and not kept[-1]:
        kept.pop()
    if any(one in delimiters.all() for each in kept for one in each):
        raise ValueError("a component has a delimiter in it")
    return Composite(delimiters.component.join(kept))


def decoded(body: bytes, encoding: str) -> str:
    """A payload's text. Unreadable: too large, or not of this encoding."""
    if len(body) > MAX_BYTES:
        raise Unreadable(f"the payload has {len(body)} bytes, at most {MAX_BYTES} are read")
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not {encoding}", f"byte {error.start + 1}") from error


def take_segment(text: str, start: int, number: int, delimiters: Delimiters) -> tuple[Segment, int]:
    """The segment that begins here, and where the next one begins. Unreadable: it is none."""
    if number > MAX_SEGMENTS:
        raise Unreadable(f"more than {MAX_SEGMENTS} segments", f"segment {number}")
    end = text.find(delimiters.terminator, start)
    left_open = end < 0
    if left_open:
        # Some leave out the very last terminator; whether the IEA is whole its numbers tell.
        if not text.startswith(f"IEA{delimiters.element}", start):
            raise Unreadable("the payload ends before its terminator", f"segment {number}")
        end = len(text.rstrip(FILLING))
    if text.count(delimiters.element, start, end) > MAX_ELEMENTS:
        raise Unreadable(f"more than {MAX_ELEMENTS} elements", f"segment {number}")
    identifier, *elements = text[start:end].split(delimiters.element)
    if _IDENTIFIER.fullmatch(identifier) is None:
        raise Unreadable("begins with no segment identifier", f"segment {number}")
    for position, element in enumerate(elements, start=1):
        if len(element) > MAX_ELEMENT_CHARACTERS:
            place = f"segment {number} ({identifier}), element {position}"
            raise Unreadable(f"more than {MAX_ELEMENT_CHARACTERS} characters", place)
    behind = end + (not left_open)
    after = skip(text, behind, BLANKS)
    blanks = text[behind:after]
    return Segment(identifier, tuple(elements), number, blanks, delimiters, left_open), after


def skip(text: str, start: int, characters: str) -> int:
    """The first place from here on that is none of these characters."""
    while start < len(text) and text[start] in characters:
        start += 1
    return start


def written(segments: Iterable[Segment]) -> str:
    """Segments one after another, each with its own delimiters."""
    return "".join(each.written() for each in segments)
