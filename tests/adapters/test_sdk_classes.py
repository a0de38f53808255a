"""Operation classes between a real grpc hub and a real vendor: two steps, look-ups that lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crossdock.delivery.v1 import delivery_pb2
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.manifest import ManifestError, parse
from sdk_house import House, housed
from sdk_ledger_hub import dispatch
from sdk_tiny_adapter import MANIFEST, tiny_adapter
from sdk_waiting import until


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with housed(tmp_path) as running:
        await until(lambda: running.subscribed == 1)
        yield running


async def again(house: House, work: delivery_pb2.Dispatch, ends: int) -> str:
    """The next attempt of a delivery whose outcome nobody knows; how it ended."""
    house.hub.again(work.delivery_id)
    house.queue.put(work)
    await until(lambda: len(house.hub.outcomes()[work.delivery_id]) == ends)
    return house.hub.outcomes()[work.delivery_id][-1]


# Two steps


async def test_a_draft_is_known_to_the_hub_before_it_is_confirmed(house: House) -> None:
    """Proves the order: draft, note at the hub, confirm; and what the vendor made is told."""
    work = dispatch("ship")
    house.queue.put(work)
    assert await house.outcome(work) == "CONFIRMED"
    assert house.hub.deliveries[work.delivery_id].draft == "D-1"
    assert house.tiny.confirmed == ["D-1"]
    assert [r.value for r in house.completion(work).vendor_references] == ["S-1"]


async def test_a_confirmation_whose_answer_is_lost_is_repeated_for_the_same_draft(
    house: House,
) -> None:
    """Proves that after a lost confirmation no second draft is made and none is confirmed."""
    house.tiny.faults.add({"kind": "reply_lost", "operation": "confirm", "count": 1})
    work = dispatch("ship")
    house.queue.put(work)
    assert await house.outcome(work) == "UNKNOWN"
    assert house.tiny.confirmed == ["D-1"], "the vendor did it, and nobody knows"
    assert await again(house, work, ends=2) == "CONFIRMED"
    assert (house.tiny.drafts, house.tiny.confirmed) == (["D-1"], ["D-1"])


async def test_a_draft_whose_answer_is_lost_may_be_made_again(house: House) -> None:
    """Proves that a draft nobody has heard of stays unconfirmed, and another takes its place."""
    house.tiny.faults.add({"kind": "reply_lost", "operation": "draft", "count": 1})
    work = dispatch("ship")
    house.queue.put(work)
    assert await house.outcome(work) == "UNKNOWN"
    assert await again(house, work, ends=2) == "CONFIRMED"
    assert (house.tiny.drafts, house.tiny.confirmed) == (["D-1", "D-2"], ["D-2"])


async def test_a_draft_that_the_hub_does_not_keep_is_never_confirmed(house: House) -> None:
    """Proves that a worker whose lease is lost between draft and confirmation sends no more."""
    house.hub.lose_leases = True
    work = dispatch("ship")
    house.queue.put(work)
    assert await house.outcome(work) == "UNKNOWN"
    assert "was not confirmed" in house.completion(work).reason
    assert (house.tiny.drafts, house.tiny.confirmed) == (["D-1"], [])


async def test_a_hub_that_is_away_at_the_draft_is_waited_for(house: House) -> None:
    """Proves that nothing is confirmed while the hub cannot be told of the draft."""
    house.tiny.faults.add({"kind": "slow", "delay_seconds": 0.5, "operation": "draft"})
    work = dispatch("ship")
    house.queue.put(work)
    await until(lambda: any(call.operation == "draft" for call in house.tiny.calls))
    await house.server.stop()
    await until(lambda: house.tiny.drafts == ["D-1"])
    assert house.tiny.confirmed == []
    await house.server.start()
    assert await house.outcome(work) in ("CONFIRMED", "UNKNOWN")
    assert house.tiny.confirmed in (["D-1"], [])
    assert bool(house.tiny.confirmed) <= bool(house.hub.deliveries[work.delivery_id].draft)


def test_a_two_step_operation_needs_its_draft() -> None:
    """Proves that wiring without a draft function, or a draft without the class, is refused."""
    adapter = tiny_adapter([])
    adapter.check()
    del adapter.drafts["ship"]
    with pytest.raises(ManifestError, match="ship is two_step and has no draft function"):
        adapter.check()
    other = Adapter(parse(MANIFEST.replace("two_step", "natural")), "tiny")
    other.drafts["ship"] = tiny_adapter([]).drafts["ship"]
    with pytest.raises(ManifestError, match="ship belongs to an operation that is not two_step"):
        other.check()


# Look-ups that fail or lie (G26)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error_before", "operation": "find"},
        {"kind": "throttle", "operation": "find"},
        {"kind": "slow", "operation": "find", "delay_seconds": 30},
        {"kind": "down"},
    ],
)
async def test_a_look_up_that_fails_is_never_not_found(
    house: House, fault: dict[str, object]
) -> None:
    """Proves that 500, 429, silence and a closed port leave the delivery in doubt."""
    if fault["kind"] == "down":
        await house.vendor.http.close()
    house.tiny.faults.add(fault)
    await house.tiny.apply_outage()
    work = dispatch(look_up=True)
    house.queue.put(work)
    assert await house.outcome(work) in ("UNKNOWN", "THROTTLED")
    assert house.tiny.bookings == []


@pytest.mark.parametrize("lie", ["wrong object", "no json"])
async def test_a_look_up_that_answers_about_something_else_is_no_find(
    house: House, lie: str
) -> None:
    """Proves that another's booking is not adopted, and a page that is no answer proves nothing."""
    house.tiny.lie = lie
    work = dispatch(look_up=True)
    house.queue.put(work)
    assert await house.outcome(work) == "UNKNOWN"
    assert not house.completion(work).vendor_references


async def test_two_found_adopts_the_oldest_and_tells_the_other(house: House) -> None:
    """Proves that a second booking under our reference is told apart from the one adopted."""
    work = dispatch(look_up=True)
    house.tiny.bookings += [
        {"key": work.vendor_reference, "number": 7},
        {"key": work.vendor_reference, "number": 9},
    ]
    house.queue.put(work)
    assert await house.outcome(work) == "CONFIRMED"
    told = house.completion(work)
    assert [r.value for r in told.vendor_references] == ["7"]
    assert [r.value for r in told.duplicates] == ["9"]
