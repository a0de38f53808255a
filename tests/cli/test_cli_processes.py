"""Supervised children: started again with growing pauses, ended in time, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crossdock.cli.problems import CommandError
from crossdock.cli.processes import Child, Program

WAIT_SECONDS = 60.0
READY = (
    "import json, os, pathlib, time; "
    "pathlib.Path('{ready}').write_text(json.dumps({{'pid': os.getpid()}})); "
)


def program(folder: Path, code: str, stop_seconds: float = 5.0) -> Program:
    ready = folder / "ready.json"
    return Program(
        name="worker",
        arguments=("-c", READY.format(ready=ready) + code),
        log_file=folder / "worker.log",
        ready_file=ready,
        environment=dict(os.environ),
        stop_seconds=stop_seconds,
    )


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


async def test_a_killed_child_is_started_again_and_said(tmp_path: Path) -> None:
    """Whoever watches the terminal learns what died, how, and that it serves again."""
    said: list[str] = []
    child = Child(program(tmp_path, "time.sleep(600)"), said.append)
    await child.start()
    await child.wait_ready(WAIT_SECONDS)
    child.supervise()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: "worker: serving again" in said)
    assert child.restarts == 1
    assert child.pid not in (0, first)
    assert any("ended by SIGKILL; starting again in 0.5 s" in line for line in said)
    last = child.pid
    await child.stop()
    assert not alive(last)


async def test_pauses_between_restarts_grow(tmp_path: Path) -> None:
    """A child that cannot live does not eat the machine."""
    said: list[str] = []
    child = Child(program(tmp_path, "raise SystemExit(3)"), said.append)
    await child.start()
    child.supervise()
    await until(lambda: child.restarts == 2)
    await child.stop()
    ends = [line for line in said if "starting again" in line]
    assert "ended with status 3; starting again in 0.5 s" in ends[0]
    assert "starting again in 1 s" in ends[1]


async def test_a_child_that_will_not_end_is_killed(tmp_path: Path) -> None:
    """SIGTERM first, SIGKILL after its time, and the terminal says so."""
    said: list[str] = []
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    stubborn += f"pathlib.Path('{tmp_path}/deaf').touch(); time.sleep(600)"
    child = Child(program(tmp_path, stubborn, stop_seconds=0.3), said.append)
    await child.start()
    await until((tmp_path / "deaf").exists)
    pid = child.pid
    await child.stop()
    assert not alive(pid)
    assert said == ["worker did not end in time and was killed"]


async def test_a_child_that_does_not_come_up_shows_its_last_words(tmp_path: Path) -> None:
    """The error names the program, quotes its log, and says where the rest is."""
    broken = program(tmp_path, "")
    code = "import sys; print('the port is taken', file=sys.stderr); sys.exit(78)"
    child = Child(Program("hub", ("-c", code), broken.log_file, broken.ready_file), print)
    await child.start()
    with pytest.raises(CommandError) as caught:
        await child.wait_ready(WAIT_SECONDS)
    assert caught.value.what == "hub ended before it served"
    assert "the port is taken" in caught.value.why
    assert str(broken.log_file) in caught.value.next_step


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
async def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    """kill -9 of crossdock dev leaves nobody behind."""
    ready = tmp_path / "ready.json"
    code = f"""
import asyncio, sys
from pathlib import Path
from crossdock.cli.processes import Child, Program
async def main():
    child = Child(Program("worker", ("-c", {READY.format(ready=ready) + "time.sleep(600)"!r}),
                          Path({str(tmp_path / "log")!r}), Path({str(ready)!r})), print)
    await child.start()
    await child.wait_ready({WAIT_SECONDS})
    print(child.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert parent.stdout is not None
        child_pid = int(await parent.stdout.readline())
        assert alive(child_pid)
    finally:
        parent.kill()
        await parent.wait()
    await until(lambda: not alive(child_pid))
