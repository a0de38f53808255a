"""The relay at the end of a hub: what is on the bus is remembered before the process ends."""

from __future__ import annotations

from bus_reading import stored_messages
from crossdock import bus
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, approve_order


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
