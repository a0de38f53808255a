"""Rules about writes and reads: what was answered is there once, and nothing goes back."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.history.order import grouped
from tests.faults.history.records import FAIL, OK, Event, History, Look, Object, Request, Rpc
from tests.faults.history.violations import Kind, Violation


def violations(history: History) -> Iterator[Violation]:
    """Every rule about what clients wrote and read."""
    writes = [rpc for rpc in history.of(Rpc) if rpc.request_id]
    objects = {row.id: row for row in history.of(Object)}
    yield from _answered(writes, objects)
    yield from _numbers(objects)
    yield from _repeats(writes)
    yield from _request_effects(history.of(Event), writes)
    yield from _refused(history, writes)
    looks = [look for look in history.of(Look) if look.kind != "delivery"]
    yield from _reads(looks, writes, objects)


def _answered(writes: list[Rpc], objects: dict[str, Object]) -> Iterator[Violation]:
    for rpc in writes:
        if rpc.outcome != OK or not rpc.object_id:
            continue
        row = objects.get(rpc.object_id)
        told = f"{rpc.method} was answered with revision {rpc.revision}"
        if row is None:
            yield Violation(Kind.ANSWERED_WRITE_MISSING, rpc.object_id, f"{told}; there is no row")
        elif row.revision < rpc.revision:
            facts = f"{told}; the row has {row.revision}"
            yield Violation(Kind.ANSWERED_WRITE_MISSING, rpc.object_id, facts)
        elif rpc.number and row.number != rpc.number:
            facts = f"{told} as {rpc.number}; the row is {row.number}"
            yield Violation(Kind.ANSWERED_WRITE_MISSING, rpc.object_id, facts)


def _numbers(objects: dict[str, Object]) -> Iterator[Violation]:
    named = [row for row in objects.values() if row.number]
    for (kind, number), rows in grouped(named, lambda row: (row.kind, row.number)).items():
        if len(rows) > 1:
            ids = ", ".join(row.id for row in rows)
            yield Violation(Kind.WRITE_TWICE, f"{kind} {number}", f"objects {ids}")


def _repeats(writes: list[Rpc]) -> Iterator[Violation]:
    for request_id, rpcs in grouped(writes, lambda rpc: rpc.request_id).items():
        answers = {(r.object_id, r.revision, r.state) for r in rpcs if r.outcome == OK}
        if len(answers) > 1:
            facts = f"answers {sorted(answers)}"
            yield Violation(Kind.REPEAT_ANSWERED_DIFFERENTLY, request_id, facts)


def _request_effects(events: list[Event], writes: list[Rpc]) -> Iterator[Violation]:
    asked = {rpc.request_id: rpc.method for rpc in writes}
    caused = [event for event in events if event.causation_id in asked]
    for request_id, found in grouped(caused, lambda event: event.causation_id).items():
        # One request may change several objects, and say several things; each object only once.
        for object_id, about in grouped(found, lambda event: event.object_id).items():
            revisions = sorted({event.revision for event in about})
            if len(revisions) > 1:
                facts = f"{asked[request_id]} made revisions {revisions} of {object_id}"
                yield Violation(Kind.REQUEST_TWO_EFFECTS, request_id, facts)
        made = {e.object_id for e in found if e.revision == 1 and e.position == 0}
        if len(made) > 1 and asked[request_id].startswith("Create"):
            facts = f"{asked[request_id]} made {sorted(made)}"
            yield Violation(Kind.REQUEST_TWO_EFFECTS, request_id, facts)


def _refused(history: History, writes: list[Rpc]) -> Iterator[Violation]:
    caused = {event.causation_id for event in history.of(Event)}
    kept = {request.request_id for request in history.of(Request)}
    for request_id, rpcs in grouped(writes, lambda rpc: rpc.request_id).items():
        if all(rpc.outcome == FAIL for rpc in rpcs) and request_id in caused | kept:
            facts = f"{rpcs[0].method} was refused: {rpcs[0].reason}"
            yield Violation(Kind.REFUSED_WRITE_WITH_EFFECT, request_id, facts)


def _reads(looks: list[Look], writes: list[Rpc], objects: dict[str, Object]) -> Iterator[Violation]:
    answered = grouped((r for r in writes if r.outcome == OK), lambda rpc: rpc.object_id)
    for subject, found in grouped(looks, lambda look: look.subject).items():
        # Of what ended before a read began, the newest: a read may see more, never less.
        ended = sorted(found, key=lambda look: look.end)
        told = sorted(answered.get(subject, []), key=lambda rpc: rpc.end)
        for look in sorted(found, key=lambda look: look.start):
            seen = max((e.revision for e in ended if e.end < look.start), default=0)
            if look.revision < seen:
                facts = f"{look.reader} read {look.revision} after {seen} had been read"
                yield Violation(Kind.READ_MOVED_BACKWARDS, subject, facts)
            said = max((r.revision for r in told if r.end < look.start), default=0)
            if look.revision < said:
                facts = f"{look.reader} read {look.revision} after {said} had been answered"
                yield Violation(Kind.READ_OLDER_THAN_ANSWER, subject, facts)
        row = objects.get(subject)
        newest = max(look.revision for look in found)
        if row is not None and row.revision < newest:
            facts = f"revision {newest} was read, {row.revision} is left"
            yield Violation(Kind.ENDED_OBJECT_REGRESSED, subject, facts)
