"""What a database that was put back doubts, and how the doubt stays with what replaces the work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import flows, intervention, ledger
from crossdock_hub.delivery.guarding import costs
from crossdock_hub.identity import HUB
from crossdock_hub.reading.presenting import delivery_message
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.bus_rows import doubt_open_deliveries
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.reading import ALL_STATES
from crossdock_hub.unit import Refused
from decisions import ERP, OPERATIONS
from first_flow import Flow
from ledger_vendor import Desk
from operator_says import say
from replayed_flows import NOW, delivery, one
from sqlalchemy import select
from stored_flow import Books, books
from test_guarding import Till

__all__ = ["books"]

FLOOR = 7 << 20
LIMITS = Limits()
DOUBTED = set(ALL_STATES) - {"CONFIRMED", "SUPERSEDED", "SKIPPED"}


async def put_back(books: Books, known: list[DeliveryRecord]) -> dict[str, DeliveryRecord]:
    """Deliveries as they are after their database was put back, by id."""
    async with books.store.write() as connection:
        await write_rows(connection, [(rows.DELIVERIES, known)])
        await doubt_open_deliveries(connection, NOW - SECOND, NOW, FLOOR)
        found = (await connection.execute(select(t.deliveries))).mappings().all()
    return {row["id"]: rows.delivery_record(row) for row in found}


async def test_all_that_may_still_be_called_is_doubted(books: Books) -> None:
    """Proves that after a restore work of every state from which a vendor may be called again, by
    hub, word, replay or routing, is in doubt, and that look-ups from before the copy prove nothing;
    and that what is settled is left alone."""
    known = [
        delivery(n, "book", state, not_found=2) for n, state in enumerate(sorted(ALL_STATES), 1)
    ]
    found = await put_back(books, known)
    doubted = {r.state for r in found.values() if r.first_unknown_at == NOW - SECOND}
    assert doubted == DOUBTED
    for record in found.values():
        if record.state in DOUBTED:
            assert record.calls_reached >= 1 and record.not_found == ledger.UNSETTLED
            assert record.token == FLOOR, "a token of the lost time may be as high"


async def test_tokens_go_on_above_those_of_any_earlier_restore(books: Books) -> None:
    """Proves that a database that is put back again, and again, gives no token out twice."""
    record = delivery(1, "book", "READY", token=3)
    first = (await put_back(books, [record]))[record.id]
    begun = replace(first, token=first.token + 5)
    async with books.store.write() as connection:
        await write_rows(connection, [(rows.DELIVERIES, [begun])])
        await doubt_open_deliveries(connection, NOW, NOW, FLOOR)
        await doubt_open_deliveries(connection, NOW, NOW, FLOOR + (1 << 20))
        row = (await connection.execute(select(t.deliveries))).mappings().one()
    assert rows.delivery_record(row).token == FLOOR + (1 << 20) > begun.token


@pytest.mark.parametrize("state", ["UNROUTED", "PARKED"])
async def test_what_replaces_the_work_goes_on_with_its_tokens(books: Books, state: str) -> None:
    """Proves that a replay and a resubmission after a restore, which may have been made in the lost
    time under the same id, begin above the tokens of that time."""
    endpoint = {"endpoint": ""} if state == "UNROUTED" else {}
    record = delivery(1, "book", state, **endpoint)
    found = (await put_back(books, [record]))[record.id]
    made = one(found).record
    assert made is not None and made.token >= FLOOR
    if state == "PARKED":
        spec = flows.default_spec("book", Limits())
        case = intervention.Case(found, [found], spec, NOW, Limits())
        again = intervention.resubmit(case, not_found_at_vendor=True).successor
        assert again is not None and again.token >= FLOOR


@pytest.mark.parametrize("state", ["PARKED", "REJECTED"])
async def test_a_retry_after_a_restore_looks_first(books: Books, state: str) -> None:
    """Proves that an operator's retry of work that stopped before the copy asks the vendor first:
    an earlier retry, which the database lost, may have been done."""
    record = delivery(1, "book", state, calls_reached=1)
    found = (await put_back(books, [record]))[record.id]
    desk = Desk("SEARCHABLE")
    spec = flows.default_spec("book", Limits())
    spec = replace(spec, operation_class="SEARCHABLE")
    case = intervention.Case(found, [found], spec, desk.now, Limits())
    decided = intervention.retry(case, not_found_at_vendor=False)
    assert decided.record.state == "RESOLVING"


@pytest.mark.parametrize("state", ["PARKED", "REJECTED", "UNROUTED"])
async def test_a_replay_after_a_restore_carries_the_doubt(books: Books, state: str) -> None:
    """Proves that what a replay makes of work that stopped before the copy is looked up before it
    is sent, also where nobody served that work."""
    endpoint = {"endpoint": ""} if state == "UNROUTED" else {}
    record = delivery(1, "book", state, **endpoint)
    made = one((await put_back(books, [record]))[record.id]).record
    assert made is not None
    assert (made.first_unknown_at, made.calls_reached) == (NOW - SECOND, 1)


@pytest.mark.parametrize(
    ("state", "why", "cost"),
    [
        ("REJECTED", "", 0),
        ("UNROUTED", "", 0),
        ("PARKED", "SPENDING", 0),
        ("PARKED", "", 1),
        ("READY", "", 1),
        ("UNKNOWN", "", 1),
    ],
)
async def test_a_restore_itself_takes_no_room_of_an_order(
    books: Books, state: str, why: str, cost: int
) -> None:
    """Proves that the doubt of a restore is no purchase: what was refused, not routed or stopped by
    the spending guard still counts nothing of what its order may buy, and what is open once."""
    record = delivery(1, "book", state, hold_reason=why)
    found = (await put_back(books, [record]))[record.id]
    assert (costs(record), costs(found)) == (cost, cost)


async def test_what_was_let_go_before_a_restore_is_asked_about_again(books: Books) -> None:
    """Proves that the guard looks again at what a person had let go, as its call may have been
    made since the copy."""
    record = delivery(1, "book", "READY", released=True)
    assert not (await put_back(books, [record]))[record.id].released


@pytest.mark.parametrize(("state", "calls", "cost"), [("UNKNOWN", 4, 1), ("REJECTED", 2, 0)])
async def test_lost_calls_without_a_draft_bought_nothing(
    books: Books, state: str, calls: int, cost: int
) -> None:
    """Proves that two steps whose draft was never noted cost after a restore what they cost before,
    however often they were asked for: open they count once, refused not at all."""
    spec = {"operation_class": "TWO_STEP", "calls_maybe_done": calls, "calls_reached": calls}
    record = replace(delivery(1, "book", state), **spec)
    found = (await put_back(books, [record]))[record.id]
    assert found.operation_class == "NONE"
    assert (costs(record), costs(found)) == (cost, cost)


async def test_labels_that_were_not_bought_before_a_restore_leave_their_room(books: Books) -> None:
    """Proves that an order may buy after a restore what it could before: labels of which look-ups
    find nothing are bought, none of them is stopped, and the limit holds."""
    till = Till(budget=4)
    labels = till.event("buy", items=("a", "b", "c"))
    for found in (await put_back(books, labels)).values():
        till.records["delivery", found.id] = found
    for label in labels:
        assert till.begin(till.dispatch(label)).refusal.reason == "LEASE_LOST"
        # The first may be too early for a call of just before the restore, and counts for nothing.
        for _ in range(1 + till.limits.not_found_needed):
            till.pass_time(till.limits.settle_seconds_default)
            till.settle(label, "NOT_FOUND")
        till.settle(label)
    assert {till.fresh(label).state for label in labels} == {"CONFIRMED"}
    assert till.one("buy", key="d").state == "READY"
    assert till.one("buy", key="e").hold_reason == "SPENDING"


@pytest.mark.parametrize("settled", [True, False])
async def test_a_refusal_of_a_lost_call_takes_back_no_other(books: Books, settled: bool) -> None:
    """Proves that a call of before the copy still counts where a look-up after the restore finds a
    refusal: a call of the lost time may have been refused."""
    till = Till(budget=2)
    label = till.one("buy")
    if settled:
        till.lose(label)
    else:
        till.settle(label, "UNKNOWN")
    (found,) = (await put_back(books, [till.fresh(label)])).values()
    till.records["delivery", found.id] = found
    if settled:
        assert till.begin(till.dispatch(label)).refusal.reason == "LEASE_LOST"
    till.pass_time(till.limits.settle_seconds_default)
    till.settle(label, "REJECTED")
    assert (till.fresh(label).state, costs(till.fresh(label))) == ("REJECTED", 1)


@pytest.mark.parametrize(
    ("begun", "draft", "kind"),
    [("TWO_STEP", "", "NONE"), ("", "", "NONE"), ("TWO_STEP", "D-1", "TWO_STEP")],
)
async def test_two_steps_after_a_restore_need_the_draft(
    books: Books, begun: str, draft: str, kind: str
) -> None:
    """Proves that after a restore a call of two steps is repeated only where the copy knows its
    draft: one that was noted since, which the database lost, may have been confirmed, and so a
    second one would be sold; such work is parked, and no word or replay sends it unlooked."""
    record = delivery(1, "book", "DISPATCHED", operation_class=begun, draft=draft)
    found = (await put_back(books, [record]))[record.id]
    spec = replace(flows.default_spec("book", Limits()), operation_class="TWO_STEP")
    assert ledger.careful_class(found, spec) == kind
    instead = ledger.instead_of_call(found, spec, NOW)
    assert (instead is None) == bool(draft)
    if instead is None:
        return
    assert instead.state == "PARKED"
    case = intervention.Case(instead, [instead], spec, NOW, Limits())
    with pytest.raises(Refused, match="OUTCOME_UNKNOWN"):
        intervention.retry(case, not_found_at_vendor=False)
    looked = intervention.retry(case, not_found_at_vendor=True).record
    assert ledger.instead_of_call(looked, spec, NOW) is None


def test_a_draft_that_got_lost_is_repeated_without_a_restore() -> None:
    """Proves that the doubt of an ordinary call does not park two steps: a draft that was not noted
    was not confirmed either."""
    desk = Desk("TWO_STEP")
    record = desk.one()
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    desk.pass_time(61)
    assert desk.fresh(record).state == "READY"


def test_routing_after_a_restore_carries_the_doubt() -> None:
    """Proves that work which nobody served when the copy was made is looked up before it is sent:
    it may have been routed and done since."""
    flow = Flow()
    expected = replace(flow.records["endpoint", ERP.endpoint], manifest=b"", state="EXPECTED")
    flow.records["endpoint", ERP.endpoint] = expected
    order_id = flow.create().id
    flow.approve(order_id)
    (unserved,) = flow.deliveries()
    flow.records["delivery", unserved.id] = replace(
        unserved, first_unknown_at=flow.now, calls_reached=1, token=FLOOR
    )
    flow.register(ERP, OPERATIONS["netsuite"])
    flow.decide(HUB, "reroute", lambda unit: flows.reroute(unit, order_id))
    made = flow.delivery("netsuite", "create_sales_order")
    assert made.token == FLOOR
    refused = flow.begin(flow.dispatch(made))
    assert refused.refusal.reason == "LEASE_LOST"
    assert flow.fresh(made).state in ("UNKNOWN", "RESOLVING")


def looked_for(desk: Desk, record: DeliveryRecord) -> int:
    """How often a delivery is looked up in vain until it may be called; each time but the first has
    to come no earlier than the settle time after the one before."""
    look_ups = 0
    while (now := desk.fresh(record)).state != "READY":
        assert now.state == "RESOLVING" and look_ups < 9, now.state
        desk.settle(record, "NOT_FOUND")
        look_ups += 1
        desk.pass_time(LIMITS.settle_seconds_default - 1)
        assert desk.fresh(record).state in ("UNKNOWN", "READY"), "looked up before it has settled"
        desk.pass_time(1)
    return look_ups


SETTLED_LOOK_UPS = 1 + LIMITS.not_found_needed


@pytest.mark.parametrize("state", ["READY", "HELD", "UNKNOWN", "RESOLVING"])
async def test_the_first_look_up_after_a_restore_counts_for_nothing(
    books: Books, state: str
) -> None:
    """Proves that what the lost time may have called is not called again before two look-ups found
    nothing that came after the settle time of any call of before the restore, whatever state it was
    in when the copy was made: the first one may come right after such a call."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    if state in ("UNKNOWN", "RESOLVING"):
        desk.settle(record, "UNKNOWN")
        desk.pass_time(LIMITS.settle_seconds_default if state == "RESOLVING" else 1)
        assert desk.fresh(record).state == state
    if state == "HELD":
        desk.settle(record, "RETRY")
    (found,) = (await put_back(books, [desk.fresh(record)])).values()
    desk.records["delivery", found.id] = found
    desk.pass_time(LIMITS.settle_seconds_default + LIMITS.retry_seconds_max)
    if state in ("READY", "HELD"):
        assert desk.begin(desk.dispatch(record)).refusal.reason == "LEASE_LOST"
    assert looked_for(desk, record) == SETTLED_LOOK_UPS


async def test_a_lease_of_before_the_restore_settles_nothing(books: Books) -> None:
    """Proves that an attempt which was running when the copy was made, and whose lease runs out
    after the restore, is no measure of when the vendor was called last: the lost time may have
    called again, so the first look-up does not count either."""
    desk = Desk("SEARCHABLE")
    record = desk.one()
    desk.take(record)
    (found,) = (await put_back(books, [desk.fresh(record)])).values()
    desk.records["delivery", found.id] = found
    desk.pass_time(LIMITS.lease_seconds_default + LIMITS.settle_seconds_default + 1)
    assert looked_for(desk, record) == SETTLED_LOOK_UPS


def test_a_look_up_that_another_class_asks_for_counts_for_nothing() -> None:
    """Proves that a call which its endpoint would have repeated, and has to look up since it says
    so, is looked for twice after the settle time, and not right after the call only."""
    desk = Desk("KEYED")
    record = desk.one()
    desk.settle(record, "UNKNOWN")
    while desk.fresh(record).state != "READY":
        desk.pass_time(0.1)
    desk.register(desk.caller_of(record), {"book": "SEARCHABLE"})
    assert desk.begin(desk.dispatch(record)).HasField("refusal")
    assert looked_for(desk, record) == SETTLED_LOOK_UPS
    desk.settle(record)


def test_a_look_up_that_a_person_asks_for_counts_for_nothing() -> None:
    """Proves that a retry of a call in doubt, which may come a moment after that call, is looked
    for twice after the settle time, and is adopted at once where it is found at once."""
    for found in (True, False):
        desk = Desk("KEYED", replace(LIMITS, calls_max_default=1))
        record = desk.one()
        desk.settle(record, "UNKNOWN")
        assert desk.fresh(record).state == "PARKED"
        desk.register(desk.caller_of(record), {"book": "SEARCHABLE"})
        say(desk, "RETRY", record)
        if found:
            desk.settle(record)
            assert desk.fresh(record).state == "CONFIRMED"
        else:
            assert delivery_message(desk.fresh(record)).not_found == 0
            desk.settle(record, "NOT_FOUND")
            assert (desk.fresh(record).state, desk.fresh(record).not_found) == ("UNKNOWN", 0)


def test_a_refusal_ends_an_older_doubt() -> None:
    """Proves that work refused after a call without an answer is not in doubt: a retry calls."""
    desk = Desk("KEYED")
    record = desk.one()
    desk.complete(record, desk.take(record), "UNKNOWN", reason="timed out")
    desk.pass_time(61)
    desk.complete(record, desk.take(record), "REJECTED", reason="closed period")
    assert not intervention.is_in_doubt(desk.fresh(record), Limits())
