"""A5: too many bytes, items or headers are refused by code, at once and without memory for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from abuse.oversize import MEBIBYTE, REFUSALS, Outcome, attacks, measure, measure_stock
from fixtures_hub import RunningHub

from tests.faults.naive.servicer import stock_process

PEAK_GROWTH_MAX = 50 * MEBIBYTE
# The hub works on one request at a time: a refusal that takes long holds everybody up. Of its own
# time, because the machine's is shared with who knows whom.
CPU_SECONDS_MAX = 2.0


def test_too_much_is_refused_without_memory_for_it(tmp_path: Path) -> None:
    """Proves for oversized requests, frames and headers, a gzip bomb and a million items that each
    is refused by code and reason, after little work, while the hub's peak grows by less than 50
    MiB."""
    hub = RunningHub(tmp_path / "hub").start()
    try:
        outcomes = asyncio.run(measure(hub, attacks()))
        log = hub.log()
    finally:
        hub.kill()
    for outcome in outcomes:
        told = outcome.document()
        assert outcome.code in REFUSALS, told
        assert outcome.reason in {"LIMIT_EXCEEDED", "INVALID_FIELD", "UNKNOWN_FIELD"}, told
        assert outcome.grown < PEAK_GROWTH_MAX, told
        assert outcome.cpu_seconds < CPU_SECONDS_MAX, told
    counted = [o for o in outcomes if "in 1 MiB" in o.attack and "unknown" not in o.attack]
    assert {o.reason for o in counted} == {"LIMIT_EXCEEDED"}, counted
    assert "fault in a" not in log, log[-4000:]


def test_a_stock_servicer_is_found_out(tmp_path: Path) -> None:
    """Proves that the attacks find what there is to find: a server without options reads more bytes
    than a request may have, and takes fields that nobody knows."""

    async def attacked() -> list[Outcome]:
        async with stock_process(tmp_path) as stock:
            return await measure_stock(stock.address, stock.pid, attacks())

    codes = {outcome.attack: outcome.code for outcome in asyncio.run(attacked())}
    assert codes["1 byte over the request limit"] == "UNKNOWN", codes
    assert codes["350,000 unknown fields in 1 MiB"] == "OK", codes
