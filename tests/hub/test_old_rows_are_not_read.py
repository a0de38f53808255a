"""What the hub asks about old events, messages and facts costs the same, however many there are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from crossdock.item.v1 import item_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_hub.config import SECOND
from crossdock_hub.reading.finding import MATCHES_MAX, Finder, Match
from crossdock_hub.records import (
    DeliveryRecord,
    EndpointRecord,
    HeldFactRecord,
    ObjectRecord,
    PackageNumberRecord,
    ParcelRecord,
    QuarantineRecord,
    ReferenceRecord,
)
from crossdock_hub.retention import ages
from crossdock_hub.store import Reader, Store
from crossdock_hub.store.bus_rows import hot_events
from crossdock_hub.store.dead_letters import held_facts
from crossdock_hub.store.event_contents import FIRST, past_events
from crossdock_hub.store.reading import DeliveryFilter
from crossdock_hub.store.unrouted_reading import OLDEST, unrouted_page
from crossdock_hub.store.writing import (
    dispatch_state,
    pending,
    pending_lane,
    restart_leases,
    write,
)
from crossdock_hub.unit import Changes, Identifiers, Key
from databases import KINDS, open_store
from relay_parts import CONTRACT, HOT_HOURS, LIMITS, event, scan_batch
from replayed_flows import ENDPOINT, delivery
from sqlalchemy import event as listened_to
from sqlalchemy.ext.asyncio import AsyncConnection

NOW = 1_800_000_000 * SECOND
HOUR = 3600 * SECOND
FEW, MANY = 500, 4_000
HOT = 7
# More than a search of the newest ones would look at.
MANY_SHIPMENTS = 20_500
HELD = HeldFactRecord("", "ups", "", b"", "", b"", "HELD", "translation:/hook", "r", 0)
AGES = ages(CONTRACT, HOT_HOURS, LIMITS)
REFUSED = QuarantineRecord("/crossdock.label.v1.LabelService/CreateLabel", b"", b"")
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
            key = ReferenceRecord("netsuite", "item", f"key-{number}", "item", name)
            made["reference", key.system, key.type, key.value] = key
            # One of two as its spelling is compared, and so not in the index of others.
            tracking = f"1Z{number}" if number % 2 else f"1z {number}"
            parcel = ParcelRecord(
                "UPS", tracking, name, name, name, name, 0, "CREATED", None, False
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


async def pass_over_everything(connection: AsyncConnection) -> list[int]:
    """One slice of each type of event: the numbers of what is to go."""
    found: list[int] = []
    for kind, age in AGES.items():
        found += (await past_events(connection, kind, NOW - age, FIRST, 500)).past
    return found


async def test_a_pass_does_not_read_what_is_not_due(library: Library) -> None:
    """Proves that a pass for old content reads neither events whose content is gone, nor those
    that are too young: it costs the same with eight times as many of both."""
    (age,) = {AGES[event().type]}
    costs = []
    for count in (FEW, MANY - FEW):
        await library.add(count, at=NOW - 2 * age, emptied=True)
        await library.add(count, at=NOW - age + HOUR, emptied=False)
        found, cost = await library.cost(pass_over_everything)
        assert found == []
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.add(3, at=NOW - age - HOUR, emptied=False)
    found, cost = await library.cost(pass_over_everything)
    assert len(found) == 3
    assert cost <= costs[0] + 500, "only those"


async def test_a_new_stream_does_not_read_what_is_cold(library: Library) -> None:
    """Proves that what a lost stream has to get back is counted without reading older events."""

    async def hot(connection: AsyncConnection) -> int:
        return await hot_events(connection, NOW - HOUR, 10**9)

    costs = []
    for count, hours in ((FEW, 9), (MANY - FEW, 8)):
        await library.add(count, at=NOW - hours * HOUR, emptied=False)
        found, cost = await library.cost(hot)
        assert found == 0
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.add(HOT, at=NOW, emptied=False)
    found, cost = await library.cost(hot)
    assert found == HOT
    assert cost <= costs[0] + 500, "only those"


@pytest.mark.parametrize("endpoint", [None, HELD.endpoint], ids=["all", "one"])
async def test_a_list_of_dead_letters_does_not_read_facts_that_ended(
    library: Library, endpoint: str | None
) -> None:
    """Proves that what is held, of an endpoint and of all, is found without reading what was
    applied or discarded."""

    async def held(connection: AsyncConnection) -> list[HeldFactRecord]:
        return await held_facts(connection, FEW, endpoint)

    costs = []
    for count, hours in ((FEW, 9), (MANY - FEW, 8)):
        await library.hold(count, at=NOW - hours * HOUR, state="APPLIED")
        await library.hold(count, at=NOW - hours * HOUR + count, state="DISCARDED")
        found, cost = await library.cost(held)
        assert found == []
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.hold(HOT, at=NOW, state="HELD")
    found, cost = await library.cost(held)
    assert [fact.created_at for fact in found] == list(range(NOW, NOW + HOT))[::-1]
    assert cost <= costs[0] + 500, "only those"


@pytest.mark.parametrize("states", [(), ("CONFIRMED",)], ids=["any state", "one state"])
async def test_a_list_of_refused_facts_does_not_read_deliveries_without(
    library: Library, states: tuple[str, ...]
) -> None:
    """Proves that the deliveries with refused facts are found without reading those that have none,
    and are told newest first."""
    wanted = DeliveryFilter(ENDPOINT, states, newest_first=True, quarantined_only=True)

    async def refused(connection: AsyncConnection) -> list[DeliveryRecord]:
        reader: Any = Reader(cast("Store", OneConnection(library.store, connection)))
        return list(await reader.delivery_page(wanted, FEW))

    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.deliver(first, count, [])
        found, cost = await library.cost(refused)
        assert found == []
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.deliver(MANY, HOT, [REFUSED])
    found, cost = await library.cost(refused)
    assert [record.id for record in found] == [f"d-{MANY + n}" for n in range(HOT)][::-1]
    assert cost <= costs[0] + 2_500, "only those"


@pytest.mark.parametrize("library", ["sqlite"], indirect=True)
async def test_a_start_does_not_read_deliveries_that_are_done(library: Library) -> None:
    """Proves that a start finds leases and dispatches of before without reading what was done, and
    that what was dispatched waits again."""

    async def start(connection: AsyncConnection) -> None:
        await restart_leases(connection, NOW, NOW + 10 * SECOND)

    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.deliver(first, count, [])
        _, cost = await library.cost(start)
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.deliver(MANY, HOT, [], "DISPATCHED", pending=False)
    async with library.store.write() as connection:
        await start(connection)
        waiting = await pending(connection, ENDPOINT, MANY)
    assert [record.state for record in waiting] == ["READY"] * HOT


async def test_a_pick_does_not_read_deliveries_that_are_done(library: Library) -> None:
    """Proves that what goes next at an endpoint, of all lanes and of one, is found without reading
    what was done there before."""

    async def pick(connection: AsyncConnection) -> list[DeliveryRecord]:
        of_a_lane = await pending_lane(connection, ENDPOINT, 0, HOT)
        return [*await pending(connection, ENDPOINT, HOT), *of_a_lane]

    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.deliver(first, count, [])
        found, cost = await library.cost(pick)
        assert found == []
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.deliver(MANY, HOT, [], "READY")
    found, cost = await library.cost(pick)
    assert [record.id for record in found] == [f"d-{MANY + n}" for n in range(HOT)] * 2
    assert cost <= costs[0] + 5_000, "only those"


async def test_what_a_leader_looks_at_does_not_grow(library: Library) -> None:
    """Proves that what is on its way, and which endpoints have work that waits, is found without
    reading what is done, what waits behind the next one, or doubts that wait for a slot: a leader
    asks at each commit of another hub."""
    names = (ENDPOINT, "idle", "doubtful")
    endpoints: dict[Key, Any] = {
        ("endpoint", name): EndpointRecord(name, "ERP", (), (), (), "ACTIVE", b"") for name in names
    }
    async with library.store.write() as connection:
        await write(connection, Changes(records=endpoints))
    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.deliver(first, count, [], endpoint="idle")
        await library.deliver(MANY + first, count, [], "READY")
        await library.deliver(2 * MANY + first, count, [], "RESOLVING", "doubtful", pending=True)
        (found, waiting), cost = await library.cost(dispatch_state)
        assert (found, waiting) == ([], {ENDPOINT, "doubtful"})
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.deliver(3 * MANY, 1, [], "IN_FLIGHT", "idle", lease_until=NOW)
    await library.deliver(3 * MANY + 1, HOT, [], "DISPATCHED", "idle")
    (found, waiting), cost = await library.cost(dispatch_state)
    ids = [f"d-{3 * MANY + n}" for n in range(HOT + 1)]
    assert sorted(way.delivery_id for way in found) == ids
    assert {way.endpoint for way in found} == {"idle"}
    assert [way.delivery_id for way in found if way.begun] == ids[:1]
    assert cost <= costs[0] + 500, "only those"


async def test_a_page_of_unrouted_work_costs_the_same(library: Library) -> None:
    """Proves that the next page of what nobody serves is found without reading the rest of it,
    wherever it begins and whoever it was for, so that a pass through all of it costs as much more
    as there is more of it."""
    gone: dict[Key, Any] = {
        ("endpoint", "gone"): EndpointRecord("gone", "ERP", (), (), (), "REMOVED", b"")
    }
    async with library.store.write() as connection:
        await write(connection, Changes(records=gone))

    async def page(connection: AsyncConnection) -> tuple[list[str], str]:
        return await unrouted_page(connection, OLDEST, HOT)

    async def everything(connection: AsyncConnection) -> list[str]:
        seen: list[str] = []
        place = OLDEST
        while True:
            roots, place = await unrouted_page(connection, place, HOT)
            seen += roots
            if place == OLDEST:
                return seen

    costs, passes = [], []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        made: dict[Key, Any] = {}
        for number in range(first, first + count):
            here = {"endpoint": "gone" if number % 2 else "", "root_id": f"flow-{number // HOT}"}
            record = delivery(number, "book", "UNROUTED", **here)
            made["delivery", record.id] = record
        async with library.store.write() as connection:
            await write(connection, Changes(records=made))
        _found, cost = await library.cost(page)
        costs.append(cost)
        seen, cost = await library.cost(everything)
        assert list(dict.fromkeys(seen)) == [f"flow-{n}" for n in range(-(-(first + count) // HOT))]
        passes.append(cost / (first + count))
    assert costs[1] <= costs[0] + 20, costs
    assert passes[1] <= 1.1 * passes[0], passes


async def test_another_spelling_is_found_without_reading_every_number(library: Library) -> None:
    """Proves that a number, a key and a tracking number are found without their case, spaces and
    dashes, and that this costs the same however many there are, also when nothing is found."""

    def spelled(squeezed: str) -> Work:
        async def work(connection: AsyncConnection) -> Any:
            reader = Reader(cast(Store, OneConnection(library.store, connection)))
            parcels = await reader.parcels_spelled_like(squeezed, HOT)
            found = [(parcel.label_id, parcel.tracking_number) for parcel in parcels]
            return await reader.spelled_like(squeezed, HOT) + found

        return work

    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.number(first, count)
        by_number, one = await library.cost(spelled("SKU7"))
        by_key, other = await library.cost(spelled("KEY8"))
        nothing, none = await library.cost(spelled("NOBODY"))
        assert (by_number, by_key, nothing) == ([("sku-7", "sku-7")], [("sku-8", "key-8")], [])
        as_it_is, fourth = await library.cost(spelled("1Z9"))
        otherwise, fifth = await library.cost(spelled("1Z8"))
        assert (as_it_is, otherwise) == ([("sku-9", "1Z9")], [("sku-8", "1z 8")])
        costs.append(one + other + none + fourth + fifth)
    assert costs[1] <= costs[0] + 20, costs


async def test_a_package_is_found_without_reading_shipments(library: Library) -> None:
    """Proves that a package number is found exactly and in another spelling however many shipments
    came after it, that one which all of them have leads to the newest, and that this costs the same
    however many there are, also when nothing is found."""

    def traced(number: str) -> Work:
        async def work(connection: AsyncConnection) -> list[Match]:
            reader = Reader(cast(Store, OneConnection(library.store, connection)))
            return await Finder(reader, CONTRACT).find(number)

        return work

    costs = []
    for first, count in ((0, FEW), (FEW, MANY_SHIPMENTS - FEW)):
        await library.pack(first, count)
        exactly, one = await library.cost(traced("Kü-7"))
        spelled, other = await library.cost(traced("kü 8"))
        nobody, none = await library.cost(traced("NOBODY"))
        assert exactly == [Match("package number", "order-000007", "shipment-000007")]
        assert spelled == [Match("package number, as 'Kü-8'", "order-000008", "shipment-000008")]
        assert nobody == []
        costs.append(one + other + none)
    assert costs[1] <= costs[0] + 100, costs
    everybodys, shared = await library.cost(traced("1"))
    newest = range(MANY_SHIPMENTS - 1, MANY_SHIPMENTS - 1 - MATCHES_MAX, -1)
    assert [match.root_id for match in everybodys] == [f"order-{place:06}" for place in newest]
    assert shared <= costs[0], "only the newest"
