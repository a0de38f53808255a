"""Which endpoints must act on an event: the contract's targets times the endpoints' scopes."""

from __future__ import annotations

from collections.abc import Sequence

from crossdock.bus import delivery_id, vendor_reference
from crossdock.contracts import Contract, Event, Target, items_of, ordering_key_of
from google.protobuf.message import Message

from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.records import DeliveryRecord, EventRecord

# Deliveries of one endpoint leave by latency class first: milestones before bulk.
PRIORITY = {"REAL_TIME": 0, "NEAR_REAL_TIME": 1, "SCHEDULED": 2}
# What a replay sends again goes behind everything that happens now.
REPLAY_PRIORITY = 3
LANES = (*sorted(PRIORITY.values()), REPLAY_PRIORITY)


def plan(
    contract: Contract,
    rule: Event,
    event: Message,
    record: EventRecord,
    endpoints: Sequence[RegisteredEndpoint],
    refers_to: tuple[str, ...],
    now: int,
) -> list[DeliveryRecord]:
    """The deliveries of one event, all in state READY; required targets nobody serves: UNROUTED."""
    scopes = contract.scopes(event)
    planned: list[DeliveryRecord] = []
    for target in rule.targets:
        matching = [
            endpoint
            for endpoint in endpoints
            if endpoint.role == target.role
            and target.operation in endpoint.operations
            and endpoint.scope.covers(scopes)
        ]
        if not matching and target.optional:
            continue
        twins = [endpoint.id for endpoint in matching] if len(matching) > 1 else []
        if twins and not target.optional:
            # Work that must be done once is not given to two: an operator corrects the scopes.
            matching = []
        addressed: Sequence[RegisteredEndpoint | None] = matching or [None]
        planned += [
            _delivery(rule, target, event, record, endpoint, item, index, refers_to, now, twins)
            for index, item in enumerate(items_of(target, event))
            for endpoint in addressed
        ]
    return planned


def _delivery(
    rule: Event,
    target: Target,
    event: Message,
    record: EventRecord,
    endpoint: RegisteredEndpoint | None,
    item: str,
    index: int,
    refers_to: tuple[str, ...],
    now: int,
    twins: Sequence[str],
) -> DeliveryRecord:
    name = endpoint.id if endpoint else ""
    # An UNROUTED delivery is named after the role, so that two of them differ.
    who = name or f"role:{target.role}"
    name_of = delivery_id(record.id, who, target.operation, item)
    return DeliveryRecord(
        id=name_of,
        event_id=record.id,
        event_type=record.type,
        endpoint=name,
        operation=target.operation,
        item=item,
        ordering_key=ordering_key_of(target, event),
        state="READY" if endpoint else "UNROUTED",
        created_at=now,
        updated_at=now,
        kind=record.kind,
        object_id=record.object_id,
        root_id=record.root_id,
        vendor_reference=vendor_reference(name_of),
        sequence=f"{record.id}:{index:04d}",
        waiting_on="" if endpoint else _unrouted(target, twins),
        on_reject=target.on_reject,
        role=target.role,
        requires=target.requires,
        supersedes=target.supersedes,
        refers_to=refers_to,
        traceparent=record.traceparent,
        priority=PRIORITY[rule.latency_class],
    )


def is_own_fact(contract: Contract, event_type: str, role: str, operation: str) -> bool:
    """Whether later events of a delivery's target don't replace it; False where nothing says so."""
    rule = contract.events.get(event_type)
    return rule is not None and any(
        target.own_fact
        for target in rule.targets
        if (target.role, target.operation) == (role, operation)
    )


def _unrouted(target: Target, twins: Sequence[str]) -> str:
    if twins:
        return (
            f"{' and '.join(twins)} both offer {target.operation} in this scope and only one may "
            "do it; correct the scopes, or skip it"
        )
    return (
        f"no {target.role} endpoint in scope offers {target.operation}; "
        "register one, correct the scopes, or skip it"
    )
