"""More violations to put into a good history: of ends that nothing explains, and of haste."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tests.faults.history.records import (
    CALL,
    LOOK_UP,
    Attempt,
    Delivery,
    Effect,
    History,
    Record,
    VendorCall,
)
from tests.faults.history.violations import Kind
from tests.faults.seeded import SEEDS as SEEDS
from tests.faults.seeded import by_class, changed, delivery, first, one_more_call, seeded


@seeded(Kind.SUPERSEDED_BY_NOTHING)
def _dropped(history: History) -> Iterable[Record]:
    # Nobody was called for it, so no other rule misses it; what it names came before it.
    row = delivery(history, state="CONFIRMED", operation="change_order")
    line = (row.endpoint, row.ordering_key, "create_sales_order")
    earlier = first(history, Delivery, lambda d: (d.endpoint, d.ordering_key, d.operation) == line)
    dropped = replace(row, state="SUPERSEDED", superseded_by=earlier.id)
    return [
        dropped if each is row else each
        for each in history.records
        if not (isinstance(each, (Attempt, Effect, VendorCall)) and each.delivery_id == row.id)
    ]


@seeded(Kind.SKIPPED_UNASKED)
def _skipped(history: History) -> Iterable[Record]:
    return changed(history, delivery(history, state="CONFIRMED"), state="SKIPPED")


@seeded(Kind.JUDGED_BEFORE_ITS_LEASE)
def _judged_early(history: History) -> Iterable[Record]:
    leased = {(c.delivery_id, c.attempt): c.lease_until for c in history.of(VendorCall)
              if c.kind == CALL}  # fmt: skip
    attempt = first(
        history, Attempt, lambda a: a.kind == CALL and (a.delivery_id, a.number) in leased
    )
    early = leased[attempt.delivery_id, attempt.number] - 1_000_000
    return changed(history, attempt, outcome="LEASE_EXPIRED", ended_at=early)


@seeded(Kind.REPEATED_BEFORE_IT_SETTLED)
def _looked_too_early(history: History) -> Iterable[Record]:
    attempt, row = by_class(history, "SEARCHABLE", "UNKNOWN")
    others = [
        e for e in history.records
        if not (isinstance(e, Attempt) and e.delivery_id == row.id and e is not attempt)
    ]  # fmt: skip
    assert attempt.ended_at is not None
    at = attempt.ended_at
    looks = [
        replace(attempt, kind=LOOK_UP, token=attempt.token + n, number=attempt.number + n,
                begun_at=at + 10 * n, ended_at=at + 10 * n + 5, outcome="NOT_FOUND")
        for n in (1, 2)
    ]  # fmt: skip
    return one_more_call(history.with_records([*others, *looks]), attempt)


@seeded(Kind.PARKED_WITHOUT_CAUSE)
def _parked_for_nothing(history: History) -> Iterable[Record]:
    row = delivery(history, state="CONFIRMED", operation_class="SEARCHABLE")
    return changed(history, row, state="PARKED", waiting_on="12 calls, never found")
