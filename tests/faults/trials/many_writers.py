"""G22: 64 clients write at once, beside how a table is usually counted up."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crossdock.errors import CallError
from fixtures_hub import Lane, RunningHub, deployment
from story import create_order, order, seed_master_data

from tests.faults.trials.trial import Piece, Result, Size, Trial

CLIENTS = 64
CHANNELS = 4
RATE, LATENCY = "durable writes/s", "s a write"
# Of the naive count: so many threads, each so many times.
THREADS, TIMES = 8, 50


async def run_g22(piece: Piece) -> Result:
    """Each client creates orders one after another; all have to be there, each once."""
    hub = RunningHub(piece.directory / "hub", deployment(1)).start()
    try:
        await seed_master_data(hub)
        took, refused, answered = await _write(hub, piece.size.orders)
        stored = {row[0] for row in hub.query("SELECT number FROM objects WHERE kind = 'order'")}
        locked = hub.log().lower().count("database is locked")
    finally:
        hub.kill()
    seconds, latencies = took
    lost = set(answered) - stored
    broken = [f"{len(lost)} answered orders are missing"] if lost else []
    broken += [f"refused: {reason}" for reason in sorted(set(refused))]
    if locked:
        broken.append(f"the hub's log says {locked} times that the database is locked")
    counts = {
        "clients": CLIENTS,
        "writes": len(answered),
        "lost": len(lost),
        "locked": locked,
        "refused": len(refused),
    }
    measured = {RATE: [len(answered) / seconds], LATENCY: latencies}
    return Result(counts, measured=measured, broken=broken)


async def _write(
    hub: RunningHub, orders: int
) -> tuple[tuple[float, list[float]], list[str], list[str]]:
    """((seconds, seconds of each), reasons of refusals, numbers that were answered)."""
    clients = [hub.client("oms", deadline_seconds=30.0) for _ in range(CHANNELS)]
    latencies: list[float] = []
    refused: list[str] = []
    answered: list[str] = []

    async def one(number: int) -> None:
        oms = clients[number % CHANNELS]
        for _ in range(orders // CLIENTS):
            request = create_order(order(Lane(1).business_unit))
            started = time.monotonic()
            try:
                await oms.orders.CreateOrder(request)
            except CallError as error:
                refused.append(error.refusal.reason)
                continue
            latencies.append(time.monotonic() - started)
            answered.append(request.order.number)

    started = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    seconds = time.monotonic() - started
    for client in clients:
        await client.close()
    return (seconds, latencies), refused, answered


async def naive_count(piece: Piece) -> Result:
    """Read, add one, write, with the standard library as it comes."""
    path = piece.directory / "count.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE counter (value INTEGER)")
        connection.execute("INSERT INTO counter VALUES (0)")
    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        errors = sum(threads.map(lambda _: _count(path), range(THREADS)))
    seconds = time.monotonic() - started
    with sqlite3.connect(path) as connection:
        ((value,),) = connection.execute("SELECT value FROM counter").fetchall()
    done = THREADS * TIMES - errors
    counts = {"read-modify-writes": done, "read-modify-write: lost": done - int(value)}
    return Result(counts | {"refused as locked": errors}, measured={"writes/s": [done / seconds]})


def _count(path: Path) -> int:
    """Add one so many times; how often the database said that it is locked."""
    errors = 0
    connection = sqlite3.connect(path, timeout=30.0)
    for _ in range(TIMES):
        try:
            ((value,),) = connection.execute("SELECT value FROM counter").fetchall()
            connection.execute("UPDATE counter SET value = ?", (value + 1,))
            connection.commit()
        except sqlite3.OperationalError:
            connection.rollback()
            errors += 1
    connection.close()
    return errors


G22 = Trial(
    "G22",
    "64 clients that write at once",
    "0 locked, 0 lost, 0 refused; >= 1,000 durable writes/s, p99 <= 50 ms (told)",
    run_g22,
    Size(1, orders=1_280),
    Size(3, orders=6_400),
    {"writes": 19_200},
    bounds={LATENCY: 0.05},
    floors={RATE: 1_000.0},
    alone=True,
    baseline=naive_count,
    baseline_size=Size(1),
)
