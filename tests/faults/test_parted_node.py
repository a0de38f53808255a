"""A node of the bus that its clients reach and the other nodes do not: they go to another one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fixtures_nats import eventually

from tests.faults.trials.round import OPEN_WORK
from tests.faults.yard.load import Load
from tests.faults.yard.noting import Notes
from tests.faults.yard.site import Plan, Site, mix_of, opened

SEED = 602
ORDERS = 20
# The node stays parted for all of it.
DONE_SECONDS = 90.0
pytestmark = pytest.mark.timeout(600)


async def test_who_is_at_a_parted_node_goes_to_another(tmp_path: Path) -> None:
    """Proves that while the node which the hub is connected to is parted from the others, and then
    that of an adapter, orders are published, delivered and done all the same."""
    plan = Plan(SEED, classes=("searchable",), mix=mix_of("well"), adapters=1, cluster=True)
    async with opened(tmp_path / "parted", plan, Notes()) as site:
        nodes = site.nodes
        assert nodes is not None
        load = Load(site, 0)
        # No stream is made while one of three nodes is away: all are there once something was done.
        load.orders = ORDERS
        await load.run()
        await eventually(lambda: _all_is_done(site), "the first orders", DONE_SECONDS)
        for turn, name in enumerate(("crossdock-hub", "crossdock-adapter"), 2):
            parted = await asyncio.to_thread(nodes.node_of, name)
            assert parted >= 0, name
            nodes.part(parted)
            load.orders = turn * ORDERS
            await load.run()
            await eventually(lambda: _all_is_done(site), "everything", DONE_SECONDS)
            nodes.join(parted)
            await nodes.formed()


def _all_is_done(site: Site) -> bool:
    """Whether every event is on the stream, and nothing has to happen by itself any more."""
    ((open_work,),) = site.hub.query(OPEN_WORK)
    return not open_work and not site.hub.count("events", "published_at IS NULL")
