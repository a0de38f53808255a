"""FedEx at a real hub, from packed cartons to a delivery, and a shipment that is taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock_adapters.fedex import conformance
from crossdock_adapters.fedex.adapter import ADAPTER
from crossdock_adapters.fedex.sandbox import FedexSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from story import CARRIER_CODE, Story, request_id, state_of

pytestmark = pytest.mark.timeout(600)

PACKAGES = 3
WAIT_SECONDS = 60.0


def settings(sandbox: FedexSandbox, folder: Path) -> dict[str, Any]:
    """Of the endpoint; the story's orders name their carrier and service in another's words."""
    return {
        **conformance.settings(sandbox, folder),
        "carrier_code": CARRIER_CODE,
        "services": {"03": "FEDEX_GROUND"},
        "default_phone": "775 555 0100",
        "return_weight": "2 LBR",
        "tracking_interval_seconds": 0.2,
        "wait_for_first_seconds": 0.2,
    }


@asynccontextmanager
async def flowing(
    hub: RunningHub, lane: Lane, folder: Path
) -> AsyncIterator[tuple[FedexSandbox, Story]]:
    """FedEx as the lane's carrier, its parcels quick."""
    config = SandboxConfig(
        "fedex",
        # Lanes share a hub, which knows a tracking number once.
        seed=lane.number,
        tick_seconds=0.02,
        settings={**conformance.CONFORMANCE.sandbox_settings, "scan_interval_seconds": 0.05},
    )
    async with (
        FedexSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.carrier, asking_soon(ADAPTER, 1.0), settings(sandbox, folder)),
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


async def test_a_shipment_is_bought_once_and_delivered(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that the packages of a shipment become one FedEx shipment although both
    answers of the purchase were lost, and that polling brings every parcel to its delivery."""
    async with flowing(hub, lane, tmp_path) as (sandbox, story):
        for operation in ("create", "confirm"):
            sandbox.faults.add({"kind": "reply_lost", "operation": operation, "count": 1})
        shipment = await story.packed(PACKAGES)
        await confirmed(story, shipment.id, "buy_label", PACKAGES)
        books = sandbox.books()
        (bought,) = [each for each in books["shipments"] if each["confirmed_at"]]
        assert (books["labels_sold"], len(bought["parcels"])) == (PACKAGES, PACKAGES)
        stored = await labels(story, shipment.id)
        numbers = [parcel["tracking_number"] for parcel in bought["parcels"]]
        assert sorted(label.tracking_number for label in stored) == numbers
        assert {label.package_id for label in stored} == {each.id for each in shipment.packages}
        assert all(label.image.startswith(b"^XA") for label in stored)
        await story.manifest(shipment.id)
        await sandbox.commands()["handover"]({"tracking_numbers": numbers})

        async def delivered() -> bool:
            request = shipment_service_pb2.GetShipmentRequest(id=shipment.id)
            found = (await story.operator.shipments.GetShipment(request)).shipment
            reached = {each.milestone for each in found.progress}
            return reached == {shipment_pb2.MILESTONE_DELIVERED}

        await eventually(delivered, "the parcels arrive", WAIT_SECONDS)


async def test_a_voided_shipment_is_cancelled_once(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that voiding a shipment of two packages cancels it at FedEx once, and
    that both labels are void then, although the answer was lost."""
    async with flowing(hub, lane, tmp_path) as (sandbox, story):
        shipment = await story.packed(2)
        await confirmed(story, shipment.id, "buy_label", 2)
        sandbox.faults.add({"kind": "reply_lost", "operation": "cancel", "count": 1})
        await story.wms.shipments.VoidShipment(
            shipment_service_pb2.VoidShipmentRequest(
                request_id=request_id(), shipment_id=shipment.id, reason="changed their mind"
            )
        )
        await confirmed(story, shipment.id, "void_label", 2)
        assert sandbox.books()["shipments_cancelled"] == 1
        after = await labels(story, shipment.id)
        assert {label.state for label in after} == {label_pb2.LABEL_STATE_VOIDED}
