"""The relay beside another publisher on streams that three nodes have copies of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bus_reading import stored_messages
from crossdock.bus import EVENT_STREAM
from crossdock_hub.bus.errors import BusError, BusRefused
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import WRONG_LAST_SEQUENCE, Message
from crossdock_hub.bus.streams import StreamLimits, event_stream_spec
from databases import open_store
from fixtures_nats import eventually
from nats_cluster import NODES, NatsCluster
from relay_parts import HOT_HOURS, Keeper, event, record, relay_of, send_all

FORMED_SECONDS = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three nodes of its own: what is proven here may stop a stream."""
    nodes = NatsCluster(tmp_path / "cluster")
    try:
        yield nodes.start()
    finally:
        nodes.stop()


async def test_a_stranger_in_the_place_of_the_first_stops_no_stream(
    cluster: NatsCluster, tmp_path: Path
) -> None:
    """Proves that where somebody else's message has the place of the first of a few, a stream with
    copies refuses all of them, and still takes them, once and in order, behind it. A message that
    it had put in its log before it looked at the id of the one in front would stop it for good."""
    store = await open_store(tmp_path / "data")
    bus = await Bus.connect(cluster.address())
    relay = relay_of(store, bus, Keeper(store))

    async def made() -> bool:
        try:
            await bus.ensure_streams([event_stream_spec(StreamLimits(HOT_HOURS, replicas=NODES))])
            await send_all(relay.events)
        except BusError:
            return False
        return True

    try:
        events = await record(store, event())
        await eventually(made, "a stream on three nodes", FORMED_SECONDS)
        headers = {"Nats-Msg-Id": "alien"}
        await bus.publish(Message("crossdock.v1.event.order.approved.1", b"", headers))
        events += await record(store, event(), event())
        with pytest.raises(BusRefused) as refused:
            await relay.events.publish()
        assert refused.value.code == WRONG_LAST_SEQUENCE
        await eventually(made, "what comes behind the stranger", FORMED_SECONDS)
        stored = await stored_messages(cluster.address(), EVENT_STREAM)
        ids = [each.headers["Nats-Msg-Id"] for each in stored]
        assert ids == [events[0], "alien", *events[1:]]
    finally:
        await bus.close()
        await store.close()
