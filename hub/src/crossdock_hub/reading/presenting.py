"""Records as messages of the contract: what Get, List, Trace and Tail answer with; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossdock.contracts import Contract
from crossdock.delivery.v1 import delivery_pb2, operator_word_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.lineage.v1 import lineage_pb2
from crossdock.tracking.v1 import tracking_pb2
from google.protobuf.message import DecodeError

from crossdock_hub.objects.resources import stamp
from crossdock_hub.reading.chain import Situation, StoredEvent
from crossdock_hub.records import (
    AttemptRecord,
    DeliveryRecord,
    HeldFactRecord,
    ObjectRecord,
    OperatorWordRecord,
    ScanRecord,
    VendorReferenceRecord,
)
from crossdock_hub.wording import trace_id_of


def enum_value(enum: Any, name: str) -> Any:
    """The value of an enum by its name without prefix; "" and names it lacks: unspecified."""
    prefix = enum.DESCRIPTOR.values[0].name.removesuffix("UNSPECIFIED")
    found = enum.DESCRIPTOR.values_by_name.get(prefix + name)
    return found.number if found is not None else 0


def enum_name(enum: Any, value: int) -> str:
    """The name of an enum's value without prefix; "" for unspecified and unknown values."""
    found = enum.DESCRIPTOR.values_by_number.get(value) if value else None
    prefix: str = enum.DESCRIPTOR.values[0].name.removesuffix("UNSPECIFIED")
    return found.name.removeprefix(prefix) if found is not None else ""


def waiting(record: DeliveryRecord, situation: Situation | None) -> tuple[str, str]:
    """Why a delivery waits (name of a HoldReason, or "") and in words what it waits for."""
    if not record.pending or situation is None:
        return record.hold_reason, record.waiting_on
    if situation.state == "PAUSED":
        why = f": {situation.pause_reason}" if situation.pause_reason else ""
        return "PAUSE", f"endpoint {situation.id} is paused{why}"
    if situation.state == "EXPECTED":
        return record.hold_reason, f"endpoint {situation.id} has not registered yet"
    if situation.breaker_open:
        why = f": {situation.breaker_reason}" if situation.breaker_reason else ""
        return "BREAKER", f"{situation.id} does not answer and is tried with one call{why}"
    if situation.throttled:
        return "THROTTLE", f"{situation.id} asked all calls to wait"
    if situation.in_use >= situation.budget:
        took = f"all {situation.budget} calls at once that {situation.id} takes are in use"
        return "BUDGET", took
    return record.hold_reason, record.waiting_on


def delivery_message(
    record: DeliveryRecord,
    situation: Situation | None = None,
    attempts: Sequence[AttemptRecord] = (),
    words: Sequence[OperatorWordRecord] = (),
    *,
    full: bool = True,
) -> delivery_pb2.Delivery:
    """A delivery with its attempts. full: False leaves out what was sent, received and refused."""
    reason, in_words = waiting(record, situation)
    message = delivery_pb2.Delivery(
        id=record.id,
        event_id=record.event_id,
        event_type=record.event_type,
        endpoint=record.endpoint,
        operation=record.operation,
        item=record.item,
        ordering_key=record.ordering_key,
        state=enum_value(delivery_pb2.DeliveryState, record.state),
        hold_reason=enum_value(delivery_pb2.HoldReason, reason),
        waiting_on=in_words,
        operation_class=enum_value(delivery_pb2.OperationClass, record.operation_class),
        attempts=record.attempts,
        not_found=max(0, record.not_found),
        dispatch_number=record.dispatch_number,
        token=record.token,
        vendor_references=map(_vendor_reference, record.vendor_references),
        object_id=record.object_id,
        correlation_id=record.root_id,
        superseded_by=record.superseded_by,
        vendor_reference=record.vendor_reference,
        trace_id=trace_id_of(record.traceparent),
        draft=record.draft,
        duplicates=map(_vendor_reference, record.duplicates),
        attempt_log=[attempt_message(attempt, full=full) for attempt in attempts],
        attempts_left_out=_left_out(record, attempts),
        replay_id=record.replay_id,
        operator_words=[word_message(word) for word in words],
        resubmits=record.resubmits,
    )
    _add_facts_and_times(message, record, full)
    return message


def _left_out(record: DeliveryRecord, attempts: Sequence[AttemptRecord]) -> int:
    """How many attempts there were beside these; 0 where none are asked for."""
    return max(0, record.attempts + record.look_ups - len(attempts)) if attempts else 0


def _add_facts_and_times(
    message: delivery_pb2.Delivery, record: DeliveryRecord, full: bool
) -> None:
    for fact in record.quarantined:
        row = message.quarantined.add(method=fact.method, request=fact.request if full else b"")
        row.refusal.ParseFromString(fact.refusal)
    stamp(message.create_time, record.created_at)
    stamp(message.update_time, record.updated_at)
    if record.lease_until is not None:
        stamp(message.lease_until, record.lease_until)
    if record.due_at is not None:
        stamp(message.due_time, record.due_at)


def word_message(record: OperatorWordRecord) -> operator_word_pb2.OperatorWord:
    """What a person decided."""
    message = operator_word_pb2.OperatorWord(
        id=record.id,
        verb=enum_value(operator_word_pb2.OperatorVerb, record.verb),
        operator=record.operator,
        reason=record.reason,
        state_before=record.state_before,
        state_after=record.state_after,
        change=record.change,
    )
    stamp(message.time, record.said_at)
    return message


def _vendor_reference(record: VendorReferenceRecord) -> delivery_pb2.VendorReference:
    return delivery_pb2.VendorReference(type=record.type, value=record.value)


def attempt_message(record: AttemptRecord, *, full: bool = True) -> delivery_pb2.Attempt:
    """One attempt; with full=False without what was sent and received."""
    message = delivery_pb2.Attempt(
        number=record.number,
        kind=enum_value(delivery_pb2.AttemptKind, record.kind),
        outcome=enum_value(delivery_pb2.AttemptOutcome, record.outcome),
        code=record.code,
        reason=record.reason,
        instance=record.instance,
        request_excerpt=record.request_excerpt if full else "",
        response_excerpt=record.response_excerpt if full else "",
        trace_id=record.trace_id,
    )
    stamp(message.begin_time, record.begun_at)
    if record.ended_at is not None:
        stamp(message.end_time, record.ended_at)
    return message


def held_fact_message(record: HeldFactRecord) -> held_fact_pb2.HeldFact:
    """A held fact; one that could not be translated with its raw payload and content type."""
    payload, content_type, source = record.payload, record.content_type, ""
    if not record.method:
        try:
            kept = held_fact_pb2.HoldPayloadRequest.FromString(record.payload)
            payload, content_type, source = kept.payload, kept.content_type, kept.source
        except DecodeError:
            pass
    message = held_fact_pb2.HeldFact(
        id=record.id,
        endpoint=record.endpoint,
        method=record.method,
        payload=payload,
        content_type=content_type,
        state=enum_value(held_fact_pb2.HeldFactState, record.state),
        awaits=record.awaits,
        drives=record.drives,
        source=source,
    )
    message.refusal.ParseFromString(record.refusal)
    stamp(message.create_time, record.created_at)
    if record.applied_at is not None:
        stamp(message.apply_time, record.applied_at)
    return message


def event_node(event: StoredEvent) -> lineage_pb2.EventNode:
    """An event without its body."""
    record = event.record
    node = lineage_pb2.EventNode(
        id=record.id,
        stem=record.stem,
        object_id=record.object_id,
        revision=record.revision,
        producer=record.producer,
        trace_id=trace_id_of(record.traceparent),
        published=event.published,
    )
    if record.event_time is not None:
        stamp(node.event_time, record.event_time)
    stamp(node.record_time, record.record_time)
    return node


def object_node(record: ObjectRecord, contract: Contract) -> lineage_pb2.Node:
    """An object without its content, with the ids it refers to."""
    named = {found.value for found in contract.references(record.message) if found.by == "id"}
    node = lineage_pb2.Node(
        kind=record.kind,
        id=record.id,
        number=record.number or "",
        state=record.state,
        references=record.message.references,
        refers_to=sorted(named - {record.id}),
        revision=record.revision,
    )
    stamp(node.create_time, record.created_at)
    stamp(node.update_time, record.updated_at)
    return node


def scan_node(record: ScanRecord) -> lineage_pb2.ScanNode:
    """A scan in short."""
    scan = tracking_pb2.TrackingEvent.FromString(record.body)
    node = lineage_pb2.ScanNode(
        tracking_number=record.tracking_number,
        milestone=scan.milestone,
        status_code=scan.status_code,
        exception_reason=scan.exception_reason,
    )
    if record.event_time is not None:
        stamp(node.event_time, record.event_time)
    stamp(node.record_time, record.record_time)
    return node
