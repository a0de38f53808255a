"""A consumer of approved orders as it is usually built.

`python -m tests.load.peers.consumer CONFIG` runs it:
FastStream on a durable consumer of JetStream: it calls the vendor, and acknowledges when the vendor
answered 201. Whatever went wrong comes again.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import aiohttp
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub

from tests.load.peers.service import STREAM, SUBJECT

DURABLE: Final = "erp"
CALLS_AT_ONCE: Final = 16
CALL_SECONDS: Final = 1.5


async def consume(config: dict[str, Any]) -> None:
    """Until SIGTERM."""
    broker = NatsBroker(config["nats"], logger=None, max_reconnect_attempts=-1)
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_SECONDS))

    @broker.subscriber(
        SUBJECT,
        stream=JStream(STREAM, declare=False),
        durable=DURABLE,
        pull_sub=PullSub(batch_size=CALLS_AT_ONCE),
        max_workers=CALLS_AT_ONCE,
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    async def book(order: dict[str, Any], message: NatsMessage) -> None:
        body = _told(order["number"], message.raw_message.metadata.num_delivered)
        async with session.post(f"{config['vendor']}/documents", json=body) as answer:
            answer.raise_for_status()

    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await broker.start()
    Path(config["ready"]).write_text("{}")
    await stopping.wait()
    await broker.stop()
    await session.close()


def _told(number: str, attempt: int) -> dict[str, Any]:
    """What the sandbox asks every caller for."""
    return {
        "operation": "create_sales_order", "delivery_id": number, "attempt": attempt,
        "key": number, "subject": number, "revision": 0,
        "sent_at": int(time.time() * 1e6), "lease_until": 0,
    }  # fmt: skip


if __name__ == "__main__":
    asyncio.run(consume(json.loads(Path(sys.argv[1]).read_text())))
