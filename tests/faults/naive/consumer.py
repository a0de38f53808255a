"""The adapter as it is usually built, kept honest: `python -m tests.faults.naive.consumer CONFIG`.

It consumes approved orders, or packed shipments that need labels, from the event stream with a
durable consumer, explicit acknowledgements, redelivery and back-off, as the documentation of a
message queue advises; what it can't translate or the vendor does not take with a 2xx comes again.
How it does that is its mode.
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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import nats
import nats.errors
from crossdock import bus
from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.order.v1 import order_events_pb2
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

RETRY_SECONDS = 0.5
APPROVED = "crossdock.v1.event.order.approved.*"
PACKED = "crossdock.v1.event.fulfillment.packed.*"
GIVEN_UP = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"


@dataclass(frozen=True, slots=True)
class Habits:
    """How a consumer works.

    remembers: it notes in a durable table what the vendor has confirmed, and asks no second time
    for what is noted. looks_up: before each call it asks the vendor whether it knows the order, and
    creates it when the answer is anything but yes. at_once: calls, of all its vendors together.
    ahead: messages that it may hold, those in a call included. tries: deliveries of a message,
    after which the bus gives it up and says so once; -1 for no end. listens: it only listens to
    that, and notes it in a durable table.
    """

    remembers: bool = False
    looks_up: bool = False
    at_once: int = 16
    ahead: int = 32
    tries: int = -1
    listens: bool = False
    fetch_seconds: float = 1.0
    http_seconds: float = 1.5
    ack_wait_seconds: float = 4.0


MODES: Mapping[str, Habits] = {
    "ack-after-success": Habits(),
    "remember-after-success": Habits(remembers=True),
    "look-up-first": Habits(remembers=True, looks_up=True),
    # What nats-py waits for when it is told nothing, and what its users like to tell it.
    "fetch-for-5-s": Habits(at_once=1, fetch_seconds=5.0),
    "fetch-for-10-s": Habits(at_once=1, fetch_seconds=10.0),
    "one-at-a-time": Habits(at_once=1, ahead=1),
    # As long as a slow vendor needs, and an ack_wait that lets it.
    "shared-pool": Habits(http_seconds=25.0, ack_wait_seconds=60.0),
    "gives-up": Habits(remembers=True, tries=3),
    "listener": Habits(listens=True),
}


@dataclass(frozen=True, slots=True)
class Sale:
    """One thing that a vendor is asked for. key: what it is known by there and in the memory."""

    operation: str
    subject: str
    key: str
    business_unit: str
    revision: int


class Naive:
    """One consumer of one mode."""

    def __init__(self, config: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self.habits = MODES[config["mode"]]
        self._config = config
        self._session = session
        self._memory = sqlite3.connect(config["memory"], isolation_level=None)
        self._memory.execute("PRAGMA journal_mode=WAL")
        self._memory.execute("PRAGMA synchronous=FULL")
        for table in ("done (id TEXT PRIMARY KEY)", "given_up (sequence INTEGER PRIMARY KEY)"):
            self._memory.execute(f"CREATE TABLE IF NOT EXISTS {table}")

    async def note_given_up(self, advisory: Any) -> None:
        """Keep the number of a message that the bus has given up."""
        told = json.loads(advisory.data)
        self._memory.execute("INSERT OR IGNORE INTO given_up VALUES (?)", (told["stream_seq"],))

    async def handle(self, message: Any) -> None:
        """Ask the vendor, then acknowledge; what went wrong comes again."""
        event = self._event(message.data)
        if self._is_poison(event):
            await message.nak(delay=RETRY_SECONDS)
            return
        for sale in _sales(event):
            if self._remembers(sale):
                continue
            if not await self._sold(sale, message.metadata.num_delivered):
                await message.nak(delay=RETRY_SECONDS)
                return
            if self.habits.remembers:
                self._memory.execute("INSERT OR IGNORE INTO done VALUES (?)", (sale.key,))
        await message.ack()

    def _event(self, data: bytes) -> Any:
        if self._config["labels"]:
            return fulfillment_events_pb2.FulfillmentPacked.FromString(data)
        return order_events_pb2.OrderApproved.FromString(data)

    def _is_poison(self, event: Any) -> bool:
        if self._config["labels"]:
            return False
        return bool(event.order.ship_to.name == self._config["poison"])

    async def _sold(self, sale: Sale, attempt: int) -> bool:
        self._die_maybe("before", sale, attempt)
        try:
            known = self.habits.looks_up and await self._known(sale, attempt)
            sold = known or await self._sell(sale, attempt)
        except (aiohttp.ClientError, TimeoutError):
            return False
        if sold:
            self._die_maybe("after", sale, attempt)
        return sold

    def _remembers(self, sale: Sale) -> bool:
        found = self._memory.execute("SELECT 1 FROM done WHERE id = ?", (sale.key,)).fetchone()
        return found is not None

    def _vendor(self, sale: Sale) -> str:
        return f"{self._config['vendors'][sale.business_unit]}/documents"

    async def _known(self, sale: Sale, attempt: int) -> bool:
        told = {name: str(value) for name, value in _told(sale, attempt).items()}
        url = f"{self._vendor(sale)}/{sale.key}"
        timeout = aiohttp.ClientTimeout(total=self.habits.http_seconds)
        async with self._session.get(url, params=told, timeout=timeout) as answer:
            # What is usually overlooked: a failed search is not "there is nothing".
            found = await answer.json() if answer.status == 200 else {"documents": []}
            return bool(found["documents"])

    async def _sell(self, sale: Sale, attempt: int) -> bool:
        body = _told(sale, attempt)
        timeout = aiohttp.ClientTimeout(total=self.habits.http_seconds)
        async with self._session.post(self._vendor(sale), json=body, timeout=timeout) as answer:
            await answer.read()
            return answer.status == 201

    def _die_maybe(self, where: str, sale: Sale, attempt: int) -> None:
        words = f"{self._config['seed']}:{where}:{sale.subject}:{sale.operation}:{attempt}"
        if random.Random(words).random() < self._config["deaths"].get(where, 0.0):
            os.kill(os.getpid(), signal.SIGKILL)


def _sales(event: Any) -> list[Sale]:
    """What one event asks a vendor for: a booking of its order, or a label for each package."""
    told = event.metadata
    if isinstance(event, order_events_pb2.OrderApproved):
        order = event.order
        return [
            Sale("create_sales_order", order.number, told.id, order.business_unit, told.revision)
        ]
    unit = event.shipment.business_unit
    return [
        Sale("buy_label", each.number, f"{told.id}:{each.number}", unit, 0)
        for each in event.shipment.packages
    ]


def _told(sale: Sale, attempt: int) -> dict[str, Any]:
    return {
        "operation": sale.operation,
        "delivery_id": sale.key,
        "attempt": attempt,
        "key": sale.key,
        "subject": sale.subject,
        "revision": sale.revision,
        "sent_at": int(time.time() * 1e6),
        "lease_until": 0,
    }


async def main(config: dict[str, Any]) -> None:
    """Consume until killed."""
    client = await nats.connect(
        config["nats"], user=config["user"], password=config["password"],
        max_reconnect_attempts=-1, reconnect_time_wait=0.2,
    )  # fmt: skip
    async with aiohttp.ClientSession() as session:
        naive = Naive(config, session)
        if naive.habits.listens:
            await client.subscribe(f"{GIVEN_UP}.{bus.EVENT_STREAM}.*", cb=naive.note_given_up)
            await client.flush()
            Path(config["ready"]).write_text("{}")
            await asyncio.Event().wait()
        await consume(naive, client, config)


async def consume(naive: Naive, client: Client, config: dict[str, Any]) -> None:
    """Fetch and handle, as much at once as it may."""
    habits = naive.habits
    subscription = await client.jetstream().pull_subscribe(
        PACKED if config["labels"] else APPROVED,
        durable=f"naive-{config['mode']}",
        stream=bus.EVENT_STREAM,
        config=ConsumerConfig(
            ack_wait=habits.ack_wait_seconds,
            max_ack_pending=habits.ahead,
            max_deliver=habits.tries,
        ),
    )
    Path(config["ready"]).write_text("{}")
    slots = asyncio.Semaphore(habits.at_once)
    working: set[asyncio.Task[None]] = set()

    async def one(message: Any) -> None:
        async with slots:
            await naive.handle(message)

    while True:
        try:
            messages = await subscription.fetch(habits.at_once, timeout=habits.fetch_seconds)
        except (TimeoutError, nats.errors.Error):
            continue
        for message in messages:
            task = asyncio.create_task(one(message))
            working.add(task)
            task.add_done_callback(working.discard)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
