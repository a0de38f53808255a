"""The delivery ledger's rules: every state and what moves it. Pure functions of records and time.

    HELD (order, prerequisite, retry) ──► READY ──► DISPATCHED ──begin──► IN_FLIGHT
    IN_FLIGHT ──complete──► CONFIRMED | REJECTED | PARKED | HELD (retry) | UNKNOWN
    DISPATCHED ──not begun──► READY          IN_FLIGHT ──lease lost──► UNKNOWN
    UNKNOWN ──settled──► RESOLVING (look-up) ──► CONFIRMED | UNKNOWN | READY | PARKED
    UNROUTED: a required target nobody serves
    SKIPPED: an operator ended it; what operators may do is decided in intervention.py
    SUPERSEDED: a later fact made it pointless before anything reached the vendor

Invariants: a token only grows; only an attempt with the newest token moves a delivery; UNKNOWN is
never repeated blindly; what reached the vendor is never superseded; only READY and RESOLVING wait
to be dispatched. Order, prerequisites and supersession are decided per endpoint within the flow of
one root object, which every ordering key belongs to. One event's deliveries await no sibling.
"""

from __future__ import annotations

from dataclasses import dataclass

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.ordering import OPEN_STATES as OPEN_STATES
from crossdock_hub.delivery.ordering import Flow, blocker_of, is_idle, left_there, undone_by, unmet
from crossdock_hub.delivery.ordering import is_untouched as is_untouched
from crossdock_hub.delivery.registry import CARE, OperationSpec
from crossdock_hub.delivery.retrying import (
    back_off,
    left_alone_until,
    next_call_at,
    next_look_up_seconds,
)
from crossdock_hub.records import AttemptRecord, DeliveryRecord
from crossdock_hub.replacing import replace

# Nobody will send it again: in every other state it, or a person, may need its event.
DONE_STATES = frozenset({"CONFIRMED", "SUPERSEDED", "SKIPPED"})
# Where a completion with the newest token still counts.
COMPLETABLE_STATES = frozenset({"IN_FLIGHT", "RESOLVING", "UNKNOWN"})
# Ends of an attempt that prove nothing: proof from the same attempt may still follow.
OPEN_OUTCOMES = frozenset({"", "UNKNOWN", "LEASE_EXPIRED", "NOT_FOUND"})
# Ends that prove that nothing was processed.
UNPROCESSED = frozenset({"RETRY", "THROTTLED"})
# Ends of a call that left nothing at the vendor.
UNDONE = UNPROCESSED | {"REJECTED", "PARKED"}
LEASE_RAN_OUT = "the lease ran out with no word"
# `not_found` where nobody knows how long ago the latest call was sent: a first look-up that finds
# nothing was perhaps too early, so the settle time begins with it, and only later ones count.
UNSETTLED = -1
# What an attempt of each kind may say; everything else proves nothing.
WORDS = {
    "CALL": frozenset({"CONFIRMED", "REJECTED", "PARKED"}) | UNPROCESSED,
    "LOOK_UP": frozenset({"CONFIRMED", "REJECTED", "NOT_FOUND", "PARKED"}),
}


@dataclass(frozen=True, slots=True)
class Report:
    """How an attempt ended, as the endpoint says. outcome: of AttemptOutcome, without prefix."""

    outcome: str
    code: str = ""
    reason: str = ""
    retry_after_seconds: float = 0.0


def place(record: DeliveryRecord, flow: Flow, spec: OperationSpec, now: int) -> DeliveryRecord:
    """Where a delivery that could go waits, or READY: prerequisite first, then order."""
    books = IndexedFlow.of(flow)
    missing = unmet(record, books)
    if missing:
        until = record.prerequisite_until
        if until is None:
            until = now + int(spec.prerequisite_seconds * SECOND)
        return replace(
            record,
            state="HELD",
            hold_reason="PREREQUISITE",
            waiting_on=f"{missing} to be confirmed at {record.endpoint}",
            awaits_operation=missing,
            prerequisite_until=until,
            due_at=until,
            pending=False,
            updated_at=now,
        )
    blocker = blocker_of(record, books)
    if blocker is not None:
        return replace(
            record,
            state="HELD",
            hold_reason="ORDER",
            waiting_on=_waits_for(blocker, record),
            awaits_operation="",
            due_at=None,
            pending=False,
            updated_at=now,
        )
    return replace(
        record,
        state="READY",
        hold_reason="",
        waiting_on="",
        awaits_operation="",
        due_at=None,
        pending=True,
        updated_at=now,
    )


def _waits_for(blocker: DeliveryRecord, record: DeliveryRecord) -> str:
    """The work that has to go first, in words: of which item, where it is another one than that of
    the delivery itself; of work that nobody serves also what helps."""
    item = f" of {blocker.item}" if blocker.item not in ("", record.item) else ""
    helps = f": {blocker.waiting_on}" if blocker.state == "UNROUTED" else ""
    return f"{blocker.operation}{item} before it is {blocker.state} ({blocker.id}){helps}"


def supersede(record: DeliveryRecord, flow: Flow, now: int) -> list[DeliveryRecord]:
    """What a delivery makes pointless, and itself when nothing of it ever reached the vendor.

    Returns the changed records; `record` is among them only when it disappears too.
    """
    targets = undone_by(record, flow)
    left = left_there(record, targets, flow)
    idle = [o for o in targets if is_idle(o)]
    done = [_superseded(other, record.id, f"{record.operation} came", now) for other in idle]
    rest_is_gone = all(is_idle(o) or _never_reached(o) for o in [*targets, *left])
    if targets and rest_is_gone:
        done.append(_superseded(record, record.id, "nothing had reached the vendor", now))
    return done


def _never_reached(record: DeliveryRecord) -> bool:
    # One that an operator resubmitted is superseded too, and the vendor may have it.
    return record.state == "SUPERSEDED" and is_untouched(record)


def _superseded(record: DeliveryRecord, by: str, why: str, now: int) -> DeliveryRecord:
    return replace(
        record,
        state="SUPERSEDED",
        hold_reason="",
        waiting_on=why,
        superseded_by=by,
        due_at=None,
        pending=False,
        updated_at=now,
    )


def dispatch(record: DeliveryRecord, now: int, limits: Limits) -> DeliveryRecord:
    """Put a pending delivery on its subject: the next number, and a time to be begun by."""
    state = "RESOLVING" if record.state == "RESOLVING" else "DISPATCHED"
    return replace(
        record,
        state=state,
        dispatch_number=record.dispatch_number + 1,
        due_at=now + int(limits.dispatch_seconds * SECOND),
        pending=False,
        updated_at=now,
    )


def begin(
    record: DeliveryRecord,
    spec: OperationSpec,
    attempt_id: str,
    lease_seconds: float,
    now: int,
) -> DeliveryRecord:
    """An attempt takes the delivery: a new token, a lease. The caller checked that it may."""
    look_up = record.state == "RESOLVING"
    lease_until = now + int(lease_seconds * SECOND)
    return replace(
        record,
        state="RESOLVING" if look_up else "IN_FLIGHT",
        hold_reason="",
        # While it is looked up it is in doubt for what it was.
        waiting_on=record.waiting_on if look_up else "",
        operation_class=record.operation_class if look_up else careful_class(record, spec),
        token=record.token + 1,
        attempts=record.attempts + (0 if look_up else 1),
        look_ups=record.look_ups + (1 if look_up else 0),
        calls_reached=record.calls_reached + (0 if look_up else 1),
        calls_maybe_done=record.calls_maybe_done + (0 if look_up else 1),
        released=record.released and look_up,
        attempt_id=attempt_id,
        attempt_kind="LOOK_UP" if look_up else "CALL",
        lease_until=lease_until,
        due_at=lease_until,
        pending=False,
        updated_at=now,
    )


def careful_class(record: DeliveryRecord, spec: OperationSpec) -> str:
    """The class that rules a delivery: the more careful of the one it began under and today's.

    Two steps are safe by the draft that was noted. Doubt of what never began here is of a database
    that was put back: a draft may have been noted and confirmed that it knows nothing of.
    """
    stored = record.operation_class or spec.operation_class
    kind = min(stored, spec.operation_class, key=CARE.index)
    unheard_of = not record.operation_class and record.first_unknown_at is not None
    return "NONE" if kind == "TWO_STEP" and unheard_of and not record.draft else kind


def renew(
    record: DeliveryRecord, lease_seconds: float, now: int, draft: str = ""
) -> DeliveryRecord:
    """A longer lease for the attempt that holds it, never a shorter one; and its draft, if any.

    A delivery keeps its first draft: whatever attempt comes later confirms that one.
    """
    until = max(record.lease_until or 0, now + int(lease_seconds * SECOND))
    kept = record.draft or draft
    return replace(record, lease_until=until, due_at=until, draft=kept, updated_at=now)


def word(attempt: AttemptRecord, outcome: str) -> str:
    """What an attempt's outcome means: UNKNOWN where its kind cannot say such a thing."""
    return outcome if outcome in WORDS[attempt.kind] else "UNKNOWN"


def counts(
    record: DeliveryRecord, attempt: AttemptRecord, outcome: str, *, newer_call: bool = False
) -> bool:
    """Whether an attempt's word still moves the delivery; otherwise it is evidence.

    An attempt has one word. Proof alone may follow one that proved nothing, and then also frees a
    delivery that was parked for want of it, or takes back a repeat that nobody has begun.
    newer_call: the vendor was called again since; look-ups since then change nothing.
    """
    if attempt.outcome not in OPEN_OUTCOMES:
        return False
    if outcome == "CONFIRMED" and attempt.kind == "CALL" and not newer_call:
        # Done is done, whatever was asked or planned meanwhile: a repeat would do it twice.
        return record.state in OPEN_STATES
    if record.token != attempt.token:
        return False
    proof = outcome in ("CONFIRMED", "REJECTED") or outcome in UNPROCESSED
    if record.state in COMPLETABLE_STATES:
        return proof or attempt.outcome in ("", "LEASE_EXPIRED")
    return record.state == "PARKED" and proof


def complete(
    record: DeliveryRecord,
    attempt: AttemptRecord,
    report: Report,
    spec: OperationSpec,
    now: int,
    limits: Limits,
    *,
    outage: bool = False,
) -> DeliveryRecord:
    """What an attempt's end makes of the delivery. The caller checked that its word counts.

    outage: the endpoint answers nobody, so a call without an answer says nothing about this
    delivery and must not bring it nearer to a person.
    """
    ended = replace(record, lease_until=None, due_at=None, pending=False, updated_at=now)
    why = report.reason or report.code
    if report.outcome == "REJECTED" and not _stays_in_doubt(record, attempt):
        # A refusal is proof. Doubt of a refused one is of later: its database was put back.
        ended = replace(ended, first_unknown_at=None)
    if report.outcome in ("CONFIRMED", "REJECTED", "PARKED"):
        return replace(ended, state=report.outcome, waiting_on=why, hold_reason="")
    if attempt.kind == "LOOK_UP":
        return _looked_up(ended, report, spec, now, limits)
    if report.outcome in UNPROCESSED:
        # It never counts against the limit of calls, and changes nothing.
        # The doubt that this very call began ends with the proof; an older one stays.
        own = record.first_unknown_at == attempt.begun_at
        reached = max(0, record.calls_reached - 1)
        since = None if own else record.first_unknown_at
        free = replace(ended, calls_reached=reached, first_unknown_at=since)
        at = next_call_at(record, spec, report.retry_after_seconds, now, limits)
        return _retry_at(free, why, at)
    if outage:
        # It may have reached the vendor, so one stays; the limit is for calls that are answered.
        ended = replace(ended, calls_reached=max(1, record.calls_reached - 1))
    doubt = unknown(ended, spec, why, attempt.begun_at, now)
    if doubt.due_at is None:
        return doubt
    until = left_alone_until(doubt, spec, report.retry_after_seconds, now, limits)
    return replace(doubt, due_at=max(doubt.due_at, until))


def _stays_in_doubt(record: DeliveryRecord, attempt: AttemptRecord) -> bool:
    """Whether an earlier call may have been done though this one was refused: of full states each
    call is judged by itself, and the vendor may have taken one before it took no more."""
    earlier = record.first_unknown_at not in (None, attempt.begun_at)
    return earlier and record.operation_class == "NATURAL" and attempt.kind == "CALL"


def _looked_up(
    record: DeliveryRecord, report: Report, spec: OperationSpec, now: int, limits: Limits
) -> DeliveryRecord:
    if report.outcome != "NOT_FOUND":
        # A failed look-up proves nothing: look again later, never fall through to a repeat.
        why = f"look-up failed: {report.reason or report.code}"
        pause = next_look_up_seconds(record, spec, report.retry_after_seconds, limits)
        return _in_doubt(record, why, pause, now)
    found_nothing = record.not_found + 1
    record = replace(record, not_found=found_nothing)
    if found_nothing < limits.not_found_needed:
        why = f"not found {found_nothing} of {limits.not_found_needed} times"
        if found_nothing <= 0:
            why = "not found, which may have been too early to tell"
        return _in_doubt(record, why, spec.settle_seconds, now)
    if record.calls_reached >= spec.calls_max:
        return _park(record, f"{spec.calls_max} calls, never found", now)
    # Two settled look-ups found nothing: it was not done, so it may be asked for again.
    return replace(
        record,
        state="READY",
        not_found=0,
        first_unknown_at=None,
        pending=True,
        waiting_on="",
        hold_reason="",
    )


def unknown(
    record: DeliveryRecord, spec: OperationSpec, why: str, since: int, now: int
) -> DeliveryRecord:
    """Nobody knows whether the vendor did it: what follows is declared by the operation's class.

    since: when the call began; a vendor's key lives from its first use.
    """
    record = replace(
        record,
        first_unknown_at=record.first_unknown_at or since,
        lease_until=None,
        # A database that was put back may lack a later call than the one this is about.
        not_found=min(record.not_found, 0),
        updated_at=now,
    )
    kind = record.operation_class or spec.operation_class
    if kind == "NONE":
        return _park(record, f"outcome unknown, and the vendor can't be asked: {why}", now)
    if kind == "SEARCHABLE":
        return _in_doubt(record, why, spec.settle_seconds, now)
    if record.calls_reached >= spec.calls_max:
        return _park(record, f"{spec.calls_max} calls without an outcome: {why}", now)
    pause = back_off(record, record.attempts, spec)
    if kind == "NATURAL":
        # What follows goes when the repeat is done: by then this call must have had its effect, or
        # the vendor would get an older state after a newer one.
        pause = max(pause, spec.settle_seconds)
    return _in_doubt(record, why, pause, now)


def _in_doubt(record: DeliveryRecord, why: str, wait_seconds: float, now: int) -> DeliveryRecord:
    return replace(
        record,
        state="UNKNOWN",
        waiting_on=why,
        due_at=now + int(wait_seconds * SECOND),
        pending=False,
    )


def _retry_at(record: DeliveryRecord, why: str, due_at: int) -> DeliveryRecord:
    return replace(
        record, state="HELD", hold_reason="RETRY", waiting_on=why, due_at=due_at, pending=False
    )


def due(
    record: DeliveryRecord,
    flow: Flow,
    spec: OperationSpec,
    now: int,
    begun_at: int | None = None,
    *,
    away: bool = False,
) -> DeliveryRecord:
    """What a timer that has run out makes of the delivery.

    begun_at: of its newest attempt. away: the endpoint is paused, or its breaker is open.
    """
    if record.due_at is None or record.due_at > now:
        return record
    if record.state == "HELD" and record.hold_reason == "RETRY":
        return place(record, flow, spec, now)
    if record.state == "HELD" and record.hold_reason == "PREREQUISITE":
        if away or _is_coming(record, flow):
            # An outage or a queue is no reason for a person to look: the limit begins anew.
            until = now + int(spec.prerequisite_seconds * SECOND)
            return replace(record, prerequisite_until=until, due_at=until, updated_at=now)
        return _park(record, f"{record.awaits_operation} was not confirmed in time", now)
    if record.state == "DISPATCHED":
        return replace(record, state="READY", pending=True, due_at=None, updated_at=now)
    if record.state == "IN_FLIGHT":
        since = record.updated_at if begun_at is None else begun_at
        return unknown(record, spec, LEASE_RAN_OUT, since, now)
    if record.state == "RESOLVING":
        return _resolving_due(record, spec, now)
    if record.state == "UNKNOWN":
        return _settled(record, spec, now)
    return replace(record, due_at=None, updated_at=now)


def _is_coming(record: DeliveryRecord, flow: Flow) -> bool:
    """True while the awaited operation is under way there, and nobody has to look at it."""
    return any(
        other.endpoint == record.endpoint
        and other.operation == record.awaits_operation
        and other.object_id in record.refers_to
        and other.state in OPEN_STATES
        and other.state != "PARKED"
        and other.hold_reason != "PREREQUISITE"
        for other in flow
    )


def pins_event(record: DeliveryRecord) -> bool:
    """Whether a delivery keeps its event from being purged: it, or a person, may need it again."""
    return record.state not in DONE_STATES


def _resolving_due(record: DeliveryRecord, spec: OperationSpec, now: int) -> DeliveryRecord:
    if record.lease_until is None:
        # The look-up was dispatched and not begun: dispatch it again.
        return replace(record, pending=True, due_at=None, updated_at=now)
    wait = back_off(record, record.look_ups, spec)
    lost = replace(record, lease_until=None, updated_at=now)
    return _in_doubt(lost, "the look-up's lease ran out with no word", wait, now)


def _settled(record: DeliveryRecord, spec: OperationSpec, now: int) -> DeliveryRecord:
    kind = record.operation_class or spec.operation_class
    if kind == "SEARCHABLE":
        return replace(
            record,
            state="RESOLVING",
            attempt_kind="LOOK_UP",
            lease_until=None,
            pending=True,
            due_at=None,
            updated_at=now,
        )
    if kind == "NONE":
        return _park(record, "outcome unknown, and the vendor can't be asked", now)
    if key_is_dead(record, spec, now):
        return park_dead_key(record, now)
    return replace(record, state="READY", pending=True, due_at=None, updated_at=now)


def key_is_dead(record: DeliveryRecord, spec: OperationSpec, now: int) -> bool:
    """Whether a call may have reached the vendor so long ago that its key no longer protects us."""
    return (
        (record.operation_class or spec.operation_class) == "KEYED"
        and record.first_unknown_at is not None
        and now - record.first_unknown_at > int(spec.key_life_seconds * SECOND)
    )


def instead_of_call(record: DeliveryRecord, spec: OperationSpec, now: int) -> DeliveryRecord | None:
    """What a call that is about to begin becomes instead; None: it may go.

    Asked when the call goes, not when it was queued: a pause, an outage or another declaration of
    the endpoint may lie between. It matters only after a call that nothing is proven about. That
    may have been sent a moment ago, so the first look-up settles nothing.
    """
    if record.first_unknown_at is None:
        return None
    if key_is_dead(record, spec, now):
        return park_dead_key(record, now)
    kind = careful_class(record, spec)
    if kind in ("NONE", "SEARCHABLE"):
        doubtful = replace(record, operation_class=kind, not_found=UNSETTLED)
        return _settled(doubtful, spec, now)
    return None


def park_dead_key(record: DeliveryRecord, now: int) -> DeliveryRecord:
    """Leave a call whose key has died to a person: sent again it would be a second one."""
    return _park(record, "the vendor no longer honours the key of the first call", now)


def _park(record: DeliveryRecord, why: str, now: int) -> DeliveryRecord:
    return replace(
        record,
        state="PARKED",
        hold_reason="",
        waiting_on=why,
        due_at=None,
        pending=False,
        updated_at=now,
    )
