"""Replays over a database that was put back: what was sent in the lost time is not sent again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from back_ups import copy_database, differences, put_back_database
from crossdock.delivery.v1 import delivery_pb2
from crossdock_hub.bus.tie import compare_at_start
from crossdock_hub.delivery import ledger
from crossdock_hub.records import DATABASE_OLDER, Difference, Tie
from crossdock_hub.replay import decisions
from crossdock_hub.replay.records import ReplayRecord, acts_of
from crossdock_hub.replay.running import LOST_TIME
from crossdock_hub.store import rows
from crossdock_hub.store.bus_rows import keep_tie
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.replay_reading import ReplayReader
from crossdock_hub.unit import time_of_id
from decisions import ERP as ERP_CALLER
from decisions import OPERATIONS
from fixtures_hub import Lane, RunningHub
from played_endpoint import PlayedEndpoint
from replay_desk import Desk
from replayed_flows import LIMITS, NOW, delivery, event_id, spec, terms, work
from stored_flow import Books, books
from story import Story, label, unique
from test_replay_handing_over import ERP, Till

__all__ = ["books"]

CALL_SECONDS = 1.0
LANE = Lane(1)
OPERATION = "subscribe_tracking"
PUT_BACK = NOW - 1


def decided(operation: str, *known: Any, lost_until: int = PUT_BACK) -> decisions.Decision:
    """What a replay makes of an event, of which the copy knows these deliveries; the run of a plan
    decides the same."""
    lost = replace(terms(), lost_until=lost_until)
    work_of = [work(delivery(5, operation, "READY"))]
    (decision,) = decisions.decide(lost, work_of, list(known), spec, NOW, LIMITS)
    planned = {decision.candidate.identity: decision.verdict}
    run = decisions.decide_again(lost, work_of, planned, list(known), spec, NOW, LIMITS)
    assert run == [(decision, False)]
    return decision


@pytest.mark.parametrize(
    ("operation", "becomes"),
    [("book", "RESOLVING"), ("pay", "PARKED"), ("amend", "PARKED"), ("change", "sent")],
)
def test_what_the_copy_knows_nothing_of_may_be_done(operation: str, becomes: str) -> None:
    """Proves that an event of before the restore of which the copy knows no delivery is looked up
    first, or parks where nobody can be asked and where its key may have died, and that only a full
    state is sent; that its tokens are above all that were given out before the restore; and that a
    plan promises no post of what parks."""
    decision = decided(operation)
    made = decision.record
    assert made is not None
    assert (made.id, made.token) == ("canonical-005", PUT_BACK)
    said = {"RESOLVING": "looked up first", "PARKED": "parks: ", "sent": ""}[becomes]
    assert decision.why.startswith(said) and bool(decision.why) == bool(said)
    instead = ledger.instead_of_call(made, spec(operation), NOW)
    assert ("sent" if instead is None else instead.state) == becomes
    assert decision.verdict == ("WOULD_PARK" if becomes == "PARKED" else "WOULD_POST")


def test_two_steps_park() -> None:
    """Proves that work in two steps is not drafted again: its draft of then may be confirmed."""
    made = decided("amend").record
    assert made is not None
    two_steps = replace(spec("amend"), operation_class="TWO_STEP")
    instead = ledger.instead_of_call(made, two_steps, NOW)
    assert instead is not None and instead.state == "PARKED"


def test_what_a_plan_says_parks_does() -> None:
    """Proves that work which can't be asked about is planned as WOULD_PARK with the reason, is
    handed over as planned, is not sent, and counts as PARKED."""
    till = Till()
    till.records[LOST_TIME] = Difference(DATABASE_OLDER, "put back", 1, till.now, till.now)
    del till.records["delivery", till.failed.id]
    key = ("flow", till.failed.root_id)
    till.records[key] = tuple(each for each in till.records[key] if each != till.failed.id)
    till.replay = replace(till.replay, wanted_set="MISSING")
    till.put(till.replay)
    till.register(ERP_CALLER, {**OPERATIONS[ERP], "create_sales_order": "NONE"})
    till.plan(lost_until=till.now)
    assert [item.verdict for item in till.items] == ["WOULD_PARK"]
    assert till.items[0].why.startswith("parks: ")
    (made,) = till.hand_over()
    assert not till.begin(till.dispatch(made)).token
    after = till.fresh(made)
    assert after.state == "PARKED" and after.waiting_on in till.items[0].why
    item = till.item()
    assert item.found_verdict == "WOULD_PARK"
    told = decisions.outcome_of(item, approved=False, aborted=False, delivery_state=after.state)
    assert told == "PARKED"


def test_what_was_superseded_in_the_copy_may_be_done() -> None:
    """Proves that what the copy knows as superseded is looked up as well: a replay may have sent it
    since, and nothing that is superseded is put in doubt by the restore."""
    gone = delivery(5, "book", "SUPERSEDED", first_unknown_at=None)
    made = decided("book", gone).record
    assert made is not None and made.first_unknown_at is not None


@pytest.mark.parametrize("why", ["of later", "known", "never put back"])
def test_what_can_not_be_lost_is_sent(why: str) -> None:
    """Proves that nobody is asked about an event of after the restore, about work whose delivery is
    there and says itself that it was refused, or in a database that was never put back."""
    known = [delivery(5, "book", "REJECTED")] if why == "known" else []
    recorded = time_of_id(event_id(5))
    until = {"of later": recorded - 1, "known": PUT_BACK, "never put back": 0}[why]
    made = decided("book", *known, lost_until=until).record
    assert made is not None
    assert (made.first_unknown_at, made.token) == (None, 0)


def test_a_run_knows_when_the_database_was_put_back() -> None:
    """Proves that what a run hands over is in doubt by the difference that the restore has left."""
    till = Till()
    till.records[LOST_TIME] = Difference(DATABASE_OLDER, "put back", 1, till.now, till.now)
    del till.records["delivery", till.failed.id]
    key = ("flow", till.failed.root_id)
    till.records[key] = tuple(each for each in till.records[key] if each != till.failed.id)
    (made,) = till.hand_over()
    assert (made.endpoint, made.first_unknown_at) == (ERP, time_of_id(made.event_id))
    assert not till.begin(till.dispatch(made)).token
    assert till.fresh(made).state == "RESOLVING"


async def test_what_ran_when_the_copy_was_made_is_paused(books: Books) -> None:
    """Proves that a start on a copy pauses the replays that ran in it, says why and how to go on,
    leaves plans and ended replays as they are, and lets planners know when it was."""
    states = {"RUNNING": "PAUSED", "PLANNED": "PLANNED", "PAUSED": "PAUSED", "DONE": "DONE"}
    replays = [
        ReplayRecord(
            id=state, endpoint=ERP, wanted_set="MISSING", selection=b"", state=state,
            created_at=1, expires_at=2,
        )
        for state in states
    ]  # fmt: skip
    reader = ReplayReader(books.store)
    assert await reader.lost_until() == 0
    async with books.store.write() as connection:
        await keep_tie(connection, Tie("one", -1 - 7, 6))
        await write_rows(connection, [(rows.REPLAYS, replays)])
        _, kind = await compare_at_start(connection, None, {}, 10, 20)
    assert kind == DATABASE_OLDER
    assert await reader.lost_until() == 20
    for before, after in states.items():
        found = await reader.replay(before)
        assert found is not None and found.state == after
        said = [(act.verb, act.by, "resume it" in act.reason) for act in acts_of(found)]
        assert said == ([("fault", "hub", True)] if before == "RUNNING" else [])


async def test_what_a_lost_run_has_sent_is_looked_up(own_hub: RunningHub, tmp_path: Path) -> None:
    """Proves with a hub that a plan which was run after the copy was made, and is run again once
    that was put back, asks the vendor instead of calling it a second time; the plan says so too."""
    saved = tmp_path / "saved"
    async with Story(own_hub, LANE) as story:
        shipment = await story.packed()
        sold = label(shipment.id, shipment.packages[0].id, unique("1Z"))
        await story.carrier.labels.CreateLabel(sold)
        async with PlayedEndpoint(
            own_hub, LANE.carrier, {OPERATION: "SEARCHABLE"}, call_seconds=CALL_SECONDS
        ) as carrier:
            desk = Desk(story.operator, LANE.carrier)
            missing = {"object_id": shipment.order_id, "operation": OPERATION}
            plan = await desk.plan("MISSING", **missing)
            assert own_hub.stop() == 0
            copy_database(own_hub, saved)
            own_hub.start()
            await desk.start(plan)
            sent, _ = await carrier.work("CONFIRMED")
            await desk.settled(plan)
            own_hub.kill()
            put_back_database(own_hub, saved)
            own_hub.start()
            assert differences(own_hub)[DATABASE_OLDER] == 1
            (item,) = await desk.items(await desk.plan("MISSING", **missing))
            assert "looked up first" in item.planned_why
            await desk.start(plan)
            asked = await carrier.take()
            while asked.kind != delivery_pb2.ATTEMPT_KIND_LOOK_UP:
                refused = await carrier.try_begin(asked)
                assert refused.refusal.reason == "LEASE_LOST", "called again"
                asked = await carrier.take()
            assert asked.delivery_id == sent.delivery_id
            await carrier.complete(asked.delivery_id, await carrier.begin(asked), "CONFIRMED")
            await desk.settled(plan)
            assert await desk.outcomes(plan) == {"POSTED": 1}
    assert own_hub.count("attempts", "kind = 'CALL'") == 0
