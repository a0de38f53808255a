"""The relay at the end of a hub, and what it says of its outlets."""

from __future__ import annotations

import asyncio

import pytest
from bus_reading import stored_messages
from crossdock import bus
from crossdock_hub.bus.errors import (
    BusDenied,
    BusError,
    BusFull,
    BusRefused,
    BusUnavailable,
    PublishUnknown,
    StreamMismatch,
)
from crossdock_hub.bus.publishing import STREAM_FULL
from crossdock_hub.bus.relay import Relay
from crossdock_hub.config import Limits
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, approve_order
from structlog.testing import capture_logs


async def test_a_hub_that_stops_remembers_what_it_published(own_hub: RunningHub) -> None:
    """Proves that no event is published again by the next run: the stream's message ids are only
    known for two minutes, so after a longer pause a second copy would be stored."""
    async with Story(own_hub, Lane(1)) as story:
        for _ in range(5):
            made = await story.create()
            await story.oms.orders.ApproveOrder(approve_order(made.id))

    async def published() -> bool:
        return len(await stored_messages(own_hub.bus_address(), bus.EVENT_STREAM)) >= 5

    await eventually(published, "publishing")
    assert own_hub.stop() == 0
    assert own_hub.count("events", "published_at IS NULL") == 0


class Stuck:
    """An outlet's publish that fails on the bus until told otherwise."""

    def __init__(self, error: BusError | None = None) -> None:
        self.error = error or BusUnavailable("nobody answers")
        self.refuses = True
        self.tries = 0

    async def publish(self) -> bool:
        self.tries += 1
        if self.refuses:
            raise self.error
        return False


class Flowing(Stuck):
    """One that refuses nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = False


class Nodes:
    """A bus that counts how often it was told to ask another node."""

    def __init__(self) -> None:
        self.changed = 0

    async def change_node(self) -> None:
        self.changed += 1


@pytest.mark.parametrize("error", [BusUnavailable("away"), PublishUnknown("no answer in time")])
async def test_a_node_that_answers_nothing_twice_is_left(error: BusError) -> None:
    """Proves that what is not answered once is tried again where it was, and that another node is
    asked from the second time on."""
    nodes, events = Nodes(), Stuck(error)
    relay = Relay(None, nodes, Limits(relay_poll_seconds=0.01), None, 72.0)  # type: ignore[arg-type]
    relay.events.publish = events.publish  # type: ignore[method-assign]
    relay.scans.publish = Flowing().publish  # type: ignore[method-assign]
    relay.start()
    try:
        await eventually(lambda: events.tries == 4, "four tries")
        assert nodes.changed in (2, 3)
        events.refuses = False
        await eventually(lambda: events.tries == 5, "a try that succeeds")
        changed = nodes.changed
        events.refuses, events.tries = True, 0
        relay.wake()
        await eventually(lambda: events.tries == 1, "one more that fails")
        assert nodes.changed == changed
    finally:
        await relay.stop()


@pytest.mark.parametrize(
    "error",
    [
        BusRefused("maximum bytes exceeded", STREAM_FULL),
        BusFull("insufficient storage resources available"),
        BusDenied("permissions violation"),
        StreamMismatch("another retention"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_node_that_refuses_is_not_left(error: BusError) -> None:
    """Proves that the hub stays with a node that did answer: with a full account, it dropped its
    connection every four seconds and asked the other nodes in vain."""
    nodes, events = Nodes(), Stuck(error)
    relay = Relay(None, nodes, Limits(relay_poll_seconds=0.01), None, 72.0)  # type: ignore[arg-type]
    relay.events.publish = events.publish  # type: ignore[method-assign]
    relay.scans.publish = Flowing().publish  # type: ignore[method-assign]
    relay.start()
    try:
        await eventually(lambda: events.tries == 5, "five tries")
        assert nodes.changed == 0
    finally:
        await relay.stop()


async def test_one_stuck_outlet_says_so_once_while_the_other_flows() -> None:
    """Proves that scans that flow do not tell that events flow again: two tasks shared one flag,
    and the log told "wait" and "flow again" in turn for as long as one was stuck."""
    nodes = Nodes()
    relay = Relay(None, nodes, Limits(relay_poll_seconds=0.01), None, 72.0)  # type: ignore[arg-type]
    events, scans = Stuck(), Stuck()
    scans.refuses = False
    relay.events.publish = events.publish  # type: ignore[method-assign]
    relay.scans.publish = scans.publish  # type: ignore[method-assign]
    with capture_logs() as said:
        relay.start()

        async def tried(count: int) -> bool:
            relay.wake()
            return events.tries >= count and scans.tries >= count

        await eventually(lambda: tried(5), "five tries of each")
        assert [line["event"] for line in said] == ["events wait, the bus does not take them"]
        events.refuses = False
        before = events.tries
        await eventually(lambda: tried(before + 2), "a try after it was mended")
        await relay.stop()
    assert [line["event"] for line in said][1:] == ["events flow again"]


async def test_a_stop_that_is_cut_short_still_ends_it() -> None:
    """Proves that a relay publishes no more once its stop has ended, also where whoever waits for
    that is cancelled: it may lead no more, and what led goes on to lead somewhere else."""
    relay = Relay(None, Nodes(), Limits(), None, 72.0)  # type: ignore[arg-type]
    under_way, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> bool:
        under_way.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return False

    relay.events.publish = slow  # type: ignore[method-assign]
    relay.scans.publish = Flowing().publish  # type: ignore[method-assign]
    relay.start()
    await under_way.wait()
    stopping = asyncio.create_task(relay.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait({stopping})
    assert stopping.cancelled() and ended.is_set()
