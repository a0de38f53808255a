"""What a page of the parcels that carriers are asked about costs, however much is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from counted_rows import FEW, HOUR, MANY, NOW, Library, OneConnection, Work, library
from crossdock.label.v1 import label_pb2
from crossdock.returns.v1 import return_pb2
from crossdock_hub.config import Limits
from crossdock_hub.records import ObjectRecord, ParcelRecord, ReferenceRecord, ScanRecord
from crossdock_hub.store import Reader, Store
from crossdock_hub.store.moving_parcels import Moving
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Key
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["library"]

HEARD = Moving(NOW - HOUR, NOW - HOUR, carrier_code="UPSN")
PAGE = 50
SCANS_OF_EACH = 3
# Steps of SQLite for an entry of an index that is passed over.
STEPS_OF_ENTRY = 9
LABEL = ParcelRecord("UPSN", "", "", "", "package", "order", 0, "IN_TRANSIT", None, False, 0)


async def keep(library: Library, first: int, count: int, *, returns: bool, heard_at: int) -> None:
    """Parcels that succeed each other, their labels or returns, all changed long ago, and scans."""
    made: dict[Key, Any] = {}
    scans = []
    for place in range(first, first + count):
        name, number = f"object-{place:06}", f"1Z{place:06}"
        parcel = replace(LABEL, tracking_number=number, heard_at=heard_at)
        if returns:
            kind, state, message = "customer_return", "INITIATED", return_pb2.Return(id=name)
            parcel = replace(parcel, package_id="", shipment_id=name)
            reference = ReferenceRecord("upsn", "return_tracking_number", number, kind, name)
            made["reference", "upsn", reference.type, number] = reference
        else:
            kind, state, message = "label", "CREATED", cast(Any, label_pb2.Label(id=name))
            parcel = replace(parcel, label_id=name, shipment_id=f"shipment-{place:06}")
        made["object", kind, name] = ObjectRecord(
            kind, name, message, 1, state, name, name, 0, 1, 1
        )
        made["parcel", "UPSN", number] = parcel
        for scan in range(SCANS_OF_EACH):
            identity = f"{number}-{scan}"
            key = identity.rjust(16).encode()
            scans.append(
                ScanRecord(identity, key, "UPSN", number, name, "IN_TRANSIT", 1, 1, b"scan")
            )
    async with library.store.write() as connection:
        await write(connection, Changes(records=made, scans=scans))


def page(library: Library, *, returns: bool) -> Work:
    """The ids of what is on the first page of a round of polls."""

    async def work(connection: AsyncConnection) -> list[str]:
        reader = Reader(cast(Store, OneConnection(library.store, connection)), Limits())
        read = reader.moving_returns if returns else reader.moving_labels
        return [record.id for record in await read(HEARD, PAGE, after="")]

    return work


async def test_a_page_reads_only_labels_that_are_asked_about(library: Library) -> None:
    """Proves that the first page of a round passes over silent parcels in an index alone: neither
    their rows nor their labels, and no scans, are read, however many there are."""
    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await keep(library, first, count, returns=False, heard_at=1)
        await keep(library, 900_000 + first, 3, returns=False, heard_at=NOW)
        found, cost = await library.cost(page(library, returns=False))
        assert len(found) == (3 if not first else 6)
        costs.append(cost)
    if library.store.dialect == "sqlite":
        assert costs[1] <= costs[0] + (MANY - FEW) * STEPS_OF_ENTRY + 400, costs
    ((statement, values),) = (await library.statements(page(library, returns=False)))[1]
    steps = await plan(library, statement, values)
    assert not [step for step in steps if "scans" in step], steps
    (walk,) = [step for step in steps if "parcels_moving" in step]
    if library.store.dialect == "postgresql":
        assert "Index Only Scan" in walk, steps
        assert [step for step in steps if "Index Cond" in step and "heard_at" in step], steps


async def plan(library: Library, statement: str, values: Any) -> list[str]:
    """The steps that a database takes; told to avoid whole tables, as small ones are read whole."""
    async with library.store.read() as connection:
        if library.store.dialect == "sqlite":
            found = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            return [str(row[3]) for row in found]
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        found = await connection.exec_driver_sql(f"EXPLAIN {statement}", values)
        return [row[0] for row in found]


async def test_a_page_of_returns_reads_what_belongs_to_them(library: Library) -> None:
    """Proves that a page of returns costs the same however many parcels and scans of others are
    stored: each return's own are looked up."""
    await keep(library, 0, FEW, returns=True, heard_at=NOW)
    costs = []
    for first, count in ((FEW, FEW), (2 * FEW, MANY)):
        await keep(library, first, count, returns=False, heard_at=1)
        found, cost = await library.cost(page(library, returns=True))
        assert len(found) == PAGE
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
