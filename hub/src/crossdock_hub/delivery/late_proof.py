"""Proof that comes late: a call turns out to be done when its delivery already went another way.

It moves nothing by itself where a newer call runs or has ended; but nothing may do the same once
more that can still be stopped, and what is known to be done is never told as refused.
"""

from __future__ import annotations

from crossdock.types.v1 import types_pb2

from crossdock_hub.delivery import ledger, ordering
from crossdock_hub.delivery.postings import says_done
from crossdock_hub.records import AttemptRecord, DeliveryRecord, QuarantineRecord
from crossdock_hub.replacing import replace
from crossdock_hub.unit import Unit

# Why a fact of an attempt that no longer counts was not written.
LEASE_LOST = "LEASE_LOST"
# Where a call may still follow, by itself or on a person's word.
_MAY_GO_AGAIN = ledger.OPEN_STATES | {"REJECTED"}
# Where what took its place waits, be it for a person.
_WAITS = ordering.IDLE_STATES | {"PARKED"}


def doubted(record: DeliveryRecord, attempt: AttemptRecord, outcome: str) -> DeliveryRecord:
    """The delivery of a call whose word moves nothing any more: where the word is that it is done,
    nothing is sent again without a look at the vendor, whatever look-ups found nothing before."""
    if not _is_proof(attempt, outcome) or record.state not in _MAY_GO_AGAIN:
        return record
    since = min(record.first_unknown_at or attempt.begun_at, attempt.begun_at)
    return replace(record, first_unknown_at=since, not_found=ledger.UNSETTLED)


def shows_done(unit: Unit, record: DeliveryRecord, attempt: AttemptRecord, outcome: str) -> bool:
    """Whether an earlier call is known to be done, where the newest one ended and did nothing."""
    if attempt.kind != "CALL" or outcome not in ledger.UNDONE:
        return False
    if record.first_unknown_at is None or record.first_unknown_at == attempt.begun_at:
        return False
    if outcome in ledger.UNPROCESSED and not record.vendor_references:
        # An endpoint that is away for weeks is tried often: the log, which is long then, is read
        # only where something has come. Without it the doubt alone keeps a repeat from going.
        return False
    # What a person has looked at since, and found nothing of, is overruled.
    return any(
        says_done(other) and other.begun_at >= record.first_unknown_at
        for other in unit.attempts(record)
        if other.token < attempt.token
    )


def report_of(newest: ledger.Report) -> ledger.Report:
    """What a delivery is told to have come to by an earlier call. newest: how the newest ended."""
    said = f"{newest.outcome} {newest.reason or newest.code}".rstrip()
    return ledger.Report("CONFIRMED", reason=f"an earlier call did it; this one: {said}")


def facts_kept(record: DeliveryRecord) -> tuple[list[QuarantineRecord], list[QuarantineRecord]]:
    """What earlier attempts learned too late to count, and what else is quarantined: where the
    delivery is done with such an attempt, the first are to be written after all."""
    late: list[QuarantineRecord] = []
    other: list[QuarantineRecord] = []
    for fact in record.quarantined:
        refusal = types_pb2.Refusal.FromString(fact.refusal)
        (late if refusal.reason == LEASE_LOST else other).append(fact)
    return late, other


def of_successor(
    unit: Unit, record: DeliveryRecord, attempt: AttemptRecord, outcome: str
) -> tuple[DeliveryRecord, DeliveryRecord] | None:
    """What took the place of a delivery that is done after all, before and after: it must not do it
    once more, where nobody has begun it. A replay is done with it; a resubmission, whose content
    may be another, is a person's to decide. None: nothing is to be stopped.

    record: with what the attempt learned.
    """
    heir = _heir(unit, record) if _is_proof(attempt, outcome) else None
    if heir is None or heir.state not in _WAITS or not ledger.is_untouched(heir):
        return None
    still = replace(
        heir, hold_reason="", due_at=None, lease_until=None, pending=False, updated_at=unit.now
    )
    if heir.vendor_reference == record.vendor_reference:
        done = replace(
            still,
            state="CONFIRMED",
            waiting_on=f"the call of {record.id}, which it replaced, was done",
            operation_class=record.operation_class,
            vendor_references=list(record.vendor_references),
        )
        return heir, done
    numbers = ", ".join(f"{each.type} {each.value}" for each in record.vendor_references)
    parked = replace(
        still,
        state="PARKED",
        waiting_on=(
            f"{record.id}, which it replaced, was done after all"
            f"{f' as {numbers}' if numbers else ''}: resolve it with what is there, or retry it "
            "only if the vendor is to do it once more"
        ),
    )
    return heir, parked


def _is_proof(attempt: AttemptRecord, outcome: str) -> bool:
    return outcome == "CONFIRMED" and attempt.kind == "CALL"


def _heir(unit: Unit, record: DeliveryRecord) -> DeliveryRecord | None:
    """What stands in the place of a superseded delivery now: a replay, or a resubmission."""
    seen = {record.id}
    known: DeliveryRecord | None = record
    while known is not None and known.state == "SUPERSEDED" and known.superseded_by not in seen:
        seen.add(known.superseded_by)
        heir = unit.delivery(known.superseded_by)
        # A void that a replay handed over supersedes too, and is other work.
        if heir is None or _work_of(heir) != _work_of(record):
            return None
        known = heir
    return None if known is record else known


def _work_of(record: DeliveryRecord) -> tuple[str, str, str]:
    return record.operation, record.item, record.event_id


__all__ = ["LEASE_LOST", "doubted", "facts_kept", "of_successor", "report_of", "shows_done"]
