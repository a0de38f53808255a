"""Where the demo plays: hub and vendors, the orders placed so far, and an eye on every state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from crossdock.cli.demo.books import CarrierBooks, ErpBooks, WarehouseBooks
from crossdock.cli.demo.proofs import moved_backwards
from crossdock.cli.demo.report import Report
from crossdock.cli.demo.views import (
    DeliveryView,
    HubView,
    delivery_view,
    read_deliveries,
    read_objects,
)
from crossdock.cli.endpoint import list_endpoints
from crossdock.cli.following import counted
from crossdock.cli.installation import Installation
from crossdock.cli.names import order_state
from crossdock.cli.network.netsuite import ERP_ID_PREFIX
from crossdock.cli.orders import Catalogue, draw_order, place_orders, read_catalogue
from crossdock.cli.problems import CommandError
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.ending import end_tasks
from crossdock.errors import CallError
from crossdock.order.v1 import order_pb2

LOOK_SECONDS: Final = 2.0
POLL_SECONDS: Final = 1.0
SHOWN_STUCK: Final = 5
SETTLED: Final = frozenset({"CONFIRMED", "SUPERSEDED", "REJECTED", "SKIPPED"})
ARRIVED: Final = frozenset({"DELIVERED"})
LEFT: Final = frozenset({"SHIPPED", "DELIVERED"})
_STATE_NUMBERS: Final = {
    order_state(number): number for number in order_pb2.OrderState.values() if number
}


class Stage:
    """`async with` it; then place orders and wait for what should become of them."""

    def __init__(self, installation: Installation, seed: int, report: Report) -> None:
        self.installation = installation
        self.report = report
        self.placed: dict[str, str] = {}
        self.view = HubView((), ())
        self.looks = 0
        self.backwards: list[str] = []
        self.erp = installation.sandbox("netsuite")
        self.wms = installation.sandbox("manhattan")
        self.ups = installation.sandbox("ups")
        self._seed = seed
        self._exits = AsyncExitStack()
        self._catalogue: Catalogue | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self.oms = installation.client("oms")
        self.floor = installation.client("manhattan")
        self.operator = installation.client("operator")

    async def __aenter__(self) -> Self:
        for client in (self.oms, self.floor, self.operator):
            await self._exits.enter_async_context(client)
        self._catalogue = await read_catalogue(self.operator)
        self._watcher = asyncio.create_task(self._watch(), name="watch every state")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watcher is not None:
            await end_tasks([self._watcher])
        self.report.line.end()
        await self._exits.aclose()

    def draw(self, count: int) -> list[order_pb2.Order]:
        """So many orders that nobody has seen yet, as the OMS would place them."""
        assert self._catalogue is not None
        now = datetime.now(UTC).replace(microsecond=0)
        first = len(self.placed) + 1
        orders = [
            draw_order(f"DEMO-{first + index:06d}", self._catalogue, self._seed, now)
            for index in range(count)
        ]
        # Numbers are taken before the calls, so that two acts may place at the same time.
        self.placed.update(dict.fromkeys((order.number for order in orders), ""))
        return orders

    async def place(self, count: int, rate_per_second: float = 0.0) -> list[str]:
        """Place so many more orders as the OMS; their hub ids."""
        found = await place_orders(self.oms, self.draw(count), rate_per_second)
        self.placed.update({order.number: order.id for order in found})
        return [order.id for order in found]

    async def wait_until(
        self, what: str, ids: Collection[str], holds: Callable[[HubView], bool], seconds: float
    ) -> HubView:
        """The view of these orders in which it holds. CommandError: who is stuck, and where."""
        deadline = time.monotonic() + seconds
        while True:
            view = self.view.of(ids)
            if self.looks and holds(view):
                return view
            if time.monotonic() > deadline:
                raise await self._stuck(what, view, seconds)
            self._looked.clear()
            try:
                async with asyncio.timeout(2 * LOOK_SECONDS):
                    await self._looked.wait()
            except TimeoutError:
                self._check_watcher()

    async def look(self, ids: Collection[str]) -> HubView:
        """These orders as the hub has them now, for proofs."""
        await self._look()
        return self.view.of(ids)

    async def queue_depths(self) -> dict[str, int]:
        """How many deliveries wait or run, by vendor."""
        vendors = (self.erp.name, self.wms.name, self.ups.name)
        found = await list_endpoints(self.operator)
        return {each.id: each.queue_depth for each in found if each.id in vendors}

    async def issued(self, ids: Collection[str], seconds: float) -> None:
        """Until the ledger has a goods issue of every shipment of these orders, or the time is up:
        scans may tell of a parcel's arrival before the warehouse tells that it left."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            view = await self.look(ids)
            posted = await read_deliveries(self.operator, self.erp.name, "post_goods_issue")
            known = {each.object_id for each in posted}
            if all(each.id in known for each in view.shipments):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def settled(self, seconds: float) -> None:
        """Until nobody has anything left to do for any order."""
        deadline = time.monotonic() + seconds
        while True:
            depths = await self.queue_depths()
            if not any(depths.values()):
                return
            if time.monotonic() > deadline:
                busy = max(depths, key=lambda vendor: depths[vendor])
                found = unsettled(await read_deliveries(self.operator, busy))
                first = found[0] if found else None
                why = f"{first.operation} is {first.state}: {first.waiting_on}" if first else ""
                raise CommandError(
                    f"{depths[busy]} deliveries to {busy} are not settled after {seconds:.0f} s",
                    why,
                    f"crossdock deliveries --endpoint {busy}",
                )
            await asyncio.sleep(POLL_SECONDS)

    async def erp_books(self) -> ErpBooks:
        """What the ERP posted."""
        return ErpBooks.read(await self.erp.books(), ERP_ID_PREFIX)

    async def wms_books(self) -> WarehouseBooks:
        """What the warehouse packed and shipped."""
        return WarehouseBooks.read(await self.wms.books())

    async def ups_books(self) -> CarrierBooks:
        """What the carrier sold and carried."""
        return CarrierBooks.read(await self.ups.books())

    async def _watch(self) -> None:
        while True:
            started = time.monotonic()
            await self._look()
            await asyncio.sleep(max(0.1, LOOK_SECONDS - (time.monotonic() - started)))

    async def _look(self) -> None:
        try:
            now = await read_objects(self.operator)
        except CallError:
            # The next look tells; a wait that gets none says so at its deadline.
            return
        self.backwards += moved_backwards(self.view, now)
        self.view = now
        self.looks += 1
        self._looked.set()
        states = {order.id: _STATE_NUMBERS.get(order.state, 0) for order in now.orders}
        text = f"{self.report.seconds:4.0f} s  {len(states)} orders: {counted(states)}"
        if states:
            self.report.line.show(text)

    def _check_watcher(self) -> None:
        if self._watcher is not None and self._watcher.done():
            self._watcher.result()

    async def _stuck(self, what: str, view: HubView, seconds: float) -> CommandError:
        found = await stuck_lines(self.operator, view)
        return CommandError(
            f"{what}: not after {seconds:.0f} s",
            "\n        ".join(found) or "nobody can say what is waited for",
            "crossdock dev --data DIR with the directory that was kept, then crossdock trace ID",
        )


async def stuck_lines(hub: HubClient, view: HubView) -> list[str]:
    """The first orders that are not delivered or not fully posted, and what each waits for."""
    lines: list[str] = []
    for order in view.orders:
        request = delivery_service_pb2.ListDeliveriesRequest(object_id=order.id, page_size=100)
        answer = await hub.deliveries.ListDeliveries(request)
        waiting = [_waits(delivery_view(each)) for each in answer.deliveries]
        named = [text for text in waiting if text]
        if order.state != "DELIVERED" or named:
            what = "; ".join(named) or "for a fact from outside"
            lines.append(f"{order.number} is {order.state}, waits {what}")
        if len(lines) >= SHOWN_STUCK:
            break
    return lines


def at_least(count: int, states: Collection[str]) -> Callable[[HubView], bool]:
    """Whether so many orders are in one of these states."""

    def holds(view: HubView) -> bool:
        return sum(order.state in states for order in view.orders) >= count

    return holds


def unsettled(deliveries: Sequence[DeliveryView]) -> list[DeliveryView]:
    """Those that are still to be done."""
    return [each for each in deliveries if each.state not in SETTLED]


def _waits(delivery: DeliveryView) -> str:
    if delivery.state in SETTLED:
        return ""
    why = f" ({delivery.waiting_on})" if delivery.waiting_on else ""
    return f"for {delivery.endpoint or 'nobody'} {delivery.operation}: {delivery.state}{why}"
