"""Resubmission in any history: one open delivery an intent, order and reasons kept, nothing older
after newer, and refusals that name something which is then taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from crossdock.bus import decode
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.order.v1 import order_pb2
from crossdock_hub.delivery.ledger import OPEN_STATES
from crossdock_hub.delivery.registry import CARE
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.unit import Refused
from decisions import ERP, OPERATIONS, OPERATOR, TMS, refusal_of, request_id
from first_flow import Flow
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger_vendor import Desk

CHANGE = "change_order"
SERVICE = "delivery.v1.DeliveryOperationsService"


@dataclass
class Changes:
    """An order that is changed time and again, and the endpoint that has to be told each time.

    sent: (delivery, content, outcome) of each call, in order. said: words that were taken.
    """

    endpoint: Any
    kind: str
    flow: Flow = field(default_factory=Flow)
    order_id: str = ""
    number: int = 0
    sent: list[tuple[DeliveryRecord, int, str]] = field(default_factory=list)
    said: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        offered = OPERATIONS.get(self.endpoint.endpoint, {}) | {CHANGE: self.kind}
        self.flow.register(self.endpoint, offered)
        self.order_id = self.flow.create().id
        self.flow.approve(self.order_id)
        self.flow.settle(self.flow.delivery("netsuite", "create_sales_order"))

    def change(self) -> None:
        self.number += 1
        changed = order_pb2.Order(id=self.order_id, customer_reference=f"PO-{self.number}")
        self.flow.update_order(changed, "customer_reference")

    @property
    def all(self) -> list[DeliveryRecord]:
        """Every delivery of a change, in the order that they were made."""
        found = self.flow.deliveries(self.endpoint.endpoint, CHANGE)
        return sorted(found, key=lambda record: record.created_at)

    def content(self, record: DeliveryRecord) -> int:
        """The number of the change that a delivery carries."""
        own = self.flow.records.get(("delivery_content", record.id))
        body = (own or self.flow.records["event", record.event_id]).body
        event: Any = decode(body).event
        return int(event.order.customer_reference.removeprefix("PO-"))

    def work(self, outcome: str) -> None:
        """The endpoint takes what is pending and ends it so."""
        pending = [record for record in self.all if record.pending]
        if not pending:
            return
        record = pending[0]
        ahead = [o for o in self.all if o.sequence < record.sequence and o.state in OPEN_STATES]
        assert not ahead, "later work went before earlier work that is open"
        begun = self.flow.begin(self.flow.dispatch(record))
        if begun.HasField("refusal"):
            return
        record = self.flow.fresh(record)
        call = record.attempt_kind == "CALL"
        self.flow.complete(record, begun.token, outcome)
        if call:
            self.sent.append((record, self.content(record), outcome))

    def say(self, verb: str, which: int, looked: bool) -> None:
        """A word on one of the deliveries; it may be refused."""
        found = self.all
        if not found:
            return
        record = found[which % len(found)]
        name, reason = f"{verb.capitalize()}Delivery", f"reason {len(self.said)}"
        request: Any = getattr(operations_pb2, f"{name}Request")(
            request_id=request_id(), delivery_id=record.id, reason=reason
        )
        if looked and verb != "SKIP":
            request.not_found_at_vendor = True
        try:
            self.flow.call(f"{SERVICE}/{name}", request, OPERATOR)
        except Refused as refused:
            assert refused.refusal.reason in ("STATE_TRANSITION", "OUTCOME_UNKNOWN")
            assert self.flow.fresh(record) == record, "a refused word changed something"
            return
        self.said.append((record.id, verb, reason))

    def check(self) -> None:
        """What holds after any step."""
        by_intent: dict[str, list[DeliveryRecord]] = {}
        for record in self.all:
            by_intent.setdefault(record.event_id, []).append(record)
        for same in by_intent.values():
            living = [record for record in same if record.state != "SUPERSEDED"]
            assert len(living) == 1, "an intent has one delivery that counts"
            assert len({record.sequence for record in same}) == 1, "a place in the order was lost"
            assert sum(record.state == "CONFIRMED" for record in same) <= 1
        kept = {(w.subject_id, w.verb, w.reason) for r in self.all for w in self.words(r)}
        assert kept == set(self.said)
        for subject, verb, _ in self.said:
            if verb == "RESUBMIT":
                old = self.flow.records["delivery", subject]
                new = self.flow.records["delivery", old.superseded_by]
                assert (old.state, new.resubmits) == ("SUPERSEDED", old.id)
                assert self.content(new) >= self.content(old)

    def words(self, record: DeliveryRecord) -> list[Any]:
        return list(self.flow.words_about(record))


WORK = st.tuples(
    st.just("work"), st.sampled_from(("CONFIRMED", "REJECTED", "PARKED", "UNKNOWN", "NOT_FOUND"))
)
WORDS = st.tuples(st.sampled_from(("RETRY", "RESUBMIT", "SKIP")), st.integers(0, 5), st.booleans())
STEPS = st.lists(
    st.one_of(st.just(("change",)), WORK, WORK, WORDS, WORDS, st.just(("wait",))), max_size=24
)


@settings(max_examples=250, deadline=None)
@given(endpoint=st.sampled_from((ERP, TMS)), kind=st.sampled_from(CARE), steps=STEPS)
@example(
    # What was free behind a refusal waits again when the refused work is retried.
    endpoint=TMS,
    kind="NONE",
    steps=[
        ("change",),
        ("change",),
        ("work", "REJECTED"),
        ("RETRY", 0, False),
        ("work", "PARKED"),
        ("work", "CONFIRMED"),
    ],
)
@example(
    # What is resubmitted carries the third change: the second, behind it, would undo it.
    endpoint=ERP,
    kind="NONE",
    steps=[
        ("change",),
        ("change",),
        ("change",),
        ("work", "REJECTED"),
        ("RESUBMIT", 0, False),
        ("work", "CONFIRMED"),
        ("work", "CONFIRMED"),
    ],
)
def test_any_history_of_resubmissions(endpoint: Any, kind: str, steps: list[Any]) -> None:
    """Proves, for any history of changes, outcomes and words, that an intent never has two open
    deliveries, that a resubmission supersedes and keeps its place, that every word keeps its
    reason, that later work waits, and that a state is never followed by an older one, whatever the
    class of the operation."""
    desk = Changes(endpoint, kind)
    for step in steps:
        match step:
            case ("change",):
                desk.change()
            case ("work", outcome):
                desk.work(outcome)
            case ("wait",):
                desk.flow.pass_time(65)
            case (verb, which, looked):
                desk.say(verb, which, looked)
        desk.check()
    arrived = [content for _, content, outcome in desk.sent if outcome == "CONFIRMED"]
    assert arrived == sorted(arrived), "an older state followed a newer one"


def rejected(desk: Changes) -> DeliveryRecord:
    """A change that was refused."""
    desk.change()
    desk.work("REJECTED")
    return desk.all[-1]


def told(desk: Changes, verb: str, record: DeliveryRecord) -> str:
    """Why a word is refused."""
    name = f"{verb.capitalize()}Delivery"
    request: Any = getattr(operations_pb2, f"{name}Request")(
        request_id=request_id(), delivery_id=record.id, reason="because"
    )
    return str(refusal_of(lambda: desk.flow.call(f"{SERVICE}/{name}", request, OPERATOR)).message)


@pytest.mark.parametrize("kind", [kind for kind in CARE if kind != "NATURAL"])
def test_advice_about_work_that_was_done_since_is_good(kind: str) -> None:
    """Proves, for classes whose calls each make a document, that what a resubmission has carried
    since is refused to both words with the same advice, and that the advice is then taken."""
    desk = Changes(TMS, kind)
    first, second = rejected(desk), rejected(desk)
    desk.say("RESUBMIT", 0, False)
    again = desk.flow.fresh(first).superseded_by
    for state in ("READY", "CONFIRMED"):
        for verb in ("RETRY", "RESUBMIT"):
            why = told(desk, verb, second)
            assert again in why and state in why and "skip it" in why
            assert "resubmit it" not in why and "undo" not in why
        desk.work("CONFIRMED")
    desk.say("SKIP", desk.all.index(second), False)
    assert desk.flow.fresh(second).state == "SKIPPED"


def test_a_full_state_that_was_overtaken_is_resubmitted() -> None:
    """Proves that an older full state may not be retried, that the advice is to resubmit it, and
    that this is then taken; and that a resubmission which failed may be retried after older work
    that passed it meanwhile, since what it carries is newer."""
    desk = Changes(TMS, "NATURAL")
    first, second = rejected(desk), rejected(desk)
    desk.say("RESUBMIT", 0, False)
    desk.work("REJECTED")
    again = desk.flow.records["delivery", desk.flow.fresh(first).superseded_by]
    desk.say("RETRY", desk.all.index(desk.flow.fresh(second)), False)
    assert "comes later" in told(desk, "RETRY", again)
    desk.work("CONFIRMED")
    assert "resubmit it, which sends the content of today" in told(desk, "RETRY", second) or (
        desk.flow.fresh(second).state == "CONFIRMED"
    )
    desk.say("RETRY", desk.all.index(desk.flow.fresh(again)), False)
    desk.work("CONFIRMED")
    assert desk.flow.fresh(again).state == "CONFIRMED"


@pytest.mark.parametrize("kind", ["NATURAL", "SEARCHABLE"])
def test_departures_are_works_of_their_own(kind: str) -> None:
    """Proves that a later departure of a shipment, confirmed meanwhile, is no newer state of the
    first: the first, which has no item, is retried."""
    desk = Desk(kind)
    first = desk.one("post", on_reject="CONTINUE")
    desk.settle(first, "REJECTED", reason="period closed")
    desk.settle(desk.one("post", items=("2",)))
    request = operations_pb2.RetryDeliveryRequest(
        request_id=request_id(), delivery_id=first.id, reason="period 05 is open"
    )
    desk.call(f"{SERVICE}/RetryDelivery", request, OPERATOR)
    assert desk.fresh(first).state == "READY"
