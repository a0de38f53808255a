"""Who waits at one hub of a database for what another one commits."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from crossdock.label.v1 import label_service_pb2
from crossdock.order.v1 import order_service_pb2
from fixtures_hub import QUICK_LIMITS, Lane
from played_endpoint import PlayedEndpoint
from shared_hubs import SharedHubs
from story import Story, label, seed_master_data

# Nobody looks by itself before a call has to be answered.
PATIENT = {**QUICK_LIMITS, "await_poll_seconds": 60.0}
DEADLINE_SECONDS, SOON_SECONDS = 40.0, 15.0
LABELS = 3


async def test_a_label_that_another_hub_writes_is_answered_at_once(tmp_path: Path) -> None:
    """Proves that a packing station which waits at a hub is answered when another hub commits the
    label, by what that one tells over core NATS: nobody looks by itself for a minute here."""
    hubs = SharedHubs(tmp_path)
    for hub in hubs.hubs:
        hub.add(limits=json.dumps(PATIENT))
    try:
        hubs.start()
        first, second = hubs.hubs
        await seed_master_data(first)
        lane = Lane(1)
        async with (
            PlayedEndpoint(first, lane.carrier, {"buy_label": "SEARCHABLE"}),
            Story(first, lane) as here,
            Story(second, lane) as there,
        ):
            for waits, writes in ((here, there), (there, here)):
                for number in range(LABELS):
                    began = time.monotonic()
                    told = await _awaited(waits, writes, f"TRK-{waits.hub.pid}-{number}")
                    assert told == f"TRK-{waits.hub.pid}-{number}"
                    assert time.monotonic() - began < SOON_SECONDS
    finally:
        hubs.end()


async def _awaited(waits: Story, writes: Story, number: str) -> str:
    """The number of a label that is waited for at one hub and written at another."""
    order, (part,) = await writes.released()
    shipment = await writes.pack(part)
    package = shipment.packages[0].id
    asked = asyncio.ensure_future(
        waits.wms.labels.AwaitLabel(
            label_service_pb2.AwaitLabelRequest(package_id=package), timeout=DEADLINE_SECONDS
        )  # type: ignore[call-arg]
    )
    # Behind it on the same connection: when these are answered, the hub waits.
    for _ in range(5):
        await waits.wms.orders.GetOrder(order_service_pb2.GetOrderRequest(id=order))
    assert not asked.done()
    await writes.carrier.labels.CreateLabel(label(shipment.id, package, number))
    return str((await asked).label.tracking_number)
