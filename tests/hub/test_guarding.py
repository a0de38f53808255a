"""The spending guard: labels beyond what one order may cost are stopped before anything is sent."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock_hub.delivery import flows
from crossdock_hub.delivery.guarding import Tally, costs
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.intervention import Case, resubmit
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.identity import HUB
from crossdock_hub.records import DeliveryRecord, OperatorWordRecord
from crossdock_hub.replay import judging
from crossdock_hub.unit import Unit
from decisions import OPERATOR, request_id
from ledger_vendor import VENDOR, Desk

BUDGET = 20
INTENTS = 10_000
PER_EVENT = 200


class Till(Desk):
    """A desk whose endpoint sells labels, and says how many one order may buy."""

    def __init__(self, budget: int = BUDGET, kind: str = "SEARCHABLE") -> None:
        super().__init__(kind)
        manifest = endpoint_pb2.Manifest(adapter="vendor")
        for name, limit in (("buy", budget), ("book", 0)):
            manifest.operations.add(
                name=name,
                operation_class=delivery_pb2.OperationClass.Value(f"OPERATION_CLASS_{kind}"),
                max_per_root=limit,
            )
        request = endpoint_service_pb2.RegisterEndpointRequest(
            request_id=request_id(), endpoint=VENDOR.endpoint, manifest=manifest
        )
        self.call("endpoint.v1.EndpointService/RegisterEndpoint", request, VENDOR)

    def lose(self, record: DeliveryRecord) -> DeliveryRecord:
        """A call without an answer that two settled look-ups find nothing of."""
        self.settle(record, "UNKNOWN")
        for _ in range(self.limits.not_found_needed):
            self.pass_time(self.limits.settle_seconds_default)
            self.settle(record, "NOT_FOUND")
        return self.fresh(record)

    def silent(self, record: DeliveryRecord) -> int:
        """A call whose lease runs out with no word; it is to be looked up. Its token."""
        token = self.take(record)
        self.pass_time(self.limits.lease_seconds_default + self.limits.settle_seconds_default + 1)
        assert self.fresh(record).state == "RESOLVING"
        return token

    def retry(self, record: DeliveryRecord) -> DeliveryRecord:
        """An operator lets it go again."""
        request = operations_pb2.RetryDeliveryRequest(
            request_id=request_id(), delivery_id=record.id, reason="it was looked at"
        )
        self.call("delivery.v1.DeliveryOperationsService/RetryDelivery", request, OPERATOR)
        return self.fresh(record)

    def resubmit(self, record: DeliveryRecord) -> DeliveryRecord:
        """An operator who found nothing at the vendor sends it as new work."""

        def decide(unit: Unit) -> DeliveryRecord:
            old = self.fresh(record)
            flow = unit.flow(old.root_id)
            case = Case(old, flow, flows.spec_of(unit, old), unit.now, unit.limits)
            decided = resubmit(case, not_found_at_vendor=True)
            assert decided.successor is not None
            words = ("RESUBMIT", "ann", unit.now, "it is not there", old.state, "SUPERSEDED", "")
            word = OperatorWordRecord(unit.new_id(), old.id, *words)
            unit.put(("operator_word", word.id), word)
            unit.put_delivery(decided.record)
            flows.admit(unit, [decided.successor])
            return decided.successor

        new: DeliveryRecord = self.decide(HUB, "resubmit", decide)
        return self.fresh(new)

    def replay(self, record: DeliveryRecord) -> DeliveryRecord:
        """A replay sends again what was parked."""
        old = self.fresh(record)
        what = (old.event_id, old.object_id, old.operation, old.item, old.sequence)
        bare = replace(old, token=0, calls_reached=0, calls_maybe_done=0, first_unknown_at=None)
        planned = replace(bare, state="READY", attempts=0, look_ups=0, operation_class="")
        candidate = judging.Candidate(*what, "FREE", planned, role=old.role)
        terms = judging.Terms(request_id(), old.endpoint, "FAILED", approved=True)

        def judge(unit: Unit) -> judging.Decision:
            flow, spec = IndexedFlow(unit.flow(old.root_id)), flows.spec_of(unit, old)
            return judging.judge(terms, candidate, flow, lambda _: spec, unit.now, unit.limits)

        decided: judging.Decision = self.decide(HUB, "judge", judge)
        new = decided.record
        assert new is not None, decided.why
        for gone in decided.displaced:
            self.records["delivery", gone.id] = gone
        self.decide(HUB, "replay", lambda unit: flows.admit(unit, [new]))
        return self.fresh(new)


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


def test_a_purchase_is_not_repeated_beyond_the_budget() -> None:
    """Proves that each call which may have bought a label counts, although look-ups found nothing
    of it: the delivery itself is stopped before a call too many, with reason and alarm, and a
    person's word lets it go."""
    till = Till(budget=3)
    record = till.one("buy")
    for calls in (1, 2):
        again = till.lose(record)
        assert (again.state, again.pending, again.attempts) == ("READY", True, calls)
    stopped = till.lose(record)
    assert (stopped.state, stopped.hold_reason, stopped.attempts) == ("PARKED", "SPENDING", 3)
    assert "spending guard" in stopped.waiting_on and " 3 times" in stopped.waiting_on
    assert (stopped.pending, stopped.due_at) == (False, None)
    assert till.counters["spending", "vendor", "buy"] == 1
    assert till.counters["spending_alarm", "vendor", "buy"] == 1
    assert till.one("buy", key="b").hold_reason == "SPENDING"
    assert till.counters["spending_alarm", "vendor", "buy"] == 1
    assert till.retry(stopped).state == "READY"
    till.settle(record)
    assert till.fresh(record).state == "CONFIRMED"


def test_what_a_person_lets_go_is_called_once_more_after_a_look_up() -> None:
    """Proves that a delivery in doubt which a person lets go is not stopped again when look-ups
    have found nothing of it, that it is before the call after that, and that it takes room."""
    till = Till(budget=1)
    record = till.one("buy", key="a")
    stopped = till.lose(record)
    assert stopped.hold_reason == "SPENDING"
    doubtful = replace(stopped, first_unknown_at=till.now, not_found=0)
    till.records["delivery", record.id] = doubtful
    assert till.retry(doubtful).state == "RESOLVING"
    # A person may ask a moment after the call, so the first look-up counts for nothing.
    for _ in range(1 + till.limits.not_found_needed):
        till.settle(record, "NOT_FOUND")
        till.pass_time(till.limits.settle_seconds_default)
    assert (till.fresh(record).state, till.fresh(record).hold_reason) == ("READY", "")
    assert till.one("buy", key="b").hold_reason == "SPENDING"
    assert till.lose(record).hold_reason == "SPENDING"


def test_what_a_person_resubmits_is_let_go() -> None:
    """Proves that a resubmission of what the guard stopped is not stopped by it, that it takes
    room, and that a resubmission of anything else is asked about."""
    till = Till(budget=1)
    bought = till.one("buy", key="a")
    stopped = till.one("buy", key="b")
    assert stopped.hold_reason == "SPENDING"
    assert till.resubmit(stopped).state == "READY"
    assert till.counters["spending", "vendor", "buy"] == 1
    till.settle(bought, "PARKED")
    again = till.resubmit(bought)
    assert again.hold_reason == "SPENDING"


def test_repeated_purchases_take_the_room_of_others() -> None:
    """Proves that the calls of all deliveries count together, for a new intent and for a repeat."""
    till = Till(budget=4)
    first, second = till.one("buy", key="a"), till.one("buy", key="b")
    till.lose(first)
    till.settle(first)
    assert till.lose(second).state == "READY"
    assert till.one("buy", key="c").hold_reason == "SPENDING"
    assert till.lose(second).hold_reason == "SPENDING"


def test_a_repeat_that_is_to_come_counts_before_it_is_made() -> None:
    """Proves that an intent which comes between two calls of another one gets no room that the
    repeat will need."""
    till = Till(budget=2)
    assert till.lose(till.one("buy", key="a")).state == "READY"
    assert till.one("buy", key="b").hold_reason == "SPENDING"


@pytest.mark.parametrize("outcome", ["REJECTED", "PARKED"])
def test_what_was_refused_and_goes_again_counts_once(outcome: str) -> None:
    """Proves that a call which bought nothing takes no room, however often it is made again."""
    till = Till(budget=2)
    first = till.one("buy", key="a")
    for _ in range(3):
        till.settle(first, outcome)
        till.retry(first)
    till.settle(first, "THROTTLED")
    till.pass_time(till.limits.retry_seconds_max)
    till.settle(first)
    assert till.one("buy", key="b").state == "READY"
    assert till.one("buy", key="c").hold_reason == "SPENDING"


def test_a_refusal_takes_back_no_earlier_purchase() -> None:
    """Proves that of a refused delivery what an earlier call may have bought still counts."""
    till = Till(budget=2)
    first = till.one("buy", key="a")
    till.lose(first)
    till.settle(first, "REJECTED")
    assert till.one("buy", key="b").state == "READY"
    assert till.one("buy", key="c").hold_reason == "SPENDING"


def test_a_refusal_that_a_look_up_finds_bought_nothing() -> None:
    """Proves that a lost call which the vendor says it refused takes no room, as one that was
    refused at once."""
    till = Till(budget=1)
    first = till.one("buy", key="a")
    till.settle(first, "UNKNOWN")
    till.pass_time(till.limits.settle_seconds_default)
    till.settle(first, "REJECTED")
    assert (till.fresh(first).state, costs(till.fresh(first))) == ("REJECTED", 0)
    assert till.one("buy", key="b").state == "READY"


@pytest.mark.parametrize("outcome", ["REJECTED", "THROTTLED", "RETRY", "PARKED"])
def test_a_refusal_that_comes_late_bought_nothing(outcome: str) -> None:
    """Proves that a call's own word takes its room back also after a look-up, or another call, has
    begun, once however often it is said; it moves nothing else."""
    till = Till(budget=3)
    record = till.one("buy", key="a")
    token = till.silent(record)
    till.take(record)
    for _ in range(2):
        till.complete(record, token, outcome)
        assert (till.fresh(record).state, costs(till.fresh(record))) == ("RESOLVING", 1)
        assert till.fresh(record).calls_maybe_done == 0
    till.pass_time(till.limits.lease_seconds_default + till.limits.look_up_retry_seconds_max)
    for _ in range(till.limits.not_found_needed):
        till.settle(record, "NOT_FOUND")
        till.pass_time(till.limits.settle_seconds_default)
    again = till.silent(record)
    for _ in range(till.limits.not_found_needed):
        till.settle(record, "NOT_FOUND")
        till.pass_time(till.limits.settle_seconds_default)
    till.take(record)
    till.complete(record, again, outcome)
    assert till.fresh(record).calls_maybe_done == 1
    assert till.one("buy", key="b").state == "READY"
    assert till.one("buy", key="c").state == "READY"
    assert till.one("buy", key="d").hold_reason == "SPENDING"


@pytest.mark.parametrize("look_up_first", [True, False])
def test_a_call_is_taken_back_once(look_up_first: bool) -> None:
    """Proves that a call whose refusal both a look-up and, late, it itself tells takes back its own
    room and not that of an earlier call which may have bought."""
    till = Till(budget=3)
    record = till.one("buy", key="a")
    till.lose(record)
    token = till.silent(record)
    look_up = till.take(record)
    words = [(look_up, "REJECTED"), (token, "REJECTED")]
    for said, outcome in words if look_up_first else words[::-1]:
        till.complete(record, said, outcome)
        assert till.fresh(record).calls_maybe_done == 1
    assert (till.fresh(record).state, costs(till.fresh(record))) == ("REJECTED", 1)


def test_a_refusal_that_a_replay_finds_takes_back_no_other_call() -> None:
    """Proves that the refusal of a call which was made for the replaced delivery, and taken back
    there, does not take back an earlier one that may have bought."""
    till = Till(budget=3)
    record = till.one("buy", key="a")
    till.lose(record)
    token = till.silent(record)
    look_up = till.take(record)
    till.complete(record, token, "REJECTED")
    till.complete(record, look_up, "PARKED")
    assert (till.fresh(record).state, till.fresh(record).calls_maybe_done) == ("PARKED", 1)
    again = till.replay(record)
    assert till.begin(till.dispatch(again)).refusal.reason == "LEASE_LOST"
    till.pass_time(till.limits.settle_seconds_default)
    till.settle(again, "REJECTED")
    assert (till.fresh(again).state, costs(till.fresh(again))) == ("REJECTED", 1)
    assert costs(till.fresh(record)) == 0


@pytest.mark.parametrize("kind", ["KEYED", "TWO_STEP", "NATURAL"])
def test_what_the_vendor_tells_from_a_second_order_counts_once(kind: str) -> None:
    """Proves that a call repeated with its key, its draft or as a full state takes no more room."""
    till = Till(budget=2, kind=kind)
    first = till.one("buy", key="a")
    for _ in range(4):
        till.settle(first, "UNKNOWN")
        till.pass_time(till.limits.settle_seconds_default + till.limits.retry_seconds_max)
        assert till.fresh(first).state == "READY"
    assert till.one("buy", key="b").state == "READY"
    assert till.one("buy", key="c").hold_reason == "SPENDING"


def test_a_resubmission_does_not_forget_what_may_have_been_bought() -> None:
    """Proves that the delivery which replaces another counts the calls of both, and that they count
    once."""
    till = Till(budget=3)
    first = till.one("buy", key="a")
    till.lose(first)
    till.settle(first, "PARKED")
    spec = OperationSpec("buy", "SEARCHABLE", 1, 1, 5, 60, 0, 1, 16, max_per_root=3)
    case = Case(till.fresh(first), till.deliveries(), spec, till.now, till.limits)
    decided = resubmit(case, not_found_at_vendor=False)
    assert decided.successor is not None
    assert (costs(decided.record), costs(decided.successor)) == (0, 2)


@pytest.mark.parametrize("kind", ["KEYED", "TWO_STEP", "NATURAL"])
def test_a_resubmission_of_what_the_vendor_tells_apart_counts_once(kind: str) -> None:
    """Proves that the delivery which replaces a refused one takes no room for calls that bought
    nothing more, also before it begins: an intent of the same order gets its room."""
    till = Till(budget=2, kind=kind)
    first = till.one("buy", key="a")
    till.settle(first, "UNKNOWN")
    till.pass_time(till.limits.settle_seconds_default + till.limits.retry_seconds_max)
    till.settle(first, "REJECTED")
    spec = OperationSpec("buy", kind, 1, 1, 5, 60, 0, 1, 16, max_per_root=2)
    case = Case(till.fresh(first), till.deliveries(), spec, till.now, till.limits)
    decided = resubmit(case, not_found_at_vendor=False)
    assert decided.successor is not None
    assert (costs(decided.record), costs(decided.successor)) == (0, 1)
    tally = Tally([decided.record, decided.successor])
    second = replace(decided.successor, id="second", resubmits="")
    assert tally.stopped(second, spec, till.now) is None
    assert tally.stopped(replace(second, id="third"), spec, till.now) is not None


@pytest.mark.parametrize("kind", ["KEYED", "TWO_STEP"])
def test_what_a_resubmission_leaves_in_doubt_still_counts(kind: str) -> None:
    """Proves that work in doubt which is sent again with a new key or draft counts once for each:
    what the old ones may have bought is bought, however often a call was repeated with one, until a
    refusal shows that it was not."""
    till = Till(budget=4, kind=kind)
    first = till.one("buy", key="a")
    till.settle(first, "UNKNOWN")
    till.pass_time(till.limits.settle_seconds_default + till.limits.retry_seconds_max)
    till.settle(first, "UNKNOWN")
    second = till.resubmit(first)
    assert costs(till.fresh(first)) == 1
    till.settle(second, "UNKNOWN")
    third = till.resubmit(second)
    till.settle(third, "REJECTED")
    fourth = till.resubmit(third)
    till.settle(fourth)
    bought = [till.fresh(record) for record in (first, second, third, fourth)]
    assert [costs(record) for record in bought] == [1, 1, 0, 1]
    assert till.one("buy", key="b").state == "READY"
    assert till.one("buy", key="c").hold_reason == "SPENDING"


def test_a_full_state_that_is_resubmitted_leaves_nothing() -> None:
    """Proves that a full state in doubt which is sent again as new work counts once: it makes no
    second one."""
    till = Till(budget=2, kind="NATURAL")
    first = till.one("buy", key="a")
    till.settle(first, "UNKNOWN")
    assert till.resubmit(first).state == "READY"
    assert costs(till.fresh(first)) == 0
