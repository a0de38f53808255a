"""Several hubs that divide the systems of a database: each dispatches for some, any serves all."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.errors import ConfigurationError
from crossdock_hub.config import Settings
from crossdock_hub.sharing import check_sharing
from fixtures_hub import QUICK_LIMITS, Lane, RunningHub
from fixtures_nats import eventually
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from shared_hubs import SharedHubs
from story import Story, request_id, seed_master_data
from test_shared_database import (
    FAIL_OVER_SECONDS,
    SOON_SECONDS,
    TAKE_OVER_SECONDS,
    Worker,
    write,
)

LANES = 6


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[SharedHubs]:
    """Two hubs of the test's own, the first of which has the office."""
    running = SharedHubs(tmp_path, lanes=LANES, metrics_port="0", divide_systems="true").start()
    asyncio.run(seed_master_data(running.hubs[0]))
    yield running
    running.end()


def led(hubs: SharedHubs) -> dict[str, list[str]]:
    """The systems that each living seat's hub leads, by its address."""
    found: dict[str, list[str]] = {}
    for address, system in hubs.database.query(
        "SELECT l.address, s.system FROM leadership l LEFT JOIN system_leads s "
        "ON l.task = 'seat ' || s.seat AND l.term = s.seat_term AND s.wanted = s.seat "
        "WHERE l.task LIKE 'seat %' AND l.expires_at > "
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint ORDER BY s.system"
    ):
        found.setdefault(str(address), []).extend([str(system)] if system else [])
    return found


def divided(hubs: SharedHubs, among: int, systems: int = LANES) -> bool:
    """Whether so many hubs lead so many systems, and none many more than another."""
    counts = [len(each) for each in led(hubs).values()]
    return len(counts) == among and sum(counts) == systems and max(counts) - min(counts) <= 2


def hub_of(hubs: SharedHubs, system: str) -> RunningHub:
    """The hub that leads a system."""
    (address,) = [each for each, systems in led(hubs).items() if system in systems]
    (found,) = [hub for hub in hubs.hubs if hub.address == address]
    return found


class Lanes:
    """An ERP of every lane, played at one hub, and orders written for each at another."""

    def __init__(self, working_at: RunningHub, writing_at: RunningHub) -> None:
        self.working_at, self.writing_at = working_at, writing_at
        self.workers: dict[str, Worker] = {}
        self.orders: list[str] = []
        self.enough = asyncio.Event()
        self._ending = AsyncExitStack()
        self._working: list[asyncio.Task[None]] = []
        self._writing: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Lanes:
        for number in range(1, LANES + 1):
            lane = Lane(number)
            erp = PlayedEndpoint(self.working_at, lane.erp, ERP_OPERATIONS)
            worker = Worker(await self._ending.enter_async_context(erp))
            self.workers[lane.erp] = worker
            self._working.append(asyncio.create_task(worker.run()))
            story = await self._ending.enter_async_context(Story(self.writing_at, lane))
            writing = write(story, self.orders, self.enough)
            self._writing.append(asyncio.create_task(writing))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._working, *self._writing):
            task.cancel()
        await asyncio.gather(*self._working, *self._writing, return_exceptions=True)
        await self._ending.aclose()

    def everybody_works(self, more: int) -> Callable[[], bool]:
        """Whether each ERP has begun so many more calls than now."""
        before = {name: len(worker.begun_at) for name, worker in self.workers.items()}
        return lambda: all(
            len(worker.begun_at) >= before[name] + more for name, worker in self.workers.items()
        )

    async def is_done_once(self) -> None:
        """Write no more, wait for the work of every order, and see that each was called once."""
        self.enough.set()
        await asyncio.gather(*self._writing)
        hub = self.working_at
        await eventually(
            lambda: hub.count("deliveries", "state = 'CONFIRMED'") >= len(self.orders), "work", 60.0
        )
        calls: Counter[str] = Counter()
        for worker in self.workers.values():
            calls.update(worker.calls)
        assert len(calls) == hub.count("deliveries") == len(self.orders)
        assert set(calls.values()) == {1}


async def taken_over(
    hubs: SharedHubs, lanes: Lanes, theirs: list[str], left: RunningHub, since: float
) -> tuple[float, float]:
    """Seconds from a time until the other hub leads systems, and until all of them that have work
    are called again."""
    await eventually(
        lambda: set(theirs) <= set(led(hubs).get(left.address, ())),
        "a take-over",
        TAKE_OVER_SECONDS,
    )
    took_seconds = time.monotonic() - since
    await eventually(lanes.everybody_works(1), "work", TAKE_OVER_SECONDS)
    begun = [
        min(at for at in worker.begun_at if at > since + took_seconds)
        for name, worker in lanes.workers.items()
        if name in theirs
    ]
    assert begun, "the hub that was lost led no system that worked"
    return took_seconds, max(begun) - since


async def test_each_leads_some_and_either_serves_all(hubs: SharedHubs) -> None:
    """Proves that two hubs divide the systems evenly, that adapters register, begin and complete
    at one hub whichever leads them, that every order is called once, and that the bus is told of
    the begins of each hub."""
    async with Lanes(hubs.hubs[1], hubs.hubs[0]) as lanes:
        await eventually(lambda: divided(hubs, 2), "the division", SOON_SECONDS)
        await eventually(lanes.everybody_works(5), "work everywhere", 60.0)
        await lanes.is_done_once()
    assert divided(hubs, 2)
    parts = hubs.database.query("SELECT generation, told FROM bus_tie_parts ORDER BY part")
    assert len(parts) == 2
    assert all(generation > 0 for generation, _ in parts)
    assert [hub.stop() for hub in hubs.hubs] == [0, 0]


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("which", [0, 1], ids=["with the office", "without it"])
async def test_a_hub_that_is_lost_has_its_systems_taken_over(
    hubs: SharedHubs, how: str, which: int, record_property: Callable[[str, object], None]
) -> None:
    """Proves that work begins again at every system within 5 s after one of two hubs is killed, or
    stopped in its tracks, under load; that each order is called once; and that a hub which is back
    leads some again."""
    lost, left = hubs.hubs[which], hubs.hubs[1 - which]
    async with Lanes(left, left) as lanes:
        await eventually(lambda: divided(hubs, 2), "the division", SOON_SECONDS)
        await eventually(lanes.everybody_works(3), "a first round of work", 60.0)
        theirs = led(hubs)[lost.address]
        lost_at = time.monotonic()
        if how == "killed":
            lost.kill()
        else:
            lost.freeze()
        took_seconds, works_seconds = await taken_over(hubs, lanes, theirs, left, lost_at)
        record_property("seconds_to_work", round(works_seconds, 2))
        print(f"{how}: taken over after {took_seconds:.2f} s, works after {works_seconds:.2f} s")
        if how == "stopped":
            lost.thaw()
        else:
            lost.start()
        await eventually(lambda: divided(hubs, 2), "a division anew", 20.0)
        await eventually(lanes.everybody_works(3), "work of both", 60.0)
        await lanes.is_done_once()
    assert works_seconds < FAIL_OVER_SECONDS


async def test_a_hub_that_joins_takes_its_share_under_load(tmp_path: Path) -> None:
    """Proves that a third hub is given systems of the other two while they work, that one which is
    stopped in peace leaves them to the others, and that every order is called once."""
    hubs = SharedHubs(tmp_path, count=3, lanes=LANES, divide_systems="true")
    try:
        hubs.start_one(0)
        await seed_master_data(hubs.hubs[0])
        hubs.start_one(1)
        async with Lanes(hubs.hubs[1], hubs.hubs[0]) as lanes:
            await eventually(lambda: divided(hubs, 2), "the division", SOON_SECONDS)
            await eventually(lanes.everybody_works(3), "a first round of work", 60.0)
            await asyncio.to_thread(hubs.start_one, 2)
            await eventually(lambda: divided(hubs, 3), "three shares", SOON_SECONDS)
            await eventually(lanes.everybody_works(3), "work of three", 60.0)
            assert await asyncio.to_thread(hubs.hubs[2].stop) == 0
            await eventually(lambda: divided(hubs, 2), "two shares", SOON_SECONDS)
            await eventually(lanes.everybody_works(3), "work of two", 60.0)
            await lanes.is_done_once()
    finally:
        hubs.end()


async def test_a_pause_holds_from_its_answer_on(hubs: SharedHubs) -> None:
    """Proves that a pause which is said at a hub that does not lead the endpoint's system holds at
    once at the one that does: nothing begins after it was answered; and so does its end."""
    at_either: set[str] = set()
    for number in range(1, LANES + 1):
        lane = Lane(number)
        async with PlayedEndpoint(hubs.hubs[0], lane.erp, ERP_OPERATIONS):
            await eventually(partial(divided, hubs, 2, number), "division", SOON_SECONDS)
        leading = hub_of(hubs, lane.erp)
        at_either.add(leading.address)
        (other,) = [hub for hub in hubs.hubs if hub is not leading]
        async with (
            PlayedEndpoint(other, lane.erp, ERP_OPERATIONS) as erp,
            Story(other, lane) as story,
        ):
            await story.approved()
            dispatch = await erp.take()
            pause = endpoint_service_pb2.PauseEndpointRequest(
                request_id=request_id(), endpoint=lane.erp, reason="a look"
            )
            await story.operator.endpoints.PauseEndpoint(pause)
            refused = await erp.try_begin(dispatch)
            assert refused.HasField("refusal")
            asked = endpoint_service_pb2.GetEndpointRequest(id=lane.erp)
            shown = (await story.operator.endpoints.GetEndpoint(asked)).endpoint.state
            assert shown == endpoint_pb2.ENDPOINT_STATE_PAUSED
            go_on = endpoint_service_pb2.ResumeEndpointRequest(
                request_id=request_id(), endpoint=lane.erp
            )
            await story.operator.endpoints.ResumeEndpoint(go_on)
            await erp.work("CONFIRMED", references={"sales_order": "1"})
    assert len(at_either) == 2


async def test_hubs_that_divide_and_those_that_do_not_are_kept_apart(hubs: SharedHubs) -> None:
    """Proves that a hub which would lead everything is refused beside hubs that divide systems, and
    the other way round, in a sentence that names the setting, who has it, and what to do."""
    first, second = hubs.hubs
    assert second.stop() == 0
    code, said = second.run_to_its_end(divide_systems="false")
    assert code == 69
    assert "shared by hubs with CROSSDOCK_DIVIDE_SYSTEMS=true; start this one with it too" in said
    assert first.stop() == 0
    first.add(divide_systems="false")
    first.start()
    code, said = second.run_to_its_end()
    assert code == 69
    assert "by hubs without CROSSDOCK_DIVIDE_SYSTEMS=true; start this one without it too" in said


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"shared_database": False}, "DIVIDE_SYSTEMS=true needs CROSSDOCK_SHARED_DATABASE=true"),
        ({"limits": {"seats_max": 0}}, "with seats_max 0 no hub leads any system"),
    ],
)
def test_settings_with_which_nothing_can_be_divided_are_refused(
    settings: dict[str, Any], told: str
) -> None:
    """Proves that a hub which would divide systems with nobody, or among no seats, does not start,
    and says which setting has to change."""
    shared: dict[str, Any] = {"shared_database": True, "divide_systems": True}
    with pytest.raises(ConfigurationError) as refused:
        check_sharing(Settings(**shared | settings))
    assert told in str(refused.value)


async def test_a_hub_for_which_there_is_no_seat_says_so(tmp_path: Path) -> None:
    """Proves that a hub which finds every seat held serves and leads nothing, and that its log says
    why and what to do, for nothing else would."""
    hubs = SharedHubs(tmp_path, divide_systems="true")
    for hub in hubs.hubs:
        hub.add(limits=json.dumps(QUICK_LIMITS | {"seats_max": 1}))
    try:
        hubs.start()
        assert len(led(hubs)) == 1
        assert "this hub has no seat" in hubs.hubs[1].log()
        assert "this hub has no seat" not in hubs.hubs[0].log()
        assert hubs.hubs[0].stop() == 0
        await eventually(lambda: list(led(hubs)) == [hubs.hubs[1].address], "a seat", SOON_SECONDS)
    finally:
        hubs.end()


async def test_a_hub_without_a_seat_passes_calls_on(tmp_path: Path) -> None:
    """Proves that an adapter begins and completes at a hub that has no seat, and that commits
    nothing by which it would learn that there is a new system."""
    hubs = SharedHubs(tmp_path, count=3, divide_systems="true")
    for hub in hubs.hubs:
        hub.add(limits=json.dumps(QUICK_LIMITS | {"seats_max": 2}))
    lane = Lane(1)
    try:
        hubs.start()
        office = hubs.hubs[0]
        await seed_master_data(office)
        async with PlayedEndpoint(office, lane.erp, ERP_OPERATIONS):
            await eventually(lambda: any(led(hubs).values()), "the division", SOON_SECONDS)
        assert hub_of(hubs, lane.erp) is hubs.hubs[1], "the office decides it"
        idle = hubs.hubs[2]
        assert idle.address not in led(hubs)
        async with (
            PlayedEndpoint(idle, lane.erp, ERP_OPERATIONS) as erp,
            Story(office, lane) as story,
        ):
            order = await story.approved()
            async with asyncio.timeout(SOON_SECONDS):
                await erp.work("CONFIRMED", references={"sales_order": "1"})
            assert await story.state(order, "create_sales_order") == "CONFIRMED"
    finally:
        hubs.end()
