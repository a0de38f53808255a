"""Scans kept up for minutes: how many a second, and whether memory stays where it is.

What is sent is what the case "scans" sends, by as many callers, on more parcels. Memory (PSS) and
CPU are those of the hub's process and of its nats-server, looked at each second.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from crossdock.client import HubClient
from crossdock_hub.bus.jetstream import Bus
from fixtures_hub import Lane, RunningHub, deployment
from story import seed_master_data

from tests.load.measured import Figure, Options
from tests.load.parcels import ReusedReports, dealt, labelled_parcels, scan_reports
from tests.load.scans import BATCH, IN_FLIGHT, HubScans
from tests.load.taken import cpu_seconds, process_tree, proportional_bytes

PARCELS: Final = 2_000
LOOK_SECONDS: Final = 1.0
WINDOW_SECONDS: Final = 5.0
PER_SECOND_MIN: Final = 10_000.0
# Between the second third of the time and the last: the first fills caches and pools.
MEBIBYTES_MORE_MAX: Final = 16.0
DEADLINE_SECONDS: Final = 60.0
_MIB: Final = 1024 * 1024


async def measure(directory: Path, options: Options) -> list[Figure]:
    """The rate in windows of some seconds, and what hub and nats-server took meanwhile."""
    hub = RunningHub(directory / "hub", deployment(1)).start()
    try:
        await seed_master_data(hub)
        parcels = dealt(await labelled_parcels(hub, Lane(1), options.count(PARCELS)), BATCH)
        reports = ReusedReports(parcels, BATCH)
        bus = await Bus.connect(hub.bus_address())
        async with hub.client(Lane(1).carrier, deadline_seconds=DEADLINE_SECONDS) as carrier:
            published = HubScans(carrier, bus)
            await published.warm_up(list(itertools.islice(scan_reports(parcels, BATCH), 8)))
            kept = Kept(time.monotonic())
            looks = Looks({"hub": hub.pid, "nats-server": _server(hub.pid)})
            watching = asyncio.create_task(looks.keep_on())
            await kept.up(carrier, reports, options.sustained_seconds)
            watching.cancel()
            await published.until_published(len(kept.answered))
        await bus.close()
    finally:
        hub.kill()
    return _figures(kept, looks, options.sustained_seconds)


@dataclass
class Kept:
    """When each batch was answered: seconds since the start."""

    began: float
    answered: list[float] = field(default_factory=list)

    async def up(self, carrier: HubClient, reports: ReusedReports, seconds: float) -> None:
        """Some callers report one batch after another for so long."""

        async def caller() -> None:
            while time.monotonic() < self.began + seconds:
                answer = await carrier.tracking.ReportTrackingEvents(reports.next())
                assert len(answer.receipts) == BATCH
                self.answered.append(time.monotonic() - self.began)

        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))

    def rates(self, seconds: float) -> list[float]:
        """Scans a second in each window."""
        windows = [0] * max(1, int(seconds / WINDOW_SECONDS))
        for at in self.answered:
            if at < len(windows) * WINDOW_SECONDS:
                windows[int(at / WINDOW_SECONDS)] += BATCH
        return [count / WINDOW_SECONDS for count in windows]


@dataclass
class Looks:
    """Memory and CPU of some processes, by their names."""

    pids: dict[str, int]
    memory: dict[str, list[float]] = field(default_factory=dict)
    percent: dict[str, list[float]] = field(default_factory=dict)

    async def keep_on(self) -> None:
        """Look each second until cancelled."""
        self.memory = {name: [] for name in self.pids}
        self.percent = {name: [] for name in self.pids}
        before = {name: cpu_seconds(pid) for name, pid in self.pids.items()}
        at = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            passed, at = time.monotonic() - at, time.monotonic()
            for name, pid in self.pids.items():
                self.memory[name].append(proportional_bytes(pid) / _MIB)
                used = cpu_seconds(pid)
                self.percent[name].append(100 * (used - before[name]) / passed)
                before[name] = used

    def more(self, name: str) -> float:
        """MiB in the last third of the time more than in the second."""
        found = self.memory[name]
        third = len(found) // 3
        last, second = found[-third:], found[third : 2 * third]
        return statistics.median(last) - statistics.median(second)


def _server(hub_pid: int) -> int:
    (found,) = (
        pid
        for pid in process_tree(hub_pid)
        if Path(f"/proc/{pid}/comm").read_text().strip() == "nats-server"
    )
    return found


def _figures(kept: Kept, looks: Looks, seconds: float) -> list[Figure]:
    case = "sustained"
    total = len(kept.answered) * BATCH
    name = f"{total:,} scans in {seconds:g} s"
    figures = [Figure(case, name, "scans/s", kept.rates(seconds), target=PER_SECOND_MIN)]
    for each in looks.pids:
        figures += [
            Figure(case, f"  memory of {each}", "MiB", looks.memory[each]),
            Figure(case, "    more in the last third", "MiB", [looks.more(each)],
                   target=MEBIBYTES_MORE_MAX, at_most=True),
            Figure(case, f"  CPU of {each}", "% core", looks.percent[each]),
        ]  # fmt: skip
    return figures
