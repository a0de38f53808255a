"""Whether an interchange came before, and whether one is missing: functions of a kept record.

One record for each pair of sender and receiver. A number that is known with the same content is a
duplicate, with other content a conflict that a person looks at. The newest numbers are kept with
a digest of their content, older ones as ranges of a day: of those nobody can say whether the
content is the same, and what carries one again is a conflict, too. Only age makes a number free
again; what has no room is refused.
"""

from __future__ import annotations

import json
import zlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import Enum
from hashlib import sha256
from typing import Any, Final

from crossdock_adapters.sdk.x12.envelopes import Interchange
from crossdock_adapters.sdk.x12.isa import MAX_CONTROL_NUMBER
from crossdock_adapters.sdk.x12.segments import written

MAX_DIGESTS: Final = 400
# Where there are more, so many keep theirs.
KEPT_DIGESTS: Final = 350
# Of the record once old numbers are ranges. Until that is done again come digests of a few more
# and what is missing: with these less than a cursor's 64 KiB.
MAX_KEPT_BYTES: Final = 58_000
# Of all days' ranges before they are packed, so that reading them takes no time to speak of.
MAX_RANGE_CHARACTERS: Final = 150_000
# What a day costs in it besides its ranges.
DAY_CHARACTERS: Final = 16
# How a record that is not packed begins.
PLAIN: Final = b"{"
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


class RecordFull(Exception):
    """One number more has no room. Nothing was forgotten; what came stays to be taken."""


@dataclass(frozen=True, slots=True)
class Day:
    """Numbers that came on a day, as ranges in their order, both ends included."""

    day: date
    ranges: tuple[tuple[int, int], ...]

    def has(self, number: int) -> bool:
        """Whether this one came."""
        at = bisect_right(self.ranges, (number, MAX_CONTROL_NUMBER))
        return at > 0 and number <= self.ranges[at - 1][1]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A number that has not come, and the day on which one behind it did."""

    number: int
    day: date


@dataclass(frozen=True, slots=True)
class Record:
    """What came from one sender. `newest`: the highest number in sequence; 0: none yet."""

    newest: int = 0
    seen: tuple[Seen, ...] = ()
    days: tuple[Day, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers that have not come."""
        return tuple(each.number for each in self.skipped)


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, the record once a NEW one was dealt with, and what its number says.

    gap: numbers between the newest and this one that have not come; late: it was sent before the
    newest; restarted: the number is far from it, so the sender counts anew. fullness: the share of
    the room that the record takes, where old numbers were made ranges just now; 0: they were not.
    """

    verdict: Verdict
    record: Record
    gap: tuple[int, ...] = ()
    late: bool = False
    restarted: bool = False
    fullness: float = 0.0


def digest(interchange: Interchange) -> str:
    """What is the same of what says the same, whatever blanks stand between its segments."""
    said = written(replace(each, after="", left_open=False) for each in interchange.segments())
    return sha256(said.encode()).hexdigest()[:DIGEST_CHARACTERS]


def decide(record: Record, number: int, content: str, today: date, kept_days: int) -> Decision:
    """What an interchange with this control number and digest is, on this day.

    The record of the decision is to be kept after what the interchange says is durable, never
    before. A number is known for `kept_days` and free after them. RecordFull: those of so many
    days have no room.
    """
    record = _without_old(record, today - timedelta(days=kept_days))
    known = next((each for each in record.seen if each.number == number), None)
    if known is not None:
        same = known.digest == content
        return Decision(Verdict.DUPLICATE if same else Verdict.CONFLICT, record)
    if any(each.has(number) for each in record.days):
        return Decision(Verdict.CONFLICT, record)
    first, ahead = not record.newest, _distance(record.newest, number)
    follows = first or ahead <= MAX_GAP
    # Whatever is a little behind comes late, also when it was sent before we began to listen.
    late = not follows and _distance(number, record.newest) <= MAX_GAP
    gap = () if first or not follows else _missed(record, ahead)
    # Who counts anew sends nothing any more of what was skipped before.
    before = record.skipped if follows or late else ()
    skipped = [each for each in before if each.number != number]
    skipped += [Skipped(each, today) for each in gap]
    after = replace(
        record,
        newest=record.newest if late else number,
        seen=(*record.seen, Seen(number, content, today)),
        skipped=tuple(skipped[-MAX_MISSING:]),
    )
    kept, fullness = _compacted(after)
    return Decision(Verdict.NEW, kept, gap, late, not (follows or late), fullness)


def missing(record: Record, today: date, awaited_days: int) -> tuple[int, ...]:
    """The numbers that have not come and are still awaited: for so many days, the one on which a
    number behind them came included; 0: none is."""
    last = today - timedelta(days=awaited_days)
    awaited = tuple(each for each in record.skipped if each.day > last)
    return replace(record, skipped=awaited).missing


def encode(record: Record) -> bytes:
    """The record as it is kept: packed, because steps between numbers are nearly alike."""
    told = {
        "newest": record.newest,
        "seen": [[each.number, each.digest, each.day.isoformat()] for each in record.seen],
        "days": {each.day.isoformat(): _told(each) for each in record.days},
        "skipped": [[each.number, each.day.isoformat()] for each in record.skipped],
    }
    return zlib.compress(json.dumps(told, separators=(",", ":")).encode())


def decode(raw: bytes, today: date) -> Record:
    """What `encode` wrote; nothing is a sender who sent nothing yet.

    A record of before the days of skipped numbers were kept says only which they are: they count as
    skipped today, until it `is_dated` by being written again.
    """
    if not raw:
        return Record()
    told = _unpacked(raw)
    if "skipped" in told:
        days = [(number, date.fromisoformat(day)) for number, day in told["skipped"]]
    else:
        days = [(number, today) for number in told.get("missing", ())]
    return Record(
        told["newest"],
        tuple(Seen(number, said, date.fromisoformat(day)) for number, said, day in told["seen"]),
        tuple(_day(date.fromisoformat(day), said) for day, said in told["days"].items()),
        tuple(Skipped(number, day) for number, day in days),
    )


def is_dated(raw: bytes) -> bool:
    """Whether a kept record says since when its skipped numbers are missing."""
    return not raw or "skipped" in _unpacked(raw)


def _unpacked(raw: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(raw if raw.startswith(PLAIN) else zlib.decompress(raw))
    return told


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
        if number not in came and not any(one.has(number) for one in record.days)
    )


def _without_old(record: Record, oldest: date) -> Record:
    return replace(
        record,
        seen=tuple(each for each in record.seen if each.day >= oldest),
        days=tuple(each for each in record.days if each.day >= oldest),
        skipped=tuple(each for each in record.skipped if each.day >= oldest),
    )


def _compacted(record: Record) -> tuple[Record, float]:
    """With digests of the newest only, and the numbers before them by the day on which they came;
    and the share of the room that this takes, 0 where nothing had to be done.

    Ranges of different days are never joined: an old number would never be free again.
    """
    if len(record.seen) <= MAX_DIGESTS:
        return record, 0.0
    ranges = {each.day: list(each.ranges) for each in record.days}
    for each in record.seen[:-KEPT_DIGESTS]:
        ranges.setdefault(each.day, []).append((each.number, each.number))
    days = tuple(Day(day, _joined(own)) for day, own in sorted(ranges.items()))
    kept = replace(record, seen=record.seen[-KEPT_DIGESTS:], days=days)
    characters = sum(len(_told(each)) + DAY_CHARACTERS for each in days)
    fullness = max(characters / MAX_RANGE_CHARACTERS, len(encode(kept)) / MAX_KEPT_BYTES)
    if fullness > 1:
        raise RecordFull(
            f"the control numbers of {len(days)} days have no room in what the hub keeps: "
            "lower the days that they are known"
        )
    return kept, fullness


def _joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return tuple(joined)


def _told(day: Day) -> str:
    """Its ranges, each as the step from the end of the one before, and its length if it is longer
    than one number: 1, 4 to 6 and 9 are "1 3+2 3"."""
    said, before = [], 0
    for first, last in day.ranges:
        said.append(f"{first - before}+{last - first}" if last > first else str(first - before))
        before = last
    return " ".join(said)


def _day(day: date, told: str) -> Day:
    """What `_told` says."""
    ranges, before = [], 0
    for each in told.split():
        step, _, more = each.partition("+")
        first = before + int(step)
        before = first + int(more or "0")
        ranges.append((first, before))
    return Day(day, tuple(ranges))
