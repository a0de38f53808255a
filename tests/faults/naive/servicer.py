"""A1 and A5 at a gRPC service as it is usually built: grpc.aio with the generated registration.

It runs in a process of its own, whose memory is read as the hub's is.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from abuse import malformed, oversize

from tests.faults.trials.trial import Piece, Result
from tests.faults.yard.processes import Process

# Until it has filled what it keeps for good.
WARM_UP = 500
NAME = "stock servicer"


@dataclass(frozen=True, slots=True)
class Stock:
    """A stock servicer that serves."""

    address: str
    pid: int

    @property
    def resident_bytes(self) -> int:
        """What it holds now."""
        return oversize.status_bytes(self.pid, "VmRSS")


@contextlib.asynccontextmanager
async def stock_process(
    directory: Path, name: str = "stock", port: int = 0
) -> AsyncIterator[Stock]:
    """One for the length of the block. port: 0 for a free one."""
    log, ready = directory / f"{name}.log", directory / f"{name}.json"
    module = ("-m", "tests.abuse.stock")
    process = Process(name, log, ready, *module, str(ready), str(port))
    process.spawn()
    try:
        told = await process.serving()
        yield Stock(told["address"], process.pid)
    finally:
        process.kill()


async def naive_a1(piece: Piece) -> Result:
    """The same bytes for one method of it."""
    each, seed = piece.size.orders, str(piece.seed)
    async with stock_process(piece.directory) as stock:
        await malformed.throw_at_stock(stock.address, min(WARM_UP, each), f"{seed}/warm")
        warm = stock.resident_bytes
        found = await malformed.throw_at_stock(stock.address, each, seed)
        grown = stock.resident_bytes / warm - 1.0
    counts = {
        f"{NAME}, messages": found.sent,
        f"{NAME}: UNKNOWN": found.codes["UNKNOWN"],
        f"{NAME}: exception text": found.exception_texts,
    }
    return Result(counts, measured={f"{NAME}: share by which its memory grew": [grown]})


async def naive_a5(piece: Piece) -> Result:
    """Those of the attacks that are for the method that it has."""
    outcomes = []
    async with stock_process(piece.directory) as stock:
        for _ in range(piece.size.faults):
            attacks = oversize.attacks()
            outcomes += await oversize.measure_stock(stock.address, stock.pid, attacks)
    codes = sorted({outcome.code for outcome in outcomes})
    counts = {f"{NAME}, attacks": len(outcomes)} | {
        f"{NAME}: {code}": sum(outcome.code == code for outcome in outcomes) for code in codes
    }
    grown = [outcome.grown / oversize.MEBIBYTE for outcome in outcomes]
    return Result(counts, measured={f"{NAME}: MiB that its peak grew": grown})
