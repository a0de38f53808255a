"""Canada Post at a real hub: from packed to delivered, an answer lost, a label voided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.mapping.v1 import mapping_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.canada_post.adapter import ADAPTER
from crossdock_adapters.canada_post.sandbox import CanadaPostSandbox
from crossdock_adapters.sdk import runner as running_endpoints
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from story import Story, create_order, order, request_id, state_of, unique
from typed_commands import typed

pytestmark = pytest.mark.timeout(600)

WAIT_SECONDS = 60.0
# Longer than the sandbox needs to show a shipment.
SETTLE_SECONDS = 3.0
CUSTOMER = "0008880001"
DOCK = "OTTAWA-1"
USER, PASSWORD = "hub-api-user", "hub-api-password"
SANDBOX_SETTINGS = {
    "api_user": USER,
    "api_password": PASSWORD,
    "customers": [CUSTOMER],
    "calls_per_second": 500,
    "scan_interval_seconds": 0.2,
    "booking_visible_after_seconds": 2,
}


def settings(sandbox: CanadaPostSandbox, folder: Path) -> dict[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    secrets = {"api_user": USER, "api_password": PASSWORD}
    for name, value in secrets.items():
        (folder / name).write_text(value)
    return {
        "base_url": sandbox.vendor_url,
        "customer_number": CUSTOMER,
        "contact_phone": "+1 613 555 0100",
        "calls_per_second": 500,
        "tracking_interval_seconds": 0.2,
        **{name: f"file:{folder / name}" for name in secrets},
    }


def in_canada(name: str, city: str, province: str, postal_code: str) -> types_pb2.Party:
    address = types_pb2.Address(
        lines=["1 Main St"], city=city, state=province, postal_code=postal_code, country_code="CA"
    )
    return types_pb2.Party(name=name, address=address)


async def dock_in_ottawa(hub: RunningHub) -> None:
    entry = location_service_pb2.LocationEntry(request_id=request_id())
    entry.location.number = DOCK
    entry.location.address.CopyFrom(in_canada("Dock", "Ottawa", "ON", "K1A 0B1"))
    entry.update_mask.paths.append("address")
    async with hub.client("netsuite") as erp:
        request = location_service_pb2.UpsertLocationsRequest(entries=[entry])
        await erp.locations.UpsertLocations(request)


async def packed(story: Story, service: str = "GROUND") -> shipment_pb2.Shipment:
    """The shipment of a new order from Ottawa to Halifax."""
    message = order(story.lane.business_unit, docks=[DOCK])
    message.carrier_code, message.service_code = "CANADA_POST", service
    message.ship_to.CopyFrom(in_canada("Renée Thériault", "Halifax", "NS", "B3H 4R2"))
    made = (await story.oms.orders.CreateOrder(create_order(message))).order
    await story.approve(made.id)
    (fulfillment,) = await story.release(made.id)
    return await story.pack(fulfillment)


async def label_of(story: Story, shipment_id: str) -> label_pb2.Label:
    request = label_service_pb2.ListLabelsRequest(page_size=10, shipment_id=shipment_id)
    (label,) = (await story.carrier.labels.ListLabels(request)).labels
    return label


async def confirmed(story: Story, shipment_id: str, operation: str) -> bool:
    return await story.state(shipment_id, operation) == "CONFIRMED"


async def delivered(story: Story, shipment_id: str) -> bool:
    request = shipment_service_pb2.GetShipmentRequest(id=shipment_id)
    found = (await story.oms.shipments.GetShipment(request)).shipment
    return bool(found.progress) and all(
        each.milestone == shipment_pb2.MILESTONE_DELIVERED for each in found.progress
    )


async def void(story: Story, shipment_id: str) -> None:
    request = shipment_service_pb2.VoidShipmentRequest(
        request_id=request_id(), shipment_id=shipment_id, reason="packed twice"
    )
    await story.wms.shipments.VoidShipment(request)


async def pause(story: Story) -> None:
    """The carrier gets no work until it is resumed."""
    paused = endpoint_service_pb2.PauseEndpointRequest(
        request_id=request_id(), endpoint=story.lane.carrier, reason="the day is closed by hand"
    )
    await story.operator.endpoints.PauseEndpoint(paused)


async def resume(story: Story) -> None:
    resumed = endpoint_service_pb2.ResumeEndpointRequest(
        request_id=request_id(), endpoint=story.lane.carrier
    )
    await story.operator.endpoints.ResumeEndpoint(resumed)


async def test_a_parcel_is_bought_once_delivered_and_another_voided(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that a lost answer makes one shipment, that its departure transmits it
    once though that answer is lost, too, and its manifest's number leads to it, that its scans
    arrive as milestones up to the proof of delivery, and that a voided one has no valid label."""
    config = SandboxConfig("canada-post", settings=SANDBOX_SETTINGS)
    await dock_in_ottawa(hub)
    async with (
        CanadaPostSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(
            hub, lane.carrier, asking_soon(ADAPTER, SETTLE_SECONDS), settings(sandbox, tmp_path)
        ),
    ):
        sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
        lost, plain = [(await packed(story)).id for _ in range(2)]

        async def both_bought() -> bool:
            return all([await confirmed(story, each, "buy_label") for each in (lost, plain)])

        await eventually(both_bought, "both labels", WAIT_SECONDS)
        assert any(call.fault == "reply_lost" for call in sandbox.calls)
        books = sandbox.books()
        assert books["labels_sold"] == books["labels_valid"] == 2
        label = await label_of(story, lost)
        assert label.tracking_number in [each["tracking_number"] for each in books["shipments"]]
        assert label.image.startswith(b"^XA") and label.price.currency == "CAD"

        await void(story, plain)
        await eventually(lambda: confirmed(story, plain, "void_label"), "the void", WAIT_SECONDS)
        assert sandbox.books()["labels_valid"] == 1

        sandbox.faults.add({"kind": "reply_lost", "operation": "transmit", "count": 1})
        await story.manifest(lost)
        await eventually(
            lambda: confirmed(story, lost, "close_manifest"), "the manifest", WAIT_SECONDS
        )
        books = sandbox.books()
        (number,) = books["manifests"]
        assert books["manifests_made"] == [number]
        trace = lineage_service_pb2.TraceRequest(id=number)
        nodes = (await story.operator.lineage.Trace(trace)).lineage.nodes
        assert lost in [node.id for node in nodes]
        await sandbox.commands()["handover"]({"tracking_numbers": [label.tracking_number]})
        await eventually(lambda: delivered(story, lost), "the parcel is delivered", WAIT_SECONDS)
        assert sandbox.tick_error == ""


async def test_a_shipment_voided_before_its_transmission_costs_nothing(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that a shipment which left, and which the warehouse voids while nobody
    knows whether it was transmitted, is not transmitted, is voided, and says so."""
    config = SandboxConfig("canada-post", seed=3, settings=SANDBOX_SETTINGS)
    await dock_in_ottawa(hub)
    async with (
        CanadaPostSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(
            hub, lane.carrier, asking_soon(ADAPTER, SETTLE_SECONDS), settings(sandbox, tmp_path)
        ),
    ):
        shipment_id = (await packed(story)).id
        await eventually(
            lambda: confirmed(story, shipment_id, "buy_label"), "the label", WAIT_SECONDS
        )
        sandbox.faults.add({"kind": "error_before", "operation": "transmit", "count": 1})
        await story.manifest(shipment_id)

        async def unknown() -> bool:
            return await story.state(shipment_id, "close_manifest") in ("UNKNOWN", "RESOLVING")

        await eventually(unknown, "nobody knows", WAIT_SECONDS)
        await void(story, shipment_id)
        await eventually(
            lambda: confirmed(story, shipment_id, "void_label"), "the void", WAIT_SECONDS
        )
        manifest = await story.delivery(shipment_id, "close_manifest")
        assert "nothing is transmitted" in manifest.attempt_log[-1].reason
        books = sandbox.books()
        assert (books["manifests"], books["refunds"], books["labels_valid"]) == ({}, 0, 0)


async def test_a_shipment_voided_before_its_manifest_began_is_on_none(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that of two shipments which left while the endpoint was paused, the one
    that is voided before its manifest began is on no manifest, and its label is void at no cost,
    while the other one is manifested alone."""
    config = SandboxConfig("canada-post", seed=4, settings=SANDBOX_SETTINGS)
    await dock_in_ottawa(hub)
    async with (
        CanadaPostSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(
            hub, lane.carrier, asking_soon(ADAPTER, SETTLE_SECONDS), settings(sandbox, tmp_path)
        ),
    ):
        gone, kept = [(await packed(story)).id for _ in range(2)]

        async def are(operation: str, *shipments: str) -> None:
            async def confirmed_all() -> bool:
                return all([await confirmed(story, each, operation) for each in shipments])

            await eventually(confirmed_all, operation, WAIT_SECONDS)

        await are("buy_label", gone, kept)
        await pause(story)
        for each in (gone, kept):
            await story.manifest(each)
        await void(story, gone)
        assert (await story.delivery(gone, "close_manifest")).attempts == 0
        await resume(story)
        await are("close_manifest", kept)
        await are("void_label", gone)
        told = await story.delivery(gone, "close_manifest")
        assert (state_of(told), told.attempts) == ("SUPERSEDED", 0)
        books = sandbox.books()
        (on_it,) = books["manifests"].values()
        assert on_it == [(await label_of(story, kept)).carrier_shipment_number]
        assert (books["labels_valid"], books["refunds"]) == (1, 0)
        assert (await label_of(story, gone)).state == label_pb2.LABEL_STATE_VOIDED


async def waiting(story: Story, word: str) -> list[tuple[int, bool]]:
    """What coverage counts for a word: deliveries, and whether it has a code by now."""
    request = mapping_service_pb2.GetMappingCoverageRequest(endpoint_kind="canada-post")
    answer = await story.operator.mappings.GetMappingCoverage(request)
    return [
        (each.parked_deliveries, each.mapped_since)
        for each in answer.unmapped_codes
        if (each.endpoint, each.canonical) == (story.lane.carrier, word)
    ]


async def test_a_service_without_a_code_waits_for_its_row(
    hub: RunningHub, lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that labels of a service that has no code are parked before anything is sent, and
    counted; that `crossdock map set` alone has them bought, each once; and that one whose shipment
    was voided meanwhile is never bought."""
    monkeypatch.setattr(running_endpoints, "HEARTBEAT_SECONDS", 0.2)
    word = unique("HOVER").upper().replace("-", "_")
    config = SandboxConfig("canada-post", seed=2, settings=SANDBOX_SETTINGS)
    await dock_in_ottawa(hub)
    async with (
        CanadaPostSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.carrier, ADAPTER, settings(sandbox, tmp_path)),
    ):
        shipments = [(await packed(story, word)).id for _ in range(3)]

        async def counted(number: int) -> bool:
            return await waiting(story, word) == [(number, False)]

        await eventually(lambda: counted(3), "three are parked", WAIT_SECONDS)
        parked = await story.delivery(shipments[0], "buy_label")
        assert f"map set canada-post SERVICE_LEVEL CODE --type DOM --means {word}" in (
            parked.waiting_on
        )
        assert parked.waiting_on.endswith("--preferred --reason …; then it goes again by itself")
        gone = shipments.pop(1)
        await void(story, gone)
        assert await story.state(gone, "buy_label") == "SUPERSEDED"
        assert await counted(2)
        assert sandbox.books()["labels_sold"] == 0
        await typed(
            hub,
            *("map", "set", "canada-post", "SERVICE_LEVEL", "DOM.LIB", "--type", "DOM"),
            *("--means", word, "--preferred", "--reason", "the new tariff", "--yes"),
        )

        async def bought() -> bool:
            return all([await confirmed(story, each, "buy_label") for each in shipments])

        await eventually(bought, "both labels", WAIT_SECONDS)
        assert await waiting(story, word) == []
        deliveries = [await story.delivery(each, "buy_label") for each in shipments]
        assert not any(each.quarantined for each in deliveries), deliveries
        books = sandbox.books()
        assert books["labels_sold"] == books["labels_valid"] == 2
        labels = [(await label_of(story, each)).tracking_number for each in shipments]
        assert sorted(each["tracking_number"] for each in books["shipments"]) == sorted(labels)
