"""Decides what a run did wrong, from the vendor's books and the ledger's last word alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from crossdock_hub.config import Limits
from crossdock_hub.records import AttemptRecord, DeliveryRecord
from crossdock_hub.wording import LATE
from simulation.faults import Faults
from simulation.vendor import Books

from tests.faults.history.records import Attempt
from tests.faults.history.repeats import NOT_FOUND_NEEDED, repeats

# What the simulated endpoint registers with.
CALLS_AT_ONCE_MAX = 4
# The time after which the simulated vendor shows everything, whatever the hub of a run believes.
SETTLE_SECONDS = Limits().settle_seconds_default
ENDED = ("CONFIRMED", "REJECTED", "PARKED")
UNDOUBTED = frozenset({"RETRY", "THROTTLED", "CONFIRMED", "REJECTED"})


@dataclass(frozen=True, slots=True)
class Asked:
    """Work that somebody was promised: the delivery, its ordering key, its place there."""

    delivery_id: str
    key: str
    sequence: str


def judge(
    asked: Sequence[Asked],
    records: Sequence[DeliveryRecord],
    log: Sequence[Sequence[AttemptRecord]],
    books: Books,
    faults: Faults,
) -> list[str]:
    """Every law that was broken, in words; empty: none."""
    final = {record.id: record for record in records}
    attempts = {record.id: list(told) for record, told in zip(records, log, strict=True)}
    return [
        *_lost(asked, final, books),
        *_doubled(books),
        *_out_of_order(asked, books),
        *_regressed(asked, books),
        *_overlapping(books),
        *_not_held(books),
        *_over_budget(books),
        *_repeated_blindly(books, faults),
        *_repeated_unasked(attempts, faults),
        *_parked_without_doubt(final, attempts, faults),
    ]


def _lost(asked: Sequence[Asked], final: dict[str, DeliveryRecord], books: Books) -> list[str]:
    found = []
    booked = {effect.delivery_id for effect in books.effects}
    stuck: dict[str, str] = {}
    for one in sorted(asked, key=lambda a: (a.key, a.sequence)):
        record = final.get(one.delivery_id)
        if record is None:
            found.append(f"lost: {one.delivery_id} is not in the ledger")
        elif record.state == "CONFIRMED" and one.delivery_id not in booked:
            found.append(f"lost: {one.delivery_id} is CONFIRMED and not in the vendor's books")
        elif record.state == "REJECTED" and one.delivery_id in booked:
            found.append(f"wrong: {one.delivery_id} is REJECTED and in the vendor's books")
        elif record.state == "HELD" and one.key in stuck:
            continue
        elif record.state not in ENDED:
            found.append(
                f"lost: {one.delivery_id} is still {record.state} {record.hold_reason} "
                f"{record.waiting_on}"
            )
        if record is not None and record.state in ("PARKED", "REJECTED"):
            stuck[one.key] = one.delivery_id
    return found


def _doubled(books: Books) -> list[str]:
    count: dict[str, int] = defaultdict(int)
    for effect in books.effects:
        count[effect.delivery_id] += 1
    return [f"doubled: {one} took effect {many} times" for one, many in count.items() if many > 1]


def _out_of_order(asked: Sequence[Asked], books: Books) -> list[str]:
    first: dict[str, int] = {}
    for effect in books.effects:
        first.setdefault(effect.delivery_id, effect.at)
    by_key: dict[str, list[Asked]] = defaultdict(list)
    for one in asked:
        if one.delivery_id in first:
            by_key[one.key].append(one)
    found = []
    for key, members in by_key.items():
        members.sort(key=lambda a: a.sequence)
        for earlier, later in pairwise(members):
            if first[earlier.delivery_id] > first[later.delivery_id]:
                found.append(f"order: {later.delivery_id} came before an earlier one of {key}")
    return found


def _regressed(asked: Sequence[Asked], books: Books) -> list[str]:
    """An older full state written over a newer one, by whatever came late or again."""
    places = {one.delivery_id: one for one in asked}
    newest: dict[str, Asked] = {}
    found = []
    for written in books.written:
        one = places.get(written.delivery_id)
        if one is None:
            continue
        before = newest.setdefault(one.key, one)
        if one.sequence < before.sequence:
            found.append(f"regressed: {one.delivery_id} was written over a newer one of {one.key}")
        elif one.sequence > before.sequence:
            newest[one.key] = one
    return found


def _overlapping(books: Books) -> list[str]:
    """Two calls for one delivery at the same time: two held its lease."""
    found = []
    by_delivery: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for call in books.calls:
        by_delivery[call.delivery_id].append((call.began, call.ended))
    for delivery_id, spans in by_delivery.items():
        spans.sort()
        if any(later[0] < earlier[1] for earlier, later in pairwise(spans)):
            found.append(f"lease: {delivery_id} was called twice at the same time")
    return found


def _not_held(books: Books) -> list[str]:
    """A call whose attempt had lost the delivery before it left."""
    late = {call.delivery_id for call in books.calls if not call.held}
    return [f"lease: {one} was called by who did not hold it" for one in sorted(late)]


def _over_budget(books: Books) -> list[str]:
    """More calls at once than the vendor's system takes."""
    moments = [(call.began, 1) for call in books.calls] + [(call.ended, -1) for call in books.calls]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return [f"budget: {most} calls at once"] if most > CALLS_AT_ONCE_MAX else []


def _repeated_blindly(books: Books, faults: Faults) -> list[str]:
    if faults.operation_class != "NONE":
        return []
    count: dict[str, int] = defaultdict(int)
    for call in books.calls:
        count[call.delivery_id] += 1
    return [f"blind: {one} of class NONE was called {n} times" for one, n in count.items() if n > 1]


def _repeated_unasked(attempts: dict[str, list[AttemptRecord]], faults: Faults) -> list[str]:
    """A call in doubt that was made again without two settled look-ups, done or not; by the law
    that the checker of histories judges by."""
    if faults.operation_class != "SEARCHABLE":
        return []
    found = []
    for delivery_id, told in attempts.items():
        log = sorted((_noted(attempt) for attempt in told), key=lambda attempt: attempt.token)
        for each in repeats(log, SETTLE_SECONDS, {}):
            if each.settled < NOT_FOUND_NEEDED:
                looks = f"{each.found_nothing} look-ups that found nothing, {each.settled} settled"
                found.append(f"blind: {delivery_id} was called again after {looks}")
    return found


def _noted(told: AttemptRecord) -> Attempt:
    late = told.reason.startswith(LATE)
    return Attempt(
        told.delivery_id, told.token, told.number, told.kind, told.begun_at, told.ended_at,
        told.outcome, told.instance, late,
    )  # fmt: skip


def _parked_without_doubt(
    final: dict[str, DeliveryRecord], attempts: dict[str, list[AttemptRecord]], faults: Faults
) -> list[str]:
    """Only doubt parks: an outage is proven non-processing, however long it lasts."""
    found = []
    for record in final.values():
        outcomes = {attempt.outcome for attempt in attempts[record.id]}
        if record.state == "PARKED" and outcomes <= UNDOUBTED:
            found.append(f"parked: {record.id} without any doubt: {record.waiting_on}")
    return found
