"""A NATS server or cluster of your own: where it is, and who we are there. Read from settings."""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from crossdock.errors import ConfigurationError

from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.errors import BusDenied
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.streams import MAX_MESSAGE_BYTES
from crossdock_hub.config import Settings

REPLICAS: Final = (1, 3, 5)
MAX_CREDENTIALS_BYTES: Final = 64 * 1024
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_SCHEMES: Final = ("nats", "tls")
_SEED_START: Final = "SU"


def external_address(settings: Settings) -> BusAddress:
    """The address of the bus at `nats_url`. ConfigurationError: it, or a file of it, is wrong."""
    check_bus_url(settings)
    authority = str(settings.nats_ca_file or "")
    if settings.nats_ca_file and not settings.nats_ca_file.is_file():
        raise ConfigurationError(f"CROSSDOCK_NATS_CA_FILE {authority} is no file")
    if settings.nats_ca_file:
        try:
            ssl.create_default_context(cafile=authority)
        except OSError as error:
            raise ConfigurationError(
                f"CROSSDOCK_NATS_CA_FILE {authority} holds no certificate in PEM ({error})"
            ) from None
    path = settings.nats_credentials_file
    if path is None:
        return BusAddress(settings.nats_url, tls_ca_file=authority)
    if path.suffix == ".creds":
        _credentials(path)
        return BusAddress(settings.nats_url, credentials_file=str(path), tls_ca_file=authority)
    text = _credentials(path)
    if text.startswith(_SEED_START) and len(text.split()) == 1:
        return BusAddress(settings.nats_url, nkey_seed=text, tls_ca_file=authority)
    try:
        document = json.loads(text)
        user, password = str(document["user"]), str(document["password"])
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"CROSSDOCK_NATS_CREDENTIALS_FILE {path} is neither a .creds file, nor an nkey "
            "seed, nor JSON with user and password"
        ) from None
    return BusAddress(settings.nats_url, user, password, tls_ca_file=authority)


def check_bus_url(settings: Settings) -> None:
    """Refuse to send credentials and events in clear off this machine."""
    for url in settings.nats_url.split(","):
        parts = urlsplit(url.strip())
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ConfigurationError(
                f"CROSSDOCK_NATS_URL has {url.strip()!r}, which is no nats://host:port and no "
                "tls://host:port; of a cluster name every node, with commas between"
            )
        local = parts.hostname in _LOOPBACK
        if parts.scheme != "tls" and not local and not settings.allow_plaintext:
            raise ConfigurationError(
                f"CROSSDOCK_NATS_URL {parts.scheme}://{parts.hostname} is neither tls:// nor "
                "loopback; use tls://, or CROSSDOCK_ALLOW_PLAINTEXT=true in a network you trust"
            )


async def connected(settings: Settings, connecting: Awaitable[Bus]) -> Bus:
    """A connection to the bus at `nats_url` that takes the hub's messages.

    Raises BusDenied, with the setting that says who we are; ConfigurationError: it takes only
    smaller messages, and the first event with a label's image would keep all others waiting.
    """
    try:
        bus = await connecting
    except BusDenied as denied:
        file = settings.nats_credentials_file
        who = f"holds {file}" if file else "is not set"
        raise BusDenied(f"{denied}; CROSSDOCK_NATS_CREDENTIALS_FILE {who}") from None
    if bus.message_bytes_max < MAX_MESSAGE_BYTES:
        await bus.close()
        raise ConfigurationError(
            f"the NATS server at CROSSDOCK_NATS_URL takes messages of {bus.message_bytes_max:,} "
            f"bytes at most, and the hub has some of {MAX_MESSAGE_BYTES:,}: set max_payload: 4MB "
            "in the configuration of every node, and reload it"
        )
    return bus


def check_replicas(settings: Settings) -> None:
    """Refuse copies on more nodes than there are: the embedded server is one."""
    if settings.nats_replicas not in REPLICAS:
        raise ConfigurationError(
            f"CROSSDOCK_NATS_REPLICAS={settings.nats_replicas} must be 1, 3 or 5: an even number "
            "of copies survives no more losses than the odd one below it"
        )
    if settings.nats_replicas > 1 and not settings.nats_url:
        raise ConfigurationError(
            f"CROSSDOCK_NATS_REPLICAS={settings.nats_replicas} needs a cluster: set "
            "CROSSDOCK_NATS_URL to its nodes, or leave it at 1 with the embedded nats-server"
        )


def _credentials(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_CREDENTIALS_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"CROSSDOCK_NATS_CREDENTIALS_FILE {path} can't be read ({type(error).__name__})"
        ) from None
