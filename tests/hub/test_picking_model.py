"""G30: the choice of what goes out beside a model written from its rules: no difference."""

from __future__ import annotations

import os
from fractions import Fraction

from hypothesis import HealthCheck, settings
from picking_beside import LIMITS, STEPS, PickingBeside
from picking_model import Endpoint, PickingModel, Work

# 1,000 steps; CROSSDOCK_TEST_MODEL_EXAMPLES=1250 makes 50,000 of them.
EXAMPLES = int(os.environ.get("CROSSDOCK_TEST_MODEL_EXAMPLES", "25"))


def test_a_story() -> None:
    """Proves in one history that picker and model agree on what chance seldom brings together:
    urgent work that comes last, a less urgent lane's turn after a queue that had ended, a share and
    a Retry-After of the other endpoint of a system, and how a share grows back."""
    machine = PickingBeside()
    machine.employ(slots=[4, 6, 2], rate="1.5")
    machine.more([("east", 1), *3 * [("north", 1)], *3 * [("north", 0)], ("south", 0)])
    machine.pass_time(40)
    assert machine.model.in_use(machine.known("east")) == 1
    while out := machine.of_state("OUT"):
        machine.batch(begun=out[:1])
        machine.batch(ended=out[:1])
        machine.they_agree()
    # Two queues behind full slots, of which one falls free at a time; the first one ends.
    for asked, ends in ((6 * [("north", 0)], 2), ([*3 * [("north", 0)], ("north", 2)], 3)):
        machine.more(asked)
        for _ in range(ends):
            north = [work for work in machine.of_state("OUT") if work.endpoint == "north"]
            machine.batch(ended=north[:1])
            machine.they_agree()
    machine.more([("south", 3)])
    machine.throttle("south", 2)
    machine.they_agree()
    assert machine.model.free(machine.known("north")) == 0
    # With every slot empty, only the share says how much is free.
    while busy := machine.of_state("OUT", "BEGUN"):
        machine.batch(ended=busy)
    halved = machine.model.free(machine.known("north"))
    for quarters in (9, 40, 40, 40):
        machine.pass_time(quarters)
        machine.they_agree()
    assert machine.model.free(machine.known("north")) > halved
    machine.throttle("north", 0)
    machine.pass_time(5)
    machine.they_agree()


TestPickingBeside = PickingBeside.TestCase
TestPickingBeside.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_the_model_knows_the_rules_by_itself() -> None:
    """Proves with numbers counted by hand that the model keeps the budget of a system, gives the
    less urgent lane a turn after each run of the urgent, halves a share and keeps to a rate."""
    north, south = Endpoint("north", "shared", 4), Endpoint("south", "shared", 9)
    east = Endpoint("east", "alone", 50, rate="5")
    model = PickingModel(
        [north, south, east], LIMITS.lane_run_max, LIMITS.dispatch_slice, Fraction(1, 16)
    )
    model.start()
    works = [Work(f"n{n}", "north", n // 6, n) for n in range(12)]
    assert model.batch(works, [], []) == {"n0", "n1", "n2", "n3"}
    assert (model.free(south), model.in_use(north)) == (0, 4)
    assert model.batch([], [], works[:3]) == {"n4", "n5", "n6"}, "two urgent ones, then a turn"
    model.throttle(south, 2)
    assert model.batch([], [], works[3:7]) == set(), "Retry-After holds the whole system"
    model.now = Fraction(2)
    assert len(model.batch([], [], [])) == 2, "half of four, and a thirtieth of what is missing"
    assert model.free(east) == 5, "what began before the start is forgotten after a second"
