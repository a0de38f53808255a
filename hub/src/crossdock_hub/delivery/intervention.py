"""What a person may decide about a delivery, from which state, and what it becomes; pure.

    word       from                                          becomes
    RETRY      PARKED, REJECTED                              READY, HELD; RESOLVING when in doubt
    SKIP       UNROUTED, HELD, READY, DISPATCHED, UNKNOWN,   SKIPPED
               RESOLVING, PARKED, REJECTED
    RESOLVE    the same without UNROUTED                     CONFIRMED
    RESUBMIT   PARKED, REJECTED                              SUPERSEDED, and a new one is admitted

RETRY and RESUBMIT also take UNKNOWN and RESOLVING from a person who has looked at the vendor. What
an attempt holds is nobody's to touch: it is IN_FLIGHT, or RESOLVING with a lease.

Invariants: a word raises the token, so that no attempt begun before it moves the delivery, but one:
proof that the vendor did it takes back a repeat that nobody has begun, and stops a successor that
nobody has begun (late_proof.py). What the vendor may have
done is never sent again on a word alone: it is looked up, or a person says what there is. Nothing
is sent again that later work has made pointless, however that work ended, and no older content
after a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossdock import bus
from crossdock.errors import Refusal

from crossdock_hub.config import Limits
from crossdock_hub.delivery import guarding, ledger, overtaking
from crossdock_hub.delivery.ordering import says_more
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.records import DeliveryRecord, VendorReferenceRecord
from crossdock_hub.refusals import transition
from crossdock_hub.replacing import replace
from crossdock_hub.unit import Refused

_STOPPED = frozenset({"PARKED", "REJECTED"})
_DOUBTFUL = frozenset({"UNKNOWN", "RESOLVING"})
_WAITING = frozenset({"HELD", "READY", "DISPATCHED"})
ALLOWED: Mapping[str, frozenset[str]] = {
    "RETRY": _STOPPED,
    "SKIP": _STOPPED | _DOUBTFUL | _WAITING | {"UNROUTED"},
    "RESOLVE": _STOPPED | _DOUBTFUL | _WAITING,
    "RESUBMIT": _STOPPED,
}
# From here too, when a person has looked at the vendor and found nothing.
ALLOWED_AFTER_A_LOOK: Mapping[str, frozenset[str]] = {"RETRY": _DOUBTFUL, "RESUBMIT": _DOUBTFUL}
# Classes that may repeat a call nothing is known about.
REPEATABLE = frozenset({"TWO_STEP", "NATURAL"})


@dataclass(frozen=True, slots=True)
class Case:
    """A delivery among those of its flow, and what its endpoint declared.

    now: microseconds UTC. own_fact: later events of its target don't replace it.
    """

    record: DeliveryRecord
    flow: Sequence[DeliveryRecord]
    spec: OperationSpec
    now: int
    limits: Limits
    own_fact: bool = False

    @property
    def kind(self) -> str:
        """The class that rules: the more careful of the one it began under and today's."""
        return ledger.careful_class(self.record, self.spec)


@dataclass(frozen=True, slots=True)
class Decided:
    """What a word makes of a delivery. change: in words. successor: of a resubmitted one."""

    record: DeliveryRecord
    change: str
    successor: DeliveryRecord | None = None


def is_leased(record: DeliveryRecord) -> bool:
    """True while an attempt holds the delivery."""
    return record.state in ("IN_FLIGHT", "RESOLVING") and record.lease_until is not None


def is_in_doubt(record: DeliveryRecord, limits: Limits) -> bool:
    """True when a call may have been processed and nothing has shown that it was not."""
    return record.first_unknown_at is not None and record.not_found < limits.not_found_needed


def retry(case: Case, *, not_found_at_vendor: bool) -> Decided:
    """Let it go again under the same reference. Raises Refused."""
    _check(case.record, "RETRY", not_found_at_vendor)
    _check_not_pointless(case, "RETRY")
    _check_not_older(case, "RETRY")
    _check_no_older_behind(case, "RETRY")
    again = replace(
        _spoken(case),
        state="HELD",
        hold_reason="",
        waiting_on="",
        awaits_operation="",
        prerequisite_until=None,
        not_found=ledger.UNSETTLED,
        released=guarding.is_let_go(case.record),
    )
    if not_found_at_vendor or not is_in_doubt(case.record, case.limits):
        proven = replace(again, first_unknown_at=None, not_found=0)
        return _placed(case, proven, "it goes again")
    if case.kind in REPEATABLE:
        return _placed(case, again, f"it goes again: class {case.kind} may repeat")
    if case.kind == "KEYED" and not ledger.key_is_dead(case.record, case.spec, case.now):
        return _placed(case, again, "it goes again with the key of the first call")
    if case.kind == "SEARCHABLE":
        look = replace(again, state="RESOLVING", attempt_kind="LOOK_UP", pending=True)
        return Decided(look, "it is looked up first, and goes again only if it is not there")
    raise _doubtful(case, "retry it")


def skip(case: Case) -> Decided:
    """End it without the vendor. Raises Refused."""
    _check(case.record, "SKIP", False)
    ended = replace(_spoken(case), state="SKIPPED", waiting_on="an operator ended it")
    return Decided(ended, "it ended; later work of its key passes")


def resolve(case: Case, found: Sequence[VendorReferenceRecord]) -> Decided:
    """Confirm it with what a person found at the vendor. Raises Refused."""
    _check(case.record, "RESOLVE", False)
    known = list(case.record.vendor_references)
    fresh = [reference for reference in found if reference not in known]
    done = replace(
        _spoken(case),
        state="CONFIRMED",
        waiting_on="an operator found it done",
        vendor_references=[*known, *fresh],
    )
    listed = ", ".join(f"{reference.type} {reference.value}" for reference in found)
    return Decided(done, f"confirmed by hand with {listed}")


def resubmit(case: Case, *, not_found_at_vendor: bool) -> Decided:
    """Close it, and make a new delivery in its place in the order. Raises Refused."""
    record = case.record
    _check(record, "RESUBMIT", not_found_at_vendor)
    _check_not_pointless(case, "RESUBMIT")
    # A new delivery confirms a draft of its own: only a full state may simply be sent once more.
    repeats = case.kind == "NATURAL"
    _check_no_older_behind(case, "RESUBMIT")
    if not repeats:
        _check_not_older(case, "RESUBMIT")
    if not repeats and not not_found_at_vendor and is_in_doubt(record, case.limits):
        raise _doubtful(case, "resubmit it")
    new = _successor(case)
    closed = replace(
        _spoken(case),
        state="SUPERSEDED",
        superseded_by=new.id,
        # What it may have bought counts with the one that replaces it, or stays with its own key.
        calls_maybe_done=guarding.left_behind(record, case.spec),
        waiting_on=f"an operator resubmitted it as {new.id}",
    )
    return Decided(closed, f"resubmitted as {new.id}", new)


def _spoken(case: Case) -> DeliveryRecord:
    """The delivery with every timer, lease and place in a queue taken away, and a new token."""
    return replace(
        case.record,
        token=case.record.token + 1,
        hold_reason="",
        awaits_word="",
        lease_until=None,
        due_at=None,
        pending=False,
        updated_at=case.now,
    )


def _placed(case: Case, record: DeliveryRecord, change: str) -> Decided:
    flow = [record if other.id == record.id else other for other in case.flow]
    placed = ledger.place(record, flow, case.spec, case.now)
    waits = f", after {placed.waiting_on}" if placed.state == "HELD" else ""
    return Decided(placed, change + waits)


def _successor(case: Case) -> DeliveryRecord:
    old = case.record
    new_id = bus.delivery_id(old.event_id, old.endpoint, old.operation, f"{old.item}\0{old.id}")
    return DeliveryRecord(
        id=new_id,
        event_id=old.event_id,
        event_type=old.event_type,
        endpoint=old.endpoint,
        operation=old.operation,
        item=old.item,
        ordering_key=old.ordering_key,
        state="READY",
        created_at=case.now,
        updated_at=case.now,
        kind=old.kind,
        object_id=old.object_id,
        root_id=old.root_id,
        vendor_reference=bus.vendor_reference(new_id),
        # Said again after a restore, the word makes the same id: its tokens go on as well.
        token=old.token,
        calls_maybe_done=guarding.handed_on(old, case.spec),
        released=guarding.is_let_go(old),
        sequence=old.sequence,
        on_reject=old.on_reject,
        role=old.role,
        requires=old.requires,
        supersedes=old.supersedes,
        refers_to=old.refers_to,
        traceparent=old.traceparent,
        priority=old.priority,
        resubmits=old.id,
    )


# Refusals


def _check(record: DeliveryRecord, verb: str, looked: bool) -> None:
    if is_leased(record):
        raise Refused(
            Refusal(
                "STATE_TRANSITION",
                f"delivery {record.id} is {record.state}: an attempt holds it; wait until it ends "
                "or its lease runs out, then say it again",
                {"state": record.state, "verb": verb, "allowed": ", ".join(sorted(ALLOWED[verb]))},
            )
        )
    allowed = ALLOWED[verb]
    if looked:
        allowed = allowed | ALLOWED_AFTER_A_LOOK.get(verb, frozenset())
    if record.state not in allowed:
        raise transition("delivery", record.state, verb, sorted(allowed))


def _check_not_pointless(case: Case, verb: str) -> None:
    """Refuse to send again what later work has taken back, for example an order's cancellation."""
    for other in case.flow:
        if overtaking.takes_back(other, case.record):
            # Who wants it after all makes it anew at its owner: that is later work.
            raise _overtaken(case, verb, other, "took it back", "undo it", "skip it")


def _check_not_older(case: Case, verb: str) -> None:
    """Refuse to send older content after newer; of calls that are no full state also the same work
    twice: each makes a document of its own."""
    full = case.kind == overtaking.FULL_STATE_CLASS
    # A resubmission carries the object as it is now, and so all later facts as well.
    own_fact = case.own_fact and verb == "RETRY"
    declared = case.spec.operation_class
    for other in _same_work(case):
        newer = overtaking.is_newer(other, case.record, own_fact=own_fact, declared=declared)
        if not newer and (full or not _is_twice(case, other, own_fact)):
            continue
        # What was resubmitted ahead of this one goes before it, if it has not gone yet.
        if overtaking.goes_first(other, case.record, case.flow, case.limits, holds_back=True):
            if full:
                raise _overtaken(case, verb, other, "is newer", "undo it", _instead(case))
            ended = "" if other.state == "CONFIRMED" else ", or wait until that one has ended"
            advice = f"skip it{ended}"
            if case.own_fact and not own_fact and not case.record.resubmits:
                advice = f"retry it, which sends it as it was recorded, or {advice}"
            raise _overtaken(case, verb, other, "has what came after it", "do it twice", advice)


def _is_twice(case: Case, other: DeliveryRecord, own_fact: bool) -> bool:
    """Whether a resubmission carries what later work carries as well."""
    as_recorded = own_fact and not (other.resubmits or case.record.resubmits)
    return not as_recorded and overtaking.is_behind(other, case.record)


def _instead(case: Case) -> str:
    """What goes when a full state may not be retried."""
    ahead = any(
        overtaking.is_behind(other, case.record) and other.state in ledger.OPEN_STATES
        for other in _same_work(case)
    )
    if ahead:
        return "skip it, or resubmit it, which sends the content of today, once that one has ended"
    return "resubmit it, which sends the content of today, or skip it"


def _check_no_older_behind(case: Case, verb: str) -> None:
    """Refuse to send a state ahead of an older one that is still on its way: it would follow, or be
    repeated, and undo it. What is resubmitted is newer than everything; facts of their own undo
    nothing, whatever follows them."""
    if case.own_fact and case.kind != overtaking.FULL_STATE_CLASS:
        return
    for other in _same_work(case):
        older = verb == "RESUBMIT" or not says_more(other, case.record)
        if older and overtaking.is_behind(other, case.record) and other.state in ledger.OPEN_STATES:
            advice = f"skip this one, or {verb.lower()} the later one once it has ended"
            raise _overtaken(case, verb, other, "comes later", "be undone", advice)


def _same_work(case: Case) -> list[DeliveryRecord]:
    """The same operation on the same object and item, asked for by other events."""
    what = (case.record.operation, case.record.object_id, case.record.item)
    return [o for o in _beside(case) if (o.operation, o.object_id, o.item) == what]


def _beside(case: Case) -> list[DeliveryRecord]:
    """Work of other events with the same key there."""
    record = case.record
    return [
        other
        for other in case.flow
        if other.endpoint == record.endpoint
        and other.ordering_key == record.ordering_key
        and other.event_id != record.event_id
    ]


def _overtaken(
    case: Case, verb: str, other: DeliveryRecord, what: str, consequence: str, advice: str
) -> Refused:
    return Refused(
        Refusal(
            "STATE_TRANSITION",
            f"{other.operation} ({other.id}) {what} and is {other.state} at {other.endpoint}: "
            f"sending {case.record.operation} again would {consequence}; {advice}",
            {"state": case.record.state, "verb": verb, "allowed": "SKIP"},
        )
    )


def _doubtful(case: Case, verb: str) -> Refused:
    record = case.record
    return Refused(
        Refusal(
            "OUTCOME_UNKNOWN",
            f"{record.endpoint} may have done {record.operation} already, and nothing has shown "
            f"otherwise; look there for reference {record.vendor_reference}: resolve the delivery "
            f"with the document you find, or {verb} and say that you found nothing",
            {
                "delivery": record.id,
                "vendor_reference": record.vendor_reference,
                "operation_class": case.kind,
            },
        )
    )
