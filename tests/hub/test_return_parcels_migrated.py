"""Databases in which parcels led to returns by the endpoint that told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock.returns.v1 import return_pb2
from crossdock_hub.records import ObjectRecord
from crossdock_hub.store import rows, tables
from crossdock_hub.store.migrating import upgrade
from databases import KINDS, in_new_database
from sqlalchemy import Connection, insert, select

BEFORE = "0038"
# More than two steps of the migration.
RETURNS = 1_007
TYPE = "return_tracking_number"


def stored(place: int) -> return_pb2.Return:
    """By its place: one with a parcel, one whose label leads to it, one in the box of the one
    before, or one whose number leads to another return."""
    name = f"return-{place:04}"
    message = return_pb2.Return(id=name)
    number = f"1Z{place - (place % 4 == 2):04}"
    if place % 4 == 1:
        message.label.carrier_code, message.label.tracking_number = "UPSN", number
    else:
        message.parcels.add(carrier_code="FedEx 2" if place % 4 else "UPSN", tracking_number=number)
        if place % 4 == 2:
            message.parcels.add(carrier_code="UPSN", tracking_number=number)
    if place % 4 != 3:
        message.references.add(system="parcel-desk", type=TYPE, value=number)
    return message


@pytest.mark.parametrize("kind", KINDS)
async def test_parcels_of_before_lead_to_their_returns_by_carrier(
    tmp_path: Path, kind: str
) -> None:
    """Proves that each parcel or label that led to its return does by carrier and number, step
    after step, that the first of two returns keeps a number, and that no other number leads."""
    found: dict[tuple[str, str], str] = {}

    def migrate(connection: Connection) -> None:
        upgrade(connection, BEFORE)
        made: list[Any] = [stored(place) for place in range(RETURNS)]
        records = [
            ObjectRecord("customer_return", m.id, m, 1, "INITIATED", m.id, m.id, 0, 1, 1)
            for m in made
        ]
        connection.execute(insert(tables.objects), [rows.OBJECTS.row(each) for each in records])
        upgrade(connection)
        references = tables.external_references.c
        for row in connection.execute(
            select(references.system, references.value, references.object_id)
        ):
            found[row.system, row.value] = row.object_id

    await in_new_database(tmp_path, kind, migrate)
    upsn = {("upsn", f"1Z{p:04}"): f"return-{p:04}" for p in range(RETURNS) if p % 4 in (0, 1)}
    (fedex,) = {system for system, _ in found} - {"upsn"}
    boxes = range(2, RETURNS, 4)
    assert found == upsn | {(fedex, f"1Z{p - 1:04}"): f"return-{p:04}" for p in boxes}
