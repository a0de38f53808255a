"""Reads what texts are numbers, keys and tracking numbers of, with one crossing to the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Final

from crossdock.contracts import Contract
from sqlalchemy import literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.records import ObjectRecord, ParcelRecord, ReferenceRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import IN, Query, Row, fetch
from crossdock_hub.store.spelling import NUMBERED, SQUEEZED_NUMBER, squeezed

# By the index of numbers however they are spelled, which has those of every kind in one place: the
# other one begins with the kind and would be asked once for each. What is spelled otherwise is left
# out afterwards.
_NUMBERED: Final = Query(
    select(t.objects).where(
        literal_column(SQUEEZED_NUMBER.text, t.objects.c.number.type).in_(IN), NUMBERED
    )
)
_PARCELS: Final = Query(
    select(t.parcels).where(t.parcels.c.tracking_number.in_(IN)).order_by(t.parcels.c.carrier_code)
)

_parcel = rows.plain_record(ParcelRecord)
_reference = rows.plain_record(ReferenceRecord)


@dataclass(frozen=True, slots=True)
class KnownBy:
    """What a text is of: a number of objects, oldest first, a tracking number of parcels, whatever
    the carrier, and a key in other systems."""

    numbered: Sequence[ObjectRecord] = ()
    parcels: Sequence[ParcelRecord] = ()
    references: Sequence[ReferenceRecord] = ()


@cache
def references_query(most: int) -> Query:
    """Keys of a value in any system. most: so many at most."""
    r = t.external_references.c
    statement = select(t.external_references).where(r.value.in_(IN))
    return Query(statement.order_by(r.system, r.type).limit(most))


async def read_known_by(
    connection: AsyncConnection, contract: Contract, texts: Sequence[str], most: int
) -> list[KnownBy]:
    """Of each text, on a snapshot that is open. most: keys of one text."""
    keys = references_query(most)
    asked = [
        each
        for text in texts
        for each in ((_NUMBERED, [squeezed(text)]), (_PARCELS, [text]), (keys, [text]))
    ]
    found = await fetch(connection, asked)
    return [
        KnownBy(
            _objects(contract, (row for row in numbered if row["number"] == text)),
            [_parcel(row) for row in parcels],
            [_reference(row) for row in references],
        )
        for text, numbered, parcels, references in zip(
            texts, found[::3], found[1::3], found[2::3], strict=True
        )
    ]


def _objects(contract: Contract, found: Iterable[Row]) -> list[ObjectRecord]:
    # Sorted here: asked for in the order of ids, SQLite goes through all of them.
    return [rows.object_record(contract, row) for row in sorted(found, key=itemgetter("id"))]
