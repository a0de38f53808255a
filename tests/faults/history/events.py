"""Rules about events: every revision has them, and the stream has each once and in order."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.history.order import copies, gaps, grouped, inversions
from tests.faults.history.records import OK, Event, History, Object, Rpc, Streamed
from tests.faults.history.violations import Kind, Violation


def violations(history: History) -> Iterator[Violation]:
    """Every rule about events."""
    events = history.of(Event)
    if not history.run.numbers_go_unused:
        yield from _holes(events)
    yield from _revisions(events, history.of(Object))
    yield from _answered(history)
    if history.run.on_stream:
        streamed = history.of(Streamed)
        yield from _stream(events, streamed)
        yield from _order(events, streamed)


def _holes(events: list[Event]) -> Iterator[Violation]:
    numbers = sorted(event.sequence for event in events)
    if numbers and (missing := gaps(numbers, numbers[0], numbers[-1])):
        yield Violation(Kind.EVENT_GONE, "events", f"sequences {missing[:5]} of {len(missing)}")


def _revisions(events: list[Event], objects: list[Object]) -> Iterator[Violation]:
    last = {row.id: row.revision for row in objects}
    for object_id, found in grouped(events, lambda event: event.object_id).items():
        newest = max(event.revision for event in found)
        if last.get(object_id, newest) < newest:
            facts = f"an event tells revision {newest}, the row has {last[object_id]}"
            yield Violation(Kind.OBJECT_BEHIND_EVENT, object_id, facts)
        for revision, together in grouped(found, lambda event: event.revision).items():
            positions = [event.position for event in together]
            if absent := gaps(positions, 0, max(positions)):
                facts = f"positions {absent} of revision {revision}"
                yield Violation(Kind.POSITION_GAP, object_id, facts)
        committed = sorted(found, key=lambda event: event.sequence)
        for earlier, later in inversions([(e.revision, e.position) for e in committed]):
            facts = f"revision {later[0]} was committed after {earlier[0]}"
            yield Violation(Kind.COMMIT_OUT_OF_ORDER, object_id, facts)


def _answered(history: History) -> Iterator[Violation]:
    told = {(event.type, event.object_id, event.revision) for event in history.of(Event)}
    for rpc in history.of(Rpc):
        expected = history.run.speaks.get(rpc.method)
        if rpc.outcome != OK or expected is None:
            continue
        if (expected, rpc.object_id, rpc.revision) not in told:
            facts = f"{rpc.method} was answered with revision {rpc.revision}: no {expected}"
            yield Violation(Kind.ANSWERED_WRITE_WITHOUT_EVENT, rpc.object_id, facts)


def _stream(events: list[Event], streamed: list[Streamed]) -> Iterator[Violation]:
    table = {event.id: event for event in events}
    there = grouped(streamed, lambda message: message.id)
    for event in events:
        if event.id not in there:
            facts = f"{event.type}, revision {event.revision} of {event.object_id}"
            yield Violation(Kind.EVENT_NOT_ON_STREAM, event.id, facts)
    for event_id, count in copies(message.id for message in streamed).items():
        places = [message.sequence for message in there[event_id]]
        yield Violation(Kind.EVENT_TWICE_ON_STREAM, event_id, f"{count} copies, at {places}")
    for message in streamed:
        told = table.get(message.id)
        if told is None:
            facts = f"message {message.sequence}"
            yield Violation(Kind.EVENT_FROM_NOWHERE, message.id, facts)
        elif told.body != message.body:
            facts = f"message {message.sequence} differs from event {told.sequence}"
            yield Violation(Kind.EVENT_BYTES_DIFFER, message.id, facts)


def _order(events: list[Event], streamed: list[Streamed]) -> Iterator[Violation]:
    table = {event.id: event for event in events}
    known = [message for message in streamed if message.id in table]
    first: dict[str, Streamed] = {}
    for message in sorted(known, key=lambda message: message.sequence):
        first.setdefault(message.id, message)
    for object_id, found in grouped(first.values(), lambda m: table[m.id].object_id).items():
        steps = [(table[message.id].revision, table[message.id].position) for message in found]
        for earlier, later in inversions(steps):
            facts = f"revision {later[0]} comes after {earlier[0]}"
            yield Violation(Kind.EVENT_OUT_OF_ORDER, object_id, facts)
