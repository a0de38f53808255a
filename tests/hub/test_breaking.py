"""Breaker and pace of an endpoint: what opens it, what goes out meanwhile, what closes it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import breaking, pacing
from crossdock_hub.identity import Caller
from crossdock_hub.records import EndpointRecord
from decisions import START
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_vendor import VENDOR, Desk

LIMITS = Limits()
FAILURES = LIMITS.breaker_failures_needed
BARE = EndpointRecord("vendor", "ERP", (), (), (), "ACTIVE", b"")


def health(desk: Desk) -> EndpointRecord:
    found: EndpointRecord = desk.records["endpoint", VENDOR.endpoint]
    return found


def outage(desk: Desk, outcome: str = "RETRY", count: int = FAILURES) -> list[Any]:
    """So many deliveries of different keys fail, one after another."""
    made = len(desk.deliveries())
    failed = [desk.one(key=f"down-{made + n}") for n in range(count)]
    for record in failed:
        desk.settle(record, outcome, reason="connection refused")
    return failed


def test_it_opens_on_failures_in_a_row_and_says_why() -> None:
    """Proves that the named number of failures opens it, one fewer does not, and it is counted."""
    desk = Desk()
    outage(desk, count=FAILURES - 1)
    assert health(desk).breaker_state == "CLOSED"
    outage(desk, count=1)
    assert health(desk).breaker_state == "OPEN"
    assert health(desk).breaker_reason == "connection refused"
    assert desk.counters["breaker", "vendor", "OPEN"] == 1


def test_an_answer_between_failures_keeps_it_closed() -> None:
    """Proves that failures have to come in a row; a business refusal is an answer."""
    desk = Desk()
    for _ in range(3):
        outage(desk, count=FAILURES - 1)
        desk.settle(desk.one(key=f"good-{len(desk.deliveries())}"), "REJECTED")
        desk.pass_time(0.001)
    assert health(desk).breaker_state == "CLOSED"


def test_work_whose_answer_comes_later_is_a_sign_of_life() -> None:
    """Proves that files waiting for their result neither open the breaker nor keep it open, while
    the same number of unknown outcomes opens it."""
    desk = Desk("TWO_STEP")
    for number in range(2 * FAILURES):
        waits = desk.one(key=f"file-{number}")
        desk.settle(waits, "UNKNOWN", code="answer_later", reason="waits for its result")
    assert health(desk).breaker_state == "CLOSED"
    assert desk.counters["answered", "vendor"] == 2 * FAILURES
    outage(desk, "UNKNOWN")
    assert health(desk).breaker_state == "OPEN"
    desk.pass_time(60)
    desk.settle(desk.one(key="probe"), "UNKNOWN", code="answer_later")
    assert health(desk).breaker_state == "CLOSED"


def test_one_delivery_alone_never_opens_it() -> None:
    """Proves that what the vendor chokes on holds back its own key, not everybody (G13)."""
    desk = Desk("NATURAL", Limits(calls_max_default=1000))
    poison = [desk.one(key="p1"), desk.one(key="p2")]
    for _ in range(20):
        for record in poison:
            desk.settle(record, "UNKNOWN", reason="500")
        desk.pass_time(60)
    assert health(desk).breaker_state == "CLOSED"


def test_an_attempt_that_tried_nothing_is_no_evidence() -> None:
    """Proves that a lease that ran out before the call does not speak against the vendor."""
    evidence = breaking.Evidence("d", "RETRY", breaking.NOT_TRIED, "no lease left", START)
    assert breaking.told(BARE, evidence, START, LIMITS) is BARE


def test_while_open_no_attempt_begins_and_none_is_counted() -> None:
    """Proves that work on its way when the breaker opens goes back to READY, unattempted."""
    desk = Desk()
    on_its_way = desk.dispatch(desk.one(key="other"))
    outage(desk)
    refused = desk.begin(on_its_way)
    assert refused.HasField("refusal")
    back = desk.fresh(on_its_way)
    assert (back.state, back.pending, back.attempts) == ("READY", True, 0)


def test_a_probe_goes_alone_and_its_failure_waits_longer() -> None:
    """Proves that one attempt begins when the time has come, no second beside it, and that each
    failed probe doubles the wait up to its limit."""
    desk = Desk()
    failed = outage(desk)
    waits = []
    for _ in range(8):
        until = health(desk).breaker_probe_at or 0
        waits.append((until - desk.now) / SECOND)
        desk.pass_time(max(60.0, waits[-1] + 1))
        first, second = failed[0], failed[1]
        probe = desk.take(first)
        assert health(desk).breaker_state == "PROBING"
        assert desk.begin(desk.dispatch(second)).HasField("refusal")
        desk.complete(first, probe, "RETRY", reason="refused again")
        assert health(desk).breaker_state == "OPEN"
        failed = failed[1:] + failed[:1]
    assert waits[0] <= LIMITS.breaker_probe_seconds_first
    assert all(later >= earlier for earlier, later in itertools.pairwise(waits))
    assert max(waits) <= LIMITS.breaker_probe_seconds_max
    assert desk.counters["breaker", "vendor", "OPEN"] == 1, "said more than once"


@pytest.mark.parametrize("outcome", ["CONFIRMED", "REJECTED", "THROTTLED"])
def test_any_answer_closes_it(outcome: str) -> None:
    """Proves that a probe that is answered, if only with a no, lets everything go again."""
    desk = Desk()
    failed = outage(desk)
    desk.pass_time(60)
    desk.settle(failed[0], outcome)
    assert health(desk).breaker_state == "CLOSED"
    assert health(desk).breaker_failing == ()
    assert desk.counters["breaker", "vendor", "CLOSED"] == 1
    if outcome != "THROTTLED":
        for record in failed[1:]:
            desk.settle(record)


def test_calls_from_before_do_not_lengthen_the_outage() -> None:
    """Proves that calls that were out when it opened and fail then change nothing."""
    desk = Desk()
    out = [desk.one(key=f"slow-{n}") for n in range(5)]
    tokens = [desk.take(record) for record in out]
    outage(desk)
    before = health(desk)
    for record, token in zip(out, tokens, strict=True):
        desk.complete(record, token, "UNKNOWN", reason="time-out")
    assert health(desk) == before


def test_a_probe_that_is_never_heard_of_is_followed_by_another() -> None:
    """Proves that an adapter killed while it probes does not leave the breaker open for ever."""
    desk = Desk("SEARCHABLE")
    failed = outage(desk)
    desk.pass_time(60)
    desk.take(failed[0])
    desk.pass_time(LIMITS.lease_seconds_default + 1)
    desk.settle(failed[1])
    assert health(desk).breaker_state == "CLOSED"


@pytest.mark.parametrize(("outcome", "code"), [("PARKED", "KeyError"), ("RETRY", "not_tried")])
def test_a_probe_that_asked_nothing_is_followed_by_another_at_once(outcome: str, code: str) -> None:
    """Proves that work which ends before a byte was sent does not hold a vendor that is back down
    for the time of its lease, however much of it is at the head, nor lengthens the wait."""
    desk = Desk()
    failed = outage(desk)
    faulty = [desk.one(key=f"faulty-{n}") for n in range(20)]
    desk.pass_time(60)
    before = health(desk)
    for record in faulty:
        desk.settle(record, outcome, code=code, reason="nothing was sent")
        assert health(desk) == replace(before, breaker_probe_at=desk.now), "evidence of nothing"
        assert breaking.room(health(desk), 5, 0, desk.now) == 1, "no probe goes out"
    desk.settle(failed[0])
    assert health(desk).breaker_state == "CLOSED"


def test_a_probe_that_the_vendor_answered_closes_it_though_a_person_has_to_look() -> None:
    """Proves that a vendor that is back and refuses what only a person can mend (an account that
    is locked) is known to be back."""
    desk = Desk()
    outage(desk)
    probe = desk.one(key="other")
    desk.pass_time(60)
    desk.complete(
        probe, desk.take(probe), "PARKED", reason="locked", response_excerpt="401 account locked"
    )
    assert health(desk).breaker_state == "CLOSED"


def test_a_call_from_before_does_not_end_the_probe_that_runs() -> None:
    """Proves that a call which was out when the breaker opened, and ends without having asked
    anything while a probe is under way, lets no second one go beside it."""
    desk = Desk()
    slow = desk.one(key="slow")
    token = desk.take(slow)
    failed = outage(desk)
    desk.pass_time(30)
    desk.take(failed[0])
    probing = health(desk)
    desk.complete(slow, token, "PARKED", reason="nothing was sent")
    assert health(desk) == probing
    assert desk.begin(desk.dispatch(failed[1])).HasField("refusal")


def test_an_outage_parks_nothing_however_long() -> None:
    """Proves that calls without an answer while the breaker is open never use up the limit."""
    desk = Desk("NATURAL", Limits(calls_max_default=3))
    failed = outage(desk, "UNKNOWN")
    for turn in range(40):
        desk.pass_time(120)
        desk.settle(failed[turn % FAILURES], "UNKNOWN", reason="time-out")
    states = {desk.fresh(record).state for record in failed}
    assert "PARKED" not in states
    desk.pass_time(120)
    for record in failed:
        desk.settle(record)


def test_a_prerequisite_does_not_run_out_in_an_outage_of_the_same_endpoint() -> None:
    """Proves that a goods issue waits for its sales order as long as the ERP is down."""
    desk = Desk("SEARCHABLE", Limits(prerequisite_seconds_default=100.0))
    booked = desk.one("book", key="order-1")
    posted = desk.one("post", key="shipment-1", object_id="shipment-1", requires=("book",))
    for _ in range(20):
        desk.settle(booked, "RETRY", reason="connection refused")
        desk.pass_time(150)
        assert desk.fresh(posted).state == "HELD"
    desk.settle(booked)
    assert desk.fresh(posted).state == "READY"


def test_a_prerequisite_that_needs_a_person_still_runs_out() -> None:
    """Proves that waiting on is for what moves by itself: a parked predecessor ends the wait."""
    desk = Desk("SEARCHABLE", Limits(prerequisite_seconds_default=100.0))
    booked = desk.one("book", key="order-1")
    posted = desk.one("post", key="shipment-1", object_id="shipment-1", requires=("book",))
    desk.settle(booked, "PARKED")
    desk.pass_time(101)
    assert desk.fresh(posted).state == "PARKED"


# Pace


def test_a_throttle_halves_the_share_once_for_calls_that_were_out_together() -> None:
    """Proves multiplicative decrease: ten 429s of one moment count once, a later one again."""
    desk = Desk()
    records = [desk.one(key=f"k{n}") for n in range(10)]
    tokens = [desk.take(record) for record in records]
    for record, token in zip(records, tokens, strict=True):
        desk.complete(record, token, "THROTTLED")
    assert health(desk).pace_thousandths == pacing.FULL // 2
    desk.pass_time(LIMITS.pace_decrease_seconds + 1)
    desk.settle(desk.one(key="later"), "THROTTLED")
    assert health(desk).pace_thousandths < pacing.FULL // 2 + 50


def test_a_throttled_look_up_counts_too_and_stays_unknown() -> None:
    """Proves that a 429 to a look-up lowers the pace and proves nothing about the delivery."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    desk.settle(record, "THROTTLED", retry_after=20)
    assert desk.fresh(record).state == "UNKNOWN"
    assert health(desk).pace_thousandths < pacing.FULL
    assert pacing.is_held(health(desk), desk.now + 19 * SECOND)


def test_retry_after_holds_back_every_call_of_the_system() -> None:
    """Proves that the vendor's wish is everybody's: nothing begins before it is over."""
    desk = Desk()
    other = desk.dispatch(desk.one(key="other"))
    desk.settle(desk.one(key="told"), "THROTTLED", retry_after=30)
    assert desk.begin(other).HasField("refusal")
    assert desk.fresh(other).attempts == 0
    desk.pass_time(31)
    desk.settle(other)


def test_retry_after_holds_back_the_calls_of_other_endpoints_of_the_system() -> None:
    """Proves that a call which another endpoint of the same system has out already, but has not
    begun, waits for the time that the vendor asked of all."""
    desk = Desk()
    desk.register(VENDOR, {"book": "SEARCHABLE"}, system="erp")
    sibling = Caller("sibling", "ERP")
    desk.employ(sibling, {"book": "SEARCHABLE"}, system="erp")
    out = replace(desk.dispatch(desk.one(key="other")), endpoint=sibling.endpoint)
    desk.records["delivery", out.id] = out
    desk.settle(desk.one(key="told"), "THROTTLED", retry_after=30)
    refused = desk.begin(out)
    assert "asked all calls to wait" in refused.refusal.message
    assert desk.fresh(out).attempts == 0
    desk.pass_time(31)
    desk.settle(out)


throttles = st.lists(st.tuples(st.floats(0, 200), st.floats(0, 1e6)), max_size=12)


@settings(deadline=None)
@given(told=throttles, later=st.floats(0, 1e4))
def test_the_share_stays_within_its_bounds_and_recovers(
    told: list[tuple[float, float]], later: float
) -> None:
    """Proves that no sequence of 429s takes everything, a hold is bounded, and quiet restores."""
    record, now = BARE, START
    for wait, retry_after in told:
        now += int(wait * SECOND)
        before = pacing.share(record, now, LIMITS)
        record = pacing.throttled(record, retry_after, now, LIMITS)
        after = pacing.share(record, now, LIMITS)
        assert LIMITS.pace_thousandths_min <= after <= before
        held = (record.throttled_until or now) - now
        assert held <= LIMITS.throttle_hold_seconds_max * SECOND
        assert pacing.concurrency(8, after) >= 1
    then = now + int(later * SECOND)
    assert pacing.share(record, then, LIMITS) >= pacing.share(record, now, LIMITS)
    quiet = now + int(LIMITS.pace_recovery_seconds * SECOND)
    assert pacing.share(record, quiet, LIMITS) == pacing.FULL


@settings(deadline=None)
@given(
    ends=st.lists(
        st.tuples(
            st.sampled_from(("CONFIRMED", "RETRY", "UNKNOWN", "REJECTED", "PARKED", "THROTTLED")),
            st.integers(0, 6),
            st.floats(0, 40),
        ),
        max_size=60,
    )
)
def test_whatever_happens_a_probe_comes_and_an_answer_closes(
    ends: list[tuple[str, int, float]],
) -> None:
    """Proves for any history that an open breaker lets one through within its limit, that closed
    means no failures are counted after an answer, and that evidence is bounded."""
    record, now = BARE, START
    for outcome, delivery, wait in ends:
        now += int(wait * SECOND)
        begun_at = now
        if breaking.may_begin(record, now):
            record = breaking.begun(record, 60.0, now)
        evidence = breaking.Evidence(f"d{delivery}", outcome, "", outcome, begun_at)
        record = breaking.told(record, evidence, now, LIMITS)
        assert len(record.breaker_failing) <= FAILURES
        if outcome in breaking.ANSWERED:
            assert record.breaker_state == "CLOSED" and record.breaker_failing == ()
        if breaking.is_open(record):
            assert record.breaker_probe_at is not None
            assert record.breaker_probe_at - now <= 60 * SECOND
    closed = breaking.told(record, breaking.Evidence("d", "CONFIRMED", "", "", now), now, LIMITS)
    assert not breaking.is_open(closed)
    assert breaking.room(replace(closed), 7, 3, now) == 7
