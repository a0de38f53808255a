"""Calls of which nobody knew whether the vendor had done them, and what ended that; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossdock_hub.delivery.intervention import is_leased
from crossdock_hub.delivery.ledger import OPEN_STATES
from crossdock_hub.records import AttemptRecord, DeliveryRecord, OperatorWordRecord
from crossdock_hub.replacing import replace
from crossdock_hub.wording import LOOKED

# Ends of a call after which nobody knows; "": it never ended, and its lease is gone.
UNKNOWN_OUTCOMES = frozenset({"UNKNOWN", "LEASE_EXPIRED", ""})
DECIDED_OUTCOMES = frozenset({"CONFIRMED", "REJECTED"})
_LOOKED_UP_STATES = frozenset({"UNKNOWN", "RESOLVING"})
# What lets the vendor tell a repetition from a second order, by class of the operation.
_REPETITION: Mapping[str, tuple[str, str]] = {
    "KEYED": ("SAME_KEY", "it was repeated with its key, by which the vendor tells a repetition"),
    "TWO_STEP": ("SAME_DRAFT", "the draft that had been noted was confirmed, and no other"),
    "NATURAL": ("FULL_STATE", "the full state was sent again, which makes no second one"),
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call whose outcome was not known. attempt: None: the ledger was put back and may lack it.

    settlement: name of a DoubtSettlement; "" while nobody knows. begun_at: microseconds UTC.
    """

    record: DeliveryRecord
    attempt: AttemptRecord | None
    begun_at: int
    settlement: str
    words: str


@dataclass(frozen=True, slots=True)
class _Step:
    """An attempt or an operator's word, in the order of the store's clock."""

    at: int
    record: DeliveryRecord
    attempt: AttemptRecord | None = None
    word: OperatorWordRecord | None = None


def doubts_of(
    deliveries: Sequence[DeliveryRecord],
    attempts: Mapping[str, Sequence[AttemptRecord]],
    words: Mapping[str, Sequence[OperatorWordRecord]],
    not_found_needed: int,
) -> list[Doubt]:
    """The doubts about one intent's deliveries, oldest first."""
    by_reference: dict[str, list[DeliveryRecord]] = {}
    for record in deliveries:
        by_reference.setdefault(record.vendor_reference, []).append(record)
    found = [
        doubt
        for same in by_reference.values()
        for doubt in _of_one_reference(same, attempts, words, not_found_needed)
    ]
    decided = [
        attempt.begun_at
        for record in deliveries
        for attempt in attempts.get(record.id, ())
        if attempt.kind == "CALL" and attempt.outcome == "CONFIRMED"
    ]
    told = [_with_later_state(doubt, max(decided, default=0)) for doubt in found]
    return sorted(told, key=lambda doubt: doubt.begun_at)


def _with_later_state(doubt: Doubt, decided_at: int) -> Doubt:
    """A later full state makes an earlier one pointless, whatever delivery brings it."""
    if doubt.settlement or doubt.record.operation_class != "NATURAL":
        return doubt
    if decided_at <= doubt.begun_at:
        return doubt
    settlement, words = _REPETITION["NATURAL"]
    return replace(doubt, settlement=settlement, words=words)


def _of_one_reference(
    deliveries: Sequence[DeliveryRecord],
    attempts: Mapping[str, Sequence[AttemptRecord]],
    words: Mapping[str, Sequence[OperatorWordRecord]],
    not_found_needed: int,
) -> list[Doubt]:
    """A replay keeps the reference: what it learns settles the doubts of the one it replaces."""
    steps = [_Step(a.begun_at, r, attempt=a) for r in deliveries for a in attempts.get(r.id, ())]
    steps += [_Step(w.said_at, r, word=w) for r in deliveries for w in words.get(r.id, ())]
    # Of one moment: what was tried comes before what was said of it.
    steps.sort(key=lambda step: (step.at, step.attempt is None))
    found = []
    for index, step in enumerate(steps):
        if step.attempt is not None and _nobody_knows(step.record, step.attempt):
            end = _end(step.record, steps[index + 1 :], not_found_needed)
            found.append(Doubt(step.record, step.attempt, step.at, *end))
    told = {doubt.record.id for doubt in found if not doubt.settlement}
    for record in deliveries:
        # A ledger that was put back knows that a call may have been made, and not which.
        if record.first_unknown_at is not None and record.id not in told and _still(record, found):
            at = record.first_unknown_at
            found.append(Doubt(record, None, at, "", "the ledger may lack a call that was made"))
    return found


def _still(record: DeliveryRecord, found: Sequence[Doubt]) -> bool:
    """True when a delivery says of itself that it is in doubt, and no attempt tells why."""
    if record.state not in OPEN_STATES or is_leased(record) or record.not_found > 0:
        return False
    return not any(doubt.record.vendor_reference == record.vendor_reference for doubt in found)


def _nobody_knows(record: DeliveryRecord, attempt: AttemptRecord) -> bool:
    running = is_leased(record) and attempt.token == record.token
    return attempt.kind == "CALL" and attempt.outcome in UNKNOWN_OUTCOMES and not running


def _end(record: DeliveryRecord, later: Sequence[_Step], not_found_needed: int) -> tuple[str, str]:
    """What settled a doubt among the steps after the call, and in words; ("", why) when nothing."""
    not_found = 0
    for place, step in enumerate(later, start=1):
        if step.word is not None:
            if _is_evidence(step.word):
                word = step.word
                return "PERSON", f"{word.operator} said what there is: {word.reason}"
            continue
        attempt = step.attempt
        assert attempt is not None
        if attempt.kind == "LOOK_UP":
            not_found += attempt.outcome == "NOT_FOUND"
            if attempt.outcome in DECIDED_OUTCOMES:
                done = "it" if attempt.outcome == "CONFIRMED" else "its refusal"
                return "FOUND", f"look-up {attempt.number} found {done}"
            if not_found >= not_found_needed and not _is_asked_still(step.record, later[place:]):
                return "NOT_THERE", f"{not_found} settled look-ups found nothing"
        elif attempt.outcome in DECIDED_OUTCOMES:
            kind = step.record.operation_class
            known = _REPETITION.get(kind)
            # A full state that was refused says nothing of one that may have been taken before.
            if known is not None and (kind != "NATURAL" or attempt.outcome == "CONFIRMED"):
                return known
    return "", _why_open(record)


def _is_asked_still(record: DeliveryRecord, later: Sequence[_Step]) -> bool:
    """True while the ledger itself goes on asking about the same call: a look-up that was made too
    early for it stands in the log like one that settled something."""
    called = any(step.attempt is not None and step.attempt.kind == "CALL" for step in later)
    return record.state in _LOOKED_UP_STATES and not called


def _is_evidence(word: OperatorWordRecord) -> bool:
    """True when a word of an operator rests on a look at the vendor."""
    return word.verb == "RESOLVE" or LOOKED in word.change


def _why_open(record: DeliveryRecord) -> str:
    if record.state == "SKIPPED":
        return "an operator ended the delivery before anybody knew"
    if record.state == "PARKED":
        return "nobody knows; a person has to look at the vendor"
    if record.state in OPEN_STATES:
        return "nobody knows yet; the hub finds out"
    return "nothing has shown what became of it"


__all__ = ["Doubt", "doubts_of"]
