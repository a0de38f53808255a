"""A hub that runs archives by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock.errors import PreconditionError
from crossdock.inventory.v1 import inventory_service_pb2 as inventory
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock_hub.archive import parts
from fixtures_hub import RunningHub, deployment
from fixtures_nats import eventually
from story import each, request_id, seed_master_data

SOON = 1e-6
LIMITS = {"archive_look_seconds": 0.1, "archive_pause_seconds": 0.0}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub that archives what is a moment old."""
    days = json.dumps({"inventory_reservation": SOON})
    running = RunningHub(
        tmp_path / "hub", deployment(1), archive_days=days, limits=json.dumps(LIMITS)
    ).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


async def test_a_running_hub_archives_what_its_setting_says(hub: RunningHub) -> None:
    """Proves that a finished reservation leaves the database of a running hub for a file, that one
    that is not finished stays, and that the next trace names the part."""
    async with hub.client("oms") as oms:
        request = inventory.CreateInventoryReservationRequest(request_id=request_id())
        wanted = request.inventory_reservation
        wanted.item_number, wanted.location_number = "SKU-1", "DC1"
        wanted.quantity.CopyFrom(each("1"))
        made = await oms.inventory.CreateInventoryReservation(request)
        other = inventory.CreateInventoryReservationRequest(
            request_id=request_id(), inventory_reservation=wanted
        )
        kept = (await oms.inventory.CreateInventoryReservation(other)).inventory_reservation.id
        gone = made.inventory_reservation.id
        release = inventory.ReleaseInventoryReservationRequest(
            request_id=request_id(), inventory_reservation_id=gone, reason="sold out"
        )
        await oms.inventory.ReleaseInventoryReservation(release)
        await eventually(
            lambda: hub.count("archive_parts", "state = 'DONE' AND flows_gone = 1") == 1,
            "archiving",
        )
        left = hub.query("SELECT id FROM objects WHERE kind = 'inventory_reservation'")
        assert [row[0] for row in left] == [kept]
        (name,) = parts.names_in(hub.data / "archive")
        with pytest.raises(PreconditionError, match=f"archived in part {name}") as refused:
            await oms.lineage.Trace(lineage_service_pb2.TraceRequest(id=gone))
        assert refused.value.reason == "ARCHIVED"
        with pytest.raises(PreconditionError, match="archived in part 1"):
            await oms.inventory.ReleaseInventoryReservation(release)
