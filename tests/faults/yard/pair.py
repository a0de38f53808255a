"""An installation whose hubs are two: at one port, on one PostgreSQL and one NATS server."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from crossdock_hub.bus.address import BusAddress
from fixtures_hub import QUICK_LIMITS, RunningHub
from fixtures_nats import free_port
from shared_hubs import SharedHubs

from tests.faults.yard.site import LANES, Site

NEWER_HUB = Path(__file__).with_name("newer_hub.py")


class Pair(Site):
    """`hub` is the first of them, which leads as it is started first."""

    hubs: SharedHubs
    numbers_go_unused = True

    @property
    def bus_address(self) -> BusAddress:
        """The hubs' own login."""
        return self.hubs.nats.address

    def _hub(self, **more: str) -> RunningHub:
        listen = f"127.0.0.1:{free_port()}"
        self.hubs = SharedHubs(
            self.directory / "hubs",
            lanes=len(LANES),
            listen=listen,
            share_port="true",
            metrics_port="0",
            **more,
        )
        for hub in self.hubs.hubs:
            hub.add(limits=json.dumps({**QUICK_LIMITS, **self.plan.limits}))
        return self.hubs.hubs[0]

    async def start_hub(self) -> None:
        """Start both, one after the other, and the bus with them."""
        self.hubs.nats.start()
        for hub in self.hubs.hubs:
            hub.add(nats_url=self.hubs.nats_url)
            await self.start_one(hub)

    async def start_one(self, hub: RunningHub, *, newer: bool = False) -> None:
        """Start one of them, and return when it serves. newer: as one of the next version."""
        if newer:
            # Without this folder, whose modules have names of others.
            hub.command = (sys.executable, "-P", str(NEWER_HUB))
        hub.spawn()
        await asyncio.to_thread(hub.wait_until_serving)

    async def stop(self) -> None:
        await super().stop()
        self.hubs.end()


class DividedPair(Pair):
    """The same, whose hubs divide the systems: `hub` has the office."""

    def _hub(self, **more: str) -> RunningHub:
        return super()._hub(divide_systems="true", **more)
