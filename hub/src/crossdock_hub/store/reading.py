"""Reads the books: the queries behind Get, List, look-up and lineage.

Positions of pages are opaque texts that the method itself made; "" means the beginning.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from crossdock.contracts import Contract
from sqlalchemy import (
    RowMapping,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.archive.records import ArchivePart, key_of
from crossdock_hub.config import Limits
from crossdock_hub.reading.chain import Chain, Figures, LaneFigures, StoredEvent
from crossdock_hub.records import (
    OCCUPYING_STATES,
    SETTLED_STATES,
    AttemptRecord,
    CursorRecord,
    DeliveryRecord,
    EndpointRecord,
    HeldFactRecord,
    ObjectRecord,
    OperatorWordRecord,
    ParcelRecord,
    ReferenceRecord,
    RequestRecord,
    ScanRecord,
)
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.archiving import parts_of
from crossdock_hub.store.attempt_logs import attempts_of, words_of
from crossdock_hub.store.crossing import IN, Query, Row, fetch_all
from crossdock_hub.store.flow_reading import read_chain, stored_event
from crossdock_hub.store.held_fact_pages import FOUND, HeldFactFilter, held_fact_page
from crossdock_hub.store.key_reading import KnownBy, read_known_by
from crossdock_hub.store.moving_parcels import Moving, labels_on_their_way, returns_on_their_way
from crossdock_hub.store.package_numbers import numbered
from crossdock_hub.store.scan_pages import scan_page
from crossdock_hub.store.spelling import (
    NUMBERED,
    SQUEEZED_NUMBER,
    is_spelled,
    of_tracking_number,
    of_value,
)
from crossdock_hub.store.unit_conversions import conversions_of

# States of deliveries that count as work to do; the rest is settled, or nobody's.
OPEN_STATES = (
    "HELD",
    "READY",
    "DISPATCHED",
    "IN_FLIGHT",
    "UNKNOWN",
    "RESOLVING",
    "PARKED",
)
ALL_STATES = (*OPEN_STATES, "UNROUTED", *sorted(SETTLED_STATES))
DOUBTFUL_STATES = ("UNKNOWN", "RESOLVING")
# Written out: SQLite only uses a partial index when it sees the index's own condition.
HAS_ITEM = text("deliveries.item <> ''")
HAS_QUARANTINED = text("deliveries.quarantined <> '[]'")
_SEPARATOR = "|"

_OBJECTS = Query(select(t.objects).where(t.objects.c.id.in_(IN)).order_by(t.objects.c.id))
_ENDPOINTS = (
    select(t.endpoints).where(t.endpoints.c.id > bindparam("after")).order_by(t.endpoints.c.id)
)
_IN_USE = (
    select(t.deliveries.c.endpoint, func.count().label("in_use"))
    .where(t.ON_THE_WAY)
    .group_by(t.deliveries.c.endpoint)
)
_cursor = rows.plain_record(CursorRecord)
_parcel = rows.plain_record(ParcelRecord)
_reference = rows.plain_record(ReferenceRecord)
_request = rows.plain_record(RequestRecord)
_scan = rows.plain_record(ScanRecord)


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries. endpoint: None: of all, those of nobody included. Empty: no filter."""

    endpoint: str | None = None
    states: tuple[str, ...] = ()
    operation: str = ""
    object_id: str = ""
    newest_first: bool = False
    quarantined_only: bool = False


class Books(Protocol):
    """What is read from: a store, or one snapshot of it."""

    contract: Contract

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection that sees the last commit. Raises StoreFailure."""


class _Moment:
    """A snapshot that is open."""

    def __init__(self, contract: Contract, connection: AsyncConnection) -> None:
        self.contract = contract
        self._connection = connection

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        yield self._connection


class Reader:
    """Reads of the books, each on a snapshot of its own. Every method raises StoreFailure."""

    def __init__(self, store: Books, limits: Limits | None = None) -> None:
        self._store = store
        self._contract = store.contract
        self._limits = limits or Limits()

    async def _rows(self, statement: Select[Any], **values: Any) -> list[RowMapping]:
        async with self._store.read() as connection:
            return list((await connection.execute(statement, values)).mappings())

    def _objects(self, found: Iterable[Row | RowMapping]) -> list[ObjectRecord]:
        return [rows.object_record(self._contract, row) for row in found]

    # Objects

    async def objects(self, ids: Collection[str]) -> list[ObjectRecord]:
        """The objects of these ids, of any kind, oldest first."""
        if not ids:
            return []
        async with self._store.read() as connection:
            # Sorted, so that the parts of a long list follow one another, too.
            (found,) = await fetch_all(connection, [(_OBJECTS, sorted(ids))])
        return self._objects(found)

    async def object(self, object_id: str) -> ObjectRecord | None:
        """One object by id."""
        return next(iter(await self.objects([object_id])), None)

    async def objects_by_number(
        self, numbers: Collection[str], kinds: Collection[str] = ()
    ) -> list[ObjectRecord]:
        """The objects of these numbers; kinds: only of these."""
        if not numbers:
            return []
        o = t.objects.c
        among = list(kinds) or list(self._contract.resources)
        statement = select(t.objects).where(o.kind.in_(among), o.number.in_(list(numbers)))
        return self._objects(await self._rows(statement.order_by(o.id)))

    async def unit_conversions(self, items: Collection[str]) -> list[ObjectRecord]:
        """The unit conversions of items, `EVERY_ITEM` among them, oldest first; maybe others of
        items whose number begins alike."""
        async with self._store.read() as connection:
            return self._objects(await conversions_of(connection, items))

    async def object_page(
        self, kind: str, most: int, *, after: str = "", state: str = "", root_id: str = ""
    ) -> list[ObjectRecord]:
        """Objects of a kind, oldest first. after: the last id of the page before."""
        o = t.objects.c
        statement = select(t.objects).where(o.kind == kind, o.id > after)
        if state:
            statement = statement.where(o.state == state)
        if root_id:
            statement = statement.where(o.root_id == root_id)
        return self._objects(await self._rows(statement.order_by(o.id).limit(most)))

    async def moving_labels(self, wanted: Moving, most: int, *, after: str) -> list[ObjectRecord]:
        """Labels whose parcel is still on its way, oldest first."""
        return self._objects(await self._rows(labels_on_their_way(wanted, most, after)))

    async def moving_returns(self, wanted: Moving, most: int, *, after: str) -> list[ObjectRecord]:
        """Returns that are still on their way, oldest first."""
        return self._objects(await self._rows(returns_on_their_way(wanted, most, after)))

    async def parcels(
        self, *, package_id: str = "", tracking_number: str = ""
    ) -> list[ParcelRecord]:
        """The parcels of a package, or of a tracking number whatever the carrier."""
        statement = select(t.parcels)
        if package_id:
            statement = statement.where(t.parcels.c.package_id == package_id)
        if tracking_number:
            statement = statement.where(t.parcels.c.tracking_number == tracking_number)
        return [_parcel(row) for row in await self._rows(statement)]

    async def parcels_spelled_like(self, squeezed: str, most: int) -> list[ParcelRecord]:
        """The parcels of tracking numbers equal but for case, spaces and dashes."""
        found: list[RowMapping] = []
        for condition in of_tracking_number(t.parcels.c.tracking_number, squeezed):
            found += await self._rows(select(t.parcels).where(condition).limit(most))
        return [_parcel(row) for row in found]

    async def shipments_of_package(
        self, number: str, most: int, *, exactly: bool
    ) -> list[tuple[str, str]]:
        """(shipment id, package number) of a number, newest shipment first; not exactly: however
        its case, spaces and dashes are."""
        found = await self._rows(numbered(number, most, exactly=exactly))
        return [(row["shipment_id"], row["number"]) for row in found]

    # References

    async def references(
        self,
        kind: str,
        system: str,
        *,
        object_ids: Collection[str] = (),
        values: Collection[str] = (),
    ) -> list[ReferenceRecord]:
        """Keys in one system, of these objects or with these values, by object."""
        r = t.external_references.c
        wanted = or_(r.object_id.in_(list(object_ids)), r.value.in_(list(values)))
        statement = select(t.external_references).where(r.kind == kind, r.system == system, wanted)
        found = await self._rows(statement.order_by(r.object_id, r.type, r.value))
        return [_reference(row) for row in found]

    async def known_by(self, texts: Sequence[str], most: int) -> list[KnownBy]:
        """What each text is a number, a tracking number or a key of. most: keys of one text."""
        if not texts:
            return []
        async with self._store.read() as connection:
            return await read_known_by(connection, self._contract, texts, most)

    async def spelled_like(self, squeezed: str, most: int) -> list[tuple[str, str]]:
        """(object id, what matched) of numbers and keys equal but for case, spaces and dashes."""
        o, r = t.objects.c, t.external_references.c
        numbers = select(o.id, o.number.label("found"))
        numbers = numbers.where(is_spelled(SQUEEZED_NUMBER, squeezed), NUMBERED)
        keys = select(r.object_id.label("id"), r.value.label("found"))
        written, otherwise = of_value(r.value, squeezed)
        found: list[RowMapping] = []
        for statement in (numbers, keys.where(written), keys.where(otherwise)):
            found += await self._rows(statement.limit(most))
        return [(row["id"], row["found"]) for row in found]

    # Deliveries

    async def delivery(self, delivery_id: str) -> DeliveryRecord | None:
        """One delivery."""
        found = await self._rows(select(t.deliveries).where(t.deliveries.c.id == delivery_id))
        return rows.delivery_record(found[0]) if found else None

    async def delivery_page(
        self, wanted: DeliveryFilter, most: int, *, after: str = ""
    ) -> list[DeliveryRecord]:
        """Deliveries in the order of their events. after: `delivery_position` of the last one."""
        d = t.deliveries.c
        statement = select(t.deliveries)
        if wanted.operation:
            statement = statement.where(d.operation == wanted.operation)
        if wanted.quarantined_only:
            statement = statement.where(HAS_QUARANTINED)
        if after:
            key, place = tuple_(d.sequence, d.id), tuple_(*after.split(_SEPARATOR, 1))
            statement = statement.where(key < place if wanted.newest_first else key > place)
        order = (d.sequence.desc(), d.id.desc()) if wanted.newest_first else (d.sequence, d.id)
        statement = statement.order_by(*order).limit(most)
        found: list[RowMapping] = []
        conditions = await self._ranges(wanted)
        async with self._store.read() as connection:
            for condition in conditions:
                found += (await connection.execute(statement.where(condition))).mappings()
        found.sort(key=lambda row: (row["sequence"], row["id"]), reverse=wanted.newest_first)
        return [rows.delivery_record(row) for row in found[:most]]

    async def _ranges(self, wanted: DeliveryFilter) -> list[Any]:
        """Conditions that an index answers in order; what they find together is what is wanted."""
        d = t.deliveries.c
        if wanted.object_id:
            about = await self._about(wanted.object_id)
            endpoint = d.endpoint == wanted.endpoint if wanted.endpoint is not None else true()
            return [and_(about, endpoint, d.state.in_(wanted.states or ALL_STATES))]
        endpoints = [wanted.endpoint or ""]
        if wanted.endpoint is None:
            endpoints += [record.id for record in await self.endpoints()]
        # An index by endpoint and state holds each of these in the order of events; together they
        # would be sorted by hand, however few are asked for.
        return [
            and_(d.endpoint == endpoint, d.state == state)
            for endpoint in endpoints
            for state in wanted.states or ALL_STATES
        ]

    async def _about(self, object_id: str) -> Any:
        """The condition for deliveries of a flow, or about one object within its flow."""
        d = t.deliveries.c
        known = await self.object(object_id)
        if known is None:
            # A package or another item: it has no row of its own.
            return or_(d.root_id == object_id, and_(d.item == object_id, HAS_ITEM))
        if known.root_id == object_id:
            return d.root_id == object_id
        named = or_(d.object_id == object_id, d.refers_to.contains(f'"{object_id}"'))
        return and_(d.root_id == known.root_id, named)

    async def deliveries_of_item(self, item: str) -> list[DeliveryRecord]:
        """Deliveries about a package or another part of an object, oldest event first."""
        d = t.deliveries.c
        statement = select(t.deliveries).where(d.item == item, HAS_ITEM).order_by(d.sequence)
        return [rows.delivery_record(row) for row in await self._rows(statement)]

    async def deliveries_of_reference(self, vendor_reference: str) -> list[DeliveryRecord]:
        """Deliveries that vendors know under this reference."""
        statement = select(t.deliveries).where(t.deliveries.c.vendor_reference == vendor_reference)
        return [rows.delivery_record(row) for row in await self._rows(statement)]

    async def deliveries_of_roots(
        self, root_ids: Collection[str], most: int, *, endpoint: str = ""
    ) -> list[DeliveryRecord]:
        """Deliveries of several flows, last changed first; endpoint: only its own."""
        d = t.deliveries.c
        statement = select(t.deliveries).where(d.root_id.in_(list(root_ids)))
        if endpoint:
            statement = statement.where(d.endpoint == endpoint)
        found = await self._rows(statement.order_by(d.updated_at.desc()).limit(most))
        return [rows.delivery_record(row) for row in found]

    async def attempts(self, delivery_ids: Collection[str]) -> dict[str, list[AttemptRecord]]:
        """Attempts by delivery, oldest first; see `attempts_of` for what of long logs is read."""
        async with self._store.read() as connection:
            return await attempts_of(connection, delivery_ids)

    async def words(self, subject_ids: Collection[str]) -> dict[str, list[OperatorWordRecord]]:
        """What operators said, by delivery or held fact, oldest first."""
        async with self._store.read() as connection:
            return await words_of(connection, subject_ids)

    @contextlib.asynccontextmanager
    async def of_one_moment(self) -> AsyncIterator[Reader]:
        """The same reads, one after another, all on one snapshot."""
        async with self._store.read() as connection:
            yield Reader(_Moment(self._contract, connection), self._limits)

    def snapshot(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for several reads of one moment."""
        return self._store.read()

    # Endpoints

    async def endpoints(self, *, after: str = "", most: int | None = None) -> list[EndpointRecord]:
        """Endpoints by id."""
        statement = _ENDPOINTS if most is None else _ENDPOINTS.limit(most)
        found = await self._rows(statement, after=after)
        return [rows.endpoint_record(EndpointRecord, row) for row in found]

    async def endpoint(self, endpoint_id: str) -> EndpointRecord | None:
        """One endpoint."""
        found = await self._rows(select(t.endpoints).where(t.endpoints.c.id == endpoint_id))
        return rows.endpoint_record(EndpointRecord, found[0]) if found else None

    async def in_use(self) -> dict[str, int]:
        """Deliveries on their way to the vendor, by endpoint; those that have any."""
        return {row["endpoint"]: row["in_use"] for row in await self._rows(_IN_USE)}

    async def figures(self, endpoint_ids: Collection[str]) -> dict[str, Figures]:
        """What endpoints have to do, in one query; those with nothing to do are not in it.

        What is UNROUTED there waits for an endpoint that has left the endpoints file.
        """
        d = t.deliveries.c
        on_their_way = and_(d.state.in_(sorted(OCCUPYING_STATES)), d.pending.is_(False))
        # What is repeated to end its doubt waits like any other, but the vendor may have done it.
        doubted = and_(d.first_unknown_at.is_not(None), d.state.not_in(("PARKED", "UNROUTED")))
        statement = (
            select(
                d.endpoint,
                func.count().label("queue_depth"),
                func.min(d.created_at).label("oldest_at"),
                func.count().filter(on_their_way).label("in_use"),
                func.count().filter(or_(d.state.in_(DOUBTFUL_STATES), doubted)).label("in_doubt"),
                func.count().filter(d.state == "PARKED").label("parked"),
                d.priority,
                func.count().filter(d.pending).label("waiting"),
                func.min(d.created_at).filter(d.pending).label("waits_since"),
            )
            .where(d.endpoint.in_(list(endpoint_ids)), d.state.in_((*OPEN_STATES, "UNROUTED")))
            .group_by(d.endpoint, d.priority)
            .order_by(d.endpoint, d.priority)
        )
        by_endpoint: dict[str, list[RowMapping]] = defaultdict(list)
        for row in await self._rows(statement):
            by_endpoint[row["endpoint"]].append(row)
        return {endpoint: _figures(lanes) for endpoint, lanes in by_endpoint.items()}

    async def cursor(self, endpoint: str, name: str) -> CursorRecord | None:
        """A position that is kept for an endpoint."""
        c = t.cursors.c
        found = await self._rows(select(t.cursors).where(c.endpoint == endpoint, c.name == name))
        return _cursor(found[0]) if found else None

    async def held_facts(
        self, wanted: HeldFactFilter, most: int, *, after: str = "", payload_bytes_max: int
    ) -> tuple[list[HeldFactRecord], bool]:
        """Held facts, oldest first, and whether there are more, be it only for their bytes."""
        statement = held_fact_page(
            wanted, after=after, most=most + 1, payload_bytes_max=payload_bytes_max
        )
        found = await self._rows(statement)
        records = [rows.held_record(row) for row in found[:most]]
        return records, bool(found) and found[0][FOUND] > len(records)

    # Scans, events, requests

    async def scans(
        self,
        most: int,
        *,
        after: str = "",
        tracking_number: str = "",
        shipment_id: str = "",
        scan_id: str = "",
    ) -> list[ScanRecord]:
        """Scans, oldest event first. after: `scan_position` of the last one."""
        of = {"tracking_number": tracking_number, "shipment_id": shipment_id, "scan_id": scan_id}
        found = await self._rows(scan_page(after=after, **of).limit(most))
        return [_scan(row) for row in found]

    async def events(
        self, most: int, *, event_id: str = "", trace_id: str = "", root_id: str = ""
    ) -> list[StoredEvent]:
        """Events, newest first: one, those of a trace, those of a flow, or simply the last."""
        e = t.events.c
        statement = select(t.events)
        for column, value in ((e.id, event_id), (e.trace_id, trace_id), (e.root_id, root_id)):
            if value:
                statement = statement.where(column == value)
        found = await self._rows(statement.order_by(e.sequence.desc()).limit(most))
        return [stored_event(row) for row in found]

    async def request(self, request_id: str) -> RequestRecord | None:
        """What was answered to a request id."""
        r = t.requests.c
        found = await self._rows(select(t.requests).where(r.request_id == request_id))
        return _request(found[0]) if found else None

    async def parts_with(self, names: Collection[str]) -> list[ArchivePart]:
        """The parts of the archive in which something is known by one of these, newest first."""
        async with self._store.read() as connection:
            return await parts_of(connection, [key_of(name) for name in names])

    # Flows

    async def chain(self, root_id: str) -> Chain:
        """Everything of one flow, on one snapshot."""
        most = self._limits.flow_deliveries_max
        async with self._store.read() as connection:
            return await read_chain(connection, self._contract, root_id, most)


def delivery_position(record: DeliveryRecord) -> str:
    """Where a page of deliveries ended."""
    return f"{record.sequence}{_SEPARATOR}{record.id}"


def _figures(lanes: Sequence[RowMapping]) -> Figures:
    """The figures of one endpoint from those of its lanes."""
    return Figures(
        sum(lane["queue_depth"] for lane in lanes),
        min(lane["oldest_at"] for lane in lanes),
        sum(lane["in_use"] for lane in lanes),
        sum(lane["in_doubt"] for lane in lanes),
        sum(lane["parked"] for lane in lanes),
        {
            lane["priority"]: LaneFigures(lane["waiting"], lane["waits_since"])
            for lane in lanes
            if lane["waiting"]
        },
    )
