"""The hub's log is one JSON object a line, also what its libraries say."""

from __future__ import annotations

import json
import subprocess
import sys

# What a hub's libraries do when something breaks in them: nats-py of a connection of which nobody
# asked to be told, and asyncio of a task that failed alone.
SAYS = """
import asyncio, gc
import structlog
from nats.aio.client import _default_error_callback
from crossdock_hub import logs

logs.start("info")

async def fail():
    raise ValueError("nobody asked")

async def main():
    await _default_error_callback(ConnectionResetError("gone"))
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    del task
    gc.collect()
    structlog.get_logger("hub").info("ours", reason="none")

asyncio.run(main())
"""


def test_what_a_library_says_is_one_line() -> None:
    """Proves that the traceback of a library is part of one JSON line with its logger and level,
    and not loose text between the lines of the hub, which are as they were."""
    done = subprocess.run(
        [sys.executable, "-c", SAYS], capture_output=True, text=True, timeout=60, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    bus, task, own = lines
    assert (bus["event"], bus["logger"]) == ("nats: encountered error", "nats.aio.client")
    assert (bus["level"], task["level"], own["level"]) == ("error", "error", "info")
    assert "ConnectionResetError: gone" in bus["exception"]
    assert task["logger"] == "asyncio" and "nobody asked" in task["exception"]
    assert (own["event"], own["reason"]) == ("ours", "none")
    assert all(line["timestamp"].endswith("Z") for line in lines)
