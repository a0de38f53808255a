"""The hub's log is one JSON object a line, also what its libraries say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from crossdock_hub.logs import Lines
from small_volume import Volume

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


def test_a_log_that_takes_nothing_stops_nobody() -> None:
    """Proves that neither a hub's own line nor a library's raises where standard error has no room,
    or where nobody reads it any more, and that the process ends as it would."""
    gone, closed = os.pipe()
    os.close(gone)
    for errors in (os.open("/dev/full", os.O_WRONLY), closed):
        words = [sys.executable, "-c", f"{SAYS}\nprint('worked on')"]
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=60, check=False
        )
        os.close(errors)
        assert (done.returncode, done.stdout) == (0, "worked on\n")


def test_a_log_says_what_it_could_not(tmp_path: Path) -> None:
    """Proves on a file system that is really full that a line which was cut spoils no other, and
    that the first one with room again is preceded by how many were lost."""
    volume = Volume(tmp_path / "small", 1)
    descriptor = -1
    try:
        log = volume.directory / "log"
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        lines = Lines(descriptor)
        volume.fill()
        for number in range(20):
            lines.msg(json.dumps({"number": number, "text": "x" * 1_000}))
        volume.free()
        lines.msg(json.dumps({"number": 20}))
        lines.msg(json.dumps({"number": 21}))
        *before, told, first, second = log.read_text().splitlines()
    finally:
        os.close(descriptor)
        volume.remove()
    lost = json.loads(told)
    assert lost["event"] == "the log took no lines for a time"
    whole = [line for line in before if line.endswith("}")]
    assert lost["lines"] == 20 - len(whole) > 0
    assert [json.loads(line)["number"] for line in (first, second)] == [20, 21]
