"""One endpoint in a process of its own, for checks that need a real one to signal.

Deliveries come as lines of base64 on standard input, in place of the bus; everything else is what
`run` does: the hub over its socket, signals, the drain.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2

from crossdock_adapters.sdk import logs
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.conformance.stage import Queue, adjusted
from crossdock_adapters.sdk.conformance.subject import load
from crossdock_adapters.sdk.hosting import stop_on_signal
from crossdock_adapters.sdk.hub_link import HubLink, Registration
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.telemetry import Telemetry

MAX_LINE_BYTES = 4 * 1024 * 1024
# Beside the file with the state: where webhooks are listened for.
ADDRESS = ".address"


async def host(order: dict[str, Any]) -> None:
    """Serve until SIGTERM, then drain."""
    adapter = adjusted(load(order["place"]).adapter, order["ways_in"], None)
    stopping, queue, state = stop_on_signal(), Queue(), Path(order["state"])
    address = state.with_suffix(ADDRESS)
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )

    async def open_source(registration: Registration, prefetch: int) -> Queue:
        return queue

    async def read() -> None:
        while line := await reader.readline():
            dispatch = delivery_pb2.Dispatch.FromString(base64.b64decode(line))
            queue.put(dispatch, {})

    def changed() -> None:
        address.write_text(runner.webhook_url)
        fresh = state.with_suffix(".new")
        fresh.write_text(runner.state)
        fresh.replace(state)

    config = EndpointConfig(
        adapter.name,
        adapter.name,
        Path(order["token_file"]),
        webhook_port=0,
        settings=order["settings"],
    )
    async with HubClient(order["hub"], token_file=order["token_file"]) as client:
        link = HubLink(adapter.name, client, f"process-{os.getpid()}")
        runner = EndpointRunner(config, adapter, link, open_source, Telemetry(), changed)
        reading = asyncio.create_task(read())
        await runner.run(stopping)
        reading.cancel()


if __name__ == "__main__":
    logs.start()
    asyncio.run(host(json.loads(Path(sys.argv[1]).read_text())))
