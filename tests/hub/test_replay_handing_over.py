"""How a run hands planned work to the ledger: once, while it may, and no more than fits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from crossdock_hub.config import Limits
from crossdock_hub.identity import HUB
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replay.candidates import PAST
from crossdock_hub.replay.decisions import WOULD_BE_REFUSED
from crossdock_hub.replay.drafting import Parts, draft_of, flow_items
from crossdock_hub.replay.records import ReplayItemRecord, ReplayRecord, acts_of
from crossdock_hub.replay.running import Replayer, hand_over
from crossdock_hub.stepping import at_once
from crossdock_hub.store.event_contents import GONE
from decisions import CONTRACT, request_id
from first_flow import Flow, order
from removal_flow import put_back, take_out

ERP = "netsuite"


class Till(Flow):
    """A company whose only booking was refused, and a replay of it that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.approve(self.create(order("SO-1")).id)
        (self.failed,) = self.deliveries(ERP, "create_sales_order")
        self.settle(self.failed, "REJECTED")
        self.failed = self.fresh(self.failed)
        self.replay = ReplayRecord(
            id=request_id(), endpoint=ERP, wanted_set="FAILED", selection=b"", state="RUNNING",
            created_at=self.now, expires_at=self.now + 1, items_per_second=10,
        )  # fmt: skip
        self.put(self.replay)
        self.items: list[ReplayItemRecord] = []
        self.plan()

    def plan(self, *, lost_until: int = 0) -> None:
        """Plan the replay, over a database that was put back then, if it ever was."""
        (endpoint,) = [each for each in self.endpoints if each.id == ERP]
        draft = draft_of(self.replay, endpoint)
        draft.terms = replace(draft.terms, lost_until=lost_until)
        self.items = at_once(
            flow_items(
                Parts(CONTRACT, self.limits, lambda: self.now),
                draft,
                self.failed.root_id,
                self.events,
                self.deliveries(),
                None,
            )
        )
        for item in self.items:
            self.records["replay_item", item.replay_id, item.number] = item

    def put(self, replay: ReplayRecord) -> None:
        self.records["replay", replay.id] = replay

    def hand_over(self) -> list[DeliveryRecord]:
        """What a slice does that read the items while they waited; all that the replay made."""
        events = {event.id: event for event in self.events}
        self.decide(HUB, "replay", lambda unit: at_once(hand_over(unit, self.items, events)))
        return [record for record in self.deliveries() if record.replay_id]

    def _check_delivery(
        self, before: DeliveryRecord | None, after: DeliveryRecord, *, by_word: bool = False
    ) -> None:
        """What a replay replaces, an operator has spoken about by starting it."""
        super()._check_delivery(before, after, by_word=by_word or bool(after.superseded_by))

    def item(self) -> ReplayItemRecord:
        (item,) = self.items
        found: ReplayItemRecord = self.records["replay_item", item.replay_id, item.number]
        return found


def test_what_agrees_with_its_plan_is_made_with_a_token_that_grows() -> None:
    """Proves that a planned booking becomes one delivery that goes on with the token of the one it
    replaces, so that no word about the old one can be taken for one about the new."""
    till = Till()
    assert [item.verdict for item in till.items] == ["WOULD_POST"]
    (made,) = till.hand_over()
    assert till.failed.token > 0
    assert made.token == till.failed.token
    assert till.take(made) == till.failed.token + 1
    assert till.item().delivery_id == made.id
    assert till.fresh(till.failed).superseded_by == made.id


def test_a_replay_that_was_paused_since_hands_nothing_over() -> None:
    """Proves that items which were read before a pause or an abort are not decided after it, and
    are when it goes on."""
    till = Till()
    for state in ("PAUSED", "ABORTED", "DONE"):
        till.put(replace(till.replay, state=state))
        assert till.hand_over() == []
        assert till.item().decided_at is None
    till.put(till.replay)
    assert len(till.hand_over()) == 1


def test_a_replay_whose_endpoint_is_out_of_the_file_waits_for_it() -> None:
    """Proves that a start of the hub without the endpoint pauses a replay that runs and says how
    to go on, uses up none of its items, and that it goes on once the endpoint is back."""
    till = Till()
    take_out(till)
    for _ in range(2):
        assert till.hand_over() == []
        assert till.item().decided_at is None
    paused: ReplayRecord = till.records["replay", till.replay.id]
    (act,) = acts_of(paused)
    assert (paused.state, act.verb, act.by) == ("PAUSED", "fault", "hub")
    assert "put it back under this id" in act.reason and "resume the replay" in act.reason
    put_back(till)
    till.put(replace(paused, state="RUNNING"))
    assert len(till.hand_over()) == 1


def test_an_event_that_was_emptied_since_the_plan_is_no_fault() -> None:
    """Proves that what an event said may go between plan and run, also under a retention that was
    made longer again: its item says so, nothing is made of it, and the replay runs on."""
    till = Till()
    till.events = [replace(event, body=GONE) for event in till.events]
    assert till.hand_over() == []
    item = till.item()
    assert (item.found_verdict, item.found_why) == (WOULD_BE_REFUSED, PAST)
    assert till.records["replay", till.replay.id].state == "RUNNING"


def test_a_second_slice_over_the_same_items_changes_nothing() -> None:
    """Proves that of two slices that read the same items, as when one commits late, the second
    leaves delivery and outcome of the first as they are."""
    till = Till()
    (made,) = till.hand_over()
    item = till.item()
    assert till.hand_over() == [made]
    assert till.item() == item


class Reading:
    """Stands for the tables: so much of the replay moves, and items that wait without end."""

    def __init__(self, moving: int) -> None:
        self.moves = moving
        self.asked: list[int] = []

    async def moving(self, replay_id: str, states: Any) -> int:
        return self.moves

    async def decided_since(self, replay_id: str, since: int) -> list[tuple[int, int]]:
        return []

    async def waiting_items(self, replay_id: str, most: int) -> list[ReplayItemRecord]:
        self.asked.append(most)
        return []


class Writer:
    """Stands for the committer, and takes whatever it is given."""

    def submit(self, command: Any) -> asyncio.Future[Any]:
        command.answer.set_result(None)
        done: asyncio.Future[Any] = command.answer
        return done


async def test_a_run_keeps_only_so_much_under_way() -> None:
    """Proves that a slice is as large as the window has room, beside what the rate allows, and
    that a full window hands nothing over, so that live work finds room behind it."""
    limits = Limits()
    most = limits.replay_moving_max
    till = Till()
    fast = replace(till.replay, items_per_second=10_000)
    for moving, expected in ((0, [limits.replay_slice_items]), (most - 3, [3]), (most, [])):
        reading = Reading(moving)
        replayer = Replayer(reading, Writer(), limits, lambda: till.now)  # type: ignore[arg-type]
        await replayer._slice(fast)
        assert reading.asked == expected
