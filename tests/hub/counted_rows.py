"""A store whose rows are counted as they are read: what tests of growing databases ask."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from crossdock.item.v1 import item_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_hub.config import SECOND
from crossdock_hub.records import (
    HeldFactRecord,
    ObjectRecord,
    PackageNumberRecord,
    ParcelRecord,
    QuarantineRecord,
    ReferenceRecord,
)
from crossdock_hub.store import Store
from crossdock_hub.store.one_hop import OneHopConnection, Step
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Identifiers, Key
from databases import KINDS, open_store
from relay_parts import event, scan_batch
from replayed_flows import ENDPOINT, delivery
from sqlalchemy import event as listened_to
from sqlalchemy.ext.asyncio import AsyncConnection

NOW = 1_800_000_000 * SECOND
HOUR = 3600 * SECOND
FEW, MANY = 500, 4_000
HELD = HeldFactRecord("", "ups", "", b"", "", b"", "HELD", "translation:/hook", "r", 0)
Work = Callable[[AsyncConnection], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class OneConnection:
    """A store as a reader sees it, all of whose reads are on the connection that is listened to."""

    store: Store
    connection: AsyncConnection

    @property
    def contract(self) -> Any:
        """That of the store."""
        return self.store.contract

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """The connection; it is another's to end."""
        yield self.connection


class Library:
    """A store with a number of rows from one long past hour, and some of now."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.path = directory / "crossdock.db"
        self._identifiers = Identifiers()

    async def add(self, count: int, *, at: int, emptied: bool) -> None:
        """Events, published as they were recorded, and scan messages: a microsecond each."""
        times = range(at, at + count)
        events = [
            replace(event(), id=self._identifiers.next(time), record_time=time) for time in times
        ]
        scans = [
            replace(scan_batch(), id=self._identifiers.next(time), record_time=time)
            for time in times
        ]
        async with self.store.write() as connection:
            await write(connection, Changes(events=events, scan_outbox=scans))
            body = ", body = ''" if emptied else ""
            if self.store.dialect == "postgresql":
                body = body.replace("''", "''::bytea")
            await connection.exec_driver_sql(
                f"UPDATE events SET published_at = record_time{body} WHERE published_at IS NULL"
            )

    async def hold(self, count: int, *, at: int, state: str) -> None:
        """Facts of one endpoint that were held in succession, and what became of them."""
        held: dict[Key, Any] = {}
        for time in range(at, at + count):
            fact_id = self._identifiers.next(time)
            held["held_fact", fact_id] = replace(HELD, id=fact_id, state=state, created_at=time)
        async with self.store.write() as connection:
            await write(connection, Changes(records=held))

    async def deliver(
        self,
        first: int,
        count: int,
        refused: list[QuarantineRecord],
        state: str = "CONFIRMED",
        endpoint: str = ENDPOINT,
        **details: Any,
    ) -> None:
        """Deliveries of succeeding events of one endpoint, with the facts that were refused."""
        made: dict[Key, Any] = {}
        for number in range(first, first + count):
            more = {"endpoint": endpoint, "quarantined": refused} | details
            record = delivery(number, "book", state, **more)
            made["delivery", record.id] = record
        async with self.store.write() as connection:
            await write(connection, Changes(records=made))

    async def number(self, first: int, count: int) -> None:
        """Items with numbers and keys in another system, and parcels, that succeed each other."""
        made: dict[Key, Any] = {}
        for number in range(first, first + count):
            name = f"sku-{number}"
            item = item_pb2.Item(id=name, number=name)
            made["object", "item", name] = ObjectRecord(
                "item", name, item, 1, "ACTIVE", name, name, 0, NOW, NOW
            )
            # One of two as its spelling is compared, and so not in the index of others.
            value = f"KEY{number}" if number % 2 else f"key-{number}"
            key = ReferenceRecord("netsuite", "item", value, "item", name)
            made["reference", key.system, key.type, key.value] = key
            tracking = f"1Z{number}" if number % 2 else f"1z {number}"
            parcel = ParcelRecord(
                "UPS", tracking, name, name, name, name, 0, "CREATED", None, False, NOW
            )
            made["parcel", parcel.carrier_code, tracking] = parcel
        async with self.store.write() as connection:
            await write(connection, Changes(records=made))

    async def pack(self, first: int, count: int) -> None:
        """Shipments that succeed each other, each with packages of a number of its own and of one
        that all of them have."""
        made: dict[Key, Any] = {}
        for place in range(first, first + count):
            name = f"shipment-{place:06}"
            shipment = shipment_pb2.Shipment(id=name, number=name)
            for number in (f"Kü-{place}", "1"):
                shipment.packages.add(id=f"package-{place}-{number}", number=number)
                found_by = PackageNumberRecord(name, number)
                made["package_number", name, number] = found_by
            made["object", "shipment", name] = ObjectRecord(
                "shipment", name, shipment, 1, "PACKED", name, f"order-{place:06}", 0, NOW, NOW
            )
        async with self.store.write() as connection:
            await write(connection, Changes(records=made))

    async def statements(self, work: Work) -> tuple[Any, list[tuple[str, Any]]]:
        """What work answers, and the statements that it asks with."""
        asked: list[tuple[str, Any]] = []

        def hear(_c: Any, _cursor: Any, statement: str, values: Any, *_more: Any) -> None:
            asked.append((statement, values))

        async with self.store.read() as connection:
            heard = connection.sync_connection
            listened_to.listen(heard, "before_cursor_execute", hear)
            with _crossings(await connection.get_raw_connection(), asked):
                answer = await work(connection)
            listened_to.remove(heard, "before_cursor_execute", hear)
        assert asked
        return answer, asked

    async def cost(self, work: Work) -> tuple[Any, int]:
        """What work answers and what it costs: steps of SQLite, or rows that PostgreSQL read."""
        answer, asked = await self.statements(work)
        if self.store.dialect == "sqlite":
            return answer, sum(self._steps(*each) for each in asked)
        async with self.store.write() as connection:
            await connection.exec_driver_sql("ANALYZE")
        async with self.store.read() as connection:
            total = 0
            for statement, values in asked:
                explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                found = (await connection.exec_driver_sql(explain, values)).scalar_one()
                plan = found if isinstance(found, list) else json.loads(found)
                total += _rows_read(plan[0]["Plan"])
            return answer, total

    def _steps(self, statement: str, values: Any) -> int:
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        connection = sqlite3.connect(self.path)
        try:
            connection.set_progress_handler(step, 1)
            connection.execute(statement, values).fetchall()
        finally:
            connection.close()
        return steps


def _rows_read(plan: dict[str, Any]) -> int:
    own = 0
    if "Relation Name" in plan:
        seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        own = int(seen * plan["Actual Loops"])
    return own + sum(_rows_read(each) for each in plan.get("Plans", ()))


@pytest.fixture(params=KINDS)
async def library(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Library]:
    """An empty one, of each kind of database."""
    store = await open_store(tmp_path, request.param)
    yield Library(store, tmp_path)
    await store.close()


@contextlib.contextmanager
def _crossings(raw: Any, asked: list[tuple[str, Any]]) -> Iterator[None]:
    """Hear what SQLAlchemy knows nothing of: what crosses to SQLite together, and what goes
    straight to the driver of PostgreSQL."""
    driver = raw.driver_connection
    with pytest.MonkeyPatch.context() as patched:
        if isinstance(driver, OneHopConnection):
            run = driver.run

            async def heard(steps: Sequence[Step]) -> list[list[Any]]:
                asked.extend(steps)
                return await run(steps)

            patched.setattr(driver, "run", heard)
        else:
            fetch = asyncpg.Connection.fetch

            async def fetched(connection: Any, text: str, *values: Any) -> Any:
                if connection is driver:
                    asked.append((text, values))
                return await fetch(connection, text, *values)

            # A connection has no attributes of its own.
            patched.setattr(asyncpg.Connection, "fetch", fetched)
        yield
