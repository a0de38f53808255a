"""Answers Get and List of every kind of object."""

from __future__ import annotations

from typing import Any

from crossdock_hub.identity import Caller
from crossdock_hub.objects.parcel_news import heard_since, not_sent_since
from crossdock_hub.objects.resources import state_name
from crossdock_hub.reading import listing
from crossdock_hub.reading.paging import next_token, page_size, position_of
from crossdock_hub.reading.queries import Queries, Query
from crossdock_hub.records import ObjectRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.store.moving_parcels import Moving


def get_object(method: str, kind: str) -> Query:
    """How one object is read, by its id or its number."""

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


def list_objects(method: str, spec: listing.Listing) -> Query:
    """How a page of objects is read."""

    async def query(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
        on_its_way = _on_its_way(request)

        def keep(record: ObjectRecord) -> bool:
            useless = on_its_way and not _tracked(record)
            fits = listing.matches(spec, request, record.message)
            return not useless and fits and queries.sees(caller, record)

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
    if _on_its_way(request):
        now = queries.clock()
        wanted = Moving(
            heard_since(now, queries.limits),
            not_sent_since(now, queries.limits),
            silent=getattr(request, "silent_only", False),
            shipment_id=shipment_id,
            carrier_code=getattr(request, "carrier_code", ""),
        )
        read = reader.moving_labels if spec.kind == "label" else reader.moving_returns
        return lambda after, most: read(wanted, most, after=after)
    root_id = getattr(request, "order_id", "")
    if shipment_id:
        shipment = await reader.object(shipment_id)
        root_id = shipment.root_id if shipment is not None else shipment_id
    state = _state_of(request)
    return lambda after, most: reader.object_page(
        spec.kind, most, after=after, state=state, root_id=root_id
    )


def _on_its_way(request: Any) -> bool:
    return getattr(request, "moving_only", False) or getattr(request, "silent_only", False)


def _tracked(record: ObjectRecord) -> bool:
    """Whether a label, or the return that has one, still names a parcel to ask about."""
    message: Any = record.message
    if record.kind != "customer_return":
        return record.state != "VOIDED"
    return bool(message.label.tracking_number) and not message.label.voided


def _state_of(request: Any) -> str:
    """The state a list is filtered by, as the column holds it."""
    return state_name(request) if getattr(request, "state", 0) else ""
