"""The adapter as it is usually built, kept honest: `python -m tests.faults.naive.consumer CONFIG`.

It consumes approved orders from the event stream with a durable consumer, explicit
acknowledgements, redelivery and back-off, as the documentation of a message queue advises.

ack-after-success: acknowledges after a 2xx, anything else comes again.
remember-after-success: besides, notes in a durable SQLite table what the vendor has confirmed, and
asks no second time for what is noted.
look-up-first: besides, asks the vendor before each call whether it knows the order, and creates it
when the answer is anything but yes.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import nats
import nats.errors
from crossdock import bus
from crossdock.order.v1 import order_events_pb2
from nats.js.api import ConsumerConfig

ACK_WAIT_SECONDS = 4.0
HTTP_SECONDS = 1.5
RETRY_SECONDS = 0.5
AT_ONCE = 16
FETCH_SECONDS = 1.0
SUBJECT = "crossdock.v1.event.order.approved.*"


class Naive:
    """One consumer of one mode."""

    def __init__(self, config: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self._config = config
        self._session = session
        self._memory: sqlite3.Connection | None = None
        if config["mode"] != "ack-after-success":
            self._memory = sqlite3.connect(config["memory"], isolation_level=None)
            self._memory.execute("PRAGMA journal_mode=WAL")
            self._memory.execute("PRAGMA synchronous=FULL")
            self._memory.execute("CREATE TABLE IF NOT EXISTS done (id TEXT PRIMARY KEY)")

    async def handle(self, message: Any) -> None:
        """Ask the vendor, then acknowledge; what went wrong comes again."""
        event = order_events_pb2.OrderApproved.FromString(message.data)
        event_id = event.metadata.id
        if self._memory is not None and self._remembers(event_id):
            await message.ack()
            return
        attempt = message.metadata.num_delivered
        self._die_maybe("before", event, attempt)
        try:
            known = self._config["mode"] == "look-up-first" and await self._known(event, attempt)
            sold = known or await self._sell(event, attempt)
        except (aiohttp.ClientError, TimeoutError):
            sold = False
        if not sold:
            await message.nak(delay=RETRY_SECONDS)
            return
        self._die_maybe("after", event, attempt)
        if self._memory is not None:
            self._memory.execute("INSERT OR IGNORE INTO done VALUES (?)", (event_id,))
        await message.ack()

    def _remembers(self, event_id: str) -> bool:
        assert self._memory is not None
        found = self._memory.execute("SELECT 1 FROM done WHERE id = ?", (event_id,)).fetchone()
        return found is not None

    async def _known(self, event: Any, attempt: int) -> bool:
        told = {name: str(value) for name, value in self._told(event, attempt).items()}
        url = f"{self._config['vendor']}/documents/{event.metadata.id}"
        timeout = aiohttp.ClientTimeout(total=HTTP_SECONDS)
        async with self._session.get(url, params=told, timeout=timeout) as answer:
            # What is usually overlooked: a failed search is not "there is nothing".
            found = await answer.json() if answer.status == 200 else {"numbers": []}
            return bool(found["numbers"])

    def _told(self, event: Any, attempt: int) -> dict[str, Any]:
        return {
            "operation": "create_sales_order",
            "delivery_id": event.metadata.id,
            "attempt": attempt,
            "key": event.metadata.id,
            "subject": event.order.number,
            "revision": event.metadata.revision,
            "sent_at": int(time.time() * 1e6),
            "lease_until": 0,
        }

    async def _sell(self, event: Any, attempt: int) -> bool:
        body = self._told(event, attempt)
        url = f"{self._config['vendor']}/documents"
        timeout = aiohttp.ClientTimeout(total=HTTP_SECONDS)
        async with self._session.post(url, json=body, timeout=timeout) as answer:
            await answer.read()
            return answer.status == 201

    def _die_maybe(self, where: str, event: Any, attempt: int) -> None:
        words = f"{self._config['seed']}:{where}:{event.order.number}:create_sales_order:{attempt}"
        if random.Random(words).random() < self._config["deaths"].get(where, 0.0):
            os.kill(os.getpid(), signal.SIGKILL)


async def main(config: dict[str, Any]) -> None:
    """Consume until killed."""
    client = await nats.connect(
        config["nats"], user=config["user"], password=config["password"],
        max_reconnect_attempts=-1, reconnect_time_wait=0.2,
    )  # fmt: skip
    durable = f"naive-{config['mode']}"
    subscription = await client.jetstream().pull_subscribe(
        SUBJECT,
        durable=durable,
        stream=bus.EVENT_STREAM,
        config=ConsumerConfig(ack_wait=ACK_WAIT_SECONDS, max_ack_pending=AT_ONCE * 2),
    )
    Path(config["ready"]).write_text("{}")
    async with aiohttp.ClientSession() as session:
        naive = Naive(config, session)
        slots = asyncio.Semaphore(AT_ONCE)
        working: set[asyncio.Task[None]] = set()

        async def one(message: Any) -> None:
            async with slots:
                await naive.handle(message)

        while True:
            try:
                messages = await subscription.fetch(AT_ONCE, timeout=FETCH_SECONDS)
            except (TimeoutError, nats.errors.Error):
                continue
            for message in messages:
                task = asyncio.create_task(one(message))
                working.add(task)
                task.add_done_callback(working.discard)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
