"""Answers what endpoints have to do, and what they have done."""

from __future__ import annotations

from typing import Any

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2

from crossdock_hub.identity import Caller
from crossdock_hub.reading.fitting import fit, how_many_fit
from crossdock_hub.reading.paging import next_token, page_size, position_of, room_of
from crossdock_hub.reading.presenting import delivery_message, enum_name
from crossdock_hub.reading.queries import OPERATOR, Queries, visible
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.store.reading import DeliveryFilter, delivery_position


async def _present(
    queries: Queries, caller: Caller, records: list[DeliveryRecord], *, with_attempts: bool
) -> list[delivery_pb2.Delivery]:
    ids = [record.id for record in records]
    attempts = await queries.reader.attempts(ids) if with_attempts else {}
    words = await queries.reader.words(ids) if with_attempts else {}
    pending = any(record.pending for record in records)
    known = await queries.situations() if pending else {}
    return [
        delivery_message(
            record,
            known.get(record.endpoint),
            attempts.get(record.id, ()),
            words.get(record.id, ()),
        )
        for record in records
    ]


async def get_delivery(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """One delivery with its attempts."""
    record = await queries.reader.delivery(request.id)
    if record is None or not visible(caller, record.endpoint):
        raise not_found("delivery", request.id)
    found = await _present(queries, caller, [record], with_attempts=True)
    fit(found, room_of(queries.limits))
    return delivery_service_pb2.GetDeliveryResponse(delivery=found[0])


async def list_deliveries(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """A page of deliveries in the order of their events."""
    endpoint = request.endpoint or None
    if caller.role != OPERATOR:
        if endpoint not in (None, caller.endpoint):
            return delivery_service_pb2.ListDeliveriesResponse()
        endpoint = caller.endpoint
    states = tuple(enum_name(delivery_pb2.DeliveryState, state) or "?" for state in request.states)
    wanted = DeliveryFilter(
        endpoint,
        states,
        request.operation,
        request.object_id,
        request.newest_first,
        request.quarantined_only,
    )
    size = page_size(request, queries.limits)
    after = position_of(request)
    records = await queries.reader.delivery_page(wanted, size + 1, after=after)
    page = await _present(queries, caller, records[:size], with_attempts=request.with_attempts)
    # One that takes a whole page gives way; others come on the next one.
    for message in page:
        fit([message], room_of(queries.limits))
    shown = how_many_fit(page, room_of(queries.limits))
    response = delivery_service_pb2.ListDeliveriesResponse(deliveries=page[:shown])
    if len(records) > shown:
        position = delivery_position(records[shown - 1])
        response.next_page_token = next_token(request, position)
    return response
