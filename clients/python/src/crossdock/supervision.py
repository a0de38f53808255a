"""Tells the service manager (systemd and whoever speaks its protocol) how a process is.

The protocol is sd_notify(3): datagrams of `NAME=value` lines to the socket that NOTIFY_SOCKET
names. Without that variable nobody listens, and nothing is told.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"
# A manager that does not read for so long is not waited for any longer.
TELL_SECONDS: Final = 5.0
# sd_watchdog_enabled(3) asks for a sign of life every half of the time that is allowed.
SIGNS_A_TIMEOUT: Final = 2


def tell(state: str) -> bool:
    """Tell the manager; whether anybody was told. A manager that is gone stops nothing.

    A word that is said once waits until a full queue has room, for TELL_SECONDS at most: without
    READY a manager would end a process that serves. A sign of life waits for nobody.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # "@" stands for the zero byte with which names outside of the file system begin.
    name = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(0.0 if state == ALIVE else TELL_SECONDS)
            out.sendto(state.encode(), name)
    except OSError:
        return False
    return True


def watchdog_seconds() -> float | None:
    """How long the manager waits for a sign of life of this process; None: it asks for none."""
    microseconds, pid = (os.environ.get(f"WATCHDOG_{name}", "") for name in ("USEC", "PID"))
    if not microseconds.isdigit() or int(microseconds) == 0:
        return None
    # Children inherit the variables; they are meant for one process.
    return int(microseconds) / 1e6 if pid in ("", str(os.getpid())) else None


async def show_life() -> None:
    """Give signs of life for as long as the event loop turns, where they are asked for."""
    seconds = watchdog_seconds()
    while seconds is not None:
        tell(ALIVE)
        await asyncio.sleep(seconds / SIGNS_A_TIMEOUT)
