"""Hubs that lose NATS and not their database: one of them, which hands over what it leads, and all
of them, which keep it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from crossdock.cli.doctor import lead_checks
from crossdock.hub.v1 import hub_service_pb2
from crossdock_hub.config import Limits
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from grpc_health.v1 import health_pb2, health_pb2_grpc
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from shared_hubs import SharedHubs
from story import Story, seed_master_data
from test_divided_systems import LANES, Lanes, divided, led, taken_over
from test_shared_database import SOON_SECONDS, TAKE_OVER_SECONDS, Worker, write

from tests.faults.yard.proxy import Proxy, Wire

# From a cut until deliveries flow again: the limit, and 5 s for a take-over.
FLOW_SECONDS = Limits().lead_bus_seconds + 5.0
# Longer than every limit by which a lead could go anywhere.
DOWN_SECONDS = 12.0
LATER_SECONDS = 1.5
# Longer than a hub has to have its bus before it takes anything.
SETTLED_SECONDS = Limits().lead_bus_steady_seconds + 1.0
LOOK_SECONDS = 0.2


class Parted(AsyncExitStack):
    """Two hubs, each behind a wire of its own to one NATS server."""

    def __init__(self, directory: Path, lanes: int = 1, **environment: str) -> None:
        super().__init__()
        self.hubs = SharedHubs(directory, lanes=lanes, metrics_port="0", **environment)
        self.wires: list[Proxy] = []

    async def __aenter__(self) -> Parted:
        await super().__aenter__()
        self.callback(self.hubs.end)
        self.hubs.nats.start()
        for hub in self.hubs.hubs:
            wire = Proxy(self.hubs.nats.settings.port)
            hub.add(nats_url=f"nats://127.0.0.1:{await wire.start()}")
            self.push_async_callback(wire.stop)
            self.wires.append(wire)
            await asyncio.to_thread(hub.start)
        await seed_master_data(self.hubs.hubs[0])
        return self

    def terms(self) -> list[Any]:
        """Every lead, and the term in which it is held."""
        return self.hubs.database.query("SELECT task, term, holder FROM leadership ORDER BY task")

    def kept(self) -> list[Any]:
        """The leads that nobody else may take."""
        return self.hubs.database.query("SELECT task FROM leadership WHERE NOT offered")


async def stays(what: Callable[[], object], seconds: float) -> None:
    """Look for so long at what is to stay as it is."""
    first, until = what(), time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(LOOK_SECONDS)
        assert what() == first


async def _has_bus(hub: RunningHub) -> bool:
    """What a hub's health says."""
    async with grpc.aio.insecure_channel(hub.address) as channel:
        asked = health_pb2.HealthCheckRequest(service="bus")
        answer = await health_pb2_grpc.HealthStub(channel).Check(asked, timeout=10.0)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _leads(story: Story) -> dict[str, tuple[str, bool]]:
    """What is led where, and whether it is offered, as an operator is told."""
    status = await story.operator.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())
    assert all(
        each.result == ("warning" if lead.offered else "ok")
        for each, lead in zip(lead_checks(status), status.leads, strict=True)
    )
    return {each.task: (each.address, each.offered) for each in status.leads}


async def _says(hub: RunningHub, *, has_bus: bool) -> None:
    async def says() -> bool:
        return await _has_bus(hub) == has_bus

    await eventually(says, "the hub to say it", SOON_SECONDS)


@pytest.mark.parametrize("wire", [Wire.HELD, Wire.CUT])
async def test_a_leader_that_loses_its_bus_is_followed(
    tmp_path: Path, wire: Wire, record_property: Callable[[str, object], None]
) -> None:
    """Proves that deliveries flow again within the limit and 5 s after the link between the leader
    and NATS is cut, or carries nothing any more, while another hub has its own; that each order is
    called once; that the hub without a bus serves, says what it lacks and who leads, and follows;
    and that nothing moves back when its bus does."""
    async with Parted(tmp_path) as site:
        (first, second), lane, enough = site.hubs.hubs, Lane(1), asyncio.Event()
        orders: list[str] = []
        async with (
            PlayedEndpoint(second, lane.erp, ERP_OPERATIONS) as erp,
            Story(second, lane) as at_second,
            Story(first, lane) as at_first,
        ):
            worker = Worker(erp)
            working = asyncio.create_task(worker.run())
            writing = [
                asyncio.create_task(write(story, orders, enough)) for story in (at_first, at_second)
            ]
            await eventually(lambda: len(worker.calls) >= 10, "a first round of work")
            cut_at = time.monotonic()
            site.wires[0].set(wire)
            follows = "the other hub to lead"
            await eventually(lambda: site.hubs.leader()[0] == 2, follows, TAKE_OVER_SECONDS)
            took_seconds, settled = time.monotonic() - cut_at, len(worker.begun_at)
            await eventually(lambda: len(worker.begun_at) > settled, "work", TAKE_OVER_SECONDS)
            flows_seconds = worker.begun_at[settled] - cut_at
            record_property("seconds_to_flow", round(flows_seconds, 2))
            print(f"{wire}: leads after {took_seconds:.2f} s, works after {flows_seconds:.2f} s")
            await _says(first, has_bus=False)
            await _says(second, has_bus=True)
            assert await _leads(at_first) == {"everything": (second.address, False)}
            await eventually(lambda: len(worker.begun_at) > settled + 10, "more work")
            site.wires[0].set(Wire.THROUGH)
            await _says(first, has_bus=True)
            await stays(site.hubs.leader, SETTLED_SECONDS)
            enough.set()
            await asyncio.gather(*writing)
            done = "state = 'CONFIRMED'"
            await eventually(lambda: second.count("deliveries", done) == len(orders), "all", 60.0)
            working.cancel()
        assert set(worker.calls.values()) == {1}
        assert len(worker.calls) == len(orders)
        assert site.hubs.leader() == (2, second.address)
        assert flows_seconds < FLOW_SECONDS


@pytest.mark.parametrize("which", [0, 1], ids=["with the office", "without it"])
async def test_systems_of_a_hub_without_a_bus_are_led_elsewhere(
    tmp_path: Path, which: int, record_property: Callable[[str, object], None]
) -> None:
    """Proves the same of hubs that divide systems, whichever of them is parted from NATS; and that
    it leads some again when it has its bus for long."""
    async with Parted(tmp_path, LANES, divide_systems="true") as site:
        hubs = site.hubs
        lost, left = hubs.hubs[which], hubs.hubs[1 - which]
        async with Lanes(left, left) as lanes:
            await eventually(lambda: divided(hubs, 2), "the division", SOON_SECONDS)
            await eventually(lanes.everybody_works(3), "a first round of work", 60.0)
            theirs = led(hubs)[lost.address]
            cut_at = time.monotonic()
            site.wires[which].set(Wire.HELD)
            took_seconds, flows_seconds = await taken_over(hubs, lanes, theirs, left, cut_at)
            record_property("seconds_to_flow", round(flows_seconds, 2))
            print(f"taken over after {took_seconds:.2f} s, works after {flows_seconds:.2f} s")
            site.wires[which].set(Wire.THROUGH)
            await eventually(lambda: divided(hubs, 2), "a division anew", 30.0)
            await eventually(lanes.everybody_works(3), "work of both", 60.0)
            await lanes.is_done_once()
        assert flows_seconds < FLOW_SECONDS


async def _part(site: Parted) -> None:
    """Let no hub have the bus for a while, and the one that leads least have it first again."""
    for wire in site.wires:
        wire.set(Wire.HELD)
    await stays(site.terms, DOWN_SECONDS)
    site.wires[1].set(Wire.THROUGH)
    await stays(site.terms, LATER_SECONDS)
    site.wires[0].set(Wire.THROUGH)


async def _kill(site: Parted) -> None:
    """The server is gone for a while, and what it had in memory with it."""
    site.hubs.nats.kill()
    await stays(site.terms, DOWN_SECONDS)
    await asyncio.to_thread(site.hubs.nats.start)


@pytest.mark.parametrize("lose", [_part, _kill], ids=["parted", "killed"])
async def test_a_bus_that_is_down_for_all_moves_no_lead(
    tmp_path: Path, lose: Callable[[Parted], Coroutine[Any, Any, None]]
) -> None:
    """Proves that while no hub reaches NATS, and when they do again one after the other, each lead
    and each system stays with its hub in its term, that an operator is told, that orders are
    accepted meanwhile, and that all of them are called once afterwards."""
    async with Parted(tmp_path, LANES, divide_systems="true") as site:
        hubs = site.hubs
        async with Lanes(hubs.hubs[1], hubs.hubs[0]) as lanes:
            await eventually(lambda: divided(hubs, 2), "the division", SOON_SECONDS)
            await eventually(lanes.everybody_works(3), "a first round of work", 60.0)
            before, terms = led(hubs), site.terms()
            accepted = len(lanes.orders)
            losing = asyncio.create_task(lose(site))
            await eventually(lambda: not site.kept(), "everything to be offered", DOWN_SECONDS)
            async with Story(hubs.hubs[1], Lane(1)) as story:
                told = await _leads(story)
            assert {task: offered for task, (_, offered) in told.items()} == dict.fromkeys(
                ("everything", "seat 1", "seat 2"), True
            )
            assert len(lanes.orders) > accepted
            # What waits by now is enough: more would only take longer to work off.
            lanes.enough.set()
            await losing
            await eventually(lambda: len(site.kept()) == 3, "every lead to be kept", SOON_SECONDS)
            await stays(lambda: (led(hubs), site.terms()), SETTLED_SECONDS)
            assert (led(hubs), site.terms()) == (before, terms)
            assert sum(map(len, before.values())) == LANES
            await lanes.is_done_once()
        assert site.terms() == terms
