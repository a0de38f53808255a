"""What an idle `crossdock dev` takes: CPU as a share of a core, and memory.

Hub, nats-server, adapters, simulated vendors and the command itself are counted together. Nothing
is asked of them. Memory is proportional (PSS): what processes share is counted once.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fixtures_hub import BYTECODE
from fixtures_nats import DIES_WITH_PARENT, eventually

from tests.load.measured import Figure, Options
from tests.load.taken import cpu_seconds, process_tree, proportional_bytes

SETTLE_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 20.0
START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 30.0
CPU_PERCENT_MAX: Final = 2.0
MEBIBYTES_MAX: Final = 450.0


async def measure(directory: Path, options: Options) -> list[Figure]:
    """Some looks at one installation that has settled."""
    place = directory / "dev"
    with _dev(place, directory / "said") as pid:
        await eventually((place / "running.json").exists, "an installation", START_SECONDS)
        await asyncio.sleep(SETTLE_SECONDS)
        shares = [await _cpu_percent(pid) for _ in range(options.repetitions)]
        tree = process_tree(pid)
        held = sum(map(proportional_bytes, tree)) / 2**20
    count = len(tree)
    return [
        Figure("idle", f"crossdock dev at rest, {count} processes", "% CPU", shares,
               target=CPU_PERCENT_MAX, at_most=True),
        Figure("idle", "  memory", "MiB", [held], target=MEBIBYTES_MAX, at_most=True),
    ]  # fmt: skip


@contextmanager
def _dev(place: Path, said: Path) -> Iterator[int]:
    """`crossdock dev` while the block runs: its process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSDOCK_", "OTEL_"))}
    environment |= {"CROSSDOCK_DATA": str(place), "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    program = (sys.executable, "-m", "crossdock.cli", "dev")
    with said.open("wb") as out:
        process = subprocess.Popen(
            ["python3", "-I", "-S", "-c", DIES_WITH_PARENT, *program],
            env=environment,
            stdout=out,
            stderr=out,
        )
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


async def _cpu_percent(pid: int) -> float:
    """Of one core, over some seconds; of processes that are there all the while."""
    before, started = {each: cpu_seconds(each) for each in process_tree(pid)}, time.monotonic()
    await asyncio.sleep(LOOK_SECONDS)
    after = {each: cpu_seconds(each) for each in process_tree(pid)}
    assert before.keys() == after.keys(), "a process of an idle installation came or went"
    used = sum(after[each] - before[each] for each in after)
    return 100 * used / (time.monotonic() - started)
