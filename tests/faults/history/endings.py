"""Rules about ends that no vendor's word explains: superseded, skipped, parked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.faults.history.order import grouped
from tests.faults.history.records import CALL, Attempt, Delivery, History
from tests.faults.history.repeats import UNPROVEN
from tests.faults.history.violations import Kind, Violation

# Causes to be parked, beside doubt of a call that nobody can look up: those that a run may have
# stand in its `parks`. POISON: the adapter said that it can't do it. SPENDING: the guard stopped
# it. A key that has died is none: keys live for longer than these runs.
POISON, SPENDING = "POISON", "SPENDING"
DOUBT = "DOUBT"

Lines = Mapping[tuple[str, str], list[Delivery]]


def violations(history: History) -> Iterator[Violation]:
    """Every rule about ends that the ledger or a person gives a delivery."""
    rows: list[Delivery] = history.of(Delivery)
    logs = grouped(history.of(Attempt), lambda attempt: attempt.delivery_id)
    lines = grouped(rows, lambda row: (row.endpoint, row.ordering_key))
    for row in rows:
        if row.state == "SUPERSEDED":
            if why := _not_superseded(row, lines, history.run.supersedes):
                yield Violation(Kind.SUPERSEDED_BY_NOTHING, row.id, f"{row.operation}: {why}")
        elif row.state == "SKIPPED" and row.id not in history.run.skipped:
            yield Violation(Kind.SKIPPED_UNASKED, row.id, f"{row.operation} at {row.endpoint}")
        elif row.state == "PARKED":
            cause = _cause(row, logs.get(row.id, []))
            if cause != DOUBT and cause not in history.run.parks:
                facts = f"{row.operation} of class {row.operation_class or '-'}: {row.waiting_on}"
                yield Violation(Kind.PARKED_WITHOUT_CAUSE, row.id, facts)


def _not_superseded(row: Delivery, lines: Lines, supersedes: Mapping[str, tuple[str, ...]]) -> str:
    """Why a delivery can't have been superseded by what it names; "": it can.

    Only later work of its key that takes it back does that, or, of such work itself, that all it
    would take back had disappeared before anybody was called.
    """
    line = lines[row.endpoint, row.ordering_key]
    if row.superseded_by == row.id:
        undone = supersedes.get(row.operation, ())
        targets = [
            other
            for other in line
            if other.operation in undone and other.sequence < row.sequence
            and other.event_id != row.event_id and _of_one_thing(row, other)
        ]  # fmt: skip
        if not targets:
            return "superseded by itself, and there was nothing that it would take back"
        left = [f"{other.operation} {other.state}" for other in targets
                if other.state != "SUPERSEDED"]  # fmt: skip
        return f"superseded by itself, beside {', '.join(left)}" if left else ""
    by = next((other for other in line if other.id == row.superseded_by), None)
    if by is None:
        return f"superseded by {row.superseded_by or 'nothing'}, which is no work of its key there"
    if not _of_one_thing(by, row):
        return f"superseded by {by.operation} of {by.item}, and it is of {row.item}"
    if row.operation not in supersedes.get(by.operation, ()):
        return f"superseded by {by.operation}, which takes nothing back"
    if by.sequence <= row.sequence:
        return f"superseded by {by.operation}, which came before it"
    return ""


def _of_one_thing(row: Delivery, other: Delivery) -> bool:
    """Whether both are about the same part of an object, or one about all of it: a void of one
    package takes back the purchase of that package."""
    return not row.item or other.item in ("", row.item)


def _cause(row: Delivery, log: Sequence[Attempt]) -> str:
    """Why a delivery is rightly parked; "": for no reason that is one."""
    calls = {attempt.outcome for attempt in log if attempt.kind == CALL}
    if row.operation_class == "NONE" and calls & UNPROVEN:
        return DOUBT
    if row.hold_reason == SPENDING:
        return SPENDING
    return POISON if "PARKED" in calls else ""
