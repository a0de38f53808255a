"""How long a vendor's key protects a repeat: from the first call, not from the last."""

from __future__ import annotations

from crossdock_hub.config import Limits
from ledger_vendor import Desk

LIFE = 120.0


def test_a_key_lives_from_its_first_use() -> None:
    """Proves that repeats do not renew the life of a key: the vendor counts from the first call."""
    desk = Desk("KEYED", Limits(key_life_seconds_default=LIFE, calls_max_default=100))
    record = desk.one()
    for _ in range(30):
        begun = desk.begin(desk.dispatch(record))
        if begun.HasField("refusal"):
            break
        desk.complete(record, begun.token, "UNKNOWN")
        # Far less than a life between two calls, and many of them.
        desk.pass_time(LIFE / 3)
        if not desk.fresh(record).pending:
            break
    assert desk.fresh(record).state == "PARKED"
    calls = desk.attempts_of(record)
    assert 2 <= len(calls) <= 5
    assert calls[-1].begun_at - calls[0].begun_at <= LIFE * 1_000_000
    assert "key" in desk.fresh(record).waiting_on


def test_no_timer_is_early() -> None:
    """Proves that a lease lasts to its last moment, however often somebody looks before."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.take(record)
    ends = desk.fresh(record).lease_until or 0
    for before in (30.0, 9.0, 1.0, 0.1):
        desk.now = ends - int(before * 1_000_000)
        desk.tick(record)
        assert desk.fresh(record).state == "IN_FLIGHT", before
    desk.now = ends
    desk.tick(record)
    assert desk.fresh(record).state == "UNKNOWN"


def test_a_late_word_of_success_takes_back_a_repeat() -> None:
    """Proves that "done" ends a delivery whose repeat is ready and not begun."""
    desk = Desk("KEYED")
    record = desk.one()
    token = desk.take(record)
    desk.complete(record, token, "UNKNOWN")
    desk.pass_time(5.0)
    assert desk.fresh(record).state == "READY" and desk.fresh(record).pending
    desk.complete(record, token, "CONFIRMED")
    assert desk.fresh(record).state == "CONFIRMED" and not desk.fresh(record).pending


def test_a_look_up_is_no_call() -> None:
    """Proves that asking does not count against the limit of calls, however often."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    for _ in range(5):
        desk.pass_time(400.0)
        desk.settle(record, "UNKNOWN")
    after = desk.fresh(record)
    assert (after.state, after.calls_reached, after.look_ups) == ("UNKNOWN", 1, 5)
