"""Rules about what vendors hold: each delivery's effect once, known, and in order."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.history.order import copies, grouped, inversions
from tests.faults.history.records import CALL, Attempt, Delivery, Effect, Event, History
from tests.faults.history.violations import Kind, Violation

# In these the ledger will ask no more, and says what became of the work.
SETTLED = frozenset({"CONFIRMED", "REJECTED", "SUPERSEDED"})
# Here a person has the delivery in hand, and the vendor may well have done it.
IN_HAND = frozenset({"PARKED", "UNKNOWN", "RESOLVING", "IN_FLIGHT"})
# Asking for these again changes nothing at the vendor.
REPEATABLE = frozenset({"KEYED", "NATURAL", "TWO_STEP"})
RETRY = "RETRY"


def violations(history: History) -> Iterator[Violation]:
    """Every rule about deliveries as targets, and about the vendors' books."""
    deliveries = {row.id: row for row in history.of(Delivery)}
    yield from _targets(history, list(deliveries.values()))
    effects = history.of(Effect)
    made = grouped(effects, lambda effect: effect.delivery_id)
    yield from _asked_for(effects, deliveries)
    yield from _known(history, made, deliveries)
    yield from _superseded(history, deliveries)
    yield from _newest_last(effects)


def _targets(history: History, deliveries: list[Delivery]) -> Iterator[Violation]:
    of_event = grouped(deliveries, lambda row: row.event_id)
    events = {event.id: event for event in history.of(Event)}
    for event in events.values():
        there = {row.operation for row in of_event.get(event.id, [])}
        for operation in history.run.targets.get(event.type, ()):
            if operation not in there:
                facts = f"{event.type} of {event.object_id}: nobody was given {operation}"
                yield Violation(Kind.DELIVERY_MISSING, event.id, facts)
    same = copies((row.event_id, row.endpoint, row.operation, row.item) for row in deliveries)
    for (event_id, endpoint, operation, _), count in same.items():
        facts = f"{count} deliveries of {operation} to {endpoint}"
        yield Violation(Kind.DELIVERY_TWICE, event_id, facts)
    for row in deliveries:
        if row.event_id not in events:
            yield Violation(Kind.DELIVERY_OF_NOTHING, row.id, f"event {row.event_id}")


def _asked_for(effects: list[Effect], deliveries: dict[str, Delivery]) -> Iterator[Violation]:
    for effect in effects:
        row = deliveries.get(effect.delivery_id)
        if row is None or row.endpoint != effect.endpoint:
            facts = f"{effect.endpoint} has {effect.number} for {effect.subject}"
            yield Violation(Kind.EFFECT_WITHOUT_DELIVERY, effect.delivery_id, facts)


def _known(
    history: History, made: dict[str, list[Effect]], deliveries: dict[str, Delivery]
) -> Iterator[Violation]:
    with_books = frozenset(history.run.endpoints)
    for row in deliveries.values():
        found = made.get(row.id, [])
        if row.operation_class != "NATURAL" and len(found) > 1:
            numbers = [effect.number for effect in found]
            yield Violation(Kind.EFFECT_TWICE, row.id, f"{row.operation} made {numbers}")
        if row.endpoint in with_books:
            yield from _agrees(row, found)


def _agrees(row: Delivery, found: list[Effect]) -> Iterator[Violation]:
    numbers = {effect.number for effect in found}
    if row.state == "CONFIRMED" and not found:
        facts = f"{row.operation} at {row.endpoint}, references {row.references}"
        yield Violation(Kind.CONFIRMED_WITHOUT_EFFECT, row.id, facts)
    elif row.state == "CONFIRMED" and not numbers.intersection(row.references):
        facts = f"keeps {row.references}, the vendor has {sorted(numbers)}"
        yield Violation(Kind.CONFIRMED_WITH_ANOTHER_NUMBER, row.id, facts)
    elif row.state == "REJECTED" and found:
        yield Violation(Kind.REJECTED_WITH_EFFECT, row.id, f"the vendor has {sorted(numbers)}")
    elif found and row.state not in SETTLED | IN_HAND and row.operation_class not in REPEATABLE:
        facts = f"{row.state}, the vendor has {sorted(numbers)}"
        yield Violation(Kind.EFFECT_NOT_KNOWN, row.id, facts)


def _superseded(history: History, deliveries: dict[str, Delivery]) -> Iterator[Violation]:
    # What the vendor proved not to have processed has not reached it.
    reached = {a.delivery_id for a in history.of(Attempt) if a.kind == CALL and a.outcome != RETRY}
    made = {effect.delivery_id for effect in history.of(Effect)}
    for row in deliveries.values():
        if row.state == "SUPERSEDED" and row.id in reached | made:
            facts = f"{row.operation} at {row.endpoint}, superseded by {row.superseded_by}"
            yield Violation(Kind.SUPERSEDED_BUT_CALLED, row.id, facts)


def _newest_last(effects: list[Effect]) -> Iterator[Violation]:
    states = [effect for effect in effects if effect.revision]
    for (endpoint, subject), found in grouped(states, lambda e: (e.endpoint, e.subject)).items():
        steps = [effect.revision for effect in sorted(found, key=lambda effect: effect.made_at)]
        for earlier, later in inversions(steps):
            facts = f"{endpoint} got revision {later} after {earlier}"
            yield Violation(Kind.OLDER_STATE_LAST, subject, facts)
