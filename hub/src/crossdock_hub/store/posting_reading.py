"""Reads what may have been posted twice: the newest deliveries of a range, slice by slice."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    exists,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.delivery.doubts import UNKNOWN_OUTCOMES
from crossdock_hub.reading.event_scope import EventScope
from crossdock_hub.records import AttemptRecord, DeliveryRecord, OperatorWordRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.attempt_logs import attempts_of, words_of
from crossdock_hub.store.reading import ALL_STATES

# An id names few intents: a parcel has one with each endpoint and operation.
MOST_NAMED = 100
_SEPARATOR = "|"
# A delivery that nobody serves was never called.
_STATES = tuple(state for state in ALL_STATES if state != "UNROUTED")


@dataclass(frozen=True, slots=True)
class Looked:
    """A delivery that was looked at. suspect: it, or what it belongs to, has to be judged."""

    id: str
    sequence: str
    root_id: str
    object_id: str
    suspect: bool

    @property
    def event_id(self) -> str:
        """Its event, of which the place in the order begins with the id."""
        return self.sequence.partition(":")[0]

    @property
    def position(self) -> str:
        """Where a page of deliveries ended."""
        return f"{self.sequence}{_SEPARATOR}{self.id}"


@dataclass(frozen=True, slots=True)
class Logged:
    """Deliveries on one snapshot; attempts and words by delivery, oldest first."""

    deliveries: Sequence[DeliveryRecord]
    attempts: dict[str, list[AttemptRecord]]
    words: dict[str, list[OperatorWordRecord]]


async def look_through(
    connection: AsyncConnection,
    endpoints: Collection[str],
    scope: EventScope,
    most: int,
    *,
    after: str = "",
) -> list[Looked]:
    """At most so many deliveries, those of the newest events first. after: a `position`."""
    found: list[RowMapping] = []
    for endpoint in endpoints:
        for state in _STATES:
            # An index by endpoint and state holds each range in the order of events.
            statement = _range(endpoint, state, scope, after).limit(most)
            found += (await connection.execute(statement)).mappings()
    found.sort(key=lambda row: (row["sequence"], row["id"]), reverse=True)
    return [
        Looked(row["id"], row["sequence"], row["root_id"], row["object_id"], _is_suspect(row))
        for row in found[:most]
    ]


def _range(endpoint: str, state: str, scope: EventScope, after: str) -> Select[tuple[object, ...]]:
    d = t.deliveries.c
    columns = (d.id, d.sequence, d.root_id, d.object_id, d.vendor_references, d.duplicates)
    statement = select(*columns, _tells_more().label("tells_more"))
    statement = statement.where(d.endpoint == endpoint, d.state == state)
    if scope.first_id:
        statement = statement.where(d.sequence >= scope.first_id)
    if scope.end_id:
        statement = statement.where(d.sequence < scope.end_id)
    if after:
        sequence, delivery_id = after.split(_SEPARATOR, 1)
        # The first condition is for the index, which knows nothing of ids.
        statement = statement.where(d.sequence <= sequence)
        statement = statement.where(tuple_(d.sequence, d.id) < tuple_(sequence, delivery_id))
    return statement.order_by(d.sequence.desc(), d.id.desc())


def _tells_more() -> ColumnElement[bool]:
    """True for a delivery with a call that nobody knew of, or that is not alone for its intent."""
    d, a, other = t.deliveries.c, t.attempts.c, t.deliveries.alias("other")
    unknown = exists().where(
        a.delivery_id == d.id, a.kind == "CALL", a.outcome.in_(sorted(UNKNOWN_OUTCOMES))
    )
    o = other.c
    sibling = exists().where(
        o.root_id == d.root_id,
        o.endpoint == d.endpoint,
        o.operation == d.operation,
        o.object_id == d.object_id,
        o.item == d.item,
        o.id != d.id,
    )
    return or_(d.first_unknown_at.is_not(None), unknown, sibling)


def _is_suspect(row: RowMapping) -> bool:
    if row["tells_more"] or row["duplicates"] not in ("", "[]"):
        return True
    types = [reference[0] for reference in json.loads(row["vendor_references"])]
    return len(types) > len(set(types))


async def intents_of(
    connection: AsyncConnection, suspects: Collection[Looked], endpoints: Collection[str]
) -> Logged:
    """All that was ever to be done for the objects of these deliveries at these endpoints: whole
    intents, with what was tried and said, and not the rest of their flows."""
    d = t.deliveries.c
    statement = select(t.deliveries).where(
        d.root_id.in_({row.root_id for row in suspects}),
        d.object_id.in_({row.object_id for row in suspects}),
        d.endpoint.in_(list(endpoints)),
    )
    found = (await connection.execute(statement)).mappings()
    return await _logged(connection, [rows.delivery_record(row) for row in found])


async def intents_named(
    connection: AsyncConnection, root_id: str, ids: Collection[str], most: int
) -> Logged:
    """What was to be done in a flow that one of these ids names: the id of a delivery, a vendor's
    reference, or an item, and else an object, also one that is referred to.

    Whole intents, and at most so many deliveries, those of the oldest events first.
    """
    d = t.deliveries.c
    names = list(ids)
    itself = or_(d.id.in_(names), d.vendor_reference.in_(names), d.item.in_(names))
    columns = (d.endpoint, d.operation, d.object_id, d.item)
    intents = select(*columns).where(d.root_id == root_id, itself).distinct().limit(MOST_NAMED)
    named = (await connection.execute(intents)).all()
    if named:
        which: list[ColumnElement[bool]] = [
            column.in_({intent[place] for intent in named}) for place, column in enumerate(columns)
        ]
    else:
        refers = [d.refers_to.contains(json.dumps(name), autoescape=True) for name in names]
        which = [or_(d.object_id.in_(names), *refers)]
    statement = (
        select(t.deliveries)
        .where(d.root_id == root_id, *which)
        .order_by(d.sequence, d.id)
        .limit(most)
    )
    found = (await connection.execute(statement)).mappings()
    return await _logged(connection, [rows.delivery_record(row) for row in found])


async def _logged(connection: AsyncConnection, found: Sequence[DeliveryRecord]) -> Logged:
    ids = [record.id for record in found]
    return Logged(found, await attempts_of(connection, ids), await words_of(connection, ids))


__all__ = ["Logged", "Looked", "intents_named", "intents_of", "look_through"]
