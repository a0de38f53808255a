"""Full and read-only volumes, for real: a small file system is filled under a running hub."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from bare_calls import send
from crossdock.bus import EVENT_STREAM
from crossdock.client import HubClient
from crossdock.order.v1.order_service_pb2 import CreateOrderRequest, GetOrderRequest
from crossdock_hub.store import Store, StoreFailure
from databases import on_sqlite_only, open_store
from fixtures_hub import RunningHub
from fixtures_nats import eventually
from grpc_health.v1 import health_pb2, health_pb2_grpc
from relay_parts import event, ids_on, record
from small_volume import Volume
from sqlalchemy import text
from story import approve_order, create_order, order, seed_master_data

MIB = 1024 * 1024
NAMED_SECONDS_MAX = 5.0
HEALED_SECONDS_MAX = 15.0
CREATE_ORDER = "/crossdock.order.v1.OrderService/CreateOrder"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def bus_volume(unstarted_hub: RunningHub) -> Iterator[Volume]:
    """Everything of the bus; the database lies elsewhere."""
    volume = Volume(unstarted_hub.data / "nats", 96)
    yield volume
    unstarted_hub.kill()
    volume.remove()


@pytest.fixture
def database_volume(unstarted_hub: RunningHub) -> Iterator[Volume]:
    """The database and its log; the bus lies elsewhere."""
    volume = Volume(unstarted_hub.directory / "database", 6)
    unstarted_hub.data.mkdir(parents=True)
    (unstarted_hub.data / "crossdock.db").symlink_to(volume.directory / "crossdock.db")
    yield volume
    unstarted_hub.kill()
    volume.remove()


async def bus_serves(client: HubClient) -> bool:
    stub = health_pb2_grpc.HealthStub(client.channel)
    told = await stub.Check(health_pb2.HealthCheckRequest(service="bus"))
    return bool(told.status == health_pb2.HealthCheckResponse.SERVING)


async def approved(oms: HubClient) -> None:
    """An order with an event."""
    made = await oms.orders.CreateOrder(create_order())
    await oms.orders.ApproveOrder(approve_order(made.order.id))


async def test_the_volume_of_the_bus_is_full(unstarted_hub: RunningHub, bus_volume: Volume) -> None:
    """Proves on a file system that is really full: health `bus` is red within 5 s and the cause is
    named, every write is accepted meanwhile, and with space again the bus heals by itself within
    15 s and has every event once."""
    hub = unstarted_hub.start()
    await seed_master_data(hub)
    async with hub.client("oms") as oms:
        await eventually(lambda: bus_serves(oms), "a healthy bus")
        bus_volume.fill()
        filled = time.monotonic()
        # The connection may be given up before the disk was looked at.
        while await bus_serves(oms) or "is full" not in hub.log():
            assert time.monotonic() - filled < NAMED_SECONDS_MAX, hub.log(tail=True)
            await approved(oms)
        for _ in range(20):
            await approved(oms)
        bus_volume.free()
        await eventually(lambda: bus_serves(oms), "the recovery", HEALED_SECONDS_MAX)
        await approved(oms)
        unpublished = "published_at IS NULL"
        await eventually(lambda: hub.count("events", unpublished) == 0, "publishing")
    ids = [row[0] for row in hub.query("SELECT id FROM events ORDER BY sequence")]
    assert await ids_on(hub.bus_address(), EVENT_STREAM) == ids


@on_sqlite_only
async def test_the_volume_of_the_database_is_full(
    unstarted_hub: RunningHub, database_volume: Volume
) -> None:
    """Proves on a file system that is really full: writes are refused as STORE_FULL and never told
    OK, reads are answered, and with space again the same hub takes the same requests."""
    hub = unstarted_hub.start()
    await seed_master_data(hub)
    accepted: list[CreateOrderRequest] = []
    refused: list[CreateOrderRequest] = []
    async with hub.client("oms") as oms:
        accepted.append(create_order())
        first = await oms.orders.CreateOrder(accepted[0])
        database_volume.fill()
        deadline = time.monotonic() + 30
        while len(refused) < 5:
            request = create_order(order(lines=40))
            # Without the client's own repeats: what the hub says the first time.
            error = await send(oms, CREATE_ORDER, request.SerializeToString())
            (refused if error else accepted).append(request)
            if error is not None:
                assert (error.reason, error.code) == ("STORE_FULL", EXHAUSTED), error
            assert time.monotonic() < deadline, "the volume was never full"
        again = await oms.orders.CreateOrder(accepted[0])
        assert again == first, "a known request is answered without room"
        database_volume.free()
        for request in refused:
            await oms.orders.CreateOrder(request)
    known = {row[0] for row in hub.query("SELECT number FROM objects WHERE kind = 'order'")}
    assert known == {request.order.number for request in accepted + refused}
    assert hub.stop() == 0
    with sqlite3.connect(hub.data / "crossdock.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@on_sqlite_only
async def test_the_log_has_no_room_either(
    unstarted_hub: RunningHub, database_volume: Volume
) -> None:
    """Proves that a hub whose log lies on the same full volume refuses what it can't store, also
    again and again, and takes the same requests once there is room: a line that could not be
    written ended the task that commits, and every later write waited for ever."""
    unstarted_hub.log_file = database_volume.directory / "hub.log"
    hub = unstarted_hub.start()
    await seed_master_data(hub)
    async with hub.client("oms") as oms:
        database_volume.fill()
        refused: list[CreateOrderRequest] = []
        # More lines than the log's last page may still have room for.
        while len(refused) < 60:
            request = create_order(order(lines=40))
            error = await send(oms, CREATE_ORDER, request.SerializeToString())
            if error is not None:
                assert error.reason == "STORE_FULL", error
                refused.append(request)
        database_volume.free()
        for request in refused:
            await oms.orders.CreateOrder(request)
    assert hub.stop() == 0
    assert "the log took no lines for a time" in hub.log()


class Immutable:
    """Files that the kernel lets nobody write, root included; needs the right to say so.

    A volume can't be mounted read-only while somebody has a file of it open for writing, as the
    hub has; a volume that becomes read-only after an error of its disk is like this.
    """

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    def begin(self) -> None:
        if self._say("+i"):
            pytest.skip("this user, or this file system, can't make files immutable")

    def end(self) -> None:
        self._say("-i")

    def _say(self, flag: str) -> int:
        command = ["chattr", flag, *(str(path) for path in self.paths if path.exists())]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode
        except FileNotFoundError:
            return 1


@pytest.fixture
def immutable_database(unstarted_hub: RunningHub) -> Iterator[Immutable]:
    """The database and its log; not the index of the log, which is memory."""
    database = unstarted_hub.data / "crossdock.db"
    files = Immutable(database, database.with_name("crossdock.db-wal"))
    yield files
    files.end()


@on_sqlite_only
async def test_a_hub_whose_database_became_read_only(
    unstarted_hub: RunningHub, immutable_database: Immutable
) -> None:
    """Proves on files that the kernel lets nobody write, over gRPC: writes are refused, as
    STORE_FULL from the second at the latest, and never told OK, reads are answered, and the same
    hub takes the same requests once it may write again."""
    hub = unstarted_hub.start()
    await seed_master_data(hub)
    accepted = [create_order()]
    refused: list[CreateOrderRequest] = []
    reasons: list[str] = []
    async with hub.client("oms") as oms:
        first = await oms.orders.CreateOrder(accepted[0])
        immutable_database.begin()
        for _ in range(4):
            request = create_order()
            # Without the client's own repeats: what the hub says the first time.
            error = await send(oms, CREATE_ORDER, request.SerializeToString())
            assert error is not None, "told OK, and not kept"
            reasons.append(error.reason)
            refused.append(request)
        # The file that is open says that it can't be written, the one that is opened anew why.
        assert reasons[0] in ("STORE_FULL", "HUB_UNAVAILABLE")
        assert set(reasons[1:]) == {"STORE_FULL"}, reasons
        assert "the database is read-only" in hub.log()
        get = GetOrderRequest(id=first.order.id)
        assert (await oms.orders.GetOrder(get)).order == first.order, "reads are answered"
        immutable_database.end()
        for request in refused:
            await oms.orders.CreateOrder(request)
    known = {row[0] for row in hub.query("SELECT number FROM objects WHERE kind = 'order'")}
    assert known == {request.order.number for request in accepted + refused}
    assert hub.stop() == 0
    with sqlite3.connect(hub.data / "crossdock.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@on_sqlite_only
async def test_a_database_that_became_read_only(tmp_path: Path) -> None:
    """Proves with SQLite's own refusal: a write says that the database is read-only, nothing of it
    is there, and the next one works once it may be written again."""
    store = await open_store(tmp_path)
    try:
        (kept,) = await record(store, event())
        await _forbid_writing(store)
        with pytest.raises(StoreFailure) as failure:
            await record(store, event())
        assert failure.value.full and "read-only" in failure.value.cause
        (later,) = await record(store, event())
        async with store.read() as connection:
            found = await connection.execute(text("SELECT id FROM events ORDER BY sequence"))
            assert [row.id for row in found] == [kept, later]
    finally:
        await store.close()


async def _forbid_writing(store: Store) -> None:
    """Until this connection is dropped, which the store does after a failure."""
    async with store.write() as connection:
        pass
    assert store._connection is not None
    await store._connection.exec_driver_sql("PRAGMA query_only = ON")
    await store._connection.rollback()
    del connection
