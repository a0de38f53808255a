"""A hub on a NATS cluster of three nodes: streams in three copies, nodes that die under load."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bus_reading import stored_messages, stream_configuration
from crossdock.bus import EVENT_STREAM, SCAN_STREAM, delivery_stream
from crossdock.errors import ConfigurationError
from crossdock_adapters.sdk.bus_credentials import BusCredentials
from crossdock_hub.bus import node_changes
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.external import check_replicas
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.config import Settings
from fixtures_hub import QUICK_LIMITS, Lane, RunningHub, deployment
from fixtures_nats import eventually
from nats_cluster import NODES, NatsCluster
from played_endpoint import PlayedEndpoint
from story import approve_order, create_order, order, seed_master_data
from structlog.testing import capture_logs

WRITERS = 4
KILLS = int(os.environ.get("CROSSDOCK_TEST_NODE_KILLS", "1"))
HEALED_SECONDS = 90.0


class ClusterHub(RunningHub):
    """A hub whose bus is a cluster, with the credentials that the hub's tool wrote."""

    def __init__(self, directory: Path, cluster: NatsCluster) -> None:
        super().__init__(
            directory,
            deployment(1),
            limits=json.dumps(QUICK_LIMITS),
            nats_url=cluster.url,
            nats_credentials_file=str(cluster.seed_file()),
            nats_replicas=str(NODES),
        )
        self.cluster = cluster

    def bus_credentials(self, endpoint: str) -> BusCredentials:
        return BusCredentials.read(self.cluster.seed_file(endpoint))

    def bus_address(self) -> BusAddress:
        return self.cluster.address()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """Three nodes, and users for the endpoints of one lane; each test leaves all of them up."""
    nodes = NatsCluster(tmp_path_factory.mktemp("cluster"), tuple(deployment(1)))
    try:
        yield nodes.start()
    finally:
        nodes.stop()


@pytest.fixture(scope="module")
def cluster_hub(cluster: NatsCluster) -> Iterator[ClusterHub]:
    """A hub on the cluster, with master data."""
    running = ClusterHub(cluster.directory / "hub", cluster)
    running.start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


async def write_until(hub: RunningHub, done: asyncio.Event) -> int:
    """Approve new orders one after another; how many were answered. No refusal is expected."""
    count = 0
    async with hub.client("oms") as client:
        while not done.is_set():
            request = create_order(order(Lane(1).business_unit))
            made = await client.orders.CreateOrder(request)
            await client.orders.ApproveOrder(approve_order(made.order.id))
            count += 1
    return count


async def everything_is_stored_once_and_in_order(hub: ClusterHub) -> bool:
    """Whether the event stream holds exactly the events of the database, in their order."""
    if hub.count("events", "published_at IS NULL"):
        return False
    rows = hub.query("SELECT id FROM events ORDER BY sequence")
    messages = await stored_messages(hub.bus_address(), EVENT_STREAM)
    return [row[0] for row in rows] == [each.headers["ce-id"] for each in messages]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=lambda how: how.name)
async def test_leaders_that_die_under_load_lose_nothing(
    cluster_hub: ClusterHub, cluster: NatsCluster, how: signal.Signals
) -> None:
    """Proves that callers are answered while leaders of the event stream are killed or stopped, one
    after another, and that afterwards each event is stored once, in order, and work still comes."""
    done = asyncio.Event()
    lane = Lane(1)
    async with PlayedEndpoint(cluster_hub, lane.erp, {"create_sales_order": "SEARCHABLE"}):
        writers = [asyncio.create_task(write_until(cluster_hub, done)) for _ in range(WRITERS)]
        for _ in range(KILLS):
            before = cluster_hub.count("events", "published_at IS NOT NULL")
            struck = await leader(cluster)
            await asyncio.to_thread(cluster.kill_node, struck, how)
            await eventually(
                lambda start=before: (  # type: ignore[misc]
                    cluster_hub.count("events", "published_at IS NOT NULL") > start + 5
                ),
                "events flow with a node less",
                HEALED_SECONDS,
            )
            if how is signal.SIGSTOP:
                cluster.thaw_node(struck)
            else:
                cluster.start_node(struck)
            await asyncio.to_thread(cluster.wait_until_formed)
        done.set()
        answered = sum(await asyncio.gather(*writers))
        assert answered > 0
        assert cluster_hub.count("events") >= answered

        async def whole() -> bool:
            return await everything_is_stored_once_and_in_order(cluster_hub)

        await eventually(whole, "each event once, in order", HEALED_SECONDS)


async def test_another_node_is_asked_and_not_again_at_once(
    cluster: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a bus which is told that its node serves nothing goes to another one, asked twice
    only once, that however many it goes to there is one line of it in the log, and that one with a
    single server stays."""
    bus = await Bus.connect(cluster.address())
    client = bus._client
    try:
        first = client.connected_url
        with capture_logs() as lines:
            for _ in range(2):
                await bus.change_node()
                await eventually(lambda: client.is_connected, "the connection")
            await eventually(lambda: client.stats["reconnects"] == 1, "one change")
        assert [line["event"] for line in lines] == ["the bus is asked at another node"]
        monkeypatch.setattr(node_changes, "CHANGE_NODE_SECONDS", 0.0)

        async def elsewhere() -> bool:
            if client.is_connected and client.connected_url == first:
                await bus.change_node()
            return client.is_connected and client.connected_url not in (None, first)

        with capture_logs() as lines:
            await eventually(elsewhere, "another node")
            before = client.stats["reconnects"]
            await bus.change_node()
            await eventually(lambda: client.stats["reconnects"] > before, "one more")
        assert [line["event"] for line in lines] == []
        assert await bus.round_trip_seconds() > 0
    finally:
        await bus.close()
    alone = await Bus.connect(replace(cluster.address(), url=cluster.url.split(",")[0]))
    try:
        alone._client._server_pool = alone._client._server_pool[:1]
        await alone.change_node()
        assert alone._client.is_connected
        assert alone._client.stats["reconnects"] == 0
    finally:
        await alone.close()


async def leader(cluster: NatsCluster) -> int:
    """The node that leads the event stream, once there is one."""
    await eventually(lambda: cluster.leader_of(EVENT_STREAM) >= 0, "a leader", HEALED_SECONDS)
    return cluster.leader_of(EVENT_STREAM)


async def test_every_stream_has_its_copies(cluster_hub: ClusterHub) -> None:
    """Proves that events, scans and the work of endpoints are kept on three nodes by setting."""
    lane = Lane(1)
    async with PlayedEndpoint(cluster_hub, lane.erp, {"create_sales_order": "SEARCHABLE"}):
        for stream in (EVENT_STREAM, SCAN_STREAM, delivery_stream(lane.erp)):
            configuration = await stream_configuration(cluster_hub.bus_address(), stream)
            assert configuration.num_replicas == NODES


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"nats_replicas": 3}, "needs a cluster"),
        ({"nats_replicas": 2, "nats_url": "nats://127.0.0.1:1"}, "must be 1, 3 or 5"),
    ],
)
def test_copies_that_cannot_be_are_refused(settings: dict[str, Any], says: str) -> None:
    """Proves that a number of copies that makes no sense ends the start with one sentence."""
    with pytest.raises(ConfigurationError, match=says) as refused:
        check_replicas(Settings(**settings))
    assert "CROSSDOCK_NATS_REPLICAS" in str(refused.value)
