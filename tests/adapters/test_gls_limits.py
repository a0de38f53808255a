"""What GLS allows in a day, and what an attempt has time for: polls, look-ups, printed labels."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.gls import adapter, translate
from crossdock_adapters.gls.client import Parcel
from crossdock_adapters.gls.quota import CURSOR, SPLITS_PER_DAY, Count, TrackingQuota, encode
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.conformance import packed_parcel
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NotFound,
    OutcomeUnknown,
    Retry,
    Unreachable,
)
from crossdock_adapters.sdk.settings import SettingsError
from gls_world import World, running
from test_sequences import KeptCursors

PATIENCE_SECONDS = 20
PAGE = [f"00TEST{n:02}" for n in range(10)]


def calls(world: World, *operations: str) -> list[str]:
    """The keys of the calls to tracking, in order."""
    wanted = operations or ("track", "search")
    return [call.key for call in world.sandbox.calls if call.operation in wanted]


async def round_of(world: World, times: int = 1) -> None:
    for _ in range(times):
        await adapter.poll_tracking(world.poll(), world.client)


def under_way(world: World, *numbers: str) -> None:
    world.hub.stored = [packed_parcel.label("GLS", number) for number in numbers]


async def test_a_page_is_ten_parcels_and_the_share_of_a_day_ends() -> None:
    """Proves that eleven parcels are two calls, that the next poll goes on where this one ended,
    and that no call is made once the day's share of the quota is spent."""
    async with running(tracking_calls_per_day=3, tracking_calls_for_look_ups=1) as world:
        under_way(world, *PAGE, "00TEST10")
        await round_of(world, 3)
        assert [key.count(",") + 1 for key in calls(world)] == [10, 1]


async def test_the_parcel_of_a_return_is_followed() -> None:
    """Proves that a return's label, which a desk had sold, is asked about as any other, and counts
    towards the day's share of the quota."""
    async with running(tracking_calls_per_day=3, tracking_calls_for_look_ups=1) as world:
        (label,) = await world.bought()
        world.hub.give_back(label)
        await round_of(world, 3)
        assert calls(world) == [label.tracking_number] * 2
        assert world.hub.milestones(label.tracking_number) == [shipment_pb2.MILESTONE_LABEL_CREATED]


async def test_a_spent_quota_ends_the_poll_and_loses_no_place() -> None:
    """Proves that a 429 of tracking ends the poll, and the same parcels are asked about again."""
    async with running({"quota_per_day": 0}) as world:
        await world.bought()
        with pytest.raises(Retry, match="QuotaViolation"):
            await round_of(world)
        assert world.cursor == b""


async def test_look_ups_are_calls_of_the_day_too() -> None:
    """Proves that searches, and questions after a cancellation, are taken from what polling may
    spend, so that both together stay within GLS's quota, and that a look-up is never kept from
    asking by our own count."""
    async with running(tracking_calls_per_day=4, tracking_calls_for_look_ups=1) as world:
        assert isinstance(await adapter.find_label(world.packed(), world.client), NotFound)
        await world.bought()
        await world.misbehave("pending_cancel", 1)
        await world.misbehave("silent_cancel", 1)
        with pytest.raises(OutcomeUnknown, match="ERROR"):
            await adapter.void_label(world.voided(), world.client)
        assert len(calls(world)) == 2
        await round_of(world, 5)
        assert len(calls(world)) == 3, "one call of four is kept for look-ups"
        for _ in range(3):
            found = await adapter.find_label(world.packed(), world.client)
            assert isinstance(found, Confirmed)
        assert len(calls(world)) == 6


async def test_a_share_for_look_ups_that_leaves_nothing_is_refused() -> None:
    """Proves that settings under which no parcel is ever polled are refused at the start."""
    async with running(tracking_calls_per_day=100) as world:
        with pytest.raises(SettingsError, match="tracking_calls_for_look_ups"):
            await adapter.connect(world.settings, world.secrets)


async def test_one_refused_parcel_is_found_once_a_day_in_few_calls() -> None:
    """Proves that of a page which GLS refuses the nine others are told, in fewer calls than asking
    about each, and that the tenth is left out from then on: the next page is one call."""
    async with running({"refused_numbers": [PAGE[6]]}) as world:
        await world.bought()
        (own,) = world.hub.stored
        world.hub.stored = [*[packed_parcel.label("GLS", each) for each in PAGE[1:]], own]
        await round_of(world)
        assert world.hub.milestones(own.tracking_number)
        first = len(calls(world))
        assert first <= 9
        await round_of(world)
        (again,) = calls(world)[first:]
        assert again.split(",") == [each for each in [*PAGE[1:], own.tracking_number]
                                    if each != PAGE[6]]  # fmt: skip


async def after_failures(world: World) -> str:
    """Rounds until the page that fails because of PAGE[6] was asked about by halves; the number of
    its other neighbour that GLS made."""
    await world.bought()
    (own,) = world.hub.stored
    world.hub.stored = [*[packed_parcel.label("GLS", each) for each in PAGE[1:]], own]
    for _ in range(adapter.PAGE_FAILURES_MAX - 1):
        with pytest.raises(Retry, match="500") as told:
            await round_of(world)
        assert told.value.after_seconds == 77
    await round_of(world)
    assert world.hub.milestones(own.tracking_number)
    assert len(calls(world)) <= adapter.PAGE_FAILURES_MAX + 8
    return str(own.tracking_number)


async def test_a_failure_that_passes_leaves_no_parcel_out() -> None:
    """Proves that a parcel whose call failed once is asked about by itself the next time, and with
    its page again once GLS answered for it."""
    async with running({"failing_numbers": [PAGE[6]]}, tracking_interval_seconds=77) as world:
        own = await after_failures(world)
        world.sandbox._failing.clear()
        before = len(calls(world))
        await round_of(world, 2)
        assert [key.count(",") for key in calls(world)[before:]] == [8, 0, 9]
        assert calls(world)[-1].split(",") == [*PAGE[1:], own]


def test_failures_of_a_parcel_are_those_of_one_day() -> None:
    """Proves that failures of a parcel alone are counted until GLS answers for it, or the day is
    over, and that as long it is suspected."""
    today = date(2026, 3, 4)
    quota = TrackingQuota(3, 1, lambda: today)
    assert [quota.failed_alone("A") for _ in range(2)] == [1, 2] and quota.failed_alone("B") == 1
    quota.answered(["B", "C"])
    assert quota.suspects(["A", "B", "C"]) == ["A"]
    today = date(2026, 3, 5)
    assert quota.suspects(["A", "B", "C"]) == [] and quota.failed_alone("A") == 1


async def test_a_parcel_that_makes_its_page_fail_holds_up_no_other() -> None:
    """Proves that a page which GLS answers with 500 is repeated no faster than parcels are polled,
    and at the third time is asked about by halves, so that the others are told and the pages behind
    it are reached; and that the one is asked about beside its page then, and left out for the day
    once it failed alone for the third time."""
    async with running({"failing_numbers": [PAGE[6]]}, tracking_interval_seconds=77) as world:
        await after_failures(world)
        for _ in range(adapter.PAGE_FAILURES_MAX - 1):
            before = len(calls(world))
            await round_of(world)
            page, alone = calls(world)[before:]
            assert alone == PAGE[6] and PAGE[6] not in page and page.count(",") == 8
        first = len(calls(world))
        await round_of(world)
        (again,) = calls(world)[first:]
        assert PAGE[6] not in again.split(",") and again.count(",") == 8


async def test_only_calls_that_may_have_come_are_of_the_days_quota() -> None:
    """Proves that a call which found no connection takes nothing from what polling may spend today,
    and that one whose connection was cut is counted: GLS may have counted it."""
    async with running() as world:
        under_way(world, *PAGE)
        await round_of(world)
        left = await world.client.quota.left_for_polling(world.cursors)
        world.sandbox.faults.add({"kind": "down"})
        await world.sandbox.apply_outage()
        with pytest.raises(Retry, match="closed without an answer"):
            await round_of(world)
        for _ in range(2):
            with pytest.raises(Unreachable):
                await round_of(world)
        assert await world.client.quota.left_for_polling(world.cursors) == left - 1 > 0


async def test_a_tracking_that_refuses_everything_costs_little_and_leaves_out_nobody() -> None:
    """Proves that where every parcel is refused the day's quota is not spent on halving pages, and
    that all are asked about again."""
    async with running({"refused_numbers": PAGE}) as world:
        under_way(world, *PAGE)
        await round_of(world, 10)
        assert len(calls(world)) == 10 + 2 * SPLITS_PER_DAY
        assert calls(world)[-1].split(",") == PAGE


async def look_ups(quota: TrackingQuota, cursors: KeptCursors, count: int) -> None:
    for _ in range(count):
        async with quota.look_up_call(cursors):
            pass


async def polls(quota: TrackingQuota, cursors: KeptCursors, count: int) -> int:
    """So many calls of polls are tried; how many were made."""
    made = 0
    for _ in range(count):
        with suppress(Retry):
            async with quota.poll_call(cursors):
                made += 1
    return made


async def test_the_next_day_everything_begins_anew() -> None:
    """Proves that calls, halved pages and parcels that were left out are those of one day."""
    today, cursors = date(2026, 3, 4), KeptCursors()
    quota = TrackingQuota(3, 1, lambda: today)
    quota.leave_out(["A"])
    quota.leave_out(["B"])
    await look_ups(quota, cursors, 4)
    split = [quota.may_split() for _ in range(SPLITS_PER_DAY + 1)]
    assert split == [True] * SPLITS_PER_DAY + [False]
    assert await quota.left_for_polling(cursors) == 0
    assert quota.asked_about(["A", "B", "C"]) == ["C"]
    today = date(2026, 3, 5)
    assert await quota.left_for_polling(cursors) == 2 and quota.may_split()
    assert quota.asked_about(["A", "B", "C"]) == ["A", "B", "C"]


async def test_processes_together_keep_to_one_quota() -> None:
    """Proves that four processes of one endpoint which poll and look up at the same time make no
    more polls than the day's share has left, to the call, and leave the look-ups theirs; and that
    one which starts anew goes on where the others are."""
    cursors = KeptCursors()
    processes = [TrackingQuota(20, 5) for _ in range(4)]
    made = await asyncio.gather(
        *(polls(each, cursors, 10) for each in processes),
        *(look_ups(each, cursors, 1) for each in processes),
    )
    polled = sum(each for each in made if each is not None)
    assert 15 - len(processes) <= polled <= 15
    assert await TrackingQuota(20, 5).left_for_polling(cursors) == 0
    assert await polls(TrackingQuota(20, 5), cursors, 3) == 0


async def test_two_processes_of_one_endpoint_share_the_day() -> None:
    """Proves at the simulated GLS that what one process polled the other cannot poll any more."""
    async with running(tracking_calls_per_day=4, tracking_calls_for_look_ups=1) as world:
        under_way(world, *PAGE)
        other = world.another_process()
        try:
            for _ in range(4):
                await adapter.poll_tracking(world.poll(), world.client)
                await adapter.poll_tracking(world.poll(), other)
        finally:
            await other.close()
        assert len(calls(world)) == 3


async def test_a_hub_that_is_away_makes_no_call_that_it_did_not_count() -> None:
    """Proves that a call is counted before it is made: where the hub cannot count, none is."""

    class Away(KeptCursors):
        async def put_cursor(self, name: str, value: bytes, expected_version: int) -> int:
            raise HubAway("no answer")

    async with running() as world:
        under_way(world, *PAGE)
        world.cursors = Away()
        with pytest.raises(HubAway):
            await round_of(world)
        assert not calls(world)


@pytest.mark.parametrize(("days", "left"), [(-1, 2), (0, 1), (1, 1), (2, 2), (-400, 2), (400, 2)])
async def test_clocks_that_differ_at_midnight_make_one_day(days: int, left: int) -> None:
    """Proves that the later of two days holds while clocks differ, so that no day is counted twice,
    and that a day which is neither today nor tomorrow holds up nobody."""
    today, cursors = date(2026, 3, 4), KeptCursors()
    cursors.values[CURSOR] = encode(Count(today + timedelta(days), 1)), 1
    assert await TrackingQuota(3, 1, lambda: today).left_for_polling(cursors) == left


async def test_labels_are_printed_again_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that the look-up of the largest shipment asks for several labels at once, and for no
    more than that, so that it is done within an attempt: one by one it never would be."""
    async with running() as world:
        largest = translate.MAX_UNITS
        await adapter.buy_label(world.packed(largest), world.client)
        reprint, at_once, most = world.client.reprint, 0, 0
        several = asyncio.Event()

        async def counted(*asked: Any) -> Parcel:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            if at_once == adapter.PRINTED_AT_ONCE:
                several.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await several.wait()
            parcel = await reprint(*asked)
            at_once -= 1
            return parcel

        monkeypatch.setattr(world.client, "reprint", counted)
        found = await adapter.find_label(world.packed(largest), world.client)
        assert isinstance(found, Confirmed)
        ((*made,),) = world.shipments()
        facts: list[Any] = list(found.facts)
        labels = [fact.label.tracking_number for fact in facts]
        assert labels == [each["track_id"] for each in made] and len(labels) == largest
        assert [each.value for each in found.references] == labels[:1]
        assert most == adapter.PRINTED_AT_ONCE


async def test_one_label_that_cannot_be_printed_ends_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that the first refusal is told as what it is, and nobody goes on asking behind it."""
    async with running() as world:
        await adapter.buy_label(world.packed(20), world.client)
        await world.misbehave("no_reprint")
        with pytest.raises(OutcomeUnknown, match="INVALID_SHIPMENT_ID"):
            await adapter.find_label(world.packed(20), world.client)
        assert len(calls(world, "reprint")) <= 2 * adapter.PRINTED_AT_ONCE
