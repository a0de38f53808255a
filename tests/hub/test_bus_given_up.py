"""A bus that refuses its hub for good ends the process, and nothing that was answered is lost."""

from __future__ import annotations

import json
import secrets
import signal
from pathlib import Path

from crossdock.order.v1 import order_service_pb2
from crossdock_hub.bus import embedded_config
from crossdock_hub.bus.streams import HUB_USER
from fixtures_hub import RunningHub, deployment
from fixtures_nats import NatsProcess, eventually
from story import create_order, seed_master_data

EXIT_BUS_REFUSED = 70
NOTICED_SECONDS = 60.0


def write_login(server: NatsProcess, path: Path) -> None:
    """The hub's login as the server knows it."""
    address = server.address
    path.write_text(json.dumps({"user": address.user, "password": address.password}))


def revoke_login(server: NatsProcess) -> None:
    """The server's operator gives the hub's user another password, while the hub is connected."""
    assert server.process is not None
    server.configuration.passwords[HUB_USER] = secrets.token_urlsafe(24)
    embedded_config.save(server.settings, server.configuration)
    server.process.send_signal(signal.SIGHUP)


async def test_a_hub_that_the_bus_refuses_for_good_ends(
    tmp_path: Path, own_nats_server: NatsProcess
) -> None:
    """Proves on processes that a hub whose login is revoked while it is connected ends by itself
    with 70 and a sentence, instead of serving without a bus for ever, and that the next one, with
    the new login, has what was answered."""
    login = tmp_path / "login.json"
    write_login(own_nats_server, login)
    url = own_nats_server.address.url
    hub = RunningHub(
        tmp_path / "hub", deployment(1), nats_url=url, nats_credentials_file=str(login)
    ).start()
    try:
        await seed_master_data(hub)
        async with hub.client("oms") as oms:
            made = (await oms.orders.CreateOrder(create_order())).order
        revoke_login(own_nats_server)
        await eventually(lambda: not hub.runs, "the end of the hub", NOTICED_SECONDS)
        assert hub.process is not None and hub.process.returncode == EXIT_BUS_REFUSED
        assert "the bus refused the hub for good; the process ends" in hub.log(tail=True)
        write_login(own_nats_server, login)
        hub.start()
        async with hub.client("oms") as oms:
            get = order_service_pb2.GetOrderRequest(id=made.id)
            assert (await oms.orders.GetOrder(get)).order == made
        assert hub.stop() == 0
    finally:
        hub.kill()
