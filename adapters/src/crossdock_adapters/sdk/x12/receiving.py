"""Whether an interchange came before, and whether one is missing: functions of a kept record.

One record for each pair of sender and receiver. A number that is known with the same content is a
duplicate, with other content a conflict that a person looks at. The newest numbers are kept with
a digest of their content, older ones as ranges: of those nobody can say whether the content is
the same, and what carries one again is a conflict, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import Enum
from hashlib import sha256
from typing import Final

from crossdock_adapters.sdk.x12.envelopes import Interchange
from crossdock_adapters.sdk.x12.isa import MAX_CONTROL_NUMBER
from crossdock_adapters.sdk.x12.segments import written

MAX_DIGESTS: Final = 400
MAX_RANGES: Final = 200
MAX_MISSING: Final = 200
DIGEST_CHARACTERS: Final = 24
# Further ahead than this is no gap but a counter that was set anew.
MAX_GAP: Final = 1_000


class Verdict(Enum):
    """What to do with an interchange."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Seen:
    """A number that came, with a digest of its content and the day."""

    number: int
    digest: str
    day: date


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that came on this day, both ends included."""

    first: int
    last: int
    day: date


@dataclass(frozen=True, slots=True)
class Record:
    """What came from one sender. `newest`: the highest number in sequence; 0: none yet."""

    newest: int = 0
    seen: tuple[Seen, ...] = ()
    ranges: tuple[Range, ...] = ()
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, the record once a NEW one was dealt with, and what its number says.

    gap: numbers between the newest and this one that have not come; late: it was sent before the
    newest; restarted: the number is far from it, so the sender counts anew.
    """

    verdict: Verdict
    record: Record
    gap: tuple[int, ...] = ()
    late: bool = False
    restarted: bool = False


def digest(interchange: Interchange) -> str:
    """What is the same of what says the same, whatever line breaks stand between its segments."""
    said = written(replace(each, after="") for each in interchange.segments())
    return sha256(said.encode()).hexdigest()[:DIGEST_CHARACTERS]


def decide(record: Record, number: int, content: str, today: date, kept_days: int) -> Decision:
    """What an interchange with this control number and digest is, on this day.

    The record of the decision is to be kept after what the interchange says is durable, never
    before. A number is known for at least `kept_days`.
    """
    record = _without_old(record, today - timedelta(days=kept_days))
    known = next((each for each in record.seen if each.number == number), None)
    if known is not None:
        same = known.digest == content
        return Decision(Verdict.DUPLICATE if same else Verdict.CONFLICT, record)
    if any(each.first <= number <= each.last for each in record.ranges):
        return Decision(Verdict.CONFLICT, record)
    first, ahead = not record.newest, _distance(record.newest, number)
    follows = first or ahead <= MAX_GAP
    # Whatever is a little behind comes late, also when it was sent before we began to listen.
    late = not follows and _distance(number, record.newest) <= MAX_GAP
    gap = () if first or not follows else _missed(record, ahead)
    missing = [each for each in record.missing if each != number]
    after = replace(
        record,
        newest=record.newest if late else number,
        seen=(*record.seen, Seen(number, content, today)),
        missing=tuple([*missing, *gap][-MAX_MISSING:]),
    )
    return Decision(Verdict.NEW, _compacted(after), gap, late, not (follows or late))


def encode(record: Record) -> bytes:
    """The record as it is kept."""
    told = {
        "newest": record.newest,
        "seen": [[each.number, each.digest, each.day.isoformat()] for each in record.seen],
        "ranges": [[each.first, each.last, each.day.isoformat()] for each in record.ranges],
        "missing": record.missing,
    }
    return json.dumps(told, separators=(",", ":")).encode()


def decode(raw: bytes) -> Record:
    """What `encode` wrote; nothing is a sender who sent nothing yet."""
    if not raw:
        return Record()
    told = json.loads(raw)
    return Record(
        told["newest"],
        tuple(Seen(number, said, date.fromisoformat(day)) for number, said, day in told["seen"]),
        tuple(Range(first, last, date.fromisoformat(day)) for first, last, day in told["ranges"]),
        tuple(told["missing"]),
    )


def _distance(one: int, other: int) -> int:
    """How far the other number is in front of the one; after the highest comes 1."""
    return (other - one) % MAX_CONTROL_NUMBER


def _missed(record: Record, ahead: int) -> tuple[int, ...]:
    """What lies between and has not come, the newest of it where there is too much to keep."""
    steps = range(max(1, ahead - MAX_MISSING), ahead)
    between = [(record.newest + step - 1) % MAX_CONTROL_NUMBER + 1 for step in steps]
    came = {each.number for each in record.seen}
    return tuple(
        number
        for number in between
        if number not in came and not any(one.first <= number <= one.last for one in record.ranges)
    )


def _without_old(record: Record, oldest: date) -> Record:
    return replace(
        record,
        seen=tuple(each for each in record.seen if each.day >= oldest),
        ranges=tuple(each for each in record.ranges if each.day >= oldest),
    )


def _compacted(record: Record) -> Record:
    """With digests of the newest only; where even ranges are too many, the oldest go."""
    over = len(record.seen) - MAX_DIGESTS
    if over <= 0:
        return record
    old = (Range(each.number, each.number, each.day) for each in record.seen[:over])
    ranges = _joined((*record.ranges, *old))
    kept = sorted(ranges, key=lambda each: (each.day, each.last))[-MAX_RANGES:]
    return replace(record, seen=record.seen[over:], ranges=tuple(kept))


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges of one day only: joined with a newer one, an old number would never be free again."""
    joined: list[Range] = []
    for each in sorted(ranges, key=lambda one: (one.day, one.first)):
        before = joined[-1] if joined else None
        if before is not None and before.day == each.day and each.first <= before.last + 1:
            joined[-1] = replace(before, last=max(before.last, each.last))
        else:
            joined.append(each)
    return joined
