"""Deliveries a second of one hub through the SDK, each begun and completed, on both databases.

Approved orders wait at a paused ERP. When it is resumed, one adapter process takes them with 64
slots and says of each that it is done: no vendor is asked, so that what is measured is the way from
the ledger to the adapter and back. Rates are read from the ledger's own times.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from crossdock.client import HubClient
from crossdock.endpoint.v1 import endpoint_service_pb2
from fixtures_hub import Lane, RunningHub, deployment
from story import approve_order, create_order, order, request_id, seed_master_data

from tests.faults.yard.processes import Process
from tests.load.erp import Erp, adapter_process
from tests.load.measured import Figure, Options
from tests.load.processes import serving, told_by

DATABASES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
DELIVERIES: Final = 2_000
CALLS_AT_ONCE: Final = 64
MADE_AT_ONCE: Final = 32
TARGET_PER_SECOND: Final = 1_000.0
DONE_SECONDS: Final = 120.0
# Each look at PostgreSQL is a connection of its own, which takes 5 ms of a core and more: one every
# 10 ms took as much as the hub. Rates are of the ledger's times, however late it looks.
LOOKS_APART_SECONDS: Final = 0.5
WARM_SHARE: Final = 0.2
FLOOR: Final = "two answers of an echo each"


async def measure(directory: Path, options: Options) -> list[Figure]:
    """Each database, and the echo that is asked twice for each delivery, in turns."""
    rates: dict[str, list[float]] = {name: [] for name in DATABASES}
    floor: list[float] = []
    count = options.count(DELIVERIES)
    sites = {name: Site(directory / name, name) for name in DATABASES}
    try:
        for site in sites.values():
            await site.start()
            await site.rate(max(1, round(count * WARM_SHARE)))
        answer = directory / "answer"
        answer.write_bytes(b"")
        token = sites["sqlite"].hub.token_file("oms")
        with serving("floors_echo", "traced", str(answer)) as echo:
            arguments = (echo, str(token), str(CALLS_AT_ONCE), str(options.seconds))
            for _ in range(options.repetitions):
                for name, site in sites.items():
                    rates[name].append(await site.rate(count))
                told = await asyncio.to_thread(told_by, "callers", *arguments)
                floor.append(told["per_second"] / 2)
    finally:
        for site in sites.values():
            await site.stop()
    return [figure for name in DATABASES for figure in _figures(name, rates[name], floor)]


def _figures(name: str, rates: list[float], floor: list[float]) -> list[Figure]:
    title = f"SDK deliveries, {DATABASES[name]}"
    return [
        Figure("deliveries", title, "del./s", rates, FLOOR, floor),
        Figure("deliveries", "  as a rate", "del./s", rates, target=TARGET_PER_SECOND),
    ]


class Site:
    """A hub with one ERP and its adapter process."""

    def __init__(self, directory: Path, database: str) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.lane = Lane(1)
        self.hub = RunningHub(directory / "hub", deployment(1), database=database)
        self._erp = Erp()
        self._adapter: Process | None = None

    async def start(self) -> None:
        """Return once the adapter serves."""
        self.hub.start()
        await seed_master_data(self.hub)
        await self.work()

    async def work(self) -> None:
        """Start the adapter, where the hub runs already."""
        await self._erp.__aenter__()
        adapter = adapter_process(
            self.directory, self.hub, self.lane.erp, self._erp, 0,
            ERP_CALLS_AT_ONCE=str(CALLS_AT_ONCE), ERP_ASKED="no",
        )  # fmt: skip
        adapter.spawn()
        self._adapter = adapter
        await adapter.serving()

    async def stop(self) -> None:
        await self.rest()
        self.hub.kill()

    async def rest(self) -> None:
        """End the adapter; the hub runs on."""
        if self._adapter is not None:
            self._adapter.kill()
            self._adapter = None
            await self._erp.__aexit__(None, None, None)

    async def rate(self, count: int) -> float:
        """Deliveries a second, of so many that waited."""
        async with self.hub.client("operator") as operator, self.hub.client("oms") as oms:
            pause = endpoint_service_pb2.PauseEndpointRequest(
                request_id=request_id(), endpoint=self.lane.erp, reason="the bench fills it"
            )
            await operator.endpoints.PauseEndpoint(pause)
            ((last,),) = self.hub.query("SELECT coalesce(max(id), '') FROM events")
            await self._approved(oms, count)
            resume = endpoint_service_pb2.ResumeEndpointRequest(
                request_id=request_id(), endpoint=self.lane.erp, reason="the bench empties it"
            )
            await operator.endpoints.ResumeEndpoint(resume)
        # As the index of deliveries has it: nothing that was done before is read. Their numbers
        # begin with the id of their event and a colon.
        before = f"{last};" if last else ""
        ended = f"endpoint = '{self.lane.erp}' AND state = 'CONFIRMED' AND sequence > '{before}'"
        deadline = time.monotonic() + DONE_SECONDS
        while self.hub.count("deliveries", ended) < count:
            assert time.monotonic() < deadline, f"not {count} deliveries in {DONE_SECONDS:g} s"
            await asyncio.sleep(LOOKS_APART_SECONDS)
        asked = (
            "SELECT count(*), min(begun_at), max(ended_at) FROM attempts "
            f"WHERE delivery_id IN (SELECT id FROM deliveries WHERE {ended}) "
            "AND outcome = 'CONFIRMED'"
        )
        ((done, begun, done_at),) = self.hub.query(asked)
        assert done == count, f"{done} attempts for {count} deliveries"
        return float(count / ((done_at - begun) / 1e6))

    async def _approved(self, oms: HubClient, count: int) -> None:
        gate = asyncio.Semaphore(MADE_AT_ONCE)

        async def one() -> None:
            async with gate:
                new = create_order(order(self.lane.business_unit))
                made = (await oms.orders.CreateOrder(new)).order
                await oms.orders.ApproveOrder(approve_order(made.id))

        await asyncio.gather(*(one() for _ in range(count)))
