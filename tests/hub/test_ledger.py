"""The ledger's rules, one by one: what an outcome, a timer or a later fact makes of a delivery."""

from __future__ import annotations

from dataclasses import replace

import pytest
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.flows import default_spec
from crossdock_hub.delivery.retrying import back_off
from decisions import request_id
from hypothesis import given
from hypothesis import strategies as st
from ledger_vendor import VENDOR, Desk

CLASSES = ("NONE", "SEARCHABLE", "KEYED", "TWO_STEP", "NATURAL")
REPEATABLE = ("KEYED", "TWO_STEP", "NATURAL")
LIMITS = Limits()
SPEC = default_spec("book", LIMITS)


# Unknown


def test_an_unknown_outcome_of_class_none_parks_and_is_never_repeated() -> None:
    """Proves that nobody calls a vendor twice who can neither be asked nor told a key."""
    desk = Desk("NONE")
    record = desk.one()
    desk.settle(record, "UNKNOWN", reason="reset")
    desk.pass_time(7 * 86_400)
    parked = desk.fresh(record)
    assert (parked.state, parked.attempts, parked.pending) == ("PARKED", 1, False)
    assert "unknown" in parked.waiting_on


def test_a_lost_lease_of_class_none_parks() -> None:
    """Proves that a silent adapter counts as unknown, and that its attempt says so."""
    desk = Desk("NONE")
    record = desk.one()
    desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default + 1)
    assert desk.fresh(record).state == "PARKED"
    assert [a.outcome for a in desk.attempts_of(record)] == ["LEASE_EXPIRED"]


def test_a_class_lost_while_looking_up_never_leads_to_a_repeat() -> None:
    """Proves that an endpoint which forgets an operation does not make its unknowns repeatable."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    desk.pass_time(LIMITS.settle_seconds_default + 1)
    desk.register(desk.caller_of(record), {"something_else": "NATURAL"})
    desk.settle(record, "UNKNOWN", reason="look-up failed")
    for _ in range(5):
        desk.pass_time(600)
        assert desk.fresh(record).state in ("UNKNOWN", "RESOLVING", "PARKED")
        assert desk.fresh(record).attempts == 1


def test_a_bolder_class_does_not_apply_to_work_that_was_begun_under_a_careful_one() -> None:
    """Proves that forgetting an operation and declaring it anew does not make old work bolder."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "RETRY")
    caller = desk.caller_of(record)
    desk.register(caller, {"something_else": "NATURAL"})
    desk.register(caller, {"book": "NATURAL"})
    desk.pass_time(60)
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    assert desk.fresh(record).operation_class == "SEARCHABLE"
    assert desk.fresh(record).state == "RESOLVING"


def test_an_unknown_of_class_none_parks_whenever_it_is_looked_at() -> None:
    """Proves that even a delivery left UNKNOWN by an older hub is parked, not sent again."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    left = replace(desk.fresh(record), operation_class="NONE", due_at=desk.now)
    desk.records["delivery", record.id] = left
    desk.tick(left)
    assert (desk.fresh(record).state, desk.fresh(record).pending) == ("PARKED", False)


def test_searchable_repeats_only_after_two_settled_not_founds() -> None:
    """Proves that one empty answer, or an early one, is no proof."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    assert desk.fresh(record).due_at == desk.now + LIMITS.settle_seconds_default * SECOND
    desk.pass_time(LIMITS.settle_seconds_default)
    assert desk.fresh(record).state == "RESOLVING"
    desk.settle(record, "NOT_FOUND")
    assert desk.fresh(record).state == "UNKNOWN"
    desk.pass_time(LIMITS.settle_seconds_default)
    desk.settle(record, "NOT_FOUND")
    again = desk.fresh(record)
    assert (again.state, again.attempts, again.look_ups) == ("READY", 1, 2)
    desk.settle(record, "CONFIRMED")
    kinds = [a.kind for a in desk.attempts_of(record)]
    assert kinds == ["CALL", "LOOK_UP", "LOOK_UP", "CALL"]


def test_a_failed_look_up_never_leads_to_a_repeat() -> None:
    """Proves that a vendor who can't be asked is asked again, for as long as it takes."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    for _ in range(30):
        desk.pass_time(LIMITS.retry_seconds_max * 2)
        assert desk.fresh(record).state == "RESOLVING"
        desk.settle(record, "UNKNOWN", reason="503")
        assert desk.fresh(record).state == "UNKNOWN"
    assert desk.fresh(record).attempts == 1
    assert desk.fresh(record).look_ups == 30


def test_a_failed_look_up_waits_as_long_as_the_vendor_asks() -> None:
    """Proves that a throttled look-up honours Retry-After too."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    desk.pass_time(LIMITS.settle_seconds_default)
    desk.settle(record, "UNKNOWN", retry_after=120)
    assert desk.fresh(record).due_at == desk.now + 120 * SECOND


def test_not_founds_of_different_unknowns_do_not_add_up() -> None:
    """Proves that what was not found before a call says nothing about that call."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    for _ in range(2):
        desk.settle(record, "UNKNOWN")
        for found in range(2):
            assert desk.fresh(record).not_found == found
            desk.pass_time(60)
            desk.settle(record, "NOT_FOUND")
    assert desk.fresh(record).attempts == 2


def test_a_look_up_that_finds_it_confirms() -> None:
    """Proves that what the vendor did is adopted, with its references."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    desk.settle(record, "CONFIRMED", references=[("sales_order", "4711")])
    found = desk.fresh(record)
    assert found.state == "CONFIRMED"
    assert [(r.type, r.value) for r in found.vendor_references] == [("sales_order", "4711")]


def test_a_keyed_call_repeats_inside_the_life_of_its_key() -> None:
    """Proves that the same key is used again soon, and that a dead key parks instead."""
    desk = Desk("KEYED")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    assert desk.fresh(record).state == "READY"


def test_a_key_that_died_in_a_pause_is_not_used_again() -> None:
    """Proves that the life of a key is judged when the call would go, not when it was queued."""
    desk = Desk("KEYED")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    assert desk.fresh(record).state == "READY"
    desk.pass_time(LIMITS.key_life_seconds_default)
    refused = desk.begin(desk.dispatch(record))
    assert refused.HasField("refusal")
    assert desk.fresh(record).state == "PARKED"
    assert "key" in desk.fresh(record).waiting_on


def test_a_key_that_died_in_an_outage_is_not_used_again() -> None:
    """Proves that hours of refused connections after one lost reply do not outlive the key."""
    desk = Desk("KEYED")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    for _ in range(60):
        desk.pass_time(LIMITS.retry_seconds_max * 2)
        if desk.fresh(record).state == "PARKED":
            break
        result = desk.begin(desk.dispatch(record))
        if not result.HasField("refusal"):
            desk.complete(record, result.token, "RETRY", reason="connection refused")
    first = desk.attempts_of(record)[0].begun_at
    latest = max(a.begun_at for a in desk.attempts_of(record))
    assert latest - first <= LIMITS.key_life_seconds_default * SECOND


def test_a_key_lives_from_the_first_call_on() -> None:
    """Proves that the time a call took to get lost counts too."""
    desk = Desk("KEYED", Limits(key_life_seconds_default=60.0, lease_seconds_default=50.0))
    record = desk.one()
    desk.take(record)
    desk.pass_time(50)
    assert desk.fresh(record).state == "UNKNOWN"
    desk.pass_time(20)
    if desk.fresh(record).pending:
        assert desk.begin(desk.dispatch(record)).HasField("refusal")
    assert desk.fresh(record).state == "PARKED"


@pytest.mark.parametrize(("later", "state"), [("NONE", "PARKED"), ("SEARCHABLE", "RESOLVING")])
def test_a_more_careful_class_holds_back_a_repeat_that_was_queued(later: str, state: str) -> None:
    """Proves that a call without proof is not repeated once the endpoint thinks better."""
    desk = Desk("KEYED")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    assert desk.fresh(record).state == "READY"
    desk.register(desk.caller_of(record), {"book": later})
    assert desk.begin(desk.dispatch(record)).HasField("refusal")
    assert (desk.fresh(record).state, desk.fresh(record).attempts) == (state, 1)
    assert desk.fresh(record).operation_class == later


def test_two_settled_not_founds_are_proof() -> None:
    """Proves that what was not done once can be asked for again, and retried, without suspicion."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    for _ in range(2):
        desk.pass_time(60)
        desk.settle(record, "NOT_FOUND")
    desk.settle(record, "RETRY")
    desk.pass_time(60)
    desk.settle(record, "CONFIRMED")


@pytest.mark.parametrize("kind", REPEATABLE)
def test_unknowns_are_not_repeated_for_ever(kind: str) -> None:
    """Proves that a call which is never answered ends at a person after the declared calls, where
    the vendor answers others meanwhile."""
    desk = Desk(kind, Limits(calls_max_default=3, key_life_seconds_default=86_400.0))
    record = desk.one()
    for turn in range(3):
        desk.settle(record, "UNKNOWN")
        desk.settle(desk.one(key=f"other-{turn}"))
        desk.pass_time(60)
    assert desk.fresh(record).state == "PARKED"
    assert desk.fresh(record).attempts == 3


@pytest.mark.parametrize("kind", REPEATABLE)
def test_a_lonely_unknown_is_believed_to_be_an_outage_for_so_long_only(kind: str) -> None:
    """Proves that a call of the only delivery there, never answered, may be an outage and is not
    counted, until the named time is over: then the declared calls end at a person."""
    limits = Limits(
        calls_max_default=3, key_life_seconds_default=86_400.0, unanswered_seconds_max=7_200.0
    )
    desk = Desk(kind, limits)
    record = desk.one()
    for _ in range(100):
        desk.settle(record, "UNKNOWN")
        desk.pass_time(60)
    assert desk.fresh(record).state == "READY"
    desk.pass_time(1_200)
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    desk.settle(record, "UNKNOWN")
    assert desk.fresh(record).state == "PARKED"


def test_a_full_state_is_repeated_when_the_call_before_can_have_no_effect_any_more() -> None:
    """Proves that the repeat of an upsert, and so what comes after it, waits until the books of the
    vendor are settled: the call in doubt may take effect late, and would undo what came after."""
    desk = Desk("NATURAL")
    record = desk.one()
    desk.settle(record, "UNKNOWN", reason="timed out")
    assert desk.fresh(record).due_at == desk.now + LIMITS.settle_seconds_default * SECOND
    for tries in range(2, 6):
        desk.pass_time(60)
        desk.settle(record, "UNKNOWN")
        waits = (desk.fresh(record).due_at - desk.now) / SECOND
        assert waits >= max(LIMITS.settle_seconds_default, 0.8 * 2 ** (tries - 2))


def test_proven_unprocessed_retries_never_park() -> None:
    """Proves that an outage of a day is a wait, not a pile of work for people."""
    for kind in CLASSES:
        desk = Desk(kind)
        record = desk.one()
        for _ in range(100):
            desk.settle(record, "RETRY", reason="connection refused")
            held = desk.fresh(record)
            assert (held.state, held.hold_reason) == ("HELD", "RETRY"), kind
            desk.pass_time(60)
        desk.settle(record, "CONFIRMED")


def test_retries_do_not_use_up_the_calls_of_an_unknown() -> None:
    """Proves that only what may have reached the vendor counts against the limit."""
    desk = Desk("NATURAL", Limits(calls_max_default=2))
    record = desk.one()
    for _ in range(5):
        desk.settle(record, "RETRY")
        desk.pass_time(60)
    desk.settle(record, "UNKNOWN")
    desk.pass_time(60)
    assert desk.fresh(record).state == "READY"


def test_a_vendor_cannot_make_us_wait_for_ever() -> None:
    """Proves that Retry-After is obeyed up to a named limit."""
    desk = Desk()
    record = desk.one()
    desk.settle(record, "RETRY", retry_after=10 * 365 * 86_400)
    due_at = desk.fresh(record).due_at
    assert due_at is not None
    assert due_at - desk.now <= LIMITS.retry_after_seconds_max * SECOND


def test_retry_after_is_waited_for() -> None:
    """Proves that the vendor's wish wins over a shorter back-off."""
    desk = Desk()
    record = desk.one()
    desk.settle(record, "RETRY", retry_after=90)
    assert desk.fresh(record).due_at == desk.now + 90 * SECOND


@pytest.mark.parametrize("kind", ["KEYED", "SEARCHABLE", "TWO_STEP", "NATURAL"])
def test_an_unknown_outcome_waits_as_long_as_the_vendor_asks(kind: str) -> None:
    """Proves that a 503 whose effect nobody knows honours Retry-After too, whatever its class, and
    that a wish shorter than what settles it changes nothing."""
    for wish, patient in ((600.0, True), (0.001, False)):
        desk = Desk(kind)
        record = desk.one()
        desk.settle(record, "UNKNOWN", retry_after=wish)
        after = desk.fresh(record)
        assert (after.state, after.due_at is not None) == ("UNKNOWN", True)
        waits = (after.due_at or 0) - desk.now
        assert (waits == wish * SECOND) is patient, (kind, waits)


def test_no_wish_outlives_the_key() -> None:
    """Proves that a vendor that asks for as long a rest as its key lives is called again while it
    does: later nobody could, and a person would have to find out."""
    desk = Desk("KEYED")
    record = desk.one()
    desk.pass_time(1)
    desk.settle(record, "UNKNOWN", retry_after=LIMITS.key_life_seconds_default)
    desk.pass_time(LIMITS.key_life_seconds_default / 2)
    assert desk.fresh(record).state == "READY"


# Back-off


@given(tries=st.integers(-5, 10_000), name=st.text(max_size=40))
def test_back_off_is_bounded_and_grows(tries: int, name: str) -> None:
    """Proves that waits start small, double, never pass the cap by more than the jitter."""
    record = replace(Desk().one(), id=name)
    wait = back_off(record, tries, SPEC)
    assert 0.8 * LIMITS.retry_seconds_first <= wait <= 1.2 * LIMITS.retry_seconds_max
    plain = min(LIMITS.retry_seconds_first * 2 ** max(min(tries, 40) - 1, 0), 30.0)
    assert 0.8 * plain <= wait <= 1.2 * plain
    assert wait == back_off(record, tries, SPEC)


def test_an_operation_may_have_pauses_of_its_own() -> None:
    """Proves that the manifest's first and longest pause rule its operation, and no other."""
    desk = Desk("NATURAL")
    manifest = endpoint_pb2.Manifest(adapter="vendor")
    for name, first, longest in (("book", 5, 20), ("change", 0, 0)):
        operation = manifest.operations.add(
            name=name, operation_class=delivery_pb2.OPERATION_CLASS_NATURAL
        )
        operation.retry_first.FromSeconds(first)
        operation.retry_max.FromSeconds(longest)
    request = endpoint_service_pb2.RegisterEndpointRequest(
        request_id=request_id(), endpoint=VENDOR.endpoint, manifest=manifest
    )
    desk.call("endpoint.v1.EndpointService/RegisterEndpoint", request, VENDOR)
    slow, quick = desk.one("book", key="a"), desk.one("change", key="b")
    pauses = []
    for _ in range(5):
        desk.settle(slow, "RETRY")
        pauses.append(((desk.fresh(slow).due_at or 0) - desk.now) / SECOND)
        desk.pass_time(60)
    assert 4 <= pauses[0] <= 6 and 8 <= pauses[1] <= 12
    assert 16 <= pauses[3] <= 24 and 16 <= pauses[4] <= 24
    desk.settle(quick, "RETRY")
    assert (desk.fresh(quick).due_at or 0) - desk.now <= 1.2 * LIMITS.retry_seconds_first * SECOND
