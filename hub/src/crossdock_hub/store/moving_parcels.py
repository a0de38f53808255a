"""Parcels that are still on their way: those that carriers are asked about, and the silent ones.

A parcel is silent when nothing was heard of it (`objects.parcel_news`) for as long as polls of
tracking go on asking (`Limits.tracking_poll_limit_days`); a return, when neither it changed nor
anything was heard of its parcels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, func, or_, select, text

from crossdock_hub.objects.parcel_news import DAY_MICROSECONDS
from crossdock_hub.store import tables as t
from crossdock_hub.store.engine import Store
from crossdock_hub.unit import first_id_at

# Written out: SQLite only uses a partial index when it sees the index's own condition.
MOVING = text("parcels.milestone NOT IN ('DELIVERED', 'RETURNED')")
# A return of which nothing has come to the warehouse: not seen moving, or on its way.
_NOT_SENT, _ON_ITS_WAY = "INITIATED", "IN_TRANSIT"
# Ids never go back; a clock that is set back by as much hides no label.
_AHEAD_MICROSECONDS: Final = DAY_MICROSECONDS


@dataclass(frozen=True, slots=True)
class Moving:
    """Which of them. heard_since: microseconds UTC; not_sent_since: the same of returns that were
    not seen moving. silent: those not heard of since instead.

    Empty: no filter.
    """

    heard_since: int
    not_sent_since: int
    silent: bool = False
    shipment_id: str = ""
    carrier_code: str = ""


def labels_on_their_way(wanted: Moving, most: int, after: str) -> Select[Any]:
    """Labels of packages, oldest first. after: the last id of the page before."""
    p, o = t.parcels.c, t.objects.c
    heard = p.heard_at >= wanted.heard_since
    chosen = select(p.label_id).where(MOVING, p.label_id > after, _as(wanted, heard))
    if wanted.shipment_id:
        chosen = chosen.where(p.shipment_id == wanted.shipment_id)
    if wanted.carrier_code:
        chosen = chosen.where(p.carrier_code == wanted.carrier_code)
    chosen = chosen.order_by(p.label_id).limit(most)
    return select(t.objects).where(o.id.in_(chosen)).order_by(o.id)


def returns_on_their_way(wanted: Moving, most: int, after: str) -> Select[Any]:
    """Returns, oldest first; news of every number that leads to one is news of it."""
    o, r, p = t.objects.c, t.external_references.c, t.parcels.c
    since = case((o.state == _NOT_SENT, wanted.not_sent_since), else_=wanted.heard_since)
    # One value of each return, and no condition that a database would join whole tables for.
    last = select(func.max(p.heard_at)).where(r.object_id == o.id, p.tracking_number == r.value)
    parcels_heard = func.coalesce(last.correlate(t.objects).scalar_subquery(), 0)
    heard = or_(o.updated_at >= since, parcels_heard >= since)
    chosen = select(t.objects).where(
        o.kind == "customer_return",
        o.id > after,
        o.state.in_((_NOT_SENT, _ON_ITS_WAY)),
        _as(wanted, heard),
    )
    return chosen.order_by(o.id).limit(most)


async def silent_by_carrier(store: Store, heard_since: int, most: int) -> dict[str, int]:
    """How many labels of packages are silent, as their list has them, by carrier code.

    heard_since: microseconds UTC. most: labels that are looked at, the newest of those that are old
    enough; of older ones none is counted. Raises StoreFailure.
    """
    async with store.read() as connection:
        found = await connection.execute(silent_counts(heard_since, most))
        return {row.carrier_code: row.labels for row in found}


def silent_counts(heard_since: int, most: int) -> Select[Any]:
    """Carrier codes with how many of their labels are silent."""
    p, o = t.parcels.c, t.objects.c
    # No parcel is heard of before its label: only old labels can be silent, and those of parcels
    # that are still asked about are few among them.
    old_enough = p.label_id < first_id_at(heard_since + _AHEAD_MICROSECONDS)
    looked_at = (
        select(p.label_id, p.carrier_code, p.heard_at)
        .where(MOVING, p.label_id > "", old_enough)
        .order_by(p.label_id.desc())
        .limit(most)
        .subquery()
    )
    label = looked_at.c
    # One value of each label, and no condition that a database would join whole tables for.
    state = select(o.state).where(o.id == label.label_id).correlate(looked_at).scalar_subquery()
    silent = (label.heard_at < heard_since, state != "VOIDED")
    return (
        select(label.carrier_code, func.count().label("labels"))
        .where(*silent)
        .group_by(label.carrier_code)
    )


def _as(wanted: Moving, heard: ColumnElement[bool]) -> ColumnElement[bool]:
    return ~heard if wanted.silent else heard
