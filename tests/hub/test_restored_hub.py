"""A hub on a database that was put back, whose bus is not there to tell: nothing is done twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from back_ups import copy_bus, copy_database, differences, put_back_bus
from crossdock_hub.bus.tie import DATABASE_OLDER
from crossdock_hub.store.putting_back import put_back
from databases import on_sqlite_only
from fixtures_hub import Lane, RunningHub
from played_endpoint import PlayedEndpoint
from story import Story
from test_young_copy import approved, next_of

pytestmark = on_sqlite_only

CALL_SECONDS = 1.0
LANE = Lane(1)
FAR_ABOVE = 1 << 20


@pytest.mark.parametrize(
    ("kind", "bus"), [("SEARCHABLE", "lost"), ("NONE", "lost"), ("SEARCHABLE", "of the copy")]
)
async def test_a_call_after_the_copy_of_which_no_bus_knows(
    own_hub: RunningHub, tmp_path: Path, kind: str, bus: str
) -> None:
    """Proves that after a restore on a new disk, or of a whole directory, the vendor is asked about
    what the copy had not begun, and not called, or that it parks; that it is told; that tokens go
    on above all of the lost time; and that the next start doubts nothing any more."""
    saved, streams = tmp_path / "saved", tmp_path / "streams"
    async with (
        Story(own_hub, LANE) as story,
        PlayedEndpoint(
            own_hub, LANE.erp, {"create_sales_order": kind}, call_seconds=CALL_SECONDS
        ) as erp,
    ):
        await approved(story)
        delivery_id = (await erp.take()).delivery_id
        assert own_hub.stop() == 0
        copy_database(own_hub, saved)
        copy_bus(own_hub, streams)
        own_hub.start()
        called = await erp.take()
        lost = await erp.begin(called)
        await erp.complete(delivery_id, lost, "CONFIRMED")
        own_hub.kill()
        if bus == "lost":
            shutil.rmtree(own_hub.data / "nats" / "jetstream")
        else:
            put_back_bus(own_hub, streams)
        told = put_back(own_hub.data / "crossdock.db", saved / "crossdock.db")
        assert "looked up" in told["at_start"]
        own_hub.start()
        asked = await next_of(erp, delivery_id)
        assert (asked is None) == (kind == "NONE")
        if asked is not None:
            token = await erp.begin(asked)
            assert token > lost + FAR_ABOVE
            await erp.complete(delivery_id, token, "CONFIRMED")
        assert own_hub.count("attempts", "kind = 'CALL'") == 0, "the vendor was called again"
        assert "put back from a back-up" in own_hub.log()
        own_hub.restart()
        assert differences(own_hub)[DATABASE_OLDER] == 1, "doubted twice"
