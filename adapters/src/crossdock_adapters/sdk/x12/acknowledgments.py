"""The functional acknowledgement (997): what we say about a group, and what is said about ours.

Of an interchange that wants it a TA1 says that it came.

It acknowledges syntax, nothing of what a set asks for, and no 997 is ever acknowledged itself. What
partners of later releases send instead (999) is read as well: its segments say the same by other
names, and where an error is found (CTX).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12.envelopes import (
    SET_SEGMENTS_IN_ERROR,
    Group,
    Interchange,
    TransactionSet,
    transaction_set,
)
from crossdock_adapters.sdk.x12.segments import (
    BAD_CODE,
    Delimiters,
    Fault,
    Segment,
    composite,
    segment,
)

SET_ID: Final = "997"
IMPLEMENTATION_SET_ID: Final = "999"
SET_IDS: Final = (SET_ID, IMPLEMENTATION_SET_ID)
# Segments of a 999 by the names that they have in a 997.
NAMES: Final = {"IK3": "AK3", "IK4": "AK4", "IK5": "AK5"}
CONTEXT: Final = "CTX"
FUNCTIONAL_ID: Final = "FA"
# ISA14, and the note of a TA1 that has nothing to say (data element I18).
WANTED, NO_ERROR = "1", "000"
# A set with more than this is told to be in error; nobody reads the rest.
MAX_FAULTS_TOLD: Final = 50
MAX_CODES: Final = 5
# As wide as AK201 and AK202 may be.
SET_ID_CHARACTERS, SET_NUMBER_CHARACTERS = 3, 9


class Status(StrEnum):
    """AK501 and AK901; M, W and X are about security and are read as refusals."""

    ACCEPTED = "A"
    WITH_ERRORS = "E"
    PARTLY = "P"
    REJECTED = "R"
    REFUSED_FOR_SECURITY = "M"
    REFUSED_AUTHENTICATION = "W"
    REFUSED_DECRYPTION = "X"

    @property
    def accepted(self) -> bool:
        """Whether the other side goes on with it; of a group that was taken in part, no."""
        return self in (Status.ACCEPTED, Status.WITH_ERRORS)

    @property
    def refused(self) -> bool:
        """Whether nothing was taken of what it is said about."""
        return not self.accepted and self is not Status.PARTLY


@dataclass(frozen=True, slots=True)
class SetAnswer:
    """What a 997 says about one set. `number` of a fault is here the position in that set."""

    set_id: str
    control_number: str
    status: Status
    codes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupAnswer:
    """What a 997 says about one group; a group can be answered without a word about its sets."""

    functional_id: str
    control_number: int
    status: Status
    included: int
    received: int
    accepted: int
    codes: tuple[str, ...] = ()
    sets: tuple[SetAnswer, ...] = field(default=())

    def status_of(self, control_number: str) -> Status:
        """What it says about the set with this number: its own answer, else the group's.

        Of a group that is refused nothing is taken, whatever is said of its sets.
        """
        if self.status.refused:
            return self.status
        said = (each.status for each in self.sets if each.control_number == control_number)
        return next(said, self.status)


def of_interchange(interchange: Interchange, delimiters: Delimiters) -> tuple[Segment, ...]:
    """The TA1 that says that an interchange was taken; none where it asks for none (ISA14), nor to
    one that holds nothing but TA1s: two sides that always ask would answer each other for ever."""
    header = interchange.header
    if header.raw(14) != WANTED or not interchange.groups:
        return ()
    told = (header.raw(each) for each in (13, 9, 10))
    return (segment(delimiters, "TA1", *told, str(Status.ACCEPTED), NO_ERROR),)


def judged(found: TransactionSet, faults: Sequence[Fault] = (), *codes: str) -> SetAnswer:
    """What we say about a set that came: its envelope's codes, these, and what its reader found.

    A wrong envelope or a code that is given rejects it; faults alone, with the rest of the set
    taken, are "accepted with errors".
    """
    said = [*found.codes, *codes]
    status = Status.REJECTED if said else Status.ACCEPTED
    if faults:
        status = status if said else Status.WITH_ERRORS
        said.append(SET_SEGMENTS_IN_ERROR)
    placed = tuple(
        Fault(
            each.segment_id,
            found.position(each.number),
            each.segment_code,
            each.element,
            each.component,
            each.element_code,
        )
        for each in faults[:MAX_FAULTS_TOLD]
    )
    return SetAnswer(found.id, found.control_number, status, tuple(said[:MAX_CODES]), placed)


def answer(group: Group, answers: Sequence[SetAnswer]) -> GroupAnswer:
    """What we say about a group, of what we say about each of its sets.

    Where the group's own envelope is wrong none of its sets is accepted: nobody reads them.
    ValueError: it is a group of acknowledgements, or not all of its sets are answered.
    """
    if group.functional_id == FUNCTIONAL_ID:
        raise ValueError("an acknowledgement is not acknowledged")
    if len(answers) != len(group.sets):
        raise ValueError("each set of the group has to be answered")
    if group.codes:
        answers = [replace(each, status=Status.REJECTED) for each in answers]
    accepted = sum(each.status.accepted for each in answers)
    if accepted == len(answers) and answers:
        errors = any(each.status is Status.WITH_ERRORS for each in answers)
        status = Status.WITH_ERRORS if errors else Status.ACCEPTED
    else:
        status = Status.PARTLY if accepted else Status.REJECTED
    included = _included(group)
    return GroupAnswer(
        group.functional_id,
        group.control_number,
        status,
        included,
        len(group.sets),
        accepted,
        group.codes,
        tuple(answers),
    )


def build(said: GroupAnswer, control_number: str, delimiters: Delimiters) -> TransactionSet:
    """The 997 that says so.

    A set whose header cannot be repeated in these delimiters is not named: the group's answer and
    its counts speak for it. Its number is never changed, because another set may have that one.
    """
    body = [segment(delimiters, "AK1", said.functional_id, str(said.control_number))]
    for each in said.sets:
        set_id, number = delimiters.clean(each.set_id), each.control_number
        known = 0 < len(set_id) <= SET_ID_CHARACTERS and 0 < len(number) <= SET_NUMBER_CHARACTERS
        if not known or delimiters.clean(number) != number:
            continue
        body.append(segment(delimiters, "AK2", set_id, number))
        for fault in each.faults:
            body += _fault_segments(fault, body, delimiters)
        body.append(segment(delimiters, "AK5", each.status, *each.codes))
    counts = (str(said.included), str(said.received), str(said.accepted))
    body.append(segment(delimiters, "AK9", said.status, *counts, *said.codes))
    return transaction_set(delimiters, SET_ID, control_number, body)


def read(found: TransactionSet) -> GroupAnswer:
    """What a 997 or a 999 says. SegmentError: it lacks a segment, or one is not in its place."""
    if not found.body or found.body[0].id != "AK1":
        raise found.header.lacks("AK1")
    told = [each for each in found.body if each.id != CONTEXT]
    head, *rest = [replace(each, id=NAMES.get(each.id, each.id)) for each in told]
    sets: list[SetAnswer] = []
    at = 0
    while at < len(rest) and rest[at].id == "AK2":
        answered, at = _read_set(rest, at)
        sets.append(answered)
    if at >= len(rest) or rest[at].id != "AK9":
        raise (rest[at] if at < len(rest) else head).error("an AK2 or the AK9 is expected", "7")
    tail = rest[at]
    codes = tuple(tail.text(position) for position in range(5, 10) if tail.text(position))
    return GroupAnswer(
        head.need(1),
        head.count(2),
        _status(tail),
        tail.count(2),
        tail.count(3),
        tail.count(4),
        codes,
        tuple(sets),
    )


def _read_set(rest: Sequence[Segment], at: int) -> tuple[SetAnswer, int]:
    head = rest[at]
    faults: list[Fault] = []
    at += 1
    while at < len(rest) and rest[at].id in ("AK3", "AK4"):
        faults.append(_read_fault(rest[at], faults[-1] if faults else None))
        at += 1
    if at >= len(rest) or rest[at].id != "AK5":
        raise head.lacks("AK5")
    tail = rest[at]
    codes = tuple(tail.text(position) for position in range(2, 7) if tail.text(position))
    # An AK3 is repeated in each of its AK4; alone it says something by itself.
    told = tuple(
        fault
        for place, fault in enumerate(faults)
        if fault.element or place + 1 == len(faults) or not faults[place + 1].element
    )
    return SetAnswer(head.need(1), head.need(2), _status(tail), codes, told), at + 1


def _read_fault(found: Segment, before: Fault | None) -> Fault:
    if found.id == "AK3":
        return Fault(found.need(1), found.count(2), found.text(4))
    if before is None:
        raise found.error("stands before any AK3", "7")
    position, *deeper = found.components(1)
    numbers = [each for each in (position, *deeper[:1]) if each]
    if not numbers or not all(each.isascii() and each.isdigit() for each in numbers):
        raise found.error("is no position", BAD_CODE, 1)
    if any(len(each) > 3 for each in numbers):
        raise found.error("is no position", BAD_CODE, 1)
    component = int(numbers[1]) if len(numbers) > 1 else 0
    code = found.need(3)
    return Fault(
        before.segment_id, before.number, before.segment_code, int(numbers[0]), component, code
    )


def _status(found: Segment) -> Status:
    told = found.need(1)
    if told not in tuple(Status):
        raise found.error("is no code of an acknowledgement", BAD_CODE, 1)
    return Status(told)


def _fault_segments(fault: Fault, body: Sequence[Segment], delimiters: Delimiters) -> list[Segment]:
    """AK3 and AK4; the AK3 is said once for all elements of one segment."""
    head = segment(delimiters, "AK3", fault.segment_id, str(fault.number), "", fault.segment_code)
    said = next((each for each in reversed(body) if each.id != "AK4"), None)
    made = [] if said == head and fault.element else [head]
    if fault.element:
        place = composite(delimiters, str(fault.element), str(fault.component or ""))
        made.append(segment(delimiters, "AK4", place, "", fault.element_code))
    return made


def _included(group: Group) -> int:
    """How many sets the GE says, as AK902 wants; where it says no number, those that are there."""
    try:
        return len(group.sets) if group.trailer is None else group.trailer.count(1)
    except Unreadable:
        return len(group.sets)
