"""Reads a filled stream to its end with the SDK's consumer; prints {"seconds": …}."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from crossdock_adapters.sdk.bus_credentials import BusCredentials
from crossdock_adapters.sdk.consumer import PullConsumer


async def read(told: dict[str, Any]) -> float:
    """Seconds from the first message to the last acknowledgement sent."""
    who = BusCredentials(told["user"], told["password"])
    got, started = 0, 0.0
    async with PullConsumer(told["url"], who, stream="BENCH", durable=told["durable"]) as consumer:
        async for batch in consumer.batches():
            started = started or time.monotonic()
            got += len(batch)
            await consumer.ack_many(batch)
            if got >= told["count"]:
                break
        return time.monotonic() - started


if __name__ == "__main__":
    print(json.dumps({"seconds": asyncio.run(read(json.loads(sys.argv[1])))}))
