"""Several hubs on one database: both serve, one leads, and another one takes over from it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_operations_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.errors import (
    CallError,
    ConfigurationError,
    NoAnswerError,
    NotAllowedError,
    Refusal,
    TryAgainError,
)
from crossdock.hub.v1 import hub_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock_hub.config import Settings
from crossdock_hub.sharing import check_sharing
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually, free_port
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from shared_hubs import SharedHubs
from story import (
    Story,
    approve_order,
    create_order,
    label,
    request_id,
    scan,
    scans,
    seed_master_data,
)
from story import order as order_of

FAIL_OVER_SECONDS = 5.0
# How long a take-over is waited for, so that one that is late is told with its time.
TAKE_OVER_SECONDS = 30.0
EXIT_UNAVAILABLE, EXIT_CONFIGURATION = 69, 78
SOON_SECONDS = 10.0
POSTGRES = "postgresql+asyncpg://crossdock@/hub"
NATS = "nats://127.0.0.1:4222"


def _says_that_it_leads(hub: RunningHub) -> float:
    """What a hub's metrics say of it."""
    port = json.loads((hub.directory / "address.json").read_text())["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    (found,) = [line for line in lines if line.startswith("crossdock_hub_leads ")]
    return float(found.split()[1])


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[SharedHubs]:
    """Two hubs of the test's own, the first of which leads."""
    running = SharedHubs(tmp_path, metrics_port="0").start()
    asyncio.run(seed_master_data(running.hubs[0]))
    yield running
    running.end()


async def test_both_serve_and_adapters_work_at_either(hubs: SharedHubs) -> None:
    """Proves that orders written at either hub reach the ERP once, that its adapter registers,
    begins and completes at the hub that does not lead, and that every event is published."""
    first, second = hubs.hubs
    assert hubs.leader() == (1, first.address)
    assert [await asyncio.to_thread(_says_that_it_leads, hub) for hub in hubs.hubs] == [1.0, 0.0]
    lane = Lane(1)
    async with (
        PlayedEndpoint(second, lane.erp, ERP_OPERATIONS) as erp,
        Story(first, lane) as at_first,
        Story(second, lane) as at_second,
    ):
        orders = [await at_first.approved(), await at_second.approved()]
        for _ in orders:
            await erp.work("CONFIRMED", references={"sales_order": "1"})
        for order in orders:
            assert await at_second.state(order, "create_sales_order") == "CONFIRMED"
    await eventually(lambda: first.count("events", "published_at IS NULL") == 0, "publishing")
    assert hubs.leader() == (1, first.address)
    assert second.stop() == 0
    assert first.stop() == 0


class Worker:
    """An adapter at one hub that goes on whatever the hubs answer. calls: how often each order's
    delivery was begun, which is when a vendor would be called."""

    def __init__(self, erp: PlayedEndpoint) -> None:
        self.erp = erp
        self.calls: Counter[str] = Counter()
        self.begun_at: list[float] = []
        self.refused: Counter[str] = Counter()

    async def run(self) -> None:
        while True:
            dispatch = await self.erp.next()
            attempt_id = str(uuid.uuid4())
            begun = await insist(partial(self.erp.try_begin, dispatch, attempt_id=attempt_id))
            if begun.HasField("refusal"):
                self.refused[begun.refusal.reason] += 1
                continue
            self.calls[dispatch.delivery_id] += 1
            self.begun_at.append(time.monotonic())
            done = partial(self.erp.complete, dispatch.delivery_id, begun.token, "CONFIRMED")
            await insist(done)


async def write(story: Story, orders: list[str], until: asyncio.Event) -> None:
    """Approve orders at one hub until told to stop; each call is repeated until it is answered."""
    while not until.is_set():
        request = create_order(order_of(story.lane.business_unit))
        made = (await insist(partial(story.oms.orders.CreateOrder, request))).order
        approval = approve_order(made.id)
        await insist(partial(story.oms.orders.ApproveOrder, approval))
        orders.append(made.id)


async def insist(call: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        try:
            return await call()
        except (TryAgainError, NoAnswerError):
            await asyncio.sleep(0.05)


async def _all_is_done(hub: RunningHub, orders: list[str], worker: Worker) -> None:
    """Wait for every order's delivery, and see that each was called once."""
    await eventually(
        lambda: hub.count("deliveries", "state = 'CONFIRMED'") >= len(orders), "the work", 60.0
    )
    assert hub.count("deliveries") == hub.count("deliveries", "state = 'CONFIRMED'") == len(orders)
    assert len(worker.calls) == len(orders)
    assert set(worker.calls.values()) == {1}


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_another_hub_takes_over_under_load(
    hubs: SharedHubs, how: str, record_property: Callable[[str, object], None]
) -> None:
    """Proves that work begins again within 5 s after the leader is killed, or stopped in its
    tracks, under load; that each order is called once; and that a leader which is let go on again
    follows, and serves."""
    first, second = hubs.hubs
    lane, enough = Lane(1), asyncio.Event()
    orders: list[str] = []
    also: list[str] = []
    async with (
        PlayedEndpoint(second, lane.erp, ERP_OPERATIONS) as erp,
        Story(second, lane) as at_second,
        Story(first, lane) as at_first,
    ):
        worker = Worker(erp)
        working = asyncio.create_task(worker.run())
        writing = asyncio.create_task(write(at_second, orders, enough))
        beside = asyncio.create_task(write(at_first, also, enough))
        await eventually(lambda: len(worker.calls) >= 10, "a first round of work")
        lost_at = time.monotonic()
        if how == "killed":
            first.kill()
        else:
            first.freeze()
        await eventually(lambda: hubs.leader()[0] == 2, "another leader", TAKE_OVER_SECONDS)
        took_seconds = time.monotonic() - lost_at
        settled = len(worker.begun_at)
        await eventually(lambda: len(worker.begun_at) > settled, "work", TAKE_OVER_SECONDS)
        works_seconds = worker.begun_at[settled] - lost_at
        record_property("seconds_to_lead", round(took_seconds, 2))
        record_property("seconds_to_work", round(works_seconds, 2))
        print(f"{how}: leads after {took_seconds:.2f} s, works after {works_seconds:.2f} s")
        if how == "stopped":
            first.thaw()
        else:
            first.start()
        await eventually(lambda: len(worker.begun_at) > settled + 10, "more work", 20.0)
        enough.set()
        await asyncio.gather(writing, beside)
        await _all_is_done(second, [*orders, *also], worker)
        await eventually(lambda: _serves(at_first), "the former leader to serve", 20.0)
        working.cancel()
    assert hubs.leader() == (2, second.address)
    assert works_seconds < FAIL_OVER_SECONDS


async def _serves(story: Story) -> bool:
    """Whether a hub answers what the one that leads has to be asked."""
    try:
        request = hub_service_pb2.GetHubStatusRequest()
        return bool((await story.operator.hub.GetHubStatus(request)).bus_ok)
    except (TryAgainError, NoAnswerError):
        return False


def _started_beside(hubs: SharedHubs, **settings: str) -> tuple[int, str]:
    """How another hub ends that is started while the first one runs, and what it says."""
    return hubs.hubs[1].run_to_its_end(**settings)


async def test_hubs_that_cannot_share_are_refused_in_a_sentence(tmp_path: Path) -> None:
    """Proves that a hub which wants the database for itself is refused beside one that shares it,
    and the other way round, and so is one of another version, each in a sentence that says what to
    do; and that the one that runs is not disturbed."""
    hubs = SharedHubs(tmp_path)
    first = hubs.hubs[0]
    try:
        hubs.start_one(0)
        hubs.hubs[1].add(nats_url=hubs.nats_url)
        code, said = _started_beside(hubs, shared_database="false")
        assert code == EXIT_UNAVAILABLE
        assert "the database is shared by hubs" in said
        assert "stop them all, or start with CROSSDOCK_SHARED_DATABASE=true" in said
        hubs.database.query("UPDATE claims SET holder = '0.0.9 with contract x' RETURNING 1")
        code, said = _started_beside(hubs)
        assert code == EXIT_UNAVAILABLE
        assert "hubs of another version (0.0.9 with contract x" in said
        # Of an older version beside newer ones as well: which tables are the older is not known.
        ((tables,),) = hubs.database.query("SELECT version_num FROM alembic_version")
        hubs.database.query("UPDATE alembic_version SET version_num = '9999' RETURNING 1")
        code, said = _started_beside(hubs)
        assert code == EXIT_UNAVAILABLE
        assert "hubs of another version (other tables, this one is" in said
        hubs.database.query("UPDATE alembic_version SET version_num = ? RETURNING 1", tables)
        assert hubs.leader() == (1, first.address)
        assert first.stop() == 0
        first.add(shared_database="false")
        first.start()
        code, said = _started_beside(hubs)
        assert code == EXIT_UNAVAILABLE
        assert "which has it for itself; stop it, and start it with" in said
    finally:
        hubs.end()


def test_an_archive_beside_hubs_is_told_what_to_do(tmp_path: Path) -> None:
    """Proves that the command that archives a stopped hub's database is refused beside hubs that
    share it with what they do by themselves: it was told to join them, by a setting that it had."""
    hubs = SharedHubs(tmp_path, archive_days='{"order": 400}')
    try:
        hubs.start_one(0)
        hubs.hubs[1].add(nats_url=hubs.nats_url)
        done = subprocess.run(
            [sys.executable, "-m", "crossdock.cli", "hub", "archive"],
            env=hubs.hubs[1].environment(), capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
    finally:
        hubs.end()
    assert done.returncode == EXIT_CONFIGURATION, done.stderr
    assert "has the database; hubs archive by themselves" in done.stderr
    assert "CROSSDOCK_SHARED_DATABASE" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "CROSSDOCK_SHARED_DATABASE=true needs PostgreSQL"),
        ({"database_url": POSTGRES}, "needs a NATS that every hub of the database reaches"),
        (
            {"database_url": POSTGRES, "nats_url": NATS, "listen": "0.0.0.0:7443"},
            "set CROSSDOCK_ADVERTISE to host:port",
        ),
        (
            {"database_url": POSTGRES, "nats_url": NATS, "advertise": "hub-a"},
            "CROSSDOCK_ADVERTISE 'hub-a' is no host:port",
        ),
        (
            {"database_url": POSTGRES, "nats_url": NATS, "hubs_ca_file": "/nowhere.pem"},
            "CROSSDOCK_HUBS_CA_FILE /nowhere.pem is no file",
        ),
    ],
)
def test_settings_with_which_nobody_can_share_are_refused(
    settings: dict[str, Any], told: str
) -> None:
    """Proves that a start which can't share is refused by the setting that has to change."""
    with pytest.raises(ConfigurationError) as refused:
        check_sharing(Settings(shared_database=True, **settings))
    assert told in str(refused.value)
    check_sharing(Settings(**settings))


@pytest.mark.parametrize("held_at", [0, 1], ids=["held at the leader", "held beside it"])
async def test_a_fact_is_driven_whichever_hub_holds_it(hubs: SharedHubs, held_at: int) -> None:
    """Proves that a fact which one hub holds is applied when another one commits what it waits
    for, long before anybody would look through all that is held."""
    holding, other = hubs.hubs[held_at], hubs.hubs[1 - held_at]
    number = f"TRK-{held_at}"
    async with Story(holding, Lane(1)) as here, Story(other, Lane(1)) as there:
        await here.carrier.tracking.ReportTrackingEvents(scans(scan(number, "IN_TRANSIT")))
        assert holding.count("held_facts", "state = 'HELD'") == 1
        shipment = await there.packed()
        bought = label(shipment.id, shipment.packages[0].id, number)
        await there.carrier.labels.CreateLabel(bought)
        await eventually(
            lambda: other.count("held_facts", "state = 'APPLIED'") == 1, "driving", SOON_SECONDS
        )


async def test_what_only_a_leader_answers_is_the_same_at_every_hub(hubs: SharedHubs) -> None:
    """Proves that a refusal of the leader comes back word for word from a hub that passed the call
    on, that tokens are the caller's own there, and that a pause said at one holds at the other."""
    first, second = hubs.hubs
    lane = Lane(1)
    refusals: list[Refusal] = []
    for hub in (first, second):
        async with PlayedEndpoint(first, lane.erp, ERP_OPERATIONS), Story(hub, lane) as story:
            request = delivery_operations_service_pb2.RetryDeliveryRequest(
                request_id=request_id(), delivery_id=str(uuid.UUID(int=7)), reason="try"
            )
            with pytest.raises(CallError) as refused:
                await story.operator.delivery_operations.RetryDelivery(request)
            refusals.append(refused.value.refusal)
            with pytest.raises(NotAllowedError):
                await story.wms.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())
    assert refusals[0] == refusals[1]
    assert refusals[0].reason == "OBJECT_NOT_FOUND"
    async with Story(second, lane) as at_second, Story(first, lane) as at_first:
        await at_second.operator.endpoints.PauseEndpoint(
            endpoint_service_pb2.PauseEndpointRequest(
                request_id=request_id(), endpoint=lane.erp, reason="a look"
            )
        )
        asked = endpoint_service_pb2.GetEndpointRequest(id=lane.erp)
        shown = [
            (await story.operator.endpoints.GetEndpoint(asked)).endpoint.state
            for story in (at_first, at_second)
        ]
    assert shown == [endpoint_pb2.ENDPOINT_STATE_PAUSED] * 2


async def test_without_a_leader_objects_are_written_and_the_rest_is_to_be_repeated(
    tmp_path: Path,
) -> None:
    """Proves that a hub which reaches no leader writes and reads objects, refuses what only a
    leader can answer with when to repeat it, and leads when the absent one's term has run out."""
    hubs = SharedHubs(tmp_path)
    alone = hubs.hubs[0]
    hubs.database.query(
        "INSERT INTO leadership VALUES ('everything', 7, 'a hub that is gone', ?, "
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 60000000, 0, 0) RETURNING 1",
        f"127.0.0.1:{free_port()}",
    )
    try:
        hubs.start_one(0)
        await seed_master_data(alone)
        async with Story(alone, Lane(1)) as story:
            order = await story.approved()
            found = await story.oms.orders.GetOrder(order_service_pb2.GetOrderRequest(id=order))
            assert found.order.id == order
            with pytest.raises(TryAgainError) as refused:
                await story.operator.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())
            assert refused.value.reason == "HUB_UNAVAILABLE"
            assert refused.value.refusal.retry_after_seconds == 0.5
            hubs.database.query("UPDATE leadership SET expires_at = 0 RETURNING 1")
            await eventually(lambda: _serves(story), "the hub to lead")
        assert hubs.leader() == (8, alone.address)
        await eventually(lambda: alone.count("events", "published_at IS NULL") == 0, "publishing")
    finally:
        hubs.end()


async def test_a_leader_that_is_stopped_in_peace_hands_over(hubs: SharedHubs) -> None:
    """Proves that a leader which is told to stop ends well, and that another one leads at once."""
    first, second = hubs.hubs
    assert first.stop() == 0
    begun = time.monotonic()
    await eventually(lambda: hubs.leader() == (2, second.address), "handing over", SOON_SECONDS)
    async with Story(second, Lane(1)) as story:
        await eventually(lambda: _serves(story), "the hub to lead", SOON_SECONDS)
    print(f"handed over after {time.monotonic() - begun:.2f} s")


async def test_hubs_that_start_at_once_on_a_new_database_share_it(tmp_path: Path) -> None:
    """Proves that of hubs which start together on an empty database one makes the tables while the
    others wait for it, that all of them serve, and that one leads."""
    hubs = SharedHubs(tmp_path, count=3, empty=True)
    try:
        hubs.nats.start()
        for hub in hubs.hubs:
            hub.add(nats_url=hubs.nats_url)
            hub.spawn()
        for hub in hubs.hubs:
            hub.wait_until_serving()
        term, address = hubs.leader()
        assert (term, address) in {(1, hub.address) for hub in hubs.hubs}
        assert hubs.database.query("SELECT count(*) FROM claims WHERE number = 1") == [(1,)]
    finally:
        hubs.end()


async def test_who_follows_sees_what_every_hub_commits(hubs: SharedHubs) -> None:
    """Proves that a tail at either hub shows each order that is approved at the other one: its
    event, and its delivery."""
    for here, there in (hubs.hubs, hubs.hubs[::-1]):
        seen: defaultdict[str, set[str]] = defaultdict(set)

        async def approve(
            story: Story, seconds: float = 1.0, seen: dict[str, set[str]] = seen
        ) -> bool:
            """Whether all of an order's entries are shown; the first one may come too early."""
            order = await story.approved()
            return await _within(seconds, lambda: {"event", "delivery"} <= seen[order])

        async with Story(here, Lane(1)) as at_here, Story(there, Lane(1)) as at_there:
            reading = asyncio.create_task(_read(at_here, seen))
            await eventually(partial(approve, at_there), "the subscription", SOON_SECONDS)
            assert [await approve(at_there, SOON_SECONDS) for _ in range(3)] == [True] * 3
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(story: Story, seen: defaultdict[str, set[str]]) -> None:
    """Note what a tail shows, by the object that it is about."""
    async for entry in story.operator.lineage.Tail(lineage_service_pb2.TailRequest()):
        kind = entry.WhichOneof("entry") or ""
        if kind in ("event", "delivery"):
            seen[getattr(entry, kind).object_id].add(kind)


async def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    try:
        await eventually(condition, within_seconds=seconds)
    except AssertionError:
        return False
    return True
