"""Which endpoints must act on an event: the contract's targets times the endpoints' scopes; pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossdock.bus import vendor_reference
from crossdock.contracts import Contract, Event, Target
from google.protobuf.message import Message

from crossdock_hub.identity import Scope
from crossdock_hub.records import DeliveryRecord, EndpointRecord, EventRecord

# Deliveries are named after what they are for, so that the same event never makes two.
DELIVERY_NAMESPACE = uuid.UUID("6f1f3c1e-5a1b-5e0d-9c55-1f6a6e3b7c02")
ITEMS_PER_EVENT_MAX = 500


@dataclass(frozen=True, slots=True)
class RoutableEndpoint:
    """What routing needs of an endpoint: role, scope and the operations it registered."""

    id: str
    role: str
    scope: Scope
    operations: frozenset[str]


def routable(record: EndpointRecord, operations: Mapping[str, Any]) -> RoutableEndpoint:
    """An endpoint as routing sees it."""
    scope = Scope(
        frozenset(record.business_units),
        frozenset(record.location_numbers),
        frozenset(record.carrier_codes),
    )
    return RoutableEndpoint(record.id, record.role, scope, frozenset(operations))


def plan(
    contract: Contract,
    rule: Event,
    event: Message,
    record: EventRecord,
    endpoints: Sequence[RoutableEndpoint],
    refers_to: tuple[str, ...],
    now: int,
) -> list[DeliveryRecord]:
    """The deliveries of one event, all in state READY; required targets nobody serves: UNROUTED."""
    business_unit, location, carrier = contract.scope_of(event)
    planned: list[DeliveryRecord] = []
    for target in rule.targets:
        matching = [
            endpoint
            for endpoint in endpoints
            if endpoint.role == target.role
            and target.operation in endpoint.operations
            and endpoint.scope.covers(business_unit, location, carrier)
        ]
        if not matching and target.optional:
            continue
        for index, item in enumerate(_items(event, target)):
            for endpoint in matching or [None]:
                planned.append(
                    _delivery(target, event, record, endpoint, item, index, refers_to, now)
                )
    return planned


def _delivery(
    target: Target,
    event: Message,
    record: EventRecord,
    endpoint: RoutableEndpoint | None,
    item: str,
    index: int,
    refers_to: tuple[str, ...],
    now: int,
) -> DeliveryRecord:
    name = endpoint.id if endpoint else ""
    # An UNROUTED delivery is named after the role, so that two of them differ.
    who = name or f"role:{target.role}"
    delivery_id = str(
        uuid.uuid5(DELIVERY_NAMESPACE, f"{record.id}/{who}/{target.operation}/{item}")
    )
    return DeliveryRecord(
        id=delivery_id,
        event_id=record.id,
        event_type=record.type,
        endpoint=name,
        operation=target.operation,
        item=item,
        ordering_key=str(_follow(event, target.ordering_key)),
        state="READY" if endpoint else "UNROUTED",
        created_at=now,
        updated_at=now,
        object_id=record.object_id,
        root_id=record.root_id,
        vendor_reference=vendor_reference(delivery_id),
        sequence=f"{record.id}:{index:04d}",
        waiting_on="" if endpoint else _unrouted(target),
        on_reject=target.on_reject,
        role=target.role,
        requires=target.requires,
        supersedes=target.supersedes,
        refers_to=refers_to,
        traceparent=record.traceparent,
    )


def _unrouted(target: Target) -> str:
    return (
        f"no {target.role} endpoint in scope offers {target.operation}; "
        "register one, or correct the scopes"
    )


def _items(event: Message, target: Target) -> Iterator[str]:
    """The ids of the elements that mean a call each; one nameless item when there are none."""
    if not target.item:
        yield ""
        return
    for element in list(_follow(event, target.item))[:ITEMS_PER_EVENT_MAX]:
        yield element.id


def _follow(message: Any, path: str) -> Any:
    for name in path.split("."):
        message = getattr(message, name)
    return message
