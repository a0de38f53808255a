"""Loopback ports of `crossdock dev`: free, and nobody else's before their processes start."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from crossdock.cli.private_files import PRIVATE_FILE
from crossdock.cli.problems import CommandError

# Below the ports that systems give out by themselves: nobody gets one of these by chance in the
# moment between choosing it and its process being up, or while that process is down.
PORT_RANGE: Final = range(20_000, 32_000)
PORT_TRIES: Final = 100


def chosen_ports(names: Iterable[str], kept: Any) -> tuple[dict[str, int], list[str]]:
    """A free loopback port per name, those of the last run where they are still free.

    They are this process's until it ends: another `crossdock dev` that chooses passes them over.
    """
    known = kept if isinstance(kept, dict) else {}
    ports: dict[str, int] = {}
    remarks: list[str] = []
    held: list[socket.socket] = []
    try:
        for name in names:
            wanted = known.get(name, 0)
            given = set(ports.values())
            found = _chosen(wanted, given) if isinstance(wanted, int) and wanted else None
            if found is None:
                found = _free_port(given)
            if wanted and found.getsockname()[1] != wanted:
                remarks.append(f"port {wanted} ({name}) is taken; now {found.getsockname()[1]}")
            held.append(found)
            ports[name] = found.getsockname()[1]
    finally:
        for each in held:
            each.close()
    return ports, remarks


def bound(port: int) -> socket.socket | None:
    """A socket at a loopback port. None: something listens there."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        return None
    return listener


def _free_port(given: Collection[int]) -> socket.socket:
    for _ in range(PORT_TRIES):
        found = _chosen(secrets.choice(PORT_RANGE), given)
        if found is not None:
            return found
    raise CommandError(
        f"no port from {PORT_RANGE.start} to {PORT_RANGE.stop - 1} is free on 127.0.0.1",
        next_step="end what holds them, then start again",
    )


def _chosen(port: int, given: Collection[int]) -> socket.socket | None:
    """A socket at a port that nothing listens on and that nobody else has chosen. given: what other
    names have; a socket that does not listen keeps no second one from its port."""
    listener = None if port in given else bound(port)
    if listener is not None and not _claimed(port):
        listener.close()
        return None
    return listener


def _claimed(port: int) -> bool:
    """Whether the port is this process's now: a byte of a file that all of a user's processes lock,
    and lose when they end. A process that another one starts binds its port a second later, and a
    socket that were kept until then would be in its way."""
    claims = _claims()
    if claims is None:
        return True
    try:
        fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _claims() -> int | None:
    """The file, open as long as the process lives: closing it once would give up every claim. None:
    there is no place for it, and ports are chosen without."""
    path = Path(tempfile.gettempdir()) / f"crossdock-ports-{os.getuid()}"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError:
        return None
