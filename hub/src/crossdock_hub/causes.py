"""Why work stopped, in words that are the same for the same cause: dead letters' groups; pure.

What differs from one delivery to the next (ids, numbers, quoted values) is taken out of a reason.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from crossdock_hub.records import AttemptRecord, DeliveryRecord

REASON_CHARACTERS_MAX = 200
_ID_BYTES = 16
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_REFERENCE = re.compile(r"\b[A-Z2-7]{20}\b")
# Anything with a digit in it names one thing: a number, an id, a time.
_NUMBERED = re.compile(r"[\w./:#-]*\d[\w./:#-]*")
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


def alike(reason: str) -> str:
    """A reason without what is different each time."""
    text = _QUOTED.sub("'…'", reason)
    text = _NUMBERED.sub("#", _REFERENCE.sub("#", text))
    return _BLANKS.sub(" ", text).strip()[:REASON_CHARACTERS_MAX]


def cause_of(record: DeliveryRecord, attempts: Sequence[AttemptRecord]) -> Cause:
    """Why a delivery does not go on. attempts: its newest ones, oldest first."""
    classification = "UNKNOWN" if record.state == "RESOLVING" else record.state
    ended = [attempt for attempt in attempts if attempt.ended_at is not None]
    code = ended[-1].code if ended else ""
    return Cause(
        record.endpoint,
        record.operation,
        record.event_type,
        classification,
        code,
        alike(record.waiting_on),
    )
