"""Rows that a hub does not tell: nobody waits for the same silence twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from crossdock.errors import Refusal, UnreachableError
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.mapping_sync import MappingSync
from crossdock_adapters.sdk.mappings import Mappings, read_file
from test_sdk_mappings import FILE, SlowHub, means, sync, turns

WAITING = 20
DEADLINE_SECONDS = 10.0


@dataclass
class SilentHub(SlowHub):
    """Takes questions, and lets each of them run into its deadline while it is silent."""

    silent: bool = False
    timed_out: int = 0

    async def ListMappings(self, request: Any, timeout: float) -> Any:
        if not self.silent:
            return await super().ListMappings(request, timeout)
        self.lists += 1
        await self.let.wait()
        # Whoever asks next waits as long again.
        self.let.clear()
        self.timed_out += 1
        refusal = Refusal("HUB_UNAVAILABLE", "no answer in time", {})
        raise UnreachableError(refusal, grpc.StatusCode.DEADLINE_EXCEEDED)


async def silent_hub() -> tuple[SilentHub, Mappings, list[MappingSync]]:
    """A hub that has a newer row than two endpoints of one process, and does not answer."""
    hub, mappings = SilentHub(), Mappings(read_file(FILE))
    hub.let.set()
    endpoints = [sync(hub, mappings) for _ in range(2)]
    for each in endpoints:
        await each.publish()
        await each.follow(hub.version)
    hub.put("D1", "IN_TRANSIT")
    hub.silent, hub.lists = True, 0
    hub.let.clear()
    return hub, mappings, endpoints


async def test_whoever_waited_behind_a_silence_does_not_wait_for_it_again() -> None:
    """Proves that one question which a hub leaves to its deadline ends everybody who waited behind
    it at any endpoint of the kind, heartbeats too, which would else stay away for as long as all
    deliveries before them wait one after another; and that whoever comes later asks anew."""
    hub, mappings, endpoints = await silent_hub()
    asked = [asyncio.ensure_future(one.reach(hub.version)) for one in endpoints * WAITING]
    await turns()
    beaten = [asyncio.ensure_future(one.follow(hub.version)) for one in endpoints]
    await turns()
    hub.let.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        ended = await asyncio.gather(*asked, *beaten, return_exceptions=True)
    assert [type(each) for each in ended] == [HubAway] * (2 * WAITING + 2)
    assert (hub.lists, hub.timed_out) == (1, 1)
    later = asyncio.ensure_future(endpoints[0].reach(hub.version))
    await turns()
    assert hub.lists == 2
    hub.let.set()
    with pytest.raises(HubAway):
        await later
    hub.silent = False
    hub.let.set()
    await endpoints[1].reach(hub.version)
    assert means(mappings) == "IN_TRANSIT"


async def test_a_heartbeat_without_news_waits_for_nobody() -> None:
    """Proves that a heartbeat which says the version that is here ends while others read."""
    hub, mappings, (one, other) = await silent_hub()
    reading = asyncio.ensure_future(one.reach(hub.version))
    await turns()
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert not await other.follow(mappings.version)
    assert not reading.done()
    hub.let.set()
    with pytest.raises(HubAway):
        await reading
