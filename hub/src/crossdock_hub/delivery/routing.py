"""Which endpoints must act on an event: the contract's targets times the endpoints' scopes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossdock.bus import delivery_id, vendor_reference
from crossdock.contracts import Contract, Event, Target, items_of, ordering_key_of
from google.protobuf.message import Message

from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.delivery.removal import REMOVED, never_began
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
    gone: Sequence[RegisteredEndpoint] = (),
) -> list[DeliveryRecord]:
    """The deliveries of one event, all in state READY; required targets nobody serves: UNROUTED.

    gone: endpoints that are not configured any more and have a part of the flow, see removal.py.
    What one of them would have had to do is UNROUTED and its own, whoever else could do it.
    """
    scopes = contract.scopes(event)
    planned: list[DeliveryRecord] = []
    for target in rule.targets:
        matching = [each for each in endpoints if _may_do(each, target, scopes)]
        if not matching and target.optional:
            continue
        if not target.optional:
            kept = [each for each in gone if _may_do(each, target, scopes)]
            matching = kept[:1] or matching
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


def _may_do(
    endpoint: RegisteredEndpoint, target: Target, scopes: Mapping[str, frozenset[str]]
) -> bool:
    return (
        endpoint.role == target.role
        and target.operation in endpoint.operations
        and endpoint.scope.covers(scopes)
    )


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
    served = endpoint is not None and endpoint.state != REMOVED
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
        state="READY" if served else "UNROUTED",
        created_at=now,
        updated_at=now,
        kind=record.kind,
        object_id=record.object_id,
        root_id=record.root_id,
        vendor_reference=vendor_reference(name_of),
        sequence=f"{record.id}:{index:04d}",
        waiting_on="" if served else _unrouted(target, twins, name),
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


def _unrouted(target: Target, twins: Sequence[str], gone: str) -> str:
    if gone:
        return never_began(gone)
    if twins:
        return (
            f"{' and '.join(twins)} both offer {target.operation} in this scope and only one may "
            "do it; correct the scopes, or skip it"
        )
    return (
        f"no {target.role} endpoint in scope offers {target.operation}; "
        "register one, correct the scopes, or skip it"
    )
