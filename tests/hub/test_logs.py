"""The hub's log is one JSON object a line, also what its libraries say."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crossdock_hub import logs
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


class Pipe:
    """A pipe that somebody holds open, and reads when the test says so."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.lines = Lines(self.writer)

    @property
    def is_full(self) -> bool:
        return not select.select([], [self.writer], [], 0)[1]

    def read(self) -> list[dict[str, object]]:
        """The lines in it, behind the end of one that was cut; each has to be whole."""
        found = b""
        while select.select([self.reader], [], [], 0)[0]:
            found += os.read(self.reader, 65_536)
        return [json.loads(line) for line in found.splitlines() if line]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for descriptor in (made.reader, made.writer):
        os.close(descriptor)


def in_time(write: Callable[[], None], seconds: float = 20.0) -> None:
    """Write, beside the test: who waits for a pipe can't be told to stop."""
    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    writing.join(seconds)
    assert not writing.is_alive(), "it waits for a pipe that nobody reads"


@pytest.mark.parametrize("length", [10, 1_000, 100_000])
def test_a_pipe_that_nobody_reads_stops_nobody(pipe: Pipe, length: int) -> None:
    """Proves that lines for a pipe which is full are dropped instead of waited for, long ones too,
    after one wait for all of them; and that who reads it again gets whole lines, then how many it
    lacks, before the next one."""
    told = 0

    def write(count: int) -> None:
        nonlocal told
        for _ in range(count):
            pipe.lines.msg(json.dumps({"number": told, "text": "x" * length}))
            told += 1

    def fill() -> None:
        while not pipe.is_full:
            write(1)
        begun = time.monotonic()
        write(100)
        assert time.monotonic() - begun < 20 * logs.ROOM_SECONDS

    in_time(fill)
    raw = b""
    while select.select([pipe.reader], [], [], 0)[0]:
        raw += os.read(pipe.reader, 65_536)
    # Of the last one a part may be there, which is ended before anything else.
    whole = [line for line in raw.splitlines(keepends=True) if line.endswith(b"\n")]
    assert [json.loads(line)["number"] for line in whole] == list(range(len(whole)))
    pipe.lines.msg(json.dumps({"number": told}))
    lost, last = pipe.read()
    assert lost["event"] == "the log took no lines for a time"
    assert lost["lines"] == told - len(whole)
    assert int(str(lost["lines"])) >= 99 and last == {"number": told}


def test_who_reads_slowly_stops_nobody(pipe: Pipe) -> None:
    """Proves that a pipe in which a little room comes up all the time, less than is written, is
    waited for once, and not with each line for which there was no room; and that each line is there
    or among those that are said to be missing."""
    turns, told, found = 40, 0, b""
    took_seconds: list[float] = []

    def write(count: int) -> None:
        nonlocal told
        for _ in range(count):
            pipe.lines.msg(json.dumps({"number": told, "text": "x" * 1_000}))
            told += 1

    def fill() -> None:
        nonlocal found
        while not pipe.is_full:
            write(1)
        begun = time.monotonic()
        for _ in range(turns):
            found += os.read(pipe.reader, 4_096)
            write(8)
        took_seconds.append(time.monotonic() - begun)

    in_time(fill, 60.0)
    assert took_seconds[0] < turns / 4 * logs.ROOM_SECONDS
    while select.select([pipe.reader], [], [], 0)[0]:
        found += os.read(pipe.reader, 65_536)
    write(1)
    found += os.read(pipe.reader, 65_536)
    # One that was cut has an end, but none of its own.
    lines = [json.loads(line) for line in found.splitlines() if line.endswith(b"}")]
    numbers = [line["number"] for line in lines if "number" in line]
    assert numbers == sorted(set(numbers)) and numbers[-1] == told - 1
    assert len(numbers) + sum(line.get("lines", 0) for line in lines) == told


def test_who_reads_in_time_misses_nothing(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a pipe which is full for a moment is waited for."""
    monkeypatch.setattr(logs, "ROOM_SECONDS", 30.0)
    count = 300

    def write() -> None:
        for number in range(count):
            pipe.lines.msg(json.dumps({"number": number, "text": "x" * 1_000}))

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    deadline = time.monotonic() + 30
    while not pipe.is_full:
        assert time.monotonic() < deadline
    text = b""
    while text.count(b"\n") < count:
        assert time.monotonic() < deadline
        text += os.read(pipe.reader, 65_536)
    writing.join(30)
    assert [json.loads(line)["number"] for line in text.splitlines()] == list(range(count))
