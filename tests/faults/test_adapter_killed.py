"""A whole installation whose adapters, then whose hub, are killed with kill -9 in the middle of
work: judged by the vendors' own books."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from crossdock.cli.demo.books import CarrierBooks, ErpBooks
from crossdock.cli.demo.views import DeliveryView, HubView, read_deliveries, read_objects
from crossdock.cli.installation import Installation
from crossdock.cli.orders import draw_order, place_orders, read_catalogue
from crossdock.cli.processes import Child
from crossdock.cli.workplace import Workplace
from crossdock.cli.workplace_configs import ERP_ID_PREFIX, SandboxPace
from crossdock.errors import CallError
from fixtures_nats import eventually

ORDERS = 6
SEED = 7
SLOW_SECONDS = 3.0
WAIT_SECONDS = 120.0
PACE = SandboxPace(
    floor_seconds=0.2, handover_seconds=1.0, scan_seconds=0.1, poll_seconds=5.0, seed=SEED
)
pytestmark = pytest.mark.timeout(240)


@asynccontextmanager
async def installed(directory: Path) -> AsyncIterator[Installation]:
    """Hub, sandboxes and adapters as `crossdock dev` runs them, on a directory of their own."""
    installation = Installation(Workplace(directory), PACE, print)
    try:
        await installation.start()
        yield installation
    finally:
        await installation.stop()


async def place(installation: Installation) -> None:
    """The OMS places the orders; each call is repeated until the hub has answered."""
    async with installation.client("operator") as operator:
        catalogue = await read_catalogue(operator)
    now = datetime.now(UTC).replace(microsecond=0)
    orders = [draw_order(f"KILL-{n:03}", catalogue, SEED, now) for n in range(ORDERS)]
    async with installation.client("oms") as oms:
        await place_orders(oms, orders)


def kill_9(child: Child) -> None:
    """End exactly this process."""
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)


async def all_done(installation: Installation) -> tuple[HubView, list[DeliveryView]]:
    """What the hub says once every order is delivered and every delivery is confirmed."""
    found: tuple[HubView, list[DeliveryView]] | None = None

    async def done() -> bool:
        nonlocal found
        try:
            async with installation.client("operator") as operator:
                view = await read_objects(operator)
                work = [
                    each
                    for endpoint in ("netsuite", "manhattan", "ups")
                    for each in await read_deliveries(operator, endpoint, with_attempts=True)
                ]
        except CallError:
            return False
        found = view, work
        # A parcel whose label was found late is delivered before its warehouse says it has left.
        posted = sum(each.operation == "post_goods_issue" for each in work)
        return (
            len(view.orders) == ORDERS
            and all(order.state == "DELIVERED" for order in view.orders)
            and posted == len(view.shipments)
            and all(each.state == "CONFIRMED" for each in work)
        )

    await eventually(done, "every order delivered and all work confirmed", WAIT_SECONDS)
    assert found is not None
    return found


async def assert_once(installation: Installation) -> list[DeliveryView]:
    """One label a package, one sales order an order, one item fulfillment a shipment."""
    view, work = await all_done(installation)
    ups = CarrierBooks.read(await installation.sandbox("ups").books())
    numbers = [package.tracking_number for package in view.packages]
    assert sorted(ups.parcels) == sorted(numbers), "a second label, or one nobody knows"
    erp = ErpBooks.read(await installation.sandbox("netsuite").books(), ERP_ID_PREFIX)
    assert set(erp.sales_orders) == {order.id for order in view.orders}
    assert set(erp.fulfillments) == {shipment.id for shipment in view.shipments}
    assert set(erp.made.values()) == {1}, erp.made
    return work


async def test_kill_9_of_the_adapters_in_mid_call(tmp_path: Path) -> None:
    """Proves that adapters killed while UPS works on a label call leave one label per package and
    every delivery confirmed, after the supervisor has started them again."""
    async with installed(tmp_path / "data") as installation:
        ups = installation.sandbox("ups")
        await ups.fault("slow", operation="ship", count=2, delay_seconds=SLOW_SECONDS)
        await place(installation)

        async def in_mid_call() -> bool:
            return any(call["end"] is None for call in await ups.calls(operation="ship"))

        await eventually(in_mid_call, "a label call in flight", WAIT_SECONDS)
        kill_9(installation.adapters)
        work = await assert_once(installation)
        assert installation.adapters.restarts == 1
        labels = [each for each in work if each.operation == "buy_label"]
        assert any(len(each.attempts) > 1 for each in labels), "nothing was in flight"


async def test_kill_9_of_the_hub_under_load(tmp_path: Path) -> None:
    """Proves that a hub killed while orders flow through three vendors delivers all of them, and
    that no vendor holds anything twice."""
    async with installed(tmp_path / "data") as installation:
        await place(installation)

        async def labels_are_bought() -> bool:
            return bool(await installation.sandbox("ups").calls(operation="ship"))

        await eventually(labels_are_bought, "a label call", WAIT_SECONDS)
        kill_9(installation.hub)
        await assert_once(installation)
        assert installation.hub.restarts == 1
