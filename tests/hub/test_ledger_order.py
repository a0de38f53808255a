"""Order, prerequisites and supersession: what waits for what, and what becomes pointless."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from crossdock_hub.config import Limits
from ledger_vendor import Desk

LIMITS = Limits()
CANCEL: dict[str, Any] = {"supersedes": ("book", "change")}


# Order


def test_later_work_of_a_key_waits_for_every_open_state_of_the_earlier() -> None:
    """Proves that a key is worked off event by event, whatever the earlier one goes through."""
    desk = Desk("SEARCHABLE")
    first, second = desk.one(), desk.one("change")
    assert desk.fresh(second).hold_reason == "ORDER"
    assert first.id in desk.fresh(second).waiting_on
    for outcome in ("RETRY", "UNKNOWN"):
        token = desk.take(first)
        assert desk.fresh(second).state == "HELD"
        desk.complete(first, token, outcome)
        assert desk.fresh(second).state == "HELD"
        desk.pass_time(60)
        assert desk.fresh(second).state == "HELD"
    desk.settle(first, "CONFIRMED")
    assert desk.fresh(second).state == "READY"


def test_keys_and_endpoints_do_not_wait_for_each_other() -> None:
    """Proves that a stuck order holds back nobody else."""
    desk = Desk()
    stuck = desk.one(key="a")
    desk.settle(stuck, "PARKED")
    assert desk.one("change", key="b").state == "READY"
    assert desk.one("change", key="a").state == "HELD"


def test_deliveries_of_one_event_do_not_wait_for_each_other() -> None:
    """Proves that the labels of one shipment are bought side by side."""
    desk = Desk()
    siblings = desk.event(items=("box-1", "box-2", "box-3"))
    assert [record.state for record in siblings] == ["READY"] * 3
    later = desk.one("change")
    for record in siblings[:2]:
        desk.settle(record)
        assert desk.fresh(later).state == "HELD"
    desk.settle(siblings[2])
    assert desk.fresh(later).state == "READY"


def test_a_parked_delivery_holds_its_own_key_only() -> None:
    """Proves that what needs a person stops the work behind it, and says so."""
    desk = Desk()
    first, second = desk.one(), desk.one("change")
    desk.settle(first, "PARKED")
    assert desk.fresh(second).state == "HELD"
    assert "PARKED" in desk.fresh(second).waiting_on


@pytest.mark.parametrize(("on_reject", "state"), [("BLOCK", "HELD"), ("CONTINUE", "READY")])
def test_a_rejection_blocks_or_lets_pass(on_reject: str, state: str) -> None:
    """Proves that the contract decides what a refusal means for later work."""
    desk = Desk()
    first = desk.one(on_reject=on_reject)
    second = desk.one("change")
    desk.settle(first, "REJECTED")
    assert desk.fresh(second).state == state


def test_a_begin_checks_the_order_again() -> None:
    """Proves that a dispatch which overtook its predecessor begins nothing."""
    desk = Desk()
    first = desk.dispatch(desk.one())
    second = desk.one("change")
    desk.records["delivery", second.id] = desk.fresh(first).__class__(
        **{
            **{name: getattr(second, name) for name in second.__slots__},
            "state": "DISPATCHED",
            "dispatch_number": 1,
            "due_at": desk.now + 1,
            "hold_reason": "",
        }
    )
    assert desk.begin(second).HasField("refusal")
    assert desk.fresh(second).state == "HELD"


def test_a_begin_at_a_paused_endpoint_goes_back_to_ready() -> None:
    """Proves that work on its way to a paused endpoint waits without losing its place."""
    from crossdock.endpoint.v1 import endpoint_service_pb2
    from decisions import OPERATOR, request_id

    desk = Desk()
    desk.employ(OPERATOR, {})
    record = desk.dispatch(desk.one())
    pause = endpoint_service_pb2.PauseEndpointRequest(
        request_id=request_id(), endpoint="vendor", reason="maintenance"
    )
    desk.call("endpoint.v1.EndpointService/PauseEndpoint", pause, OPERATOR)
    assert desk.begin(record).HasField("refusal")
    assert (desk.fresh(record).state, desk.fresh(record).attempts) == ("READY", 0)
    resume = endpoint_service_pb2.ResumeEndpointRequest(request_id=request_id(), endpoint="vendor")
    desk.call("endpoint.v1.EndpointService/ResumeEndpoint", resume, OPERATOR)
    desk.settle(record, "CONFIRMED")


# Prerequisites


def test_a_prerequisite_is_waited_for() -> None:
    """Proves that the posting waits for the sales order, also under another key."""
    desk = Desk()
    booked = desk.one("book", key="order-1")
    posted = desk.one("post", key="shipment-1", object_id="shipment-1", requires=("book",))
    assert (posted.state, posted.hold_reason) == ("HELD", "PREREQUISITE")
    assert posted.awaits_operation == "book"
    desk.settle(booked, "CONFIRMED")
    assert desk.fresh(posted).state == "READY"


def test_a_prerequisite_is_met_by_the_same_object_only() -> None:
    """Proves that the posting of one shipment of an order is not that of its sister."""
    desk = Desk()
    posted = desk.one(
        "post", key="s-1", object_id="shipment-1", refers_to=("order-1", "shipment-1")
    )
    other = desk.one(
        "change",
        key="s-2",
        object_id="shipment-2",
        refers_to=("order-1", "shipment-2"),
        requires=("post",),
    )
    desk.settle(posted, "CONFIRMED")
    assert (desk.fresh(other).state, desk.fresh(other).hold_reason) == ("HELD", "PREREQUISITE")


def test_a_prerequisite_that_never_comes_parks() -> None:
    """Proves that a limit ends the wait: a person looks instead of nobody."""
    desk = Desk()
    posted = desk.one("post", requires=("book",))
    desk.pass_time(LIMITS.prerequisite_seconds_default - 1)
    assert desk.fresh(posted).state == "HELD"
    desk.pass_time(2)
    assert desk.fresh(posted).state == "PARKED"
    assert "book" in desk.fresh(posted).waiting_on


def test_waking_does_not_restart_the_limit_of_a_prerequisite() -> None:
    """Proves that traffic on the same order does not postpone the day somebody looks."""
    desk = Desk()
    posted = desk.one("post", key="s-1", requires=("book",))
    until = desk.fresh(posted).prerequisite_until
    for _ in range(3):
        desk.pass_time(1000)
        desk.settle(desk.one("change", key="other"), "CONFIRMED")
    assert desk.fresh(posted).prerequisite_until == until


CHAIN: dict[str, tuple[str, ...]] = {"book": (), "post": ("book",), "change": ("post",)}


@pytest.mark.parametrize("arrival", list(permutations(CHAIN)))
@pytest.mark.parametrize("shared", [True, False])
def test_work_that_needs_each_other_never_waits_for_ever(
    arrival: tuple[str, ...], shared: bool
) -> None:
    """Proves that in whatever order a chain of prerequisites comes, under one key or several, all
    of it is done, the needed before the needing."""
    desk = Desk()
    for operation in arrival:
        key = "shipment-1" if shared else operation
        desk.one(operation, key=key, requires=CHAIN[operation])
    done: list[str] = []
    while ready := [r for r in desk.deliveries() if r.pending]:
        desk.settle(ready[0])
        done.append(ready[0].operation)
    assert done == list(CHAIN)


def test_a_rejected_prerequisite_does_not_count() -> None:
    """Proves that only a confirmation meets a prerequisite."""
    desk = Desk()
    booked = desk.one("book", key="o")
    posted = desk.one("post", key="s", requires=("book",))
    desk.settle(booked, "REJECTED")
    assert desk.fresh(posted).hold_reason == "PREREQUISITE"
    desk.settle(desk.one("book", key="o2"), "CONFIRMED")
    assert desk.fresh(posted).state == "READY"


# Supersession: a cancel before, while and after its release


def reach(desk: Desk, record: Any, state: str) -> int:
    """Bring a release into a state; the token of its newest attempt."""
    if state == "READY":
        return 0
    if state == "DISPATCHED":
        desk.dispatch(record)
        return 0
    token = desk.take(record)
    if state == "IN_FLIGHT":
        return token
    outcome = {"HELD": "RETRY", "RESOLVING": "UNKNOWN"}.get(state, state)
    desk.complete(record, token, outcome)
    if state == "RESOLVING":
        desk.pass_time(60)
    return token


@pytest.mark.parametrize(
    ("state", "release", "cancel"),
    [
        # Nothing reached the vendor: both disappear.
        ("READY", "SUPERSEDED", "SUPERSEDED"),
        ("DISPATCHED", "SUPERSEDED", "SUPERSEDED"),
        ("HELD", "SUPERSEDED", "SUPERSEDED"),
        # It may have: the cancel waits.
        ("IN_FLIGHT", "IN_FLIGHT", "HELD"),
        ("UNKNOWN", "UNKNOWN", "HELD"),
        ("RESOLVING", "RESOLVING", "HELD"),
        ("PARKED", "PARKED", "HELD"),
        # It has, or was refused: the cancel goes.
        ("CONFIRMED", "CONFIRMED", "READY"),
        ("REJECTED", "REJECTED", "READY"),
    ],
)
def test_a_cancel_that_finds_its_release_in(state: str, release: str, cancel: str) -> None:
    """Proves each interleaving of a cancel with a release that is already there."""
    desk = Desk("SEARCHABLE")
    released = desk.one("book")
    reach(desk, released, state)
    assert desk.fresh(released).state == state
    cancelled = desk.one("cancel", **CANCEL)
    assert desk.fresh(released).state == release
    assert desk.fresh(cancelled).state == cancel
    if release == "SUPERSEDED":
        assert desk.fresh(released).superseded_by == cancelled.id


@pytest.mark.parametrize(
    ("outcome", "release", "cancel"),
    [
        ("CONFIRMED", "CONFIRMED", "READY"),
        ("REJECTED", "REJECTED", "READY"),
        ("RETRY", "SUPERSEDED", "SUPERSEDED"),
        ("UNKNOWN", "UNKNOWN", "HELD"),
        ("PARKED", "PARKED", "HELD"),
    ],
)
def test_a_cancel_that_waits_for_a_call_in_flight(outcome: str, release: str, cancel: str) -> None:
    """Proves what becomes of a waiting cancel when the call it waits for ends."""
    desk = Desk("SEARCHABLE")
    released = desk.one("book")
    token = desk.take(released)
    cancelled = desk.one("cancel", **CANCEL)
    assert cancelled.state == "HELD"
    desk.complete(released, token, outcome)
    assert desk.fresh(released).state == release
    assert desk.fresh(cancelled).state == cancel


def test_a_release_that_was_not_found_twice_is_made_and_then_cancelled() -> None:
    """Proves that what may have reached the vendor once is never superseded, only undone."""
    desk = Desk("SEARCHABLE")
    released = desk.one("book")
    desk.settle(released, "UNKNOWN")
    cancelled = desk.one("cancel", **CANCEL)
    for _ in range(2):
        desk.pass_time(60)
        desk.settle(released, "NOT_FOUND")
    assert desk.fresh(released).state == "READY"
    assert desk.fresh(cancelled).state == "HELD"
    desk.settle(released, "CONFIRMED")
    desk.settle(cancelled, "CONFIRMED")


def test_a_superseded_dispatch_begins_nothing() -> None:
    """Proves that a message that is already on its way finds its delivery gone."""
    from decisions import refusal_of

    desk = Desk()
    released = desk.dispatch(desk.one("book"))
    desk.one("cancel", **CANCEL)
    assert refusal_of(lambda: desk.begin(released)).reason == "LEASE_LOST"


def test_what_waited_behind_a_pointless_release_goes_on() -> None:
    """Proves that work of the key which neither was cancelled is woken."""
    desk = Desk()
    desk.one("book")
    noted = desk.one("post")
    assert noted.state == "HELD"
    desk.one("cancel", **CANCEL)
    assert desk.fresh(noted).state == "READY"


def test_a_cancel_that_stays_still_wakes_what_its_victims_held() -> None:
    """Proves that superseding one of two predecessors frees those that waited for that one."""
    desk = Desk()
    reached = desk.one("book", key="a")
    desk.settle(reached, "CONFIRMED")
    desk.one("change", key="a")
    noted = desk.one("post", key="a")
    assert noted.state == "HELD"
    cancel = desk.one("cancel", key="a", **CANCEL)
    assert desk.fresh(noted).state == "READY"
    assert desk.fresh(cancel).state == "HELD"


def test_what_a_waiting_void_frees_is_looked_at_again() -> None:
    """Proves with two packages, one of which is bought and one of which is put off while voids of
    both wait, that superseding the second frees all that waited for it: the void of the first, and
    work between them, which would else wait for ever."""
    desk = Desk("SEARCHABLE")
    bought, late = desk.event("book", items=("box-1", "box-2"))
    desk.settle(bought, "CONFIRMED")
    between = desk.one("post")
    token = desk.take(late)
    void_1, void_2 = desk.event("cancel", items=("box-1", "box-2"), **CANCEL)
    assert [desk.fresh(r).state for r in (between, void_1, void_2)] == ["HELD"] * 3
    desk.complete(late, token, "RETRY", reason="no connection")
    assert desk.fresh(late).state == "SUPERSEDED"
    assert desk.fresh(void_2).state == "SUPERSEDED"
    assert desk.fresh(between).state == "READY"
    desk.settle(between)
    assert desk.fresh(void_1).state == "READY"


def test_a_void_takes_back_its_own_package_only() -> None:
    """Proves that items pair up: package by package."""
    desk = Desk("SEARCHABLE")
    bought, idle = desk.event("book", items=("box-1", "box-2"))
    desk.settle(bought, "CONFIRMED")
    void_1, void_2 = desk.event("cancel", items=("box-1", "box-2"), **CANCEL)
    assert desk.fresh(idle).state == "SUPERSEDED"
    assert desk.fresh(void_2).state == "SUPERSEDED"
    assert desk.fresh(void_1).state == "READY"


def test_a_cancel_without_item_takes_back_all_items() -> None:
    """Proves that undoing the whole undoes each part."""
    desk = Desk()
    parts = desk.event("book", items=("box-1", "box-2"))
    cancel = desk.one("cancel", **CANCEL)
    assert [desk.fresh(part).state for part in parts] == ["SUPERSEDED"] * 2
    assert desk.fresh(cancel).state == "SUPERSEDED"


def test_a_later_release_is_not_taken_back_by_an_earlier_cancel() -> None:
    """Proves that supersession looks back only."""
    desk = Desk()
    cancel = desk.one("cancel", **CANCEL)
    again = desk.one("book")
    assert desk.fresh(cancel).state == "READY"
    assert desk.fresh(again).state == "HELD"
    desk.settle(cancel, "CONFIRMED")
    assert desk.fresh(again).state == "READY"
