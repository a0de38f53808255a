"""The floor of the scans: grouped inserts into a bare table, and publishes of the same bytes."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import Message

WAITING_GROUPS: Final = 4
_TABLE: Final = (
    "CREATE TABLE scans (id TEXT PRIMARY KEY, dedupe_key BLOB NOT NULL UNIQUE, carrier_code TEXT,"
    " tracking_number TEXT, shipment_id TEXT, milestone TEXT, event_time INTEGER,"
    " record_time INTEGER, body BLOB)"
)
_INSERT: Final = "INSERT INTO scans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class BareGroups:
    """A table in a file of its own, on the connection settings that the hub uses."""

    def __init__(self, file: Path, bus: Bus) -> None:
        self._bus = bus
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode=WAL", "synchronous=FULL"):
            self._connection.execute(f"PRAGMA {setting}")
        self._connection.execute(_TABLE)

    def close(self) -> None:
        self._connection.close()

    async def run(
        self, rows: Sequence[Sequence[tuple[Any, ...]]], messages: Sequence[Sequence[Message]]
    ) -> float:
        """Seconds to insert each group in a transaction and publish its messages as a batch.

        The next group is inserted while one is published.
        """
        waiting: asyncio.Queue[Sequence[Message]] = asyncio.Queue(WAITING_GROUPS)
        started = time.monotonic()
        publisher = asyncio.create_task(self._publish(waiting, len(messages)))
        for group, told in zip(rows, messages, strict=True):
            await asyncio.to_thread(self._insert, group)
            await waiting.put(told)
        await publisher
        return time.monotonic() - started

    def _insert(self, group: Sequence[tuple[Any, ...]]) -> None:
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(_INSERT, group)
            cursor.execute("COMMIT")

    async def _publish(self, waiting: asyncio.Queue[Sequence[Message]], groups: int) -> None:
        for _ in range(groups):
            results = await self._bus.publish_batch(await waiting.get())
            assert all(result.is_stored for result in results), results[-1]


def bare_row(scan: Any, body: bytes) -> tuple[Any, ...]:
    """What the hub keeps of a scan, as values that need no more work."""
    now = time.time_ns() // 1_000
    return (
        str(uuid.uuid4()), uuid.uuid4().bytes, scan.carrier_code, scan.tracking_number,
        str(uuid.uuid4()), "IN_TRANSIT", now, now, body,
    )  # fmt: skip


def new_message(subject: str, body: bytes) -> Message:
    """A message that the stream has not seen."""
    return Message(subject, body, {"Nats-Msg-Id": str(uuid.uuid4())})
