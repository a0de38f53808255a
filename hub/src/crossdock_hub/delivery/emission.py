"""From a change to its event, and from the event to the deliveries of everybody who must act."""

from __future__ import annotations

from typing import Any

from crossdock.options.v1 import options_pb2

from crossdock_hub.delivery import flows, removal, unrouted
from crossdock_hub.delivery.routing import plan
from crossdock_hub.objects.resources import stamp
from crossdock_hub.records import EventRecord, ObjectRecord
from crossdock_hub.refusals import too_large
from crossdock_hub.unit import Unit


def emit(unit: Unit, event: Any, record: ObjectRecord, *, event_time: int | None = None) -> str:
    """Record an event about an object and admit its deliveries to the ledger. Returns its id.

    event: a message of the contract with every field but `metadata` set. event_time: when it
    happened, microseconds UTC; None when the source could not say, `unit.now` for a command.
    """
    rule = unit.contract.events[event.DESCRIPTOR.full_name]
    position = unit.events_about(record.id, record.revision)
    metadata = event.metadata
    metadata.id = unit.new_id()
    metadata.type = rule.type
    metadata.object_id = record.id
    metadata.revision = record.revision
    if event_time is not None:
        stamp(metadata.event_time, event_time)
    stamp(metadata.record_time, unit.now)
    metadata.producer = unit.caller.endpoint
    metadata.producer_system = options_pb2.SystemRole.Value(f"SYSTEM_ROLE_{unit.caller.role}")
    metadata.causation_id = unit.causation_id
    metadata.correlation_id = record.root_id
    metadata.partition = record.partition
    metadata.position = position
    stored = EventRecord(
        id=metadata.id,
        type=rule.type,
        stem=rule.stem,
        kind=record.kind,
        object_id=record.id,
        revision=record.revision,
        position=position,
        root_id=record.root_id,
        partition=record.partition,
        body=event.SerializeToString(),
        producer=unit.caller.endpoint,
        traceparent=unit.traceparent,
        event_time=event_time,
        record_time=unit.now,
        causation_id=unit.causation_id,
    )
    if len(stored.body) > unit.limits.event_bytes_max:
        # Refused before it is stored: one that the bus can't carry would hold up all behind it.
        raise too_large(rule.stem, len(stored.body), unit.limits.event_bytes_max)
    unit.changes.events.append(stored)
    unit.put(("event", stored.id), stored)
    deliver(unit, event, stored, record)
    return stored.id


def is_acted_on(unit: Unit, event_type: str) -> bool:
    """True when any endpoint offers what the event's targets ask for, whatever its scope."""
    offered = {(e.role, name) for e in unit.get(("endpoints",)) for name in e.operations}
    targets = unit.contract.events[event_type].targets
    return any(not t.optional or (t.role, t.operation) in offered for t in targets)


def deliver(unit: Unit, event: Any, stored: EventRecord, record: ObjectRecord) -> None:
    """Plan the deliveries of an event and admit each to the ledger.

    What an endpoint that is gone would have to do stays its own where it has a part of the flow:
    at a successor a change or a cancel would meet nothing of what it is about.
    """
    rule = unit.contract.events[stored.type]
    refers_to = {record.id, record.root_id}
    refers_to.update(f.value for f in unit.contract.references(event) if f.by == "id")
    # Only what must be done is ever kept for an endpoint that is gone.
    required = any(not target.optional for target in rule.targets)
    left = unrouted.left_behind(unit, stored.root_id) if required else {}
    planned = plan(
        unit.contract,
        rule,
        event,
        stored,
        unit.get(("endpoints",)),
        tuple(sorted(refers_to)),
        unit.now,
        unrouted.as_they_were(unit, left),
    )
    told = [
        removal.waits_for(each, left[each.endpoint]) if each.endpoint in left else each
        for each in planned
    ]
    flows.admit(unit, told)
