"""A cluster of real nats-server processes with the users that `crossdock hub bus-users` writes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from crossdock_hub.bus import embedded_config
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.embedded_config import EmbeddedSettings
from crossdock_hub.bus.streams import HUB_USER
from crossdock_hub.bus.users import USERS_FILE, write_users
from fixtures_nats import DIES_WITH_PARENT, START_SECONDS, free_ports

NODES = 3
FORM_SECONDS = 90.0


class NatsCluster:
    """Three nodes on loopback, each with its own directory and ports; any may be killed."""

    def __init__(self, directory: Path, endpoints: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.users = directory / "users"
        write_users(endpoints, self.users)
        ports = free_ports(3 * NODES)
        self.client_ports, self.route_ports = ports[:NODES], ports[NODES : 2 * NODES]
        self.monitor_ports = ports[2 * NODES :]
        self.nodes: list[subprocess.Popen[bytes] | None] = [None] * NODES

    @property
    def url(self) -> str:
        return ",".join(f"nats://127.0.0.1:{port}" for port in self.client_ports)

    def address(self, user: str = HUB_USER) -> BusAddress:
        """Where and as whom a user finds the cluster."""
        return BusAddress(self.url, nkey_seed=self.seed_file(user).read_text().strip())

    def seed_file(self, user: str = HUB_USER) -> Path:
        return self.users / f"{user}.nk"

    def start(self) -> NatsCluster:
        for number in range(NODES):
            self.start_node(number)
        self.wait_until_formed()
        return self

    def start_node(self, number: int) -> None:
        """Start a node, or start it again with what it stored."""
        folder = self.directory / f"node-{number}"
        folder.mkdir(exist_ok=True)
        configuration = folder / "server.conf"
        configuration.write_text(self._configuration(number, folder))
        # An include is looked for beside the file that includes it, wherever it may point.
        shutil.copy(self.users / USERS_FILE, folder)
        server = str(embedded_config.find_server(EmbeddedSettings(folder)))
        command = ["python3", "-I", "-S", "-c", DIES_WITH_PARENT, server, "-c", str(configuration)]
        with (folder / "log").open("ab") as log:
            self.nodes[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill_node(self, number: int, how: signal.Signals = signal.SIGKILL) -> None:
        """End a node at once, or stop it in its tracks (SIGSTOP)."""
        node = self.nodes[number]
        assert node is not None, f"node {number} is down already"
        node.send_signal(how)
        if how is not signal.SIGSTOP:
            node.wait(START_SECONDS)
            self.nodes[number] = None

    def thaw_node(self, number: int) -> None:
        """Let a stopped node go on."""
        node = self.nodes[number]
        assert node is not None
        node.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for node in filter(None, self.nodes):
            node.kill()
        for node in filter(None, self.nodes):
            node.wait(START_SECONDS)

    def wait_until_formed(self) -> None:
        """Until every node that runs has a JetStream that says it is well."""
        deadline = time.monotonic() + FORM_SECONDS
        for number, node in enumerate(self.nodes):
            while node is not None and not self._is_well(number):
                assert node.poll() is None, (self.directory / f"node-{number}/log").read_text()
                assert time.monotonic() < deadline, "the cluster did not form"
                time.sleep(0.05)

    def leader_of(self, stream: str) -> int:
        """The node that leads a stream; -1 while nobody does."""
        for number, node in enumerate(self.nodes):
            if node is None:
                continue
            told = self._ask(number, "jsz?streams=1")
            accounts = told.get("account_details") or []
            for each in (s for a in accounts for s in a.get("stream_detail") or []):
                leader = (each.get("cluster") or {}).get("leader", "")
                if each["name"] == stream and leader:
                    return int(leader.removeprefix("node-"))
        return -1

    def node_of(self, name: str) -> int:
        """The node that a client is connected to, by the beginning of its name; -1: none."""
        for number, node in enumerate(self.nodes):
            if node is not None:
                told = self._ask(number, "connz").get("connections") or []
                if any(str(each.get("name", "")).startswith(name) for each in told):
                    return number
        return -1

    def ways(self, number: int) -> dict[str, Any]:
        """How a node finds the others, as its configuration says it."""
        return {"routes": [f"nats://127.0.0.1:{port}" for port in self.route_ports]}

    def _is_well(self, number: int) -> bool:
        return self._ask(number, "healthz").get("status") == "ok"

    def _ask(self, number: int, path: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.monitor_ports[number]}/{path}"
        try:
            with urlopen(url, timeout=2.0) as answer:
                return dict(json.load(answer))
        except (URLError, OSError, ValueError):
            return {}

    def _configuration(self, number: int, folder: Path) -> str:
        document = {
            "server_name": f"node-{number}",
            "listen": f"127.0.0.1:{self.client_ports[number]}",
            "http": f"127.0.0.1:{self.monitor_ports[number]}",
            "max_payload": 4 * 1024 * 1024,
            "cluster": {
                "name": "crossdock",
                "listen": f"127.0.0.1:{self.route_ports[number]}",
                **self.ways(number),
            },
            "jetstream": {
                "store_dir": str(folder / "store"),
                "sync_interval": "always",
                "max_memory_store": 4 << 30,
                "max_file_store": 8 << 30,
            },
        }
        lines = [f"{name}: {json.dumps(value)}" for name, value in document.items()]
        lines.append(f"authorization {{ include '{USERS_FILE}' }}")
        return "\n".join(lines) + "\n"
