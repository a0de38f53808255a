"""Interchanges, groups and transaction sets: read with their counts and control numbers checked.

    payload = envelopes.read(body)               # Unreadable: no interchange that can be answered
    for interchange in payload.interchanges:
        for group in interchange.groups:
            for found in group.sets: ...         # found.codes: why its 997 will not accept it
    envelopes.write(payload) == body

What is wrong with a whole interchange (its trailer, its count) makes the payload unreadable: half
a file says nothing. What is wrong with a group or a set is kept with it, in the codes of a 997,
and costs none of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12 import records
from crossdock_adapters.sdk.x12.isa import FILLED_WITH, PRODUCTION, isa, take_isa
from crossdock_adapters.sdk.x12.segments import (
    BLANKS,
    FILLING,
    USUAL,
    Delimiters,
    Segment,
    decoded,
    segment,
    skip,
    take_segment,
    written,
)

# VANs put what came in a day into one file. So many of a single status, of nine segments at least,
# are 45,000 of the 50,000 segments that a payload may have.
MAX_INTERCHANGES: Final = 5_000
MAX_GROUPS: Final = 1_000
MAX_SETS: Final = 10_000
# From this release on days are written with their century.
FIRST_LONG_DAYS: Final = "004010"
# GS08 has twelve characters at most: the release, and what a guide adds behind it.
RELEASE: Final = re.compile(r"\d{6}[A-Z0-9]{0,6}", re.ASCII)
# The mark in front of a UTF-8 file: as UTF-8, and as encodings of one byte a character show it.
BYTE_ORDER_MARKS: Final = ("\ufeff", "\xef\xbb\xbf")
# Codes of AK5 (data element 718) and of AK9 (716).
SET_TRAILER_MISSING, SET_NUMBERS_DIFFER, SET_COUNT_WRONG = "2", "3", "4"
SET_SEGMENTS_IN_ERROR, SET_ID_INVALID, SET_NUMBER_INVALID = "5", "6", "7"
SET_NOT_SUPPORTED, SET_NUMBER_REPEATED = "1", "23"
GROUP_TRAILER_MISSING, GROUP_NUMBERS_DIFFER, GROUP_COUNT_WRONG = "3", "4", "5"

_FUNCTIONAL_ID = re.compile(r"[A-Za-z0-9]{2}")
_SET_ID = re.compile(r"\d{3}", re.ASCII)
_SET_NUMBER = re.compile(r"[A-Za-z0-9]{4,9}")
_GROUP_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TransactionSet:
    """ST to SE. `codes`: what is wrong with the envelope itself, as AK5 says it."""

    header: Segment
    body: tuple[Segment, ...]
    trailer: Segment | None
    codes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def id(self) -> str:
        """Which set this is, such as 214."""
        return self.header.raw(1).strip(" ")

    @property
    def control_number(self) -> str:
        """ST02 as it is written; zeros in front count."""
        return self.header.raw(2).strip(" ")

    def segments(self) -> Iterator[Segment]:
        """All of them, ST and SE too."""
        yield self.header
        yield from self.body
        if self.trailer is not None:
            yield self.trailer

    def position(self, number: int) -> int:
        """Where in the set the segment with this number in the payload stands; ST is 1."""
        return max(number - self.header.number + 1, 1)


@dataclass(frozen=True, slots=True)
class Group:
    """GS to GE. `codes`: what is wrong with the envelope itself, as AK9 says it. `isa`: of the
    interchange that it was read from."""

    header: Segment
    sets: tuple[TransactionSet, ...]
    trailer: Segment | None
    codes: tuple[str, ...] = field(default=(), compare=False)
    isa: Segment | None = field(default=None, compare=False)

    @property
    def functional_id(self) -> str:
        """GS01, such as QM for status messages."""
        return self.header.raw(1).strip(" ")

    @property
    def control_number(self) -> int:
        """GS06."""
        return int(self.header.raw(6))

    def segments(self) -> Iterator[Segment]:
        """All of them, GS and GE too."""
        yield self.header
        for each in self.sets:
            yield from each.segments()
        if self.trailer is not None:
            yield self.trailer


@dataclass(frozen=True, slots=True)
class Interchange:
    """ISA to IEA. `others` stand between the ISA and the first group, as TA1 does."""

    header: Segment
    groups: tuple[Group, ...]
    trailer: Segment
    others: tuple[Segment, ...] = ()

    @property
    def sender(self) -> tuple[str, str]:
        """Qualifier and id of who sent it."""
        return self.header.raw(5).strip(" "), self.header.raw(6).strip(FILLED_WITH)

    @property
    def receiver(self) -> tuple[str, str]:
        """Qualifier and id of whom it is for."""
        return self.header.raw(7).strip(" "), self.header.raw(8).strip(FILLED_WITH)

    @property
    def control_number(self) -> int:
        """ISA13."""
        return int(self.header.raw(13))

    @property
    def usage(self) -> str:
        """P for production, T for test, I for information."""
        return self.header.raw(15)

    @property
    def delimiters(self) -> Delimiters:
        """As the ISA names them."""
        return self.header.delimiters

    def segments(self) -> Iterator[Segment]:
        """All of them."""
        yield self.header
        yield from self.others
        for group in self.groups:
            yield from group.segments()
        yield self.trailer


@dataclass(frozen=True, slots=True)
class Payload:
    """Interchanges one after another, and what stands before and behind them."""

    interchanges: tuple[Interchange, ...]
    before: str = ""
    behind: str = ""


def read(body: bytes, encoding: str = "latin-1") -> Payload:
    """Every interchange of a payload, with what is wrong in them. One that is cut into records of
    one width is read as if it were not.

    Unreadable: no interchange, an ISA that is none, a segment outside its envelope, a trailer that
    is missing or says another count or control number, or more than the limits of this module.
    """
    text = decoded(body, encoding)
    marked = next((len(each) for each in BYTE_ORDER_MARKS if text.startswith(each)), 0)
    start = skip(text, marked, BLANKS)
    before = text[:start]
    found = records.cut(text[start:], encoding)
    try:
        payload = _read(text, before)
    except Unreadable:
        if found is None:
            raise
    else:
        if found is None or not found.inside(_segments(payload)):
            return payload
    return _read(before + found.joined, before)


def write(payload: Payload, encoding: str = "latin-1") -> bytes:
    """The payload's bytes; of what was read, the same, but for the breaks between records of one
    width. ValueError: not of this encoding."""
    parts = (written(each.segments()) for each in payload.interchanges)
    return "".join((payload.before, *parts, payload.behind)).encode(encoding)


def transaction_set(
    delimiters: Delimiters, set_id: str, control_number: str, body: Sequence[Segment]
) -> TransactionSet:
    """A set to be written, with its count."""
    return TransactionSet(
        segment(delimiters, "ST", set_id, control_number),
        tuple(body),
        segment(delimiters, "SE", str(len(body) + 2), control_number),
    )


def alone(interchange: Interchange, group: Group, found: TransactionSet) -> Payload:
    """One set of an interchange in envelopes of its own, with the headers that it came in."""
    marks = interchange.delimiters
    group_trailer = segment(marks, "GE", "1", group.header.raw(6))
    one = Group(group.header, (found,), group_trailer)
    trailer = segment(marks, "IEA", "1", interchange.header.raw(13))
    return Payload((Interchange(interchange.header, (one,), trailer),))


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who writes to whom, and how; what a partner's guide says.

    sender, receiver: qualifier and id of the ISA; application_sender, application_receiver: of the
    GS. release: GS08, such as 004010; "" is that of the version.
    """

    sender: tuple[str, str]
    receiver: tuple[str, str]
    application_sender: str
    application_receiver: str
    version: str = "00401"
    release: str = ""
    usage: str = PRODUCTION
    acknowledged: bool = False
    delimiters: Delimiters = USUAL

    def __post_init__(self) -> None:
        """ValueError: the release is none, so nobody could tell whether it is an old one."""
        if RELEASE.fullmatch(self.written_release) is None:
            raise ValueError(
                f"release is {self.written_release!r}: GS08 is six digits and at most six capital "
                "letters or digits behind them; give it as the partner's guide says it, such as "
                "003060 or 004010VICS"
            )

    @property
    def written_release(self) -> str:
        """GS08: the release, or that of the version."""
        return self.release or f"{self.version}0"

    def group(
        self, functional_id: str, control_number: int, now: datetime, sets: Sequence[TransactionSet]
    ) -> Group:
        """A group to be written, with its count."""
        marks, number = self.delimiters, str(control_number)
        day = f"{now:%Y%m%d}" if self.written_release >= FIRST_LONG_DAYS else f"{now:%y%m%d}"
        header = segment(
            marks,
            "GS",
            functional_id,
            self.application_sender,
            self.application_receiver,
            day,
            f"{now:%H%M}",
            number,
            "X",
            self.written_release,
        )
        return Group(header, tuple(sets), segment(marks, "GE", str(len(sets)), number))

    def interchange(
        self, control_number: int, now: datetime, groups: Sequence[Group]
    ) -> Interchange:
        """An interchange to be written. ValueError: a part of the header does not fit its width."""
        header = isa(
            self.delimiters,
            self.sender,
            self.receiver,
            now,
            control_number,
            version=self.version,
            usage=self.usage,
            acknowledged=self.acknowledged,
        )
        trailer = segment(self.delimiters, "IEA", str(len(groups)), f"{control_number:09}")
        return Interchange(header, tuple(groups), trailer)


def _read(text: str, before: str) -> Payload:
    """The interchanges of a text, behind what stands before them."""
    start, number = len(before), 1
    interchanges: list[Interchange] = []
    while not interchanges or text.startswith("ISA", start):
        if len(interchanges) == MAX_INTERCHANGES:
            raise Unreadable(f"more than {MAX_INTERCHANGES} interchanges", f"segment {number}")
        taken, start = _take_interchange(text, start, number)
        interchanges.append(_interchange(taken))
        number += len(taken)
    if skip(text, start, FILLING) < len(text):
        raise Unreadable("an ISA or the end is expected here", f"segment {number}")
    return Payload(tuple(interchanges), before, text[start:])


def _segments(payload: Payload) -> Iterator[Segment]:
    for each in payload.interchanges:
        yield from each.segments()


def _take_interchange(text: str, start: int, number: int) -> tuple[list[Segment], int]:
    """The segments of one interchange, and where what is behind it begins."""
    header, start = take_isa(text, start, number)
    taken = [header]
    while taken[-1].id != "IEA":
        if start == len(text):
            raise Unreadable("the payload ends before the IEA", f"segment {number + len(taken)}")
        found, start = take_segment(text, start, number + len(taken), header.delimiters)
        taken.append(found)
    return taken, start


def _interchange(taken: Sequence[Segment]) -> Interchange:
    header, trailer = taken[0], taken[-1]
    first = next((at for at, each in enumerate(taken) if each.id in ("GS", "IEA")), 0)
    others = tuple(taken[1:first])
    stray = next((each for each in others if each.id != "TA1"), None)
    if stray is not None:
        raise Unreadable("a GS, a TA1 or the IEA is expected here", stray.place())
    groups: list[Group] = []
    at = first
    while at < len(taken) - 1:
        group, at = _take_group(taken, at)
        groups.append(replace(group, isa=header))
        if len(groups) > MAX_GROUPS:
            raise Unreadable(f"more than {MAX_GROUPS} groups", group.header.place())
    if trailer.count(1) != len(groups):
        problem = f"says another number of groups than the {len(groups)} that are there"
        raise Unreadable(problem, trailer.place(1))
    # As numbers: some leave out the zeros in front.
    if trailer.count(2) != int(header.raw(13)):
        raise Unreadable("is not the control number of the ISA", trailer.place(2))
    return Interchange(header, tuple(groups), trailer, others)


def _take_group(taken: Sequence[Segment], at: int) -> tuple[Group, int]:
    """The group that begins here, and the place behind it."""
    header = taken[at]
    if header.id != "GS":
        raise Unreadable("a GS or the IEA is expected here", header.place())
    # Without these two a group can be neither accepted nor rejected.
    if _FUNCTIONAL_ID.fullmatch(header.raw(1).strip(" ")) is None:
        raise Unreadable("is no functional identifier (two letters or digits)", header.place(1))
    if _GROUP_NUMBER.fullmatch(header.raw(6).strip(" ")) is None:
        raise Unreadable("is no group control number", header.place(6))
    at += 1
    sets: list[TransactionSet] = []
    numbers: set[str] = set()
    while taken[at].id not in ("GE", "GS", "IEA"):
        found, at = _take_set(taken, at, numbers)
        sets.append(found)
        if len(sets) > MAX_SETS:
            raise Unreadable(f"more than {MAX_SETS} sets", found.header.place())
    if taken[at].id != "GE":
        return Group(header, tuple(sets), None, (GROUP_TRAILER_MISSING,)), at
    trailer, codes = taken[at], []
    if not _says(trailer, 2, int(header.raw(6))):
        codes.append(GROUP_NUMBERS_DIFFER)
    if not _says(trailer, 1, len(sets)):
        codes.append(GROUP_COUNT_WRONG)
    return Group(header, tuple(sets), trailer, tuple(codes)), at + 1


def _take_set(taken: Sequence[Segment], at: int, numbers: set[str]) -> tuple[TransactionSet, int]:
    """The set that begins here, and the place behind it. numbers: of the group so far."""
    header = taken[at]
    if header.id != "ST":
        raise Unreadable("an ST or the GE is expected here", header.place())
    end = at + 1
    while taken[end].id not in ("SE", "ST", "GE", "GS", "IEA"):
        end += 1
    body, trailer = tuple(taken[at + 1 : end]), taken[end] if taken[end].id == "SE" else None
    found = TransactionSet(header, body, trailer)
    codes = []
    if _SET_ID.fullmatch(found.id) is None:
        codes.append(SET_ID_INVALID)
    if _SET_NUMBER.fullmatch(found.control_number) is None:
        codes.append(SET_NUMBER_INVALID)
    elif found.control_number in numbers:
        codes.append(SET_NUMBER_REPEATED)
    numbers.add(found.control_number)
    if trailer is None:
        codes.append(SET_TRAILER_MISSING)
    else:
        if trailer.raw(2).strip(" ") != found.control_number:
            codes.append(SET_NUMBERS_DIFFER)
        if not _says(trailer, 1, len(body) + 2):
            codes.append(SET_COUNT_WRONG)
    return replace(found, codes=tuple(codes)), end + (trailer is not None)


def _says(trailer: Segment, element: int, number: int) -> bool:
    """Whether a trailer has this number there; what is none is another."""
    try:
        return trailer.count(element) == number
    except Unreadable:
        return False
