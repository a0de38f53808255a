"""Databases from before package numbers were indexed: those of stored shipments are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock.item.v1 import item_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_hub.records import ObjectRecord
from crossdock_hub.store import rows, tables
from crossdock_hub.store.migrating import upgrade
from crossdock_hub.store.package_numbers import package_numbers
from databases import KINDS, in_new_database
from sqlalchemy import Connection, insert, select

BEFORE = "0033"
# More than two steps of the migration.
SHIPMENTS = 1_007


def stored(kind: str, name: str, message: Any) -> dict[str, Any]:
    record = ObjectRecord(kind, name, message, 1, "ACTIVE", name, name, 0, 1, 1)
    return rows.OBJECTS.row(record)


def shipment(place: int) -> dict[str, Any]:
    """One with as many packages as its place says, up to two."""
    name = f"shipment-{place:04}"
    message = shipment_pb2.Shipment(id=name)
    for number in ("1", f"LPN-{place}")[: place % 3]:
        message.packages.add(id=f"{name}-{number}", number=number)
    return stored("shipment", name, message)


@pytest.mark.parametrize("kind", KINDS)
async def test_packages_of_before_are_found(tmp_path: Path, kind: str) -> None:
    """Proves that each package of every stored shipment gets its row, step after step, and that
    shipments without packages and objects of other kinds get none."""
    old = [shipment(place) for place in range(SHIPMENTS)]
    others = [stored("item", f"item-{n}", item_pb2.Item(id=f"item-{n}")) for n in range(3)]
    found: list[tuple[str, str]] = []

    def migrate(connection: Connection) -> None:
        upgrade(connection, BEFORE)
        connection.execute(insert(tables.objects), [*old, *others])
        upgrade(connection)
        told = select(package_numbers.c.shipment_id, package_numbers.c.number)
        found.extend((row.shipment_id, row.number) for row in connection.execute(told))

    await in_new_database(tmp_path, kind, migrate)
    expected = [
        (f"shipment-{place:04}", number)
        for place in range(SHIPMENTS)
        for number in ("1", f"LPN-{place}")[: place % 3]
    ]
    assert sorted(found) == sorted(expected)
