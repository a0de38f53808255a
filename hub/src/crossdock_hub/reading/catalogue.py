"""Which reading method of the contract is answered by what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from crossdock_hub.identity import Caller
from crossdock_hub.reading import listing
from crossdock_hub.reading.dead_letter_queries import (
    get_dead_letters,
    list_dead_letters,
    see_group,
    see_replayed_group,
)
from crossdock_hub.reading.delivery_queries import get_delivery, list_deliveries
from crossdock_hub.reading.endpoint_queries import (
    get_cursor,
    get_endpoint,
    list_endpoints,
    list_held_facts,
)
from crossdock_hub.reading.lineage_queries import look_up_references, trace_flow
from crossdock_hub.reading.object_queries import get_object, list_objects
from crossdock_hub.reading.parcel_queries import list_scans, wait_for_label
from crossdock_hub.reading.posting_queries import list_doubtful_postings, list_postings
from crossdock_hub.reading.queries import Queries, Query
from crossdock_hub.reading.unit_queries import convert_quantity

Answer = Callable[[Caller, Any, Any], Awaitable[Any]]

QUERIES: Mapping[str, Query] = {
    **{method: get_object(method, kind) for method, kind in listing.GETS.items()},
    **{method: list_objects(method, spec) for method, spec in listing.LISTS.items()},
    "/crossdock.delivery.v1.DeliveryService/GetDelivery": get_delivery,
    "/crossdock.delivery.v1.DeliveryService/ListDeliveries": list_deliveries,
    "/crossdock.dead_letter.v1.DeadLetterService/ListDeadLetters": list_dead_letters,
    "/crossdock.dead_letter.v1.DeadLetterService/GetDeadLetters": get_dead_letters,
    "/crossdock.endpoint.v1.EndpointService/GetEndpoint": get_endpoint,
    "/crossdock.endpoint.v1.EndpointService/ListEndpoints": list_endpoints,
    "/crossdock.endpoint.v1.EndpointService/GetCursor": get_cursor,
    "/crossdock.endpoint.v1.EndpointService/ListHeldFacts": list_held_facts,
    "/crossdock.tracking.v1.TrackingService/ListTrackingEvents": list_scans,
    "/crossdock.lineage.v1.LineageService/LookUpReferences": look_up_references,
    "/crossdock.lineage.v1.LineageService/ListDoubtfulPostings": list_doubtful_postings,
    "/crossdock.lineage.v1.LineageService/ListPostings": list_postings,
    "/crossdock.lineage.v1.LineageService/Trace": trace_flow,
    "/crossdock.label.v1.LabelService/AwaitLabel": wait_for_label,
    "/crossdock.unit.v1.UnitService/ConvertQuantity": convert_quantity,
}
# What is read for a write before its batch: method -> (queries, request) -> what was seen.
LOOKS: Mapping[str, Callable[[Queries, Any], Awaitable[Any]]] = {
    "/crossdock.dead_letter.v1.DeadLetterService/AcknowledgeDeadLetters": see_group,
    "/crossdock.replay.v1.ReplayService/PlanReplay": see_replayed_group,
}


async def answer(
    queries: Queries, method: str, caller: Caller, request: Any, seconds_left: float | None = None
) -> Any:
    """Answer a reading method. Raises Refused, StoreFailure; KeyError: no reading method.

    seconds_left: until the caller's deadline; None: it has none.
    """
    most = queries.limits.deadline_seconds_max
    left = most if seconds_left is None else min(seconds_left, most)
    return await QUERIES[method](queries, caller, request, left)


def answers(queries: Queries) -> dict[str, Answer]:
    """Method -> async (caller, request, gRPC context) -> response."""

    def of(method: str) -> Answer:
        async def told(caller: Caller, request: Any, context: Any) -> Any:
            return await answer(queries, method, caller, request, context.time_remaining())

        return told

    return {method: of(method) for method in QUERIES}


def looks(queries: Queries) -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """Writing method -> async (request) -> what its decision has to be told; see `LOOKS`."""
    return {method: partial(look, queries) for method, look in LOOKS.items()}
