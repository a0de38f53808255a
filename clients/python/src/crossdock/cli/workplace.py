"""The data directory of `crossdock dev`: tokens, secrets, ports, and who is at work in it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crossdock.cli.network import NETWORKS, SMALL, Network
from crossdock.cli.network.vendor import Dock
from crossdock.cli.ports import bound, chosen_ports
from crossdock.cli.private_files import kept_secret, private_directory, write_private
from crossdock.cli.problems import CommandError

DATA_VARIABLE: Final = "CROSSDOCK_DATA"
MAXIMUM_SEED: Final = 10_000
_NOTES: Final = "workplace.json"
_LOCK: Final = "dev.lock"
_RUNNING: Final = "running.json"
_OURS: Final = frozenset({
    _NOTES, _LOCK, _RUNNING, "endpoints.json", "tokens", "secrets", "hub", "config", "run", "log",
    "outbox", "vendors",
})  # fmt: skip
_TOKEN_BYTES: Final = 32
_MAXIMUM_LOCK_BYTES: Final = 64


def default_directory() -> Path:
    """Where `crossdock dev` keeps its data when nobody says otherwise."""
    return Path.home() / ".crossdock" / "dev"


@dataclass(frozen=True, slots=True)
class Running:
    """What a running `crossdock dev` tells the other commands."""

    pid: int
    hub_address: str
    nats_url: str
    metrics_url: str
    sandboxes: dict[str, dict[str, str]]


class Workplace:
    """One data directory. `open` makes what is missing; nothing in it is readable by others.

    network None: the one that the directory had last, the small one at first.
    """

    def __init__(self, directory: Path, network: Network | None = None) -> None:
        self.directory = directory.expanduser().absolute()
        self.network = network or self._last_network()
        self.ports: dict[str, int] = {}
        self.seed = 1
        self.host_keys: dict[str, str] = {}
        self._lock = -1

    @property
    def docks(self) -> Mapping[str, Dock]:
        """The warehouses of its network, by location number."""
        return self.network.docks

    @property
    def hub_directory(self) -> Path:
        return self.directory / "hub"

    @property
    def endpoints_file(self) -> Path:
        return self.directory / "endpoints.json"

    @property
    def running_file(self) -> Path:
        return self.directory / _RUNNING

    def token_file(self, endpoint: str) -> Path:
        """Where the token of an endpoint lies."""
        return self.directory / "tokens" / endpoint

    def secret_file(self, name: str) -> Path:
        """Where a secret between a sandbox and its adapter lies."""
        return self.directory / "secrets" / name

    def config_file(self, name: str) -> Path:
        """A generated configuration file."""
        return self.directory / "config" / f"{name}.toml"

    def vendor_file(self, name: str) -> Path:
        """Where a simulated vendor keeps its books between two starts."""
        return self.directory / "vendors" / f"{name}.books"

    def vendor_directory(self, name: str) -> Path:
        """What a simulated vendor has on its disk beside its books."""
        return self.directory / "vendors" / name

    def ready_file(self, name: str) -> Path:
        """Where a process tells that it serves, and where."""
        return self.directory / "run" / f"{name}.json"

    def log_file(self, name: str) -> Path:
        """What a process writes to its standard streams."""
        return self.directory / "log" / f"{name}.log"

    def lock(self) -> None:
        """Hold the directory for one `crossdock dev`. CommandError: another one has it."""
        private_directory(self.directory)
        descriptor = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, _MAXIMUM_LOCK_BYTES, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise CommandError(
                f"another crossdock dev (process {holder or 'unknown'}) works in {self.directory}",
                next_step="use that one, end it with Ctrl-C, or name another --data directory",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def unlock(self) -> None:
        """Give the directory up."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def wipe(self) -> None:
        """Remove everything that `crossdock dev` made here; foreign files stop it."""
        if not self.directory.exists():
            return
        foreign = sorted(path.name for path in self.directory.iterdir() if path.name not in _OURS)
        if foreign:
            raise CommandError(
                f"{self.directory} holds files that crossdock did not make: {', '.join(foreign)}",
                next_step="name a directory of crossdock's own with --data",
            )
        for path in self.directory.iterdir():
            if path.name == _LOCK:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def open(self) -> list[str]:
        """Make or read everything. Returns sentences about what had to change."""
        for name in (
            "", "tokens", "secrets", "hub", "config", "run", "log", "outbox", "vendors",
        ):  # fmt: skip
            private_directory(self.directory / name)
        for name in self.network.secrets:
            kept_secret(self.secret_file(name))
        self._write_endpoints()
        self.seed = int(self._notes().get("seed", 0)) % MAXIMUM_SEED + 1
        self.running_file.unlink(missing_ok=True)
        return self.choose_ports()

    def choose_ports(self) -> list[str]:
        """Take the ports that were chosen last where they are free, others where they are not.
        Returns sentences about those."""
        known = self._notes().get("ports", {})
        self.ports, remarks = chosen_ports(self.network.ports, known)
        notes = {"network": self.network.name, "seed": self.seed, "ports": self.ports}
        write_private(self.directory / _NOTES, json.dumps(notes, indent=2) + "\n")
        return remarks

    def taken_ports(self) -> list[str]:
        """Ports that were chosen last and that something listens on now, as "name 1234"."""
        found = []
        for name, port in sorted(self._notes().get("ports", {}).items()):
            listener = bound(port)
            if listener is None:
                found.append(f"{name} {port}")
            else:
                listener.close()
        return found

    def announce(self, running: Running) -> None:
        """Tell other commands what runs where."""
        document = {
            "pid": running.pid,
            "hub_address": running.hub_address,
            "nats_url": running.nats_url,
            "metrics_url": running.metrics_url,
            "sandboxes": running.sandboxes,
        }
        write_private(self.running_file, json.dumps(document, indent=2) + "\n")

    def running(self) -> Running | None:
        """What runs here now; None: nothing does."""
        try:
            document = json.loads(self.running_file.read_text("utf-8"))
            found = Running(**document)
        except (OSError, ValueError, TypeError):
            return None
        return found if _is_alive(found.pid) else None

    def _last_network(self) -> Network:
        last = self._notes().get("network")
        return next((each for each in NETWORKS.values() if each.name == last), SMALL)

    def _notes(self) -> dict[str, Any]:
        try:
            notes = json.loads((self.directory / _NOTES).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return notes if isinstance(notes, dict) else {}

    def _write_endpoints(self) -> None:
        document: dict[str, Any] = {}
        for endpoint, (role, scope) in self.network.endpoints.items():
            token = _kept_token(self.token_file(endpoint))
            digest = hashlib.sha256(token.encode()).hexdigest()
            document[endpoint] = {"role": role, "token_sha256": [digest]}
            if scope:
                document[endpoint]["scope"] = scope
        write_private(self.endpoints_file, json.dumps(document, indent=2) + "\n")


def _kept_token(path: Path) -> str:
    """The token in a file; a new one, with a prefix for secret scanners, where there is none."""
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        token = f"xd_{path.name}_{secrets.token_urlsafe(_TOKEN_BYTES)}"
        write_private(path, token + "\n")
        return token


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
