"""The office gives systems to hubs only as they stand when it writes, in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from crossdock_hub.config import Limits
from crossdock_hub.leading.divider import Divider, Division
from crossdock_hub.leading.elector import NOTHING
from crossdock_hub.store import Store, StoreFailure, rows, system_leads
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.postgresql import Backend
from databases import ServerDatabase, migrated_template
from decisions import CONTRACT, START
from fixtures_postgres import PostgresProcess
from ledger_vendor import Desk
from overlapping_commands import SHARED_BY
from test_system_leads import led_by, seated

SYSTEM, ENDPOINT = "erp system", "erp-0"
LED = {SYSTEM: (1, 4, 1)}


@pytest.fixture
async def store(postgres_server: PostgresProcess) -> AsyncIterator[Store]:
    """Of the hub that has the office: a delivery of the system is out to its endpoint."""
    database = ServerDatabase(postgres_server, migrated_template())
    opened = await Store.open(database.url, CONTRACT, shared_by=SHARED_BY)
    record = replace(Desk().one(), endpoint=ENDPOINT, state="DISPATCHED", pending=False)
    async with opened.write() as connection:
        await write_rows(connection, [(rows.DELIVERIES, [record])])
    yield opened
    await opened.close()


async def led_by_seat_1(store: Store, writer: Backend) -> None:
    """Seat 1 leads the system, and has run out. Seat 2 lives."""
    await seated(store, 1, 4, -1.0, writer=writer)
    await seated(store, 2, 5, 60.0)
    async with store.write() as connection:
        await system_leads.insert(connection, [SYSTEM])
        row = "UPDATE system_leads SET seat = 1, seat_term = 4, wanted = 1"
        await connection.exec_driver_sql(row)


async def state(store: Store) -> str:
    async with store.read() as connection:
        found = await connection.exec_driver_sql("SELECT state FROM deliveries")
        return str(found.scalar_one())


class Office:
    """One hub's, with what it tells and ends."""

    def __init__(self, store: Store) -> None:
        self.leads = True
        self.changes = 0
        self.ended: list[Backend] = []
        self.ends = True
        self.bus, self.asked_for_bus = True, 0
        self.division = Division(lambda: 1, "this hub", self._end, self._note_change, self._has_bus)
        endpoints = {SYSTEM: [ENDPOINT]}
        self.divider = Divider(
            store, self.division, lambda: endpoints, Limits(), lambda: START, 0, lambda: self.leads
        )

    async def _end(self, writer: Backend) -> bool:
        self.ended.append(writer)
        return self.ends

    async def _has_bus(self) -> bool:
        self.asked_for_bus += 1
        return self.bus

    def _note_change(self) -> None:
        self.changes += 1


async def test_what_a_lost_hub_led_starts_anew_elsewhere(store: Store) -> None:
    """Proves that a seat which ran out is closed, and what its hub had out goes out anew at the
    hub that leads its system from then on."""
    writer = Backend(7, 70)
    await led_by_seat_1(store, writer)
    office = Office(store)
    assert await office.divider.look()
    assert set(office.ended) == {writer}
    assert await led_by(store) == {SYSTEM: (2, 5, 2)}
    assert await state(store) == "READY"
    assert office.changes == 1


async def test_a_hub_without_a_bus_keeps_what_it_leads_while_the_office_has_none(
    store: Store,
) -> None:
    """Proves that a seat which lives and is offered for want of a bus stays as it is unless the hub
    with the office has one, and is closed like one that ran out when it has; and that the bus is
    asked for nothing where no seat is offered."""
    office, led = Office(store), {SYSTEM: (2, 5, 2)}
    await seated(store, 1, 4, 60.0)
    await seated(store, 2, 5, 60.0, writer=Backend(7, 70))
    async with store.write() as connection:
        await system_leads.insert(connection, [SYSTEM])
        row = "UPDATE system_leads SET seat = 2, seat_term = 5, wanted = 2"
        await connection.exec_driver_sql(row)
    assert not await office.divider.look()
    assert office.asked_for_bus == 0
    async with store.write() as connection:
        offer = "UPDATE leadership SET offered = true WHERE task = 'seat 2'"
        await connection.exec_driver_sql(offer)
    office.bus = False
    assert not await office.divider.look()
    assert (await led_by(store), office.ended, office.asked_for_bus) == (led, [], 1)
    office.bus = True
    assert await office.divider.look()
    assert set(office.ended) == {Backend(7, 70)}
    assert await led_by(store) == {SYSTEM: (1, 4, 1)}
    assert await state(store) == "READY"


async def test_what_is_not_taken_from_a_hub_goes_on(store: Store) -> None:
    """Proves that nothing starts anew of systems whose seat ran out but is not closed: that of the
    office's own hub, which comes back from a stop and still leads them, with what is out."""
    own = store.write_in_term("seat 1", 4)
    assert own is not None
    await led_by_seat_1(store, own)
    office = Office(store)
    assert not await office.divider.look()
    assert await led_by(store) == LED
    assert await state(store) == "DISPATCHED"
    assert office.changes == 0


async def test_who_has_lost_the_office_divides_nothing(store: Store) -> None:
    """Proves that a hub which reads, and learns as it writes that another one has the office by
    now, closes and gives nothing."""
    await led_by_seat_1(store, NOTHING)
    office = Office(store)
    office.leads = False
    assert not await office.divider.look()
    assert await led_by(store) == LED
    assert await state(store) == "DISPATCHED"


async def test_no_seat_of_another_hub_outlives_its_database(store: Store) -> None:
    """Proves that where a database was put back every other hub's seat is closed, living ones too,
    and what they write with is ended, while this hub's own stays; and that nothing is closed where
    one of them does not end."""
    await seated(store, 1, 4, 60.0, writer=Backend(6, 60))
    await seated(store, 2, 5, 60.0, writer=Backend(7, 70))
    office = Office(store)
    office.ends = False
    with pytest.raises(StoreFailure):
        async with store.write() as connection:
            await office.division.close_others(connection)
    async with store.read() as connection:
        assert [each.term for each in await system_leads.seats(connection)] == [4, 5]
    office.ends = True
    async with store.write() as connection:
        await office.division.close_others(connection)
    assert set(office.ended) == {Backend(7, 70)}
    async with store.read() as connection:
        own, other = await system_leads.seats(connection)
    assert (own.term, own.lives, own.writer) == (4, True, Backend(6, 60))
    assert (other.term, other.lives, other.is_closed, other.writer) == (6, False, True, NOTHING)
