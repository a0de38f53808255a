"""An installation with certificates that a company signs itself: hub and bus over TLS."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crossdock.client import HubClient, Tls
from crossdock_adapters.sdk.bus_credentials import BusCredentials
from crossdock_adapters.sdk.config import AdaptersConfig, load_adapters
from crossdock_hub.bus import embedded_config
from crossdock_hub.bus.embedded_config import EmbeddedSettings
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually, free_port
from played_endpoint import PlayedEndpoint
from private_authority import Authority
from story import Story, approve_order, seed_master_data

EXIT_CONFIGURATION = 78


@dataclass
class SafeBus:
    """A nats-server of somebody's own that speaks TLS only."""

    url: str
    login: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def started(cls, directory: Path, authority: Authority) -> SafeBus:
        directory.mkdir()
        port, login = free_port(), directory / "login.json"
        login.write_text(json.dumps({"user": "crossdock", "password": "long and random"}))
        configuration = directory / "server.conf"
        configuration.write_text(
            f"listen: 127.0.0.1:{port}\n"
            f"jetstream {{ store_dir: '{directory}/store', sync_interval: always }}\n"
            "max_payload: 4MB\n"
            f"tls {{ cert_file: '{authority.certificate}', key_file: '{authority.key}' }}\n"
            "authorization { user: crossdock, password: 'long and random' }\n"
        )
        server = str(embedded_config.find_server(EmbeddedSettings(directory)))
        log = (directory / "log").open("wb")
        process = subprocess.Popen([server, "-c", str(configuration)], stdout=log, stderr=log)
        log.close()
        return cls(f"tls://127.0.0.1:{port}", login, process)


class SafeHub(RunningHub):
    """A hub whose callers have to be told whom to trust."""

    configuration: AdaptersConfig

    def client(self, endpoint: str, **options: Any) -> HubClient:
        return super().client(endpoint, tls=self.configuration.hub_tls, **options)

    def bus_credentials(self, endpoint: str) -> BusCredentials:
        login = self.configuration.bus_credentials_file
        assert login is not None
        return BusCredentials.read(login, str(self.configuration.bus_ca_file))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path / "authority")


@pytest.fixture
def bus(tmp_path: Path, authority: Authority) -> Iterator[SafeBus]:
    started = SafeBus.started(tmp_path / "bus", authority)
    yield started
    started.process.kill()
    started.process.wait(60)


@pytest.fixture
async def hub(tmp_path: Path, authority: Authority, bus: SafeBus) -> Any:
    log = tmp_path / "bus" / "log"
    await eventually(lambda: b"Server is ready" in log.read_bytes(), "the bus")
    made = SafeHub(
        tmp_path / "hub",
        deployment(2),
        nats_url=bus.url,
        nats_credentials_file=str(bus.login),
        nats_ca_file=str(authority.ca),
        tls_certificate_file=str(authority.certificate),
        tls_key_file=str(authority.key),
    )
    made.start()
    file = tmp_path / "adapters.toml"
    file.write_text(
        f'[hub]\naddress = "{made.address}"\ntls_ca_file = "{authority.ca}"\n'
        f'[bus]\nurl = "{bus.url}"\ncredentials_file = "{bus.login}"\n'
        f'tls_ca_file = "{authority.ca}"\n'
        f'[endpoints.erp]\nadapter = "netsuite"\ntoken_file = "{made.token_file("netsuite")}"\n'
    )
    made.configuration = load_adapters(file)
    yield made
    made.kill()


async def test_nothing_goes_in_clear(hub: SafeHub, bus: SafeBus) -> None:
    """Proves that hub, bus and adapters work with certificates of an authority of one's own, and
    that who is not told of it gets no connection."""
    await seed_master_data(hub)
    lane = Lane(1)
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, {"create_sales_order": "SEARCHABLE"}) as erp,
    ):
        order = await story.create()
        await story.oms.orders.ApproveOrder(approve_order(order.id))
        assert (await erp.take()).operation == "create_sales_order"
    for tls in (None, Tls()):
        token = hub.token_file("oms")
        async with HubClient(hub.address, token_file=token, tls=tls) as stranger:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await stranger.wait_until_connected()


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    """Proves that a file of authorities which is not there ends the start in one sentence."""
    hub = RunningHub(tmp_path / "hub", nats_url="tls://127.0.0.1:4222")
    code, said = hub.run_to_its_end(nats_ca_file=str(tmp_path / "nowhere.pem"))
    assert code == EXIT_CONFIGURATION
    assert "CROSSDOCK_NATS_CA_FILE" in said
    assert "Traceback" not in said
