"""Where a hub listens, what stands against it, and which hubs may share a port.

A port has one hub, unless several of one database are told to share it: then the kernel spreads the
connections of callers over them, and each has a port of its own beside it, for the other hubs.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Final

from crossdock.errors import ConfigurationError

from crossdock_hub.config import Settings
from crossdock_hub.door.certificate import check_certificate
from crossdock_hub.store.which_database import which_database
from crossdock_hub.taken import AddressTaken

PORT_MAX: Final = 65_535
LOOPBACK: Final = ("127.0.0.1:", "localhost:", "[::1]:", "unix:")
# Names of sockets that no file stands for: the kernel forgets them with their process.
_SOCKETS: Final = Path("/proc/net/unix")
_MARK: Final = "crossdock-port"
# Of what follows the port in a mark: address, database, process. Older hubs take the number for
# another database, and give way.
_MARK_FORMAT: Final = "2"
# What stands for all addresses in a mark: a socket bound so takes callers of each, of both
# families, and so it meets every other one at its port.
EVERY_ADDRESS: Final = "*"
_DIGEST_CHARACTERS: Final = 16
_CHANCE_BYTES: Final = 8


def check_address(settings: Settings) -> None:
    """Raise ConfigurationError in one clear sentence when the hub can't listen as it is told to;
    AddressTaken where another process does.

    Asked before anything is started; what is true a moment later, `Server.start` finds out.
    """
    check_certificate(settings)
    listen = settings.listen
    host, _, port = listen.rpartition(":")
    # An IPv6 address without brackets says not where it ends.
    whole = port.isdigit() and int(port) <= PORT_MAX and (":" not in host or host.endswith("]"))
    if not host or not (whole or listen.startswith("unix:")):
        raise ConfigurationError(
            f"CROSSDOCK_LISTEN {listen!r} is no host:port; write 127.0.0.1:7443, or [::1]:7443, "
            f"with a port up to {PORT_MAX}"
        )
    plain = not (settings.tls_certificate_file and settings.tls_key_file)
    if plain and not listen.startswith(LOOPBACK) and not settings.allow_plaintext:
        raise ConfigurationError(
            f"{listen} is not loopback and there is no certificate: set "
            "CROSSDOCK_TLS_CERTIFICATE_FILE and CROSSDOCK_TLS_KEY_FILE, or "
            "CROSSDOCK_ALLOW_PLAINTEXT=true behind a proxy that ends TLS"
        )
    _check_free(listen, settings)
    if settings.share_port:
        _check_free(own_listen(settings), settings)


def own_listen(settings: Settings) -> str:
    """Where a hub that shares its port listens alone: the port that others are told of."""
    host = settings.listen.rpartition(":")[0]
    return f"{host}:{settings.advertise.rpartition(':')[2] or 0}"


def not_bound(
    address: str,
    why: str,
    settings: Settings,
    kind: type[ConfigurationError] = AddressTaken,
) -> ConfigurationError:
    """The error of an address that can't be bound, with what to do about it."""
    said = f"{address} can't be bound ({why})"
    free = "set CROSSDOCK_LISTEN to a free port, or to port 0 for any"
    if address != settings.listen:
        return kind(f"{said}; set CROSSDOCK_ADVERTISE to a free port, or to port 0 for any")
    if settings.share_port and kind is AddressTaken:
        return kind(
            f"{said}: who has it does not share it; start every hub of the database there with "
            "CROSSDOCK_SHARE_PORT=true, as one user, or set CROSSDOCK_LISTEN to another port"
        )
    if settings.shared_database and kind is AddressTaken:
        return kind(
            f"{said}; {free}; hubs of one database on one machine listen at one port when each of "
            "them is started with CROSSDOCK_SHARE_PORT=true"
        )
    return kind(f"{said}; {free}")


def _check_free(address: str, settings: Settings) -> None:
    host, _, port = address.rpartition(":")
    if address.startswith("unix:") or not port.isdigit():
        return
    shared = settings.share_port and address == settings.listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            tried.bind((host.strip("[]"), int(port)))
            if not shared:
                # Where hubs share a port, one that listens gets callers: for this one, nobody's.
                tried.listen()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        kind = AddressTaken if error.errno == errno.EADDRINUSE else ConfigurationError
        raise not_bound(address, why, settings, kind) from None


def check_port_sharing(settings: Settings) -> None:
    """Refuse settings with which hubs can't share a port. Raises ConfigurationError."""
    if not settings.share_port:
        return
    if not settings.shared_database:
        raise ConfigurationError(
            "CROSSDOCK_SHARE_PORT=true is for several hubs of one PostgreSQL database: callers "
            "reach any of them, and a database of SQLite, or one that is not shared, has one hub; "
            "set CROSSDOCK_SHARED_DATABASE=true too, or CROSSDOCK_SHARE_PORT=false"
        )
    if sys.platform != "linux":
        raise ConfigurationError(
            "CROSSDOCK_SHARE_PORT=true needs Linux, which spreads callers over those who listen at "
            "a port; give each hub a port of its own, and set CROSSDOCK_SHARE_PORT=false"
        )
    port = settings.listen.rpartition(":")[2]
    if settings.listen.startswith("unix:") or not port.isdigit() or port == "0":
        raise ConfigurationError(
            f"CROSSDOCK_LISTEN {settings.listen!r} names no port that hubs could share; set it to "
            "host:port, the same for each of them"
        )
    if settings.advertise.rpartition(":")[2] == port:
        raise ConfigurationError(
            f"CROSSDOCK_ADVERTISE {settings.advertise!r} has the port that the hubs share, where "
            "any of them answers; give it a port of this hub's own, or port 0 for a free one"
        )


def addresses_of(listen: str) -> list[str]:
    """The addresses that a hub listens at, each as it is written shortest; `EVERY_ADDRESS` for
    those that stand for all. listen: host:port. Raises OSError where the host has none."""
    host, _, port = listen.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return sorted({_written(str(address[0])) for *_, address in found})


def _written(address: str) -> str:
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        return EVERY_ADDRESS
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _process(mark: str) -> str:
    """The number of the process whose mark it is: last in each format."""
    return mark.rpartition("/")[2].partition("-")[0]


class PortMark:
    """Says to other hubs on this machine at which address and shared port this one listens, and of
    which database it is, for as long as its process lives."""

    def __init__(self, settings: Settings) -> None:
        self._listen = settings.listen
        where = which_database(settings.database_url)
        self._database = hashlib.sha256(where.encode()).hexdigest()[:_DIGEST_CHARACTERS]
        self._prefix = f"{_MARK}/{settings.listen.rpartition(':')[2]}/"
        self._sockets: list[socket.socket] = []

    def set(self) -> None:
        """Say so. ConfigurationError: a hub of another database has said so of an address and port
        where callers may reach this one; of two that say so at once, each finds the other one."""
        try:
            ours = addresses_of(self._listen)
            for address in ours:
                self._say(address)
            # A name is whatever bytes its process gave it.
            told = _SOCKETS.read_text(errors="replace")
        except OSError as error:
            self.clear()
            raise ConfigurationError(
                f"who else listens at {self._listen} can't be told ({error.strerror}, "
                f"{_SOCKETS}); give this hub a port of its own, and set CROSSDOCK_SHARE_PORT=false"
            ) from None
        names = (line.rpartition("@")[2] for line in told.splitlines())
        marks = [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]
        foreign = [mark for mark in marks if not mark.startswith(f"{_MARK_FORMAT}/")]
        if foreign:
            self.clear()
            raise ConfigurationError(
                f"{self._listen} is shared by hubs of another version (process "
                f"{_process(foreign[0])}), of which this one can't tell whose callers would reach "
                "it; stop them first, or set CROSSDOCK_LISTEN to another port"
            )
        others = [mark for mark in marks if self._is_in_the_way(mark, ours)]
        if others:
            self.clear()
            process = _process(others[0])
            raise ConfigurationError(
                f"{self._listen} is shared by hubs (process {process}) with another "
                "CROSSDOCK_DATABASE_URL, whose callers would reach this one; set it to the same "
                "text as theirs if the database is the same, or CROSSDOCK_LISTEN to another port"
            )

    def _say(self, address: str) -> None:
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sockets.append(mark)
        # In two containers on the host's network both may be process 1.
        own = f"{os.getpid()}-{secrets.token_hex(_CHANCE_BYTES)}"
        mark.bind(f"\0{self._prefix}{_MARK_FORMAT}/{address}/{self._database}/{own}")

    def _is_in_the_way(self, mark: str, ours: list[str]) -> bool:
        """Whether a hub of another database listens where callers of this one may come."""
        _format, address, database, *_process = mark.split("/")
        meets = address in ours or EVERY_ADDRESS in (address, *ours)
        return meets and database != self._database

    def clear(self) -> None:
        """Say so no more."""
        while self._sockets:
            self._sockets.pop().close()
