"""What is read of one flow and of the endpoints that serve it: the input of lineage's verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from crossdock_hub.config import Limits
from crossdock_hub.delivery import breaking, pacing
from crossdock_hub.delivery.registry import budget_of
from crossdock_hub.objects.line_units import LineUnits, converted_items, line_units
from crossdock_hub.records import (
    EVERY_ITEM,
    AttemptRecord,
    DeliveryRecord,
    EndpointRecord,
    EventRecord,
    HeldFactRecord,
    ObjectRecord,
    OperatorWordRecord,
    ScanRecord,
)

# Facts that are told of one flow.
HELD_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and whether it is on the bus."""

    record: EventRecord
    published: bool


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """Deliveries of one urgency that may go as soon as the budget allows, and the oldest's age."""

    waiting: int
    oldest_at: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What an endpoint has to do. oldest_at: microseconds UTC, None when nothing is open.

    in_doubt: what the vendor may have done, looked up or to be repeated. parked: what waits for a
    person. lanes: by priority, what waits to be dispatched.
    """

    queue_depth: int = 0
    oldest_at: int | None = None
    in_use: int = 0
    in_doubt: int = 0
    parked: int = 0
    lanes: Mapping[int, LaneFigures] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Situation:
    """How an endpoint is right now, as far as its deliveries care.

    in_use: calls under way of all endpoints of its system. budget: calls the system takes at once.
    """

    id: str
    state: str = "ACTIVE"
    pause_reason: str = ""
    paused_by: str = ""
    trouble: str = ""
    heartbeat_at: int | None = None
    in_use: int = 0
    budget: int = 1
    breaker_open: bool = False
    breaker_reason: str = ""
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """Everything known of one flow. attempts, words of operators: by delivery id, oldest first.

    held: facts that name it and are not written yet, the oldest HELD_MAX, without what they carry.
    conversions: of the units of items whose lines are packed in others than were asked for, and of
    every item.
    """

    root_id: str
    objects: Sequence[ObjectRecord] = ()
    events: Sequence[StoredEvent] = ()
    deliveries: Sequence[DeliveryRecord] = ()
    attempts: Mapping[str, Sequence[AttemptRecord]] = field(default_factory=dict)
    scans: Sequence[ScanRecord] = ()
    words: Mapping[str, Sequence[OperatorWordRecord]] = field(default_factory=dict)
    held: Sequence[HeldFactRecord] = ()
    conversions: Sequence[ObjectRecord] = ()

    def units_of(self, request: Any, shipments: Sequence[Any]) -> LineUnits:
        """How to count the lines of a fulfillment request, by its messages."""
        return line_units(request, shipments, [each.message for each in self.conversions])


def items_converted(objects: Sequence[ObjectRecord]) -> set[str]:
    """Whose unit conversions `Chain.conversions` has of a flow with these objects: of items, and of
    `EVERY_ITEM`; most often of none."""
    shipments: list[Any] = [each.message for each in objects if each.kind == "shipment"]
    found: set[str] = set()
    for record in objects:
        if record.kind == "fulfillment_request":
            own = [each for each in shipments if each.fulfillment_request_id == record.id]
            found |= converted_items(record.message, own)
    return found | {EVERY_ITEM} if found else found


def situations(
    records: Sequence[EndpointRecord], in_use: Mapping[str, int], limits: Limits, now: int
) -> dict[str, Situation]:
    """The situation of each endpoint; endpoints of one system share its budget."""
    budgets = {record.id: budget_of(record, limits) for record in records}
    sharing: dict[str, list[str]] = defaultdict(list)
    for endpoint, (system, _) in budgets.items():
        sharing[system].append(endpoint)
    found = {}
    for record in records:
        together = sharing[budgets[record.id][0]]
        found[record.id] = Situation(
            id=record.id,
            state=record.state,
            pause_reason=record.pause_reason,
            paused_by=record.paused_by,
            trouble=record.trouble,
            heartbeat_at=record.heartbeat_at,
            in_use=sum(in_use.get(endpoint, 0) for endpoint in together),
            budget=min(budgets[endpoint][1] for endpoint in together),
            breaker_open=breaking.is_open(record),
            breaker_reason=record.breaker_reason,
            throttled=pacing.is_held(record, now),
        )
    return found
