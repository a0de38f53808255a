"""A service as it is usually ended: `python -m tests.faults.naive.service CONFIG`.

It answers calls, serves a stream and consumes from the bus. At SIGTERM it gives its server some
seconds, as the example of grpc.aio does, and drains its connection to the bus, as nats-py advises.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TextIO

import grpc
import nats
import nats.errors

SERVICE = "naive.Service"
GRACE_SECONDS = 5.0
# Of a call, so that some are under way whenever the end comes.
WORK_SECONDS = 0.05
TICK_SECONDS = 1.0
STREAM, SUBJECT = "NAIVE", "naive.event"


def handlers(done: TextIO) -> Any:
    """Do takes a while, and writes the request down when it is done; Follow has no end."""

    async def do(request: bytes, _context: Any) -> bytes:
        await asyncio.sleep(WORK_SECONDS)
        done.write(request.decode() + "\n")
        done.flush()
        return request

    async def follow(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        while True:
            yield b"tick"
            await asyncio.sleep(TICK_SECONDS)

    methods: dict[str, Any] = {
        "Do": grpc.unary_unary_rpc_method_handler(do),
        "Follow": grpc.unary_stream_rpc_method_handler(follow),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


async def consume(subscription: Any) -> None:
    """Until cancelled; nobody publishes, so that each fetch times out."""
    while True:
        try:
            for message in await subscription.fetch(1):
                await message.ack()
        except nats.errors.TimeoutError:
            continue


async def main(config: dict[str, Any], done: TextIO) -> None:
    """Serve until SIGTERM; the ends file says how long each part of the end took."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    client = await nats.connect(config["nats"], user=config["user"], password=config["password"])
    jetstream = client.jetstream()
    await jetstream.add_stream(name=STREAM, subjects=[SUBJECT])
    subscription = await jetstream.pull_subscribe(SUBJECT, durable="naive", stream=STREAM)
    consuming = asyncio.create_task(consume(subscription))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers(done),))
    server.add_insecure_port(config["address"])
    await server.start()
    Path(config["ready"]).write_text("{}")
    await stopping.wait()
    started = time.monotonic()
    await server.stop(GRACE_SECONDS)
    stopped = time.monotonic()
    consuming.cancel()
    await client.drain()
    ends = {"stop": stopped - started, "drain": time.monotonic() - stopped}
    Path(config["ends"]).write_text(json.dumps(ends))


def run(path: Path) -> None:
    """Serve as a configuration file says."""
    config = json.loads(path.read_text())
    with Path(config["done"]).open("a") as done:
        asyncio.run(main(config, done))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
