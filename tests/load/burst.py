"""A burst of manifests against an ERP that takes far fewer: nobody is refused, the ERP is never
asked for more than its budget, and the time until all of it is done is foretold.

Refused is who is told so by our client with its own deadline, or had no answer within it. How often
the hub had no room, and that client came again by itself, is told beside it.

The orders are booked and their parcels packed before. Then the warehouse reports 5,000 departures
in six seconds; the ERP takes 25 calls in any second, and answers 429 beyond that.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from crossdock.client import HubClient
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.errors import CallError, NoAnswerError
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from story import Story, seed_master_data

from tests.load.erp import Erp, adapter_process, most_in_a_second
from tests.load.measured import Figure, Options

MANIFESTS: Final = 5_000
BURST_SECONDS: Final = 6.0
PER_SECOND: Final = 25
MADE_AT_ONCE: Final = 32
BOOKED_SECONDS: Final = 600.0
LOOK_SECONDS: Final = 2.0
# Predictions of the last moments are of whole seconds, and help nobody.
FORETOLD_SECONDS_MIN: Final = 10.0
ERROR_PERCENT_MAX: Final = 10.0
# Of an ERP that looks seldom, the calls that certainly were within one second say little.
LOOKED_AWAY_MILLISECONDS_MAX: Final = 100.0


@dataclass(slots=True)
class Callers:
    """What those who called were told.

    refused: how many. unanswered: of them had no answer in time. turned_away: how often the hub had
    no room for one. waits: milliseconds of each that was answered. seconds: until the last was.
    """

    refused: int = 0
    unanswered: int = 0
    turned_away: int = 0
    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0


async def measure(directory: Path, options: Options) -> list[Figure]:
    """One burst: refusals, the ERP's busiest second, how it drains and whether that is foretold."""
    hub = RunningHub(directory / "hub", deployment(1)).start()
    try:
        await seed_master_data(hub)
        async with Erp() as erp, Story(hub, Lane(1)) as story:
            shipments = await _packed(directory, story, erp, options.count(MANIFESTS))
            adapter = adapter_process(directory, hub, story.lane.erp, erp, PER_SECOND)
            adapter.spawn()
            try:
                await adapter.serving()
                await erp.limit(PER_SECOND)
                callers = await _burst(story, shipments)
                foretold, ended = await _drained(story.operator, story.lane.erp)
                await erp.look()
            finally:
                adapter.stop()
    finally:
        hub.kill()
    return _figures(erp, callers, foretold, ended, len(shipments))


async def _packed(directory: Path, story: Story, erp: Erp, count: int) -> list[str]:
    """Shipments that wait for their departure, of orders that the ERP has booked."""
    gate = asyncio.Semaphore(MADE_AT_ONCE)
    adapter = adapter_process(directory, story.hub, story.lane.erp, erp, 0)
    adapter.spawn()

    async def one() -> str:
        async with gate:
            return (await story.packed()).id

    try:
        await adapter.serving()
        made = list(await asyncio.gather(*(one() for _ in range(count))))

        async def booked() -> bool:
            return (await _endpoint(story.operator, story.lane.erp)).queue_depth == 0

        await eventually(booked, "the bookings of the orders", BOOKED_SECONDS)
    finally:
        adapter.stop()
    return made


async def _burst(story: Story, shipments: list[str]) -> Callers:
    """A call for each, sent at a steady pace."""
    told = Callers()
    turned_away_before = story.wms.calls_turned_away

    async def one(shipment_id: str) -> None:
        begun = time.perf_counter()
        try:
            await story.manifest(shipment_id)
        except CallError as error:
            told.refused += 1
            told.unanswered += isinstance(error, NoAnswerError)
        else:
            told.waits.append((time.perf_counter() - begun) * 1e3)

    pause = BURST_SECONDS / len(shipments)
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for index, shipment_id in enumerate(shipments):
            await asyncio.sleep(max(0.0, started + index * pause - time.monotonic()))
            group.create_task(one(shipment_id))
    told.seconds = time.monotonic() - started
    told.turned_away = story.wms.calls_turned_away - turned_away_before
    return told


async def _drained(operator: HubClient, name: str) -> tuple[list[tuple[float, float]], float]:
    """(when, seconds until it is done as told then) until it was done, and when that was."""
    foretold: list[tuple[float, float]] = []
    deadline = time.monotonic() + BOOKED_SECONDS
    while True:
        found = await _endpoint(operator, name)
        at = time.monotonic()
        if found.queue_depth == 0:
            return foretold, at
        assert at < deadline, f"{found.queue_depth} still wait"
        if found.HasField("time_to_drain"):
            foretold.append((at, found.time_to_drain.ToTimedelta().total_seconds()))
        await asyncio.sleep(min(LOOK_SECONDS, 0.2 if found.queue_depth < PER_SECOND else 60.0))


async def _endpoint(operator: HubClient, name: str) -> endpoint_pb2.Endpoint:
    request = endpoint_service_pb2.GetEndpointRequest(id=name)
    return (await operator.endpoints.GetEndpoint(request)).endpoint


def _figures(
    erp: Erp,
    callers: Callers,
    foretold: list[tuple[float, float]],
    ended: float,
    count: int,
) -> list[Figure]:
    errors = [
        100 * abs(told - (ended - at)) / (ended - at)
        for at, told in foretold
        if ended - at >= FORETOLD_SECONDS_MIN
    ]
    certain = most_in_a_second(erp.calls, lambda call: call.since)
    seen = most_in_a_second(erp.calls, lambda call: call.at)
    looked_away = max(call.at - call.since for call in erp.calls)
    turned_away = sum(call.refused for call in erp.calls)
    rate = (len(erp.calls) - turned_away) / (ended - erp.calls[0].at)
    budget = [float(PER_SECOND)]
    waits = sorted(callers.waits)
    return [
        Figure("burst", f"{count:,} manifests in {BURST_SECONDS:g} s, refused", "calls",
               [float(callers.refused)], target=0.0, at_most=True),
        Figure("burst", "  of them had no answer in time", "calls", [float(callers.unanswered)]),
        Figure("burst", "  turned away, and come again", "times", [float(callers.turned_away)]),
        Figure("burst", "  until the last was answered", "s", [callers.seconds]),
        Figure("burst", "  a manifest, p50", "ms", [statistics.median(waits)]),
        Figure("burst", "  p99", "ms", [waits[int(len(waits) * 0.99)]]),
        Figure("burst", "  the ERP's busiest second", "calls", [float(certain)],
               "its budget", budget, 1.0, at_most=True),
        Figure("burst", "  as the ERP looked at them", "calls", [float(seen)]),
        Figure("burst", "  it looked away for, longest", "ms", [looked_away * 1e3],
               target=LOOKED_AWAY_MILLISECONDS_MAX, at_most=True),
        Figure("burst", "  calls that the ERP turned away", "calls", [float(turned_away)],
               target=0.0, at_most=True),
        Figure("burst", "  drained", "calls/s", [rate], "its budget", budget, 0.9),
        Figure("burst", "  time to drain, foretold wrong by", "%", errors,
               target=ERROR_PERCENT_MAX, at_most=True),
    ]  # fmt: skip
