"""A hub on a database that was put back drops the queues of the time that is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from crossdock.bus import delivery_stream
from crossdock_hub.bus.errors import BusError
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.streams import StreamLimits, delivery_stream_spec
from crossdock_hub.bus.tie import DATABASE_OLDER
from crossdock_hub.config import Limits
from crossdock_hub.duties import Duties, Ground
from crossdock_hub.records import EndpointRecord, Tie
from crossdock_hub.store import Store
from crossdock_hub.store.bus_rows import differences, keep_tie, tie
from crossdock_hub.store.writing import write
from crossdock_hub.store_clock import StoreClock
from crossdock_hub.unit import Changes
from databases import ServerDatabase, migrated_template
from decisions import CONTRACT
from fixtures_nats import NatsProcess
from fixtures_postgres import PostgresProcess
from overlapping_commands import SHARED_BY

LIMITS = Limits()
ERP = EndpointRecord("erp", "ERP", (), (), (), "EXPECTED", b"")
# It has left the endpoints file.
GONE = EndpointRecord("gone", "WMS", (), (), (), "ACTIVE", b"")
PUT_BACK = Tie("database", -8)
NO_STREAM = frozenset({10059})
DROP = Bus.delete_stream


class Lead:
    """What a hub has that is about to lead: a database that was put back, a bus with queues.

    amid: of each queue that was dropped, how many transactions stood open then.
    """

    def __init__(self, store: Store, bus: Bus, database: ServerDatabase) -> None:
        self.store = store
        self.bus = bus
        self.database = database
        self.amid: list[int] = []

    async def prepare(self) -> None:
        async with self.store.write() as connection:
            await write(connection, Changes(records={("endpoint", GONE.id): GONE}))
            await keep_tie(connection, PUT_BACK)
        await self.bus.ensure_streams(
            [delivery_stream_spec(each.id, StreamLimits()) for each in (ERP, GONE)]
        )

    async def enter(self, monkeypatch: pytest.MonkeyPatch, *, drops_most: int = 10) -> str:
        """Take the ledger over, with a bus that is away after so many drops; the kind of difference
        that is noted. Raises BusError."""
        dropped = 0

        async def delete_stream(bus: Bus, stream: str) -> bool:
            nonlocal dropped
            found = self.database.query(
                "SELECT count(*) FROM pg_stat_activity "
                f"WHERE datname = '{self.database.name}' AND state LIKE 'idle in transaction%'"
            )
            self.amid.append(found[0][0])
            if dropped == drops_most:
                raise BusError("it is away")
            dropped += 1
            return await DROP(bus, stream)

        monkeypatch.setattr(Bus, "delete_stream", delete_stream)
        settings = SimpleNamespace(shared_database=True)
        ground: Any = SimpleNamespace(
            settings=settings,
            limits=LIMITS,
            store=self.store,
            bus=self.bus,
            clock=StoreClock(LIMITS),
            division=None,
        )
        await Duties(cast("Ground", ground))._enter([ERP])
        async with self.store.read() as connection:
            return (await differences(connection))[0].kind

    async def queues(self) -> list[str]:
        """The endpoints that have one."""
        found = []
        for each in (ERP, GONE):
            stream = delivery_stream(each.id)
            if await self.bus.call_api(f"STREAM.INFO.{stream}", absent=NO_STREAM) is not None:
                found.append(each.id)
        return found


@pytest.fixture
async def lead(
    postgres_server: PostgresProcess, own_nats_server: NatsProcess
) -> AsyncIterator[Lead]:
    database = ServerDatabase(postgres_server, migrated_template())
    store = await Store.open(database.url, CONTRACT, shared_by=SHARED_BY)
    bus = await Bus.connect(own_nats_server.address)
    made = Lead(store, bus, database)
    await made.prepare()
    yield made
    await bus.close()
    await store.close()


async def test_queues_are_dropped_before_the_difference_is_settled(
    lead: Lead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that every queue is dropped, that of an endpoint which left the configuration too,
    while no transaction waits for it; that a start which ends amid that has settled nothing, so
    that the next one drops them all; and that one after that drops none."""
    assert await lead.queues() == [ERP.id, GONE.id]
    with pytest.raises(BusError):
        await lead.enter(monkeypatch, drops_most=1)
    assert await lead.queues() == [GONE.id]
    async with lead.store.read() as connection:
        assert await differences(connection) == []
        assert await tie(connection) == PUT_BACK
    assert await lead.enter(monkeypatch) == DATABASE_OLDER
    assert await lead.queues() == []
    assert lead.amid == [0] * 4
    assert await lead.enter(monkeypatch) == DATABASE_OLDER
    assert len(lead.amid) == 4, "it was settled"
    async with lead.store.read() as connection:
        assert [each.count for each in await differences(connection)] == [1]
