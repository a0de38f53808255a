"""Deliveries a second through the SDK's consumer, to FastStream on the same stream."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import Message
from crossdock_hub.bus.streams import ConsumerSpec, StreamSpec
from fixtures_nats import NatsProcess

from tests.load.measured import Figure, Options
from tests.load.processes import told_by

STREAM: Final = "BENCH"
MESSAGES: Final = 20_000
MESSAGE_BYTES: Final = 250
TARGET: Final = 3.0
ACK_WAIT_SECONDS: Final = 60.0
_MIB: Final = 1024 * 1024
# What reads the stream: module and how.
READERS: Final = {
    "sdk": ("consume_sdk", ""),
    "plain": ("floors_faststream", "plain"),
    "batch": ("floors_faststream", "batch"),
}


async def measure(directory: Path, options: Options) -> list[Figure]:
    """One stream in files that syncs always; each reader gets a consumer of its own, in turns."""
    server = NatsProcess(directory / "nats")
    server.settings.directory.mkdir(parents=True, exist_ok=True)
    server.start()
    bus = await Bus.connect(server.address)
    try:
        count = options.count(MESSAGES)
        await _fill(bus, count)
        rates: dict[str, list[float]] = {name: [] for name in READERS}
        for repetition in range(options.repetitions):
            for name in READERS:
                rates[name].append(await _rate(bus, server, name, f"{name}-{repetition}", count))
    finally:
        await bus.close()
        server.kill()
    sdk, plain, batch = rates["sdk"], rates["plain"], rates["batch"]
    return [
        Figure("consume", "SDK consumer, acknowledged", "msg/s", sdk, "FastStream", plain, TARGET),
        Figure("consume", "  beside it", "msg/s", sdk, "FastStream in batches", batch),
    ]


async def _fill(bus: Bus, count: int) -> None:
    await bus.ensure_streams([StreamSpec(STREAM, (STREAM,), "file", "limits", 3600.0, 512 * _MIB)])
    body = b"x" * MESSAGE_BYTES
    messages = [Message(STREAM, body, {"Nats-Msg-Id": str(number)}) for number in range(count)]
    for first in range(0, count, 1_000):
        results = await bus.publish_batch(messages[first : first + 1_000])
        assert all(result.is_stored for result in results), results[-1]


async def _rate(bus: Bus, server: NatsProcess, name: str, durable: str, count: int) -> float:
    spec = ConsumerSpec(STREAM, durable, STREAM, ACK_WAIT_SECONDS, 10_000, 20)
    await bus.ensure_consumer(spec)
    module, how = READERS[name]
    told: dict[str, Any] = {
        "url": server.address.url,
        "user": server.address.user,
        "password": server.address.password,
        "durable": durable,
        "count": count,
        "how": how,
    }
    seconds: float = (await asyncio.to_thread(told_by, module, json.dumps(told)))["seconds"]
    await bus.delete_consumer(STREAM, durable)
    return count / seconds
