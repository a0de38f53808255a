"""Databases from before it was kept when a shipment was voided: each says it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock_hub.records import ObjectRecord
from crossdock_hub.store import rows, tables
from crossdock_hub.store.migrating import upgrade
from databases import KINDS, in_new_database
from sqlalchemy import Connection, insert, select

BEFORE = "0037"
# More than two steps of the migration.
SHIPMENTS = 1_007
VOIDED, CHANGED, KEPT = 2_000_000, 5_000_000, 1_000_000


def shipment(place: int) -> dict[str, Any]:
    """By its place: voided with its event, voided without, not voided, or voided with its time."""
    name = f"shipment-{place:04}"
    message = shipment_pb2.Shipment(id=name)
    message.update_time.FromMicroseconds(CHANGED)
    if place % 4 == 3:
        message.void_time.FromMicroseconds(KEPT)
    state = "PACKED" if place % 4 == 2 else "VOIDED"
    record = ObjectRecord("shipment", name, message, 1, state, name, name, 0, 1, CHANGED)
    return rows.OBJECTS.row(record)


def event(place: int) -> dict[str, Any]:
    """Of the void of a shipment."""
    name = f"shipment-{place:04}"
    return {
        "id": f"event-{place:04}",
        "type": "crossdock.shipment.v1.ShipmentVoided",
        "stem": "shipment.voided",
        "kind": "shipment",
        "object_id": name,
        "revision": 2,
        "position": 0,
        "root_id": name,
        "partition": 0,
        "body": b"",
        "producer": "manhattan",
        "traceparent": "",
        "trace_id": "",
        "event_time": None,
        "record_time": VOIDED,
        "causation_id": "",
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_shipments_of_before_say_when_they_were_voided(tmp_path: Path, kind: str) -> None:
    """Proves that each voided shipment gets the time of its void's event, or of its last change
    where that event is gone, step after step, and that no other shipment is changed."""
    found: dict[str, shipment_pb2.Shipment] = {}

    def migrate(connection: Connection) -> None:
        upgrade(connection, BEFORE)
        places = range(SHIPMENTS)
        connection.execute(insert(tables.objects), [shipment(place) for place in places])
        connection.execute(insert(tables.events), [event(place) for place in places[::4]])
        upgrade(connection)
        for row in connection.execute(select(tables.objects.c.id, tables.objects.c.message)):
            found[row.id] = shipment_pb2.Shipment.FromString(bytes(row.message))

    await in_new_database(tmp_path, kind, migrate)
    assert len(found) == SHIPMENTS
    for place in range(SHIPMENTS):
        message = found[f"shipment-{place:04}"]
        if place % 4 == 2:
            assert not message.HasField("void_time")
        else:
            expected = {0: VOIDED, 1: CHANGED, 3: KEPT}[place % 4]
            assert message.void_time.ToMicroseconds() == expected
