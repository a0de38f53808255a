"""The floor of consuming: FastStream reads the same stream to its end; prints {"seconds": …}."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, Final

from faststream.nats import JStream, NatsBroker, PullSub

BATCH: Final = 500


async def read(told: dict[str, Any]) -> float:
    """Seconds from the first message to the last acknowledgement."""
    address = told["url"].replace("://", f"://{told['user']}:{told['password']}@", 1)
    broker = NatsBroker(address, logger=None)
    got, started = 0, 0.0
    done = asyncio.Event()
    batched = told["how"] == "batch"

    @broker.subscriber(
        "BENCH",
        stream=JStream("BENCH", declare=False),
        durable=told["durable"],
        pull_sub=PullSub(batch_size=BATCH, batch=batched),
    )
    async def take(message: Any) -> None:
        nonlocal got, started
        started = started or time.monotonic()
        got += len(message) if batched else 1
        if got >= told["count"]:
            done.set()

    await broker.start()
    await done.wait()
    seconds = time.monotonic() - started
    await broker.stop()
    return seconds


if __name__ == "__main__":
    print(json.dumps({"seconds": asyncio.run(read(json.loads(sys.argv[1])))}))
