"""Judges a history: every rule over all of it, and how often each promise was broken."""

from __future__ import annotations

from collections import Counter

from tests.faults.history import effects, endings, events, labels, ledger, writes
from tests.faults.history.records import History
from tests.faults.history.violations import Verdict, Violation

RULES = (
    writes.violations,
    events.violations,
    effects.violations,
    labels.violations,
    ledger.violations,
    endings.violations,
)


def check(history: History) -> list[Violation]:
    """Every violation in a history; none: it kept its promises."""
    return [found for rule in RULES for found in rule(history)]


def counted(violations: list[Violation]) -> dict[str, int]:
    """Lost, doubled, reordered, regressed: how many of each."""
    found = Counter(violation.kind.verdict for violation in violations)
    return {str(verdict): found[verdict] for verdict in Verdict}
