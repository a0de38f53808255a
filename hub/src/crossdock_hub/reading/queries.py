"""The reading methods of the contract: what a caller may see of the books, and nothing else.

Outside its scope an object is as unknown as one that does not exist. An endpoint sees its own
deliveries and held facts; operators see everybody's, and what nobody is there to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from crossdock.contracts import Contract
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_service_pb2, held_fact_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2

from crossdock_hub.committer import now_microseconds
from crossdock_hub.config import Limits
from crossdock_hub.delivery.draining import Settled
from crossdock_hub.identity import Caller
from crossdock_hub.objects.resources import state_name
from crossdock_hub.reading import listing
from crossdock_hub.reading.awaiting import await_label
from crossdock_hub.reading.chain import Situation, situations
from crossdock_hub.reading.dead_letter_queries import (
    get_dead_letters,
    list_dead_letters,
    see_group,
    see_replayed_group,
)
from crossdock_hub.reading.endpoint_view import SettledOf, endpoint_messages
from crossdock_hub.reading.fitting import fit
from crossdock_hub.reading.paging import next_token, page_size, position_of, room_of
from crossdock_hub.reading.posting_queries import list_doubtful_postings, list_postings
from crossdock_hub.reading.presenting import (
    delivery_message,
    enum_name,
    held_fact_message,
)
from crossdock_hub.reading.tracing import trace
from crossdock_hub.reading.unit_queries import convert_quantity
from crossdock_hub.records import DeliveryRecord, EndpointRecord, ObjectRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.store import Reader
from crossdock_hub.store.held_fact_pages import HeldFactFilter
from crossdock_hub.store.reading import DeliveryFilter, delivery_position
from crossdock_hub.store.scan_pages import scan_position
from crossdock_hub.waiting import Waiters

OPERATOR = "OPERATOR"

# seconds_left: until the caller's deadline.
Query = Callable[["Queries", Caller, Any, float], Awaitable[Any]]
Answer = Callable[[Caller, Any, Any], Awaitable[Any]]


class Queries:
    """What queries need. `answers` gives them to the server."""

    def __init__(
        self,
        reader: Reader,
        contract: Contract,
        limits: Limits,
        waiters: Waiters,
        clock: Callable[[], int] = now_microseconds,
        settled_of: SettledOf = lambda endpoint: Settled(0.0),
    ) -> None:
        self.reader = reader
        self.contract = contract
        self.limits = limits
        self.waiters = waiters
        self.clock = clock
        self.settled_of = settled_of

    async def answer(
        self, method: str, caller: Caller, request: Any, seconds_left: float | None = None
    ) -> Any:
        """Answer a reading method. Raises Refused, StoreFailure; KeyError: no reading method."""
        most = self.limits.deadline_seconds_max
        left = most if seconds_left is None else min(seconds_left, most)
        return await QUERIES[method](self, caller, request, left)

    def answers(self) -> dict[str, Answer]:
        """Method -> async (caller, request, gRPC context) -> response."""
        return {method: self._with_deadline(method) for method in QUERIES}

    def looks(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """Writing method -> async (request) -> what its decision has to be told; see `LOOKS`."""
        return {method: partial(look, self) for method, look in LOOKS.items()}

    def _with_deadline(self, method: str) -> Answer:
        async def answer(caller: Caller, request: Any, context: Any) -> Any:
            return await self.answer(method, caller, request, context.time_remaining())

        return answer

    def sees(self, caller: Caller, record: ObjectRecord) -> bool:
        """True when the caller's scope covers the object."""
        return caller.scope.covers(self.contract.scopes(record.message))

    def response(self, method: str) -> Any:
        """A new response of a method."""
        return self.contract.generated_class(self.contract.methods[method].response_type)()

    async def situations(self) -> dict[str, Situation]:
        """How every endpoint is right now."""
        records = await self.reader.endpoints()
        in_use = await self.reader.in_use([record.id for record in records])
        return situations(records, in_use, self.limits, self.clock())

    async def endpoints(self, shown: Sequence[EndpointRecord]) -> list[Any]:
        """These endpoints as messages, with what each has to do."""
        every = await self.reader.endpoints()
        figures = await self.reader.figures([record.id for record in shown])
        return endpoint_messages(shown, every, figures, self.settled_of, self.clock(), self.limits)


def _visible(caller: Caller, endpoint: str) -> bool:
    return caller.role == OPERATOR or endpoint == caller.endpoint


# Objects


def _get(method: str, kind: str) -> Query:
    async def query(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
        value = request.id
        if value:
            record = await queries.reader.object(value)
        else:
            value = getattr(request, "number", "") or getattr(request, "tracking_number", "")
            record = await _by_number(queries, kind, request)
        if record is None or record.kind != kind or not queries.sees(caller, record):
            raise not_found(kind, value)
        response = queries.response(method)
        getattr(response, kind).CopyFrom(record.message)
        return response

    return query


async def _by_number(queries: Queries, kind: str, request: Any) -> ObjectRecord | None:
    reader = queries.reader
    if kind != "label":
        return next(iter(await reader.objects_by_number([request.number], [kind])), None)
    parcels = await reader.parcels(tracking_number=request.tracking_number)
    labels = await reader.objects([parcel.label_id for parcel in parcels])
    # Carriers use numbers again after years: the newest is meant.
    return labels[-1] if labels else None


def _list(method: str, spec: listing.Listing) -> Query:
    async def query(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
        moving = getattr(request, "moving_only", False)

        def keep(record: ObjectRecord) -> bool:
            voided = moving and record.state == "VOIDED"
            fits = listing.matches(spec, request, record.message)
            return not voided and fits and queries.sees(caller, record)

        page, last = await listing.collect(
            await _fetch(queries, spec, request),
            keep,
            after=position_of(request),
            size=page_size(request, queries.limits),
            limits=queries.limits,
        )
        response = queries.response(method)
        getattr(response, spec.field).extend(record.message for record in page)
        if last:
            response.next_page_token = next_token(request, last)
        return response

    return query


async def _fetch(queries: Queries, spec: listing.Listing, request: Any) -> listing.Fetch:
    """How the objects of a list are read: by the columns that its filters name."""
    reader = queries.reader
    shipment_id = getattr(request, "shipment_id", "")
    if getattr(request, "moving_only", False):
        return lambda after, most: reader.moving_labels(
            most, after=after, shipment_id=shipment_id, carrier_code=request.carrier_code
        )
    root_id = getattr(request, "order_id", "")
    if shipment_id:
        shipment = await reader.object(shipment_id)
        root_id = shipment.root_id if shipment is not None else shipment_id
    state = _state_of(request)
    return lambda after, most: reader.object_page(
        spec.kind, most, after=after, state=state, root_id=root_id
    )


def _state_of(request: Any) -> str:
    """The state a list is filtered by, as the column holds it."""
    return state_name(request) if getattr(request, "state", 0) else ""


# Deliveries


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
    if record is None or not _visible(caller, record.endpoint):
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
    fitting = _fitting(page, queries.limits)
    response = delivery_service_pb2.ListDeliveriesResponse(deliveries=page[:fitting])
    if len(records) > fitting:
        position = delivery_position(records[fitting - 1])
        response.next_page_token = next_token(request, position)
    return response


def _fitting(page: list[Any], limits: Limits) -> int:
    """How many of these messages one answer holds; one at least."""
    room = room_of(limits)
    for index, message in enumerate(page):
        room -= message.ByteSize()
        if room < 0 and index:
            return index
    return len(page)


# Endpoints


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
    fitting = _fitting(page, queries.limits)
    response = held_fact_pb2.ListHeldFactsResponse(held_facts=page[:fitting])
    if more or len(records) > fitting:
        response.next_page_token = next_token(request, records[fitting - 1].id)
    return response


# Scans, references


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


async def _await_label(queries: Queries, caller: Caller, request: Any, left: float) -> Any:
    return await await_label(
        queries.reader, queries.waiters, queries.limits, queries.sees, caller, request, left
    )


async def _trace(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    known = await queries.situations()
    see_all = caller.role == OPERATOR
    lineage = await trace(
        queries.reader,
        queries.contract,
        queries.limits,
        request.id,
        known,
        queries.clock(),
        sees=lambda record: queries.sees(caller, record),
        full=lambda endpoint: see_all or endpoint == caller.endpoint,
        sees_all=caller.scope.is_everything,
    )
    return lineage_service_pb2.TraceResponse(lineage=lineage)


QUERIES: Mapping[str, Query] = {
    **{method: _get(method, kind) for method, kind in listing.GETS.items()},
    **{method: _list(method, spec) for method, spec in listing.LISTS.items()},
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
    "/crossdock.lineage.v1.LineageService/Trace": _trace,
    "/crossdock.label.v1.LabelService/AwaitLabel": _await_label,
    "/crossdock.unit.v1.UnitService/ConvertQuantity": convert_quantity,
}
# What is read for a write before its batch: method -> (queries, request) -> what was seen.
LOOKS: Mapping[str, Callable[[Queries, Any], Awaitable[Any]]] = {
    "/crossdock.dead_letter.v1.DeadLetterService/AcknowledgeDeadLetters": see_group,
    "/crossdock.replay.v1.ReplayService/PlanReplay": see_replayed_group,
}
