"""G30: the ledger's real decisions beside a model written from its rules: no difference."""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import HealthCheck, settings
from ledger_beside import LIMITS, STEPS, Beside, OneFlow

# 1,000 steps; CROSSDOCK_TEST_MODEL_EXAMPLES=1250 makes 50,000 of them.
EXAMPLES = int(os.environ.get("CROSSDOCK_TEST_MODEL_EXAMPLES", "25"))


TestBeside = Beside.TestCase
TestBeside.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_a_difference_would_be_noticed() -> None:
    """Proves that the comparison has teeth: a ledger that looks up once only is told apart."""
    machine = Beside()
    machine.desk = OneFlow("SEARCHABLE", replace(LIMITS, not_found_needed=1))
    machine.event("k1")
    for outcome in ("UNKNOWN", "NOT_FOUND"):
        machine.desk.settle(machine.record(0), outcome)
        machine.model.dispatch(0)
        machine.model.begin(0, machine.model.deliveries[0].number)
        machine.model.complete(0, len(machine.model.deliveries[0].attempts), outcome)
        machine.wait()
    told = machine.record(0).state, machine.model.deliveries[0].state
    assert told == ("READY", "RESOLVING")
