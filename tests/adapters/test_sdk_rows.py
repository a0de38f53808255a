"""What the runner makes of what has to wait for rows, on its way out and in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.mapping_sync import MappingSync
from sdk_house import House, housed
from sdk_ledger_hub import dispatch
from sdk_waiting import until

VERSION = 7
# Renewed each third of it, and once before the call: with the fourth renewal it would be over.
# A renewal may come as late as four seconds, on a machine that does much else.
LEASE_SECONDS = 6.0


def reading(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[House], Awaitable[None]]
) -> tuple[list[House], list[int | None]]:
    """Where the house is to be put that reads so, and the versions that were to be reached."""
    houses: list[House] = []
    versions: list[int | None] = []

    async def reach(_sync: MappingSync, version: int | None) -> None:
        versions.append(version)
        await read(houses[0])

    monkeypatch.setattr(MappingSync, "reach", reach)
    return houses, versions


@pytest.mark.parametrize(("look_up", "outcome"), [(False, "RETRY"), (True, "UNKNOWN")])
async def test_rows_that_cannot_be_read_cost_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, look_up: bool, outcome: str
) -> None:
    """Proves that a call whose rows can't be read is proven untried, and that a look-up says no
    word about the call it is for; neither asks the vendor anything."""

    async def away(_house: House) -> None:
        raise HubAway("no answer")

    houses, versions = reading(monkeypatch, away)
    async with housed(tmp_path) as house:
        houses.append(house)
        house.hub.mapping_version = VERSION
        work = dispatch(look_up=look_up)
        house.queue.put(work)
        assert await house.outcome(work) == outcome, house.completion(work)
        assert house.completion(work).code == "not_tried"
        assert house.tiny.bookings == []
        assert house.completion(work).request_excerpt == ""
    assert versions == [VERSION]


async def test_a_delivery_is_kept_while_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the lease is renewed while rows are read, for longer than it lasts, that nothing
    is sent before they are there, and that the call follows; and that a hub which does not say
    its version is not asked for rows of any."""

    async def slowly(house: House) -> None:
        while house.hub.renewals < 4:
            assert house.tiny.bookings == []
            await asyncio.sleep(0.01)

    houses, versions = reading(monkeypatch, slowly)
    async with housed(tmp_path) as house:
        houses.append(house)
        house.hub.lease_seconds = LEASE_SECONDS
        work = dispatch("misbehave", item="unhurried")
        house.queue.put(work)
        assert await house.outcome(work) == "CONFIRMED", house.completion(work)
        assert len(house.tiny.bookings) == 1
    assert versions == [None]


async def test_rows_that_take_too_long_leave_the_call_untried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that reading ends with the time of the call: a retry, since nothing was sent."""

    async def forever(_house: House) -> None:
        await asyncio.Event().wait()

    houses, _versions = reading(monkeypatch, forever)
    async with housed(tmp_path) as house:
        houses.append(house)
        house.hub.mapping_version = VERSION
        work = dispatch()
        house.queue.put(work)
        assert await house.outcome(work) == "RETRY"
        assert house.completion(work).code == "timeout"
        assert house.tiny.bookings == []


async def test_what_comes_in_waits_for_the_rows_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a webhook and a poll are given to the adapter only with the rows of now: while
    these can't be read, the vendor is to come again, nothing is polled and nothing is held; and
    that a stranger is refused all the same."""
    away = True
    asked = 0

    async def catch_up(_sync: MappingSync) -> None:
        nonlocal asked
        asked += 1
        if away:
            raise HubAway("no answer")

    monkeypatch.setattr(MappingSync, "catch_up", catch_up)
    async with housed(tmp_path) as house, aiohttp.ClientSession() as vendor:
        runner = house.runner
        assert runner is not None
        await until(lambda: runner.state == "serving" and bool(runner.webhook_url))
        url = runner.webhook_url + "/hook"

        async def posted(credential: str) -> int:
            headers = {"credential": credential}
            async with vendor.post(url, data=b'{"page": "x"}', headers=headers) as answer:
                return answer.status

        await until(lambda: asked >= 1)
        assert await posted("let me in") == 503
        assert await posted("wrong") == 401
        assert house.vendor.pages == [] and house.hub.held == {}
        away = False
        assert await posted("let me in") == 200
        assert house.vendor.pages == ["x"]
        await until(lambda: "pages" in house.hub.cursors)
