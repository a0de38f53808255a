"""Why work stopped, in words that are the same for the same cause: dead letters' groups; pure.

What differs from one delivery to the next (ids, numbers, quoted values) is taken out of a reason.
Doubt has the cause of the call that it began with for as long as it lasts: look-ups come and go,
and whoever looks after a group would lose it with the next.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from crossdock.types.v1 import types_pb2

from crossdock_hub.delivery import ledger, removal
from crossdock_hub.records import AttemptRecord, DeliveryRecord, HeldFactRecord
from crossdock_hub.wording import LATE, LATER

IN_DOUBT = frozenset({"UNKNOWN", "RESOLVING"})
# Ends of a call after which nobody knows what it did.
DOUBTFUL_OUTCOMES = frozenset({"UNKNOWN", "LEASE_EXPIRED"})
# Of doubt without such a call: its database was put back, or a replay took it over.
NO_CALL_KNOWN = "a call may have been made that is not in the ledger"
REASON_CHARACTERS_MAX = 200
_ID_BYTES = 16
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_REFERENCE = re.compile(r"\b[A-Z2-7]{20}\b")
# Anything with a digit in it names one thing: a number, an id, a time.
_NUMBERED = re.compile(r"[\w./:#-]*\d(?:[\w./:#-]*\w)?")
_BLANKS = re.compile(r"\s+")
# Where a reason says that something stands, in the words of adapters: names and small numbers
# alone, at its very beginning or behind one word (a kind of record, a file), for what comes later
# may be told of the payload. A line of a file, with columns or cell; a segment of X12.
_BEHIND = r"(?:\w[\w./-]{0,255}: )?"
_IN_FILE = (
    r"line \d{1,9}(?:, (?:columns? \d{1,6}(?:-\d{1,6})?|cell \d{1,6}))?(?:, [a-z_.]{1,64})?"
    r"|segment \d{1,9}(?: \([A-Z0-9]{2,3}\))?(?:, element \d{1,3}(?:-\d{1,3})?)?"
)
# A JSON pointer, or a path of XML elements with line and column.
_STEP = r"/(?:[A-Za-z_][A-Za-z0-9_.-]{0,63}(?:\[\d{1,5}\])?|\d{1,5})"
_IN_MESSAGE = rf"(?:{_STEP}){{1,16}}(?: \(line \d{{1,9}}, column \d{{1,9}}\))?"
# A column of a table; behind a word it may as well be what stood there.
_IN_TABLE = r"[A-Z][A-Z0-9_$]{0,63}(?:\.[A-Z][A-Z0-9_$]{0,63}){1,2}"
_FILE_PLACE = re.compile(rf"{_BEHIND}(?P<place>{_IN_FILE}): ")
_PLACE = re.compile(rf"{_BEHIND}(?P<place>{_IN_FILE}|{_IN_MESSAGE}): |(?P<column>{_IN_TABLE}): ")
# Of a file whose reason begins with its own name, which is no place in it.
_FILE_TYPE = "text/plain"


@dataclass(frozen=True, slots=True)
class Cause:
    """What dead letters of one group have in common.

    classification: state of the deliveries (UNKNOWN also while looked up), or HELD_FACT or
    HELD_PAYLOAD. what: operation, or method or source of what came in. reason: without numbers.
    """

    endpoint: str
    what: str
    event_type: str
    classification: str
    code: str
    reason: str

    @property
    def id(self) -> str:
        """32 hexadecimal digits; the same cause has the same id at any time."""
        parts = (self.endpoint, self.what, self.event_type, self.classification, self.code)
        text = "\0".join((*parts, self.reason))
        return hashlib.blake2b(text.encode(), digest_size=_ID_BYTES).hexdigest()


@dataclass(frozen=True, slots=True)
class StoppedRecord:
    """What of a delivery says whether it is a dead letter, since when, and why.

    The fields are those of a DeliveryRecord; reading whole ones by the thousand costs ten times as
    much.
    """

    id: str
    endpoint: str
    operation: str
    event_type: str
    state: str
    waiting_on: str
    object_id: str
    first_unknown_at: int | None
    updated_at: int


@dataclass(slots=True)
class DeadLetterRecord:
    """A dead letter that no longer waits, and the group that it was in; see mending.py.

    id: of the delivery or held fact. cause: id of its group. since: when it stopped; left_at: when
    it went on; both microseconds UTC. carrier: the delivery that goes in its place; "" for what
    came in. settlement: name of a DeadLetterSettlement; settled_by: as in DeadLetter.
    """

    cause: str
    id: str
    object_id: str
    inbound: bool
    since: int
    left_at: int
    carrier: str = ""
    settled_at: int | None = None
    settlement: str = ""
    settled_by: str = ""


@dataclass(slots=True)
class DeadLetterGroupRecord:
    """A cause of letters that went on, and who looks after it; marked_at: None: nobody yet."""

    id: str
    endpoint: str
    what: str
    event_type: str
    classification: str
    code: str
    reason: str
    operator: str = ""
    assignee: str = ""
    note: str = ""
    marked_at: int | None = None

    @classmethod
    def of(cls, cause: Cause) -> DeadLetterGroupRecord:
        """The row of a cause that nobody has acknowledged."""
        return cls(
            cause.id,
            cause.endpoint,
            cause.what,
            cause.event_type,
            cause.classification,
            cause.code,
            cause.reason,
        )

    @property
    def cause(self) -> Cause:
        """The cause as it was."""
        return Cause(
            self.endpoint,
            self.what,
            self.event_type,
            self.classification,
            self.code,
            self.reason,
        )


def alike(reason: str) -> str:
    """A reason without what is different each time."""
    text = _QUOTED.sub("'…'", reason)
    text = _NUMBERED.sub("#", _REFERENCE.sub("#", text))
    return _BLANKS.sub(" ", text).strip()[:REASON_CHARACTERS_MAX]


def held_cause(fact: HeldFactRecord) -> Cause:
    """Why something that came in was not written."""
    refusal = types_pb2.Refusal.FromString(fact.refusal)
    # A payload that waits for a code is of its source too, which its refusal keeps.
    what = fact.method or refusal.metadata.get("source") or fact.awaits.partition(":")[2]
    kind = "HELD_FACT" if fact.method else "HELD_PAYLOAD"
    return Cause(fact.endpoint, what, "", kind, refusal.reason, alike(refusal.message))


def held_place(fact: HeldFactRecord) -> str:
    """Where in a payload the adapter could not read on, as its reason tells it; "" where it tells
    no place, and of what is no payload."""
    if fact.method:
        return ""
    reason = types_pb2.Refusal.FromString(fact.refusal).message
    kind = _FILE_PLACE if fact.content_type.startswith(_FILE_TYPE) else _PLACE
    found = kind.match(reason)
    return (found[found.lastgroup] or "") if found and found.lastgroup else ""


def cause_of(
    record: DeliveryRecord | StoppedRecord, code: str, doubted: tuple[str, str] | None = None
) -> Cause:
    """Why a delivery does not go on. code: of the newest attempt that ended; "" without one.

    doubted: code and reason of the call that doubt began with, see `doubted_words`; None: none is
    known.
    """
    classification, reason = record.state, record.waiting_on
    if record.state in IN_DOUBT:
        classification = "UNKNOWN"
        if reason != removal.in_doubt(record.endpoint):
            code, reason = doubted or ("", NO_CALL_KNOWN)
    what = (record.endpoint, record.operation, record.event_type)
    return Cause(*what, classification, code, alike(reason))


def cause_by(record: DeliveryRecord, attempts: Sequence[AttemptRecord]) -> Cause:
    """Why a delivery does not go on. attempts: all of it that are known, oldest first."""
    ended = [attempt for attempt in attempts if attempt.ended_at is not None]
    since = record.first_unknown_at or 0
    calls = (
        doubted_words(each.outcome, each.code, each.reason)
        for each in ended
        # One without a number is of a time that a database which was put back has lost.
        if each.kind == "CALL" and each.number > 0 and each.begun_at >= since
    )
    doubted = next((words for words in calls if words is not None), None)
    return cause_of(record, ended[-1].code if ended else "", doubted)


def doubted_words(outcome: str, code: str, reason: str) -> tuple[str, str] | None:
    """Code and reason of a call whose end nobody knew; None: it was known. What it said when it was
    too late moved nothing, and makes it no other cause."""
    if outcome == "LEASE_EXPIRED" or reason.startswith(LATE):
        return "", ledger.LEASE_RAN_OUT
    return (code, reason.split(LATER)[0] or code) if outcome in DOUBTFUL_OUTCOMES else None
