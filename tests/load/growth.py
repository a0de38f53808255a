"""Measures a hub with a large database beside one with a small one, in turns: `make bench-growth`.

The large one has 1,000,000 shipments and some 20 times as many events, loaded as copies of flows
that were played. Database and hub are in a temporary directory, or in --directory, where they stay
and are used again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
# What starts hubs and buses for the tests starts them here; it lies beside this folder.
sys.path.insert(0, str(ROOT / "tests"))

from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402

from tests.load.growth_asking import UNKNOWN, Questions, differing, milliseconds  # noqa: E402
from tests.load.growth_site import GrownSite  # noqa: E402
from tests.load.measured import HEADING, QUICK, Figure, Options, machine, percentile  # noqa: E402
from tests.load.processes import told_by  # noqa: E402

SHIPMENTS: Final = 1_000_000
QUICK_SHIPMENTS: Final = 2_000
SMALL_SHIPMENTS: Final = 100
REPORT: Final = ROOT / "out" / "bench-growth.json"
CASE: Final = "growth"
CALLERS: Final = 64
TRACES_A_KIND: Final = 50
DELIVERIES: Final = 1_000
WARM_DELIVERIES: Final = 200
COPIES_COMPARED: Final = 30
SEED: Final = 20_000_000
# What stays free of the volume that the database is made on.
FREE_BYTES_MIN: Final = 10 * 1024**3
SHARE_OF_SMALL: Final = 0.8
TRACE_MILLISECONDS: Final = 25.0
START_SECONDS: Final = 5.0
SMALL: Final = "small hub"


@dataclass(slots=True)
class Samples:
    """What was measured of one of the two hubs, one value a repetition."""

    writes: list[float] = field(default_factory=list)
    deliveries: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    kinds: dict[str, list[float]] = field(default_factory=dict)


def main() -> int:
    """0 when everything was measured and the copies are true, whether or not targets are met."""
    parser = argparse.ArgumentParser(prog="bench-growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--shipments", type=int, help=f"how many; {SHIPMENTS:,} without")
    parser.add_argument("--directory", type=Path, help="keep the databases here, or use them")
    told = parser.parse_args()
    options = QUICK if told.quick else Options()
    count = told.shipments or (QUICK_SHIPMENTS if told.quick else SHIPMENTS)
    with _directory(told.directory) as directory:
        figures, about = asyncio.run(measure(directory, options, count))
    print(HEADING)
    for figure in figures:
        print(figure.line())
    REPORT.parent.mkdir(exist_ok=True)
    document = {
        "machine": machine(),
        "quick": told.quick,
        "database": about,
        "figures": [figure.document() for figure in figures],
    }
    REPORT.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"written to {REPORT.relative_to(ROOT)}")
    return 0


@contextlib.contextmanager
def _directory(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-growth-") as directory:
        yield Path(directory)


async def measure(
    directory: Path, options: Options, count: int
) -> tuple[list[Figure], dict[str, Any]]:
    """Load, compare copies with what they are copies of, and measure. The second: what there was to
    measure with."""
    sites = {"small": GrownSite(directory / "small", SMALL_SHIPMENTS),
             "loaded": GrownSite(directory / "loaded", count)}  # fmt: skip
    samples = {name: Samples() for name in sites}
    for site in sites.values():
        await site.grow(_room(site.path, site.count))
    about = _about(sites["loaded"])
    print(json.dumps(about), flush=True)
    try:
        for site in sites.values():
            await site.start()
        await _compare(sites["loaded"])
        for repetition in range(options.repetitions):
            for name, site in sites.items():
                await _measure(site, samples[name], options, repetition)
        # Last: a start that finds nothing in memory leaves nothing there for what comes next.
        for _ in range(options.repetitions):
            for name, site in sites.items():
                samples[name].cold.append(await _started_again(site, cold=True))
                samples[name].warm.append(await _started_again(site, cold=False))
    finally:
        for site in sites.values():
            await site.stop()
    return _figures(samples["loaded"], samples["small"]), about


def _room(path: Path, count: int) -> Callable[[int], bool]:
    """Goes on while the volume has room; tells how far it is."""
    started = time.monotonic()

    def goes_on(done: int) -> bool:
        size = path.stat().st_size
        seconds = time.monotonic() - started
        print(f"{done:,} of {count:,}, {size / 2**30:.1f} GiB, {seconds:.0f} s", flush=True)
        return shutil.disk_usage(path.parent).free > FREE_BYTES_MIN

    return goes_on


def _about(site: GrownSite) -> dict[str, Any]:
    size = site.path.stat().st_size
    return {
        "shipments": site.count,
        "events": site.events,
        "bytes": size,
        "bytes_a_shipment": round(size / site.count),
        "loading_seconds": round(site.loading_seconds, 1),
    }


async def _compare(site: GrownSite) -> None:
    """Raises AssertionError: a copy is not true, and nothing measured with it would be."""
    drawn = range(0, site.count, max(1, site.count // COPIES_COMPARED))
    async with site.hub.client("operator") as client:
        for number in drawn:
            wrong = await differing(client, site.loader, number)
            assert not wrong, wrong


async def _measure(site: GrownSite, told: Samples, options: Options, repetition: int) -> None:
    """One repetition of everything but starts, of one of the hubs."""
    token = str(site.hub.token_file("oms"))
    arguments = (site.hub.address, token, str(CALLERS), str(options.seconds))
    told.writes.append((await asyncio.to_thread(told_by, "callers", *arguments))["per_second"])
    await site.rate(options.count(WARM_DELIVERIES))
    told.deliveries.append(await site.rate(options.count(DELIVERIES)))
    questions = Questions(site.loader, SEED + repetition)
    took: list[float] = []
    async with site.hub.client("operator") as client:
        for kind in questions.kinds():
            asked = [questions.next(kind) for _ in range(options.count(TRACES_A_KIND))]
            known = kind not in UNKNOWN
            each = [await milliseconds(client, text, known=known) for text in asked]
            told.kinds.setdefault(kind, []).append(percentile(each, 0.99))
            took += each
    told.p50.append(percentile(took, 0.5))
    told.p99.append(percentile(took, 0.99))


async def _started_again(site: GrownSite, *, cold: bool) -> float:
    """Seconds from the start of the process until its health says that it serves. cold: nothing of
    the database is in memory."""
    await site.stop_in_order()
    if cold:
        _forget(site.path)
    started = time.monotonic()
    site.hub.start()
    async with site.hub.client("") as nobody:
        health = health_pb2_grpc.HealthStub(nobody.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
    took = time.monotonic() - started
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await site.work()
    return took


def _forget(path: Path) -> None:
    """Have the system read a file from the disk the next time."""
    opened = os.open(path, os.O_RDONLY)
    os.fsync(opened)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(opened)


def _figures(loaded: Samples, small: Samples) -> list[Figure]:
    def beside(name: str, unit: str, what: str, target: float) -> Figure:
        return Figure(CASE, name, unit, getattr(loaded, what), SMALL, getattr(small, what),
                      target)  # fmt: skip

    slowest = sorted(loaded.kinds, key=lambda kind: -statistics.median(loaded.kinds[kind]))
    return [
        beside(f"durable writes, {CALLERS} callers", "calls/s", "writes", SHARE_OF_SMALL),
        beside("deliveries begun and completed", "del./s", "deliveries", SHARE_OF_SMALL),
        Figure(CASE, "a trace by any id, p50", "ms", loaded.p50, SMALL, small.p50),
        Figure(CASE, "a trace by any id, p99", "ms", loaded.p99, target=TRACE_MILLISECONDS,
               at_most=True),
        Figure(CASE, "  beside it", "ms", loaded.p99, SMALL, small.p99),
        *(Figure(CASE, f"  by {kind}, p99", "ms", loaded.kinds[kind]) for kind in slowest),
        Figure(CASE, "start, nothing in memory", "s", loaded.cold, target=START_SECONDS,
               at_most=True),
        Figure(CASE, "start", "s", loaded.warm, target=START_SECONDS, at_most=True),
        Figure(CASE, f"  of a {SMALL}", "s", small.warm),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
