"""G22: 64 clients write at once, beside how a table is usually counted up."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from crossdock.errors import from_rpc_error
from crossdock.order.v1 import order_service_pb2
from fixtures_hub import Lane, RunningHub, deployment
from story import create_order, order, seed_master_data

from tests.faults.trials.trial import Piece, Result, Size, Trial
from tests.load.callers import METHOD
from tests.load.processes import serving

CLIENTS = 64
CHANNELS = 4
DEADLINE_SECONDS = 30.0
RATE, LATENCY = "durable writes/s", "s a write"
ECHO = "answers/s of an echo that stores nothing, same clients"
# Where this is beyond the bound, no hub can be within it on this machine.
ECHO_LATENCY = "s an answer of that echo"
SHARE = "writes, as a share of the echo's answers"
# What is asked, both at once: so many writes, and none of them slower than the bound.
ASKED_PER_SECOND = 1_000
PACED = "s a write at 1,000 a second"
PACED_RATE = "durable writes/s, of 1,000 that are begun"
# The paced round writes one of so many.
PACED_SHARE = 2
# Of the naive count: so many threads, each so many times.
THREADS, TIMES = 8, 50


@dataclass
class Round:
    """What 64 clients were told. The first write of each, on a new connection to a hub that has
    just started, is answered and has to be kept, but stands in neither rate nor seconds."""

    per_second: float = 0.0
    took_seconds: list[float] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


async def run_g22(piece: Piece) -> Result:
    """The clients create as many orders as are asked a second, then each one after another, as
    fast as it is answered; all have to be there, each once. At last they ask an echo that stores
    nothing."""
    hub = RunningHub(piece.directory / "hub", deployment(1)).start()
    try:
        await seed_master_data(hub)
        token = hub.token_file("oms")
        paced = await _write(hub.address, token, piece.size.orders // PACED_SHARE, ASKED_PER_SECOND)
        full = await _write(hub.address, token, piece.size.orders)
        stored = {row[0] for row in hub.query("SELECT number FROM objects WHERE kind = 'order'")}
        locked = hub.log().lower().count("database is locked")
    finally:
        hub.kill()
    echoed = await _ask_an_echo(piece, token)
    answered = full.answered + paced.answered
    refused = full.refused + paced.refused + echoed.refused
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
    measured = {
        RATE: [full.per_second],
        ECHO: [echoed.per_second],
        ECHO_LATENCY: echoed.took_seconds,
        SHARE: [full.per_second / echoed.per_second],
        LATENCY: full.took_seconds,
        PACED: paced.took_seconds,
        PACED_RATE: [paced.per_second],
    }
    return Result(counts, measured=measured, broken=broken)


async def _ask_an_echo(piece: Piece, token: Path) -> Round:
    """The same clients, and nobody else on the machine."""
    answer = piece.directory / "answer"
    answer.write_bytes(order_service_pb2.CreateOrderResponse().SerializeToString())
    with serving("floors_echo", "traced", str(answer)) as echo:
        return await _write(echo, token, piece.size.orders)


async def _write(address: str, token: Path, orders: int, per_second: float | None = None) -> Round:
    """All clients at once, each waiting for its answer. per_second: of all together, at most.

    The clients cost as little as clients can, for they share the machine with the hub: their
    requests are bytes before the clock starts, as are their connections, and the collector of
    garbage, which stopped all 64 for a tenth of a second to look at them, leaves them alone.
    """
    told, clients = Round(), [_prepared(orders // CLIENTS + 1) for _ in range(CLIENTS)]
    metadata = (("authorization", f"Bearer {token.read_text()}"),)
    channels = [grpc.aio.insecure_channel(address) for _ in range(CHANNELS)]
    calls: list[Any] = [channel.unary_unary(METHOD) for channel in channels]

    async def one(number: int, requests: list[tuple[str, bytes]], started: float | None) -> None:
        create = calls[number % CHANNELS]
        for turn, (order_number, request) in enumerate(requests):
            begun = time.monotonic()
            if started is not None and per_second is not None:
                # From when it was due: a client that is held up by its last write is late.
                begun = started + (turn * CLIENTS + number) / per_second
                await asyncio.sleep(begun - time.monotonic())
            try:
                await create(request, metadata=metadata, timeout=DEADLINE_SECONDS)
            except grpc.aio.AioRpcError as error:
                told.refused.append(from_rpc_error(error).refusal.reason)
                continue
            told.took_seconds.append(time.monotonic() - begun)
            told.answered.append(order_number)

    async def all_of(part: slice, started: float | None) -> None:
        await asyncio.gather(
            *(one(number, requests[part], started) for number, requests in enumerate(clients))
        )

    await all_of(slice(0, 1), None)
    gc.collect()
    gc.freeze()
    told.took_seconds.clear()
    warm, started = len(told.answered), time.monotonic()
    await all_of(slice(1, None), started)
    told.per_second = (len(told.answered) - warm) / (time.monotonic() - started)
    gc.unfreeze()
    for channel in channels:
        await channel.close()
    return told


def _prepared(orders: int) -> list[tuple[str, bytes]]:
    """New orders: their numbers, and the requests that create them."""
    new = [order(Lane(1).business_unit) for _ in range(orders)]
    return [(each.number, create_order(each).SerializeToString()) for each in new]


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
    {"writes": 24_000},
    bounds={PACED: 0.05},
    floors={RATE: 1_000.0},
    alone=True,
    baseline=naive_count,
    baseline_size=Size(1),
)
