"""Answers where an id leads: the whole flow of it, and what other systems call it."""

from __future__ import annotations

from typing import Any

from crossdock.lineage.v1 import lineage_service_pb2

from crossdock_hub.identity import Caller
from crossdock_hub.reading.queries import OPERATOR, Queries
from crossdock_hub.reading.tracing import trace


async def look_up_references(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """Translate numbers or ids to the keys of one system, and keys to numbers."""
    system = request.system or caller.endpoint
    named = set(request.numbers)
    by_number = await queries.reader.objects_by_number(named, [request.kind])
    ids = {record.id for record in by_number} | named
    found = await queries.reader.references(
        request.kind, system, object_ids=ids, values=request.values
    )
    owners = {
        record.id: record
        for record in await queries.reader.objects({reference.object_id for reference in found})
        if queries.sees(caller, record)
    }
    response = lineage_service_pb2.LookUpReferencesResponse()
    for reference in found:
        owner = owners.get(reference.object_id)
        if owner is not None:
            match = response.matches.add(object_id=owner.id, number=owner.number or "")
            match.reference.system = reference.system
            match.reference.type = reference.type
            match.reference.value = reference.value
    return response


async def trace_flow(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """All that happened to an order, from any id of it."""
    see_all = caller.role == OPERATOR
    async with queries.reader.of_one_moment() as reader:
        lineage = await trace(
            reader,
            queries.contract,
            queries.limits,
            request.id,
            await queries.situations(reader),
            queries.clock(),
            sees=lambda record: queries.sees(caller, record),
            full=lambda endpoint: see_all or endpoint == caller.endpoint,
            sees_all=caller.scope.is_everything,
        )
    return lineage_service_pb2.TraceResponse(lineage=lineage)
