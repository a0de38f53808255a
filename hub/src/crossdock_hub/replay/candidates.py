"""Which work an event means at one endpoint: what routing would give it, and what it has; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crossdock import bus
from crossdock.contracts import Contract, Event, Target, items_of

from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.delivery.routing import plan
from crossdock_hub.records import DeliveryRecord, EventRecord
from crossdock_hub.replay.decisions import Candidate
from crossdock_hub.retention import is_past

UNREADABLE = "this hub's contract no longer knows the event"
PAST = "the event has outlived its retention; make the change anew at its owner"


def candidates(
    contract: Contract,
    stored: EventRecord,
    endpoint: RegisteredEndpoint,
    flow: Iterable[DeliveryRecord],
    now: int,
) -> list[Candidate]:
    """All work of an event at an endpoint, in its order: planned today, or in the ledger.

    What the endpoint is not meant for (another scope, an optional operation it does not offer) is
    none of its work, unless the ledger has it there.
    """
    rule = contract.events.get(stored.type)
    past = _is_past(rule, stored, now)
    event: Any = bus.decode(stored.body).event if rule is not None and not past else None
    planned: dict[tuple[str, str], DeliveryRecord] = {}
    owed: dict[tuple[str, str], str] = {}
    if rule is not None and event is not None:
        covered = endpoint.scope.covers(contract.scopes(event))
        if covered:
            planned = _planned(contract, rule, event, stored, endpoint, now)
            owed = _owed(rule, event, endpoint)
    there = {
        (record.operation, record.item): record
        for record in IndexedFlow.of(flow).under(_by_event, stored.id)
        if record.endpoint == endpoint.id
    }
    found = []
    for operation, item in sorted({*planned, *owed, *there}):
        key = (operation, item)
        made = planned.get(key)
        target = _target(rule, endpoint.role, operation)
        place = made or there.get(key)
        why = PAST if past else _why_not(rule, event, endpoint, operation)
        found.append(
            Candidate(
                event_id=stored.id,
                object_id=stored.object_id,
                operation=operation,
                item=item,
                sequence=place.sequence if place is not None else stored.id,
                policy=rule.replay_policy if rule is not None else "NEVER",
                planned=made,
                why_not="" if made else owed.get(key) or why,
                role=endpoint.role,
                sole=target is not None and not target.optional,
                own_fact=target is not None and target.own_fact,
            )
        )
    return sorted(found, key=lambda c: (c.sequence, c.operation, c.item))


def _is_past(rule: Event | None, stored: EventRecord, now: int) -> bool:
    """Whether no work is made of an event any more. What it said may also have gone by a retention
    that was shorter than today's."""
    old = rule is not None and is_past(rule.retention.total_seconds(), stored.record_time, now)
    return old or not stored.body


def _by_event(record: DeliveryRecord) -> tuple[str]:
    return (record.event_id,)


def _planned(
    contract: Contract,
    rule: Event,
    event: Any,
    stored: EventRecord,
    endpoint: RegisteredEndpoint,
    now: int,
) -> dict[tuple[str, str], DeliveryRecord]:
    """What routing would give the endpoint, were it the only one."""
    refers_to = {stored.object_id, stored.root_id}
    refers_to.update(found.value for found in contract.references(event) if found.by == "id")
    routed = plan(contract, rule, event, stored, [endpoint], tuple(sorted(refers_to)), now)
    return {(record.operation, record.item): record for record in routed if record.endpoint}


def _owed(rule: Event, event: Any, endpoint: RegisteredEndpoint) -> dict[tuple[str, str], str]:
    """Work that somebody of the role has to do and this endpoint does not offer."""
    return {
        (target.operation, item): f"{endpoint.id} does not offer {target.operation}"
        for target in rule.targets
        if target.role == endpoint.role
        and not target.optional
        and target.operation not in endpoint.operations
        for item in items_of(target, event)
    }


def _target(rule: Event | None, role: str, operation: str) -> Target | None:
    targets = rule.targets if rule is not None else ()
    return next((t for t in targets if (t.role, t.operation) == (role, operation)), None)


def _why_not(rule: Event | None, event: Any, endpoint: RegisteredEndpoint, operation: str) -> str:
    if rule is None or event is None:
        return UNREADABLE
    if operation not in endpoint.operations:
        return f"{endpoint.id} no longer offers {operation}"
    if _target(rule, endpoint.role, operation) is None:
        return f"the contract no longer asks {endpoint.role} for {operation}"
    return f"the event is outside the scope of {endpoint.id} now"
