"""A flow played to its end against a real hub: what the growth case makes copies of.

It is played in phases. A copy has the same phases, hours and days apart, so that what belongs to
one flow lies as far apart in a database as it does where thousands of flows go on at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.order.v1 import order_pb2
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from played_endpoint import PlayedEndpoint
from story import (
    Story,
    at,
    create_order,
    label,
    order,
    package,
    pick,
    request_id,
    scan,
    scans,
    unique,
    update_order,
)

WMS_OPERATIONS: Final = {"release_order": "NATURAL", "print_label": "NATURAL"}
CARRIER_OPERATIONS: Final = {"buy_label": "NATURAL"}
# Hours after its order that each phase of a copy begins.
PHASE_HOURS: Final = (0.0, 5.0, 9.0, 26.0, 51.0, 74.0)
DONE_SECONDS: Final = 60.0
_OPEN: Final = "state NOT IN ('CONFIRMED', 'SUPERSEDED', 'SKIPPED')"


@contextlib.asynccontextmanager
async def everybody(hub: RunningHub, lane: Lane) -> AsyncIterator[None]:
    """The lane's warehouse and carrier do whatever they are asked while the block runs."""
    wms = PlayedEndpoint(hub, lane.wms, WMS_OPERATIONS)
    carrier = PlayedEndpoint(hub, lane.carrier, CARRIER_OPERATIONS)
    async with wms, carrier:
        working = [asyncio.create_task(_do_all(each)) for each in (wms, carrier)]
        try:
            yield
        finally:
            for each in working:
                each.cancel()
            await asyncio.gather(*working, return_exceptions=True)


async def _do_all(endpoint: PlayedEndpoint) -> None:
    while True:
        dispatch = await endpoint.next()
        token = await endpoint.begin(dispatch)
        done = {"document": unique("DOC")}
        await endpoint.complete(dispatch.delivery_id, token, "CONFIRMED", references=done)


async def play(hub: RunningHub, lane: Lane, packages: int) -> list[int]:
    """One order in so many parcels, until all are at the door and everybody has done their part.

    Returns when each phase began, and the end: microseconds UTC.
    """
    async with Story(hub, lane) as story:
        flow = _Flow(story, packages)
        steps: list[Callable[[], Awaitable[Any]]] = [
            flow.order, flow.pack, flow.leave, flow.travel, flow.arrive, flow.hand_over,
        ]  # fmt: skip
        assert len(steps) == len(PHASE_HOURS)
        marks = []
        for step in steps:
            marks.append(_next_second())
            await step()
            await eventually(lambda: _settled(hub), "the flow's deliveries", DONE_SECONDS)
        return [*marks, _next_second()]


def _settled(hub: RunningHub) -> bool:
    return not hub.count("deliveries", _OPEN) and not hub.count("events", "published_at IS NULL")


def _next_second() -> int:
    """Phases begin with a second, so that every stored time tells which one it is of."""
    second = int(time.time()) + 1
    while time.time() < second:
        time.sleep(0.01)
    return second * 1_000_000


class _Flow:
    """An order's way, phase by phase."""

    def __init__(self, story: Story, packages: int) -> None:
        self._story = story
        self._packages = packages
        self._request = self._shipment = ""
        self._parcels: list[str] = []
        self._places = iter(range(1_000))

    async def order(self) -> None:
        """Placed, corrected once, approved, booked by the ERP, and released to the warehouse."""
        message = order(self._story.lane.business_unit, self._packages)
        made = (await self._story.oms.orders.CreateOrder(create_order(message))).order
        correction = order_pb2.Order(id=made.id, ship_to=made.ship_to)
        correction.ship_to.name = "Ada King"
        changed = update_order(correction, "ship_to", revision=made.revision)
        await self._story.oms.orders.UpdateOrder(changed)
        await self._story.approve(made.id)
        (self._request,) = await self._story.release(made.id)

    async def pack(self) -> None:
        """Picked, packed and labelled."""
        lines = range(1, self._packages + 1)
        picked = pick(self._request)
        for line in lines[1:]:
            picked.picked.add(line_number=line, quantity=types_pb2.Quantity(value="1", unit="EA"))
        await self._story.wms.fulfillments.ReportPick(picked)
        report = fulfillment_service_pb2.ReportPackedRequest(
            request_id=request_id(),
            fulfillment_request_id=self._request,
            shipment_number=unique("SHP"),
            packages=[package(line) for line in lines],
            pack_time=at(),
        )
        made = (await self._story.wms.fulfillments.ReportPacked(report)).shipment
        self._shipment = made.id
        for parcel in made.packages:
            self._parcels.append(unique("1Z"))
            sold = label(made.id, parcel.id, self._parcels[-1])
            await self._story.carrier.labels.CreateLabel(sold)

    async def leave(self) -> None:
        """Departed, and the ERP posts that it did; the carrier's first scan."""
        await self._story.manifest(self._shipment)
        await self._scanned("CARRIER_ACCEPTED")

    async def travel(self) -> None:
        """From hub to hub, with an exception on the way."""
        await self._scanned("IN_TRANSIT")
        await self._scanned("EXCEPTION")

    async def arrive(self) -> None:
        """At the carrier's last hub, and nobody at home."""
        await self._scanned("OUT_FOR_DELIVERY")
        await self._scanned("DELIVERY_ATTEMPTED")

    async def hand_over(self) -> None:
        """Once more, and there."""
        await self._scanned("OUT_FOR_DELIVERY")
        await self._scanned("DELIVERED")

    async def _scanned(self, milestone: str) -> None:
        place = f"Hub {next(self._places)}"
        found = [scan(parcel, milestone) for parcel in self._parcels]
        for each in found:
            each.place.city = place
        await self._story.carrier.tracking.ReportTrackingEvents(scans(*found))
