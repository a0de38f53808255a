"""Pages of scans, oldest event first: of a parcel, of a shipment, or all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, and_, func, select, tuple_

from crossdock_hub.records import ScanRecord
from crossdock_hub.store import tables as t

_SEPARATOR = "|"


def scan_page(*, after: str, tracking_number: str, shipment_id: str, scan_id: str) -> Select[Any]:
    """Scans in the order they happened. after: `scan_position` of the last one."""
    s = t.scans.c
    happened = func.coalesce(s.event_time, s.record_time)
    statement = select(t.scans)
    if tracking_number:
        statement = statement.where(s.tracking_number == tracking_number)
    if shipment_id:
        statement = statement.where(of_shipments([shipment_id]))
    if scan_id:
        statement = statement.where(s.id == scan_id)
    if after:
        time, _, scan_id = after.partition(_SEPARATOR)
        statement = statement.where(tuple_(happened, s.id) > tuple_(int(time), scan_id))
    return statement.order_by(happened, s.id)


def scan_position(record: ScanRecord) -> str:
    """Where a page of scans ended."""
    happened = record.record_time if record.event_time is None else record.event_time
    return f"{happened}{_SEPARATOR}{record.id}"


def of_shipments(shipments: Sequence[str] | BindParameter[Any]) -> ColumnElement[bool]:
    """Scans of some shipments, by way of their parcels: an index less for every scan to keep."""
    p, s = t.parcels.c, t.scans.c
    numbers = select(p.tracking_number).where(p.shipment_id.in_(shipments))
    return and_(s.tracking_number.in_(numbers), s.shipment_id.in_(shipments))
