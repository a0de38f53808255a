"""The spending guard: labels beyond what one order may cost are stopped before anything is sent."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock_hub.delivery.guarding import Tally
from crossdock_hub.delivery.registry import OperationSpec
from decisions import OPERATOR, request_id
from ledger_vendor import VENDOR, Desk

BUDGET = 20
INTENTS = 10_000
PER_EVENT = 200


class Till(Desk):
    """A desk whose endpoint sells labels, and says how many one order may buy."""

    def __init__(self, budget: int = BUDGET) -> None:
        super().__init__()
        manifest = endpoint_pb2.Manifest(adapter="vendor")
        for name, limit in (("buy", budget), ("book", 0)):
            manifest.operations.add(
                name=name,
                operation_class=delivery_pb2.OPERATION_CLASS_SEARCHABLE,
                max_per_root=limit,
            )
        request = endpoint_service_pb2.RegisterEndpointRequest(
            request_id=request_id(), endpoint=VENDOR.endpoint, manifest=manifest
        )
        self.call("endpoint.v1.EndpointService/RegisterEndpoint", request, VENDOR)


def test_ten_thousand_label_intents_for_one_order_stop_at_the_budget() -> None:
    """G27: proves that of 10,000 intents for one order only the budget can ever be bought, that the
    rest waits for a person with its reason, and that one alarm is raised."""
    till = Till()
    started = time.monotonic()
    for first in range(0, INTENTS, PER_EVENT):
        items = tuple(f"box-{first + n}" for n in range(PER_EVENT))
        till.event("buy", key=f"shipment-{first}", items=items)
    took = time.monotonic() - started
    intents = till.deliveries(operation="buy")
    assert len(intents) == INTENTS
    may_go = [r for r in intents if r.state in ("READY", "HELD")]
    stopped = [r for r in intents if r.state == "PARKED"]
    assert (len(may_go), len(stopped)) == (BUDGET, INTENTS - BUDGET)
    assert {r.hold_reason for r in stopped} == {"SPENDING"}
    assert all(str(BUDGET) in r.waiting_on and "spending guard" in r.waiting_on for r in stopped)
    assert not any(r.pending for r in stopped)
    assert till.counters["spending_alarm", "vendor", "buy"] == 1
    assert till.counters["spending", "vendor", "buy"] == INTENTS - BUDGET
    assert took < 60, f"{took:.0f} s"


def test_operations_without_a_limit_are_not_guarded() -> None:
    """Proves that the guard is configuration of an operation, not a rule for all."""
    till = Till(budget=1)
    records = till.event("book", items=tuple(f"i{n}" for n in range(50)))
    assert {r.state for r in records} == {"READY"}


def test_what_was_taken_back_before_it_cost_anything_does_not_count() -> None:
    """Proves that superseded and refused purchases leave room, bought ones do not."""
    till = Till(budget=2)
    first, second = till.one("buy", key="a"), till.one("buy", key="b")
    till.one("cancel", key="a", supersedes=("buy",))
    assert till.fresh(first).state == "SUPERSEDED"
    till.settle(second, "REJECTED")
    third, fourth = till.one("buy", key="c"), till.one("buy", key="d")
    till.settle(third)
    till.settle(fourth)
    assert till.one("buy", key="e").hold_reason == "SPENDING"


def test_what_was_stopped_takes_no_room() -> None:
    """Proves that an intent which the guard stopped costs nothing: when a purchase is taken back,
    the next intent gets its room, and one more does not."""
    till = Till(budget=1)
    till.one("buy", key="a")
    assert till.one("buy", key="b").state == "PARKED"
    till.one("cancel", key="a", supersedes=("buy",))
    assert till.one("buy", key="c").state == "READY"
    assert till.one("buy", key="d").hold_reason == "SPENDING"


@pytest.mark.parametrize(("reached", "state"), [(0, "READY"), (1, "PARKED")])
def test_what_an_operator_skipped_counts_if_it_may_have_been_bought(
    reached: int, state: str
) -> None:
    """Proves that a skipped purchase leaves room only when nothing of it reached the vendor."""
    till = Till(budget=1)
    first = till.one("buy", key="a")
    skipped = replace(till.fresh(first), state="SKIPPED", pending=False, calls_reached=reached)
    till.records["delivery", first.id] = skipped
    assert till.one("buy", key="b").state == state


def test_orders_have_budgets_of_their_own() -> None:
    """Proves that one order's loop does not stop another order's label."""
    assert OPERATOR.role == "OPERATOR"
    till = Till(budget=1)
    till.one("buy", key="a")
    stopped = till.one("buy", key="b")
    assert stopped.state == "PARKED"
    elsewhere = till.one("buy", key="x", root_id="order-2", object_id="order-2")
    assert elsewhere.state == "READY"


def test_every_endpoint_counts_towards_what_one_order_may_cost() -> None:
    """Proves that labels of another carrier are counted with those of the first: an order in a loop
    over carriers buys no more than one at a single carrier."""
    limit = OperationSpec("buy", "SEARCHABLE", 1, 1, 5, 60, 0, 1, 16, max_per_root=2)
    till = Till()
    bought = [till.one("buy", key=name) for name in ("a", "b")]
    elsewhere = replace(bought[0], id="third", endpoint="another-carrier")
    tally = Tally(bought)
    stopped = tally.stopped(elsewhere, limit, till.now)
    assert stopped is not None
    assert (stopped.state, stopped.hold_reason) == ("PARKED", "SPENDING")
    assert tally.first_alarm(elsewhere)
    assert not tally.first_alarm(bought[0])
