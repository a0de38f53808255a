"""What an attempt makes known: drafts confirmed once, duplicates, look-ups that lie (G26)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import attempts, ledger
from crossdock_hub.delivery.postings import postings
from decisions import refusal_of
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_vendor import Desk

LIMITS = Limits()
ATTEMPT = "0190f7a2-0000-7e5f-8a6b-0000000000aa"


def note(desk: Desk, record: Any, token: int, draft: str) -> Any:
    """RenewLeases with a draft, as the SDK sends it before it confirms."""
    request = delivery_service_pb2.LeaseRenewal(delivery_id=record.id, token=token, draft=draft)
    caller = desk.caller_of(record)
    return desk.decide(caller, "renew", lambda unit: attempts.renew(unit, request))


# Drafts


def test_a_later_attempt_is_given_the_draft_of_an_earlier_one() -> None:
    """Proves that what was noted survives an unknown outcome, and is the draft to confirm."""
    desk = Desk("TWO_STEP")
    record = desk.one()
    first = desk.begin(desk.dispatch(record))
    assert first.draft == ""
    note(desk, record, first.token, "D-1")
    desk.complete(record, first.token, "UNKNOWN", reason="reset")
    desk.pass_time(60)
    second = desk.begin(desk.dispatch(record))
    assert second.draft == "D-1"
    note(desk, record, second.token, "D-1")
    refused = refusal_of(lambda: note(desk, record, second.token, "D-2"))
    assert refused.reason == "LEASE_LOST" and "D-1" in refused.message
    desk.complete(record, second.token, "CONFIRMED")
    assert desk.fresh(record).draft == "D-1"


def test_a_fenced_attempt_notes_no_draft() -> None:
    """Proves that a worker which lost its lease cannot make the hub keep its draft, so the SDK
    never lets it confirm."""
    desk = Desk("TWO_STEP")
    record = desk.one()
    zombie = desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default + 1)
    assert refusal_of(lambda: note(desk, record, zombie, "D-1")).reason == "LEASE_LOST"
    desk.pass_time(60)
    second = desk.begin(desk.dispatch(record))
    assert second.draft == ""
    assert refusal_of(lambda: note(desk, record, zombie, "D-1")).reason == "LEASE_LOST"


def test_a_delivery_keeps_its_first_draft() -> None:
    """Proves the rule itself, whoever calls it: a second draft never replaces the first."""
    desk = Desk("TWO_STEP")
    record = desk.one()
    desk.take(record)
    noted = ledger.renew(desk.fresh(record), 10, desk.now, "D-1")
    assert ledger.renew(noted, 10, desk.now, "D-2").draft == "D-1"
    assert ledger.renew(noted, 10, desk.now).draft == "D-1"


# Doubt


def test_a_begin_says_whether_an_earlier_call_may_have_been_done() -> None:
    """Proves that an attempt is told of a doubt that an unknown outcome or a lost lease left, as
    often as it asks, that attempts which provably did nothing leave none, and take none away."""
    desk = Desk("TWO_STEP")
    record = desk.one()
    for outcome, in_doubt in (
        ("RETRY", False),
        ("THROTTLED", False),
        ("UNKNOWN", False),
        ("RETRY", True),
        ("UNKNOWN", True),
    ):
        begun = desk.begin(desk.dispatch(record))
        assert begun.HasField("in_doubt") and begun.in_doubt is in_doubt
        desk.complete(record, begun.token, outcome)
        desk.pass_time(600)
    desk = Desk("TWO_STEP")
    record = desk.one()
    desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default + 1)
    desk.pass_time(60)
    assert desk.begin(desk.dispatch(record), attempt_id=ATTEMPT).in_doubt
    assert desk.begin(desk.fresh(record), attempt_id=ATTEMPT).in_doubt


# Duplicates


def test_what_left_a_draft_at_the_vendor_is_not_taken_back() -> None:
    """Proves that a delivery whose draft the vendor keeps does not vanish with its cancellation,
    though no call of it was processed."""
    desk = Desk("TWO_STEP")
    record = desk.one()
    token = desk.take(record)
    note(desk, record, token, "D-1")
    desk.complete(record, token, "THROTTLED", reason="429 at the second step")
    cancel = desk.one("cancel", supersedes=("book",))
    assert [desk.fresh(each).state for each in (record, cancel)] == ["HELD", "HELD"]


def test_the_proof_of_one_call_does_not_end_the_doubt_about_another() -> None:
    """Proves that an attempt which first knew nothing, in an outage, and then proves that its call
    was not made, leaves the doubt about an older call: a cancellation must not make it vanish."""
    desk = Desk("KEYED")
    record = desk.one()
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timeout")
    desk.pass_time(2)
    token = desk.take(record)
    key = ("endpoint", desk.fresh(record).endpoint)
    out = {"breaker_state": "OPEN", "breaker_since": desk.now, "breaker_probe_at": desk.now}
    desk.records[key] = replace(desk.records[key], **out)
    desk.complete(record, token, "UNKNOWN", reason="timeout")
    desk.complete(record, token, "RETRY", reason="connection refused")
    assert desk.fresh(record).first_unknown_at is not None
    cancel = desk.one("cancel", supersedes=("book",))
    assert "SUPERSEDED" not in [desk.fresh(each).state for each in (record, cancel)]


def test_what_a_vendor_holds_twice_is_kept_counted_and_seen() -> None:
    """Proves that the adopted one stands, the other is kept with the delivery, and it counts as
    posted twice until somebody has taken it back."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    token = desk.take(record)
    desk.complete(
        record,
        token,
        "CONFIRMED",
        references=[("sales_order", "1")],
        duplicates=[("sales_order", "2")],
    )
    found = desk.fresh(record)
    assert [r.value for r in found.vendor_references] == ["1"]
    assert [r.value for r in found.duplicates] == ["2"]
    assert desk.counters["vendor_duplicate", "vendor", "book"] == 1
    (posting,) = postings([found])
    assert posting.twice and posting.numbers == ["1", "2"]


# Look-ups that fail or lie


class ForgetfulVendor:
    """Books at once, shows a booking `late` seconds afterwards, and answers questions badly."""

    def __init__(self, late: float, seed: int) -> None:
        self.late = late
        self.random = random.Random(seed)
        self.booked_at: list[int] = []

    def call(self, now: int) -> str:
        if self.random.random() < 0.7:
            self.booked_at.append(now)
        return self.random.choice(("UNKNOWN", ""))

    def look_up(self, now: int) -> str:
        if self.random.random() < 0.5:
            return self.random.choice(("UNKNOWN", "THROTTLED", ""))
        shown = [at for at in self.booked_at if now - at >= self.late * SECOND]
        return "CONFIRMED" if shown else "NOT_FOUND"


@settings(max_examples=150, deadline=None)
@given(late=st.floats(0, LIMITS.settle_seconds_default), seed=st.integers(0, 2**32))
def test_a_look_up_that_fails_or_is_late_never_falls_through_to_a_second_booking(
    late: float, seed: int
) -> None:
    """G26: proves for any vendor that shows bookings within settle_after, however often its look-up
    fails, throttles or stays silent, that it never books twice."""
    vendor = ForgetfulVendor(late, seed)
    desk = Desk("SEARCHABLE", Limits(calls_max_default=50))
    record = desk.one()
    for _ in range(120):
        if desk.fresh(record).pending:
            result = desk.begin(desk.dispatch(record))
            if not result.HasField("refusal"):
                look_up = desk.fresh(record).attempt_kind == "LOOK_UP"
                said = vendor.look_up(desk.now) if look_up else vendor.call(desk.now)
                if said:
                    desk.complete(record, result.token, said)
        if desk.fresh(record).state == "CONFIRMED":
            break
        desk.pass_time(20)
    assert len(vendor.booked_at) <= 1


@pytest.mark.parametrize("said", ["UNKNOWN", "THROTTLED", "RETRY"])
def test_doubt_is_shown_at_once(said: str) -> None:
    """G26: proves that a lost call shows as UNKNOWN with the commit that hears of it."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN", reason="reset by peer")
    shown = desk.fresh(record)
    assert (shown.state, shown.waiting_on) == ("UNKNOWN", "reset by peer")
    assert shown.updated_at == desk.now
    desk.pass_time(60)
    desk.settle(record, said)
    assert desk.fresh(record).state == "UNKNOWN"


# What keeps an event


@pytest.mark.parametrize(
    ("outcome", "pins"),
    [("UNKNOWN", True), ("RETRY", True), ("PARKED", True), ("CONFIRMED", False)],
)
def test_an_unsettled_delivery_pins_its_event(outcome: str, pins: bool) -> None:
    """Proves the predicate that a purge has to ask: what may still be sent keeps its event."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    assert ledger.pins_event(record)
    desk.settle(record, outcome)
    assert ledger.pins_event(desk.fresh(record)) is pins
