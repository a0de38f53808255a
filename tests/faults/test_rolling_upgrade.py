"""Hubs and adapters that are upgraded one after another while callers go on."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import crossdock
import pytest
from fixtures_hub import RunningHub

from tests.faults.history.checker import check
from tests.faults.history.records import OK, Delivery, Rpc
from tests.faults.trials.round import Round, played, progress
from tests.faults.trials.trial import Piece, Size
from tests.faults.yard.pair import DividedPair, Pair
from tests.faults.yard.site import Plan, mix_of

SEED = 601
# Longer than it lasts: the last restart ends the load.
ORDERS_MAX = 100_000
ORDERS_BETWEEN = 25
WRITERS, PACE_SECONDS = 8, 0.1
pytestmark = pytest.mark.timeout(600)


async def _more(round_: Round) -> None:
    """Wait for some more orders."""
    await progress(round_, round_.load.done + ORDERS_BETWEEN)


async def _one_after_another(round_: Round) -> None:
    """Stop the hub that follows, then the one that leads, and start the next version of each; stop
    and start each adapter."""
    site = round_.site
    assert isinstance(site, Pair)
    await _more(round_)
    for hub in reversed(site.hubs.hubs):
        site.note("SIGTERM", f"hub {hub.directory.name}")
        assert await asyncio.to_thread(hub.stop) == 0, hub.log(tail=True)
        await _more(round_)
        await site.start_one(hub, newer=True)
        await _more(round_)
    for adapter in site.adapters:
        site.note("SIGTERM", adapter.name)
        # Who keeps the adapters starts it again.
        await asyncio.to_thread(adapter.stop)
        await _more(round_)
    round_.load.enough()


def _version(hub: RunningHub) -> str:
    """What a hub's metrics say of it."""
    port = json.loads((hub.directory / "address.json").read_text())["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    (told,) = [line for line in lines if line.startswith("crossdock_build_info{")]
    return str(told.split('"')[1])


@pytest.mark.parametrize("site_of", [Pair, DividedPair], ids=["one leads", "divided"])
async def test_nobody_notices_an_upgrade(site_of: type[Pair], tmp_path: Path) -> None:
    """Proves that two hubs at one port are stopped with SIGTERM and started as the next version,
    and two adapters are stopped and started, one after another under load, while no call of a
    client as it is shipped fails, each order is done once and in order, and the lead changes:
    where one hub leads everything, and where they divide the systems."""
    piece = Piece("rolling", SEED, Size(1, ORDERS_MAX), tmp_path / "rolling")
    plan = Plan(SEED, mix=mix_of("well"), pace_seconds=PACE_SECONDS)
    async with played(
        piece, plan, [_one_after_another], writers=WRITERS, site_of=site_of
    ) as round_:  # fmt: skip
        history = await round_.history()
        assert isinstance(round_.site, Pair)
        hubs = round_.site.hubs.hubs
        versions = [await asyncio.to_thread(_version, hub) for hub in hubs]
        term, _ = round_.site.hubs.leader()
        deaths = round_.site.adapter_deaths
    series, _, last = crossdock.__version__.rpartition(".")
    assert versions == [f"{series}.{int(last) + 1}"] * 2
    assert term == 2
    assert deaths == plan.adapters
    assert [call for call in history.of(Rpc) if call.outcome != OK] == []
    assert [str(found) for found in check(history)] == []
    assert {each.state for each in history.of(Delivery)} <= {"CONFIRMED", "SUPERSEDED"}
