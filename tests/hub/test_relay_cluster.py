"""The relay beside another publisher on streams that three nodes have copies of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bus_reading import stored_messages
from crossdock.bus import EVENT_STREAM
from crossdock_hub.bus.errors import BusError, BusRefused
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.outlet import Outlet
from crossdock_hub.bus.publishing import WRONG_LAST_SEQUENCE, Message
from crossdock_hub.bus.streams import StreamLimits, event_stream_spec
from crossdock_hub.store import Store
from fixtures_nats import eventually
from nats_cluster import NODES, NatsCluster
from own_committer import store
from relay_parts import HOT_HOURS, Keeper, event, record, relay_of, send_all

__all__ = ["store"]

FORMED_SECONDS = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three nodes of its own: what is proven here may stop a stream."""
    nodes = NatsCluster(tmp_path / "cluster")
    try:
        yield nodes.start()
    finally:
        nodes.stop()


@pytest.fixture
async def bus(cluster: NatsCluster) -> AsyncIterator[Bus]:
    bus = await Bus.connect(cluster.address())

    async def made() -> bool:
        try:
            await bus.ensure_streams([event_stream_spec(StreamLimits(HOT_HOURS, replicas=NODES))])
        except BusError:
            return False
        return True

    await eventually(made, "a stream on three nodes", FORMED_SECONDS)
    yield bus
    await bus.close()


async def _until_sent(outlet: Outlet) -> None:
    """Publish, again after each trouble, until nothing waits."""

    async def sent() -> bool:
        try:
            await send_all(outlet)
        except BusError:
            return False
        return True

    await eventually(sent, "publishing", FORMED_SECONDS)


async def _ids(cluster: NatsCluster) -> list[str]:
    stored = await stored_messages(cluster.address(), EVENT_STREAM)
    return [each.headers["Nats-Msg-Id"] for each in stored]


async def test_a_stranger_in_the_place_of_the_first_stops_no_stream(
    cluster: NatsCluster, store: Store, bus: Bus
) -> None:
    """Proves that where somebody else's message has the place of the first of a few, a stream with
    copies refuses all of them, and still takes them, once and in order, behind it. A message that
    it had put in its log before it looked at the id of the one in front would stop it for good."""
    relay = relay_of(store, bus, Keeper(store))
    events = await record(store, event())
    await _until_sent(relay.events)
    headers = {"Nats-Msg-Id": "alien"}
    await bus.publish(Message("crossdock.v1.event.order.approved.1", b"", headers))
    events += await record(store, event(), event())
    with pytest.raises(BusRefused) as refused:
        await relay.events.publish()
    assert refused.value.code == WRONG_LAST_SEQUENCE
    await _until_sent(relay.events)
    assert await _ids(cluster) == [events[0], "alien", *events[1:]]


@pytest.mark.parametrize("count", [1, 3])
async def test_what_came_late_is_no_stranger(
    cluster: NatsCluster, store: Store, bus: Bus, count: int
) -> None:
    """Proves of messages that come late, when the relay has looked and before it sends them again:
    a cluster knows their ids before it looks at the fence. None is doubled, and the relay takes
    them for its own, now and when it starts again, and warns of no other publisher."""
    keeper = Keeper(store)
    relay, late = relay_of(store, bus, keeper), relay_of(store, bus, Keeper(store))
    events = await record(store, event())
    await _until_sent(relay.events)
    await _until_sent(late.events)
    events += await record(store, *[event() for _ in range(count)])
    await _until_sent(late.events)
    await _until_sent(relay.events)
    await keeper.write()
    again = relay_of(store, bus, keeper)
    events += await record(store, event())
    for each in (relay, again):
        await _until_sent(each.events)
    assert await _ids(cluster) == events
    assert relay.events.strangers == again.events.strangers == 0
