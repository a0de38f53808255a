"""What the healer takes back from a lost queue, and what it leaves alone; no bus, no store."""

from __future__ import annotations

from crossdock_hub.bus.healing import take_back
from crossdock_hub.identity import HUB
from crossdock_hub.records import DeliveryRecord
from decisions import refusal_of
from ledger_vendor import Desk


def taken_back(desk: Desk, record: DeliveryRecord) -> DeliveryRecord:
    """The delivery after its queue was found empty."""
    desk.decide(HUB, "take back", lambda unit: take_back(unit, record.id))
    return desk.fresh(record)


def test_a_dispatch_that_nobody_began_waits_again() -> None:
    """Proves that what lay in the queue goes out anew, a call and a look-up alike, with a number
    by which the old message can't begin any more."""
    desk = Desk()
    called, looked = desk.one(key="a"), desk.one(key="b")
    gone = desk.dispatch(called)
    again = taken_back(desk, gone)
    assert (again.state, again.pending) == ("READY", True)
    assert desk.dispatch(again).dispatch_number == gone.dispatch_number + 1
    late = refusal_of(lambda: desk.begin(again, dispatch_number=gone.dispatch_number))
    assert late.reason == "LEASE_LOST"
    desk.settle(looked, "UNKNOWN")
    desk.pass_time(desk.limits.settle_seconds_default + 1)
    assert desk.fresh(looked).state == "RESOLVING"
    gone = desk.dispatch(looked)
    assert (taken_back(desk, gone).state, desk.fresh(looked).pending) == ("RESOLVING", True)


def test_what_somebody_has_begun_is_left_alone() -> None:
    """Proves that a call and a look-up which an adapter has begun stay with it, lease and all:
    taken back, they would be done twice at once."""
    desk = Desk()
    called, looked = desk.one(key="a"), desk.one(key="b")
    desk.take(called)
    desk.settle(looked, "UNKNOWN")
    desk.pass_time(desk.limits.settle_seconds_default + 1)
    token = desk.take(looked)
    for record, state in ((called, "IN_FLIGHT"), (looked, "RESOLVING")):
        before = desk.fresh(record)
        assert before.state == state and before.lease_until is not None
        assert taken_back(desk, before) == before
    desk.complete(looked, token, "CONFIRMED")
    assert taken_back(desk, looked).state == "CONFIRMED"
