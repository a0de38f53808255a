"""Follows dead letters from the moment they go on until something settles them; pure.

A dead letter that waits is found in the ledger itself. When it no longer does, whoever moved it (an
operator, a replay, an endpoint that registered, a late answer), it stays in its group as a
DeadLetterRecord. Its carrier is the delivery that goes in its place: itself, or the one that
supersedes it, and so on. It is settled with its carrier, in the same transaction: confirmed,
skipped, or superseded by something that nothing of reached the vendor. What came in is settled when
it is written or discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from crossdock_hub.config import Limits
from crossdock_hub.delivery import breaking
from crossdock_hub.delivery.causes import (
    Cause,
    DeadLetterGroupRecord,
    DeadLetterRecord,
    cause_by,
    held_cause,
)
from crossdock_hub.delivery.dead_letters import (
    DEAD_STATES,
    DOUBTFUL_STATES,
    Patience,
    is_dead,
    since,
)
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.records import (
    AttemptRecord,
    DeliveryRecord,
    HeldFactRecord,
    OperatorWordRecord,
)
from crossdock_hub.replacing import replace
from crossdock_hub.unit import Key, Unit, View

# A delivery that superseded another may have been superseded itself.
HOPS_MAX = 20
SETTLING_STATES = frozenset({"CONFIRMED", "SKIPPED"})


@dataclass(frozen=True, slots=True)
class Moves:
    """What a batch did to dead letters: each as it was before and is now.

    gone: deliveries that no longer wait. carriers: those that letters were to be settled with, and
    that ended. taken: what came in and is held no longer. words: of operators, by subject.
    """

    gone: Sequence[tuple[DeliveryRecord, DeliveryRecord]]
    carriers: Sequence[DeliveryRecord]
    taken: Sequence[tuple[HeldFactRecord, HeldFactRecord]]
    words: Mapping[str, OperatorWordRecord]

    def __bool__(self) -> bool:
        return bool(self.gone or self.carriers or self.taken)


def moves_of(view: View, now: int, limits: Limits) -> Moves:
    """The dead letters that a batch has moved so far."""
    # Nobody follows a doubt that no reader has seen: how endpoints were before the batch counts.
    endpoints = view.read_or_none(("endpoints",)) or ()
    patience: Patience | None = None
    gone, carriers, taken, words = [], [], [], {}
    for key, after in view.changes.records.items():
        if key[0] == "operator_word":
            words[after.subject_id] = after
        elif key[0] == "delivery" and (before := view.read_or_none(key)) is not None:
            ended = after.state in SETTLING_STATES | {"SUPERSEDED"} and before.state != after.state
            if before.mends and ended:
                carriers.append(after)
            patience = patience or _patience(endpoints, limits)
            if _goes_on(before, after, patience, now):
                gone.append((before, after))
        elif key[0] == "held_fact" and after.state != "HELD":
            before = view.read_or_none(key)
            if before is not None and before.state == "HELD":
                taken.append((before, after))
    return Moves(gone, carriers, taken, words)


def _patience(endpoints: Iterable[RegisteredEndpoint], limits: Limits) -> Patience:
    answered = {e.id: breaking.answered_of(e.health) for e in endpoints}
    return replace(Patience.of(limits), answered=answered)


def _goes_on(before: DeliveryRecord, after: DeliveryRecord, patience: Patience, now: int) -> bool:
    """Whether a delivery was a dead letter and is none any more, or is looked up on demand."""
    if not is_dead(before, patience, now):
        return False
    looked_up = before.state in DEAD_STATES and after.state in DOUBTFUL_STATES
    return looked_up or not is_dead(after, patience, now)


def follow(unit: Unit, moves: Moves, stored: Callable[[Key], AttemptRecord | None]) -> None:
    """Keep the letters that went on, and settle those whose carrier ended.

    stored: an attempt as it was before the batch: the end that settles a letter is not its cause.
    """
    unit.require(_keys(moves))
    patience = _patience(unit.endpoints, unit.limits)
    letters = [
        letter for carrier in moves.carriers for letter in unit.get(("dead_letters_of", carrier.id))
    ]
    for before, after in moves.gone:
        tokens = unit.get(("attempts", before.id))
        attempts = [stored(("attempt", before.id, token)) for token in tokens]
        cause = cause_by(before, [attempt for attempt in attempts if attempt is not None])
        _remember(unit, cause)
        stopped = since(before, patience)
        letters.append(
            DeadLetterRecord(
                cause.id, before.id, before.object_id, False, stopped, unit.now, after.id
            )
        )
    for letter in letters:
        unit.put(("dead_letter", letter.cause, letter.id), _carried(unit, letter))
    for fact, taken in moves.taken:
        cause = held_cause(fact)
        _remember(unit, cause)
        word = moves.words.get(fact.id)
        written = DeadLetterRecord(
            cause.id,
            fact.id,
            "",
            True,
            fact.created_at,
            unit.now,
            settled_at=unit.now,
            settlement=taken.state,
            settled_by=word.operator if word is not None else fact.awaits,
        )
        unit.put(("dead_letter", cause.id, fact.id), written)
    unit.changes.letters_kept = unit.limits.dead_letter_history_max


def _keys(moves: Moves) -> Iterator[Key]:
    for before, _ in moves.gone:
        yield "attempts", before.id
    for carrier in moves.carriers:
        yield "dead_letters_of", carrier.id


def _remember(unit: Unit, cause: Cause) -> None:
    """Keep what the id of a group means for as long as it has members that went on."""
    key: Key = ("dead_letter_group", cause.id)
    if unit.get(key) is None:
        unit.put(key, DeadLetterGroupRecord.of(cause))


def _carried(unit: Unit, letter: DeadLetterRecord) -> DeadLetterRecord:
    """The letter with the delivery that goes in its place now, settled if that has ended."""
    first = unit.delivery(letter.carrier)
    carrier, settled = end_of(first, unit.delivery) if first is not None else (None, True)
    if carrier is None:
        return replace(letter, settled_at=unit.now, settlement="SUPERSEDED")
    if settled:
        return replace(
            letter,
            carrier=carrier.id,
            settled_at=unit.now,
            settlement=carrier.state,
            settled_by=carrier.id,
        )
    if not carrier.mends:
        unit.put(("delivery", carrier.id), replace(carrier, mends=True))
    return replace(letter, carrier=carrier.id)


def end_of(
    record: DeliveryRecord, known: Callable[[str], DeliveryRecord | None]
) -> tuple[DeliveryRecord, bool]:
    """The delivery that goes in the place of one, and whether that leaves nothing to do."""
    for _ in range(HOPS_MAX):
        if record.state != "SUPERSEDED":
            return record, record.state in SETTLING_STATES
        successor = known(record.superseded_by)
        if successor is None or successor.id == record.id:
            # Nothing of what took its place reached the vendor either.
            return record, True
        record = successor
    return record, False
