"""A PostgreSQL that takes no writes any more, for real: made read-only, or its volume is full."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from bare_calls import send
from crossdock.client import HubClient
from crossdock.order.v1.order_service_pb2 import CreateOrderRequest, GetOrderRequest
from databases import ServerDatabase
from fixtures_hub import RunningHub, deployment
from fixtures_nats import eventually
from fixtures_postgres import PostgresProcess
from small_volume import Volume
from story import create_order, order, seed_master_data

CREATE_ORDER = "/crossdock.order.v1.OrderService/CreateOrder"
EXHAUSTED, UNAVAILABLE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE
CODES = {"STORE_FULL": EXHAUSTED, "HUB_UNAVAILABLE": UNAVAILABLE}
WRITERS = 8
LINES = 40
VOLUME_MIB = 96
ENDED = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = $1 AND pid <> pg_backend_pid()"
)


@dataclass
class Writers:
    """Callers who write one order after another, each without the client's own repeats."""

    client: HubClient
    accepted: list[CreateOrderRequest] = field(default_factory=list)
    refused: list[CreateOrderRequest] = field(default_factory=list)
    told: list[tuple[str, grpc.StatusCode]] = field(default_factory=list)
    stopping: bool = False

    async def one(self) -> None:
        """Write an order, and note what the hub says the first time."""
        request = create_order(order(lines=LINES))
        error = await send(self.client, CREATE_ORDER, request.SerializeToString())
        (self.refused if error else self.accepted).append(request)
        if error is not None:
            self.told.append((error.reason, error.code))

    async def run(self) -> None:
        while not self.stopping:
            await self.one()

    def count(self, reason: str) -> int:
        return sum(told == reason for told, _ in self.told)

    async def writes_again(self) -> bool:
        """Whether an order is taken now."""
        before = len(self.accepted)
        await self.one()
        return len(self.accepted) > before


@pytest.fixture
def hub(database: ServerDatabase, tmp_path: Path) -> Iterator[RunningHub]:
    """A hub that has not been started on it."""
    running = RunningHub(tmp_path / "hub", deployment(1), database_url=database.url)
    yield running
    running.kill()


async def proved(hub: RunningHub, database: ServerDatabase, writers: Writers) -> None:
    """Every order that was told OK is there, each that was refused can be repeated, and no other
    is; whatever was told has the code and the reason that the contract has for it."""
    assert {CODES[reason] for reason, _ in writers.told} == {code for _, code in writers.told}
    assert all(CODES.get(reason) == code for reason, code in writers.told), set(writers.told)
    for request in writers.accepted + writers.refused:
        await writers.client.orders.CreateOrder(request)
    numbers = [row[0] for row in database.query("SELECT number FROM objects WHERE kind = 'order'")]
    said = [request.order.number for request in writers.accepted + writers.refused]
    assert sorted(numbers) == sorted(said)
    unpublished = "SELECT count(*) FROM events WHERE published_at IS NULL"
    await eventually(lambda: database.query(unpublished) == [(0,)], "publishing")
    assert hub.runs
    assert '"level": "critical"' not in hub.log()


async def test_a_server_that_became_read_only(hub: RunningHub, database: ServerDatabase) -> None:
    """Proves under load that a database which is made read-only refuses writes as STORE_FULL once
    its connections were ended (those told HUB_UNAVAILABLE), never with a false OK, answers reads,
    and that the same hub writes again when it is switched back, with nobody ending anything."""
    server, name = database.server, database.name
    hub.start()
    await seed_master_data(hub)
    async with hub.client("oms") as oms:
        writers = Writers(oms, [create_order()])
        first = await oms.orders.CreateOrder(writers.accepted[0])
        running = [asyncio.create_task(writers.run()) for _ in range(WRITERS)]
        await eventually(lambda: len(writers.accepted) > WRITERS, "orders")
        read_only = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
        await asyncio.to_thread(server.ask, "postgres", read_only)
        await asyncio.to_thread(server.ask, "postgres", ENDED, name)
        await eventually(lambda: writers.count("STORE_FULL") >= WRITERS, "refusals")
        kept = len(writers.accepted)
        writers.stopping = True
        await asyncio.gather(*running)
        before = len(writers.told)
        for _ in range(5):
            await writers.one()
        assert {reason for reason, _ in writers.told[before:]} == {"STORE_FULL"}
        assert len(writers.accepted) == kept, "told OK by a database that takes nothing"
        assert "the database is read-only" in hub.log()
        get = GetOrderRequest(id=first.order.id)
        assert (await oms.orders.GetOrder(get)).order == first.order, "reads are answered"
        reset = f"ALTER DATABASE {name} RESET default_transaction_read_only"
        await asyncio.to_thread(server.ask, "postgres", reset)
        await eventually(writers.writes_again, "an order that is taken")
        await proved(hub, database, writers)
    assert hub.stop() == 0


@pytest.fixture
def tablespace(own_postgres_server: PostgresProcess) -> Iterator[Volume]:
    """The volume of a tablespace, `small`; the server's log of writes lies elsewhere."""
    server = own_postgres_server
    volume = Volume(server.directory / "small", VOLUME_MIB)
    owner = server.data.stat()
    os.chown(volume.directory, owner.st_uid, owner.st_gid)
    server.ask("postgres", f"CREATE TABLESPACE small LOCATION '{volume.directory}'")
    yield volume
    server.kill()
    volume.remove()


async def test_the_volume_of_a_server_is_full(
    own_postgres_server: PostgresProcess, tablespace: Volume, tmp_path: Path
) -> None:
    """Proves under load on a file system that is really full that PostgreSQL's refusal is told as
    STORE_FULL and nothing else, never a false OK, that what is known is answered, and that the same
    hub takes the same requests when there is room."""
    database = ServerDatabase(own_postgres_server)
    moved = f"ALTER DATABASE {database.name} SET TABLESPACE small"
    own_postgres_server.ask("postgres", moved)
    hub = RunningHub(tmp_path / "hub", deployment(1), database_url=database.url).start()
    try:
        await seed_master_data(hub)
        async with hub.client("oms") as oms:
            writers = Writers(oms, [create_order()])
            first = await oms.orders.CreateOrder(writers.accepted[0])
            running = [asyncio.create_task(writers.run()) for _ in range(WRITERS)]
            tablespace.fill()
            await eventually(lambda: writers.count("STORE_FULL") >= WRITERS, "refusals", 120.0)
            writers.stopping = True
            await asyncio.gather(*running)
            assert {reason for reason, _ in writers.told} == {"STORE_FULL"}
            assert "the volume of the database is full" in hub.log()
            again = await oms.orders.CreateOrder(writers.accepted[0])
            assert again == first, "a known request is answered without room"
            tablespace.free()
            await eventually(writers.writes_again, "an order that is taken")
            await proved(hub, database, writers)
        assert hub.stop() == 0
    finally:
        hub.kill()
