"""Copies of a hub's database and of its bus, and putting one of them back under the other."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from databases import FileDatabase
from fixtures_hub import RunningHub


def copy_database(hub: RunningHub, to: Path) -> None:
    """Copy the database of a hub that has ended, with its log."""
    hub.database.copy(to)


def copy_running_database(hub: RunningHub, to: Path) -> None:
    """Copy the database of a hub that works on it, as it is at one moment; SQLite only."""
    assert isinstance(hub.database, FileDatabase)
    hub.database.copy_running(to)


def put_back_database(hub: RunningHub, saved: Path) -> None:
    """Replace the database of a hub that has ended."""
    hub.database.put_back(saved)


def _streams(hub: RunningHub) -> Path:
    return hub.data / "nats" / "jetstream"


def copy_bus(hub: RunningHub, to: Path) -> None:
    """Copy the streams of a hub that has ended."""
    shutil.copytree(_streams(hub), to)


def put_back_bus(hub: RunningHub, saved: Path) -> None:
    """Replace the streams of a hub that has ended."""
    shutil.rmtree(_streams(hub))
    shutil.copytree(saved, _streams(hub))


def lose_running_bus(hub: RunningHub) -> int:
    """Take the whole store from under a hub that goes on: what starts its nats-server again finds
    nothing there. Returns the id of the server that was killed."""
    server = hub.nats_pid
    # So that it writes nothing anew while its files go.
    os.kill(server, signal.SIGSTOP)
    shutil.rmtree(_streams(hub))
    os.kill(server, signal.SIGKILL)
    return server


def differences(hub: RunningHub) -> dict[str, int]:
    """What the hub says about database and bus: kind -> how many."""
    return dict(hub.query("SELECT kind, count FROM bus_differences"))
