"""Calls of customers while 100,000 deliveries wait for a dead ERP and scans arrive, to calls alone.

Approved orders of one business unit are booked at an ERP that answers; those of the other wait for
one that died. Measured are the approvals of the first, 100 a second: how long the caller waits, and
how long it is from there until the ERP has the call. Both are held to twice the limits that a call
to a vendor has (`latency`), and to twice what they take alone. The scans come at half of what the
hub takes when it does nothing else, measured before.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from crossdock.client import HubClient
from crossdock.endpoint.v1 import endpoint_service_pb2
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from story import Story, approve_order, create_order, order, seed_master_data

from tests.load.erp import Erp, adapter_process
from tests.load.latency import TARGET_P50_MILLISECONDS, TARGET_P99_MILLISECONDS
from tests.load.measured import Figure, Options, percentile
from tests.load.parcels import ReusedReports, labelled_parcels
from tests.load.scans import BATCH, IN_FLIGHT

WAITING: Final = 100_000
MADE_AT_ONCE: Final = 64
PER_SECOND: Final = 100
SECONDS: Final = 6.0
PARCELS: Final = 1_000
MOST_BATCHES: Final = 60
TARGET: Final = 2.0
LIMITS: Final = {"p50": 2.0 * TARGET_P50_MILLISECONDS, "p99": 2.0 * TARGET_P99_MILLISECONDS}
SERVED_SECONDS: Final = 120.0


@dataclass
class Waits:
    """Milliseconds of each call, and from its answer until the ERP had it; a list a stage."""

    answered: list[list[float]] = field(default_factory=list)
    received: list[list[float]] = field(default_factory=list)


async def measure(directory: Path, options: Options) -> list[Figure]:
    """Some stages alone, then as many beside the waiting deliveries and the scans."""
    hub = RunningHub(directory / "hub", deployment(2)).start()
    alone, beside = Waits(), Waits()
    try:
        await seed_master_data(hub)
        parcels = await labelled_parcels(hub, Lane(1), options.count(PARCELS))
        reports = ReusedReports(parcels, BATCH)
        async with _booking(directory, hub, Lane(1)) as erp, Story(hub, Lane(1)) as story:
            await _drained(story)
            count = round(PER_SECOND * SECONDS * options.scale)
            await _stage(story, erp, count, Waits())
            for _ in range(options.repetitions):
                await _stage(story, erp, count, alone)
            most = await _most_scans(story.carrier, reports)
            taken = [0]
            async with (
                _backlog(directory, hub, options.count(WAITING)) as waiting,
                _scanning(story.carrier, reports, most / 2, taken),
            ):
                began = time.monotonic()
                for _ in range(options.repetitions):
                    await _stage(story, erp, count, beside)
                rate = taken[0] / (time.monotonic() - began)
    finally:
        hub.kill()
    return _figures(alone, beside, waiting, rate, most)


@asynccontextmanager
async def _booking(directory: Path, hub: RunningHub, lane: Lane) -> AsyncIterator[Erp]:
    """An ERP that answers, with its adapter process."""
    async with Erp() as erp:
        adapter = adapter_process(directory, hub, lane.erp, erp, 0, ERP_CALLS_AT_ONCE="32")
        adapter.spawn()
        try:
            await adapter.serving()
            yield erp
        finally:
            adapter.stop()


@asynccontextmanager
async def _backlog(directory: Path, hub: RunningHub, count: int) -> AsyncIterator[int]:
    """How many deliveries wait for an ERP that died while its adapter served, and goes on to."""
    async with _booking(directory, hub, Lane(2)) as erp, Story(hub, Lane(2)) as story:
        await erp.stop()
        await _made(story, count, approved=True)
        yield await _depth(story)


async def _made(story: Story, count: int, *, approved: bool = False) -> dict[str, str]:
    """Number -> id of new orders."""
    gate = asyncio.Semaphore(MADE_AT_ONCE)
    made: dict[str, str] = {}

    async def one() -> None:
        async with gate:
            new = create_order(order(story.lane.business_unit))
            found = (await story.oms.orders.CreateOrder(new)).order
            if approved:
                await story.oms.orders.ApproveOrder(approve_order(found.id))
            made[found.number] = found.id

    await asyncio.gather(*(one() for _ in range(count)))
    return made


async def _stage(story: Story, erp: Erp, count: int, waits: Waits) -> None:
    """Approve so many orders at a steady pace, and see each of them arrive at the ERP."""
    made = await _made(story, count)
    milliseconds: list[float] = []
    answered: dict[str, float] = {}

    async def approve(number: str, order_id: str) -> None:
        begun = time.monotonic()
        await story.oms.orders.ApproveOrder(approve_order(order_id))
        answered[number] = time.monotonic()
        milliseconds.append((answered[number] - begun) * 1e3)

    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for index, (number, order_id) in enumerate(made.items()):
            await asyncio.sleep(max(0.0, started + index / PER_SECOND - time.monotonic()))
            group.create_task(approve(number, order_id))

    async def all_came() -> bool:
        await erp.look()
        return made.keys() <= erp.came_about.keys()

    await eventually(all_came, "the calls about the approved orders", SERVED_SECONDS)
    waits.answered.append(milliseconds)
    waits.received.append([(erp.came_about[each] - answered[each]) * 1e3 for each in made])


async def _most_scans(carrier: HubClient, reports: ReusedReports) -> float:
    """Scans a second that the hub takes of callers that do not wait."""
    batches = iter(range(MOST_BATCHES))

    async def caller() -> None:
        for _ in batches:
            await carrier.tracking.ReportTrackingEvents(reports.next())

    started = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return MOST_BATCHES * BATCH / (time.monotonic() - started)


@asynccontextmanager
async def _scanning(
    carrier: HubClient, reports: ReusedReports, per_second: float, taken: list[int]
) -> AsyncIterator[None]:
    """Scans at a steady rate while the block runs; taken[0]: how many were answered."""

    async def report() -> None:
        await carrier.tracking.ReportTrackingEvents(reports.next())
        taken[0] += BATCH

    async def keep_on() -> None:
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for index in itertools.count():
                due = started + index * BATCH / per_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(report())

    task = asyncio.create_task(keep_on())
    try:
        yield
        assert not task.done(), "the scans ended before the calls"
    finally:
        task.cancel()


async def _drained(story: Story) -> None:
    """Return once the bookings of the parcels' orders are done."""

    async def nothing_waits() -> bool:
        return await _depth(story) == 0

    await eventually(nothing_waits, "the bookings of the parcels' orders", SERVED_SECONDS)


async def _depth(story: Story) -> int:
    request = endpoint_service_pb2.GetEndpointRequest(id=story.lane.erp)
    return int((await story.operator.endpoints.GetEndpoint(request)).endpoint.queue_depth)


def _figures(alone: Waits, beside: Waits, waiting: int, rate: float, most: float) -> list[Figure]:
    return [
        *_beside_alone(f"a call, {waiting:,} wait", beside.answered, alone.answered),
        *_beside_alone("  from there to the ERP", beside.received, alone.received),
        Figure("beside_backlog", "  scans meanwhile", "scans/s", [rate], "their most", [most]),
    ]


def _beside_alone(name: str, found: list[list[float]], floor: list[list[float]]) -> list[Figure]:
    """By themselves, which twice the limits of a call to a vendor bound, and to the same alone."""
    figures = []
    for word, share in (("p50", 0.5), ("p99", 0.99)):
        samples, least = ([percentile(each, share) for each in some] for some in (found, floor))
        limit = LIMITS[word]
        figures += [
            Figure("beside_backlog", f"{name}, {word}", "ms", samples, target=limit, at_most=True),
            Figure(
                "beside_backlog", "    beside it", "ms", samples, "alone", least, TARGET,
                at_most=True,
            ),
        ]  # fmt: skip
    return figures
