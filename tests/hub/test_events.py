"""What subscribers find on the bus: every event once, in order, as CloudEvents in binary mode."""

from __future__ import annotations

import time

from bus_reading import Stored, stored_messages, stream_configuration
from crossdock import bus, contracts
from crossdock.order.v1 import order_events_pb2
from crossdock.tracking.v1 import tracking_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, approve_order, label, scan, scans, unique

CONTRACT = contracts.load()
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def events_about(hub: RunningHub, root_id: str) -> list[Stored]:
    """The messages about one flow, once all its events are on the bus."""
    await eventually(
        lambda: hub.count("events", f"root_id = '{root_id}' AND published_at IS NULL") == 0,
        "publishing",
    )
    found = await stored_messages(hub.bus_address(), bus.EVENT_STREAM)
    return [message for message in found if message.headers.get("ce-correlationid") == root_id]


async def test_an_event_is_a_cloud_event(hub: RunningHub, lane: Lane) -> None:
    """Proves every header of an event against the write that caused it, its subject and partition,
    and that a subscriber reads the same event from the bytes alone."""
    async with Story(hub, lane) as story:
        made = await story.create()
    request = approve_order(made.id)
    metadata = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)
    # A client that traces would put its own span there, in a process that records any.
    async with hub.client("oms", trace=False) as oms:
        approved = (await oms.orders.ApproveOrder(request, metadata=metadata)).order
    (message,) = await events_about(hub, made.id)
    partition = bus.partition_of(made.id)
    assert message.subject == f"crossdock.v1.event.order.approved.{partition}"
    received = bus.decode(message.data, message.headers)
    assert isinstance(received.event, order_events_pb2.OrderApproved)
    assert received.event.order == approved
    about = received.metadata
    headers = dict(message.headers)
    traceparent = headers.pop("traceparent")
    assert headers.pop("ce-time") == about.event_time.ToJsonString()
    assert headers.pop("ce-recordedtime") == about.record_time.ToJsonString()
    # The relay's fence, on the first message of each batch.
    headers.pop("Nats-Expected-Last-Sequence", None)
    assert abs(about.record_time.seconds - time.time()) < 60
    assert headers.pop("ce-dataschema").endswith(":crossdock.order.v1.OrderApproved")
    assert headers == {
        "Nats-Msg-Id": about.id,
        "ce-id": about.id,
        "ce-specversion": "1.0",
        "ce-source": "/crossdock/endpoints/oms",
        "ce-type": CONTRACT.events["crossdock.order.v1.OrderApproved"].cloud_event_type,
        "ce-subject": made.id,
        "ce-datacontenttype": "application/protobuf",
        "ce-correlationid": made.id,
        "ce-causationid": request.request_id,
        "ce-partitionkey": made.id,
        "ce-sequence": "2",
    }
    assert traceparent.startswith(f"00-{TRACE}-"), "the caller's trace goes on"


async def test_events_of_a_flow_keep_their_order(hub: RunningHub, lane: Lane) -> None:
    """Proves that a flow's events lie in one partition, in the order they were committed."""
    number = unique("1Z")
    async with Story(hub, lane) as story:
        shipment = await story.packed()
        await story.carrier.labels.CreateLabel(label(shipment.id, shipment.packages[0].id, number))
        await story.manifest(shipment.id)
        await story.carrier.tracking.ReportTrackingEvents(scans(scan(number, "DELIVERED")))
    found = await events_about(hub, shipment.order_id)
    stems = [message.subject.removeprefix("crossdock.v1.event.") for message in found]
    partition = bus.partition_of(shipment.order_id)
    assert stems == [
        f"{stem}.{partition}"
        for stem in (
            "order.approved",
            "order.released",
            "fulfillment.requested",
            "fulfillment.packed",
            "label.created",
            "shipment.manifested",
            "tracking.delivered",
        )
    ]


async def test_scans_travel_together(hub: RunningHub, lane: Lane) -> None:
    """Proves that the scans of one report are one message of the scan stream, in order."""
    number, start = unique("1Z"), time.time() - 900
    async with Story(hub, lane) as story:
        shipment = await story.packed()
        await story.carrier.labels.CreateLabel(label(shipment.id, shipment.packages[0].id, number))
        reported = [scan(number, "INFORMATION", start + n) for n in range(30)]
        await story.carrier.tracking.ReportTrackingEvents(scans(*reported))
    sent = "(SELECT record_sequence FROM bus_positions WHERE stream = '{}')"
    waiting = f"sequence > coalesce({sent.format(bus.SCAN_STREAM)}, 0)"
    await eventually(lambda: hub.count("scan_outbox", waiting) == 0, "publishing")
    batches = [
        tracking_pb2.TrackingEventBatch.FromString(message.data).tracking_events
        for message in await stored_messages(hub.bus_address(), bus.SCAN_STREAM)
    ]
    (batch,) = [batch for batch in batches if batch[0].tracking_number == number]
    assert [event.event_time for event in batch] == [event.event_time for event in reported]


async def test_nothing_may_vanish_from_the_event_stream(hub: RunningHub) -> None:
    """Proves by the server's own word that the event stream drops nothing silently."""
    config = await stream_configuration(hub.bus_address(), bus.EVENT_STREAM)
    assert (config.retention, config.discard, config.storage) == ("limits", "new", "file")
    assert (config.max_msgs, config.max_msgs_per_subject, config.max_consumers) == (-1, -1, -1)
    assert not config.no_ack
    assert config.duplicate_window and config.duplicate_window >= 120


async def test_the_bus_forgets_the_ids_of_scans_soon(hub: RunningHub) -> None:
    """Proves by the server's own word that the stream of scans drops nothing silently either, but
    keeps their ids, each in the server's memory, for seconds and not for two minutes."""
    config = await stream_configuration(hub.bus_address(), bus.SCAN_STREAM)
    assert (config.retention, config.discard, config.storage) == ("limits", "new", "file")
    assert config.duplicate_window == 10
