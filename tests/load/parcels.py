"""Parcels that a hub knows, made through its API, and scans of them that nobody reported before."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from crossdock.bus import partition_of
from fixtures_hub import Lane, RunningHub
from story import Story, label, request_id, scan, scans, unique

MADE_AT_ONCE: Final = 16
# One scan a parcel and second, from so long ago: none lies in the future.
AGE_SECONDS: Final = 2_000_000.0
# So many requests are made, and used again; and how long after other scans theirs begin.
REUSED: Final = 64
LATER_SECONDS: Final = 1_000.0


async def labelled_parcels(hub: RunningHub, lane: Lane, count: int) -> list[str]:
    """Tracking numbers of parcels, one an order: ordered, packed, and with their labels bought.
    Those of one partition of the bus stand together."""
    gate = asyncio.Semaphore(MADE_AT_ONCE)
    made: list[tuple[int, str]] = []

    async def shipment(story: Story) -> None:
        async with gate:
            packed = await story.packed()
            number = unique("1Z")
            await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))
            made.append((partition_of(packed.order_id), number))

    async with Story(hub, lane) as story:
        await asyncio.gather(*(shipment(story) for _ in range(count)))
    return [number for _, number in sorted(made)]


def dealt(parcels: list[str], size: int) -> list[str]:
    """Parcels of `labelled_parcels` so that, of so many at a time, each lot has some of every
    partition: it becomes as many messages as the others."""
    lots = max(1, len(parcels) // size)
    return [number for first in range(lots) for number in parcels[first::lots]]


def scan_reports(parcels: list[str], size: int, start_seconds: float = 0.0) -> Iterator[list[Any]]:
    """Lists of so many scans, of each parcel in turn, each a second later than its last.

    start_seconds: how long after those of others these begin."""
    turns = itertools.cycle(parcels)
    started = time.time() - AGE_SECONDS + start_seconds
    for first in itertools.count(0, size):
        yield [
            scan(next(turns), "IN_TRANSIT", started + (first + index) // len(parcels))
            for index in range(size)
        ]


class ReusedReports:
    """Requests with scans that nobody reported before, made from the same messages again and again:
    new ones would take more of the two cores than the hub does.

    They begin later than those of `scan_reports`, which may go before them.
    """

    def __init__(self, parcels: list[str], size: int) -> None:
        later = scan_reports(parcels, size, start_seconds=LATER_SECONDS)
        self._requests = deque(scans(*each) for each in itertools.islice(later, REUSED))
        self._seconds = REUSED * size // len(parcels) + 1

    def next(self) -> Any:
        """One that stays as it is for the next REUSED - 1 of them."""
        request = self._requests[0]
        self._requests.rotate(-1)
        request.request_id = request_id()
        for each in request.tracking_events:
            each.event_time.instant.seconds += self._seconds
        return request
