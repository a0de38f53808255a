"""What endpoints do with deliveries: begin, renew and complete attempts; what timers do.

Decisions like the verbs', but named by delivery and token instead of request id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.errors import Refusal, to_message

from crossdock_hub.config import SECOND
from crossdock_hub.delivery import breaking, flows, guarding, late_proof, ledger, pacing, removal
from crossdock_hub.delivery import unsent as unsent
from crossdock_hub.delivery.checking import CheckedFact, check_facts
from crossdock_hub.delivery.documents import keys_given, note_documents, note_posting
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.objects import resources
from crossdock_hub.objects.held import hold
from crossdock_hub.records import (
    AttemptRecord,
    DeliveryRecord,
    EndpointRecord,
    QuarantineRecord,
    VendorReferenceRecord,
)
from crossdock_hub.refusals import fault, not_found
from crossdock_hub.replacing import replace
from crossdock_hub.unit import Key, NotLoaded, NotYet, Refused, Unit
from crossdock_hub.verbs import DECISIONS
from crossdock_hub.wording import LATE, LATER, trace_id_of

# Outcome of an attempt that this database does not have, until it is kept with what it said.
FORGOTTEN = "FORGOTTEN"


def lease_lost(record: DeliveryRecord, why: str) -> Refused:
    """The caller must not send, or its word no longer counts."""
    return Refused(
        Refusal(
            late_proof.LEASE_LOST,
            f"delivery {record.id} {why}; stop, nothing is to be sent",
            {"delivery": record.id, "token": str(record.token), "state": record.state},
        )
    )


def own_delivery(unit: Unit, delivery_id: str) -> DeliveryRecord:
    """A delivery of the calling endpoint. Raises Refused with OBJECT_NOT_FOUND."""
    record = unit.delivery(delivery_id)
    if record is None or record.endpoint != unit.caller.endpoint:
        raise not_found("delivery", delivery_id)
    return record


def begin(
    unit: Unit, request: delivery_service_pb2.Begin, instance: str
) -> delivery_service_pb2.BeginResult:
    """Begin one attempt; order, supersession and pause are checked again right here."""
    record = own_delivery(unit, request.delivery_id)
    spec = flows.spec_of(unit, record)
    seconds = request.lease.ToMicroseconds() / SECOND or unit.limits.lease_seconds_default
    seconds = min(seconds, unit.limits.lease_seconds_max)
    if record.attempt_id == request.attempt_id and record.lease_until is not None:
        remaining = (record.lease_until - unit.now) / SECOND
        if remaining > 0:
            if record.attempt_kind == "CALL":
                # Its first answer may have been lost under its commit, before the bus was told.
                unit.tie()
            return _begun(unit, record, remaining)
    waiting = record.state == "DISPATCHED" or (
        record.state == "RESOLVING" and record.lease_until is None and not record.pending
    )
    if not waiting or record.dispatch_number != request.dispatch_number:
        raise lease_lost(record, f"is {record.state}, dispatch {record.dispatch_number}")
    health: EndpointRecord = unit.get(("endpoint", record.endpoint))
    closed = _closed(unit, record, health)
    if closed:
        give_back(unit, record)
        return _refused_begin(record, closed)
    if record.state == "DISPATCHED":
        refused = _goes_elsewhere(unit, record, spec)
        if refused is not None:
            return refused
    after = ledger.begin(record, spec, request.attempt_id, seconds, unit.now)
    unit.put_delivery(after)
    if breaking.is_open(health):
        unit.put(("endpoint", health.id), breaking.begun(health, seconds, unit.now))
    attempt = AttemptRecord(
        delivery_id=after.id,
        number=after.attempts + after.look_ups,
        kind=after.attempt_kind,
        token=after.token,
        attempt_id=request.attempt_id,
        instance=instance,
        begun_at=unit.now,
        trace_id=trace_id_of(request.traceparent),
    )
    unit.put(("attempt", after.id, after.token), attempt)
    if after.attempt_kind == "CALL":
        unit.tie()
    return _begun(unit, after, seconds)


def _goes_elsewhere(
    unit: Unit, record: DeliveryRecord, spec: OperationSpec
) -> delivery_service_pb2.BeginResult | None:
    """The answer for a call that does not go, and where its delivery is instead; None: it goes."""
    other = ledger.instead_of_call(record, spec, unit.now)
    if other is not None:
        unit.put_delivery(other)
        return _refused_begin(other, f"is {other.state} instead: {other.waiting_on}")
    ended = flows.unless_undone(unit, record)
    if ended is not record:
        flows.settle(unit, record, ended)
        return _refused_begin(ended, f"is {ended.state}: {ended.waiting_on}")
    placed = ledger.place(record, unit.flow(record.root_id), spec, unit.now)
    if placed.state == "READY":
        return None
    unit.put_delivery(placed)
    return _refused_begin(placed, f"waits for {placed.waiting_on}")


def _closed(unit: Unit, record: DeliveryRecord, health: EndpointRecord) -> str:
    """Why no attempt begins at an endpoint now, whatever it is for; "" when one may."""
    endpoint = unit.endpoint(record.endpoint)
    if endpoint is None or not endpoint.takes_work:
        return "waits: its endpoint is paused"
    if not breaking.may_begin(health, unit.now):
        # Its system is known not to answer: no attempt is spent on that.
        return "waits: its endpoint's breaker is open"
    # Its own row is newer than the registry, which has those of the batch before.
    siblings = [e.health for e in unit.endpoints if e.system == endpoint.system]
    if any(pacing.is_held(each, unit.now) for each in (health, *siblings)):
        return "waits: its endpoint's system asked all calls to wait"
    return ""


def give_back(unit: Unit, record: DeliveryRecord) -> None:
    """Let a dispatch that nobody has begun wait to be dispatched again."""
    state = "RESOLVING" if record.state == "RESOLVING" else "READY"
    unit.put_delivery(replace(record, state=state, pending=True, due_at=None, updated_at=unit.now))


def _refused_begin(record: DeliveryRecord, why: str) -> delivery_service_pb2.BeginResult:
    """A refusal that is kept: the delivery was put back, so the unit must not be dropped."""
    return delivery_service_pb2.BeginResult(
        delivery_id=record.id, refusal=to_message(lease_lost(record, why).refusal)
    )


def _begun(unit: Unit, record: DeliveryRecord, seconds: float) -> delivery_service_pb2.BeginResult:
    result = delivery_service_pb2.BeginResult(
        delivery_id=record.id,
        token=record.token,
        kind=delivery_pb2.AttemptKind.Value(f"ATTEMPT_KIND_{record.attempt_kind}"),
        attempt=record.attempts + record.look_ups,
        draft=record.draft,
        in_doubt=record.first_unknown_at is not None,
        mapping_version=unit.get(("mapping_version", unit.endpoint_kind)),
    )
    result.lease.FromMicroseconds(int(seconds * SECOND))
    return result


def renew(
    unit: Unit, request: delivery_service_pb2.LeaseRenewal
) -> delivery_service_pb2.LeaseResult:
    """Keep the lease of the newest attempt, and what it must not lose."""
    record = own_delivery(unit, request.delivery_id)
    held = record.state in ("IN_FLIGHT", "RESOLVING") and record.lease_until is not None
    if not held or record.token != request.token:
        raise lease_lost(record, f"is {record.state} with token {record.token}")
    seconds = request.lease.ToMicroseconds() / SECOND or unit.limits.lease_seconds_default
    if request.draft and record.draft not in ("", request.draft):
        raise lease_lost(record, f"has draft {record.draft} already, which is to be confirmed")
    seconds = min(seconds, unit.limits.lease_seconds_max)
    after = ledger.renew(record, seconds, unit.now, request.draft)
    unit.put_delivery(after)
    if request.draft:
        unit.tie()
    result = delivery_service_pb2.LeaseResult(delivery_id=record.id)
    result.lease.FromMicroseconds((after.lease_until or unit.now) - unit.now)
    return result


def complete(
    unit: Unit, request: delivery_service_pb2.Completion, facts: Sequence[CheckedFact]
) -> delivery_service_pb2.CompletionResult:
    """End an attempt. Outcome and vendor references always commit, refused facts beside them."""
    _read_ahead(unit, request)
    record = own_delivery(unit, request.delivery_id)
    attempt: AttemptRecord | None = unit.get(("attempt", record.id, request.token))
    if attempt is None:
        attempt = _forgotten(unit, record, request.token)
    said = delivery_pb2.AttemptOutcome.Name(request.outcome).removeprefix("ATTEMPT_OUTCOME_")
    outcome = ledger.word(attempt, said)
    if attempt.ended_at is not None and attempt.outcome == outcome:
        # The same word again: the same answer.
        if attempt.reason.startswith(LATE):
            return _too_late(record)
        return _completed(record, record.quarantined)
    newer_call = _called_since(unit, record, request.token)
    in_time = ledger.counts(record, attempt, outcome, newer_call=newer_call)
    record = _without_refused(unit, record, attempt, outcome, in_time=in_time)
    ended = _ended(attempt, request, outcome, unit.now, in_time)
    unit.put(("attempt", record.id, request.token), ended)
    if not in_time:
        record = _with_evidence(late_proof.doubted(record, attempt, outcome), request)
        taken = _tell_successor(unit, record, attempt, outcome, facts)
        _keep_evidence(unit, record, () if taken else facts)
        return _too_late(record)
    spec = flows.spec_of(unit, record)
    report, awaits_word = unsent.report_of(unit, attempt, request, outcome)
    if late_proof.shows_done(unit, record, attempt, outcome):
        report = late_proof.report_of(report)
        late, other = late_proof.facts_kept(record)
        facts = [*facts, *check_facts(unit.contract, late, unit.limits)]
        record = replace(record, quarantined=other)
    known = _with_evidence(record, request)
    outage = _judge_endpoint(unit, record, attempt, request, said)
    after = ledger.complete(known, attempt, report, spec, unit.now, unit.limits, outage=outage)
    if after.state == "READY":
        after = flows.repeated(unit, after)
    if request.duplicates:
        unit.count("vendor_duplicate", record.endpoint, record.operation)
    quarantined = _apply_facts(unit, record, facts)
    refused = [*after.quarantined, *quarantined]
    after = unsent.parked(replace(after, quarantined=refused), attempt, awaits_word)
    flows.settle(unit, record, after)
    if after.state == "CONFIRMED":
        _note_progress(unit, after)
        note_posting(unit, after)
    # What it freed may have made it pointless in turn: a cancel that waited for a retry.
    return _completed(unit.delivery(record.id) or after, quarantined)


def _forgotten(unit: Unit, record: DeliveryRecord, token: int) -> AttemptRecord:
    """An attempt that began in a time which a database that was put back has lost: its word moves
    nothing, and what it learned is kept. Raises Refused when there can't have been one."""
    if not 0 < token < record.token:
        raise lease_lost(record, f"has no attempt with token {token}")
    return AttemptRecord(
        delivery_id=record.id,
        number=0,
        kind="CALL",
        token=token,
        attempt_id="",
        instance="",
        begun_at=record.first_unknown_at or unit.now,
        trace_id="",
        # Nothing it says is in time: only the begin that is gone could have allowed that.
        outcome=FORGOTTEN,
    )


def _judge_endpoint(
    unit: Unit, record: DeliveryRecord, attempt: AttemptRecord, request: Any, said: str
) -> bool:
    """What an attempt's end says of the endpoint's system. True while it answers nobody."""
    before: EndpointRecord = unit.get(("endpoint", record.endpoint))
    evidence = breaking.Evidence(
        record.id,
        said,
        request.code,
        request.reason,
        attempt.begun_at,
        heard=bool(request.response_excerpt),
    )
    after = breaking.told(before, evidence, unit.now, unit.limits)
    if breaking.is_open(before) != breaking.is_open(after):
        unit.count("breaker", record.endpoint, after.breaker_state)
    if breaking.answers(evidence):
        unit.count("answered", record.endpoint)
    if said == "THROTTLED":
        seconds = request.retry_after.ToMicroseconds() / SECOND
        after = pacing.throttled(after, seconds, unit.now, unit.limits)
    if after is not before:
        unit.put(("endpoint", record.endpoint), after)
    doubt_began_at = record.first_unknown_at or unit.now
    unheard = breaking.is_unheard(before, record.id, doubt_began_at, unit.now, unit.limits)
    return breaking.is_open(after) or unheard


def _without_refused(
    unit: Unit, record: DeliveryRecord, attempt: AttemptRecord, outcome: str, *, in_time: bool
) -> DeliveryRecord:
    """The delivery with one call less that may have bought, where an attempt is the first to say
    that it did not."""
    if not guarding.bought_nothing(attempt, outcome, in_time=in_time):
        return record
    # Nobody asked about the newest call before it ended.
    others = [] if in_time and attempt.kind == "CALL" else unit.attempts(record)
    if not guarding.takes_back(attempt, others):
        return record
    return replace(record, calls_maybe_done=max(0, record.calls_maybe_done - 1))


def _called_since(unit: Unit, record: DeliveryRecord, token: int) -> bool:
    """True when the vendor was called, not only asked, after the attempt with this token, and that
    call may have done something."""
    if token >= record.token:
        return False
    later = (a for a in unit.attempts(record) if a.kind == "CALL" and a.token > token)
    return any(a.outcome not in ledger.UNDONE for a in later)


def _read_ahead(unit: Unit, request: delivery_service_pb2.Completion) -> None:
    """Ask at once for what every completion needs, then for what most facts will."""
    caller = unit.caller.endpoint
    first: list[Key] = [("delivery", request.delivery_id), ("endpoint", caller)]
    first.append(("attempt", request.delivery_id, request.token))
    unit.require([*first, *keys_given(caller, request)])
    record = unit.delivery(request.delivery_id)
    if record is None:
        return
    subject: Key = ("object", record.kind, record.object_id)
    if request.facts:
        labels: Key = ("children", "label", record.root_id)
        resources.read_family(unit, record.root_id, subject, labels)
    unit.require([subject])


def _too_late(record: DeliveryRecord) -> delivery_service_pb2.CompletionResult:
    refusal = lease_lost(record, "no longer waits for this attempt; its word is kept").refusal
    return delivery_service_pb2.CompletionResult(
        delivery_id=record.id, state=_state(record), refusal=to_message(refusal)
    )


def _tell_successor(
    unit: Unit,
    record: DeliveryRecord,
    attempt: AttemptRecord,
    outcome: str,
    facts: Sequence[CheckedFact],
) -> bool:
    """Keep what took a delivery's place from doing the same. True: it is done with it, and what the
    attempt learned was taken for its own."""
    told = late_proof.of_successor(unit, record, attempt, outcome)
    if told is None:
        return False
    heir, after = told
    done = after.state == "CONFIRMED"
    if done:
        refused = _apply_facts(unit, heir, facts)
        after = replace(after, quarantined=[*after.quarantined, *refused])
    flows.settle(unit, heir, after)
    if done:
        note_posting(unit, after)
    return done


def _keep_evidence(unit: Unit, after: DeliveryRecord, facts: Sequence[CheckedFact]) -> None:
    """What a fenced attempt learned: it moves nothing, and is not lost."""
    late = lease_lost(after, "no longer waited for the attempt that learned this").refusal
    known = {(fact.method, fact.request) for fact in after.quarantined}
    fresh = []
    for fact in facts:
        refusal = fact.refusal or late
        if (fact.method, fact.raw) not in known:
            unit.count("quarantined", after.endpoint, refusal.reason)
            encoded = to_message(refusal).SerializeToString()
            fresh.append(QuarantineRecord(fact.method, fact.raw, encoded))
    unit.put_delivery(replace(after, quarantined=[*after.quarantined, *fresh]))
    # Who holds a second booking's number in his hand has to find what it belongs to.
    note_documents(unit, after)


def _ended(
    attempt: AttemptRecord, request: Any, outcome: str, now: int, in_time: bool
) -> AttemptRecord:
    if not in_time and attempt.outcome not in ("", "LEASE_EXPIRED", FORGOTTEN):
        # Its first word stands; a second one that differs is noted beside it.
        first = attempt.reason.split(LATER)[0]
        return replace(attempt, reason=f"{first}{LATER}{outcome}: {request.reason}")
    return replace(
        attempt,
        outcome=outcome,
        code=request.code,
        reason=request.reason if in_time else f"{LATE}{request.reason}",
        ended_at=now,
        request_excerpt=request.request_excerpt,
        response_excerpt=request.response_excerpt,
    )


def _with_evidence(record: DeliveryRecord, request: Any) -> DeliveryRecord:
    found = _joined(record.vendor_references, request.vendor_references)
    surplus = _joined(record.duplicates, request.duplicates)
    return replace(record, vendor_references=found, duplicates=surplus)


def _joined(known: Sequence[VendorReferenceRecord], more: Any) -> list[VendorReferenceRecord]:
    seen = {(r.type, r.value) for r in known}
    fresh = [VendorReferenceRecord(r.type, r.value) for r in more if (r.type, r.value) not in seen]
    return [*known, *fresh]


def _state(record: DeliveryRecord) -> Any:
    return delivery_pb2.DeliveryState.Value(f"DELIVERY_STATE_{record.state}")


def _completed(
    record: DeliveryRecord, quarantined: Sequence[QuarantineRecord]
) -> delivery_service_pb2.CompletionResult:
    result = delivery_service_pb2.CompletionResult(delivery_id=record.id, state=_state(record))
    for fact in quarantined:
        row = result.quarantined.add(method=fact.method, request=fact.request)
        row.refusal.ParseFromString(fact.refusal)
    return result


def _apply_facts(
    unit: Unit, record: DeliveryRecord, facts: Sequence[CheckedFact]
) -> list[QuarantineRecord]:
    """Write each fact in a unit of its own; what is refused is quarantined, never lost."""
    quarantined = []
    missing: set[Key] = set()
    for fact in facts:
        refusal = fact.refusal
        if fact.request is not None:
            try:
                refusal = _apply_fact(unit, record, fact)
            except NotLoaded as needed:
                # What all facts need is read at once: one by one takes too many rounds.
                missing |= needed.keys
                continue
        if refusal is not None:
            unit.count("quarantined", record.endpoint, refusal.reason)
            quarantined.append(
                QuarantineRecord(fact.method, fact.raw, to_message(refusal).SerializeToString())
            )
    if missing:
        raise NotLoaded(missing)
    return quarantined


def _apply_fact(unit: Unit, record: DeliveryRecord, fact: CheckedFact) -> Refusal | None:
    method = unit.contract.methods[fact.method]
    if unit.caller.role not in method.callers:
        return Refusal(
            "METHOD_NOT_ALLOWED",
            f"{unit.caller.role} may not call {fact.method}",
            {"role": unit.caller.role, "method": fact.method},
        )
    work = unit.nested(causation_id=record.event_id)
    try:
        DECISIONS[fact.method](work, fact.request)
    except Refused as refused:
        return refused.refusal
    except NotYet as why:
        if not method.fact:
            return why.refusal
        hold(unit, fact.method, fact.request, why)
        return None
    except NotLoaded:
        raise
    except Exception as error:
        # What the vendor did is known, whatever our own fault with a fact of it is.
        return fault(fact.method, error)
    unit.absorb(work)
    return None


def _note_progress(unit: Unit, record: DeliveryRecord) -> None:
    endpoint: EndpointRecord | None = unit.get(("endpoint", record.endpoint))
    # To the second is enough for a person, and saves most commits a row.
    if endpoint is not None and unit.now - (endpoint.progress_at or 0) >= SECOND:
        unit.put(("endpoint", endpoint.id), replace(endpoint, progress_at=unit.now))


def tick(unit: Unit, delivery_id: str) -> None:
    """A timer of a delivery has run out."""
    record = unit.delivery(delivery_id)
    if record is None or not record.endpoint:
        return
    flow = unit.flow(record.root_id)
    leased = record.state in ("IN_FLIGHT", "RESOLVING") and record.lease_until is not None
    attempt: AttemptRecord | None = None
    if leased:
        attempt = unit.get(("attempt", record.id, record.token))
    begun_at = attempt.begun_at if attempt is not None else None
    spec = flows.spec_of(unit, record)
    endpoint = unit.endpoint(record.endpoint)
    away = endpoint is not None and (not endpoint.takes_work or breaking.is_open(endpoint.health))
    after = ledger.due(record, flow, spec, unit.now, begun_at, away=away)
    if after is record:
        return
    if endpoint is None:
        after = removal.due(record, after, unit.now, unit.limits)
    if attempt is not None and not attempt.outcome:
        ended = replace(attempt, outcome="LEASE_EXPIRED", ended_at=unit.now)
        unit.put(("attempt", record.id, record.token), ended)
    flows.settle(unit, record, after)


__all__ = ["begin", "complete", "renew", "tick"]
