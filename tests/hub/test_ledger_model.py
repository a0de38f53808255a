"""G30: the ledger's real decisions beside a model written from its rules: no difference."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from ledger_beside import CALLS_MAX, LIMITS, STEPS, Beside, OneFlow
from ledger_model import Model

# 1,000 steps; CROSSDOCK_TEST_MODEL_EXAMPLES=1250 makes 50,000 of them.
EXAMPLES = int(os.environ.get("CROSSDOCK_TEST_MODEL_EXAMPLES", "25"))


def both(kind: str) -> Beside:
    """A ledger and its model, with nothing to do yet."""
    machine = Beside()
    machine.desk, machine.model = OneFlow(kind), Model(kind, CALLS_MAX)
    return machine


# What chance seldom finds. A step is an event's work, or of a delivery: called or looked up with
# this end, a draft noted in a call, the word of the attempt before the newest; "wait": all timers.
STORIES: dict[str, tuple[str, list[Any], list[str]]] = {
    "a draft is not taken back": (
        "TWO_STEP",
        ["book", (0, "draft D-1"), (0, "RETRY"), "cancel"],
        ["HELD", "HELD"],
    ),
    "what is not begun is taken back": ("KEYED", ["book", "cancel"], ["SUPERSEDED", "SUPERSEDED"]),
    "what proved unprocessed is taken back by what waited": (
        "KEYED",
        ["book", (0, "call"), "cancel", (0, "RETRY")],
        ["SUPERSEDED", "SUPERSEDED"],
    ),
    "a second draft is refused": (
        "TWO_STEP",
        ["book", (0, "draft D-1"), (0, "draft D-2"), (0, "UNKNOWN")],
        ["UNKNOWN"],
    ),
    "a draft that is kept is told to the next attempt": (
        "TWO_STEP",
        ["book", (0, "draft D-1"), "wait", (0, "call"), (0, "CONFIRMED")],
        ["CONFIRMED"],
    ),
    "an unprocessed repeat ends no older doubt": (
        "KEYED",
        ["book", (0, "UNKNOWN"), "wait", (0, "RETRY"), "cancel"],
        ["HELD", "HELD"],
    ),
    "calls that did nothing do not outweigh proof": (
        "KEYED",
        ["book", (0, "call"), "wait", (0, "PARKED"), (0, "late CONFIRMED")],
        ["CONFIRMED"],
    ),
    "proof during a newer call settles when that did nothing": (
        "KEYED",
        ["book", (0, "call"), "wait", (0, "call"), (0, "late CONFIRMED"), (0, "REJECTED")],
        ["CONFIRMED"],
    ),
    "what it waits for is not held up by it, nor by what is behind it": (
        "NONE",
        ["deliver", "post", "change", "book", (3, "CONFIRMED")],
        ["HELD", "READY", "HELD", "CONFIRMED"],
    ),
    "a refusal meets no prerequisite": (
        "NONE",
        ["book", "post", (0, "REJECTED"), "cancel"],
        ["REJECTED", "HELD", "HELD"],
    ),
    "what waits behind a refusal holds up what would take that back": (
        "NONE",
        ["book", "change", (0, "REJECTED"), "cancel"],
        ["REJECTED", "HELD", "HELD"],
    ),
    "another class is looked up, and the first look counts for nothing": (
        "KEYED",
        [
            "book",
            (0, "UNKNOWN"),
            "wait",
            "SEARCHABLE",
            (0, "call"),
            *2 * [(0, "NOT_FOUND"), "wait"],
        ],
        ["RESOLVING"],
    ),
}


def tell(machine: Beside, which: int, said: str) -> None:
    """One step of a delivery, by both."""
    end, _, more = said.partition(" ")
    known = machine.model.deliveries[which]
    if known.waits:
        machine.send(which)
        machine.start(which, known.number)
    if end == "draft":
        machine.keep(which, more)
    elif end == "late":
        machine.end(which, more, back=1)
    elif end != "call":
        machine.end(which, end)


@pytest.mark.parametrize("name", STORIES)
def test_a_story(name: str) -> None:
    """Proves of histories that are seldom drawn that they end as the manual says, in the ledger
    and in the model, and that the two agree after each step."""
    kind, steps, ends = STORIES[name]
    machine = both(kind)
    for step in steps:
        if isinstance(step, tuple):
            tell(machine, *step)
        elif step == "wait":
            machine.wait()
        elif step.isupper():
            machine.declare(step)
        else:
            machine.event("k1", step)
        machine.they_agree()
    assert [record.state for record in machine.desk.deliveries()] == ends


TestBeside = Beside.TestCase
TestBeside.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_a_difference_would_be_noticed() -> None:
    """Proves that the comparison has teeth: a ledger that looks up once only is told apart."""
    machine = both("SEARCHABLE")
    machine.desk = OneFlow("SEARCHABLE", replace(LIMITS, not_found_needed=1))
    machine.event("k1")
    for outcome in ("UNKNOWN", "NOT_FOUND"):
        machine.send(0)
        machine.start(0, machine.model.deliveries[0].number)
        machine.end(0, outcome)
        machine.wait()
    told = machine.record(0).state, machine.model.deliveries[0].state
    assert told == ("READY", "RESOLVING")
