"""What is whose when an endpoint left the endpoints file, and another may do its work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.order.v1 import order_pb2
from crossdock_hub.config import SECOND
from crossdock_hub.delivery import breaking, removal
from crossdock_hub.identity import HUB
from decisions import ERP, OPERATIONS, refusal_of, request_id
from first_flow import Flow, order
from ledger_vendor import ROOT, VENDOR
from operator_says import say
from removal_flow import put_back, reroute, take_out, two_waiting
from test_guarding import Till


@pytest.mark.parametrize(
    ("state", "details"),
    [
        ("CONFIRMED", {"calls_reached": 1}),
        ("PARKED", {"waiting_on": "somebody looks"}),
        ("UNKNOWN", {"calls_reached": 1, "first_unknown_at": 1, "due_at": 2**60}),
    ],
)
@pytest.mark.parametrize("served", [True, False], ids=["a successor", "nobody"])
def test_a_cancel_of_what_the_endpoint_that_is_gone_has_waits_for_it(
    state: str, details: dict[str, Any], served: bool
) -> None:
    """Proves that new work of an order of which the endpoint that is gone has a part is that
    endpoint's, waits seen, and reaches it once it is back: a cancel neither vanishes nor takes back
    what waits there, whether a successor is there or not."""
    flow = Flow()
    root, create, change = two_waiting(flow)
    flow.records["delivery", create.id] = replace(
        flow.fresh(create), **({"state": state, "pending": False} | details)
    )
    take_out(flow, change)
    if served:
        flow.employ(replace(ERP, endpoint="erp-2"), OPERATIONS["netsuite"])
    flow.cancel(root)
    cancel = flow.delivery("netsuite", "cancel_order")
    assert (cancel.state, cancel.pending) == ("UNROUTED", False)
    assert f"create_sales_order of the same flow, {state}" in cancel.waiting_on
    assert flow.fresh(change).state == "UNROUTED"
    reroute(flow, root)
    assert flow.fresh(cancel).state == "UNROUTED"
    assert flow.deliveries("erp-2") == []
    put_back(flow)
    flow.records.pop(("endpoint", "erp-2"), None)
    reroute(flow, root)
    assert flow.fresh(cancel).state in ("READY", "HELD")
    assert flow.fresh(change).state == "SUPERSEDED"
    assert len(flow.deliveries()) == 3


def test_a_cancel_that_nobody_served_does_not_go_to_the_successor() -> None:
    """Proves that work which was unrouted for another reason waits for the endpoint that has the
    order as well, says so, and goes there once it is back."""
    flow = Flow()
    root, create, change = two_waiting(flow)
    flow.settle(create)
    offered = OPERATIONS["netsuite"]
    flow.register(ERP, {name: kind for name, kind in offered.items() if name != "cancel_order"})
    flow.cancel(root)
    (cancel,) = [r for r in flow.deliveries() if r.operation == "cancel_order"]
    assert (cancel.endpoint, cancel.state) == ("", "UNROUTED")
    flow.register(ERP, offered)
    take_out(flow, change)
    flow.employ(replace(ERP, endpoint="erp-2"), offered)
    reroute(flow, root)
    assert flow.fresh(cancel).state == "UNROUTED"
    assert "put it back under this id" in flow.fresh(cancel).waiting_on
    assert "netsuite has create_sales_order of the same flow" in flow.fresh(cancel).waiting_on
    assert flow.deliveries("erp-2") == []
    put_back(flow)
    flow.records.pop(("endpoint", "erp-2"))
    reroute(flow, root)
    assert flow.delivery("netsuite", "cancel_order").state == "READY"


def test_new_work_goes_to_the_successor_where_the_one_that_is_gone_had_no_part() -> None:
    """Proves that only what the endpoint that is gone would have had waits for it: not an operation
    that it never offered, and no order that it has nothing of."""
    flow = Flow()
    root, create, _ = two_waiting(flow)
    flow.settle(create)
    offered = OPERATIONS["netsuite"]
    flow.register(ERP, {name: kind for name, kind in offered.items() if name != "cancel_order"})
    take_out(flow)
    flow.employ(replace(ERP, endpoint="erp-2"), offered)
    flow.cancel(root)
    assert flow.delivery("erp-2", "cancel_order").state != "UNROUTED"
    other = flow.create(order("SO-2"))
    flow.approve(other.id)
    assert flow.delivery("erp-2", "create_sales_order").state == "READY"


def test_a_cancel_which_the_successor_gets_does_not_vanish() -> None:
    """Proves that a cancel that the endpoint that is gone never offered reaches the successor: it
    takes back what waits, and is not taken for pointless while that endpoint has the order."""
    flow = Flow()
    root, create, change = two_waiting(flow)
    flow.settle(create)
    offered = OPERATIONS["netsuite"]
    flow.register(ERP, {name: kind for name, kind in offered.items() if name != "cancel_order"})
    take_out(flow, change)
    flow.employ(replace(ERP, endpoint="erp-2"), offered)
    flow.cancel(root)
    assert flow.fresh(change).state == "SUPERSEDED"
    assert flow.delivery("erp-2", "cancel_order").state == "READY"


@pytest.mark.parametrize("own", [{"replay_id": "r"}, {"resubmits": "d"}, {"calls_reached": 1}])
def test_a_flow_is_not_torn_in_two(own: dict[str, Any]) -> None:
    """Proves that work which may not go over keeps what comes after it at the endpoint that is
    gone: a change would wait at the successor for an order that never comes there."""
    flow = Flow()
    root, create, change = two_waiting(flow)
    flow.records["delivery", create.id] = replace(flow.fresh(create), **own)
    take_out(flow, create, change)
    flow.employ(replace(ERP, endpoint="erp-2"), OPERATIONS["netsuite"])
    reroute(flow, root)
    assert [flow.fresh(each).state for each in (create, change)] == ["UNROUTED"] * 2
    assert "netsuite has part of it" in flow.fresh(create).waiting_on
    assert "netsuite has create_sales_order of the same flow" in flow.fresh(change).waiting_on
    assert flow.deliveries("erp-2") == []
    say(flow, "SKIP", create)
    assert flow.fresh(change).superseded_by == flow.delivery("erp-2", "change_order").id


def test_a_returned_endpoint_gets_what_a_person_let_go() -> None:
    """Proves that the guard does not stop again, when an endpoint is put back, what an operator
    released from it before the endpoint left."""
    till = Till(budget=1)
    bought = till.one("buy", key="a")
    stopped = till.one("buy", key="b")
    assert stopped.hold_reason == "SPENDING"
    till.retry(stopped)
    take_out(till, bought, stopped, endpoint=VENDOR.endpoint)
    put_back(till, VENDOR.endpoint)
    reroute(till, ROOT)
    assert [till.fresh(each).state for each in (bought, stopped)] == ["READY", "READY"]


@pytest.mark.parametrize("released", [True, False])
def test_a_successor_gets_what_a_person_let_go(released: bool) -> None:
    """Proves that the guard does not stop again, when another endpoint takes it over, what an
    operator released from it before, and that it stops there what nobody released."""
    flow = Flow()
    root, create, first = two_waiting(flow)
    flow.update_order(order_pb2.Order(id=root, channel="shop"), "channel")
    changes = flow.deliveries("netsuite", "change_order")
    second = next(each for each in changes if each.id != first.id)
    flow.records["delivery", second.id] = replace(flow.fresh(second), released=released)
    take_out(flow, create, *changes)
    successor = replace(ERP, endpoint="erp-2")
    flow.employ(successor, {})
    manifest = endpoint_pb2.Manifest(adapter="erp-2")
    for name, kind in OPERATIONS["netsuite"].items():
        value = delivery_pb2.OperationClass.Value(f"OPERATION_CLASS_{kind}")
        limit = int(name == "change_order")
        manifest.operations.add(name=name, operation_class=value, max_per_root=limit)
    request = endpoint_service_pb2.RegisterEndpointRequest(
        request_id=request_id(), endpoint="erp-2", manifest=manifest
    )
    flow.call("endpoint.v1.EndpointService/RegisterEndpoint", request, successor)
    reroute(flow, root)
    taken = [flow.fresh(each).superseded_by for each in (first, second)]
    found = [flow.records["delivery", each] for each in taken]
    assert [each.endpoint for each in found] == ["erp-2", "erp-2"]
    waits = "PREREQUISITE"
    assert [each.hold_reason for each in found] == [waits, waits if released else "SPENDING"]


@pytest.mark.parametrize("restored", [False, True])
def test_a_returned_endpoint_buys_no_more_than_the_guard_lets(restored: bool) -> None:
    """Proves that what was asked for while an endpoint was gone, which no guard has seen, meets the
    guard when it is back, also where a database that was put back has changed it since."""
    till = Till(budget=1)
    bought = till.one("buy", key="a")
    asked = replace(bought, id=request_id(), state="UNROUTED", pending=False)
    asked = replace(asked, updated_at=asked.created_at)
    asked = replace(asked, event_id="later", sequence=f"{asked.sequence}z", ordering_key="b")
    if restored:
        asked = replace(asked, first_unknown_at=till.now, updated_at=till.now + 1)
    take_out(till, bought, endpoint=VENDOR.endpoint)
    till.decide(HUB, "ask", lambda unit: unit.put_delivery(asked))
    put_back(till, VENDOR.endpoint)
    reroute(till, ROOT)
    assert till.fresh(bought).state == "READY"
    assert (till.fresh(asked).state, till.fresh(asked).hold_reason) == ("PARKED", "SPENDING")


def test_returned_work_of_a_restored_database_counts_once() -> None:
    """Proves that what comes back is not counted beside itself: calls that it may have bought with
    leave as much room as they left before."""
    till = Till(budget=3, kind="NONE")
    label = till.one("buy", key="a")
    back = replace(
        label, state="UNROUTED", pending=False, calls_maybe_done=2, first_unknown_at=till.now,
        updated_at=till.now + 1,
    )  # fmt: skip
    till.decide(HUB, "restore", lambda unit: unit.put_delivery(back))
    take_out(till, endpoint=VENDOR.endpoint)
    put_back(till, VENDOR.endpoint)
    reroute(till, ROOT)
    assert till.fresh(back).hold_reason != "SPENDING"


@pytest.mark.parametrize("verb", ["RETRY", "RESUBMIT"])
def test_a_cancel_that_went_to_the_successor_still_takes_back(verb: str) -> None:
    """Proves that an order whose cancel another endpoint of the role got is not sent by the one
    that has it, once that one is back and an operator lets it go."""
    flow = Flow()
    root, create, _ = two_waiting(flow)
    flow.settle(create, "PARKED")
    offered = OPERATIONS["netsuite"]
    flow.register(ERP, {name: kind for name, kind in offered.items() if name != "cancel_order"})
    take_out(flow)
    flow.employ(replace(ERP, endpoint="erp-2"), offered)
    flow.cancel(root)
    cancel = flow.delivery("erp-2", "cancel_order")
    flow.records["endpoint", "erp-2"] = removal.removed(flow.records["endpoint", "erp-2"])
    put_back(flow)
    refusal = refusal_of(lambda: say(flow, verb, create))
    assert refusal.reason == "STATE_TRANSITION" and cancel.id in refusal.message


def test_an_endpoint_that_is_back_is_left_alone_as_long_as_it_asked() -> None:
    """Proves that work which waited for a time that the vendor named waits for it still when its
    endpoint was out of the file meanwhile, and then goes."""
    flow = Flow()
    root, create, _ = two_waiting(flow)
    flow.settle(create, "THROTTLED", retry_after=1_800.0)
    due_at = flow.fresh(create).due_at
    assert due_at is not None and due_at > flow.now + 1_500 * SECOND
    take_out(flow, create)
    flow.pass_time(60)
    put_back(flow)
    reroute(flow, root)
    again = flow.fresh(create)
    assert (again.state, again.hold_reason, again.due_at) == ("HELD", "RETRY", due_at)
    flow.pass_time(1_800)
    assert flow.fresh(create).state == "READY"


def test_a_breaker_does_not_outlast_its_endpoint() -> None:
    """Proves that an endpoint which leaves the file, or comes back, counts as one that nobody knows
    to be away, so that doubt which somebody was shown stays shown."""
    flow = Flow()
    row = replace(
        flow.records["endpoint", "netsuite"],
        breaker_state="OPEN",
        breaker_since=flow.now,
        breaker_reason="it is down",
        breaker_failing=("a", "b"),
        breaker_probe_at=flow.now,
        breaker_probes=4,
    )
    for after in (removal.removed(row), removal.returned(row)):
        assert not breaking.is_open(after)
        assert breaking.answered_of(after) == ((0, None),)
        assert (after.breaker_reason, after.breaker_failing, after.breaker_probes) == ("", (), 0)
