"""Violations to put into a good history, one for each kind: what the checker must not overlook.

Each takes the records of a real run and returns them with one thing gone wrong, in the way in which
it would go wrong: a row missing, a message copied, a call in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tests.faults.history.records import (
    CALL,
    DRAFT,
    OK,
    Attempt,
    Delivery,
    Effect,
    Event,
    History,
    Look,
    Object,
    Record,
    Rpc,
    Streamed,
    VendorCall,
)
from tests.faults.history.violations import Kind

Seed = Callable[[History], Iterable[Record]]
SEEDS: dict[Kind, Seed] = {}


def seeded(kind: Kind) -> Callable[[Seed], Seed]:
    """Register what brings a kind of violation into a history."""

    def register(seed: Seed) -> Seed:
        assert kind not in SEEDS, kind
        SEEDS[kind] = seed
        return seed

    return register


def first(history: History, kind: type[Any], wanted: Callable[[Any], bool] = lambda _: True) -> Any:
    """The first record of a kind that is as wanted; a history without one is no good for this."""
    found = next((record for record in history.of(kind) if wanted(record)), None)
    assert found is not None, f"the recorded history has no such {kind.__name__}"
    return found


def without(history: History, record: Record) -> list[Record]:
    return [each for each in history.records if each is not record]


def changed(history: History, record: Any, **changes: Any) -> list[Record]:
    return [replace(e, **changes) if e is record else e for e in history.records]  # type: ignore[type-var]


def added(history: History, *records: Record) -> list[Record]:
    return [*history.records, *records]


def delivery(history: History, **wanted: Any) -> Delivery:
    """A delivery with these values."""
    found: Delivery = first(
        history, Delivery, lambda d: all(getattr(d, name) == v for name, v in wanted.items())
    )
    return found


def answered(history: History, method: str) -> Rpc:
    found: Rpc = first(history, Rpc, lambda r: r.method == method and r.outcome == OK)
    return found


# Writes and reads


@seeded(Kind.ANSWERED_WRITE_MISSING)
def _write_lost(history: History) -> Iterable[Record]:
    told = answered(history, "CreateOrder")
    return without(history, first(history, Object, lambda o: o.id == told.object_id))


@seeded(Kind.WRITE_TWICE)
def _order_twice(history: History) -> Iterable[Record]:
    row = first(history, Object)
    return added(history, replace(row, id="another"))


@seeded(Kind.REPEAT_ANSWERED_DIFFERENTLY)
def _another_answer(history: History) -> Iterable[Record]:
    told = answered(history, "CreateOrder")
    return added(history, replace(told, revision=told.revision + 1))


@seeded(Kind.REQUEST_TWO_EFFECTS)
def _two_effects(history: History) -> Iterable[Record]:
    event = first(history, Event)
    last = max(e.sequence for e in history.of(Event))
    again = replace(event, id="again", sequence=last + 1, revision=event.revision + 1)
    return added(history, again)


@seeded(Kind.REFUSED_WRITE_WITH_EFFECT)
def _refused(history: History) -> Iterable[Record]:
    told = answered(history, "ApproveOrder")
    return [
        replace(e, outcome="fail", reason="STATE_CONFLICT")
        if isinstance(e, Rpc) and e.request_id == told.request_id
        else e
        for e in history.records
    ]


@seeded(Kind.READ_MOVED_BACKWARDS)
def _read_back(history: History) -> Iterable[Record]:
    look = first(history, Look, lambda k: k.kind == "order" and k.revision > 1)
    end = max(e.end for e in history.of(Look))
    stale = replace(look, start=end + 1, end=end + 2, revision=1)
    return added(history, stale)


@seeded(Kind.READ_OLDER_THAN_ANSWER)
def _read_stale(history: History) -> Iterable[Record]:
    told = answered(history, "ApproveOrder")
    stale = Look("operator", "order", told.object_id, told.end + 1, told.end + 2, "", 1)
    return added(history, stale)


@seeded(Kind.ENDED_OBJECT_REGRESSED)
def _object_back(history: History) -> Iterable[Record]:
    look = first(history, Look, lambda k: k.kind == "order")
    row = first(history, Object, lambda o: o.id == look.subject)
    return changed(history, row, revision=0)


# Events and the stream


@seeded(Kind.EVENT_GONE)
def _event_gone(history: History) -> Iterable[Record]:
    return without(history, history.of(Event)[3])


@seeded(Kind.POSITION_GAP)
def _position_gap(history: History) -> Iterable[Record]:
    return changed(history, first(history, Event), position=1)


@seeded(Kind.OBJECT_BEHIND_EVENT)
def _object_behind(history: History) -> Iterable[Record]:
    event = first(history, Event)
    row = first(history, Object, lambda o: o.id == event.object_id)
    return changed(history, row, revision=event.revision - 1)


@seeded(Kind.COMMIT_OUT_OF_ORDER)
def _committed_late(history: History) -> Iterable[Record]:
    later = first(history, Event, lambda e: e.revision > 2)
    earlier = first(
        history, Event, lambda e: e.object_id == later.object_id and e.revision < later.revision
    )
    swap = {later.id: earlier.sequence, earlier.id: later.sequence}
    return [
        replace(e, sequence=swap[e.id]) if isinstance(e, Event) and e.id in swap else e
        for e in history.records
    ]


@seeded(Kind.ANSWERED_WRITE_WITHOUT_EVENT)
def _silent_write(history: History) -> Iterable[Record]:
    told = answered(history, "ApproveOrder")
    wanted = first(history, Event, lambda e: e.causation_id == told.request_id)
    return changed(history, wanted, type="crossdock.order.v1.OrderReleased")


@seeded(Kind.EVENT_NOT_ON_STREAM)
def _not_streamed(history: History) -> Iterable[Record]:
    return without(history, history.of(Streamed)[-1])


@seeded(Kind.EVENT_TWICE_ON_STREAM)
def _streamed_twice(history: History) -> Iterable[Record]:
    last = history.of(Streamed)[-1]
    return added(history, replace(last, sequence=last.sequence + 1))


@seeded(Kind.EVENT_OUT_OF_ORDER)
def _streamed_late(history: History) -> Iterable[Record]:
    later = first(history, Event, lambda e: e.revision > 2)
    earlier = first(
        history, Event, lambda e: e.object_id == later.object_id and e.revision < later.revision
    )
    places = {m.id: m.sequence for m in history.of(Streamed)}
    swap = {later.id: places[earlier.id], earlier.id: places[later.id]}
    return [
        replace(e, sequence=swap[e.id]) if isinstance(e, Streamed) and e.id in swap else e
        for e in history.records
    ]


@seeded(Kind.EVENT_FROM_NOWHERE)
def _streamed_only(history: History) -> Iterable[Record]:
    last = history.of(Streamed)[-1]
    return added(history, replace(last, id="never committed", sequence=last.sequence + 1))


@seeded(Kind.EVENT_BYTES_DIFFER)
def _other_bytes(history: History) -> Iterable[Record]:
    return changed(history, first(history, Streamed), body="0000000000000000")


# Deliveries and what vendors hold


@seeded(Kind.DELIVERY_MISSING)
def _nobody_told(history: History) -> Iterable[Record]:
    return without(history, delivery(history, operation="create_sales_order"))


@seeded(Kind.DELIVERY_TWICE)
def _told_twice(history: History) -> Iterable[Record]:
    row = delivery(history, operation="change_order")
    return added(history, replace(row, id="another"))


@seeded(Kind.DELIVERY_OF_NOTHING)
def _of_nothing(history: History) -> Iterable[Record]:
    return added(history, replace(first(history, Delivery), id="another", event_id="none"))


@seeded(Kind.EFFECT_WITHOUT_DELIVERY)
def _unasked(history: History) -> Iterable[Record]:
    return added(history, replace(first(history, Effect), delivery_id="none", number="more"))


@seeded(Kind.EFFECT_TWICE)
def _two_labels(history: History) -> Iterable[Record]:
    # A full state may be sent again.
    once = {d.id for d in history.of(Delivery) if d.operation_class != "NATURAL"}
    effect = first(history, Effect, lambda e: e.delivery_id in once)
    return added(history, replace(effect, number="a second label"))


@seeded(Kind.CONFIRMED_WITHOUT_EFFECT)
def _no_label(history: History) -> Iterable[Record]:
    row = delivery(history, state="CONFIRMED")
    return [e for e in history.records if not (isinstance(e, Effect) and e.delivery_id == row.id)]


@seeded(Kind.CONFIRMED_WITH_ANOTHER_NUMBER)
def _wrong_number(history: History) -> Iterable[Record]:
    return changed(history, delivery(history, state="CONFIRMED"), references=("somebody's",))


@seeded(Kind.EFFECT_NOT_KNOWN)
def _asked_again_soon(history: History) -> Iterable[Record]:
    row = delivery(history, state="CONFIRMED", operation_class="SEARCHABLE")
    return changed(history, row, state="READY")


@seeded(Kind.REJECTED_WITH_EFFECT)
def _rejected(history: History) -> Iterable[Record]:
    return changed(history, delivery(history, state="CONFIRMED"), state="REJECTED")


@seeded(Kind.SUPERSEDED_BUT_CALLED)
def _superseded(history: History) -> Iterable[Record]:
    row = delivery(history, state="CONFIRMED")
    return changed(history, row, state="SUPERSEDED", superseded_by="a cancel")


@seeded(Kind.OLDER_STATE_LAST)
def _older_last(history: History) -> Iterable[Record]:
    effect = first(history, Effect, lambda e: e.revision > 2)
    last = max(e.made_at for e in history.of(Effect))
    return added(
        history, replace(effect, delivery_id="late", revision=1, made_at=last + 1, number="old")
    )


# The ledger's rules


@seeded(Kind.CALL_WITHOUT_BEGIN)
def _no_begin(history: History) -> Iterable[Record]:
    call = first(history, VendorCall)
    made_for = (call.delivery_id, call.attempt_kind, call.attempt)
    return without(
        history,
        first(history, Attempt, lambda a: (a.delivery_id, a.kind, a.number) == made_for),
    )


@seeded(Kind.CALL_BEFORE_BEGIN)
def _early_call(history: History) -> Iterable[Record]:
    call = first(history, VendorCall)
    return changed(history, call, sent_at=call.sent_at - 10_000_000)


@seeded(Kind.CALL_AFTER_LEASE)
def _late_call(history: History) -> Iterable[Record]:
    call = first(history, VendorCall, lambda c: c.kind == "CALL")
    return changed(history, call, sent_at=call.lease_until + 1)


@seeded(Kind.DRAFT_NOT_NOTED)
def _other_draft(history: History) -> Iterable[Record]:
    call = first(history, VendorCall, lambda c: c.kind == CALL and c.draft)
    return changed(history, call, draft="D-OTHER")


@seeded(Kind.DRAFT_MADE_AGAIN)
def _second_draft(history: History) -> Iterable[Record]:
    confirmed = first(history, VendorCall, lambda c: c.kind == CALL and c.draft)
    again = replace(confirmed, kind=DRAFT, attempt=confirmed.attempt + 1, draft="D-OTHER")
    return added(history, again)


@seeded(Kind.CALL_WITH_ANOTHER_KEY)
def _other_key(history: History) -> Iterable[Record]:
    call = first(history, VendorCall)
    return added(history, replace(call, key="ANOTHER"))


def _repeated(history: History) -> tuple[Attempt, Attempt]:
    """Two attempts of one delivery, one after the other."""
    second = first(history, Attempt, lambda a: a.token == 2)
    return (
        first(history, Attempt, lambda a: a.delivery_id == second.delivery_id and a.token == 1),
        second,
    )


@seeded(Kind.LEASES_OVERLAP)
def _overlap(history: History) -> Iterable[Record]:
    called = {(c.delivery_id, c.kind, c.attempt): c.lease_until for c in history.of(VendorCall)}
    second = first(
        history,
        Attempt,
        lambda a: a.token == 2 and (a.delivery_id, "CALL", 1) in called
        and (a.delivery_id, a.kind, a.number) in called,
    )  # fmt: skip
    one = first(history, Attempt, lambda a: a.delivery_id == second.delivery_id and a.token == 1)
    early = {second.token: one.begun_at + 1}
    return [
        replace(e, begun_at=early[e.token])
        if isinstance(e, Attempt) and e.delivery_id == one.delivery_id and e.token in early
        else e
        for e in history.records
    ]


@seeded(Kind.TOKEN_FELL)
def _token_fell(history: History) -> Iterable[Record]:
    one, two = _repeated(history)
    return changed(history, two, begun_at=one.begun_at - 1)


@seeded(Kind.CALL_OUT_OF_ORDER)
def _overtaken(history: History) -> Iterable[Record]:
    change = delivery(history, operation="change_order", state="CONFIRMED")
    attempt = first(history, Attempt, lambda a: a.delivery_id == change.id)
    return changed(history, attempt, begun_at=0)


def by_class(history: History, kind: str, outcome: str) -> tuple[Attempt, Delivery]:
    """A call of a class that ended so, and its delivery."""
    rows = {d.id: d for d in history.of(Delivery) if d.operation_class == kind}
    attempt = first(
        history,
        Attempt,
        lambda a: a.delivery_id in rows and a.kind == "CALL" and a.outcome == outcome,
    )
    return attempt, rows[attempt.delivery_id]


def one_more_call(history: History, attempt: Attempt) -> list[Record]:
    log = [a for a in history.of(Attempt) if a.delivery_id == attempt.delivery_id]
    last = max(log, key=lambda a: a.token)
    again = replace(
        attempt, token=last.token + 1, number=99, begun_at=last.begun_at + 60_000_000,
        ended_at=last.begun_at + 60_000_001, outcome="CONFIRMED",
    )  # fmt: skip
    return added(history, again)


@seeded(Kind.REPEATED_WITHOUT_LOOK_UP)
def _blind_repeat(history: History) -> Iterable[Record]:
    attempt, row = by_class(history, "SEARCHABLE", "UNKNOWN")
    looked = [
        e
        for e in history.records
        if not (isinstance(e, Attempt) and e.delivery_id == row.id and e.kind == "LOOK_UP")
    ]
    return one_more_call(history.with_records(looked), attempt)


@seeded(Kind.SETTLED_WITHOUT_PROOF)
def _old_token(history: History) -> Iterable[Record]:
    attempt, _ = by_class(history, "KEYED", "CONFIRMED")
    under_way = replace(
        attempt, token=attempt.token + 1, number=99, begun_at=attempt.begun_at + 1, ended_at=None,
        outcome="",
    )  # fmt: skip
    return added(history, under_way)


@seeded(Kind.CALLED_AFTER_PROOF)
def _proved_and_called(history: History) -> Iterable[Record]:
    attempt, _ = by_class(history, "KEYED", "CONFIRMED")
    return one_more_call(history, attempt)


@seeded(Kind.NONE_REPEATED)
def _none_repeated(history: History) -> Iterable[Record]:
    attempt, _ = by_class(history, "NONE", "UNKNOWN")
    return one_more_call(history, attempt)


@seeded(Kind.UNKNOWN_NOT_PARKED)
def _not_parked(history: History) -> Iterable[Record]:
    _, row = by_class(history, "NONE", "UNKNOWN")
    return changed(history, row, state="UNKNOWN")


@seeded(Kind.PARKED_WITHOUT_REASON)
def _no_reason(history: History) -> Iterable[Record]:
    return changed(history, delivery(history, state="PARKED"), waiting_on=" ")


@seeded(Kind.SETTLED_MOVED)
def _unsettled(history: History) -> Iterable[Record]:
    row = delivery(history, state="CONFIRMED")
    end = max(e.end for e in history.of(Look))
    seen = Look("operator", "delivery", row.id, end + 1, end + 2, "CONFIRMED", 0)
    return added(history, seen, replace(seen, start=end + 3, end=end + 4, state="READY"))


@seeded(Kind.OPEN_AT_THE_END)
def _open(history: History) -> Iterable[Record]:
    row = delivery(history, state="CONFIRMED", operation="change_order")
    return changed(history, row, state="IN_FLIGHT")
