"""The contract's own events in every order that hurts: what each delivery is in afterwards.

Each row of a table is one interleaving: where the earlier work is when the later fact comes, what
both are then, and what the later one is once the earlier has ended.
"""

from __future__ import annotations

import importlib
import tomllib

import pytest
from crossdock.delivery.v1 import delivery_pb2
from crossdock.order.v1 import order_pb2
from crossdock_hub.records import DeliveryRecord
from decisions import CARRIER, ERP, OPERATIONS, WMS
from first_flow import Flow, order, scan
from operator_says import say
from source_files import ROOT

# Where earlier work can be when something overtakes it, and which other test has it there.
ELSEWHERE = {
    "UNROUTED": ("test_rerouting", "test_work_that_nobody_serves_still_is_taken_back"),
    "SKIPPED": ("test_intervention", "test_a_skipped_release_does_not_make_its_cancel_vanish"),
    "SUPERSEDED": (
        "test_intervention",
        "test_a_cancel_after_a_resubmission_still_reaches_the_vendor",
    ),
}
# Longer than a call takes to be seen by a look-up.
SETTLED_SECONDS = 60
ADAPTERS = ROOT / "adapters/src/crossdock_adapters"


def declared(adapter: str) -> dict[str, str]:
    """An adapter's operations and their classes, as its own manifest has them."""
    manifest = tomllib.loads((ADAPTERS / adapter / "adapter.toml").read_text(encoding="utf-8"))
    return {name: each["class"].upper() for name, each in manifest["operations"].items()}


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Flow:
    """The first flow with the endpoints as their adapters declare them: a class that is assumed
    here would prove rows that no vendor has, and none of those that it has."""
    for caller in (ERP, WMS, CARRIER):
        monkeypatch.setitem(OPERATIONS, caller.endpoint, declared(caller.endpoint))
    return Flow()


def bring(flow: Flow, record: DeliveryRecord, state: str) -> int:
    """Bring a delivery into a state; the token of its newest attempt, 0 without one."""
    if state == "READY":
        return 0
    if state == "DISPATCHED":
        flow.dispatch(record)
        return 0
    token = flow.take(record)
    if state == "RESOLVING":
        flow.complete(record, token, "UNKNOWN")
        flow.pass_time(SETTLED_SECONDS)
        token = flow.take(record)
    elif state != "IN_FLIGHT":
        flow.complete(record, token, {"HELD": "RETRY"}.get(state, state))
    assert flow.fresh(record).state == state
    return token


# Where the earlier is -> (the earlier, the later) at once, and the later after the earlier ended.
OVERTAKEN = {
    # Nothing of it reached the vendor: both disappear.
    "READY": ("SUPERSEDED", "SUPERSEDED", "SUPERSEDED"),
    "DISPATCHED": ("SUPERSEDED", "SUPERSEDED", "SUPERSEDED"),
    "HELD": ("SUPERSEDED", "SUPERSEDED", "SUPERSEDED"),
    # It may have: the later one waits until that is known, then undoes it.
    "IN_FLIGHT": ("IN_FLIGHT", "HELD", "READY"),
    "UNKNOWN": ("UNKNOWN", "HELD", "READY"),
    "RESOLVING": ("RESOLVING", "HELD", "READY"),
    # A person has its word first.
    "PARKED": ("PARKED", "HELD", "HELD"),
    # It has, or was refused: the later one goes.
    "CONFIRMED": ("CONFIRMED", "READY", "READY"),
    "REJECTED": ("REJECTED", "READY", "READY"),
}


EARLIER = tuple(OVERTAKEN)


def test_the_table_is_whole() -> None:
    """Proves that each state of the contract that earlier work can be in is in the table, or in a
    test of its own that is there."""
    names = delivery_pb2.DeliveryState.DESCRIPTOR.values_by_name
    states = {name.removeprefix("DELIVERY_STATE_") for name in names} - {"UNSPECIFIED"}
    assert set(OVERTAKEN) == states - set(ELSEWHERE)
    for module, test in ELSEWHERE.values():
        assert callable(getattr(importlib.import_module(module), test))


def overtake(flow: Flow, earlier: DeliveryRecord, later: DeliveryRecord, token: int) -> str:
    """End the earlier work if it has not ended; the later one's state then."""
    if flow.fresh(earlier).state in ("IN_FLIGHT", "UNKNOWN", "RESOLVING"):
        flow.complete(earlier, token, "CONFIRMED", references=[("document", "1")])
        assert flow.fresh(earlier).state == "CONFIRMED"
    return flow.fresh(later).state


@pytest.mark.parametrize("state", EARLIER)
def test_a_cancel_before_during_and_after_a_release(state: str, flow: Flow) -> None:
    """Proves each interleaving of an order's cancellation with its release at the warehouse."""
    order_id, _ = flow.released()
    release = flow.delivery("manhattan", "release_order")
    token = bring(flow, release, state)
    flow.cancel(order_id)
    cancel = flow.delivery("manhattan", "cancel_order")
    now, then, after = OVERTAKEN[state]
    assert (flow.fresh(release).state, flow.fresh(cancel).state) == (now, then)
    assert overtake(flow, release, cancel, token) == after


@pytest.mark.parametrize("state", EARLIER)
def test_a_cancel_before_during_and_after_a_booking(state: str, flow: Flow) -> None:
    """Proves the same for the sales order: an ERP never hears of an order that was cancelled before
    anything reached it, and never keeps one that was."""
    order_id = flow.create().id
    flow.approve(order_id)
    booking = flow.delivery("netsuite", "create_sales_order")
    token = bring(flow, booking, state)
    flow.cancel(order_id)
    cancel = flow.delivery("netsuite", "cancel_order")
    now, then, after = OVERTAKEN[state]
    assert (flow.fresh(booking).state, flow.fresh(cancel).state) == (now, then)
    assert overtake(flow, booking, cancel, token) == after


@pytest.mark.parametrize("state", EARLIER)
def test_a_void_against_a_purchase(state: str, flow: Flow) -> None:
    """Proves each interleaving of a void with the purchase of its label: nothing is bought after a
    void that came in time, and what may have been bought is voided once that is known."""
    _, (part,) = flow.released()
    shipment = flow.pack(part).shipment
    purchase = flow.delivery("ups", "buy_label")
    token = bring(flow, purchase, state)
    flow.void(shipment.id)
    void = flow.delivery("ups", "void_label")
    now, then, after = OVERTAKEN[state]
    assert (flow.fresh(purchase).state, flow.fresh(void).state) == (now, then)
    assert overtake(flow, purchase, void, token) == after


@pytest.mark.parametrize("state", EARLIER)
def test_a_void_against_a_goods_issue(state: str, flow: Flow) -> None:
    """Proves the same for the ERP's posting, which a void reverses or makes pointless."""
    shipment = flow.labelled()
    flow.settle(flow.delivery("netsuite", "create_sales_order"), references=[("sales_order", "1")])
    flow.manifest()
    issue = flow.delivery("netsuite", "post_goods_issue")
    token = bring(flow, issue, state)
    flow.void(shipment.id)
    reversal = flow.delivery("netsuite", "reverse_goods_issue")
    now, then, after = OVERTAKEN[state]
    assert (flow.fresh(issue).state, flow.fresh(reversal).state) == (now, then)
    assert overtake(flow, issue, reversal, token) == after


def recording_erp(flow: Flow) -> None:
    """An ERP that also wants to know what was delivered."""
    flow.register(ERP, declared("netsuite") | {"record_delivery": "NATURAL"})


@pytest.mark.parametrize("booked_first", [True, False])
def test_delivered_before_manifested(booked_first: bool, flow: Flow) -> None:
    """Proves that a delivery scan which overtakes the ship confirm waits for the goods issue, and
    that the goods issue waits for the sales order, whichever of them comes late."""
    recording_erp(flow)
    flow.labelled()
    booking = flow.delivery("netsuite", "create_sales_order")
    if booked_first:
        flow.settle(booking, references=[("sales_order", "1")])
    flow.report(scan("DELIVERED", flow.now, number="1Z1"))
    delivered = flow.delivery("netsuite", "record_delivery")
    assert (delivered.state, delivered.awaits_operation) == ("HELD", "post_goods_issue")
    flow.manifest()
    issue = flow.delivery("netsuite", "post_goods_issue")
    if not booked_first:
        assert (issue.state, issue.awaits_operation) == ("HELD", "create_sales_order")
        flow.settle(booking, references=[("sales_order", "1")])
    assert flow.fresh(delivered).state == "HELD"
    flow.settle(issue, references=[("item_fulfillment", "1")])
    assert flow.fresh(delivered).state == "READY"


def change(flow: Flow, order_id: str, service: str) -> None:
    flow.update_order(order_pb2.Order(id=order_id, service_code=service), "service_code")


@pytest.mark.parametrize(
    ("booking", "changed"),
    [
        ("REJECTED", "HELD"),
        ("PARKED", "HELD"),
        ("IN_FLIGHT", "HELD"),
        ("UNKNOWN", "HELD"),
        ("CONFIRMED", "READY"),
    ],
)
def test_a_change_behind_a_rejection(booking: str, changed: str, flow: Flow) -> None:
    """Proves that a change never reaches an ERP that does not hold the order, that it goes when the
    order is there, and that a cancel makes it pointless and passes the rejection."""
    order_id = flow.create().id
    flow.approve(order_id)
    first = flow.delivery("netsuite", "create_sales_order")
    bring(flow, first, booking)
    change(flow, order_id, "express")
    later = flow.delivery("netsuite", "change_order")
    assert later.state == changed
    flow.cancel(order_id)
    cancel = flow.delivery("netsuite", "cancel_order")
    assert flow.fresh(later).state == "SUPERSEDED"
    settled = booking in ("REJECTED", "CONFIRMED")
    assert flow.fresh(cancel).state == ("READY" if settled else "HELD")


@pytest.mark.parametrize("word", ["RETRY", "RESOLVE"])
def test_a_change_goes_once_its_rejection_is_mended(word: str, flow: Flow) -> None:
    """Proves that a change behind a rejected booking goes when the order is there after all, be it
    that the booking was tried again, be it that a person made it by hand."""
    order_id = flow.create().id
    flow.approve(order_id)
    booking = flow.delivery("netsuite", "create_sales_order")
    bring(flow, booking, "REJECTED")
    change(flow, order_id, "express")
    later = flow.delivery("netsuite", "change_order")
    assert (later.state, later.awaits_operation) == ("HELD", "create_sales_order")
    say(flow, word, flow.fresh(booking))
    if word == "RETRY":
        assert flow.fresh(later).state == "HELD"
        flow.settle(flow.fresh(booking), references=[("sales_order", "1")])
    assert flow.fresh(later).state == "READY"


def test_changes_go_out_one_after_another(flow: Flow) -> None:
    """Proves that two changes of one order keep their order, the second held by the first alone."""
    order_id = flow.create().id
    other_id = flow.create(order("SO-2")).id
    for each in (order_id, other_id):
        flow.approve(each)
    for booking in flow.deliveries("netsuite", "create_sales_order"):
        flow.settle(booking, references=[("sales_order", booking.root_id)])
    change(flow, order_id, "express")
    change(flow, order_id, "ground")
    change(flow, other_id, "express")
    first, second, elsewhere = flow.deliveries("netsuite", "change_order")
    assert [r.state for r in (first, second, elsewhere)] == ["READY", "HELD", "READY"]
    token = flow.take(first)
    flow.complete(first, token, "UNKNOWN")
    assert flow.fresh(second).state == "HELD"
    flow.pass_time(60)
    flow.settle(first)
    assert flow.fresh(second).state == "READY"
