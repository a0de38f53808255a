"""Why work stopped, in words that are the same for the same cause: dead letters' groups; pure.

What differs from one delivery to the next (ids, numbers, quoted values) is taken out of a reason.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from crossdock.types.v1 import types_pb2

from crossdock_hub.records import DeliveryRecord, HeldFactRecord

REASON_CHARACTERS_MAX = 200
_ID_BYTES = 16
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_REFERENCE = re.compile(r"\b[A-Z2-7]{20}\b")
# Anything with a digit in it names one thing: a number, an id, a time.
_NUMBERED = re.compile(r"[\w./:#-]*\d(?:[\w./:#-]*\w)?")
_BLANKS = re.compile(r"\s+")


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
    what = fact.method or fact.awaits.partition(":")[2]
    kind = "HELD_FACT" if fact.method else "HELD_PAYLOAD"
    return Cause(fact.endpoint, what, "", kind, refusal.reason, alike(refusal.message))


def cause_of(record: DeliveryRecord | StoppedRecord, code: str) -> Cause:
    """Why a delivery does not go on. code: of the newest attempt that ended; "" without one."""
    classification = "UNKNOWN" if record.state == "RESOLVING" else record.state
    return Cause(
        record.endpoint,
        record.operation,
        record.event_type,
        classification,
        code,
        alike(record.waiting_on),
    )
