"""GLS at a real hub: from packed cartons to a parcel shop and its customer, or back, or void."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock_adapters.gls import conformance
from crossdock_adapters.gls.adapter import ADAPTER
from crossdock_adapters.gls.sandbox import GlsSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from story import CARRIER_CODE, Story, request_id, state_of

pytestmark = pytest.mark.timeout(600)

PACKAGES = 3
WAIT_SECONDS = 60.0
# Longer than the sandbox's tracking needs to hear of a parcel.
SETTLE_SECONDS = 2.0
TRACKED_AFTER_SECONDS = 1.0


def settings(sandbox: GlsSandbox, folder: Path) -> dict[str, Any]:
    """Of the endpoint; the story's orders name their carrier and service in another's words."""
    return {
        **conformance.settings(sandbox, folder),
        "carrier_code": CARRIER_CODE,
        "services": {"03": "PARCEL"},
        "tracking_interval_seconds": 0.2,
        "wait_for_first_seconds": 0.2,
    }


@asynccontextmanager
async def flowing(
    hub: RunningHub, lane: Lane, folder: Path
) -> AsyncIterator[tuple[GlsSandbox, Story]]:
    """GLS as the lane's carrier, its parcels quick, its tracking a little late."""
    config = SandboxConfig(
        "gls",
        # Lanes share a hub, which knows a tracking number once.
        seed=lane.number,
        tick_seconds=0.02,
        settings={
            **conformance.CONFORMANCE.sandbox_settings,
            "scan_interval_seconds": 0.05,
            "tracked_after_seconds": TRACKED_AFTER_SECONDS,
        },
    )
    async with (
        GlsSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.carrier, asking_soon(ADAPTER, SETTLE_SECONDS), settings(sandbox, folder)),
    ):
        yield sandbox, story
        assert sandbox.tick_error == ""


async def confirmed(story: Story, shipment_id: str, operation: str, count: int) -> None:
    """Return once every package's delivery of the operation is."""

    async def are() -> bool:
        found = await story.deliveries(shipment_id, operation)
        return [state_of(each) for each in found] == ["CONFIRMED"] * count

    await eventually(are, f"{operation} of every package", WAIT_SECONDS)


async def labels(story: Story, shipment_id: str) -> list[label_pb2.Label]:
    """What the hub has of a shipment's labels."""
    request = label_service_pb2.ListLabelsRequest(page_size=10, shipment_id=shipment_id)
    return list((await story.carrier.labels.ListLabels(request)).labels)


async def milestones(story: Story, shipment_id: str) -> set[int]:
    """How far the packages of a shipment are."""
    request = shipment_service_pb2.GetShipmentRequest(id=shipment_id)
    found = (await story.operator.shipments.GetShipment(request)).shipment
    return {each.milestone for each in found.progress}


async def test_a_shipment_is_made_once_and_its_parcels_arrive(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that the packages of a shipment become one GLS shipment although the
    answer was lost, each with its own parcel and label, and that polling tells their journey by
    way of a parcel shop."""
    async with flowing(hub, lane, tmp_path) as (sandbox, story):
        sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
        shipment = await story.packed(PACKAGES)
        await confirmed(story, shipment.id, "buy_label", PACKAGES)
        assert any(call.fault == "reply_lost" for call in sandbox.calls)
        ((*parcels,),) = sandbox.books()["shipments"]
        stored = {label.package_id: label for label in await labels(story, shipment.id)}
        assert [stored[package.id].tracking_number for package in shipment.packages] == [
            parcel["track_id"] for parcel in parcels
        ]
        assert all(label.image.startswith(b"^XA") for label in stored.values())
        await story.manifest(shipment.id)
        await sandbox.commands()["misbehave"]({"kind": "shop", "count": 1_000})
        await sandbox.commands()["handover"]({})

        async def delivered() -> bool:
            reached = await milestones(story, shipment.id)
            return reached == {shipment_pb2.MILESTONE_DELIVERED}

        await eventually(delivered, "the parcels arrive", WAIT_SECONDS)


async def test_a_parcel_that_nobody_collects_is_returned(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that a parcel which waited at a shop in vain is returned when GLS calls
    its journey over, in the very words of a delivery, and that its shipment has no time of
    delivery."""
    async with flowing(hub, lane, tmp_path) as (sandbox, story):
        shipment = await story.packed(1)
        await confirmed(story, shipment.id, "buy_label", 1)
        await story.manifest(shipment.id)
        await sandbox.commands()["misbehave"]({"kind": "not_collected", "count": 1_000})
        await sandbox.commands()["handover"]({})

        async def returned() -> bool:
            reached = await milestones(story, shipment.id)
            return reached == {shipment_pb2.MILESTONE_RETURNED}

        await eventually(returned, "the parcel comes back", WAIT_SECONDS)
        request = shipment_service_pb2.GetShipmentRequest(id=shipment.id)
        found = (await story.operator.shipments.GetShipment(request)).shipment
        assert found.state == shipment_pb2.SHIPMENT_STATE_RETURNED
        assert not found.HasField("delivered_time")
        assert sandbox.books()["delivered"] == 0


async def test_a_voided_shipment_has_no_valid_parcel(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that voiding a shipment of two packages cancels each parcel, although
    one cancellation is pending at first and the answer of another is lost."""
    async with flowing(hub, lane, tmp_path) as (sandbox, story):
        shipment = await story.packed(2)
        await confirmed(story, shipment.id, "buy_label", 2)
        await sandbox.commands()["misbehave"]({"kind": "pending_cancel", "count": 1})
        sandbox.faults.add({"kind": "reply_lost", "operation": "cancel", "count": 1})
        await story.wms.shipments.VoidShipment(
            shipment_service_pb2.VoidShipmentRequest(
                request_id=request_id(), shipment_id=shipment.id, reason="changed their mind"
            )
        )
        await confirmed(story, shipment.id, "void_label", 2)
        books = sandbox.books()
        assert (books["labels_sold"], books["labels_valid"]) == (2, 0)
        after = await labels(story, shipment.id)
        assert {label.state for label in after} == {label_pb2.LABEL_STATE_VOIDED}
