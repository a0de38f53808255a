"""What became of a replay's items, whatever became of their deliveries."""

from __future__ import annotations

import pytest
from crossdock.delivery.v1 import delivery_pb2
from crossdock.replay.v1 import replay_pb2
from crossdock_hub.delivery import ledger
from crossdock_hub.replay import decisions
from crossdock_hub.replay.clearing import tally_of
from crossdock_hub.replay.decisions import outcome_of
from crossdock_hub.replay.records import ReplayItemRecord, ReplayRecord
from crossdock_hub.store.replay_reading import ItemCount

STATES = sorted(
    name.removeprefix("DELIVERY_STATE_")
    for name in delivery_pb2.DeliveryState.DESCRIPTOR.values_by_name
    if name != "DELIVERY_STATE_UNSPECIFIED"
)
# What nobody sends again by itself, what waits for a person, and what has left the database.
ENDED = sorted(ledger.DONE_STATES | {"REJECTED", "PARKED", "UNROUTED", ""})


def item() -> ReplayItemRecord:
    """One that was handed to the ledger."""
    return ReplayItemRecord(
        replay_id="r", number=1, flow=1, event_id="e", event_type="", object_id="o", root_id="o",
        operation="book", item="", earlier="", verdict="WOULD_POST", why="",
        approved_verdict="WOULD_POST", approved_why="", found_verdict="WOULD_POST",
        delivery_id="d", decided_at=1,
    )  # fmt: skip


def outcome(delivery_state: str) -> str:
    return outcome_of(item(), approved=False, aborted=False, delivery_state=delivery_state)


@pytest.mark.parametrize("state", ENDED)
def test_what_ended_or_waits_for_a_person_is_not_under_way(state: str) -> None:
    """Proves that an item whose delivery goes no further says how it ended, by itself and in the
    counts that are kept when the items go, in a word of the contract."""
    assert outcome(state) != "UNDER_WAY"
    assert replay_pb2.ReplayOutcome.Value(f"REPLAY_OUTCOME_{outcome(state)}")
    count = ItemCount("WOULD_POST", "WOULD_POST", "WOULD_POST", True, True, state, 3)
    record = ReplayRecord("r", "erp", "FAILED", b"", "DONE", 0, 1, ended_at=1)
    assert tally_of(record, [count]).outcomes == {outcome(state): 3}


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_delivery_is_under_way_or_an_end(state: str) -> None:
    """Proves that no state that the contract has is left out: an item is under way exactly where
    its delivery goes on by itself."""
    assert (outcome(state) == "UNDER_WAY") is (state in decisions.UNDER_WAY_STATES)
    assert (state in decisions.UNDER_WAY_STATES) is (state not in ENDED)


def test_each_end_has_a_word_of_its_own() -> None:
    """Proves that what an operator ended is told apart from what the vendor has, refused or never
    got, and from what nobody can tell any more."""
    assert outcome("SKIPPED") == "SKIPPED"
    assert outcome("") == "ARCHIVED"
    told = {state: outcome(state) for state in ENDED if state != "UNROUTED"}
    assert len(set(told.values())) == len(told)
