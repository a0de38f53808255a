"""Tokens, leases and repeated words: who may still move a delivery, and what is only evidence."""

from __future__ import annotations

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.unit import Unit
from decisions import refusal_of, request_id
from ledger_vendor import Desk

LIMITS = Limits()


class Tied(Desk):
    """A desk that knows of each decision whether its answer waits until the bus was told."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.waited = False

    def _keep(self, unit: Unit) -> None:
        super()._keep(unit)
        self.waited = unit.changes.tied


def test_a_late_completion_settles_an_unknown() -> None:
    """Proves that the newest attempt's word counts after its lease, while nobody began anew."""
    for kind in ("SEARCHABLE", "KEYED", "NATURAL"):
        desk = Desk(kind)
        record = desk.one()
        token = desk.take(record)
        desk.pass_time(LIMITS.lease_seconds_default)
        assert desk.fresh(record).state == "UNKNOWN"
        answer = desk.complete(record, token, "CONFIRMED", references=[("doc", "1")])
        assert not answer.HasField("refusal")
        assert desk.fresh(record).state == "CONFIRMED"


def test_a_late_completion_settles_a_look_up_that_was_not_begun() -> None:
    """Proves that proof beats a look-up on its way, which then finds nothing to do."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    token = desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default + LIMITS.settle_seconds_default + 1)
    assert desk.fresh(record).state == "RESOLVING"
    assert desk.fresh(record).pending
    desk.complete(record, token, "CONFIRMED")
    settled = desk.fresh(record)
    assert (settled.state, settled.pending, settled.due_at) == ("CONFIRMED", False, None)


def test_a_late_retry_of_a_call_is_no_failed_look_up() -> None:
    """Proves that "nothing was sent" is believed, even with a look-up already queued."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    token = desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default + LIMITS.settle_seconds_default + 1)
    desk.complete(record, token, "RETRY", reason="connection refused")
    held = desk.fresh(record)
    assert (held.state, held.hold_reason, held.calls_reached) == ("HELD", "RETRY", 0)


def test_not_found_from_a_call_is_no_look_up() -> None:
    """Proves that only a look-up's "not found" is evidence."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    token = desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default + LIMITS.settle_seconds_default + 1)
    desk.complete(record, token, "NOT_FOUND")
    assert desk.fresh(record).not_found == 0


def test_proof_that_comes_late_takes_a_parked_unknown_back_from_people() -> None:
    """Proves that class NONE is parked for want of proof only, and freed by it."""
    desk = Desk("NONE")
    record, other = desk.one(), desk.one()
    token = desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default)
    assert desk.fresh(record).state == "PARKED"
    assert desk.fresh(other).state == "HELD"
    desk.complete(record, token, "CONFIRMED")
    assert desk.fresh(record).state == "CONFIRMED"
    assert desk.fresh(other).state == "READY"


def test_a_person_who_was_asked_for_is_not_overruled() -> None:
    """Proves that an attempt that asked for a person can't take its word back."""
    desk = Desk("NONE")
    record = desk.one()
    token = desk.take(record)
    desk.complete(record, token, "PARKED", reason="no mapping")
    answer = desk.complete(record, token, "CONFIRMED")
    assert answer.HasField("refusal")
    assert desk.fresh(record).state == "PARKED"


def test_a_stale_token_moves_nothing_and_its_word_is_kept() -> None:
    """Proves that what a fenced attempt learned is evidence: references, facts and the words."""
    desk = Desk("NATURAL")
    record = desk.one()
    old = desk.take(record)
    desk.pass_time(LIMITS.lease_seconds_default + 60)
    new = desk.take(record)
    assert new > old
    fact = ("order.v1.OrderService/ApproveOrder", desk_approve())
    answer = desk.complete(record, old, "CONFIRMED", references=[("doc", "old")], facts=[fact])
    assert answer.refusal.reason == "LEASE_LOST"
    after = desk.fresh(record)
    assert (after.state, after.token) == ("IN_FLIGHT", new)
    assert [(r.type, r.value) for r in after.vendor_references] == [("doc", "old")]
    assert len(after.quarantined) == 1
    assert desk.complete(record, old, "CONFIRMED", facts=[fact]).HasField("refusal")
    assert len(desk.fresh(record).quarantined) == 1
    desk.complete(record, new, "CONFIRMED")
    assert desk.fresh(record).state == "CONFIRMED"


def desk_approve() -> object:
    """Some request of the contract."""
    from crossdock.order.v1 import order_service_pb2

    return order_service_pb2.ApproveOrderRequest(request_id=request_id(), order_id=request_id())


def test_completing_again_gives_the_same_answer() -> None:
    """Proves that an adapter may repeat a completion whose answer was lost, also much later."""
    for outcome in ("CONFIRMED", "REJECTED", "RETRY", "UNKNOWN", "PARKED"):
        desk = Desk("NATURAL")
        record = desk.one()
        token = desk.take(record)
        fact = ("order.v1.OrderService/ApproveOrder", desk_approve())
        first = desk.complete(record, token, outcome, facts=[fact])
        kept = desk.fresh(record)
        assert len(first.quarantined) == 1
        assert desk.complete(record, token, outcome, facts=[fact]) == first
        assert desk.fresh(record) == kept


def test_completing_again_after_the_next_attempt_began_is_no_late_word() -> None:
    """Proves that a word that counted is not turned into evidence against itself."""
    desk = Desk("NATURAL")
    record = desk.one()
    token = desk.take(record)
    desk.complete(record, token, "RETRY", reason="refused")
    desk.pass_time(60)
    desk.take(record)
    answer = desk.complete(record, token, "RETRY", reason="refused")
    assert not answer.HasField("refusal")
    assert desk.attempts_of(record)[0].reason == "refused"


def test_a_contradiction_does_not_rewrite_the_log() -> None:
    """Proves that the attempt log keeps the word that counted."""
    desk = Desk()
    record = desk.one()
    token = desk.take(record)
    desk.complete(record, token, "CONFIRMED", reason="booked")
    answer = desk.complete(record, token, "REJECTED", reason="not booked")
    assert answer.HasField("refusal")
    (attempt,) = desk.attempts_of(record)
    assert attempt.outcome == "CONFIRMED"
    assert "booked" in attempt.reason
    assert "REJECTED" in attempt.reason


def test_begin_is_repeatable_and_fenced_by_the_dispatch() -> None:
    """Proves that one attempt id is one attempt, and that an old message begins nothing."""
    desk = Desk()
    record = desk.dispatch(desk.one())
    attempt = request_id()
    first = desk.begin(record, attempt_id=attempt)
    assert desk.begin(record, attempt_id=attempt).token == first.token
    assert refusal_of(lambda: desk.begin(record)).reason == "LEASE_LOST"
    desk.complete(record, first.token, "RETRY")
    desk.pass_time(60)
    desk.dispatch(record)
    assert refusal_of(lambda: desk.begin(record, dispatch_number=1)).reason == "LEASE_LOST"
    assert desk.begin(record).token == first.token + 1


def test_a_dispatch_not_begun_is_dispatched_again() -> None:
    """Proves that a lost message is not lost work: calls and look-ups alike."""
    desk = Desk()
    record = desk.one()
    desk.dispatch(record)
    desk.pass_time(LIMITS.dispatch_seconds)
    assert desk.fresh(record).state == "READY"
    desk.settle(record, "UNKNOWN")
    desk.pass_time(LIMITS.settle_seconds_default)
    desk.dispatch(record)
    desk.pass_time(LIMITS.dispatch_seconds)
    assert desk.fresh(record).pending
    desk.settle(record, "CONFIRMED")


def test_a_renewal_never_shortens_and_needs_the_token() -> None:
    """Proves that a slow call is kept alive by its holder alone."""
    desk = Desk()
    record = desk.one()
    token = desk.take(record)
    before = desk.fresh(record).lease_until or 0
    desk.renew(record, token, 1)
    assert desk.fresh(record).lease_until == before
    desk.renew(record, token, 300)
    assert (desk.fresh(record).lease_until or 0) > before
    assert refusal_of(lambda: desk.renew(record, token - 1, 5)).reason == "LEASE_LOST"
    desk.complete(record, token, "CONFIRMED")
    assert refusal_of(lambda: desk.renew(record, token, 5)).reason == "LEASE_LOST"


def test_a_lease_is_capped() -> None:
    """Proves that nobody holds a delivery longer than the hub's limit at a time."""
    desk = Desk()
    record = desk.one()
    token = desk.take(record)
    desk.renew(record, token, 10**6)
    lease = (desk.fresh(record).lease_until or 0) - desk.now
    assert lease <= LIMITS.lease_seconds_max * SECOND


def test_only_its_own_endpoint_sees_a_delivery() -> None:
    """Proves that to everybody else it does not exist."""
    from crossdock.delivery.v1 import delivery_service_pb2
    from crossdock_hub.delivery import attempts
    from crossdock_hub.identity import Caller

    desk = Desk()
    record = desk.dispatch(desk.one())
    begin = delivery_service_pb2.Begin(
        delivery_id=record.id, dispatch_number=1, attempt_id=request_id()
    )
    stranger = Caller("stranger", "ERP")
    desk.employ(stranger, {})
    refusal = refusal_of(
        lambda: desk.decide(stranger, "begin", lambda unit: attempts.begin(unit, begin, "x"))
    )
    assert refusal.reason == "OBJECT_NOT_FOUND"


def test_a_begin_that_is_repeated_waits_for_the_bus_as_well() -> None:
    """Proves that the repetition of a begin, whose first answer may have been lost under its commit
    and before the bus was told, is told before it is answered; a look-up needs no such thing."""
    desk, attempt = Tied("SEARCHABLE"), request_id()
    record = desk.dispatch(desk.one())
    first = desk.begin(record, attempt_id=attempt)
    assert desk.waited
    assert desk.begin(record, attempt_id=attempt).token == first.token
    assert desk.waited, "answered while the bus may not know of the call"
    desk.complete(record, first.token, "UNKNOWN")
    desk.pass_time(LIMITS.settle_seconds_default)
    look_up, attempt = desk.dispatch(record), request_id()
    for _ in range(2):
        desk.begin(look_up, attempt_id=attempt)
        assert not desk.waited
