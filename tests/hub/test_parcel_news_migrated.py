"""Databases from before it was kept when a parcel was last heard of: each says it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock.label.v1 import label_pb2
from crossdock_hub.records import ObjectRecord, ParcelRecord, ScanRecord
from crossdock_hub.store import rows, tables
from crossdock_hub.store.migrating import upgrade
from databases import KINDS, in_new_database
from sqlalchemy import Connection, insert, select, text

BEFORE = "0040"
NUMBERS = (
    "1Z-label", "1Z-shipment", "1Z-scan", "1Z-other", "1Z-return", "1Z-gone", "1Z-ended",
    "1Z-ended-return",
)  # fmt: skip
RETURNS = {"1Z-return": "shipment-4", "1Z-ended-return": "shipment-7"}


def changed(kind: str, name: str, updated_at: int) -> dict[str, Any]:
    message: Any = label_pb2.Label(id=name)
    return rows.OBJECTS.row(
        ObjectRecord(kind, name, message, 1, "CREATED", name, name, 0, 1, updated_at)
    )


def scanned(number: str, carrier_code: str, record_time: int) -> dict[str, Any]:
    name = f"{number}-{record_time}"
    key = name.rjust(16).encode()
    scan = ScanRecord(name, key, carrier_code, number, "s", "IN_TRANSIT", 1, record_time, b"")
    return rows.SCANS.row(scan)


@pytest.mark.parametrize("kind", KINDS)
async def test_parcels_of_before_say_when_they_were_heard_of(tmp_path: Path, kind: str) -> None:
    """Proves that a parcel was heard of with the last change of its label, of its shipment or its
    return, or with its last stored scan, whichever is the latest, and not with the scan of another
    carrier's parcel of the same number; one of which nothing is left, never, and neither one that
    has ended, unless it is a return's."""
    found: dict[str, int] = {}

    def migrate(connection: Connection) -> None:
        upgrade(connection, BEFORE)
        objects = []
        for place, number in enumerate(NUMBERS[:4]):
            objects.append(changed("label", f"label-{place}", 50 if number == "1Z-label" else 10))
            objects.append(
                changed("shipment", f"shipment-{place}", 60 if number == "1Z-shipment" else 20)
            )
        objects += [changed("customer_return", name, 70) for name in RETURNS.values()]
        objects.append(changed("label", "label-6", 80))
        connection.execute(insert(tables.objects), objects)
        scans = [scanned("1Z-scan", "UPSN", 30), scanned("1Z-scan", "UPSN", 40)]
        scans.append(scanned("1Z-other", "DHL", 90))
        connection.execute(insert(tables.scans), scans)
        parcels = []
        for place, number in enumerate(NUMBERS):
            label_id = "" if number in RETURNS else f"label-{place}"
            milestone = "RETURNED" if "ended" in number else "RETURNING"
            row = rows.PARCELS.row(
                ParcelRecord(
                    "UPSN", number, label_id, f"shipment-{place}", "", "o", 0, milestone, None,
                    False, 0,
                )
            )  # fmt: skip
            del row["heard_at"]
            parcels.append(row)
        columns = ", ".join(parcels[0])
        values = ", ".join(f":{name}" for name in parcels[0])
        connection.execute(text(f"INSERT INTO parcels ({columns}) VALUES ({values})"), parcels)
        upgrade(connection)
        p = tables.parcels.c
        found.update(
            tuple(row) for row in connection.execute(select(p.tracking_number, p.heard_at))
        )

    await in_new_database(tmp_path, kind, migrate)
    assert found == dict(zip(NUMBERS, (50, 60, 40, 20, 70, 0, 0, 70), strict=True))
