"""Answers the scans of a parcel and the label of a package."""

from __future__ import annotations

from typing import Any

from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2

from crossdock_hub.identity import Caller
from crossdock_hub.reading.awaiting import await_label
from crossdock_hub.reading.paging import next_token, page_size, position_of
from crossdock_hub.reading.queries import Queries
from crossdock_hub.refusals import not_found
from crossdock_hub.store.scan_pages import scan_position


async def list_scans(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """A page of scans of one parcel or shipment, oldest event first."""
    reader = queries.reader
    number = request.tracking_number
    if request.shipment_id:
        shipment = await reader.object(request.shipment_id)
        if shipment is None or shipment.kind != "shipment" or not queries.sees(caller, shipment):
            raise not_found("shipment", request.shipment_id)
        seen = {shipment.id}
    else:
        parcels = await reader.parcels(tracking_number=number)
        shipments = await reader.objects({parcel.shipment_id for parcel in parcels})
        seen = {record.id for record in shipments if queries.sees(caller, record)}
        if not seen:
            raise not_found("parcel", number)
    size = page_size(request, queries.limits)
    records = await reader.scans(
        size + 1,
        after=position_of(request),
        tracking_number=number,
        shipment_id=request.shipment_id,
    )
    response = tracking_service_pb2.ListTrackingEventsResponse(
        tracking_events=[
            tracking_pb2.TrackingEvent.FromString(record.body)
            for record in records[:size]
            if record.shipment_id in seen
        ]
    )
    if len(records) > size:
        response.next_page_token = next_token(request, scan_position(records[size - 1]))
    return response


async def wait_for_label(queries: Queries, caller: Caller, request: Any, left: float) -> Any:
    """The label of a package, as soon as there is one."""
    return await await_label(
        queries.reader, queries.waiters, queries.limits, queries.sees, caller, request, left
    )
