"""Answers how endpoints are, where their polls stand, and which of their facts wait."""

from __future__ import annotations

from typing import Any

from crossdock.endpoint.v1 import endpoint_service_pb2, held_fact_pb2

from crossdock_hub.identity import Caller
from crossdock_hub.reading.fitting import how_many_fit
from crossdock_hub.reading.paging import next_token, page_size, position_of, room_of
from crossdock_hub.reading.presenting import enum_name, held_fact_message
from crossdock_hub.reading.queries import OPERATOR, Queries
from crossdock_hub.refusals import not_found
from crossdock_hub.store.held_fact_pages import HeldFactFilter


async def get_endpoint(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """One endpoint with what it has to do."""
    record = await queries.reader.endpoint(request.id)
    if record is None:
        raise not_found("endpoint", request.id)
    return endpoint_service_pb2.GetEndpointResponse(endpoint=(await queries.endpoints([record]))[0])


async def list_endpoints(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """A page of endpoints by id, with what each has to do."""
    size = page_size(request, queries.limits)
    records = await queries.reader.endpoints(after=position_of(request), most=size + 1)
    response = endpoint_service_pb2.ListEndpointsResponse(
        endpoints=await queries.endpoints(records[:size])
    )
    if len(records) > size:
        response.next_page_token = next_token(request, records[size - 1].id)
    return response


async def get_cursor(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """A position of the calling endpoint; version 0 before the first move."""
    record = await queries.reader.cursor(caller.endpoint, request.name)
    if record is None:
        return endpoint_service_pb2.GetCursorResponse()
    return endpoint_service_pb2.GetCursorResponse(value=record.value, version=record.version)


async def list_held_facts(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """A page of facts that wait, oldest first."""
    endpoint = request.endpoint or None
    if caller.role != OPERATOR:
        if endpoint not in (None, caller.endpoint):
            return held_fact_pb2.ListHeldFactsResponse()
        endpoint = caller.endpoint
    size = page_size(request, queries.limits)
    wanted = HeldFactFilter(
        endpoint,
        enum_name(held_fact_pb2.HeldFactState, request.state),
        request.payloads_only,
        request.awaits_kind,
        tuple(request.ids),
    )
    records, more = await queries.reader.held_facts(
        wanted, size, after=position_of(request), payload_bytes_max=room_of(queries.limits)
    )
    page = [held_fact_message(record) for record in records]
    shown = how_many_fit(page, room_of(queries.limits))
    response = held_fact_pb2.ListHeldFactsResponse(held_facts=page[:shown])
    if more or len(records) > shown:
        response.next_page_token = next_token(request, records[shown - 1].id)
    return response
