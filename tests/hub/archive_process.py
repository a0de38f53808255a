"""An archiver that is killed by kill -9: DIRECTORY, URL, the time in microseconds, the step."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archive_house import DAYS, HOT_HOURS, LIMITS, RETENTION_DAYS
from crossdock_hub.archive import archiver, parts
from crossdock_hub.archive.settling import rules_of
from crossdock_hub.committer import Committer
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.retention import ages, with_retention
from crossdock_hub.store import Store, archiving
from decisions import CONTRACT


def die(*_arguments: Any, **_named: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


async def die_soon(*_arguments: Any, **_named: Any) -> Any:
    die()


def half(writer: parts.PartWriter, lines: bytes) -> None:
    """Half of a flow is on disk."""
    writer._zip.write(lines[: len(lines) // 2])
    writer._zip.flush()
    writer._file.flush()
    die()


def die_when_renamed(directory: Path) -> None:
    """The directory of a part is not on disk yet; that of the archive itself is."""
    if list(directory.glob("*.jsonl.gz")):
        die()


# Where a pass ends: what is replaced by its end.
STEPS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "noted": (parts.PartWriter, "__init__", die),
    "half a file": (parts.PartWriter, "add", half),
    "not read back": (parts, "content_digest", die),
    "renamed": (parts, "_sync_directory", die_when_renamed),
    "noted as written": (archiver.Archiver, "_let_go", die_soon),
    "amid a transaction": (archiving, "_remember", die_soon),
    "after a slice": (archiver.Archiver, "_next_size", die),
    "all gone": (archiving, "still_there", die_soon),
    "done": (archiver.Archiver, "_prune", die_soon),
}


async def run(directory: Path, url: str, now: int) -> None:
    contract = with_retention(CONTRACT, dict.fromkeys(CONTRACT.events, RETENTION_DAYS))
    store = await Store.open(url, contract)
    committer = Committer(store, contract, LIMITS, Picker(LIMITS), lambda: now)
    committer.start([])
    rules = rules_of(DAYS, ages(contract, HOT_HOURS, LIMITS))
    made = archiver.Archiver(store, committer, LIMITS, rules, directory / "archive", lambda: now)
    await made.archive()


if __name__ == "__main__":
    where, name, end = STEPS[sys.argv[4]]
    setattr(where, name, end)
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
