"""A subscriber that reads everything again, by sequence or by time, ends where the live one is."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import nats
from crossdock import bus
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from nats.js.api import DeliverPolicy
from played_endpoint import PlayedEndpoint
from projection import Projection, following
from story import Story

# A full run sets 1000000.
EVENTS = int(os.environ.get("CROSSDOCK_TEST_PROJECTION_EVENTS", "200"))
AT_ONCE = 20
READ_SECONDS = 60.0 + EVENTS / 500


async def test_reading_again_ends_where_live_is(own_hub: RunningHub) -> None:
    """Proves that an empty projection filled by sequence, by time and from the events table is
    equal to the live one, and that reading again sends no endpoint anything."""
    lane, address = Lane(1), own_hub.bus_address()
    client = await nats.connect(address.url, user=address.user, password=address.password)
    jetstream, live = client.jetstream(), Projection()
    try:
        async with (
            Story(own_hub, lane) as story,
            PlayedEndpoint(own_hub, lane.erp, {"create_sales_order": "SEARCHABLE"}) as erp,
            following(jetstream, live, deliver_policy=DeliverPolicy.ALL),
        ):
            # Approval and release: an event of the order each, and one of its request.
            for _ in range(0, EVENTS, 3 * AT_ONCE):
                await asyncio.gather(*[story.released() for _ in range(AT_ONCE)])
            total = own_hub.count("events")
            assert total >= EVENTS
            await _read_to_the_end(live, total)
            posted = own_hub.query("SELECT id, dispatch_number, token FROM deliveries ORDER BY id")
            waiting = erp.waiting
            first = (await jetstream.get_msg(bus.EVENT_STREAM, 1)).headers or {}
            starts: list[dict[str, Any]] = [
                {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": 1},
                {
                    "deliver_policy": DeliverPolicy.BY_START_TIME,
                    "opt_start_time": first["ce-recordedtime"],
                },
            ]
            for start in starts:
                again = Projection()
                async with following(jetstream, again, **start):
                    await _read_to_the_end(again, total)
                assert again.digest() == live.digest()
            table = Projection()
            for (body,) in own_hub.query("SELECT body FROM events ORDER BY sequence"):
                table.fold(body)
            assert table.digest() == live.digest()
            now = own_hub.query("SELECT id, dispatch_number, token FROM deliveries ORDER BY id")
            assert (now, erp.waiting) == (posted, waiting)
    finally:
        await client.close()


async def _read_to_the_end(projection: Projection, total: int) -> None:
    await eventually(lambda: len(projection.seen) >= total, "reading", READ_SECONDS)
