"""Hubs of one database on one machine at one port: by setting, and refused otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from crossdock import client
from crossdock.client import HubClient
from crossdock.errors import ConfigurationError, TryAgainError
from crossdock.hub.v1 import hub_service_pb2
from crossdock_hub.config import Settings
from crossdock_hub.door import binding
from crossdock_hub.door.binding import PortMark, check_port_sharing
from crossdock_hub.sharing import advertised, check_sharing
from crossdock_hub.store.which_database import which_database
from databases import ServerDatabase, migrated_template
from fixtures_hub import RunningHub
from fixtures_nats import eventually, free_port
from fixtures_postgres import session_server
from shared_hubs import SharedHubs
from story import approve_order, create_order, seed_master_data

EXIT_UNAVAILABLE, EXIT_CONFIGURATION = 69, 78
# Over two hubs: that all of them come to one happens once in eight million runs.
CONNECTIONS = 24
POSTGRES = "postgresql+asyncpg://crossdock@db/hub"


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[SharedHubs]:
    """Two hubs at one port, the first of which leads."""
    listen = f"127.0.0.1:{free_port()}"
    running = SharedHubs(tmp_path, listen=listen, share_port="true", metrics_port="0").start()
    asyncio.run(seed_master_data(running.hubs[0]))
    yield running
    running.end()


def _told(hub: RunningHub) -> dict[str, Any]:
    """What a hub wrote into its address file."""
    told: dict[str, Any] = json.loads((hub.directory / "address.json").read_text())
    return told


def _recorded(hub: RunningHub) -> float:
    """Events that a hub has recorded itself, as its metrics say."""
    address = f"http://127.0.0.1:{_told(hub)['metrics_port']}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    counts = [line for line in lines if line.startswith("crossdock_events_recorded_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in counts)


@contextlib.asynccontextmanager
async def connections(
    workers: SharedHubs, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[HubClient]]:
    """Clients as they are shipped, with a connection each."""
    async with contextlib.AsyncExitStack() as opened:
        clients = []
        for number in range(CONNECTIONS):
            # Channels with the same arguments would have one connection.
            monkeypatch.setattr(client, "KEEPALIVE_MILLISECONDS", 30_000 + number)
            each = workers.hubs[0].client("oms")
            clients.append(await opened.enter_async_context(each))
        yield clients


async def _write(oms: HubClient, answered: list[str], until: asyncio.Event) -> None:
    """Create and approve orders, each call once: what the client does not repeat by itself fails
    the test."""
    while not until.is_set():
        made = (await oms.orders.CreateOrder(create_order())).order
        await oms.orders.ApproveOrder(approve_order(made.id))
        answered.append(made.id)


async def test_calls_reach_both_and_either_may_go(
    workers: SharedHubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the connections of callers are spread over the hubs of a port, that what only
    the leader answers is answered over any of them, and that no call of a client as it is shipped
    fails while one hub is killed under load, comes back, and is stopped."""
    first, second = workers.hubs
    assert first.address == second.address
    own = [_told(hub)["grpc_of_this_hub"] for hub in workers.hubs]
    assert len({first.address, *own}) == 3
    assert workers.leader() == (1, own[0])
    answered: list[str] = []
    enough = asyncio.Event()
    async with connections(workers, monkeypatch) as clients, first.client("operator") as operator:
        writing = [asyncio.create_task(_write(each, answered, enough)) for each in clients]
        await _more(answered, writing)
        assert all(_recorded(hub) > 0 for hub in workers.hubs)
        for hub in (second, first):
            hub.kill()
            await _more(answered, writing)
            hub.start()
            await _more(answered, writing)
        assert await asyncio.to_thread(second.stop) == 0
        await _more(answered, writing)
        enough.set()
        await asyncio.gather(*writing)
        # Orders need nobody that leads; who was killed last may have until a moment ago.
        await eventually(lambda: _bus_is_well(operator), "a leader")
    rows = first.query("SELECT id FROM objects WHERE kind = 'order' AND state = 'APPROVED'")
    assert {row[0] for row in rows} >= set(answered)


async def _bus_is_well(operator: HubClient) -> bool:
    """What a leader says of the bus; False: nobody leads yet."""
    try:
        request = hub_service_pb2.GetHubStatusRequest()
        return bool((await operator.hub.GetHubStatus(request)).bus_ok)
    except TryAgainError:
        return False


async def _more(answered: list[str], writing: list[asyncio.Task[None]]) -> None:
    """Wait for some more orders from every connection; a call that failed ends the test."""
    goal = len(answered) + 4 * CONNECTIONS

    def enough() -> bool:
        for task in writing:
            if task.done():
                task.result()
        return len(answered) >= goal

    await eventually(enough, "orders")


async def test_what_only_a_leader_answers_is_answered_over_the_port(
    workers: SharedHubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a hub which follows passes calls on to the leader itself, and never to the port
    that it shares with it, where it might find itself."""
    async with contextlib.AsyncExitStack() as opened:
        for number in range(CONNECTIONS):
            monkeypatch.setattr(client, "KEEPALIVE_MILLISECONDS", 30_000 + number)
            operator = await opened.enter_async_context(workers.hubs[0].client("operator"))
            status = await operator.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())
            assert status.bus_ok


def test_who_does_not_share_the_port_is_refused(workers: SharedHubs) -> None:
    """Proves that a hub without the setting is refused at a port that others share, that one of
    another database is, and one whose metrics have no port of their own; each in a sentence that
    says what to do, while the others go on."""
    first, second = workers.hubs
    assert second.stop() == 0
    code, said = second.run_to_its_end(share_port="false")
    assert code == EXIT_UNAVAILABLE
    assert f"{first.address} can't be bound" in said
    assert "each of them is started with CROSSDOCK_SHARE_PORT=true" in said
    elsewhere = ServerDatabase(session_server(), migrated_template())
    code, said = second.run_to_its_end(database_url=elsewhere.url)
    assert code == EXIT_CONFIGURATION
    assert f"{first.address} is shared by hubs (process {first.pid}) with another" in said
    taken = str(_told(first)["metrics_port"])
    code, said = second.run_to_its_end(metrics_port=taken)
    assert code == EXIT_UNAVAILABLE
    assert f"metrics can't be served at 127.0.0.1:{taken}" in said
    own = _told(first)["grpc_of_this_hub"]
    code, said = second.run_to_its_end(advertise=own)
    assert code == EXIT_UNAVAILABLE
    assert f"{own} can't be bound" in said
    assert "set CROSSDOCK_ADVERTISE to a free port" in said
    second.start()
    assert [hub.stop() for hub in workers.hubs] == [0, 0]


def test_a_port_that_is_not_shared_stays_so(workers: SharedHubs) -> None:
    """Proves that a hub which shares its port is refused where one listens that does not, and is
    told what that one lacks."""
    first, second = workers.hubs
    assert [hub.stop() for hub in workers.hubs] == [0, 0]
    first.add(share_port="false")
    first.start()
    code, said = second.run_to_its_end()
    assert code == EXIT_UNAVAILABLE
    assert f"{first.address} can't be bound" in said
    assert "who has it does not share it" in said


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"shared_database": False}, "one PostgreSQL database"),
        ({"listen": "127.0.0.1:0"}, "names no port that hubs could share"),
        ({"listen": "unix:/run/hub"}, "names no port that hubs could share"),
        ({"advertise": "hub-a:7443"}, "has the port that the hubs share"),
    ],
)
def test_settings_with_which_no_port_is_shared_are_refused(
    settings: dict[str, Any], told: str
) -> None:
    """Proves that a start is refused by the setting that has to change."""
    shared: dict[str, Any] = {"share_port": True, "shared_database": True}
    shared["database_url"] = POSTGRES
    with pytest.raises(ConfigurationError) as refused:
        check_port_sharing(Settings(**shared | settings))
    assert told in str(refused.value)
    check_port_sharing(Settings(**shared))
    check_port_sharing(Settings(**settings))


def test_a_free_port_may_be_advertised_only_beside_a_shared_one() -> None:
    """Proves that port 0 of what other hubs are told means the hub's own port, which it has beside
    a shared one and not otherwise."""
    settings: dict[str, Any] = {
        "shared_database": True,
        "database_url": POSTGRES,
        "nats_url": "nats://bus:4222",
        "advertise": "10.0.0.7:0",
    }
    check_sharing(Settings(**settings, share_port=True))
    assert advertised(Settings(**settings), "0.0.0.0:5123") == "10.0.0.7:5123"
    assert advertised(Settings(**settings | {"advertise": ""}), "127.0.0.1:1") == "127.0.0.1:1"
    assert advertised(Settings(**settings | {"advertise": "a:2"}), "127.0.0.1:1") == "a:2"
    with pytest.raises(ConfigurationError, match="leads to this hub"):
        check_sharing(Settings(**settings))


def test_a_port_is_of_one_database() -> None:
    """Proves that hubs of one database, whoever they log in as, agree on a port, that one of
    another database is refused there and not at another port, and that a mark goes with its
    hub."""
    port = free_port()

    def mark(database: str, at: int = port) -> PortMark:
        return PortMark(Settings(listen=f"127.0.0.1:{at}", database_url=database))

    ours, theirs = mark(POSTGRES), mark(f"{POSTGRES}-2")
    ours.set()
    with pytest.raises(ConfigurationError, match="with another CROSSDOCK_DATABASE_URL"):
        theirs.set()
    elsewhere = mark(f"{POSTGRES}-2", free_port())
    elsewhere.set()
    elsewhere.clear()
    ours.clear()
    theirs.set()
    theirs.clear()


@pytest.mark.parametrize("mark", ["0123456789abcdef/77", "127.0.0.1/0123456789abcdef/77-aa"])
def test_a_mark_of_another_format_is_never_overlooked(mark: str) -> None:
    """Proves that a hub is refused beside one whose mark says the address or nothing of it where
    this version has another word, with what to do, and that it keeps no mark of its own then."""
    port = free_port()
    settings = Settings(listen=f"127.0.0.2:{port}", database_url=POSTGRES)
    ours, theirs = PortMark(settings), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs:
        theirs.bind(f"\0crossdock-port/{port}/{mark}")
        with pytest.raises(
            ConfigurationError, match=r"another version \(process 77\).*stop them first"
        ):
            ours.set()
    other = PortMark(settings.model_copy(update={"database_url": f"{POSTGRES}-2"}))
    other.set()
    other.clear()


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "[::1]", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("[::1]", "[0:0:0:0:0:0:0:1]", True),
        ("127.0.0.2", "[::ffff:127.0.0.2]", True),
        ("localhost", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.2", True),
        ("127.0.0.1", "[::]", True),
        ("0.0.0.0", "[::]", True),
        ("0.0.0.0", "[::1]", True),
    ],
)
def test_only_hubs_whose_callers_would_meet_are_in_the_way(
    one: str, other: str, *, meet: bool
) -> None:
    """Proves that hubs of two databases may have one port at two addresses, whatever their family,
    and are refused where an address, however it is written, or one that stands for all is both
    theirs, whichever of them comes first."""
    port = free_port()

    def mark(host: str, database: str) -> PortMark:
        return PortMark(Settings(listen=f"{host}:{port}", database_url=database))

    for first, second in ((one, other), (other, one)):
        with contextlib.ExitStack() as marks:
            ours, theirs = mark(first, POSTGRES), mark(second, f"{POSTGRES}-2")
            for each in (ours, theirs):
                marks.callback(each.clear)
            ours.set()
            if meet:
                with pytest.raises(ConfigurationError, match="with another CROSSDOCK_DATABASE_URL"):
                    theirs.set()
            else:
                theirs.set()


@pytest.mark.parametrize(
    "spelled",
    [
        "postgresql+asyncpg://h/d",
        "postgresql+asyncpg://H:5432/d",
        "postgresql+asyncpg://me@h./d",
        "postgresql+asyncpg:///d?host=h",
        "postgresql+asyncpg://you@/d?host=H:5432",
        "postgresql+asyncpg://d@h",
        "postgresql://h/d",
    ],
)
def test_a_database_is_the_same_however_it_is_spelled(spelled: str) -> None:
    """Proves that who logs in, the driver, the case of the host, a port that is the default, a name
    that is left out and an option instead of a place in the URL make no other database."""
    assert which_database(spelled) == which_database("postgresql+asyncpg://h:5432/d")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://h/e",
        "postgresql+asyncpg://h/D",
        "postgresql+asyncpg://h:5433/d",
        "postgresql+asyncpg:///d?host=h:5433",
        "postgresql+asyncpg:///d?host=/h",
        "postgresql+asyncpg:///d",
        "postgresql+asyncpg://[::1]/d",
    ],
)
def test_another_database_is_another(url: str) -> None:
    """Proves that name, port, host and socket each make another database."""
    assert which_database(url) != which_database("postgresql+asyncpg://h/d")


def test_an_address_of_six_is_one_in_both_places() -> None:
    """Proves that an IPv6 address is the same in the URL and as its option, with or without a
    port, in its short and its long form, and is not taken for a host with one."""
    same = {
        which_database(f"postgresql+asyncpg://{each}")
        for each in (
            "[::1]/d",
            "[::1]:5432/d",
            "/d?host=::1",
            "/d?host=[::1]:5432",
            "[0:0:0:0:0:0:0:1]/d",
            "/d?host=0:0:0:0:0:0:0:1",
        )
    }
    assert len(same) == 1


def test_a_mark_stands_beside_any_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that hubs with one process number, as in two containers, agree on a port, also beside
    a socket whose name is no text; and that a system which tells no names is named, with what to
    do."""
    port = free_port()
    named = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    named.bind(b"\0\xff\xfe" + str(port).encode())
    settings = Settings(listen=f"127.0.0.1:{port}", database_url=POSTGRES)
    marks = [PortMark(settings), PortMark(settings)]
    for each in marks:
        each.set()
    for each in marks:
        each.clear()
    named.close()
    monkeypatch.setattr(binding, "_SOCKETS", Path("/proc/net/no-such"))
    with pytest.raises(ConfigurationError, match=r"can't be told.*CROSSDOCK_SHARE_PORT=false"):
        marks[0].set()
