"""Users of a NATS of one's own: what `crossdock hub bus-users` writes, and what they may not do."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from crossdock.bus import delivery_stream, delivery_subject
from crossdock.errors import ConfigurationError
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.embedded_config import EmbeddedSettings, find_server
from crossdock_hub.bus.errors import BusDenied
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import Message
from crossdock_hub.bus.streams import (
    HUB_USER,
    StreamLimits,
    delivery_consumer_spec,
    delivery_stream_spec,
    event_stream_spec,
    scan_stream_spec,
)
from crossdock_hub.bus.users import USERS_FILE, main, write_users
from fixtures_nats import eventually
from nats_cluster import NODES, NatsCluster


@pytest.fixture(scope="module")
def guarded_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """A cluster with the streams of two endpoints, and a message of work for each."""
    nodes = NatsCluster(tmp_path_factory.mktemp("guarded"), ("netsuite", "ups"))
    try:
        nodes.start()
        asyncio.run(_with_streams(nodes))
        yield nodes
    finally:
        nodes.stop()


async def _with_streams(cluster: NatsCluster) -> None:
    limits = StreamLimits(replicas=NODES)
    bus = await Bus.connect(cluster.address())
    names = ("netsuite", "ups")
    streams = [delivery_stream_spec(name, limits) for name in names]
    await bus.ensure_streams([event_stream_spec(limits), scan_stream_spec(limits), *streams])
    for name in names:
        await bus.ensure_consumer(delivery_consumer_spec(name, limits))
        await bus.publish(Message(delivery_subject(name), b"work"))
    await bus.close()


INTRUSIONS = [
    # Facts and work that only the hub may publish.
    "crossdock.v1.event.order.approved.00",
    "crossdock.v1.scan.00",
    "crossdock.v1.delivery.netsuite",
    "crossdock.v1.delivery.ups",
    # Another endpoint's work: take it, look at it, acknowledge it, answer its asks.
    "$JS.API.CONSUMER.MSG.NEXT.CROSSDOCK_V1_DELIVERY_ups.ups",
    "$JS.API.CONSUMER.INFO.CROSSDOCK_V1_DELIVERY_ups.ups",
    "$JS.ACK.CROSSDOCK_V1_DELIVERY_ups.ups.1.1.1.1.0",
    "crossdock.v1.ask.ups.order",
    "_INBOX_ups.x",
    "_INBOX.x",
    # Streams and consumers: make, change, read, empty, delete, take a copy, move.
    "$JS.API.CONSUMER.CREATE.CROSSDOCK_V1_DELIVERY_netsuite.spy",
    "$JS.API.CONSUMER.DURABLE.CREATE.CROSSDOCK_V1_EVENT.spy",
    "$JS.API.CONSUMER.DELETE.CROSSDOCK_V1_DELIVERY_netsuite.netsuite",
    "$JS.API.CONSUMER.PAUSE.CROSSDOCK_V1_DELIVERY_netsuite.netsuite",
    "$JS.API.CONSUMER.RESET.CROSSDOCK_V1_DELIVERY_netsuite.netsuite",
    "$JS.API.CONSUMER.NAMES.CROSSDOCK_V1_EVENT",
    "$JS.API.CONSUMER.LIST.CROSSDOCK_V1_EVENT",
    "$JS.API.STREAM.CREATE.SPY",
    "$JS.API.STREAM.UPDATE.CROSSDOCK_V1_EVENT",
    "$JS.API.STREAM.INFO.CROSSDOCK_V1_EVENT",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.MSG.GET.CROSSDOCK_V1_EVENT",
    "$JS.API.DIRECT.GET.CROSSDOCK_V1_EVENT",
    "$JS.API.STREAM.MSG.DELETE.CROSSDOCK_V1_EVENT",
    "$JS.API.STREAM.PURGE.CROSSDOCK_V1_EVENT",
    "$JS.API.STREAM.DELETE.CROSSDOCK_V1_DELIVERY_netsuite",
    "$JS.API.STREAM.SNAPSHOT.CROSSDOCK_V1_EVENT",
    "$JS.API.STREAM.RESTORE.CROSSDOCK_V1_EVENT",
    "$JS.API.STREAM.LEADER.STEPDOWN.CROSSDOCK_V1_EVENT",
    "$JS.API.META.LEADER.STEPDOWN",
    "$JS.API.INFO",
    "$JS.API.ACCOUNT.PURGE.$G",
    "$SYS.REQ.SERVER.PING",
]


async def test_an_adapter_may_do_nothing_but_its_own_work(guarded_cluster: NatsCluster) -> None:
    """Proves that of all that a stolen adapter credential could be tried for, the bus lets it take
    and acknowledge its endpoint's own work, and denies every other publication and call."""
    bus = await Bus.connect(guarded_cluster.address("netsuite"), inbox_prefix="_INBOX_netsuite")
    for subject in INTRUSIONS:
        with pytest.raises(BusDenied):
            await bus.ask(subject, b"{}")
    assert await bus.pending(delivery_stream("netsuite"), "netsuite") == 1
    await bus.close()


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "crossdock.v1.>",
        "crossdock.v1.event.>",
        "crossdock.v1.scan.>",
        "crossdock.v1.delivery.netsuite",
        "crossdock.v1.ask.ups.>",
        "_INBOX_ups.>",
        "_INBOX.>",
        "$JS.>",
        "$SYS.>",
    ],
)
async def test_an_adapter_hears_nothing_but_its_own(
    guarded_cluster: NatsCluster, subject: str
) -> None:
    """Proves that an adapter's user can't listen to others' work, answers, events or the system."""
    denied: list[str] = []

    async def note(error: Exception) -> None:
        denied.append(str(error).lower())

    address = guarded_cluster.address("netsuite")
    client = await nats.connect(address.url.split(","), error_cb=note, **address.client_options())
    await client.subscribe(subject)
    await eventually(lambda: any("permissions violation" in each for each in denied), "a refusal")
    await client.close()


async def test_strangers_are_turned_away(guarded_cluster: NatsCluster, tmp_path: Path) -> None:
    """Proves that neither nobody nor a key that the tool did not write gets in."""
    write_users(["netsuite"], tmp_path)
    foreign = (tmp_path / "netsuite.nk").read_text().strip()
    for address in (
        BusAddress(guarded_cluster.url),
        BusAddress(guarded_cluster.url, nkey_seed=foreign),
    ):
        with pytest.raises(BusDenied):
            await Bus.connect(address)


def test_users_are_written_once_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that seeds are private and outlive the next run, that new endpoints are added and
    those that are gone lose their place, and that the file for the server holds no secret."""
    endpoints, output = tmp_path / "endpoints.json", tmp_path / "users"

    def run(*names: str) -> dict[str, Any]:
        document = {
            name: {"role": "ERP", "token_sha256": [hashlib.sha256(name.encode()).hexdigest()]}
            for name in names
        }
        endpoints.write_text(json.dumps(document))
        arguments = ["--endpoints-file", str(endpoints), "--output", str(output)]
        assert main(arguments) == 0
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        return told

    assert run("sap", "netsuite")["made"] == [HUB_USER, "netsuite", "sap"]
    seeds = {path.name: path.read_text() for path in output.glob("*.nk")}
    again = run("netsuite", "oracle")
    assert again["made"] == ["oracle"] and again["kept"] == [HUB_USER, "netsuite"]
    assert again["unused"] == ["sap"]
    users = (output / USERS_FILE).read_text()
    assert "CROSSDOCK_V1_DELIVERY_sap" not in users
    for name, seed in seeds.items():
        assert (output / name).read_text() == seed
        assert seed.strip() not in users
        assert stat.S_IMODE((output / name).stat().st_mode) == 0o600


def test_the_command_writes_what_a_server_reads(tmp_path: Path) -> None:
    """Proves that the command does it, and that nats-server takes the file as the documents say."""
    endpoint = {"role": "ERP", "token_sha256": [hashlib.sha256(b"token").hexdigest()]}
    (tmp_path / "endpoints.json").write_text(json.dumps({"netsuite": endpoint}))
    command = [sys.executable, "-m", "crossdock.cli", "hub", "bus-users"]
    files = ["--endpoints-file", "endpoints.json", "--output", "bus-users"]
    done = subprocess.run([*command, *files], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout)["made"] == [HUB_USER, "netsuite"]
    configuration = tmp_path / "bus-users" / "server.conf"
    configuration.write_text(f"authorization {{ include '{USERS_FILE}' }}\n")
    server = str(find_server(EmbeddedSettings(tmp_path)))
    checked = subprocess.run([server, "-t", "-c", str(configuration)], capture_output=True)
    assert checked.returncode == 0, checked.stderr.decode()


def test_a_broken_seed_is_named(tmp_path: Path) -> None:
    """Proves that a seed that is none is refused by file, without its content, and is kept."""
    (tmp_path / "netsuite.nk").write_text("SUAsecretbutwrong")
    with pytest.raises(ConfigurationError, match=r"netsuite\.nk is no nkey seed") as refused:
        write_users(["netsuite"], tmp_path)
    assert "secretbutwrong" not in str(refused.value)
    assert (tmp_path / "netsuite.nk").exists()
