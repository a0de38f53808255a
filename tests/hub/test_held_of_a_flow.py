"""A trace tells what is held of its flow: what waits, for what, and what to do about it."""

from __future__ import annotations

import time
import uuid

import first_flow
import pytest
import story
from crossdock.client import HubClient
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.errors import NotFoundError
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.item.v1 import item_pb2
from crossdock.lineage.v1 import lineage_pb2, lineage_service_pb2
from crossdock.mapping.v1 import mapping_pb2, mapping_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.driving import drive_one
from crossdock_hub.identity import HUB
from crossdock_hub.objects.flows_named import flow_named
from decisions import WMS
from first_flow import Flow
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from google.protobuf.message import Message
from story import Story, label, unique


async def traced(client: HubClient, any_id: str) -> lineage_pb2.Lineage:
    return (await client.lineage.Trace(lineage_service_pb2.TraceRequest(id=any_id))).lineage


async def on_its_way(played: Story, kind: str, number: str) -> shipment_pb2.Shipment:
    """A shipment with a label, by a carrier whose adapter is of a kind."""
    request = endpoint_service_pb2.RegisterEndpointRequest(
        request_id=str(uuid.uuid4()),
        endpoint=played.lane.carrier,
        manifest=endpoint_pb2.Manifest(adapter=kind),
    )
    await played.carrier.endpoints.RegisterEndpoint(request)
    packed = await played.packed()
    await played.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))
    return packed


async def report(played: Story, number: str) -> types_pb2.FactReceipt:
    """The receipt of a scan whose code has no row."""
    seen = story.scan(number, "UNKNOWN", time.time())
    seen.native_codes.append(types_pb2.NativeCode(type="I", code="QQ"))
    answer = await played.carrier.tracking.ReportTrackingEvents(story.scans(seen))
    (receipt,) = answer.receipts
    return receipt


async def test_a_scan_that_waits_for_a_code_is_told_in_the_trace_of_its_order(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that the trace of an order, by its own id, its tracking number or the held fact's,
    says which scan waits for which row, as long as it waits; and shows it to an operator and to who
    reported it, not to others."""
    kind, number = unique("kind").lower(), unique("1Z")
    async with Story(hub, lane) as played:
        packed = await on_its_way(played, kind, number)
        assert not (await traced(played.operator, number)).held_facts
        receipt = await report(played, number)
        for any_id in (packed.order_id, number, receipt.held_fact_id):
            found = await traced(played.operator, any_id)
            assert found.root_id == packed.order_id
            (fact,) = found.held_facts
            assert (fact.id, fact.payload) == (receipt.held_fact_id, b"")
            assert fact.awaits == f"code:{kind}/STATUS/I/QQ"
        assert "crossdock map set" in fact.refusal.message
        assert [each.id for each in (await traced(played.carrier, number)).held_facts] == [fact.id]
        assert not (await traced(played.wms, number)).held_facts
        row = mapping_service_pb2.SetMappingRequest(
            request_id=str(uuid.uuid4()),
            endpoint_kind=kind,
            topic=mapping_pb2.MAPPING_TOPIC_STATUS,
            native=types_pb2.NativeCode(type="I", code="QQ"),
            meaning=mapping_pb2.Meaning(canonical="IN_TRANSIT"),
            reason="the carrier said so",
        )
        await played.operator.mappings.SetMapping(row)

        async def written() -> bool:
            return not (await traced(played.operator, number)).held_facts

        await eventually(written, "the scan is written")
        again = await traced(played.operator, receipt.held_fact_id)
    assert again.root_id == packed.order_id
    assert [each.milestone for each in again.scans] == [shipment_pb2.MILESTONE_IN_TRANSIT]


async def test_what_will_never_be_written_is_in_no_flow(hub: RunningHub, lane: Lane) -> None:
    """Proves that a fact that names a flow and was discarded is told as that by its id, and no more
    in the trace."""
    kind, number = unique("kind").lower(), unique("1Z")
    async with Story(hub, lane) as played:
        await on_its_way(played, kind, number)
        fact = (await report(played, number)).held_fact_id
        discard = dead_letter_service_pb2.DiscardHeldFactRequest(
            request_id=str(uuid.uuid4()), held_fact_id=fact, reason="a test of the carrier"
        )
        await played.operator.dead_letters.DiscardHeldFact(discard)
        assert not (await traced(played.operator, number)).held_facts
        with pytest.raises(NotFoundError, match="was discarded"):
            await traced(played.operator, fact)


# Names


def test_a_message_is_about_what_it_names() -> None:
    """Proves that ids, numbers and parcels lead to their flow, also within other messages, and that
    master data, and what nobody knows, lead to none."""
    flow = Flow()
    shipment = flow.labelled()

    def about(message: Message) -> str:
        return str(flow.decide(WMS, "about", lambda unit: flow_named(unit, message)))

    named = [
        fulfillment_service_pb2.ReportPickRequest(
            fulfillment_request_id=shipment.fulfillment_request_id
        ),
        shipment_service_pb2.ManifestShipmentRequest(shipment_number=shipment.number),
        story.scans(first_flow.scan("IN_TRANSIT", flow.now)),
        shipment_pb2.Shipment(id=shipment.id),
    ]
    assert [about(message) for message in named] == [shipment.order_id] * 4
    unknown = shipment_service_pb2.ManifestShipmentRequest(shipment_number="SHP-none")
    assert about(unknown) == ""
    assert about(item_pb2.Item(number="SKU-1")) == ""


def test_a_fact_finds_its_flow_when_it_is_decided_again() -> None:
    """Proves that a scan which came before its parcel, with a code that has no row, is of no flow
    until the parcel is there and it is decided again, though it still waits."""
    flow = Flow()
    early = first_flow.scan("UNKNOWN", flow.now)
    early.native_codes.append(types_pb2.NativeCode(type="I", code="QQ"))
    flow.report(early)
    (fact,) = flow.held()
    assert fact.root_id == ""
    shipment = flow.labelled()
    flow.decide(HUB, "drive", lambda unit: drive_one(unit, fact))
    (after,) = flow.held()
    assert (after.awaits, after.root_id) == (fact.awaits, shipment.order_id)
    # Once it is known, nothing of it is written anew.
    before = flow.records["held_fact", after.id]
    flow.decide(HUB, "drive", lambda unit: drive_one(unit, after))
    assert flow.records["held_fact", after.id] is before


def test_a_fact_finds_its_flow_when_it_is_reported_again() -> None:
    """Proves that the next poll which tells of such a scan has it find the flow, and that the scan
    is kept once."""
    flow = Flow()
    early = first_flow.scan("UNKNOWN", flow.now)
    early.native_codes.append(types_pb2.NativeCode(type="I", code="QQ"))
    flow.report(early)
    shipment = flow.labelled()
    flow.report(early)
    (fact,) = flow.held()
    assert fact.root_id == shipment.order_id
