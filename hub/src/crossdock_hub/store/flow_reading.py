"""Reads all of one flow, on one snapshot, with two crossings to the database."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from crossdock.contracts import Contract
from sqlalchemy import RowMapping, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.reading.chain import Chain, StoredEvent, items_converted
from crossdock_hub.records import ObjectRecord, ScanRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.attempt_logs import ATTEMPTS, WORDS, by_delivery, by_subject
from crossdock_hub.store.crossing import IN, Query, Row, fetch, fetch_all
from crossdock_hub.store.held_fact_pages import OF_A_FLOW, told_record
from crossdock_hub.store.scan_pages import of_shipments
from crossdock_hub.store.unit_conversions import CONVERSIONS, conversions_wanted

# What is scanned, as what the scan says it is about.
_SCANNED = ("shipment", "customer_return")

_scan = rows.plain_record(ScanRecord)


class FlowQueries:
    """By the flow, and by what is found of it. most: rows of each kind, the oldest."""

    def __init__(self, most: int) -> None:
        o, e, d, s = t.objects.c, t.events.c, t.deliveries.c, t.scans.c
        family = select(t.objects).where(o.root_id.in_(IN)).order_by(o.id)
        told = select(t.events).where(e.root_id.in_(IN)).order_by(e.sequence)
        work = select(t.deliveries).where(d.root_id.in_(IN)).order_by(d.sequence, d.id)
        seen = select(t.scans).where(of_shipments(IN))
        seen = seen.order_by(func.coalesce(s.event_time, s.record_time), s.id)
        self.of_flow = [*(Query(each.limit(most)) for each in (family, told, work)), OF_A_FLOW]
        # Of all at once, of which a flow has so many at most: in parts, each would have its oldest.
        self.scans = Query(seen.limit(most), values_max=most)


of_a_flow = cache(FlowQueries)


async def read_chain(
    connection: AsyncConnection, contract: Contract, root_id: str, most: int
) -> Chain:
    """Everything of one flow, on a snapshot that is open. most: of each kind, the oldest."""
    queries = of_a_flow(most)
    found = await fetch(connection, [(query, [root_id]) for query in queries.of_flow])
    family, told, work, held = found
    objects = _objects(contract, family)
    deliveries = [rows.delivery_record(row) for row in work]
    shipments = [record.id for record in objects if record.kind in _SCANNED]
    ids = [record.id for record in deliveries]
    seen, tried, said, converted = await fetch_all(
        connection,
        [
            (queries.scans, shipments),
            (ATTEMPTS, ids),
            (WORDS, ids),
            (CONVERSIONS, conversions_wanted(items_converted(objects))),
        ],
    )
    return Chain(
        root_id,
        objects,
        [stored_event(row) for row in told],
        deliveries,
        by_delivery(tried),
        [_scan(row) for row in seen],
        by_subject(said),
        [told_record(row) for row in held],
        _objects(contract, {row["id"]: row for row in converted}.values()),
    )


def stored_event(row: Row | RowMapping) -> StoredEvent:
    """An event, and whether it is on the bus."""
    return StoredEvent(rows.event_record(row), row["published_at"] is not None)


def _objects(contract: Contract, found: Iterable[Row]) -> list[ObjectRecord]:
    return [rows.object_record(contract, row) for row in found]
