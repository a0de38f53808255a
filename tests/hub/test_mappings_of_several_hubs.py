"""What a code means is set at one of several hubs, and holds at all of them from then on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane
from fixtures_nats import eventually
from shared_hubs import SharedHubs
from story import Story, label, scans, seed_master_data
from test_mapping_rpc import HELD, coded, register, set_row

KIND = "pigeon"
LANE = Lane(1)
NUMBER = "1Z-1"
# Less than what is held is looked through in by itself.
SOON_SECONDS = 10.0


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[SharedHubs]:
    """Two hubs, the first of which leads."""
    running = SharedHubs(tmp_path).start()
    asyncio.run(seed_master_data(running.hubs[0]))
    yield running
    running.end()


@pytest.mark.parametrize("set_at", [0, 1], ids=["set at the leader", "set beside it"])
async def test_a_row_holds_at_every_hub_at_once(hubs: SharedHubs, set_at: int) -> None:
    """Proves that a row which is set at one hub decides the very next scan at the other one, that
    a change of it does so too, and that what the other one held for want of it is written soon."""
    setting, telling = hubs.hubs[set_at], hubs.hubs[1 - set_at]
    start = time.time() - 600

    async def told(story: Story, code: str, seconds: float) -> types_pb2.FactOutcome.ValueType:
        event = coded(NUMBER, start + seconds, code)
        answer = await story.carrier.tracking.ReportTrackingEvents(scans(event))
        return answer.receipts[0].outcome

    def milestones() -> list[str]:
        found = telling.query(
            "SELECT milestone FROM scans WHERE tracking_number = ? ORDER BY event_time", NUMBER
        )
        return [milestone for (milestone,) in found]

    async with Story(setting, LANE) as there, Story(telling, LANE) as here:
        await register(here.carrier, LANE.carrier, KIND)
        packed = await here.packed()
        await here.manifest(packed.id)
        await here.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, NUMBER))
        assert await told(here, "QQ", 0) == HELD
        await set_row(there.operator, KIND, "QQ", "IN_TRANSIT")
        assert await told(here, "QQ", 60) != HELD
        await set_row(there.operator, KIND, "QQ", "OUT_FOR_DELIVERY")
        assert await told(here, "QQ", 120) != HELD
        await eventually(lambda: len(milestones()) == 3, "what was held", SOON_SECONDS)
    assert milestones()[1:] == ["IN_TRANSIT", "OUT_FOR_DELIVERY"]
