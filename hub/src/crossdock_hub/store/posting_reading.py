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
from crossdock_hub.store.reading import ALL_STATES, attempts_of, words_of

VALUES_PER_STATEMENT = 500
_SEPARATOR = "|"
# A delivery that nobody serves was never called.
_STATES = tuple(state for state in ALL_STATES if state != "UNROUTED")


@dataclass(frozen=True, slots=True)
class Looked:
    """A delivery that was looked at. suspect: it, or what it belongs to, has to be judged."""

    id: str
    sequence: str
    root_id: str
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
class Flows:
    """Whole flows on one snapshot; attempts and words by delivery, oldest first."""

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
        Looked(row["id"], row["sequence"], row["root_id"], _is_suspect(row)) for row in found[:most]
    ]


def _range(endpoint: str, state: str, scope: EventScope, after: str) -> Select[tuple[object, ...]]:
    d = t.deliveries.c
    columns = (d.id, d.sequence, d.root_id, d.vendor_references, d.duplicates)
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


async def flows_of(
    connection: AsyncConnection, root_ids: Collection[str], endpoints: Collection[str]
) -> Flows:
    """All deliveries of these flows at these endpoints, with what was tried and said."""
    d = t.deliveries.c
    wanted = list(root_ids)
    found: list[DeliveryRecord] = []
    for start in range(0, len(wanted), VALUES_PER_STATEMENT):
        some = wanted[start : start + VALUES_PER_STATEMENT]
        statement = select(t.deliveries).where(d.root_id.in_(some), d.endpoint.in_(list(endpoints)))
        rows_found = (await connection.execute(statement)).mappings()
        found += [rows.delivery_record(row) for row in rows_found]
    ids = [record.id for record in found]
    return Flows(found, await attempts_of(connection, ids), await words_of(connection, ids))


__all__ = ["Flows", "Looked", "flows_of", "look_through"]
